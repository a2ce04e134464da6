"""What to know before believing a leaderboard: remarks computed from its ranking.

In: the ranking and the finished rows. Out: one sentence each, those that matter most first.
"""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from experiment_pipeline.errors import listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.metrics import METRICS
from experiment_pipeline.stages.leaderboard.edges import SearchEdge
from experiment_pipeline.stages.leaderboard.ranking import Ranking
from experiment_pipeline.stages.search.conclusions import STOPPED_EARLY
from experiment_pipeline.statistics.calibration import PROBABILITY_METRICS, reweighting
from experiment_pipeline.statistics.interval_doubts import doubts, few_units_note
from experiment_pipeline.statistics.metrics import surely_better
from experiment_pipeline.statistics.set_prediction import SetPrediction

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
    """Return the remarks on a board.

    Args:
        ranking: of the configurations with a score.
        rows: the board's.
        edges: of the choice.
        chosen: what the choice predicts for the test rows.
        spec: the experiment.
    """
    unit = unit_in_words(spec)
    return (
        *_against_baseline(ranking, spec.metric),
        *filter(None, [few_units_note(chosen.units, unit, "test")]),
        *doubts([spec.metric], chosen, unit, "test"),
        *_uncalibrated(ranking, spec),
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


def unit_in_words(spec: ExperimentSpec) -> str:
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


def _against_baseline(ranking: Ranking, metric: str) -> Iterator[str]:
    if not any(surely_better(metric, one.difference_to_baseline) for one in ranking.entries):
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
    found = [reweighting(entry.result.hyperparameters) for entry in ranking.entries]
    settings = list(dict.fromkeys(one for one in found if one is not None))
    if not settings:
        return
    count = sum(one is not None for one in found)
    note = (
        f"{count:,} of {len(found):,} ranked configurations are reweighted "
        f"({listed(settings)}): their probabilities are not calibrated"
    )
    scored = spec.metric in PROBABILITY_METRICS
    yield f"{note}, and {spec.metric} counts this shift against them" if scored else note


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
    scores = [entry.score.estimate for entry in ranking.entries]
    if len(scores) < _FEWEST_FOR_SPEND:
        return
    fifth = math.ceil(_FIRST_SHARE * len(scores))
    gain = METRICS[metric].sign * (scores[0] - expected_best(scores, fifth))
    seconds = sum(entry.result.fit_cpu_seconds for entry in ranking.entries)
    yield (
        f"the last 80 % of the spend made {metric} better by {gain:.2g}: {fifth} configurations "
        f"drawn at random reach {numbers.score(expected_best(scores, fifth))} on average, all {len(scores)} reach "
        f"{numbers.score(scores[0])} and cost {seconds:,.1f} CPU seconds"
    )


def _unranked(rows: pd.DataFrame) -> Iterator[str]:
    failed = rows.loc[rows["status"] == "failed", "reason"]
    for reason, count in failed.value_counts().items():
        yield f"{count} of {len(rows)} configurations failed with {reason}"
    unscored = rows["rank"].isna() & (rows["status"] != "failed")
    why = rows.loc[unscored, "reason"].where(rows["reason"] != "", rows["status"])
    for reason, count in why.value_counts().items():
        yield f"{count} of {len(rows)} configurations are without a rank: {reason}"
