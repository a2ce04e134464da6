"""The whole search in one call: train, store, report each step, and sum up what came of it."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Fitted,
    SearchNote,
    SearchResults,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import SearchCost, search_cost
from experiment_pipeline.stages.search.engines.engine import FitEngine
from experiment_pipeline.stages.search.halving import search, settled
from experiment_pipeline.stages.search.progress import Progress, drawing
from experiment_pipeline.stages.search.results import ModelResult, ModelStore
from experiment_pipeline.stages.search.scoring import interval_on_test
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.processes import peak_memory_bytes

Listener = Callable[[SearchNote | Conclusion], object]


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a search has found.

    Attributes:
        results: a row for each declared configuration.
        cost: of the fits of this run.
        others: conclusions of the declared configurations that were not asked for.
    """

    results: SearchResults
    cost: SearchCost
    others: Sequence[Conclusion]


def run_search(
    declared: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    store: ModelStore,
    engine: FitEngine,
    *,
    asked_for: Sequence[Configuration] | None = None,
    listen: Listener = lambda _: None,
) -> SearchOutcome:
    """Train what is not stored yet, store each model at once, and conclude every configuration.

    Args:
        declared: all configurations of the experiment.
        sets: the full train and test set.
        spec: of the search.
        store: what it holds is reused.
        engine: trains what is missing.
        asked_for: configurations to train; None: all. Of the others the stored results are reported.
        listen: is given each note, a line for a log, and each conclusion, once its model is stored.

    Raises:
        AllConfigurationsFailed: there is no model at all.
        KeyboardInterrupt: or whatever else ended the search; its text says how far it was.
    """
    asked_for = declared if asked_for is None else asked_for

    def interval(result: ModelResult, scored_on: TrainingSets) -> Interval:
        return interval_on_test(store.predictions(result.fingerprint).test, scored_on, spec)

    progress, started = Progress(spec.metric, interval), time.perf_counter()
    try:
        with (
            drawing() as draw,
            closing(search(asked_for, sets, spec, store, engine, time.perf_counter)) as events,
        ):
            for event in events:
                if isinstance(event, Fitted):
                    store.put(event.model)
                for note in progress.notes(event, time.perf_counter() - started):
                    listen(note)
                draw(progress)
                if isinstance(event, Conclusion):
                    listen(event)
    except BaseException as error:
        if not isinstance(error, Exception):  # an interruption
            error.args = (progress.cancelled,)
        raise
    for note in progress.end():
        listen(note)
    seconds = time.perf_counter() - started
    others = () if len(asked_for) == len(declared) else settled(declared, sets, spec, store)
    others = tuple(one for one in others if one.key not in progress.concluded)
    cost = search_cost(progress.fitted, seconds, engine.workers, peak_memory_bytes())
    concluded = [*others, *progress.concluded.values()]
    results = SearchResults.of(declared, concluded, spec.metric, sets.digests)
    return SearchOutcome(results, cost, others)
