"""Two runs side by side: what changed in data, code and YAML, and what it did to the scores.

Scores are compared row by row where both models were judged on the very same validation rows;
elsewhere two intervals are shown, and that they do not pair. In: the rows of two runs. Out: a
frozen `RunComparison`, also in words.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.storage.files import read_bytes
from experiment_pipeline.storage.locations import location
from experiment_pipeline.storage.tables import from_parquet
from experiment_pipeline.tracking.questions import file_text, rows_of_run, run_of

# The name of the report that holds what a run's model predicted for the validation rows.
JUDGED_ROWS = "validation_rows"
_DIGITS = 12
_WEIGHT = "weight"


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """What a run's model predicted for the validation rows.

    Attributes:
        rows: (n, 2 + k): `y`, `cluster`, and `prediction_0` … of k columns, in the order of the set;
            `weight` where rows have one.
        threshold: positive from this probability on, where a metric asks.
    """

    rows: pd.DataFrame
    threshold: float

    @classmethod
    def of(cls, predicted: SetPrediction, threshold: float) -> "JudgedRows":
        """What `as_prediction` gives back."""
        columns = np.atleast_2d(predicted.prediction.T)
        named = {f"prediction_{number}": column for number, column in enumerate(columns)}
        weights = {} if predicted.weights is None else {_WEIGHT: predicted.weights}
        clusters = np.asarray(predicted.clusters)
        frame = pd.DataFrame({"y": predicted.y, "unit": clusters, **named, **weights})
        return cls(frame.reset_index(drop=True), threshold)

    @property
    def as_prediction(self) -> SetPrediction:
        """The predictions, as judged."""
        predictions = self.rows.filter(regex=r"^prediction_\d+$").to_numpy()
        one = predictions.shape[1] == 1
        return SetPrediction(
            self.rows["y"].to_numpy(),
            predictions[:, 0] if one else predictions,
            self.rows["unit"].to_numpy(),
            self.rows[_WEIGHT].to_numpy() if _WEIGHT in self.rows else None,
        )


@dataclass(frozen=True)
class Change:
    """One thing that is not the same in both runs.

    Attributes:
        what: data, code, yaml, schema, libraries, choice, price, settings.
        before: of the first run, in words.
        after: of the second.
    """

    what: str
    before: str
    after: str

    def in_words(self) -> str:
        """`data: 10,000 rows (3f2a…) → 10,120 rows (9c41…)`."""
        return f"{self.what}: {self.before} → {self.after}"


@dataclass(frozen=True)
class ScoreChange:
    """A validation score of both runs.

    Attributes:
        metric: its name.
        before: of the first run, with its own interval.
        after: of the second.
        difference: after minus before; its bounds are those of the paired difference, nan where
            the rows do not pair.
        better: whether the second is better beyond chance; None where it cannot be told.
    """

    metric: str
    before: Interval
    after: Interval
    difference: Interval
    better: bool | None

    def in_words(self) -> str:
        """`roc_auc 0.6912 (…) → 0.7021 (…): +0.0109 (0.0031 to 0.0187), better`."""
        if self.is_paired and self.difference.estimate == 0:
            return f"{self.metric} {numbers.interval(self.before)} in both: no difference"
        told = {True: "better", False: "worse", None: "cannot be told apart"}[self.better]
        sign = "+" if self.difference.estimate >= 0 else "-"
        size = numbers.score(abs(self.difference.estimate))
        bounds = f" ({numbers.bounds(self.difference)})" if self.is_paired else ", not paired"
        return (
            f"{self.metric} {numbers.interval(self.before)} → {numbers.interval(self.after)}: "
            f"{sign}{size}{bounds}, {told}"
        )

    @property
    def is_paired(self) -> bool:
        """Whether both were judged on the same rows."""
        return math.isfinite(self.difference.low)


@dataclass(frozen=True)
class RunComparison:
    """Two runs of one experiment, or of two.

    Attributes:
        before: the first run's row of the table `runs`.
        after: the second's.
        changes: what is not the same.
        yaml_diff: the lines of defs.yaml and schema.yaml that differ, as a unified diff.
        scores: of every metric that both have on validation, the ranking metric first.
        why_unpaired: why the scores are not compared row by row; empty where they are.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    changes: tuple[Change, ...]
    yaml_diff: str
    scores: tuple[ScoreChange, ...]
    why_unpaired: str

    def table(self) -> pd.DataFrame:
        """A row per metric: score, low and high of both runs, and the difference."""
        rows = [
            {
                "metric": one.metric,
                **_three("before", one.before),
                **_three("after", one.after),
                **_three("difference", one.difference),
                "better": one.better,
            }
            for one in self.scores
        ]
        return pd.DataFrame(rows).astype({"better": "boolean"} if rows else {})

    def in_words(self) -> str:
        """Everything, on lines."""
        names = [f"{run['experiment']} {run['run_id']}" for run in (self.before, self.after)]
        lines = [f"{names[0]} ({self.before['status']}) → {names[1]} ({self.after['status']})", ""]
        lines += [one.in_words() for one in self.changes] or ["nothing that decides has changed"]
        lines += ["", *(one.in_words() for one in self.scores)]
        lines += [f"not paired: {self.why_unpaired}"] if self.why_unpaired else []
        lines += ["", self.yaml_diff] if self.yaml_diff else []
        return "\n".join(lines).rstrip()

    def __str__(self) -> str:
        return self.in_words()


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
        experiment: its name; None: the ids tell.

    Raises:
        UnknownRun: there is no such run, or several begin so.
    """
    return compared(run_of(experiment, before), run_of(experiment, after))


def compared(first: Mapping[str, Any], second: Mapping[str, Any]) -> RunComparison:
    """Compare two runs by their rows of the table `runs`."""
    changed = tuple(changes(first, second))
    files = [
        _diff(name, file_text(first[digest]), file_text(second[digest]))
        for name, digest in (("defs.yaml", "yaml_digest"), ("schema.yaml", "schema_digest"))
    ]
    pair, why = _judged_pair(first, second)
    return RunComparison(
        first, second, changed, "\n".join(filter(None, files)), _scores(first, second, pair), why
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """What decides a run, where two rows of `runs` differ in it.

    Args:
        before: one row of the table.
        after: another.
    """
    for what, column, words in (
        ("data", "data_digest", _data),
        ("schema", "schema_digest", _digest("schema_digest")),
        ("yaml", "yaml_digest", _digest("yaml_digest")),
        ("code", "code_commit", _code),
        ("settings", "settings", _plain("settings")),
        ("experiment-pipeline", "package_version", _plain("package_version")),
        ("Python", "python_version", _plain("python_version")),
        ("choice", "chosen", _plain("chosen")),
        ("decision", "status", _plain("status")),
        ("version", "version", _plain("version")),
    ):
        if before[column] == after[column] or (what == "choice" and _chose_alike(before, after)):
            continue
        yield Change(what, words(before), words(after))
    old, new = before["libraries"] or {}, after["libraries"] or {}
    for name in sorted(old | new):
        if old.get(name) != new.get(name):
            yield Change(name, str(old.get(name, "not there")), str(new.get(name, "not there")))


def _chose_alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether one configuration was chosen under two partition keys: these may be renamed."""
    first, second = _chosen(before), _chosen(after)
    return first is not None and first == second


def _chosen(run: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    rows = rows_of_run("configurations", run)
    found = rows.loc[rows["key"] == run["chosen"], ["algorithm", "hyperparameters"]]
    if found.empty:
        return None
    algorithm, hyperparameters = found.iloc[0]
    return str(algorithm), dict(hyperparameters)


def _data(run: Mapping[str, Any]) -> str:
    if run["data_rows"] is None:
        return "not read"
    columns = numbers.counted(run["data_columns"], "column")
    return f"{run['data_rows']:,} rows, {columns} ({run['data_digest'][:_DIGITS]})"


def _code(run: Mapping[str, Any]) -> str:
    if run["code_commit"] is None:
        return "not in a git repository"
    changed = ", uncommitted changes" if run["code_dirty"] else ""
    return f"{run['code_commit'][:_DIGITS]}{changed}"


def _digest(column: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda run: str(run[column] or "none")[:_DIGITS]


def _plain(column: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda run: "none" if run[column] is None else str(run[column])


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), name, name, lineterm="", n=1
    )
    return "\n".join(lines)


def _judged_pair(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[tuple[JudgedRows, JudgedRows] | None, str]:
    """The predictions of both for the same rows; else why there is no such pair."""
    digests = [_validation_digest(run) for run in (before, after)]
    if None in digests:
        return None, "one of the runs came to no validation set"
    if digests[0] != digests[1]:
        return None, "the validation sets are not the same rows"
    try:
        first, second = _judged(before), _judged(after)
    except ExperimentPipelineError as error:
        return None, f"{error.culprit} {error.rule}"
    if first is None or second is None:
        return None, "one of the runs kept no predictions of the validation rows"
    alike = [one.rows.filter(items=["y", "unit", _WEIGHT]) for one in (first, second)]
    if not alike[0].equals(alike[1]):
        return None, "targets, resampling clusters or weights are not the same"
    return (first, second), ""


def _validation_digest(run: Mapping[str, Any]) -> str | None:
    sets = rows_of_run("sets", run)
    found = sets.loc[sets["set_name"] == "validation", "digest"]
    return None if found.empty else str(found.item())


def _judged(run: Mapping[str, Any]) -> JudgedRows | None:
    reports = rows_of_run("reports", run)
    found = reports.loc[reports["name"] == JUDGED_ROWS, "place"]
    if found.empty:
        return None
    return from_parquet(read_bytes(location(str(found.item()))), JudgedRows)


def _scores(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    pair: tuple[JudgedRows, JudgedRows] | None,
) -> tuple[ScoreChange, ...]:
    old, new = _on_validation(before), _on_validation(after)
    ranking = [after["metric"], *(name for name in new.index if name != after["metric"])]
    return tuple(
        _score_change(metric, old.loc[metric], new.loc[metric], pair)
        for metric in ranking
        if metric in old.index and metric in new.index
    )


def _on_validation(run: Mapping[str, Any]) -> pd.DataFrame:
    scores = rows_of_run("scores", run)
    return scores[scores["set_name"] == "validation"].set_index("metric")


def _score_change(
    metric: str, old: pd.Series, new: pd.Series, pair: tuple[JudgedRows, JudgedRows] | None
) -> ScoreChange:
    before = Interval(old["estimate"], old["low"], old["high"])
    after = Interval(new["estimate"], new["low"], new["high"])
    if pair is None:
        gap = after.estimate - before.estimate
        return ScoreChange(metric, before, after, Interval(gap, math.nan, math.nan), None)
    difference = _paired(metric, *pair)
    sign = 1 if new["greater_is_better"] else -1
    better = None
    if difference.low > 0 or difference.high < 0:
        better = sign * difference.estimate > 0
    return ScoreChange(metric, before, after, difference, better)


def _paired(metric: str, before: JudgedRows, after: JudgedRows) -> Interval:
    first, second = before.as_prediction, after.as_prediction
    old = first.linearise(metric, before.threshold)
    new = second.linearise(metric, after.threshold)
    return paired_difference(old, new, first.layout(metric))


def _three(name: str, of: Interval) -> dict[str, float]:
    return {name: of.estimate, f"{name}_low": of.low, f"{name}_high": of.high}
