"""The rungs of successive halving: how many, on which rows, and what goes on.

Synchronous: a rung is decided when all its fits are done, so the number of workers does
not change the answer. Sources: Jamieson and Talwalkar 2016 (successive halving), Li et
al. 2018 (Hyperband). The rows of rungs are nested parts, cut the way the sets are cut.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Features, algorithms
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
# Configurations of a kind beyond so many start after those of all other kinds.
SIDE_BY_SIDE = 200
# Under a budget of seconds, so many configurations should be compared, if need be on
# fewer rows. Fits take up to twice the first estimate: hence there should be room for
# more of them.
ENOUGH_COMPARED = 20
ENOUGH_ROOM = 30
FEWEST_ROWS_IN_TIME = 300
# If the smallest declared rung has so many rows and room for ENOUGH_COMPARED, there is
# no smaller one: of 45,000 rows of 50 columns, 700 put the models in another order than
# all rows, and half of each fit was overhead.
ROWS_THAT_SUFFICE = 2_000
# Small rungs are scored on at least so many test rows: with few, luck decides (of 60
# configurations of the bundled flights, 2,000 rows lost the 9 best ones, 4,000 only the
# very best).
SCORED_ROWS = 4_000


@dataclass(frozen=True, eq=False)
class Rung:
    """One round of the search."""

    number: int  # from 1 on
    last: int  # the number of the last one
    fraction: float  # of the train rows
    promotes: int  # how many configurations go on from here; 0 at the last rung
    # thinned train and test rows with digests of their own; the last rung's are full
    sets: TrainingSets

    @property
    def is_full(self) -> bool:
        """Whether this is the rung whose scores are ranked."""
        return self.number == self.last

    def __str__(self) -> str:
        parts = "folds" if self.sets.folds else "train rows"
        share = numbers.share(self.fraction)
        return f"rung {self.number} of {self.last} ({share} of the {parts})"


# An algorithm and an encoder.
Kind = tuple[str, Features]
# Sets → how many configurations a budget has time for, if all of it goes to fits on
# these sets.
Room = Callable[[TrainingSets], float]
# Share of the train rows, or of the folds → these sets; smaller rungs come first.
Parts = dict[float, TrainingSets]


@dataclass(frozen=True)
class Ladder:
    """The rungs of a search, the full one last, and why there are not more of them."""

    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()


def full_only(sets: TrainingSets, *notes: str) -> Ladder:
    """Return a search without halving: one rung, all rows."""
    return Ladder((Rung(1, 1, 1.0, 0, sets),), notes)


def promotes(entrants: int, keep: float) -> int:
    """Return how many configurations go on from a rung, by the share to keep."""
    return max(math.ceil(entrants * keep), FEWEST_KEPT)


def ladder(
    n_competing: int,
    sets: TrainingSets,
    spec: ExperimentSpec,
    room: Room = lambda _: math.inf,
) -> Ladder:
    """Return as many rungs as configurations, rows and the budget's time allow."""
    halving = spec.halving
    if not halving:
        return full_only(sets)
    # How many go on from each rung, as long as a rung stops at least one.
    counts = list[int]()
    entrants = n_competing
    while len(counts) < len(halving.fractions):
        survivors = promotes(entrants, halving.keep)
        if survivors >= entrants:
            break
        counts.append(survivors)
        entrants = survivors
    if sets.folds:
        return _of_folds(n_competing, counts, sets, room)
    if n_competing < FEWEST_CONFIGURATIONS:
        verb = "is" if n_competing == 1 else "are"
        return full_only(
            sets,
            f"no halving: it needs {FEWEST_CONFIGURATIONS} configurations that "
            f"compete, and there {verb} {n_competing}",
        )
    if not counts:
        share = numbers.share(halving.keep)
        return full_only(
            sets,
            f"no halving: keeping {share} of {n_competing} configurations stops none",
        )
    return _of_rows(n_competing, counts, sets, spec, room)


def _of_rows(
    n_competing: int,
    counts: Sequence[int],
    sets: TrainingSets,
    spec: ExperimentSpec,
    room: Room,
) -> Ladder:
    """Rungs of ever more train rows, without those that are too small. If there is no
    time to compare enough configurations, the first rung is a smaller one.
    """
    assert spec.halving
    order = thinning_order(sets, spec)
    fractions = spec.halving.fractions
    # With too few configurations for all rungs, the smallest rungs are left out.
    problems = {
        fraction: _too_small(sets, order < fraction, spec.halving.fewest_rows)
        for fraction in fractions[:-1][-len(counts) :]
    }
    parts = {
        fraction: _thinned(sets, order, fraction)
        for fraction, problem in problems.items()
        if not problem
    }
    first, part = next(iter(parts.items()), (1.0, sets))
    enough = min(ENOUGH_ROOM, n_competing)
    # Refit and report may keep more than half of the seconds: without a small rung,
    # there should be room for twice as many.
    wanted = enough * max(len(parts) + 1, 2)
    if first == fractions[0] and len(part.train) >= ROWS_THAT_SUFFICE:
        wanted = min(wanted, ENOUGH_COMPARED)
    if room(part) < wanted:
        smaller = _smaller(first, fractions, sets, order)
        parts = _with_room(smaller, room, enough * (len(parts) + 2)) | parts
    left_out = [
        f"no rung of {numbers.share(fraction)} of the train rows: {problem}"
        for fraction, problem in problems.items()
        if fraction not in parts
    ]
    return _ladder(parts, counts, sets, left_out)


def _smaller(
    first: float, fractions: Sequence[float], sets: TrainingSets, order: np.ndarray
) -> Parts:
    """Parts below the first, the largest first; two are smaller than all declared."""
    below = [fractions[0] / 16, fractions[0] / 4]
    below += [fraction for fraction in fractions if fraction < first]
    return {
        fraction: _thinned(sets, order, fraction)
        for fraction in reversed(below)
        if (order < fraction).sum() >= FEWEST_ROWS_IN_TIME
    }


def _ladder(
    parts: Parts, counts: Sequence[int], sets: TrainingSets, notes: Sequence[str] = ()
) -> Ladder:
    """The rungs of parts, and all rows; `counts`: how many go on from each."""
    last = len(parts) + 1
    rungs = [
        Rung(number, last, fraction, counts[min(number, len(counts)) - 1], part)
        for number, (fraction, part) in enumerate(parts.items(), start=1)
    ]
    return Ladder((*rungs, Rung(last, last, 1.0, 0, sets)), tuple(notes))


def _thinned(sets: TrainingSets, order: np.ndarray, fraction: float) -> TrainingSets:
    by_class = sets.classes is not None
    scored = evenly_thinned(sets.y_test, fraction, SCORED_ROWS, by_class=by_class)
    part = sets.part(order < fraction, scored, {})
    digests = {"train": rows_digest(part.train), "test": rows_digest(part.test)}
    return replace(part, digests=digests)


def _of_folds(
    n_competing: int, counts: Sequence[int], sets: TrainingSets, room: Room
) -> Ladder:
    """One rung of all folds; if the time is short, one of a few folds before it."""
    needed = n_competing * ENOUGH_ROOM / ENOUGH_COMPARED
    if not counts or room(sets) >= needed:
        return full_only(
            sets,
            "no halving: cross-validation fits every configuration on all folds",
        )
    folds = len(sets.folds)
    of_one_repeat = sum(fold.repeat == 0 for fold in sets.folds)
    fewer = [count for count in (of_one_repeat, 2) if count < folds]
    parts = {count / folds: sets.on_folds(count) for count in fewer}
    enough = min(ENOUGH_ROOM, n_competing)
    return _ladder(_with_room(parts, room, 2 * enough), counts, sets)


def _with_room(parts: Parts, room: Room, enough: int) -> Parts:
    """The first of ever smaller parts with room for `enough`, else the last, if any."""
    chosen = Parts()
    for fraction, part in parts.items():
        chosen = {fraction: part}
        if room(part) >= enough:
            break
    return chosen


def _too_small(sets: TrainingSets, rows: np.ndarray, fewest_rows: int) -> str:
    """Return what a rung lacks; empty: nothing."""
    count = int(rows.sum())
    if count < fewest_rows:
        return f"it would have {count} rows, it needs {fewest_rows}"
    if sets.classes is None:
        return ""
    rarest = int(np.bincount(sets.y_train[rows], minlength=len(sets.classes)).min())
    if rarest >= FEWEST_ROWS_PER_CLASS:
        return ""
    needed = FEWEST_ROWS_PER_CLASS
    return f"its rarest class would have {rarest} rows, it needs {needed}"


def competes(trained: Configuration | ModelResult) -> bool:
    """Whether it takes part in halving; the baseline and named ones do not."""
    named = isinstance(trained, Configuration) and trained.named
    return algorithms.competes(trained.algorithm) and not named


def kind(trained: Configuration | ModelResult) -> Kind:
    """Return the algorithm and the encoder."""
    return trained.algorithm, trained.features


def within_budget(
    configurations: Sequence[Configuration], spec: ExperimentSpec
) -> list[Configuration]:
    """Draw as many as the budget allows, plus baseline and named ones; a larger budget
    only adds.

    Baseline and named ones come first, then the kinds (algorithms with an encoder) side
    by side, each in its declared order: the first of each before the draws of one.
    """
    always = [entrant for entrant in configurations if not competes(entrant)]
    competing = [entrant for entrant in configurations if competes(entrant)]
    drawn = sorted(competing, key=lambda entrant: _draw(entrant, spec.seed))
    allowed = {entrant.key for entrant in drawn[: spec.budget.configurations]}
    competing = [entrant for entrant in competing if entrant.key in allowed]
    counts = Counter(kind(entrant) for entrant in competing)
    before = Counter[Kind]()
    places = dict[str, float]()
    for configuration in competing:
        of_kind = kind(configuration)
        share = before[of_kind] / min(counts[of_kind], SIDE_BY_SIDE)
        places[configuration.key] = share
        before[of_kind] += 1
    return [*always, *sorted(competing, key=lambda entrant: places[entrant.key])]


def _draw(configuration: Configuration, seed: int) -> str:
    """A digest to draw by; not of the key, which other entries may change."""
    identity = [
        seed,
        configuration.algorithm,
        configuration.features,
        sorted(configuration.hyperparameters.items()),
    ]
    return sha256(json.dumps(identity).encode())


def best_first(scored: Mapping[str, ModelResult], metric: str) -> list[str]:
    """Return keys by their test score; equal scores by key, undefined ones last."""
    sign = metric_of(metric).sign

    def place(key: str) -> tuple[float, str]:
        loss = -sign * scored[key].test_score
        return (loss if math.isfinite(loss) else math.inf), key

    return sorted(scored, key=place)


def thinning_order(sets: TrainingSets, spec: ExperimentSpec) -> np.ndarray:
    """Return a place in [0, 1) for each train row, float64 (n_train,): a rung takes the
    rows below its fraction.

    Even the smallest fraction has every class, in the early-stopping set and in the
    rest.
    """
    y = np.zeros(len(sets.train), dtype=np.int64)
    if sets.classes is not None:
        y = sets.y_train
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
    chosen = np.zeros(len(y), dtype=bool)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        count = max(1, round(share * len(rows)))
        chosen[rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]] = True
    return chosen


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
    rows = pd.DataFrame({"stratum": stratum[codes], "y": y, "cluster": codes})
    firsts = np.zeros(len(counts), dtype=bool)
    firsts[rows.groupby(["stratum", "y"])["cluster"].min().to_numpy()] = True
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
    """Spread fractions evenly, by radical inverses of ranks (van der Corput 1935)."""
    order = np.lexsort((times, strata))
    _, starts, counts = np.unique(strata[order], return_index=True, return_counts=True)
    digits = np.arange(len(times)) - np.repeat(starts, counts)
    inverse = np.zeros(len(times))
    weight = 0.5
    while digits.any():
        inverse += weight * (digits & 1)
        digits = digits >> 1
        weight /= 2
    places = np.empty(len(times))
    places[order] = inverse
    return places
