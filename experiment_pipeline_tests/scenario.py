"""One small awkward table, and the experiments that can run on it.

A made-up clinic: 480 visits with everything that goes wrong in real tables. Numbers
stored as text, dates in two formats, categories in several spellings, column names with
quotes, unicode and markup, a placeholder for missing, patients who come twice or more,
and ten rows that break the schema. Three targets, one per task, that a simple model
predicts well but not perfectly.
Deterministic: the same table in every process.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandera.pandas import DataFrameSchema

from experiment_pipeline.intake.validation import Origin
from experiment_pipeline.spec import ExperimentSpec, Preparation
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets.sets import (
    SetTable,
    early_stopping_roles,
)
from experiment_pipeline.table.digests import rows_digest
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import fit
from experiment_pipeline.table.preparation import PreparedTable, prepare

ROWS = 480
PATIENTS = 160
STRANGE = """odd "name", d'été: 50 %"""
MARKUP = "<script>alert(1)</script>"
TARGETS = {"binary": "readmitted", "regression": "cost", "multiclass": "triage"}
METRICS = {"binary": "roc_auc", "regression": "rmse", "multiclass": "log_loss"}
WHY_EXCLUDED = "known only after the visit"

# Row number → column, the broken cell, and what its reason must say.
BROKEN_ROWS: dict[int, tuple[str, str | None, str]] = {
    11: ("age", "430", "age: 430.0 fails in_range(0, 120)"),
    37: ("age", "-3", "age: -3.0 fails in_range(0, 120)"),
    58: ("weight", "heavy", "weight: 'heavy' is not a number"),
    83: (
        "visited",
        "yesterday",
        "visited: 'yesterday' is not a date in a declared format",
    ),
    129: ("ward", "Narnia", "ward: 'narnia' fails isin"),
    130: ("ward", None, "ward: is missing"),
    222: ("readmitted", None, "target is missing"),
    300: ("visit_id", None, "visit_id: is missing"),
    301: ("patient", None, "patient: is missing"),
    444: ("weight", "7,25 kg", "weight: '7,25 kg' is not a number"),
}

SCHEMA = f"""\
columns:
  visit_id: {{dtype: str, str_matches: "^V[0-9]{{4}}$"}}
  patient: {{dtype: str}}
  visited: {{dtype: "datetime64[us]"}}
  ward: {{dtype: str, nullable: false, isin: [north, south, east, day clinic]}}
  age: {{dtype: float64, nullable: true, in_range: {{min_value: 0, max_value: 120}}}}
  weight: {{dtype: float64, nullable: true, greater_than: 0}}
  '{STRANGE.replace("'", "''")}': {{dtype: float64}}
  "{MARKUP}": {{dtype: int64}}
  readmitted: {{dtype: str, isin: ["yes", "no"]}}
  cost: {{dtype: float64, greater_than: 0}}
  triage: {{dtype: str, isin: [low, middle, high]}}
coerce: true
strict: filter
"""

PREPARATION: dict[str, Any] = {
    "missing_values": {"ward": ["?"], "age": [-999]},
    "categories": {
        "ward": {
            "trim": True,
            "case": "lower",
            "variants": {"day clinic": ["dayclinic", "day-clinic"]},
        }
    },
    "types": {"weight": "number", "visited": "datetime"},
    "numbers": {"weight": {"thousands": ",", "units": {"kg": 1, "g": 0.001}}},
    "datetime_formats": {"visited": ["%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M"]},
    "calendar": {"visited": ["day_of_week", "hour"]},
}

SPLITS: dict[str, dict[str, Any]] = {
    "random": {"by": "random", "id_columns": ["visit_id"]},
    "group": {"by": "group", "column": "patient", "id_columns": ["visit_id"]},
    "time": {
        "by": "time",
        "column": "visited",
        "gap": "1 day",
        "id_columns": ["visit_id"],
    },
}

SEARCH: list[dict[str, Any]] = [
    {"algorithm": "dummy"},
    {"algorithm": "linear"},
    {
        "algorithm": "lightgbm",
        "hyperparameters": {
            "num_leaves": [3, 7],
            "n_estimators": 20,
            "min_child_samples": 10,
        },
    },
]


def table() -> pd.DataFrame:
    """Return the table as delivered: index `row_number`, broken rows included."""
    frame = _clean_table()
    for row, (column, cell, _) in BROKEN_ROWS.items():
        # age is a column of numbers; the broken ones are numbers too.
        frame.loc[row, column] = float(cell) if column == "age" and cell else cell
    return frame


def sound_table() -> pd.DataFrame:
    """Return only the rows that satisfy the schema, as delivered."""
    return table().drop(index=list(BROKEN_ROWS))


def write_csv(path: Path, frame: pd.DataFrame | None = None) -> Path:
    """Write the table (or another one) as CSV, and return the path."""
    (table() if frame is None else frame).to_csv(path, index=False)
    return path


def spec_mapping(
    task: str = "binary", split: Any = "random", url: str = "visits.csv", **changes: Any
) -> dict[str, Any]:
    """Return what the YAML of an experiment on this table says, apart from its name.

    The task decides target and metric; `split` is one of SPLITS, or what the YAML says;
    `changes` replace top-level settings.
    """
    excluded = {name: WHY_EXCLUDED for other, name in TARGETS.items() if other != task}
    if split != "group":
        excluded["patient"] = "names a person"
    mapping = {
        "data": url,
        "target": TARGETS[task],
        "task": task,
        "exclude": excluded,
        "preparation": PREPARATION,
        "validation": {"max_rejected_fraction": 0.05},
        "split": SPLITS[split] if isinstance(split, str) else split,
        "search": SEARCH,
        "metric": METRICS[task],
    }
    if task == "binary":
        mapping["positive_class"] = "yes"
    return copy.deepcopy({**mapping, **changes})


def spec(
    task: str = "binary", split: Any = "random", url: str = "visits.csv", **changes: Any
) -> ExperimentSpec:
    """Return the experiment of `spec_mapping`, named `clinic`."""
    mapping = spec_mapping(task, split, url, **changes)
    return ExperimentSpec.model_validate({"name": "clinic", **mapping})


def _clean_table() -> pd.DataFrame:
    rng = np.random.default_rng(20130101)
    patient = rng.integers(0, PATIENTS, ROWS)
    frailty = rng.normal(size=PATIENTS)[patient]
    age = np.clip(np.round(55 + 15 * frailty + rng.normal(0, 8, ROWS)), 1, 99)
    ward = rng.choice(4, ROWS, p=[0.4, 0.3, 0.2, 0.1])
    strange = rng.normal(size=ROWS)
    markup = rng.integers(0, 50, ROWS)
    weight = 74 + 6 * strange + rng.normal(0, 8, ROWS)
    risk = 0.05 * (age - 55) + 0.9 * strange + 0.5 * (ward == 1) - 0.02 * (markup - 25)
    noise = rng.normal(0, 1, ROWS)
    cost = np.round(np.exp(6 + 0.5 * risk + 0.3 * noise), 2)
    visited = pd.Timestamp("2024-01-02 08:00") + pd.to_timedelta(
        np.sort(rng.integers(0, 300 * 24 * 4, ROWS)) * 15, unit="min"
    )
    return pd.DataFrame(
        {
            "visit_id": [f"V{number:04}" for number in rng.permutation(ROWS)],
            "patient": [f"P{number:03}" for number in patient],
            "visited": _dates_in_two_formats(pd.Series(visited)),
            "ward": _spellings(ward, rng),
            "age": _with_gaps(age, rng),
            "weight": _weights(weight, rng),
            STRANGE: np.round(strange, 4),
            MARKUP: markup,
            "readmitted": np.where(risk + noise > 0.3, "yes", "no"),
            "cost": cost,
            "triage": np.select(
                [risk + noise < -0.7, risk + noise > 0.9], ["low", "high"], "middle"
            ),
        }
    ).rename_axis(index="row_number")


def _spellings(ward: np.ndarray, rng: np.random.Generator) -> list[str]:
    spelt = [
        ["north", "North", " north ", "NORTH"],
        ["south", "South", "south  ", "SOUTH"],
        ["east", "East", "EAST ", "east"],
        ["day clinic", "Day  Clinic", "dayclinic", "Day-Clinic"],
    ]
    return [
        spelt[which][how]
        for which, how in zip(ward, rng.integers(0, 4, ROWS), strict=True)
    ]


def _with_gaps(age: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave out one age in twelve, half of them as a placeholder."""
    fate = rng.random(ROWS)
    return np.where(fate < 0.04, np.nan, np.where(fate < 0.08, -999, age))


def _weights(weight: np.ndarray, rng: np.random.Generator) -> list[str | None]:
    """Write kilograms, or now and then grams with a thousands separator, or nothing."""
    written: list[str | None] = []
    for value, fate in zip(weight, rng.random(ROWS), strict=True):
        kilograms = f"{value:.1f} kg"
        grams = f"{value * 1000:,.0f} g"
        written.append(None if fate < 0.05 else grams if fate < 0.15 else kilograms)
    return written


def _dates_in_two_formats(visited: pd.Series) -> pd.Series:
    iso: pd.Series = visited.dt.strftime("%Y-%m-%d %H:%M")
    return iso.where(visited.index % 5 != 0, visited.dt.strftime("%d.%m.%Y %H:%M"))


def stored(
    train: pd.DataFrame, test: pd.DataFrame, spec: ExperimentSpec
) -> dict[str, SetTable]:
    """Two sets as the split stage stores them."""
    roles = early_stopping_roles(train, spec, feature_columns(train, spec))
    origin = Origin("", {}, "", ())
    return {
        "train": SetTable(train, rows_digest(train), roles, origin),
        "test": SetTable(test, rows_digest(test), np.empty(0, np.uint8), origin),
    }


def prepared_rows(
    raw: pd.DataFrame, preparation: Preparation, schema: DataFrameSchema, **absent: Any
) -> PreparedTable:
    """Return every row, prepared, with the columns that the schema wants."""
    return fit(prepare(raw, preparation, **absent), raw.columns, schema)


def to_train_on(
    train: pd.DataFrame, test: pd.DataFrame, spec: ExperimentSpec
) -> TrainingSets:
    """Two sets as the split stage stores them, as a search takes them."""
    sets = stored(train, test, spec)
    return as_evaluated(sets["train"], sets["test"], spec)
