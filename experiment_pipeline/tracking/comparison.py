"""Compare two runs: what changed in data, code and YAML, and the effect on scores and
rows.

The models are compared row by row on the validation rows that both runs share; if these
are too few, the scores are shown with their intervals, without a paired difference.
"""

import difflib
import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError, UnknownRun
from experiment_pipeline.reporting import charts, document, numbers
from experiment_pipeline.reporting.run_record import (
    JUDGED_ROWS,
    ROW,
    SET,
    WEIGHT,
    JudgedRows,
    Row,
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
from experiment_pipeline.tracking.summary import outcome_of

_DIGITS = 12  # shown of a commit or digest
_MOST_LINES = 4  # shown of the lines that differ in a file
_MOST_CHANGED = 20  # rows
_MOST_PARTS = 5
_FEWEST_ROWS = 100  # of a part
_MOST_ROWS = 50_000  # from which parts are formed
_PART = ["feature", "value", "rows", "change", "low", "high", "differs_from_all_rows"]
_Files = Mapping[str, str]
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
_VERDICTS = {True: "better", False: "worse", None: "not significant"}


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
    # after minus before, paired; bounds are nan if the rows do not pair
    difference: Interval
    better: bool | None  # whether `after` is; None: not significant

    @property
    def is_paired(self) -> bool:
        """Whether both models predicted the same rows."""
        return math.isfinite(self.difference.low)

    def in_words(self) -> str:
        """`roc_auc 0.6912 (…) → 0.7021 (…): +0.0109 (0.0031 to 0.0187), better`."""
        before = f"{self.metric} {numbers.interval(self.before)}"
        if self.is_paired and self.difference.estimate == 0:
            return f"{before} in both: no difference"
        verdict = _VERDICTS[self.better] if self.is_paired else "not paired"
        text = f"{numbers.difference(self.difference)}, {verdict}"
        return f"{before} → {numbers.interval(self.after)}: {text}"

    @property
    def answer(self) -> str:
        """Whether the second run is better, and by how much."""
        if not self.is_paired:
            return f"The runs cannot be compared row by row: {self.in_words()},"
        by = f"{self.metric} differs by {numbers.interval(self.difference)}"
        if self.better is None:
            return f"The difference is not significant: {by}"
        side = "better" if self.better else "worse"
        return f"The later run is significantly {side}: {by}"

    def drawn(self) -> Sequence[document.Cell]:
        """Both scores on one line, and their difference on one around zero."""
        both = [
            end
            for scored in (self.before, self.after)
            for end in (scored.low, scored.estimate, scored.high)
            if math.isfinite(end)
        ]
        axis = charts.Axis(low=min(both, default=None), high=max(both, default=None))
        difference = self.difference
        zero = charts.around_zero([difference])
        return (
            charts.on_line(self.before, axis),
            charts.on_line(self.after, axis),
            charts.on_line(difference, zero, 0.0)
            if self.is_paired
            else f"{numbers.score(difference.estimate)}, not paired",
        )


@dataclass(frozen=True, eq=False)
class RowChanges:
    """How two models differ on the validation rows that both predicted."""

    # rows that only the second classifies correctly; regression: with a smaller error
    gained: int
    lost: int  # the reverse
    net: Interval  # gained minus lost, as a share of all rows
    in_words: str
    # by feature values, whose change differs most from that of all rows
    parts: pd.DataFrame
    largest: pd.DataFrame  # the rows with the largest change in loss


@dataclass(frozen=True)
class RunComparison:
    """Two runs of one experiment, or of two, by their rows of the table `runs`."""

    before: Row
    after: Row
    changes: tuple[Change, ...]
    yaml_diff: str  # of defs.yaml and schema.yaml, as a unified diff
    code_diff: str  # the same for the user's modules and the uncommitted changes
    scores: tuple[ScoreChange, ...]  # on validation, the ranking metric first
    why_unpaired: str  # why models are not compared row by row; empty if they are
    rows: RowChanges | None = None  # None: not paired

    def table(self) -> pd.DataFrame:
        """A row per metric: score, low and high of both runs, and the difference."""
        rows = []
        for score in self.scores:
            row: dict[str, Any] = {"metric": score.metric}
            intervals = {
                "before": score.before,
                "after": score.after,
                "difference": score.difference,
            }
            for name, interval in intervals.items():
                row[name] = interval.estimate
                row[f"{name}_low"] = interval.low
                row[f"{name}_high"] = interval.high
            row["better"] = score.better
            rows.append(row)
        return pd.DataFrame(rows).astype({"better": "boolean"} if rows else {})

    @property
    def _runs(self) -> str:
        texts = [
            f"{run['experiment']} {run['run_id']} ({outcome_of(run)})"
            for run in (self.before, self.after)
        ]
        return " → ".join(texts)

    @property
    def _rows(self) -> str:
        return self.rows.in_words if self.rows else f"not paired: {self.why_unpaired}"

    @property
    def lines(self) -> tuple[str, ...]:
        """What changed, how many rows got better or worse, and the scores, in words."""
        changes = [change.in_words() for change in self.changes]
        scores = [score.in_words() for score in self.scores]
        return (*(changes or ["nothing has changed"]), self._rows, *scores)

    def __repr__(self) -> str:
        return "\n".join([self._runs, "", *self.lines])

    def __str__(self) -> str:
        return "\n\n".join(filter(None, [repr(self), self.yaml_diff, self.code_diff]))

    def _repr_html_(self) -> str:
        runs = f"<p>{html.escape(self._runs)}</p>"
        rows = f"<p>{html.escape(self._rows)}</p>"
        return runs + rows + self.table().to_html(index=False)

    def page(self, links: Sequence[document.Link] = ()) -> str:
        """Return the comparison as one self-contained HTML page, with links to more."""
        what = [(change.what, change.before, change.after) for change in self.changes]
        changed = document.TableBlock(("what", "before", "after"), what)
        nothing = document.Paragraph("Nothing has changed.")
        sections = [
            document.Section("Difference", (*self._difference(), *links)),
            document.Section("What changed", (changed if what else nothing,)),
            *self._changed_rows(),
        ]
        for title, diff in (("YAML", self.yaml_diff), ("Code", self.code_diff)):
            if diff:
                sections.append(document.Section(title, (document.Code("diff", diff),)))
        page = document.Document("Two runs side by side", sections)
        return document.render_html(page)

    def _difference(self) -> Iterator[document.Block]:
        """The answer in a sentence, and each score of both runs on one line."""
        where = f"on the {document.HOLD_OUT}"
        answer = f"Not compared: a run has no score {where}"
        for score in self.scores[:1]:
            answer = f"{score.answer} {where}"
        yield document.Paragraph(f"{answer}.")
        names = [
            f"{side}: {run['run_id'][:8]}, {outcome_of(run)}"
            for side, run in (("before", self.before), ("after", self.after))
        ]
        lines = [score.drawn() for score in self.scores]
        rows = list(zip((*names, "difference"), *lines, strict=True))
        header = ("run", *(score.metric for score in self.scores))
        if self.scores:
            yield document.TableBlock(header, rows)
        yield document.Paragraph(f"{self._rows[:1].upper()}{self._rows[1:]}.")

    def _changed_rows(self) -> Iterator[document.Section]:
        if self.rows is None:
            return
        if parts := plain_rows(self.rows.parts):
            metric = self.after["metric"]
            axis = charts.around_zero(map(_change_of, parts))
            of_all = self.scores[0].difference.estimate
            cells = [
                (
                    numbers.shown(f"{part['feature']} = {part['value']}"),
                    f"{part['rows']:,}",
                    charts.on_line(_change_of(part), axis, of_all),
                    "yes" if part["differs_from_all_rows"] else "",
                )
                for part in parts
            ]
            read_as = (
                f"Change of {metric}; intervals are paired, and hold for all parts."
            )
            header = ("part", "rows", "change; red: all rows", "differs from all rows")
            blocks = (document.Paragraph(read_as), document.TableBlock(header, cells))
            yield document.Section("Where the change comes from", blocks)
        largest = document.rows_table(plain_rows(self.rows.largest))
        yield document.Section("Rows that changed most", (largest,), folded=True)


def _change_of(part: Row) -> Interval:
    """The change of a part, with its bounds."""
    return Interval(part["change"], part["low"], part["high"])


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
    return compared(_named_run(before, experiment), _named_run(after, experiment))


def _named_run(name: str | None, experiment: str | None) -> Row:
    run_id = name
    if experiment:
        versions = questions.versions(experiment).set_index("version")["run_id"]
        run_id = versions.get(name, name)
        if name is not None and pd.isna(run_id):
            raise UnknownRun(
                f"{experiment} {name}",
                rule="the run that made it is not recorded",
                fix="Name a run that `runs` lists.",
            )
    return questions.run_of(experiment, run_id)


def compared(before: Row, after: Row) -> RunComparison:
    """Compare two runs, given their rows of the table `runs`."""
    old_files, new_files = questions.files_of(before), questions.files_of(after)
    pair = None
    why_unpaired = ""
    try:
        pair = _paired(before, after)
    except _Unpaired as unpaired:
        why_unpaired = str(unpaired)
    modules = _modules(old_files, new_files)
    return RunComparison(
        before,
        after,
        changes=tuple(changes(before, after, old_files, new_files)),
        yaml_diff=_diff(_YAML.values(), old_files, new_files),
        code_diff=_diff(modules, old_files, new_files),
        scores=tuple(_score_changes(before, after, pair)),
        why_unpaired=why_unpaired,
        rows=None if pair is None else _row_changes(pair),
    )


def changes(
    before: Row, after: Row, old_files: _Files, new_files: _Files
) -> Iterator[Change]:
    """Yield what differs between two runs, given their rows of `runs` and files."""
    modules = {name: name for name in _modules(old_files, new_files)}
    for title, column in (_DECIDING | modules).items():
        name = _YAML.get(column, column)
        if lines := _diff_of(name, old_files, new_files, around=0)[2:]:
            yield Change(title, _marked("-", lines), _marked("+", lines))
        elif before.get(column) != after.get(column):
            yield Change(title, _in_words(column, before), _in_words(column, after))
    old, new = before["libraries"] or {}, after["libraries"] or {}
    for name in sorted(old | new):
        if old.get(name) != new.get(name):
            yield Change(
                name, str(old.get(name, "not used")), str(new.get(name, "not used"))
            )


def _modules(old_files: _Files, new_files: _Files) -> list[str]:
    return sorted({*old_files, *new_files}.difference(_YAML.values()))


def _diff(names: Iterable[str], old_files: _Files, new_files: _Files) -> str:
    lines = [
        line
        for name in names
        for line in _diff_of(name, old_files, new_files, around=1)
    ]
    return "\n".join(lines)


def _diff_of(
    name: str, old_files: _Files, new_files: _Files, *, around: int
) -> list[str]:
    """The unified diff of a file, with a number of lines around each change."""
    old, new = old_files.get(name, ""), new_files.get(name, "")
    if old == new:  # of most files of most runs, and difflib is slow to see it
        return []
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), name, name, lineterm="", n=around
    )
    return [without_credentials(line) for line in lines]  # they reach pages and git


def _marked(mark: str, lines: Sequence[str]) -> str:
    """One side of a diff on one line: `workers: 2; seed: 1 and 3 more lines`."""
    changed = [line[1:].strip() for line in lines if line.startswith(mark)]
    marked = [line for line in changed if not line.startswith("#")]
    text = "; ".join(marked[:_MOST_LINES]) or ("a comment" if changed else "none")
    lines_left = len(marked) - _MOST_LINES
    return f"{text} and {lines_left} more lines" if lines_left > 0 else text


def _in_words(column: str, run: Row) -> str:
    value = run[column]
    if value is None:
        return "none"
    match column:
        case "data_digest" if run["data_rows"] is not None:
            columns = numbers.counted(run["data_columns"], "column")
            return f"{run['data_rows']:,} rows, {columns} ({value[:_DIGITS]})"
        case "code_commit":
            changes = ", uncommitted changes" if run["code_dirty"] else ""
            return f"{value[:_DIGITS]}{changes}"
        case "yaml_digest" | "schema_digest":
            return value[:_DIGITS]
        case "status":
            return outcome_of(run)
    return str(value)


class _Unpaired(Exception):
    """Why the predictions of two runs cannot be paired."""


@dataclass(frozen=True, eq=False)
class _Side:
    """The predictions of a run's model for some of its validation rows."""

    run: Row
    prediction: SetPrediction
    threshold: float
    places: np.ndarray  # (n,) positions of these rows in the validation set

    def part(self, rows: np.ndarray) -> "_Side":
        """Some of the rows."""
        return replace(
            self, prediction=self.prediction.rows(rows), places=self.places[rows]
        )

    @property
    def is_right(self) -> np.ndarray:
        """Whether each row is classified correctly (n,), as 0.0 or 1.0."""
        decided = self.prediction.decided(self.threshold)
        return (decided == self.prediction.y) * 1.0

    def interval(self, metric: str) -> Interval:
        """The score on these rows."""
        return self.prediction.interval(metric, self.threshold)

    def shown_rows(self) -> pd.DataFrame:
        """The rows as people see them, with their loss."""
        table = questions.predicted_rows(self.run)
        return table[table[SET] == "validation"].drop(columns=SET).iloc[self.places]


@dataclass(frozen=True, eq=False)
class _Pair:
    """The predictions of two models for the same rows."""

    before: _Side
    after: _Side
    which: str  # a description of these rows; empty: all rows of two equal sets

    def part(self, rows: np.ndarray) -> "_Pair":
        """Some of the rows."""
        return _Pair(self.before.part(rows), self.after.part(rows), self.which)

    def difference(self, metric: str, level: float = LEVEL) -> Interval:
        """Score of the second model minus score of the first, paired."""
        before, after = self.before.prediction, self.after.prediction
        return paired_difference(
            before.linearise(metric, self.before.threshold),
            after.linearise(metric, self.after.threshold),
            before.layout(metric),
            level,
        )


def _judged_rows(run: Row) -> JudgedRows:
    try:
        judged = read_table(questions.report_of(run, JUDGED_ROWS), JudgedRows)
    except ExperimentPipelineError as error:
        raise _Unpaired(f"{error.culprit}: {error.rule}") from None
    if ROW not in judged.rows:
        raise _Unpaired(
            "a run of an earlier package version did not record its validation rows"
        )
    return judged


def _paired(before: Row, after: Row) -> _Pair:
    """Both runs on their shared validation rows; raises _Unpaired if these are few."""
    judged_before, judged_after = _judged_rows(before), _judged_rows(after)
    places = _keys(judged_after).get_indexer(_keys(judged_before))
    old_places, new_places = np.flatnonzero(places >= 0), places[places >= 0]
    old = judged_before.rows.iloc[old_places].reset_index(drop=True)
    new = judged_after.rows.iloc[new_places].reset_index(drop=True)
    # The coarser clusters: the rows of a cluster of either run depend on each other.
    clusters = min(old["unit"], new["unit"], key=pd.Series.nunique)
    sizes = (len(judged_before.rows), len(judged_after.rows))
    which = (
        f"{numbers.counted(len(old), 'row')} of both validation sets ({sizes[0]:,} and "
        f"{sizes[1]:,} rows)"
    )
    is_complete = set(sizes) == {len(old)}
    if not is_complete and clusters.nunique() < FEWEST_CLUSTERS:
        raise _Unpaired(
            f"{which}, matched by id columns, else by all columns, in "
            f"{clusters.nunique()} resampling clusters, fewer than {FEWEST_CLUSTERS}. "
            "The other rows were train or test rows of the other run, or are not "
            "in its table. Use the same split in both, or predict the same new rows "
            "with both models"
        )
    targets = ["y", WEIGHT]
    same_columns = [*old] == [*new]
    if not same_columns or not old.filter(targets).equals(new.filter(targets)):
        raise _Unpaired("targets, classes or weights of the same rows differ")

    def side(
        run: Row, judged: JudgedRows, rows: pd.DataFrame, places: np.ndarray
    ) -> _Side:
        shared = replace(judged, rows=rows.assign(unit=clusters))
        return _Side(run, shared.as_prediction, judged.threshold, places)

    return _Pair(
        side(before, judged_before, old, old_places),
        side(after, judged_after, new, new_places),
        "" if is_complete else which,
    )


def _keys(judged: JudgedRows) -> pd.MultiIndex:
    """A key for each row: equal rows are paired in their order."""
    rows = judged.rows
    return pd.MultiIndex.from_arrays([rows[ROW], rows.groupby(ROW).cumcount()])


def _row_changes(pair: _Pair) -> RowChanges:
    first, second = pair.before.shown_rows(), pair.after.shown_rows()
    loss_change = second["loss"].to_numpy() - first["loss"].to_numpy()
    if pair.after.run["task"] == "regression":
        improvement = -np.sign(loss_change)
        better, worse = "have a smaller error", "a larger one"
    else:
        improvement = pair.after.is_right - pair.before.is_right
        better, worse = "changed from wrong to right", "from right to wrong"
    gained, lost = int((improvement > 0).sum()), int((improvement < 0).sum())
    net = net_share(improvement, pair.before.prediction.clusters)
    bounds = f"{100 * net.low:.1f} to {100 * net.high:.1f} %"
    of_which = "all"
    if pair.which:
        of_which = f"the {pair.which}, on which neither model was fitted or chosen"
    return RowChanges(
        gained,
        lost,
        net,
        f"{gained:,} rows {better}, {lost:,} {worse}: net {100 * net.estimate:.1f} % "
        f"({bounds}) of {of_which}",
        parts=_parts(second, pair),
        largest=_largest_changes(first, second, np.abs(loss_change)),
    )


def _largest_changes(
    first: pd.DataFrame, second: pd.DataFrame, size: np.ndarray
) -> pd.DataFrame:
    """The rows with the largest `size` (n,), with prediction and loss of both."""
    order = np.argsort(-size, kind="stable")[:_MOST_CHANGED]
    before = first.iloc[order].reset_index()
    largest = second.iloc[order].reset_index()
    for name in ("prediction", "loss"):
        largest.insert(list(largest).index(name), f"{name}_before", before[name])
    return largest


def _parts(shown_rows: pd.DataFrame, pair: _Pair) -> pd.DataFrame:
    """The parts by feature values whose change differs most from that of all rows."""
    metric = pair.after.run["metric"]
    sample = np.arange(0, len(shown_rows), -(-len(shown_rows) // _MOST_ROWS))
    pair = pair.part(sample)
    features = shown_rows.iloc[sample, list(shown_rows).index("loss") + 1 :]
    parts = list(parts_of(features, _FEWEST_ROWS))
    change_of_all = pair.difference(metric).estimate
    rows = []
    for name, value, mask in parts:
        level = 1 - (1 - LEVEL) / len(parts)  # Bonferroni
        change = pair.part(np.flatnonzero(mask)).difference(metric, level)
        # How far the change of all rows lies outside the interval of the part.
        beyond = max(change.low - change_of_all, change_of_all - change.high)
        if math.isfinite(beyond):
            cells = [name, value, int(mask.sum())]
            cells += [change.estimate, change.low, change.high, beyond > 0]
            rows.append((beyond, cells))
    rows.sort(key=lambda row: -row[0])
    return pd.DataFrame([cells for _, cells in rows[:_MOST_PARTS]], columns=_PART)


def _score_changes(
    before: Row, after: Row, pair: _Pair | None
) -> Iterator[ScoreChange]:
    old, new = _validation_scores(before), _validation_scores(after)
    ranked = sorted(new, key=lambda metric: metric != after["metric"])
    for metric in ranked:
        if metric not in old:
            continue
        first, second = _interval_of(old[metric]), _interval_of(new[metric])
        difference = Interval(second.estimate - first.estimate, math.nan, math.nan)
        if pair is not None:
            # A user's metric may not be importable here.
            with suppress(ExperimentPipelineError):
                difference = pair.difference(metric)
                if pair.which:
                    first = pair.before.interval(metric)
                    second = pair.after.interval(metric)
        better = None
        if difference.low > 0 or difference.high < 0:
            better = (difference.estimate > 0) == new[metric]["greater_is_better"]
        yield ScoreChange(metric, first, second, difference, better)


def _validation_scores(run: Row) -> dict[str, Row]:
    """Metric → row of the table `scores`, on the validation set."""
    scores = questions.plain_rows_of("scores", run)
    return {row["metric"]: row for row in scores if row["set_name"] == "validation"}


def _interval_of(row: Row) -> Interval:
    return numbers.interval_from(row["estimate"], row["low"], row["high"])
