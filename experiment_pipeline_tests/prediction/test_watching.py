"""The promise, watched: labels that come later are joined by id, count once, and are compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upath import UPath

import experiment_pipeline as ep
from experiment_pipeline.errors import EntryCorrupt, InvalidModel, UnknownRun, UnusableTable
from experiment_pipeline.storage.files import list_names, read_bytes
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.archive import reindex
from experiment_pipeline_tests.prediction import promised


@pytest.fixture(autouse=True)
def published(storage: Path) -> Path:
    """A storage with a version that promises a ROC AUC of .8."""
    promised.publish()
    return storage


def test_labels_that_agree_with_the_promise_raise_no_alarm() -> None:
    """The score stands beside the promise and the baseline, over as many days as there are."""
    predictions, labels = promised.days(0, 20, np.random.default_rng(2))
    found = ep.watch("flights", predictions, labels, ids="flight", time="day")
    assert (found.version, found.rows, found.new_rows, found.days) == ("v0001", 800, 800, 20)
    assert found.low < 0.8 < found.high
    assert found.promise == pytest.approx(0.8, abs=0.03)
    assert (found.baseline, found.below, found.since) == (0.5, False, None)
    assert "no evidence that the promise is broken" in str(found)
