"""The three sets as tables, and the early-stopping set: train rows, held out in the way
the sets are cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EmptySet, UnusableTable, listed
from experiment_pipeline.intake.validation import Origin, ValidatedRows
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, TimeSplit
from experiment_pipeline.storage.tables import Codes
from experiment_pipeline.table import clusters
from experiment_pipeline.table.digests import TableDigest, cell_hashes, salt_number
from experiment_pipeline.table.kinds import holds_objects
from experiment_pipeline.table.membership import (
    SETS,
    cut_by_hash,
    cut_tail,
    has_keys,
    split_keys,
)
from experiment_pipeline.table.table import of_columns, spilled

FITTED, STOPS, BETWEEN = 0, 1, 2
MOST_CLASSES_SHOWN = 20
FIXES = {
    "random": "Deliver more rows, raise the set's fraction, or merge classes by "
    "preparation.categories.",
    "group": "Write another split.seed, raise the set's fraction, or deliver more "
    "groups.",
    "time": "Change split.fractions, shorten split.gap, deliver a longer time, or, "
    "with a group, write predicts: both.",
    "column": "Correct the split column, or the values that split names for the set.",
}


@dataclass(frozen=True, eq=False)
class SetTable:
    """One set as it is stored, in the canonical order, and what later stages must know
    about it.

    `digest` is the `rows_digest`; `early_stopping` is the role of each train row in a
    fit that stops early: `FITTED` on, `STOPS` it, or `BETWEEN` the two, in time or as
    its group is not one that the model will meet. It is empty for the other sets.
    """

    rows: pd.DataFrame
    digest: str
    early_stopping: Codes
    origin: Origin

    def __repr__(self) -> str:
        return f"<SetTable: {len(self.rows):,} rows>"


@dataclass(frozen=True)
class SplitSets:
    """Disjoint parts of the validated rows, each in the canonical order of rows.

    `summary` is a row per set: `set`, `rows`, `share`; for classes the share of each
    (up to 20), for regression `mean` and `std` of the target; by time `first` and
    `last`. `left_out` rows are in the gap.
    """

    train: SetTable
    test: SetTable
    validation: SetTable
    notes: tuple[str, ...]
    summary: pd.DataFrame
    left_out: int = 0

    def __repr__(self) -> str:
        return f"<SplitSets: {self.in_words} rows>"

    def by_name(self) -> dict[str, SetTable]:
        """Return set → table, in the order train, test, validation."""
        return {name: getattr(self, name) for name in SETS}

    def rows(self) -> dict[str, pd.DataFrame]:
        """Return set → its rows, in the same order."""
        return {name: table.rows for name, table in self.by_name().items()}

    @property
    def in_words(self) -> str:
        """`train 600, test 200, validation 200`."""
        sizes = self.rows().items()
        return ", ".join(f"{name} {len(rows):,}" for name, rows in sizes)


def split(
    validated: ValidatedRows, spec: ExperimentSpec, features: Sequence[str]
) -> SplitSets:
    """Cut the validated rows into the three sets of `assign_sets`.

    Raises EmptySet: a set is empty, or lacks a class; UnusableTable: a row lacks the
    value that it is split by, or the value names no set.
    """
    rows = validated.rows
    _check_keys(validated, spec)
    tables, digests = _cut(validated, clusters.canonical_order(rows, spec, features))
    for name, table in tables.items():
        _check_filled(name, table, rows, spec)
    train = tables["train"]
    roles = early_stopping_roles(train, spec, features)
    sets = {
        name: SetTable(
            table,
            digests[name],
            early_stopping=roles if name == "train" else np.empty(0, np.uint8),
            origin=validated.origin,
        )
        for name, table in tables.items()
    }
    left_out = len(rows) - sum(map(len, tables.values()))
    return SplitSets(
        **sets,
        notes=tuple(_notes(rows, spec, features, left_out)),
        summary=pd.DataFrame([_facts(name, tables, spec) for name in SETS]),
        left_out=left_out,
    )


def _cut(
    validated: ValidatedRows, order: np.ndarray
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return set → rows in this order, and set → their `rows_digest`.

    Each column is picked and hashed once.
    """
    rows = validated.rows
    codes = validated.sets[order]
    places = {name: order[codes == code] for code, name in enumerate(SETS)}
    del order, codes  # 9 bytes a row
    digests = {name: TableDigest(pd.RangeIndex(len(at))) for name, at in places.items()}
    columns: dict[str, dict[str, pd.Series]] = {name: {} for name in places}
    for column in map(str, rows.columns):
        whole = rows[column]
        # Objects are hashed set by set: how they are hashed depends on all values of
        # the column.
        hashes = None if holds_objects(whole) else cell_hashes(whole)
        for name, at in places.items():
            cells = whole.iloc[at]
            of_cells = cell_hashes(cells) if hashes is None else hashes[at]
            digests[name].add(column, whole.dtype, of_cells)
            # Without the index: 8 bytes a row less.
            columns[name][column] = spilled(cells).reset_index(drop=True)
    tables = {
        name: of_columns(columns[name], spilled(rows.index[at]))
        for name, at in places.items()
    }
    return tables, {name: digest.hexdigest() for name, digest in digests.items()}


def _check_keys(validated: ValidatedRows, spec: ExperimentSpec) -> None:
    rows = validated.rows
    lacking = ~has_keys(rows, spec)
    if lacking.any():
        first = rows.index[lacking][0]
        raise UnusableTable(
            f"split columns {listed(split_keys(spec))}",
            rule=f"no value in {numbers.counted(lacking.sum(), 'row')}, the first is "
            f"row {first}",
            fix="Drop nullable there in schema.yaml: these rows are then rejected.",
        )
    unnamed = validated.sets == len(SETS)
    if spec.split.by == "column" and unnamed.any():
        values = rows[spec.split.column][unnamed].unique()
        raise UnusableTable(
            f"split.column {spec.split.column}",
            rule=f"values that name no set in {numbers.counted(unnamed.sum(), 'row')}: "
            f"{listed(values)}",
            fix="List these values under split.train, test or validation, or reject "
            "them by isin.",
        )


def _check_filled(
    name: str, table: pd.DataFrame, validated: pd.DataFrame, spec: ExperimentSpec
) -> None:
    advice = FIXES[spec.split.by]
    if not len(table):
        raise EmptySet(
            f"{name} set", f"0 of {len(validated)} rows fall into it", advice
        )
    if spec.task == "regression":
        return
    target = validated[spec.target]
    lacking = target[~target.isin(table[spec.target].unique())]
    if len(lacking):
        counts = lacking.value_counts()
        classes = numbers.counted(len(counts), "class", "classes")
        named = [
            f"{value!r} ({rows} rows in all)" for value, rows in counts[:5].items()
        ]
        problem = f"its {len(table):,} rows lack {classes} of {spec.target}: "
        raise EmptySet(f"{name} set", problem + ", ".join(named), advice)


def _facts(
    name: str, tables: Mapping[str, pd.DataFrame], spec: ExperimentSpec
) -> dict[str, object]:
    table = tables[name]
    share = len(table) / sum(map(len, tables.values()))
    facts: dict[str, object] = {"set": name, "rows": len(table), "share": share}
    target = table[spec.target]
    if spec.task == "regression":
        facts |= {"mean": float(target.mean()), "std": float(target.std())}
    elif target.nunique() <= MOST_CLASSES_SHOWN:
        shares = target.value_counts(normalize=True).sort_index()
        for value, share_of_class in shares.items():
            facts[f"{spec.target}={value}"] = float(share_of_class)
    if spec.split.by == "time":
        times = table[spec.split.column]
        facts |= {"first": str(times.min()), "last": str(times.max())}
    return facts


def _notes(
    rows: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str], left_out: int
) -> Iterator[str]:
    split = spec.split
    if split.by == "random" and not split.id_columns:
        if not split.columns:
            yield (
                "Rows are identified by their features, so a new feature column "
                "reshuffles every row. Name split.id_columns to prevent that."
            )
        equal = clusters.equal_rows([rows], features, "notes")
        copies = int((equal.repeated & ~equal.by_chance).sum())
        if copies:
            yield _equal_in_words(copies, rows, "copies, which stay in one set")
        people = int(equal.by_chance.sum())
        if people:
            taken_for = "different cases, each by chance in a set"
            yield _equal_in_words(people, rows, taken_for)
    if isinstance(spec.split, TimeSplit) and left_out:
        yield _left_out_in_words(left_out, spec.split)


def _left_out_in_words(left_out: int, split: TimeSplit) -> str:
    rows = numbers.counted(left_out, "row")
    if split.group is None or split.predicts == "both":
        return f"The gap of {split.gap} leaves {rows} out of all sets."
    have = "have" if split.predicts == "new" else "lack"
    return (
        f"In no set: {rows} within the gap of {split.gap}, or in a later set of values "
        f"of {split.group} that earlier sets {have} (predicts: {split.predicts})."
    )


def _equal_in_words(count: int, rows: pd.DataFrame, taken_for: str) -> str:
    return (
        f"{count:,} of {len(rows):,} rows equal another in every feature. Judged by "
        f"the rows around them, they are taken for {taken_for}."
    )


HELD_OUT = 0.15


def early_stopping_roles(
    train: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str], draw: str = ""
) -> np.ndarray:
    """Return the role of each train row in a fit that stops early: uint8 (n,).

    As of `SetTable`; another name in `draw` is another draw of the rows that stop it.
    """
    stopping = _held_out(train, spec, features, draw)
    between = np.zeros(len(train), dtype=bool)
    if isinstance(spec.split, TimeSplit):
        classes = clusters.classes_of(train, spec)
        too_near = ~stopping & _within_gap(train, stopping, spec.split)
        if _can_spare(too_near, ~stopping, classes):
            between |= too_near
        fitted = ~(stopping | between)
        of_others = ~clusters.rows_to_predict(train, spec.split, earlier=fitted)
        of_others &= stopping
        if _can_spare(of_others, stopping, classes):
            between |= of_others
    return np.select([between, stopping], [BETWEEN, STOPS], FITTED).astype(np.uint8)


def _within_gap(
    train: pd.DataFrame, stopping: np.ndarray, split: TimeSplit
) -> np.ndarray:
    """Return the rows from the split's gap before the stopping rows on: bool (n,)."""
    times, distance = clusters.times_of(train, split.column, pd.Timedelta(split.gap))
    later: np.ndarray = times > times[stopping].min() - distance
    return later


def _can_spare(rows: np.ndarray, side: np.ndarray, classes: np.ndarray) -> bool:
    """Whether a side, bool (n,), keeps half of its rows and every class without
    these.
    """
    if not rows.any():
        return True
    stays = side & ~rows
    has_enough = 2 * int(stays.sum()) >= int(side.sum())
    return has_enough and set(classes[stays]) == set(classes[side])


def _held_out(
    train: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str], draw: str
) -> np.ndarray:
    """Choose about 15 % of the train rows to hold out for early stopping: bool (n,).

    Never all or none. By time the last rows, by group whole groups, else whole clusters
    by a salted hash. Each side holds every class wherever a cut allows it.
    """
    if len(train) < 2:
        raise EmptySet(
            "train set",
            rule=f"{len(train)} rows cannot be divided into rows to fit on and rows to "
            "stop on",
            fix="Deliver more rows, or raise split.fractions.train.",
        )
    salt = f"inner/{getattr(spec.split, 'seed', 0)}{draw}"
    classes = clusters.classes_of(train, spec)
    if spec.split.by == "time":
        places, _ = clusters.times_of(train, spec.split.column, pd.Timedelta(0))
    else:
        places = clusters.cluster_hashes(train, spec.split, spec.target, features, salt)
    if (places == places[0]).all():
        places = clusters.numbered(train, np.full(len(train), salt_number(salt)))
    elif spec.split.by in ("time", "group"):
        return cut_tail(places, classes, HELD_OUT)
    held_out: np.ndarray = cut_by_hash(places, classes, (1 - HELD_OUT, HELD_OUT)) == 1
    # Where each class is a single cluster, no class can be divided.
    return held_out if held_out.any() else cut_tail(places, classes, HELD_OUT)
