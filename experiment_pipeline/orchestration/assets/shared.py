"""Code that the assets of all stages share: names, tables, failures, the run record,
reporting.

Every asset of an experiment is `<experiment>/<stage>` in the group `<experiment>`; its
table is `<root>/<experiment>/tables/<stage>.parquet`. `report` turns an `Outcome` into
Dagster's result, metadata, checks and log lines.
"""

import getpass
import inspect
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import is_dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import dagster as dg
import pandas as pd

# Not exported by Dagster: this kind of error is shown without a stack trace.
from dagster._core.errors import DagsterUserCodeProcessError

# Not exported by Dagster: the tags of an event that tell whether it is stale.
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_input_provenance_data,
)
from dagster_shared.error import SerializableErrorInfo

from experiment_pipeline.errors import (
    ExperimentPipelineError,
    StorageError,
    reported_as,
)
from experiment_pipeline.experiment.stage_run import Reported, StageRun
from experiment_pipeline.orchestration.instance import noted
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting import outcome as outcomes
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.storage.files import Location, storage_root
from experiment_pipeline.storage.registry import RECORD
from experiment_pipeline.storage.tables import (
    asset_table,
    read_table,
    table_of,
    write_table,
)
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import (
    finish_run,
    record_outcome,
    recorded_stage,
)
from experiment_pipeline.tracking.server import USUAL, page_url

# Seconds that the search step needs to read its tables and to store that of the
# results.
_AROUND_SEARCH = 1.0
# Key of the IO manager, named so that it clashes with no other resource of a project.
TABLES = "experiment_pipeline_tables"
# Tags by which Dagster records what started a run.
FROM_UI, SCHEDULE, SENSOR = (
    "dagster/from_ui",
    "dagster/schedule_name",
    "dagster/sensor_name",
)
BACKFILL = "dagster/backfill"
# The beginning of the text that explains a failed run; the console shows that text
# alone.
FAILED = "FAILED\n\n"
INTERRUPTED = (
    KeyboardInterrupt,
    dg.DagsterExecutionInterruptedError,
)  # Ctrl-C, "Terminate"
REFUSED = "what to do"  # metadata of a failed check: the same text
# Pages with more on a failure, the most specific first.
_READ_ON, _MOST_PAGES = ("report", RECORD.removesuffix(".md"), "runs"), 2
# Assets that cannot be the input of another one: the reason, and what to use instead.
_WITHOUT_VALUE = {
    "data_analysis": (
        "has a report and no value",
        "Call `experiment_pipeline.findings`.",
    ),
    "trained_model": (
        "cannot be loaded: it is many stored models",
        "Depend on exported_model.",
    ),
}
# Rows of a table in the metadata, which the event log stores whole; longer tables have
# a page.
MOST_ROWS = 100
# Cells up to this length, such as `0.6772 to 0.7723`, do not wrap: a screen holds twice
# the rows.
_ONE_LINE = 20
_SINGLE_RUN = dg.BackfillPolicy.single_run()
Step = Callable[..., Reported]


def key_of(spec: ExperimentSpec, stage: str) -> dg.AssetKey:
    """`<experiment>/<stage>`."""
    return dg.AssetKey([spec.name, stage])


def stage_asset(
    named: NamedColumns, step: Step, kind: str, text: str
) -> dg.AssetsDefinition:
    """The asset of a stage with a single one, and its checks; it is named as `step`,
    described by `text`.
    """
    spec, stage = named.spec, step.__name__
    checks = [check_spec(name, key_of(spec, stage)) for name in STAGES[stage].checks]
    names = {
        "name": stage,
        "key_prefix": spec.name,
        "group_name": spec.name,
        "description": text,
    }
    # With checks, Dagster reads `-> MaterializeResult` as an asset without a value, so
    # the type is given.
    options: dict[str, Any] = {
        "io_manager_key": TABLES,
        "dagster_type": dg.Any,
        "kinds": {kind},
    }
    _, *tables = inspect.signature(step).parameters.values()
    ins = {
        t.name: dg.AssetIn(key_of(spec, t.name), dagster_type=t.annotation)
        for t in tables
    }

    @dg.asset(
        check_specs=checks, ins=ins, backfill_policy=_SINGLE_RUN, **names, **options
    )
    def made(
        context: dg.AssetExecutionContext, **tables: object
    ) -> dg.MaterializeResult:
        (result,) = reported(context, named, step, **tables)
        return result

    return made


def stage_assets(
    spec: ExperimentSpec, op: str, **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.multi_asset` for a stage with several; the function's arguments name its
    input stages.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        names = [
            n
            for n in inspect.signature(function).parameters
            if n not in ("context", "config")
        ]
        ins = {name: dg.AssetIn(key_of(spec, name)) for name in names}
        options.update(name=f"{spec.name}__{op}", ins=ins, backfill_policy=_SINGLE_RUN)
        return dg.multi_asset(can_subset=True, **options)(function)

    return decorate


def table_spec(spec: ExperimentSpec, stage: str, **options: Any) -> dg.AssetSpec:
    """One output of a multi-asset whose value is a table."""
    asset = dg.AssetSpec(key_of(spec, stage), group_name=spec.name, **options)
    return asset.with_io_manager_key(TABLES)


def check_spec(
    name: str, key: dg.AssetKey, *, blocking: bool = False
) -> dg.AssetCheckSpec:
    """A check as the registry of stages describes it; `blocking` makes it block in any
    case.
    """
    (stage,) = (stage for stage in STAGES.values() if name in stage.checks)
    ends_run = blocking or name in stage.blocking
    return dg.AssetCheckSpec(
        name, asset=key, description=stage.checks[name], blocking=ends_run
    )


class TablesIOManager(dg.UPathIOManager):
    """Stores the table that an asset returns, at a path that is the same in every run.
    An asset that takes the exported model as input gets the champion.
    """

    extension = ".parquet"

    def get_asset_relative_path(
        self, context: dg.InputContext | dg.OutputContext
    ) -> Location:
        """`<experiment>/tables/<stage>` for the key `<experiment>/<stage>`."""
        return Location(asset_table(*context.asset_key.path))

    def make_directory(self, path: Location) -> None:
        """Do nothing: writing a file makes its folder."""

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: Location) -> None:  # noqa: ARG002
        """Write the table that an asset returned, with its metadata."""
        with reported_to_the_user():
            write_table(path, obj)

    def load_from_path(self, context: dg.InputContext, path: Location) -> Any:
        """Read a table for an asset: a DataFrame, or with metadata if the argument's
        type is a dataclass.
        """
        *_, experiment, stage = ("", *context.asset_key.path)
        wanted = context.dagster_type.typing_type
        kind: Any = wanted if is_dataclass(wanted) else pd.DataFrame
        with reported_to_the_user():
            if stage == "exported_model":
                from experiment_pipeline.prediction.files import (
                    champion,
                )  # loads scikit-learn

                return champion(
                    experiment, context.definition_metadata.get("trusted", ())
                )
            if stage in _WITHOUT_VALUE:
                raise StorageError(
                    "/".join(context.asset_key.path), *_WITHOUT_VALUE[stage]
                )
            return read_table(path, kind)

    def get_metadata(self, context: dg.OutputContext, obj: Any) -> dict[str, Any]:  # noqa: ARG002
        """Rows and columns; Dagster adds the path."""
        rows, columns = table_of(obj).shape
        return {"dagster/row_count": rows, "columns": columns}


@dg.io_manager(description="Tables as Parquet files, on a disk or in a bucket.")
def tables_io_manager(_context: dg.InitResourceContext) -> TablesIOManager:
    """The IO manager that all experiments share; the storage root is looked up when a
    run starts.
    """
    return TablesIOManager(storage_root())


class Cancelled(dg.DagsterExecutionInterruptedError, DagsterUserCodeProcessError):
    """Ends a run like Dagster's own interruption, and is shown without a
    stack trace.
    """

    def __init__(self, message: str) -> None:
        BaseException.__init__(self, message)
        info = SerializableErrorInfo(f"{message}\n", [], "Cancelled")
        self.user_code_process_error_infos = [info]


def reported(
    context: dg.AssetExecutionContext, named: NamedColumns, step: Step, **tables: object
) -> Iterator[Any]:
    """Run a stage of the experiment, and report each of its assets to Dagster.

    Assets that are not selected are stored and logged as well: the tables of a stage
    belong together.
    """
    for name, outcome in step(stage_run(context, named), **tables):
        key = key_of(named.spec, name)
        result = report(context, key, outcome)
        if key in context.selected_asset_keys:
            yield result
        else:
            table: Any = outcome.value
            with reported_to_the_user():
                write_table(storage_root() / f"{asset_table(*key.path)}.parquet", table)
            log_materialization(context, key, outcome)
            yield from result.check_results or ()


def log_materialization(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    outcome: outcomes.Outcome,
    partition: str | None = None,
) -> None:
    """Log the materialization of an asset, or of one partition, that is not returned as
    a result.

    It gets the tags that Dagster adds to a returned result, and later compares to
    detect staleness.
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
            metadata=metadata_of(outcome.facts),
            tags={**outcome.tags, **tags},
        )
    )


def stage_run(
    context: dg.AssetExecutionContext, named: NamedColumns, workers: int | None = None
) -> StageRun:
    """Return the StageRun of the op that Dagster executes; `workers`: fits at a time,
    for this run.
    """
    training = f"{named.spec.name}__training"
    ops: Any = context.run.run_config.get("ops", {})
    config = ops.get(training, {}).get("config", {})

    def spent() -> float:
        stats = context.instance.get_run_step_stats(context.run.run_id, [training])
        ended = [
            one.end_time - (one.start_time or 0.0) for one in stats if one.end_time
        ]
        return sum(ended) + _AROUND_SEARCH * (len(stats) - len(ended))

    return StageRun(
        named,
        run_of(context, named.spec.name),
        context.log,
        partial(_at_work, context, named),
        config.get("budget_seconds") or named.spec.budget.seconds,
        spent,
        workers,
    )


@contextmanager
def _at_work(context: dg.AssetExecutionContext, named: NamedColumns) -> Iterator[None]:
    """Record the work of a stage, and report its errors to the user."""
    stage = context.assets_def.node_def.name.removeprefix(f"{named.spec.name}__")
    run, kept = run_of(context, named.spec.name), dict[str, outcomes.Fact]()

    def finish(ended: RunRecord) -> None:
        kept.update(finish_run(ended, context.log.warning))

    try:
        with (
            reported_as(lambda error: _failure(error, kept)),
            recorded_stage(
                run, stage, named.spec, named.texts, _trigger(context.run), finish
            ),
        ):
            yield
    except INTERRUPTED as error:
        message = (
            f"{str(error) or recording.CANCELLED}; the next run reuses what is stored"
        )
        raise Cancelled(_with_pages([message], kept)) from None
    known = context.instance.get_run_by_id(context.run.run_id)
    if known is None or noted(known.run_id, known.tags) is None:
        # Another executor does not close the record: a run of selected stages would
        # count as killed.
        with suppress(StorageError):
            recording.end_open(run.run_id, "partial")


def run_of(context: dg.AssetExecutionContext, experiment: str) -> RunRecord:
    """The run record of an experiment."""
    return RunRecord(experiment, record_id(context.run))


def record_id(run: dg.DagsterRun) -> str:
    """The id of a run's record; all runs of a backfill share one, with the backfill's
    id.
    """
    return run.tags.get(BACKFILL, run.run_id)


def _trigger(run: dg.DagsterRun) -> RunFacts:
    """Return what started a run; a person's re-execution also inherits the tags of the
    first run.
    """
    by_person = FROM_UI in run.tags
    if SCHEDULE in run.tags and not by_person:
        return RunFacts(triggered_by="schedule", trigger_name=run.tags[SCHEDULE])
    if SENSOR in run.tags and not by_person:
        return RunFacts(triggered_by="sensor", trigger_name=run.tags[SENSOR])
    # The webserver and the daemon record the code location of the runs that they start.
    by_command = run.remote_job_origin is None and not by_person
    name = run.tags.get("user")
    if name is None and by_command:
        with suppress(KeyError, OSError):  # the user has no name, as in many containers
            name = getpass.getuser()
    return RunFacts(
        triggered_by="command line" if by_command else "person", trigger_name=name
    )


def reported_to_the_user() -> AbstractContextManager[None]:
    """Turn the package's own errors into a Failure that is not retried; bugs are raised
    unchanged.
    """
    return reported_as(_failure)


def _failure(
    error: ExperimentPipelineError,
    kept: Mapping[str, outcomes.Fact] = MappingProxyType({}),
) -> dg.Failure:
    return dg.Failure(
        description=_with_pages([error.with_class], kept),
        metadata={"culprit": error.culprit, "rule": error.rule, "fix": error.fix},
        allow_retries=False,
    )


def _with_pages(messages: Sequence[str], facts: Mapping[str, outcomes.Fact]) -> str:
    """Return why a run ended, with the paths of its pages, and their addresses if they
    are served.
    """
    found = [
        fact.path
        for name in _READ_ON
        if isinstance(fact := facts.get(name), outcomes.PagePath)
    ]
    lines = [*messages]
    for path in found[:_MOST_PAGES]:
        lines += [
            f"  page: {path}",
            *([f"        {url}"] if (url := page_url(path)) else []),
        ]
    return "\n".join(lines)


def report(
    context: dg.AssetExecutionContext, key: dg.AssetKey, outcome: outcomes.Outcome
) -> dg.MaterializeResult:
    """Log an outcome's warnings and notes, record it, and return the rest as the
    asset's result.
    """
    for warning in outcome.warnings:
        context.log.warning(warning)
    for note in outcome.notes:
        context.log.info(note)
    with reported_to_the_user():
        ended = record_outcome(
            run_of(context, key.path[0]), outcome, context.log.warning
        )
    facts = {**outcome.facts, **ended}
    value: dict[str, Any] = {} if outcome.value is None else {"value": outcome.value}
    return dg.MaterializeResult(
        asset_key=key,
        data_version=None
        if outcome.version is None
        else dg.DataVersion(outcome.version),
        metadata=metadata_of(facts),
        check_results=[
            report_check(context, key, check, facts) for check in outcome.checks
        ],
        **value,
    )


def report_check(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    check: outcomes.Check,
    facts: Mapping[str, outcomes.Fact] = MappingProxyType({}),
) -> dg.AssetCheckResult:
    """Return a check's result, and log its problems; an error also lists the pages in
    `facts`.
    """
    error = check.severity == "error"
    problems = [f"{check.name}: {problem}" for problem in check.problems]
    refused: dict[str, outcomes.Fact] = {}
    if error and not check.passed:
        reasons = (
            problems or [check.means]
            if check.refusal is None
            else [check.refusal.with_class]
        )
        refused = {REFUSED: _with_pages(reasons, facts)}
        context.log.error(f"{FAILED}{refused[REFUSED]}\n")
    else:
        for problem in problems:
            context.log.warning(problem)
    for caveat in check.caveats:
        context.log.warning(f"{check.name}: {caveat}")
    for note in check.notes:
        context.log.info(f"{check.name}: {note}")
    held = {
        k: v
        for k, v in (("value", check.value), ("limit", check.limit))
        if v is not None
    }
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=key,
        passed=check.passed,
        severity=dg.AssetCheckSeverity.ERROR if error else dg.AssetCheckSeverity.WARN,
        description=check.means,
        metadata=metadata_of({**held, **refused, **check.facts}),
    )


def metadata_of(facts: Mapping[str, outcomes.Fact]) -> dict[str, Any]:
    """Return facts as Dagster's metadata, after links to the pages among them.

    Without a running server, a link has the usual address, at which a later server will
    serve the page.
    """
    pages = {
        name: page_url(one.path, USUAL)
        for name, one in facts.items()
        if isinstance(one, outcomes.PagePath)
    }
    links = {
        f"{name}_page": dg.MetadataValue.url(url) for name, url in pages.items() if url
    }
    return {**links, **{name: _shown(fact) for name, fact in facts.items()}}


def _shown(fact: outcomes.Fact) -> Any:  # noqa: PLR0911 - one kind of fact each
    match fact:
        case outcomes.Rows(frame):
            return _table(frame)
        case outcomes.ColumnTypes(frame):
            types = frame.dtypes.items()
            return dg.TableSchema(
                [dg.TableColumn(str(name), str(dtype)) for name, dtype in types]
            )
        case outcomes.Notes(lines):
            # As a table: Dagster shows Markdown only after a click.
            return _table(pd.DataFrame({"note": list(lines)})) if lines else "none"
        case outcomes.Markdown(text):
            return dg.MetadataValue.md(text)
        case outcomes.PagePath(path):
            return dg.MetadataValue.path(path)
        case float():
            return numbers.rounded(fact) if math.isfinite(fact) else "undefined"
    return fact


def _table(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """A table for the UI; rows beyond the first 100 are only in the stored table."""
    records = [
        dg.TableRecord({str(name): _cell(value) for name, value in row.items()})
        for row in frame.head(MOST_ROWS).to_dict("records")
    ]
    names = {"boolean": "bool", "integer": "int", "float": "float"}
    kinds = {name: names.get(kind_of(frame[name]), "string") for name in frame.columns}
    columns = [dg.TableColumn(str(name), kind) for name, kind in kinds.items()]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def _cell(value: Hashable) -> bool | int | float | str | None:
    if isinstance(value, float):
        return numbers.rounded(value) if math.isfinite(value) else None
    if isinstance(value, str) and len(value) <= _ONE_LINE:
        return value.replace(" ", "\N{NO-BREAK SPACE}")
    return value if isinstance(value, bool | int | str) or value is None else str(value)
