"""The inner slice: train rows on which a fit decides when to stop, and nothing else.

Cut the way the sets are cut, so that it is to the train rows what the test set is to them. In:
the train set. Out: masks.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EmptySet
from experiment_pipeline.rows.cuts import cut_by_hash, cut_tail
from experiment_pipeline.rows.hashes import salt_number
from experiment_pipeline.rows.units import classes_of, numbered, times_of, unit_hashes
from experiment_pipeline.spec import ExperimentSpec, TimeSplit

HELD_OUT = 0.15


def inner_slice(train: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]) -> np.ndarray:
    """Choose about 15 % of the train rows to hold out for early stopping.

    By time: the last rows. By group: whole groups. Else: whole units by a hash with a salt
    of its own. Each side holds every class wherever a cut allows it. Train rows that are all
    of one unit (one timestamp, one group) are told apart all the same, for want of better.

    Args:
        train: the train set.
        spec: the experiment.
        features: feature columns.

    Returns:
        bool (n,), True for rows held out; never all, never none.

    Raises:
        EmptySet: the train set has fewer than two rows.
    """
    if len(train) < 2:
        raise EmptySet(
            "train set",
            f"{len(train)} rows cannot be parted into rows to fit on and rows to stop by",
            "Deliver more rows, or raise split.fractions.train.",
        )
    salt = f"inner/{getattr(spec.split, 'seed', 0)}"
    classes = _classes(train, spec)
    places: np.ndarray
    if spec.split.by == "time":
        places, _ = times_of(train, spec.split.column, pd.Timedelta(0))
    else:
        places = unit_hashes(train, spec, features, salt)
    if len(np.unique(places)) < 2:
        places = numbered(train, np.full(len(train), salt_number(salt)))
    elif spec.split.by in ("time", "group"):
        return cut_tail(places, classes, HELD_OUT)
    held_out: np.ndarray = cut_by_hash(places, classes, (1 - HELD_OUT, HELD_OUT)) == 1
    # Where each class is a single unit, none of them can be parted.
    return held_out if held_out.any() else cut_tail(places, classes, HELD_OUT)


def inner_gap(train: pd.DataFrame, inner: np.ndarray, spec: ExperimentSpec) -> np.ndarray:
    """Tell which train rows lie within the split's gap before the inner slice.

    A fit that stops on the slice leaves them out, as the gap between the sets does. Where less
    than half of the rows before the slice would be left, or a class would be lost, there is no
    gap: a train set too short for it is fitted on as it is.

    Args:
        train: the train set.
        inner: bool (n,), its inner slice.
        spec: the experiment.

    Returns:
        bool (n,); none but under a split by time.
    """
    none = np.zeros(len(train), dtype=bool)
    if not isinstance(spec.split, TimeSplit):
        return none
    times, gap = times_of(train, spec.split.column, pd.Timedelta(spec.split.gap))
    within = ~inner & (times > times[inner].min() - gap)
    before, left = _classes(train, spec)[~inner], ~within[~inner]
    enough = 2 * left.sum() >= len(left) and set(before[left]) == set(before)
    return within if enough else none


def _classes(train: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    if spec.task == "regression":
        return np.zeros(len(train), dtype=np.int64)
    return classes_of(train[spec.target])
