"""Results as Dagster metadata: tables, pictures, column types. Renders, never computes."""

import base64
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from experiment_pipeline.reporting.markdown import bullets

# Metadata is stored in the event log and sent to the browser whole.
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
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    if pd.api.types.is_integer_dtype(column):
        return "int"
    return "float" if pd.api.types.is_float_dtype(column) else "string"
