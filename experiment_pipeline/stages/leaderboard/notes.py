"""The caveats and remarks on a leaderboard, one sentence each, the most important
first.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeGuard

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
# the end; of listed values only the first and the last do.
_MARGIN = 0.05
_LISTED_MARGIN = 1e-9
# Hyperparameters that are shares of at most 1, unless their values are integers.
_SHARES = frozenset(
    [
        "bagging_fraction",
        "subsample",
        "max_samples",
        "l1_ratio",
        "feature_fraction",
        "feature_fraction_bynode",
        "colsample_bytree",
        "max_features",
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
        low = self.wider if self.end == "low" else self.low
        high = self.wider if self.end == "high" else self.high
        return (
            f"{self.hyperparameter} = {self.value:g} is at the {self.end} end of the "
            f"searched range ({self.low:g} to {self.high:g}); a better value may lie "
            f"beyond: search {low:g} to {high:g}"
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
    cluster = cluster_in_words(spec)
    place = numbers.evaluated(spec.evaluation_name).place
    few = few_clusters_note(chosen.clusters, cluster, place, chosen.weights)
    return (
        *weights_in_words(spec),
        *_against_baseline(ranking, spec.metric),
        *([few] if few else []),
        *caveats([spec.metric], chosen, cluster, place),
        *_uncalibrated(ranking, spec),
        *_selection_bias(ranking, choice, rows, spec),
        *_later(spec),
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
            "fits, scores, intervals and thresholds weight each row by "
            f"{spec.sample_weight} (sample_weight in the YAML); numbers of rows, "
            "confusions, residuals and the data analysis do not use the weights"
        )


def _against_baseline(ranking: Ranking, metric: str) -> Iterator[str]:
    leads = [entry.difference_to_baseline for entry in ranking.entries]
    if not any(significantly_better(metric, lead) for lead in leads):
        best = ranking.entries[0]
        yield (
            "no configuration is significantly better than predicting without "
            f"features: the best has {metric} {numbers.interval(best.score)}, the "
            f"baseline {numbers.score(ranking.baseline)}; the paired difference is "
            f"{numbers.interval(best.difference_to_baseline)}"
        )


def _uncalibrated(ranking: Ranking, spec: ExperimentSpec) -> Iterator[str]:
    """Reweighted configurations, whose probabilities are shifted."""
    settings = [
        reweighting(entry.result.hyperparameters)
        for entry in ranking.single
        if entry.result.calibration is None
    ]
    reweighted = [setting for setting in settings if setting]
    if not reweighted or spec.task == "regression":
        return
    worse = ""
    if metric_of(spec.metric).by_probability:
        worse = f", which makes their {spec.metric} worse"
    yield (
        f"{len(reweighted):,} of {len(ranking.single):,} ranked configurations are "
        f"reweighted ({listed(list(dict.fromkeys(reweighted)))}): their probabilities "
        f"are not calibrated{worse}"
    )


def _selection_bias(
    ranking: Ranking, choice: RankedModel, rows: pd.DataFrame, spec: ExperimentSpec
) -> Iterator[str]:
    best = ranking.single[0]
    if (earlier := ranking.earlier).configurations:
        times = numbers.counted(earlier.rankings, "earlier leaderboard")
        more = numbers.counted(earlier.configurations, "more configuration")
        yield (
            f"{more} of {times} scored on the same test rows: the intervals hold for "
            "the best of all"
        )
    if (seeds := best.result.seeds) is not None:
        deviation = numbers.spread(seeds.mean, seeds.deviation)
        yield (
            f"the best configuration with {seeds.fits} seeds: {spec.metric} "
            f"{deviation} (mean and standard deviation); a smaller lead over the next "
            "is within the variation by seed"
        )
    bias = f"the best of {len(ranking.single):,} single scores is optimistic"
    if choice.is_ensemble:
        bias = f"the ensemble's score is cross-fitted and hardly optimistic; {bias}"
    elif choice is not best:
        bias = f"the choice was not made by score alone; {bias}"
    if len(ranking.single) > 1 and spec.split.by == "time":
        yield (
            f"{bias}; under a split by time the optimism cannot be separated from "
            "drift, so it is not estimated"
        )
    elif len(ranking.single) > 1 and (expected := optimism(ranking, spec)):
        yield (
            f"{bias}: expect its {spec.metric} to be worse by up to "
            f"{numbers.score(expected)} on new rows"
        )
    if stopped := int(rows["status"].eq(conclusions.STOPPED_EARLY).sum()):
        yield (
            f"{stopped:,} more were stopped early by scores on a part of the test "
            "rows: intervals, ties and optimism account only for the ranked ones"
        )


def _later(spec: ExperimentSpec) -> Iterator[str]:
    if spec.split.by == "time":
        yield (
            "what comes later is mostly harder to predict, and the test set does not "
            "hold the latest rows: expect worse scores than these, and rely on the "
            "validation set, which is later"
        )


def _unranked(rows: pd.DataFrame) -> Iterator[str]:
    """A sentence for each of the most frequent causes, and one for the rest; failures
    first.
    """
    rows = rows[rows["key"] != ENSEMBLE]
    unranked = rows[rows["rank"].isna()]
    for status, ended in _ENDED.items():
        causes = Counter(unranked["reason"][unranked["status"] == status])
        for reason, count in causes.most_common(_MOST_CAUSES):
            sentence = f"{count:,} of {len(rows):,} configurations {ended} {reason}"
            yield sentence.removesuffix(": ")
        rest = sum(count for _, count in causes.most_common()[_MOST_CAUSES:])
        if rest:
            yield f"{rest:,} more {ended} other reasons: see the table"


def search_edges(
    spec: ExperimentSpec, algorithm: str, hyperparameters: Mapping[str, Scalar]
) -> tuple[SearchEdge, ...]:
    """Return the searched numbers of a configuration that are at an end of their range,
    if it can be widened.

    It is widened by half its width; on a log scale by the root of high / low, at least
    by a factor of 2.
    """
    edges = []
    for name, value in sorted(hyperparameters.items()):
        searched = _SearchedRange.of(_searched_values(spec, algorithm, name))
        if searched is None or not is_number(value) or value < searched.low:
            continue
        if edge := _edge(name, value, searched):
            edges.append(edge)
    return tuple(edges)


def _searched_values(
    spec: ExperimentSpec, algorithm: str, name: str
) -> list[Scalar | Range]:
    """All that the entries of an algorithm list for a hyperparameter."""
    values: list[Scalar | Range] = []
    for entry in spec.search:
        if entry.algorithm != algorithm:
            continue
        declared = entry.hyperparameters.get(name, ())
        values += declared if isinstance(declared, tuple) else (declared,)
        for configuration in entry.configurations:
            if name in configuration:
                values.append(configuration[name])
    return values


@dataclass(frozen=True)
class _SearchedRange:
    """Everything that was searched of one hyperparameter of one algorithm."""

    low: float
    high: float
    integer: bool
    ranges: Sequence[Range]  # beside the listed values
    unlimited: bool  # "no limit" was searched as well: nothing lies above

    @classmethod
    def of(cls, values: Sequence[Scalar | Range]) -> Self | None:
        """Return the range of numbers; None for fewer than two."""
        ends: list[float] = []
        ranges = []
        for value in values:
            if isinstance(value, Range):
                ranges.append(value)
                ends += [value.low, value.high]
            elif is_number(value):
                ends.append(value)
        integer = all(isinstance(end, int) for end in ends)
        # A negative count and null say "no limit" (max_depth).
        limits = [end for end in ends if end >= 0 or not integer]
        if len(set(limits)) < 2:
            return None
        return cls(
            low=min(limits),
            high=max(limits),
            integer=integer,
            ranges=ranges,
            unlimited=None in values or len(limits) < len(ends),
        )

    @property
    def listed(self) -> bool:
        """Whether all values are listed: there are no ranges."""
        return not self.ranges

    @property
    def log(self) -> bool:
        """Whether the scale is logarithmic, as that of listed positive numbers is."""
        return self.low > 0 and all(drawn.scale == "log" for drawn in self.ranges)

    def position(self, value: float) -> float:
        """Return where a value is, from 0 at the low end to 1 at the high one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @property
    def wider(self) -> tuple[float, float]:
        """The ends of a wider range."""
        if self.log:
            factor = max(math.sqrt(self.high / self.low), 2.0)
            return self.low / factor, self.high * factor
        half = (self.high - self.low) / 2
        return max(self.low - half, self.low / 2), self.high + half


def _edge(name: str, value: float, searched: _SearchedRange) -> SearchEdge | None:
    """None: the value is inside, or nothing lies beyond."""
    smallest = _FEWEST.get(name, 1) if searched.integer else 0.0
    largest = 1.0 if name in _SHARES and not searched.integer else math.inf
    margin = _LISTED_MARGIN if searched.listed else _MARGIN
    position = searched.position(value)
    below, above = searched.wider
    end: Literal["low", "high"]
    if position <= margin and searched.low > smallest:
        end = "low"
        wider = max(below, smallest)
    elif position < 1 - margin or searched.high >= largest or searched.unlimited:
        return None
    else:
        end = "high"
        wider = min(above, largest)
    wider = rounded(wider, integer=searched.integer)
    return SearchEdge(name, value, end, searched.low, searched.high, wider)


def rounded(value: float, *, integer: bool) -> int | float:
    """Return a value as YAML should show it: 4 significant digits, counts as
    integers.
    """
    return round(value) if integer else float(f"{value:.4g}")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a hyperparameter is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
