"""What each rule lets pass, and where its question does not arise: a table, and why."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    check,
    numeric,
    table,
)

PLAIN, NOTHING = table(), MappingProxyType({})
RNG = np.random.default_rng(3)
DAY = pd.date_range("2024-01-01", periods=ROWS)
POSITIVE = (PLAIN["y"] == "yes").to_numpy()
SPARSE = np.where(np.arange(ROWS) % 4 == 0, 1.5, np.nan)
TWICE = pd.concat([PLAIN, PLAIN], ignore_index=True)
NO_TEXT, NO_NUMBER = PLAIN.drop(columns="colour"), PLAIN[["colour", "y"]]


def each(write: Callable[[int], str]) -> list[str]:
    """A text per row, by its number."""
    return [write(i) for i in range(ROWS)]


def case(
    code: str, why: str, frame: pd.DataFrame = PLAIN, spec: Any = NOTHING, **columns: Any
) -> Any:
    """A rule, why it is silent, and what it is asked about: a table, or columns of the plain one."""
    return pytest.param(code, table(**columns) if columns else frame, spec, id=f"{code}: {why}")


@pytest.mark.parametrize(
    ("code", "frame", "spec"),
    [
        case("target_constant", "a target with two values"),
        case("too_few_rows_per_class", "classes with enough rows everywhere"),
        case("class_imbalance", "two classes of about equal size"),
        case("too_few_rows", "240 train rows are enough for three features"),
        case("leak_suspect", "right in 4 of 5 rows", flag=POSITIVE ^ (RNG.random(ROWS) < 0.2)),
        case(
            "leak_suspect",
            "what no model gets",
            spec={"exclude": {"outcome": "known later"}},
            outcome=POSITIVE,
        ),
        case(
            "telling_missing_values",
            "missing now and then",
            z=PLAIN["z"].where(RNG.random(ROWS) > 0.3),
        ),
        case("conflicting_labels", "copies that agree", TWICE),
        case("duplicate_rows", "rows that differ in one column"),
        case("repeated_entities", "numbers and small categories", age=RNG.integers(20, 80, ROWS)),
        case("drift_over_time", "a time, and nothing changes", day=DAY),
        case("random_split_over_time", "a time that tells nothing", day=DAY),
        case("related_rows", "names that seldom repeat", name=each(lambda i: f"name {i % 350}")),
        case(
            "related_rows",
            "numbers whose squares overflow or vanish",
            **{
                name: RNG.normal(size=ROWS) * scale for name, scale in (("a", 1e300), ("b", 1e-300))
            },
        ),
        case(
            "constant_column",
            "that it is missing tells rows apart",
            flag=[1.0, np.nan] * (ROWS // 2),
        ),
        case("almost_unique_column", "categories"),
        case(
            "mixed_types", "a question mark is a missing value", answer=["?", "12.5"] * (ROWS // 2)
        ),
        case("mixed_types", "9E is not a number", carrier=["9E", "UA"] * (ROWS // 2)),
        case("numbers_as_text", "zeros would be lost", postcode=each(lambda i: f"0{i % 90 + 10}")),
        case("mixed_types", "zeros would be lost", plz=each(lambda i: f"{i * 977 % 99999:05}")),
        case("numbers_as_text", "some begin with 0", zip=each(lambda i: f"{9990 + i}".zfill(5))),
        case(
            "numbers_as_text", "too many units", seat=each(lambda i: f"{i % 30}{'ABCDEF'[i % 6]}")
        ),
        case("dates_as_text", "no year", version=each(lambda i: f"1.{i % 9}.{i % 7}")),
        case("dates_as_text", "no month", release=each(lambda i: f"2024.{i % 20}.{i % 40}")),
        case("dates_as_text", "a path", file=each(lambda i: f"2024/{i:05}/{i % 7}")),
        case("dates_as_text", "a number to call", phone="01234-567890"),
        case("infinite_values", "finite numbers"),
        case("absurd_magnitudes", "a giant, no error of unit", height=[2.7] + [1.7] * (ROWS - 1)),
        case(
            "missing_values",
            "the YAML tolerates it",
            spec={"analysis": {"thresholds": {"missing_values": 0.8}}},
            gust=SPARSE,
        ),
        case(
            "category_variants", "a digit makes another zone", zone=each(lambda i: f"zone {i % 9}")
        ),
        case("probe_nearly_perfect", "noise keeps a probe from being perfect"),
    ],
)
def test_what_is_innocent_is_not_found(code, frame, spec) -> None:
    """No false alarm."""
    assert check(code, frame, **spec).outcome == "not_found"


@pytest.mark.parametrize(
    ("code", "frame", "spec"),
    [
        case("target_looks_like_another_task", "one value looks like no task", y=1),
        case("too_many_classes", "two classes are not many"),
        case("too_few_rows_per_class", "numbers have no classes", numeric(), spec=REGRESSION),
        case("class_imbalance", "numbers have no classes", numeric(), spec=REGRESSION),
        case("leak_suspect", "nothing gives away what never varies", y="yes"),
        case("made_of_target", "nothing is made of what never varies", y="yes"),
        case("telling_missing_values", "everything tells what never varies", y="yes"),
        case("telling_missing_values", "where nothing is missing nothing can tell"),
        case(
            "telling_missing_values",
            "missing in the validation set alone",
            z=PLAIN["z"].where(~(VALIDATION & POSITIVE)),
        ),
        case("conflicting_labels", "no equal rows, no ceiling", numeric(), spec=REGRESSION),
        case("duplicate_rows", "two small categories must repeat themselves", NO_NUMBER),
        case(
            "repeated_entities",
            "the split deals with it",
            spec={"split": {"by": "group", "column": "who"}},
            who=np.arange(ROWS) // 5,
        ),
        case("drift_over_time", "no time to order by"),
        case("random_split_over_time", "no time to order by"),
        case("random_split_over_time", "one moment is not late", day=DAY[0]),
        case("related_rows", "too few rows to tell", PLAIN.head(40)),
        case("related_rows", "too few rows of each class", y=np.arange(ROWS) % 6, spec=MULTICLASS),
        case(
            "related_rows",
            "a split by time",
            table(day=DAY),
            spec={"split": {"by": "time", "column": "day"}},
        ),
        case("drift_over_time", "one moment has no early and late", day=DAY[0]),
        case("almost_unique_column", "measurements may differ in every row", NO_TEXT),
        case("mixed_types", "numbers cannot be mixed", NO_TEXT),
        case("dates_as_text", "numbers are no dates", NO_TEXT),
        case("placeholder_values", "no number and no text", table(y=SPARSE > 0)[["y"]]),
        case("infinite_values", "texts cannot be infinite", NO_NUMBER),
        case("absurd_magnitudes", "texts have no magnitude", NO_NUMBER),
        case("outliers", "few values have no bulk", PLAIN.head(40)),
        case(
            "outliers",
            "half of the values are equal: no spread",
            table(rain=np.arange(ROWS) % 10 == 0)[["rain", "y"]],
        ),
        case(
            "category_variants", "numbers have one spelling", NO_TEXT.assign(y=np.arange(ROWS) % 2)
        ),
        case("criterion_out_of_reach", "who asks for nothing cannot ask for too much"),
    ],
)
def test_where_the_question_does_not_arise_it_is_not_applicable(code, frame, spec) -> None:
    """Not applicable is another answer than not found."""
    assert check(code, frame, **spec).outcome == "not_applicable"
