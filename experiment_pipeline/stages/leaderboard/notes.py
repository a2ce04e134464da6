"""What to know before believing a leaderboard, and where its choice lies at an end of the search.

In: the ranking and the finished rows; the spec's search. Out: one sentence each, those that
matter most first; `SearchEdge`s, with how far to go on. What a better search would be as a whole:
`stages/validation_report/next_search.py`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

import pandas as pd

from experiment_pipeline.errors import listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import LeaderboardSpec, Question, Range, Sampling, Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.ranking import Ranking
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    NOT_STARTED,
    STOPPED_EARLY,
    TRAINED,
)
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.doubts import doubts, few_units_note
from experiment_pipeline.statistics.metrics import METRICS, surely_better
from experiment_pipeline.statistics.scores import SetPrediction

# How those without a rank ended, failures first, and the words before the reason.
_ENDED = {
    FAILED: ("failed", " with "),
    NOT_STARTED: ("were not begun", ": "),
    STOPPED_EARLY: ("are without a rank", ": "),
    TRAINED: ("are without a rank", ": "),
}
_MOST_CAUSES = 4
# Below, "the first fifth" is one configuration and says nothing.
_FEWEST_FOR_SPEND = 10
_FIRST_SHARE = 0.2
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
    spec: LeaderboardSpec, algorithm: str, hyperparameters: Mapping[str, Scalar]
) -> tuple[SearchEdge, ...]:
    """Return the searched hyperparameters that a configuration has at an end.

    Only numbers have ends. No end is reported where nothing sensible lies beyond: below 0,
    below the smallest count, above a share of 1.
    """
    edges = []
    for name, value in sorted(hyperparameters.items()):
        span = _span(spec, algorithm, name)
        if span is not None and _is_number(value) and value >= span.low:
            edges.append(_edge(name, value, span))
    return tuple(edge for edge in edges if edge is not None)


def is_share(name: str) -> bool:
    """Whether a hyperparameter, when no count, is a share of at most 1."""
    return name in _SHARES


def rounded(value: float, *, integer: bool) -> int | float:
    """Return a value as YAML should show it: 4 significant digits, whole where it counts."""
    return round(value) if integer else float(f"{value:.{_DIGITS}g}")


def is_searched_by_ratio(spec: LeaderboardSpec, algorithm: str, name: str) -> bool:
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


def _span(spec: LeaderboardSpec, algorithm: str, name: str) -> _Span | None:
    """All entries of the algorithm together; a list of positive numbers counts as a scale."""
    given = list(_given(spec, algorithm, name))
    ranges = [value for value in given if isinstance(value, Range)]
    listed = [value for value in given if _is_number(value)]
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


def _given(spec: LeaderboardSpec, algorithm: str, name: str) -> Iterator[Scalar | Range]:
    for entry in spec.search:
        if entry.algorithm == algorithm:
            for value in [v for n, v in entry.hyperparameters.items() if n == name]:
                yield from value if isinstance(value, tuple) else (value,)
            yield from (c[name] for c in entry.configurations if name in c)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def notes(
    ranking: Ranking,
    rows: pd.DataFrame,
    edges: Sequence[SearchEdge],
    chosen: SetPrediction,
    spec: LeaderboardSpec,
) -> tuple[str, ...]:
    """Return the remarks on a board; of its rows a column `needed` tells `needed_seconds`."""
    unit, place = unit_in_words(spec), evaluated(spec.evaluation_name).place
    return (
        *weights_in_words(spec),
        *_against_baseline(ranking, spec.metric),
        *filter(None, [few_units_note(chosen.units, unit, place, chosen.weights)]),
        *doubts([spec.metric], chosen, unit, place),
        *_uncalibrated(ranking, spec),
        *_luck_of_the_seed(ranking, spec.metric),
        *_optimism_in_words(ranking, spec),
        *_chosen_on_the_way(rows),
        *(edge.in_words() for edge in edges),
        *_spend(ranking, spec.metric),
        *_unranked(rows),
    )


def optimism(ranking: Ranking, spec: LeaderboardSpec) -> float | None:
    """Return by how much the best score is expected to flatter; None where it has no number."""
    confounded = spec.split.by == "time" or math.isnan(ranking.optimism)
    return None if confounded else ranking.optimism


def unit_in_words(spec: Sampling) -> str:
    """Return what intervals resample: `row`, `group of <column>` or `1 day`."""
    if spec.split.by == "time":
        return f"{spec.split.unit} of {spec.split.column}"
    return f"value of {spec.split.column}" if spec.split.by == "group" else "row"


def expected_best(scores: Sequence[float], size: int) -> float:
    """Return the mean best score of `size` configurations drawn at random from all.

    Exact: the i-th best of N is the best drawn with probability C(N-i, size-1) / C(N, size)
    (Dodge et al. 2019, "Show Your Work").

    Args:
        scores: the best first, N of them.
        size: 1 … N.
    """
    total, missed = len(scores), 1.0
    mean = 0.0
    for drawn_before, value in enumerate(scores[: total - size + 1]):
        probability = size / (total - drawn_before)
        mean += missed * probability * value
        missed *= 1 - probability
    return mean


def weights_in_words(spec: Question) -> Iterator[str]:
    """Yield what the scores of an experiment are weighted by, where they are."""
    if spec.sample_weight is not None:
        yield (
            f"fits, scores, intervals and thresholds count each row by {spec.sample_weight}, as "
            "the YAML asks by sample_weight; numbers of rows, classes called right or wrong, "
            "residuals and the data analysis count rows alike"
        )


def _against_baseline(ranking: Ranking, metric: str) -> Iterator[str]:
    if not any(surely_better(metric, one.difference_to_baseline) for one in ranking.entries):
        best = ranking.entries[0]
        yield (
            f"no configuration is surely better than predicting without features: the best has "
            f"{metric} {numbers.interval(best.score)}, the baseline {numbers.score(ranking.baseline)}; the "
            f"paired difference is {numbers.interval(best.difference_to_baseline)}"
        )


def _uncalibrated(ranking: Ranking, spec: LeaderboardSpec) -> Iterator[str]:
    """Reweighted configurations: what their probabilities are worth beside the others'."""
    if spec.task == "regression":
        return
    found = [
        None if entry.result.calibration else reweighting(entry.result.hyperparameters)
        for entry in ranking.single
    ]
    settings = list(dict.fromkeys(one for one in found if one is not None))
    if not settings:
        return
    count = sum(one is not None for one in found)
    note = (
        f"{count:,} of {len(found):,} ranked configurations are reweighted "
        f"({listed(settings)}): their probabilities are not calibrated"
    )
    scored = METRICS[spec.metric].by_probability
    yield f"{note}, and {spec.metric} counts this shift against them" if scored else note


def _luck_of_the_seed(ranking: Ranking, metric: str) -> Iterator[str]:
    """What other seeds make of the best score, and of its lead over the next."""
    if not ranking.single or (seeds := ranking.single[0].result.seeds) is None:
        return
    best, *others = ranking.single
    said = (
        f"the best configuration with other seeds: {metric} "
        f"{numbers.spread(seeds.mean, seeds.deviation)} (mean and standard deviation of "
        f"{seeds.fits} fits)"
    )
    if best.result.averaged > 1:
        said += f"; their mean prediction, which is ranked, {numbers.score(best.score.estimate)}"
    if not others:
        yield said
        return
    lead = abs(best.score.estimate - others[0].score.estimate)
    # Of two scores, each with a luck of its own.
    is_luck = lead < math.sqrt(2) * seeds.deviation
    size = "smaller" if is_luck else "larger"
    yield f"{said}: the lead of {lead:.2g} over the next is {size} than the luck of the seed"


def _optimism_in_words(ranking: Ranking, spec: LeaderboardSpec) -> Iterator[str]:
    if len(ranking.entries) < 2:
        return
    number = optimism(ranking, spec)
    if spec.split.by == "time":
        yield (
            f"the best of {len(ranking.entries):,} scores flatters itself; with a split by time "
            "that cannot be told from drift, so no number is given: the validation set decides"
        )
    elif number:
        yield (
            f"the best of {len(ranking.entries):,} scores flatters itself: expect {spec.metric} to "
            f"be worse by up to {numbers.score(number)} on new rows"
        )


def _chosen_on_the_way(rows: pd.DataFrame) -> Iterator[str]:
    """Rungs choose on rows of the same test set, which the number of ranked ones does not show."""
    if stopped := int(rows["status"].eq(STOPPED_EARLY).sum()):
        yield (
            f"{stopped:,} more were stopped early by scores on a part of the test rows: intervals, "
            "ties and what the best score flatters itself by count the ranked ones alone"
        )


def _spend(ranking: Ranking, metric: str) -> Iterator[str]:
    """What most of the search bought, whatever the order it was run in."""
    scores = [entry.score.estimate for entry in ranking.single]
    if len(scores) < _FEWEST_FOR_SPEND:
        return
    fifth = math.ceil(_FIRST_SHARE * len(scores))
    gain = METRICS[metric].sign * (scores[0] - expected_best(scores, fifth))
    seconds = sum(entry.result.fit_cpu_seconds for entry in ranking.single)
    yield (
        f"the last 80 % of the spend made {metric} better by {gain:.2g}: {fifth} configurations "
        f"drawn at random reach {numbers.score(expected_best(scores, fifth))} on average, all {len(scores)} reach "
        f"{numbers.score(scores[0])} and cost {seconds:,.1f} CPU seconds"
    )


def _unranked(rows: pd.DataFrame) -> Iterator[str]:
    """A sentence for each cause, the most frequent ones first; however many there are, a few."""
    rows = rows[rows["key"] != ENSEMBLE]
    without = rows[rows["rank"].isna()]
    for status, (ended, joined) in _ENDED.items():
        causes = without[without["status"] == status].groupby("reason")["needed"]
        told = causes.agg(["size", "min", "max"]).sort_values("size", ascending=False)
        for reason, (count, low, high) in told.head(_MOST_CAUSES).iterrows():
            said = f"{count:,.0f} of {len(rows):,} configurations {ended}"
            yield f"{said}{joined}{reason}{_expected(low, high)}" if reason else said
        if more := int(told["size"].iloc[_MOST_CAUSES:].sum()):
            yield f"{more:,} more {ended}, each for a reason of its own: see the table"


def _expected(low: float, high: float) -> str:
    """` (expected: 0.4 to 3.1 s each)`; empty where nothing was."""
    if math.isnan(low):
        return ""
    ends = dict.fromkeys(map(numbers.measured, (low, high)))
    return f" (expected: {' to '.join(ends)} s each)"
