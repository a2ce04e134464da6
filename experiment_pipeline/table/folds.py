"""Folds: parts of the rows, each to be predicted by models that were not fitted on it.

A pure function of the rows, as the sets are: neither their order nor their number in the source has
a part in it. What the split keeps together stays together. In: rows and the experiment. Out: masks
of the rows. What is fitted on folds lives in `stages/search`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EmptySet
from experiment_pipeline.spec import CrossValidation, ExperimentSpec, TimeSplit
from experiment_pipeline.table.clusters import classes_of, cluster_hashes, times_of
from experiment_pipeline.table.membership import cut_by_order

# Under a split by time this share, the earliest rows, is fitted on and never predicted: a model of
# much fewer rows than the one to be shipped says little about it.
ONLY_FITTED = 0.5


@dataclass(frozen=True, eq=False)
class FoldRows:
    """One fold.

    Attributes:
        repeat: which cut of all rows it belongs to, from 0 on.
        fitted: bool (n,) the rows to fit on.
        predicted: bool (n,) the rows to predict, none of them fitted on.
    """

    repeat: int
    fitted: np.ndarray
    predicted: np.ndarray


def folds_of(
    frame: pd.DataFrame, spec: ExperimentSpec, wanted: CrossValidation, features: tuple[str, ...]
) -> tuple[FoldRows, ...]:
    """Return the folds of each repeat; within one, no row is predicted twice.

    By time: the first half of the rows is only fitted on; the rest is cut into blocks between
    distinct times, and each is predicted from all rows before it, without those within the split's
    gap (forward chaining, "evaluation on a rolling origin": Tashman 2000). Else clusters (groups, ids,
    rows) are dealt by a hash, a new one for each repeat, so that folds have the same share of each
    class (much as scikit-learn's StratifiedGroupKFold does).

    Raises:
        EmptySet: there are fewer than two clusters, or times, to part.
    """
    if isinstance(spec.split, TimeSplit):
        found = tuple(_forward(frame, spec.split, wanted.folds))
    else:
        found = tuple(_dealt(frame, spec, wanted, features))
    if not found:
        raise EmptySet(
            "cross-validation",
            f"{len(frame):,} train and test rows are one cluster, which no fold can leave out",
            "Write evaluation: test_set, deliver more rows, or split by another column.",
        )
    return found


def _dealt(
    frame: pd.DataFrame, spec: ExperimentSpec, wanted: CrossValidation, features: tuple[str, ...]
) -> Iterator[FoldRows]:
    classes = np.zeros(len(frame), dtype=np.int64)
    if spec.task != "regression":
        classes = classes_of(frame[spec.target])
    seed = getattr(spec.split, "seed", 0)
    for repeat in range(wanted.repeats):
        hashes = cluster_hashes(frame, spec.split, spec.target, features, f"folds/{seed}/{repeat}")
        fold = deal(hashes, classes, wanted.folds)
        for number in np.unique(fold):
            if (fold != number).any():
                yield FoldRows(repeat, fold != number, fold == number)


def deal(hashes: np.ndarray, classes: np.ndarray, folds: int) -> np.ndarray:
    """Deal clusters into folds, so that rows and classes come out even.

    In the order of their hash each cluster goes to the fold that has the smallest part of its classes
    so far, of equal ones to the smaller, then to the first.

    Args:
        hashes: uint64 (n,); rows with one hash are one cluster.
        classes: int (n,) codes from 0 on; all 0 where there are none.
        folds: how many.

    Returns:
        int64 (n,): the fold of each row.
    """
    _, cluster = np.unique(hashes, return_inverse=True)
    held = np.zeros((cluster.max() + 1, classes.max() + 1))
    np.add.at(held, (cluster, classes), 1.0)
    shares = held / held.sum(axis=0)
    fold = np.empty(len(held), dtype=np.int64)
    parts, rows = np.zeros((folds, held.shape[1])), np.zeros(folds)
    for one in range(len(held)):
        # Rounded, so that sums of shares in another order are the same number.
        filled = np.round(parts @ held[one], 9)
        fold[one] = np.lexsort((rows, filled))[0]
        parts[fold[one]] += shares[one]
        rows[fold[one]] += held[one].sum()
    return np.asarray(fold[cluster])


def _forward(frame: pd.DataFrame, split: TimeSplit, folds: int) -> Iterator[FoldRows]:
    times, gap = times_of(frame, split.column, pd.Timedelta(split.gap))
    share = (1 - ONLY_FITTED) / folds
    block, _ = cut_by_order(times, (ONLY_FITTED, *[share] * folds))
    for number in range(1, folds + 1):
        if not (predicted := block == number).any():
            continue
        begins = times[predicted].min()
        fitted = (block < number) & (times <= begins - gap)
        if fitted.any():
            yield FoldRows(0, fitted, predicted)
