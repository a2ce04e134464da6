"""What each rule finds, what it lets pass, and where its question does not arise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

PLAIN, NUMERIC = table(), numeric()
RNG = np.random.default_rng(3)
ROW = np.arange(ROWS)
SOME = ROW % 10 == 0
DAY = pd.date_range("2024-01-01", periods=ROWS)
YEARS = 1961 + ROW * 60 // ROWS
LATE = ROW > ROWS / 2
POSITIVE = (PLAIN["y"] == "yes").to_numpy()
SPARSE = np.where(ROW % 4 == 0, 1.5, np.nan)


@dataclass(frozen=True, eq=False)
class Hit:
    """What is in a table, how much it weighs, and what the finding says."""

    why: str
    frame: pd.DataFrame
    severity: str = "condition"
    columns: str = ""
    evidence: str = ""  # also of the YAML
    number: float | None = None
    # Severity once the finding's YAML was written into the experiment's.
    after: str = "gone"
    spec: Mapping[str, Any] = field(default_factory=dict)


def rare(*rows: int) -> pd.DataFrame:
    """Two frequent classes, and a third one in these rows."""
    y = np.where(ROW % 2 == 0, "often", "usual")
    y[list(rows)] = "rare"
    return table(y=y)


def patients(**columns: Any) -> pd.DataFrame:
    """Visits of patients who are mostly ill, or mostly not."""
    ill = ILL[PATIENT] ^ (RNG.random(ROWS) < 0.1)
    return table(**{"patient_id": PATIENT, "y": np.where(ill, "yes", "no"), **columns})


def by_shop(y: pd.Series, prior: float = 0) -> Any:
    """The mean of a row's shop, drawn to the overall mean."""
    shops = y.groupby(SHOP)
    sums = shops.transform("sum") + prior * y.mean()
    return (sums / (shops.transform("size") + prior)).array


PATIENT, ILL = RNG.integers(0, 80, ROWS), RNG.random(80) < 0.5
NAMED = patients(
    who=[f"person {n}" for n in PATIENT], born=1930 + PATIENT, size=PATIENT * 0.7
)
CODED = NAMED.drop(columns=["patient_id", "who"]).assign(
    code=PATIENT, born=1930 + PATIENT * 37 % 60, size=PATIENT * 17 % 80 * 0.7
)
SHOP = RNG.integers(0, 60, ROWS)
SHOPS = SHOP.astype(str)
TARGET = pd.Series(NUMERIC["y"].array)
FLAG = pd.Series(POSITIVE * 1.0)
SHOP_ROWS = np.bincount(SHOP)[SHOP]
OTHERS = ((by_shop(TARGET) * SHOP_ROWS - TARGET) / (SHOP_ROWS - 1)).array
FEW, MANY = RNG.integers(1, 500, (2, ROWS))
PLACES = np.argsort(np.argsort(PLAIN["y"].to_numpy(), kind="stable"), kind="stable")
SORTED_IDS = [f"C{n}" for n in PLACES]
CANCELLED = POSITIVE & (ROW % 4 == 0)
LATER = numbers.share(POSITIVE[~CANCELLED & ~VALIDATION].mean())
PAID, DUE = RNG.normal(size=(2, ROWS))
HEIGHT = np.where(ROW == 5, 1.8e6, RNG.normal(1.7, 0.1, ROWS))
WIND = np.where(ROW == 3, 1048.4, RNG.normal(10, 4, ROWS))
INCOME, AGE = RNG.lognormal(10, 1, ROWS), RNG.integers(30, 50, ROWS)
FAR_INCOME = np.where(ROW == 0, 1e20, INCOME)
RATIO = np.where(ROW % 100 == 0, np.inf, 1.0 * ROW)
NOISY, FLIPPED = (POSITIVE ^ (RNG.random(ROWS) < share) for share in (0.03, 0.1))
NEAR = (ROW % 25 == 0) + 1e-6 * RNG.normal(size=ROWS)
RARE = table(y=np.where(ROW % 40 == 0, "yes", "no"))
WAVES = np.where(np.sin(ROW / 20) > 0, "yes", "no")
GRADES = table(y=ROW % 4)
EVEN = table(y=ROW % 2)
CLASSES = table(y=[f"class {i % 121}" for i in ROW])
EUROS = table(y=[f"{1e4 * y:,.2f} €" for y in TARGET])
LIMITS = {"too_many_classes": 121, "missing_values": 0.8}
ALLOWED = {**MULTICLASS, "analysis": {"thresholds": LIMITS}}
ASKED = {"acceptance": [{"metric": "roc_auc", "at_least": 0.99}]}
ERRORS = [{"metric": "rmse", "at_most": 0.1}, {"metric": "r2", "at_least": 0.1}]
OF_DAYS = {"preparation": {"calendar": {"day": ["days"]}}}
BY_TIME = {"split": {"by": "time", "column": "day"}}
BY_GROUP = {"split": {"by": "group", "column": "who"}}
PLACEHOLDERS = {-999: "condition", 9999.0: "condition", -1: "note", 0: "note"}
UNIQUE = {
    "texts": [f"V{i:04}" for i in ROW],
    "numbers": RNG.permutation(ROWS),
    "floats": ROW + 17.0,
}
MIXED, UNIFORM = RNG.permutation(ROWS), RNG.random(ROWS)
HIDDEN = np.where(VALIDATION, TARGET, RNG.permutation(TARGET)).cumsum()
PAST, RATE = TARGET.shift(1), (RNG.permutation(60) / 60)[SHOP]
OWN = np.random.default_rng(4)
MINE = OWN.normal(size=ROWS) * 5
GAPS = np.where(ROW % 5 < 2, np.nan, 1.0)
TWO_THIRDS = POSITIVE & (OWN.random(ROWS) < 0.67)
REFUND = np.where(TWO_THIRDS, OWN.gamma(2, 20, ROWS).round(2) + 1, 0)
AMOUNT = "of all yes"
WHY = np.where(TWO_THIRDS, OWN.choice(["price", "service"], ROWS), None)
OF_THREE = np.array(["a", "b", "c"])[OWN.integers(0, 3, ROWS)]
ENDED = np.where(TWO_THIRDS, "closed", OWN.choice(["web", "phone"], ROWS))
DAYS = np.where(TWO_THIRDS, OWN.uniform(40, 50, ROWS), OWN.uniform(0, 40, ROWS))
FEW_OF_THEM = np.where(ROW % 15 == 0, "yes", "no")
REFUND_OF_FEW = np.where(
    (FEW_OF_THEM == "yes") & (OWN.random(ROWS) < 0.8), 20 + OWN.random(ROWS), 0
)
REFUSED = ROW % 8 == 1
SOLD = np.where(REFUSED, ROW < 8, OWN.random(ROWS) < 0.5)
BUYER = np.where(SOLD, OWN.integers(1, 9, ROWS), 0)
CODE = np.where(
    TWO_THIRDS, OWN.choice([3, 7], ROWS), OWN.choice([1, 2, 4, 5, 6, 8, 9], ROWS)
)
DAYS_OF_FEW = np.where(
    (FEW_OF_THEM == "yes") & (ROW % 4 < 3) | (ROW == 203),
    OWN.uniform(40, 50, ROWS),
    OWN.uniform(0, 40, ROWS) + 50 * (OWN.random(ROWS) < 0.5),
)
ELSE = np.where(POSITIVE | (OWN.random(ROWS) < 0.5), "moved", "other")
HINT = np.where(TWO_THIRDS, "price", ELSE)
COUNTY = ROW // 5  # in five years
URBAN = COUNTY % 6 == 0
BIRTHS = np.where(URBAN, COUNTY % 21 + 10, OWN.uniform(10, 50, ROWS)[COUNTY])
COUNTIES = table(
    y=np.where(URBAN, "urban", "rural"),
    births=BIRTHS + 5 * OWN.random(ROWS),
    area=OWN.permutation(ROWS)[COUNTY],
)
HEAVY = np.exp(3 * OWN.normal(size=ROWS))
CLAIMS = np.where(ROW % 3 == 0, HEAVY, 0)
GROWN = HEAVY.cumsum()
DECADE = ROW // 16
FEW_COUNTIES = table(
    y=np.where(OWN.permutation(ROWS)[DECADE] % 2 == 0, "urban", "rural"),
    area=OWN.permutation(ROWS)[DECADE],
)
OF_COUNTIES = numeric(
    y=OWN.normal(size=ROWS)[DECADE], area=OWN.permutation(ROWS)[DECADE]
)
SMALL_STEPS = table(
    y=np.where(DECADE % 12 == 5, "urban", "rural"),
    police=np.exp(OWN.normal(size=ROWS)[DECADE] / 9 + OWN.normal(size=ROWS) / 9) / 500,
)
# One of 12 classes has 120 rows, of which a value is only seen there.
MANY = np.where(ROW % 3 == 0, 0, 1 + ROW % 11)
REVEALED = table(
    y=[f"c{code:02}" for code in MANY], note=np.where(MANY == 0, 1.0, np.nan)
)
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

OTHER_RNG = np.random.default_rng(4)
COUNTS = OTHER_RNG.poisson(1.5, ROWS)
GAS = OTHER_RNG.lognormal(5, 0.8, ROWS).round()
MILD = np.maximum(OTHER_RNG.normal(9, 4, ROWS).round(), -1)
NO_CLAIM = OTHER_RNG.random(ROWS) < 0.8
MARKED_TARGETS = (
    (
        "-200",
        np.where(SOME, -200, GAS),
        "preparation: {missing_values: {y: [-200]}}",
        0.125,
    ),
    ("-1 among counts", np.where(SOME, -1, COUNTS), "-1 in ", 0.125),
    ("-1 among counts from 1", np.where(SOME, -1, COUNTS + 1), "-1 in ", 0.125),
    ("999", np.where(SOME, 999.0, AGE), "max_rejected_fraction: 0.15", 0.125),
    ("two codes", np.where(SOME, 998 + ROW // 10 % 2, AGE), "998 in ", 0.125),
    ("not a usual one", np.where(SOME, -12345, TARGET), "-12345 in ", 0.125),
)
# Targets whose extreme value repeats, and is one.
PLAIN_TARGETS = {
    "counts": COUNTS,
    "claims, mostly none": np.where(NO_CLAIM, 0, GAS + 200),
    "house prices capped at 500,001": np.minimum(GAS * 2000, 500_001),
    "house prices capped at 50.0": np.minimum(GAS / 5, 50).round(1),
    "whole degrees of a mild winter": MILD,
    "differences": OTHER_RNG.integers(-1, 3, ROWS) + OTHER_RNG.integers(0, 3, ROWS),
    "grades, 0 for the absent": np.where(SOME, 0, AGE),
    "a score from -1 to 1": OTHER_RNG.integers(-1, 2, ROWS) / 1.0,
    "list prices": OTHER_RNG.choice([9, 19, 29, 49, 99, 199, 499, 999], ROWS),
    "prizes": OTHER_RNG.choice([0, 5, 20, 100, 500, 10_000, 1_000_000], ROWS),
    "one outlier": np.where(ROW == 7, -999, AGE),
}


def leaks(why: str, columns: str = "leak", evidence: str = "", **made: Any) -> Hit:
    """Columns of the numeric plain table that leak its target."""
    return Hit(
        why, numeric(**made), "blocks", columns, evidence=evidence, spec=REGRESSION
    )


def drifts(why: str, column: str, frame: pd.DataFrame, **spec: Any) -> Hit:
    """A column that changes over time, which a split by time makes a note."""
    return Hit(why, frame.assign(day=DAY), columns=column, after="note", spec=spec)


FOUND = {
    "target_missing": [
        Hit("no target", table(y=PLAIN["y"].where(ROW >= 40)), number=0.1),
        Hit(
            "inf", numeric(y=TARGET.mask(ROW < 40, np.inf)), number=0.1, spec=REGRESSION
        ),
    ],
    "target_placeholder": [
        *(
            Hit(why, numeric(y=y), "blocks", "y", evidence, number, spec=REGRESSION)
            for why, y, evidence, number in MARKED_TARGETS
        ),
        Hit(
            "a class of digits",
            table(y=np.where(SOME, 999, ROW % 9)),
            "blocks",
            "y",
            "999 in 40 rows",
            spec=MULTICLASS,
        ),
    ],
    "target_constant": [
        Hit("one value", table(y="yes"), "blocks", evidence="'yes'", number=1),
        Hit("no value", table(y=None), "blocks", number=0),
    ],
    "target_looks_like_another_task": [
        Hit("4 numbers", GRADES, evidence="task: multiclass", spec=REGRESSION),
        Hit("2 numbers", EVEN, evidence="task: binary", spec=REGRESSION),
        Hit("400 classes", NUMERIC, evidence="task: regression", spec=MULTICLASS),
        Hit("4 classes of 2", GRADES, "blocks", evidence="task: multiclass"),
        Hit("texts", PLAIN, "blocks", evidence="task: binary", spec=REGRESSION),
        Hit("numbers as text", EUROS, "blocks", spec=REGRESSION),
    ],
    "too_many_classes": [
        Hit("121", CLASSES, number=121, spec=MULTICLASS),
        Hit("one a row", table(y=[f"{i} a" for i in ROW]), "blocks", spec=MULTICLASS),
    ],
    "too_few_rows_per_class": [
        Hit(
            "3 test rows",
            rare(*range(0, 300, 10), 6, 16, 26),
            evidence="'rare' has 3 rows in the test set",
            number=3,
            after="condition",
            spec=MULTICLASS,
        ),
        Hit(
            "8 expected where targets are not read",
            rare(*range(0, 200, 10), *range(6, 126, 10)),
            evidence="'rare' is expected to have about 8 rows in the validation set",
            number=8,
            after="condition",
            spec=MULTICLASS,
        ),
        Hit(
            "3 rows",
            rare(0, 10, 20),
            evidence="'rare' (3",
            after="blocks",
            spec=MULTICLASS,
        ),
        Hit("none in test", rare(*ROW[ROW % 10 < 2]), "blocks", spec=MULTICLASS),
    ],
    "class_imbalance": [
        Hit("a metric that sees it", RARE, "note", evidence="'yes'", after="note"),
        Hit("accuracy ignores it", RARE, after="note", spec={"metric": "accuracy"}),
    ],
    "too_few_rows": [
        Hit("40 features", table(**{f"n{i}": PAID for i in range(40)})),
        Hit("20 rows", PLAIN.head(20), "blocks", number=20),
    ],
    "leak_suspect": [
        Hit(
            "other words", table(a=np.where(POSITIVE, "paid", "failed")), "blocks", "a"
        ),
        Hit("right in 97 %", table(early=NOISY), columns="early"),
        Hit("a copy with flips", table(x=PAID, copy=FLIPPED), columns="copy"),
        Hit("a rare class", table(y=ROW % 25 == 0, near=NEAR), "blocks", "near"),
        Hit("one of 12 classes", REVEALED, columns="note", spec=MULTICLASS),
        Hit(
            "40 classes as numbers",
            table(y=[f"c{code:02}" for code in ROW % 40], code=ROW % 40 * 17 % 41),
            "blocks",
            "code",
            spec=MULTICLASS,
        ),
        Hit(
            "three numbers for each class",
            table(y=ROW % 21 // 3, code=ROW % 21 * 8 % 23),
            "blocks",
            "code",
            spec=MULTICLASS,
        ),
        leaks("a function", leak=np.exp(TARGET.array)),
        leaks("ranks of a heavy tail", leak=HEAVY.argsort().argsort(), y=HEAVY),
        leaks("a falling scale", leak=1 / (1 + CLAIMS), y=CLAIMS),
        Hit(
            "a copy with errors on another scale",
            numeric(y=HEAVY, leak=np.where(SOME, 1, np.log(HEAVY))),
            columns="leak",
            evidence="order",
            spec=REGRESSION,
        ),
        leaks("a sum", "a, b", "a + b equals", a=FEW, b=MANY, y=FEW + MANY),
        leaks("a product", "a, b", "a · b equals", a=FEW, b=MANY, y=FEW * MANY),
        Hit("ids", table(id=SORTED_IDS), "blocks", "id", "order of its texts"),
        leaks(
            "a margin",
            "mine, theirs",
            "mine - theirs equals",
            mine=MINE.round(2),
            theirs=(MINE - TARGET).round(2),
        ),
        leaks("a ratio", "a, b", "a / b equals", a=TARGET * MANY, b=MANY),
        leaks("percent", "a, b", "100 · (a / b) eq", a=TARGET * FEW, b=100 * FEW),
        leaks("growth", "a, b", "b / a - 1", a=1.0 * FEW, b=(TARGET + 1) * FEW),
        leaks(
            "half are known", "a, b", "b - a eq", a=GAPS * MINE, b=(TARGET + MINE).array
        ),
        Hit("an amount", table(refund=REFUND), "blocks", "refund", AMOUNT),
        Hit("a reason", table(why=WHY), "blocks", "why", "a value at all"),
        Hit("a reason, and a hint", table(why=HINT), "condition", "why", "of all yes"),
        Hit(
            "one of three classes",
            table(y=OF_THREE, why=np.where(OF_THREE == "a", "late", None)),
            severity="blocks",
            columns="why",
            evidence="100 % a, 100 % of all a",
            spec=MULTICLASS,
        ),
        Hit("a text", table(x=PAID, end=ENDED), "blocks", "end", "closed: 100"),
        Hit(
            "an amount of a rare class",
            table(x=PAID, y=FEW_OF_THEM, refund=REFUND_OF_FEW),
            columns="refund",
            evidence="at least",
        ),
        Hit("a range", table(x=PAID, days=DAYS), columns="days", evidence="at least"),
        Hit(
            "a range of a rare class",
            table(x=PAID, y=FEW_OF_THEM, days=DAYS_OF_FEW),
            columns="days",
            evidence="% yes",
        ),
        Hit(
            "half of a large class",
            table(x=PAID, y=np.where(REFUSED, "no", "yes"), buyer=BUYER),
            columns="buyer",
            evidence="at least 1: 99",
        ),
        Hit("codes", table(x=PAID, code=CODE), "blocks", "code", "3, 7: 100"),
    ],
    "made_of_target": [
        *(leaks(why, leak=window(TARGET).array) for why, window in WINDOWS.items()),
        *(
            Hit(
                f"a mean and {prior} rows",
                table(shop=SHOPS, leak=by_shop(FLAG, prior)),
                "blocks",
                "leak",
                "by shop",
            )
            for prior in (0, 10)
        ),
        leaks("others", shop=SHOPS, leak=OTHERS),
    ],
    "telling_missing_values": [
        Hit(
            "where it is late",
            table(z=PLAIN["z"].mask(CANCELLED)),
            columns="z",
            evidence=f"100 % of them yes, {LATER} elsewhere",
        ),
    ],
    "repeated_entities": [
        Hit("patients", patients(), columns="patient_id"),
        Hit(
            "an excluded id",
            patients(),
            columns="patient_id",
            spec={"exclude": {"patient_id": "names a person"}},
        ),
        Hit("who fixes born", NAMED.drop(columns="patient_id"), columns="who"),
        Hit("a code fixes others", CODED, columns="code"),
    ],
    "drift_over_time": [
        drifts("a number", "n", table(n=PAID + 3 * LATE)),
        drifts("texts", "n", table(n=np.where(LATE, "a", "b"))),
        drifts("the class", "y", table(y=LATE)),
        drifts("target", "y", numeric(y=1.0 * ROW), **REGRESSION),
    ],
    "random_split_over_time": [
        Hit("known at each time, not ahead", table(day=DAY, n=ROW, y=WAVES)),
        Hit("by year", table(year=YEARS, n=ROW, y=WAVES), evidence="rows by year"),
    ],
    "missing_values": [
        Hit("most values", table(a=SPARSE, b=None), "note", "b, a", number=1)
    ],
    "constant_column": [
        Hit("fixed", table(a=2024, b="FR"), "note", "a, b", "a = 2024, b = FR")
    ],
    "almost_unique_column": [
        Hit(why, table(id=values), columns="id") for why, values in UNIQUE.items()
    ],
    "mixed_types": [
        Hit(
            "words",
            table(a=np.where(SPARSE > 0, "no", "1.5")),
            columns="a",
            evidence="'no'",
            number=0.25,
        ),
    ],
    "placeholder_values": [
        *(
            Hit(
                repr(mark),
                table(job=np.where(SOME, mark, PLAIN["colour"])),
                "note",
                "job",
                number=0.1,
            )
            for mark in ("?", "Not available", "   ")
        ),
        *(
            Hit(f"{mark}", table(age=np.where(SOME, mark, AGE)), severity, "age")
            for mark, severity in PLACEHOLDERS.items()
        ),
        Hit(
            "a class",
            table(y=np.where(SOME, "?", PLAIN["y"])),
            columns="y",
            spec=MULTICLASS,
        ),
    ],
    "infinite_values": [
        Hit("both signs", table(a=RATIO, b=-RATIO), columns="a, b", number=4)
    ],
    "absurd_magnitudes": [
        Hit("in µm", table(height=HEIGHT), columns="height", evidence="1.8e+06")
    ],
    "outliers": [
        Hit("a hurricane", table(wind=WIND), "note", "wind", "wind (1048.4, "),
        Hit("far by its logarithm", table(a=FAR_INCOME), "note", "a"),
    ],
    "probe_no_better_than_baseline": [Hit("noise", table(y=RNG.permutation(ROWS) % 2))],
    "probe_nearly_perfect": [
        Hit("two", table(a=PAID, b=DUE, y=PAID > DUE), columns="b, a, x, z, colour"),
    ],
    "criterion_out_of_reach": [
        Hit("0.99", PLAIN, evidence="criterion 0.99", spec=ASKED),
        Hit(
            "a small error",
            NUMERIC,
            evidence="rmse",
            spec={**REGRESSION, "acceptance": ERRORS},
        ),
    ],
}


@pytest.mark.parametrize(
    ("code", "hit"),
    [
        pytest.param(code, hit, id=f"{code}: {hit.why}")
        for code, hits in FOUND.items()
        for hit in hits
    ],
)
def test_what_is_there_is_found_and_the_finding_s_yaml_settles_it(code, hit):
    """With its weight, its columns, the worst first, its number and a sentence."""
    finding = check(code, hit.frame, **hit.spec)
    assert (finding.outcome, finding.severity) == ("found", hit.severity)
    assert hit.columns in {"", ", ".join(finding.columns)}
    assert hit.number in {None, finding.number}
    assert hit.evidence in f"{finding.evidence} {finding.yaml}"
    if finding.yaml is not None:
        settled = again(finding, hit.frame, **hit.spec)
        is_found = settled.outcome == "found"
        assert (settled.severity if is_found else "gone") == hit.after


def innocent(
    code: str, why: str, frame: pd.DataFrame | None = None, spec: Any = None, **made
) -> Any:
    """A table, by default the plain one with other columns, that a rule lets pass."""
    examined = table(**made) if frame is None else frame
    return pytest.param(code, examined, spec or {}, id=f"{code}: {why}")


@pytest.mark.parametrize(
    ("code", "frame", "spec"),
    [
        innocent("too_many_classes", "as many as the YAML allows", CLASSES, ALLOWED),
        innocent(
            "leak_suspect",
            "right in 4 of 5 rows",
            a=POSITIVE ^ (RNG.random(ROWS) < 0.2),
        ),
        innocent(
            "leak_suspect",
            "what no model gets",
            spec={"exclude": {"a": "later"}},
            a=POSITIVE,
        ),
        innocent("leak_suspect", "ids in no order", id=[f"C{n}" for n in MIXED]),
        innocent("leak_suspect", "counties without an id, year by year", COUNTIES),
        innocent("leak_suspect", "numbers that tell counties apart", FEW_COUNTIES),
        innocent("leak_suspect", "a number of counties", OF_COUNTIES, REGRESSION),
        innocent(
            "leak_suspect",
            "whether there is any",
            numeric(y=np.where(SOME, HEAVY, 0), any=SOME),
            REGRESSION,
        ),
        innocent(
            "leak_suspect",
            "the target of every fourth row",
            numeric(some=np.where(ROW % 4 == 0, TARGET, 0)),
            REGRESSION,
        ),
        innocent(
            "leak_suspect",
            "all that grows with time",
            numeric(y=GROWN, day=DAY, n=ROW),
            {**REGRESSION, **BY_TIME},
        ),
        innocent(
            "leak_suspect",
            "the time of each row, where the target mostly rises to the next",
            numeric(y=ROW + 14 * (ROW % 12) + UNIFORM, quarter=1970 + ROW / 4),
            REGRESSION,
        ),
        innocent(
            "leak_suspect",
            "a target that rises and falls back along a number",
            numeric(y=MIXED % 12 + UNIFORM, place=MIXED),
            REGRESSION,
        ),
        innocent("made_of_target", "small steps of a rare class", SMALL_STEPS),
        innocent(
            "leak_suspect",
            "a strong number, pure at its end",
            a=2 * POSITIVE + PAID,
        ),
        innocent(
            "leak_suspect",
            "a sum with noise",
            numeric(a=MINE, b=TARGET - MINE + PAID / 20),
            REGRESSION,
        ),
        innocent(
            "leak_suspect",
            "in the validation set alone",
            c=np.where(VALIDATION, POSITIVE, MIXED % 2),
        ),
        innocent(
            "telling_missing_values", "now and then", z=PLAIN["z"].where(UNIFORM > 0.3)
        ),
        innocent(
            "telling_missing_values",
            "4 rows are rare",
            y=ROW % 100 == 1,
            z=PLAIN["z"].mask(SOME),
        ),
        *(
            innocent(
                "made_of_target",
                f"{why} before",
                numeric(n=window(PAST).array),
                REGRESSION,
            )
            for why, window in WINDOWS.items()
            if why not in {"rows on both sides", "the future"}
        ),
        innocent("made_of_target", "hidden targets", numeric(c=HIDDEN), REGRESSION),
        innocent(
            "made_of_target",
            "a mean of other rows",
            shop=SHOPS,
            rate=RATE,
            y=RATE > UNIFORM,
        ),
        innocent("conflicting_labels", "copies that agree", pd.concat([PLAIN, PLAIN])),
        innocent(
            "repeated_entities",
            "numbers and small categories",
            age=RNG.integers(20, 80, ROWS),
        ),
        innocent(
            "repeated_entities",
            "numbers that are computed from each other",
            NAMED.drop(columns=["patient_id", "who"]).assign(code=PATIENT),
        ),
        innocent("drift_over_time", "a time, and nothing changes", day=DAY),
        innocent("random_split_over_time", "a time that tells nothing", day=DAY),
        innocent("random_split_over_time", "years that tell nothing", year=YEARS),
        innocent(
            "related_rows",
            "names that seldom repeat",
            name=[f"name {i % 350}" for i in ROW],
        ),
        innocent(
            "related_rows", "squares overflow or vanish", a=PAID * 1e300, b=DUE * 1e-300
        ),
        innocent(
            "constant_column",
            "missing tells rows apart",
            flag=[1.0, np.nan] * (ROWS // 2),
        ),
        innocent(
            "almost_unique_column",
            "days of dates name no row",
            spec=OF_DAYS,
            day_days=ROW,
        ),
        innocent(
            "mixed_types",
            "a question mark is missing",
            answer=["?", "12.5"] * (ROWS // 2),
        ),
        innocent("mixed_types", "9E is not a number", a=["9E", "UA"] * (ROWS // 2)),
        innocent(
            "mixed_types",
            "zeros would be lost",
            plz=[f"{i * 977 % 99999:05}" for i in ROW],
        ),
        innocent(
            "numbers_as_text",
            "some begin with 0",
            zip=[f"{9990 + i}".zfill(5) for i in ROW],
        ),
        innocent(
            "numbers_as_text",
            "many units",
            seat=[f"{i % 30}{'ABCDEF'[i % 6]}" for i in ROW],
        ),
        innocent("dates_as_text", "no year", a=[f"1.{i % 9}.{i % 7}" for i in ROW]),
        innocent(
            "dates_as_text", "no month", a=[f"2024.{i % 20}.{i % 40}" for i in ROW]
        ),
        innocent("dates_as_text", "a path", a=[f"2024/{i:05}/{i % 7}" for i in ROW]),
        innocent("dates_as_text", "a number to call", phone="01234-567890"),
        *(
            innocent("placeholder_values", why, age=values)
            for why, values in ORDINARY.items()
        ),
        *(
            innocent("target_placeholder", why, numeric(y=values), REGRESSION)
            for why, values in PLAIN_TARGETS.items()
        ),
        innocent("outliers", "a long tail, by its logarithm", income=INCOME),
        innocent(
            "absurd_magnitudes",
            "a giant, no error of unit",
            height=[2.7] + [1.7] * (ROWS - 1),
        ),
        innocent(
            "missing_values", "the YAML tolerates it", GRADES.assign(a=SPARSE), ALLOWED
        ),
        innocent(
            "category_variants",
            "a digit makes another",
            zone=[f"zone {i % 9}" for i in ROW],
        ),
    ],
)
def test_what_is_innocent_is_not_found(code, frame, spec):
    """No false alarm."""
    assert check(code, frame, **spec).outcome == "not_found"


def test_the_time_until_an_event_is_known_only_afterwards():
    """Who has no event is followed for longer: names tell what numbers cannot, as a
    customer's age in months may look the same.
    """
    rng = np.random.default_rng(3)
    until = rng.exponential(300, len(ROW))
    followed = rng.normal(400, 150, len(ROW)).clip(5)
    y = np.where(until < followed, "yes", "no")
    known = np.minimum(until, followed)
    survival = {"target": "died"}
    leak = check(
        "leak_suspect", table(died=y, futime=known).drop(columns="y"), **survival
    )
    assert (leak.outcome, leak.severity) == ("found", "condition")
    assert leak.columns == ("futime",)
    assert "time until died, or until the last look at a row" in leak.evidence
    tenure = table(died=y, tenure=known).drop(columns="y")
    assert check("leak_suspect", tenure, **survival).outcome == "not_found"
    untold = table(died=y, futime=rng.permutation(known)).drop(columns="y")
    assert check("leak_suspect", untold, **survival).outcome == "not_found"
    named = table(y=y, futime=known)
    assert check("leak_suspect", named).outcome == "not_found"


def test_classes_that_are_not_looked_for_are_said():
    """A few rows reveal nothing, of many classes more are asked for."""
    many = table(y=[f"c{number:02}" for number in ROW % 12])
    evidence = check("leak_suspect", many, **MULTICLASS).evidence
    assert "classes of fewer than 120 rows among those examined: c00" in evidence
    few = table(y=np.where(ROW % 15 < 1, "a", np.where(POSITIVE, "b", "c")))
    evidence = check("leak_suspect", few, **MULTICLASS).evidence
    assert "classes of fewer than 30 rows among those examined: a." in evidence
    assert "fewer than 30" not in check("leak_suspect", PLAIN).evidence


NO_TEXT, NO_NUMBER = PLAIN.drop(columns="colour"), PLAIN[["colour", "y"]]
# Why a question does not arise: the table, the YAML, and the rules that ask it.
ELSEWHERE = {
    "a target with one value": (
        table(y="yes"),
        {},
        [
            "leak_suspect",
            "made_of_target",
            "telling_missing_values",
            "conflicting_labels",
            "repeated_entities",
            "related_rows",
            "random_split_over_time",
            "class_imbalance",
            "target_looks_like_another_task",
        ],
    ),
    "numbers have no classes": (
        NUMERIC,
        REGRESSION,
        ["too_few_rows_per_class", "class_imbalance", "too_many_classes"],
    ),
    "numbers that are no years": (
        table(year=ROW, n=ROW, y=WAVES),
        {},
        ["random_split_over_time"],
    ),
    "nothing asked": (
        PLAIN,
        {},
        [
            "drift_over_time",
            "random_split_over_time",
            "criterion_out_of_reach",
            "too_many_classes",
            "conflicting_labels",
            "telling_missing_values",
            "target_placeholder",
        ],
    ),
    "missing in validation alone": (
        table(z=PLAIN["z"].mask(VALIDATION & POSITIVE)),
        {},
        ["telling_missing_values"],
    ),
    "two categories must repeat": (
        NO_NUMBER,
        {},
        ["duplicate_rows", "infinite_values", "absurd_magnitudes"],
    ),
    "the split deals with it": (
        table(who=ROW // 5),
        BY_GROUP,
        ["repeated_entities"],
    ),
    "a split by time": (
        table(day=DAY),
        BY_TIME,
        ["related_rows", "random_split_over_time"],
    ),
    "one moment": (
        table(day=DAY[0]),
        {},
        ["drift_over_time", "random_split_over_time"],
    ),
    "few rows": (
        PLAIN.head(40),
        {},
        ["related_rows", "outliers"],
    ),
    "few rows of each class": (
        table(y=ROW % 6),
        MULTICLASS,
        ["related_rows"],
    ),
    "no text": (
        NO_TEXT.assign(y=ROW % 2),
        {},
        ["almost_unique_column", "mixed_types", "dates_as_text", "category_variants"],
    ),
    "no column": (
        table(y=SPARSE > 0)[["y"]],
        {},
        ["placeholder_values"],
    ),
    "half is equal": (table(rain=SOME)[["rain", "y"]], {}, ["outliers"]),
}


@pytest.mark.parametrize(
    ("code", "why"),
    [(code, why) for why in ELSEWHERE for code in ELSEWHERE[why][2]],
)
def test_where_the_question_does_not_arise_it_is_not_applicable(code, why):
    """Not applicable is another answer than not found."""
    frame, spec, _ = ELSEWHERE[why]
    assert check(code, frame, **spec).outcome == "not_applicable"


def test_of_a_wide_table_it_is_said_which_columns_were_not_looked_at():
    """What was not computed is not called innocent."""
    noise = pd.DataFrame(RNG.normal(size=(ROWS, 200)), index=PLAIN.index)
    finding = check("made_of_target", table(shop=SHOPS).join(noise.add_prefix("w")))
    assert "not computed beyond the first 200 columns" in finding.evidence
