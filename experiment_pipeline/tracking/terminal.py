"""The memory as a person reads it in a terminal: few columns, numbers in words, one screen.

In: what `questions.py` returns. Out: tables of texts, and plain JSON for programs.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.storage.registry import Approval, HistoryEntry
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import RunComparison

SHOWN_CONFIGURATIONS = 20
_SHORT_ID = 8


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
    """Every experiment on a line, as `questions.experiments` returns them."""
    return _table("", found, _EXPERIMENTS)


def runs(found: pd.DataFrame, *, named: bool) -> TextTable:
    """Runs on a line each, as `questions.runs` returns them; named: with their experiment."""
    return _table("", found, [one for one in _RUNS if named or one[0] != "experiment"])


def models_frame(
    history: Sequence[HistoryEntry],
    champion: str | None,
    waiting: Collection[str],
    approvals: Mapping[str, Approval],
) -> pd.DataFrame:
    """A row per version of a registry, the oldest first, and which state it is in.

    Args:
        history: of the registry.
        champion: the current version.
        waiting: versions that somebody must approve.
        approvals: version → who approved it.
    """
    rows = [
        {
            "version": one.version,
            "state": _state(one, champion, waiting),
            "created": one.created,
            "headline": one.headline,
            "configuration": one.configuration,
            "fingerprint": one.fingerprint,
            "code": one.code,
            **{
                f"approved_{what}": getattr(approvals.get(one.version), what, None)
                for what in ("by", "at")
            },
        }
        for one in history
    ]
    return pd.DataFrame(rows)


def models(found: pd.DataFrame) -> TextTable:
    """Versions on a line each, as `models_frame` returns them."""
    return _table("", found, _MODELS)


def _state(one: HistoryEntry, champion: str | None, waiting: Collection[str]) -> str:
    if one.version == champion:
        return "champion"
    if not one.visible:
        return "gone"
    return "waits for approval" if one.version in waiting else ""


def run(whose: Mapping[str, Any]) -> list[TextTable]:
    """Everything of one run, as `questions.run_of` returns it."""
    experiment, run_id = whose["experiment"], whose["run_id"]
    facts = [(name, printable(words(whose))) for name, words in _FACTS]
    shown = [TextTable("", ("", ""), [fact for fact in facts if fact[1]])]
    board = questions.results(experiment, run_id).head(SHOWN_CONFIGURATIONS)
    parts = (
        ("findings", questions.rows_of_run("findings", whose), _FINDINGS),
        (
            f"configurations ({whose['metric']} {evaluated(whose['evaluation']).short})",
            board,
            _BOARD,
        ),
        ("scores", questions.rows_of_run("scores", whose), _SCORES),
        ("gates", questions.rows_of_run("gates", whose), _GATES),
        ("reports", questions.rows_of_run("reports", whose), _REPORTS),
    )
    return shown + [_table(*part) for part in parts if len(part[1])]


def run_json(whose: Mapping[str, Any]) -> str:
    """Everything of one run as one JSON object: the run's own facts, then a list per table."""
    names = ("sets", "findings", "configurations", "scores", "gates", "reports")
    parts = {name: _records(questions.rows_of_run(name, whose)) for name in names}
    return json.dumps({**_records(pd.DataFrame([whose]))[0], **parts}, indent=2)


def frame_json(frame: pd.DataFrame) -> str:
    """A table as a JSON list of objects; moments in ISO 8601, what is missing as null."""
    return json.dumps(_records(frame), indent=2)


def comparison_json(found: RunComparison) -> str:
    """A comparison as one JSON object."""
    said = {
        "before": found.before["run_id"],
        "after": found.after["run_id"],
        "changes": [asdict(change) for change in found.changes],
        "yaml_diff": found.yaml_diff,
        "scores": _records(found.table()),
        "why_unpaired": found.why_unpaired,
    }
    return json.dumps(said, indent=2)


def printable(text: str) -> str:
    """A text without what would steer a terminal: names come from tables."""
    return "".join(one if one.isprintable() or one == "\n" else "�" for one in text)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    text = frame.to_json(orient="records", date_format="iso", date_unit="s", double_precision=15)
    records: list[dict[str, Any]] = json.loads(text)
    return records


Words = Callable[[Mapping[str, Any]], str]


def _table(title: str, frame: pd.DataFrame, columns: Sequence[tuple[str, Words]]) -> TextTable:
    rows = [tuple(printable(words(row)) for _, words in columns) for row in plain_rows(frame)]
    return TextTable(title, tuple(name for name, _ in columns), rows)


def _text(name: str, words: Callable[[Any], str] = str) -> Words:
    return lambda row: "" if row[name] is None else words(row[name])


def _short(name: str) -> Words:
    return _text(name, lambda text: text[:_SHORT_ID])


def _moment(name: str) -> Words:
    return _text(name, numbers.moment)


def _interval(which: str) -> Words:
    def words(row: Mapping[str, Any]) -> str:
        parts = [row[f"{which}_{part}"] for part in ("score", "low", "high")]
        return "" if parts[0] is None else numbers.as_known(*parts)

    return words


def _score(row: Mapping[str, Any]) -> str:
    found = _interval("validation")(row) or _interval("test")(row)
    return f"{row['metric']} {found}" if found else ""


def _trigger(row: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (_text("triggered_by")(row), _text("trigger_name")(row))))


def _data(row: Mapping[str, Any]) -> str:
    if row["data_rows"] is None:
        return ""
    columns = numbers.counted(row["data_columns"], "column")
    return (
        f"{row['data_rows']:,} rows, {columns} of {row['data_url']} ({_short('data_digest')(row)})"
    )


def _searched(row: Mapping[str, Any]) -> str:
    if row["declared"] is None:
        return ""
    parts = ("trained", "stopped_early", "failed", "not_started", "reused")
    said = [f"{row[part]} {part.replace('_', ' ')}" for part in parts if row[part]]
    return f"{row['declared']} configurations: {', '.join(said)}"


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
    known = {column.name for column in questions.CONFIGURATIONS.columns}
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in row.items()
        if name not in known and value is not None
    )


_EXPERIMENTS: tuple[tuple[str, Words], ...] = (
    ("experiment", _text("experiment")),
    ("runs", _text("runs")),
    ("champion", _text("champion")),
    ("score", _text("champion_score")),
    ("last run (UTC)", _moment("last_started_at")),
    ("outcome", _text("last_status")),
    ("took", _text("wall_seconds", "{:,.0f} s".format)),
    ("cost", _text("cost", "{:.4g}".format)),
)
_RUNS: tuple[tuple[str, Words], ...] = (
    ("run", _short("run_id")),
    ("experiment", _text("experiment")),
    ("started (UTC)", _moment("started_at")),
    ("by", _trigger),
    ("status", _text("status")),
    ("score", _score),
    ("model", _text("version")),
    ("took", _text("wall_seconds", "{:,.0f} s".format)),
)
_MODELS: tuple[tuple[str, Words], ...] = (
    ("model", _text("version")),
    ("state", _text("state")),
    ("created", _text("created")),
    ("score", _text("headline")),
    ("configuration", _text("configuration")),
    ("approved by", _text("approved_by")),
)
_FACTS: tuple[tuple[str, Words], ...] = (
    ("run", _text("run_id")),
    ("experiment", _text("experiment")),
    ("status", _text("status")),
    ("decision", _text("decision")),
    ("error", _text("error")),
    ("fix", _text("fix")),
    ("started (UTC)", _moment("started_at")),
    ("by", _trigger),
    ("data", _data),
    ("rejected rows", _text("rejected_rows")),
    ("verdict", _text("verdict")),
    ("search", _searched),
    ("choice", _text("chosen")),
    ("why", _text("choice_reason")),
    ("on test", _interval("test")),
    ("chosen by", _text("evaluation")),
    ("on validation", _interval("validation")),
    ("looks", _text("looks")),
    ("version", _text("version")),
    ("code", _code),
    ("took", _cost),
)
_FINDINGS: tuple[tuple[str, Words], ...] = (
    ("severity", _text("severity")),
    ("finding", _text("code")),
    ("columns", _text("column_names", ", ".join)),
    ("evidence", _text("evidence")),
)
_BOARD: tuple[tuple[str, Words], ...] = (
    ("rank", _text("rank")),
    ("configuration", _text("key")),
    ("score", _interval("test")),
    ("tie", lambda row: "tie" if row["in_tie_group"] is True else ""),
    ("fit s", _text("fit_cpu_seconds", "{:,.1f}".format)),
    ("status", _text("status")),
    ("hyperparameters", _hyperparameters),
)
_SCORES: tuple[tuple[str, Words], ...] = (
    ("set", _text("set_name")),
    ("metric", _text("metric")),
    ("score", _text("estimate", numbers.score)),
    ("low", _text("low", numbers.score)),
    ("high", _text("high", numbers.score)),
    ("baseline", _text("baseline", numbers.score)),
)
_GATES: tuple[tuple[str, Words], ...] = (
    ("gate", _text("rule")),
    ("value", _text("value", numbers.score)),
    ("outcome", _text("outcome")),
)
_REPORTS: tuple[tuple[str, Words], ...] = (("report", _text("name")), ("place", _text("place")))
