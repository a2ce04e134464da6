"""Where a choice lies at an end of what was searched, and how far to go on from there.

In: the search of a spec, a configuration's hyperparameters. Out: `SearchEdge`s. What a better search
would be as a whole: `stages/validation_report/next_search.py`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard

from experiment_pipeline.spec import ExperimentSpec, Range, Scalar

# A draw this close to the end of its range, as a share of the range, lies at the end.
_MARGIN = 0.05
_DIGITS = 4
# Hyperparameters that are shares: nothing lies beyond 1.
_SHARES = frozenset(
    [
        *("bagging_fraction", "subsample", "max_samples", "l1_ratio"),
        *("feature_fraction", "feature_fraction_bynode", "colsample_bytree", "max_features"),
    ]
)
# The smallest count that a hyperparameter takes, where it is not 1: a tree of one leaf asks nothing.
_FEWEST = {"num_leaves": 2, "max_leaf_nodes": 2, "min_samples_split": 2}


@dataclass(frozen=True)
class SearchEdge:
    """A hyperparameter whose chosen value ends what was searched.

    Attributes:
        hyperparameter: its name.
        value: the chosen value.
        end: which end it is.
        low: the smallest value searched.
        high: the largest value searched.
        wider: the next value to reach beyond that end.
    """

    hyperparameter: str
    value: int | float
    end: Literal["low", "high"]
    low: int | float
    high: int | float
    wider: int | float

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

    low: float
    high: float
    log: bool
    integer: bool
    listed: bool  # only its very ends are ends
    unlimited: bool  # "no limit" was searched as well: nothing lies above


def search_edges(
    spec: ExperimentSpec, algorithm: str, hyperparameters: Mapping[str, Scalar]
) -> tuple[SearchEdge, ...]:
    """Return the searched hyperparameters that a configuration has at an end.

    Only numbers have ends. No end is reported where nothing sensible lies beyond: below 0,
    below the smallest count, above a share of 1.
    """
    edges = []
    for name, value in sorted(hyperparameters.items()):
        span = _span(spec, algorithm, name)
        if span is not None and is_number(value) and value >= span.low:
            edges.append(_edge(name, value, span))
    return tuple(edge for edge in edges if edge is not None)


def is_share(name: str) -> bool:
    """Whether a hyperparameter, when no count, is a share of at most 1."""
    return name in _SHARES


def rounded(value: float, *, integer: bool) -> int | float:
    """Return a value as YAML should show it: 4 significant digits, whole where it counts."""
    return round(value) if integer else float(f"{value:.{_DIGITS}g}")


def is_searched_by_ratio(spec: ExperimentSpec, algorithm: str, name: str) -> bool:
    """Whether the values of a hyperparameter lie on a logarithmic scale, or as far apart."""
    span = _span(spec, algorithm, name)
    return span is not None and span.log and (not span.listed or span.high >= 10 * span.low)


def _edge(name: str, value: float, span: _Span) -> SearchEdge | None:
    place = _place(value, span)
    margin = 1e-9 if span.listed else _MARGIN
    if place <= margin and not _nothing_below(name, span):
        end: Literal["low", "high"] = "low"
    elif place >= 1 - margin and not _nothing_above(name, span):
        end = "high"
    else:
        return None
    wider = rounded(_beyond(name, span, end), integer=span.integer)
    return SearchEdge(name, value, end, span.low, span.high, wider)


def _place(value: float, span: _Span) -> float:
    """Where a value lies between the ends, 0 to 1."""
    if span.log:
        return math.log(value / span.low) / math.log(span.high / span.low)
    return (value - span.low) / (span.high - span.low)


def _nothing_below(name: str, span: _Span) -> bool:
    return span.low <= 0 or (span.integer and span.low <= _FEWEST.get(name, 1))


def _nothing_above(name: str, span: _Span) -> bool:
    return span.unlimited or ((is_share(name) and not span.integer) and span.high >= 1)


def _beyond(name: str, span: _Span, end: str) -> float:
    """Half the width again; on a logarithmic scale half its ratio, at least twice."""
    if span.log:
        factor = max(math.sqrt(span.high / span.low), 2.0)
        value = span.low / factor if end == "low" else span.high * factor
    else:
        half = (span.high - span.low) / 2
        value = max(span.low - half, span.low / 2) if end == "low" else span.high + half
    if span.integer:
        value = max(value, _FEWEST.get(name, 1))
    return min(value, 1.0) if (is_share(name) and not span.integer) else value


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
    """Whether a value of a hyperparameter is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
