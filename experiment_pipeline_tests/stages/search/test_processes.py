"""Imported estimators in processes: the same answer, and nothing of them is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import TrainingError
from experiment_pipeline.stages.search import sweep
from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.results import FailedConfiguration, ModelResult
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline_tests.fresh_process import printed_by
from experiment_pipeline_tests.results import model_result
from experiment_pipeline_tests.stages.search import own_estimators
from experiment_pipeline_tests.stages.search.scenario import (
    OWN,
    experiment,
    one,
    train,
    training_sets,
)
from experiment_pipeline_tests.stages.search.test_sweep import essence

NAPS = """
import pathlib, sys, time
from experiment_pipeline.stages.search.sweep import in_processes


def nap(number):
    (pathlib.Path(sys.argv[1]) / str(number)).touch()
    time.sleep(60)


list(in_processes(nap, [1, 2, 3, 4], 2, None))
"""

HERE = """
from experiment_pipeline.stages.search.sweep import in_processes
print(*sorted(in_processes(abs, [-1, -2, -3], 2, None)))
"""
LARGEST_THAT_JOBLIB_SENDS = 2**20


@pytest.fixture
def slow_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every imported estimator held the lock, for long."""
    monkeypatch.setattr(sweep, "WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(sweep, "RELEASES_THE_GIL", 2.0)


IMPORTED = [
    one(f"{OWN}.Plain", strength=[0.1, 0.3, 1.0, 3.0, 10.0]),
    one("sklearn.ensemble.HistGradientBoostingClassifier", max_iter=[5, 6, 7, 8]),
    one("linear"),
]


def test_processes_give_what_threads_give(slow_threads: None) -> None:
    """The first fits of an imported estimator are threads', the others' results the same."""
    own_estimators.STARTED.clear()
    spec, sets = experiment(IMPORTED), training_sets()
    alone = essence(train(spec, sets, workers=1))
    assert len(own_estimators.STARTED) == 5
    assert essence(train(spec, sets, workers=2)) == alone
    assert len(own_estimators.STARTED) == 5 + 2


def test_large_tables_are_mapped_and_give_the_same_models(slow_threads: None) -> None:
    """Also of estimators that keep their table: stored, it is the same to the byte."""
    keep = [
        one(f"{OWN}.Keeps", strength=[0.1, 1.0, 10.0]),
        one("sklearn.neighbors.KNeighborsClassifier", n_neighbors=[3, 5, 7]),
    ]
    small, copies = training_sets(), 60
    many = pd.concat([small.train] * copies, ignore_index=True)
    sets = replace(small, train=many, early_stopping=np.tile(small.early_stopping, copies))
    assert many.shape[0] * len(small.features) * 8 > LARGEST_THAT_JOBLIB_SENDS
    spec = experiment(keep)
    alone, apart = (train(spec, sets, workers=workers) for workers in (1, 2))
    assert not [found for found in apart.values() if isinstance(found, FailedConfiguration)]
    assert essence(apart) == essence(alone)


def test_where_time_may_run_out_the_order_counts(slow_threads: None) -> None:
    """Nothing waits for others of its kind to be tried: threads take all, as they come."""
    own_estimators.STARTED.clear()
    spec = experiment([IMPORTED[0]])
    declared = configurations(spec)
    list(train_configurations(declared, training_sets(), spec, 2, longest_first=False))
    assert len(own_estimators.STARTED) == 5


def result(key: str, cpu_seconds: float, wall_seconds: float) -> ModelResult:
    """A fit of an imported estimator."""
    known = replace(model_result(key, 0.5), predict_seconds_per_row=0.0)
    return replace(known, algorithm=OWN, fit_cpu_seconds=cpu_seconds, fit_wall_seconds=wall_seconds)


def test_processes_are_for_long_fits_that_wait_for_the_lock() -> None:
    """Not for short ones, and not for those that are at work all the time."""
    left = [Configuration(f"k{number}", OWN, "onehot", {}) for number in range(10)]

    def held(cpu_seconds: float, wall_seconds: float) -> set[str]:
        fits = [result(key, cpu_seconds, wall_seconds) for key in "ab"]
        return sweep._held_back(fits, left, 100, workers=2)

    assert held(2.0, 4.0) == {OWN}
    assert held(4.0, 4.0) == set()
    assert held(0.2, 0.4) == set()


def test_without_processes_the_fits_are_made_here() -> None:
    """Some systems have no semaphores: joblib then works in the process that asks."""
    assert printed_by(HERE, JOBLIB_MULTIPROCESSING="0").split() == ["1", "2", "3"]


def test_a_failure_in_a_process_is_reported_like_any(slow_threads: None) -> None:
    """With its type, its reason and its stack; the others are trained."""
    smells = one(f"{OWN}.Raises", strength=[1.0, 2.0, 3.0, 4.0])
    outcomes = train(experiment([smells, IMPORTED[0]]), training_sets(), workers=2)
    failed = [found for found in outcomes.values() if isinstance(found, FailedConfiguration)]
    assert {(f.error_type, f.reason) for f in failed} == {
        ("ZeroDivisionError", "this table has a bad smell")
    }
    assert all("own_estimators.py" in found.traceback for found in failed)
    assert (len(failed), len(outcomes)) == (4, 9)


def test_a_killed_process_is_an_error_with_a_fix(slow_threads: None) -> None:
    """What the system kills for its memory does not hang the sweep."""
    killed = one(f"{OWN}.KilledElsewhere", strength=[1.0, 2.0, 3.0, 4.0], home=os.getpid())
    spec = experiment([killed])
    with pytest.raises(TrainingError, match="killed"):
        train(spec, training_sets(), workers=2)


def test_the_brake_acts_on_processes(slow_threads: None) -> None:
    """Once a limit is reached, no fit starts but those that were handed out before."""
    fails = one(f"{OWN}.Forgets", strength=[float(n) for n in range(1, 13)], pause=0.1)
    spec = experiment([fails], budget={"failures_in_a_row": 3})
    brake = Brake(spec.budget, time.monotonic)
    found = list(train_configurations(configurations(spec), training_sets(), spec, 2, brake))
    assert 3 <= len(found) <= 3 + 2 * 2


def test_an_estimator_cannot_change_its_input_in_a_process(slow_threads: None) -> None:
    """Arrays are as read-only there as they are here."""
    spec = experiment([one(f"{OWN}.Writes", strength=[1.0, 2.0, 3.0, 4.0])])
    outcomes = train(spec, training_sets(), workers=2)
    assert {type(found) for found in outcomes.values()} == {FailedConfiguration}


def test_a_killed_search_leaves_no_process_behind(tmp_path: Path) -> None:
    """Processes end with the one that started them, in the middle of a fit, too."""
    search = subprocess.Popen([sys.executable, "-c", NAPS, str(tmp_path)])
    wait_for(lambda: list(tmp_path.iterdir()), 2)
    started = [pid for pid in children(search.pid) if "LokyProcess" in command(pid)]
    assert len(started) == 2
    search.send_signal(signal.SIGKILL)
    search.wait()
    wait_for(lambda: [p for p in started if "LokyProcess" not in command(p)], 2)


def wait_for(found: Callable[[], list[object]], count: int) -> None:
    """Wait until so many are found."""
    deadline = time.monotonic() + 60
    while len(found()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> str:
    """The command of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
