"""Estimate how much memory a stage takes, and warn where that is more than this process can take.

One factor per stage times the size of its table. An estimate stops nothing and changes no result.
"""

from collections.abc import Callable

import pandas as pd

from experiment_pipeline.storage.memory_limits import free_memory
from experiment_pipeline.table.table import Table, head

# Bytes at the peak of a stage per byte of the table that it is given, from whole runs on 1 to 30 million
# rows by 20 columns (the benchmark's part `past_memory`), rounded up: narrow tables take more.
PEAK_PER_BYTE = {
    "raw_data": 1.0,
    "data_analysis": 0.5,
    "validated_data": 1.0,
    "split_sets": 1.0,
    "search": 2.0,
    "leaderboard": 3.0,
    "validation_report": 2.0,
    # Of the stored model, which a second process loads.
    "exported_model": 3.0,
    "prediction": 1.0,
}
_LIBRARIES = 100_000_000
_SAMPLED_ROWS = 1_000


def warn_of_memory(stage: str, size: int, warn: Callable[[str], object]) -> None:
    """Warn before a stage begins that it may not get the memory that it needs.

    Args:
        stage: a key of PEAK_PER_BYTE.
        size: bytes of its table in memory, see `table_bytes`.
        warn: is given the warning, if there is one.
    """
    needed, free = PEAK_PER_BYTE[stage] * size + _LIBRARIES, free_memory()
    if needed > free.size:
        warn(
            f"{stage} may need about {needed / 1e9:.1f} GB of memory, {free.size / 1e9:.1f} GB are free "
            f"({free.limited_by}). If the run is killed, raise that limit, leave out columns or run on "
            "a sample of the rows."
        )


def table_bytes(*tables: Table) -> int:
    """Return the bytes of tables in memory, estimated from their first rows."""
    return sum(_bytes_of(head(table, _SAMPLED_ROWS), len(table)) for table in tables)


def _bytes_of(first: pd.DataFrame, rows: int) -> int:
    return int(first.memory_usage(index=False, deep=True).sum() / max(len(first), 1) * rows)
