"""What one fit predicts for one set, beside the truth: what every judgement is made of."""

from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.spread import Spread


@dataclass(frozen=True, eq=False)
class SetPrediction:
    """The predictions of one fit for the rows of one set.

    Attributes:
        y: encoded targets (n,).
        prediction: regression (n,); binary (n,), the probability of classes[1]; multiclass
            (n, k).
        units: (n,) integer codes of the resampling units, by `resampling_units`.
    """

    y: np.ndarray
    prediction: np.ndarray
    units: np.ndarray

    def score(self, metric: str, threshold: float = 0.5) -> float:
        """Return the score; nan where it is undefined."""
        return metrics.score(metric, self.y, self.prediction, threshold)

    def spread(self, metric: str, threshold: float = 0.5) -> Spread:
        """Return the score and how much it varies between draws of the units."""
        return metrics.spread(metric, self.y, self.prediction, self.units, threshold)

    def interval(self, metric: str, threshold: float = 0.5, level: float = LEVEL) -> Interval:
        """Return the score with its interval."""
        return metrics.interval_of(metric, self.spread(metric, threshold), level)

    def rows(self, chosen: np.ndarray | slice) -> "SetPrediction":
        """Return the part with these rows: a mask, positions, or a slice."""
        return SetPrediction(self.y[chosen], self.prediction[chosen], self.units[chosen])

    def decided(self, threshold: float) -> np.ndarray:
        """Return the predicted class codes (n,): the likeliest, or positive from threshold on."""
        if self.prediction.ndim == 2:
            return np.asarray(self.prediction.argmax(axis=1))
        return (self.prediction >= threshold).astype(np.int64)
