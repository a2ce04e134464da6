"""The search with halving against the same search without, and against scikit-learn's searches.

In: how many pairs. Out: their ratios, and by how much the winners differ on the validation rows.
"""

import operator
from pathlib import Path
from typing import Any

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import Conclusion
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench import flights, scikit
from experiment_pipeline_tests.bench.pairs import Ratio, compare
from experiment_pipeline_tests.bench.quality import Quality, compare_winners
from experiment_pipeline_tests.results import events_of


def figures(pairs: int, folder: Path) -> tuple[list[Ratio], list[Quality]]:
    """60 LightGBM configurations of the flights, without a store: wall times, and the winners."""
    with_halving = flights.flights_spec(search=flights.SEARCH)
    without = flights.flights_spec(search=flights.SEARCH, halving=False)
    cut = flights.flights_cut(without)
    found: dict[str, Any] = {}

    def ours() -> None:
        found["ours"] = winner(with_halving, cut.sets)

    def full() -> None:
        found["full"] = winner(without, cut.sets)

    def halved() -> None:
        found["halved"] = their_halving()

    their_grid = scikit.grid_search(without, cut.sets, folder)
    their_halving = scikit.halving_search(without, cut.sets, folder)
    grid = "scikit-learn GridSearchCV(n_jobs=-1)"
    random = "scikit-learn HalvingRandomSearchCV(n_jobs=-1)"
    begin = "search with halving, 60 configurations"
    ratios = [
        compare(f"{begin}: the same search without", ours, full, pairs=pairs, goal=0.5),
        compare(f"{begin}: {grid}", ours, their_grid, pairs=pairs, goal=0.4),
        compare(f"{begin}: {random}", ours, halved, pairs=pairs, goal=0.8),
    ]
    theirs = scikit.winner(found["halved"], without)
    qualities = [
        compare_winners("the same search without", found["ours"], found["full"], cut),
        compare_winners(random, found["ours"], theirs, cut),
    ]
    return ratios, qualities


def winner(spec: ExperimentSpec, sets: TrainingSets) -> Configuration:
    """Run the search; the configuration with the best score on all test rows."""
    sign = METRICS[spec.metric].sign
    scored = [
        (sign * event.result.test_score, event.result.configuration)
        for event in events_of(spec, sets)
        if isinstance(event, Conclusion) and event.result and event.fraction == 1
    ]
    return max(scored, key=operator.itemgetter(0))[1]
