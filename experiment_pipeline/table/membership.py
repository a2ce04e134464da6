"""Assign rows to sets and folds: a pure function of the rows and the experiment.

The same rows get the same sets in every process and in any order. Added rows do not
move old ones, except under a split by time or in a table with few clusters per class.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandera.pandas import DataFrameSchema

from experiment_pipeline.errors import EmptySet
from experiment_pipeline.spec import (
    ColumnSplit,
    CrossValidation,
    ExperimentSpec,
    TimeSplit,
)
from experiment_pipeline.table.clusters import (
    classes_of,
    cluster_hashes,
    rows_to_predict,
    times_of,
)
from experiment_pipeline.table.digests import repeated, uniform, value_hashes
from experiment_pipeline.table.features import (
    absent,
    all_calendar_columns,
    feature_columns,
    named_columns,
    slips_in_exclude,
)
from experiment_pipeline.table.label import prepare_labelled
from experiment_pipeline.table.preparation import PreparedTable
from experiment_pipeline.table.schema import fit_columns
from experiment_pipeline.table.table import slices, some_rows, with_only

SETS = ("train", "test", "validation")
LEFT_OUT = "gap"
_NAMES = pd.CategoricalDtype(pd.Index([*SETS, LEFT_OUT], dtype="str"))


def prepare_and_assign(
    raw: pd.DataFrame,
    schema: DataFrameSchema,
    spec: ExperimentSpec,
) -> PreparedTable:
    """Prepare every row, and assign it to a set; raises as `prepare_labelled` and
    `assign`.
    """
    return assign(prepare_labelled(raw, spec), raw, schema, spec)


def assign(
    prepared: PreparedTable,
    raw: pd.DataFrame,
    schema: DataFrameSchema,
    spec: ExperimentSpec,
) -> PreparedTable:
    """Fit prepared rows to the schema (see `fit`), and assign each to a set.

    Sets are assigned before any row is rejected, so that rejecting a row moves no other
    one, and after the schema's columns are selected, so that a new column that the
    schema drops moves no row.
    """
    columns = [*raw.columns, *prepared.frame.columns, *schema.columns]
    for name in slips_in_exclude(columns, spec):
        raise absent(f"exclude.{name}", name, columns)
    excluded = {*spec.exclude, *all_calendar_columns(spec.exclude)}
    fitted = fit(prepared, raw.columns, schema, not_required=excluded)
    features = feature_columns(fitted.frame, spec)
    identity = _identity(raw, fitted.frame, spec)
    sets = assign_sets(fitted.frame, spec, features, identity, fitted.labelled)
    return replace(fitted, sets=sets)


def _identity(
    raw: pd.DataFrame, prepared: pd.DataFrame, spec: ExperimentSpec
) -> pd.DataFrame | None:
    """The delivered columns that decide the sets; None: the prepared ones do."""
    split = spec.split
    if split.by != "random" or not split.columns or split.id_columns:
        return None
    for number, name in enumerate(split.columns):
        if name not in raw:
            raise absent(f"split.columns.{number}", name, raw.columns)
    names = dict.fromkeys([*split.columns, spec.target])
    rows = some_rows(raw, raw.index.get_indexer(prepared.index))
    return with_only(rows, [name for name in names if name in raw])


def fit(
    prepared: PreparedTable,
    delivered: pd.Index,
    schema: DataFrameSchema,
    not_required: Collection[str] = (),
) -> PreparedTable:
    """Give prepared rows the schema's columns; cells are not checked or coerced yet."""
    frame, notes = fit_columns(prepared.frame, delivered, schema, not_required)
    return replace(prepared, frame=frame, notes=(*prepared.notes, *notes))


def assign_sets(
    prepared: pd.DataFrame,
    spec: ExperimentSpec,
    features: Sequence[str],
    identity: pd.DataFrame | None = None,
    labelled: np.ndarray | None = None,
) -> pd.Series:
    """Return the set of each row, "gap" if it is between sets or lacks a key or label.

    `identity`: of the same rows, what a random split hashes in place of the features;
    `labelled`: which of them have a label, bool (n,); None: all.
    Raises UnusableTable: a split by time has no times.
    """
    codes = np.full(len(prepared), len(SETS), dtype=np.uint8)
    complete = has_keys(prepared, spec)
    if labelled is not None:
        complete = complete & labelled
    rows = prepared
    hashed = prepared if identity is None else identity
    if not complete.all():
        rows = some_rows(prepared, np.flatnonzero(complete))
        hashed = some_rows(hashed, np.flatnonzero(complete))
    if len(rows):
        named = features
        if identity is not None:
            named = [str(name) for name in identity if name != spec.target]
        codes[complete] = _codes(rows, hashed, spec, named)
    names = pd.Categorical.from_codes(codes, dtype=_NAMES)
    return pd.Series(names, index=prepared.index, name="set")


def codes_of(sets: pd.Series) -> np.ndarray:
    """Return each row's position in `SETS`, len(SETS) if in none: uint8 (n,)."""
    return sets.cat.codes.to_numpy(dtype=np.uint8)


def split_keys(spec: ExperimentSpec) -> list[str]:
    """Return the columns that the split depends on, without features."""
    return [name for place, name in named_columns(spec) if place[0] == "split"]


def has_keys(frame: pd.DataFrame, spec: ExperimentSpec) -> np.ndarray:
    """Return which rows have a value in all `split_keys`: bool (n,)."""
    return with_only(frame, split_keys(spec)).notna().all(axis=1).to_numpy(dtype=bool)


def _codes(
    rows: pd.DataFrame,
    hashed: pd.DataFrame,
    spec: ExperimentSpec,
    columns: Sequence[str],
) -> np.ndarray:
    """The position in `SETS` of each row; of `hashed` the `columns` identify it."""
    split = spec.split
    if isinstance(split, ColumnSplit):
        return _codes_of_values(rows[split.column], split)
    fractions = split.fractions
    shares = (fractions.train, fractions.test, fractions.validation)
    if isinstance(split, TimeSplit):
        times, gap = times_of(rows, split.column, pd.Timedelta(split.gap))
        codes, lasts = cut_by_order(times, shares)
        for last in lasts:
            codes[(times > last) & (times < last + gap)] = len(SETS)
        for later in (SETS.index("test"), SETS.index("validation")):
            of_question = rows_to_predict(rows, split, earlier=codes < later)
            codes[(codes == later) & ~of_question] = len(SETS)
        return codes
    salt = f"sets/{split.seed}"
    hashes = cluster_hashes(hashed, split, spec.target, columns, salt)
    strata = np.zeros(len(rows), dtype=np.int64)  # groups are not stratified
    if split.by != "group" and spec.target in rows:
        strata = classes_of(rows, spec)
    return cut_by_hash(hashes, strata, shares)


def _codes_of_values(column: pd.Series, split: ColumnSplit) -> np.ndarray:
    # Compared by hash, so that 1 in the YAML equals 1.0 in a column with missing
    # values.
    hashes = value_hashes(column)
    codes = np.full(len(column), len(SETS), dtype=np.uint8)
    for number, name in enumerate(SETS):
        for value in getattr(split, name):
            codes[hashes == value_hashes(pd.Series([value]))[0]] = number
    return codes


# With fewer clusters, a threshold on the hash leaves too much to chance: with 50
# expected, their number is off by more than 14 % one time in three.
FEW_CLUSTERS = 50


def cut_by_hash(
    hashes: np.ndarray, strata: np.ndarray, shares: Sequence[float]
) -> np.ndarray:
    """Split clusters into sets by the hash (n,) of their rows: uint8 (n,) from 0.

    A cluster's set depends only on its own hash, so rows that are added later move no
    other. A stratum that would have fewer than 50 clusters in a set is ranked by hash
    and cut instead: exact shares, and a new cluster moves few others. A cluster with
    several strata (n,) counts as the lowest.
    """
    several = np.flatnonzero(repeated(hashes))
    firsts = np.ones(len(hashes), dtype=bool)  # the first row of each cluster
    if len(several):
        order = several[np.lexsort((strata[several], hashes[several]))]
        firsts[order[1:]] = hashes[order[1:]] != hashes[order[:-1]]
        starts = np.flatnonzero(firsts[order])
        strata = strata.copy()
        strata[order] = np.repeat(
            strata[order[starts]], np.diff(starts, append=len(order))
        )
    sets, ends = np.empty(len(hashes), dtype=np.uint8), np.cumsum(shares)[:-1]
    for rows in slices(len(hashes)):
        sets[rows] = np.searchsorted(ends, uniform(hashes[rows]), side="right")
    codes, names = pd.factorize(strata)
    clusters = np.bincount(codes[firsts], minlength=len(names))
    few = np.flatnonzero((clusters * min(shares) < FEW_CLUSTERS)[codes])
    if len(few):
        _, at, places = np.unique(hashes[few], return_index=True, return_inverse=True)
        sets[few] = _ranked_sets(strata[few][at], shares)[places]
    return sets


def _ranked_sets(strata: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Rank clusters within their stratum, in their order, and cut ranks into sets."""
    _, codes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # At least one cluster per set; if there are too few, earlier sets come first.
    sizes = np.zeros((len(shares), len(counts)), dtype=np.int64)
    for number, share in enumerate(shares[1:], 1):
        remaining = counts - 1 - sizes[1:].sum(axis=0)
        later_sets = len(shares) - 1 - number
        most = np.maximum(remaining - later_sets, np.minimum(remaining, 1))
        sizes[number] = np.minimum(np.maximum(np.rint(counts * share), 1), most)
    sizes[0] = counts - sizes[1:].sum(axis=0)
    sets = np.zeros(len(codes), dtype=np.int64)
    for ends in np.cumsum(sizes, axis=0)[:-1]:
        sets += ranks >= ends[codes]
    return sets


def cut_by_order(
    places: np.ndarray, shares: Sequence[float]
) -> tuple[np.ndarray, list[float]]:
    """Cut rows between distinct values (n,) of an ordering, close to the shares.

    Return the set of each row, uint8 (n,), and the last value of each set but the last.
    """
    distinct, inverse, counts = np.unique(
        places, return_inverse=True, return_counts=True
    )
    upto = np.cumsum(counts)
    lasts: list[int] = []
    for number, share in enumerate(np.cumsum(shares)[:-1]):
        low = lasts[-1] + 1 if lasts else 0
        # Each later set needs a value of its own.
        high = max(low, len(distinct) - len(shares) + number)
        off = np.abs(upto[low : high + 1] - share * len(places))
        lasts.append(low + int(np.argmin(off)) if len(off) else low)
    sets = np.searchsorted(lasts, np.arange(len(distinct)), side="left").astype(
        np.uint8
    )
    return sets[inverse], [float(distinct[i]) for i in lasts if i < len(distinct)]


def cut_tail(places: np.ndarray, strata: np.ndarray, share: float) -> np.ndarray:
    """Hold out the last rows of an ordering (n,), close to the share: bool (n,).

    Cuts that leave every class (n,) on both sides are preferred, if there are any.
    """
    distinct, inverse, counts = np.unique(
        places, return_inverse=True, return_counts=True
    )
    _, codes = np.unique(strata, return_inverse=True)
    firsts = np.full(codes.max() + 1, len(distinct))
    lasts = np.zeros(codes.max() + 1, dtype=np.int64)
    np.minimum.at(firsts, codes, inverse)
    np.maximum.at(lasts, codes, inverse)
    low, high = int(firsts.max()), int(lasts.min()) - 1
    if low > high:
        low, high = 0, len(distinct) - 2
    held_out = len(places) - np.cumsum(counts)[low : high + 1]
    last_kept = low + int(np.argmin(np.abs(held_out - share * len(places))))
    return inverse > last_kept


# A class that a set lacks although at least this many rows were expected there is not
# rare: the cause is the split, or the class is new.
FEWEST_ROWS = 10
# The largest share of all rows that may be set aside.
MOST_SHARE = 0.05


def too_rare(counts: np.ndarray) -> np.ndarray:
    """Return which classes to set aside, given (expected) rows (classes, sets).

    Those with less than a row per set, or few rows and not in every set. None are if
    fewer than two would be left, or too many rows go.
    """
    rows = counts.sum(axis=1)
    smallest = counts.sum(axis=0).min() / max(counts.sum(), 1)
    lacking = (counts < 1).any(axis=1) & (rows * smallest < FEWEST_ROWS)
    rare = (rows * smallest < 1) | lacking
    if (~rare).sum() < 2 or rows[rare].sum() > MOST_SHARE * rows.sum():
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(rare)


def may_have_rare_classes(target: pd.Series) -> bool:
    """Return whether target values (n,) can have a rare class, whatever the sets."""
    counts = target.value_counts()
    return len(counts) > 2 and bool(counts.iloc[-1] <= MOST_SHARE * len(target))


def rare_classes_in(target: pd.Series, sets: pd.Series) -> list[object]:
    """Return the classes to set aside, the rarest last."""
    classes = target.value_counts().index
    counts = pd.crosstab(target, sets.reindex(target.index))
    counts = counts.reindex(classes, columns=list(SETS), fill_value=0)
    return counts.index[too_rare(counts.to_numpy())].tolist()


def set_aside_in_words(classes: pd.Series) -> list[str]:
    """Return a sentence per class that was set aside, given the class of each row."""
    return [
        f"class {name} ({rows:,} row{'s' if rows > 1 else ''}) cannot be predicted: "
        "its rows are set aside, and every score is of the other classes alone"
        for name, rows in classes.astype("str").value_counts().items()
    ]


# Under a split by time, the earliest rows, this share, are only fitted on: a model of
# far fewer rows than the exported one says little about it.
ONLY_FITTED = 0.5


@dataclass(frozen=True, eq=False)
class FoldRows:
    """One fold of one repeat: masks (n,) of the rows to fit on, and of the rows to
    predict.
    """

    repeat: int
    fitted: np.ndarray
    predicted: np.ndarray


def folds_of(
    frame: pd.DataFrame,
    spec: ExperimentSpec,
    evaluation: CrossValidation,
    features: tuple[str, ...],
) -> tuple[FoldRows, ...]:
    """Return the folds of each repeat; within one, no row is predicted twice.

    By time: the first half is only fitted on, the rest is cut into blocks, each
    predicted from all rows before it except the split's gap (forward chaining: Tashman
    2000), with `predicts` as between the sets. Else clusters are dealt by hash, with a
    new salt per repeat, much as scikit-learn's StratifiedGroupKFold does. Raises
    EmptySet: one cluster.
    """
    if isinstance(spec.split, TimeSplit):
        folds = [*_folds_in_time(frame, spec.split, evaluation)]
    else:
        folds = [*_folds_by_hash(frame, spec, evaluation, features)]
    if not folds:
        raise EmptySet(
            "cross-validation",
            rule=f"{len(frame):,} train and test rows are one cluster, so they cannot "
            "form folds",
            fix="Write evaluation: test_set, deliver more rows, or split by another "
            "column.",
        )
    return tuple(folds)


def _folds_in_time(
    frame: pd.DataFrame, split: TimeSplit, evaluation: CrossValidation
) -> Iterator[FoldRows]:
    times, gap = times_of(frame, split.column, pd.Timedelta(split.gap))
    shares = [(1 - ONLY_FITTED) / evaluation.folds] * evaluation.folds
    block, _ = cut_by_order(times, (ONLY_FITTED, *shares))
    for number in range(1, evaluation.folds + 1):
        predicted = block == number
        if not predicted.any():
            continue
        fitted = (block < number) & (times <= times[predicted].min() - gap)
        predicted &= rows_to_predict(frame, split, earlier=fitted)
        if fitted.any() and predicted.any():
            yield FoldRows(0, fitted, predicted)


def _folds_by_hash(
    frame: pd.DataFrame,
    spec: ExperimentSpec,
    evaluation: CrossValidation,
    features: tuple[str, ...],
) -> Iterator[FoldRows]:
    classes = classes_of(frame, spec)
    for repeat in range(evaluation.repeats):
        salt = f"folds/{getattr(spec.split, 'seed', 0)}/{repeat}"
        hashes = cluster_hashes(frame, spec.split, spec.target, features, salt)
        fold = deal(hashes, classes, evaluation.folds)
        for number in np.unique(fold):
            if (fold != number).any():
                yield FoldRows(repeat, fold != number, fold == number)


def deal(hashes: np.ndarray, classes: np.ndarray, folds: int) -> np.ndarray:
    """Deal clusters into folds with similar numbers of rows and of each class.

    int64 (n,). In the order of their hash (n,), each cluster goes to the fold that has
    the smallest share of its classes (codes (n,) from 0) so far; ties go to the fold
    with fewer rows, then to the first.
    """
    _, cluster = np.unique(hashes, return_inverse=True)
    counts = np.zeros((cluster.max() + 1, classes.max() + 1))
    np.add.at(counts, (cluster, classes), 1.0)
    shares = counts / counts.sum(axis=0)
    fold = np.empty(len(counts), dtype=np.int64)
    shares_of_folds = np.zeros((folds, counts.shape[1]))
    rows_of_folds = np.zeros(folds)
    for number, of_classes in enumerate(counts):
        # Rounded, so that the order of summation does not matter.
        filled = np.round(shares_of_folds @ of_classes, 9)
        fold[number] = np.lexsort((rows_of_folds, filled))[0]
        shares_of_folds[fold[number]] += shares[number]
        rows_of_folds[fold[number]] += of_classes.sum()
    return np.asarray(fold[cluster])
