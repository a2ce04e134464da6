"""The delivered table as an outcome. In: a parsed table. Out: an outcome, an escaped
preview.
"""

import html
import re
from datetime import datetime

import pandas as pd

from experiment_pipeline.intake.raw_table import RawTable
from experiment_pipeline.reporting.outcome import ColumnTypes, Markdown, Notes, Outcome
from experiment_pipeline.reporting.run_record import RunFacts

SHOWN_ROWS = 5
MOST_COLUMNS = 40
MOST_CHARACTERS = 60


def outcome(
    table: RawTable, source: str, modified_at: datetime | None = None
) -> Outcome:
    """Return how the table was read; `source`: the URL without secrets; `modified_at`:
    its last change.
    """
    absent, (rows, columns) = "does not apply", table.frame.shape
    first = table.frame.iloc[:SHOWN_ROWS]
    return Outcome(
        value=table,
        version=table.digest,
        notes=table.notes,
        facts={
            "source": source,
            "dagster/row_count": rows,
            "columns": columns,
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
                data_modified_at=modified_at,
                data_rows=rows,
                data_columns=columns,
            )
        ],
    )


def preview(frame: pd.DataFrame, rows: int = SHOWN_ROWS) -> str:
    """Return the first rows as a table of escaped Markdown.

    It is cut to MOST_COLUMNS and MOST_CHARACTERS.
    """
    shown = frame.iloc[:rows, :MOST_COLUMNS]
    cells = shown.astype("object").where(shown.notna(), "").astype("str").to_numpy()
    header, *body = (
        f"| {' | '.join(map(_escaped, row))} |"
        for row in [map(str, shown.columns), *cells]
    )
    lines = [header, "|" + " --- |" * shown.shape[1], *body]
    hidden = frame.shape[1] - shown.shape[1]
    if hidden:
        lines.append(f"\n… and {hidden:,} more columns")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        text = f"{text[: MOST_CHARACTERS - 1]}…"
    plain = html.escape(" ".join(text.splitlines()), quote=False)
    return re.sub(r"([\\`*\[\]~|])", r"\\\1", plain)
