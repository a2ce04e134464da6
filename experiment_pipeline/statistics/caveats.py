"""Caveats: which intervals are too narrow, and why; how many clusters a limit needs.

With heavy tails, a rare class, or consecutive clusters that resemble each other, scores
vary more than a sample shows. Each rule was tested on simulated sets (`make bench`,
statistics), for hits and for false alarms.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from experiment_pipeline.statistics import interval
from experiment_pipeline.statistics.metrics import better, metric_of, worse_bound
from experiment_pipeline.statistics.scores import SetPrediction, interval_of, one_sample
from experiment_pipeline.statistics.tails import Tail

# Tail index, estimated with an error of about 0.1 to 0.2. Squares of normal errors have
# 0.05, of claims without a heavy tail 0.5, of Student's t with 3 degrees of freedom 0.6
# (intervals allow for that).
_HEAVY = 0.7
_DOMINATES = 0.4  # share of one error in the sum: the true index is 1 or more, its estimate too low
_HEAVY_RELATIVE = 0.55  # of relative errors: where targets come near zero
_FEW_OF_A_CLASS = (
    6  # with 3 positives, a ROC AUC near 1 is common, and its spread hardly visible
)
_PERSISTENT = (
    0.9  # probability of autocorrelation that independent clusters rarely reach
)
_FEW_DEGREES = (
    16  # with more degrees of freedom the memory is short compared with the set
)
FEW_CLUSTERS = 10
# (consecutive clusters, percent of simulated intervals that hold the truth from there
# on for an autocorrelation of .5, and of .9). So few clusters do not show which it is.
_AUTOCORRELATED = (
    (10, 91, 78),
    (20, 92, 79),
    (30, 95, 81),
    (60, 95, 85),
    (100, 94, 89),
)
FEW_CONSECUTIVE_CLUSTERS = 150
_PERCENT = f"{100 * interval.LEVEL:g}"
_MOST = 40  # a power of two above any number of clusters


def few_clusters_note(
    clusters: np.ndarray, what: str, place: str, weights: interval.Weights = None
) -> str | None:
    """Return a warning when the intervals of a set rest on few clusters (`what`, in
    words), if any.
    """
    n_clusters = int(interval.cluster_codes(clusters).max()) + 1
    effective = one_sample(clusters, weights).scarcest
    if n_clusters == 1:
        return f"the {place} set is one {what}: no interval can be computed, only the full range"
    counted = f"the {place} set has {n_clusters} resampling clusters ({what})"
    if effective < FEW_CLUSTERS:
        if effective < n_clusters:
            counted += f" of unequal weight, which count as {effective} of equal weight"
        return f"{counted}, fewer than {FEW_CLUSTERS}: its intervals are wide and imprecise"
    if (
        isinstance(clusters, interval.ConsecutiveClusters)
        and n_clusters < FEW_CONSECUTIVE_CLUSTERS
    ):
        _, half, strong = max(one for one in _AUTOCORRELATED if one[0] <= n_clusters)
        return (
            f"the {place} set has {n_clusters} consecutive clusters ({what}), fewer than "
            f"{FEW_CONSECUTIVE_CLUSTERS}: too few to show how much they resemble their neighbours. In "
            f"simulations with so few, {half} % of the intervals of {_PERCENT} % hold the truth where the "
            f"autocorrelation is 0.5, and {strong} % where it is 0.9"
        )
    return None


def caveats(
    metrics: Sequence[str],
    predicted: SetPrediction,
    cluster: str,
    place: str,
    threshold: float = 0.5,
) -> Iterator[str]:
    """Yield why intervals on a set (`place`) may be too narrow; `cluster`: what one is,
    such as "group".
    """
    yield from _heavy_tails(metrics, predicted, cluster, place)
    spreads = {name: predicted.spread(name, threshold) for name in metrics}
    rare = {
        name: spread.scarcest
        for name, spread in spreads.items()
        if metric_of(name).by_pairs and 0 < spread.scarcest < _FEW_OF_A_CLASS
    }
    if rare:
        yield (
            f"{_intervals(rare, place)}: the rarest class is in {min(rare.values())} clusters "
            f"({cluster}). {_coverage('82 to 94')}"
        )
    yield from _known_entities(metrics, predicted, place)
    n_clusters = int(interval.cluster_codes(predicted.clusters).max()) + 1
    most = max(spreads.values(), key=lambda one: one.persistence, default=None)
    if (
        most
        and most.persistence > _PERSISTENT
        and most.degrees_of_freedom < _FEW_DEGREES
    ):
        # It is the clusters that resemble each other: if one metric shows it, the
        # others may hide it.
        yield (
            f"{_intervals(spreads, place)}, although they allow for autocorrelation: "
            f"{n_clusters} consecutive clusters ({cluster}) resemble their neighbours "
            f"(probability {100 * most.persistence:.0f} %). {_coverage('84 to 93')}"
        )


def _heavy_tails(
    metrics: Sequence[str], predicted: SetPrediction, cluster: str, place: str
) -> Iterator[str]:
    n_clusters = int(interval.cluster_codes(predicted.clusters).max()) + 1
    of_errors = [name for name in metrics if metric_of(name).errors is not None]
    every = (*of_errors, "mae") if of_errors else ()
    tails = {name: tail for name in every if (tail := predicted.tail(name)) is not None}

    def is_doubted(name: str, tail: Tail) -> bool:
        some = tail.above_mean < FEW_CLUSTERS or tail.largest > _DOMINATES
        few = some and tail.above_mean < n_clusters / 10 and tail.share > 1 / 2
        return few or tail.index >= (_HEAVY_RELATIVE if name == "mape" else _HEAVY)

    doubted = {name: tail for name, tail in tails.items() if is_doubted(name, tail)}
    trusted = "" if "mae" in doubted else "; mae is the metric to trust"
    # If absolute errors are not heavy-tailed, it is small targets that make relative
    # errors so.
    relative = {
        name: tail for name, tail in doubted.items() if name == "mape" and trusted
    }
    rest = {
        n: tail for n, tail in doubted.items() if n in metrics and n not in relative
    }
    for names, why, covered in (
        (rest, "new rows may have larger ones", "50 to 94"),
        (
            relative,
            "relative errors of targets near zero have no finite mean",
            "40 to 60",
        ),
    ):
        if names:
            tail = max(names.values(), key=lambda one: one.share)
            yield (
                f"{_intervals(names, place)}: a few errors decide, those of {tail.above_mean:,} of "
                f"{n_clusters:,} clusters ({cluster}) make {100 * tail.share:.0f} % of all (tail index "
                f"{tail.index:.2f}), and {why}. {_coverage(covered)}{trusted}"
            )


def _known_entities(
    metrics: Sequence[str], predicted: SetPrediction, place: str
) -> Iterator[str]:
    known = (
        len(np.unique(predicted.clusters[:, 1]))
        if predicted.clusters.ndim == 2
        else None
    )
    if known is not None and known < interval.FEWEST_ENTITIES:
        yield (
            f"the {place} set has rows of {known} ids at several times, fewer than "
            f"{interval.FEWEST_ENTITIES}: its intervals are about these at other times, not about new ones"
        )
    elif known is not None and (
        own := {name: 0 for name in metrics if metric_of(name).is_own}
    ):
        yield f"{_intervals(own, place)}, about these ids at other times, not about new ones"


def _intervals(names: Mapping[str, object], place: str) -> str:
    plural = "s" if len(names) > 1 else ""
    return f"the interval{plural} of {', '.join(names)} on the {place} set may be too narrow"


def _coverage(percent: str) -> str:
    return f"In simulations, {percent} % of such intervals hold the truth, not {_PERCENT} %"


def fewest_clusters(metric: str, limit: float) -> int | None:
    """Return the fewest clusters with which the worse bound of a perfect score reaches
    a limit; None: never.
    """

    def reaches(n: int) -> bool:
        return not better(metric, limit, perfect_bound(metric, n))

    most = next((2**power for power in range(_MOST) if reaches(2**power)), None)
    if most is None:
        return None
    return 1 + bisect_left(range(1, most), True, key=reaches)


def perfect_bound(metric: str, clusters: int) -> float:
    """Return the worse bound of a perfect score on so many clusters."""
    limits = metric_of(metric)
    perfect = limits.highest if limits.greater_is_better else limits.lowest
    certain = interval.Spread(perfect, 0.0, max(clusters - 1, 1), clusters)
    return worse_bound(metric, interval_of(metric, certain))
