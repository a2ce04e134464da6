"""Two runs side by side: what changed in data, code and YAML, and what it did to the scores.

Scores are compared row by row where both models predicted the same validation rows; elsewhere two
intervals are shown without a paired difference.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import JUDGED_ROWS, WEIGHT, JudgedRows
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import paired_difference
from experiment_pipeline.storage.files import location, read_bytes
from experiment_pipeline.storage.tables import from_parquet
from experiment_pipeline.tracking.questions import file_text, rows_of, run_of

_DIGITS = 12
_MOST_LINES = 4
_Run = Mapping[str, Any]
_FILES = {"yaml_digest": "defs.yaml", "schema_digest": "schema.yaml"}
# What decides a run → the column of `runs` that tells two of them apart.
_DECIDING = {
    "data": "data_digest",
    "schema": "schema_digest",
    "yaml": "yaml_digest",
    "code": "code_commit",
    "settings": "settings",
    "experiment-pipeline": "package_version",
    "Python": "python_version",
    "choice": "chosen",
    "decision": "status",
    "version": "version",
}


@dataclass(frozen=True)
class Change:
    """One thing that differs between two runs: its name, and both values in words."""

    what: str
    before: str
    after: str

    def in_words(self) -> str:
        """`data: 10,000 rows (3f2a…) → 10,120 rows (9c41…)`."""
        return f"{self.what}: {self.before} → {self.after}"


@dataclass(frozen=True)
class ScoreChange:
    """A validation score of both runs, each with its own interval."""

    metric: str
    before: Interval
    after: Interval
    difference: Interval  # after minus before; paired, its bounds nan where the rows do not pair
    better: bool | None  # the second, at the 95 % level; None where neither is

    @property
    def is_paired(self) -> bool:
        """Whether both models predicted the same rows."""
        return math.isfinite(self.difference.low)

    def in_words(self) -> str:
        """`roc_auc 0.6912 (…) → 0.7021 (…): +0.0109 (0.0031 to 0.0187), better`."""
        if self.is_paired and self.difference.estimate == 0:
            return f"{self.metric} {numbers.interval(self.before)} in both: no difference"
        size, verdict = numbers.score(abs(self.difference.estimate)), "not paired"
        if self.is_paired:
            verdict = {True: "better", False: "worse", None: "not significant"}[self.better]
            size += f" ({numbers.bounds(self.difference)})"
        return (
            f"{self.metric} {numbers.interval(self.before)} → {numbers.interval(self.after)}: "
            f"{'+' if self.difference.estimate >= 0 else '-'}{size}, {verdict}"
        )


@dataclass(frozen=True)
class RunComparison:
    """Two runs of one experiment, or of two, by their rows of the table `runs`."""

    before: _Run
    after: _Run
    changes: tuple[Change, ...]
    yaml_diff: str  # of defs.yaml and schema.yaml, as a unified diff
    scores: tuple[ScoreChange, ...]  # those that both have on validation, the ranking metric first
    why_unpaired: str  # why the scores are not compared row by row; empty where they are

    def table(self) -> pd.DataFrame:
        """A row per metric: score, low and high of both runs, and the difference."""
        rows: list[dict[str, Any]] = []
        for one in self.scores:
            row: dict[str, Any] = {"metric": one.metric}
            for name in ("before", "after", "difference"):
                of: Interval = getattr(one, name)
                row |= {name: of.estimate, f"{name}_low": of.low, f"{name}_high": of.high}
            rows.append(row | {"better": one.better})
        return pd.DataFrame(rows).astype({"better": "boolean"} if rows else {})

    def __str__(self) -> str:
        names = [f"{run['experiment']} {run['run_id']}" for run in (self.before, self.after)]
        lines = [f"{names[0]} ({self.before['status']}) → {names[1]} ({self.after['status']})", ""]
        lines += [one.in_words() for one in self.changes] or ["nothing has changed"]
        lines += ["", *(one.in_words() for one in self.scores)]
        lines += [f"not paired: {self.why_unpaired}"] if self.why_unpaired else []
        lines += ["", self.yaml_diff] if self.yaml_diff else []
        return "\n".join(lines).rstrip()


def compare(before: str | None, after: str | None, experiment: str | None = None) -> RunComparison:
    """Compare two runs; printed, it is in words.

    >>> found = compare("00000001", "00000002")
    >>> print(found.changes[0].in_words())
    data: 10,001 rows, 12 columns (data0) → 10,002 rows, 12 columns (data1)
    >>> found.table()[["metric", "before", "after", "difference", "better"]].round(3)
        metric  before  after  difference  better
    0  roc_auc     0.7   0.71        0.01    <NA>

    Args:
        before: id of the first run, or a beginning of it.
        after: of the second; None: the last one of the experiment.
        experiment: its name; None: that of the ids.

    Raises:
        UnknownRun: there is no such run, or several ids begin so.
    """
    return compared(run_of(experiment, before), run_of(experiment, after))


def compared(before: _Run, after: _Run) -> RunComparison:
    """Compare two runs by their rows of the table `runs`."""
    diffs = [line for one in _FILES for line in _diff(one, before, after, around=1)]
    pair = _judged_pair(before, after)
    why, judged = (pair, None) if isinstance(pair, str) else ("", pair)
    scores = tuple(_score_changes(before, after, judged))
    return RunComparison(
        before, after, tuple(changes(before, after)), "\n".join(diffs), scores, why
    )


def changes(before: _Run, after: _Run) -> Iterator[Change]:
    """What decides a run and differs between two rows of `runs`."""
    for what, column in _DECIDING.items():
        if before[column] == after[column]:
            continue
        if column in _FILES and all(file_text(run[column]) for run in (before, after)):
            lines = [*_diff(column, before, after, around=0)][2:]
            yield Change(what, _marked("-", lines), _marked("+", lines))
        else:
            yield Change(what, _in_words(column, before), _in_words(column, after))
    old, new = before["libraries"] or {}, after["libraries"] or {}
    for name in sorted(old | new):
        if old.get(name) != new.get(name):
            yield Change(name, *(str(of.get(name, "not installed")) for of in (old, new)))


def _diff(column: str, before: _Run, after: _Run, around: int) -> Iterator[str]:
    """The lines that differ of the file with the digest in a column, as a unified diff."""
    old, new = (file_text(run[column]).splitlines() for run in (before, after))
    return difflib.unified_diff(old, new, _FILES[column], _FILES[column], lineterm="", n=around)


def _marked(mark: str, lines: Sequence[str]) -> str:
    """The lines of a diff on one side: `workers: 2; seed: 1 and 3 more lines`."""
    found = [line[1:].strip() for line in lines if line.startswith(mark)]
    more = f" and {len(found) - _MOST_LINES} more lines" if len(found) > _MOST_LINES else ""
    return f"{'; '.join(found[:_MOST_LINES])}{more}" or "none"


def _in_words(column: str, run: _Run) -> str:
    value = run[column]
    if value is None:
        return "none"
    if column == "data_digest" and run["data_rows"] is not None:
        columns = numbers.counted(run["data_columns"], "column")
        return f"{run['data_rows']:,} rows, {columns} ({value[:_DIGITS]})"
    if column == "code_commit":
        return f"{value[:_DIGITS]}{', uncommitted changes' if run['code_dirty'] else ''}"
    return str(value)[:_DIGITS] if column in _FILES else str(value)


def _judged_pair(before: _Run, after: _Run) -> tuple[JudgedRows, JudgedRows] | str:
    """The predictions of both for the same rows; else why there is no such pair."""
    digests, places = set[str](), list[str]()
    for run in (before, after):
        sets, reports = rows_of("sets", run), rows_of("reports", run)
        digests |= {*sets.loc[sets["set_name"] == "validation", "digest"]}
        places += [*reports.loc[reports["name"] == JUDGED_ROWS, "place"]]
    if len(digests) != 1 or len(places) != 2:
        return "the runs do not both have predictions of the same validation rows"
    try:
        first, second = (from_parquet(read_bytes(location(one)), JudgedRows) for one in places)
    except ExperimentPipelineError as error:
        return f"{error.culprit} {error.rule}"
    alike = [one.rows.filter(items=["y", "unit", WEIGHT]) for one in (first, second)]
    if not alike[0].equals(alike[1]):
        return "targets, resampling clusters or weights are not the same"
    return first, second


def _score_changes(
    before: _Run, after: _Run, pair: tuple[JudgedRows, JudgedRows] | None
) -> Iterator[ScoreChange]:
    found = (rows_of("scores", run) for run in (before, after))
    old, new = (one[one["set_name"] == "validation"].set_index("metric") for one in found)
    ranked = sorted(new.index, key=lambda metric: metric != after["metric"])
    for metric in (one for one in ranked if one in old.index):
        first, second = (
            Interval(*of.loc[metric, ["estimate", "low", "high"]].astype(float))
            for of in (old, new)
        )
        difference = Interval(second.estimate - first.estimate, math.nan, math.nan)
        better = None
        if pair is not None:
            one, other = (judged.as_prediction for judged in pair)
            with suppress(ExperimentPipelineError):  # a user's metric that is not importable here
                difference = paired_difference(
                    one.linearise(metric, pair[0].threshold),
                    other.linearise(metric, pair[1].threshold),
                    one.layout(metric),
                )
            if difference.low > 0 or difference.high < 0:
                better = (difference.estimate > 0) == bool(new.loc[metric, "greater_is_better"])
        yield ScoreChange(metric, first, second, difference, better)
