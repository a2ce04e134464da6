"""The page for people who write SQL: every table, view and column, made of their comments.

`docs/database.md` is its copy.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from experiment_pipeline.tracking.database.tables import TABLES, VIEWS, UtcDateTime

_TYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (sa.Text, "text"),
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    (sa.Double, "number"),
    (UtcDateTime, "moment"),
    (sa.JSON, "JSON"),
)
_HEAD = (Path(__file__).parent / "documentation.md").read_text(encoding="utf-8")


def documentation() -> str:
    """Return the page as Markdown."""
    views = [_section(view.table) for view in VIEWS.values()]
    tables = [_section(table) for table in TABLES.values()]
    return "\n".join([_HEAD, "## Views\n", *views, "## Tables\n", *tables])


def _section(table: sa.Table) -> str:
    lines = [f"### {table.name}\n", f"{table.comment}\n"]
    lines += ["| column | type | meaning |", "|---|---|---|"]
    for column in table.columns:
        kind = next(name for base, name in _TYPES if isinstance(column.type, base))
        key = ", key" if column.primary_key else ""
        lines.append(f"| `{column.name}` | {kind}{key} | {column.comment} |")
    return "\n".join([*lines, ""])
