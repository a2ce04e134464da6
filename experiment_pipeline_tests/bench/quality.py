"""Two searches by what they found: their winners on rows that neither has chosen on.

How a search is run belongs to the comparisons. In: predictions, or two configurations
and a cut table. Out: differences with their paired standard error, as rows of the
results.
"""

import math
from dataclasses import dataclass

from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.statistics.interval import cluster_codes, cluster_sums
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline_tests.bench.tables import Cut
from experiment_pipeline_tests.stages.search.scenario import assembled, predicted


@dataclass(frozen=True)
class Quality:
    """Two winners, each fitted on the train rows alone, on the same rows."""

    name: str  # whose winners, and on which rows
    ours: float  # our winner's score
    other: float  # the other's
    # ours - other, its sign turned where small scores are good ones: above 0, ours is
    # better
    difference: float
    standard_error: (
        float  # of that difference: paired by row, clustered by the split's cluster
    )

    def cells(self) -> list[str]:
        """Of a line of the Markdown table; it holds where ours is at most one standard
        error worse.
        """
        scores = (f"{one:.5f}" for one in (self.ours, self.other))
        holds = "yes" if self.difference >= -self.standard_error else "no"
        difference = f"**{self.difference:+.5f}**"
        return [self.name, *scores, difference, f"{self.standard_error:.5f}", holds]


def paired(
    name: str, metric: str, ours: SetPrediction, other: SetPrediction
) -> Quality:
    """Compare two predictions of the same rows; rows of a cluster are resampled
    together.
    """
    scores = [ours.score(metric), other.score(metric)]
    influence = ours.linearise(metric).influence - other.linearise(metric).influence
    sums = cluster_sums(influence, cluster_codes(ours.clusters))
    error = math.sqrt(len(sums) / (len(sums) - 1) * float(sums @ sums))
    difference = METRICS[metric].sign * (scores[0] - scores[1])
    return Quality(name, *scores, difference, error)


def compare_winners(
    name: str, ours: Configuration, other: Configuration, cut: Cut
) -> Quality:
    """Fit two winners of searches on the train rows, and compare them on the validation
    rows.
    """
    clusters = resampling_clusters(cut.validation, cut.spec, cut.sets.features)
    winners = []
    for configuration in (ours, other):
        (trained,) = train_configurations(
            [configuration], cut.sets, cut.spec, workers=1
        )
        if not isinstance(trained, TrainedModel):
            raise TypeError(trained.reason)
        model = assembled(trained, cut.sets, cut.spec)
        prediction = predicted(model, cut.sets, cut.validation)
        winners.append(SetPrediction(cut.y_validation, prediction, clusters))
    metric = cut.spec.metric
    return paired(f"{name}, validation {metric}", metric, *winners)
