"""Plan each column of an unknown table: a feature as it is, a feature to prepare, or
excluded.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Preparation
from experiment_pipeline.spec.table import CALENDAR_PARTS
from experiment_pipeline.stages.data_analysis import facts
from experiment_pipeline.table.coercion import read_datetimes
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of
from experiment_pipeline.table.preparation import prepare

# Whole numbers named like an id, with at most this many distinct values, are read as
# categories.
MOST_NAMED_CATEGORIES = 50
# A text column is not categorical if more than half of its rows, and this many, are
# distinct: codes are excluded, texts of several words are features by their characters.
FEWEST_FREE_TEXTS = 20
FREE_TEXT_SHARE = 0.5
# With fewer categories, codes were better than target means or characters
# (neighbourhoods, states, hotel agents).
MOST_CODES = 255
# At most this many distinct words, and this share of the texts, are typos in numbers:
# "inf", "closed".
MOST_SLIPS, MOST_SLIPPED = 3, 0.05
# Eight digits without separators are more often numbers than dates.
_NO_DATE = "%Y%m%d"
_COUNTER_NAME = re.compile(
    r"^(?:Unnamed: ?\d+|index|row(?:_?(?:number|nr|id))?|column_\d+)$", re.IGNORECASE
)
# Dates that span this many days see each season twice: it can be separated from a
# trend.
_DAYS_OF_YEARS = 2 * 365
_DIGEST = re.compile(
    r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}|[0-9a-f]{32,64}"
)


@dataclass(frozen=True)
class Times:
    """The instants of a datetime column."""

    days: int  # number of distinct days
    in_order: bool  # whether no row is earlier than the one above it
    # The most frequent step between rows, if they are a series: distinct, sorted in
    # either direction, and with at least half of the steps equal (months and trading
    # days are not all equal).
    step: pd.Timedelta | None


@dataclass(frozen=True)
class ColumnPlan:
    """What to do with a column, and why."""

    name: str
    why: str = ""  # the reason as a clause; empty for a feature that is used as it is
    excluded: bool = False  # not a feature
    identifies_rows: bool = False  # an id: a different value in every row
    names_entities: bool = (
        False  # values repeat and identify something (a customer, a machine)
    )
    preparation: Mapping[str, Any] = field(
        default_factory=dict
    )  # setting of the spec → value
    times: Times | None = None  # of a datetime column
    many_texts: bool = (
        False  # free texts, or more distinct ones than ordinal codes distinguish
    )

    def dated(self, columns: Collection[str], *, with_days: bool) -> "ColumnPlan":
        """Add the calendar part `days` to dates, and drop parts whose column the table
        already has.
        """
        if self.times is None or not (before := self.preparation.get("calendar", [])):
            return self
        days = (
            ["days"]
            if with_days and self.times.days > 1 and "days" not in before
            else []
        )
        parts = [one for one in (*days, *before) if f"{self.name}_{one}" not in columns]
        why = self.why.replace(", ".join(before), ", ".join(parts) or "nothing", 1)
        return replace(
            self, why=why, preparation={**self.preparation, "calendar": parts}
        )

    def as_category(self, distinct: int, why: str) -> "ColumnPlan":
        """Make an excluded column of `distinct` entities a feature."""
        reason = f"identifies {distinct:,} things, read as a category: {why}"
        settings = {"types": "text"}
        many = distinct > MOST_CODES
        return replace(
            self, why=reason, excluded=False, preparation=settings, many_texts=many
        )


def plan_columns(raw: pd.DataFrame) -> dict[str, ColumnPlan]:
    """Plan each column; a decimal comma in one ("0,5") decides how "1,234" is read in
    the others.
    """
    plans = {str(name): plan_column(column) for name, column in raw.items()}
    written = {
        name: plan.preparation.get("numbers", {}) for name, plan in plans.items()
    }
    if any(numbers.get("decimal") == "," for numbers in written.values()):
        alone = [
            name for name, numbers in written.items() if numbers.get("thousands") == ","
        ]
        plans |= {name: plan_column(raw[name], ",") for name in alone}
    return plans


def plan_column(raw: pd.Series, decimal: str = ".") -> ColumnPlan:
    """Plan one raw column by all its rows; `decimal`: the decimal mark where texts are
    ambiguous.
    """
    name, known = str(raw.name), raw.dropna()
    if known.empty:
        return ColumnPlan(name, "no value in any row", excluded=True)
    kind = kind_of(raw)
    if kind not in {"datetime", *NUMERIC, *TEXTS}:
        return ColumnPlan(
            name, f"holds {raw.dtype}, which models cannot use", excluded=True
        )
    if len(known) == len(raw) and (known == known.iloc[0]).all():
        return ColumnPlan(
            name, f"the same in every row: {_shown(known.iloc[0])}", excluded=True
        )
    if kind not in TEXTS:
        return (
            _dates(name, raw, {}) if kind == "datetime" else _number(name, raw, known)
        )
    texts = facts.text_facts(known).texts
    marks = list(compress(texts, facts.placeholders(texts)))
    rest = [text for text in texts if text not in set(marks)]
    if not rest:
        return ColumnPlan(
            name, f"only {_some(texts)}, which mean missing", excluded=True
        )
    missing = {"missing_values": marks} if marks else {}
    plan = _text_dates(name, raw, rest, missing) or _text_numbers(
        name, raw, rest, missing, decimal
    )
    return plan or _category(name, raw, known)


def read_completely(raw: pd.Series, settings: Mapping[str, Any]) -> pd.Series | None:
    """The column after its preparation; None if a cell cannot be parsed."""
    name = str(raw.name)
    declared = {setting: {name: value} for setting, value in settings.items()}
    prepared = prepare(raw.to_frame(name), Preparation.model_validate(declared))
    return prepared.frame[name] if not prepared.unparsable else None


def _number(name: str, raw: pd.Series, known: pd.Series) -> ColumnPlan:
    values, named = known.to_numpy(dtype=np.float64), facts.is_named_like_an_id(name)
    if kind_of(raw) == "boolean" or not np.all(values == np.floor(values)):
        return ColumnPlan(name)
    counts = len(known) == len(raw) > 2 and bool(
        np.all(np.diff(values) == _rows_on(raw))
    )
    if counts and (_COUNTER_NAME.match(name) or not named):
        return ColumnPlan(name, "counts the rows", excluded=True)
    if not named:
        return ColumnPlan(name)
    distinct = known.nunique()
    if distinct == len(raw) or distinct > MOST_NAMED_CATEGORIES:
        return _named(name, distinct, raw, known)
    return ColumnPlan(
        name,
        f"a number that identifies one of {distinct} things, read as a category",
        names_entities=True,
        preparation={"types": "text"},
    )


def _named(name: str, distinct: int, raw: pd.Series, known: pd.Series) -> ColumnPlan:
    """The plan of a column that identifies rows, or entities with several rows."""
    if distinct == len(raw):
        why = "identifies the row: a different value in every row"
        return ColumnPlan(name, why, excluded=True, identifies_rows=True)
    each = f"{len(known) / distinct:.3g} rows each"
    why = f"identifies {distinct:,} things, {each}: a model would memorize them"
    return ColumnPlan(name, why, excluded=True, names_entities=distinct < len(known))


def _text_dates(
    name: str, raw: pd.Series, texts: Sequence[str], missing: Mapping[str, Any]
) -> ColumnPlan | None:
    formats = {
        f: reads for f, reads in facts.date_formats(texts).items() if f != _NO_DATE
    }
    if not formats or not np.any([*formats.values()], axis=0).all():
        return None
    complete = [wanted for wanted, reads in formats.items() if reads.all()]
    # '5 May 2024' matches %b and %B: both give the same dates.
    column = pd.Series(texts, dtype="str")
    read = [read_datetimes(column, (wanted,)) for wanted in complete]
    if not read or not all(read[0].equals(other) for other in read[1:]):
        found = (
            f"dates of {' or '.join(complete)}" if read else "dates in several formats"
        )
        shown = "" if read else f" ({', '.join(formats)})"
        why = f"{found}{shown}: decide in preparation.datetime_formats"
        return ColumnPlan(name, why, excluded=True)
    settings: dict[str, Any] = {**missing, "types": "datetime"}
    if complete[0] != facts.ISO:
        settings["datetime_formats"] = complete[:1]
    try:
        instants = read_completely(raw, settings)
    except UnusableTable as error:
        return ColumnPlan(name, error.rule.partition(";")[0], excluded=True)
    return None if instants is None else _dates(name, instants, settings)


def _dates(name: str, instants: pd.Series, settings: Mapping[str, Any]) -> ColumnPlan:
    known = instants.dropna()
    days, in_order = (
        int(known.dt.normalize().nunique()),
        bool(known.is_monotonic_increasing),
    )
    steps = instants.diff().iloc[1:].abs() / _rows_on(instants)
    step, ordered = (
        None,
        instants.is_monotonic_increasing or instants.is_monotonic_decreasing,
    )
    if len(steps) and instants.is_unique and ordered:
        alike = steps.value_counts()
        step = alike.index[0] if alike.iloc[0] * 2 >= len(steps) else None
    times = Times(days, in_order, step)
    parts = [part for part in CALENDAR_PARTS if np.ptp(getattr(known.dt, part)) > 0]
    if not parts:
        why = "dates that share month, day of week and hour"
        return ColumnPlan(name, why, excluded=True, preparation=settings, times=times)
    if np.ptp(known.dt.day) > 0 and (known.max() - known.min()).days >= _DAYS_OF_YEARS:
        parts = ["days", "day_of_month", "day_of_year", *parts]
    formats = settings.get("datetime_formats")
    why = f"dates, read as {', '.join(parts)}" + (
        f" (format {formats[0]})" if formats else ""
    )
    return ColumnPlan(
        name, why, preparation={**settings, "calendar": parts}, times=times
    )


def _rows_on(column: pd.Series) -> np.ndarray:
    """The difference of row numbers between one row and the next: 1, except in a
    sample.
    """
    return np.diff(column.index.to_numpy())


def _text_numbers(
    name: str,
    raw: pd.Series,
    texts: Sequence[str],
    missing: Mapping[str, Any],
    decimal: str,
) -> ColumnPlan | None:
    writing = facts.writing_of(texts, decimal)
    words = list(compress(texts, ~writing.reads))
    a_slip = len(words) <= min(MOST_SLIPS, len(texts) * MOST_SLIPPED)
    if not a_slip or any(map(str.isdigit, "".join(words))) or len(writing.units) > 1:
        return None
    if words:
        missing = {"missing_values": [*missing.get("missing_values", ()), *words]}
    settings: dict[str, Any] = {**missing, "types": "number"}
    if writing.declaration:
        settings["numbers"] = writing.declaration
    if read_completely(raw, settings) is None:
        return None
    how = f" ({writing.words})" if writing.declaration else ""
    but = f"; {_some(missing['missing_values'])} read as missing" if missing else ""
    return ColumnPlan(name, f"numbers written as text{how}{but}", preparation=settings)


def _category(name: str, raw: pd.Series, known: pd.Series) -> ColumnPlan:
    distinct, named, texts = (
        known.nunique(),
        facts.is_named_like_an_id(name),
        known.astype("str"),
    )
    is_id = distinct == len(raw) and (named or texts.str.fullmatch(_DIGEST).all())
    if is_id or (named and distinct > MOST_NAMED_CATEGORIES):
        return _named(name, distinct, raw, known)
    free = distinct > max(FEWEST_FREE_TEXTS, FREE_TEXT_SHARE * len(known))
    # Texts of several words stay features, by their characters.
    if free and not texts.str.strip().str.contains(r"\s").mean() > FREE_TEXT_SHARE:
        why = f"codes: {distinct:,} distinct ones in {len(known):,} rows"
        return ColumnPlan(name, why, excluded=True)
    return ColumnPlan(
        name,
        names_entities=named and 2 < distinct < len(known),
        many_texts=free or distinct > MOST_CODES,
    )


def _shown(value: object) -> str:
    return numbers.shown(
        repr(value.item() if isinstance(value, np.generic) else value), 40
    )


def _some(texts: Sequence[str]) -> str:
    return numbers.some_of(list(map(_shown, texts)), most=3)
