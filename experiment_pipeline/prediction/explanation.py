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
from experiment_pipeline.statistics.importance import sampled_shapley, tree_shap
from experiment_pipeline.statistics.scores import of_each_class
from experiment_pipeline.table.coercion import as_text, value_as_text
from experiment_pipeline.table.kinds import UNSEEN_CATEGORY
from experiment_pipeline.table.preparation import calendar_columns
from experiment_pipeline.table.table import slices

BASE, _RESCALED = "base", ", rescaled"
SHOWN_ROWS, SHOWN_COLUMNS, BACKGROUND_ROWS = 10, 15, 50
_MOST_CELLS = 2**24  # numbers in one table of contributions: 128 MB
_MANY_ROWS = 2_000  # from this many on, `tree_shap` is faster than LightGBM, which works row by row
# Steps of the numerical integration from base to row, and the smallest change.
_STEPS, _SMALL = 8, 1e-6
_Link = Callable[
    [np.ndarray], np.ndarray
]  # raw outputs (n, k) → predictions (n, outputs)


class _Member(NamedTuple):
    """A member of the pipeline: its slice of the encoded columns, model, weight, and
    output classes.
    """

    place: slice
    model: Any
    weight: float
    classes: Any


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

    def strongest(self, most: int = 3) -> pd.DataFrame:
        """Return the predictions with `feature_1`, `value_1`, `contribution_1`,
        `feature_2` and so on.
        """
        found, table = (
            self.contributions.drop(columns=BASE).to_numpy(),
            dict[str, Any](),
        )
        texts = self.delivered.apply(as_text).to_numpy(dtype=object)
        order, each = (
            np.argsort(-np.abs(found), axis=1, kind="stable"),
            np.arange(len(found)),
        )
        for place, at in enumerate(order.T[:most], start=1):
            table[f"feature_{place}"] = pd.array(
                self.delivered.columns[at], dtype="str"
            )
            table[f"value_{place}"] = pd.array(texts[each, at], dtype="str")
            table[f"contribution_{place}"] = found[each, at]
        taken = {name: f"original_{name}" for name in table}
        # The predictions have the same rows in the same order.
        return self.predicted.predictions.rename(columns=taken).assign(**table)

    def plot(self, i: int = 0) -> Chart:
        """Return the chart of the row at position `i`: a bar per column, the strongest
        at the top.
        """
        whole, cells = self.contributions.iloc[i], self.delivered.iloc[i]
        row = (
            whole.drop(BASE)
            .sort_values(key=np.abs, ascending=False)
            .head(SHOWN_COLUMNS)
        )
        texts = {
            k: "missing" if pd.isna(v) else value_as_text(v) for k, v in cells.items()
        }
        names = [plain(f"{name} = {texts[name]}") for name in row.index]
        bars = [
            Mark(value, place, f"{name}: {value:.4g}", color=SERIES[value < 0])
            for place, (name, value) in enumerate(zip(names, row, strict=True))
        ]
        start, end = numbers.score(whole[BASE]), numbers.score(whole.sum())
        plot = Plot(
            Axis("contribution"), Axis(names=names, downwards=True), [Bars(bars)]
        )
        return chart(
            f"Row {whole.name}",
            f"{self.scale}: {end} = base {start} + contributions ({self.method}).",
            plot,
            height=80 + 26 * len(bars),
        )

    def __repr__(self) -> str:
        what = f"{len(self.delivered):,} rows; contributions ({self.method}) to the {self.scale}"
        return f"{what}\n{self.strongest().head(SHOWN_ROWS).to_string(index=False)}"

    def _repr_html_(self) -> str:
        what = html.escape(repr(self).partition("\n")[0])
        return f"<p>{what}</p>{self.strongest().head(SHOWN_ROWS).to_html(index=False, border=0)}"


class Explainer:
    """Explains the predictions of a fitted pipeline; `examples` are rows from
    `golden_rows`.
    """

    def __init__(
        self,
        pipeline: Any,
        signature: Signature,
        made: Preparation,
        examples: pd.DataFrame,
    ) -> None:
        from experiment_pipeline.stages.search.voting import TakenApart

        parts = TakenApart.of(pipeline)
        self._own, self._parts, self._signature = (
            parts.transformer,
            replace(parts, transformer=None),
            signature,
        )
        dates = [
            (name, part) for name, parts in made.calendar.items() for part in parts
        ]
        source = {
            new: name for name, part in dates for new in calendar_columns(name, part)
        }
        # Delivered column → positions of its encoded columns.
        self._columns = dict[str, list[int]]()
        for name in dict.fromkeys((*signature.features, *self._parts.columns)):
            if name in self._parts.columns:
                positions = self._columns.setdefault(source.get(name, name), [])
                positions += self._parts.columns[name].tolist()
        real = examples[~examples.isin([UNSEEN_CATEGORY]).any(axis=1)]
        self._background = cells = self._encoded(self._made(real.head(BACKGROUND_ROWS)))
        both = zip(self._parts.places, self._parts.models, strict=True)
        self._members = [
            one for place, whole in both for one in _members(place, *whole)
        ]
        sums = [
            _sums(one.model, cells[:, one.place], len(cells)) for one in self._members
        ]
        links = {link: name for name, link in _SCALES.items()}
        self._scale = links.get(sums[0].link) if len(sums) == 1 and sums[0] else None
        found = [
            one and (one.rescaled() if self._scale is None else one) for one in sums
        ]
        sampled = f"Shapley values, sampled with {len(cells)} rows"
        self._method = "; ".join(
            dict.fromkeys(one.method if one else sampled for one in found)
        )

    def explanation(
        self, raw: pd.DataFrame, prepared: pd.DataFrame, predicted: Predicted
    ) -> Explanation:
        """Explain the predictions of a raw table's rows; `prepared` are the rows that
        were predicted.
        """
        one, made = self._signature, self._made(self._signature.select(prepared))
        width = len(one.classes or "1") * (self._background.shape[1] + 1)
        parts = slices(len(made), max(_MOST_CELLS // width, 1))
        found = np.vstack(
            [self._of_rows(self._encoded(made.iloc[part])) for part in parts]
        )
        label = (
            f"the predicted {one.target}" if one.task == "multiclass" else one.target
        )
        if one.task == "binary":
            label = f"{one.target} = {one.positive_class}"
        kind = self._scale or ("probability of " if one.classes else "")
        names = [f"original_{name}" if name == BASE else name for name in self._columns]
        raw = raw.loc[made.index]
        if layer := [
            name for name in self._columns if name not in raw and name not in made
        ]:
            first = self._encoded(made)[:, [self._columns[name][0] for name in layer]]
            made = made.assign(**dict(zip(layer, first.T, strict=True)))
        cells = [raw[name] if name in raw else made[name] for name in self._columns]
        return Explanation(
            pd.DataFrame(found, made.index, [*names, BASE]),
            pd.concat(cells, axis=1).set_axis(names, axis=1),
            predicted,
            kind + label,
            self._method,
        )

    def _of_rows(self, cells: np.ndarray) -> np.ndarray:
        members, one, output = (
            self._members,
            self._signature,
            np.zeros(len(cells), np.int64),
        )
        if one.task == "multiclass":
            predicted = [each.weight * self._predict(each, cells) for each in members]
            output = np.sum(predicted, axis=0).argmax(axis=1)
        elif one.classes is not None:
            output += one.classes.index(one.positive_class)
        found = [each.weight * self._of_member(each, cells, output) for each in members]
        return np.sum(found, axis=0)

    def _of_member(
        self, member: _Member, cells: np.ndarray, output: np.ndarray
    ) -> np.ndarray:
        """The contributions of delivered columns to a member's output: (n, g + 1), the
        base last.
        """
        known, place, groups = (
            len(self._background),
            member.place,
            list(self._columns.values()),
        )
        sums = _sums(
            member.model, np.vstack([self._background, cells])[:, place], known
        )
        if sums is None:
            ask = partial(self._predict, member)
            found = sampled_shapley(ask, cells, self._background, groups, output)
            return np.column_stack([found, ask(self._background).mean(axis=0)[output]])
        found = sums.rescaled() if self._scale is None else sums
        whole = np.zeros((len(cells), cells.shape[1] + 1))
        each = self._in_order(member, found.each[known:])[np.arange(len(cells)), output]
        whole[:, [*range(place.start, place.stop), -1]] = each
        return np.column_stack(
            [*(whole[:, at].sum(axis=1) for at in groups), whole[:, -1]]
        )

    def _made(self, features: pd.DataFrame) -> pd.DataFrame:
        return features if self._own is None else self._own.transform(features)

    def _encoded(self, made: pd.DataFrame) -> np.ndarray:
        cells = self._parts.encode(made)
        return cells.toarray() if hasattr(cells, "toarray") else np.asarray(cells)

    def _predict(self, member: _Member, cells: np.ndarray) -> np.ndarray:
        return self._in_order(member, _outputs(member.model, cells[:, member.place]))

    def _in_order(self, member: _Member, outputs: np.ndarray) -> np.ndarray:
        """Reorder outputs (n, k, …) to the signature's classes; 0 for a class that the
        fit has not seen.
        """
        if (classes := self._signature.classes) is None:
            return outputs
        found = np.zeros((len(outputs), len(classes), *outputs.shape[2:]))
        found[:, [classes.index(label) for label in member.classes]] = outputs
        return found


def _members(
    place: slice, model: Any, weight: float, classes: Any = None
) -> Iterator[_Member]:
    """Yield the models whose weighted mean an estimator is; a trivial stack only
    reorders classes.
    """
    from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor

    classes = getattr(model, "classes_", None) if classes is None else classes
    if isinstance(model, VotingClassifier | VotingRegressor):
        for one, share in _weighted(model):
            yield from _members(place, one, weight * share, classes)
    elif (
        isinstance(model, StackingClassifier)
        and getattr(model.final_estimator_, "hidden_layer_sizes", None) == ()
    ):
        yield from _members(place, model.estimators_[0], weight)
    else:
        yield _Member(place, model, weight, classes)


def _weighted(mean: Any) -> list[tuple[Any, float]]:
    weights = (
        np.ones(len(mean.estimators_))
        if mean.weights is None
        else np.array(mean.weights)
    )
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
    """Contributions of encoded columns to an estimator's raw outputs, and the link to
    its predictions.
    """

    each: np.ndarray  # contributions (n, k, d + 1), the base last
    method: str
    link: _Link = np.asarray

    def rescaled(self) -> "_Sums":
        """Return contributions to the prediction: multiplied by its mean slopes between
        base and row.
        """
        if self.link is np.asarray:
            return self
        each, k = self.each, self.each.shape[1]
        start, change = each[..., -1], each[..., :-1].sum(axis=2)
        before, after = self.link(start), self.link(start + change)
        half, slopes = change / (2 * _STEPS), np.zeros((*after.shape, k))
        half[np.abs(half) < _SMALL] = _SMALL  # without change: the slope at this point
        for number, part in product(range(k), (np.arange(_STEPS) + 0.5) / _STEPS):
            middle, aside = start + part * change, half * (np.arange(k) == number)
            gain = self.link(middle + aside) - self.link(middle - aside)
            slopes[..., number] += gain / (2 * _STEPS * half[:, [number]])
        # Distribute the remaining error by the smallest correction of the slopes.
        rest = after - before - np.einsum("nok,nk->no", slopes, change)
        length = np.maximum((change**2).sum(axis=1, keepdims=True), _SMALL**2)
        slopes += rest[..., None] * (change / length)[:, None]
        found = np.concatenate([slopes @ each[..., :-1], before[..., None]], axis=2)
        return _Sums(found, f"{self.method.removesuffix(_RESCALED)}{_RESCALED}")


def _sums(model: Any, cells: np.ndarray, known: int) -> _Sums | None:
    """The contributions for encoded rows (n, d); None: they do not reproduce the
    estimator's predictions of the first `known` rows, the background.
    """
    found = _parts_of(model, cells, known)
    if found is None:
        return None
    wanted = _outputs(model, cells[:known])
    for link in (
        (*_SCALES.values(), _squared) if found.link is np.asarray else [found.link]
    ):
        each = found.each
        # Log odds x of two classes become [0, x]; a term common to all classes is
        # subtracted.
        if link is _probabilities and link is not found.link:
            each = (
                np.concatenate([0 * each, each], axis=1) if each.shape[1] == 1 else each
            )
            each = (each - each.mean(axis=1, keepdims=True)) / (1 - 1 / each.shape[1])
        with np.errstate(over="ignore"):
            predicted = link(each[:known].sum(axis=2))
        # The tolerances allow for XGBoost's sums in single precision.
        if predicted.shape == wanted.shape and np.allclose(
            predicted, wanted, 1e-4, 1e-5
        ):
            return replace(found, each=each, link=link)
    return None


def _parts_of(model: Any, cells: np.ndarray, known: int) -> _Sums | None:
    """`_sums` without the check, for means, calibrators and pipelines, too; the link
    may be a wrong one.
    """
    from sklearn import calibration, ensemble, pipeline

    from experiment_pipeline.stages.search.averaging import calibration_in, uncalibrated

    if isinstance(
        model, ensemble.VotingClassifier
    ):  # fits with several seeds, calibrated together
        seeds = [(_sums(one, cells, known), share) for one, share in _weighted(model)]
        each = [(one.rescaled(), share) for one, share in seeds if one]
        whole = np.sum([share * one.each for one, share in each], axis=0)
        return replace(each[0][0], each=whole) if len(each) == len(seeds) else None
    if isinstance(model, calibration.CalibratedClassifierCV):
        first, *others = model.calibrated_classifiers_
        if others or not isinstance(first.estimator, ensemble.VotingClassifier):
            return None  # a calibrator of the user's
        inner = _sums(uncalibrated(model), cells, known)
        applied = calibration_in(model, model.classes_).applied
        return inner and replace(
            inner, link=lambda sums: of_each_class(applied(inner.link(sums)))
        )
    if isinstance(
        model, pipeline.Pipeline
    ):  # whose first step puts category codes last
        inner = _sums(model[-1], model[0].transform(cells), known)
        order = np.concatenate(
            [*(at for _, _, at in model[0].transformers_), [cells.shape[1]]]
        )
        return inner and replace(inner, each=inner.each[..., np.argsort(order)])
    return _of_estimator(model, cells, known)


def _of_estimator(model: Any, cells: np.ndarray, known: int) -> _Sums | None:
    from sklearn.ensemble import BaseEnsemble

    library, width = type(model).__module__.partition(".")[0], cells.shape[1] + 1
    if library == "lightgbm" and not model.get_params().get("linear_tree"):
        if len(cells) >= _MANY_ROWS:
            found = tree_shap(model.booster_.dump_model(), cells)
        else:
            found = model.booster_.predict(cells, pred_contrib=True)
    elif library == "xgboost":
        import xgboost as xgb

        kinds = {"feature_types": model.feature_types, "enable_categorical": True}
        rows = xgb.DMatrix(cells, missing=model.missing, **kinds)
        found = model.get_booster().predict(rows, pred_contribs=True)
    elif library == "catboost":
        import catboost as cb

        rows = cb.Pool(cells, cat_features=model.get_cat_feature_indices())
        found = model.get_feature_importance(rows, type="ShapValues")
    elif isinstance(model, BaseEnsemble) and hasattr(model, "decision_path"):
        return _Sums(_along_paths(model, cells), "path contributions (Saabas)")
    else:
        coefficients = np.atleast_2d(getattr(model, "coef_", np.empty((0, 0))))
        if coefficients.shape[1] != width - 1:
            return None
        mean = cells[:known].mean(axis=0)
        terms, base = (cells - mean)[:, None] * coefficients, coefficients @ mean
        found = np.insert(terms, width - 1, model.intercept_ + base, axis=2)
        return _Sums(found, "coefficient times (value - mean)")
    return _Sums(
        np.asarray(found, np.float64).reshape(len(cells), -1, width), "TreeSHAP"
    )


def _along_paths(forest: Any, cells: np.ndarray) -> np.ndarray:
    """Sum, per split column, the changes of the node's mean along each row's path, (n,
    k, d + 1).
    """
    total: Any = 0
    for tree in (one.tree_ for one in forest.estimators_):
        means = tree.value[:, 0].T
        found, parent = (
            np.zeros((*means.shape, cells.shape[1] + 1)),
            np.zeros(tree.node_count, int),
        )
        for children in (tree.children_left, tree.children_right):
            parent[children[children > 0]] = np.flatnonzero(children > 0)
        found[..., -1], at = means[:, [0]], np.arange(tree.node_count)
        while len(below := np.flatnonzero(at)):  # from each node up to the root
            above = parent[at[below]]
            found[:, below, tree.feature[above]] += (
                means[:, at[below]] - means[:, above]
            )
            at[below] = above
        total += found[:, tree.apply(cells.astype(np.float32))]
    return np.moveaxis(total, 0, 1) / len(forest.estimators_)
