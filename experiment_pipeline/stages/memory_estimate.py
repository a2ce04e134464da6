"""Estimate how much memory a stage takes, and warn where that is more than this process can take.

One factor per stage times the size of its table. An estimate stops nothing and changes no result.
"""

from collections.abc import Callable

import pandas as pd

from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.storage.processes import free_memory

# Of a table of rows to predict.
_PREDICTION_PEAK = 1.0
_LIBRARIES = 100_000_000
_SAMPLED_ROWS = 1_000


def warn_of_memory(stage: str, size: int, warn: Callable[[str], object]) -> None:
    """Warn before a stage begins that it may not get the memory that it needs.

    Args:
        stage: a name of STAGES, or `prediction`.
        size: bytes of its table in memory, see `table_bytes`.
        warn: is given the warning, if there is one.
    """
    peak = STAGES[stage].peak_per_byte if stage in STAGES else _PREDICTION_PEAK
    needed, free = peak * size + _LIBRARIES, free_memory()
    if needed > free.size:
        warn(
            f"{stage} may need about {needed / 1e9:.1f} GB of memory, {free.size / 1e9:.1f} GB are free "
            f"({free.limited_by}). If the run is killed, raise that limit, leave out columns or run on "
            "a sample of the rows."
        )


def table_bytes(*tables: pd.DataFrame) -> int:
    """Return the bytes of tables in memory, estimated from their first rows."""
    return sum(_bytes_of(table.iloc[:_SAMPLED_ROWS], len(table)) for table in tables)


def _bytes_of(first: pd.DataFrame, rows: int) -> int:
    return int(first.memory_usage(index=False, deep=True).sum() / max(len(first), 1) * rows)
