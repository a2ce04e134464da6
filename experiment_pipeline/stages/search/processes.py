"""Fits in processes of their own, for estimators that hold Python's global lock.

Threads share the tables and cost nothing to start, but an estimator written in Python lets only
one of them run. joblib starts processes once per run and maps the tables into them: there is no
copy per worker. Which fits go here is decided in `sweep.py`. In: a function that trains one
configuration, and configurations. Out: what it returns, as it is done; the same as in threads.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import cache

import joblib
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.stages.search.brake import Brake
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import FailedConfiguration, TrainedModel

# Idle processes wait so long for the next rung or round, and then give their memory back.
IDLE_SECONDS = 20
SECONDS_BETWEEN_LOOKS = 1.0
Outcome = TrainedModel | FailedConfiguration
Train = Callable[[Configuration], Outcome]


def in_processes(
    train: Train, configurations: Sequence[Configuration], workers: int, brake: Brake | None
) -> Generator[Outcome, None, None]:
    """Train configurations in processes, and yield each when it is done.

    Args:
        train: trains one configuration; it and what it holds are pickled, large arrays mapped.
        configurations: in the order in which they are to start.
        workers: processes, one fit each.
        brake: as in `train_configurations`; a failure counts once its outcome was taken.

    Raises:
        TrainingError: a process was killed.
    """
    allowed = (one for one in configurations if brake is None or brake.may_start())
    # Fits are handed out one by one as they end, or the brake would come too late.
    pool = joblib.Parallel(
        min(workers, len(configurations)),
        backend="loky",
        return_as="generator_unordered",
        pre_dispatch=workers,
        batch_size=1,
        idle_worker_timeout=IDLE_SECONDS,
    )
    try:
        with closing(
            pool(joblib.delayed(_alone)(train, one, os.getpid()) for one in allowed)
        ) as outcomes:
            for outcome in outcomes:
                if brake is not None:
                    failed = isinstance(outcome, FailedConfiguration) and not outcome.says_nothing
                    brake.saw(failure=failed)
                yield outcome
    except BrokenProcessPool as broken:
        raise errors.TrainingError(
            f"one of {workers} processes that fit imported estimators",
            "it was killed; systems do so when memory runs out",
            "write fewer workers, or take the algorithm out of `search`",
        ) from broken


def _alone(train: Train, configuration: Configuration, parent: int) -> Outcome:
    """Train in this process with one thread, as in the pool of threads."""
    # Where the system cannot start processes joblib calls this in the one that is at work.
    if os.getpid() != parent:
        _end_with(parent)
    with threadpool_limits(limits=1):
        return train(configuration)


@cache
def _end_with(parent: int) -> None:
    """Let this process end with the one that started it, which does not tell when it is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, name="watch", daemon=True).start()
