"""The caveats and remarks on a leaderboard, one sentence each, the most important
first.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

import pandas as pd

from experiment_pipeline.errors import listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Range, Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.ranking import RankedModel, Ranking
from experiment_pipeline.stages.search import conclusions
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.caveats import caveats, few_clusters_note
from experiment_pipeline.statistics.metrics import metric_of, significantly_better
from experiment_pipeline.statistics.scores import SetPrediction

# How configurations without a rank ended, failures first.
_ENDED = {
    conclusions.FAILED: "failed with",
    conclusions.NOT_STARTED: "were not started:",
    conclusions.STOPPED_EARLY: "have no rank:",
    conclusions.TRAINED: "have no rank:",
}
_MOST_CAUSES = 4
# A drawn value this close to an end of its range, as a share of the range, counts as at
# the end.
_MARGIN = 0.05
# Hyperparameters that are shares of at most 1, unless their values are integers.
_SHARES = frozenset(
    [
        *("bagging_fraction", "subsample", "max_samples", "l1_ratio"),
        *(
            "feature_fraction",
            "feature_fraction_bynode",
            "colsample_bytree",
            "max_features",
        ),
    ]
)
# The smallest value of a count, where it is not 1: a tree of one leaf does not split.
_FEWEST = {"num_leaves": 2, "max_leaf_nodes": 2, "min_samples_split": 2}


@dataclass(frozen=True)
class SearchEdge:
    """A hyperparameter whose chosen value is at an end of the searched range."""

    hyperparameter: str  # its name
    value: int | float  # the chosen value
    end: Literal["low", "high"]  # which end it is
    low: int | float  # the smallest value searched
    high: int | float  # the largest value searched
    wider: int | float  # how far to search beyond that end

    def in_words(self) -> str:
        """Return the edge and the wider range in one sentence."""
        low, high = (
            (self.wider, self.high) if self.end == "low" else (self.low, self.wider)
        )
        return (
            f"{self.hyperparameter} = {self.value:g} is at the {self.end} end of the searched "
            f"range ({self.low:g} to {self.high:g}); a better value may lie beyond: "
            f"search {low:g} to {high:g}"
        )


def notes(
    ranking: Ranking,
    choice: RankedModel,
    rows: pd.DataFrame,
    edges: Sequence[SearchEdge],
    chosen: SetPrediction,
    spec: ExperimentSpec,
) -> tuple[str, ...]:
    """Return the remarks on a board with these rows and the choice's predictions of the
    test rows.
    """
    cluster, place = (
        cluster_in_words(spec),
        numbers.evaluated(spec.evaluation_name).place,
    )
    return (
        *weights_in_words(spec),
        *_against_baseline(ranking, spec.metric),
        *filter(
            None, [few_clusters_note(chosen.clusters, cluster, place, chosen.weights)]
        ),
        *caveats([spec.metric], chosen, cluster, place),
        *_uncalibrated(ranking, spec),
        *_selection_bias(ranking, choice, rows, spec),
        *(edge.in_words() for edge in edges),
        *_unranked(rows),
    )


def optimism(ranking: Ranking, spec: ExperimentSpec) -> float | None:
    """Return the expected selection bias of the best score; None where it is not
    estimated.
    """
    confounded = spec.split.by == "time" or math.isnan(ranking.optimism)
    return None if confounded else ranking.optimism


def cluster_in_words(spec: ExperimentSpec) -> str:
    """Return what intervals resample: `row`, `value of <column>` or `day of
    <column>`.
    """
    if spec.split.by == "time":
        return f"{spec.split.unit} of {spec.split.column}"
    return f"value of {spec.split.column}" if spec.split.by == "group" else "row"


def weights_in_words(spec: ExperimentSpec) -> Iterator[str]:
    """Yield what the rows of an experiment are weighted by, if they are."""
    if spec.sample_weight is not None:
        yield (
            f"fits, scores, intervals and thresholds weight each row by {spec.sample_weight} "
            "(sample_weight in the YAML); numbers of rows, confusions, residuals and the data "
            "analysis do not use the weights"
        )


def _against_baseline(ranking: Ranking, metric: str) -> Iterator[str]:
    best = ranking.entries[0]
    if not any(
        significantly_better(metric, one.difference_to_baseline)
        for one in ranking.entries
    ):
        yield (
            "no configuration is significantly better than predicting without features: the best "
            f"has {metric} {numbers.interval(best.score)}, the baseline "
            f"{numbers.score(ranking.baseline)}; the paired difference is "
            f"{numbers.interval(best.difference_to_baseline)}"
        )


def _uncalibrated(ranking: Ranking, spec: ExperimentSpec) -> Iterator[str]:
    """Reweighted configurations, whose probabilities are shifted."""
    results = [one.result for one in ranking.single if one.result.calibration is None]
    found = [
        setting for one in results if (setting := reweighting(one.hyperparameters))
    ]
    if found and spec.task != "regression":
        worse = f", which makes their {spec.metric} worse"
        yield (
            f"{len(found):,} of {len(ranking.single):,} ranked configurations are reweighted "
            f"({listed(list(dict.fromkeys(found)))}): their probabilities are not calibrated"
            f"{worse if metric_of(spec.metric).by_probability else ''}"
        )


def _selection_bias(
    ranking: Ranking, choice: RankedModel, rows: pd.DataFrame, spec: ExperimentSpec
) -> Iterator[str]:
    if ranking.single and (seeds := ranking.single[0].result.seeds) is not None:
        deviation = numbers.spread(seeds.mean, seeds.deviation)
        yield (
            f"the best configuration with {seeds.fits} seeds: {spec.metric} {deviation} (mean and "
            "standard deviation); a smaller lead over the next is within the variation by seed"
        )
    number, ranked = optimism(ranking, spec), len(ranking.single)
    best = f"the best of {ranked:,} single scores is optimistic"
    if choice.is_ensemble:
        best = f"the ensemble's score is cross-fitted and hardly optimistic; {best}"
    elif choice is not ranking.single[0]:
        best = f"the choice was not made by score alone; {best}"
    if ranked > 1 and spec.split.by == "time":
        yield (
            f"{best}; under a split by time the optimism cannot be separated from drift, so it is "
            "not estimated: rely on the validation set"
        )
    elif ranked > 1 and number:
        yield (
            f"{best}: expect its {spec.metric} to be worse by up to {numbers.score(number)} on new "
            "rows"
        )
    if stopped := int(rows["status"].eq(conclusions.STOPPED_EARLY).sum()):
        yield (
            f"{stopped:,} more were stopped early by scores on a part of the test rows: intervals, "
            "ties and optimism account only for the ranked ones"
        )


def _unranked(rows: pd.DataFrame) -> Iterator[str]:
    """A sentence for each of the most frequent causes, and one for the rest; failures
    first.
    """
    rows = rows[rows["key"] != ENSEMBLE]
    without = rows[rows["rank"].isna()]
    for status, ended in _ENDED.items():
        causes = Counter(without["reason"][without["status"] == status])
        for reason, count in causes.most_common(_MOST_CAUSES):
            sentence = f"{count:,} of {len(rows):,} configurations {ended} {reason}"
            yield sentence.removesuffix(": ")
        if more := sum(count for _, count in causes.most_common()[_MOST_CAUSES:]):
            yield f"{more:,} more {ended} other reasons: see the table"


@dataclass(frozen=True)
class _SearchedRange:
    """Everything that was searched of one hyperparameter of one algorithm."""

    low: float
    high: float
    log: bool
    integer: bool
    listed: bool  # all its values are listed: there are no ranges
    unlimited: bool  # "no limit" was searched as well: nothing lies above


def search_edges(
    spec: ExperimentSpec, algorithm: str, hyperparameters: Mapping[str, Scalar]
) -> tuple[SearchEdge, ...]:
    """Return the searched numbers of a configuration that are at an end of their range,
    if it can be widened.

    It is widened by half its width; on a log scale by the root of high / low, at least
    by a factor of 2.
    """
    edges = list[SearchEdge]()
    for name, value in sorted(hyperparameters.items()):
        span = _span(spec, algorithm, name)
        if span is None or not is_number(value) or value < span.low:
            continue
        low, high, smallest = span.low, span.high, _FEWEST.get(name, 1)
        share = name in _SHARES and not span.integer
        margin = 1e-9 if span.listed else _MARGIN
        if span.log:
            at = math.log(value / low) / math.log(high / low)
            factor = max(math.sqrt(high / low), 2.0)
            below, above = low / factor, high * factor
        else:
            at, half = (value - low) / (high - low), (high - low) / 2
            below, above = max(low - half, low / 2), high + half
        if at <= margin and low > 0 and not (span.integer and low <= smallest):
            end, wider = "low", max(below, smallest) if span.integer else below
        elif at >= 1 - margin and not span.unlimited and not (share and high >= 1):
            end, wider = "high", min(above, 1.0) if share else above
        else:
            continue
        edges.append(
            SearchEdge(
                name, value, end, low, high, rounded(wider, integer=span.integer)
            )
        )
    return tuple(edges)


def rounded(value: float, *, integer: bool) -> int | float:
    """Return a value as YAML should show it: 4 significant digits, counts as
    integers.
    """
    return round(value) if integer else float(f"{value:.4g}")


def _span(spec: ExperimentSpec, algorithm: str, name: str) -> _SearchedRange | None:
    """The span over all entries of the algorithm; a list of positive numbers counts as
    a log scale.
    """
    given: list[Scalar | Range] = []
    for entry in spec.search:
        if entry.algorithm == algorithm:
            values = entry.hyperparameters.get(name, ())
            given += values if isinstance(values, tuple) else (values,)
            given += [one[name] for one in entry.configurations if name in one]
    ranges = [value for value in given if isinstance(value, Range)]
    listed_ones = [value for value in given if is_number(value)]
    # A negative count and null say "no limit" (max_depth).
    counts = all(isinstance(one, int) for one in listed_ones) and all(
        r.integer for r in ranges
    )
    limited = [value for value in listed_ones if value >= 0 or not counts]
    ends = [*limited, *(r.low for r in ranges), *(r.high for r in ranges)]
    if not ends or min(ends) == max(ends):
        return None
    return _SearchedRange(
        low=min(ends),
        high=max(ends),
        log=min(ends) > 0 and all(r.scale == "log" for r in ranges),
        integer=counts,
        listed=not ranges,
        unlimited=None in given or len(limited) < len(listed_ones),
    )


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a hyperparameter is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
