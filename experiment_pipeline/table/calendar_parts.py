"""Datetimes as numbers: parts of a calendar, days, and cycles; each row by itself.

In: a datetime column. Out: float64 columns, missing as nan. What is declared for other columns is
done in `preparation.py`.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec import CalendarPart
from experiment_pipeline.table.kinds import kind_of, microseconds

_DAY = 24 * 3600 * 1_000_000


def calendar_columns(name: str, part: CalendarPart) -> tuple[str, ...]:
    """Return the columns that a part of a datetime column becomes."""
    column = f"{name}_{part}"
    return (f"{column}_sin", f"{column}_cos") if part in _CYCLES else (column,)


def calendar_parts(
    values: Mapping[str, pd.Series], name: str, parts: tuple[CalendarPart, ...]
) -> dict[str, pd.Series]:
    """Return the declared parts as float64 columns; there is no year.

    A year is a name for a stretch of time: under a split by time every set but the first
    holds years that training has not seen. So are days since 1970, which are there to be named.

    Args:
        values: column → its cells, (n,).
        name: of the datetime column.
        parts: that it becomes.

    Raises:
        UnusableTable: the column holds no datetimes, or a column that would be made is there.
    """
    instants = values[name]
    if kind_of(instants) != "datetime":
        raise UnusableTable(
            f"preparation.calendar.{name}",
            f"the column holds {instants.dtype}, not datetimes",
            f"Write types: {{{name}: datetime}}, or take it out of calendar.",
        )
    made: dict[str, pd.Series] = {}
    for part in parts:
        columns = calendar_columns(name, part)
        if taken := [new for new in columns if new in values]:
            raise UnusableTable(
                f"preparation.calendar.{name}",
                f"the table already has a column {taken[0]!r}",
                "Rename that column in the source, or leave this part out of calendar.",
            )
        made.update(zip(columns, _part(instants, part), strict=True))
    return made


def _part(instants: pd.Series, part: CalendarPart) -> tuple[pd.Series, ...]:
    if part in _CYCLES:
        angle = 2 * np.pi * _CYCLES[part](instants).to_numpy(dtype=np.float64)
        waves = (np.sin(angle), np.cos(angle))
        return tuple(pd.Series(wave, index=instants.index) for wave in waves)
    if part == "days":
        days = microseconds(instants) / _DAY
        return (pd.Series(days, index=instants.index).where(instants.notna()),)
    accessor = "day" if part == "day_of_month" else part
    return (getattr(instants.dt, accessor).astype("float64"),)


def _share_of_day(instants: pd.Series) -> pd.Series:
    share: pd.Series = (instants.dt.hour + instants.dt.minute / 60) / 24
    return share


def _days_of_year(instants: pd.Series) -> pd.Series:
    days: pd.Series = 365 + instants.dt.is_leap_year.astype("float64")
    return days


# What goes around in a cycle, as a share of it.
_CYCLES: Mapping[CalendarPart, Callable[[pd.Series], pd.Series]] = {
    "cycle_of_year": lambda at: (at.dt.day_of_year - 1 + _share_of_day(at)) / _days_of_year(at),
    "cycle_of_week": lambda at: (at.dt.day_of_week + _share_of_day(at)) / 7,
    "cycle_of_day": _share_of_day,
}
