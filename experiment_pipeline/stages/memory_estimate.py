"""How much memory a stage takes, told before it begins, and what to do where there is less.

Estimates from rows, columns, types and settings alone, of what a stage adds to what its process holds
already: `HOLDS` is the one table of them. What fits add depends on their algorithms and is summed up
in `search/memory_needs.py`. The benchmark (part `foreseen`) holds both against measured peaks; from
their spread comes the margin within which nobody is stopped. How much there is:
`storage/memory_limits.py`. In: tables, a limit. Out: what to say, or an error that says what to change.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from sys import getsizeof
from typing import Self

import pandas as pd

from experiment_pipeline.errors import NotEnoughMemory
from experiment_pipeline.reporting import numbers
from experiment_pipeline.storage.mapped import HELD_BYTES, expect_place
from experiment_pipeline.storage.memory_limits import MemoryLimit, memory_limit
from experiment_pipeline.storage.spill import BATCH_ROWS
from experiment_pipeline.storage.tables import StoredTable
from experiment_pipeline.table.kinds import holds_objects
from experiment_pipeline.table.table import Table, head

# Of peaks above 150 MB that were measured (the benchmark's part `foreseen`) nine of ten lie between a
# half and 1.2 times their estimate. Who is left with less than this share of it is stopped, and who is
# left with less than the estimate is told that it may be killed: of what fits little is stopped, of
# what does not some is.
SURE = 0.6
# What a stage's libraries take once they are loaded, and small things.
LIBRARIES = 60_000_000
# Less than this share of what there is goes without saying.
WORTH_SAYING = 0.25
# A sample of fewer rows is no advice; of algorithms, so many are named.
_FEWEST_ROWS, _PARTS_SHOWN = 10_000, 3
# Of a cell that is a Python object the place that points to it; so many objects tell their size.
_POINTER, _LOOKED_AT = 8, 1_000
_FEWER_COLUMNS = "leave columns out that nobody needs"
_FEWER_JUDGED = "keep fewer rows for test and validation (`split`)"
_FEWER_AT_ONCE = "predict the table in parts, a file for each"
_BY_COLUMNS = "deliver the table as Parquet without lists or mixed values, or as plain CSV"


@dataclass(frozen=True)
class Size:
    """A table, as far as memory goes.

    Attributes:
        rows: of the table.
        row: bytes of a row in memory, on average.
        cell: bytes of a cell of the widest column, on average.
        by_rows: whether it cannot be had by columns: cells of it are Python objects.
    """

    rows: int
    row: float
    cell: float
    by_rows: bool = False

    @classmethod
    def of(cls, table: Table) -> Self:
        """Return the size of a table; of one that is stored, by its first batch."""
        if isinstance(table, StoredTable):
            first = next(iter(table.batches()), pd.DataFrame())
        else:
            first = table if isinstance(table, pd.DataFrame) else head(table, BATCH_ROWS)
        cells = [cell_bytes(first[name]) for name in first.columns]
        return cls(
            len(table), sum(cells), max(cells, default=0.0), any(map(holds_objects, first.dtypes))
        )


def cell_bytes(column: pd.Series) -> float:
    """Return what a cell takes, on average."""
    if not holds_objects(column):
        return float(column.memory_usage(index=False)) / max(len(column), 1)
    sizes = [getsizeof(one) for one in column.iloc[:_LOOKED_AT]]
    return _POINTER + sum(sizes) / max(len(sizes), 1)


@dataclass(frozen=True)
class Holds:
    """What a stage holds of a table of n rows when it holds most.

    Attributes:
        columns: so many columns, each as the widest, of all rows.
        facts: bytes of each row beside its cells: hashes, codes, orders.
        read: so many tables of the rows that are read together: of a batch, or a sample.
        read_facts: bytes of each of these rows beside its cells.
        slices: so many columns, each as the widest, of the rows of a batch: texts as objects.
        kept: so many tables of HELD_BYTES at most: shelves, and columns kept of a stored table.
        tables: so many whole tables, where the table cannot be had by columns.
        per_class: bytes of each row and each class, where there are more than two.
        beside: bytes, whatever the table.
        change: what to change, beside the limit.
    """

    columns: float
    facts: int
    read: float = 0.0
    read_facts: int = 0
    slices: float = 0.0
    kept: float = 0.0
    tables: float = 0.0
    per_class: int = 0
    beside: int = 0
    change: str = _FEWER_COLUMNS

    def of(self, size: Size, *, by_rows: bool, read_rows: int, classes: int) -> int:
        """Return the bytes for a table of this size; arguments as of `stage_need`."""
        whole = size.row * size.rows
        cells = self.columns * size.cell * size.rows + self.kept * min(whole, HELD_BYTES)
        if by_rows or size.by_rows:
            cells = max(cells, self.tables * whole)
        facts = self.facts + self.per_class * (classes if classes > 2 else 0)
        some = self.slices * size.cell * min(size.rows, BATCH_ROWS)
        read = (self.read * size.row + self.read_facts) * read_rows
        each = cells + read + some + facts * size.rows
        return round(each) + self.beside + LIBRARIES


# By stage, from peaks of whole runs on 3 and 30 million rows of 20 columns (`past_memory`), which tell
# columns and facts together, and of stages alone on texts of 500 letters, which tell them apart (the
# benchmark's part `foreseen`); what judges, from each metric and calibration by itself.
HOLDS: Mapping[str, Holds] = {
    "raw_data": Holds(columns=2, facts=20, read=2, kept=2, tables=4, beside=30_000_000),
    "data_analysis": Holds(
        columns=1.5,
        facts=16,
        read=2.75,
        read_facts=250,
        slices=4,
        kept=0.2,
        tables=3,
        beside=125_000_000,
    ),
    "validated_data": Holds(columns=1, facts=65, read=2.5, slices=1, kept=2, tables=3),
    "split_sets": Holds(columns=3.5, facts=30, read=1, kept=4, tables=2),
    # What judges predictions knows of features no more than the ids.
    "leaderboard": Holds(columns=1, facts=210, slices=6, per_class=32, change=_FEWER_JUDGED),
    # Beside the refit: pictures.
    "validation_report": Holds(columns=1, facts=230, per_class=24, beside=200_000_000),
    # A fresh process that loads the model, of whose bytes a column is made.
    "exported_model": Holds(columns=1, facts=24, beside=160_000_000),
    "prediction": Holds(columns=3, facts=40, read=2, kept=1, tables=2, change=_FEWER_AT_ONCE),
}


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes beyond what the process holds before.

    Attributes:
        stage: what needs them, in words.
        change: what to change, beside the limit and the rows.
        shared: whatever the number of fits at a time.
        fits: what each fit adds, the largest first.
        files: of files that are mapped, which not every limit counts.
        after: what comes when the fits are done, and is held no more together with them.
        rows: of the table, with which the need grows; 0: it does not.
        parts: what takes most of it → its bytes.
    """

    stage: str
    change: str
    shared: int
    fits: tuple[int, ...] = ()
    files: int = 0
    after: int = 0
    rows: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)

    def of(self, at_a_time: int) -> int:
        """Return the need of so many fits side by side, at the worst."""
        return max(self.shared + sum(self.fits[:at_a_time]), self.after)

    def under(self, limit: MemoryLimit) -> Self:
        """Return the need as this limit counts it."""
        shared = self.shared + self.files if limit.counts_files else self.shared
        return replace(self, shared=shared, files=0)

    @property
    def at_least(self) -> float:
        """What even one fit at a time takes; with less, it cannot have fitted."""
        return SURE * self.of(1) - LIBRARIES

    @property
    def in_parts(self) -> str:
        """Its largest parts, in words: `; random_forest takes 6.1 GB of it, lightgbm 1.2 GB`."""
        largest = sorted(self.parts.items(), key=lambda part: -part[1])[:_PARTS_SHOWN]
        said = ", ".join(f"{name} {_gigabytes(size)}" for name, size in largest)
        return said and f"; of it {said}"

    def advice(self, left: int) -> str:
        """Return what to change where so much is left: how many rows would do, and what else."""
        fitting = int(self.rows * (left - LIBRARIES) / max(self.of(1) - LIBRARIES, 1))
        if fitting < _FEWEST_ROWS:
            return self.change
        # Down to one digit: it is an estimate, and what is advised must do.
        cluster = 10 ** (len(str(fitting)) - 1)
        sample = f"{fitting // cluster * cluster:,} of the {self.rows:,} rows that it is given"
        return f"run on a sample of about {sample}, or {self.change}"


@dataclass(frozen=True)
class Foreseen:
    """How a stage goes about its memory.

    Attributes:
        workers: fits at a time.
        said: what it needs of what there is.
        fewer: whether these are fewer than were asked for.
        share: needed of what there is.
    """

    workers: int
    said: str
    fewer: bool
    share: float

    @property
    def worth_saying(self) -> bool:
        """Whether it is much of what there is, or changes what is done."""
        return self.fewer or self.share > WORTH_SAYING


def stage_need(
    stage: str, size: Size, *, by_rows: bool = False, read_rows: int | None = None, classes: int = 0
) -> MemoryNeed:
    """Estimate what a stage adds.

    Args:
        stage: a key of HOLDS.
        size: of the table that it is about.
        by_rows: whether the table cannot be had by columns.
        read_rows: of its rows that are read together; None: those of a batch.
        classes: of the target.
    """
    holds = HOLDS[stage]
    read_rows = min(size.rows, BATCH_ROWS) if read_rows is None else read_rows
    shared = holds.of(size, by_rows=by_rows, read_rows=read_rows, classes=classes)
    # What is on its way from one table to the next is held up to a bound, and else mapped.
    mapped = max(0, round(size.row * size.rows) - HELD_BYTES) if holds.kept else 0
    change = _BY_COLUMNS if by_rows or size.by_rows else holds.change
    return MemoryNeed(f"the stage {stage}", change, shared, files=mapped, rows=size.rows)


def fetch_need(stage: str, size: int) -> MemoryNeed:
    """Estimate what a source adds that is in memory, packed or not, before it is read."""
    change = "or deliver the table on a disk or in a bucket, from where it is read by columns"
    return MemoryNeed(f"the stage {stage}", change, LIBRARIES + size)


def foresee(need: MemoryNeed, limit: MemoryLimit, workers: int = 1) -> Foreseen:
    """Return how many fits go side by side within a limit: the results are the same.

    Raises:
        NotEnoughMemory: one at a time would not go, by a margin.
    """
    need = need.under(limit)
    asked = min(workers, max(len(need.fits), 1))
    fitting = (count for count in range(asked, 1, -1) if need.of(count) <= limit.left)
    at_a_time = next(fitting, 1)
    total = limit.held + need.of(at_a_time)
    needs = f"{_gigabytes(total)} of {_gigabytes(limit.limit)} ({limit.set_by})"
    if need.at_least > limit.left:
        raise NotEnoughMemory(
            need.stage,
            f"it needs about {needs}, of which {_gigabytes(limit.held)} are taken{need.in_parts}",
            f"raise that limit, {need.advice(limit.left)}",
        )
    said = f"{need.stage} needs about {needs}"
    if fewer := at_a_time < asked:
        said += f": {numbers.counted(at_a_time, 'fit')} at a time instead of {asked}"
    if total > limit.limit:
        said += f"; should it be killed, raise that limit, {need.advice(limit.left)}"
    share = total / max(limit.limit, 1)
    return Foreseen(at_a_time if fewer else workers, said, fewer, share)


def foretell(need: MemoryNeed, tell: Callable[[str], object], workers: int = 1) -> int:
    """Say what is needed where it is much of what this process may take, before it begins.

    Returns:
        How many of the workers go side by side.

    Raises:
        NotEnoughMemory: it would be killed.
        StorageUnreachable: what it sets aside below TMPDIR finds no place there.
    """
    expect_place(need.files)
    if (limit := memory_limit()) is None:
        return workers
    found = foresee(need, limit, workers)
    if found.worth_saying:
        tell(found.said)
    return found.workers


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
