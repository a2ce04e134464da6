"""Why a row is predicted as it is: contributions of delivered columns that add up to the prediction.

Exact where the model allows it. Boosted trees have TreeSHAP (Lundberg et al. 2020), a linear model
coefficient times (value - mean of the example rows), a random forest what the node's mean changes
along a row's path (Saabas 2014: exact in sum, but no Shapley value); a mean has the mean of its
members'. On the example rows these must add up to the prediction, its logarithm or its log odds, else
Shapley values of the prediction itself are sampled.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.prediction.rows import UNSEEN_CATEGORY, Predicted, Signature
from experiment_pipeline.reporting import charts, numbers
from experiment_pipeline.reporting.document import Chart
from experiment_pipeline.spec import Preparation
from experiment_pipeline.statistics.importance import sampled_shapley
from experiment_pipeline.table.coercion import as_text, value_as_text
from experiment_pipeline.table.preparation import calendar_columns
from experiment_pipeline.table.table import slices

BASE = "base"
SHOWN_ROWS, SHOWN_COLUMNS, BACKGROUND_ROWS = 10, 15, 50
_MOST_CELLS = 2**24  # numbers in one table of contributions: 128 MB
# What exact contributions may add up to: the prediction as it is, or one of these.
_SCALES = ("", "logarithm of ", "log odds of ")
# (n, outputs, d + 1), the base last, and how it was found; None: there is no exact way.
_Exact = tuple[np.ndarray, str] | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """Contributions of columns to predictions; a row per accepted row, indexed by `row_number`."""

    # a column per delivered column that the model reads, or that code of one's own makes, and `base`,
    # where every row starts; their sum is the prediction on the scale
    contributions: pd.DataFrame
    delivered: pd.DataFrame  # the values of these columns
    predicted: Predicted
    scale: str  # what a row adds up to
    method: str  # how contributions were found

    def strongest(self, most: int = 3) -> pd.DataFrame:
        """Return the predictions with `feature_1`, `value_1`, `contribution_1`, `feature_2` and so on."""
        found, table = self.contributions.drop(columns=BASE).to_numpy(), dict[str, Any]()
        texts = self.delivered.apply(as_text).to_numpy(dtype=object)
        order, each = np.argsort(-np.abs(found), axis=1, kind="stable"), np.arange(len(found))
        for place, at in enumerate(order.T[:most], start=1):
            table[f"feature_{place}"] = pd.array(self.delivered.columns[at], dtype="str")
            table[f"value_{place}"] = pd.array(texts[each, at], dtype="str")
            table[f"contribution_{place}"] = found[each, at]
        taken = {name: f"original_{name}" for name in table}
        # A prediction for each row, in their order.
        return self.predicted.predictions.rename(columns=taken).assign(**table)

    def plot(self, i: int = 0) -> Chart:
        """Return the chart of the row at position `i`: a bar per column, the strongest on top."""
        whole, cells = self.contributions.iloc[i], self.delivered.iloc[i]
        row = whole.drop(BASE).sort_values(key=np.abs, ascending=False).head(SHOWN_COLUMNS)
        texts = {k: "missing" if pd.isna(v) else value_as_text(v) for k, v in cells.items()}
        names = [charts.plain(f"{name} = {texts[name]}") for name in row.index]
        bars = [
            charts.item(v, k, itemStyle={"color": charts.SERIES[v < 0]}, tip=f"{names[k]}: {v:.4g}")
            for k, v in enumerate(row.tolist())
        ]
        start, end = numbers.score(whole[BASE]), numbers.score(whole.sum())
        said = f"{self.scale}: {end} = base {start} + contributions ({self.method})."
        axes = {"xAxis": {"name": "contribution"}, "yAxis": charts.names_axis(names, inverse=True)}
        option = {**axes, "series": [{"type": "bar", "data": bars}]}
        return Chart(f"Row {whole.name}", said, option, height=80 + 26 * len(bars))

    def _repr_html_(self) -> str:
        what = f"{len(self.delivered):,} rows; contributions ({self.method}) to the {self.scale}"
        return f"<p>{html.escape(what)}</p>{self.strongest().head(SHOWN_ROWS).to_html(index=False, border=0)}"


class Explainer:
    """Explains the predictions of a fitted pipeline; `examples` are as of `golden_rows`."""

    def __init__(
        self, pipeline: Any, signature: Signature, made: Preparation, examples: pd.DataFrame
    ) -> None:
        from experiment_pipeline.stages.search.voting import TakenApart

        self._parts, self._signature = TakenApart.of(pipeline), signature
        dates = [(name, part) for name, parts in made.calendar.items() for part in parts]
        source = {new: name for name, part in dates for new in calendar_columns(name, part)}
        # Delivered column → positions of what encodes it.
        self._columns = dict[str, list[int]]()
        for name in dict.fromkeys((*signature.features, *self._parts.columns)):
            if name in self._parts.columns:
                positions = self._columns.setdefault(source.get(name, name), [])
                positions += self._parts.columns[name].tolist()
        real = examples[~examples.isin([UNSEEN_CATEGORY]).any(axis=1)]
        self._background = cells = self._encoded(real.head(BACKGROUND_ROWS))
        self._scale: str | None = None
        self._method = f"Shapley values, sampled with {len(cells)} rows"
        if (found := self._exact(cells)) is not None:
            for scale in _SCALES:
                # XGBoost's own sums are of single precision.
                if np.allclose(_on_scale(found[0], scale)[1], self._predict(cells), 1e-4, 1e-5):
                    self._scale, self._method = scale, found[1]

    def explanation(
        self, raw: pd.DataFrame, prepared: pd.DataFrame, predicted: Predicted
    ) -> Explanation:
        """Explain the predictions of rows of a raw table, and the same rows prepared."""
        one, features = self._signature, self._signature.select(prepared)
        width = len(one.classes or "1") * (self._background.shape[1] + 1)
        parts = slices(len(features), max(_MOST_CELLS // width, 1))
        found = np.vstack([self._of_rows(features.iloc[part]) for part in parts])
        label = f"the predicted {one.target}" if one.task == "multiclass" else one.target
        if one.task == "binary":
            label = f"{one.target} = {one.positive_class}"
        kind = self._scale or ("probability of " if one.classes else "")
        names = [f"original_{name}" if name == BASE else name for name in self._columns]
        own = self._parts.own
        made = features if own is None else own.transform(features)
        cells = [raw[name] if name in raw else made[name] for name in self._columns]
        return Explanation(
            pd.DataFrame(found, features.index, [*names, BASE]),
            pd.concat(cells, axis=1).set_axis(names, axis=1),
            predicted,
            kind + label,
            self._method,
        )

    def _of_rows(self, features: pd.DataFrame) -> np.ndarray:
        cells, groups = self._encoded(features), list(self._columns.values())
        output, one = self._predict(cells).argmax(axis=1), self._signature
        if one.task == "binary" and one.classes is not None:
            output[:] = one.classes.index(one.positive_class)
        if self._scale is not None and (found := self._exact(cells)) is not None:
            each = _on_scale(found[0], self._scale)[0][np.arange(len(cells)), output]
            return np.column_stack([*(each[:, at].sum(axis=1) for at in groups), each[:, -1]])
        sampled = sampled_shapley(self._predict, cells, self._background, groups, output)
        return np.column_stack([sampled, self._predict(self._background).mean(axis=0)[output]])

    def _encoded(self, features: pd.DataFrame) -> np.ndarray:
        cells = self._parts.encode(features)
        return cells.toarray() if hasattr(cells, "toarray") else np.asarray(cells)

    def _predict(self, cells: np.ndarray) -> np.ndarray:
        task = "regression" if self._signature.classes is None else "multiclass"
        return self._parts.predict(cells, task, self._signature.classes).reshape(len(cells), -1)

    def _exact(self, cells: np.ndarray) -> _Exact:
        mean, each = self._background.mean(axis=0), list[_Exact]()
        for place, (model, _) in zip(self._parts.places, self._parts.models, strict=True):
            if (found := _exact(model, cells[:, place], mean[place])) is not None:
                whole = np.zeros((*found[0].shape[:2], len(mean) + 1))
                whole[..., [*range(place.start, place.stop), -1]] = found[0]
                found = whole, found[1]
            each.append(found)
        return _mean(each, [weight for _, weight in self._parts.models])


def _on_scale(found: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """Contributions to each output on a scale, and the predictions that they mean."""
    from scipy.special import softmax

    if scale == "log odds of ":
        if found.shape[1] == 1:
            found = np.concatenate([np.zeros_like(found), found], axis=1)
        found = found - found.mean(axis=1, keepdims=True)
        return found / (1 - 1 / found.shape[1]), softmax(found.sum(axis=2), axis=1)
    with np.errstate(over="ignore"):
        return found, np.exp(found.sum(axis=2)) if scale else found.sum(axis=2)


def _mean(parts: Sequence[_Exact], weights: Sequence[float] | None) -> _Exact:
    known = [one for one in parts if one is not None]
    if len(known) < len(parts) or len({one.shape for one, _ in known}) > 1:
        return None
    methods = ", ".join(dict.fromkeys(method for _, method in known))
    return np.average([one for one, _ in known], axis=0, weights=weights), methods


def _exact(model: Any, cells: Any, mean: np.ndarray) -> _Exact:
    """What encoded columns (n, d) add to what a fitted estimator sums up."""
    from sklearn import ensemble, pipeline

    library, width = type(model).__module__.partition(".")[0], len(mean) + 1
    if isinstance(model, ensemble.VotingClassifier | ensemble.VotingRegressor):
        return _mean([_exact(one, cells, mean) for one in model.estimators_], model.weights)
    if isinstance(model, pipeline.Pipeline):  # codes of categories, put last for a booster
        inner = _exact(model[-1], model[0].transform(cells), mean)
        order = np.concatenate([*(at for _, _, at in model[0].transformers_), [width - 1]])
        return inner and (inner[0][..., np.argsort(order)], inner[1])
    if library == "lightgbm" and not model.get_params().get("linear_tree"):
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
    elif isinstance(model, ensemble.RandomForestClassifier | ensemble.RandomForestRegressor):
        return _along_paths(model, cells), "path contributions (Saabas)"
    else:
        coefficients = np.atleast_2d(getattr(model, "coef_", np.empty((0, 0))))
        if coefficients.shape[1] != len(mean):
            return None
        terms, base = (cells - mean)[:, None] * coefficients, coefficients @ mean
        found = np.insert(terms, len(mean), model.intercept_ + base, axis=2)
        return found, "coefficient times (value - mean)"
    return np.asarray(found, np.float64).reshape(len(cells), -1, width), "TreeSHAP"


def _along_paths(forest: Any, cells: np.ndarray) -> np.ndarray:
    """How the mean of the node changes at each split on a row's path, by the column that is split."""
    n, width = len(cells), cells.shape[1] + 1
    total = np.zeros((forest.estimators_[0].tree_.value.shape[2], n, width))
    for tree in forest.estimators_:
        means, path = tree.tree_.value[:, 0], tree.decision_path(cells)
        row, node = np.repeat(np.arange(n), np.diff(path.indptr)), path.indices
        steps = np.flatnonzero(row[1:] == row[:-1])
        at = row[steps] * width + tree.tree_.feature[node[steps]]
        for k, gain in enumerate((means[node[steps + 1]] - means[node[steps]]).T):
            total[k] += np.bincount(at, gain, minlength=n * width).reshape(n, width)
            total[k, :, -1] += means[0, k]
    return total.transpose(1, 0, 2) / len(forest.estimators_)
