"""Caveats: which intervals are too narrow, and why; how many clusters a limit needs.

Heavy tails, a rare class and consecutive clusters that resemble each other hold more variation than a
sample shows. Each rule was tested on simulated sets (`make bench`, statistics), for hits and for false
alarms.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiment_pipeline.statistics.interval import (
    ConsecutiveClusters,
    Spread,
    Weights,
    cluster_codes,
    weighted,
)
from experiment_pipeline.statistics.metrics import METRICS, better, worse_bound
from experiment_pipeline.statistics.scores import SetPrediction, interval_of, one_sample

# The largest 1 % of normal errors make 8 % of the squares, of lognormal ones 25 to 45 %.
_LARGEST, _HEAVY = 0.01, 0.28
_FEW_OF_A_CLASS = 6  # with 3 positives a ROC AUC near 1 is common, its spread hardly visible
_BEYOND_CHANCE = 2.2  # standard errors; an autocorrelation of zero is rarely estimated beyond
_FEW_DEGREES = 8  # with more degrees of freedom the memory is short compared with the set
FEW_CLUSTERS = 10
# In simulations an autocorrelation of .5 is found in 1 of 4 series of 30, in 3 of 4 of 120.
FEW_CONSECUTIVE_CLUSTERS = 30
_MOST = 40  # a power of two above any number of clusters


def few_clusters_note(
    clusters: np.ndarray, what: str, place: str, weights: Weights = None
) -> str | None:
    """Return a warning when the intervals of a set (`place`) rest on few clusters; else None.

    `what` is one cluster in words, such as "group".
    """
    n_clusters = int(cluster_codes(clusters).max()) + 1
    effective = one_sample(clusters, weights).scarcest
    if n_clusters == 1:
        return f"the {place} set is one {what}: no interval can be computed, only the full range"
    counted = f"the {place} set has {n_clusters} resampling clusters ({what})"
    if effective < FEW_CLUSTERS:
        if effective < n_clusters:
            counted += f" of unequal weight, which count as {effective} of equal weight"
        return f"{counted}, fewer than {FEW_CLUSTERS}: its intervals are wide and imprecise"
    if isinstance(clusters, ConsecutiveClusters) and n_clusters < FEW_CONSECUTIVE_CLUSTERS:
        return (
            f"the {place} set has {n_clusters} consecutive clusters ({what}): too few to detect "
            "autocorrelation, which would make its intervals too narrow"
        )
    return None


def caveats(
    metrics: Sequence[str],
    predicted: SetPrediction,
    cluster: str,
    place: str,
    threshold: float = 0.5,
) -> Iterator[str]:
    """Yield why the intervals of metrics are too narrow, one sentence for each reason.

    `cluster` is one resampling cluster in words, such as "group", `place` the set.
    """
    yield from _heavy_tails(metrics, predicted, cluster, place)
    spreads = {name: predicted.spread(name, threshold) for name in metrics}
    rare = {
        name: spread.scarcest
        for name, spread in spreads.items()
        if METRICS[name].by_pairs and 0 < spread.scarcest < _FEW_OF_A_CLASS
    }
    if rare:
        yield (
            f"{_intervals(rare, place)}: the rarest class is in {min(rare.values())} clusters "
            f"({cluster}). {_coverage('82 to 94')}"
        )
    n_clusters = int(cluster_codes(predicted.clusters).max()) + 1
    correlated = {
        name: spread.autocorrelation
        for name, spread in spreads.items()
        if spread.autocorrelation > _BEYOND_CHANCE / math.sqrt(n_clusters)
        and spread.degrees_of_freedom < _FEW_DEGREES
    }
    if correlated:
        yield (
            f"{_intervals(correlated, place)}, although they allow for autocorrelation: "
            f"{n_clusters} consecutive clusters ({cluster}) resemble their neighbours "
            f"(autocorrelation {max(correlated.values()):.2f}). {_coverage('80 to 93')}"
        )


def _heavy_tails(
    metrics: Sequence[str], predicted: SetPrediction, cluster: str, place: str
) -> Iterator[str]:
    codes = cluster_codes(predicted.clusters)
    n_clusters = int(codes.max()) + 1
    largest = max(1, round(_LARGEST * n_clusters))

    def share(metric: str) -> float:
        """The share of the errors in the clusters with the largest ones."""
        if (errors := METRICS[metric].errors) is None:
            return 0.0
        of_rows = weighted(errors(predicted.y, predicted.prediction), predicted.weights)
        by_cluster = np.sort(np.bincount(codes, weights=of_rows))
        return float(by_cluster[-largest:].sum() / max(by_cluster.sum(), np.finfo(np.float64).tiny))

    lowest = float(predicted.y.min()) if len(predicted.y) else math.inf
    judged = [name for name in metrics if lowest >= METRICS[name].lowest_target]
    heavy = {name: found for name in judged if (found := share(name)) >= _HEAVY}
    # With few clusters one always dominates; `few_clusters_note` warns of them.
    if n_clusters < FEW_CLUSTERS or not heavy:
        return
    trusted = "; mae is the metric to trust" if share("mae") < _HEAVY else ""
    # If absolute errors are not heavy-tailed, small targets make the relative ones so.
    relative = {name: found for name, found in heavy.items() if name == "mape" and trusted}
    rest = {name: found for name, found in heavy.items() if name not in relative}
    for names, why, covered in (
        (rest, "new rows may have larger ones", "88 to 93"),
        (relative, "relative errors of targets near zero have no finite mean", "40 to 60"),
    ):
        if names:
            yield (
                f"{_intervals(names, place)}: the largest errors, those of {largest:,} of "
                f"{n_clusters:,} clusters ({cluster}), make {100 * max(names.values()):.0f} % of "
                f"all, and {why}. {_coverage(covered)}{trusted}"
            )


def _intervals(names: Mapping[str, float], place: str) -> str:
    plural = "s" if len(names) > 1 else ""
    return f"the interval{plural} of {', '.join(names)} on the {place} set may be too narrow"


def _coverage(percent: str) -> str:
    return f"In simulations, {percent} % of such intervals hold the truth, not 95 %"


def fewest_clusters(metric: str, limit: float) -> int | None:
    """Return how many clusters a perfect score needs for its worse bound to reach a limit.

    Losses without an upper end reach any limit with one cluster; None: no number does.
    """

    def reaches(n: int) -> bool:
        return not better(metric, limit, perfect_bound(metric, n))

    most = next((2**power for power in range(_MOST) if reaches(2**power)), None)
    if most is None:
        return None
    return 1 + bisect_left(range(1, most), True, key=reaches)


def perfect_bound(metric: str, clusters: int) -> float:
    """Return the worse bound of a perfect score on so many clusters."""
    limits = METRICS[metric]
    perfect = limits.highest if limits.greater_is_better else limits.lowest
    certain = Spread(perfect, 0.0, max(clusters - 1, 1), clusters)
    return worse_bound(metric, interval_of(metric, certain))
