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
from experiment_pipeline.tracking.next_machine import next_run
from experiment_pipeline.tracking.next_step import next_step
from experiment_pipeline.tracking.record import decided
from experiment_pipeline.tracking.summary import (
    Row,
    RunSummary,
    money,
    summary_of,
)

SHOWN_CONFIGURATIONS = 20
# Header → the column to show, or a function that makes the text from the row.
_Columns = Mapping[str, str | Callable[[Row], str]]


@dataclass(frozen=True)
class TextTable:
    """A table to print; an empty title means none."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def listed(kind: str, frame: pd.DataFrame, without: str = "") -> TextTable:
    """Return a table of experiments, runs, configurations or models.

    `without`: a column to leave out.
    """
    columns = {**_LISTS, **_PARTS}[kind]
    shown = {header: cell for header, cell in columns.items() if header != without}
    return _table("", frame, shown)


def models_frame(registry: Registry) -> pd.DataFrame:
    """Return a row per version of a registry, the oldest first.

    Its `state` is champion, gone, retired or waits for approval.
    """
    champion = registry.champion()
    waiting = registry.waiting()
    approvals = registry.approvals()
    retired = registry.approvals("retired")
    rows = []
    for entry in registry.history():
        version = entry.version
        if version == champion:
            state = "champion"
        elif version in retired:
            state = f"retired: {retired[version].comment}"
        elif not entry.visible:
            state = "gone"
        else:
            state = "waits for approval" if version in waiting else ""
        approval = approvals.get(version)
        row = asdict(entry) | {
            "state": state,
            "approved_by": approval and approval.by,
            "approved_at": approval and approval.at,
        }
        del row["visible"]
        rows.append(row)
    return pd.DataFrame(rows)


def run(row: Row) -> list[TextTable]:
    """Return everything recorded of one run, given its row: facts, then its tables."""
    step = next_step(decided(row["experiment"], row["run_id"])).sentence
    summary = vars(summary_of(row)) | {"next_step": step}
    facts = [
        (name.replace("_", " "), printable(str(text)))
        for name, text in summary.items()
        if text
    ]
    tables = [TextTable("", ("", ""), facts)]
    for name, columns in _PARTS.items():
        title = name
        frame = questions.rows_of(name, row)
        if name == "configurations":
            configurations = questions.results(row["experiment"], row["run_id"])
            frame = configurations.head(SHOWN_CONFIGURATIONS)
            evaluation = numbers.evaluated(row["evaluation"]).short
            title = f"configurations ({row['metric']} {evaluation})"
        if len(frame):
            tables.append(_table(title, frame, columns))
    return tables


def run_json(row: Row) -> str:
    """Return everything recorded of one run as a JSON object, with a list per table."""
    names = ("sets", "evidence", "audit", *_PARTS)
    parts = {name: _records(questions.rows_of(name, row)) for name in names}
    [facts] = _records(pd.DataFrame([row]))
    needs = next_run(row, questions.plain_rows_of("configurations", row))
    facts["next_run"] = needs and needs.facts
    return json.dumps({**facts, **parts}, indent=2)


def frame_json(frame: pd.DataFrame) -> str:
    """Return a JSON list of objects; times in ISO 8601, missing values as null."""
    return json.dumps(_records(frame), indent=2)


def comparison_json(comparison: RunComparison) -> str:
    """Return a comparison as one JSON object."""
    rows = comparison.rows
    parts = {
        "before": comparison.before["run_id"],
        "after": comparison.after["run_id"],
        "changes": [asdict(change) for change in comparison.changes],
        "yaml_diff": comparison.yaml_diff,
        "code_diff": comparison.code_diff,
        "scores": _records(comparison.table()),
        "why_unpaired": comparison.why_unpaired,
        "rows": None if rows is None else rows.in_words,
    }
    return json.dumps(parts, indent=2)


def printable(text: str) -> str:
    """Return a text without control characters, which names of a table may contain."""
    return "".join(
        character if character.isprintable() or character == "\n" else "�"
        for character in text
    )


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    text = frame.to_json(
        orient="records", date_format="iso", date_unit="s", double_precision=15
    )
    return json.loads(text)


def _table(title: str, frame: pd.DataFrame, columns: _Columns) -> TextTable:
    rows = [
        [_cell(row, cell) for cell in columns.values()] for row in plain_rows(frame)
    ]
    return TextTable(title, tuple(columns), rows)


def _cell(row: Row, column: str | Callable[[Row], str]) -> str:
    if callable(column):
        return printable(column(row))
    value = row[column]
    if value is None:
        text = ""
    elif isinstance(value, float):
        is_time = column.endswith("seconds")
        text = numbers.seconds(value) if is_time else numbers.score(value)
    elif isinstance(value, datetime):
        text = numbers.moment(value)
    else:
        text = ", ".join(value) if isinstance(value, list) else str(value)
    return printable(text)


def _hyperparameters(row: Row) -> str:
    settings = {
        name: setting
        for name, setting in row.items()
        if name not in CONFIGURATIONS.c and setting is not None
    }
    return numbers.settings(settings)


def _test_score(row: Row) -> str:
    if row["test_score"] is None:
        return ""
    return numbers.as_known(row["test_score"], row["test_low"], row["test_high"])


def _of_run(text: Callable[[RunSummary], str]) -> Callable[[Row], str]:
    return lambda row: text(summary_of(row))


_LISTS: dict[str, _Columns] = {
    "experiments": {
        "experiment": "experiment",
        "runs": "runs",
        "champion": "champion",
        "score": "champion_score",
        "last run (UTC)": "last_started_at",
        "outcome": lambda row: row["last_outcome"].partition(" (")[0],
        "took": "wall_seconds",
        "cost": lambda row: money(row["cost"]),
    },
    "runs": {
        "run": _of_run(lambda run: run.short_id),
        "experiment": "experiment",
        "started (UTC)": "started_at",
        "by": _of_run(lambda run: run.trigger),
        "outcome": _of_run(lambda run: run.outcome_word),
        "score": _of_run(lambda run: str(run.on_validation or run.on_test or "")),
        "model": "version",
        "took": "wall_seconds",
    },
    "models": {
        "model": "version",
        "state": "state",
        "created": "created",
        "score": "headline",
        "configuration": "configuration",
        "approved by": "approved_by",
    },
}
_PARTS: dict[str, _Columns] = {
    "findings": {
        "severity": "severity",
        "finding": "code",
        "columns": "column_names",
        "evidence": "evidence",
    },
    "configurations": {
        "rank": "rank",
        "configuration": "key",
        "score": _test_score,
        "tie": lambda row: "tie" if row["in_tie_group"] is True else "",
        "fit s": "fit_cpu_seconds",
        "status": "status",
        "hyperparameters": _hyperparameters,
    },
    "scores": {
        "set": "set_name",
        "metric": "metric",
        "score": "estimate",
        "low": "low",
        "high": "high",
        "baseline": "baseline",
    },
    "gates": {"gate": "rule", "value": "value", "outcome": "outcome"},
    "reports": {"report": "name", "place": "place"},
}
