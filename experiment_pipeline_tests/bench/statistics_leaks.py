"""What the data analysis makes of planted leaks, and of tables that have none.

A leak is a function from a table, whose target is `y`, to a column that leaks it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from experiment_pipeline.stages.data_analysis.analysis import analyse
from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.stages.data_analysis.findings.arithmetic import exact_pair
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
    jittered,
    multiclass,
    patients,
    persons,
    prices,
    real,
    smoted,
    with_column,
)
from experiment_pipeline_tests.bench.statistics_rows import NEVER, SEED, Aim, Row
from experiment_pipeline_tests.bench.tables import spec_of

LEAK_CODES = (
    *(
        "leak_suspect",
        "made_of_target",
        "telling_missing_values",
        "probe_nearly_perfect",
    ),
    "related_rows",
)
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
LEAK = "leak"
PER_COLUMN = Aim(high=0.01)


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


def planted(*, simulations: int) -> list[Row]:
    """Return how many of the first planted leaks are found, and the planted column is
    named.
    """
    found = [
        any(
            LEAK in leak.columns
            for leak in leaks(with_column(LEAK, 1, base, column, SEED))
        )
        for base, column in PLANTED[:simulations]
    ]
    return [
        Row("planted leaks that are named", np.mean(found), Aim(low=0.8), len(found))
    ]


def of_one_class(*, simulations: int) -> list[Row]:
    """Return how many columns are named that reveal a part of a class of few rows, or of
    most rows; so many tables of each kind.
    """
    rows = []
    for share, part, aim in OF_PARTS:
        found = [
            LEAK in classes_revealed(_revealing(plant(part), share, SEED + draw), ())
            for plant in ONE_CLASS.values()
            for draw in range(simulations)
        ]
        name = f"{part:.0%} of a class of {share:.0%} of the rows: named"
        rows.append(Row(name, np.mean(found), aim, len(found)))
    return rows


def honest_predictors(*, simulations: int) -> list[Row]:
    """Return how often a strong honest column is said to reveal a class for certain, which
    blocks: so many draws for 1,500 rows and classes of 10, 50 and 88 % of them.
    """
    rows = []
    for name, column in HONEST_PREDICTORS.items():
        blocked = [
            _is_blocked(column, share, SEED + draw)
            for share in (0.1, 0.5, 0.88)
            for draw in range(simulations)
        ]
        aim = Aim(high=0.05) if name in GRADUAL else None
        rows.append(Row(f"honest, {name}: blocks", np.mean(blocked), aim, len(blocked)))
    return rows


def _is_blocked(
    column: Callable[[np.random.Generator, int], np.ndarray], share: float, seed: int
) -> bool:
    rng = np.random.default_rng([seed, 6])
    x = column(rng, 1_500)
    odds = x + rng.logistic(size=len(x))
    y = np.where(odds >= np.quantile(odds, 1 - share), "yes", "no")
    other = rng.normal(size=len(x))
    problem = Problem(pd.DataFrame({"x": x, "other": other, "y": y}), "binary")
    subject = subject_of(problem)
    strong = {a.column for a in subject.associations if a.skill >= 0.9}
    revealed = classes_revealed(subject, strong)
    return "x" in revealed and revealed["x"].is_certain


def _revealing(plant: Column, share: float, seed: int) -> Subject:
    """Customers, a share of whom leaves, and a column that reveals some of them."""
    problem = binary(seed)
    rng = np.random.default_rng([seed, 5])
    odds = problem.frame["income"] / 20 + rng.logistic(size=len(problem.frame))
    leaves = odds >= np.quantile(odds, 1 - share)
    leak = plant(problem.frame.assign(y=leaves.astype(float)), rng)
    y = np.where(leaves, "churned", "stayed")
    return subject_of(replace(problem, frame=problem.frame.assign(**{LEAK: leak}, y=y)))


def related(*, simulations: int) -> list[Row]:
    """Return how many tables of related rows, that no column shows, are named; so many
    of each kind.
    """
    found = [
        bool(leaks(make(SEED + draw)))
        for make in RELATED
        for draw in range(simulations)
    ]
    name = "tables of related rows that are named"
    return [Row(name, np.mean(found), Aim(low=0.8), len(found))]


def clean(*, simulations: int) -> list[Row]:
    """Return how many of the first tables without a leak are accused, and how many of
    them stopped.
    """
    found = [leaks(table()) for table in _clean_tables()[:simulations]]
    stopped = [
        any(finding.severity == "blocks" for finding in findings) for findings in found
    ]
    related = [
        "related_rows" in {finding.code for finding in findings} for findings in found
    ]
    return [
        Row(
            "clean tables accused",
            np.mean([*map(bool, found)]),
            Aim(high=0.1),
            len(found),
        ),
        Row(
            "clean tables accused of related rows",
            np.mean(related),
            Aim(high=0.05),
            len(found),
        ),
        Row("clean tables stopped", np.mean(stopped), NEVER, len(found)),
    ]


def clean_columns(*, simulations: int) -> list[Row]:
    """Return how many features of the first clean tables are said to reveal a class, and
    how many of the clean regressions to hold two that give the target.
    """
    features = accused = 0
    formulas = []
    for table in _clean_tables()[:simulations]:
        subject = subject_of(table())
        if subject.spec.task == "regression":
            formulas.append(exact_pair(subject, ()) is not None)
            continue
        features += len(subject.features)
        accused += len(classes_revealed(subject, ()))
    return [
        Row(
            "clean columns that reveal one class",
            accused / features,
            PER_COLUMN,
            features,
        ),
        Row(
            "clean regressions with a formula", np.mean(formulas), NEVER, len(formulas)
        ),
    ]


def _clean_tables() -> list[Callable[[], Problem]]:
    return [
        *(partial(make, SEED) for make in MADE),
        *(partial(real, *one) for one in REAL),
    ]


def _number(y: pd.Series) -> pd.Series:
    """The target as a number: itself, or the place of its class, the rarest last."""
    if pd.api.types.is_numeric_dtype(y):
        return y.astype(float)
    return y.map(
        {name: place for place, name in enumerate(y.value_counts().index)}
    ).astype(float)


def _renamed(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return table["y"].map(
        lambda name: f"status {sorted(table['y'].unique()).index(name)}"
    )


def _near_copy(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return _number(table["y"]) + 1e-6 * rng.normal(size=len(table))


def _noisy(table: pd.DataFrame, rng: np.random.Generator, share: float) -> object:
    """The target with noise of a share of its spread."""
    return table["y"] + share * table["y"].std() * rng.normal(size=len(table))


def _flipped(table: pd.DataFrame, rng: np.random.Generator, share: float) -> object:
    """The target, a share of whose rows hold another row's value."""
    y = table["y"].to_numpy()
    if len(np.unique(y)) == 2:
        low, high = np.unique(y)
        other = np.where(y == low, high, low)
    else:
        other = rng.permutation(y)
    return np.where(rng.random(len(y)) < share, other, y)


def _mean_by(
    table: pd.DataFrame, rng: np.random.Generator, key: str, prior: float = 0.0
) -> object:
    """Target encoding over all rows, drawn to the overall mean by `prior` rows."""
    y = _number(table["y"])
    y = (
        (y == y.max()).astype(float)
        if not pd.api.types.is_numeric_dtype(table["y"])
        else y
    )
    groups = y.groupby(table[key])
    sums, rows = groups.transform("sum"), groups.transform("size")
    return (sums + prior * y.mean()) / (rows + prior)


def _others_mean(table: pd.DataFrame, rng: np.random.Generator, key: str) -> object:
    """Target encoding over all rows but the row's own, which is thereby given away."""
    y = _number(table["y"])
    groups = y.groupby(table[key])
    rows = groups.transform("size")
    return ((groups.transform("sum") - y) / (rows - 1)).where(rows > 1, y.mean())


def _along(
    make: Callable[[pd.Series], pd.Series],
    key: str | None = None,
    by: str | None = None,
) -> Column:
    """Something computed along the table's rows, or by a column, of all or of each
    value of a key.
    """

    def column(table: pd.DataFrame, _: np.random.Generator) -> object:
        y = _number(table["y"] if by is None else table.sort_values(by)["y"])
        return (
            make(y)
            if key is None
            else y.groupby(table[key], group_keys=False).apply(make)
        )

    return column


def _rounded(plant: Column) -> Column:
    return lambda table, rng: np.round(np.asarray(plant(table, rng), dtype=float), 2)


def _neighbours_mean(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """The mean target of the 10 rows with the most similar income, the row
    among them.
    """
    order = np.argsort(table["income"].to_numpy(), kind="stable")
    return (
        _number(table["y"]).iloc[order].rolling(10, 1, center=True).mean().sort_index()
    )


def _sorted_id(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Ids given out in the order of the target, as an export sorted by it does."""
    order = np.lexsort((rng.random(len(table)), _number(table["y"])))
    places = np.empty(len(table), dtype=int)
    places[order] = np.arange(len(table))
    return pd.Series(places).map(lambda place: f"C{place:05d}")


def _prefixed_id(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Ids that begin with a letter for the outcome."""
    letters = _number(table["y"]).astype(int).map(lambda code: "KXBD"[code])
    return [
        f"{a}-{n:05d}"
        for a, n in zip(letters, rng.permutation(len(table)), strict=True)
    ]


WORDS = np.array(
    [
        *(
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
        ),
        *("sent", "again", "by", "letter", "branch", "visit"),
    ]
)


def _text(
    table: pd.DataFrame,
    rng: np.random.Generator,
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


def _closed(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """A number that only those who left have."""
    return np.where(
        _number(table["y"]) > 0, rng.normal(size=len(table)).round(3), np.nan
    )


def _refund(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """An amount that most of those who left got, and nobody else."""
    paid = (_number(table["y"]) > 0) & (rng.random(len(table)) < 0.9)
    return np.where(paid, rng.gamma(2, 20, len(table)).round(2), 0)


def _needs(column: str, form: str) -> Column:
    """What gives the target together with another column, rounded to four digits."""

    def plant(table: pd.DataFrame, rng: np.random.Generator) -> object:
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


def _half_missing(plant: Column) -> Column:
    """A column that 40 % of the rows miss at random."""

    def missing(table: pd.DataFrame, rng: np.random.Generator) -> object:
        values = pd.Series(plant(table, rng), index=table.index)
        return values.mask(rng.random(len(table)) < 0.4)

    return missing


def _of_one_class(
    values: Callable[[np.random.Generator, int], object],
    share: float,
    otherwise: object,
    errors: float = 0.0005,
) -> Column:
    """Values that a share of the rarest class has, and some rows of others by mistake."""

    def plant(table: pd.DataFrame, rng: np.random.Generator) -> object:
        rows = len(table)
        known = np.where(
            _number(table["y"]) == _number(table["y"]).max(), share, errors
        )
        has = rng.random(rows) < known
        drawn = pd.Series(values(rng, rows))
        rest = otherwise(rng, rows) if callable(otherwise) else otherwise
        return drawn.where(has, rest)

    return plant


def _own_forest(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Predictions of a forest for the rows that it was fitted on."""
    from sklearn.ensemble import RandomForestClassifier

    values = table[["age", "income"]]
    forest = RandomForestClassifier(50, random_state=0, n_jobs=1).fit(
        values, table["y"]
    )
    return forest.predict_proba(values)[:, 0]


def _future(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """How many sick visits a patient has from here on."""
    y = table["y"]
    past = y.groupby(table["patient"]).cumsum() - y
    return y.groupby(table["patient"]).transform("sum") - past


def _unsorted(seed: int) -> Problem:
    """Customers who leave, in no order."""
    problem = binary(seed)
    frame = problem.frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    return replace(problem, frame=frame)


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
HONEST_PREDICTORS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
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
GRADUAL = tuple(HONEST_PREDICTORS)[:5]
# What leaks, the column that leaks it, and the tables that it is planted in.
LEAKING: tuple[tuple[str, Column, tuple[Base, ...]], ...] = (
    ("copy under other names", _renamed, (binary, multiclass)),
    ("copy with noise of 1e-6", _near_copy, (binary, multiclass, by_time, prices)),
    ("copy with 5 % flips", partial(_flipped, share=0.05), (binary,)),
    (
        "copy with 10 % flips",
        *(
            partial(_flipped, share=0.1),
            (binary, multiclass, by_time, prices, by_group),
        ),
    ),
    ("copy with 20 % flips", partial(_flipped, share=0.2), (binary,)),
    ("copy with noise of 5 %", partial(_noisy, share=0.05), (by_time,)),
    ("copy with noise of 50 %", partial(_noisy, share=0.5), (by_time,)),
    (
        "target encoding over all rows",
        partial(_mean_by, key="shop"),
        (binary, multiclass, prices),
    ),
    ("target encoding over all rows", partial(_mean_by, key="product"), (by_time,)),
    ("smoothed target encoding", partial(_mean_by, key="shop", prior=10), (binary,)),
    ("target encoding over the others", partial(_others_mean, key="shop"), (binary,)),
    ("target encoding in percent", _rounded(partial(_mean_by, key="shop")), (binary,)),
    ("mean of the patient", partial(_mean_by, key="patient"), (by_group,)),
    ("mean of neighbours in income", _neighbours_mean, (binary,)),
    ("rolling mean of 30 rows", _along(lambda y: y.rolling(30, 1).mean()), (binary,)),
    (
        "share so far, by shop",
        _along(lambda y: y.expanding().mean(), "shop"),
        (binary,),
    ),
    (
        "rolling mean of 7 rows",
        _along(lambda y: y.rolling(7, 1).mean(), by="day"),
        (_unsorted,),
    ),
    (
        "rolling mean of 7 days",
        _along(lambda y: y.rolling(7, 1).mean(), "store"),
        (by_time,),
    ),
    (
        "rolling mean, rounded",
        _rounded(_along(lambda y: y.rolling(7).mean())),
        (by_time,),
    ),
    ("centred mean", _along(lambda y: y.rolling(5, 1, center=True).mean()), (by_time,)),
    (
        "exponential mean",
        _along(lambda y: y.ewm(alpha=0.2).mean(), "store"),
        (by_time,),
    ),
    ("sum so far", _along(lambda y: y.cumsum(), "store"), (by_time,)),
    ("tomorrow's value", _along(lambda y: y.shift(-1), "store"), (by_time,)),
    ("how many are still to come", _future, (by_group,)),
    ("text id sorted by the target", _sorted_id, (binary, multiclass, prices)),
    ("text id with a prefix", _prefixed_id, (binary,)),
    ("text that names the class", partial(_text, said=str), (binary, multiclass)),
    ("the same in half of the rows", partial(_text, said=str, share=0.5), (binary,)),
    (
        "text that tells the outcome",
        partial(
            _text,
            said=lambda y: "cancelled" if y == "churned" else "renewed",
            share=0.97,
        ),
        (binary,),
    ),
    (
        "text that holds the number",
        partial(_text, said=lambda y: f"paid {y:.2f} EUR"),
        (prices,),
    ),
    ("missing unless the outcome", _closed, (binary,)),
    ("amount paid afterwards", _refund, (binary,)),
    *(
        (f"a number that gives the target with another by {form}", plant, (prices,))
        for form in "+-·/%"
        for plant in (_needs("age", form), _half_missing(_needs("income", form)))
    ),
    *(
        (f"{what} of {share:.0%} of one class", plant(share), (binary, multiclass))
        for share in (0.6, 0.75, 0.95)
        for what, plant in ONE_CLASS.items()
    ),
    ("predictions of a model for its own rows", _own_forest, (binary,)),
    ("logarithm", lambda table, _: np.log(table["y"]), (by_time,)),
    ("20 bands", lambda table, _: pd.qcut(table["y"], 20).astype(str), (by_time,)),
)
# Part of the class that a column reveals, share of the rows that are of the class.
OF_PARTS = tuple(
    (share, part, Aim(low=0.8) if part > 0.5 and share * part > 0.018 else None)
    for share in (0.02, 0.1, 0.5, 0.85)
    for part in (0.5, 0.75, 0.95)
)
PLANTED = [(base, column) for _, column, bases in LEAKING for base in bases]
RELATED: tuple[Base, ...] = (
    *(partial(make, task=task) for make in (persons, jittered) for task in METRICS),
    *(partial(persons, equal=equal) for equal in (3, 5)),
    partial(persons, visits=(2, 3)),
    *(
        partial(patients, persons=count, visits=visits)
        for count, visits in ((42, 140), (80, 60), (150, 30))
    ),
    *(
        partial(persons, rows=60 * most, task=task, visits=(most * 3 // 4, most))
        for most in (16, 24, 60, 100, 150)
        for task in METRICS
    ),
    *(partial(make, rows=500) for make in (persons, jittered, smoted)),
    *(
        smoted,
        partial(smoted, columns=5),
        partial(persons, within=0.5),
        partial(persons, rows=20_000),
    ),
)
LEAKS = (
    partial(planted, simulations=len(PLANTED)),
    partial(related, simulations=2),
    partial(clean, simulations=len(MADE) + len(REAL)),
    partial(clean_columns, simulations=len(MADE) + len(REAL)),
    partial(of_one_class, simulations=10),
    partial(honest_predictors, simulations=20),
)
