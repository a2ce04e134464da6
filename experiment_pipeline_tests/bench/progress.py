"""Whether the time left that a search says while it runs was true.

Searches are run once, here, for what each fit takes of a core; then their fits are handed out again
to two and to four workers, each ten times as long, as on more columns, so that there are lines
enough to judge. So nothing else on this machine blurs what is true. In: nothing. Out: figures.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiment_pipeline.stages.search.conclusions import Fitted, RungStarted
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.cost import seconds_of
from experiment_pipeline.stages.search.progress import Progress
from experiment_pipeline.stages.search.time_left import TimeLeft
from experiment_pipeline_tests.bench import flights, tables
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.tables import Cut
from experiment_pipeline_tests.results import events_of
from experiment_pipeline_tests.stages.search.simulated import Fit, Said, Step, lines

LONGER = 10.0
FACTOR = 2.0
# Per cent of the lines.
MOST_WRONG = 5.0
# Below, a line is not yet held to it.
PART_OF_THE_WAY = 0.1
HALVING = {"fractions": [0.0625, 0.25, 1.0], "keep": 0.25}
BOOSTING = {
    "algorithm": "lightgbm",
    "method": "random",
    "draws": 20,
    "seed": 1,
    "hyperparameters": {
        "learning_rate": {"low": 0.02, "high": 0.15, "scale": "log"},
        "num_leaves": {"low": 4, "high": 63, "scale": "log"},
        "min_child_samples": {"low": 20, "high": 200, "scale": "log"},
    },
}
FOREST = {
    "algorithm": "random_forest",
    "hyperparameters": {"min_samples_leaf": [5, 20, 80], "max_features": [0.3, 0.6]},
}
LOGISTIC = {"algorithm": "linear", "hyperparameters": {"C": [0.001, 0.01, 0.1, 1.0, 10.0]}}
RIDGE = {"algorithm": "linear", "hyperparameters": {"alpha": [0.1, 1.0, 10.0]}}
DUMMY = {"algorithm": "dummy"}
# Table → what is searched, and whether by halving.
SEARCHES: Mapping[str, tuple[Sequence[Mapping[str, object]], bool]] = {
    "crashes": ([BOOSTING, FOREST, LOGISTIC, DUMMY], True),
    "diamonds": ([BOOSTING, FOREST, RIDGE, DUMMY], True),
    "stops": ([{**BOOSTING, "draws": 40}, DUMMY], True),
    "loans": ([BOOSTING, LOGISTIC, DUMMY], True),
    "jobs": ([{**BOOSTING, "draws": 6}, FOREST, LOGISTIC, DUMMY], False),
    "wages": ([{**BOOSTING, "draws": 8}, FOREST, RIDGE, DUMMY], False),
}


def measurements() -> list[Measured]:
    """Per cent of lines whose time left was wrong by more than a factor of two, and the worst."""
    cuts = {"flights": flights.flights_cut(flights.flights_spec())}
    by_name = {one.name: one for one in tables.TABLES}
    for name, (searched, halved) in SEARCHES.items():
        changes = {"search": searched, "halving": HALVING if halved else False}
        cuts[name] = tables.cut(by_name[name], 1, **changes)
    figures, every = [], list[Said]()
    for name, cut in cuts.items():
        steps = _recorded(cut)
        said = [
            one
            for workers in (2, 4)
            for one in lines(steps, Progress(cut.spec.metric, TimeLeft(workers)), workers)
            if one.at >= PART_OF_THE_WAY * (one.at + one.truth)
        ]
        every += said
        figures.append(_judged(name, said))
    return [_judged("all", every, MOST_WRONG), *figures]


def _judged(name: str, said: Sequence[Said], goal: float | None = None) -> Measured:
    wrong = sum(not 1 / FACTOR <= one.ratio <= FACTOR for one in said)
    ratios = [one.ratio for one in said]
    what = f"{name}: {len(said)} lines, said / true from {min(ratios):.2f} to {max(ratios):.2f}"
    return Measured(f"{what}; wrong", 100 * wrong / len(said), "%", goal)


def _recorded(cut: Cut) -> list[Step]:
    """Run a search for what each of its fits takes of a core."""
    spec, begun = cut.spec, list[RungStarted]()
    fits, set_up, began = defaultdict[int, list[Fit]](list), dict[int, float](), 0.0
    by_key = {one.key: one for one in configurations(spec)}
    for event in events_of(spec, cut.sets):
        if isinstance(event, RungStarted):
            began = time.thread_time()
            begun.append(event)
        elif isinstance(event, Fitted):
            # This thread encodes and waits: what it took of a core until the first fit ended.
            number, result = event.rung.number, event.model.result
            set_up.setdefault(number, time.thread_time() - began)
            cpu = replace(result, fit_wall_seconds=result.fit_cpu_seconds)
            seconds = seconds_of(cpu, len(event.rung.sets.test)) * LONGER
            one = by_key[result.key]
            fits[number].append(Fit(one, seconds, result.test_score, result.rounds))
    return [
        Step(one.rung, tuple(fits[one.rung.number]), set_up[one.rung.number] * LONGER)
        for one in begun
    ]
