"""What the data analysis makes of planted leaks, and of tables that have none.

In: a seed. Out: what is said of each planted variant and of each clean table; how that is counted
and shown belongs to the benchmark. A variant is a function from a table to the column that leaks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.analysis import analyse
from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.bench.clean_tables import CLEAN
from experiment_pipeline_tests.bench.leak_tables import (
    Problem,
    binary,
    by_group,
    by_time,
    jittered,
    multiclass,
    persons,
    prices,
    smoted,
)

LEAK_CODES = (
    *("leak_suspect", "made_of_target", "telling_missing_values", "probe_nearly_perfect"),
    "related_rows",
)
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
LEAK = "leak"
Plant = Callable[[pd.DataFrame, np.random.Generator], object]


@dataclass(frozen=True)
class Variant:
    """A leak: the column `leak` that is computed from a table whose target is `y`."""

    name: str
    base: Callable[[int], Problem]
    plant: Plant

    def planted(self, seed: int) -> Problem:
        """The table with the leak."""
        problem = self.base(seed)
        column = self.plant(problem.frame, np.random.default_rng([seed, 1]))
        frame = problem.frame.assign(**{LEAK: column})
        return Problem(f"{problem.name}: {self.name}", frame, problem.task, problem.declared)


def _planter(make: Callable[..., object]) -> Callable[..., Plant]:
    """A function of table, rng and settings → one of settings that gives a plant."""
    return lambda *settings: lambda table, rng: make(table, rng, *settings)


@dataclass(frozen=True)
class Judged:
    """What the analysis says of one table."""

    name: str  # of the table
    stopped: tuple[str, ...]  # codes of leak findings that block
    asked: tuple[str, ...]  # codes of those that are conditions
    columns: tuple[str, ...]  # what they name

    @property
    def word(self) -> str:
        """`stopped`, `asked` or `silent`."""
        return "stopped" if self.stopped else "asked" if self.asked else "silent"


def judged(problem: Problem) -> Judged:
    """Analyse a table and keep what is said about leaks."""
    spec = _experiment(problem)
    frame = problem.frame.reset_index(drop=True).rename_axis(index="row_number")
    prepared = prepare(frame, spec.preparation).frame
    features = feature_columns(prepared, spec)
    findings = analyse(prepared, assign_sets(prepared, spec, features), features, spec).findings
    found = [f for f in findings if f.code in LEAK_CODES and f.outcome == "found"]
    return Judged(
        problem.name,
        _codes(found, "blocks"),
        _codes(found, "condition"),
        tuple(dict.fromkeys(column for finding in found for column in finding.columns)),
    )


def hits(seed: int) -> list[Judged]:
    """Every planted variant; one whose finding does not name the planted column is silent."""
    found = [judged(variant.planted(seed)) for variant in VARIANTS]
    return [one if LEAK in one.columns else Judged(one.name, (), (), ()) for one in found]


def related(seed: int, draws: int = 5) -> list[Judged]:
    """Tables whose rows belong together, though no column says so."""
    seeds = range(seed, seed + draws)
    return [judged(make(each)) for make in RELATED for each in seeds]


def false_alarms(seed: int) -> list[Judged]:
    """Every table that has no leak, made or real."""
    return [judged(make(seed)) for make in CLEAN.made] + [judged(read()) for read in CLEAN.real]


def _codes(found: Sequence[Finding], severity: str) -> tuple[str, ...]:
    return tuple(finding.code for finding in found if finding.severity == severity)


def _experiment(problem: Problem) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "name": "leaks",
            "data": "table.csv",
            "target": problem.target,
            "task": problem.task,
            "metric": METRICS[problem.task],
            "search": [{"algorithm": "dummy"}],
            **problem.declared,
        }
    )


def _number(y: pd.Series) -> pd.Series:
    """The target as a number: itself, or the place of its class, the rarest last."""
    if pd.api.types.is_numeric_dtype(y):
        return y.astype(float)
    return y.map({name: place for place, name in enumerate(y.value_counts().index)}).astype(float)


def _renamed(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return table["y"].map(lambda name: f"status {sorted(table['y'].unique()).index(name)}")


def _near_copy(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return _number(table["y"]) + 1e-6 * rng.normal(size=len(table))


@_planter
def _noisy(table: pd.DataFrame, rng: np.random.Generator, share: float) -> object:
    """The target with noise of a share of its spread."""
    return table["y"] + share * table["y"].std() * rng.normal(size=len(table))


@_planter
def _flipped(table: pd.DataFrame, rng: np.random.Generator, share: float) -> object:
    """The target, a share of whose rows hold another row's value."""
    y = table["y"].to_numpy()
    if len(np.unique(y)) == 2:
        low, high = np.unique(y)
        other = np.where(y == low, high, low)
    else:
        other = rng.permutation(y)
    return np.where(rng.random(len(y)) < share, other, y)


@_planter
def _mean_by(table: pd.DataFrame, rng: np.random.Generator, key: str, prior: float = 0.0) -> object:
    """Target encoding over all rows, drawn to the overall mean by `prior` rows."""
    y = _number(table["y"])
    y = (y == y.max()).astype(float) if not pd.api.types.is_numeric_dtype(table["y"]) else y
    groups = y.groupby(table[key])
    sums, rows = groups.transform("sum"), groups.transform("size")
    return (sums + prior * y.mean()) / (rows + prior)


@_planter
def _others_mean(table: pd.DataFrame, rng: np.random.Generator, key: str) -> object:
    """Target encoding over all rows but the row's own, which is thereby given away."""
    y = _number(table["y"])
    groups = y.groupby(table[key])
    rows = groups.transform("size")
    return ((groups.transform("sum") - y) / (rows - 1)).where(rows > 1, y.mean())


@_planter
def _window(
    table: pd.DataFrame,
    rng: np.random.Generator,
    make: Callable[[pd.Series], pd.Series],
    key: str | None = None,
) -> object:
    """Something computed along the table's rows, of all or of each value of a key."""
    y = _number(table["y"])
    return make(y) if key is None else y.groupby(table[key], group_keys=False).apply(make)


@_planter
def _shuffled(
    table: pd.DataFrame, rng: np.random.Generator, make: Callable[[pd.Series], pd.Series]
) -> object:
    """A window along the days of a table whose rows are in no order."""
    return make(_number(table.sort_values("day")["y"]))


def _rounded(plant: Plant) -> Plant:
    return lambda table, rng: np.round(np.asarray(plant(table, rng), dtype=float), 2)


def _neighbours_mean(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """The mean target of the 10 rows with the most similar income, the row among them."""
    order = np.argsort(table["income"].to_numpy(), kind="stable")
    means = _number(table["y"]).iloc[order].rolling(10, 1, center=True).mean()
    return means.sort_index()


def _sorted_id(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Ids given out in the order of the target, as an export sorted by it does."""
    order = np.lexsort((rng.random(len(table)), _number(table["y"])))
    places = np.empty(len(table), dtype=int)
    places[order] = np.arange(len(table))
    return pd.Series(places).map(lambda place: f"C{place:05d}")


def _prefixed_id(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Ids that begin with a letter for the outcome."""
    letters = _number(table["y"]).astype(int).map(lambda code: "KXBD"[code])
    return [f"{a}-{n:05d}" for a, n in zip(letters, rng.permutation(len(table)), strict=True)]


WORDS = np.array(
    [
        *("called", "about", "the", "bill", "and", "was", "told", "to", "wait", "offer"),
        *("sent", "again", "by", "letter", "branch", "visit"),
    ]
)


@_planter
def _text(
    table: pd.DataFrame, rng: np.random.Generator, said: Callable[[object], str], share: float = 1.0
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
    number = rng.normal(size=len(table)).round(3)
    return np.where(_number(table["y"]) > 0, number, np.nan)


def _refund(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """An amount that most of those who left got, and nobody else."""
    paid = (_number(table["y"]) > 0) & (rng.random(len(table)) < 0.9)
    return np.where(paid, rng.gamma(2, 20, len(table)).round(2), 0)


def _own_forest(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """Predictions of a forest for the rows that it was fitted on."""
    from sklearn.ensemble import RandomForestClassifier

    values = table[["age", "income"]]
    forest = RandomForestClassifier(50, random_state=0, n_jobs=1).fit(values, table["y"])
    return forest.predict_proba(values)[:, 0]


def _bands(table: pd.DataFrame, rng: np.random.Generator) -> object:
    return pd.qcut(table["y"], 20).astype(str)


def _future(table: pd.DataFrame, rng: np.random.Generator) -> object:
    """How many sick visits a patient has from here on."""
    y = table["y"]
    past = y.groupby(table["patient"]).cumsum() - y
    return y.groupby(table["patient"]).transform("sum") - past


def _unsorted(seed: int) -> Problem:
    """Customers who leave, in no order."""
    problem = binary(seed)
    frame = problem.frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    return Problem("unsorted leavers", frame, problem.task, problem.declared)


VARIANTS = (
    Variant("copy under other names", binary, _renamed),
    Variant("copy with noise of 1e-6", binary, _near_copy),
    Variant("copy with 5 % flips", binary, _flipped(0.05)),
    Variant("copy with 10 % flips", binary, _flipped(0.1)),
    Variant("target encoding over all rows", binary, _mean_by("shop")),
    Variant("smoothed target encoding over all rows", binary, _mean_by("shop", 10)),
    Variant("target encoding over the others", binary, _others_mean("shop")),
    Variant("rolling mean of 30 rows", binary, _window(lambda y: y.rolling(30, 1).mean())),
    Variant("share so far, by shop", binary, _window(lambda y: y.expanding().mean(), "shop")),
    Variant("rolling mean of 7 rows", _unsorted, _shuffled(lambda y: y.rolling(7, 1).mean())),
    Variant("copy with 20 % flips", binary, _flipped(0.2)),
    Variant("target encoding in percent", binary, _rounded(_mean_by("shop"))),
    Variant("mean of neighbours in income", binary, _neighbours_mean),
    Variant("text that names the class in half of the rows", binary, _text(str, 0.5)),
    Variant("text id sorted by the target", binary, _sorted_id),
    Variant("text id with a prefix", binary, _prefixed_id),
    Variant("text that names the class", binary, _text(str)),
    Variant(
        "text that tells the outcome",
        binary,
        _text(lambda y: "cancelled" if y == "churned" else "renewed", 0.97),
    ),
    Variant("missing unless the outcome", binary, _closed),
    Variant("amount paid afterwards", binary, _refund),
    Variant("predictions of a model for its own rows", binary, _own_forest),
    Variant("copy under other names", multiclass, _renamed),
    Variant("copy with noise of 1e-6", multiclass, _near_copy),
    Variant("copy with 10 % flips", multiclass, _flipped(0.1)),
    Variant("target encoding over all rows", multiclass, _mean_by("shop")),
    Variant("text id sorted by the target", multiclass, _sorted_id),
    Variant("text that names the class", multiclass, _text(str)),
    Variant("copy with noise of 1e-6", by_time, _near_copy),
    Variant("copy with noise of 5 %", by_time, _noisy(0.05)),
    Variant("copy with 10 % flips", by_time, _flipped(0.1)),
    Variant("logarithm", by_time, lambda table, rng: np.log(table["y"])),
    Variant("rolling mean of 7 days", by_time, _window(lambda y: y.rolling(7, 1).mean(), "store")),
    Variant("centred mean", by_time, _window(lambda y: y.rolling(5, 1, center=True).mean())),
    Variant("exponential mean", by_time, _window(lambda y: y.ewm(alpha=0.2).mean(), "store")),
    Variant("sum so far", by_time, _window(lambda y: y.cumsum(), "store")),
    Variant("tomorrow's value", by_time, _window(lambda y: y.shift(-1), "store")),
    Variant("target encoding over all rows", by_time, _mean_by("product")),
    Variant("20 bands", by_time, _bands),
    Variant("copy with noise of 50 %", by_time, _noisy(0.5)),
    Variant("rolling mean, rounded", by_time, _rounded(_window(lambda y: y.rolling(7).mean()))),
    Variant("copy with noise of 1e-6", prices, _near_copy),
    Variant("copy with 10 % flips", prices, _flipped(0.1)),
    Variant("target encoding over all rows", prices, _mean_by("shop")),
    Variant("text id sorted by the target", prices, _sorted_id),
    Variant("text that holds the number", prices, _text(lambda y: f"paid {y:.2f} EUR")),
    Variant("mean of the patient", by_group, _mean_by("patient")),
    Variant("copy with 10 % flips", by_group, _flipped(0.1)),
    Variant("how many are still to come", by_group, _future),
)
RELATED: tuple[Callable[[int], Problem], ...] = (
    *(partial(make, task=task) for make in (persons, jittered) for task in METRICS),
    *(partial(persons, equal=equal) for equal in (3, 5)),
    *(partial(make, rows=500) for make in (persons, jittered, smoted)),
    *(
        smoted,
        partial(smoted, columns=5),
        partial(persons, within=0.5),
        partial(persons, rows=20_000),
    ),
)
