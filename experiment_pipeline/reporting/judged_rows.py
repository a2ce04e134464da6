"""What a run's model predicted for the validation rows, kept so that two runs can be compared."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.statistics.scores import SetPrediction

# The name of the report that holds these rows.
JUDGED_ROWS = "validation_rows"
WEIGHT = "weight"


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """What a run's model predicted for the validation rows.

    Attributes:
        rows: (n, 2 + k): `y`, `unit` (the cluster), and `prediction_0` … of k columns, in the order
            of the set; `weight` where rows have one.
        threshold: positive from this probability on, where a metric needs it.
    """

    rows: pd.DataFrame
    threshold: float

    @classmethod
    def of(cls, predicted: SetPrediction, threshold: float) -> "JudgedRows":
        """The rows of which `as_prediction` is the prediction."""
        columns = np.atleast_2d(predicted.prediction.T)
        named = {f"prediction_{number}": column for number, column in enumerate(columns)}
        weights = {} if predicted.weights is None else {WEIGHT: predicted.weights}
        clusters = np.asarray(predicted.clusters)
        frame = pd.DataFrame({"y": predicted.y, "unit": clusters, **named, **weights})
        return cls(frame.reset_index(drop=True), threshold)

    @property
    def as_prediction(self) -> SetPrediction:
        """The predictions."""
        predictions = self.rows.filter(regex=r"^prediction_\d+$").to_numpy()
        return SetPrediction(
            self.rows["y"].to_numpy(),
            predictions[:, 0] if predictions.shape[1] == 1 else predictions,
            self.rows["unit"].to_numpy(),
            self.rows[WEIGHT].to_numpy() if WEIGHT in self.rows else None,
        )
