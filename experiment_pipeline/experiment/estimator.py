"""A search as a scikit-learn estimator, for those who have a pipeline of their own.

    model = ExperimentClassifier(metric="roc_auc", seconds=60)
    cross_val_score(model, X, y, scoring="roc_auc")

`fit` explores the given rows in memory and fits the best configuration again on all of
them. There is no validation report: whoever calls `fit` judges the model on other rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from experiment_pipeline.experiment.declared import as_written
from experiment_pipeline.experiment.in_memory import (
    ExperimentRun,
    declare,
    run_experiment,
)
from experiment_pipeline.intake.frames import as_pandas
from experiment_pipeline.prediction.files import Model
from experiment_pipeline.prediction.rows import Reading, Signature
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.search.halving import workers_of
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import (
    best_threshold,
    scoring_threshold,
    threshold_value,
)
from experiment_pipeline.table.schema import shared_schema


class _SearchEstimator(BaseEstimator):
    def __init__(
        self,
        *,
        metric: str | Callable | None = None,
        search: str | Sequence[Any] | None = None,
        seconds: float | None = None,
        random_state: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.metric = metric
        self.search = search
        self.seconds = seconds
        self.random_state = random_state
        self.settings = settings

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """Return a prediction (n,) for every row (n, features)."""
        check_is_fitted(self)
        return self.pipeline_.predict(self._table(X))

    def _fit(self, X: Any, y: np.ndarray, task: str) -> Self:
        table = self._table(X, reset=True)
        check_consistent_length(table, y)
        target = "target"
        while target in table:
            target += "_"
        parameters = {
            "metric": self.metric,
            "search": self.search,
            "budget": self.seconds and {"seconds": self.seconds},
            "seed": self.random_state,
        }
        given = {key: value for key, value in parameters.items() if value is not None}
        written = as_written({"task": task, **given, **(self.settings or {})})
        table = table.assign(**{target: y})
        _, spec = declare("experiment", table, target, written, always_infer=True)
        inferred = spec.model_dump(
            mode="json", exclude_unset=True, exclude={"name", "data", "target"}
        )
        models = ModelsInMemory()
        explored = run_experiment(
            table, target, models=models, until="leaderboard", **inferred
        )
        assert explored.leaderboard is not None
        self.leaderboard_ = explored.leaderboard.rows
        self.pipeline_ = _fitted_on_all(explored, models)
        return self

    def _table(self, X: Any, *, reset: bool = False) -> pd.DataFrame:
        """Return rows as a table; an array has the columns x0, x1 and so on."""
        if hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return as_pandas(X).reset_index(drop=True).rename(columns=str)
        array = validate_data(
            self,
            X,
            reset=reset,
            dtype=None,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )
        return pd.DataFrame(array).add_prefix("x").infer_objects()


class ExperimentClassifier(ClassifierMixin, _SearchEstimator):
    """A classifier that searches as `experiment_pipeline.explore` does, when it is
    fitted.

    >>> from sklearn.model_selection import cross_val_score
    >>> search = ExperimentClassifier(metric="roc_auc", search="linear", seconds=60)
    >>> cross_val_score(search, X, y, scoring="roc_auc")  # doctest: +SKIP

    `metric` ranks the configurations, `search` names the algorithms to try, `seconds`
    limit `fit`, `settings` are other keys of defs.yaml; what is missing is inferred.
    Fitted: `leaderboard_` has a row per configuration, `pipeline_` is a scikit-learn
    pipeline for rows as delivered. Of two classes it predicts by the threshold that is
    cheapest by `costs`, or best for the metric; 0.5 if nothing depends on it. `fit`
    raises as `explore`: DataError where a column reveals the target, or rows are too
    few.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Explore rows (n, features) with classes (n,); fit the best on all of them."""
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError("y holds one class. Give rows of two or more classes.")
        return self._fit(X, y, "binary" if len(self.classes_) == 2 else "multiclass")

    def predict(self, X: Any) -> np.ndarray:
        """Return the class (n,) of every row (n, features)."""
        return super().predict(X).astype(self.classes_.dtype)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities (n, classes); the columns are in order of `classes_`."""
        check_is_fitted(self)
        probabilities = self.pipeline_.predict_proba(self._table(X))
        return probabilities[:, np.argsort(self.pipeline_.classes_)]


class ExperimentRegressor(RegressorMixin, _SearchEstimator):
    """A regressor that searches when it is fitted; all else as
    `ExperimentClassifier`.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Explore rows (n, features) with numbers (n,); fit the best on all of them."""
        y = column_or_1d(y, warn=True)
        y = check_array(y, dtype="numeric", ensure_2d=False, input_name="y")
        return self._fit(X, y, "regression")


def _fitted_on_all(explored: ExperimentRun, store: ModelsInMemory) -> Pipeline:
    """Return the choice, fitted on all valid rows, as a pipeline for delivered rows."""
    spec = explored.spec
    board = explored.leaderboard
    assert board is not None
    assert explored.sets is not None
    assert explored.validated is not None
    train = explored.sets.train
    sets = as_evaluated(train, explored.sets.test, spec)
    chosen = ChosenModel.of(board, store, sets.y_test, sets.test_clusters(spec))
    chosen = chosen.calibrated(board, store, sets, spec)
    rows = explored.validated.validated
    threshold = None
    if spec.task == "binary":
        threshold = _threshold(spec, chosen.predicted(sets))
    signature = Signature(
        task=spec.task,
        target=spec.target,
        features={name: str(rows[name].dtype) for name in sets.features},
        classes=sets.classes,
        positive_class=sets.classes[-1] if sets.classes else None,
        threshold=threshold,
    )
    model = Model(
        name=spec.name,
        pipeline=chosen.refitted(rows, sets, spec, workers_of(spec)),
        reading=Reading.of(spec, train.origin),
        schema=shared_schema(explored.schema_text, ""),
        signature=signature,
        examples=rows.head(1),
    )
    return model.sklearn


def _threshold(spec: ExperimentSpec, test: SetPrediction) -> float:
    """Return the cheapest threshold, or the best for the metric; 0.5 where nothing
    depends on it, as scikit-learn's classifiers decide.
    """
    if spec.costs is not None:
        return threshold_value(best_threshold(spec.metric_names, spec.costs, test))
    return scoring_threshold(spec.metric_names, test.y, test.prediction, test.weights)
