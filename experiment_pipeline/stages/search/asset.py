"""trained_model: one partition per configuration; search_results: a row per configuration.

One op makes both. It reuses what the store holds, trains the rest, and logs each configuration's
materialization the moment it is stored, so that progress shows live and a kill loses nothing
finished. Which rungs there are and who goes on is decided in core.
`search_results` does not depend on `trained_model`: it reads the store, so a failed configuration
stays missing while the leaderboard still gets made.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
import joblib
import pandas as pd

from experiment_pipeline.errors import AllConfigurationsFailed
from experiment_pipeline.spec import ExperimentSpec, SearchSpec
from experiment_pipeline.stages import asset
from experiment_pipeline.stages.search import page
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Event,
    Fitted,
    Note,
    Progress,
    RungStarted,
    SearchResults,
    failures,
    search_results,
)
from experiment_pipeline.stages.search.configurations import Configuration, search_notes
from experiment_pipeline.stages.search.cost import SearchCost, peak_memory_bytes, search_cost
from experiment_pipeline.stages.search.results import IntactModels, TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, training_sets
from experiment_pipeline.stages.split_sets.sets import SetTable


def build_trained_model(
    spec: ExperimentSpec, configurations: Sequence[Configuration]
) -> dg.AssetsDefinition:
    """The search: train every configuration that is asked for and not stored yet."""
    models, results = asset.key_of(spec, "trained_model"), asset.key_of(spec, "search_results")
    upstream = [asset.key_of(spec, "train_set"), asset.key_of(spec, "test_set")]

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
            asset.table_spec(
                spec,
                "search_results",
                deps=upstream,
                kinds={"pandas"},
                description=(
                    "Every configuration of the YAML: trained, stopped early, failed or not started."
                ),
            ),
        ],
        ins=asset.table_inputs(spec, "train_set", "test_set"),
        check_specs=[dg.AssetCheckSpec("no_configuration_failed", asset=results)],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"{spec.name}_training",
    )
    def trained_model(
        context: dg.AssetExecutionContext, train_set: SetTable, test_set: SetTable
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        for note in search_notes(spec):
            context.log.info(note)
        with asset.told_to_the_user():
            sets = training_sets(train_set, test_set, spec)
            run = _Search(context, spec, sets, TrainedModelStore.of(spec.name))
            table, cost = run.run(_asked_for(context, configurations), configurations)
        if results in context.selected_asset_keys:
            found = SearchResults(table, spec.metric, sets.digests)
            yield asset.report(context, results, page.results(found, cost))
        if context.selected_asset_check_keys:
            yield asset.report_check(context, results, page.none_failed(failures(table)))

    return trained_model


def _asked_for(
    context: dg.AssetExecutionContext, configurations: Sequence[Configuration]
) -> list[Configuration]:
    """The partitions of the run; all of them when only `search_results` is asked for."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return list(configurations)
    keys = set(context.partition_keys)
    return [configuration for configuration in configurations if configuration.key in keys]


@dataclass(frozen=True)
class _Search:
    """The search of one run: what is fitted is stored, what is concluded is materialized."""

    context: dg.AssetExecutionContext
    spec: SearchSpec
    sets: TrainingSets
    store: TrainedModelStore

    def run(
        self, wanted: Sequence[Configuration], declared: Sequence[Configuration]
    ) -> tuple[pd.DataFrame, SearchCost]:
        """Search among the wanted; a row for each declared configuration, and the cost."""
        from experiment_pipeline.stages.search.halving import search, settled

        workers = self.spec.workers or joblib.cpu_count()
        progress, started = Progress(self.spec.metric), time.perf_counter()
        concluded: dict[str, Conclusion] = {}
        fitted = []
        known = IntactModels(self.store, self.context.log.warning)
        events = search(wanted, self.sets, self.spec, known, workers, time.perf_counter)
        with closing(events):
            for event in events:
                if isinstance(event, Fitted):
                    self.store.put(event.model)
                    fitted.append(event.model.result)
                self._tell(event)
                if isinstance(event, Conclusion):
                    concluded[event.key] = event
                seconds = time.perf_counter() - started
                if progress.see(event) and progress.is_due(seconds):
                    self.context.log.info(progress.line(seconds))
        self._tell_result(list(concluded.values()))
        seconds = time.perf_counter() - started
        if len(wanted) < len(declared):
            others = settled(declared, self.sets, self.spec, known)
            concluded = {one.key: one for one in others} | concluded
        cost = search_cost(fitted, seconds, workers, peak_memory_bytes())
        return search_results(declared, concluded.values()), cost

    def _tell(self, event: Event) -> None:
        """Log an event; one materialization per configuration the moment it is concluded."""
        log = self.context.log
        if isinstance(event, Fitted):
            for note in event.model.result.notes:
                log.warning(f"{event.model.key}: {note}")
        elif isinstance(event, Note):
            log.info(event.text)
        elif isinstance(event, RungStarted) and event.place:
            log.info(f"{event.rung}: {event.configurations} configurations, {event.known} reused")
        elif isinstance(event, Conclusion) and event.failure is not None:
            log.warning(
                f"{event.key} failed: {event.failure.error_type}: {event.reason}\n"
                f"{event.failure.traceback}"
            )
        elif isinstance(event, Conclusion) and event.result is not None:
            path = str(self.store.entries.folder(event.result.fingerprint))
            models = asset.key_of(self.spec, "trained_model")
            outcome = page.configuration(event, event.result, path)
            asset.report_partition(self.context, models, event.key, outcome)

    def _tell_result(self, concluded: Sequence[Conclusion]) -> None:
        """Say what was reused, and raise when nothing at all worked."""
        if reused := sum(one.reused for one in concluded):
            self.context.log.info(f"reused {reused} of {len(concluded)} configurations")
        failed = [one.failure for one in concluded if one.failure is not None]
        if len(failed) == len(concluded):
            raise AllConfigurationsFailed(
                f"{len(failed)} of {len(concluded)} configurations",
                f"failed, the first ({failed[0].key}) with {failed[0].error_type}: "
                f"{failed[0].reason}",
                "Mend the cause, or take the algorithm out of `search`.",
            )
