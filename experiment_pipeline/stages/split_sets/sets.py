"""The three sets as tables, the early-stopping set of the train set, and what there is to say about them.

The early-stopping set is the train rows on which a fit decides when to stop, and nothing else: cut the way
the sets are cut, so that it is to the train rows what the test set is to them. In: validated rows
and the experiment. Out: `SplitSets`, or EmptySet with the counts; masks of the train rows.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EmptySet, UnusableTable, listed
from experiment_pipeline.spec import ExperimentSpec, TimeSplit
from experiment_pipeline.stages.validated_data.rows import Origin
from experiment_pipeline.storage.tables import Codes
from experiment_pipeline.table.clusters import (
    canonical_order,
    classes_of,
    cluster_hashes,
    equal_rows,
    numbered,
    times_of,
)
from experiment_pipeline.table.digests import TableDigest, cell_hashes, salt_number
from experiment_pipeline.table.kinds import holds_objects
from experiment_pipeline.table.membership import (
    LEFT_OUT,
    SETS,
    codes_of,
    cut_by_hash,
    cut_tail,
    has_keys,
)
from experiment_pipeline.table.table import AnyTable, Columns, Table, made, picked

FITTED, STOPS, BETWEEN = 0, 1, 2
MOST_CLASSES_SHOWN = 20
# A share of the rows that is off by more than a fifth of itself is worth a note.
SHARE_OFF = 0.2
FIXES = {
    "random": "Deliver more rows, raise the set's fraction, or unite rare classes by "
    "preparation.categories.",
    "group": "Write another split.seed, raise the set's fraction, or deliver more groups.",
    "time": "Change split.fractions, shorten split.gap, or deliver a longer time.",
    "column": "Correct the split column, or the values that split names for the set.",
}


@dataclass(frozen=True)
class SplitSets(Generic[AnyTable]):
    """Disjoint parts of the validated rows, each in the canonical order of rows.

    Attributes:
        train: rows to fit on.
        test: rows to choose between configurations on.
        validation: rows to look at once, with the chosen one.
        notes: how the rows were told apart and what that entails, for people to read.
        digests: set → `raw_data.rows_digest` of its table: the order of the source's rows has
            no part in it.
        summary: a row per set: `set`, `rows`, `share`; for classes the share of each (up to
            20), for regression `mean` and `std` of the target; by time `first` and `last`.
        left_out: number of validated rows in no set: those of the gap.
    """

    train: AnyTable
    test: AnyTable
    validation: AnyTable
    notes: tuple[str, ...]
    digests: Mapping[str, str]
    summary: pd.DataFrame
    left_out: int = 0

    def tables(self) -> dict[str, AnyTable]:
        """Return set → table, in the order train, test, validation."""
        return {name: getattr(self, name) for name in SETS}


@dataclass(frozen=True, eq=False)
class StoredSet:
    """One set as it is stored, and what the stages after it must know of it.

    Attributes:
        rows: of the set, in the canonical order.
        digest: of the rows: two stages with other digests have read other sets.
        early_stopping: of each train row what it is to a fit that stops early: `FITTED` on, `STOPS` it, or
            `BETWEEN` the two in time. Empty for the other sets.
        origin: what the rows were made of.
    """

    rows: Table
    digest: str
    early_stopping: Codes
    origin: Origin


@dataclass(frozen=True, eq=False)
class SetTable(StoredSet):
    """A stored set, whose rows are in memory."""

    rows: pd.DataFrame


def as_stored(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str], origin: Origin
) -> dict[str, StoredSet]:
    """Return set → what is stored of it; EmptySet as `early_stopping_rows`."""
    inner = early_stopping_rows(sets.train, spec, features)
    between = early_stopping_gap(sets.train, inner, spec)
    codes = {"train": np.select([inner, between], [STOPS, BETWEEN], FITTED).astype(np.uint8)}
    nothing = np.empty(0, np.uint8)
    return {
        name: StoredSet(table, sets.digests[name], codes.get(name, nothing), origin)
        for name, table in sets.tables().items()
    }


def split(
    validated: AnyTable,
    spec: ExperimentSpec,
    features: Sequence[str],
    membership: pd.Series,
    cells: Callable[[], MutableMapping[str, pd.Series]] | None = None,
) -> SplitSets[AnyTable]:
    """Cut the validated rows into three sets, those that `assign_sets` gave the prepared rows.

    So the data analysis has kept away from those of the validation set, and a rejected row shifts
    no cut in time or in a small class.

    Args:
        validated: rows that satisfy the schema.
        spec: the experiment.
        features: feature columns.
        membership: the set of each row.
        cells: makes a place for the columns of a set, of a table that holds none; None: they are
            picked out of the table whenever they are asked for.

    Raises:
        EmptySet: a set would be empty, or lack a class.
        UnusableTable: a row lacks the value that the split goes by, or it names no set.
    """
    _check_keys(validated, spec)
    if not membership.index.equals(validated.index):
        membership = membership.reindex(validated.index)
    _check_values_named(validated, membership, spec)
    order = canonical_order(validated, spec, features)
    in_order = codes_of(membership)[order]
    places = {name: order[in_order == code] for code, name in enumerate(SETS)}
    del order, in_order
    tables, digests = _cut(validated, places, cells)
    for name, table in tables.items():
        _check_filled(name, table, validated, spec)
    left_out = len(validated) - sum(map(len, tables.values()))
    return SplitSets(
        **tables,
        notes=tuple(_notes(validated, tables, spec, features, left_out)),
        digests=digests,
        summary=pd.DataFrame([_facts(name, tables, spec) for name in SETS]),
        left_out=left_out,
    )


def _cut(
    validated: AnyTable,
    places: Mapping[str, np.ndarray],
    cells: Callable[[], MutableMapping[str, pd.Series]] | None,
) -> tuple[dict[str, AnyTable], dict[str, str]]:
    """Pick each set, and digest it as `rows_digest` does; each column is had and hashed once."""
    tables = {name: picked(validated, rows) for name, rows in places.items()}
    digests = {name: TableDigest(pd.RangeIndex(len(rows))) for name, rows in places.items()}
    kept = {name: cells() for name in places} if cells and isinstance(validated, Columns) else {}
    for column in validated.columns:
        whole = validated[column]
        # Of objects, each set must be hashed alone: what else is in the column changes how.
        hashes = None if holds_objects(whole) else cell_hashes(whole)
        for name, rows in places.items():
            own = cell_hashes(whole.iloc[rows]) if hashes is None else hashes[rows]
            digests[name].add(column, whole.dtype, own)
            if name in kept:
                kept[name][column] = whole.iloc[rows]
    tables |= {name: made(tables[name], tables[name].index, own) for name, own in kept.items()}
    return tables, {name: digest.hexdigest() for name, digest in digests.items()}


def _check_keys(validated: Table, spec: ExperimentSpec) -> None:
    lacking = ~has_keys(validated, spec)
    if lacking.any():
        names = [*spec.split.id_columns, getattr(spec.split, "column", None)]
        raise UnusableTable(
            f"split columns {listed(name for name in names if name)}",
            f"{lacking.sum()} rows lack a value, the first is row {validated.index[lacking][0]}",
            "Drop nullable there in schema.yaml: these rows are then rejected.",
        )


def _check_values_named(validated: Table, membership: pd.Series, spec: ExperimentSpec) -> None:
    unnamed = (membership == LEFT_OUT).to_numpy()
    if spec.split.by == "column" and unnamed.any():
        raise UnusableTable(
            f"split.column {spec.split.column}",
            f"{unnamed.sum()} rows hold values that name no set: "
            f"{listed(validated[spec.split.column][unnamed].unique())}",
            "List these values under split.train, test or validation, or reject them by isin.",
        )


def _check_filled(name: str, table: Table, validated: Table, spec: ExperimentSpec) -> None:
    if not len(table):
        raise EmptySet(
            f"{name} set", f"0 of {len(validated)} rows fall into it", FIXES[spec.split.by]
        )
    if spec.task == "regression":
        return
    target = validated[spec.target]
    lacking = target[~target.isin(table[spec.target].unique())]
    if len(lacking):
        counts = lacking.value_counts()
        raise EmptySet(
            f"{name} set",
            f"its {len(table):,} rows lack {len(counts)} {'class' if len(counts) == 1 else 'classes'} of {spec.target}: "
            + ", ".join(f"{value!r} ({rows} rows in all)" for value, rows in counts[:5].items()),
            FIXES[spec.split.by],
        )


def _facts(name: str, tables: Mapping[str, Table], spec: ExperimentSpec) -> dict[str, object]:
    table, rows = tables[name], sum(map(len, tables.values()))
    facts: dict[str, object] = {"set": name, "rows": len(table), "share": len(table) / rows}
    target = table[spec.target]
    if spec.task == "regression":
        facts |= {"mean": float(target.mean()), "std": float(target.std())}
    elif target.nunique() <= MOST_CLASSES_SHOWN:
        shares = target.value_counts(normalize=True).sort_index()
        facts |= {f"{spec.target}={value}": float(share) for value, share in shares.items()}
    if spec.split.by == "time":
        times = table[spec.split.column]
        facts |= {"first": str(times.min()), "last": str(times.max())}
    return facts


def _notes(
    validated: Table,
    tables: Mapping[str, Table],
    spec: ExperimentSpec,
    features: Sequence[str],
    left_out: int,
) -> Iterator[str]:
    if spec.split.by == "random" and not spec.split.id_columns:
        yield (
            "Rows are told apart by their features, so a new feature column reshuffles every row. "
            "Name split.id_columns to prevent that."
        )
        yield from _equal_rows(validated, features)
    if isinstance(spec.split, TimeSplit):
        if left_out:
            lie = "row lies" if left_out == 1 else "rows lie"
            yield f"{left_out:,} {lie} within the gap of {spec.split.gap} and in no set."
        yield from _unseen_calendar(tables, spec, features)
    if spec.split.by in ("random", "group"):
        fractions = spec.split.fractions
        for name, table in tables.items():
            share, wanted = len(table) / len(validated), getattr(fractions, name)
            if abs(share - wanted) > SHARE_OFF * wanted:
                yield (
                    f"The {name} set holds {share:.1%} of the rows instead of {wanted:.1%}: "
                    "units are few, or one holds many rows."
                )


def _equal_rows(validated: Table, features: Sequence[str]) -> Iterator[str]:
    """Tell which equal rows were taken for copies, and which for different cases."""
    equal = equal_rows(validated, features, "notes")
    if together := int(np.sum(equal.repeated & ~equal.by_chance)):
        yield (
            f"{together:,} of {len(validated):,} rows equal another in every feature, more than the "
            "rows around them let expect: they are taken for copies, and stay in one set."
        )
    if apart := int(np.sum(equal.by_chance)):
        yield (
            f"{apart:,} of {len(validated):,} rows equal another in every feature, as the rows "
            "around them let expect: they are taken for different cases, each by chance in a set."
        )


def _unseen_calendar(
    tables: Mapping[str, Table], spec: ExperimentSpec, features: Sequence[str]
) -> Iterator[str]:
    """Tell where a set holds months, weekdays or hours that training never saw."""
    for source, parts in spec.preparation.calendar.items():
        for column in (f"{source}_{part}" for part in parts):
            if column not in features:
                continue
            seen = set(tables["train"][column].dropna())
            for name in ("test", "validation"):
                values = tables[name][column].dropna()
                unseen = sorted(set(values) - seen)
                if unseen:
                    share = values.isin(unseen).mean()
                    yield (
                        f"{column}: {share:.1%} of the {name} rows hold values that the train "
                        f"set lacks ({listed(f'{value:g}' for value in unseen)}); a model can "
                        "only guess there. Leave this part out of preparation.calendar."
                    )


HELD_OUT = 0.15


def early_stopping_rows(
    train: Table, spec: ExperimentSpec, features: Sequence[str], draw: str = ""
) -> np.ndarray:
    """Choose about 15 % of the train rows to hold out for early stopping.

    By time: the last rows. By group: whole groups. Else: whole clusters by a hash with a salt
    of its own. Each side holds every class wherever a cut allows it. Train rows that are all
    of one cluster (one timestamp, one group) are told apart all the same, for want of better.

    Args:
        train: rows to fit on.
        spec: its split says how to cut.
        features: feature columns.
        draw: another name is another draw of clusters.

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
    salt = f"inner/{getattr(spec.split, 'seed', 0)}{draw}"
    classes = _classes(train, spec)
    places: np.ndarray
    if spec.split.by == "time":
        places, _ = times_of(train, spec.split.column, pd.Timedelta(0))
    else:
        places = cluster_hashes(train, spec.split, spec.target, features, salt)
    if (places == places[0]).all():
        places = numbered(train, np.full(len(train), salt_number(salt)))
    elif spec.split.by in ("time", "group"):
        return cut_tail(places, classes, HELD_OUT)
    held_out: np.ndarray = cut_by_hash(places, classes, (1 - HELD_OUT, HELD_OUT)) == 1
    # Where each class is a single cluster, none of them can be parted.
    return held_out if held_out.any() else cut_tail(places, classes, HELD_OUT)


def early_stopping_gap(train: Table, inner: np.ndarray, spec: ExperimentSpec) -> np.ndarray:
    """Tell which train rows lie within the split's gap before the early-stopping set.

    A fit that stops on the slice leaves them out, as the gap between the sets does. Where less
    than half of the rows before the slice would be left, or a class would be lost, there is no
    gap: a train set too short for it is fitted on as it is.

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


def _classes(train: Table, spec: ExperimentSpec) -> np.ndarray:
    if spec.task == "regression":
        return np.zeros(len(train), dtype=np.int64)
    return classes_of(train[spec.target])
