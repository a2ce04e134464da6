"""Prediction intervals of numbers and sets of classes: calibrated once, made per row.

Errors are signed, so that the bounds follow their skew. They are scaled by the typical
error in the leaf of a small tree over features and prediction, which is grown on other
clusters (locally weighted: Lei et al. 2018). In: prepared features, predictions. Out:
`Calibrated`, which a version holds as JSON; columns.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Self

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.spec import Scalar
from experiment_pipeline.statistics.calibration import (
    IN_EVERY_SET,
    LARGE,
    conformal_bounds,
    independent,
    least_probabilities,
    sets_of,
)
from experiment_pipeline.statistics.interval import cluster_codes, weighted_quantile
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

Classes = Sequence[Scalar] | None
INTERVALS = "intervals.json"
_PERCENTS = np.arange(50, 100)  # the coverages that can be asked for
# More rows hardly change a bound; with more columns a tree would take seconds.
_MOST_ROWS, _MOST_COLUMNS, _MOST_VALUES = 20_000, 50, 8
_FOLDS = 5
_LEAVES, _FEWEST_ROWS = 8, 20  # of a tree; rows of a leaf
# A split has to explain this many times what one row explains by chance: noise rarely
# does.
_EVIDENCE = 20.0
# Values that the tree splits on are clipped here, so that sums stay finite.
_LARGEST = 1e30


@dataclass(frozen=True)
class ErrorSize:
    """A node of the tree of error sizes, in units of the target.

    A leaf has no `sides`.
    """

    size: float
    # (feature, text): the feature (None: the prediction), and the text compared with
    # (None: a number)
    cut: tuple[str | None, str | None] = (None, None)
    at_most: float = 0.0  # the largest value on the first side
    missing_first: bool = False  # whether missing values are on the first side
    sides: "tuple[ErrorSize, ErrorSize] | None" = None

    def of(self, features: pd.DataFrame, prediction: np.ndarray) -> np.ndarray:
        """Return the size for each row, (n,) or ()."""
        if self.sides is None:
            return np.asarray(self.size)
        values = _numbers(features, prediction, self.cut)
        is_first = np.where(
            np.isnan(values), self.missing_first, values <= self.at_most
        )
        first, second = (side.of(features, prediction) for side in self.sides)
        return np.where(is_first, first, second)


@dataclass(frozen=True)
class Calibrated:
    """The calibration from which the intervals or sets of new rows are made."""

    rows: int = 0  # number of calibration rows
    # coverage in percent → the lowest and the highest scaled error; or the smallest
    # probability of each class that puts it into the set (IN_EVERY_SET: any). Coverages
    # that need more rows are missing
    bounds: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    size: ErrorSize | None = None  # None for classes
    classes: tuple[Scalar, ...] = ()  # in the order of their bounds

    @classmethod
    def on(cls, features: pd.DataFrame, rows: SetPrediction, classes: Classes) -> Self:
        """Calibrate on predictions of rows unseen by the fit.

        The tree splits by `features` (n, columns).
        """
        every_nth = slice(None, None, -(-len(features) // _MOST_ROWS))
        features, rows = features.iloc[every_nth, :_MOST_COLUMNS], rows.rows(every_nth)
        if not np.isfinite(rows.prediction).all():
            return cls()
        size = None
        if classes is not None:
            bounds = least_probabilities(rows, _PERCENTS / 100)
        else:
            scores, size = _sized(features, rows)
            levels = (1 + _PERCENTS / 100) / 2
            low = -conformal_bounds(rows, -scores, levels)
            bounds = np.column_stack([low, conformal_bounds(rows, scores, levels)])
        by_percent = {
            int(percent): tuple(ends.tolist())
            for percent, ends in zip(_PERCENTS, bounds, strict=True)
            if np.isfinite(ends).all()
        }
        return cls(len(rows.y), by_percent, size, tuple(classes or ()))

    def at(self, coverage: float) -> tuple[float, ...] | None:
        """Return the bounds for a coverage, in full percent; None: too few rows."""
        return self.bounds.get(ceil(100 * coverage - 1e-9))

    def in_every_set(self, coverage: float) -> list[Scalar]:
        """Return the classes with too few calibration rows to leave them out."""
        least = self.at(coverage) if self.classes else None
        return [
            label
            for label, probability in zip(self.classes, least or (), strict=False)
            if probability == IN_EVERY_SET
        ]

    def columns(
        self,
        coverage: float | None,
        classes: Classes,
        frame: pd.DataFrame,
        predicted: np.ndarray,
    ) -> dict[str, Any]:
        """Return the columns of `Model.predict_interval`.

        `predicted`: (n,), or (n, k) of the classes. Raises InvalidModel: no bounds.
        """
        if coverage is None:
            return {}
        bounds = self.at(coverage)
        if bounds is None:
            raise InvalidModel(
                f"coverage {coverage:g}",
                rule="intervals are calibrated for 50 to "
                f"{max(self.bounds, default=0)} % of rows",
                fix="Ask for a coverage in this range; more test rows raise its end. "
                "0 %: an earlier release.",
            )
        if self.size is not None:
            numbers = predicted.reshape(-1)
            size = self.size.of(frame, numbers)
            low, high = bounds
            return {"lower": numbers + size * low, "upper": numbers + size * high}
        least = [bounds[self.classes.index(label)] for label in classes or ()]
        names = np.array(classes, dtype=object)
        texts = [
            json.dumps(names[inside].tolist(), ensure_ascii=False)
            for inside in sets_of(predicted, least)
        ]
        return {"prediction_set": pd.array(texts, dtype="str")}


def _numbers(
    features: pd.DataFrame,
    prediction: np.ndarray,
    cut: tuple[str | None, str | None],
) -> np.ndarray:
    """Return the values that a cut compares, float32 (n,); nan: missing.

    Scikit-learn's trees have this precision.
    """
    name, text = cut
    column = pd.Series(prediction) if name is None else features[name]
    if text is not None:
        column = (column.astype("str") == text).fillna(value=False)
    return np.clip(numbers_of(column), -_LARGEST, _LARGEST).astype(np.float32)


def _sized(features: pd.DataFrame, rows: SetPrediction) -> tuple[np.ndarray, ErrorSize]:
    """Return the cross-fitted scaled errors (n,), and the tree of error sizes."""
    cuts = _cuts(features)
    fold = cluster_codes(rows.clusters) % _FOLDS
    x = np.column_stack([_numbers(features, rows.prediction, cut) for cut in cuts])
    errors = rows.y - rows.prediction
    tree, sizes = _grown(rows, x)
    scores = errors / sizes[0]
    if len(sizes) > 1:
        for number in range(_FOLDS):
            out = fold == number
            fold_tree, fold_sizes = _grown(rows.rows(~out), x[~out])
            scores[out] = errors[out] / fold_sizes[fold_tree.apply(x[out])]
    nodes = tree.tree_

    def below(node: int) -> ErrorSize:
        left, right = nodes.children_left[node], nodes.children_right[node]
        if left == right:
            return ErrorSize(sizes[node])
        return ErrorSize(
            sizes[node],
            cut=cuts[nodes.feature[node]],
            # A split of missing values from all others has an infinite threshold.
            at_most=float(min(nodes.threshold[node], _LARGEST)),
            missing_first=bool(nodes.missing_go_to_left[node]),
            sides=(below(left), below(right)),
        )

    return scores, below(0)


def _cuts(features: pd.DataFrame) -> list[tuple[str | None, str | None]]:
    """Return what the tree may split by: the prediction, numbers, frequent texts."""
    cuts: list[tuple[str | None, str | None]] = [(None, None)]
    for name, column in features.items():
        kind = kind_of(column)
        if kind in NUMERIC:
            cuts.append((str(name), None))
        elif kind in TEXTS:
            frequent = column.value_counts().index[:_MOST_VALUES]
            cuts += [(str(name), str(text)) for text in frequent]
    return cuts


def _grown(rows: SetPrediction, x: np.ndarray) -> tuple[Any, np.ndarray]:
    """Fit a tree to the ranks of errors, which ignores heavy tails.

    Return it and its nodes' error sizes.
    """
    from scipy.stats import rankdata
    from sklearn.tree import DecisionTreeRegressor

    errors = np.abs(rows.y - rows.prediction)
    # Ranks vary by 1/12.
    least_decrease = _EVIDENCE / 12 / independent(rows, errors)
    tree = DecisionTreeRegressor(
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=max(_FEWEST_ROWS, len(x) // 20),
        min_impurity_decrease=least_decrease,
        random_state=0,
    )
    tree.fit(x, rankdata(errors) / len(errors), rows.weights)
    sizes = []
    for in_node in tree.decision_path(x).toarray().T:
        part = rows.rows(in_node > 0)
        part_errors = np.abs(part.y - part.prediction)
        sizes.append(weighted_quantile(part_errors, part.weights, LARGE))
    # At least 1 % of the root's: never 0.
    return tree, np.maximum(sizes, sizes[0] / 100 or 1.0)
