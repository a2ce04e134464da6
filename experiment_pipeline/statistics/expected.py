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

_NEIGHBOURS, _FEWEST_NEIGHBOURS = 1 / 20, 50  # rows of about the same prediction


@dataclass(frozen=True, eq=False)
class ExpectedScores:
    """The predictions of a set, whose parts are compared with the scores to expect from
    the whole set.
    """

    metric: str
    predicted: SetPrediction
    threshold: float = 0.5

    def of(self, rows: np.ndarray) -> tuple[float, interval.Spread]:
        """Return the score expected on a part, a mask (n,), and the spread of observed
        minus expected: for classes in units of the metric, for numbers of the mean
        error behind it, with the metric's sign.
        """
        part, by_row = self.predicted.rows(rows), self._by_row[rows]
        if metric_of(self.metric).errors is None:
            expected = self._of_classes(part, by_row)
            observed = part.linearise(self.metric, self.threshold)
            gap = observed.influence - expected.influence
            found = interval.Linearised(observed.estimate - expected.estimate, gap)
            score = expected.estimate
        else:
            weights, errors = (
                interval.relative_weights(part.weights),
                self._errors(part),
            )
            found = interval.mean(
                -metric_of(self.metric).sign * (errors - by_row), weights
            )
            usual, own = (
                float(interval.weighted_mean(one, weights)) for one in (by_row, errors)
            )
            ratio, score = usual / own if own else 1.0, part.score(self.metric)
            known = {"rmse": score * math.sqrt(ratio), "r2": 1 - (1 - score) * ratio}
            score = known.get(self.metric, score * ratio)
        return score, interval.spread_of(found, part.layout(self.metric))

    @cached_property
    def _by_row(self) -> np.ndarray:
        """For classes the recalibrated probabilities (n, k); for numbers the usual
        errors (n,).
        """
        from scipy.ndimage import uniform_filter1d

        predicted = self.predicted
        if metric_of(self.metric).errors is None:
            return recalibrated(predicted)
        order = np.argsort(predicted.prediction, kind="stable")
        size = max(round(_NEIGHBOURS * len(order)), min(_FEWEST_NEIGHBOURS, len(order)))
        usual = np.empty(len(order))
        usual[order] = uniform_filter1d(
            self._errors(predicted)[order], size, mode="reflect"
        )
        return usual

    def _errors(self, predicted: SetPrediction) -> np.ndarray:
        errors = metric_of(self.metric).errors
        assert errors is not None
        return errors(predicted.y, predicted.prediction)

    def _of_classes(
        self, part: SetPrediction, chances: np.ndarray
    ) -> interval.Linearised:
        """Score each row once as every class, weighted by the class's probability;
        influence by row.
        """
        n, k = chances.shape
        copies = np.tile(np.arange(n), k)
        weights = chances.T.ravel()
        if part.weights is not None:
            weights = weights * part.weights[copies]
        every = linearise(
            *(self.metric, np.repeat(np.arange(k), n), part.prediction[copies]),
            *(self.threshold, weights),
        )
        return interval.Linearised(
            every.estimate, every.influence.reshape(k, n).sum(axis=0) / k
        )
