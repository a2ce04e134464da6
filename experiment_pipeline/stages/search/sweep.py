"""The sweep: every configuration trained on this machine, as many at a time as there
are workers.

One thread per fit on shared tables; the outcome does not depend on the number of
workers.
"""

import ast
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from functools import cache, wraps
from typing import Any

from experiment_pipeline import errors
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.budget import Brake
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.fitting import fit_configuration, share_work
from experiment_pipeline.stages.search.learners import import_libraries
from experiment_pipeline.stages.search.learners.hyperparameters import estimated_cost
from experiment_pipeline.stages.search.results import FailedConfiguration, Outcome
from experiment_pipeline.stages.search.shared_work import SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.threads import one_openmp_thread, one_thread

# Errors of the machine and not of an estimator; they may be gone a minute later.
OF_THE_MACHINE = (SystemError, MemoryError, OSError, errors.StorageUnreachable)
# Since then `ast.parse` is safe in threads, see `parse_one_at_a_time` (3.12 never
# collects garbage in it).
FIRST_SAFE = (3, 11, 8)


def train_configurations(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    workers: int,
    brake: Brake | None = None,
) -> Generator[Outcome, None, None]:
    """Train as `FitEngine.train` says, `workers` at a time."""
    if not configurations:
        return
    import_libraries(
        (path for one in configurations for path in one.import_paths), spec.task
    )
    ordered = in_order(configurations, sets, brake)
    by_key = {configuration.key: configuration for configuration in ordered}
    parse_one_at_a_time()

    def fit(configuration: Configuration) -> Outcome | None:
        if brake is not None and not brake.may_start(configuration.key):
            return None
        return trained_or_failed(configuration, work, sets, spec)

    def in_threads() -> Generator[Outcome, None, None]:
        pool = ThreadPoolExecutor(workers, "fit", initializer=one_openmp_thread)
        try:
            # No name for the futures: each is forgotten, with its model, once it is
            # yielded.
            for future in as_completed(
                [pool.submit(fit, configuration) for configuration in ordered]
            ):
                if (outcome := future.result()) is not None:
                    yield outcome
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def by_itself(first: FailedConfiguration) -> Outcome:
        with one_thread():
            return trained_or_failed(by_key[first.key], work, sets, spec)

    # BLAS threads are counted per process, those of OpenMP per thread that starts them.
    with one_thread("blas"):
        work = share_work(ordered, sets, spec)
        yield from with_second_attempts(in_threads(), by_itself)


def with_second_attempts(
    firsts: Generator[Outcome, None, None],
    by_itself: Callable[[FailedConfiguration], Outcome],
) -> Generator[Outcome, None, None]:
    """Yield outcomes; what failed by the machine is tried again after all others."""
    disturbed = list[FailedConfiguration]()
    with closing(firsts):
        for outcome in firsts:
            if isinstance(outcome, FailedConfiguration) and outcome.is_of_the_machine:
                disturbed.append(outcome)
            else:
                yield outcome
    for first in disturbed:
        second = by_itself(first)
        before = f"a first attempt ended with {first.error_type}: {first.reason}"
        if isinstance(second, FailedConfiguration):
            reason = f"{second.reason} (in a second attempt by itself; {before})"
            yield replace(second, reason=reason)
        else:
            again = "the machine caused that, so it was trained again, by itself"
            notes = (*second.result.notes, f"{before}; {again}")
            yield replace(second, result=replace(second.result, notes=notes))


def trained_or_failed(
    configuration: Configuration,
    work: SharedWork,
    sets: TrainingSets,
    spec: ExperimentSpec,
) -> Outcome:
    """Fit a configuration in this thread; an error becomes a FailedConfiguration."""
    try:
        return fit_configuration(configuration, work, sets, spec)
    # Estimators, users' own among them, may raise anything, which must not end the
    # sweep.
    except Exception as error:  # noqa: BLE001
        return FailedConfiguration(
            configuration.key,
            fingerprint(configuration, sets, spec),
            type(error).__name__,
            str(error),
            traceback.format_exc(),
            is_of_the_machine=isinstance(error, OF_THE_MACHINE),
        )


def in_order(
    configurations: Sequence[Configuration], sets: TrainingSets, brake: Brake | None
) -> list[Configuration]:
    """Put the longest fits first, which keeps workers busy, unless time may run out."""
    if brake is not None and brake.is_timed:
        return list(configurations)
    rows, classes = len(sets.train), len(sets.classes or ())
    costs = {
        configuration.key: estimated_cost(configuration, rows, classes)
        for configuration in configurations
    }
    return sorted(
        configurations, key=lambda configuration: costs[configuration.key], reverse=True
    )


@cache
def parse_one_at_a_time() -> None:
    """Let the threads of this process parse one after the other, from now on.

    Before 3.11.8 CPython counted the depth of `ast.parse` for all threads in one place
    (gh-106905): two at a time could end with a SystemError. numpy and pandas parse
    while they fit.
    """
    if sys.version_info >= FIRST_SAFE:
        return
    parse = ast.parse
    # Re-entrant: a finalizer may parse while its own thread is parsing.
    turn = threading.RLock()

    @wraps(parse)
    def parse_in_turn(*args: Any, **kwargs: Any) -> Any:
        with turn:
            return parse(*args, **kwargs)

    ast.parse = parse_in_turn
