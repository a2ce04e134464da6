"""trained_model: one partition per configuration; search_results: a row per configuration.

One op makes both. It reuses what the store holds and trains the rest; what is trained is stored at once
and materialized within a second, so that progress shows live and a kill loses nothing finished.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dagster as dg
import joblib

# Not exported by Dagster: the tags of an event by which it is known to be stale.
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_input_provenance_data,
)
from pydantic import Field

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.registry import table_bytes, warn_of_memory
from experiment_pipeline.stages.search import page
from experiment_pipeline.stages.search.conclusions import Conclusion, SearchNote
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
    search_notes,
)
from experiment_pipeline.stages.search.dask_cluster import connected, engine_of
from experiment_pipeline.stages.search.halving import FitEngine, SearchOutcome, Threads, run_search
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.storage.entries import SharedFiles, SharedFolder
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.table.features import NamedColumns, check_metrics
from experiment_pipeline.tracking.database import recording


class ThisRun(dg.Config):
    """What the launchpad may change for one run; the YAML's value applies where nothing is given."""

    workers: int | None = Field(None, ge=1, le=256, description="Fits at a time")
    budget_seconds: float | None = Field(
        None,
        gt=0,
        description=(
            "Wall time of this run's search, refit and report; the result depends on the machine"
        ),
    )

    def over(self, spec: ExperimentSpec) -> ExperimentSpec:
        """The same search with what was asked for in place of the YAML's."""
        workers, seconds = self.workers or spec.workers, self.budget_seconds or spec.budget.seconds
        budget = spec.budget.model_copy(update={"seconds": seconds})
        return spec.model_copy(update={"workers": workers, "budget": budget})


def budget_left(
    context: dg.AssetExecutionContext, spec: ExperimentSpec, now: Callable[[], float]
) -> Callable[[], float]:
    """Return what tells how many seconds of a run's budget its search has left to a later step."""
    seconds = budget_of(context, spec)
    if seconds is None:
        return lambda: math.inf
    step = f"{spec.name}__training"
    stats = context.instance.get_run_step_stats(context.run.run_id, [step])
    searched = sum(one.end_time - (one.start_time or 0.0) for one in stats if one.end_time)
    ends = now() + seconds - searched
    return lambda: ends - now()


def budget_of(context: dg.AssetExecutionContext, spec: ExperimentSpec) -> float | None:
    """Return the seconds of a run: the YAML's, unless the launchpad has changed them for it."""
    ops: Any = context.run.run_config.get("ops", {})
    config = ops.get(f"{spec.name}__training", {}).get("config", {})
    seconds: float | None = config.get("budget_seconds") or spec.budget.seconds
    return seconds


_TRAINED_MODEL = """\
One fitted pipeline per hyperparameter configuration, each a partition.

Its metadata begin with its status: **trained**, or **stopped early** on a part of the train rows,
because others did better there. A partition that failed stays missing. *Plots* compares the last
120 partitions; the report of `leaderboard` compares all. No arrow leaves this asset, or `leaderboard`
would not be made when a single configuration fails: `search_results` lists every configuration.
"""


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """The search: train every configuration that is asked for and not stored yet."""
    spec = named.spec
    declared = configurations(spec)
    models, results = asset.key_of(spec, "trained_model"), asset.key_of(spec, "search_results")
    upstream = [asset.key_of(spec, "train_set"), asset.key_of(spec, "test_set")]

    @asset.stage_assets(
        spec,
        "training",
        specs=[
            dg.AssetSpec(
                models,
                deps=upstream,
                partitions_def=dg.StaticPartitionsDefinition([c.key for c in declared]),
                skippable=True,
                group_name=spec.name,
                kinds={"scikitlearn", *(c.algorithm for c in declared if c.algorithm in NAMES)},
                description=_TRAINED_MODEL,
            ),
            asset.table_spec(
                spec,
                "search_results",
                deps=upstream,
                kinds={"pandas"},
                description="Every configuration: trained, stopped early, failed or not started.",
            ),
        ],
        check_specs=[asset.check_spec("no_configuration_failed", results)],
        can_subset=True,
        pool=f"{spec.name}_training",
    )
    def trained_model(
        context: dg.AssetExecutionContext,
        config: ThisRun,
        train_set: SetTable,
        test_set: SetTable,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        for note in search_notes(spec):
            context.log.info(note)
        with record(context):
            if given := config.model_dump(exclude_none=True):
                asset.run_of(context, spec.name).record([RunFacts(settings=given)])
                told = ", ".join(f"{name} {value:g}" for name, value in given.items())
                context.log.info(f"changed for this run: {told}")
            sets = as_evaluated(train_set, test_set, spec)
            for part in (sets.train, sets.test):
                check_metrics(part[sets.target], spec)
            warn_of_memory("search", table_bytes(sets.train, sets.test), context.log.warning)
            found = _search(context, config.over(spec), sets, declared)
        if results in context.selected_asset_keys:
            outcome = page.results(found.results, found.cost, declared, spec.evaluation_name)
            yield asset.report(context, results, outcome)
        if context.selected_asset_check_keys:
            yield asset.report_check(context, results, page.none_failed(found.results.rows))

    return trained_model


def log_partition(
    context: dg.AssetExecutionContext, key: dg.AssetKey, partition: str, outcome: Outcome
) -> None:
    """Log the materialization of one partition at once: a returned result is logged at the end.

    The tags are those that Dagster adds to a returned result, by which it is known to be stale.
    """
    step = context.op_execution_context.get_step_execution_context()
    tags = _build_data_version_tags(
        dg.DataVersion(outcome.version or ""),
        context.assets_def.specs_by_key[key].code_version or context.run_id,
        _get_input_provenance_data(key, step),
        data_version_is_user_provided=True,
    )
    context.log_event(
        dg.AssetMaterialization(
            asset_key=key,
            partition=partition,
            description="; ".join(outcome.notes) or None,
            metadata=asset.metadata_of(outcome.facts),
            tags={**outcome.tags, **tags},
        )
    )


def _search(
    context: dg.AssetExecutionContext,
    spec: ExperimentSpec,
    sets: TrainingSets,
    declared: Sequence[Configuration],
) -> SearchOutcome:
    """Run the search; log, record and report each configuration when it is concluded.

    The partitions of the run are asked for; all of them where only `search_results` is.
    """
    log, models, asked_for = context.log, asset.key_of(spec, "trained_model"), declared
    if context.has_partition_key or context.has_partition_key_range:
        keys = set(context.partition_keys)
        asked_for = [one for one in declared if one.key in keys]
    store = TrainedModelStore.of(spec.name, log.warning)
    given = {one.key: one.given for one in declared}
    with (
        recording.in_batches(asset.run_of(context, spec.name)) as record,
        _engine(spec, log) as engine,
    ):

        def listen(event: SearchNote | Conclusion) -> None:
            if isinstance(event, SearchNote):
                (log.warning if event.warns else log.info)(event.text)
                return
            record([page.record_row(event, given[event.key])])
            if event.result is not None:
                path = str(store.entries.folder(event.result.fingerprint))
                outcome = page.configuration(event, event.result, path, spec.evaluation_name)
                log_partition(context, models, event.key, outcome)

        found = run_search(declared, sets, spec, store, engine, asked_for=asked_for, listen=listen)
        record([page.record_row(one, given[one.key]) for one in found.others])
    return found


@contextmanager
def _engine(spec: ExperimentSpec, log: logging.Logger) -> Iterator[FitEngine]:
    """What trains: threads of this machine, unless YAML or environment name a cluster."""
    files = SharedFiles(SharedFolder(str(storage_root()), spec.name), log.warning, log.info)
    if (dask := engine_of(spec.engine)) is None:
        with files:
            yield Threads(spec.workers or joblib.cpu_count(), files)
        return
    from experiment_pipeline.stages.search.dask_engine import ClusterEngine

    connect = partial(connected, dask, workers=spec.workers, log=log.info)
    with ClusterEngine(connect, files) as engine:
        yield engine
