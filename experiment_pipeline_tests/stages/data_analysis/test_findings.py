"""What each rule finds, what it lets pass, and where its question does not arise: a
table, and why.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.reporting import numbers
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    again,
    check,
    numeric,
    table,
)

PLAIN, NUMERIC, NOTHING = table(), numeric(), MappingProxyType({})
RNG = np.random.default_rng(3)
ROW = np.arange(ROWS)
SOME = ROW % 10 == 0
DAY = pd.date_range("2024-01-01", periods=ROWS)
LATE = ROW > ROWS / 2
POSITIVE = (PLAIN["y"] == "yes").to_numpy()
SPARSE = np.where(ROW % 4 == 0, 1.5, np.nan)
TWICE = pd.concat([PLAIN, PLAIN], ignore_index=True)
NO_TEXT, NO_NUMBER = PLAIN.drop(columns="colour"), PLAIN[["colour", "y"]]


def each(write: Callable[[int], str]) -> list[str]:
    """A text per row, by its number."""
    return [write(i) for i in range(ROWS)]


def case(
    code: str,
    why: str,
    frame: pd.DataFrame = PLAIN,
    spec: Any = NOTHING,
    **columns: Any,
) -> Any:
    """A rule, why it is silent, and what it is asked about: a table, or columns of the
    plain one.
    """
    return pytest.param(
        code, table(**columns) if columns else frame, spec, id=f"{code}: {why}"
    )


def patients(**columns: Any) -> pd.DataFrame:
    """Visits of patients who are mostly ill, or mostly not."""
    ill = ILL[PATIENT] ^ (RNG.random(ROWS) < 0.1)
    return table(**{"patient_id": PATIENT, "y": np.where(ill, "yes", "no"), **columns})


def rare(*rows: int) -> pd.DataFrame:
    """Two frequent classes, and a third one in these rows."""
    y = np.where(ROW % 2 == 0, "often", "usual")
    y[list(rows)] = "rare"
    return table(y=y)


def by_shop(y: pd.Series, prior: float = 0) -> Any:
    """The mean of a row's shop, drawn to the overall mean."""
    groups = y.groupby(SHOP)
    return (
        (groups.transform("sum") + prior * y.mean())
        / (groups.transform("size") + prior)
    ).array


def hit(
    why: str,
    frame: pd.DataFrame,
    severity: str,
    columns: str = "",
    said: str = "",
    number: float | None = None,
    after: str = "gone",
    **spec: Any,
) -> tuple[Any, ...]:
    """What is in a table, how much it weighs, which columns are named, and what the
    evidence says.

    `after`: what is left once the finding's YAML was written into the experiment's, or
    its severity.
    """
    return why, frame, severity, columns, said, number, after, spec


PATIENT, ILL = RNG.integers(0, 80, ROWS), RNG.random(80) < 0.5
NAMED = patients(
    who=[f"person {n}" for n in PATIENT], born=1930 + PATIENT, size=PATIENT * 0.7
)
SHOP = RNG.integers(0, 60, ROWS)
SHOPS, TARGET, FLAG = (
    SHOP.astype(str),
    pd.Series(NUMERIC["y"].array),
    pd.Series(POSITIVE * 1.0),
)
OTHERS = (by_shop(TARGET) * np.bincount(SHOP)[SHOP] - TARGET) / (
    np.bincount(SHOP)[SHOP] - 1
)
FEW, MANY = RNG.integers(1, 500, (2, ROWS))
PLACES = np.argsort(np.argsort(PLAIN["y"].to_numpy(), kind="stable"), kind="stable")
CANCELLED = POSITIVE & (ROW % 4 == 0)
LATER = numbers.share(POSITIVE[~CANCELLED & ~VALIDATION].mean())
PAID, DUE = RNG.normal(size=(2, ROWS))
HEIGHT = np.where(ROW == 5, 1.8e6, RNG.normal(1.7, 0.1, ROWS))
WIND = np.where(ROW == 3, 1048.4, RNG.normal(10, 4, ROWS))
INCOME, AGE = RNG.lognormal(10, 1, ROWS), RNG.integers(30, 50, ROWS)
RATIO = np.where(ROW % 100 == 0, np.inf, 1.0 * ROW)
NOISY, FLIPPED = (POSITIVE ^ (RNG.random(ROWS) < share) for share in (0.03, 0.1))
NEAR = (ROW % 25 == 0) + 1e-6 * RNG.normal(size=ROWS)
RARE, WAVES = (
    np.where(ROW % 40 == 0, "yes", "no"),
    np.where(np.sin(ROW / 20) > 0, "yes", "no"),
)
GRADES, CLASS, EURO = ROW % 4, "class {}".format, "{:,.2f} €".format
CLASSES = table(y=each(lambda i: CLASS(i % 121)))
ALLOWED = {
    **MULTICLASS,
    "analysis": {"thresholds": {"too_many_classes": 121, "missing_values": 0.8}},
}
ASKED, ACCURACY = [{"metric": "roc_auc", "at_least": 0.99}], {"metric": "accuracy"}
ERRORS = [{"metric": "rmse", "at_most": 0.1}, {"metric": "r2", "at_least": 0.1}]
OF_DAYS = {"preparation": {"calendar": {"day": ["days"]}}}
BY_TIME, BY_GROUP = (
    {"split": {"by": by, "column": column}}
    for by, column in (("time", "day"), ("group", "who"))
)
IDS = {"exclude": {"patient_id": "names a person"}}
PLACEHOLDERS = {-999: "condition", 9999.0: "condition", -1: "note", 0: "note"}
UNIQUE = {
    "texts": each("V{:04}".format),
    "numbers": RNG.permutation(ROWS),
    "floats": ROW + 17.0,
}
MIXED, UNIFORM = RNG.permutation(ROWS), RNG.random(ROWS)
HIDDEN = np.where(VALIDATION, TARGET, RNG.permutation(TARGET)).cumsum()
PAST, RATE = TARGET.shift(1), (RNG.permutation(60) / 60)[SHOP]
ORDINARY = {
    "counts": RNG.poisson(1.0, ROWS),
    "small negative numbers": RNG.integers(-2, 15, ROWS),
    "99 in its place": np.where(SOME, 99, RNG.integers(60, 99, ROWS)),
    "codes": RNG.integers(0, 3, ROWS) * 999,
    "a single outlier": np.where(ROW == 7, -999, AGE),
}
WINDOWS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "a mean of rows": lambda y: y.rolling(5).mean(),
    "a sum of rows": lambda y: y.rolling(12, 1).sum(),
    "rows on both sides": lambda y: y.rolling(5, center=True).mean(),
    "a mean of all rows so far": lambda y: y.expanding().mean(),
    "a mean that forgets": lambda y: y.ewm(alpha=0.3).mean(),
    "a running sum": lambda y: y.cumsum(),
    "the future": lambda y: y.shift(-2),
}
FOUND = {
    "target_missing": [
        hit("no target", table(y=PLAIN["y"].where(ROW >= 40)), "condition", number=0.1),
        hit(
            "inf",
            numeric(y=TARGET.mask(ROW < 40, np.inf)),
            "condition",
            number=0.1,
            **REGRESSION,
        ),
    ],
    "target_constant": [
        hit("one value", table(y="yes"), "blocks", said="'yes'", number=1),
        hit("no value", table(y=None), "blocks", number=0),
    ],
    "target_looks_like_another_task": [
        hit(
            "4 numbers",
            table(y=GRADES),
            "condition",
            said="task: multiclass",
            **REGRESSION,
        ),
        hit(
            "2 numbers",
            table(y=GRADES % 2),
            "condition",
            said="task: binary",
            **REGRESSION,
        ),
        hit(
            "2 classes",
            table(y=GRADES % 2),
            "condition",
            said="task: binary",
            **MULTICLASS,
        ),
        hit("400 classes", NUMERIC, "condition", said="task: regression", **MULTICLASS),
        hit("4 classes of 2", table(y=GRADES), "blocks", said="task: multiclass"),
        hit("texts", PLAIN, "blocks", said="task: binary", **REGRESSION),
        hit(
            "numbers as text",
            table(y=(1e4 * TARGET).map(EURO).array),
            "blocks",
            **REGRESSION,
        ),
    ],
    "too_many_classes": [
        hit("121", CLASSES, "condition", number=121, **MULTICLASS),
        hit("a class per row", table(y=each(CLASS)), "blocks", **MULTICLASS),
    ],
    "too_few_rows_per_class": [
        hit(
            *("3 test rows", rare(*range(0, 300, 10), 6, 16, 26), "condition"),
            said="'rare' has 3 rows in the test set",
            number=3,
            after="condition",
            **MULTICLASS,
        ),
        hit(
            "3 rows",
            rare(0, 10, 20),
            "condition",
            said="'rare' (3",
            after="blocks",
            **MULTICLASS,
        ),
        hit(
            "100, none in test",
            rare(*ROW[SOME | (ROW % 10 == 1)]),
            "blocks",
            **MULTICLASS,
        ),
    ],
    "class_imbalance": [
        hit("a metric that sees it", table(y=RARE), "note", said="'yes'", after="note"),
        hit(
            "accuracy ignores it", table(y=RARE), "condition", after="note", **ACCURACY
        ),
    ],
    "too_few_rows": [
        hit("40 features", table(**{f"n{i}": PAID for i in range(40)}), "condition"),
        hit("20 rows", PLAIN.head(20), "blocks", number=20),
    ],
    "leak_suspect": [
        hit(
            "another word", table(a=np.where(POSITIVE, "paid", "failed")), "blocks", "a"
        ),
        hit("right in 97 %", table(early=NOISY), "condition", "early"),
        hit("a copy with flips", table(x=PAID, copy=FLIPPED), "condition", "copy"),
        hit("the target", numeric(paid=TARGET.array), "blocks", "paid", **REGRESSION),
        hit(
            "its function",
            numeric(paid=np.exp(TARGET.array)),
            "blocks",
            "paid",
            **REGRESSION,
        ),
        hit(
            *("a sum", numeric(a=FEW, b=MANY, y=FEW + MANY), "blocks", "a, b"),
            said="a + b equals the target",
            **REGRESSION,
        ),
        hit(
            *("a product", numeric(a=FEW, b=MANY, y=FEW * MANY), "blocks", "a, b"),
            said="a · b equals the target",
            **REGRESSION,
        ),
        hit(
            "a rare class with noise",
            table(y=ROW % 25 == 0, near=NEAR),
            "blocks",
            "near",
        ),
        *(
            hit(
                ids,
                table(id=[ids.format(n) for n in PLACES]),
                "blocks",
                "id",
                "order of its texts",
            )
            for ids in ("C{}", "C{:06d}")
        ),
    ],
    "made_of_target": [
        *(
            hit(why, numeric(leak=window(TARGET).array), "blocks", "leak", **REGRESSION)
            for why, window in WINDOWS.items()
        ),
        hit(
            "a mean", table(shop=SHOPS, leak=by_shop(FLAG)), "blocks", "leak", "by shop"
        ),
        hit(
            "a drawn mean",
            table(shop=SHOPS, leak=by_shop(FLAG, 10)),
            "blocks",
            "leak",
            "by shop",
        ),
        hit(
            "others",
            numeric(shop=SHOPS, leak=OTHERS.array),
            "blocks",
            "leak",
            **REGRESSION,
        ),
    ],
    "telling_missing_values": [
        hit(
            *(
                "where it is late",
                table(z=PLAIN["z"].mask(CANCELLED)),
                "condition",
                "z",
            ),
            said=f"100 % of them yes, {LATER} elsewhere",
        ),
    ],
    "repeated_entities": [
        hit("patients", patients(), "condition", "patient_id"),
        hit("an excluded id", patients(), "condition", "patient_id", **IDS),
        hit("who fixes born", NAMED.drop(columns="patient_id"), "condition", "who"),
    ],
    "drift_over_time": [
        hit(
            "a number",
            table(day=DAY, n=PAID + 3 * LATE),
            "condition",
            "n",
            after="note",
        ),
        hit(
            "texts",
            table(day=DAY, n=np.where(LATE, "a", "b")),
            "condition",
            "n",
            after="note",
        ),
        hit("the class", table(day=DAY, y=LATE), "condition", "y", after="note"),
        hit(
            "target",
            numeric(day=DAY, y=1.0 * ROW),
            "condition",
            "y",
            after="note",
            **REGRESSION,
        ),
    ],
    "random_split_over_time": [
        hit(
            "known at each time, not ahead", table(day=DAY, n=ROW, y=WAVES), "condition"
        ),
    ],
    "missing_values": [
        hit("most values", table(a=SPARSE, b=None), "note", "b, a", number=1)
    ],
    "constant_column": [
        hit("fixed", table(a=2024, b="FR"), "note", "a, b", "a = 2024, b = FR")
    ],
    "almost_unique_column": [
        hit(why, table(id=values), "condition", "id") for why, values in UNIQUE.items()
    ],
    "mixed_types": [
        hit(
            "words",
            table(a=np.where(SPARSE > 0, "no", "1.5")),
            "condition",
            "a",
            "'no'",
            0.25,
        ),
    ],
    "placeholder_values": [
        *(
            hit(
                f"{mark!r}",
                table(job=np.where(SOME, mark, PLAIN["colour"])),
                "note",
                "job",
                "",
                0.1,
            )
            for mark in ("?", "Not available", "   ")
        ),
        *(
            hit(f"{mark}", table(age=np.where(SOME, mark, AGE)), severity, "age")
            for mark, severity in PLACEHOLDERS.items()
        ),
        hit(
            "a class",
            table(y=np.where(SOME, "?", PLAIN["y"])),
            "condition",
            "y",
            **MULTICLASS,
        ),
    ],
    "infinite_values": [
        hit("both signs", table(a=RATIO, b=-RATIO), "condition", "a, b", number=4)
    ],
    "absurd_magnitudes": [
        hit("in µm", table(height=HEIGHT), "condition", "height", "1.8e+06")
    ],
    "outliers": [
        hit("a hurricane", table(wind=WIND), "note", "wind", "wind (1048.4, "),
        hit(
            "far by its logarithm",
            table(a=np.where(ROW == 0, 1e20, INCOME)),
            "note",
            "a",
        ),
    ],
    "probe_no_better_than_baseline": [
        hit("noise", table(y=RNG.permutation(ROWS) % 2), "condition")
    ],
    "probe_nearly_perfect": [
        hit(
            "two together",
            table(a=PAID, b=DUE, y=PAID > DUE),
            "condition",
            "b, a, x, z, colour",
        ),
    ],
    "criterion_out_of_reach": [
        hit("0.99", PLAIN, "condition", said="criterion 0.99", acceptance=ASKED),
        hit(
            "a small error",
            NUMERIC,
            "condition",
            said="rmse",
            acceptance=ERRORS,
            **REGRESSION,
        ),
    ],
}


@pytest.mark.parametrize(
    ("code", "frame", "severity", "columns", "said", "number", "after", "spec"),
    [
        pytest.param(code, *one, id=f"{code}: {why}")
        for code, hits in FOUND.items()
        for why, *one in hits
    ],
)
def test_what_is_there_is_found_and_the_finding_s_yaml_settles_it(
    code, frame, severity, columns, said, number, after, spec
) -> None:
    """With its weight, its columns, the worst first, its number and a sentence."""
    finding = check(code, frame, **spec)
    assert (finding.outcome, finding.severity) == ("found", severity)
    assert not columns or finding.columns == tuple(columns.split(", "))
    assert number is None or finding.number == number
    assert said in f"{finding.evidence} {finding.yaml}"
    if finding.yaml is not None:
        settled = again(finding, frame, **spec)
        assert (settled.severity if settled.outcome == "found" else "gone") == after


@pytest.mark.parametrize(
    ("code", "frame", "spec"),
    [
        case("target_constant", "a target with two values"),
        case("too_many_classes", "as many as the YAML allows", CLASSES, spec=ALLOWED),
        case("too_few_rows_per_class", "classes with enough rows everywhere"),
        case("class_imbalance", "two classes of about equal size"),
        case("too_few_rows", "240 train rows are enough for three features"),
        case(
            "leak_suspect",
            "right in 4 of 5 rows",
            flag=POSITIVE ^ (RNG.random(ROWS) < 0.2),
        ),
        case(
            "leak_suspect",
            "what no model gets",
            spec={"exclude": {"a": "later"}},
            a=POSITIVE,
        ),
        case(
            "telling_missing_values", "now and then", z=PLAIN["z"].where(UNIFORM > 0.3)
        ),
        case(
            "telling_missing_values",
            "4 rows are rare",
            y=ROW % 100 == 1,
            z=PLAIN["z"].mask(SOME),
        ),
        *(
            case(
                "leak_suspect", f"{ids} in no order", id=[ids.format(n) for n in MIXED]
            )
            for ids in ("C{}", "C{:06d}")
        ),
        case(
            "leak_suspect",
            "in the validation set alone",
            c=np.where(VALIDATION, POSITIVE, MIXED % 2),
        ),
        *(
            case(
                "made_of_target",
                f"{why} before",
                numeric(n=window(PAST).array),
                REGRESSION,
            )
            for why, window in WINDOWS.items()
            if why not in {"rows on both sides", "the future"}
        ),
        case(
            "made_of_target",
            "of targets that are not visible",
            numeric(c=HIDDEN),
            REGRESSION,
        ),
        case(
            "made_of_target",
            "a mean of other rows",
            shop=SHOPS,
            rate=RATE,
            y=RATE > UNIFORM,
        ),
        case("conflicting_labels", "copies that agree", TWICE),
        case("duplicate_rows", "rows that differ in one column"),
        case(
            "repeated_entities",
            "numbers and small categories",
            age=RNG.integers(20, 80, ROWS),
        ),
        case("drift_over_time", "a time, and nothing changes", day=DAY),
        case("random_split_over_time", "a time that tells nothing", day=DAY),
        case(
            "related_rows",
            "names that seldom repeat",
            name=each(lambda i: f"name {i % 350}"),
        ),
        case(
            "related_rows", "squares overflow or vanish", a=PAID * 1e300, b=DUE * 1e-300
        ),
        case(
            "constant_column",
            "missing tells rows apart",
            flag=[1.0, np.nan] * (ROWS // 2),
        ),
        case("almost_unique_column", "categories"),
        case(
            "almost_unique_column",
            "days of dates name no row",
            spec=OF_DAYS,
            day_days=ROW,
        ),
        case(
            "mixed_types",
            "a question mark is missing",
            answer=["?", "12.5"] * (ROWS // 2),
        ),
        case("mixed_types", "9E is not a number", carrier=["9E", "UA"] * (ROWS // 2)),
        case(
            "numbers_as_text",
            "zeros would be lost",
            postcode=each(lambda i: f"0{i % 90 + 10}"),
        ),
        case(
            "mixed_types",
            "zeros would be lost",
            plz=each(lambda i: f"{i * 977 % 99999:05}"),
        ),
        case(
            "numbers_as_text",
            "some begin with 0",
            zip=each(lambda i: f"{9990 + i}".zfill(5)),
        ),
        case(
            "numbers_as_text",
            "many units",
            seat=each(lambda i: f"{i % 30}{'ABCDEF'[i % 6]}"),
        ),
        case("dates_as_text", "no year", version=each(lambda i: f"1.{i % 9}.{i % 7}")),
        case(
            "dates_as_text",
            "no month",
            release=each(lambda i: f"2024.{i % 20}.{i % 40}"),
        ),
        case("dates_as_text", "a path", file=each(lambda i: f"2024/{i:05}/{i % 7}")),
        case("dates_as_text", "a number to call", phone="01234-567890"),
        *(
            case("placeholder_values", why, age=values)
            for why, values in ORDINARY.items()
        ),
        case("outliers", "a long tail, by its logarithm", income=INCOME),
        case("infinite_values", "finite numbers"),
        case(
            "absurd_magnitudes",
            "a giant, no error of unit",
            height=[2.7] + [1.7] * (ROWS - 1),
        ),
        case(
            "missing_values",
            "the YAML tolerates it",
            table(y=GRADES, gust=SPARSE),
            spec=ALLOWED,
        ),
        case(
            "category_variants",
            "a digit makes another",
            zone=each(lambda i: f"zone {i % 9}"),
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
        case(
            "too_few_rows_per_class",
            "numbers have no classes",
            numeric(),
            spec=REGRESSION,
        ),
        case("class_imbalance", "numbers have no classes", numeric(), spec=REGRESSION),
        case("leak_suspect", "nothing gives away what never varies", y="yes"),
        case("made_of_target", "nothing is made of what never varies", y="yes"),
        case("telling_missing_values", "everything tells what never varies", y="yes"),
        case("telling_missing_values", "where nothing is missing nothing can tell"),
        case(
            "telling_missing_values",
            "in validation alone",
            z=PLAIN["z"].mask(VALIDATION & POSITIVE),
        ),
        case(
            "conflicting_labels",
            "no equal rows, no ceiling",
            numeric(),
            spec=REGRESSION,
        ),
        case(
            "duplicate_rows", "two small categories must repeat themselves", NO_NUMBER
        ),
        case(
            "repeated_entities", "the split deals with it", spec=BY_GROUP, who=ROW // 5
        ),
        case("drift_over_time", "no time to order by"),
        case("random_split_over_time", "no time to order by"),
        case("random_split_over_time", "one moment is not late", day=DAY[0]),
        case("related_rows", "too few rows to tell", PLAIN.head(40)),
        case(
            "related_rows", "too few rows of each class", table(y=ROW % 6), MULTICLASS
        ),
        case("related_rows", "a split by time", spec=BY_TIME, day=DAY),
        case("drift_over_time", "one moment has no early and late", day=DAY[0]),
        case("almost_unique_column", "measurements may differ in every row", NO_TEXT),
        case("mixed_types", "numbers cannot be mixed", NO_TEXT),
        case("dates_as_text", "numbers are no dates", NO_TEXT),
        case("placeholder_values", "no number and no text", table(y=SPARSE > 0)[["y"]]),
        case("infinite_values", "texts cannot be infinite", NO_NUMBER),
        case("absurd_magnitudes", "texts have no magnitude", NO_NUMBER),
        case("outliers", "few values have no bulk", PLAIN.head(40)),
        case(
            "outliers", "half of the values are equal", table(rain=SOME)[["rain", "y"]]
        ),
        case(
            "category_variants", "numbers have one spelling", NO_TEXT.assign(y=ROW % 2)
        ),
        case("criterion_out_of_reach", "who asks for nothing cannot ask for too much"),
    ],
)
def test_where_the_question_does_not_arise_it_is_not_applicable(
    code, frame, spec
) -> None:
    """Not applicable is another answer than not found."""
    assert check(code, frame, **spec).outcome == "not_applicable"


def test_of_a_wide_table_it_is_said_which_columns_were_not_looked_at() -> None:
    """What was not computed is not called innocent."""
    noise = pd.DataFrame(RNG.normal(size=(ROWS, 200)), index=PLAIN.index).add_prefix(
        "w"
    )
    found = check("made_of_target", pd.concat([table(shop=SHOPS), noise], axis=1))
    assert "not computed beyond the first 200 columns" in found.evidence
