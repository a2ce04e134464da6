"""Skill: how well predictions, or one feature alone, predict the target, on one scale
for all tasks.

Skill is the Gini coefficient 2·AUC - 1 for two classes, Goodman and Kruskal's λ (share
of the errors of the most frequent class that are avoided) for several, and R² for
numbers; at least 0.

The skill of a feature alone is that of a small cross-fitted model: the mean target per
bin (of a number the leaves of a small tree, or 32 quantiles for a numeric target; each
text; one bin for missing values), shrunk to the overall mean; for a numeric target also
linear interpolation, which finds an exact relation. Texts that hardly repeat are also
read by their order, first number and words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.spec import Task
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

# Positions of the rows to fit on, and of those to judge on.
Fold = tuple[np.ndarray, np.ndarray]
NAMES: dict[Task, str] = {
    "binary": "Gini (2·AUC - 1)",
    "multiclass": "share of errors avoided",
    "regression": "R²",
}
MOST_ROWS = 10_000
MOST_CHARACTERS = 500
_BINS = 32
_LEAF = 5
# With fewer texts, each has enough rows for a bin of its own.
_FEWEST_TEXTS = 50
# Weight of the overall mean in a bin's mean, in rows.
_PRIOR_ROWS = 2.0
_NUMBER = r"(\d+(?:\.\d+)?)"


def skill(task: Task, y: np.ndarray, prediction: np.ndarray) -> float:
    """Skill of predictions (n,) or (n, k) of encoded targets, 0 (none) to 1 (perfect);
    nan: undefined.
    """
    if len(y) == 0:
        return float("nan")
    if task == "binary":
        value = 2 * score("roc_auc", y, prediction) - 1
    elif task == "regression":
        value = score("r2", y, prediction)
    else:
        errors_of_mode = len(y) - np.bincount(y.astype(np.int64)).max()
        errors = np.count_nonzero(np.argmax(prediction, axis=1) != y)
        value = 1 - errors / errors_of_mode if errors_of_mode else float("nan")
    return float(max(value, 0.0)) if np.isfinite(value) else float("nan")


def mean_of_known(
    scores: Sequence[float] | np.ndarray, otherwise: float = 0.0
) -> float:
    """Mean over the folds; a fold without both classes does not count."""
    known = [score for score in scores if np.isfinite(score)]
    return float(np.mean(known)) if known else otherwise


@dataclass(frozen=True)
class Association:
    """Skill (0 to 1) of one feature alone, on rows its model was not fitted on."""

    column: str
    skill: float
    way: str = ""  # how it was read, if not by its values: "by its words"


@dataclass(frozen=True, eq=False)
class OneFeatureModels:
    """Cross-fits a small model per feature on the same rows."""

    task: Task
    classes: int  # 0 for a regression
    y: np.ndarray  # (m,) encoded targets
    folds: Sequence[Fold]  # positions in `y`

    def associations(self, features: pd.DataFrame) -> tuple[Association, ...]:
        """Every number and text column of the m rows with its skill, the strongest
        first.
        """
        measured = [
            self._strongest(str(column), features[column])
            for column in features.columns
            if kind_of(features[column]) in NUMERIC | TEXTS
        ]
        return tuple(sorted(measured, key=lambda a: (-a.skill, a.column)))

    def _strongest(self, column: str, values: pd.Series) -> Association:
        """The skill of the column, read in the way that predicts best."""
        if kind_of(values) in NUMERIC:
            return Association(column, self._by_number(numbers_of(values)))
        codes, distinct = pd.factorize(as_text(values))
        read = [Association(column, self._by_bins([codes + 1] * len(self.folds)))]
        if len(distinct) >= max(_FEWEST_TEXTS, len(codes) / 10):
            # Ids are assigned in some order, C9 before C10; a note may contain an
            # amount.
            padded = [
                re.sub(r"\d+", lambda run: run.group().zfill(20), text)
                for text in distinct
            ]
            places = np.unique(np.array(padded, dtype=str), return_inverse=True)[1]
            short = pd.Series(distinct, dtype="str").str.slice(0, MOST_CHARACTERS)
            first = pd.to_numeric(
                short.str.extract(_NUMBER, expand=False), errors="coerce"
            )
            ways = {"in the order of its texts": np.append(places, np.nan)}
            numbers = np.append(first.to_numpy(np.float64), np.nan)
            if np.isfinite(numbers).mean() >= 0.5:
                ways["by the first number in its texts"] = numbers
            # Code -1, a missing value, is the last place.
            read += [
                Association(column, self._by_number(x[codes]), way)
                for way, x in ways.items()
            ]
            if self.task != "regression":
                words = self._by_words(short.reindex(codes).fillna(""))
                read.append(Association(column, words, "by its words"))
        return max(read, key=lambda one: one.skill)

    def _by_number(self, data: np.ndarray) -> float:
        if self.task != "regression":
            return self._by_bins([_leaves(data, self.y, fit) for fit, _ in self.folds])
        in_bins = self._by_bins(
            [_quantile_bins(data[fit], data) for fit, _ in self.folds]
        )
        lines = [
            skill("regression", self.y[judge], _interpolated(data, self.y, fit, judge))
            for fit, judge in self.folds
        ]
        return max(in_bins, mean_of_known(lines))

    def _by_bins(self, bins: Sequence[np.ndarray]) -> float:
        """Skill of the mean target per bin; `bins` are, for each fold, the bins (m,) of
        all rows.
        """
        several = self.task == "multiclass"
        truth = (
            np.eye(max(self.classes, 2))[self.y.astype(np.int64)]
            if several
            else self.y[:, None]
        )
        scores = []
        for (fit, judge), each in zip(self.folds, bins, strict=True):
            bins_of_fit, n_bins = each[fit], int(each.max()) + 1
            rows = np.bincount(bins_of_fit, minlength=n_bins)[:, None]
            sums = np.column_stack(
                [
                    np.bincount(bins_of_fit, weights=one, minlength=n_bins)
                    for one in truth[fit].T
                ]
            )
            means = (sums + _PRIOR_ROWS * truth[fit].mean(axis=0)) / (
                rows + _PRIOR_ROWS
            )
            found = means[each[judge]]
            scores.append(
                skill(self.task, self.y[judge], found if several else found[:, 0])
            )
        return mean_of_known(scores)

    def _by_words(self, texts: pd.Series) -> float:
        """Skill of naive Bayes on which of the 2,000 most frequent words a
        text holds.
        """
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.naive_bayes import MultinomialNB

        given = {
            "token_pattern": r"\w+",
            "min_df": 3,
            "max_features": 2_000,
            "binary": True,
        }
        try:
            words = CountVectorizer(**given).fit_transform(texts)
        except ValueError:  # no text holds a word, or none is frequent
            return 0.0
        scores = []
        for fit, judge in self.folds:
            model = MultinomialNB().fit(words[fit], self.y[fit].astype(np.int64))
            found = np.zeros((len(judge), max(self.classes, 2)))
            found[:, model.classes_] = model.predict_proba(words[judge])
            prediction = found[:, 1] if self.task == "binary" else found
            scores.append(skill(self.task, self.y[judge], prediction))
        return mean_of_known(scores)


def _leaves(data: np.ndarray, y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Leaf (m,) of each value in a small classification tree; 0 for missing."""
    from sklearn.tree import DecisionTreeClassifier

    missing = np.isnan(data)
    known = fit[~missing[fit]]
    if not known.size:
        return np.zeros(len(data), dtype=np.int64)
    # A tree reads float32, which would round the values; their ranks are exact.
    values, places = np.unique(data[known], return_inverse=True)
    tree = DecisionTreeClassifier(
        max_leaf_nodes=_BINS, min_samples_leaf=_LEAF, random_state=0
    )
    fitted = tree.fit(places[:, None], y[known]).tree_
    below = np.sort(fitted.threshold[fitted.feature >= 0]).astype(np.int64)
    # Halfway between two values, as a tree on the values would cut.
    halfway = values[below] / 2 + values[below + 1] / 2
    cuts = np.where(halfway > values[below], halfway, values[below + 1])
    return np.asarray(
        np.where(missing, 0, np.searchsorted(cuts, data, side="right") + 1)
    )


def _quantile_bins(fitted: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Bin (m,) of each value: 0 for missing, else by the quantiles of the fitted
    values.
    """
    known = np.sort(fitted[~np.isnan(fitted)])
    if not known.size:
        return np.zeros(len(data), dtype=np.int64)
    places = (np.arange(1, _BINS) * known.size) // _BINS
    bins = np.searchsorted(np.unique(known[places]), data, side="right") + 1
    bins[np.isnan(data)] = 0
    return bins


def _interpolated(
    data: np.ndarray, y: np.ndarray, fit: np.ndarray, judge: np.ndarray
) -> np.ndarray:
    """Targets (judge,) read off the line through the fitted points; the mean where
    unknown.
    """
    known = fit[np.isfinite(data[fit])]
    prediction = np.full(len(judge), y[fit].mean())
    if known.size:
        places, inverse = np.unique(data[known], return_inverse=True)
        means = np.bincount(inverse, weights=y[known]) / np.bincount(inverse)
        inside = np.isfinite(data[judge])
        prediction[inside] = np.interp(data[judge][inside], places, means)
    return prediction
