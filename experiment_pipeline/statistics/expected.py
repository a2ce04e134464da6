"""The score to expect on a part of a set from a model that is as good there as on the
whole set.

Parts differ in prevalence and spread, so a perfect model scores differently on each.
For classes the expectation is over targets drawn by the model's own probabilities,
recalibrated on the whole set; for numbers it is the mean error of rows with about the
same prediction. The difference from the observed score has a spread by its influence on
each row, summed over clusters.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from experiment_pipeline.statistics import interval
from experiment_pipeline.statistics.calibration import recalibrated
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, linearise

# Rows of about the same prediction: a share of all, and their least number.
_NEIGHBOURS = 1 / 20
_FEWEST_NEIGHBOURS = 50


@dataclass(frozen=True, eq=False)
class ExpectedScores:
    """The predictions of a set, to compare its parts with what the whole set shows."""

    metric: str
    predicted: SetPrediction
    threshold: float = 0.5

    def of(self, rows: np.ndarray) -> tuple[float, interval.Spread]:
        """Return the score expected on a part, a mask (n,), and a spread.

        It is that of observed minus expected: for classes in units of the metric, for
        numbers of the mean error behind it, with the metric's sign.
        """
        part = self.predicted.rows(rows)
        by_row = self._by_row[rows]
        if metric_of(self.metric).errors is None:
            expected = self._of_classes(part, by_row)
            observed = part.linearise(self.metric, self.threshold)
            score = expected.estimate
            gap = interval.Linearised(
                observed.estimate - expected.estimate,
                observed.influence - expected.influence,
            )
        else:
            weights = interval.relative_weights(part.weights)
            errors = self._errors(part)
            score = self._of_numbers(part, by_row, errors)
            sign = metric_of(self.metric).sign
            gap = interval.mean(-sign * (errors - by_row), weights)
        return score, interval.spread_of(gap, part.layout(self.metric))

    def _of_numbers(
        self, part: SetPrediction, usual_errors: np.ndarray, errors: np.ndarray
    ) -> float:
        """The score of a part if its mean error were the usual one."""
        weights = interval.relative_weights(part.weights)
        usual = float(interval.weighted_mean(usual_errors, weights))
        mean_error = float(interval.weighted_mean(errors, weights))
        ratio = usual / mean_error if mean_error else 1.0
        score = part.score(self.metric)
        if self.metric == "rmse":
            return score * math.sqrt(ratio)
        if self.metric == "r2":
            return 1 - (1 - score) * ratio
        return score * ratio

    @cached_property
    def _by_row(self) -> np.ndarray:
        """Recalibrated probabilities (n, k); for numbers the usual errors (n,)."""
        from scipy.ndimage import uniform_filter1d

        predicted = self.predicted
        if metric_of(self.metric).errors is None:
            return recalibrated(predicted)
        order = np.argsort(predicted.prediction, kind="stable")
        size = max(round(_NEIGHBOURS * len(order)), min(_FEWEST_NEIGHBOURS, len(order)))
        errors = self._errors(predicted)[order]
        usual = np.empty(len(order))
        usual[order] = uniform_filter1d(errors, size, mode="reflect")
        return usual

    def _errors(self, predicted: SetPrediction) -> np.ndarray:
        errors = metric_of(self.metric).errors
        assert errors is not None
        return errors(predicted.y, predicted.prediction)

    def _of_classes(
        self, part: SetPrediction, chances: np.ndarray
    ) -> interval.Linearised:
        """Score each row once as every class, weighted by the class's probability."""
        n, k = chances.shape
        copies = np.tile(np.arange(n), k)
        weights = chances.T.ravel()
        if part.weights is not None:
            weights = weights * part.weights[copies]
        copied = linearise(
            self.metric,
            np.repeat(np.arange(k), n),
            part.prediction[copies],
            self.threshold,
            weights,
        )
        by_row = copied.influence.reshape(k, n).sum(axis=0) / k
        return interval.Linearised(copied.estimate, by_row)
