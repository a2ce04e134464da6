"""kill -9 in each stage, and two runs at once: what is recorded, and that the next run
goes on.
"""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa
from upath import UPath

from experiment_pipeline.orchestration.executor import end_lost_runs
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.connection import VARIABLE, database
from experiment_pipeline_tests import runs, scenario

pytestmark = pytest.mark.slow

STAGES = ("search", "exported_model")
# The search is killed when a configuration is known, the others when they have begun.
COME_TO = """
    SELECT COUNT(*) FROM runs r WHERE status = 'running' AND stage = ? AND (stage <> 'search'
    OR EXISTS (SELECT 1 FROM configurations c WHERE c.run_id = r.run_id))
"""
SEARCH = [{"algorithm": "dummy"}, {"algorithm": "linear"}]


def run_to(environment: Mapping[str, str], url: str, stage: str | None) -> None:
    """Run the experiment in this process, and kill it when the database says that it
    got there.
    """
    os.environ.update(environment)
    file = environment[VARIABLE].removeprefix("sqlite:///")

    def look(_connection: sa.Connection) -> None:
        with closing(sqlite3.connect(file)) as other:
            (there,) = other.execute(COME_TO, [stage]).fetchone()
        if there:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(database(), "begin", look)
    assert runs.run(scenario.spec(url=url, search=SEARCH), scenario.SCHEMA).success


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Starts processes that begin with everything imported."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(
        ["experiment_pipeline_tests.runs", "lightgbm", "skops.io"]
    )
    return server


@pytest.fixture(scope="module")
def left(
    server: ForkServerContext, tmp_path_factory
) -> Iterator[dict[str, dict[str, Any]]]:
    """Stage → the newest run, once it was killed there and somebody has looked; "" → a
    whole run.
    """
    folder = tmp_path_factory.mktemp("killed")
    url = str(scenario.write_csv(folder / "visits.csv"))
    environment = {
        VARIABLE: f"sqlite:///{folder / 'memory.sqlite'}",
        STORAGE_VARIABLE: str(folder / "artifacts"),
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        found = {}
        for stage in (*STAGES, ""):
            process = server.Process(target=run_to, args=(environment, url, stage))
            process.start()
            process.join(600)
            assert process.exitcode == (-signal.SIGKILL if stage else 0), stage
            end_lost_runs(instance)
            found[stage] = dict(questions.run_of("clinic"))
        found["all"] = {
            "runs": questions.runs("clinic", all_columns=True),
            "versions": questions.versions("clinic"),
        }
        found["all"]["archived"] = len(
            [*(folder / "artifacts/clinic/runs").glob("*.json")]
        )
        yield found


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_says_where_and_when_it_ended(left, stage: str):
    """Whoever looks next marks it: killed, in which stage, what to do; it was not
    decided.
    """
    run = left[stage]
    assert (run["status"], run["stage"]) == ("killed", stage)
    assert run["started_at"] <= run["ended_at"] == run["seen_at"]
    assert "is gone: it was killed" in run["error"]
    assert run["fix"] == "Run it again: the models that it trained are reused."
    assert pd.isna(run["version"])


def test_the_run_after_all_of_them_is_whole(left):
    """It reuses what they had stored; its version is the only one, though not always
    the first number.
    """
    run, everything = left[""], left["all"]
    assert run["status"] == "accepted"
    assert left["exported_model"]["reused"] >= 1  # after the kill in training
    assert run["reused"] == len(SEARCH)
    assert list(everything["runs"]["status"]) == ["accepted", *["killed"] * len(STAGES)]
    assert list(everything["versions"]["version"]) == [run["version"]]
    assert everything["archived"] == len(STAGES) + 1


def run_once(environment: Mapping[str, str], folder: Path, name: str) -> None:
    """Run the experiment in this process, and write down how it failed, if it did."""
    os.environ.update(environment)
    done = runs.run(
        scenario.spec(url=str(folder / "visits.csv"), search=SEARCH), scenario.SCHEMA
    )
    (folder / name).write_text("" if done.success else done.failure)


def test_two_runs_at_once_end_in_right_results_or_one_clear_error(
    server, tmp_path, monkeypatch
):
    """Neither mixes the other's sets with its own; the registry gets one model."""
    scenario.write_csv(tmp_path / "visits.csv")
    monkeypatch.setenv(STORAGE_VARIABLE, str(tmp_path / "artifacts"))
    names = ("one", "other")
    given = ((dict(os.environ), tmp_path, name) for name in names)
    both = [server.Process(target=run_once, args=one) for one in given]
    for process in both:
        process.start()
    for process in both:
        process.join(600)
    failures = [(tmp_path / name).read_text() for name in names]
    assert "" in failures, failures
    assert all("fix:" in failure for failure in failures if failure), failures
    registry = Registry(UPath(tmp_path / "artifacts"), "clinic")
    models = [registry.model(version) for version in registry.versions()]
    assert [model.damage() for model in models] == [None] * len(models)
    assert len({model.manifest.identity for model in models}) == 1
