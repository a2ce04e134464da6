"""The three sets as outcomes, and what must hold about them; an empty list of problems means it does.

The sets must not share rows, ids, time or copies. Whether they look like each other only warns: under
a split by time the sets are meant to differ by what changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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

ROLE = {
    "train": "Configurations are fitted on it.",
    "test": "Configurations are compared on it.",
    "validation": "The final hold-out: used once, at the end, to evaluate the chosen configuration.",
}
PAIRS = list(combinations(SETS, 2))
# Rows that a model can have memorised lift a share of right answers by at most their own share.
TOLERATED_COPIES = 0.01
# Copies bring their target along. Where the targets of equal rows differ a quarter as often as
# those of any two rows, they are different cases.
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
    sets: SplitSets, validated: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> list[Check]:
    """Return the checks of the three sets together."""
    pairs = list(equal_pairs(sets, spec, features))
    copies = note_copies(spec, pairs)
    counts = (f"{name} {len(table):,}" for name, table in sets.rows().items())
    different = check_look_alike(sets, spec, features)
    alarming = int(different["alarming"].sum())
    compared = numbers.counted(len(different), "comparison")
    return [
        Check.of(
            "sets_are_disjoint",
            check_disjoint(sets, validated),
            holds=f"each row is in one set: {', '.join(counts)}; {sets.left_out:,} left out",
        ),
        Check.of(
            "nothing_leaks_between_sets",
            check_leaks(sets, spec, pairs),
            holds="no id, group, time or copy of a row is in more than one set",
            caveats=[text for text, doubtful in copies if doubtful],
            notes=[text for text, doubtful in copies if not doubtful],
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
    """Check that every validated row is in one set, unchanged, or left out by the gap."""
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
            problems.append(f"{name} has {numbers.counted(invented, 'row')} that nobody validated")
    held = sum(map(len, rows.values()))
    if not problems and held + sets.left_out != len(validated):
        problems.append(
            f"{held:,} rows in the sets and {sets.left_out:,} left out are not the "
            f"{len(validated):,} validated rows"
        )
    return problems


@dataclass(frozen=True)
class EqualPair:
    """Rows of a later set that equal a row of an earlier one in every feature.

    Attributes:
        text: how many they are, in words.
        equal: share of the later set that equals a row of the earlier one.
        copies: how many of them chance cannot explain.
        contradicted: those of the copies whose target no equal row of the earlier set has.
        by_chance: chance explains all but 1 % of the later set.
        differ: the targets of the copies differ too often for copies.
    """

    text: str
    equal: float
    copies: int
    contradicted: int
    by_chance: bool
    differ: bool


def equal_pairs(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> Iterator[EqualPair]:
    """Compare each set with each earlier one; the work is that of hashing the table several times."""
    tables = sets.rows()
    equal = equal_rows([*tables.values()], features, "leaks")
    # Only a row that equals another one can equal one of another set.
    several = np.flatnonzero(equal.repeated)
    hashes, copied = equal.hashes[several], equal.copied[several]
    starts = np.cumsum([0, *map(len, tables.values())])
    ends = np.searchsorted(several, starts)
    rows = {name: slice(*ends[number : number + 2]) for number, name in enumerate(SETS)}
    named = [*features, spec.target]
    whole = np.concatenate(
        [
            row_hashes(table, named, "leaks", several[rows[name]] - starts[number])
            for number, (name, table) in enumerate(tables.items())
        ]
    )
    usual = 0.0  # share of pairs of any two rows whose targets differ
    if copied.any():
        targets = [value_hashes(table[spec.target]) for table in tables.values()]
        counts = np.unique(np.concatenate(targets), return_counts=True)[1]
        usual = 1 - float(np.sum((counts / counts.sum()) ** 2))
    for one, other in PAIRS:
        found = np.isin(hashes[rows[other]], hashes[rows[one]])
        copies = found & copied[rows[other]]
        agreeing = np.isin(whole[rows[other]], whole[rows[one]])
        most, number = len(tables[other]), int(found.sum())
        contradicted = int((copies & ~agreeing).sum())
        yield EqualPair(
            f"{number:,} of {most:,} {other} rows ({number / most:.1%}) equal a {one} row in every "
            f"feature; chance can explain {number - copies.sum()} of them",
            number / most,
            int(copies.sum()),
            contradicted,
            by_chance=bool(copies.sum() <= TOLERATED_COPIES * most),
            differ=bool(contradicted > CONTRADICTED * usual * copies.sum()),
        )


def check_leaks(sets: SplitSets, spec: ExperimentSpec, pairs: Iterable[EqualPair]) -> list[str]:
    """Check whether the sets share ids or groups, overlap in time, or hold copies of rows.

    Copies count where nothing shows that equal rows are different cases: neither ids, groups or
    time, nor the rows around them (see `equal_rows`), nor their targets. Up to 1 % of a set is
    tolerated.
    """
    problems, tables = [], sets.rows()
    shared = {"id": spec.split.id_columns}
    if spec.split.by == "group":
        shared["group"] = (spec.split.column,)
    for what, columns in shared.items():
        hashes = {name: distinct(row_hashes(t, columns, "leaks")) for name, t in tables.items()}
        for one, other in PAIRS if columns else ():
            both = len(np.intersect1d(hashes[one], hashes[other], assume_unique=True))
            if both:
                count = numbers.counted(both, what)
                problems.append(f"{one} and {other} share {count} ({', '.join(columns)})")
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
    if not _declared(spec):
        problems += [
            f"{pair.text}, and the copies agree in the target; name the entity in split: {{by: "
            "group}, or write validation: {duplicate_rows: reject}"
            for pair in pairs
            if not pair.by_chance and not pair.differ
        ]
    return problems


def note_copies(spec: ExperimentSpec, pairs: Iterable[EqualPair]) -> list[tuple[str, bool]]:
    """Return how many rows equal a row of another set without being a leak, where over 1 %.

    Returns:
        (text, whether chance alone does not explain them, so that people should judge).
    """
    notes, declared = [], _declared(spec)
    for pair in pairs:
        if pair.equal <= TOLERATED_COPIES or not (declared or pair.by_chance or pair.differ):
            continue
        why = ""
        if declared:
            why = f"; {declared}, so they are taken for different cases"
        elif not pair.by_chance:
            why = f", and {pair.contradicted} of the others have another target"
        notes.append((f"{pair.text}{why}", not pair.by_chance))
    return notes


def _declared(spec: ExperimentSpec) -> str:
    """Return what the YAML says about who is who, in words; empty for nothing."""
    if spec.split.id_columns:
        return f"their ids ({', '.join(spec.split.id_columns)}) differ"
    return {"group": "their groups differ", "time": "their times differ"}.get(spec.split.by, "")


def check_look_alike(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> pd.DataFrame:
    """Compare target and features of test and validation with those of train.

    Returns:
        Columns `column`, `set`, `statistic`, `effect_size` (0.25 and more is large; see
        `distances`), `alarming` (large, and more than noise); largest effects first.
    """
    compared = []
    for column in (spec.target, *features):
        found = differences(*(table[column] for table in sets.rows().values()))
        for name, apart in zip(("test", "validation"), found, strict=True):
            compared.append((column, name, STATISTIC, apart.effect_size, apart.alarming))
    columns = ["column", "set", "statistic", "effect_size", "alarming"]
    return pd.DataFrame(compared, columns=columns).sort_values(
        ["alarming", "effect_size"], ascending=False, kind="stable", ignore_index=True
    )
