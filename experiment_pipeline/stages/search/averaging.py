"""An average of fitted estimators, as a fitted scikit-learn estimator.

scikit-learn's voting estimators fit their members themselves; here they are built around fitted
members, predict what an ordinary `fit` of the same members would, and load without this package.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def averaged(
    members: Sequence[Any],
    classes: Sequence[Any] | None,
    *,
    names: Sequence[str] = (),
    weights: Sequence[float] | None = None,
) -> Any:
    """Return the mean of fitted estimators' predictions as an estimator.

    Args:
        members: fitted; of a classifier all with probabilities in the same order of classes.
        classes: what the columns of their probabilities are called; None or empty for regression.
        names: of the members; empty: numbered.
        weights: of the members; None: all equal.
    """
    from sklearn.ensemble import VotingClassifier, VotingRegressor

    names = names or [f"fit_{number}" for number in range(1, len(members) + 1)]
    named = list(zip(names, members, strict=True))
    shares = None if weights is None else list(weights)
    if classes is None or not len(classes):
        average = VotingRegressor(named, weights=shares)
    else:
        average = VotingClassifier(named, voting="soft", weights=shares)
        encoder = label_encoder(classes)
        vars(average).update(le_=encoder, classes_=encoder.classes_)
    average.estimators_ = list(members)
    return average


def label_encoder(classes: Sequence[Any]) -> Any:
    """Return a fitted LabelEncoder that keeps this order of classes, which `fit` would sort."""
    from sklearn.preprocessing import LabelEncoder

    encoder = LabelEncoder()
    encoder.classes_ = np.asarray(classes)
    return encoder
