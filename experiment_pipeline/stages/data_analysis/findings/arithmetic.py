"""Arithmetic of number features that gives the target: a sum or product of several
with weights, or a sum, difference, product or ratio of two.

Only a regression has such a formula. It is looked for on a sample of the rows.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.kinds import numbers_of

_MOST_ROWS, _MOST_COLUMNS = 5_000, 100
# A residual of this share of the target's spread is rounding, not noise.
_EXACT = 1e-6
# Of two columns, which are often rounded themselves: a share of the interquartile
# range, and least share of the rows where both are known.
_ROUNDED, _NEARLY_ALL = 2e-3, 0.95
_FEWEST_ROWS = 50
# A value that a larger share of the targets has is reproduced by chance.
_COMMONEST = 0.1
# Pairs of rows that propose a slope, how many must know both columns, and how much
# their proposals may differ.
_VOTES, _FEWEST_VOTES, _SAME_SLOPE = 100, 10, 0.02


@dataclass(frozen=True)
class Formula:
    """Number features from which the target follows."""

    columns: list[str]
    words: str  # `a + 2 · b equals the target in all rows read`


# How columns may combine to the target: linear on this scale, a term with a weight
# other than 1, and the sign between terms.
_FORMULAS: tuple[tuple[Callable[[np.ndarray], np.ndarray], str, str], ...] = (
    (np.asarray, "{weight:.4g} · {column}", " + "),
    (np.log, "{column}^{weight:.4g}", " · "),
)


def exact_combination(subject: Subject) -> Formula | None:
    """Complete number features whose weighted sum or product is the target."""
    if subject.spec.task != "regression":
        return None
    rows = subject.sample(subject.target.rows, _MOST_ROWS)
    y = subject.target.of(rows)
    columns = {}
    for column in list(subject.calculable)[:_MOST_COLUMNS]:
        values = numbers_of(subject.frame[column].iloc[rows])
        if np.isfinite(values).all():
            columns[column] = values
    if len(rows) < 2 * len(columns) + 10 or np.ptp(y) == 0:
        return None
    for scale, weighted, sign in _FORMULAS:
        weights = _exact_weights(columns, y, scale)
        terms = []
        for column, weight in weights.items():
            name = numbers.shown(column)
            term = weighted.format(column=name, weight=weight)
            terms.append(name if np.isclose(weight, 1) else term)
        if terms:
            formula = sign.join(terms).replace("+ -", "- ")
            words = f"{formula} equals the target in all rows read"
            return Formula(list(weights), words)
    return None


def _exact_weights(
    columns: dict[str, np.ndarray],
    y: np.ndarray,
    scale: Callable[[np.ndarray], np.ndarray],
) -> dict[str, float]:
    """Weights of two or more columns if a fit on every other row reproduces all rows.

    Only columns that are finite on the scale take part.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y = scale(y)
        scaled = {column: scale(values) for column, values in columns.items()}
    scaled = {c: values for c, values in scaled.items() if np.isfinite(values).all()}
    if len(scaled) < 2 or not np.isfinite(y).all():
        return {}
    values = np.column_stack(list(scaled.values()))
    centre, spread = values.mean(axis=0), values.std(axis=0)
    usable = spread > 1e-9 * (1 + np.abs(centre))
    standardized = (values[:, usable] - centre[usable]) / spread[usable]
    design = np.column_stack([standardized, np.ones(len(y))])
    solution = np.linalg.lstsq(design[::2], y[::2], rcond=1e-10)[0]
    if np.max(np.abs(design @ solution - y)) > _EXACT * np.ptp(y):
        return {}
    weights = np.zeros(values.shape[1])
    weights[usable] = solution[:-1] / spread[usable]
    weights[np.abs(weights) * spread < 1e-5 * y.std()] = 0
    used = {c: float(w) for c, w in zip(scaled, weights, strict=True) if w}
    return used if len(used) > 1 else {}


# A combination of two columns and its name; of a ratio both ways.
_PAIRS: tuple[tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], str], ...] = (
    (lambda a, b: a - b, "{a} - {b}"),
    (lambda a, b: a + b, "{a} + {b}"),
    (lambda a, b: a * b, "{a} · {b}"),
    (lambda a, b: a / b, "{a} / {b}"),
    (lambda a, b: b / a, "{b} / {a}"),
    (lambda a, b: np.abs(a - b), "|{a} - {b}|"),
)
_DIFFERENCE = 0  # the place of the first


def exact_pair(subject: Subject, left_out: Collection[str]) -> Formula | None:
    """Two number features, complete or not, that give the target up to a linear scale.

    A scale, because a share may be in percent and growth is a ratio minus 1.
    """
    if subject.spec.task != "regression":
        return None
    columns = [column for column in subject.calculable if column not in left_out]
    del columns[_MOST_COLUMNS:]
    rows = _rows_without_the_commonest(subject)
    if len(rows) < _FEWEST_ROWS or len(columns) < 2:
        return None
    features = [numbers_of(subject.frame[column].iloc[rows]) for column in columns]
    pairs = _Pairs(np.column_stack(features), subject.target.of(rows))
    for first, second, form in pairs.promising():
        combine, _ = _PAIRS[form]
        with np.errstate(all="ignore"):
            combined = combine(pairs.features[:, first], pairs.features[:, second])
        equation = pairs.equation(combined)
        if equation is not None:
            return _formula([columns[first], columns[second]], form, equation)
    return None


def _formula(pair: list[str], form: int, equation: "_Equation") -> Formula:
    a, b = map(numbers.shown, pair)
    if form == _DIFFERENCE and equation.slope < 0:
        a, b = b, a
        equation = replace(equation, slope=-equation.slope)
    _, words = _PAIRS[form]
    return Formula(pair, equation.in_words(words.format(a=a, b=b)))


def _rows_without_the_commonest(subject: Subject) -> np.ndarray:
    """Sample positions (n,) with a target, without one that most others share."""
    rows = subject.sample(subject.target.rows, _MOST_ROWS)
    y = subject.target.of(rows)
    values, counts = np.unique(y, return_counts=True)
    if counts.max() > _COMMONEST * len(y):
        rows = rows[y != values[counts.argmax()]]
    return rows


@dataclass(frozen=True)
class _Equation:
    """Target = slope · combination + offset, in so many rows of those compared."""

    slope: float
    offset: float
    equal: int
    compared: int

    def in_words(self, combination: str) -> str:
        """`100 · a / b + 3 equals the target in 4,010 of 4,010 rows compared`."""
        formula = combination
        if not np.isclose(self.slope, 1, rtol=1e-3):
            formula = f"{self.slope:.4g} · ({combination})"
        if self.offset:
            sign = "+" if self.offset > 0 else "-"
            formula += f" {sign} {abs(self.offset):.4g}"
        return (
            f"{formula} equals the target in {self.equal:,} of {self.compared:,} rows "
            "compared"
        )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Number features (n, columns), nan where unknown, and targets (n,) that vary."""

    features: np.ndarray
    y: np.ndarray

    @cached_property
    def tolerance(self) -> float:
        """How far a rounded formula may be from the target."""
        low, high = np.quantile(self.y, [0.25, 0.75])
        return float(_ROUNDED * (high - low))

    @cached_property
    def far_apart(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of pairs of rows whose targets are half of all rows apart."""
        order = np.argsort(self.y, kind="stable")
        half = len(order) // 2
        return order[:half], order[half : 2 * half]

    def promising(self) -> Iterator[tuple[int, int, int]]:
        """Yield two columns and a form whose pairs of rows agree on one slope."""
        low, high = self.far_apart
        votes = np.unique(np.linspace(0, len(low) - 1, _VOTES).astype(np.int64))
        low, high = low[votes], high[votes]
        of_low, of_high = self.features[low], self.features[high]
        first, second = np.triu_indices(self.features.shape[1], 1)
        steps = (self.y[high] - self.y[low])[:, None]
        for form, (combine, _) in enumerate(_PAIRS):
            with np.errstate(all="ignore"):
                at_high = combine(of_high[:, first], of_high[:, second])
                at_low = combine(of_low[:, first], of_low[:, second])
                slopes = (at_high - at_low) / steps
            for pair in _agreeing(slopes):
                yield int(first[pair]), int(second[pair]), form

    def equation(self, combined: np.ndarray) -> _Equation | None:
        """The line through nearly all rows; None: there is none."""
        is_finite = np.isfinite(combined)
        if is_finite.sum() < max(_FEWEST_ROWS, len(is_finite) / 2):
            return None
        low, high = self.far_apart
        with np.errstate(all="ignore"):
            slopes = (self.y[high] - self.y[low]) / (combined[high] - combined[low])
        slope = float(np.median(slopes[np.isfinite(slopes)]))
        y, combined = self.y[is_finite], combined[is_finite]
        offset = float(np.median(y - slope * combined))
        if abs(offset) <= self.tolerance:
            offset = 0.0
        equal = np.abs(y - slope * combined - offset) <= self.tolerance
        if equal.mean() < _NEARLY_ALL:
            return None
        return _Equation(slope, offset, int(equal.sum()), len(y))


def _agreeing(slopes: np.ndarray) -> list[int]:
    """Columns (votes, columns) most of whose known slopes are near their median."""
    slopes = np.where(np.isfinite(slopes), slopes, np.nan)
    ordered = np.sort(slopes, axis=0)  # nan last
    n_finite = np.isfinite(slopes).sum(axis=0)
    median = np.take_along_axis(ordered, np.maximum(n_finite - 1, 0)[None] // 2, axis=0)
    near = np.abs(slopes - median) <= _SAME_SLOPE * np.abs(median)
    agree = (
        (n_finite >= _FEWEST_VOTES)
        & (near.sum(axis=0) > n_finite / 2)
        & (median[0] != 0)
    )
    return np.flatnonzero(agree).tolist()
