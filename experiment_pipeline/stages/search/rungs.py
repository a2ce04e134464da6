"""The rungs of successive halving: their number and rows, and which configurations go
on.

Synchronous: a rung is decided when all its fits are done, so the number of workers does
not change the answer. Sources: Jamieson and Talwalkar 2016 (successive halving), Li et
al. 2018 (Hyperband). The rows of rungs are nested parts, cut the way the sets are cut.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, algorithms
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.table.clusters import cluster_hashes, times_of
from experiment_pipeline.table.digests import rows_digest, sha256

# With fewer, a rung saves little time.
FEWEST_CONFIGURATIONS = 8
FEWEST_ROWS_PER_CLASS = 20
# At least so many go on: a tie group needs candidates.
FEWEST_KEPT = 5
# Configurations of an algorithm beyond so many start after those of all other
# algorithms.
SIDE_BY_SIDE = 200
# Under a budget of seconds, so many configurations should be compared, if need be on
# fewer rows; never on fewer than FEWEST_ROWS_IN_TIME. Fits take up to twice the first
# estimate: hence ENOUGH_ROOM.
ENOUGH_COMPARED, ENOUGH_ROOM, FEWEST_ROWS_IN_TIME = 20, 30, 300
# Small rungs are scored on at least so many test rows: with few, luck decides (of 60
# configurations of the bundled flights, 2,000 rows lost the 9 best ones, 4,000 only the
# very best).
SCORED_ROWS = 4_000


@dataclass(frozen=True, eq=False)
class Rung:
    """One round of the search."""

    number: int  # from 1 on
    of: int  # how many rungs there are
    fraction: float  # of the train rows
    kept: int  # how many configurations go on from here; 0 at the last rung
    # thinned train and test rows with digests of their own; the last rung's are full
    sets: TrainingSets

    @property
    def is_full(self) -> bool:
        """Whether this is the rung whose scores are ranked."""
        return self.number == self.of

    def __str__(self) -> str:
        what = "folds" if self.sets.folds else "train rows"
        return f"rung {self.number} of {self.of} ({numbers.share(self.fraction)} of the {what})"


# Sets → how many configurations a budget has time for, if all of it goes to fits on
# these sets.
Room = Callable[[TrainingSets], float]
Parts = dict[
    float, TrainingSets
]  # share of the train rows, or of the folds → these sets


@dataclass(frozen=True)
class Ladder:
    """The rungs of a search, the full one last, and why there are not more of them."""

    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()


def full_only(sets: TrainingSets, *notes: str) -> Ladder:
    """Return a search without halving: one rung, all rows."""
    return Ladder((Rung(1, 1, 1.0, 0, sets),), notes)


def ladder(
    n_competing: int,
    sets: TrainingSets,
    spec: ExperimentSpec,
    room: Room = lambda _: math.inf,
) -> Ladder:
    """Return the rungs of a search, as many as its configurations and rows, and the
    budget's time, allow.
    """
    if not (halving := spec.halving):
        return full_only(sets)
    if n_competing < FEWEST_CONFIGURATIONS and not sets.folds:
        there_are = f"{'is' if n_competing == 1 else 'are'} {n_competing}"
        needs = f"{FEWEST_CONFIGURATIONS} configurations that compete"
        return full_only(sets, f"no halving: it needs {needs}, and there {there_are}")
    # How many go on from each rung, as long as a rung stops at least one.
    counts = [n_competing]
    for _ in halving.fractions:
        counts.append(max(math.ceil(counts[-1] * halving.keep), FEWEST_KEPT))
    kept = [after for before, after in pairwise(counts) if after < before]
    if sets.folds:
        return _of_folds(n_competing, kept, sets, room)
    if not kept:
        keeping = (
            f"keeping {numbers.share(halving.keep)} of {n_competing} configurations"
        )
        return full_only(sets, f"no halving: {keeping} stops none")
    # With too few configurations for all rungs, the smallest rungs are left out.
    fractions = halving.fractions[:-1][-len(kept) :]
    order = thinning_order(sets, spec)
    problems = {
        one: _too_small(sets, order < one, halving.fewest_rows) for one in fractions
    }
    parts = {one: _thinned(sets, order, one) for one in fractions if not problems[one]}
    first, part = next(iter(parts.items()), (1.0, sets))
    enough = min(ENOUGH_ROOM, n_competing)
    if room(part) < enough * (len(parts) + 1):
        below = [halving.fractions[0] / by for by in (16, 4)]
        below += [one for one in halving.fractions if one < first]
        below = [one for one in below if (order < one).sum() >= FEWEST_ROWS_IN_TIME]
        smaller = {one: _thinned(sets, order, one) for one in reversed(below)}
        parts = _with_room(smaller, room, enough * (len(parts) + 2)) | parts
    notes = [
        f"no rung of {numbers.share(fraction)} of the train rows: {problem}"
        for fraction, problem in problems.items()
        if problem and fraction not in parts
    ]
    return _ladder(parts, kept, sets, notes)


def _ladder(
    parts: Parts, kept: Sequence[int], sets: TrainingSets, notes: Sequence[str] = ()
) -> Ladder:
    """The rungs of parts, the smallest first, and all rows; `kept`: how many go on from
    each.
    """
    of, most = len(parts) + 1, len(kept) - 1
    small = [
        Rung(number + 1, of, fraction, kept[min(number, most)], part)
        for number, (fraction, part) in enumerate(parts.items())
    ]
    return Ladder((*small, Rung(of, of, 1.0, 0, sets)), tuple(notes))


def _thinned(sets: TrainingSets, order: np.ndarray, fraction: float) -> TrainingSets:
    by_class = sets.classes is not None
    scored = evenly_thinned(sets.y_test, fraction, SCORED_ROWS, by_class=by_class)
    part = sets.part(order < fraction, scored, {})
    return replace(
        part, digests={"train": rows_digest(part.train), "test": rows_digest(part.test)}
    )


def _of_folds(
    n_competing: int, kept: Sequence[int], sets: TrainingSets, room: Room
) -> Ladder:
    """One rung of all folds; if there is no time for every configuration on all, first
    a rung of a few folds.
    """
    every, once = len(sets.folds), sum(fold.repeat == 0 for fold in sets.folds)
    if not kept or room(sets) >= n_competing:
        why = "cross-validation fits every configuration on all folds"
        return full_only(sets, f"no halving: {why}")
    few = {count / every: sets.on_folds(count) for count in (once, 2) if count < every}
    return _ladder(_with_room(few, room, 2 * min(ENOUGH_ROOM, n_competing)), kept, sets)


def _with_room(parts: Parts, room: Room, wanted: int) -> Parts:
    """The first of ever smaller parts with room for `wanted` configurations, else the
    last; none of none.
    """
    enough = [one for one, part in parts.items() if room(part) >= wanted] or [*parts][
        -1:
    ]
    return {one: parts[one] for one in enough[:1]}


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


def competes(one: Configuration | ModelResult) -> bool:
    """Whether a configuration takes part in halving; the baseline and named ones do
    not.
    """
    return algorithms.competes(one.algorithm) and not getattr(one, "named", False)


def within_budget(
    configurations: Sequence[Configuration], spec: ExperimentSpec
) -> list[Configuration]:
    """Draw as many as the budget allows, plus baseline and named ones; a larger budget
    only adds.

    Baseline and named ones come first, then the algorithms side by side, each in its
    declared order.
    """
    competing = [one for one in configurations if competes(one)]
    if (most := spec.budget.configurations) is not None:

        def digest(one: Configuration) -> str:
            # Not the key, which grows when another hyperparameter is searched.
            identity = [
                spec.seed,
                one.algorithm,
                one.features,
                sorted(one.hyperparameters.items()),
            ]
            return sha256(json.dumps(identity).encode())

        chosen = {one.key for one in sorted(competing, key=digest)[:most]}
        competing = [one for one in competing if one.key in chosen]
    counts, places = Counter(one.algorithm for one in competing), Counter[str]()
    shares = {}
    for one in competing:
        shares[one.key] = places[one.algorithm] / min(
            counts[one.algorithm], SIDE_BY_SIDE
        )
        places[one.algorithm] += 1
    always = [one for one in configurations if not competes(one)]
    return always + sorted(competing, key=lambda one: shares[one.key])


def best_first(scored: Mapping[str, ModelResult], metric: str) -> list[str]:
    """Return keys by their test score; equal scores by key, undefined ones last."""
    sign = metric_of(metric).sign

    def place(key: str) -> tuple[float, str]:
        score = scored[key].test_score
        return (-sign * score if math.isfinite(score) else math.inf), key

    return sorted(scored, key=place)


def thinning_order(sets: TrainingSets, spec: ExperimentSpec) -> np.ndarray:
    """Return a place in [0, 1) for each train row, float64 (n_train,): a rung takes the
    rows below its fraction.

    Even the smallest fraction has every class, in the early-stopping set and in the
    rest.
    """
    y = (
        np.zeros(len(sets.train), dtype=np.int64)
        if sets.classes is None
        else sets.y_train
    )
    strata = 2 * y + sets.early_stopping
    if spec.split.by == "time":
        times, _ = times_of(sets.train, spec.split.column, pd.Timedelta(0))
        return _spread(times, strata)
    if spec.split.by == "group":
        strata = sets.early_stopping.astype(np.int64)
    # A salt of its own: the sets and the early-stopping set are independent draws.
    salt = f"rungs/{getattr(spec.split, 'seed', 0)}"
    clusters = cluster_hashes(sets.train, spec.split, spec.target, sets.features, salt)
    return _whole_clusters(clusters, y, strata)


def evenly_thinned(
    y: np.ndarray, share: float, at_least: int, *, by_class: bool
) -> np.ndarray:
    """Choose a share of rows (`by_class`: of each class of `y`), `at_least` so many,
    evenly spaced: bool (n,).
    """
    share = min(1.0, max(share, at_least / max(len(y), 1)))
    strata = y if by_class else np.zeros(len(y), dtype=np.int64)
    kept = np.zeros(len(y), dtype=bool)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        count = max(1, round(share * len(rows)))
        kept[rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]] = True
    return kept


def _whole_clusters(
    clusters: np.ndarray, y: np.ndarray, strata: np.ndarray
) -> np.ndarray:
    """Order clusters by their hash; a cluster in several strata counts in the lowest,
    and the first cluster of each class in a stratum comes before all others.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    counts = np.bincount(codes)
    stratum = np.full(len(counts), np.iinfo(np.int64).max)
    np.minimum.at(stratum, codes, strata)
    held = pd.DataFrame({"stratum": stratum[codes], "y": y, "cluster": codes})
    firsts = np.zeros(len(counts), dtype=bool)
    firsts[held.groupby(["stratum", "y"])["cluster"].min().to_numpy()] = True
    places = np.empty(len(counts))
    for number in np.unique(stratum):
        members = np.flatnonzero(stratum == number)
        members = members[np.lexsort((members, ~firsts[members]))]
        upto = np.cumsum(counts[members])
        # A cluster takes part where its middle row does: shares come out right on
        # average.
        middle = (upto - counts[members] / 2) / upto[-1]
        places[members] = np.where(firsts[members], 0.0, middle)
    return places[codes]


def _spread(times: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Spread each fraction evenly, by the radical inverse of ranks in time (van der
    Corput 1935).
    """
    order = np.lexsort((times, strata))
    _, starts, counts = np.unique(strata[order], return_index=True, return_counts=True)
    left = np.arange(len(times)) - np.repeat(starts, counts)
    inverse, weight = np.zeros(len(times)), 0.5
    while left.any():
        inverse += weight * (left & 1)
        left, weight = left >> 1, weight / 2
    places = np.empty(len(times))
    places[order] = inverse
    return places
