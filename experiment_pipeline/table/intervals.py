"""Prediction intervals of numbers and prediction sets of classes: calibrated once, then
made per row.

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
_FOLDS, _LEAVES, _FEWEST_ROWS = 5, 8, 50  # the last: rows of a leaf
# A split has to explain this many times what one row explains by chance: noise rarely
# does.
_EVIDENCE = 20.0
_LARGEST = (
    1e30  # values that the tree splits on are clipped here, so that sums stay finite
)


@dataclass(frozen=True)
class ErrorSize:
    """A node of the tree of error sizes, in units of the target; a leaf has
    no `sides`.
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
        found = _numbers(features, prediction, *self.cut)
        first = np.where(np.isnan(found), self.missing_first, found <= self.at_most)
        return np.where(first, *(side.of(features, prediction) for side in self.sides))


@dataclass(frozen=True)
class Calibrated:
    """The calibration from which the intervals or sets of new rows are made."""

    rows: int = 0  # number of calibration rows
    # coverage in percent → the lowest and the highest scaled error; or the smallest
    # probability of each class that puts it into the set. Coverages that need more rows
    # are missing
    bounds: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    size: ErrorSize | None = None  # None for classes
    classes: tuple[Scalar, ...] = ()  # in the order of their bounds

    @classmethod
    def on(cls, features: pd.DataFrame, rows: SetPrediction, classes: Classes) -> Self:
        """Calibrate on predictions of rows unseen by the fit; the tree splits by
        `features` (n, columns).
        """
        some = slice(None, None, -(-len(features) // _MOST_ROWS))
        features, rows, size = (
            features.iloc[some, :_MOST_COLUMNS],
            rows.rows(some),
            None,
        )
        if not np.isfinite(rows.prediction).all():
            return cls()
        if classes is not None:
            bounds = least_probabilities(rows, _PERCENTS / 100)
        else:
            (scores, size), levels = _sized(features, rows), (1 + _PERCENTS / 100) / 2
            ends = (
                -conformal_bounds(rows, -scores, levels),
                conformal_bounds(rows, scores, levels),
            )
            bounds = np.column_stack(ends)
        known = np.flatnonzero(np.isfinite(bounds).all(axis=1))
        promised = {
            int(_PERCENTS[place]): tuple(bounds[place].tolist()) for place in known
        }
        return cls(len(rows.y), promised, size, tuple(classes or ()))

    def at(self, coverage: float) -> tuple[float, ...] | None:
        """Return the bounds for a coverage, rounded up to full percent; None: too few
        rows.
        """
        return self.bounds.get(ceil(100 * coverage - 1e-9))

    def columns(
        self,
        coverage: float | None,
        classes: Classes,
        frame: pd.DataFrame,
        predicted: np.ndarray,
    ) -> dict[str, Any]:
        """Return the columns of `Model.predict_interval`, for predictions (n,), or (n,
        k) of the classes.
        """
        if coverage is None:
            return {}
        if (bounds := self.at(coverage)) is None:
            raise InvalidModel(
                f"coverage {coverage:g}",
                rule=f"intervals are calibrated for 50 to {max(self.bounds, default=0)} % of rows",
                fix="Ask for a coverage in this range; more test rows raise its end. 0 %: an earlier release.",
            )
        if self.size is not None:
            size = self.size.of(frame, found := predicted.reshape(-1))
            return {
                "lower": found + size * bounds[0],
                "upper": found + size * bounds[1],
            }
        held = sets_of(
            predicted, [bounds[self.classes.index(label)] for label in classes or ()]
        )
        names = np.array(classes, dtype=object)
        texts = [
            json.dumps(names[inside].tolist(), ensure_ascii=False) for inside in held
        ]
        return {"prediction_set": pd.array(texts, dtype="str")}


def _numbers(
    features: pd.DataFrame, prediction: np.ndarray, name: str | None, value: str | None
) -> np.ndarray:
    """The values that a cut compares, float32 (n,) as in scikit-learn's trees; nan:
    missing.
    """
    column = pd.Series(prediction) if name is None else features[name]
    if value is not None:
        column = (column.astype("str") == value).fillna(value=False)
    return np.clip(numbers_of(column), -_LARGEST, _LARGEST).astype(np.float32)


def _sized(features: pd.DataFrame, rows: SetPrediction) -> tuple[np.ndarray, ErrorSize]:
    """The cross-fitted scaled errors of rows (n,), and the tree of error sizes for new
    rows.
    """
    cuts: list[tuple[str | None, str | None]] = [(None, None)]
    for name, column in features.items():
        if (kind := kind_of(column)) in NUMERIC:
            cuts.append((str(name), None))
        elif kind in TEXTS:
            cuts += [
                (str(name), str(one))
                for one in column.value_counts().index[:_MOST_VALUES]
            ]
    fold = cluster_codes(rows.clusters) % _FOLDS
    x = np.column_stack([_numbers(features, rows.prediction, *cut) for cut in cuts])
    errors, (tree, sizes) = rows.y - rows.prediction, _grown(rows, x)
    scores = errors / sizes[0]
    for out in (fold == number for number in range(_FOLDS if len(sizes) > 1 else 0)):
        other, of_nodes = _grown(rows.rows(~out), x[~out])
        scores[out] = errors[out] / of_nodes[other.apply(x[out])]
    grown = tree.tree_

    def below(node: int) -> ErrorSize:
        left, right = grown.children_left[node], grown.children_right[node]
        if left == right:
            return ErrorSize(sizes[node])
        # A split of missing values from all others has an infinite threshold.
        at_most, missing = (
            min(grown.threshold[node], _LARGEST),
            grown.missing_go_to_left[node],
        )
        known = (cuts[grown.feature[node]], float(at_most), bool(missing))
        return ErrorSize(sizes[node], *known, (below(left), below(right)))

    return scores, below(0)


def _grown(rows: SetPrediction, x: np.ndarray) -> tuple[Any, np.ndarray]:
    """Fit a tree to the ranks of errors, which ignores heavy tails; return it and its
    nodes' error sizes.
    """
    from scipy.stats import rankdata
    from sklearn.tree import DecisionTreeRegressor

    errors = np.abs(rows.y - rows.prediction)
    tree = DecisionTreeRegressor(
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=max(_FEWEST_ROWS, len(x) // 20),
        min_impurity_decrease=_EVIDENCE
        / 12
        / independent(rows, errors),  # ranks vary by 1/12
        random_state=0,
    )
    inside = (
        tree.fit(x, rankdata(errors) / len(errors), rows.weights)
        .decision_path(x)
        .toarray()
    )
    parts = (rows.rows(in_node > 0) for in_node in inside.T)
    large = [
        weighted_quantile(np.abs(p.y - p.prediction), p.weights, LARGE) for p in parts
    ]
    return tree, np.maximum(
        large, large[0] / 100 or 1.0
    )  # at least 1 % of the root's: never 0
