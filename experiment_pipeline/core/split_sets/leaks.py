"""What the sets must not share, in words; an empty list means that they do not.

In: the sets and the experiment. Out: problems for blocking asset checks.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from experiment_pipeline.core.row_hashes import row_hashes
from experiment_pipeline.core.spec import ExperimentSpec, TimeSplit
from experiment_pipeline.core.split_sets.assignment import SETS
from experiment_pipeline.core.split_sets.sets import SplitSets
from experiment_pipeline.core.split_sets.units import few_combinations, times_of

PAIRS = list(combinations(SETS, 2))
# Rows that a model can have memorised lift a share of right answers by at most their own share.
TOLERATED_COPIES = 0.01


def check_disjoint(sets: SplitSets, validated: pd.DataFrame) -> list[str]:
    """Tell whether every validated row is in one set, unchanged, or left out by the gap."""
    tables = sets.tables()
    problems = [
        f"{len(shared)} rows are in both {one} and {other}"
        for one, other in PAIRS
        if len(shared := tables[one].index.intersection(tables[other].index))
    ]
    for name, table in tables.items():
        if twice := int(table.index.duplicated().sum()):
            problems.append(f"{twice} rows are in {name} twice")
        if invented := len(table.index.difference(validated.index)):
            problems.append(f"{invented} rows of {name} are no validated rows")
    rows = sum(map(len, tables.values()))
    if not problems and rows + sets.left_out != len(validated):
        problems.append(
            f"{rows} rows in the sets and {sets.left_out} left out are not the "
            f"{len(validated)} validated rows"
        )
    return problems


def check_leaks(sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]) -> list[str]:
    """Tell whether the sets share ids or groups, overlap in time, or hold copies of rows.

    Copies are rows equal in every feature. Up to 1 % of a set is tolerated, and any number
    where the features have at most half as many combinations as there are rows.
    """
    problems = []
    if spec.split.id_columns:
        problems += _shared(sets, spec.split.id_columns, "ids")
    if spec.split.by == "group":
        problems += _shared(sets, [spec.split.column], "groups")
    if isinstance(spec.split, TimeSplit):
        problems += _overlaps(sets, spec.split)
    return problems + list(_copies(sets, features))


def _shared(sets: SplitSets, columns: Sequence[str], what: str) -> list[str]:
    hashes = {
        name: np.unique(row_hashes(table, columns, "leaks"))
        for name, table in sets.tables().items()
    }
    return [
        f"{len(shared)} {what} ({', '.join(columns)}) are in both {one} and {other}"
        for one, other in PAIRS
        if len(shared := np.intersect1d(hashes[one], hashes[other], assume_unique=True))
    ]


def _overlaps(sets: SplitSets, split: TimeSplit) -> list[str]:
    problems, tables = [], sets.tables()
    for earlier, later in (("train", "test"), ("test", "validation")):
        before, gap = times_of(tables[earlier], split.column, pd.Timedelta(split.gap))
        after, _ = times_of(tables[later], split.column, pd.Timedelta(split.gap))
        distance = after.min() - before.max()
        if distance <= 0:
            problems.append(f"{later} begins before {earlier} ends, in {split.column}")
        elif distance < gap:
            problems.append(f"{later} begins within the gap of {split.gap} after {earlier}")
    return problems


def _copies(sets: SplitSets, features: Sequence[str]) -> Iterator[str]:
    tables = sets.tables()
    rows = sum(map(len, tables.values()))
    columns = (pd.concat([table[name] for table in tables.values()]) for name in features)
    if few_combinations(columns, rows):
        return
    hashes = {name: row_hashes(table, features, "leaks") for name, table in tables.items()}
    for one, other in PAIRS:
        copies = np.isin(hashes[other], hashes[one])
        if copies.mean() > TOLERATED_COPIES:
            yield (
                f"{copies.sum()} of {len(copies)} {other} rows ({copies.mean():.1%}) equal a "
                f"{one} row in every feature; name the entity in split: {{by: group}}, or write "
                "validation: {duplicate_rows: reject}"
            )
