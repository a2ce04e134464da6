"""Explain predictions: contributions of the delivered columns, which add up to the
prediction.

Contributions add up to a model's raw output: for boosted trees by TreeSHAP (Lundberg et
al. 2020), for a linear model by coefficient times (value - mean of the example rows),
for a forest by the changes of the node's mean along a row's path (Saabas 2014: exact in
sum, but not Shapley values). A single model is explained on the scale of its raw
output: the prediction, its logarithm or its log odds. A mean or a calibrated model is
explained on the scale of its prediction: the contributions of a member to its raw
output are multiplied by the mean slope of its prediction between base and row. For one
output this is the rescale rule of DeepLIFT, as Chen, Lundberg and Lee (2022) carry
Shapley values through a series of models; for several classes, integrated gradients
(Sundararajan et al. 2017). If a member's raw output does not reproduce its predictions
of the example rows, Shapley values of these predictions are sampled.
"""

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiment_pipeline.prediction.rows import Predicted, Signature
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.charts import (
    SERIES,
    Axis,
    Bars,
    Mark,
    Plot,
    chart,
    plain,
)
from experiment_pipeline.reporting.document import Chart
from experiment_pipeline.spec import Preparation
from experiment_pipeline.statistics.importance import sampled_shapley
from experiment_pipeline.statistics.scores import of_each_class
from experiment_pipeline.table.coercion import as_text, value_as_text
from experiment_pipeline.table.dictionary import NO_DICTIONARY, Dictionary
from experiment_pipeline.table.kinds import UNSEEN_CATEGORY
from experiment_pipeline.table.preparation import calendar_columns
from experiment_pipeline.table.table import slices

BASE, _RESCALED = "base", ", rescaled"
SHOWN_ROWS, SHOWN_COLUMNS, BACKGROUND_ROWS = 10, 15, 50
_MOST_CELLS = 2**24  # numbers in one table of contributions: 128 MB
# Steps of the numerical integration from base to row, and the smallest change.
_STEPS, _SMALL = 8, 1e-6
# Raw outputs (n, k) → predictions (n, outputs).
_Link = Callable[[np.ndarray], np.ndarray]


class _Member(NamedTuple):
    """A member of the pipeline."""

    place: slice  # of its encoded columns
    model: Any
    weight: float
    classes: Any  # of its outputs


@dataclass(frozen=True, eq=False)
class Explanation:
    """Contributions of columns to predictions; a row per accepted row, indexed by
    `row_number`.
    """

    # a column per delivered column that the model reads, per column that user code or a
    # generating encoder makes, and `base`, the start of every row; their sum is the
    # prediction on `scale`
    contributions: pd.DataFrame
    delivered: pd.DataFrame  # the values of these columns
    predicted: Predicted
    scale: str  # what the contributions of a row add up to
    method: str  # how contributions were computed
    dictionary: Dictionary = NO_DICTIONARY  # of the delivered columns

    def strongest(self, most: int = 3) -> pd.DataFrame:
        """Return the predictions with `feature_1`, `value_1`, `contribution_1`,
        `feature_2` and so on.
        """
        contributions = self.contributions.drop(columns=BASE).to_numpy()
        texts = self.delivered.apply(as_text).to_numpy(dtype=object)
        order = np.argsort(-np.abs(contributions), axis=1, kind="stable")
        rows = np.arange(len(contributions))
        table: dict[str, Any] = {}
        for place, columns in enumerate(order.T[:most], start=1):
            names = self.delivered.columns[columns]
            table[f"feature_{place}"] = pd.array(names, dtype="str")
            table[f"value_{place}"] = pd.array(texts[rows, columns], dtype="str")
            table[f"contribution_{place}"] = contributions[rows, columns]
        taken = {name: f"original_{name}" for name in table}
        # The predictions have the same rows in the same order.
        return self.predicted.predictions.rename(columns=taken).assign(**table)

    def plot(self, i: int = 0) -> Chart:
        """Return the chart of the row at position `i`: a bar per column, strongest
        first.
        """
        row = self.contributions.iloc[i]
        cells = self.delivered.iloc[i]
        parts = row.drop(BASE).sort_values(key=np.abs, ascending=False)
        parts = parts.head(SHOWN_COLUMNS)
        names = []
        bars = []
        for place, (column, value) in enumerate(parts.items()):
            cell = cells[str(column)]
            text = "missing" if pd.isna(cell) else value_as_text(cell)
            meaning = self.dictionary[str(column)]
            name = plain(f"{column} = {text} {meaning.unit or ''}".rstrip())
            names.append(name)
            color = SERIES[int(value < 0)]
            label = f"{name}: {value:.4g}"
            if meaning.in_words:
                label += f" ({plain(meaning.in_words)})"
            bars.append(Mark(value, place, label, color=color))
        start, end = numbers.score(row[BASE]), numbers.score(row.sum())
        plot = Plot(
            Axis("contribution"), Axis(names=names, downwards=True), [Bars(bars)]
        )
        return chart(
            f"Row {row.name}",
            f"{self.scale}: {end} = base {start} + contributions ({self.method}).",
            plot,
            height=80 + 26 * len(bars),
        )

    def __repr__(self) -> str:
        return f"{self._title}\n{self._first_rows.to_string(index=False)}"

    def _repr_html_(self) -> str:
        table = self._first_rows.to_html(index=False, border=0)
        return f"<p>{html.escape(self._title)}</p>{table}"

    @property
    def _title(self) -> str:
        rows = f"{len(self.delivered):,} rows"
        return f"{rows}; contributions ({self.method}) to the {self.scale}"

    @property
    def _first_rows(self) -> pd.DataFrame:
        return self.strongest().head(SHOWN_ROWS)


class Explainer:
    """Explains the predictions of a fitted pipeline; `examples`: from `golden_rows`."""

    def __init__(
        self,
        pipeline: Any,
        signature: Signature,
        preparation: Preparation,
        examples: pd.DataFrame,
    ) -> None:
        from experiment_pipeline.stages.search.voting import TakenApart

        parts = TakenApart.of(pipeline)
        self._transformer = parts.transformer
        self._parts = replace(parts, transformer=None)
        self._signature = signature
        # Delivered column → positions of its encoded columns.
        self._columns: dict[str, list[int]] = {}
        delivered = _delivered_columns(preparation)
        for name in dict.fromkeys((*signature.features, *self._parts.columns)):
            if name in self._parts.columns:
                positions = self._columns.setdefault(delivered.get(name, name), [])
                positions += self._parts.columns[name].tolist()
        is_real = ~examples.isin([UNSEEN_CATEGORY]).any(axis=1)
        background = self._made(examples[is_real].head(BACKGROUND_ROWS))
        self._background = self._encoded(background)
        self._members: list[_Member] = []
        for place, (model, weight) in zip(parts.places, parts.models, strict=True):
            self._members += _members(place, model, weight)
        sums = [self._sums_of(member, self._background) for member in self._members]
        # A single model is explained on the scale of its raw output, if it has a name.
        self._scale: str | None = None
        if len(sums) == 1 and sums[0] is not None:
            names = {link: name for name, link in _SCALES.items()}
            self._scale = names.get(sums[0].link)
        methods = [self._method_of(member_sums) for member_sums in sums]
        self._method = "; ".join(dict.fromkeys(methods))

    def _sums_of(self, member: _Member, cells: np.ndarray) -> "_Sums | None":
        """Return a member's sums of encoded rows that begin with the background."""
        return _sums(member.model, cells[:, member.place], len(self._background))

    def _method_of(self, sums: "_Sums | None") -> str:
        if sums is None:
            return f"Shapley values, sampled with {len(self._background)} rows"
        return (sums.rescaled() if self._scale is None else sums).method

    def explanation(
        self, raw: pd.DataFrame, prepared: pd.DataFrame, predicted: Predicted
    ) -> Explanation:
        """Explain the predictions of a raw table's rows.

        `prepared` are the rows that were predicted.
        """
        transformed = self._made(self._signature.select(prepared))
        outputs = len(self._signature.classes or "1")
        width = outputs * (self._background.shape[1] + 1)
        parts = slices(len(transformed), max(_MOST_CELLS // width, 1))
        contributions = np.vstack(
            [self._of_rows(self._encoded(transformed.iloc[part])) for part in parts]
        )
        names = [f"original_{name}" if name == BASE else name for name in self._columns]
        cells = self._cells(raw.loc[transformed.index], transformed)
        return Explanation(
            pd.DataFrame(contributions, transformed.index, [*names, BASE]),
            pd.concat(cells, axis=1).set_axis(names, axis=1),
            predicted,
            self._scale_in_words(),
            self._method,
        )

    def _cells(self, raw: pd.DataFrame, transformed: pd.DataFrame) -> list[pd.Series]:
        """Return the values of the explained columns: delivered, made or encoded."""
        encoded: np.ndarray | None = None
        cells = []
        for name, positions in self._columns.items():
            if name in raw:
                cells.append(raw[name])
            elif name in transformed:
                cells.append(transformed[name])
            else:
                encoded = self._encoded(transformed) if encoded is None else encoded
                cells.append(
                    pd.Series(encoded[:, positions[0]], transformed.index, name=name)
                )
        return cells

    def _scale_in_words(self) -> str:
        signature = self._signature
        output = signature.target
        if signature.task == "multiclass":
            output = f"the predicted {signature.target}"
        elif signature.task == "binary":
            output = f"{signature.target} = {signature.positive_class}"
        if self._scale:
            return f"{self._scale}{output}"
        return f"probability of {output}" if signature.classes else output

    def _of_rows(self, cells: np.ndarray) -> np.ndarray:
        """Return the contributions of delivered columns, (n, g + 1), the base last."""
        signature = self._signature
        output = np.zeros(len(cells), np.int64)
        if signature.task == "multiclass":
            weighted = [m.weight * self._predict(m, cells) for m in self._members]
            output = np.sum(weighted, axis=0).argmax(axis=1)
        elif signature.classes is not None:
            output += signature.classes.index(signature.positive_class)
        parts = [m.weight * self._of_member(m, cells, output) for m in self._members]
        return np.sum(parts, axis=0)

    def _of_member(
        self, member: _Member, cells: np.ndarray, output: np.ndarray
    ) -> np.ndarray:
        """Return the contributions to a member's output, (n, g + 1), the base last."""
        background = self._background
        groups = list(self._columns.values())
        sums = self._sums_of(member, np.vstack([background, cells]))
        if sums is None:
            ask = partial(self._predict, member)
            shapley = sampled_shapley(ask, cells, background, groups, output)
            base = ask(background).mean(axis=0)[output]
            return np.column_stack([shapley, base])
        if self._scale is None:
            sums = sums.rescaled()
        contributions = self._in_order(member, sums.contributions[len(background) :])
        whole = np.zeros((len(cells), cells.shape[1] + 1))
        columns = [*range(member.place.start, member.place.stop), -1]
        whole[:, columns] = contributions[np.arange(len(cells)), output]
        totals = [whole[:, positions].sum(axis=1) for positions in groups]
        return np.column_stack([*totals, whole[:, -1]])

    def _made(self, features: pd.DataFrame) -> pd.DataFrame:
        if self._transformer is None:
            return features
        return self._transformer.transform(features)

    def _encoded(self, transformed: pd.DataFrame) -> np.ndarray:
        cells = self._parts.encode(transformed)
        return cells.toarray() if hasattr(cells, "toarray") else np.asarray(cells)

    def _predict(self, member: _Member, cells: np.ndarray) -> np.ndarray:
        return self._in_order(member, _outputs(member.model, cells[:, member.place]))

    def _in_order(self, member: _Member, outputs: np.ndarray) -> np.ndarray:
        """Order outputs (n, k, …) by the signature's classes; 0 for an unseen class."""
        classes = self._signature.classes
        if classes is None:
            return outputs
        ordered = np.zeros((len(outputs), len(classes), *outputs.shape[2:]))
        ordered[:, [classes.index(label) for label in member.classes]] = outputs
        return ordered


def _delivered_columns(preparation: Preparation) -> dict[str, str]:
    """Return calendar column → the delivered column that it is a part of."""
    return {
        column: name
        for name, parts in preparation.calendar.items()
        for part in parts
        for column in calendar_columns(name, part)
    }


def _members(
    place: slice, model: Any, weight: float, classes: Any = None
) -> Iterator[_Member]:
    """Yield the models whose weighted mean an estimator is.

    A trivial stack, which only reorders classes, is looked through.
    """
    from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor

    if classes is None:
        classes = getattr(model, "classes_", None)
    if isinstance(model, VotingClassifier | VotingRegressor):
        for member, share in _weighted(model):
            yield from _members(place, member, weight * share, classes)
        return
    if isinstance(model, StackingClassifier):
        layers = getattr(model.final_estimator_, "hidden_layer_sizes", None)
        if layers == ():
            yield from _members(place, model.estimators_[0], weight)
            return
    yield _Member(place, model, weight, classes)


def _weighted(mean: Any) -> list[tuple[Any, float]]:
    weights = np.ones(len(mean.estimators_))
    if mean.weights is not None:
        weights = np.array(mean.weights)
    return list(zip(mean.estimators_, (weights / weights.sum()).tolist(), strict=True))


def _outputs(model: Any, cells: np.ndarray) -> np.ndarray:
    """The predictions of encoded rows: (n, classes), or (n, 1)."""
    ask = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return np.asarray(ask(cells), np.float64).reshape(len(cells), -1)


def _probabilities(log_odds: np.ndarray) -> np.ndarray:
    """The probability of each class, from its log odds against the mean of the others,
    (n, k).
    """
    from scipy.special import softmax

    return softmax(log_odds * (1 - 1 / log_odds.shape[1]), axis=1)


def _squared(root: np.ndarray) -> np.ndarray:
    """LightGBM's prediction with `reg_sqrt`, a square that keeps the sign."""
    return root * abs(root)


# The scales on which a single model is explained; a square root would not help a
# reader.
_SCALES: dict[str, _Link] = {
    "": np.asarray,
    "logarithm of ": np.exp,
    "log odds of ": _probabilities,
}


@dataclass(frozen=True, eq=False)
class _Sums:
    """Contributions of encoded columns to raw outputs, and the link to predictions."""

    contributions: np.ndarray  # contributions (n, k, d + 1), the base last
    method: str
    link: _Link = np.asarray

    def rescaled(self) -> "_Sums":
        """Return contributions to the prediction.

        They are multiplied by its mean slopes between base and row.
        """
        if self.link is np.asarray:
            return self
        outputs = self.contributions.shape[1]
        start = self.contributions[..., -1]
        change = self.contributions[..., :-1].sum(axis=2)
        before, after = self.link(start), self.link(start + change)
        half = change / (2 * _STEPS)
        half[np.abs(half) < _SMALL] = _SMALL  # without change: the slope at this point
        slopes = np.zeros((*after.shape, outputs))
        for number, part in product(range(outputs), (np.arange(_STEPS) + 0.5) / _STEPS):
            middle, aside = start + part * change, half * (np.arange(outputs) == number)
            gain = self.link(middle + aside) - self.link(middle - aside)
            slopes[..., number] += gain / (2 * _STEPS * half[:, [number]])
        # Distribute the remaining error by the smallest correction of the slopes.
        rest = after - before - np.einsum("nok,nk->no", slopes, change)
        length = np.maximum((change**2).sum(axis=1, keepdims=True), _SMALL**2)
        slopes += rest[..., None] * (change / length)[:, None]
        contributions = np.concatenate(
            [slopes @ self.contributions[..., :-1], before[..., None]], axis=2
        )
        return _Sums(contributions, f"{self.method.removesuffix(_RESCALED)}{_RESCALED}")

    def linked(self, link: _Link) -> "_Sums":
        """Return the sums with a link, whose log odds are those of each class."""
        contributions = self.contributions
        if link is _probabilities and link is not self.link:
            # Log odds x of two classes become [0, x]; a term common to all classes is
            # subtracted.
            if contributions.shape[1] == 1:
                contributions = np.concatenate(
                    [0 * contributions, contributions], axis=1
                )
            contributions = (
                contributions - contributions.mean(axis=1, keepdims=True)
            ) / (1 - 1 / contributions.shape[1])
        return replace(self, contributions=contributions, link=link)

    def reproduce(self, predictions: np.ndarray) -> bool:
        """Whether the first rows have these predictions."""
        with np.errstate(over="ignore"):
            linked = self.link(self.contributions[: len(predictions)].sum(axis=2))
        # The tolerances allow for XGBoost's sums in single precision.
        return linked.shape == predictions.shape and np.allclose(
            linked, predictions, rtol=1e-4, atol=1e-5
        )


def _sums(model: Any, cells: np.ndarray, background: int) -> _Sums | None:
    """Return the contributions for encoded rows (n, d).

    None: they do not reproduce the predictions of the first rows, the `background`.
    """
    sums = _parts_of(model, cells, background)
    if sums is None:
        return None
    predictions = _outputs(model, cells[:background])
    links = [sums.link]
    if sums.link is np.asarray:
        links = [*_SCALES.values(), _squared]
    for link in links:
        linked = sums.linked(link)
        if linked.reproduce(predictions):
            return linked
    return None


def _parts_of(model: Any, cells: np.ndarray, background: int) -> _Sums | None:
    """Return `_sums` without the check, also for means, calibrators and pipelines.

    The link may be a wrong one.
    """
    from sklearn import calibration, ensemble, pipeline

    # Fits with several seeds, calibrated together.
    if isinstance(model, ensemble.VotingClassifier):
        return _sums_of_mean(model, cells, background)
    if isinstance(model, calibration.CalibratedClassifierCV):
        return _sums_of_calibrated(model, cells, background)
    if isinstance(model, pipeline.Pipeline):
        if "codes" not in model.named_steps:
            return None  # a pipeline of the user's
        # Its first step puts category codes last.
        inner = _sums(model[-1], model[0].transform(cells), background)
        columns = [positions for _, _, positions in model[0].transformers_]
        order = np.concatenate([*columns, [cells.shape[1]]])
        return inner and replace(
            inner, contributions=inner.contributions[..., np.argsort(order)]
        )
    return _of_estimator(model, cells, background)


def _sums_of_mean(model: Any, cells: np.ndarray, background: int) -> _Sums | None:
    whole = np.zeros(1)
    last = None
    for member, share in _weighted(model):
        sums = _sums(member, cells, background)
        if sums is None:
            return None
        last = sums.rescaled()
        whole = whole + share * last.contributions
    return last and replace(last, contributions=whole)


def _sums_of_calibrated(model: Any, cells: np.ndarray, background: int) -> _Sums | None:
    from sklearn.ensemble import VotingClassifier

    from experiment_pipeline.stages.search.averaging import calibration_in, uncalibrated

    first, *further = model.calibrated_classifiers_
    if further or not isinstance(first.estimator, VotingClassifier):
        return None  # a calibrator of the user's
    inner = _sums(uncalibrated(model), cells, background)
    if inner is None:
        return None
    applied = calibration_in(model, model.classes_).applied
    return replace(inner, link=lambda sums: of_each_class(applied(inner.link(sums))))


def _of_estimator(model: Any, cells: np.ndarray, background: int) -> _Sums | None:
    """Return the sums of a single fitted estimator; None: it has no such sums."""
    from sklearn.ensemble import BaseEnsemble

    contributions = _tree_shap(model, cells)
    if contributions is not None:
        sums = np.asarray(contributions, np.float64)
        return _Sums(sums.reshape(len(cells), -1, cells.shape[1] + 1), "TreeSHAP")
    if isinstance(model, BaseEnsemble) and hasattr(model, "decision_path"):
        return _Sums(_along_paths(model, cells), "path contributions (Saabas)")
    coefficients = np.atleast_2d(getattr(model, "coef_", np.empty((0, 0))))
    if coefficients.shape[1] != cells.shape[1]:
        return None
    mean = cells[:background].mean(axis=0)
    terms = (cells - mean)[:, None] * coefficients
    base = model.intercept_ + coefficients @ mean
    terms = np.insert(terms, cells.shape[1], base, axis=2)
    return _Sums(terms, "coefficient times (value - mean)")


def _tree_shap(model: Any, cells: np.ndarray) -> Any:
    """Return the contributions that a library of boosted trees computes, if it does."""
    library = type(model).__module__.partition(".")[0]
    if library == "lightgbm" and not model.get_params().get("linear_tree"):
        # It was fitted with one thread; 0: one per core.
        return model.booster_.predict(cells, pred_contrib=True, num_threads=0)
    if library == "xgboost":
        import xgboost as xgb

        rows = xgb.DMatrix(
            cells,
            missing=model.missing,
            feature_types=model.feature_types,
            enable_categorical=True,
        )
        return model.get_booster().predict(rows, pred_contribs=True)
    if library == "catboost":
        import catboost as cb

        rows = cb.Pool(cells, cat_features=model.get_cat_feature_indices())
        return model.get_feature_importance(rows, type="ShapValues")
    return None


def _along_paths(forest: Any, cells: np.ndarray) -> np.ndarray:
    """Sum the changes of the node's mean along each row's path, (n, k, d + 1)."""
    total: Any = 0
    for tree in (estimator.tree_ for estimator in forest.estimators_):
        means = tree.value[:, 0].T
        parent = np.zeros(tree.node_count, int)
        for children in (tree.children_left, tree.children_right):
            parent[children[children > 0]] = np.flatnonzero(children > 0)
        changes = np.zeros((*means.shape, cells.shape[1] + 1))
        changes[..., -1] = means[:, [0]]
        at = np.arange(tree.node_count)
        while len(below := np.flatnonzero(at)):  # from each node up to the root
            above = parent[at[below]]
            change = means[:, at[below]] - means[:, above]
            changes[:, below, tree.feature[above]] += change
            at[below] = above
        total += changes[:, tree.apply(cells.astype(np.float32))]
    return np.moveaxis(total, 0, 1) / len(forest.estimators_)
