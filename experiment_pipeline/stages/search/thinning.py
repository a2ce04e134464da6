"""Which train rows a rung of halving has: nested parts, cut the way the sets are cut.

Random and named sets: whole units in the order of a salted hash, the same share of each class.
By group: whole groups in the order of their hash. By time: rows spread evenly over the whole
period. The inner slice is thinned like the rest. In: sets and fractions. Out: masks.
"""

import numpy as np
import pandas as pd

from experiment_pipeline.rows.units import times_of, unit_hashes
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.sets import TrainingSets


def thinning_order(sets: TrainingSets, spec: ExperimentSpec) -> np.ndarray:
    """Return a place in [0, 1) for each train row: float64 (n_train,).

    The rows of a fraction are those below it, so a larger fraction has all rows of a smaller one
    and the fraction 1 has all. Within the inner slice and outside it, every class that is there is there from
    the smallest fraction on.

    Args:
        sets: the full sets.
        spec: its split decides what stays together and what is spread evenly.
    """
    y = np.zeros(len(sets.train), dtype=np.int64) if sets.classes is None else sets.y_train
    if spec.split.by == "group":
        units = unit_hashes(sets.train, spec, sets.features, _salt(spec))
        return _whole_units(units, y, strata=sets.inner.astype(np.int64))
    strata = 2 * y + sets.inner
    if spec.split.by == "time":
        times, _ = times_of(sets.train, spec.split.column, pd.Timedelta(0))
        return _spread(times, strata)
    return _whole_units(unit_hashes(sets.train, spec, sets.features, _salt(spec)), y, strata)


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
    """One of its own: the sets and the inner slice are cut by other draws."""
    return f"rungs/{getattr(spec.split, 'seed', 0)}"


def _whole_units(units: np.ndarray, y: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Let units take part in the order of their hash, until the fraction's rows are reached.

    A unit of several strata counts for the lowest. In each stratum, the first unit of each
    class comes before all others.
    """
    codes, stratum = _units_of(units, strata)
    firsts = _first_of_each_class(codes, y, stratum)
    counts = np.bincount(codes)
    places = np.empty(len(counts))
    for number in np.unique(stratum):
        members = np.flatnonzero(stratum == number)
        members = members[np.lexsort((members, ~firsts[members]))]
        upto = np.cumsum(counts[members])
        # A unit takes part where its middle row does: shares come out right on average.
        middle = (upto - counts[members] / 2) / upto[-1]
        places[members] = np.where(firsts[members], 0.0, middle)
    by_row: np.ndarray = places[codes]
    return by_row


def _units_of(units: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number units in the order of their hash: (n,) codes, and the stratum of each unit."""
    _, codes = np.unique(units, return_inverse=True)
    stratum = np.full(codes.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(stratum, codes, strata)
    return codes, stratum


def _first_of_each_class(codes: np.ndarray, y: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Tell which units are the first of their stratum to hold a class: bool per unit."""
    held = pd.DataFrame({"stratum": stratum[codes], "y": y, "unit": codes})
    firsts = np.zeros(len(stratum), dtype=bool)
    firsts[held.groupby(["stratum", "y"])["unit"].min().to_numpy()] = True
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


def _radical_inverse(numbers: np.ndarray) -> np.ndarray:
    """Mirror the binary digits at the point: 1, 2, 3 → 0.5, 0.25, 0.75."""
    inverse, weight, left = np.zeros(len(numbers)), 0.5, numbers.astype(np.int64)
    while left.any():
        inverse += weight * (left & 1)
        left, weight = left >> 1, weight / 2
    return inverse
