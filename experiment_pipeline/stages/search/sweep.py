"""The sweep: every configuration trained on this machine, as many at a time as there are workers.

One thread per fit on shared tables: LightGBM and scikit-learn's trees and linear models release the GIL.
Imported estimators may not: where the first fits of one spend their time waiting for the GIL, its others
go to processes of joblib, which map the tables. The outcome does not depend on the number of workers or
on the order of the configurations.
"""

import ast
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from functools import cache, partial, wraps
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import in_order, seconds_of
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.fitting import fit_configuration, share_work
from experiment_pipeline.stages.search.learners.estimators import is_own_estimator
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    ModelResult,
    Outcome,
    TrainedModel,
)
from experiment_pipeline.stages.search.shared_work import SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets, without_rows
from experiment_pipeline.statistics.importance import one_openmp_thread

# Processes, which take two seconds to start, are worth it for so many seconds of fits.
WORTH_PROCESSES = 10.0
# CPU seconds over wall seconds of a fit beside others of its kind: near 1 if it releases the GIL, else
# near one over the number of workers.
RELEASES_THE_GIL = 0.8
# Errors of the machine and not of an estimator; they may be gone a minute later.
OF_THE_MACHINE = (SystemError, MemoryError, OSError, errors.StorageUnreachable)
# Idle processes wait so long for the next rung, and then end.
IDLE_SECONDS = 20
SECONDS_BETWEEN_LOOKS = 1.0
# 3.12 collects no garbage in the midst of a parse.
FIRST_SAFE = (3, 11, 8)
Train = Callable[[Configuration], Outcome]


def train_configurations(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    workers: int,
    brake: Brake | None = None,
    *,
    longest_first: bool = True,
    share: Callable[
        [Sequence[Configuration], TrainingSets, ExperimentSpec], SharedWork
    ] = share_work,
) -> Generator[Outcome, None, None]:
    """Train configurations as `FitEngine.train` says, `workers` at a time: one per core is right.

    `share` prepares what their fits share. Fits that run in threads end before the generator is closed.
    """
    ordered = in_order(configurations, sets, longest_first=longest_first)
    if not ordered:
        return
    parse_one_at_a_time()
    # BLAS threads are counted per process, those of OpenMP per thread that starts them.
    with threadpool_limits(limits=1, user_api="blas"):
        work = share(ordered, sets, spec)
        train = partial(trained_or_failed, work=work, sets=sets, spec=spec)
        # Where there may be no time for all, the order is what counts.
        tried = _to_be_tried(ordered, workers) if longest_first else []
        by_key = {one.key: one for one in ordered}

        def by_itself(first: FailedConfiguration) -> Generator[Outcome, None, None]:
            with threadpool_limits(limits=1):
                second = train(by_key[first.key])
            if brake is not None:
                brake.saw(failure=isinstance(second, FailedConfiguration))
            yield second

        firsts = _in_pools(train, ordered, tried, sets, workers, brake)
        yield from with_second_attempts(firsts, by_itself)


def _in_pools(
    train: partial[Outcome],
    ordered: Sequence[Configuration],
    tried: Sequence[Configuration],
    sets: TrainingSets,
    workers: int,
    brake: Brake | None,
) -> Generator[Outcome, None, None]:
    """Train each once: those to be tried first in threads, the others in threads or processes."""
    found = list[ModelResult]()
    with closing(_in_threads(train, tried, workers, brake)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, TrainedModel):
                found.append(outcome.result)
            yield outcome
    keys = {one.key for one in tried}
    left = [one for one in ordered if one.key not in keys]
    held = _held_back(found, left, len(sets.test), workers)
    if apart := [one for one in left if one.algorithm in held]:
        train_apart = partial(train, sets=without_rows(sets))
        yield from in_processes(train_apart, apart, workers, brake)
    others = [one for one in left if one.algorithm not in held]
    yield from _in_threads(train, others, workers, brake)


def _to_be_tried(ordered: Sequence[Configuration], workers: int) -> list[Configuration]:
    """The first of each imported estimator that has more than there are workers."""
    imported = [one for one in ordered if is_own_estimator(one.algorithm)]
    counts = Counter(one.algorithm for one in imported)
    places = Counter[str]()
    tried = []
    for one in imported:
        places[one.algorithm] += 1
        if 1 < workers < counts[one.algorithm] and places[one.algorithm] <= workers:
            tried.append(one)
    return tried


def _held_back(
    tried: Sequence[ModelResult], left: Sequence[Configuration], n_test: int, workers: int
) -> set[str]:
    """The algorithms that hold the GIL and have enough fits left to be worth processes."""
    waiting = Counter(one.algorithm for one in left)
    held = set()
    for algorithm in {one.algorithm for one in tried}:
        fits = [one for one in tried if one.algorithm == algorithm]
        wall = sum(seconds_of(one, n_test) for one in fits)
        at_work = sum(one.fit_cpu_seconds for one in fits) / sum(o.fit_wall_seconds for o in fits)
        to_come = wall / len(fits) * waiting[algorithm] / workers
        if at_work < RELEASES_THE_GIL and to_come >= WORTH_PROCESSES:
            held.add(algorithm)
    return held


def _in_threads(
    train: Train, configurations: Sequence[Configuration], workers: int, brake: Brake | None
) -> Generator[Outcome, None, None]:
    pool = ThreadPoolExecutor(workers, "fit", initializer=one_openmp_thread)
    try:
        # No name for the futures: each is forgotten, with its model, once it is yielded.
        for future in as_completed(
            [pool.submit(_train_unless, brake, one, train) for one in configurations]
        ):
            if (outcome := future.result()) is not None:
                yield outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _train_unless(brake: Brake | None, one: Configuration, train: Train) -> Outcome | None:
    """Train, unless the brake is on: None."""
    if brake is None:
        return train(one)
    if not brake.may_start(one.key):
        return None
    outcome = train(one)
    brake.saw(failure=isinstance(outcome, FailedConfiguration) and not outcome.says_nothing)
    return outcome


def with_second_attempts(
    firsts: Generator[Outcome, None, None],
    by_itself: Callable[[FailedConfiguration], Generator[Outcome, None, None]],
) -> Generator[Outcome, None, None]:
    """Yield outcomes; what failed because of the machine is tried again after all others.

    Also beyond a budget: it was started within.
    """
    disturbed = list[FailedConfiguration]()
    with closing(firsts):
        for outcome in firsts:
            if isinstance(outcome, FailedConfiguration) and outcome.says_nothing:
                disturbed.append(outcome)
            else:
                yield outcome
    for first in disturbed:
        with closing(by_itself(first)) as seconds:
            for second in seconds:
                yield _after_a_first(first, second)


def _after_a_first(first: FailedConfiguration, second: Outcome) -> Outcome:
    """Note the first attempt on the outcome of the second."""
    before = f"a first attempt ended with {first.error_type}: {first.reason}"
    if isinstance(second, FailedConfiguration):
        reason = f"{second.reason} (in a second attempt by itself; {before})"
        return replace(second, reason=reason)
    note = f"{before}; the machine caused that, so it was trained again, by itself"
    return replace(second, result=replace(second.result, notes=(*second.result.notes, note)))


def trained_or_failed(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: ExperimentSpec
) -> Outcome:
    """Fit a configuration in this thread; an error becomes a FailedConfiguration."""
    try:
        return fit_configuration(configuration, work, sets, spec)
    # Estimators, users' own among them, raise anything, and one must not end a sweep.
    except Exception as error:  # noqa: BLE001
        return failure_of(configuration, fingerprint(configuration, sets, spec), error)


def failure_of(one: Configuration, print_: str, error: Exception) -> FailedConfiguration:
    """Return the failure for an error that is being handled; `print_` is the fingerprint."""
    what = one.key, print_, type(error).__name__, str(error), traceback.format_exc()
    return FailedConfiguration(*what, says_nothing=isinstance(error, OF_THE_MACHINE))


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
    allowed = (one for one in configurations if brake is None or brake.may_start(one.key))
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
    """End this process when the one that started it is gone, which may have been killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, name="watch", daemon=True).start()


@cache
def parse_one_at_a_time() -> None:
    """Let the threads of this process parse one after the other, from now on.

    Before 3.11.8 CPython counted the depth of `ast.parse` for all threads in one place (gh-106905), so a
    parse in two threads could end with `SystemError: AST constructor recursion depth mismatch`. Fits
    parse: numpy reads the header of an array with `ast.literal_eval`, pandas its `eval`.
    """
    if sys.version_info >= FIRST_SAFE:
        return
    parse = ast.parse
    # A finalizer may parse in the midst of its own thread's parse: it must not wait for itself.
    turn = threading.RLock()

    @wraps(parse)
    def parse_in_turn(*args: Any, **kwargs: Any) -> Any:
        with turn:
            return parse(*args, **kwargs)

    ast.parse = parse_in_turn
