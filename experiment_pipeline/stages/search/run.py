"""A search, the way the experiment says: rung after rung.

What is known is asked for and not trained again; storing is the shell's. The two ways are in
`halving.py` and `rounds.py`. In: configurations, sets, the experiment, a way to ask for known
results, a clock. Out: events, and exactly one conclusion per configuration.
"""

from collections.abc import Callable, Generator, Sequence

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.brake import Brake
from experiment_pipeline.stages.search.conclusions import Conclusion, Event
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.halving import HalvingSearch
from experiment_pipeline.stages.search.scoring import Known
from experiment_pipeline.stages.search.sets import TrainingSets


def search(
    configurations: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    known: Known,
    workers: int,
    now: Callable[[], float],
) -> Generator[Event, None, None]:
    """Search the best of the configurations that are asked for.

    A model is yielded (`Fitted`) before the conclusion that rests on it. One configuration alone
    is trained on all rows: somebody wants just this one.

    Args:
        configurations: those asked for.
        sets: the full train and test set.
        spec: its halving, budget, metric and seed are used.
        known: what earlier fits have left.
        workers: fits at a time.
        now: seconds of any clock that only goes forward.

    Closing the generator cancels the fits that wait.
    """
    run = HalvingSearch(sets, spec, known, workers, Brake(spec.budget, now))
    yield from run.notes()
    yield from run.events(configurations, alone=len(configurations) == 1)


def settled(
    configurations: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec, known: Known
) -> tuple[Conclusion, ...]:
    """Return what is known of configurations that this run was not asked for; nothing is fitted.

    The search is played again on what exists: who was stopped early before, is so again.

    Args:
        configurations: all that are declared, since they competed with one another.
        sets: the full sets.
        spec: the experiment.
        known: as of `search`.
    """
    brake = Brake(spec.budget, lambda: 0.0, reason="not asked for in this run")
    run = HalvingSearch(sets, spec, known, 1, brake)
    events = run.events(configurations, alone=False)
    return tuple(event for event in events if isinstance(event, Conclusion))
