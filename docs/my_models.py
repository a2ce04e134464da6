"""What my_own_model.ipynb uses of its own: a metric, features and an estimator."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

import experiment_pipeline as ep


@ep.metric(greater_is_better=True, takes="labels")
def net_benefit(y: np.ndarray, called: np.ndarray) -> float:
    """Per patient: a found tumour is worth three needless biopsies."""
    return float((called * (4 * y - 1)).mean())


class Shapes(TransformerMixin, BaseEstimator):
    """Adds how far the worst cell of a sample is from the mean one."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:  # noqa: ARG002
        """Nothing is learnt."""
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """The columns as delivered, and two ratios."""
        ratios = {
            f"{of} ratio": X[f"worst {of}"] / X[f"mean {of}"]
            for of in ("area", "texture")
        }
        return X.assign(**ratios)


class OneMeasurement(ClassifierMixin, BaseEstimator):
    """A rule of thumb: the probability rises with one column, by the share of smaller
    values.
    """

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def fit(self, X: Any, y: Any) -> Self:
        """Keep the classes and the sorted values of the column."""
        self.classes_ = np.unique(y)
        self.values_ = np.sort(np.asarray(X)[:, self.column])
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, 2), the second class as likely as smaller values are frequent."""
        share = np.searchsorted(self.values_, np.asarray(X)[:, self.column]) / len(
            self.values_
        )
        return np.column_stack([1 - share, share])

    def predict(self, X: Any) -> np.ndarray:
        """The more likely class."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
