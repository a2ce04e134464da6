"""What must hold about the sets, in words; an empty list means that it does.

Here: what the sets must not share (rows, ids, time, copies), and whether they look like each other,
which only warns: under a split by time the sets are meant to differ by what changed. In: the sets
and the experiment. Out: problems for asset checks, and an effect size per column and set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, TimeSplit
from experiment_pipeline.stages.split_sets.sets import SplitSets
from experiment_pipeline.statistics.distances import STATISTIC
from experiment_pipeline.table.clusters import equal_rows, times_of
from experiment_pipeline.table.digests import distinct, row_hashes, value_hashes
from experiment_pipeline.table.membership import SETS
from experiment_pipeline.table.samples import differences

PAIRS = list(combinations(SETS, 2))
# Rows that a model can have memorised lift a share of right answers by at most their own share.
TOLERATED_COPIES = 0.01
# Copies bring their target along. Where the targets of equal rows differ a quarter as often as
# those of any two rows, they are different cases.
CONTRADICTED = 0.25


def check_disjoint(sets: SplitSets, validated: pd.DataFrame) -> list[str]:
    """Tell whether every validated row is in one set, unchanged, or left out by the gap."""
    rows = {name: np.sort(table.index.to_numpy()) for name, table in sets.rows().items()}
    problems = [
        f"{one} and {other} share {numbers.counted(shared, 'row')}"
        for one, other in PAIRS
        if (shared := int(np.isin(rows[one], rows[other]).sum()))
    ]
    known = validated.index.to_numpy()
    for name, own in rows.items():
        if twice := int((own[1:] == own[:-1]).sum()):
            problems.append(f"{name} has {numbers.counted(twice, 'row')} twice")
        if invented := int((~np.isin(own, known)).sum()):
            problems.append(f"{name} has {numbers.counted(invented, 'row')} that nobody validated")
    held = sum(map(len, rows.values()))
    if not problems and held + sets.left_out != len(validated):
        problems.append(
            f"{held:,} rows in the sets and {sets.left_out:,} left out are not the "
            f"{len(validated):,} validated rows"
        )
    return problems


def check_leaks(
    sets: SplitSets,
    spec: ExperimentSpec,
    features: Sequence[str],
    pairs: "EqualPairs | None" = None,
) -> list[str]:
    """Tell whether the sets share ids or groups, overlap in time, or hold copies of rows.

    Copies count where nothing says that equal rows are different cases: neither ids, groups or
    time, nor the rows around them (see `equal_rows`), nor their targets. Up to 1 % of a set is
    tolerated. `pairs` are those of `equal_pairs`, where they are known.
    """
    problems = []
    if spec.split.id_columns:
        problems += _shared(sets, spec.split.id_columns, "id")
    if spec.split.by == "group":
        problems += _shared(sets, [spec.split.column], "group")
    if isinstance(spec.split, TimeSplit):
        problems += _overlaps(sets, spec.split)
    if _tells_people_apart(spec):
        return problems
    return problems + [
        f"{pair.in_words()} and in the target; name the entity in split: {{by: group}}, or write "
        "validation: {duplicate_rows: reject}"
        for pair in pairs or equal_pairs(sets, spec, features)
        if pair.leaks
    ]


@dataclass(frozen=True)
class CopiesNote:
    """Rows that equal a row of another set without being a leak, in words.

    Attributes:
        text: how many, and why they are none.
        doubtful: chance alone does not explain them, so people should judge.
    """

    text: str
    doubtful: bool


def note_copies(
    sets: SplitSets,
    spec: ExperimentSpec,
    features: Sequence[str],
    pairs: "EqualPairs | None" = None,
) -> tuple[CopiesNote, ...]:
    """Tell how many rows equal a row of another set without being a leak; it blocks nothing.

    Pairs of sets below 1 % are left out. `pairs` are those of `equal_pairs`, where they are known.
    """
    declared = _tells_people_apart(spec)
    return tuple(
        CopiesNote(f"{pair.in_words()}: {pair.why_no_leak(declared)}", not pair.by_chance)
        for pair in pairs or equal_pairs(sets, spec, features)
        if (declared or not pair.leaks) and pair.equal > TOLERATED_COPIES * pair.rows
    )


def _tells_people_apart(spec: ExperimentSpec) -> str:
    """Return what the YAML says about who is who, in words; empty for nothing."""
    if spec.split.id_columns:
        return f"their ids ({', '.join(spec.split.id_columns)}) differ"
    return {"group": "their groups differ", "time": "their times differ"}.get(spec.split.by, "")


@dataclass(frozen=True)
class _EqualPair:
    """Rows of a later set that equal a row of an earlier one in every feature.

    Attributes:
        earlier: name of a set.
        later: name of another.
        rows: of the later set.
        equal: how many equal a row of the earlier one in every feature.
        copies: those of them that chance cannot explain.
        contradicted: those of the copies whose target no equal row of the earlier set has.
        usual: share of pairs of any two rows whose targets differ.
    """

    earlier: str
    later: str
    rows: int
    equal: int
    copies: int
    contradicted: int
    usual: float

    @property
    def leaks(self) -> bool:
        """Whether more than 1 % of the set are copies, their targets with them."""
        return not self.by_chance and not self._differ

    @property
    def by_chance(self) -> bool:
        """Whether chance explains all but 1 % of the set."""
        return self.copies <= TOLERATED_COPIES * self.rows

    @property
    def _differ(self) -> bool:
        return self.contradicted > CONTRADICTED * self.usual * self.copies

    def in_words(self) -> str:
        return (
            f"{self.equal:,} of {self.rows:,} {self.later} rows ({self.equal / self.rows:.1%}) equal "
            f"a {self.earlier} row in every feature"
        )

    def why_no_leak(self, declared: str) -> str:
        """Say what speaks against copies of a record."""
        explained = f"chance can explain {self.equal - self.copies} of them"
        if declared:
            return f"{declared}, so they are taken for different cases; {explained}"
        if not self.by_chance:
            return f"{explained}, and {self.contradicted} of the others have another target"
        return explained


EqualPairs = Sequence[_EqualPair]


def equal_pairs(sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]) -> EqualPairs:
    """Compare each set with each earlier one; the work is that of hashing the table several times."""
    return list(_equal_pairs(sets, spec, features))


def _equal_pairs(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> Iterator[_EqualPair]:
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
    targets = [table[spec.target] for table in tables.values()]
    usual = _share_that_differs(targets) if copied.any() else 0.0
    for one, other in PAIRS:
        found = np.isin(hashes[rows[other]], hashes[rows[one]])
        copies = found & copied[rows[other]]
        agreeing = np.isin(whole[rows[other]], whole[rows[one]])
        yield _EqualPair(
            earlier=one,
            later=other,
            rows=len(tables[other]),
            equal=int(found.sum()),
            copies=int(copies.sum()),
            contradicted=int((copies & ~agreeing).sum()),
            usual=usual,
        )


def _share_that_differs(parts: Sequence[pd.Series]) -> float:
    """Share of pairs of any two rows whose values differ, of the parts of a column."""
    ordered = np.sort(np.concatenate([value_hashes(part) for part in parts]))
    starts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
    return 1 - float(np.sum((np.diff(starts, append=len(ordered)) / len(ordered)) ** 2))


def _shared(sets: SplitSets, columns: Sequence[str], what: str) -> list[str]:
    hashes = {
        name: distinct(row_hashes(table, columns, "leaks")) for name, table in sets.rows().items()
    }
    return [
        f"{one} and {other} share {numbers.counted(len(shared), what)} ({', '.join(columns)})"
        for one, other in PAIRS
        if len(shared := np.intersect1d(hashes[one], hashes[other], assume_unique=True))
    ]


def _overlaps(sets: SplitSets, split: TimeSplit) -> list[str]:
    problems, tables = [], sets.rows()
    for earlier, later in (("train", "test"), ("test", "validation")):
        before, gap = times_of(tables[earlier], split.column, pd.Timedelta(split.gap))
        after, _ = times_of(tables[later], split.column, pd.Timedelta(split.gap))
        distance = after.min() - before.max()
        if distance <= 0:
            problems.append(f"{later} begins before {earlier} ends, in {split.column}")
        elif distance < gap:
            problems.append(f"{later} begins within the gap of {split.gap} after {earlier}")
    return problems


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
    table = pd.DataFrame(
        compared, columns=["column", "set", "statistic", "effect_size", "alarming"]
    )
    return table.sort_values(
        ["alarming", "effect_size"], ascending=False, kind="stable", ignore_index=True
    )
