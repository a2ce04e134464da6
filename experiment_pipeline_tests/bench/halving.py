"""The search with halving against the same search without, and what halving may have missed."""

import time

import joblib

from experiment_pipeline.core.configurations import configurations
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model import Conclusion, TrainingSets, search
from experiment_pipeline_tests.bench import flights
from experiment_pipeline_tests.bench.pairs import Ratio, compare


def ratios(pairs: int) -> list[Ratio]:
    """60 LightGBM configurations of the flights, without a store; the winners are printed."""
    with_halving = flights.flights_spec(search=flights.SEARCH)
    without = flights.flights_spec(search=flights.SEARCH, halving=False)
    sets = flights.flights_sets(without)
    best: dict[str, float] = {}
    ratio = compare(
        "search with halving: the same search without, 60 configurations",
        lambda: best.update(halving=best_score(with_halving, sets)),
        lambda: best.update(full=best_score(without, sets)),
        pairs=pairs,
        goal=0.5,
    )
    loss = best["full"] - best["halving"]
    print(f"  best score: {best['halving']:.5f} with halving, {loss:.5f} less than without")
    return [ratio]


def best_score(spec: ExperimentSpec, sets: TrainingSets) -> float:
    """Run the search; the best score on all test rows."""
    events = search(
        configurations(spec), sets, spec, lambda _: {}, joblib.cpu_count(), time.perf_counter
    )
    concluded = [event for event in events if isinstance(event, Conclusion)]
    scores = [one.result.test_score for one in concluded if one.result and one.fraction == 1]
    return max(scores)
