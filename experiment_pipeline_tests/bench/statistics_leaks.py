"""What the data analysis makes of planted leaks, and of tables that have none.

A leak is a function from a table, whose target is `y`, to a column that leaks it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.stats import norm

from experiment_pipeline.stages.data_analysis.analysis import analyse
from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.stages.data_analysis.findings.arithmetic import exact_pair
from experiment_pipeline.stages.data_analysis.findings.leaks import LeakSuspect
from experiment_pipeline.stages.data_analysis.findings.one_class import classes_revealed
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.bench.leak_tables import (
    MADE,
    REAL,
    Base,
    Column,
    Problem,
    binary,
    by_group,
    by_time,
    heavy_tailed,
    jittered,
    many_classes,
    multiclass,
    panel,
    patients,
    persons,
    prices,
    real,
    smoted,
    with_column,
)
from experiment_pipeline_tests.bench.tables import spec_of

LEAK_CODES = {
    "leak_suspect",
    "made_of_target",
    "telling_missing_values",
    "probe_nearly_perfect",
    "related_rows",
}
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
LEAK = "leak"


def subject_of(problem: Problem) -> Subject:
    """Return a table as the data analysis examines it."""
    spec = spec_of(
        problem.task, METRICS[problem.task], problem.target, **problem.declared
    )
    frame = problem.frame.reset_index(drop=True).rename_axis(index="row_number")
    prepared = prepare(frame, spec.preparation).frame
    features = feature_columns(prepared, spec)
    return Subject(
        prepared, assign_sets(prepared, spec, features), tuple(features), spec
    )


def leaks(problem: Problem) -> list[Finding]:
    """Analyse a table, and return what is found of leaks."""
    subject = subject_of(problem)
    findings = analyse(
        subject.frame, subject.sets, subject.features, subject.spec
    ).findings
    return [
        finding
        for finding in findings
        if finding.code in LEAK_CODES
        and finding.outcome == "found"
        and finding.severity in {"blocks", "condition"}
    ]


def planted(count: int, seed: int) -> list[bool]:
    """Return which of the first planted leaks are found, and the planted column is
    named.
    """
    tables = (
        with_column(LEAK, 1, base, plant, seed) for base, plant in PLANTED[:count]
    )
    return [any(LEAK in leak.columns for leak in leaks(table)) for table in tables]


def of_one_class(tables: int, seed: int, *, share: int, part: int) -> list[bool]:
    """Return which columns are named that reveal a part of a class of few rows, or of
    most rows, both in percent; so many tables of each kind.
    """
    return [
        LEAK
        in classes_revealed(_revealing(plant(part / 100), share / 100, seed + draw), ())
        for plant in ONE_CLASS.values()
        for draw in range(tables)
    ]


def of_one_of_many(tables: int, seed: int, *, classes: int, part: int) -> list[bool]:
    """Return which columns are named that reveal a part of the rarest of many classes
    with 160 rows or more, 120 of them visible, in percent; so many tables of each kind.
    """
    named = []
    for plant in ONE_CLASS.values():
        for draw in range(tables):
            rng = np.random.default_rng([seed + draw, 12])
            problem = many_classes(seed + draw, classes)
            y = problem.frame["y"]
            enough = y.value_counts()[lambda rows: rows >= 160]
            column = plant(part / 100)(
                problem.frame.assign(y=y == enough.index[-1]), rng
            )
            frame = problem.frame.assign(**{LEAK: column})
            named.append(
                LEAK in classes_revealed(subject_of(replace(problem, frame=frame)), ())
            )
    return named


def clean_of_many(tables: int, seed: int, *, classes: int) -> list[bool]:
    """Return which honest columns are said to reveal one of many classes."""
    return [
        feature in revealed
        for draw in range(tables)
        for subject in [subject_of(many_classes(seed + draw, classes))]
        for revealed in [classes_revealed(subject, ())]
        for feature in subject.features
    ]


def clean_panel(tables: int, seed: int, *, target: str) -> list[bool]:
    """Return which columns of counties by year are said to leak the target."""
    accused = []
    for draw in range(tables):
        problem = panel(seed + draw, target)
        named = {
            column
            for leak in leaks(problem)
            if leak.code in {"leak_suspect", "made_of_target"}
            for column in leak.columns
        }
        accused += [column in named for column in problem.frame.columns.drop("y")]
    return accused


def recoded(tables: int, seed: int, *, classes: int, codes: str) -> list[bool]:
    """Return when a number that codes each class stops a run: its place in the
    alphabet, any other one, or any of three for each class.
    """
    stops = []
    for draw in range(tables):
        rng = np.random.default_rng([seed + draw, 13])
        problem = many_classes(seed + draw, classes, rows=1_500)
        places = pd.factorize(problem.frame["y"], sort=True)[0]
        stops.append(_blocks(problem, CODES[codes](places, rng)))
    return stops


def rescaled(tables: int, seed: int, *, target: str, scale: str) -> list[bool]:
    """Return when a target of few large numbers on another scale stops a run."""
    stops = []
    for draw in range(tables):
        problem = heavy_tailed(seed + draw, target)
        stops.append(_blocks(problem, SCALES[scale](problem.frame["y"])))
    return stops


def _blocks(problem: Problem, column: object) -> bool:
    leaking = replace(problem, frame=problem.frame.assign(**{LEAK: column}))
    return bool(_suspects(leaking)["blocks"][LEAK])


def honest_of_number(
    tables: int, seed: int, *, target: str, column: str
) -> dict[str, list[bool]]:
    """Return when an honest column is called a leak of a number, and when it stops a
    run.
    """
    suspects = []
    for draw in range(tables):
        rng = np.random.default_rng([seed + draw, 14])
        problem = heavy_tailed(seed + draw, target)
        honest = HONEST_OF_NUMBERS[column](_normal_scores(problem.frame["y"]), rng)
        frame = problem.frame.assign(honest=honest)
        suspects.append(_suspects(replace(problem, frame=frame)).loc["honest"])
    return pd.DataFrame(suspects).to_dict("list")


def honest_of_classes(tables: int, seed: int, *, classes: int) -> dict[str, list[bool]]:
    """Return which honest columns are called a leak of one of several classes, and
    which stop a run.
    """
    suspects = [
        _suspects(many_classes(seed + draw, classes, rows=1_500))
        for draw in range(tables)
    ]
    return pd.concat(suspects).to_dict("list")


def _suspects(problem: Problem) -> pd.DataFrame:
    """Feature → whether it is `accused` as a leak suspect, and whether that `blocks`."""
    finding = LeakSuspect().examine(subject_of(problem))
    features = problem.frame.columns.drop(problem.target)
    named = features.isin(finding.columns if finding.outcome == "found" else [])
    blocks = named & (finding.severity == "blocks")
    return pd.DataFrame({"accused": named, "blocks": blocks}, index=features)


def honest_predictor(tables: int, seed: int, *, column: str) -> list[bool]:
    """Return when a strong honest column stops a run: so many draws for 1,500 rows and
    classes of 10, 50 and 88 % of them.
    """
    return [
        _is_blocked(HONEST_PREDICTORS[column], share, seed + draw)
        for share in (0.1, 0.5, 0.88)
        for draw in range(tables)
    ]


def _is_blocked(
    column: Callable[[Generator, int], np.ndarray], share: float, seed: int
) -> bool:
    rng = np.random.default_rng([seed, 6])
    x = column(rng, 1_500)
    odds = x + rng.logistic(size=len(x))
    y = np.where(odds >= np.quantile(odds, 1 - share), "yes", "no")
    other = rng.normal(size=len(x))
    problem = Problem(pd.DataFrame({"x": x, "other": other, "y": y}), "binary")
    return bool(_suspects(problem)["blocks"]["x"])


def _revealing(plant: Column, share: float, seed: int) -> Subject:
    """Customers, a share of whom leaves, and a column that reveals some of them."""
    problem = binary(seed)
    rng = np.random.default_rng([seed, 5])
    odds = problem.frame["income"] / 20 + rng.logistic(size=len(problem.frame))
    leaves = odds >= np.quantile(odds, 1 - share)
    leak = plant(problem.frame.assign(y=leaves.astype(float)), rng)
    y = np.where(leaves, "churned", "stayed")
    return subject_of(replace(problem, frame=problem.frame.assign(**{LEAK: leak}, y=y)))


def related(tables: int, seed: int) -> list[bool]:
    """Return which tables of related rows, that no column shows, are named; so many of
    each kind.
    """
    return [
        bool(leaks(make(seed + draw))) for make in RELATED for draw in range(tables)
    ]


def clean(count: int, seed: int) -> dict[str, list[bool]]:
    """Return which of the first tables without a leak are accused, and which of them
    stopped; which of their features are said to reveal a class, and which of the
    regressions to hold two that give the target.
    """
    accused, of_related, stopped, revealing, formulas = (list[bool]() for _ in range(5))
    for table in _clean_tables(seed)[:count]:
        problem = table()
        findings = leaks(problem)
        accused.append(bool(findings))
        of_related.append(any(leak.code == "related_rows" for leak in findings))
        stopped.append(any(leak.severity == "blocks" for leak in findings))
        subject = subject_of(problem)
        if problem.task == "regression":
            formulas.append(exact_pair(subject, ()) is not None)
        else:
            revealed = classes_revealed(subject, ())
            revealing += [feature in revealed for feature in subject.features]
    return {
        "clean tables accused": accused,
        "clean tables accused of related rows": of_related,
        "clean tables stopped": stopped,
        "clean columns that reveal one class": revealing,
        "clean regressions with a formula": formulas,
    }


def _clean_tables(seed: int) -> list[Callable[[], Problem]]:
    made = [partial(make, seed) for make in MADE]
    return [*made, *(partial(real, *listed) for listed in REAL)]


def _number(y: pd.Series) -> pd.Series:
    """The target as a number: itself, or the place of its class, the rarest last."""
    if pd.api.types.is_numeric_dtype(y):
        return y.astype(float)
    return y.map(
        {name: place for place, name in enumerate(y.value_counts().index)}
    ).astype(float)


def _renamed(table: pd.DataFrame, rng: Generator) -> object:
    return table["y"].map(
        lambda name: f"status {sorted(table['y'].unique()).index(name)}"
    )


def _near_copy(table: pd.DataFrame, rng: Generator) -> object:
    return _number(table["y"]) + 1e-6 * rng.normal(size=len(table))


def _noisy(table: pd.DataFrame, rng: Generator) -> object:
    """The target with noise of half of its spread."""
    return table["y"] + 0.5 * table["y"].std() * rng.normal(size=len(table))


def _flipped(table: pd.DataFrame, rng: Generator, share: float) -> object:
    """The target, a share of whose rows hold another row's value."""
    y = table["y"].to_numpy()
    if len(np.unique(y)) == 2:
        low, high = np.unique(y)
        other = np.where(y == low, high, low)
    else:
        other = rng.permutation(y)
    return np.where(rng.random(len(y)) < share, other, y)


def _mean_by(table: pd.DataFrame, rng: Generator, key: str) -> object:
    """Target encoding over all rows."""
    y = _number(table["y"])
    if not pd.api.types.is_numeric_dtype(table["y"]):
        y = (y == y.max()).astype(float)
    return y.groupby(table[key]).transform("mean")


def _others_mean(table: pd.DataFrame, rng: Generator, key: str) -> object:
    """Target encoding over all rows but the row's own, which is thereby given away."""
    y = _number(table["y"])
    groups = y.groupby(table[key])
    rows = groups.transform("size")
    return ((groups.transform("sum") - y) / (rows - 1)).where(rows > 1, y.mean())


def _along(make: Callable[[pd.Series], pd.Series], key: str | None = None) -> Column:
    """Something computed along the table's rows, of all or of each value of a key."""

    def column(table: pd.DataFrame, _: Generator) -> object:
        y = _number(table["y"])
        if key is None:
            return make(y)
        return y.groupby(table[key], group_keys=False).apply(make)

    return column


def _sorted_id(table: pd.DataFrame, rng: Generator) -> object:
    """Ids given out in the order of the target, as an export sorted by it does."""
    order = np.lexsort((rng.random(len(table)), _number(table["y"])))
    places = np.empty(len(table), dtype=int)
    places[order] = np.arange(len(table))
    return pd.Series(places).map(lambda place: f"C{place:05d}")


WORDS = np.array(
    [
        "called",
        "about",
        "the",
        "bill",
        "and",
        "was",
        "told",
        "to",
        "wait",
        "offer",
        "sent",
        "again",
        "by",
        "letter",
        "branch",
        "visit",
    ]
)


def _text(
    table: pd.DataFrame,
    rng: Generator,
    said: Callable[[object], str],
    share: float = 1.0,
) -> object:
    """Notes of random words, a share of which say the target somewhere."""
    notes = []
    for value in table["y"]:
        words = list(rng.choice(WORDS, rng.integers(4, 12)))
        if rng.random() < share:
            words.insert(int(rng.integers(len(words))), said(value))
        notes.append(" ".join(words))
    return notes


def _closed(table: pd.DataFrame, rng: Generator) -> object:
    """A number that only those who left have."""
    return np.where(
        _number(table["y"]) > 0, rng.normal(size=len(table)).round(3), np.nan
    )


def _needs(column: str, form: str) -> Column:
    """What gives the target together with another column, rounded to four digits."""

    def plant(table: pd.DataFrame, rng: Generator) -> object:
        y, other = _number(table["y"]), table[column].astype(float)
        planted = {
            "+": y - other,
            "-": other - y,
            "·": y / other.replace(0, np.nan),
            "/": y * other,
            "%": 1e5 * other / y,
        }
        return planted[form].round(4)

    return plant


def _of_one_class(
    values: Callable[[Generator, int], object],
    share: float,
    otherwise: object,
    errors: float = 0.0005,
) -> Column:
    """Values that a share of the rarest class has, and some rows of others by mistake."""

    def plant(table: pd.DataFrame, rng: Generator) -> object:
        rows = len(table)
        known = np.where(
            _number(table["y"]) == _number(table["y"]).max(), share, errors
        )
        has = rng.random(rows) < known
        drawn = pd.Series(values(rng, rows))
        rest = otherwise(rng, rows) if callable(otherwise) else otherwise
        return drawn.where(has, rest)

    return plant


# What one class has → the column, by the share of the class that has it.
ONE_CLASS: dict[str, Callable[[float], Column]] = {
    "an amount": lambda share: _of_one_class(
        lambda rng, rows: rng.gamma(2, 20, rows).round(2), share, 0.0
    ),
    "a reason": lambda share: _of_one_class(
        lambda rng, rows: rng.choice(["price", "service", "moved"], rows), share, None
    ),
    "one value of a text": lambda share: _of_one_class(
        lambda rng, rows: np.full(rows, "closed"),
        share,
        lambda rng, rows: rng.choice(["phone", "web", "shop"], rows),
    ),
    "a range": lambda share: _of_one_class(
        lambda rng, rows: rng.uniform(40, 60, rows),
        share,
        lambda rng, rows: rng.permutation(
            np.r_[rng.uniform(0, 40, rows // 2), rng.uniform(60, 100, rows - rows // 2)]
        ),
    ),
}
# Log odds of a class → a column that is known in time.
HONEST_PREDICTORS: dict[str, Callable[[Generator, int], np.ndarray]] = {
    "a number of AUC .95": lambda rng, rows: 4 * rng.normal(size=rows),
    "a number of AUC .99": lambda rng, rows: 9 * rng.normal(size=rows),
    "a count": lambda rng, rows: 3.0 * rng.poisson(3, rows),
    "ten codes": lambda rng, rows: rng.normal(0, 5, 10)[rng.integers(0, 10, rows)],
    "a flag with odds of 20": lambda rng, rows: 3 * (rng.random(rows) < 0.5),
    "a flag with odds of 55": lambda rng, rows: 4 * (rng.random(rows) < 0.5),
    "an amount, mostly 0, with odds of 1,000": lambda rng, rows: (
        2 * np.log1p(rng.gamma(2, 20, rows).round()) * (rng.random(rows) < 0.4)
    ),
}
# Places of classes (n,) and a generator → numbers that code them.
CODES: dict[str, Callable[[np.ndarray, Generator], np.ndarray]] = {
    "in order": lambda places, rng: places,
    "in any order": lambda places, rng: rng.permutation(2 * places.max())[places],
    "three for each": lambda places, rng: rng.permutation(3 * places.max() + 3)[
        3 * places + rng.integers(0, 3, len(places))
    ],
}
# A target → the same on another scale.
SCALES: dict[str, Callable[[pd.Series], pd.Series]] = {
    "exponential": lambda y: np.exp(y / y.std()),
    "negative logarithm": lambda y: -np.log(y - y.min() + 0.1),
    "rank": lambda y: y.rank(),
    "value, rounded to 1 %": lambda y: np.sign(y) * np.exp(np.log(y.abs()).round(2)),
}
# Places of a target as normal scores, and a generator → a column that is known in time.
HONEST_OF_NUMBERS: dict[str, Callable[[pd.Series, Generator], object]] = {
    "a number of R² .98": lambda z, rng: z + 0.14 * rng.normal(size=len(z)),
    "ordered categories": lambda z, rng: np.digitize(
        z + 0.4 * rng.normal(size=len(z)), [-1.5, -0.7, 0, 0.7, 1.5]
    ),
    "a count": lambda z, rng: rng.poisson(np.exp(2 + 0.4 * z)),
    "whole years": lambda z, rng: (40 + 9 * z + 6 * rng.normal(size=len(z))).round(),
    "a rare flag": lambda z, rng: z + 0.2 * rng.normal(size=len(z)) > 2,
}


def _normal_scores(y: pd.Series) -> pd.Series:
    places = (y.rank(method="first") - 0.5) / len(y)
    return pd.Series(norm.ppf(places), y.index)


# The column that leaks, and the tables that it is planted in.
LEAKING: tuple[tuple[Column, tuple[Base, ...]], ...] = (
    # The target, as it is or not quite.
    (_renamed, (binary, multiclass)),
    (_near_copy, (binary, prices)),
    (
        partial(_flipped, share=0.1),
        (binary, multiclass, by_time, prices, by_group),
    ),
    (partial(_flipped, share=0.2), (binary,)),
    (_noisy, (by_time,)),
    (lambda table, _: np.log(table["y"]), (by_time,)),
    (lambda table, _: pd.qcut(table["y"], 20).astype(str), (by_time,)),
    # Means over all rows, and along time.
    (partial(_mean_by, key="shop"), (binary, multiclass, prices)),
    (partial(_mean_by, key="patient"), (by_group,)),
    (partial(_others_mean, key="shop"), (binary,)),
    (_along(lambda y: y.expanding().mean(), "shop"), (binary,)),
    (_along(lambda y: y.rolling(7, 1).mean(), "store"), (by_time,)),
    (_along(lambda y: y.rolling(5, 1, center=True).mean()), (by_time,)),
    (_along(lambda y: y.cumsum(), "store"), (by_time,)),
    (_along(lambda y: y.shift(-1), "store"), (by_time,)),
    # What was written down afterwards.
    (_sorted_id, (binary, multiclass, prices)),
    (partial(_text, said=str), (binary, multiclass)),
    (partial(_text, said=str, share=0.5), (binary,)),
    (partial(_text, said=lambda y: f"paid {y:.2f} EUR"), (prices,)),
    (_closed, (binary,)),
    *((_needs("age", form), (prices,)) for form in "+-·/%"),
    *(
        (plant(share), (binary, multiclass))
        for share in (0.6, 0.75, 0.95)
        for plant in ONE_CLASS.values()
    ),
)
PLANTED = [(base, column) for column, bases in LEAKING for base in bases]
RELATED: tuple[Base, ...] = (
    *(partial(make, task=task) for make in (persons, jittered) for task in METRICS),
    *(partial(make, rows=500) for make in (persons, jittered, smoted)),
    *(
        partial(persons, rows=60 * most, visits=(most * 3 // 4, most))
        for most in (24, 100)
    ),
    partial(persons, equal=3),
    partial(persons, within=0.5),
    patients,
    partial(patients, persons=150, visits=30),
    smoted,
)
