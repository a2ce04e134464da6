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
from experiment_pipeline.spec.reading import in_line
from experiment_pipeline.spec.table import CALENDAR_PARTS
from experiment_pipeline.stages.data_analysis import facts
from experiment_pipeline.table.coercion import read_datetimes
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of
from experiment_pipeline.table.preparation import PreparedTable, prepare

# Whole numbers named like an id, with at most this many distinct values, are read as
# categories.
MOST_NAMED_CATEGORIES = 50
# A text column is not categorical if more than half of its rows, and this many, are
# distinct: codes are excluded, texts of several words are features by their n-grams.
FEWEST_FREE_TEXTS = 20
FREE_TEXT_SHARE = 0.5
# With fewer categories, codes were better than target means or characters
# (neighbourhoods, states, hotel agents).
MOST_CODES = 255
# At most this many distinct words, and this share of the texts, are typos in numbers:
# "inf", "closed".
MOST_SLIPS, MOST_SLIPPED = 3, 0.05
# A text column in which at least this share of the values are dates is a date column.
# Up to so many different other texts mean missing; the rows of more are rejected.
LEAST_DATES, MOST_NO_DATES = 0.95, 8
# Ids that were read as floats: a few were damaged on the way (93779.52).
LEAST_WHOLE = 0.99
# Eight digits without separators are more often numbers than dates.
_NO_DATE = "%Y%m%d"
_COUNTER_NAME = re.compile(
    r"^(?:Unnamed: ?\d+|index|row(?:_?(?:number|nr|id|names?))?|column_\d+)$",
    re.IGNORECASE,
)
_PERSON_NAME = re.compile(
    r"user|customer|client|patient|subject|person|participant|respondent|member"
    r"|student|pupil|employee|kunde",
    re.IGNORECASE,
)
# Dates that span this many days see each season twice: it can be separated from a
# trend.
_DAYS_OF_YEARS = 2 * 365
# A space, or a letter of a script that writes none between words: Thai, Lao, Burmese,
# Khmer, Japanese, Chinese.
_SEVERAL_WORDS = (
    r"\s|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
)
_DIGEST = re.compile(
    r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}|[0-9a-f]{32,64}"
)


@dataclass(frozen=True)
class Times:
    """The instants of a datetime column."""

    share: float  # of the rows that have one
    days: int  # number of distinct days
    in_order: bool  # whether no row is earlier than the one above it
    # The most frequent step between rows, if they are a series: nearly all have one,
    # distinct, sorted in either direction, and with at least half of the steps equal
    # (months and trading days are not all equal).
    step: pd.Timedelta | None


@dataclass(frozen=True)
class ColumnPlan:
    """What to do with a column, and why."""

    name: str
    why: str = ""  # the reason as a clause; empty for a feature that is used as it is
    excluded: bool = False  # not a feature
    identifies_rows: bool = False  # an id: a different value in every row
    # values repeat and identify something (a customer, a machine)
    names_entities: bool = False
    # setting of the spec → value
    preparation: Mapping[str, Any] = field(default_factory=dict)
    times: Times | None = None  # of a datetime column
    rejected: float = 0.0  # share of the rows whose text cannot be read
    # free texts, or more distinct ones than ordinal codes distinguish
    many_texts: bool = False
    question: str = ""  # what only people can decide, and the YAML for it

    @property
    def names_new_ones(self) -> bool:
        """Whether the model may meet entities that it does not know.

        Those that are too many for a feature, and persons, however few.
        """
        is_person = _PERSON_NAME.search(self.name) is not None
        return self.names_entities and (self.excluded or is_person)

    def dated(self, columns: Collection[str], *, with_days: bool) -> "ColumnPlan":
        """Add the calendar part `days` to dates; drop parts that the table has."""
        parts = self.preparation.get("calendar", [])
        if self.times is None or not parts:
            return self
        all_parts = [*parts]
        if with_days and self.times.days > 1 and "days" not in parts:
            all_parts.insert(0, "days")
        new = [part for part in all_parts if f"{self.name}_{part}" not in columns]
        why = self.why.replace(", ".join(parts), ", ".join(new) or "nothing", 1)
        return replace(self, why=why, preparation={**self.preparation, "calendar": new})

    def as_category(self, distinct: int, why: str) -> "ColumnPlan":
        """Make an excluded column of `distinct` entities a feature."""
        reason = f"identifies {distinct:,} things, read as a category: {why}"
        settings = {"types": "text"}
        many = distinct > MOST_CODES
        return replace(
            self, why=reason, excluded=False, preparation=settings, many_texts=many
        )


def plan_columns(raw: pd.DataFrame) -> dict[str, ColumnPlan]:
    """Plan each column.

    A decimal comma in one ("0,5") decides how "1,234" is read in the others.
    """
    plans = {str(name): plan_column(column) for name, column in raw.items()}
    written = {
        name: plan.preparation.get("numbers", {}) for name, plan in plans.items()
    }
    if any(numbers.get("decimal") == "," for numbers in written.values()):
        for name, numbers in written.items():
            if numbers.get("thousands") == ",":
                plans[name] = plan_column(raw[name], decimal=",")
    return plans


def plan_column(raw: pd.Series, decimal: str = ".") -> ColumnPlan:
    """Plan one raw column by all its rows.

    `decimal`: the decimal mark where texts are ambiguous.
    """
    present = raw.dropna()
    kind = kind_of(raw)
    useless = ""
    if present.empty:
        useless = "no value in any row"
    elif kind not in {"datetime", *NUMERIC, *TEXTS}:
        useless = f"holds {raw.dtype}, which models cannot use"
    elif len(present) == len(raw) and (present == present.iloc[0]).all():
        useless = f"the same in every row: {_shown(present.iloc[0])}"
    if useless:
        return ColumnPlan(str(raw.name), useless, excluded=True)
    if kind == "datetime":
        return _dates(raw, {})
    if kind in TEXTS:
        return _texts(raw, decimal)
    return _number(raw)


def _texts(raw: pd.Series, decimal: str) -> ColumnPlan:
    """Plan a text column: dates, numbers or a category."""
    measured = facts.text_facts(raw)
    is_mark = measured.placeholders
    marks = measured.chosen(is_mark)
    texts = measured.chosen(~is_mark)
    if not texts:
        why = f"only {_some(marks)}, which mean missing"
        return ColumnPlan(str(raw.name), why, excluded=True)
    missing = {"missing_values": marks} if marks else {}
    dates = _text_dates(raw, texts, measured.counts[~is_mark], missing)
    if dates is not None:
        return dates
    writing = facts.writing_of(texts, decimal)
    as_numbers = _text_numbers(raw, texts, missing, writing)
    if as_numbers is not None:
        return as_numbers
    return replace(_category(raw), question=_units_question(raw, texts, writing))


def read_completely(raw: pd.Series, settings: Mapping[str, Any]) -> pd.Series | None:
    """The column after its preparation; None if a cell cannot be parsed."""
    prepared = _prepared(raw, settings)
    return None if prepared.unparsable else prepared.frame[str(raw.name)]


def instants_of(raw: pd.Series, plan: ColumnPlan) -> pd.Series:
    """Read the dates of a column; what its plan cannot read is missing."""
    settings = {k: value for k, value in plan.preparation.items() if k != "calendar"}
    return _prepared(raw, settings).frame[plan.name]


def _prepared(raw: pd.Series, settings: Mapping[str, Any]) -> PreparedTable:
    name = str(raw.name)
    preparation = Preparation.model_validate(facts.by_setting({name: settings}))
    return prepare(raw.to_frame(name), preparation)


def _number(raw: pd.Series) -> ColumnPlan:
    name = str(raw.name)
    values = raw.dropna().to_numpy(dtype=np.float64)
    is_id = facts.is_named_like_an_id(name)
    whole = np.mean(values == np.floor(values))
    if kind_of(raw) == "boolean" or whole < (LEAST_WHOLE if is_id else 1):
        return ColumnPlan(name)
    distinct = raw.nunique()
    why = _row_numbers(raw, values, distinct, is_id=is_id)
    if why:
        return ColumnPlan(name, why, excluded=True)
    if not is_id:
        return ColumnPlan(name)
    if distinct == len(raw) or distinct > MOST_NAMED_CATEGORIES:
        return _named(raw, distinct)
    return ColumnPlan(
        name,
        f"a number that identifies one of {distinct} things, read as a category",
        names_entities=True,
        preparation={"types": "text"},
    )


def _row_numbers(
    raw: pd.Series, values: np.ndarray, distinct: int, *, is_id: bool
) -> str:
    """Say that whole numbers are those of the rows; empty: they are not."""
    is_counter = _COUNTER_NAME.match(str(raw.name)) is not None
    is_complete = len(values) == len(raw) > 2
    counts = is_complete and np.all(np.diff(values) == _rows_on(raw))
    if counts and (is_counter or not is_id):
        return "counts the rows"
    if is_counter and distinct == len(raw):
        return "numbers the rows, in another order"
    return ""


def _named(raw: pd.Series, distinct: int) -> ColumnPlan:
    """The plan of a column that identifies rows, or entities with several rows."""
    name = str(raw.name)
    if distinct == len(raw):
        why = "identifies the row: a different value in every row"
        return ColumnPlan(name, why, excluded=True, identifies_rows=True)
    rows = int(raw.count())
    why = (
        f"identifies {distinct:,} things, {rows / distinct:.3g} rows each: a model "
        "would memorize them"
    )
    return ColumnPlan(name, why, excluded=True, names_entities=distinct < rows)


def _text_dates(
    raw: pd.Series,
    texts: Sequence[str],
    counts: np.ndarray,
    missing: Mapping[str, Any],
) -> ColumnPlan | None:
    """Plan texts, with the rows of each (texts,), that are dates; None: they are not.

    A few texts may be something else.
    """
    formats = facts.date_formats(texts)
    formats.pop(_NO_DATE, None)
    if not formats or _share(counts, np.any([*formats.values()], axis=0)) < LEAST_DATES:
        return None
    readable = _most_readable(formats, counts)
    problem = _ambiguity(texts, list(formats), readable)
    if problem:
        why = f"{problem}: decide in preparation.datetime_formats"
        return ColumnPlan(str(raw.name), why, excluded=True)
    settings: dict[str, Any] = {**missing, "types": "datetime"}
    if readable[0] != facts.ISO:
        settings["datetime_formats"] = readable[:1]
    try:
        prepared = _prepared(raw, settings)
    except UnusableTable as error:
        why = error.rule.partition(";")[0]
        return ColumnPlan(str(raw.name), why, excluded=True)
    instants = prepared.frame[str(raw.name)]
    if not prepared.unparsable:
        return _dates(instants, settings)
    [unread] = prepared.unparsable
    return _mostly_dates(instants, settings, raw.iloc[unread.positions].astype("str"))


def _most_readable(formats: Mapping[str, np.ndarray], counts: np.ndarray) -> list[str]:
    """Return the formats that read all rows, else those that read nearly all."""
    shares = {name: _share(counts, reads) for name, reads in formats.items()}
    least = 1 if 1 in shares.values() else LEAST_DATES
    return [name for name, share in shares.items() if share >= least]


def _share(counts: np.ndarray, chosen: np.ndarray) -> float:
    """Return the share of the rows (texts,) that hold one of the chosen texts."""
    return float(counts[chosen].sum() / counts.sum())


def _mostly_dates(
    instants: pd.Series, settings: Mapping[str, Any], unread: pd.Series
) -> ColumnPlan | None:
    """Plan a column of dates with some texts that are not; None: these are too many."""
    dates = int(instants.count())
    if dates < LEAST_DATES * (dates + len(unread)):
        return None
    odd = list(dict.fromkeys(unread.str.strip()))
    are_few = len(odd) <= MOST_NO_DATES
    if are_few:
        missing = [*settings.get("missing_values", ()), *odd]
        settings = {**settings, "missing_values": missing}
    plan = _dates(instants, settings)
    rows = numbers.counted(len(unread), "row")
    fate = "read as missing" if are_few else "rejected"
    why = f"{plan.why}; {rows} without a date ({_some(odd)}) {fate}"
    rejected = 0.0 if are_few else len(unread) / len(instants)
    return replace(plan, why=why, rejected=rejected)


def _ambiguity(
    texts: Sequence[str], formats: Sequence[str], complete: Sequence[str]
) -> str:
    """Return why the format of dates is not clear; `complete`: those that read all."""
    if not complete:
        return f"dates in several formats ({', '.join(formats)})"
    # '5 May 2024' matches %b and %B: both give the same dates.
    column = pd.Series(texts, dtype="str")
    first, *further = (read_datetimes(column, (text,)) for text in complete)
    if all(first.equals(dates) for dates in further):
        return ""
    return f"dates of {' or '.join(complete)}"


def _dates(instants: pd.Series, settings: Mapping[str, Any]) -> ColumnPlan:
    name = str(instants.name)
    present = instants.dropna()
    times = Times(
        share=len(present) / len(instants),
        days=int(present.dt.normalize().nunique()),
        in_order=bool(present.is_monotonic_increasing),
        step=_step(instants),
    )
    parts = [part for part in CALENDAR_PARTS if np.ptp(getattr(present.dt, part)) > 0]
    if not parts:
        why = "dates that share month, day of week and hour"
        return ColumnPlan(name, why, excluded=True, preparation=settings, times=times)
    span = present.max() - present.min()
    if np.ptp(present.dt.day) > 0 and span.days >= _DAYS_OF_YEARS:
        parts = ["days", "day_of_month", "day_of_year", *parts]
    why = f"dates, read as {', '.join(parts)}"
    if "datetime_formats" in settings:
        why += f" (format {settings['datetime_formats'][0]})"
    preparation = {**settings, "calendar": parts}
    return ColumnPlan(name, why, preparation=preparation, times=times)


def _step(instants: pd.Series) -> pd.Timedelta | None:
    """Return the step of a series, see `Times`."""
    present = instants.dropna()
    if len(present) < max(2, LEAST_DATES * len(instants)):
        return None
    is_sorted = present.is_monotonic_increasing or present.is_monotonic_decreasing
    if not present.is_unique or not is_sorted:
        return None
    steps = present.diff().iloc[1:].abs() / _rows_on(present)
    frequent = steps.value_counts()
    return frequent.index[0] if frequent.iloc[0] * 2 >= len(steps) else None


def _rows_on(column: pd.Series) -> np.ndarray:
    """The difference of row numbers between neighbours: 1, except in a sample."""
    return np.diff(column.index.to_numpy())


def _text_numbers(
    raw: pd.Series,
    texts: Sequence[str],
    missing: Mapping[str, Any],
    writing: facts.Writing,
) -> ColumnPlan | None:
    words = _slips(texts, writing)
    if words is None or writing.question:
        return None
    if words:
        missing = {"missing_values": [*missing.get("missing_values", ()), *words]}
    settings: dict[str, Any] = {**missing, "types": "number"}
    if writing.declaration:
        settings["numbers"] = writing.declaration
    if read_completely(raw, settings) is None:
        return None
    why = "numbers written as text"
    if writing.declaration:
        why += f" ({writing.words})"
    if missing:
        why += f"; {_some(missing['missing_values'])} read as missing"
    return ColumnPlan(str(raw.name), why, preparation=settings)


def _slips(texts: Sequence[str], writing: facts.Writing) -> list[str] | None:
    """Return the few texts among numbers that are none; None: they are too many."""
    words = list(compress(texts, ~writing.reads))
    are_few = len(words) <= min(MOST_SLIPS, len(texts) * MOST_SLIPPED)
    if not are_few or any(map(str.isdigit, "".join(words))):
        return None
    return words


def _units_question(
    raw: pd.Series, texts: Sequence[str], writing: facts.Writing
) -> str:
    """Ask for the factors of the units among numbers; empty: they are clear."""
    if not writing.question or _slips(texts, writing) is None:
        return ""
    factors = {
        unit: "…" if factor == 1 else factor
        for unit, factor in writing.declaration["units"].items()
    }
    settings = {"types": "number", "numbers": {"units": factors}}
    preparation = facts.by_setting({str(raw.name): settings})
    return (
        f"{raw.name} holds {writing.question}; it is not read as a number until each "
        f"unit has its factor ({in_line({'preparation': preparation})})"
    )


def _category(raw: pd.Series) -> ColumnPlan:
    name = str(raw.name)
    present = raw.dropna()
    rows, distinct = len(present), raw.nunique()
    named = facts.is_named_like_an_id(name)
    is_id = distinct == len(raw) and (
        named or present.astype("str").str.fullmatch(_DIGEST).all()
    )
    if is_id or (named and distinct > MOST_NAMED_CATEGORIES):
        return _named(raw, distinct)
    free = distinct > max(FEWEST_FREE_TEXTS, FREE_TEXT_SHARE * rows)
    # Texts of several words stay features, by their n-grams.
    if free and not _has_words(present):
        why = f"codes: {distinct:,} distinct ones in {rows:,} rows"
        return ColumnPlan(name, why, excluded=True)
    return ColumnPlan(
        name,
        names_entities=named and 2 < distinct < rows,
        many_texts=free or distinct > MOST_CODES,
    )


def _has_words(present: pd.Series) -> bool:
    texts = present.astype("str").str.strip()
    return texts.str.contains(_SEVERAL_WORDS).mean() > FREE_TEXT_SHARE


def _shown(value: object) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    return numbers.shown(repr(plain), 40)


def _some(texts: Sequence[str]) -> str:
    return numbers.some_of(list(map(_shown, texts)), most=3)
