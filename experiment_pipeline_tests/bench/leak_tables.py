"""Tables to plant leaks in, and tables without one: made-up ones with what looks like
one, and real ones.

In: a seed. Out: `Problem`: the rows and what the YAML would say. Of the made-up tables
the columns predict something, none of them much. Honest are a strong column, an id, a
time that drifts, a text that says something, a mean of the past.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.random import Generator
from sklearn import datasets

from experiment_pipeline_tests.bench.tables import LISTED, TABLES, raw

ROWS, MOST_ROWS = 3_000, 5_000
SHOPS = 400
_NO_DAY = {"exclude": {"day": "a date, of which no part is used"}}


@dataclass(frozen=True, eq=False)
class Problem:
    """A table and what is asked of it."""

    frame: pd.DataFrame  # its rows, as delivered
    task: str  # binary, multiclass or regression
    # what else the YAML says: split, exclude, preparation, …
    declared: Mapping[str, object] = field(default_factory=dict)
    target: str = "y"


Base = Callable[[int], Problem]
# A table and a generator → a column of it.
Column = Callable[[pd.DataFrame, Generator], object]


def with_column(
    name: str, stream: int, base: Base, column: Column, seed: int
) -> Problem:
    """Return a table with one column more, by a stream of its own."""
    problem = base(seed)
    values = column(problem.frame, np.random.default_rng([seed, stream]))
    return replace(problem, frame=problem.frame.assign(**{name: values}))


def binary(seed: int) -> Problem:
    """Customers who leave: 30 % of 3,000 rows in order of their day, AUC about .8."""
    rng, frame, shop = _honest(seed)
    score = frame["income"] / 20 + (frame["plan"] == "basic") + 0.8 * shop
    odds = score - score.mean() + rng.logistic(size=ROWS) - 1
    y = np.where(odds > 0, "churned", "stayed")
    return Problem(frame.assign(y=y), "binary", _NO_DAY)


def multiclass(seed: int) -> Problem:
    """Four products of unlike shares that customers buy."""
    rng, frame, shop = _honest(seed)
    score = frame["income"] / 20 + shop + rng.logistic(size=ROWS)
    cuts = np.quantile(score, [0.4, 0.7, 0.9])
    y = np.array(["bronze", "silver", "golden", "platinum"])[
        np.searchsorted(cuts, score)
    ]
    return Problem(frame.assign(y=y), "multiclass", _NO_DAY)


def by_time(seed: int) -> Problem:
    """Daily sales of five stores over 600 days that resemble their yesterday; split by
    time.
    """
    rng = np.random.default_rng(seed)
    days, stores = 600, 5
    noise = np.zeros((days, stores))
    for day in range(1, days):
        noise[day] = 0.5 * noise[day - 1] + rng.normal(size=stores)
    date = pd.Timestamp("2022-01-01") + pd.to_timedelta(
        np.repeat(np.arange(days), stores), "D"
    )
    temperature = 12 - 9 * np.cos(np.arange(days) / 58) + rng.normal(size=days)
    promotion = rng.random((days, stores)) < 0.2
    weekday = date.day_of_week.to_numpy().reshape(days, stores)
    sales = (
        20 + 2 * promotion + (weekday >= 5) * 1.5 + 0.05 * temperature[:, None] + noise
    )
    frame = pd.DataFrame(
        {
            "date": date,
            "store": np.tile([f"store {s}" for s in range(stores)], days),
            "product": rng.integers(0, SHOPS, days * stores).astype(str),
            "temperature": np.repeat(temperature, stores).round(1),
            "promotion": promotion.ravel(),
            "weekday": weekday.ravel(),
            "y": sales.ravel(),
        }
    )
    return Problem(frame, "regression", {"split": {"by": "time", "column": "date"}})


def by_group(seed: int) -> Problem:
    """Visits of 400 patients, some of them sicker than others; split by patient."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(SHOPS), rng.integers(3, 12, SHOPS))
    rows = len(patient)
    age, pulse = rng.integers(20, 90, SHOPS)[patient], rng.normal(75, 9, rows).round()
    odds = rng.normal(size=SHOPS)[patient] + (age - 55) / 20 + (pulse - 75) / 12
    y = (odds + rng.logistic(size=rows) > 1).astype(int)
    visit = pd.Series(patient).groupby(patient).cumcount()
    frame = pd.DataFrame(
        {"patient": patient, "visit": visit, "age": age, "pulse": pulse, "y": y}
    )
    return Problem(frame, "binary", {"split": {"by": "group", "column": "patient"}})


def many_classes(seed: int, classes: int, rows: int = 6_000) -> Problem:
    """Letters: classes of unlike shares, whose measurements, codes and kinds differ."""
    rng = np.random.default_rng([seed, 11])
    shares = rng.dirichlet(np.full(classes, 5.0))
    y = rng.choice(classes, rows, p=shares)
    measured = rng.normal(size=(classes, 12))[y] + rng.normal(size=(rows, 12))
    kinds = rng.dirichlet(np.ones(5), classes).cumsum(axis=1)[y]
    frame = pd.DataFrame(measured).add_prefix("x")
    frame = frame.assign(
        kind=(rng.random((rows, 1)) > kinds[:, :4]).sum(axis=1).astype(str),
        count=rng.poisson(rng.gamma(2, 2, classes)[y]),
        box=measured[:, 0].round(),
        flag=rng.random(rows) < rng.random(classes)[y],
        known=np.where(rng.random(rows) < rng.random(classes)[y], 1.0, np.nan),
        y=[f"class {code:02}" for code in y],
    )
    return Problem(frame, "multiclass")


def panel(seed: int, target: str, counties: int = 90, years: int = 7) -> Problem:
    """Counties in several years, without an id; area and minority are a county's, and
    so is the target: a `class`, a `number`, or one that is `moving` a little.
    """
    rng = np.random.default_rng([seed, 9])
    county = np.repeat(np.arange(counties), years)
    rows, density = len(county), rng.lognormal(0, 1, counties)
    size = np.log(density) + rng.logistic(size=counties)
    frame = pd.DataFrame(
        {
            "density": density[county] * (1 + 0.02 * rng.normal(size=rows)),
            "minority": (100 * rng.beta(1, 3, counties)).round(2)[county],
            "area": rng.gamma(4, 100, counties).round(1)[county],
            "west": (rng.random(counties) < 0.25)[county],
            "police": np.exp(0.2 * rng.normal(size=counties)[county])
            * np.exp(0.1 * rng.normal(size=rows))
            / 500,
            "wage": 300
            + 30 * rng.normal(size=counties)[county]
            + 10 * rng.normal(size=rows),
            "sentence": rng.normal(9, 2, rows),
        }
    )
    for year in range(1, years):
        frame[f"year_{year}"] = np.tile(np.arange(years), counties) == year
    targets = {
        "class": np.where(size >= np.quantile(size, 0.9), "urban", "rural")[county],
        "number": size[county],
        "moving": size[county] + 0.2 * rng.normal(size=rows),
    }
    task = "binary" if target == "class" else "regression"
    return Problem(frame.assign(y=targets[target]), task)


def heavy_tailed(seed: int, target: str, rows: int = 1_000) -> Problem:
    """A number, often of few very large values, and a hint at it."""
    rng = np.random.default_rng([seed, 15])
    distributions = {
        "normal": rng.normal,
        "Pareto (2.5)": lambda size: 1 + rng.pareto(2.5, size),
        "t (2)": lambda size: rng.standard_t(2, size),
        "lognormal": lambda size: rng.lognormal(0, 1.5, size),
        "claims": lambda size: rng.lognormal(5, 1.5, size) * (rng.random(size) < 0.3),
    }
    y = distributions[target](size=rows)
    frame = pd.DataFrame(
        {
            "hint": np.sign(y) * np.log1p(np.abs(y)) + rng.normal(size=rows),
            "kind": rng.choice(["a", "b", "c"], rows),
            "y": y,
        }
    )
    return Problem(frame, "regression")


def prices(seed: int) -> Problem:
    """What 3,000 flats cost: a skewed number, random split."""
    rng, frame, shop = _honest(seed)
    log = frame["income"] / 60 + 0.3 * shop + 0.4 * rng.normal(size=ROWS)
    return Problem(frame.assign(y=np.exp(11 + log).round(2)), "regression", _NO_DAY)


def persons(
    seed: int,
    rows: int = 2_000,
    task: str = "binary",
    columns: int = 10,
    equal: int = 0,
    within: float = 0.2,
    visits: tuple[int, int] = (3, 8),
) -> Problem:
    """Three to eight `visits` of each person, and no id; what is known of a person
    predicts nothing.

    Some columns are `equal` in all rows of a person and the others differ at random; by
    default all differ, by a share of the spread.
    """
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(rows), rng.integers(visits[0], visits[1] + 1, rows))[
        :rows
    ]
    known = rng.normal(size=(rows, columns))[who]
    noise = rng.normal(size=known.shape)
    x = (
        np.where(np.arange(columns) < equal, known, noise)
        if equal
        else known + within * noise
    )
    return _related(x, rng.normal(size=rows)[who], task, rng)


def patients(seed: int, persons: int = 42, visits: int = 140) -> Problem:
    """Recordings of persons whose age and sex are known, and whose score moves slowly.

    The recordings say little of the person, and no column names one.
    """
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(persons), 2 + rng.poisson(visits - 2, persons))
    rows = len(who)
    recorded = 0.7 * rng.normal(size=(persons, 14))[who] + rng.normal(size=(rows, 14))
    day = rng.uniform(0, 200, rows).round(1)
    slope = rng.normal(0, 0.03, persons)[who]
    score = rng.normal(25, 8, persons)[who] + slope * day + rng.normal(0, 0.3, rows)
    frame = pd.DataFrame(recorded).add_prefix("voice_")
    frame = frame.assign(
        age=rng.integers(40, 86, persons)[who],
        sex=(rng.random(persons) < 0.3).astype(int)[who],
        day=day,
        y=score,
    )
    return Problem(
        frame.sample(frac=1, random_state=rng, ignore_index=True), "regression"
    )


def jittered(seed: int, rows: int = 2_000, task: str = "binary") -> Problem:
    """Three copies of each row, with noise of 0.1 %."""
    rng = np.random.default_rng(seed)
    original = np.arange(rows) // 3
    known = rng.normal(size=(rows, 10))[original]
    y = (0.5 * known[:, 0] + rng.normal(size=rows)[original]) / 1.1
    return _related(known + 0.001 * rng.normal(size=known.shape), y, task, rng)


def smoted(seed: int, rows: int = 2_000, columns: int = 10) -> Problem:
    """One row in eleven is positive, and SMOTE makes it half of them: Chawla et al.
    (2002).
    """
    rng = np.random.default_rng(seed)
    delivered = round(rows * 0.55)
    x = rng.normal(size=(delivered, columns))
    rare = np.argsort(-x[:, 0] - 2 * rng.logistic(size=delivered))[
        : delivered - rows // 2
    ]
    distances = np.linalg.norm(x[rare][:, None] - x[rare], axis=2)
    made = rows - delivered
    first = rng.integers(0, len(rare), made)
    second = np.argsort(distances, axis=1)[first, rng.integers(1, 6, made)]
    start, end = x[rare][first], x[rare][second]
    x = np.vstack([x, start + rng.random((made, 1)) * (end - start)])
    y = np.r_[np.isin(np.arange(delivered), rare), np.ones(made)] - 0.5
    return _related(x, y, "binary", rng)


def _related(x: np.ndarray, y: np.ndarray, task: str, rng: Generator) -> Problem:
    """A table of x in no order, whose target is the number y or bands of it."""
    bands = {
        "regression": y,
        "binary": y > 0,
        "multiclass": np.digitize(y, [-0.5, 0.5]),
    }
    frame = pd.DataFrame(x).add_prefix("x").assign(y=bands[task])
    frame = frame.sample(frac=1, random_state=rng).reset_index(drop=True)
    return Problem(frame, task)


def _honest(seed: int) -> tuple[Generator, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    shop = rng.integers(0, SHOPS, ROWS)
    frame = pd.DataFrame(
        {
            "day": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(np.sort(rng.random(ROWS)) * 365, "D"),
            "age": rng.integers(18, 90, ROWS),
            "income": rng.gamma(4, 10, ROWS).round(1),
            "plan": rng.choice(["basic", "plus", "family"], ROWS, p=[0.5, 0.3, 0.2]),
            "region": rng.choice([f"region {r}" for r in range(12)], ROWS),
            "shop": np.char.add("shop ", shop.astype(str)),
        }
    )
    return rng, frame, rng.normal(size=SHOPS)[shop]


def _positive(table: pd.DataFrame) -> np.ndarray:
    return (table["y"] == table["y"].value_counts().index[-1]).to_numpy()


def _strong(distance: float) -> Column:
    """A measurement whose classes are this many standard deviations apart."""
    return lambda table, rng: rng.normal(size=len(table)) + distance * _positive(table)


def _running_id(table: pd.DataFrame, rng: Generator) -> list[str]:
    return [f"C{place:05d}" for place in range(len(table))]


def _past_mean(table: pd.DataFrame, rng: Generator) -> object:
    """The mean of the seven days before, without the day itself."""
    past = table.groupby("store")["y"].shift(1)
    return past.groupby(table["store"], group_keys=False).apply(
        lambda y: y.rolling(7, 1).mean()
    )


def _out_of_fold_mean(table: pd.DataFrame, rng: Generator) -> object:
    """Target encoding whose mean leaves out the row's own fold of five."""
    y, fold = pd.Series(_positive(table).astype(float)), rng.integers(0, 5, len(table))
    encoded = np.empty(len(table))
    for each in range(5):
        means = y[fold != each].groupby(table["shop"][fold != each]).mean()
        encoded[fold == each] = table["shop"][fold == each].map(means).fillna(y.mean())
    return encoded


def _calibrated_score(table: pd.DataFrame, rng: Generator) -> object:
    """An older model's probability, rounded to percent: calibrated, honest."""
    odds = rng.normal(size=len(table)) + 1.5 * _positive(table)
    share = _positive(table).mean()
    return (share / (share + (1 - share) * np.exp(1.125 - 1.5 * odds))).round(2)


def real(
    package: str,
    item: str,
    target: str,
    task: str,
    declared: Mapping[str, object] | None = None,
) -> Problem:
    """Read a table of scikit-learn or of R, at most MOST_ROWS rows of it."""
    if package == "sklearn":
        frame = getattr(datasets, f"load_{item}")(as_frame=True).frame
    else:
        frame = raw(package, item, target)
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0).sort_index()
    return Problem(frame, task, declared or {}, target)


_HONEST: tuple[tuple[Base, Column], ...] = (
    *((binary, _strong(distance)) for distance in (1.5, 2.0, 2.5)),  # AUC .86, .92, .96
    (binary, lambda table, rng: rng.permutation(_running_id(table, rng))),
    (binary, _running_id),
    (multiclass, _running_id),
    (by_time, _past_mean),
    (by_time, lambda table, _: table.groupby("store")["y"].shift(1)),
    (binary, _out_of_fold_mean),
    (binary, _calibrated_score),
)
MADE: tuple[Base, ...] = (
    *(binary, multiclass, by_time, by_group, prices),
    *(partial(with_column, "honest", 2, base, column) for base, column in _HONEST),
)
_USED = (
    *("houses", "computers", "churn", "votes", "deliveries", "checks"),
    *("stops", "crashes", "jobs", "loans", "diamonds", "wages"),
)
REAL = (
    *LISTED["clean"],
    *(
        (one.package, one.item, one.target, one.task, one.declared)
        for one in TABLES
        if one.name in _USED
    ),
)
