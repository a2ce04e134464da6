"""The assets of an experiment: each calls the flow and reports its outcomes to Dagster.

The assets of a stage are made by one op, since its tables belong together. The flow is
imported when an op runs: whoever only loads definitions does not wait for it.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from experiment_pipeline.orchestration.metadata import metadata_of
from experiment_pipeline.orchestration.reporter import (
    DagsterReporter,
    check_result,
    record_id,
    reported_to_the_user,
    started_by,
)
from experiment_pipeline.orchestration.tables import TABLES, StageValue
from experiment_pipeline.reporting.outcome import Check, Notes
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.operation import Watch
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.storage.tables import asset_file, write_table
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database.recording import RunRecord

if TYPE_CHECKING:
    from experiment_pipeline.experiment.context import RunBudget

# Asset check → its asset, where that is not the first one of its stage.
_CHECKED = {
    "no_new_data_issues": "data_issues",
    "rejected_rows_resemble_the_others": "rejected_rows",
    "no_configuration_failed": "search_results",
}
# Stages that must follow others, although they take no value from them.
_AFTER = {"validated_data": ("data_analysis",)}
_OPS = {"search": "training"}  # stage → name of its op, where that differs
# Before a run starts, its process imports Dagster and loads definitions, which takes 3
# to 5 on an idle machine: they are the user's seconds, too.
START_SECONDS = 3.0
Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


class ThisRun(dg.Config):
    """Settings that the launchpad may change for one run; unset: as in the YAML."""

    workers: int | None = Field(None, ge=1, le=256, description="Fits at a time")
    budget_seconds: float | None = Field(
        None,
        gt=0,
        description="Wall seconds of the whole run; with more than an earlier run had, "
        "the search goes on",
    )


def key_of(spec: ExperimentSpec, asset: str) -> dg.AssetKey:
    """`<experiment>/<asset>`."""
    return dg.AssetKey([spec.name, asset])


def stage_assets(named: NamedColumns) -> list[dg.AssetsDefinition]:
    """Return the assets of every stage, in the order of the flow."""
    return [_stage(named, stage) for stage in STAGES]


def _stage(named: NamedColumns, stage: str) -> dg.AssetsDefinition:
    """Return the assets of a stage and their checks, made by one op.

    That of the search makes trained_model, one partition per configuration, and
    search_results. It reuses stored models and trains the rest. Each model is stored at
    once and materialized within a second, so that progress shows live and a killed run
    loses no finished model.
    """
    spec = named.spec
    takes = STAGES[stage].takes
    options: dict[str, Any] = {
        "name": f"{spec.name}__{_OPS.get(stage, stage)}",
        "specs": [_asset_spec(named, stage, asset) for asset in STAGES[stage].assets],
        "check_specs": [
            _check_spec(spec, stage, name) for name in STAGES[stage].checks
        ],
        "ins": {asset: dg.AssetIn(key_of(spec, asset)) for asset in takes},
        "required_resource_keys": {TABLES},
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "can_subset": True,
    }

    def assets(context: dg.AssetExecutionContext, **tables: object) -> Results:
        yield from _reported(context, named, stage, tables)

    def training(
        context: dg.AssetExecutionContext,
        config: ThisRun,  # noqa: ARG001 - its settings are those of all stages
        **tables: object,
    ) -> Results:
        # If only `search_results` is selected, no partition is: all are requested.
        keyed = context.has_partition_key or context.has_partition_key_range
        asked_for = set(context.partition_keys) if keyed else None
        yield from _reported(context, named, stage, tables, asked_for=asked_for)

    function = assets
    if stage == "search":
        options["pool"] = f"{spec.name}_training"
        function = training
    _name_inputs(function, takes)
    return dg.multi_asset(**options)(function)


def _name_inputs(function: Callable[..., Results], names: Sequence[str]) -> None:
    """Put parameters in place of `**tables`: Dagster reads names and types
    from there.
    """
    signature = inspect.signature(function)
    first = [p for p in signature.parameters.values() if p.name != "tables"]
    named = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=StageValue
        )
        for name in names
    ]
    function.__signature__ = signature.replace(parameters=[*first, *named])  # type: ignore[attr-defined]
    function.__annotations__ |= dict.fromkeys(names, StageValue)


def _asset_spec(named: NamedColumns, stage: str, asset: str) -> dg.AssetSpec:
    """Describe one asset of a stage."""
    spec = named.spec
    declared = STAGES[stage].assets[asset]
    upstream = (*_AFTER.get(stage, ()), *STAGES[stage].takes)
    described = dg.AssetSpec(
        key_of(spec, asset),
        deps=[key_of(spec, name) for name in upstream],
        group_name=spec.name,
        kinds={declared.kind},
        description=declared.description.format(
            source=spec.shown_source, metric=spec.metric
        ),
    )
    if asset == "trained_model":
        searched = configurations(spec)
        keys = [configuration.key for configuration in searched]
        libraries = {c.algorithm for c in searched if c.algorithm in NAMES}
        described = described.replace_attributes(
            partitions_def=dg.StaticPartitionsDefinition(keys),
            skippable=True,
            kinds={declared.kind, *libraries},
        )
    return described.with_io_manager_key(TABLES)


def _check_spec(spec: ExperimentSpec, stage: str, name: str) -> dg.AssetCheckSpec:
    """Describe an asset check as the registry of stages does."""
    blocking = name in STAGES[stage].blocking
    # Drift ends a run only if the YAML sets a limit for it.
    if name == "data_resembles_the_accepted":
        blocking = spec.validation.drift.block is not None
    asset = _CHECKED.get(name, next(iter(STAGES[stage].assets)))
    return dg.AssetCheckSpec(
        name,
        asset=key_of(spec, asset),
        description=STAGES[stage].checks[name],
        blocking=blocking,
    )


def _reported(
    context: dg.AssetExecutionContext,
    named: NamedColumns,
    stage: str,
    tables: Mapping[str, object],
    **of_run: Any,
) -> Results:
    """Run a stage, and report each of its assets to Dagster; `of_run`: fields of `Run`.

    Assets that are not selected are stored and logged as well: the tables of a stage
    belong together. Only the search leaves its table to a run that selects it.
    """
    from experiment_pipeline.experiment.context import Run
    from experiment_pipeline.experiment.declared import with_schema
    from experiment_pipeline.experiment.file_store import FileStore
    from experiment_pipeline.experiment.flow import carry_out

    spec = named.spec
    store = FileStore(
        spec,
        checked=getattr(context.resources, TABLES).checked,
        run=RunRecord(spec.name, record_id(context.run)),
        started=replace(
            started_by(context.run),
            started_at=datetime.fromtimestamp(_began(context, time.time), UTC),
        ),
        warn=context.log.warning,
    )
    reporter = DagsterReporter(context, named, store.pages)
    settings = _settings_of(context, spec)
    with reported_to_the_user():
        named = with_schema(named)
    run = Run(
        named,
        store,
        reporter,
        budget_of(context, spec),
        workers=settings.get("workers"),
        **of_run,
    )
    for asset, outcome in carry_out(run, stage, tables).items():
        key = key_of(spec, asset)
        with reported_to_the_user():
            pages = store.record_outcome(outcome)
        result = reporter.result(key, outcome, pages)
        if key in context.selected_asset_keys:
            yield result
            continue
        if stage != "search":
            table: Any = outcome.value
            with reported_to_the_user():
                write_table(asset_file(*key.path), table)
            reporter.materialized(key, outcome)
        elif not context.selected_asset_check_keys:
            continue
        yield from result.check_results or ()


def _settings_of(
    context: dg.AssetExecutionContext, spec: ExperimentSpec
) -> Mapping[str, Any]:
    """The settings of `ThisRun` that the launchpad gave."""
    training = f"{spec.name}__{_OPS['search']}"
    ops: Any = context.run.run_config.get("ops", {})
    return ops.get(training, {}).get("config", {})


def _began(context: dg.AssetExecutionContext, now: Callable[[], float]) -> float:
    """The second of the clock in which the run began."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return now() if record is None else record.start_time or now()


def budget_of(
    context: dg.AssetExecutionContext,
    spec: ExperimentSpec,
    now: Callable[[], float] = time.time,
) -> "RunBudget":
    """Return the seconds of a run, from its launchpad or the YAML, and those spent."""
    from experiment_pipeline.experiment.context import RunBudget
    from experiment_pipeline.stages.search.budget import EXPORT_SECONDS

    seconds = _settings_of(context, spec).get("budget_seconds")
    began = _began(context, now)

    def spent() -> float:
        return now() - began + START_SECONDS

    return RunBudget(seconds or spec.budget.seconds, spent, EXPORT_SECONDS)


def watch(named: NamedColumns, settings: Watch) -> dg.AssetsDefinition:
    """Compare the champion's promised score with its score on later labels.

    It is not a stage of a run.
    """
    spec = named.spec
    key = key_of(named.spec, "watch")
    name = "promise_kept"
    means = (
        "No evidence that the champion scores below its promise. However often this is "
        "checked, the probability that it ever fails by chance is 5 %; a note says "
        "where it may be more."
    )

    @dg.asset(
        key=key,
        group_name=spec.name,
        deps=[key_of(spec, "exported_model")],
        check_specs=[dg.AssetCheckSpec(name, asset=key, description=means)],
        description="The champion's score on labels that arrived later, beside its "
        "promise.",
    )
    def watch(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from experiment_pipeline.prediction.watching import watch as watch_promise

        with reported_to_the_user():
            watched = watch_promise(
                spec.name,
                settings.predictions,
                settings.labels,
                ids=() if settings.id is None else settings.id,
                time=settings.time,
                label_after=settings.label_after,
            )
        context.log.info(str(watched))
        check = Check(
            name,
            passed=not watched.below,
            means=watched.answer,
            severity="warning",
            value=watched.evidence,
        )
        facts = {
            "version": watched.version,
            "rows": watched.rows,
            "new_rows": watched.new_rows,
            "days": watched.days,
            "score": watched.score,
            "promise": watched.promise,
            "baseline": watched.baseline,
            "notes": Notes(watched.notes),
        }
        return dg.MaterializeResult(
            metadata=metadata_of(facts),
            check_results=[check_result(context.log, key, check)],
        )

    return watch
