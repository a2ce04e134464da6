"""The delivered table as an outcome. In: a parsed table. Out: an outcome, an escaped preview."""

import html
import re

import pandas as pd

from experiment_pipeline.reporting.outcome import ColumnTypes, Markdown, Notes, Outcome
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.stages.raw_data.table import RawTable

SHOWN_ROWS = 5
MOST_COLUMNS = 40
MOST_CHARACTERS = 60


def outcome(table: RawTable, source: str) -> Outcome:
    """Return how the table was read; `source` is the URL without its secrets."""
    absent, first = "does not apply", table.frame.iloc[:SHOWN_ROWS]
    return Outcome(
        value=table,
        version=table.digest,
        notes=table.notes,
        facts={
            "source": source,
            "dagster/row_count": len(table.frame),
            "columns": len(table.frame.columns),
            "digest": table.digest,
            "format": table.format,
            "encoding": table.encoding or absent,
            "delimiter": repr(table.delimiter) if table.delimiter else absent,
            "notes": Notes(table.notes),
            "preview": Markdown(preview(first)),
            "dagster/column_schema": ColumnTypes(first),
        },
        record=[
            RunFacts(
                data_url=source,
                data_digest=table.digest,
                data_rows=len(table.frame),
                data_columns=len(table.frame.columns),
            )
        ],
    )


def preview(frame: pd.DataFrame, rows: int = SHOWN_ROWS) -> str:
    """Return the first rows as a Markdown table, cut to MOST_COLUMNS and MOST_CHARACTERS.

    HTML and Markdown in names and values is escaped.
    """
    shown = frame.iloc[:rows, :MOST_COLUMNS]
    cells = shown.astype("object").where(shown.notna(), "").astype("str").to_numpy()
    lines = [_line(list(map(str, shown.columns))), "|" + " --- |" * shown.shape[1]]
    lines += [_line(list(row)) for row in cells]
    hidden = frame.shape[1] - shown.shape[1]
    return "\n".join([*lines, *([f"\n… and {hidden:,} more columns"] if hidden else [])])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 1] + "…"
    one_line = " ".join(text.splitlines())
    return re.sub(r"([\\`*\[\]~|])", r"\\\1", html.escape(one_line, quote=False))
