"""Who comes first: the same ones in a larger search, under other keys and in any order."""

from collections.abc import Sequence
from typing import Any

from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.rungs import within_budget
from experiment_pipeline_tests.stages.search.scenario import experiment, one

RATES = [0.01, 0.02, 0.05, 0.1, 0.2]


def space(**more: Any) -> list[Configuration]:
    """LightGBM with five learning rates, and the baseline."""
    search = [one("dummy"), one("lightgbm", learning_rate=RATES, **more)]
    return configurations(experiment(search))


def rates(found: Sequence[Configuration]) -> list[float]:
    """Their learning rates."""
    return [c.hyperparameters["learning_rate"] for c in found if c.algorithm == "lightgbm"]


def chosen(configurations: Sequence[Configuration], seed: int, count: int = 2) -> set[float]:
    """The learning rates that a budget of configurations leaves."""
    spec = experiment([one("dummy")], seed=seed, budget={"configurations": count})
    return set(rates(within_budget(configurations, spec)))


def test_a_budget_draws_by_the_seed_and_not_by_keys() -> None:
    """Every key changes when one more hyperparameter is searched, and none decides."""
    before, after = space(n_estimators=[5]), space(n_estimators=[5], max_depth=[3, 4])
    assert not {c.key for c in before} & {c.key for c in after if c.algorithm == "lightgbm"}
    assert chosen(space(), 3) == chosen(space()[::-1], 3)
    assert len({frozenset(chosen(space(), seed)) for seed in range(8)}) > 1


def test_they_begin_in_the_order_declared_and_no_algorithm_waits_for_another() -> None:
    """Where there may be no time for all: the first of each, then the same share of each at any time."""
    spec = experiment(
        [
            one("lightgbm", learning_rate=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
            one("linear", C=[1.0, 2.0]),
            one("dummy"),
        ]
    )
    found = within_budget(configurations(spec), spec)
    assert rates(found) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    places = [place for place, c in enumerate(found) if c.algorithm == "linear"]
    assert places == [2, 6]
