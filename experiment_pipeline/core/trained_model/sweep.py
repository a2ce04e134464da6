"""The sweep: every configuration trained, as many at a time as there are workers.

One thread per fit in a pool of threads, on shared work: LightGBM and scikit-learn's trees and
linear models release the GIL, and no table is copied. Imported estimators may not release it:
where threads turn out slow with them, the rest goes to `processes.py`. Storing and progress live
in the shell. In: configurations and sets. Out: what was trained and what failed, as it is done;
the same whatever the number of workers, the order of the configurations and their company.
"""

import traceback
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

from threadpoolctl import threadpool_limits

from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model.algorithms import is_own_estimator
from experiment_pipeline.core.trained_model.brake import Brake
from experiment_pipeline.core.trained_model.cost import estimated_cost, seconds_of
from experiment_pipeline.core.trained_model.fingerprints import fingerprint
from experiment_pipeline.core.trained_model.fit import fit_configuration
from experiment_pipeline.core.trained_model.processes import Outcome, Train, in_processes
from experiment_pipeline.core.trained_model.results import FailedConfiguration, TrainedModel
from experiment_pipeline.core.trained_model.sets import TrainingSets, without_rows
from experiment_pipeline.core.trained_model.shared_work import SharedWork, share_work

# Seconds of fits that are worth the start of processes, which takes two.
WORTH_PROCESSES = 10.0


def train_configurations(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    workers: int,
    brake: Brake | None = None,
    *,
    longest_first: bool = True,
) -> Generator[Outcome, None, None]:
    """Train configurations, and yield each when it is done.

    Args:
        configurations: what to train; not those the store has.
        sets: train and test set.
        spec: its seed and its metrics are used.
        workers: how many fits at a time, one thread each; one per core is right.
        brake: asked before each fit; where it says no, the configuration is left out, while
            those that are running end and are yielded.
        longest_first: which keeps every core busy to the end; else in the order given, for
            when there may be no time for all.

    Closing the generator cancels the fits that wait and lets the running ones end. What a
    configuration raises becomes a `FailedConfiguration`; an interruption propagates.
    """
    ordered = list(configurations)
    if longest_first:
        ordered.sort(key=lambda one: estimated_cost(one, len(sets.train)), reverse=True)
    if not ordered:
        return
    # BLAS threads are counted per process, those of OpenMP per thread that starts them.
    with threadpool_limits(limits=1, user_api="blas"):
        work = share_work(ordered, sets, spec)
        train = partial(_train, work=work, sets=sets, spec=spec)
        first, rest = _tried_first(ordered, workers)
        seconds: dict[str, float] = {}
        for outcome in _in_threads(train, first, workers, brake):
            if isinstance(outcome, TrainedModel):
                seconds[outcome.result.algorithm] = seconds_of(outcome.result, len(sets.test))
            yield outcome
        if sum(seconds.get(one.algorithm, 0.0) for one in rest) / workers < WORTH_PROCESSES:
            yield from _in_threads(train, rest, workers, brake)
        else:
            train = partial(_train, work=work.unbinned(), sets=without_rows(sets), spec=spec)
            yield from in_processes(train, rest, workers, brake)


def _tried_first(
    ordered: Sequence[Configuration], workers: int
) -> tuple[list[Configuration], list[Configuration]]:
    """Part what goes to threads from what may go to processes, once its cost is known."""
    tried = Counter[str]()
    first, rest = list[Configuration](), list[Configuration]()
    for one in ordered:
        tried[one.algorithm] += 1
        waits = workers > 1 and is_own_estimator(one.algorithm) and tried[one.algorithm] > workers
        (rest if waits else first).append(one)
    return first, rest


def _in_threads(
    train: Train, configurations: Sequence[Configuration], workers: int, brake: Brake | None
) -> Generator[Outcome, None, None]:
    pool = ThreadPoolExecutor(workers, "fit", initializer=_one_openmp_thread)
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
    if not brake.may_start():
        return None
    outcome = train(one)
    brake.saw(failure=isinstance(outcome, FailedConfiguration))
    return outcome


def _train(
    configuration: Configuration, work: SharedWork, sets: TrainingSets, spec: ExperimentSpec
) -> Outcome:
    try:
        return fit_configuration(configuration, work, sets, spec)
    # The one place that catches every Exception: estimators, users' own among them, raise
    # anything, and one configuration must not end a sweep. It is reported, never dropped.
    except Exception as error:  # noqa: BLE001
        return FailedConfiguration(
            key=configuration.key,
            fingerprint=fingerprint(configuration, sets, spec),
            error_type=type(error).__name__,
            reason=str(error),
            traceback=traceback.format_exc(),
        )


def _one_openmp_thread() -> None:
    """Limit a worker for as long as it lives: nothing is to be restored."""
    threadpool_limits(limits=1, user_api="openmp")
