"""The interval or the set of classes of each row: calibrated, and as columns beside the predictions.

In: prepared features, predictions, a share of rows. Out: `ConformalBounds`, which a version has; columns.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.spec import Scalar
from experiment_pipeline.statistics.conformal import (
    LARGEST,
    ConformalBounds,
    Cut,
    bounds_of_classes,
    bounds_of_numbers,
    sets_of,
)
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

INTERVALS = "intervals.json"
# More rows hardly move a bound; more columns would take a tree seconds.
_MOST_ROWS, _MOST_COLUMNS, _MOST_VALUES = 20_000, 50, 8


def calibrated(
    features: pd.DataFrame, predicted: SetPrediction, classes: Sequence[Scalar] | None
) -> ConformalBounds | None:
    """Return the bounds by rows that the fit had not seen; None where a prediction is not finite.

    `features` (n, columns) are prepared; they divide the rows by the size of their errors.
    """
    some = slice(None, None, -(-len(features) // _MOST_ROWS))
    features, predicted = features.iloc[some, :_MOST_COLUMNS], predicted.rows(some)
    if not np.isfinite(predicted.prediction).all():
        return None
    if classes is not None:
        return replace(bounds_of_classes(predicted), classes=tuple(classes))
    numbers = partial(_numbers, features, predicted.prediction)
    return bounds_of_numbers(predicted, {cut: numbers(cut) for cut in _cuts(features)})


def intervals(
    found: ConformalBounds, bounds: Sequence[float], features: pd.DataFrame, prediction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of each row, by the bounds of `ConformalBounds.at`."""
    assert found.size is not None
    size, (low, high) = found.size.of(partial(_numbers, features, prediction)), bounds
    return prediction + size * low, prediction + size * high


def promised_columns(
    found: ConformalBounds,
    coverage: float | None,
    classes: Sequence[Scalar] | None,
    features: pd.DataFrame,
    predicted: np.ndarray,
) -> dict[str, Any]:
    """Return `lower` and `upper`, or `prediction_set`, as of `Model.predict_interval`; None: no column."""
    if coverage is None:
        return {}
    if (bounds := found.at(coverage)) is None:
        most = max(found.bounds, default=0)
        rule = f"the model's intervals are calibrated for 50 to {most} % of the rows"
        fix = "Ask for less, or calibrate on more test rows. Models of earlier releases have 0 %."
        raise InvalidModel(f"coverage {coverage:g}", rule, fix)
    if classes is None:
        lower, upper = intervals(found, bounds, features, predicted.reshape(-1))
        return {"lower": lower, "upper": upper}
    held = sets_of(predicted, [bounds[found.classes.index(label)] for label in classes])
    several, row = np.unique(held, axis=0, return_inverse=True)
    names = np.array(classes, dtype=object)
    texts = [json.dumps(names[inside].tolist(), ensure_ascii=False) for inside in several]
    return {"prediction_set": pd.array(texts, dtype="str")[row.reshape(-1)]}


def _cuts(features: pd.DataFrame) -> Iterator[Cut]:
    yield Cut(None)
    for name, column in features.items():
        if (kind := kind_of(column)) in NUMERIC:
            yield Cut(str(name))
        elif kind in TEXTS:
            values = column.value_counts().index[:_MOST_VALUES]
            yield from (Cut(str(name), str(value)) for value in values)


def _numbers(features: pd.DataFrame, prediction: np.ndarray, cut: Cut) -> np.ndarray:
    if cut.column is None:
        found = prediction
    elif cut.value is None:
        found = numbers_of(features[cut.column])
    else:
        found = numbers_of((features[cut.column].astype("str") == cut.value).fillna(value=False))
    return np.clip(found, -LARGEST, LARGEST).astype(np.float32)
