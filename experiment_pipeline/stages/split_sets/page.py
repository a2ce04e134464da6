"""The three sets as outcomes, and the checks of them; an empty list of problems means
that a check passes.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.outcome import Check, Notes, Outcome, Rows
from experiment_pipeline.reporting.run_record import SetRow
from experiment_pipeline.spec import ExperimentSpec, TimeSplit
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
    problems, caveats, notes = check_copies(sets, spec, features)
    counts = ", ".join(f"{name} {len(table):,}" for name, table in sets.rows().items())
    disjoint = f"each row is in one set: {counts}; {sets.left_out:,} left out"
    different = check_look_alike(sets, spec, features)
    alarming = int(different["alarming"].sum())
    compared = numbers.counted(len(different), "comparison")
    return [
        Check.of("sets_are_disjoint", check_disjoint(sets, validated), holds=disjoint),
        Check.of(
            "nothing_leaks_between_sets",
            [*check_leaks(sets, spec), *problems],
            holds="no id, group, time or copy of a row is in more than one set",
            caveats=caveats,
            notes=notes,
        ),
        Check(
            "sets_look_alike",
            passed=not alarming,
            means=f"{alarming} of {compared} of a column of test or validation with train differ "
            "by more than noise",
            severity="warning",
            value=alarming,
            limit=0,
            facts={"differences": Rows(different)},
        ),
    ]


def check_disjoint(sets: SplitSets, validated: pd.DataFrame) -> list[str]:
    """Check that every validated row is in one set, unchanged, or left out by
    the gap.
    """
    rows = {name: table.index.to_numpy() for name, table in sets.rows().items()}
    problems = [
        f"{one} and {other} share {numbers.counted(shared, 'row')}"
        for one, other in PAIRS
        if (shared := int(np.isin(rows[one], rows[other]).sum()))
    ]
    for name, own in rows.items():
        if twice := len(own) - len(np.unique(own)):
            problems.append(f"{name} has {numbers.counted(twice, 'row')} twice")
        if invented := int((~np.isin(own, validated.index.to_numpy())).sum()):
            problems.append(
                f"{name} has {numbers.counted(invented, 'row')} that are not validated"
            )
    held = sum(map(len, rows.values()))
    if not problems and held + sets.left_out != len(validated):
        problems.append(
            f"{held:,} rows in the sets and {sets.left_out:,} left out are not the "
            f"{len(validated):,} validated rows"
        )
    return problems


def check_copies(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Compare the rows of each set with those of each earlier one: problems, caveats,
    notes.

    Copies are a leak where nothing shows that equal rows are different cases: neither
    ids, groups or time, nor the rows around them (see `equal_rows`), nor their targets.
    """
    tables = sets.rows()
    equal = equal_rows([*tables.values()], features, "leaks")
    # Only a row that equals another one can equal one of another set.
    several = np.flatnonzero(equal.repeated)
    hashes, copied = equal.hashes[several], equal.copied[several]
    starts = np.cumsum([0, *map(len, tables.values())])
    ends = np.searchsorted(several, starts)
    rows = {name: slice(*ends[number : number + 2]) for number, name in enumerate(SETS)}
    named, whole = [*features, spec.target], np.empty(0, np.uint64)
    for number, (name, table) in enumerate(tables.items()):
        own = row_hashes(table, named, "leaks", several[rows[name]] - starts[number])
        whole = np.concatenate([whole, own])
    targets = np.concatenate(
        [value_hashes(table[spec.target]) for table in tables.values()]
    )
    counts = np.unique(targets, return_counts=True)[1]
    usual = 1 - float(
        np.sum((counts / counts.sum()) ** 2)
    )  # share of pairs that differ
    declared = {"group": "their groups differ", "time": "their times differ"}.get(
        spec.split.by, ""
    )
    if spec.split.id_columns:
        declared = f"their ids ({', '.join(spec.split.id_columns)}) differ"
    problems, caveats, notes = list[str](), list[str](), list[str]()
    for one, other in PAIRS:
        found = np.isin(hashes[rows[other]], hashes[rows[one]])
        copies = found & copied[rows[other]]
        contradicted = int(
            (copies & ~np.isin(whole[rows[other]], whole[rows[one]])).sum()
        )
        total, number = len(tables[other]), int(found.sum())
        by_chance = copies.sum() <= TOLERATED_COPIES * total
        text = (
            f"{number:,} of {total:,} {other} rows ({number / total:.1%}) equal a {one} row in every "
            f"feature; chance can explain {number - copies.sum()} of them"
        )
        if declared:
            text += f"; {declared}, so they are taken for different cases"
        elif not by_chance and contradicted <= CONTRADICTED * usual * copies.sum():
            way = "name the entity in split: {by: group}, or write validation: {duplicate_rows: reject}"
            problems.append(f"{text}, and the copies agree in the target; {way}")
            continue
        elif not by_chance:
            text += f", and {contradicted} of the others have another target"
        if number > TOLERATED_COPIES * total:
            (notes if by_chance else caveats).append(text)
    return problems, caveats, notes


def check_leaks(sets: SplitSets, spec: ExperimentSpec) -> list[str]:
    """Check whether the sets share ids or groups, or overlap in time."""
    problems, tables = [], sets.rows()
    shared = {"id": spec.split.id_columns}
    if spec.split.by == "group":
        shared["group"] = (spec.split.column,)
    for what, columns in shared.items():
        hashes = {
            name: distinct(row_hashes(t, columns, "leaks"))
            for name, t in tables.items()
        }
        for one, other in PAIRS if columns else ():
            both = len(np.intersect1d(hashes[one], hashes[other], assume_unique=True))
            if both:
                count = numbers.counted(both, what)
                text = f"{one} and {other} share {count} ({', '.join(columns)})"
                if what == "id" and spec.split.by == "time":
                    text += f"; where one has rows at several times, add {spec.split.column} to id_columns"
                problems.append(text)
    if isinstance(spec.split, TimeSplit):
        column, gap = spec.split.column, pd.Timedelta(spec.split.gap)
        for earlier, later in (("train", "test"), ("test", "validation")):
            before, least = times_of(tables[earlier], column, gap)
            distance = times_of(tables[later], column, gap)[0].min() - before.max()
            if distance <= 0:
                problems.append(f"{later} begins before {earlier} ends, in {column}")
            elif distance < least:
                problems.append(
                    f"{later} begins within the gap of {spec.split.gap} after {earlier}"
                )
    return problems


def check_look_alike(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> pd.DataFrame:
    """Compare target and features of test and validation with those of train, the
    largest effects first.
    """
    compared = []
    for column in (spec.target, *features):
        found = differences(*(table[column] for table in sets.rows().values()))
        for name, apart in zip(("test", "validation"), found, strict=True):
            compared.append(
                (column, name, STATISTIC, apart.effect_size, apart.alarming)
            )
    columns = ["column", "set", "statistic", "effect_size", "alarming"]
    return pd.DataFrame(compared, columns=columns).sort_values(
        ["alarming", "effect_size"], ascending=False, kind="stable", ignore_index=True
    )
