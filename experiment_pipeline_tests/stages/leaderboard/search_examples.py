"""A finished search of any size with made-up scores, costs and rungs: what its page is
tried on.
"""

import math
from dataclasses import replace

import numpy as np

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.stages.search.conclusions import NOT_STARTED, Conclusion, Step
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
    declared = {one.key: one for one in configurations(spec)}
    search = search_of(spec, [_noise(one, generator) for one in declared.values()])
    results = {one.key: one for one in search.results}
    best_first = sorted(declared, key=lambda key: results[key].test_score, reverse=True)
    waiting = set(list(declared)[-2:])
    failed = set(list(declared)[3 :: max(count // 6, 9)]) - waiting
    climbing = [key for key in best_first if key not in failed | waiting]
    kept = dict(
        zip(FRACTIONS, (count, max(count // 3, 6), max(count // 8, 5)), strict=True)
    )
    paths = {
        key: tuple(
            _step(fraction, results[key].test_score, generator)
            for fraction in FRACTIONS
            if place < kept[fraction]
        )
        for place, key in enumerate(climbing)
    }
    paths["dummy"] = (Step(1.0, results["dummy"].test_score, BASELINE, 0.01),)
    full, others = (
        [],
        [failure_of(key, "no such tree <b>at all</b>") for key in sorted(failed)],
    )
    for key, path in paths.items():
        last, where = path[-1], f"rung {len(path)} of {len(FRACTIONS)}"
        costs = {
            "train_score": last.train_score,
            "fit_cpu_seconds": last.fit_cpu_seconds,
        }
        result = replace(
            results[key], test_score=last.test_score, fingerprint=f"f-{key}", **costs
        )
        if last.fraction == 1:
            full.append(result)
        else:
            others.append(
                stopped(result, f"not among the best at {where}", last.fraction)
            )
    others += [
        Conclusion(key, "linear", NOT_STARTED, "the budget was spent")
        for key in waiting
    ]
    return SearchShown(search.rank(*others, results=full), declared, paths)


def _noise(one: Configuration, generator: np.random.Generator) -> float:
    """How much of the truth a configuration misses."""
    given = one.hyperparameters
    if one.algorithm == "dummy":
        return 500
    if one.algorithm == "linear":
        return 1.6 + 0.1 * abs(math.log10(given["C"])) + generator.uniform(0, 0.1)
    away = abs(math.log(given["learning_rate"] / 0.05))
    return 1 + 0.2 * away + 0.002 * given["num_leaves"] + generator.uniform(0, 0.1)


def _step(fraction: float, score: float, generator: np.random.Generator) -> Step:
    loss = 0.05 * (1 / fraction) ** 0.3 - 0.05
    test = score - loss / 4 + generator.normal(0, 0.004) * (fraction < 1)
    cost = 12 * fraction * math.exp(generator.normal(0, 0.8))
    return Step(fraction, test, min(test + 0.03 + loss, 0.999), cost)
