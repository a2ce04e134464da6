"""The model that is judged: its predictions, the rows that judge it, and its scores.

In: what the final evaluation has fitted and predicted. Gates, audit, effects, charts
and the referee's probes read it.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.interval import LEVEL, Interval, Weights
from experiment_pipeline.statistics.metrics import reported_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
    repeated,
)
from experiment_pipeline.statistics.thresholds import (
    DecisionThreshold,
    best_threshold,
    threshold_value,
)

Classes = tuple[Scalar, ...] | None


@dataclass(frozen=True)
class MetricScore:
    """A score of the exported fit on the validation set."""

    metric: str
    interval: Interval
    baseline: float  # the score of the best constant on the same rows
    difference_to_baseline: Interval  # paired


@dataclass(frozen=True, eq=False)
class JudgedModel:
    """The choice as it would be exported, and what it predicts."""

    spec: ExperimentSpec
    key: str  # of the chosen configuration
    result: ModelResult  # of its fit in the search
    classes: Classes  # the positive one last; None: regression
    exported: SetPrediction  # of the validation rows, by the fit that is exported
    # of the same rows, or an evenly spread part, by the fit of the search
    train_only: SetPrediction
    test: SetPrediction  # of the test rows, by the fit of the search
    y_fitted: np.ndarray  # encoded targets of the rows that it was fitted on
    w_fitted: Weights = None  # weights of these rows
    # of the validation rows without calibrators; None: it has none
    uncalibrated: SetPrediction | None = None
    features: tuple[str, ...] = ()
    # (n, columns): the validation rows, prepared and as delivered, and the fitted ones
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    delivered: pd.DataFrame = field(default_factory=pd.DataFrame)
    fitted: pd.DataFrame = field(default_factory=pd.DataFrame)

    @cached_property
    def threshold(self) -> DecisionThreshold | None:
        """The exported threshold; None: not binary."""
        return best_threshold(self.spec.metric_names, self.spec.costs, self.test)

    @property
    def cut(self) -> float:
        """A row is predicted positive from this probability on."""
        return threshold_value(self.threshold)

    def scores(self, level: float = LEVEL) -> tuple[MetricScore, ...]:
        """Score the metrics of the YAML and the task, with intervals of this level.

        The constant of the baseline also learns from the validation rows: no other
        constant can beat it by luck.
        """
        spec = self.spec
        validation = self.exported
        y = np.concatenate([self.y_fitted, validation.y])
        weights = self._weights_of_all_rows()
        metrics = dict.fromkeys((*spec.metric_names, *reported_of(spec.task)))
        # A relative error is undefined for a target of zero.
        if "mape" not in spec.metric_names and (validation.y == 0).any():
            metrics.pop("mape", None)
        scores = []
        for metric in metrics:
            constant = best_constant(
                metric, y, spec.task, len(self.classes or ()), weights
            )
            baseline = replace(
                validation, prediction=repeated(constant, len(validation.y))
            )
            score = MetricScore(
                metric,
                interval=validation.interval(metric, self.cut, level),
                baseline=baseline.score(metric),
                difference_to_baseline=difference_to_baseline(
                    metric, validation, constant, self.cut, level
                ),
            )
            scores.append(score)
        return tuple(scores)

    def _weights_of_all_rows(self) -> Weights:
        """Weights of fitted, then validation rows; a set without weights counts 1."""
        weights = [self.w_fitted, self.exported.weights]
        if all(part is None for part in weights):
            return None
        sizes = [len(self.y_fitted), len(self.exported.y)]
        return np.concatenate(
            [
                np.ones(size) if part is None else part
                for part, size in zip(weights, sizes, strict=True)
            ]
        )
