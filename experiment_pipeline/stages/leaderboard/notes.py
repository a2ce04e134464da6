"""What to know before believing a leaderboard.

In: the ranking and the finished rows. Out: one sentence each, those that matter most first.
"""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from experiment_pipeline.errors import listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.edges import SearchEdge
from experiment_pipeline.stages.leaderboard.ranking import Ranking
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    NOT_STARTED,
    STOPPED_EARLY,
    TRAINED,
)
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.caveats import caveats, few_clusters_note
from experiment_pipeline.statistics.metrics import METRICS, significantly_better
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


def notes(
    ranking: Ranking,
    rows: pd.DataFrame,
    edges: Sequence[SearchEdge],
    chosen: SetPrediction,
    spec: ExperimentSpec,
) -> tuple[str, ...]:
    """Return the remarks on a board; of its rows a column `needed` tells `needed_seconds`."""
    cluster, place = cluster_in_words(spec), evaluated(spec.evaluation_name).place
    return (
        *weights_in_words(spec),
        *_against_baseline(ranking, spec.metric),
        *filter(None, [few_clusters_note(chosen.clusters, cluster, place, chosen.weights)]),
        *caveats([spec.metric], chosen, cluster, place),
        *_uncalibrated(ranking, spec),
        *_luck_of_the_seed(ranking, spec.metric),
        *_optimism_in_words(ranking, spec),
        *_chosen_on_the_way(rows),
        *(edge.in_words() for edge in edges),
        *_spend(ranking, spec.metric),
        *_unranked(rows),
    )


def optimism(ranking: Ranking, spec: ExperimentSpec) -> float | None:
    """Return by how much the best score is expected to flatter; None where it has no number."""
    confounded = spec.split.by == "time" or math.isnan(ranking.optimism)
    return None if confounded else ranking.optimism


def cluster_in_words(spec: ExperimentSpec) -> str:
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


def weights_in_words(spec: ExperimentSpec) -> Iterator[str]:
    """Yield what the scores of an experiment are weighted by, where they are."""
    if spec.sample_weight is not None:
        yield (
            f"fits, scores, intervals and thresholds count each row by {spec.sample_weight}, as "
            "the YAML asks by sample_weight; numbers of rows, classes called right or wrong, "
            "residuals and the data analysis count rows alike"
        )


def _against_baseline(ranking: Ranking, metric: str) -> Iterator[str]:
    if not any(significantly_better(metric, one.difference_to_baseline) for one in ranking.entries):
        best = ranking.entries[0]
        yield (
            f"no configuration is surely better than predicting without features: the best has "
            f"{metric} {numbers.interval(best.score)}, the baseline {numbers.score(ranking.baseline)}; the "
            f"paired difference is {numbers.interval(best.difference_to_baseline)}"
        )


def _uncalibrated(ranking: Ranking, spec: ExperimentSpec) -> Iterator[str]:
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


def _optimism_in_words(ranking: Ranking, spec: ExperimentSpec) -> Iterator[str]:
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
