"""A table of which one class is too rare, from the raw table to the card of the model."""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline_tests.runs import run
from experiment_pipeline_tests.stages.data_analysis import tables

pytestmark = [pytest.mark.usefixtures("storage"), pytest.mark.slow]

SCHEMA = """\
columns:
  parents: {dtype: str}
  finance: {dtype: str}
  health: {dtype: str}
  size: {dtype: int64}
  y: {dtype: str, isin: [priority, not_recom, very_recom, recommend]}
"""


def nursery() -> pd.DataFrame:
    """Every combination 20 times, as in the nursery table: of one class there are two rows."""
    values = ["usual", "pretentious"], ["fine", "poor"], ["good", "bad"], [1, 2, 3]
    frame = pd.DataFrame(
        list(product(*values)) * 20, columns=["parents", "finance", "health", "size"]
    )
    y = frame["parents"].map({"usual": "priority", "pretentious": "very_recom"})
    y = y.mask(frame["health"] == "bad", "not_recom")
    y[frame.index % 7 == 0] = "priority"
    y.iloc[[3, 301]] = "recommend"
    return frame.assign(y=y)


def experiment(folder: Path, **validation: object) -> ExperimentSpec:
    """The experiment on a file of it."""
    file = folder / "nursery.csv"
    nursery().to_csv(file, index=False)
    search = [{"algorithm": "linear", "hyperparameters": {"C": 1.0}}]
    return tables.experiment(
        **tables.MULTICLASS, name="nursery", data=str(file), search=search, validation=validation
    )


def test_a_class_of_two_rows_is_set_aside_and_said_everywhere(tmp_path: Path) -> None:
    """The run exports a model of the other classes."""
    said = "class recommend (2 rows) cannot be predicted"
    first = run(experiment(tmp_path), SCHEMA)
    assert first.success, first.failure
    assert first.metadata("data_analysis")["verdict"] == "go with conditions"
    assert first.metadata("rejected_rows")["dagster/row_count"] == 2
    assert first.metadata("validated_data")["rejection_rate"] == 0
    for stage, key in (
        ("validated_data", "set_aside"),
        ("leaderboard", "notes"),
        ("validation_report", "judgement"),
        ("exported_model", "card"),
    ):
        assert said in str(first.metadata(stage)[key]).replace("\\", ""), stage
    card = str(first.metadata("exported_model")["card"])
    assert "very_recom" in card
    assert card.count("recommend (2 rows)") == 1
    assert all(first.checks()[check] for check in ("rows_conserved", "sets_are_disjoint"))


def test_the_yaml_decides_that_the_run_stops(tmp_path: Path) -> None:
    """With `rare_classes: stop` the data analysis says no go, and names the class."""
    stopped = run(experiment(tmp_path, rare_classes="stop"), SCHEMA)
    assert not stopped.success
    assert "'recommend'" in stopped.failure
