"""trained_model: one partition per configuration; search_results: a row per configuration.

One op makes both. It reuses what the store holds, trains the rest, and logs each configuration's
materialization the moment it is stored, so that progress shows live and a kill loses nothing
finished. `search_results` does not depend on `trained_model`: it reads the store, so a failed
configuration stays missing while the leaderboard still gets made.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
import joblib
import pandas as pd

from experiment_pipeline.assets import shown
from experiment_pipeline.assets.failures import told_to_the_user
from experiment_pipeline.assets.keys import asset_key, table_input, table_spec
from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.errors import AllConfigurationsFailed
from experiment_pipeline.core.search_results import TRAINED, Progress, search_results
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model import (
    FailedConfiguration,
    ModelResult,
    TrainedModel,
    TrainingSets,
    fingerprint,
    train_configurations,
)
from experiment_pipeline.core.training_sets import training_sets
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.trained_models import TrainedModelStore


def build_trained_model(
    spec: ExperimentSpec, configurations: Sequence[Configuration]
) -> dg.AssetsDefinition:
    """The search: train every configuration that is asked for and not stored yet."""
    models, results = asset_key(spec, "trained_model"), asset_key(spec, "search_results")
    upstream = [asset_key(spec, "train_set"), asset_key(spec, "test_set")]

    @dg.multi_asset(
        name=f"{spec.name}__training",
        specs=[
            dg.AssetSpec(
                models,
                deps=upstream,
                partitions_def=dg.StaticPartitionsDefinition([c.key for c in configurations]),
                skippable=True,
                group_name=spec.name,
                kinds={"scikitlearn"},
                description="One fitted pipeline per hyperparameter configuration.",
            ),
            table_spec(
                spec,
                "search_results",
                deps=upstream,
                kinds={"pandas"},
                description="Every configuration of the YAML: trained, failed or not started.",
            ),
        ],
        ins={
            "train_set": table_input(spec, "train_set"),
            "test_set": table_input(spec, "test_set"),
        },
        check_specs=[dg.AssetCheckSpec("no_configuration_failed", asset=results)],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"{spec.name}_training",
    )
    def trained_model(
        context: dg.AssetExecutionContext, train_set: pd.DataFrame, test_set: pd.DataFrame
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        with told_to_the_user():
            sets = training_sets(train_set, test_set, spec)
            search = _Search(context, spec, sets, TrainedModelStore(storage_root(), spec.name))
            outcome = search.run(_asked_for(context, configurations))
            table = search_results(configurations, search.stored(configurations), outcome.failed)
            table.attrs["digests"] = dict(sets.digests)
        if results in context.selected_asset_keys:
            yield dg.MaterializeResult(
                asset_key=results,
                value=table,
                metadata={
                    "declared": len(configurations),
                    "trained": int((table["status"] == TRAINED).sum()),
                    "failed": len(outcome.failed),
                    "reused": outcome.reused,
                    "results": shown.table(table),
                },
            )
        if context.selected_asset_check_keys:
            yield _none_failed(outcome.failed, results)

    return trained_model


def _asked_for(
    context: dg.AssetExecutionContext, configurations: Sequence[Configuration]
) -> list[Configuration]:
    """The partitions of the run; all of them when only `search_results` is asked for."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return list(configurations)
    keys = set(context.partition_keys)
    return [configuration for configuration in configurations if configuration.key in keys]


def _none_failed(failed: Sequence[FailedConfiguration], key: dg.AssetKey) -> dg.AssetCheckResult:
    reasons = pd.DataFrame(
        [{"key": f.key, "error": f.error_type, "reason": f.reason} for f in failed],
        columns=["key", "error", "reason"],
    )
    return dg.AssetCheckResult(
        check_name="no_configuration_failed",
        asset_key=key,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(failed)} configurations failed",
        metadata={"failed": shown.table(reasons)},
    )


@dataclass(frozen=True)
class _Outcome:
    """What a search of one run came to."""

    reused: int
    failed: tuple[FailedConfiguration, ...]


@dataclass(frozen=True)
class _Search:
    """The configurations of one run: from the store where they are, trained where not."""

    context: dg.AssetExecutionContext
    spec: ExperimentSpec
    sets: TrainingSets
    store: TrainedModelStore

    def stored(self, configurations: Sequence[Configuration]) -> dict[str, ModelResult]:
        """Configuration key → stored result for the current sets."""
        prints = {c.key: fingerprint(c, self.sets, self.spec) for c in configurations}
        results = self.store.results(list(prints.values()))
        return {key: results[print_] for key, print_ in prints.items() if print_ in results}

    def run(self, wanted: Sequence[Configuration]) -> _Outcome:
        """Train what is missing, in completion order, each stored before it is told of."""
        stored = self.stored(wanted)
        progress = Progress(len(wanted), reused=len(stored), metric=self.spec.metric)
        for key, result in stored.items():
            progress.consider(result)
            self._materialize(key, result, reused=True)
        if stored:
            self.context.log.info(f"reused {len(stored)} of {len(wanted)} configurations")
        missing = [configuration for configuration in wanted if configuration.key not in stored]
        failed, started = [], time.perf_counter()
        workers = self.spec.workers or joblib.cpu_count()
        with closing(train_configurations(missing, self.sets, self.spec, workers)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, FailedConfiguration):
                    failed.append(outcome)
                    progress.add(None)
                    self.context.log.warning(
                        f"{outcome.key} failed: {outcome.error_type}: {outcome.reason}"
                    )
                else:
                    progress.add(self._keep(outcome))
                self.context.log.info(progress.line(time.perf_counter() - started))
        if len(failed) == len(wanted):
            raise AllConfigurationsFailed(
                f"{len(failed)} of {len(wanted)} configurations",
                f"failed, the first ({failed[0].key}) with {failed[0].error_type}: "
                f"{failed[0].reason}",
                "Mend the cause, or take the algorithm out of `search`.",
            )
        return _Outcome(len(stored), tuple(failed))

    def _keep(self, model: TrainedModel) -> ModelResult:
        self.store.put(model)
        self._materialize(model.result.key, model.result, reused=False)
        return model.result

    def _materialize(self, key: str, result: ModelResult, *, reused: bool) -> None:
        """One event per configuration; the step itself could only report all of them at once."""
        hyperparameters = {f"hyperparameter/{k}": v for k, v in result.hyperparameters.items()}
        self.context.log_event(
            dg.AssetMaterialization(
                asset_key=asset_key(self.spec, "trained_model"),
                partition=key,
                metadata={
                    "status": result.status,
                    "algorithm": result.algorithm,
                    **hyperparameters,
                    f"test {result.metric}": shown.number(result.test_score),
                    f"train {result.metric}": shown.number(result.train_score),
                    **{f"test {n}": shown.number(v) for n, v in result.test_scores.items()},
                    "rounds": result.rounds,
                    "fit_cpu_seconds": shown.number(result.fit_cpu_seconds),
                    "fit_wall_seconds": shown.number(result.fit_wall_seconds),
                    "predict_microseconds_per_row": shown.number(
                        1e6 * result.predict_seconds_per_row
                    ),
                    "model_bytes": result.model_bytes,
                    "reused": reused,
                    "fingerprint": result.fingerprint,
                    "path": str(self.store.folder(result.fingerprint)),
                },
                tags={
                    "dagster/data_version": result.fingerprint,
                    "dagster/data_version_is_user_provided": "true",
                },
            )
        )
