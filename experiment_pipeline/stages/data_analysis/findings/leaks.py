"""Features that leak the target, or are computed from it. The user decides: some are known in time.

A copy of the target with noise in one row of ten can have less skill than a legitimate column. It
is recognised by exact agreement: to the last digit, or by a value of its own for each class.
Columns whose sum (or product) is a numeric target are found by a least squares fit (of logarithms)
that must reproduce every row.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Threshold, listed
from experiment_pipeline.stages.data_analysis.probe import NoProbe, run_probe
from experiment_pipeline.stages.data_analysis.skill import MOST_ROWS, NAMES, Association
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.target_means import FromTarget, target_means
from experiment_pipeline.stages.data_analysis.target_windows import target_windows
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

_MOST_COMPARED = 5_000
# Share of the rows in which a number equals the target up to a linear relation.
_FEWEST_EQUAL = 0.5
# Share of each class that is recognised, beyond guessing: Youden's J for two classes.
_LEAST_RECOGNISED = 0.7
_PAIRS = 500
_ROUNDING = 1e-6
# A target in which one value is more frequent agrees with other columns by chance.
_COMMONEST = 0.1
_FEWEST_ROWS = 50
_MOST_COLUMNS = 100
# A residual of this share of the target's spread is rounding, not noise.
_EXACT = 1e-6


@dataclass(frozen=True)
class _NearCopy:
    """A column that is the target in most rows."""

    column: str
    share: float  # of the rows that agree; for classes of each class recognised, beyond guessing
    words: str


def _near_copies(subject: Subject) -> Iterator[_NearCopy]:
    """Yield the number and text features that are the target in most of at most 5,000 rows."""
    rows = subject.sample(subject.target.rows, _MOST_COMPARED)
    y = subject.target.of(rows)
    if len(rows) < _FEWEST_ROWS:
        return
    if subject.spec.task == "regression":
        if np.unique(y, return_counts=True)[1].max() <= _COMMONEST * len(y):
            for column in subject.calculable:
                share = _equal(numbers_of(subject.frame[column].iloc[rows]), y, subject)
                if share >= _FEWEST_EQUAL:
                    yield _NearCopy(
                        column, share, f"the target in {numbers.share(share)} of the rows"
                    )
        return
    for column in subject.features:
        values = subject.frame[column].iloc[rows]
        if kind_of(values) in NUMERIC | TEXTS:
            share = _recognised(pd.factorize(values, use_na_sentinel=False)[0], y)
            if share >= _LEAST_RECOGNISED:
                words = f"a value for each class, {numbers.share(share)} beyond guessing"
                yield _NearCopy(column, share, words)


def _equal(x: np.ndarray, y: np.ndarray, subject: Subject) -> float:
    """Share of the rows on the line through most of them; pairs of rows vote for its slope."""
    known = np.flatnonzero(np.isfinite(x))
    if known.size < _FEWEST_ROWS:
        return 0.0
    first, second = subject.generator().choice(known, (2, _PAIRS))
    apart = y[first] != y[second]
    slopes = (x[first] - x[second])[apart] / (y[first] - y[second])[apart]
    slope = float(np.median(slopes)) if slopes.size else 0.0
    if slope == 0 or np.mean(np.isclose(slopes, slope, rtol=1e-3)) < _FEWEST_EQUAL**2:
        return 0.0
    offsets = x[known] - slope * y[known]
    near = np.abs(offsets - np.median(offsets)) <= _ROUNDING * abs(slope) * np.std(y)
    return float(near.sum() / len(x))


def _recognised(levels: np.ndarray, y: np.ndarray) -> float:
    """Mean share of each class in its own level, from 0 for guessing to 1.

    0 unless there are as many levels as classes, or one more for missing values.
    """
    y = y.astype(np.int64)
    classes = int(y.max()) + 1
    if not classes <= levels.max() + 1 <= classes + 1:
        return 0.0
    counts = np.zeros((classes, levels.max() + 1))
    np.add.at(counts, (y, levels), 1)
    recall = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    own = recall.argmax(axis=1)
    if len(np.unique(own)) < classes:
        return 0.0
    return float((classes * recall.max(axis=1).mean() - 1) / (classes - 1))


@dataclass(frozen=True)
class _Combination:
    """A formula that equals the target on all rows read."""

    columns: tuple[str, ...]
    formula: str
    rows: int


def _exact_combination(subject: Subject) -> _Combination | None:
    """Find two or more number features whose sum or product is the target.

    At most 5,000 rows and the first 100 number features are read; columns with a missing or
    infinite value among those rows take no part.
    """
    rows = subject.sample(subject.target.rows, _MOST_COMPARED)
    y = subject.target.of(rows)
    data = {
        column: numbers_of(subject.frame[column].iloc[rows])
        for column in list(subject.calculable)[:_MOST_COLUMNS]
    }
    columns = [column for column, each in data.items() if np.isfinite(each).all()]
    if len(columns) < 2 or len(rows) < 2 * len(columns) + 10 or np.ptp(y) == 0:
        return None
    values = np.column_stack([data[column] for column in columns])
    weights = _exact_weights(values, y)
    if weights is not None:
        return _combination(columns, weights, len(rows))
    positive = np.flatnonzero(values.min(axis=0) > 0)
    if len(positive) < 2 or y.min() <= 0:
        return None
    weights = _exact_weights(np.log(values[:, positive]), np.log(y))
    kept = [columns[position] for position in positive]
    return None if weights is None else _combination(kept, weights, len(rows), product=True)


def _exact_weights(values: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Weight (columns,) of each column if the fit on every other row reproduces all rows."""
    centre, scale = values.mean(axis=0), values.std(axis=0)
    usable = scale > 1e-9 * (1 + np.abs(centre))
    design = (values[:, usable] - centre[usable]) / scale[usable]
    design = np.column_stack([design, np.ones(len(y))])
    solution = np.linalg.lstsq(design[::2], y[::2], rcond=1e-10)[0]
    if np.max(np.abs(design @ solution - y)) > _EXACT * np.ptp(y):
        return None
    weights = np.zeros(values.shape[1])
    weights[usable] = solution[:-1] / scale[usable]
    weights[np.abs(weights) * scale < 1e-5 * y.std()] = 0
    return weights if np.count_nonzero(weights) > 1 else None


def _combination(
    columns: Sequence[str], weights: np.ndarray, rows: int, *, product: bool = False
) -> _Combination:
    terms = [(column, weight) for column, weight in zip(columns, weights, strict=True) if weight]
    form = "{1}^{0:.4g}" if product else "{0:.4g} · {1}"
    parts = [
        numbers.shown(c) if np.isclose(w, 1) else form.format(w, numbers.shown(c)) for c, w in terms
    ]
    formula = " · ".join(parts) if product else " + ".join(parts).replace("+ -", "- ")
    return _Combination(tuple(column for column, _ in terms), formula, rows)


class LeakSuspect(Rule):
    """Features that leak the target: alone, with noise, or as a sum or product of several.

    Measured by a small model on one feature (`skill.py`), by agreement with the target and, for
    numbers, by an exact fit. A very good predictor looks the same, so the user decides.
    """

    code = "leak_suspect"
    title = "Features that leak the target"
    advice = (
        "Is each of these columns known before the prediction is made? Exclude what is not; if "
        "all are, write the reason under analysis: accept: leak_suspect."
    )
    excluded = "known only after the outcome"
    threshold = Threshold(0.9, 0, 1, "skill of a one-feature model, found from it")
    blocks = Threshold(0.99, 0, 1, "skill of a one-feature model, blocks from it")

    def check(self, subject: Subject) -> Finding:
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        if not subject.associations:
            return self.not_applicable("There is no number or text feature.")
        limit, blocks = self.limit(subject), self.severe_limit(subject)
        best = subject.associations[0].skill
        suspects = [a for a in subject.associations if a.skill >= limit]
        columns = [suspect.column for suspect in suspects]
        sentences = [self._alone(subject, suspects or subject.associations[:1])]
        if copies := self._copies(subject, columns):
            columns += [copy.column for copy in copies]
            each = numbers.some_of(
                [f"{numbers.shown(copy.column)} ({copy.words})" for copy in copies]
            )
            sentences.append(f"Probably the target with noise: {each}.")
        combination = _exact_combination(subject) if subject.spec.task == "regression" else None
        if combination:
            best = 1.0
            columns += [column for column in combination.columns if column not in columns]
            sentences.append(
                f"{combination.formula} equals the target in all {combination.rows:,} rows read."
            )
        if not columns:
            return self.not_found(" ".join(sentences), number=best, threshold=limit)
        return self.found(
            "blocks" if best >= blocks else "condition",
            " ".join(sentences),
            columns=columns,
            number=best,
            threshold=blocks if best >= blocks else limit,
        )

    @staticmethod
    def _copies(subject: Subject, suspects: Sequence[str]) -> list[_NearCopy]:
        """Copies with noise that are not among the suspects.

        Of classes only those that predict more than all other features together.
        """
        copies = [copy for copy in _near_copies(subject) if copy.column not in suspects]
        if not copies or subject.spec.task == "regression":
            return copies
        others = run_probe(subject, [*suspects, *(copy.column for copy in copies)])
        return [c for c in copies if isinstance(others, NoProbe) or others.skill < c.share]

    @staticmethod
    def _alone(subject: Subject, strongest: Sequence[Association]) -> str:
        read = min(len(subject.target.rows), MOST_ROWS)
        sampled = " sampled" if read < len(subject.target.rows) else ""
        each = numbers.some_of(
            [
                f"{numbers.shown(a.column)} ({numbers.share(a.skill)}{a.way and f', {a.way}'})"
                for a in strongest
            ]
        )
        return f"Skill alone, as {NAMES[subject.spec.task]} on {read:,}{sampled} rows: {each}."


class MadeOfTarget(Rule):
    """Features that are computed from the target of their own row, or of a later one.

    A rolling mean that includes the day itself, target encoding over all rows, a running total:
    alone they may predict little, but a model can recover the target from several of them. Their
    arithmetic is checked, not their skill.
    """

    code = "made_of_target"
    title = "Features made of the target"
    advice = (
        "Is the target known when the value is computed? If not, compute the column from earlier "
        "rows only (or leave encoding to search.features), or exclude it; if it is, write the "
        "reason under analysis: accept: made_of_target."
    )
    excluded = "computed from the target"
    # A mean of more rows than this leaks little of each target.
    _few_rows = 20

    def check(self, subject: Subject) -> Finding:
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        if not subject.numbers:
            return self.not_applicable("There is no number feature.")
        found: dict[str, FromTarget] = {}
        for one in (*target_windows(subject), *target_means(subject)):
            found.setdefault(one.column, one)
        if not found:
            return self.not_found("No number feature is a window or a mean over the target.")
        worst = sorted(found.values(), key=lambda one: -one.own_weight)
        words = {one.column: f" is {one.words}" for one in worst}
        return self.found(
            "blocks" if worst[0].own_weight * self._few_rows >= 1 else "condition",
            listed("feature", "computed from the target", words),
            columns=list(words),
        )


class TellingMissingValues(Rule):
    """Missing values that leak the target: rows that miss a value have the same outcome.

    A plane that is looked up by its tail number is missing where the flight was cancelled. These
    rows are few, so the column predicts little on the whole and is not a leak suspect.
    """

    code = "telling_missing_values"
    title = "Missing values that leak the target"
    advice = (
        "Ask when these values become known. If they are missing because of the outcome, exclude "
        "the columns."
    )
    excluded = "missing because of the outcome"
    threshold = Threshold(
        0.95, 0.5, 1, "skill of one prediction for all rows that miss the value, found from it"
    )
    _fewest_rows = 20
    # Chance of so many rows of one class, if values were missing at random.
    _largest_chance = 1e-4

    @dataclass(frozen=True)
    class SharedOutcome:
        """The outcome of the rows that miss a value, and the skill of predicting it for all."""

        rows: int
        skill: float
        words: str

    def check(self, subject: Subject) -> Finding:
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        incomplete = [column for column, facts in subject.facts.items() if facts.missing]
        shared = {c: one for c in incomplete if (one := self._shared(subject, c))}
        if not shared:
            return self.not_applicable(
                f"No feature is missing in {self._fewest_rows} or more rows."
            )
        limit = self.limit(subject)
        columns = [column for column, each in shared.items() if each.skill >= limit]
        columns.sort(key=lambda column: -shared[column].rows)
        best = max(each.skill for each in shared.values())
        if not columns:
            return self.not_found(
                f"Rows that miss a value agree on the target by {numbers.share(best)} at most.",
                number=best,
                threshold=limit,
            )
        words = {column: f" ({shared[column].words})" for column in columns}
        return self.found(
            "condition",
            listed("feature", "missing where the target is the same", words),
            columns=columns,
            number=best,
            threshold=limit,
        )

    def _shared(self, subject: Subject, column: str) -> SharedOutcome | None:
        """None when too few visible rows miss the value.

        Of classes, the skill is the share of the errors avoided by predicting the most frequent
        class of these rows.
        """
        missing = subject.frame[column].isna().to_numpy()[subject.target.rows]
        y = subject.target.y[missing]
        if len(y) < self._fewest_rows or len(y) == len(missing):
            return None
        if subject.spec.task == "regression":
            skill = 1 - float(np.var(y) / np.var(subject.target.y))
            words = f"{len(y):,} rows, target {y.mean():.4g} ± {y.std():.2g}"
            return self.SharedOutcome(len(y), skill, words)
        commonest = int(np.bincount(y).argmax())
        share, usual = float(np.mean(y == commonest)), float(np.mean(subject.target.y == commonest))
        surprising = usual < 1 and len(y) * math.log(usual) < math.log(self._largest_chance)
        name = numbers.shown((subject.target.classes or ())[commonest])
        skill = max((share - usual) / (1 - usual), 0.0) if surprising else 0.0
        words = (
            f"{len(y):,} rows, {numbers.share(share)} of them {name}, "
            f"{numbers.share(usual)} elsewhere"
        )
        return self.SharedOutcome(len(y), skill, words)


RULES = (LeakSuspect(), MadeOfTarget(), TellingMissingValues())
