"""Run records for people in a terminal, and as JSON for programs.

In: what `questions.py` returns. Out: tables of texts: few columns, numbers in words, one screen.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.storage.registry import Approval, HistoryEntry
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import RunComparison
from experiment_pipeline.tracking.database.tables import CONFIGURATIONS

SHOWN_CONFIGURATIONS = 20
_SHORT_ID = 8
# A row → the text of a cell.
Words = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class TextTable:
    """A table to print.

    Attributes:
        title: above it; empty for none.
        header: one text per column.
        rows: of texts, as long as the header.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def experiments(found: pd.DataFrame) -> TextTable:
    """A line per experiment, of `questions.experiments`."""
    return _table("", found, _EXPERIMENTS)


def runs(found: pd.DataFrame, *, named: bool) -> TextTable:
    """A line per run, of `questions.runs`; named: with the experiment."""
    return _table("", found, {k: v for k, v in _RUNS.items() if named or k != "experiment"})


def models(found: pd.DataFrame) -> TextTable:
    """A line per version, of `models_frame`."""
    return _table("", found, _MODELS)


def models_frame(
    history: Sequence[HistoryEntry],
    champion: str | None,
    waiting: Collection[str],
    approvals: Mapping[str, Approval],
) -> pd.DataFrame:
    """A row per version of a registry, the oldest first: champion, gone or waits for approval.

    Args:
        history: of the registry.
        champion: the current version.
        waiting: versions that must be approved.
        approvals: version → its approval.
    """
    rows = []
    for one in history:
        state = "" if one.visible else "gone"
        if one.version in waiting and one.visible:
            state = "waits for approval"
        approval = approvals.get(one.version)
        rows.append(
            {
                "version": one.version,
                "state": "champion" if one.version == champion else state,
                "created": one.created,
                "headline": one.headline,
                "configuration": one.configuration,
                "fingerprint": one.fingerprint,
                "code": one.code,
                "approved_by": approval and approval.by,
                "approved_at": approval and approval.at,
            }
        )
    return pd.DataFrame(rows)


def run(row: Mapping[str, Any]) -> list[TextTable]:
    """Everything of one run, by its row: facts, then a table each of what belongs to it."""
    facts = [(name, printable(words(row))) for name, words in _FACTS.items()]
    shown = [TextTable("", ("", ""), [fact for fact in facts if fact[1]])]
    board = questions.results(row["experiment"], row["run_id"]).head(SHOWN_CONFIGURATIONS)
    title = f"configurations ({row['metric']} {evaluated(row['evaluation']).short})"
    for name, columns in _PARTS.items():
        frame = board if name == "configurations" else questions.rows_of_run(name, row)
        if len(frame):
            shown.append(_table(title if name == "configurations" else name, frame, columns))
    return shown


def run_json(row: Mapping[str, Any]) -> str:
    """Everything of one run as one JSON object: the run's own facts, then a list per table."""
    names = ("sets", "findings", "configurations", "scores", "gates", "reports")
    parts = {name: _records(questions.rows_of_run(name, row)) for name in names}
    return json.dumps({**_records(pd.DataFrame([row]))[0], **parts}, indent=2)


def frame_json(frame: pd.DataFrame) -> str:
    """A table as a JSON list of objects; moments in ISO 8601, what is missing as null."""
    return json.dumps(_records(frame), indent=2)


def comparison_json(found: RunComparison) -> str:
    """A comparison as one JSON object."""
    parts = {
        "before": found.before["run_id"],
        "after": found.after["run_id"],
        "changes": [asdict(change) for change in found.changes],
        "yaml_diff": found.yaml_diff,
        "scores": _records(found.table()),
        "why_unpaired": found.why_unpaired,
    }
    return json.dumps(parts, indent=2)


def printable(text: str) -> str:
    """A text without control characters: names come from tables."""
    return "".join(one if one.isprintable() or one == "\n" else "�" for one in text)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    text = frame.to_json(orient="records", date_format="iso", date_unit="s", double_precision=15)
    records: list[dict[str, Any]] = json.loads(text)
    return records


def _table(title: str, frame: pd.DataFrame, columns: Mapping[str, Words]) -> TextTable:
    rows = [tuple(printable(words(row)) for words in columns.values()) for row in plain_rows(frame)]
    return TextTable(title, tuple(columns), rows)


def _text(name: str, form: str | None = None) -> Words:
    """The value of a column, in the form of a format string or as its type is shown."""

    def words(row: Mapping[str, Any]) -> str:
        value = row[name]
        if value is None:
            return ""
        if form is not None:
            return form.format(value)
        if isinstance(value, float):
            return numbers.score(value)
        if isinstance(value, datetime):
            return numbers.moment(value)
        return ", ".join(value) if isinstance(value, list) else str(value)

    return words


def _short(name: str) -> Words:
    return lambda row: (row[name] or "")[:_SHORT_ID]


def _interval(which: str) -> Words:
    def words(row: Mapping[str, Any]) -> str:
        score, *bounds = (row[f"{which}_{part}"] for part in ("score", "low", "high"))
        return "" if score is None else numbers.as_known(score, *bounds)

    return words


def _score(row: Mapping[str, Any]) -> str:
    found = _interval("validation")(row) or _interval("test")(row)
    return f"{row['metric']} {found}" if found else ""


def _trigger(row: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (row["triggered_by"], row["trigger_name"])))


def _data(row: Mapping[str, Any]) -> str:
    if row["data_rows"] is None:
        return ""
    columns = numbers.counted(row["data_columns"], "column")
    digest = _short("data_digest")(row)
    return f"{row['data_rows']:,} rows, {columns} of {row['data_url']} ({digest})"


def _searched(row: Mapping[str, Any]) -> str:
    if row["declared"] is None:
        return ""
    names = ("trained", "stopped_early", "failed", "not_started", "reused")
    counts = [f"{row[name]} {name.replace('_', ' ')}" for name in names if row[name]]
    return f"{row['declared']} configurations: {', '.join(counts)}"


def _code(row: Mapping[str, Any]) -> str:
    changed = ", uncommitted changes" if row["code_dirty"] is True else ""
    return f"{_short('code_commit')(row)}{changed}" if row["code_commit"] else ""


def _cost(row: Mapping[str, Any]) -> str:
    if row["wall_seconds"] is None:
        return ""
    parts = [f"{row['wall_seconds']:,.0f} s", f"{row['cpu_seconds']:,.0f} CPU s"]
    if row["peak_memory_bytes"] is not None:
        parts.append(f"{row['peak_memory_bytes'] / 1e6:,.0f} MB at the peak")
    if row["cost"] is not None:
        parts.append(f"cost {row['cost']:.4g}")
    return ", ".join(parts)


def _hyperparameters(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in row.items()
        if name not in CONFIGURATIONS.c and value is not None
    )


def _named(*names: str) -> dict[str, Words]:
    """Columns under their own names."""
    return {name: _text(name) for name in names}


_EXPERIMENTS: Mapping[str, Words] = {
    **_named("experiment", "runs", "champion"),
    "score": _text("champion_score"),
    "last run (UTC)": _text("last_started_at"),
    "outcome": _text("last_status"),
    "took": _text("wall_seconds", "{:,.0f} s"),
    "cost": _text("cost", "{:.4g}"),
}
_RUNS: Mapping[str, Words] = {
    "run": _short("run_id"),
    "experiment": _text("experiment"),
    "started (UTC)": _text("started_at"),
    "by": _trigger,
    "status": _text("status"),
    "score": _score,
    "model": _text("version"),
    "took": _text("wall_seconds", "{:,.0f} s"),
}
_MODELS: Mapping[str, Words] = {
    "model": _text("version"),
    **_named("state", "created"),
    "score": _text("headline"),
    "configuration": _text("configuration"),
    "approved by": _text("approved_by"),
}
_FACTS: Mapping[str, Words] = {
    "run": _text("run_id"),
    **_named("experiment", "status", "decision", "error", "fix"),
    "started (UTC)": _text("started_at"),
    "by": _trigger,
    "data": _data,
    "rejected rows": _text("rejected_rows"),
    "verdict": _text("verdict"),
    "search": _searched,
    "choice": _text("chosen"),
    "why": _text("choice_reason"),
    "on test": _interval("test"),
    "chosen by": _text("evaluation"),
    "on validation": _interval("validation"),
    **_named("looks", "version"),
    "code": _code,
    "took": _cost,
}
_PARTS: Mapping[str, Mapping[str, Words]] = {
    "findings": {
        "severity": _text("severity"),
        "finding": _text("code"),
        "columns": _text("column_names"),
        "evidence": _text("evidence"),
    },
    "configurations": {
        "rank": _text("rank"),
        "configuration": _text("key"),
        "score": _interval("test"),
        "tie": lambda row: "tie" if row["in_tie_group"] is True else "",
        "fit s": _text("fit_cpu_seconds", "{:,.1f}"),
        "status": _text("status"),
        "hyperparameters": _hyperparameters,
    },
    "scores": {"set": _text("set_name"), "metric": _text("metric"), "score": _text("estimate")}
    | _named("low", "high", "baseline"),
    "gates": {"gate": _text("rule")} | _named("value", "outcome"),
    "reports": {"report": _text("name"), "place": _text("place")},
}
