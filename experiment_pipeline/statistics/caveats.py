"""Caveats: which intervals are too narrow, and why; how many clusters a limit needs.

With heavy tails, a rare class, or consecutive clusters that resemble each other, scores
vary more than a sample shows. Each rule was tested on simulated sets (`make bench`,
statistics), for hits and for false alarms.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from experiment_pipeline.statistics import interval
from experiment_pipeline.statistics.metrics import better, metric_of, worse_bound
from experiment_pipeline.statistics.scores import SetPrediction, interval_of, one_sample
from experiment_pipeline.statistics.tails import Tail

# Tail index. Squares of normal errors have about 0.1, of Student's t with 3 degrees of
# freedom 0.6 (intervals allow for that); their variance is infinite from 0.5 on.
_HEAVY = 0.8
# Index of relative errors, whose targets come near zero.
_HEAVY_RELATIVE = 0.55
# With 3 positives, a ROC AUC near 1 is common, and its spread hardly visible.
_FEW_OF_A_CLASS = 6
# Probability of autocorrelation that independent clusters rarely reach.
_PERSISTENT = 0.9
# With more degrees of freedom the memory is short compared with the set.
_FEW_DEGREES = 16
FEW_CLUSTERS = 10
# Rows of one entity share errors if an interval about new entities is so much wider,
# and chance would not make it so.
_WIDER, _SIGMAS = 1.15, 3.0
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
    clusters: np.ndarray, cluster: str, place: str, weights: interval.Weights = None
) -> str | None:
    """Return a warning when the intervals of a set rest on few clusters, if any.

    `cluster` is what one is, such as "group"; `place` is the name of the set.
    """
    n_clusters = interval.number_of_clusters(clusters)
    effective = one_sample(clusters, weights).scarcest
    if n_clusters == 1:
        return (
            f"the {place} set is one {cluster}: no interval can be computed, only the "
            "full range"
        )
    if effective < FEW_CLUSTERS:
        unequal = ""
        if effective < n_clusters:
            unequal = f" of unequal weight, which count as {effective} of equal weight"
        return (
            f"the {place} set has {n_clusters} resampling clusters "
            f"({cluster}){unequal}, "
            f"fewer than {FEW_CLUSTERS}: its intervals are wide and imprecise"
        )
    consecutive = isinstance(clusters, interval.ConsecutiveClusters)
    if consecutive and n_clusters < FEW_CONSECUTIVE_CLUSTERS:
        simulated = [row for row in _AUTOCORRELATED if row[0] <= n_clusters]
        _, covered_at_half, covered_at_most = simulated[-1]
        return (
            f"the {place} set has {n_clusters} consecutive clusters ({cluster}), fewer "
            f"than {FEW_CONSECUTIVE_CLUSTERS}: too few to show how much they resemble "
            f"their neighbours. In simulations with so few, {covered_at_half} % of the "
            f"intervals of {_PERCENT} % hold the truth where the autocorrelation is "
            f"0.5, and {covered_at_most} % where it is 0.9"
        )
    return None


def caveats(
    metrics: Sequence[str],
    predicted: SetPrediction,
    cluster: str,
    place: str,
    threshold: float = 0.5,
) -> Iterator[str]:
    """Yield why intervals on a set (`place`) may be too narrow.

    `cluster` is what one is, such as "group".
    """
    n_clusters = interval.number_of_clusters(predicted.clusters)
    tails = _heavy_tails(metrics, predicted)
    yield from _tail_caveats(
        metrics, tails, f"of {n_clusters:,} clusters ({cluster})", place
    )
    spreads = {name: predicted.spread(name, threshold) for name in metrics}
    rare = {}
    for name, spread in spreads.items():
        if metric_of(name).by_pairs and 0 < spread.scarcest < _FEW_OF_A_CLASS:
            rare[name] = spread.scarcest
    if rare:
        yield (
            f"{_intervals(rare, place)}: the rarest class is in {min(rare.values())} "
            f"clusters ({cluster}). {_coverage('82 to 94')}"
        )
    yield from _entity_caveats(metrics, predicted, place)
    # It is the clusters that resemble each other: if one metric shows it, the others
    # may hide it.
    persistent = max(
        spreads.values(), key=lambda spread: spread.persistence, default=None
    )
    if persistent is None or persistent.persistence <= _PERSISTENT:
        return
    if persistent.degrees_of_freedom < _FEW_DEGREES:
        yield (
            f"{_intervals(spreads, place)}, although they allow for autocorrelation: "
            f"{n_clusters} consecutive clusters ({cluster}) resemble their neighbours "
            f"(probability {100 * persistent.persistence:.0f} %). "
            f"{_coverage('84 to 93')}"
        )


def _heavy_tails(metrics: Sequence[str], predicted: SetPrediction) -> dict[str, Tail]:
    """The heavy tails of the metrics' errors; also of mae, which may be the remedy."""
    few_clusters = min(
        FEW_CLUSTERS, interval.number_of_clusters(predicted.clusters) / 10
    )
    with_errors = [name for name in metrics if metric_of(name).errors is not None]
    if not with_errors:
        return {}
    tails = {
        name: predicted.spread(name).tail
        for name in dict.fromkeys([*with_errors, "mae"])
    }
    limits = {"mape": _HEAVY_RELATIVE}
    return {
        name: tail
        for name, tail in tails.items()
        if tail is not None
        and (
            tail.index >= limits.get(name, _HEAVY)
            or (tail.above_mean < few_clusters and tail.share > 1 / 2)
        )
    }


def _tail_caveats(
    metrics: Sequence[str], tails: Mapping[str, Tail], of_clusters: str, place: str
) -> Iterator[str]:
    advice = "" if "mae" in tails else "; mae is the metric to trust"
    by_errors = {name: tail for name, tail in tails.items() if name in metrics}
    by_targets = {}
    if "mae" not in tails and "mape" in by_errors:
        # Absolute errors have no heavy tail, so it is small targets that make relative
        # errors heavy-tailed.
        by_targets["mape"] = by_errors.pop("mape")
    near_zero = "relative errors of targets near zero have no finite mean"
    # No interval holds an infinite mean.
    held = f"{_coverage('40 to 100')} (none where such errors have no finite mean)"
    for of_metrics, reason, simulated in (
        (by_errors, "new rows may have larger ones", held),
        (by_targets, near_zero, _coverage("40 to 60")),
    ):
        if not of_metrics:
            continue
        tail = max(of_metrics.values(), key=lambda tail: tail.share)
        yield (
            f"{_intervals(of_metrics, place)}: a few errors decide, those of "
            f"{tail.above_mean:,} {of_clusters} make {100 * tail.share:.0f} % of all "
            f"(tail index {tail.index:.2f}), and {reason}. "
            f"{simulated}{advice}"
        )


def _entity_caveats(
    metrics: Sequence[str], predicted: SetPrediction, place: str
) -> Iterator[str]:
    if predicted.clusters.ndim < 2:
        return
    entities = len(np.unique(predicted.clusters[:, 1]))
    if entities < interval.FEWEST_ENTITIES:
        yield (
            f"the {place} set has rows of {entities} ids at several times, fewer than "
            f"{interval.FEWEST_ENTITIES}: its intervals are about these at other "
            "times, "
            "not about new ones"
        )
        return
    resampled = [name for name in metrics if metric_of(name).is_own]
    if resampled:
        yield (
            f"{_intervals(resampled, place)}, about these ids at other times, not "
            "about "
            "new ones"
        )


def undeclared_entities_note(
    metric: str,
    predicted: SetPrediction,
    columns: Mapping[str, np.ndarray],
    threshold: float = 0.5,
) -> str | None:
    """Return a warning when rows of one entity share their errors over time, and no
    group is declared: of the column (its codes, (n,)) whose values share most.
    """
    score = predicted.linearise(metric, threshold)
    layout = predicted.layout(metric)
    widest = _WIDER
    column = None
    for name, codes in columns.items():
        entity = interval.cluster_codes(codes)
        counts = np.bincount(entity)
        pairs = interval.cluster_codes(layout.cluster * len(counts) + entity)
        within_a_cluster = pairs.max(initial=-1) == layout.cluster.max(initial=-1)
        if len(counts) < interval.FEWEST_ENTITIES or within_a_cluster:
            continue
        shared, alone = interval.shared_by_entities(
            score.influence, entity, layout.cluster
        )
        # A sum of n squares varies by chance by the factor √(2/n).
        by_chance = _SIGMAS * np.sqrt(2 / interval.effective_number(counts)) * alone
        wider = (1 + shared / alone) ** 0.5 if shared > by_chance else 0.0
        if wider > widest:
            widest = wider
            column = name
    if column is None:
        return None
    return (
        f"rows with one value of {column} share their errors at several times, and "
        "split.group does not name it: the intervals are about the known values "
        f"of {column}. About new ones the interval of {metric} is about {widest:.1f} "
        f"times as wide; split: {{group: {column}}} makes it so"
    )


def _intervals(names: Collection[str], place: str) -> str:
    plural = "s" if len(names) > 1 else ""
    listed = ", ".join(names)
    return f"the interval{plural} of {listed} on the {place} set may be too narrow"


def _coverage(percent: str) -> str:
    return (
        f"In simulations, {percent} % of such intervals hold the truth, not "
        f"{_PERCENT} %"
    )


def fewest_clusters(metric: str, limit: float) -> int | None:
    """Return the fewest clusters with which a perfect score passes a limit.

    Its worse bound must reach the limit; None: it never does.
    """

    def reaches(clusters: int) -> bool:
        return not better(metric, limit, perfect_bound(metric, clusters))

    for power in range(_MOST):
        if reaches(2**power):
            return 1 + bisect_left(range(1, 2**power), True, key=reaches)
    return None


def perfect_bound(metric: str, clusters: int) -> float:
    """Return the worse bound of a perfect score on so many clusters."""
    limits = metric_of(metric)
    perfect = limits.highest if limits.greater_is_better else limits.lowest
    certain = interval.Spread(perfect, 0.0, max(clusters - 1, 1), clusters)
    return worse_bound(metric, interval_of(metric, certain))
