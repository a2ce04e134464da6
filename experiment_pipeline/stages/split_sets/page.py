"""The three sets as outcomes, and the checks of them.

An empty list of problems means that a check passes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.outcome import Check, Notes, Outcome, Rows
from experiment_pipeline.reporting.run_record import SetRow
from experiment_pipeline.spec import ExperimentSpec, TimeSplit, kept_apart
from experiment_pipeline.stages.split_sets.sets import SplitSets
from experiment_pipeline.statistics.distances import STATISTIC
from experiment_pipeline.table.clusters import equal_rows, times_of
from experiment_pipeline.table.digests import distinct, row_hashes, value_hashes
from experiment_pipeline.table.membership import SETS
from experiment_pipeline.table.samples import differences

PAIRS = list(combinations(SETS, 2))
# Rows that a model may have memorised raise a share of right answers by at most their
# own share.
TOLERATED_COPIES = 0.01
# Copies have the same target. If targets of equal rows differ at least a quarter as
# often as those of any two rows, equal rows are different cases.
CONTRADICTED = 0.25


class Copies(NamedTuple):
    """What equal rows in two sets mean: problems, and what is only told."""

    problems: list[str]
    caveats: list[str]
    notes: list[str]


def outcome(sets: SplitSets, name: str) -> Outcome:
    """Return one of the sets; the notes are of all three."""
    table = sets.by_name()[name]
    rows, columns = table.rows.shape
    return Outcome(
        value=table,
        version=table.digest,
        facts={
            "dagster/row_count": rows,
            "digest": table.digest,
            "sets": Rows(sets.summary),
            "notes": Notes(sets.notes),
        },
        record=[SetRow(set_name=name, rows=rows, columns=columns, digest=table.digest)],
    )


def checks(
    sets: SplitSets,
    validated: pd.DataFrame,
    spec: ExperimentSpec,
    features: Sequence[str],
) -> list[Check]:
    """Return the checks of the three sets together."""
    copies = check_copies(sets, spec, features)
    different = check_look_alike(sets, spec, features)
    alarming = int(different["alarming"].sum())
    compared = numbers.counted(len(different), "comparison")
    return [
        Check.of(
            "sets_are_disjoint",
            check_disjoint(sets, validated),
            holds=f"each row is in one set: {sets.in_words}; {sets.left_out:,} left "
            "out",
        ),
        Check.of(
            "nothing_leaks_between_sets",
            [*check_leaks(sets, spec), *copies.problems],
            holds="no id, group, time or copy of a row is in more than one set",
            caveats=copies.caveats,
            notes=copies.notes,
        ),
        Check(
            "sets_look_alike",
            passed=not alarming,
            means=f"{alarming} of {compared} of a column of test or validation with "
            "train differ by more than noise",
            severity="warning",
            value=alarming,
            limit=0,
            facts={"differences": Rows(different)},
        ),
    ]


def check_disjoint(sets: SplitSets, validated: pd.DataFrame) -> list[str]:
    """Check that every validated row is in one set, or left out by the gap."""
    rows = {name: table.index.to_numpy() for name, table in sets.rows().items()}
    problems = []
    for first, second in PAIRS:
        if shared := int(np.isin(rows[first], rows[second]).sum()):
            count = numbers.counted(shared, "row")
            problems.append(f"{first} and {second} share {count}")
    for name, numbers_of_set in rows.items():
        if twice := len(numbers_of_set) - len(np.unique(numbers_of_set)):
            problems.append(f"{name} has {numbers.counted(twice, 'row')} twice")
        unknown = ~np.isin(numbers_of_set, validated.index.to_numpy())
        if unknown.any():
            count = numbers.counted(int(unknown.sum()), "row")
            problems.append(f"{name} has {count} that are not validated")
    in_sets = sum(map(len, rows.values()))
    if not problems and in_sets + sets.left_out != len(validated):
        problems.append(
            f"{in_sets:,} rows in the sets and {sets.left_out:,} left out are not the "
            f"{len(validated):,} validated rows"
        )
    return problems


@dataclass(frozen=True)
class _RepeatedRows:
    """The rows (k,) of a set that equal another one, in any set.

    `hashes` are of the features, `with_target` also of the target; `copied` are copies.
    """

    hashes: np.ndarray
    with_target: np.ndarray
    copied: np.ndarray


def check_copies(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> Copies:
    """Compare the rows of each set with those of each earlier one.

    Copies are a leak where nothing shows that equal rows are different cases: neither
    ids, groups or time, nor the rows around them (see `equal_rows`), nor their targets.
    """
    tables = sets.rows()
    repeated = _repeated_rows(tables, spec, features)
    differ = _share_of_differing_targets(tables, spec)
    distinguished_by = _distinguished_by(spec)
    problems: list[str] = []
    caveats: list[str] = []
    notes: list[str] = []
    for first, second in PAIRS:
        earlier, later = repeated[first], repeated[second]
        in_both = np.isin(later.hashes, earlier.hashes)
        copied = in_both & later.copied
        other_target = copied & ~np.isin(later.with_target, earlier.with_target)
        rows = len(tables[second])
        equal = int(in_both.sum())
        copies = int(copied.sum())
        contradicted = int(other_target.sum())
        few_copies = copies <= TOLERATED_COPIES * rows
        text = (
            f"{equal:,} of {rows:,} {second} rows ({equal / rows:.1%}) equal a {first} "
            f"row in every feature; chance can explain {equal - copies} of them"
        )
        if distinguished_by:
            text += f"; {distinguished_by}, so they are taken for different cases"
        elif not few_copies and contradicted <= CONTRADICTED * differ * copies:
            problems.append(
                f"{text}, and the copies agree in the target; name the entity in "
                "split: {by: group}, or write validation: {duplicate_rows: reject}"
            )
            continue
        elif not few_copies:
            text += f", and {contradicted} of the others have another target"
        if equal > TOLERATED_COPIES * rows:
            (notes if few_copies else caveats).append(text)
    return Copies(problems, caveats, notes)


def _repeated_rows(
    tables: Mapping[str, pd.DataFrame], spec: ExperimentSpec, features: Sequence[str]
) -> dict[str, _RepeatedRows]:
    """Return the rows of each set that equal another: no others equal one elsewhere."""
    equal = equal_rows([*tables.values()], features, "leaks")
    repeated = {}
    start = 0
    for name, table in tables.items():
        of_set = slice(start, start + len(table))
        start += len(table)
        rows = np.flatnonzero(equal.repeated[of_set])
        repeated[name] = _RepeatedRows(
            hashes=equal.hashes[of_set][rows],
            with_target=row_hashes(table, [*features, spec.target], "leaks", rows),
            copied=equal.copied[of_set][rows],
        )
    return repeated


def _share_of_differing_targets(
    tables: Mapping[str, pd.DataFrame], spec: ExperimentSpec
) -> float:
    """Return which share of all pairs of rows have different targets, 0 … 1."""
    hashes = [value_hashes(table[spec.target]) for table in tables.values()]
    counts = np.unique(np.concatenate(hashes), return_counts=True)[1]
    return 1 - float(np.sum((counts / counts.sum()) ** 2))


def _distinguished_by(spec: ExperimentSpec) -> str:
    """Return what says that equal rows are different cases; empty: nothing does."""
    if spec.split.id_columns:
        return f"their ids ({', '.join(spec.split.id_columns)}) differ"
    words = {"group": "their groups differ", "time": "their times differ"}
    return words.get(spec.split.by, "")


def check_leaks(sets: SplitSets, spec: ExperimentSpec) -> list[str]:
    """Check whether the sets share ids or groups, or overlap in time."""
    problems: list[str] = []
    tables = sets.rows()
    if spec.split.id_columns:
        hint = ""
        if spec.split.by == "time":
            hint = (
                "; where one has rows at several times, "
                f"add {spec.split.column} to id_columns"
            )
        problems += [
            f"{text}{hint}" for text in _shared(tables, "id", spec.split.id_columns)
        ]
    if (group := kept_apart(spec.split)) is not None:
        problems += _shared(tables, "group", [group])
    if isinstance(spec.split, TimeSplit):
        problems += _overlaps_in_time(tables, spec.split)
    return problems


def _shared(
    tables: Mapping[str, pd.DataFrame], noun: str, columns: Sequence[str]
) -> Iterator[str]:
    hashes = {
        name: distinct(row_hashes(table, columns, "leaks"))
        for name, table in tables.items()
    }
    for first, second in PAIRS:
        common = np.intersect1d(hashes[first], hashes[second], assume_unique=True)
        if len(common):
            count = numbers.counted(len(common), noun)
            yield f"{first} and {second} share {count} ({', '.join(columns)})"


def _overlaps_in_time(
    tables: Mapping[str, pd.DataFrame], split: TimeSplit
) -> Iterator[str]:
    gap = pd.Timedelta(split.gap)
    for earlier, later in (("train", "test"), ("test", "validation")):
        before, least = times_of(tables[earlier], split.column, gap)
        after, _ = times_of(tables[later], split.column, gap)
        distance = after.min() - before.max()
        if distance <= 0:
            yield f"{later} begins before {earlier} ends, in {split.column}"
        elif distance < least:
            yield f"{later} begins within the gap of {split.gap} after {earlier}"


def check_look_alike(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> pd.DataFrame:
    """Compare target and features of test and validation with those of train.

    The largest effects come first.
    """
    compared = []
    train, *later_sets = sets.rows().values()
    for column in (spec.target, *features):
        samples = [table[column] for table in later_sets]
        against_train = differences(train[column], *samples)
        for name, difference in zip(("test", "validation"), against_train, strict=True):
            compared.append(
                {
                    "column": column,
                    "set": name,
                    "statistic": STATISTIC,
                    "effect_size": difference.effect_size,
                    "alarming": difference.alarming,
                }
            )
    return pd.DataFrame(compared).sort_values(
        ["alarming", "effect_size"], ascending=False, kind="stable", ignore_index=True
    )
