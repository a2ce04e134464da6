"""A finished search of any size with made-up scores, costs and rungs: what its page is
tried on.
"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.stages.search.conclusions import (
    NOT_STARTED,
    Conclusion,
    SearchResults,
    Step,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    failure_of,
    search_of,
    spec_of,
    stopped,
)

FRACTIONS = (0.0625, 0.25, 1.0)
BASELINE = 0.5
PHASES = {"before the search": 4.5, "fits": 18.0}  # seconds


def search_spec(count: int) -> ExperimentSpec:
    """Return an experiment that declares so many configurations: two algorithms and a
    baseline.
    """
    linear = count // 8
    searched = [
        {"algorithm": "dummy"},
        {
            "algorithm": "lightgbm",
            "method": "random",
            "draws": count - linear - 1,
            "hyperparameters": {
                "n_estimators": 200,
                "learning_rate": {"low": 0.01, "high": 0.3, "scale": "log"},
                "num_leaves": {"low": 4, "high": 128, "scale": "log"},
                "feature_fraction": {"low": 0.4, "high": 1.0},
                "max_depth": [-1, 4, 8, None],
            },
        },
        {
            "algorithm": "linear",
            "method": "random",
            "draws": linear,
            "hyperparameters": {"C": {"low": 1e-4, "high": 100, "scale": "log"}},
        },
    ]
    return spec_of(search=searched, ensemble="off")


def finished_search(count: int) -> SearchShown:
    """Return a search of so many configurations; a few failed, the last two were not
    started.
    """
    spec, generator = search_spec(count), np.random.default_rng(0)
    declared = {
        configuration.key: configuration for configuration in configurations(spec)
    }
    noises = [_noise(configuration, generator) for configuration in declared.values()]
    search = search_of(spec, noises)
    results = {result.key: result for result in search.results}
    *keys, second_last, last = declared
    waiting = [second_last, last]
    failed = keys[3 :: max(count // 6, 9)]
    fitted = sorted(
        set(keys).difference(failed), key=lambda key: -results[key].test_score
    )
    paths = {}
    for place, key in enumerate(fitted):
        paths[key] = tuple(
            _step(fraction, results[key].test_score, generator)
            for fraction, entered in zip(FRACTIONS, _entered(count), strict=True)
            if place < entered
        )
    paths["dummy"] = (Step(1.0, results["dummy"].test_score, BASELINE, 0.01),)
    full = []
    unranked = [failure_of(key, "no such tree <b>at all</b>") for key in failed]
    for key, path in paths.items():
        result = replace(
            results[key],
            test_score=path[-1].test_score,
            train_score=path[-1].train_score,
            fit_cpu_seconds=path[-1].fit_cpu_seconds,
            fingerprint=f"f-{key}",
        )
        if path[-1].fraction == 1:
            full.append(result)
        else:
            reason = f"not among the best at rung {len(path)} of {len(FRACTIONS)}"
            unranked.append(stopped(result, reason, path[-1].fraction))
    unranked += [
        Conclusion(key, "linear", NOT_STARTED, "the budget was spent")
        for key in waiting
    ]
    shown = SearchResults(pd.DataFrame(), spec.metric, {}, paths, PHASES, 7.5)
    return SearchShown(search.rank(*unranked, results=full), declared, shown)


def _entered(count: int) -> tuple[int, int, int]:
    """How many configurations each rung has."""
    return count, max(count // 3, 6), max(count // 8, 5)


def _noise(configuration: Configuration, generator: np.random.Generator) -> float:
    """How much of the truth a configuration misses."""
    settings = configuration.hyperparameters
    luck = generator.uniform(0, 0.1)
    if configuration.algorithm == "dummy":
        return 500
    if configuration.algorithm == "linear":
        return 1.6 + 0.1 * abs(math.log10(settings["C"])) + luck
    distance = abs(math.log(settings["learning_rate"] / 0.05))
    return 1 + 0.2 * distance + 0.002 * settings["num_leaves"] + luck


def _step(fraction: float, score: float, generator: np.random.Generator) -> Step:
    loss = 0.05 * (1 / fraction) ** 0.3 - 0.05
    test = score - loss / 4 + generator.normal(0, 0.004) * (fraction < 1)
    cost = 12 * fraction * math.exp(generator.normal(0, 0.8))
    return Step(fraction, test, min(test + 0.03 + loss, 0.999), cost)
