"""Run records as text for a terminal, and as JSON for programs.

In: what `questions.py` returns. Out: tables of texts with few columns and formatted
numbers.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import RunComparison
from experiment_pipeline.tracking.database.tables import CONFIGURATIONS

SHOWN_CONFIGURATIONS = 20
_Row = Mapping[str, Any]
# Header → the column to show, or a function that makes the text from the row.
_Columns = Mapping[str, str | Callable[[_Row], str]]


@dataclass(frozen=True)
class TextTable:
    """A table to print; an empty title means none."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def listed(kind: str, found: pd.DataFrame, without: str = "") -> TextTable:
    """A table of `found`: experiments, runs, configurations or models; `without`: a
    column to leave out.
    """
    return _table(
        "", found, {k: v for k, v in (_LISTS | _PARTS)[kind].items() if k != without}
    )


def models_frame(registry: Registry) -> pd.DataFrame:
    """A row per version of a registry, the oldest first; `state`: champion, gone,
    retired or waiting.
    """
    champion, waiting, approvals = (
        registry.champion(),
        registry.waiting(),
        registry.approvals(),
    )
    retired = registry.approvals("retired")
    rows = []
    for one in registry.history():
        state, approval = "" if one.visible else "gone", approvals.get(one.version)
        if one.visible and one.version in waiting:
            state = "waits for approval"
        if one.version in retired:
            state = f"retired: {retired[one.version].comment}"
        rows.append(
            {
                "version": one.version,
                "state": "champion" if one.version == champion else state,
                **{
                    name: value
                    for name, value in asdict(one).items()
                    if name != "visible"
                },
                "approved_by": approval and approval.by,
                "approved_at": approval and approval.at,
            }
        )
    return pd.DataFrame(rows)


def run(row: _Row) -> list[TextTable]:
    """Everything recorded of one run, given its row: facts, then its tables."""
    facts = [(name, _cell(row, column)) for name, column in _FACTS.items()]
    shown = [TextTable("", ("", ""), [fact for fact in facts if fact[1]])]
    for name, columns in _PARTS.items():
        title, frame = name, questions.rows_of(name, row)
        if name == "configurations":
            frame = questions.results(row["experiment"], row["run_id"]).head(
                SHOWN_CONFIGURATIONS
            )
            title = f"configurations ({row['metric']} {numbers.evaluated(row['evaluation']).short})"
        if len(frame):
            shown.append(_table(title, frame, columns))
    return shown


def run_json(row: _Row) -> str:
    """Everything recorded of one run as a JSON object: the run's own facts, then a list
    per table.
    """
    parts = {name: _records(questions.rows_of(name, row)) for name in ("sets", *_PARTS)}
    return json.dumps({**_records(pd.DataFrame([row]))[0], **parts}, indent=2)


def frame_json(frame: pd.DataFrame) -> str:
    """A table as a JSON list of objects; times in ISO 8601, missing values as null."""
    return json.dumps(_records(frame), indent=2)


def comparison_json(found: RunComparison) -> str:
    """A comparison as one JSON object."""
    parts = {
        "before": found.before["run_id"],
        "after": found.after["run_id"],
        "changes": [asdict(change) for change in found.changes],
        "yaml_diff": found.yaml_diff,
        "code_diff": found.code_diff,
        "scores": _records(found.table()),
        "why_unpaired": found.why_unpaired,
        "rows": found.rows and found.rows.in_words,
    }
    return json.dumps(parts, indent=2)


def printable(text: str) -> str:
    """A text without control characters, which names from a table may contain."""
    return "".join(one if one.isprintable() or one == "\n" else "�" for one in text)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    text = frame.to_json(
        orient="records", date_format="iso", date_unit="s", double_precision=15
    )
    return json.loads(text)


def _table(title: str, frame: pd.DataFrame, columns: _Columns) -> TextTable:
    rows = [
        tuple(_cell(row, one) for one in columns.values()) for row in plain_rows(frame)
    ]
    return TextTable(title, tuple(columns), rows)


def _cell(row: _Row, column: str | Callable[[_Row], str]) -> str:
    if callable(column):
        return printable(column(row))
    value = row[column]
    if value is None:
        return ""
    if isinstance(value, float):
        return (
            numbers.seconds(value)
            if column.endswith("seconds")
            else numbers.score(value)
        )
    if isinstance(value, datetime):
        return numbers.moment(value)
    return printable(", ".join(value) if isinstance(value, list) else str(value))


def _interval(row: _Row, which: str) -> str:
    return "" if row[f"{which}_score"] is None else numbers.score_of(row, which)


def _score(row: _Row) -> str:
    found = _interval(row, "validation") or _interval(row, "test")
    return f"{row['metric']} {found}" if found else ""


def _trigger(row: _Row) -> str:
    return " ".join(
        str(one) for one in (row["triggered_by"], row["trigger_name"]) if one
    )


def _price(row: _Row) -> str:
    return "" if row["cost"] is None else f"{row['cost']:.4g}"


def _data(row: _Row) -> str:
    if row["data_rows"] is None:
        return ""
    columns = numbers.counted(row["data_columns"], "column")
    return f"{row['data_rows']:,} rows, {columns} of {row['data_url']} ({row['data_digest'][:8]})"


def _searched(row: _Row) -> str:
    if row["declared"] is None:
        return ""
    names = ("trained", "stopped_early", "failed", "not_started", "reused")
    counts = [f"{row[name]} {name.replace('_', ' ')}" for name in names if row[name]]
    return f"{row['declared']} configurations: {', '.join(counts)}"


def _code(row: _Row) -> str:
    changed = ", uncommitted changes" if row["code_dirty"] is True else ""
    return f"{row['code_commit'][:8]}{changed}" if row["code_commit"] else ""


def _cost(row: _Row) -> str:
    if row["wall_seconds"] is None:
        return ""
    parts = [f"{row['wall_seconds']:,.0f} s", f"{row['cpu_seconds']:,.0f} CPU s"]
    if row["peak_memory_bytes"] is not None:
        parts.append(f"{row['peak_memory_bytes'] / 1e6:,.0f} MB peak memory")
    if price := _price(row):
        parts.append(f"cost {price}")
    return ", ".join(parts)


def _own(*names: str) -> _Columns:
    """Columns that are shown unchanged, under their own names."""
    return dict(zip(names, names, strict=True))


_LISTS: dict[str, _Columns] = {
    "experiments": {
        **_own("experiment", "runs", "champion"),
        "score": "champion_score",
        "last run (UTC)": "last_started_at",
        "outcome": lambda row: row["last_outcome"].partition(" (")[0],
        "took": "wall_seconds",
        "cost": _price,
    },
    "runs": {
        "run": lambda row: row["run_id"][:8],
        **_own("experiment"),
        "started (UTC)": "started_at",
        "by": _trigger,
        "status": lambda row: questions.ended_as(
            row["status"], row["decision"]
        ).partition(" (")[0],
        "score": _score,
        "model": "version",
        "took": "wall_seconds",
    },
    "models": {
        "model": "version",
        **_own("state", "created"),
        "score": "headline",
        **_own("configuration"),
        "approved by": "approved_by",
    },
}
_FACTS: _Columns = {
    "run": "run_id",
    **_own("experiment"),
    "status": lambda row: questions.ended_as(row["status"], row["decision"]),
    **_own("decision", "error", "fix"),
    "started (UTC)": "started_at",
    "by": _trigger,
    "data": _data,
    "rejected rows": "rejected_rows",
    **_own("verdict"),
    "search": _searched,
    "choice": "chosen",
    "why": "choice_reason",
    "on test": lambda row: _interval(row, "test"),
    "chosen by": "evaluation",
    "on validation": lambda row: _interval(row, "validation"),
    **_own("looks", "version"),
    "code": _code,
    "took": _cost,
}
_PARTS: dict[str, _Columns] = {
    "findings": {
        **_own("severity"),
        "finding": "code",
        "columns": "column_names",
        **_own("evidence"),
    },
    "configurations": {
        **_own("rank"),
        "configuration": "key",
        "score": lambda row: _interval(row, "test"),
        "tie": lambda row: "tie" if row["in_tie_group"] is True else "",
        "fit s": "fit_cpu_seconds",
        **_own("status"),
        "hyperparameters": lambda row: numbers.settings(
            {
                k: v
                for k, v in row.items()
                if k not in CONFIGURATIONS.c and v is not None
            }
        ),
    },
    "scores": {
        "set": "set_name",
        **_own("metric"),
        "score": "estimate",
        **_own("low", "high", "baseline"),
    },
    "gates": {"gate": "rule", **_own("value", "outcome")},
    "reports": {"report": "name", **_own("place")},
}
