"""Rows to predict on that hold what training never saw: kept, counted and told, or rejected."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.columns.schema import load_schema
from experiment_pipeline.drafting.columns import infer_schema
from experiment_pipeline.errors import TooManyRejectedRows
from experiment_pipeline.prediction import signature as golden_rows
from experiment_pipeline.prediction.rows import Predicted, Reading, predict_rows
from experiment_pipeline.prediction.signature import Signature
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model import package as exported_model
from experiment_pipeline.stages.exported_model.package import serialize
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fitting import refit
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests import exported

FEATURES = ("count", "flag", "size", "colour", "name")
ALGORITHMS = (
    "lightgbm",
    "linear",
    "random_forest",
    "dummy",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.neighbors.KNeighborsClassifier",
)


def seen(n: int = 200) -> pd.DataFrame:
    """A table without a gap: whole numbers, booleans, numbers, a category, and many names."""
    rng = np.random.default_rng(0)
    columns = {
        "count": rng.integers(0, 50, n),
        "flag": rng.random(n) < 0.5,
        "size": rng.normal(size=n),
        "colour": rng.choice(["red", "green", "blue"], n),
        "name": [f"n{number:02}" for number in rng.integers(0, 40, n)],
    }
    frame = pd.DataFrame(columns).rename_axis(index="row_number")
    risk = frame["size"] + (frame["colour"] == "red") + rng.normal(size=n)
    return frame.assign(late=np.where(risk > 0.5, "yes", "no"))


def never_seen() -> pd.DataFrame:
    """Rows each of which holds a new category, or lacks what was never missing."""
    rows = seen(6)[list(FEATURES)].astype({"count": "float64", "flag": "object"})
    rows.loc[0:2, "colour"] = ["pink", "pink", "grey"]
    rows.loc[3, "name"] = "nobody"
    rows.loc[4, ["count", "size"]] = np.nan
    rows.loc[5, ["flag", "colour"]] = None
    return rows


def predicted(
    rows: pd.DataFrame,
    search: dict[str, Any] | None = None,
    schema: str | None = None,
    **validation: Any,
) -> Predicted:
    """What a model trained on `seen` says about the rows; by default a linear one."""
    train = seen()
    spec = exported.spec(
        search=[search or {"algorithm": "linear"}],
        exclude={},
        preparation={},
        split={"by": "random"},
        validation=validation,
    )
    sets = TrainingSets(
        *(train, train, FEATURES, "late", "binary", ("no", "yes"), np.zeros(len(train), bool)),
        digests={"train": "", "test": ""},
    )
    (configuration,) = configurations(spec)
    rounds = 5 if configuration.algorithm == "lightgbm" else None
    pipeline = refit(configuration, rounds, train, sets, spec)
    return predict_rows(
        pipeline,
        rows,
        Reading.from_bytes(
            Reading.of(spec, train.dtypes.astype("str").to_dict()).to_bytes(), "here"
        ),
        load_schema(schema or infer_schema(train, "late")),
        signature(pipeline, train, spec),
    )


def signature(pipeline: Any, train: pd.DataFrame, spec: ExperimentSpec) -> Signature:
    """The signature as it travels with the model."""
    facts = dataclasses.replace(
        exported.facts(spec=spec), raw_types=train.dtypes.astype("str").to_dict()
    )
    golden = golden_rows.golden_rows(train, FEATURES)
    package = exported_model.build_package(
        pipeline, serialize(pipeline), facts, infer_schema(train, "late"), golden, exported.FITTED
    )
    return Signature.from_bytes(package.files["signature.json"], "here")


@pytest.mark.parametrize("features", ["ordinal", "onehot"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_training_never_saw_is_predicted_by_every_algorithm(
    algorithm: str, features: str
) -> None:
    """New categories and new gaps in all rows: all are predicted, also where nan is forbidden."""
    found = predicted(never_seen(), {"algorithm": algorithm, "features": features})
    assert found.rejected.empty
    assert len(found.predictions) == 6
    assert found.predictions["probability_yes"].between(0, 1).all()


def test_a_gap_that_training_never_saw_is_an_ordinary_value() -> None:
    """LightGBM would read it as 0, which is the most extreme value of this column."""
    boosted = {"algorithm": "lightgbm", "hyperparameters": {"min_child_samples": 5}}
    rows = seen(3)[list(FEATURES)].assign(size=[np.nan, np.median(seen()["size"]), 0.0])
    same = {name: rows[name].iloc[0] for name in FEATURES if name != "size"}
    rows = rows.assign(**same)
    gap, middle, _ = predicted(rows, boosted).predictions["probability_yes"]
    assert gap == middle


def test_what_training_never_saw_is_counted_and_told() -> None:
    """A sentence per column: how many, and which; also for texts too many to be listed."""
    assert sorted(predicted(never_seen()).notes) == [
        "colour: 1 missing value kept: the schema says nothing of missing ones",
        "colour: 3 values kept against isin(['blue', 'green', 'red']): 'pink' (2), 'grey' (1)",
        "count: 1 missing value kept: the schema says nothing of missing ones",
        "flag: 1 missing value kept: the schema says nothing of missing ones",
        "name: 1 row with a category that training did not see: 'nobody' (1)",
        "size: 1 missing value kept: the schema says nothing of missing ones",
    ]
    assert predicted(seen(50).drop(columns="late")).notes == ()


@pytest.mark.parametrize(
    ("validation", "rejected"),
    [
        ({"unseen_categories": "reject"}, [0, 1, 2]),
        ({"unseen_missing_values": "reject"}, [4, 5]),
        ({"unseen_categories": "reject", "unseen_missing_values": "reject"}, [0, 1, 2, 4, 5]),
    ],
)
def test_the_yaml_may_reject_what_was_never_seen(
    validation: dict[str, str], rejected: list[int]
) -> None:
    """`reject` under `validation` goes with the model and keeps such rows from a prediction."""
    assert predicted(never_seen(), **validation).rejected.index.tolist() == rejected


def test_what_a_schema_says_is_a_rule() -> None:
    """A list without raise_warning and `nullable: false` reject, unless the YAML allows it."""
    rules = "columns: {colour: {isin: [red, green, blue]}, size: {nullable: false}}"
    assert predicted(never_seen(), schema=rules).rejected.index.tolist() == [0, 1, 2, 4]
    allowed = predicted(never_seen(), schema=rules, unseen_categories="allow")
    assert allowed.rejected.index.tolist() == [4]
    with pytest.raises(TooManyRejectedRows):
        predicted(never_seen().head(3), schema=rules)


def test_a_whole_number_is_still_one_beside_a_gap() -> None:
    """A gap makes no room for halves: 1.5 in a column of whole numbers is rejected as before."""
    rows = never_seen().assign(count=[1.5, 2, 3, 4, None, 6])
    assert predicted(rows).rejected.index.tolist() == [0]
