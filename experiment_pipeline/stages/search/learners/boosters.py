"""CatBoost and XGBoost as `Learner`s, by their scikit-learn interface.

They stop on the early-stopping set and read categories as categories. Around a booster
scikit-learn's own classes put its codes into order and map classes back, so that a
stored model loads without this package.
"""

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from experiment_pipeline.errors import InvalidExperiment, UnknownAlgorithm
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.stages.search.averaging import averaged
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.estimators import (
    EstimatorLearner,
    Fit,
    estimator_class,
)
from experiment_pipeline.stages.search.learners.hyperparameters import (
    CATBOOST,
    LEARNING_RATE,
    LOSSES,
    XGBOOST,
    ParameterNames,
    Rounds,
    take_rounds,
    watchable,
)
from experiment_pipeline.stages.search.learners.learner import FitRequest
from experiment_pipeline.stages.search.shared_work import EncodedRows


class BoosterLearner(EstimatorLearner):
    """A boosting library with scikit-learn's interface."""

    names: ClassVar[ParameterNames]
    # LightGBM's name of a metric → the library's, which ranks models the same way.
    metrics: ClassVar[Mapping[str, str]]
    # What encoded rows become: arrays, or "pandas".
    output: ClassVar[str] = "default"

    @abstractmethod
    def _codes_step(self) -> Any:
        """An unfitted transformer of codes, -1 where a category is missing."""

    @abstractmethod
    def _boost(
        self,
        make: Any,
        parameters: dict[str, Any],
        rows: EncodedRows,
        rounds: Rounds,
        held_out: EncodedRows | None,
    ) -> tuple[Any, int]:
        """The fitted estimator of the class `make`, and its rounds.

        Codes come last in `rows`. `rounds.watched` is the library's metric; only held
        out rows stop it.
        """

    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Check that the package is installed, and the names."""
        library = self.names.library
        if importlib.util.find_spec(library) is None:
            raise UnknownAlgorithm(
                f"algorithm {library}",
                rule=f"the package {library} is not installed",
                fix=f'pip install "experiment-pipeline[{library}]"',
            )
        self.names.own_names(configuration, task)

    def watched(self, request: FitRequest) -> str | None:
        """The metric that stops a fit."""
        with suppress(InvalidExperiment):
            parameters = self.names.own_names(request.configuration, request.sets.task)
            return take_rounds(parameters, request, stops=True, fixed=None).watched
        return None

    def fit_rows(
        self, request: FitRequest, rows: EncodedRows, rounds: int | None, *, stops: bool
    ) -> Fit:
        """Boost until the early-stopping set gets no better, or to the end."""
        sets, task = request.sets, request.sets.task
        parameters = self.names.own_names(request.configuration, task)
        plan = take_rounds(parameters, request, stops=stops, fixed=rounds)
        usual = {"learning_rate": LEARNING_RATE, "random_state": request.spec.seed}
        parameters = usual | parameters
        codes, rows = self._with_codes(rows)
        held_out = None
        if plan.patience:
            held_out = rows.part(sets.early_stopping)
            rows = rows.part(sets.fit_mask)
        labels = list[Any]()
        if sets.classes is not None:
            # The rows may lack a class: codes are those of the classes that they have.
            codes_present = np.unique(rows.y)
            labels = [sets.classes[code] for code in codes_present]
            rows = _with_classes(rows, codes_present)
            if held_out is not None:
                held_out = _with_classes(held_out, codes_present)
            task = "multiclass" if len(labels) > 2 else "binary"
        if held_out is not None and plan.watched is not None:
            watched = plan.watched if task == sets.task else LOSSES[task]
            plan = replace(plan, watched=self._metric(watched, task, held_out))
        path = ALGORITHMS[self.names.library].estimator(sets.task).path
        make = estimator_class(path)
        booster, rounds = self._boost(make, parameters, rows, plan, held_out)
        return _wrapped(booster, codes, labels), rounds

    def _metric(self, watched: str, task: str, held_out: EncodedRows) -> str:
        """The library's metric that stops a fit, given LightGBM's name of it."""
        watched = watchable(watched, task, len(np.unique(held_out.y)))
        return self.metrics.get(watched, self.metrics[LOSSES[task]])

    def _with_codes(self, rows: EncodedRows) -> tuple[Any, EncodedRows]:
        """The fitted step that brings codes last, and the rows so, for the library."""
        if not rows.categorical:
            return None, rows
        from sklearn.compose import ColumnTransformer

        columns = rows.table.shape[1]
        numbers = [name for name in range(columns) if name not in rows.categorical]
        parts = [
            ("numbers", "passthrough", numbers),
            ("codes", self._codes_step(), rows.categorical),
        ]
        step = ColumnTransformer(parts, verbose_feature_names_out=False)
        table = step.set_output(transform=self.output).fit_transform(rows.table)
        directions = rows.directions
        if directions is not None:
            directions = [directions[name] for name in (*numbers, *rows.categorical)]
        codes = list(range(len(numbers), columns))
        return step, replace(
            rows, table=table, categorical=codes, directions=directions
        )


def _wrapped(booster: Any, codes: Any, labels: Sequence[Any]) -> Any:
    """A booster behind its step of codes, that predicts the labels of its classes."""
    estimator = booster
    if codes is not None:
        from sklearn.pipeline import Pipeline

        estimator = Pipeline([("codes", codes), ("booster", estimator)])
    if labels:
        # An average of one model: scikit-learn's own wrapper that maps codes back
        # to classes.
        estimator = averaged([estimator], labels, names=["model"])
    return estimator


def _with_classes(rows: EncodedRows, codes: np.ndarray) -> EncodedRows:
    """The rows of these classes, whose codes become 0, 1 and so on."""
    if not np.isin(rows.y, codes).all():
        rows = rows.part(np.isin(rows.y, codes))
    return replace(rows, y=np.searchsorted(codes, rows.y))


class CatBoostLearner(BoosterLearner):
    """Encodes categories by the targets of preceding rows; missing is one more."""

    names = CATBOOST
    output = "pandas"
    metrics: ClassVar = {
        "auc": "AUC",
        "average_precision": "PRAUC",
        "binary_logloss": "Logloss",
        "multi_logloss": "MultiClass",
        "l1": "MAE",
        "l2": "RMSE",
        "mape": "MAPE",
    }

    def _codes_step(self) -> Any:
        # CatBoost takes no float for a category.
        import pandas as pd
        from sklearn.preprocessing import FunctionTransformer

        return FunctionTransformer(
            pd.DataFrame, kw_args={"dtype": "int64"}, feature_names_out="one-to-one"
        )

    def _boost(
        self,
        make: Any,
        parameters: dict[str, Any],
        rows: EncodedRows,
        rounds: Rounds,
        held_out: EncodedRows | None,
    ) -> tuple[Any, int]:
        import catboost as cb

        def pool(part: EncodedRows) -> cb.Pool:
            return cb.Pool(
                part.table,
                part.y,
                cat_features=part.categorical,
                weight=part.weights,
                thread_count=1,
            )

        is_classifier = hasattr(make, "predict_proba")
        parameters = {
            **parameters,
            "thread_count": 1,
            "allow_writing_files": False,
            "allow_const_label": True,
            "logging_level": "Silent",
        }
        if is_classifier:
            # Two at least: CatBoost refuses a single one.
            parameters["class_names"] = list(range(max(int(rows.y.max()) + 1, 2)))
        settings = dict[str, Any]()
        if rows.directions is not None:
            settings["monotone_constraints"] = rows.directions
        if held_out is not None:
            # The mean squared error of a probability has another name.
            is_brier = rounds.watched == "RMSE" and is_classifier
            settings["eval_metric"] = "BrierScore" if is_brier else rounds.watched
            settings["od_type"] = "Iter"
            settings["od_wait"] = rounds.patience
            settings["use_best_model"] = True
        fitted = make(**parameters, **settings, iterations=rounds.at_most)
        fitted.fit(pool(rows), eval_set=None if held_out is None else pool(held_out))
        # Removed, as they differ between equal fits: time and id, and predictions of
        # held-out rows.
        metadata = fitted.get_metadata()
        for name in ("model_guid", "train_finish_time"):
            del metadata[name]
        trees = int(fitted.tree_count_)
        bare = make(**parameters, iterations=trees)
        bare.load_model(blob=fitted.__getstate__()["__model"])
        return bare, trees


class XGBoostLearner(BoosterLearner):
    """Splits on sets of categories; a missing one is XGBoost's own missing value."""

    names = XGBOOST
    metrics: ClassVar = {
        "auc": "auc",
        "average_precision": "aucpr",
        "binary_logloss": "logloss",
        "multi_logloss": "mlogloss",
        "l1": "mae",
        "l2": "rmse",
        "mape": "mape",
    }

    def _codes_step(self) -> Any:
        # XGBoost refuses negative codes, and handles missing values itself.
        from sklearn.impute import SimpleImputer

        return SimpleImputer(
            missing_values=-1,
            strategy="constant",
            fill_value=np.nan,
            keep_empty_features=True,
        )

    def _boost(
        self,
        make: Any,
        parameters: dict[str, Any],
        rows: EncodedRows,
        rounds: Rounds,
        held_out: EncodedRows | None,
    ) -> tuple[Any, int]:
        from xgboost.callback import EarlyStopping

        settings: dict[str, Any] = {"tree_method": "hist", "n_jobs": 1, "verbosity": 0}
        if rows.categorical:
            numbers = rows.table.shape[1] - len(rows.categorical)
            settings["enable_categorical"] = True
            settings["feature_types"] = ["q"] * numbers + ["c"] * len(rows.categorical)
        if rows.directions is not None:
            settings["monotone_constraints"] = tuple(rows.directions)
        estimator = make(**parameters, **settings, n_estimators=rounds.at_most)
        evaluated = dict[str, Any]()
        if held_out is not None:
            stop = EarlyStopping(
                rounds=rounds.patience, min_delta=rounds.min_delta, save_best=True
            )
            estimator.set_params(eval_metric=rounds.watched, callbacks=[stop])
            evaluated["eval_set"] = [(held_out.table, held_out.y)]
            if held_out.weights is not None:
                evaluated["sample_weight_eval_set"] = [held_out.weights]
        estimator.fit(
            rows.table, rows.y, sample_weight=rows.weights, verbose=False, **evaluated
        )
        trees = estimator.get_booster().num_boosted_rounds()
        return estimator.set_params(callbacks=None, n_estimators=trees), trees
