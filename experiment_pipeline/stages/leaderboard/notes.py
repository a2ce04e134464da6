"""The caveats and remarks on a leaderboard, one sentence each, the most important first."""

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

# How configurations without a rank ended, failures first, and the words before the reason.
_ENDED = {
    FAILED: ("failed", " with "),
    NOT_STARTED: ("were not started", ": "),
    STOPPED_EARLY: ("have no rank", ": "),
    TRAINED: ("have no rank", ": "),
}
_MOST_CAUSES = 4


def notes(
    ranking: Ranking,
    rows: pd.DataFrame,
    edges: Sequence[SearchEdge],
    chosen: SetPrediction,
    spec: ExperimentSpec,
) -> tuple[str, ...]:
    """Return the remarks on a board.

    Args:
        ranking: of the configurations.
        rows: of the board, with `needed_seconds` of the conclusions as a column `needed`.
        edges: of the choice.
        chosen: the choice's predictions of the test rows.
        spec: the experiment.
    """
    cluster, place = cluster_in_words(spec), evaluated(spec.evaluation_name).place
    return (
        *weights_in_words(spec),
        *_against_baseline(ranking, spec.metric),
        *filter(None, [few_clusters_note(chosen.clusters, cluster, place, chosen.weights)]),
        *caveats([spec.metric], chosen, cluster, place),
        *_uncalibrated(ranking, spec),
        *_seeds(ranking, spec.metric),
        *_selection_bias(ranking, rows, spec),
        *(edge.in_words() for edge in edges),
        *_unranked(rows),
    )


def optimism(ranking: Ranking, spec: ExperimentSpec) -> float | None:
    """Return the expected selection bias of the best score; None where it is not estimated."""
    confounded = spec.split.by == "time" or math.isnan(ranking.optimism)
    return None if confounded else ranking.optimism


def cluster_in_words(spec: ExperimentSpec) -> str:
    """Return what intervals resample: `row`, `value of <column>` or `day of <column>`."""
    if spec.split.by == "time":
        return f"{spec.split.unit} of {spec.split.column}"
    return f"value of {spec.split.column}" if spec.split.by == "group" else "row"


def weights_in_words(spec: ExperimentSpec) -> Iterator[str]:
    """Yield what the scores of an experiment are weighted by, where they are."""
    if spec.sample_weight is not None:
        yield (
            f"fits, scores, intervals and thresholds weight each row by {spec.sample_weight} "
            "(sample_weight in the YAML); numbers of rows, confusions, residuals and the data "
            "analysis do not use the weights"
        )


def _against_baseline(ranking: Ranking, metric: str) -> Iterator[str]:
    if not any(significantly_better(metric, one.difference_to_baseline) for one in ranking.entries):
        best = ranking.entries[0]
        yield (
            "no configuration is significantly better than predicting without features: the best "
            f"has {metric} {numbers.interval(best.score)}, the baseline "
            f"{numbers.score(ranking.baseline)}; the paired difference is "
            f"{numbers.interval(best.difference_to_baseline)}"
        )


def _uncalibrated(ranking: Ranking, spec: ExperimentSpec) -> Iterator[str]:
    """Reweighted configurations, whose probabilities are shifted."""
    if spec.task == "regression":
        return
    found = [
        None if entry.result.calibration else reweighting(entry.result.hyperparameters)
        for entry in ranking.single
    ]
    settings = list(dict.fromkeys(one for one in found if one is not None))
    if settings:
        count = sum(one is not None for one in found)
        scored = METRICS[spec.metric].by_probability
        yield (
            f"{count:,} of {len(found):,} ranked configurations are reweighted "
            f"({listed(settings)}): their probabilities are not calibrated"
            + (f", which makes their {spec.metric} worse" if scored else "")
        )


def _seeds(ranking: Ranking, metric: str) -> Iterator[str]:
    """The best score with other seeds, and its lead over the next beside their deviation."""
    if not ranking.single or (seeds := ranking.single[0].result.seeds) is None:
        return
    best, *others = ranking.single
    note = (
        f"the best configuration with other seeds: {metric} "
        f"{numbers.spread(seeds.mean, seeds.deviation)} (mean and standard deviation of "
        f"{seeds.fits} fits)"
    )
    if best.result.averaged > 1:
        note += f"; their mean prediction, which is ranked, {numbers.score(best.score.estimate)}"
    if others:
        lead = abs(best.score.estimate - others[0].score.estimate)
        # Both scores vary by seed.
        size = "smaller" if lead < math.sqrt(2) * seeds.deviation else "larger"
        note += f": the lead of {lead:.2g} over the next is {size} than the variation by seed"
    yield note


def _selection_bias(ranking: Ranking, rows: pd.DataFrame, spec: ExperimentSpec) -> Iterator[str]:
    number, ranked = optimism(ranking, spec), len(ranking.entries)
    if ranked > 1 and spec.split.by == "time":
        yield (
            f"the best of {ranked:,} scores is optimistic; under a split by time the optimism "
            "cannot be separated from drift, so it is not estimated: rely on the validation set"
        )
    elif ranked > 1 and number:
        yield (
            f"the best of {ranked:,} scores is optimistic: expect {spec.metric} to be worse by up "
            f"to {numbers.score(number)} on new rows"
        )
    if stopped := int(rows["status"].eq(STOPPED_EARLY).sum()):
        yield (
            f"{stopped:,} more were stopped early by scores on a part of the test rows: intervals, "
            "ties and optimism account for the ranked ones alone"
        )


def _unranked(rows: pd.DataFrame) -> Iterator[str]:
    """A sentence for each cause, the most frequent ones first, and one for the rest."""
    rows = rows[rows["key"] != ENSEMBLE]
    without = rows[rows["rank"].isna()]
    for status, (ended, joined) in _ENDED.items():
        causes = without[without["status"] == status].groupby("reason")["needed"]
        counts = causes.agg(["size", "min", "max"]).sort_values("size", ascending=False)
        for reason, (count, low, high) in counts.head(_MOST_CAUSES).iterrows():
            note = f"{count:,.0f} of {len(rows):,} configurations {ended}"
            if reason:
                note += f"{joined}{reason}"
            if reason and not math.isnan(low):
                ends = dict.fromkeys(map(numbers.measured, (low, high)))
                note += f" (expected: {' to '.join(ends)} s each)"
            yield note
        if more := int(counts["size"].iloc[_MOST_CAUSES:].sum()):
            yield f"{more:,} more {ended}, for other reasons: see the table"
