"""Leaks of a random split that no column shows: related rows, and rows ordered in time.

A kernel smoother (Nadaraya 1964; Watson 1964) predicts scored rows from all others,
once without the 10 nearest of each, once without the next 10. Without the nearest, rows
that are only similar lose up to a third of the skill; related rows (of one person,
noisy copies, oversampled) lose half or more. Where a person has more than 10 rows, this
shows in a random part of the rows, in which a person has fewer; or, where the smoother
knows little, by a probe that has not seen the values in which nearest rows agree (age).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Task
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    TargetRule,
    Threshold,
)
from experiment_pipeline.stages.data_analysis.findings.probe import ProbeSample
from experiment_pipeline.stages.data_analysis.skill import (
    NAMES,
    Fold,
    mean_of_known,
    outcomes_of,
    skill,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import (
    metric_of,
    names_of,
    significantly_better,
)
from experiment_pipeline.table.clusters import cluster_hashes
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, kind_of, numbers_of
from experiment_pipeline.table.preparation import day_columns

_NEAREST = 10
_LEAST_SKILL = 0.5
_MOST_ROWS, _MOST_CELLS, _MOST_COLUMNS = 50_000, 4_000_000, 30
# With fewer rows of a class, the nearest are too large a part of it: also an honest
# model would miss them.
_FEWEST_ROWS, _FEWEST_OF_CLASS = 300, 80
# Of more rows, also this part is examined, and this part of it, down to the fewest;
# rows that are only similar lose up to so much more there.
_THINNED, _LOST_BY_THINNING = 4, 0.2
_SCORED, _AT_ONCE = 300, 10
# Rows weigh by their odds to one of these powers; the best counts. One column's odds
# are 50 at most.
_POWERS = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5)
_LEAST_ODDS = 0.02
# The evidence names columns in which nearest rows agree and other rows seldom do.
_AGREE, _BY_CHANCE = 0.8, 0.25
# Columns that repeat among nearest rows: least share that agrees, and how many times
# that of other rows.
_REPEATED, _REPEATED_TIMES = 0.3, 5
# Least skill of the probe on seen values, and fewest values.
_LEAST_SEEN, _FEWEST_VALUES, _FOLDS = 0.3, 20, 4
# Two steps are on one line: largest 1 - cosine, fewest dimensions, by how much one must
# be longer.
_PARALLEL, _DIMENSIONS, _LONGER, _VARIANCE = 1e-8, 3, 0.01, 0.9999
_ON_LINES = 0.05  # share of the rows, found from it


class RelatedRows(TargetRule):
    """Rows whose nearest rows reveal the target, more than merely similar rows would.

    Rows on a line with two others, in three or more dimensions, are synthetic (SMOTE:
    Chawla et al. 2002).
    """

    code = "related_rows"
    title = "Related rows that no column identifies"
    advice = (
        "Add a column that says what rows belong to (person, device, original of a "
        "copy) and write split: {by: group, column: …}. Remove noisy copies. "
        "Oversample after the split, and only the train set."
    )
    threshold = Threshold(
        0.4, 0, 1, "share of skill lost without the nearest rows, found from it"
    )

    def examine(self, subject: Subject) -> Finding:
        split, classes = subject.spec.split, subject.target.n_classes
        if split.by in {"time", "column"}:
            return self.not_applicable(f"The split is by {split.by}.")
        most = min(_MOST_ROWS, _MOST_CELLS // max(classes, 1))
        rows = subject.sample(subject.target.rows, most)
        neighbours = _Neighbours(subject, rows)
        fewest = max(_FEWEST_ROWS, _FEWEST_OF_CLASS * classes)
        if neighbours.too_few(fewest):
            reason = f"Fewer than {fewest} rows, or nearly all are equal."
            return self.not_applicable(reason)
        if not neighbours.ranks:
            return self.not_applicable("No number or category to compare rows by.")
        limit = self.limit(subject)
        on_lines = neighbours.share_on_lines()
        most_related = neighbours.most_related(limit, fewest)
        lost = most_related.lost
        related = lost >= limit
        evidence = most_related.in_words(len(rows))
        if related:
            evidence += most_related.agreement()
        elif (repeated := _repeated_values(neighbours)) and repeated.lost >= limit:
            words = repeated.in_words(subject.spec.task)
            return self.found(
                "condition", words, repeated.lost, limit, repeated.columns
            )
        if on_lines >= _ON_LINES:
            evidence += (
                f" {numbers.share(on_lines)} of the rows lie exactly on a line with "
                "two others, as synthetic rows do that oversampling (SMOTE) made "
                "before the split."
            )
            if not related:
                return self.found("condition", evidence, on_lines, _ON_LINES)
        return self.found("condition" if related else None, evidence, lost, limit)


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """Rows with a target, and for some of them the rows that are nearest."""

    subject: Subject
    rows: np.ndarray  # positions (m,) in the table

    @cached_property
    def hashes(self) -> np.ndarray:
        """Hashes (m,); rows with equal ones are in one set whatever the split."""
        spec, features = self.subject.spec, self.subject.features
        hashes = cluster_hashes(
            self.subject.frame, spec.split, spec.target, features, "related"
        )
        return hashes[self.rows]

    def too_few(self, fewest: int) -> bool:
        """Whether the rows, or the different ones, are too few to compare."""
        return len(self.rows) < fewest or len(np.unique(self.hashes)) <= 3 * _NEAREST

    @cached_property
    def scored(self) -> np.ndarray:
        """Positions (s,) among the rows of those that are predicted from the others."""
        return self.subject.sample(np.arange(len(self.rows)), _SCORED)

    @cached_property
    def ranks(self) -> dict[str, np.ndarray]:
        """Nearness in each column that can be compared, as `_ranks` measures it."""
        ranks = {}
        for association in self.subject.associations[:_MOST_COLUMNS]:
            column = self.subject.frame[association.column].iloc[self.rows]
            measured = _ranks(column)
            if measured is not None:
                ranks[association.column] = measured
        return ranks

    @cached_property
    def y(self) -> np.ndarray:
        """Class codes (m,), or standardized numbers."""
        y = self.subject.target.of(self.rows)
        if self.subject.spec.task == "regression":
            y = (y - y.mean()) / y.std()
        return y

    @cached_property
    def outcomes(self) -> np.ndarray:
        """Targets to average, float32 (m, k)."""
        task, classes = self.subject.spec.task, self.subject.target.n_classes
        return outcomes_of(task, self.y, classes).astype(np.float32)

    @cached_property
    def smoothed(self) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows (s, 20), the best first, and predictions (2, powers, s, k).

        The first predictions are made without the rows 11 to 20, the second without the
        rows 1 to 10.
        """
        cuts = range(_AT_ONCE, len(self.scored), _AT_ONCE)
        blocks = [self._smooth(at) for at in np.split(self.scored[:, None], cuts)]
        nearest = np.concatenate([near for near, _ in blocks])
        return nearest, np.concatenate([predicted for _, predicted in blocks], axis=2)

    def _smooth(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `smoothed`, for the rows at some positions (b, 1)."""
        # Columns count as independent: their odds are multiplied.
        odds = np.zeros((len(at), len(self.rows)), np.float32)
        for places, halves, tops in self.ranks.values():
            share = np.minimum(np.abs(places - places[at]) + halves[at], tops[at])
            odds -= np.log(share / (1 + _LEAST_ODDS - share))
        odds[self.hashes == self.hashes[at]] = -np.inf
        near = np.argpartition(-odds, 2 * _NEAREST)[:, : 2 * _NEAREST]
        order = np.argsort(-np.take_along_axis(odds, near, 1), kind="stable")
        near = np.take_along_axis(near, order, 1)
        predicted = []
        for left_out in (near[:, _NEAREST:], near[:, :_NEAREST]):
            remaining = odds.copy()
            np.put_along_axis(remaining, left_out, -np.inf, 1)
            remaining -= remaining.max(axis=1, keepdims=True)
            for power in _POWERS:
                weights = np.exp(power * remaining)
                total = weights.sum(axis=1, keepdims=True)
                predicted.append(weights @ self.outcomes / total)
        shape = (2, len(_POWERS), *predicted[0].shape)
        return near, np.reshape(predicted, shape)

    def most_related(self, limit: float, fewest: int) -> "_Neighbours":
        """These rows, or the part of them in which they turn out to be related."""
        if self.lost < limit:
            for fewer in self.thinned(fewest):
                if fewer.lost >= limit + _LOST_BY_THINNING:
                    return fewer
        return self

    def thinned(self, fewest: int) -> Iterator["_Neighbours"]:
        """Random parts of the rows: in one of them the nearest few are all the rows of
        a person, also where a person has many.
        """
        size = len(self.rows)
        if self.subject.spec.task != "regression":
            rarest = np.bincount(self.y.astype(np.int64)).min()
            fewest = max(fewest, math.ceil(_FEWEST_OF_CLASS * size / max(rarest, 1)))
        while size > fewest:
            size = max(size // _THINNED, fewest)
            yield replace(self, rows=self.subject.sample(self.rows, size))

    @cached_property
    def lost(self) -> float:
        """Share of the skill lost without the nearest rows; 0 where there is little."""
        usual, without = self.skills
        return 1 - without / usual if usual >= _LEAST_SKILL else 0.0

    def in_words(self, all_rows: int) -> str:
        """What a model of similar rows predicts with and without the nearest."""
        usual, without = self.skills
        scored, rows = len(self.scored), len(self.rows)
        sentence = (
            f"model of similar rows has a skill of {numbers.share(usual)}, without the "
            f"{_NEAREST} nearest rows of each row {numbers.share(without)} "
            f"({NAMES[self.subject.spec.task]}; {scored:,} of {rows:,} rows)."
        )
        if rows == all_rows:
            return f"A {sentence}"
        return f"In a random {rows:,} of {all_rows:,} rows, a {sentence}"

    @cached_property
    def skills(self) -> tuple[float, float]:
        """The skill of the best power with the nearest rows, and without them."""
        task = self.subject.spec.task
        y = self.y[self.scored]
        usual, without = (
            np.nan_to_num([skill(task, y, prediction) for prediction in predictions])
            for predictions in self.smoothed[1]
        )
        return float(usual.max()), float(without.max())

    def agreement(self) -> str:
        """Say in which columns nearest rows are equal and other rows seldom are."""
        columns = [
            numbers.shown(column)
            for column, (agree, by_chance) in self.agreeing.items()
            if agree >= _AGREE and by_chance < 2 * _BY_CHANCE
        ]
        return f" Nearest rows agree in {numbers.some_of(columns)}." if columns else ""

    def repeated_numbers(self) -> list[str]:
        """Numbers in which nearest rows are equal much more often than other rows.

        A text that repeats names what it stands for; `repeated_entities` asks for it.
        """
        return [
            column
            for column, (agree, by_chance) in self.agreeing.items()
            if agree >= max(_REPEATED, _REPEATED_TIMES * by_chance)
            and kind_of(self.subject.frame[column]) in NUMERIC
        ]

    @cached_property
    def agreeing(self) -> dict[str, tuple[float, float]]:
        """Column → share of the nearest rows that are equal in it, and of all rows."""
        nearest = self.smoothed[0][:, 0]
        agreeing = {}
        for column, (places, halves, _) in self.ranks.items():
            agree = float(np.mean(places[self.scored] == places[nearest]))
            agreeing[column] = agree, float(2 * halves.mean())
        return agreeing

    def share_on_lines(self) -> float:
        """Share of the scored rows on a line with two of their nearest rows."""
        from sklearn.decomposition import PCA

        columns = []
        for name, (_, halves, _) in self.ranks.items():
            column = self.subject.frame[name].iloc[self.rows]
            continuous = halves.mean() * len(self.rows) < 1
            if continuous and kind_of(column) in NUMERIC:
                values = numbers_of(column)
                if np.isfinite(values).all():
                    # Scaled, so that no square overflows or vanishes.
                    columns.append(values / np.abs(values).max())
        if len(columns) < _DIMENSIONS:
            return 0.0
        values, nearest = np.column_stack(columns), self.smoothed[0]
        differing = (values[nearest] != values[self.scored][:, None]).sum(axis=2)
        # Lines stay lines in the principal components, to which redundant columns add
        # no dimension.
        standardized = (values - values.mean(axis=0)) / values.std(axis=0)
        main = PCA(_VARIANCE, whiten=True, svd_solver="full").fit_transform(
            standardized
        )
        if main.shape[1] < _DIMENSIONS:
            return 0.0
        steps = main[nearest] - main[self.scored][:, None]
        lengths = np.linalg.norm(steps, axis=2)
        steps /= np.maximum(lengths, np.finfo(float).tiny)[:, :, None]
        parallel = np.abs(steps @ steps.transpose(0, 2, 1)) > 1 - _PARALLEL
        first, second = lengths[:, :, None], lengths[:, None]
        apart = np.abs(first - second) > _LONGER * np.maximum(first, second)
        differ = differing >= _DIMENSIONS
        on_a_line = parallel & apart & differ[:, :, None] & differ[:, None]
        return float(on_a_line.any(axis=(1, 2)).mean())


@dataclass(frozen=True)
class _RepeatedValues:
    """Skill of a probe for rows whose values in some columns it has seen, or not."""

    columns: list[str]
    values: int  # combinations
    seen: float
    unseen: float

    @property
    def lost(self) -> float:
        """Share of the skill lost on unseen values; 0 where there is little."""
        return 1 - self.unseen / self.seen if self.seen >= _LEAST_SEEN else 0.0

    def in_words(self, task: Task) -> str:
        """What the probe predicts of both kinds of rows."""
        names = numbers.some_of(list(map(numbers.shown, self.columns)))
        return (
            f"A probe has a skill of {numbers.share(self.seen)} for rows in random "
            f"folds, and of {numbers.share(self.unseen)} where it has not seen the "
            f"values in {names} ({NAMES[task]}; {self.values:,} combinations of "
            "values): similar rows know the target by what they belong to."
        )


def _repeated_values(neighbours: _Neighbours) -> _RepeatedValues | None:
    """Compare a probe in random folds with one in folds by the repeated numbers.

    None: no column repeats, or there are too few different values.
    """
    columns = neighbours.repeated_numbers()
    if not columns:
        return None
    subject = neighbours.subject
    sample = ProbeSample.of(subject, neighbours.rows)
    table = subject.frame[columns].iloc[sample.rows]
    grouped = table.groupby(columns, dropna=False, observed=True)
    codes = grouped.ngroup().to_numpy()
    values = grouped.ngroups
    if values < _FEWEST_VALUES:
        return None
    fold_of_value = subject.generator().permutation(values) % _FOLDS
    folds = fold_of_value[codes]
    by_value = [
        (np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
        for fold in range(_FOLDS)
    ]
    random = subject.cross_fit(sample.rows, _FOLDS).folds
    return _RepeatedValues(
        columns,
        values,
        seen=_probe_skill(sample, random),
        unseen=_probe_skill(sample, by_value),
    )


def _probe_skill(sample: ProbeSample, folds: Sequence[Fold]) -> float:
    task = sample.subject.spec.task
    skills = [
        skill(task, sample.y[judge], sample.lightgbm(fit, judge))
        for fit, judge in folds
        if sample.can_fit(fit)
    ]
    return mean_of_known(skills)


def _ranks(column: pd.Series) -> np.ndarray | None:
    """Measure how near rows are in a column: float32 (3, n); None: too many texts.

    First the place of each row, then half the share of rows with its value, then an
    upper bound. The share of all rows that are as near to row i as row j is |place j -
    place i| + half i, up to that bound.
    """
    is_number = kind_of(column) in NUMERIC
    values = numbers_of(column) if is_number else as_text(column)
    codes, distinct = pd.factorize(values, sort=True, use_na_sentinel=False)
    rows = len(codes)
    counts = np.bincount(codes)
    halves = counts[codes] / (2 * rows)
    if is_number:
        places = (2 * np.cumsum(counts) - counts)[codes] / rows
        return np.array([places, halves, np.ones(rows)], np.float32)
    if len(distinct) > 0.9 * rows:
        return None
    return np.array([codes, halves, 0.5 + halves], np.float32)


class RandomSplitOverTime(TargetRule):
    """A random split over time that overstates how well models predict later rows."""

    code = "random_split_over_time"
    title = "Random split of rows that are ordered in time"
    advice = (
        "If the model will predict the future, split by time; else accept this with "
        "the reason."
    )
    threshold = Threshold(
        0.25, 0, 1, "share of the gain that a split by time loses, found from it"
    )
    _most_times = 3

    def examine(self, subject: Subject) -> Finding:
        split = subject.spec.split.by
        if split != "random":
            return self.not_applicable(f"Nothing to compare: the split is by {split}.")
        times = [*subject.times, *subject.years][: self._most_times]
        compared = [fits for time in times if (fits := fits_over_time(subject, time))]
        if not compared:
            reason = "No column of dates or years, or too few rows or moments."
            return self.not_applicable(reason)
        worst = max(compared, key=lambda fits: (fits.lost, fits.column))
        limit = self.limit(subject)
        return self.found(
            severity="condition" if worst.is_optimistic(limit) else None,
            evidence=f"{worst.in_words}.",
            number=worst.lost,
            threshold=limit,
            columns=[worst.column],
            fix={"split": worst.split},
        )


@dataclass(frozen=True)
class ComparedFits:
    """Scores of a probe on the same rows, fitted in two ways on as many rows."""

    by: Literal["time", "group"]  # how the honest split goes
    column: str
    metric: str
    honest: float  # fitted without their future, or without rows of their entity
    by_chance: float  # fitted on rows of all kinds, as a random split does
    baseline: float
    difference: Interval  # by_chance - honest

    @classmethod
    def of(
        cls,
        sample: ProbeSample,
        honest: np.ndarray,
        by_chance: np.ndarray,
        clusters: np.ndarray,
        by: Literal["time", "group"],
        column: str,
        judged: slice | np.ndarray = slice(None),
    ) -> Self:
        """Score two predictions (k,) of the judged rows of a sample.

        `clusters`, (k,) codes, are resampled. A metric that needs a threshold or user
        code is replaced by the first of the task.
        """
        task, n_classes = sample.subject.spec.task, sample.subject.target.n_classes
        metric = sample.subject.spec.metric
        if metric_of(metric).by_threshold or metric_of(metric).is_own:
            metric = names_of(task)[0]
        y = sample.y[judged]
        first = scores.linearise(metric, y, honest)
        second = scores.linearise(metric, y, by_chance)
        drawn = scores.layout(metric, y, clusters)
        return cls(
            by=by,
            column=column,
            metric=metric,
            honest=first.estimate,
            by_chance=second.estimate,
            baseline=scores.baseline_score(metric, sample.y, y, task, n_classes),
            difference=scores.paired_difference(first, second, drawn),
        )

    @property
    def lost(self) -> float:
        """Share of the gain over the baseline that the honest fit loses."""
        gain = self.by_chance - self.baseline
        if not metric_of(self.metric).sign * gain > 0:
            return 0.0
        return self.difference.estimate / gain

    def is_optimistic(self, limit: float) -> bool:
        """Whether a random split overstates the gain by so much, beyond its error."""
        is_significant = significantly_better(self.metric, self.difference)
        return is_significant and self.lost >= limit

    @property
    def split(self) -> dict[str, str]:
        """The honest split, as in the YAML."""
        return {"by": self.by, "column": self.column}

    @property
    def in_words(self) -> str:
        """Return what both fits score."""
        name = numbers.shown(self.column)
        start = f"The last third of the rows by {name}: a"
        fitted_on, kinds = "earlier rows", "times"
        if self.by == "group":
            start, fitted_on, kinds = "A", f"other values of {name}", "values"
        return (
            f"{start} probe fitted on {fitted_on} scores {numbers.score(self.honest)} "
            f"{self.metric}, one fitted on as many rows of all {kinds}, as a random "
            f"split does, {numbers.score(self.by_chance)} (baseline "
            f"{numbers.score(self.baseline)})"
        )


# Rows to fit on; stretches of time that are resampled.
_FEWEST_EARLY, _STRETCHES = 50, 50


def fits_over_time(subject: Subject, time: str) -> ComparedFits | None:
    """Compare both ways to fit on the last third; None: too few rows or moments."""
    target = subject.target
    dated = subject.frame[time].notna().to_numpy()
    sample = ProbeSample.of(subject, target.rows[dated[target.rows]])
    moments = pd.factorize(subject.frame[time].iloc[sample.rows], sort=True)[0]
    ordered = np.sort(moments)
    cut = ordered[2 * len(ordered) // 3] if len(ordered) else 0
    early = np.flatnonzero(moments < cut)
    late = np.flatnonzero(moments >= cut)
    if len(early) < max(_FEWEST_EARLY, len(late)) or not sample.encoded.shape[1]:
        return None
    # A random split: of half of the late rows and of as many early ones less.
    halves = []
    for fit, judge in subject.cross_fit(sample.rows[late], 2).folds:
        earlier = subject.sample(early, len(early) - len(fit))
        halves.append((np.append(earlier, late[fit]), judge))
    if not all(map(sample.can_fit, [early, *(fit for fit, _ in halves)])):
        return None
    # Later rows exceed all days that were fitted on: no draft has them then.
    without_days = ProbeSample.of(
        subject, sample.rows, tuple(day_columns(subject.spec.preparation))
    )
    if not without_days.encoded.shape[1]:
        without_days = sample
    ahead = without_days.lightgbm(early, late)
    mixed = np.empty_like(ahead)
    for fit, judge in halves:
        mixed[judge] = sample.lightgbm(fit, late[judge])
    stretches = np.searchsorted(ordered, moments[late]) * _STRETCHES // len(ordered)
    fits = ComparedFits.of(sample, ahead, mixed, stretches, "time", time, late)
    return fits if math.isfinite(fits.lost) else None


RULES = (RelatedRows(), RandomSplitOverTime())
