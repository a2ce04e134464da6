"""CatBoost and XGBoost as `Learner`s, by their scikit-learn interface.

Both are fitted as imported estimators are, with the early-stopping set as `eval_set`. The stored
and exported estimator is made of scikit-learn's own parts around the library's: it gives codes of
categories the form that the library reads and returns classes of the target, and it loads with
scikit-learn and the library alone.
"""

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping
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


def _metrics(names: str) -> Mapping[str, str]:
    """LightGBM's name of a metric → the library's."""
    known = ("auc", "average_precision", "binary_logloss", "multi_logloss", "l1", "l2", "mape")
    return dict(zip(known, names.split(), strict=True))


class BoosterLearner(EstimatorLearner):
    """A boosting library with scikit-learn's interface.

    Attributes:
        names: of its parameters.
        metrics: LightGBM's name of a metric → the library's, which orders models alike.
        output: what encoded rows become: "default" arrays, or "pandas".
    """

    names: ClassVar[ParameterNames]
    metrics: ClassVar[Mapping[str, str]]
    output: ClassVar[str] = "default"

    @abstractmethod
    def _codes_step(self) -> Any:
        """An unfitted transformer of the columns of codes, -1 where a category is missing."""

    @abstractmethod
    def _boost(
        self, make: Any, given: Any, rows: EncodedRows, rounds: Rounds, held_out: EncodedRows | None
    ) -> tuple[Any, int]:
        """The fitted estimator of the class `make` with the parameters `given`, and its rounds.

        The codes of the rows come last, and their target is a number or a code. `rounds.watched` is
        the library's metric. Without held out rows nothing stops it.
        """

    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Check that the package is installed, and the names."""
        if importlib.util.find_spec(self.names.library) is None:
            raise UnknownAlgorithm(
                f"algorithm {self.names.library}",
                f"the package {self.names.library} is not installed",
                f'pip install "experiment-pipeline[{self.names.library}]"',
            )
        self.names.own_names(configuration, task)

    def watched(self, request: FitRequest) -> str | None:
        """The metric that stops a fit."""
        with suppress(InvalidExperiment):
            given = self.names.own_names(request.configuration, request.sets.task)
            return take_rounds(given, request, stops=True, fixed=None).watched
        return None

    def fit_rows(
        self,
        request: FitRequest,
        rows: EncodedRows,
        rounds: int | None = None,
        *,
        stops: bool = True,
    ) -> Fit:
        """Boost until the early-stopping set gets no better, or to the end.

        A class that the rows lack has no column in the result, as with other estimators.
        """
        sets, task, classes = request.sets, request.sets.task, list[Any]()
        given = self.names.own_names(request.configuration, task)
        planned = take_rounds(given, request, stops=stops and rounds is None, fixed=rounds)
        given = {"learning_rate": LEARNING_RATE, "random_state": request.spec.seed, **given}
        codes, rows = self._with_codes(rows)
        held_out = rows.part(sets.early_stopping) if planned.patience else None
        rows = rows if held_out is None else rows.part(sets.fit_mask)
        if sets.classes is not None:
            seen, y = np.unique(rows.y, return_inverse=True)
            rows, classes = replace(rows, y=y), [sets.classes[code] for code in seen]
            task = "multiclass" if len(seen) > 2 else "binary"
            if held_out is not None:
                held_out = held_out.part(np.isin(held_out.y, seen))
                held_out = replace(held_out, y=np.searchsorted(seen, held_out.y))
        if held_out is not None and planned.watched is not None:
            watched = planned.watched if task == sets.task else LOSSES[task]
            watched = watchable(watched, task, len(np.unique(held_out.y)))
            metric = self.metrics.get(watched) or self.metrics[LOSSES[task]]
            planned = replace(planned, watched=metric)
        make = estimator_class(ALGORITHMS[self.names.library].estimator(sets.task).path)
        estimator, kept = self._boost(make, given, rows, planned, held_out)
        if codes is not None:
            from sklearn.pipeline import Pipeline

            estimator = Pipeline([("codes", codes), ("booster", estimator)])
        # An average of one is scikit-learn's own way from codes to classes.
        whole = averaged([estimator], classes, names=["model"]) if classes else estimator
        return whole, kept, ()

    def _with_codes(self, rows: EncodedRows) -> tuple[Any, EncodedRows]:
        """Rows in the form of the library, codes last, and the fitted step that makes them so."""
        if not rows.categorical:
            return None, rows
        from sklearn.compose import ColumnTransformer

        columns = rows.table.shape[1]
        others = [column for column in range(columns) if column not in rows.categorical]
        of_codes = ("codes", self._codes_step(), rows.categorical)
        parts = [("numbers", "passthrough", others), of_codes]
        step = ColumnTransformer(parts, verbose_feature_names_out=False)
        table = step.set_output(transform=self.output).fit_transform(rows.table)
        wanted = rows.directions
        if wanted is not None:
            wanted = [wanted[column] for column in (*others, *rows.categorical)]
        codes = list(range(len(others), columns))
        return step, replace(rows, table=table, categorical=codes, directions=wanted)


class CatBoostLearner(BoosterLearner):
    """Encodes categories by the targets of the rows before; a missing one is one more category."""

    names = CATBOOST
    output = "pandas"
    metrics = _metrics("AUC PRAUC Logloss MultiClass MAE RMSE MAPE")

    def _codes_step(self) -> Any:
        # CatBoost takes no float for a category.
        import pandas as pd
        from sklearn.preprocessing import FunctionTransformer

        dtype = {"dtype": "int64"}
        return FunctionTransformer(pd.DataFrame, kw_args=dtype, feature_names_out="one-to-one")

    def _boost(
        self, make: Any, given: Any, rows: EncodedRows, rounds: Rounds, held_out: EncodedRows | None
    ) -> tuple[Any, int]:
        import catboost as cb

        def pool(part: EncodedRows) -> cb.Pool:
            given = {"cat_features": part.categorical, "weight": part.weights, "thread_count": 1}
            return cb.Pool(part.table, part.y, **given)

        quiet = {"allow_writing_files": False, "allow_const_label": True, "logging_level": "Silent"}
        fixed: dict[str, Any] = {**given, "thread_count": 1, **quiet}
        is_classifier = hasattr(make, "predict_proba")
        if is_classifier:
            # Two at least: CatBoost refuses a single one.
            fixed["class_names"] = list(range(max(int(rows.y.max()) + 1, 2)))
        settings: dict[str, Any] = {}
        if rows.directions is not None:
            settings["monotone_constraints"] = rows.directions
        if held_out is not None:
            # The mean square of a probability's error has another name.
            is_brier = rounds.watched == "RMSE" and is_classifier
            settings["eval_metric"] = "BrierScore" if is_brier else rounds.watched
            settings |= {"od_type": "Iter", "od_wait": rounds.patience, "use_best_model": True}
        fitted = make(**fixed, **settings, iterations=rounds.at_most)
        fitted.fit(pool(rows), eval_set=None if held_out is None else pool(held_out))
        # What differs between two equal fits: time and id, and predictions of the held-out rows.
        metadata = fitted.get_metadata()
        for name in ("model_guid", "train_finish_time"):
            del metadata[name]
        kept = int(fitted.tree_count_)
        bare = make(**fixed, iterations=kept)
        bare.load_model(blob=fitted.__getstate__()["__model"])
        return bare, kept


class XGBoostLearner(BoosterLearner):
    """Splits sets of categories; a missing one is what XGBoost takes for missing."""

    names = XGBOOST
    metrics = _metrics("auc aucpr logloss mlogloss mae rmse mape")

    def _codes_step(self) -> Any:
        # XGBoost refuses a negative code, and has a way of its own for what is missing.
        from sklearn.impute import SimpleImputer

        given = {"missing_values": -1, "strategy": "constant", "fill_value": np.nan}
        return SimpleImputer(**given, keep_empty_features=True)

    def _boost(
        self, make: Any, given: Any, rows: EncodedRows, rounds: Rounds, held_out: EncodedRows | None
    ) -> tuple[Any, int]:
        from xgboost.callback import EarlyStopping

        fixed = {**given, "tree_method": "hist", "n_jobs": 1, "verbosity": 0}
        if rows.categorical:
            numbers = rows.table.shape[1] - len(rows.categorical)
            kinds = ["q"] * numbers + ["c"] * len(rows.categorical)
            fixed |= {"enable_categorical": True, "feature_types": kinds}
        if rows.directions is not None:
            fixed["monotone_constraints"] = tuple(rows.directions)
        estimator, against = make(**fixed, n_estimators=rounds.at_most), dict[str, Any]()
        if held_out is not None:
            stop = EarlyStopping(rounds.patience, min_delta=rounds.min_delta, save_best=True)
            estimator.set_params(eval_metric=rounds.watched, callbacks=[stop])
            against["eval_set"] = [(held_out.table, held_out.y)]
            if held_out.weights is not None:
                against["sample_weight_eval_set"] = [held_out.weights]
        estimator.fit(rows.table, rows.y, sample_weight=rows.weights, verbose=False, **against)
        kept = estimator.get_booster().num_boosted_rounds()
        return estimator.set_params(callbacks=None, n_estimators=kept), kept
