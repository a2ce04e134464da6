"""Predictions in one shape, whatever the estimator, and whatever order it keeps its classes in.

In: a fitted estimator or pipeline and the rows it reads. Out: regression (n,); binary (n,),
the probability of classes[1]; multiclass (n, k), probabilities in the order of the classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def predict(
    pipeline: Any,
    frame: pd.DataFrame,
    features: Sequence[str],
    task: str,
    classes: Sequence[Any] | None,
) -> np.ndarray:
    """Return what a fitted pipeline predicts for prepared rows.

    Args:
        pipeline: features and model, as `fitted_pipeline` and `refit` give them.
        frame: (n, columns) prepared rows; other columns are ignored.
        features: the columns the model may see.
        task: binary, multiclass or regression.
        classes: as in `TrainingSets`: an estimator sorts its classes, the positive one may
            come first there.
    """
    return predictions_of(pipeline, frame[list(features)], task, classes)


def predictions_of(
    estimator: Any, rows: Any, task: str, classes: Sequence[Any] | None
) -> np.ndarray:
    """Return what a fitted estimator predicts for the rows that it reads (n, …)."""
    if classes is None:
        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(-1)
    found = estimator.predict_proba(rows)
    probabilities = np.zeros((len(found), len(classes)))
    # A class that the fit has not seen has no column, and probability 0.
    for column, label in enumerate(estimator.classes_):
        probabilities[:, list(classes).index(label)] = found[:, column]
    return probabilities[:, 1] if task == "binary" else probabilities
