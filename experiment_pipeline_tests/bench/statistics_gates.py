"""What the default gate lets through, at one look and at many, and what is called worse:
simulations of models that know nothing, little, or less than the champion.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from scipy.special import expit, ndtri

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.validation_report import gates
from experiment_pipeline.stages.validation_report.judged_model import MetricScore
from experiment_pipeline.stages.validation_report.ledger import EarlierLooks
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
)
from experiment_pipeline_tests.bench.simulations import (
    repeated,
)
from experiment_pipeline_tests.bench.tables import spec_of
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of


def experiment(metric: str, count: int = 1, **more: object) -> ExperimentSpec:
    """Return an experiment that ranks by a metric, with so many configurations."""
    regression = "regression" in metric_of(metric).tasks
    task = "regression" if regression else "binary"
    sizes = {"num_leaves": [4 + number for number in range(count)]}
    search = [{"algorithm": "lightgbm", "hyperparameters": sizes}]
    return spec_of(task, metric, search=search, **more)


def report(
    metric: str, validation: SetPrediction, test: SetPrediction, known: np.ndarray
) -> ValidationReport:
    """Judge predictions; `known`: the targets of train and test rows."""
    spec = experiment(metric)
    classes = ("no", "yes") if spec.task == "binary" else None
    return report_of(spec, validation, test, y_fitted=known, classes=classes)


def labels_of(generator: Generator, share: float, n: int) -> np.ndarray:
    """Draw classes, a share of which is positive."""
    return (generator.random(n) < share).astype(np.int64)


def _passes(
    metric: str, y: Sequence[np.ndarray], predicted: Sequence[np.ndarray]
) -> bool:
    """Whether predictions of test and validation rows pass; `y`: of train rows, too."""
    test, validation = map(apart, y[1:], predicted)
    return report(metric, validation, test, np.concatenate(y[:2])).accepted


@repeated
def coin_flips_pass(
    generator: Generator, *, metric: str = "accuracy", share: float = 0.5
) -> bool:
    """Whether a model passes that draws its probabilities at random."""
    y = [labels_of(generator, share, n) for n in (1_500, 500, 500)]
    return _passes(metric, y, [generator.random(500) for _ in y[1:]])


@repeated
def constant_passes(generator: Generator, *, metric: str, learnt: float = 1.0) -> bool:
    """Whether a model passes that predicts one value, the best for what it was fitted
    on.

    The median for mae and mape, the shares of the classes for losses. A model that has
    learnt from all known rows is the baseline itself; one that has learnt from a share
    of them, as with an early-stopping set held out, is another constant.
    """
    task = experiment(metric).task
    y = [
        generator.lognormal(size=n)
        if task == "regression"
        else labels_of(generator, 0.5, n)
        for n in (1_500, 500, 500)
    ]
    known = np.concatenate(y[:2])[: round(learnt * 2_000)]
    constant = np.full(500, best_constant(metric, known, task))
    return _passes(metric, y, [constant, constant])


@repeated
def said_to_be_worse(generator: Generator, *, lost: float = 0.0) -> bool:
    """Whether a model is said to be worse by f1 on validation than on test; 5 % are
    positive.

    It tells the classes apart by 1.2 standard deviations on test, and by `lost` less on
    validation: with 0 it is as good there, and each such finding is an error.
    """
    share, rows, seen = 0.05, 2_000, []
    for distance in (1.2, 1.2 - lost):
        y = labels_of(generator, share, rows)
        logit = distance * y + generator.normal(size=rows) + np.log(share / (1 - share))
        seen.append(apart(y, expit(logit)))
    return report("f1", seen[1], seen[0], seen[0].y).gap.worse


@repeated
def any_look_passes(generator: Generator) -> bool:
    """Whether any of 30 models passes that know nothing, judged on the same rows."""
    spec, rows = experiment("roc_auc"), 500
    y = labels_of(generator, 0.3, rows)
    for look in range(30):
        level = EarlierLooks(look, min(look, 1.0), look).level
        seen = apart(y, generator.random(rows))
        better = difference_to_baseline("roc_auc", seen, np.asarray(0.3), level=level)
        interval = seen.interval("roc_auc", level=level)
        score = MetricScore("roc_auc", interval, 0.5, better)
        if all(gate.passed for gate in gates.score_gates(spec, [score])):
            return True
    return False


@repeated
def auc_after_challengers(
    generator: Generator,
    *,
    rows: int,
    positives: float = 0.5,
    alike: float = 0.8,
) -> float:
    """Return the true AUC of the champion after 30 challengers, each .005 worse than it.

    The first one has 0.8. Predictions of two models on the same rows have the
    correlation `alike` within a class.
    """
    y = (np.arange(rows) < positives * rows) * 1
    shared = generator.normal(size=rows)

    def seen(auc: float) -> SetPrediction:
        own = np.sqrt(alike) * shared
        own += np.sqrt(1 - alike) * generator.normal(size=rows)
        return apart(y, expit(np.sqrt(2) * ndtri(auc) * y + own))

    versions = {"v0": (0.8, seen(0.8))}
    champion = best = "v0"
    for look in range(1, 31):
        auc = versions[champion][0] - 0.005
        challenger, level = seen(auc), EarlierLooks(look, 1.0, look).level
        comparisons = [
            gates.ChampionComparison(
                version=version,
                metric="roc_auc",
                tolerance=0.0,
                role=role,
                scores=gates.compare(
                    "roc_auc", versions[version][1], challenger, (0.5, 0.5), level
                ),
            )
            for version, role in ((best, "best"), (champion, "champion"))
        ]
        if all(comparison.gate.passed for comparison in comparisons):
            champion = f"v{look}"
            versions[champion] = auc, challenger
            best = gates.best_after(comparisons) or champion
    return versions[champion][0]
