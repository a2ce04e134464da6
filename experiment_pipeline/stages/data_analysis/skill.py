"""Cross-fitted models, and their skill: one scale for all tasks, from 0 to 1.

Skill is the Gini coefficient 2·AUC - 1 for two classes, Goodman and Kruskal's λ (share
of the errors of the most frequent class that are avoided) for several, and R² for
numbers; at least 0.

The skill of a feature alone is that of a small model: the mean target per bin (of a
number the leaves of a small tree, or 32 quantiles for a numeric target; each text; one
bin for missing values), shrunk to the overall mean; for a numeric target also linear
interpolation, which finds an exact relation. Texts that hardly repeat are also read by
their order, first number and words.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Task
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

# Positions of the rows to fit on, and of those to judge on.
Fold = tuple[np.ndarray, np.ndarray]
# Fits on some positions and predicts others: (n,), or a column per class.
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
NAMES: dict[Task, str] = {
    "binary": "Gini (2·AUC - 1)",
    "multiclass": "share of errors avoided",
    "regression": "R²",
}
MOST_ROWS = 10_000
MOST_CHARACTERS = 500
_BINS = 32
_LEAF = 5
# A number of at most so many values per class may code the classes, in any order.
CODES_OF_CLASS = 3
# With fewer texts, each has enough rows for a bin of its own.
_FEWEST_TEXTS = 50
# Weight of the overall mean in a bin's mean, in rows.
_PRIOR_ROWS = 2.0
_NUMBER = r"(\d+(?:\.\d+)?)"


def skill(task: Task, y: np.ndarray, prediction: np.ndarray) -> float:
    """Skill of predictions (n,), (n, 1) or (n, classes) of encoded targets (n,).

    nan where it is undefined: without rows, or with one class.
    """
    if len(y) == 0:
        return float("nan")
    if task == "binary":
        value = 2 * score("roc_auc", y, prediction.ravel()) - 1
    elif task == "regression":
        value = score("r2", y, prediction.ravel())
    else:
        errors_of_mode = len(y) - np.bincount(y.astype(np.int64)).max()
        errors = np.count_nonzero(np.argmax(prediction, axis=1) != y)
        value = 1 - errors / errors_of_mode if errors_of_mode else float("nan")
    return float(max(value, 0.0)) if np.isfinite(value) else float("nan")


def mean_of_known(
    scores: Sequence[float] | np.ndarray, otherwise: float = 0.0
) -> float:
    """Mean over the folds; a fold without both classes does not count."""
    present = [score for score in scores if np.isfinite(score)]
    return float(np.mean(present)) if present else otherwise


def outcomes_of(task: Task, y: np.ndarray, classes: int) -> np.ndarray:
    """Encoded targets as numbers to average: (n, classes) of 0 and 1, else (n, 1)."""
    if task == "multiclass":
        return np.eye(classes)[y.astype(np.int64)]
    return y[:, None]


@dataclass(frozen=True)
class Association:
    """Skill (0 to 1) of one feature alone, on rows its model was not fitted on."""

    column: str
    skill: float
    way: str = ""  # how it was read, if not by its values: "by its words"

    @property
    def words(self) -> str:
        """`93 %, by its words`."""
        return ", ".join(filter(None, [numbers.share(self.skill), self.way]))


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Rows on whose folds models are fitted and judged."""

    task: Task
    classes: int  # 0 for a regression
    y: np.ndarray  # (m,) encoded targets
    folds: Sequence[Fold]  # positions in `y`

    def skill(self, predict: Predict) -> float:
        """Mean skill over the folds; 0 where it is undefined on all."""
        return mean_of_known(
            [
                skill(self.task, self.y[judge], predict(fit, judge))
                for fit, judge in self.folds
            ]
        )

    def associations(self, features: pd.DataFrame) -> tuple[Association, ...]:
        """Every number and text column of the m rows alone, the strongest first."""
        measured = []
        for column in features:
            values = features[column]
            if kind_of(values) in NUMERIC | TEXTS:
                ways = [
                    Association(str(column), self.skill(predict), way)
                    for way, predict in self._ways_to_read(values)
                ]
                measured.append(max(ways, key=lambda association: association.skill))
        return tuple(sorted(measured, key=lambda a: (-a.skill, a.column)))

    def _ways_to_read(self, column: pd.Series) -> Iterator[tuple[str, Predict]]:
        if kind_of(column) in NUMERIC:
            values = numbers_of(column)
            places, known = pd.factorize(values)
            if len(known) <= CODES_OF_CLASS * self.classes:
                yield "", self._means(lambda _: places + 1)
            for predict in self._number_models(values):
                yield "", predict
            return
        codes, distinct = pd.factorize(as_text(column))
        yield "", self._means(lambda _: codes + 1)
        if len(distinct) < max(_FEWEST_TEXTS, len(codes) / 10):
            return
        # Code -1, a missing value, is the last place of an array per distinct text.
        texts = pd.Series(distinct, dtype="str").str.slice(0, MOST_CHARACTERS)
        for predict in self._number_models(_places(distinct)[codes]):
            yield "in the order of its texts", predict
        first = pd.to_numeric(texts.str.extract(_NUMBER, expand=False), errors="coerce")
        first_numbers = np.append(first.to_numpy(np.float64), np.nan)
        if np.isfinite(first_numbers).mean() >= 0.5:
            for predict in self._number_models(first_numbers[codes]):
                yield "by the first number in its texts", predict
        if self.task != "regression":
            yield "by its words", self._words(texts.reindex(codes).fillna(""))

    def _number_models(self, values: np.ndarray) -> Iterator[Predict]:
        if self.task == "regression":
            yield self._means(lambda fit: _quantile_bins(values[fit], values))
            yield lambda fit, judge: _interpolated(values, self.y, fit, judge)
        else:
            yield self._means(lambda fit: _leaves(values, self.y, fit))

    @cached_property
    def _outcomes(self) -> np.ndarray:
        return outcomes_of(self.task, self.y, self.classes)

    def _means(self, bins_of: Callable[[np.ndarray], np.ndarray]) -> Predict:
        """The mean target per bin; `bins_of` fitted rows: the bins (m,) of all rows."""

        def predict(fit: np.ndarray, judge: np.ndarray) -> np.ndarray:
            bins = bins_of(fit)
            count = int(bins.max()) + 1
            outcomes = self._outcomes[fit]
            rows = np.bincount(bins[fit], minlength=count)[:, None]
            sums = np.column_stack(
                [
                    np.bincount(bins[fit], weights=outcome, minlength=count)
                    for outcome in outcomes.T
                ]
            )
            shrunk = sums + _PRIOR_ROWS * outcomes.mean(axis=0)
            return (shrunk / (rows + _PRIOR_ROWS))[bins[judge]]

        return predict

    def _words(self, texts: pd.Series) -> Predict:
        """Naive Bayes on which of the 2,000 most frequent words a text holds."""
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.naive_bayes import MultinomialNB

        settings = {
            "token_pattern": r"\w+",
            "min_df": 3,
            "max_features": 2_000,
            "binary": True,
        }
        try:
            words = CountVectorizer(**settings).fit_transform(texts)
        except ValueError:  # no text holds a word, or none is frequent
            return lambda _, judge: np.zeros((len(judge), self._outcomes.shape[1]))

        def predict(fit: np.ndarray, judge: np.ndarray) -> np.ndarray:
            model = MultinomialNB().fit(words[fit], self.y[fit].astype(np.int64))
            probabilities = np.zeros((len(judge), max(self.classes, 2)))
            probabilities[:, model.classes_] = model.predict_proba(words[judge])
            return probabilities[:, 1] if self.task == "binary" else probabilities

        return predict


def _places(texts: pd.Index) -> np.ndarray:
    """Places (n + 1,) in the order of ids, C9 before C10; the last one is nan."""
    padded = [
        re.sub(r"\d+", lambda digits: digits.group().zfill(20), text) for text in texts
    ]
    places = np.unique(np.array(padded, dtype=str), return_inverse=True)[1]
    return np.append(places, np.nan)


def _leaves(values: np.ndarray, y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Leaf (m,) of each value in a small classification tree; 0 for missing."""
    from sklearn.tree import DecisionTreeClassifier

    missing = np.isnan(values)
    present = fit[~missing[fit]]
    if not present.size:
        return np.zeros(len(values), dtype=np.int64)
    # A tree reads float32, which would round the values; their ranks are exact.
    distinct, ranks = np.unique(values[present], return_inverse=True)
    tree = DecisionTreeClassifier(
        max_leaf_nodes=_BINS, min_samples_leaf=_LEAF, random_state=0
    )
    fitted = tree.fit(ranks[:, None], y[present]).tree_
    below = np.sort(fitted.threshold[fitted.feature >= 0]).astype(np.int64)
    # Halfway between two values, as a tree on the values would cut.
    halfway = distinct[below] / 2 + distinct[below + 1] / 2
    cuts = np.where(halfway > distinct[below], halfway, distinct[below + 1])
    leaves = np.searchsorted(cuts, values, side="right") + 1
    leaves[missing] = 0
    return leaves


def _quantile_bins(fitted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bin (m,) of each value by the quantiles of the fitted values; 0 for missing."""
    present = np.sort(fitted[~np.isnan(fitted)])
    if not present.size:
        return np.zeros(len(values), dtype=np.int64)
    places = (np.arange(1, _BINS) * present.size) // _BINS
    bins = np.searchsorted(np.unique(present[places]), values, side="right") + 1
    bins[np.isnan(values)] = 0
    return bins


def _interpolated(
    values: np.ndarray, y: np.ndarray, fit: np.ndarray, judge: np.ndarray
) -> np.ndarray:
    """Targets (judge,) on the line through fitted points; the mean where unknown."""
    present = fit[np.isfinite(values[fit])]
    prediction = np.full(len(judge), y[fit].mean())
    if present.size:
        places, inverse = np.unique(values[present], return_inverse=True)
        means = np.bincount(inverse, weights=y[present]) / np.bincount(inverse)
        inside = np.isfinite(values[judge])
        prediction[inside] = np.interp(values[judge][inside], places, means)
    return prediction
