"""Where a choice lies at an end of what was searched, and how far to continue from there."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard

from experiment_pipeline.spec import ExperimentSpec, Range, Scalar

# A draw this close to the end of its range, as a share of the range, lies at the end.
_MARGIN = 0.05
_DIGITS = 4
# Hyperparameters that are shares of at most 1.
_SHARES = frozenset(
    [
        *("bagging_fraction", "subsample", "max_samples", "l1_ratio"),
        *("feature_fraction", "feature_fraction_bynode", "colsample_bytree", "max_features"),
    ]
)
# The smallest value of a count, where it is not 1: a tree of one leaf does not split.
_FEWEST = {"num_leaves": 2, "max_leaf_nodes": 2, "min_samples_split": 2}


@dataclass(frozen=True)
class SearchEdge:
    """A hyperparameter whose chosen value lies at an end of what was searched."""

    hyperparameter: str  # its name
    value: int | float  # the chosen value
    end: Literal["low", "high"]  # which end it is
    low: int | float  # the smallest value searched
    high: int | float  # the largest value searched
    wider: int | float  # the next value to reach beyond that end

    def in_words(self) -> str:
        """Return the edge and the wider range in one sentence."""
        low, high = (self.wider, self.high) if self.end == "low" else (self.low, self.wider)
        return (
            f"{self.hyperparameter} = {self.value:g} is at the {self.end} end of what was "
            f"searched ({self.low:g} to {self.high:g}); a better value may lie beyond: "
            f"search {low:g} to {high:g}"
        )


@dataclass(frozen=True)
class _Span:
    """Everything that was searched of one hyperparameter of one algorithm."""

    name: str
    low: float
    high: float
    log: bool
    integer: bool
    listed: bool  # its values are listed, without ranges
    unlimited: bool  # "no limit" was searched as well: nothing lies above

    @property
    def smallest(self) -> int:
        return _FEWEST.get(self.name, 1)

    @property
    def is_share(self) -> bool:
        return is_share(self.name) and not self.integer

    def end_of(self, value: float) -> Literal["low", "high"] | None:
        """The end at which a value lies; None where it does not, or nothing lies beyond."""
        place = (value - self.low) / (self.high - self.low)
        if self.log:
            place = math.log(value / self.low) / math.log(self.high / self.low)
        margin = 1e-9 if self.listed else _MARGIN
        nothing_below = self.low <= 0 or (self.integer and self.low <= self.smallest)
        if place <= margin and not nothing_below:
            return "low"
        nothing_above = self.unlimited or (self.is_share and self.high >= 1)
        return "high" if place >= 1 - margin and not nothing_above else None

    def beyond(self, end: str) -> float:
        """A value beyond an end by half the width; on a log scale by √ratio, at least twice."""
        if self.log:
            factor = max(math.sqrt(self.high / self.low), 2.0)
            value = self.low / factor if end == "low" else self.high * factor
        else:
            half = (self.high - self.low) / 2
            value = max(self.low - half, self.low / 2) if end == "low" else self.high + half
        if self.integer:
            value = max(value, self.smallest)
        return min(value, 1.0) if self.is_share else value


def search_edges(
    spec: ExperimentSpec, algorithm: str, hyperparameters: Mapping[str, Scalar]
) -> tuple[SearchEdge, ...]:
    """Return the searched numbers that a configuration has at an end.

    An end beyond which nothing sensible lies is not reported: 0, the smallest count, a share of 1.
    """
    edges = []
    for name, value in sorted(hyperparameters.items()):
        span = _span(spec, algorithm, name)
        if span is None or not is_number(value) or value < span.low:
            continue
        if (end := span.end_of(value)) is not None:
            wider = rounded(span.beyond(end), integer=span.integer)
            edges.append(SearchEdge(name, value, end, span.low, span.high, wider))
    return tuple(edges)


def is_share(name: str) -> bool:
    """Whether a hyperparameter, if it is not a count, is a share of at most 1."""
    return name in _SHARES


def rounded(value: float, *, integer: bool) -> int | float:
    """Return a value as YAML should show it: 4 significant digits, counts as integers."""
    return round(value) if integer else float(f"{value:.{_DIGITS}g}")


def is_searched_by_ratio(spec: ExperimentSpec, algorithm: str, name: str) -> bool:
    """Whether the values of a hyperparameter lie on a logarithmic scale, or as far apart."""
    span = _span(spec, algorithm, name)
    return span is not None and span.log and (not span.listed or span.high >= 10 * span.low)


def _span(spec: ExperimentSpec, algorithm: str, name: str) -> _Span | None:
    """All entries of the algorithm together; a list of positive numbers counts as a scale."""
    given = list(_given(spec, algorithm, name))
    ranges = [value for value in given if isinstance(value, Range)]
    listed = [value for value in given if is_number(value)]
    # A negative count and null say "no limit" (max_depth).
    counts = all(isinstance(value, int) for value in listed) and all(r.integer for r in ranges)
    limited = [value for value in listed if value >= 0 or not counts]
    ends = [*limited, *(r.low for r in ranges), *(r.high for r in ranges)]
    if not ends or min(ends) == max(ends):
        return None
    return _Span(
        name,
        low=min(ends),
        high=max(ends),
        log=min(ends) > 0 and all(r.scale == "log" for r in ranges),
        integer=counts,
        listed=not ranges,
        unlimited=None in given or len(limited) < len(listed),
    )


def _given(spec: ExperimentSpec, algorithm: str, name: str) -> Iterator[Scalar | Range]:
    for entry in spec.search:
        if entry.algorithm == algorithm:
            for value in [v for n, v in entry.hyperparameters.items() if n == name]:
                yield from value if isinstance(value, tuple) else (value,)
            yield from (c[name] for c in entry.configurations if name in c)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a hyperparameter is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
