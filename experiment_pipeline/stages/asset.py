"""What every stage's `asset.py` shares: names, checks, failures, and results as metadata.

Every asset of an experiment is `<experiment>/<stage>` in the group `<experiment>`. Renders and
reports, never computes. What a stage finds is made by the pure modules beside its `asset.py`.
"""

import base64
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pandas as pd

from experiment_pipeline.columns.kinds import kind_of
from experiment_pipeline.errors import ExperimentPipelineError, told_as
from experiment_pipeline.reporting.markdown import bullets
from experiment_pipeline.spec import ExperimentSpec

# Key of the IO manager. The rest of a project has resources too: nobody calls one of its own so.
TABLES = "experiment_pipeline_tables"


def asset_key(spec: ExperimentSpec, stage: str) -> dg.AssetKey:
    """`<experiment>/<stage>`."""
    return dg.AssetKey([spec.name, stage])


def table_spec(spec: ExperimentSpec, stage: str, **options: Any) -> dg.AssetSpec:
    """One output of a multi-asset whose value is a table."""
    return dg.AssetSpec(
        asset_key(spec, stage), group_name=spec.name, **options
    ).with_io_manager_key(TABLES)


def table_asset(
    spec: ExperimentSpec, stage: str, **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` for a stage whose value is a table."""
    decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        name=stage,
        key_prefix=spec.name,
        group_name=spec.name,
        io_manager_key=TABLES,
        # Beside a check, Dagster takes `-> MaterializeResult` for an asset without a value.
        dagster_type=dg.Any,
        backfill_policy=dg.BackfillPolicy.single_run(),
        **options,
    )
    return decorate


def table_input(spec: ExperimentSpec, stage: str) -> dg.AssetIn:
    """The table of another stage as an argument."""
    return dg.AssetIn(asset_key(spec, stage))


def problems_check(
    context: dg.AssetExecutionContext,
    name: str,
    problems: Sequence[str],
    asset_key: dg.AssetKey,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    doubts: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dg.AssetCheckResult:
    """Passed when there is no problem; otherwise each is logged, so that the console says it too.

    Doubts are for people to judge: they are logged as warnings. Notes are logged. Both are shown
    and fail nothing.
    """
    log = context.log.error if severity is dg.AssetCheckSeverity.ERROR else context.log.warning
    for problem in problems:
        log(f"{name}: {problem}")
    for doubt in doubts:
        context.log.warning(f"{name}: {doubt}")
    for note in notes:
        context.log.info(f"{name}: {note}")
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset_key,
        passed=not problems,
        severity=severity,
        description="\n".join([*(problems or ["no problem found"]), *doubts, *notes]),
    )


def told_to_the_user() -> AbstractContextManager[None]:
    """Turn the project's own errors into a Failure that is not retried; bugs crash as they are."""
    return told_as(_failure)


def _failure(error: ExperimentPipelineError) -> dg.Failure:
    return dg.Failure(
        description=error.told,
        metadata={"culprit": error.culprit, "rule": error.rule, "fix": error.fix},
        allow_retries=False,
    )


MOST_ROWS = 1_000
# What a reader compares; the stored tables and results keep every digit.
SIGNIFICANT_DIGITS = 6


def columns_of(frame: pd.DataFrame) -> dg.TableSchema:
    """Column names and types, as the UI's column tab shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=str(name), type=str(dtype)) for name, dtype in frame.dtypes.items()
        ]
    )


def table(frame: pd.DataFrame, most_rows: int = MOST_ROWS) -> dg.TableMetadataValue:
    """A frame as a table of the UI; what is cut off is still in the stored table."""
    head = frame.head(most_rows)
    records = [
        dg.TableRecord({str(name): _cell(value) for name, value in row.items()})
        for row in head.to_dict("records")
    ]
    columns = [dg.TableColumn(str(name), _column_type(frame[name])) for name in frame.columns]
    return dg.MetadataValue.table(records=records, schema=dg.TableSchema(columns=columns))


def notes(lines: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Sentences as a list; `none` for none. Names and values of the table in them stay texts."""
    return dg.MetadataValue.md(bullets(lines) or "none")


def pictures(plots: Mapping[str, bytes]) -> dg.MarkdownMetadataValue:
    """PNG images inline, each under its title."""
    return dg.MetadataValue.md(
        "\n\n".join(
            f"**{title}**\n\n![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"
            for title, png in plots.items()
        )
    )


def number(value: float) -> float | str:
    """A number that JSON can hold, as long as a reader needs it; `undefined` for the others."""
    return _rounded(value) if math.isfinite(value) else "undefined"


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _cell(value: Hashable) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return _rounded(value) if math.isfinite(value) else None
    return str(value)


def _column_type(column: pd.Series) -> str:
    return {"boolean": "bool", "integer": "int", "float": "float"}.get(kind_of(column), "string")
