"""Labels that are not in yet: tables that have some are named and others are not, and
what a score promises where young rows count as negatives, or are set aside.

Rows of two years; the logit of the positives follows a number and what the time does to
it. A positive is known some days after its row, so the table lacks the latest ones.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from experiment_pipeline.stages.data_analysis.findings.labels import LabelsNotInYet
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.label import prepare_labelled
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline_tests.bench.simulations import Figure, of_each
from experiment_pipeline_tests.bench.tables import spec_of

_DAYS, _MANY = 730, 200_000
_FIRST = pd.Timestamp("2024-01-01")
_BY_TIME = {"by": "time", "column": "at"}


def _memory(generator: np.random.Generator, day: np.ndarray) -> np.ndarray:
    levels = np.zeros(_DAYS + 1)
    for number in range(1, len(levels)):
        levels[number] = 0.95 * levels[number - 1] + 0.2 * generator.normal()
    return levels[day.astype(int)]


def _season(generator: np.random.Generator, day: np.ndarray) -> np.ndarray:
    return 0.8 * np.sin(2 * np.pi * (day / 365 + generator.random()))


def _steps(generator: np.random.Generator, day: np.ndarray) -> np.ndarray:
    return 0.6 * generator.normal(size=9)[(8 * day / _DAYS).astype(int)]


# What the time does to the logit of a row.
_WANDERS: Mapping[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "constant": lambda _, day: 0.0 * day,
    "falling": lambda _, day: 1.2 - 2.4 * day / _DAYS,
    "with a season": _season,
    "with memory": _memory,
    "in steps": _steps,
}
# How a positive is known after its row, in parts of the time that labels take.
_COMES_IN: Mapping[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "evenly": lambda generator, rows: generator.random(rows),
    "soon": lambda generator, rows: np.minimum(generator.exponential(0.33, rows), 1.0),
    "at the end": lambda _, rows: np.ones(rows),
}


def named(
    tables: int,
    seed: int,
    *,
    share: str,
    rows: int,
    within: int = 0,
    comes_in: str = "evenly",
    positives: float = 0.15,
) -> list[bool]:
    """Whether the finding names tables whose labels take so many days; 0: all are in."""
    spec = spec_of("binary", "roc_auc")
    found = []
    for generator in of_each(tables, seed):
        day = np.sort(generator.uniform(0, _DAYS, rows))
        table = _rows(generator, day, positives, _WANDERS[share](generator, day))
        known = day + within * _COMES_IN[comes_in](generator, rows)
        table["y"] &= known <= _DAYS
        sets = assign_sets(table, spec, ["x"]).astype("str")
        finding = LabelsNotInYet().check(Subject(table, sets, ("x",), spec))
        found.append(finding.outcome == "found")
    return found


def promised(
    tables: int, seed: int, *, rows: int, within: int, metric: str
) -> dict[str, Figure]:
    """Whether the interval of a validation set by time holds the score of the same model
    on later rows, with their labels.
    """
    held: dict[str, list[bool]] = {}
    ways = {
        "young rows as negatives": {},
        "young rows set aside": {"label": {"within": f"{within} days"}},
    }
    for generator in of_each(tables, seed):
        day = np.sort(generator.uniform(0, _DAYS, rows))
        table = _rows(generator, day, 0.15, np.zeros(rows))
        table["y"] &= day + within * generator.random(rows) <= _DAYS
        later = _rows(generator, np.zeros(_MANY), 0.15, np.zeros(_MANY))
        for way, settings in ways.items():
            spec = spec_of("binary", metric, split=_BY_TIME, **settings)
            prepared = prepare_labelled(table, spec)
            sets = assign_sets(table, spec, ["x"], labelled=prepared.labelled)
            fitted = table[sets.isin(["train", "test"])]
            model = LogisticRegression().fit(fitted[["x"]], fitted["y"])
            interval = _scored(model, table[sets == "validation"]).interval(metric)
            truth = _scored(model, later).score(metric)
            held.setdefault(way, []).append(interval.low <= truth <= interval.high)
    return {way: list(outcomes) for way, outcomes in held.items()}


def _rows(
    generator: np.random.Generator,
    day: np.ndarray,
    positives: float,
    wander: np.ndarray,
) -> pd.DataFrame:
    x = generator.normal(size=len(day))
    logit = np.log(positives / (1 - positives)) + 0.8 * x + wander
    y = generator.random(len(day)) < 1 / (1 + np.exp(-logit))
    at = _FIRST + pd.to_timedelta(day.astype(int), unit="D")
    return pd.DataFrame({"at": at, "x": x, "y": y}).rename_axis(index="row_number")


def _scored(model: LogisticRegression, rows: pd.DataFrame) -> SetPrediction:
    probability = model.predict_proba(rows[["x"]])[:, 1]
    return SetPrediction(rows["y"].to_numpy(int), probability, np.arange(len(rows)))
