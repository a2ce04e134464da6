"""Compare two runs: what changed in data, code and YAML, and the effect on scores and
rows.

The models are compared row by row on the validation rows that both runs share; if these
are too few, the scores are shown with their intervals, without a paired difference.
"""

import difflib
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError, UnknownRun
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.run_record import (
    JUDGED_ROWS,
    ROW,
    SET,
    WEIGHT,
    JudgedRows,
)
from experiment_pipeline.statistics.groups import FEWEST_CLUSTERS
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    net_share,
    paired_difference,
)
from experiment_pipeline.storage.files import without_credentials
from experiment_pipeline.storage.tables import read_table
from experiment_pipeline.table.kinds import parts_of
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions

_DIGITS, _MOST_LINES = 12, 4
_MOST_CHANGED, _MOST_PARTS = 20, 5
_FEWEST_ROWS, _MOST_ROWS = (
    100,
    50_000,
)  # of a part, and of all rows that parts are formed from
_PART = ["feature", "value", "rows", "change", "low", "high", "differs_from_all_rows"]
_Run, _Files = Mapping[str, Any], Mapping[str, str]
_Sides = Sequence[
    tuple[SetPrediction, float]
]  # predictions of the same rows, with the threshold
_YAML = {"yaml_digest": "defs.yaml", "schema_digest": "schema.yaml"}
# Input or result of a run → the column of `runs` that is compared.
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
    """One difference between two runs: its name, and both values in words."""

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
    difference: (
        Interval  # after minus before, paired; bounds are nan if the rows do not pair
    )
    better: bool | None  # whether `after` is, at the 95 % level; None: not significant

    @property
    def is_paired(self) -> bool:
        """Whether both models predicted the same rows."""
        return math.isfinite(self.difference.low)

    def in_words(self) -> str:
        """`roc_auc 0.6912 (…) → 0.7021 (…): +0.0109 (0.0031 to 0.0187), better`."""
        if self.is_paired and self.difference.estimate == 0:
            return (
                f"{self.metric} {numbers.interval(self.before)} in both: no difference"
            )
        size, verdict = numbers.score(abs(self.difference.estimate)), "not paired"
        if self.is_paired:
            verdict = {True: "better", False: "worse", None: "not significant"}[
                self.better
            ]
            size += f" ({numbers.bounds(self.difference)})"
        return (
            f"{self.metric} {numbers.interval(self.before)} → {numbers.interval(self.after)}: "
            f"{'+' if self.difference.estimate >= 0 else '-'}{size}, {verdict}"
        )


@dataclass(frozen=True, eq=False)
class RowChanges:
    """How two models differ on the validation rows that both predicted."""

    gained: int  # rows that only the second classifies correctly; regression: with a smaller error
    lost: int  # the reverse
    net: Interval  # gained minus lost, as a share of all rows
    in_words: str
    parts: (
        pd.DataFrame
    )  # parts by feature values whose change differs most from that of all rows
    largest: pd.DataFrame  # the rows with the largest change in loss


@dataclass(frozen=True)
class RunComparison:
    """Two runs of one experiment, or of two, by their rows of the table `runs`."""

    before: _Run
    after: _Run
    changes: tuple[Change, ...]
    yaml_diff: str  # of defs.yaml and schema.yaml, as a unified diff
    code_diff: str  # the same for the user's modules and the uncommitted changes
    scores: tuple[
        ScoreChange, ...
    ]  # validation scores that both have, the ranking metric first
    why_unpaired: str  # why the models are not compared row by row; empty if they are
    rows: RowChanges | None = None  # None: not paired

    def table(self) -> pd.DataFrame:
        """A row per metric: score, low and high of both runs, and the difference."""
        rows: list[dict[str, Any]] = [{"metric": one.metric} for one in self.scores]
        for row, one in zip(rows, self.scores, strict=True):
            for name in ("before", "after", "difference"):
                of: Interval = getattr(one, name)
                row |= {
                    name: of.estimate,
                    f"{name}_low": of.low,
                    f"{name}_high": of.high,
                }
            row["better"] = one.better
        return pd.DataFrame(rows).astype({"better": "boolean"} if rows else {})

    @property
    def _runs(self) -> str:
        both = (self.before, self.after)
        return " → ".join(
            f"{one['experiment']} {one['run_id']} ({one['status']})" for one in both
        )

    @property
    def _rows(self) -> str:
        return self.rows.in_words if self.rows else f"not paired: {self.why_unpaired}"

    @property
    def lines(self) -> tuple[str, ...]:
        """What changed, how many rows got better or worse, and the scores, in words."""
        changed = [one.in_words() for one in self.changes] or ["nothing has changed"]
        return (*changed, self._rows, *(one.in_words() for one in self.scores))

    def __repr__(self) -> str:
        return "\n".join([self._runs, "", *self.lines])

    def __str__(self) -> str:
        return "\n\n".join(filter(None, [repr(self), self.yaml_diff, self.code_diff]))

    def _repr_html_(self) -> str:
        text = "".join(f"<p>{html.escape(one)}</p>" for one in (self._runs, self._rows))
        return text + self.table().to_html(index=False)

    def page(self) -> str:
        """Return the comparison as one self-contained HTML page."""
        changed = (document.Paragraph(self._runs), document.Bullets(self.lines))
        sections = [
            document.Section(f"What changed, on the {document.HOLD_OUT}", changed)
        ]
        if self.rows is not None:
            how = f"Change of {self.after['metric']}; intervals are paired, and hold for all parts."
            if len(self.rows.parts):
                parts = (
                    document.Paragraph(how),
                    document.rows_table(plain_rows(self.rows.parts)),
                )
                sections.append(document.Section("Where the change comes from", parts))
            largest = (document.rows_table(plain_rows(self.rows.largest)),)
            sections.append(document.Section("Rows that changed most", largest))
        for title, diff in (("YAML", self.yaml_diff), ("Code", self.code_diff)):
            if diff:
                sections.append(document.Section(title, (document.Code("diff", diff),)))
        return document.render_html(
            document.Document("Two runs side by side", tuple(sections))
        )


def compare(
    before: str | None, after: str | None, experiment: str | None = None
) -> RunComparison:
    """Compare two runs; printing the result describes it in words.

    >>> found = compare("00000001", "00000002")
    >>> print(found.changes[0].in_words())
    data: 10,001 rows, 12 columns (data0) → 10,002 rows, 12 columns (data1)
    >>> found.table()[["metric", "before", "after", "difference", "better"]].round(3)
        metric  before  after  difference  better
    0  roc_auc     0.7   0.71        0.01    <NA>

    Runs are named by the start of their ids or, with `experiment`, by versions such as
    v0003; None is its last run. Raises UnknownRun: there is no such run, or several ids
    start like this.
    """
    made = (
        questions.versions(experiment).set_index("version")["run_id"]
        if experiment
        else {}
    )
    for one in (before, after):
        if pd.isna(made.get(one, "")):
            rule = "the run that made it is not recorded"
            fix = "Name one of `experiment-pipeline runs`."
            raise UnknownRun(f"{experiment} {one}", rule, fix)
    return compared(
        *(questions.run_of(experiment, made.get(one, one)) for one in (before, after))
    )


def compared(before: _Run, after: _Run) -> RunComparison:
    """Compare two runs, given their rows of the table `runs`."""
    files, yaml = (
        (questions.files_of(before), questions.files_of(after)),
        [*_YAML.values()],
    )
    yaml_diff, code_diff = (
        "\n".join(line for name in names for line in _diff(name, *files, around=1))
        for names in (yaml, sorted({*files[0], *files[1]}.difference(yaml)))
    )
    pair = _judged_pair(before, after)
    why, judged = (pair, None) if isinstance(pair, str) else ("", pair)
    scores = tuple(_score_changes(before, after, judged))
    changed = tuple(changes(before, after, files))
    rows = None if judged is None else _row_changes(before, after, judged)
    return RunComparison(
        before, after, changed, yaml_diff, code_diff, scores, why, rows
    )


def changes(
    before: _Run, after: _Run, files: tuple[_Files, _Files]
) -> Iterator[Change]:
    """Yield what differs between two runs, given their rows of `runs` and the texts of
    their files.
    """
    kept = {
        name: name for name in sorted({*files[0], *files[1]}.difference(_YAML.values()))
    }
    for what, column in (_DECIDING | kept).items():
        if lines := [*_diff(_YAML.get(column, column), *files, around=0)][2:]:
            yield Change(what, _marked("-", lines), _marked("+", lines))
        elif before.get(column) != after.get(column):
            yield Change(what, _in_words(column, before), _in_words(column, after))
    old, new = before["libraries"] or {}, after["libraries"] or {}
    for name in sorted(old | new):
        if old.get(name) != new.get(name):
            yield Change(name, *(str(of.get(name, "not used")) for of in (old, new)))


def _diff(name: str, before: _Files, after: _Files, around: int) -> Iterator[str]:
    old, new = (files.get(name, "") for files in (before, after))
    given = old.splitlines(), new.splitlines(), name, name
    lines = () if old == new else difflib.unified_diff(*given, lineterm="", n=around)
    return map(without_credentials, lines)  # they reach pages and git


def _marked(mark: str, lines: Sequence[str]) -> str:
    """One side of a diff on one line: `workers: 2; seed: 1 and 3 more lines`."""
    found = [line[1:].strip() for line in lines if line.startswith(mark)]
    more = (
        f" and {len(found) - _MOST_LINES} more lines"
        if len(found) > _MOST_LINES
        else ""
    )
    return f"{'; '.join(found[:_MOST_LINES])}{more}" or "none"


def _in_words(column: str, run: _Run) -> str:
    value = run[column]
    if value is None:
        return "none"
    if column == "data_digest" and run["data_rows"] is not None:
        columns = numbers.counted(run["data_columns"], "column")
        return f"{run['data_rows']:,} rows, {columns} ({value[:_DIGITS]})"
    if column == "code_commit":
        return (
            f"{value[:_DIGITS]}{', uncommitted changes' if run['code_dirty'] else ''}"
        )
    return str(value)[:_DIGITS] if column in _YAML else str(value)


@dataclass(frozen=True, eq=False)
class _Pair:
    """The predictions of two models for the same rows."""

    sides: _Sides
    places: Sequence[np.ndarray]  # positions of these rows in each validation set
    which: (
        str  # a description of these rows; empty: all rows, and both sets are the same
    )


def _judged_pair(before: _Run, after: _Run) -> _Pair | str:
    """The predictions of both runs for their shared validation rows; else why they
    cannot be paired.
    """
    try:
        places = [questions.report_of(one, JUDGED_ROWS) for one in (before, after)]
        judged = [read_table(one, JudgedRows) for one in places]
    except ExperimentPipelineError as error:
        return f"{error.culprit}: {error.rule}"
    known = [one.rows for one in judged]
    if not all(ROW in one for one in known):
        return "a run of an earlier package version did not record its validation rows"
    # Equal rows are paired in their order: the first with the first.
    keys = [
        pd.MultiIndex.from_arrays([one[ROW], one.groupby(ROW).cumcount()])
        for one in known
    ]
    at = keys[1].get_indexer(keys[0])
    shared = [np.flatnonzero(at >= 0), at[at >= 0]]
    rows = [
        one.iloc[at].reset_index(drop=True)
        for one, at in zip(known, shared, strict=True)
    ]
    unit, (n, m) = (
        min((one["unit"] for one in rows), key=pd.Series.nunique),
        map(len, known),
    )
    which = f"{numbers.counted(len(unit), 'row')} of both validation sets ({n:,} and {m:,} rows)"
    if (
        not (whole := len(unit) == n == m)
        and (count := unit.nunique()) < FEWEST_CLUSTERS
    ):
        return (
            f"{which}, matched by id columns, else by all columns, in {count} resampling clusters, fewer "
            f"than {FEWEST_CLUSTERS}. The other rows were train or test rows of the other run, or are not "
            "in its table. Use the same split in both, or predict the same new rows with both models"
        )
    alike = [one.filter(items=["y", WEIGHT]) for one in rows]
    if [*rows[0]] != [*rows[1]] or not alike[0].equals(alike[1]):
        return "targets, classes or weights of the same rows differ"
    pairs = zip(judged, (one.assign(unit=unit) for one in rows), strict=True)
    sides = [
        (replace(one, rows=own).as_prediction, one.threshold) for one, own in pairs
    ]
    return _Pair(sides, shared, "" if whole else which)


def _row_changes(before: _Run, after: _Run, pair: _Pair) -> RowChanges:
    sides, tables = (
        pair.sides,
        [questions.predicted_rows(run) for run in (before, after)],
    )
    first, second = (
        table[table[SET] == "validation"].drop(columns=SET).iloc[at]
        for table, at in zip(tables, pair.places, strict=True)
    )
    worse = second["loss"].to_numpy() - first["loss"].to_numpy()
    changed, ways = -np.sign(worse), ("have a smaller error", "a larger one")
    if after["task"] != "regression":
        ways = ("changed from wrong to right", "from right to wrong")
        right = [(of.decided(threshold) == of.y) * 1.0 for of, threshold in sides]
        changed = right[1] - right[0]
    gained, lost = int((changed > 0).sum()), int((changed < 0).sum())
    net = net_share(changed, sides[0][0].clusters)
    low, share, high = map(numbers.share, (net.low, net.estimate, net.high))
    of = (
        f"the {pair.which}, on which neither model was fitted or chosen"
        if pair.which
        else "all"
    )
    said = f"{gained:,} rows {ways[0]}, {lost:,} {ways[1]}: net {share} ({low} to {high}) of {of}"
    order = np.argsort(-np.abs(worse), kind="stable")[:_MOST_CHANGED]
    old, largest = (table.iloc[order].reset_index() for table in (first, second))
    for name in ("prediction", "loss"):
        largest.insert(list(largest).index(name), f"{name}_before", old[name])
    features = second.iloc[:, list(second).index("loss") + 1 :]
    parts = _parts(features, sides, after["metric"])
    return RowChanges(gained, lost, net, said, parts, largest)


def _parts(features: pd.DataFrame, sides: _Sides, metric: str) -> pd.DataFrame:
    every = slice(None, None, -(-len(features) // _MOST_ROWS))
    sides = [(of.rows(every), threshold) for of, threshold in sides]
    whole, found = _difference(metric, sides).estimate, list[tuple[Any, ...]]()
    parts = list(parts_of(features.iloc[every], _FEWEST_ROWS))
    for name, value, mask in parts:
        some = [(of.rows(mask), threshold) for of, threshold in sides]
        change = _difference(metric, some, 1 - (1 - LEVEL) / len(parts))  # Bonferroni
        beyond = max(change.low - whole, whole - change.high)
        if math.isfinite(beyond):
            ends = (change.estimate, change.low, change.high)
            found.append((beyond, name, value, int(mask.sum()), *ends, beyond > 0))
    found.sort(key=lambda one: -one[0])
    return pd.DataFrame([one[1:] for one in found[:_MOST_PARTS]], columns=_PART)


def _difference(metric: str, sides: _Sides, level: float = LEVEL) -> Interval:
    first, second = (of.linearise(metric, threshold) for of, threshold in sides)
    return paired_difference(first, second, sides[0][0].layout(metric), level)


def _score_changes(
    before: _Run, after: _Run, pair: _Pair | None
) -> Iterator[ScoreChange]:
    found = (questions.rows_of("scores", run) for run in (before, after))
    old, new = (
        one[one["set_name"] == "validation"].set_index("metric") for one in found
    )
    ranked = sorted(new.index, key=lambda metric: metric != after["metric"])
    for metric in (one for one in ranked if one in old.index):
        first, second = (
            Interval(*of.loc[metric, ["estimate", "low", "high"]].astype(float))
            for of in (old, new)
        )
        difference = Interval(second.estimate - first.estimate, math.nan, math.nan)
        better = None
        if pair is not None:
            with suppress(
                ExperimentPipelineError
            ):  # a user's metric that is not importable here
                difference = _difference(metric, pair.sides)
                if pair.which:
                    first, second = (of.interval(metric, cut) for of, cut in pair.sides)
            if difference.low > 0 or difference.high < 0:
                better = (difference.estimate > 0) == bool(
                    new.loc[metric, "greater_is_better"]
                )
        yield ScoreChange(metric, first, second, difference, better)
