"""search_results accounts for every declared configuration, and tells what the search cost."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    SearchResults,
    Step,
    accounts,
    concluded,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.page import of_workers
from experiment_pipeline.stages.search.results import FailedConfiguration
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline_tests.results import model_result

CONFIGURATIONS = tuple(Configuration(key, "linear", "onehot", {}) for key in ("a", "b", "c", "d"))
FAILURE = FailedConfiguration("c", "f-c", "ValueError", "no such solver", "Traceback …")

STEP = Step(0.25, 0.6, math.inf, 0.5)

CONCLUDED = (
    Conclusion(
        *("d", "linear", "stopped early", "at rung 1"),
        *(model_result("d", 0.6), 0.25, True),
        path=(STEP,),
    ),
    Conclusion("a", "linear", "not started", "the budget was spent", needed_seconds=1.5),
    Conclusion.trained(
        replace(model_result("b", 0.7), notes=("attempt 2",)), reused=True, before=[STEP]
    ),
    Conclusion("c", "linear", "failed", "no such solver", fraction=1.0, failure=FAILURE),
)


@pytest.fixture
def found():
    return SearchResults.of(CONFIGURATIONS, CONCLUDED, "roc_auc", {"train": "t"})


def test_every_declared_configuration_has_a_row(found):
    """Declared = trained + stopped early + failed + not started; no score where no model is."""
    table = found.rows
    known = {"a": "not started", "b": "trained", "c": "failed", "d": "stopped early"}
    assert dict(zip(table["key"], table["status"], strict=True)) == known
    assert accounts(table) == {
        "declared": 4,
        "trained": 1,
        "stopped_early": 1,
        "failed": 1,
        "not_started": 1,
        "reused": 2,
    }
    assert table["test_score"].isna().tolist() == [True, False, True, False]
    assert table["notes"].tolist() == ["", "attempt 2", "", ""]
    assert table["rung"].isna().tolist() == [True, False, False, False]


def test_conclusions_come_back_from_the_file(found):
    """What the leaderboard ranks and lists is what the search concluded, rung by rung."""
    stored = {f"f-{one.key}": one.result for one in CONCLUDED if one.result}
    read = from_parquet(to_parquet(found), SearchResults)
    assert {one.key: one for one in concluded(read, stored)} == {one.key: one for one in CONCLUDED}


def test_a_slow_worker_of_a_cluster_stands_first():
    """With its fits, what was begun again, and how long it waited; nothing without a cluster."""
    fast, slow = ("tcp://a:1", 2.0, 1), ("tcp://b:1", 6.0, 2)
    fits = [fast, fast, slow, ("tcp://b:1", None, 2), (None, None, None)]
    rows = pd.DataFrame(fits, columns=["worker", "fit_wall_seconds", "attempts"])
    rows = rows.assign(read_seconds=0.1, queue_seconds=0.2)
    assert of_workers(rows).to_dict("list") == {
        "worker": ["tcp://b:1", "tcp://a:1"],
        "fits": ["1", "2"],
        "failed": ["1", "0"],
        "s per fit": ["6", "2"],
        "begun again": ["2", "0"],
        "s in the queue": ["0.4", "0.4"],
        "s to read": ["0.2", "0.2"],
    }
    assert of_workers(rows.drop(columns="worker")).empty
