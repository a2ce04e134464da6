"""What one fit predicts for one set, beside the truth: what every judgement is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.rows.units import resampling_units
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.statistics import intervals, metrics
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.intervals import ConsecutiveUnits, Spread


def drawn_units(rows: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]) -> np.ndarray:
    """Return the codes of the resampling units of a set, (n,); consecutive ones know it."""
    units = resampling_units(rows, spec, features)
    return units.view(ConsecutiveUnits) if spec.split.by == "time" else units


@dataclass(frozen=True, eq=False)
class SetPrediction:
    """The predictions of one fit for the rows of one set.

    Attributes:
        y: encoded targets (n,).
        prediction: regression (n,); binary (n,), the probability of classes[1]; multiclass
            (n, k).
        units: (n,) integer codes of the resampling units, by `drawn_units`.
    """

    y: np.ndarray
    prediction: np.ndarray
    units: np.ndarray

    def score(self, metric: str, threshold: float = 0.5) -> float:
        """Return the score; nan where it is undefined."""
        return metrics.score(metric, self.y, self.prediction, threshold)

    def spread(self, metric: str, threshold: float = 0.5) -> Spread:
        """Return the score and how much it varies between draws of the units."""
        return intervals.spread(metric, self.y, self.prediction, self.units, threshold)

    def interval(self, metric: str, threshold: float = 0.5, level: float = LEVEL) -> Interval:
        """Return the score with its interval."""
        return intervals.interval_of(metric, self.spread(metric, threshold), level)

    def rows(self, chosen: np.ndarray | slice) -> "SetPrediction":
        """Return the part with these rows: a mask, positions, or a slice."""
        return SetPrediction(self.y[chosen], self.prediction[chosen], self.units[chosen])

    def decided(self, threshold: float) -> np.ndarray:
        """Return the predicted class codes (n,): the likeliest, or positive from threshold on."""
        if self.prediction.ndim == 2:
            return np.asarray(self.prediction.argmax(axis=1))
        return (self.prediction >= threshold).astype(np.int64)
