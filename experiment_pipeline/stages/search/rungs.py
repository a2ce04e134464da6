"""The rungs of successive halving: their number and rows, and which configurations go on.

Synchronous: a rung is decided when all its fits are done, so neither the number of workers nor
their speed changes the answer. Sources: Jamieson and Talwalkar 2016 (successive halving), Li
et al. 2018 (Hyperband); scikit-learn's HalvingRandomSearchCV does the same with cross-validation.

The rows of rungs are nested parts, cut the way the sets are cut. Random and named sets: whole clusters
in the order of a salted hash, the same share of each class. By group: whole groups in the order of
their hash. By time: rows spread evenly over the whole period.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Halving, algorithms
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.table.clusters import cluster_hashes, times_of
from experiment_pipeline.table.digests import rows_digest, sha256

# With fewer, a rung saves little time.
FEWEST_CONFIGURATIONS = 8
FEWEST_ROWS_PER_CLASS = 20
# At least so many go on: a tie group needs candidates.
FEWEST_KEPT = 5
# Small rungs are scored on at least so many test rows: with few, luck decides (of 60 configurations of
# the bundled flights, 2,000 rows lost the 9 best ones, 4,000 the very best).
SCORED_ROWS = 4_000


@dataclass(frozen=True, eq=False)
class Rung:
    """One round of the search.

    Attributes:
        number: from 1 on.
        of: how many rungs there are.
        fraction: of the train rows.
        kept: how many configurations go on from here; 0 at the last rung.
        sets: thinned train and test rows with digests of their own; the last rung's are full.
    """

    number: int
    of: int
    fraction: float
    kept: int
    sets: TrainingSets

    @property
    def is_full(self) -> bool:
        """Whether this is the rung whose scores are ranked."""
        return self.number == self.of

    def __str__(self) -> str:
        return f"rung {self.number} of {self.of} ({numbers.share(self.fraction)} of the train rows)"


@dataclass(frozen=True)
class Ladder:
    """The rungs of a search, the full one last, and why there are not more of them."""

    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()


def full_only(sets: TrainingSets, *notes: str) -> Ladder:
    """Return a search without halving: one rung, all rows."""
    return Ladder((Rung(1, 1, 1.0, 0, sets),), notes)


def ladder(n_competing: int, sets: TrainingSets, spec: ExperimentSpec) -> Ladder:
    """Return the rungs of a search, as many as its configurations and rows allow."""
    if not spec.halving:
        return full_only(sets)
    if sets.folds:
        return full_only(sets, "no halving: cross-validation fits every configuration on all folds")
    if n_competing < FEWEST_CONFIGURATIONS:
        there_are = f"{'is' if n_competing == 1 else 'are'} {n_competing}"
        needs = f"{FEWEST_CONFIGURATIONS} configurations that compete"
        return full_only(sets, f"no halving: it needs {needs}, and there {there_are}")
    kept = _kept(n_competing, spec.halving)
    if not kept:
        return full_only(
            sets,
            f"no halving: keeping {numbers.share(spec.halving.keep)} of {n_competing} configurations stops nobody",
        )
    # Fewer configurations than rungs could thin out: the smallest rungs go first.
    fractions = spec.halving.fractions[:-1][-len(kept) :]
    order = thinning_order(sets, spec)
    fewest = spec.halving.fewest_rows
    problems = {fraction: _too_small(sets, order < fraction, fewest) for fraction in fractions}
    notes = [
        f"no rung of {numbers.share(fraction)} of the train rows: {problem}"
        for fraction, problem in problems.items()
        if problem
    ]
    small = fractions[len(notes) :]
    of = len(small) + 1
    rungs = [
        Rung(number, of, fraction, left, _thinned(sets, order < fraction, fraction))
        for number, (fraction, left) in enumerate(zip(small, kept, strict=False), start=1)
    ]
    return Ladder((*rungs, Rung(of, of, 1.0, 0, sets)), tuple(notes))


def survivors(rung: Rung, scored: Mapping[str, ModelResult], metric: str) -> tuple[str, ...]:
    """Return the keys that go on from a rung, the best first."""
    return tuple(best_first(scored, metric)[: rung.kept])


def _kept(n_competing: int, halving: Halving) -> list[int]:
    """Return how many go on from each rung, as long as one is stopped."""
    counts = [n_competing]
    for _ in halving.fractions[:-1]:
        counts.append(max(math.ceil(counts[-1] * halving.keep), FEWEST_KEPT))
    return [after for before, after in pairwise(counts) if after < before]


def _too_small(sets: TrainingSets, rows: np.ndarray, fewest_rows: int) -> str:
    """Return what a rung lacks; empty: nothing."""
    if (count := int(rows.sum())) < fewest_rows:
        return f"it would have {count} rows, it needs {fewest_rows}"
    if sets.classes is None:
        return ""
    fewest = int(np.bincount(sets.y_train[rows], minlength=len(sets.classes)).min())
    if fewest < FEWEST_ROWS_PER_CLASS:
        return f"its rarest class would have {fewest} rows, it needs {FEWEST_ROWS_PER_CLASS}"
    return ""


def _thinned(sets: TrainingSets, rows: np.ndarray, fraction: float) -> TrainingSets:
    """Return the sets of a small rung."""
    scored = evenly_thinned(sets.y_test, fraction, SCORED_ROWS, by_class=sets.classes is not None)
    part = sets.part(rows, scored, {})
    return replace(part, digests={"train": rows_digest(part.train), "test": rows_digest(part.test)})


def competes(one: Configuration | ModelResult) -> bool:
    """Whether a configuration takes part in halving; the baseline does not."""
    return algorithms.competes(one.algorithm)


def drawn(configurations: Sequence[Configuration], seed: int) -> list[Configuration]:
    """Shuffle by the seed and by what a configuration is, so a larger pool keeps the order.

    Keys do not decide: they grow when another hyperparameter is searched.
    """

    def digest(one: Configuration) -> str:
        identity = [seed, one.algorithm, one.features, sorted(one.hyperparameters.items())]
        return sha256(json.dumps(identity).encode())

    return sorted(configurations, key=digest)


def within_budget(
    configurations: Sequence[Configuration], spec: ExperimentSpec
) -> list[Configuration]:
    """Draw as many as the budget allows, and the baseline; a larger budget only adds.

    They come in the order in which they start where there may be no time for all.
    """
    competing = [one for one in configurations if competes(one)]
    beside = [one for one in configurations if not competes(one)]
    if (most := spec.budget.configurations) is not None:
        chosen = {one.key for one in drawn(competing, spec.seed)[:most]}
        competing = [one for one in competing if one.key in chosen]
    return beside + _side_by_side(competing)


def _side_by_side(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Interleave the algorithms, each in its declared order and with the same share at any point."""
    counts, places = Counter(one.algorithm for one in configurations), Counter[str]()
    shares = {}
    for one in configurations:
        shares[one.key] = (places[one.algorithm] + 0.5) / counts[one.algorithm]
        places[one.algorithm] += 1
    return sorted(configurations, key=lambda one: shares[one.key])


def best_first(scored: Mapping[str, ModelResult], metric: str) -> list[str]:
    """Return keys by their test score; equal scores by key, undefined ones last."""
    sign = METRICS[metric].sign

    def place(key: str) -> tuple[float, str]:
        score = scored[key].test_score
        return (-sign * score if math.isfinite(score) else math.inf), key

    return sorted(scored, key=place)


def promising_first(
    configurations: Sequence[Configuration], scored: Mapping[str, ModelResult], metric: str
) -> list[Configuration]:
    """Order what there may be no time for: the baseline, the best so far, the rest as given."""
    place = {key: number for number, key in enumerate(best_first(scored, metric))}
    return sorted(configurations, key=lambda one: (competes(one), place.get(one.key, len(place))))


def thinning_order(sets: TrainingSets, spec: ExperimentSpec) -> np.ndarray:
    """Return a place in [0, 1) for each train row: float64 (n_train,).

    The rows of a fraction are those below it, so fractions are nested. Every class of the
    early-stopping set, and every class of the rest, is in the smallest fraction already.

    Args:
        sets: the full sets.
        spec: its split decides what stays together and what is spread evenly.
    """
    y = np.zeros(len(sets.train), dtype=np.int64) if sets.classes is None else sets.y_train
    if spec.split.by == "group":
        clusters = cluster_hashes(sets.train, spec.split, spec.target, sets.features, _salt(spec))
        return _whole_clusters(clusters, y, strata=sets.early_stopping.astype(np.int64))
    strata = 2 * y + sets.early_stopping
    if spec.split.by == "time":
        times, _ = times_of(sets.train, spec.split.column, pd.Timedelta(0))
        return _spread(times, strata)
    return _whole_clusters(
        cluster_hashes(sets.train, spec.split, spec.target, sets.features, _salt(spec)), y, strata
    )


def evenly_thinned(y: np.ndarray, share: float, at_least: int, *, by_class: bool) -> np.ndarray:
    """Choose rows at even distances, the same share of each class: bool (n,).

    Args:
        y: (n,) encoded targets.
        share: of the rows to keep.
        at_least: rows are kept, where there are as many.
        by_class: whether `y` holds classes; each keeps one row at least.
    """
    share = min(1.0, max(share, at_least / max(len(y), 1)))
    strata = y if by_class else np.zeros(len(y), dtype=np.int64)
    kept = np.zeros(len(y), dtype=bool)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        count = max(1, round(share * len(rows)))
        kept[rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]] = True
    return kept


def _salt(spec: ExperimentSpec) -> str:
    """Not that of the sets and of the early-stopping set, which are other draws."""
    return f"rungs/{getattr(spec.split, 'seed', 0)}"


def _whole_clusters(clusters: np.ndarray, y: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Order clusters by their hash until the rows of a fraction are reached.

    A cluster of several strata counts for the lowest. In each stratum, the first cluster of each
    class comes before all others.
    """
    codes, stratum = _clusters_of(clusters, strata)
    firsts = _first_of_each_class(codes, y, stratum)
    counts = np.bincount(codes)
    places = np.empty(len(counts))
    for number in np.unique(stratum):
        members = np.flatnonzero(stratum == number)
        members = members[np.lexsort((members, ~firsts[members]))]
        upto = np.cumsum(counts[members])
        # A cluster takes part where its middle row does: shares come out right on average.
        middle = (upto - counts[members] / 2) / upto[-1]
        places[members] = np.where(firsts[members], 0.0, middle)
    by_row: np.ndarray = places[codes]
    return by_row


def _clusters_of(clusters: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number clusters in the order of their hash: (n,) codes, and the stratum of each cluster."""
    _, codes = np.unique(clusters, return_inverse=True)
    stratum = np.full(codes.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(stratum, codes, strata)
    return codes, stratum


def _first_of_each_class(codes: np.ndarray, y: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Return which clusters are the first of their stratum with a class: bool per cluster."""
    held = pd.DataFrame({"stratum": stratum[codes], "y": y, "cluster": codes})
    firsts = np.zeros(len(stratum), dtype=bool)
    firsts[held.groupby(["stratum", "y"])["cluster"].min().to_numpy()] = True
    return firsts


def _spread(times: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Spread each fraction evenly over time: every sixteenth row, every fourth, every row.

    The radical inverse in base 2 of the rows' ranks (van der Corput 1935): any first part of
    the sequence lies evenly.
    """
    order = np.lexsort((times, strata))
    _, starts, counts = np.unique(strata[order], return_index=True, return_counts=True)
    ranks = np.arange(len(times)) - np.repeat(starts, counts)
    places = np.empty(len(times))
    places[order] = _radical_inverse(ranks)
    return places


def _radical_inverse(ranks: np.ndarray) -> np.ndarray:
    """Mirror the binary digits at the point: 1, 2, 3 → 0.5, 0.25, 0.75."""
    inverse, weight, left = np.zeros(len(ranks)), 0.5, ranks.astype(np.int64)
    while left.any():
        inverse += weight * (left & 1)
        left, weight = left >> 1, weight / 2
    return inverse
