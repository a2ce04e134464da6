"""The comparison with the rule in use today: simulations of a model and a rule that
both see the truth through noise of their own.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.special import expit

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.incumbent import (
    IncumbentAnswers,
    IncumbentComparison,
    compare_with_incumbent,
)
from experiment_pipeline.stages.validation_report.gates import incumbent_gate
from experiment_pipeline.stages.validation_report.judged_model import JudgedModel
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench.simulations import anew
from experiment_pipeline_tests.bench.tables import spec_of
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.validation_report.report_examples import judged

NOISE = 1.0  # of the model
POPULATION = 100_000  # rows that give the true difference
COSTS = {"false_positive": 1, "false_negative": 3}


@dataclass(frozen=True)
class World:
    """Rows with a target, a model's prediction and the rule's answer."""

    answers: str  # numbers, probabilities or classes; costs: classes, with costs
    rule_noise: float

    @property
    def spec(self) -> ExperimentSpec:
        """Of an experiment that names the rule."""
        if self.answers == "numbers":
            return spec_of("regression", "rmse", incumbent="rule")
        more = {"costs": COSTS} if self.answers == "costs" else {}
        return spec_of("binary", "roc_auc", incumbent="rule", **more)

    def drawn(
        self, generator: Generator, rows: int
    ) -> tuple[SetPrediction, pd.DataFrame]:
        """The model's predictions, and the rows as delivered with the rule's answers."""
        truth = generator.normal(scale=1.5, size=rows) - 0.5
        by_model = truth + NOISE * generator.normal(size=rows)
        by_rule = truth + self.rule_noise * generator.normal(size=rows)
        if self.answers == "numbers":
            y = truth + generator.normal(size=rows)
            return apart(y, by_model), pd.DataFrame({"rule": by_rule})
        y = (generator.random(rows) < expit(truth)).astype(np.int64)
        probability = expit(by_rule)
        answers = probability if self.answers == "probabilities" else probability > 0.5
        return apart(y, expit(by_model)), pd.DataFrame({"rule": answers})


@dataclass(frozen=True)
class Judged:
    """A model, its test rows, and those rows as delivered."""

    model: JudgedModel
    test: SetPrediction
    tested: pd.DataFrame

    def compared(
        self, validation: SetPrediction, delivered: pd.DataFrame
    ) -> IncumbentComparison:
        """Model and rule on these rows."""
        spec = self.model.spec
        cut = self.model.cut
        answers, of_test = (
            IncumbentAnswers.of(rows, spec, self.model.classes)
            for rows in (delivered, self.tested)
        )
        assert answers is not None  # the experiment names the rule
        assert of_test is not None
        on_test = compare_with_incumbent(spec, of_test, self.test, cut)
        return compare_with_incumbent(spec, answers, validation, cut, on_test)


def _judged(generator: Generator, world: World, rows: int) -> Judged:
    test, tested = world.drawn(generator, rows)
    spec = world.spec
    classes = (False, True) if spec.task == "binary" else None
    return Judged(judged(spec, test, test, classes=classes), test, tested)


@anew
def holds(generator: Generator, *, answers: str, rows: int, noise: float) -> bool:
    """Whether the interval of the difference holds the difference in the population."""
    world = World(answers, noise)
    judgement = _judged(generator, world, rows)
    seen = judgement.compared(*world.drawn(generator, rows)).gain
    true = judgement.compared(*world.drawn(generator, POPULATION)).gain
    assert seen is not None
    assert true is not None
    return seen.low <= true.estimate <= seen.high


@anew
def is_stopped(generator: Generator, *, answers: str, rows: int, noise: float) -> bool:
    """Whether the gate stops the model."""
    world = World(answers, noise)
    judgement = _judged(generator, world, rows)
    return not incumbent_gate(judgement.compared(*world.drawn(generator, rows))).passed
