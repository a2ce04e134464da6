"""Estimators as `Learner`s: scikit-learn's, users' own, CatBoost's and XGBoost's.

Those whose `fit` takes `X_val` and `y_val` get the early-stopping set, CatBoost and
XGBoost as `eval_set`; all others are fitted without early stopping, with a note, as
scikit-learn's own would stop on random rows. Models are stored by skops and load
without this package.
"""

import importlib
import importlib.util
import inspect
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean, listed
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS, Estimator, competes
from experiment_pipeline.stages.search.averaging import averaged
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners import hyperparameters
from experiment_pipeline.stages.search.learners.hyperparameters import (
    ParameterNames,
    Rounds,
)
from experiment_pipeline.stages.search.learners.learner import (
    Clock,
    FitRequest,
    FittedModel,
    Learner,
    Restorable,
)
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.search.shared_work import (
    EncodedRows,
    SharedWork,
    SlicedTable,
)
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import best_constant
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.run_code import metric_sources

# scikit-learn's meaning of "auto": up to so many rows it does not stop.
AUTO_ROWS = 10_000
# Rows on which a user's own estimator must predict the same after it was stored and
# loaded.
RELOADED_ROWS = 100
# Their leaves become medians or quantiles, in any order: LightGBM refuses directions,
# XGBoost breaks them in silence.
_DIRECTIONLESS = (
    "regression_l1",
    "quantile",
    "mape",
    "reg:absoluteerror",
    "reg:quantileerror",
)
# A fitted estimator of encoded rows, with rounds and notes as in `FittedModel`.
Fit = tuple[Any, int | None, tuple[str, ...]]


class EstimatorLearner(Learner):
    """Fits what has `fit` and `predict`."""

    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Build an unfitted estimator, which takes a second, unless all names and
        values are known to work.
        """
        given, declared = (
            configuration.hyperparameters,
            _declared(configuration.algorithm, task),
        )
        odd = any(
            isinstance(one, str) or (one is not None and one < 0)
            for one in given.values()
        )
        if (
            is_own_estimator(configuration.algorithm)
            or odd
            or set(given) - declared.well_known
        ):
            build_estimator(configuration, task, seed=0)

    def watched(self, request: FitRequest) -> str | None:
        """The metric itself for a baseline that predicts the best constant for it; else
        None.
        """
        is_baseline = _is_baseline(request.configuration, request.sets.task)
        return (
            f"{request.spec.metric}{metric_sources(request.spec) or ''}"
            if is_baseline
            else None
        )

    def reads_all(self, configuration: Configuration) -> bool:
        """True, except for the baseline, which reads only the target."""
        return competes(configuration.algorithm)

    def fit_rows(
        self, request: FitRequest, rows: EncodedRows, rounds: int | None, *, stops: bool
    ) -> Fit:
        """Fit an estimator, with the early-stopping set where its `fit` takes one and
        it may stop.
        """
        configuration, sets = request.configuration, request.sets
        estimator = build_estimator(configuration, sets.task, request.spec.seed)
        if _is_baseline(configuration, sets.task):
            metric = request.spec.metric
            constant = float(
                best_constant(metric, rows.y, sets.task, weights=rows.weights)
            )
            estimator.set_params(strategy="constant", constant=constant)
        elif rows.directions is not None and competes(configuration.algorithm):
            # An estimator sorts its classes: where the positive one sorts first,
            # directions are reversed.
            turned = sets.classes is not None and bool(
                np.argsort(np.asarray(sets.classes))[0]
            )
            directions = [-one if turned else one for one in rows.directions]
            estimator.set_params(monotonic_cst=directions)
        may_stop = stops and rounds is None
        on_set, notes = set_early_stopping(
            estimator, sets.early_stopping if may_stop else None
        )
        if rounds is not None:
            estimator.set_params(max_iter=rounds)

        def labels(y: np.ndarray) -> np.ndarray:
            return y if sets.classes is None else np.asarray(sets.classes)[y]

        given: dict[str, Any] = {}
        if on_set:
            held_out, rows = rows.part(sets.early_stopping), rows.part(sets.fit_mask)
            given = {"X_val": held_out.table, "y_val": labels(held_out.y)}
            if held_out.weights is not None:
                given["sample_weight_val"] = held_out.weights
        if rows.weights is not None:
            given["sample_weight"] = rows.weights
        # Only the baseline is given a sliced table, and it reads only the shape.
        sliced = isinstance(rows.table, SlicedTable)
        X = np.broadcast_to(0.0, rows.table.shape) if sliced else rows.table
        estimator.fit(X, labels(rows.y), **given)
        return estimator, estimator.n_iter_ if on_set else None, notes

    def fit(
        self,
        request: FitRequest,
        work: SharedWork,
        rounds: int | None = None,
        *,
        stored: bool,
    ) -> FittedModel:
        """Fit on the train rows, and check that a user's own estimator survives the
        store.
        """
        configuration, sets = request.configuration, request.sets
        rows = work.train[configuration.features]
        # Limited here again: the import of a user's own estimator may have loaded
        # another OpenMP.
        with threadpool_limits(limits=1, user_api="openmp"), Clock() as clock:
            estimator, kept, notes = self.fit_rows(request, rows, rounds, stops=True)

        def predict(rows: Any) -> np.ndarray:
            return predictions_of(estimator, rows, sets.task, sets.classes)

        model = persistence.to_bytes(estimator) if stored else b""
        trusted_types: tuple[str, ...] = ()
        if stored and is_own_estimator(configuration.algorithm):
            trusted_types = persistence.untrusted_types(model)
            some = work.test[configuration.features][:RELOADED_ROWS]
            reloaded = persistence.from_bytes(model, trusted_types)
            again = predictions_of(reloaded, some, sets.task, sets.classes)
            if not np.array_equal(predict(some), again, equal_nan=True):
                rule = "the estimator predicts something else after it was stored and loaded"
                fix = "keep everything that it has learnt in attributes of plain data and arrays"
                raise errors.TrainingError(request.culprit, rule, fix)
        return FittedModel(
            predict=predict,
            model=model,
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=kept,
            trusted_types=trusted_types,
            notes=notes,
        )

    def restore(self, request: FitRequest, stored: Restorable, model: bytes) -> Any:  # noqa: ARG002
        """Read the skops file, trusting the types that were recorded when it was
        fitted.
        """
        return persistence.from_bytes(model, stored.trusted_types)

    def refit(self, request: FitRequest, rounds: int | None, rows: EncodedRows) -> Any:
        """Fit an estimator with this number of rounds, without early stopping."""
        return self.fit_rows(request, rows, rounds, stops=False)[0]


def _is_baseline(configuration: Configuration, task: str) -> bool:
    """Whether it is a regression's baseline, a constant; class shares suit all metrics
    of classification.
    """
    baseline = (
        not competes(configuration.algorithm) and not configuration.hyperparameters
    )
    return baseline and task == "regression"


def set_early_stopping(
    estimator: Any, early_stopping: np.ndarray | None
) -> tuple[bool, tuple[str, ...]]:
    """Let an unfitted estimator stop on the early-stopping set, bool (n_train,), or not
    at all; return whether its `fit` is to be given that set, and a note for each
    setting that has no effect.
    """
    switch, given, asked = (
        "early_stopping",
        estimator.get_params(deep=True),
        dict[str, Any](),
    )
    for name, value in given.items():
        path, _, last = name.rpartition("__")
        beside = {
            other.removeprefix(f"{path}__") for other in given if other.startswith(path)
        }
        # Without a switch, a patience turns early stopping on; with one, it counts
        # rounds on train rows.
        is_patience = switch not in beside and "validation_fraction" in beside
        if (last == switch and value not in (False, None)) or (
            last == "n_iter_no_change" and is_patience and value is not None
        ):
            asked[name] = value
    estimator.set_params(
        **{name: False if name.endswith(switch) else None for name in asked}
    )
    if early_stopping is None:
        return False, ()
    if asked.get(switch) == "auto" and len(early_stopping) <= AUTO_ROWS:
        del asked[switch]
    # `max_iter`, so that a refit can repeat the number of rounds.
    taken = inspect.signature(estimator.fit).parameters.keys()
    takes_set = {"X_val", "y_val"} <= taken and "max_iter" in estimator.get_params(
        deep=False
    )
    why = "it would hold out random train rows, whatever the split keeps apart"
    on_set = False
    if switch in asked and takes_set:
        on_set = bool(early_stopping.any() and not early_stopping.all())
        why = "the train set has no early-stopping set"
    if on_set:
        estimator.set_params(**{switch: True})
        del asked[switch]
    name = type(estimator).__name__
    return on_set, tuple(
        f"{setting}: {value} has no effect, {name} is fitted to its end: {why}"
        for setting, value in asked.items()
    )


def is_own_estimator(algorithm: str) -> bool:
    """Whether the algorithm is an import path."""
    return "." in algorithm


def _declared(algorithm: str, task: str) -> Estimator:
    """What is declared of an algorithm; nothing for an import path."""
    own = is_own_estimator(algorithm)
    return Estimator(algorithm) if own else ALGORITHMS[algorithm].estimator(task)


def build_estimator(configuration: Configuration, task: str, seed: int) -> Any:
    """Return the unfitted estimator of a configuration: one thread, seeded. Raises
    UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task;
    InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    declared = _declared(configuration.algorithm, task)
    path, culprit = declared.path, f"configuration {configuration.key}"
    cls = estimator_class(path)
    given = configuration.hyperparameters
    _check_names(configuration, cls)
    nested = {name: value for name, value in given.items() if "__" in name}
    direct = {name: value for name, value in given.items() if name not in nested}
    try:
        estimator = cls(**{**declared.defaults, **direct})
        # A function may return a pipeline, whose steps have seeds and threads of their
        # own.
        present = {"": estimator, **estimator.get_params(deep=not inspect.isclass(cls))}
        fixed = dict[str, int | None]()
        for name in present:
            owner, _, last = name.rpartition("__")
            if last == "random_state":
                fixed[name] = seed
            elif last == "n_jobs":
                # None means one thread in scikit-learn, which warns about other values.
                made_by = type(present.get(owner)).__module__
                fixed[name] = None if made_by.startswith("sklearn.") else 1
        estimator.set_params(**nested, **fixed)
        if path.startswith("sklearn."):
            estimator._validate_params()  # as each of its fits does, to begin with
    except (TypeError, ValueError, AttributeError) as error:
        rule = f"{cls.__name__} cannot be made with these hyperparameters: {error}"
        raise errors.InvalidExperiment(
            culprit, rule, "correct their names and values"
        ) from error
    tags = getattr(estimator, "__sklearn_tags__", None)
    kind = getattr(estimator, "_estimator_type", None) or (
        tags and tags().estimator_type
    )
    wanted = "regressor" if task == "regression" else "classifier"
    if kind is not None and kind != wanted:
        raise _unknown(path, f"it is a {kind}, the task is {task}", f"name a {wanted}")
    if wanted == "classifier" and not hasattr(estimator, "predict_proba"):
        rule = "with these hyperparameters it has no predict_proba, and scores need probabilities"
        raise _unknown(path, rule, "choose settings or an estimator with predict_proba")
    return estimator


def _check_names(configuration: Configuration, cls: type) -> None:
    parameters = inspect.signature(cls).parameters.values()
    allowed = [
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name in configuration.hyperparameters:
        if name in ("random_state", "n_jobs"):
            rule = (
                f"{name!r} is the same for every configuration, so that scores can be compared "
                "and reproduced"
            )
            fix = "drop it; seed and workers of the experiment decide it"
        elif name.partition("__")[0] not in allowed and not takes_any:
            rule = f"{name!r} is not a hyperparameter of {cls.__name__}, which has {listed(allowed)}"
            fix = f"correct the name: {did_you_mean(name, allowed)}"
        else:
            continue
        raise errors.InvalidExperiment(f"configuration {configuration.key}", rule, fix)


def check_demands(configuration: Configuration, spec: ExperimentSpec) -> None:
    """Raise InvalidExperiment: a configuration cannot use the weights, or the
    directions, of the YAML.
    """
    algorithm, rule, fix = configuration.algorithm, None, ""
    if not (spec.sample_weight or spec.monotone) or not competes(algorithm):
        return
    if (names := hyperparameters.NAMES.get(algorithm)) is not None:
        towards = names.own_names(configuration, spec.task).get(names.objective)
        if algorithm == "lightgbm" and "alpha" in metric_of(spec.metric).objective:
            towards = towards or "quantile"
        name, takes_weights = f"{algorithm} towards {towards}", True
        keeps_directions = towards not in _DIRECTIONLESS
    else:
        estimator = build_estimator(configuration, spec.task, seed=0)
        name = type(estimator).__name__
        takes_weights = "sample_weight" in inspect.signature(estimator.fit).parameters
        keeps_directions = "monotonic_cst" in estimator.get_params(deep=False)
    if spec.sample_weight and not takes_weights:
        rule = (
            f"{name} takes no sample_weight when it is fitted, so {spec.sample_weight} would only count "
            "in the scores"
        )
        fix = "drop sample_weight"
    elif spec.monotone and not keeps_directions:
        rule = f"{name} cannot be held to a direction ({listed(list(spec.monotone))})"
        fix = "drop monotone; boosted trees towards a mean, and forests, can"
    if rule is not None:
        out = f"take it out of `search`, or {fix}"
        raise errors.InvalidExperiment(f"algorithm {algorithm}", rule, out)


def estimator_class(path: str) -> type:
    """Return the class or factory at an import path; UnknownAlgorithm: there is none
    that fits and predicts.
    """

    def is_estimator(cls: Any) -> bool:
        if inspect.isfunction(cls):
            return cls.__module__ == module_name
        return inspect.isclass(cls) and hasattr(cls, "fit") and hasattr(cls, "predict")

    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        rule = f"there is no module {error.name or module_name}"
        raise _unknown(
            path, rule, "correct the path, or install its package"
        ) from error
    if not hasattr(module, name):
        public = [one for one, cls in inspect.getmembers(module) if is_estimator(cls)]
        raise _unknown(path, f"{module_name} has no {name}", did_you_mean(name, public))
    cls: type = getattr(module, name)
    if not is_estimator(cls):
        raise _unknown(
            path, "it is not a class with fit and predict", "name an estimator's class"
        )
    return cls


def _unknown(path: str, rule: str, fix: str) -> errors.UnknownAlgorithm:
    return errors.UnknownAlgorithm(f"algorithm {path}", rule, fix)


def _metrics(names: str) -> Mapping[str, str]:
    """LightGBM's name of a metric → the library's."""
    known = (
        "auc",
        "average_precision",
        "binary_logloss",
        "multi_logloss",
        "l1",
        "l2",
        "mape",
    )
    return dict(zip(known, names.split(), strict=True))


class BoosterLearner(EstimatorLearner):
    """A boosting library with scikit-learn's interface."""

    names: ClassVar[ParameterNames]
    # LightGBM's name of a metric → the library's, which ranks models the same way.
    metrics: ClassVar[Mapping[str, str]]
    # What encoded rows become: arrays, or "pandas".
    output: ClassVar[str] = "default"

    @abstractmethod
    def _codes_step(self) -> Any:
        """An unfitted transformer of the columns of codes, -1 where a category is
        missing.
        """

    @abstractmethod
    def _boost(
        self,
        make: Any,
        given: Any,
        rows: EncodedRows,
        rounds: Rounds,
        held_out: EncodedRows | None,
    ) -> tuple[Any, int]:
        """The fitted estimator of the class `make` with the parameters `given`, and its
        rounds.

        Codes come last in `rows`. `rounds.watched` is the library's metric; only held
        out rows stop it.
        """

    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Check that the package is installed, and the names."""
        if importlib.util.find_spec(self.names.library) is None:
            rule = f"the package {self.names.library} is not installed"
            fix = f'pip install "experiment-pipeline[{self.names.library}]"'
            raise errors.UnknownAlgorithm(f"algorithm {self.names.library}", rule, fix)
        self.names.own_names(configuration, task)

    def watched(self, request: FitRequest) -> str | None:
        """The metric that stops a fit."""
        with suppress(errors.InvalidExperiment):
            given = self.names.own_names(request.configuration, request.sets.task)
            return hyperparameters.take_rounds(
                given, request, stops=True, fixed=None
            ).watched
        return None

    def fit_rows(
        self, request: FitRequest, rows: EncodedRows, rounds: int | None, *, stops: bool
    ) -> Fit:
        """Boost until the early-stopping set gets no better, or to the end."""
        sets, task, classes = request.sets, request.sets.task, list[Any]()
        given = self.names.own_names(request.configuration, task)
        planned = hyperparameters.take_rounds(
            given, request, stops=stops and rounds is None, fixed=rounds
        )
        usual = {
            "learning_rate": hyperparameters.LEARNING_RATE,
            "random_state": request.spec.seed,
        }
        given = {**usual, **given}
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
            watched = (
                planned.watched if task == sets.task else hyperparameters.LOSSES[task]
            )
            watched = hyperparameters.watchable(
                watched, task, len(np.unique(held_out.y))
            )
            metric = (
                self.metrics.get(watched) or self.metrics[hyperparameters.LOSSES[task]]
            )
            planned = replace(planned, watched=metric)
        make = estimator_class(ALGORITHMS[self.names.library].estimator(sets.task).path)
        estimator, kept = self._boost(make, given, rows, planned, held_out)
        if codes is not None:
            from sklearn.pipeline import Pipeline

            estimator = Pipeline([("codes", codes), ("booster", estimator)])
        # An average of one model: scikit-learn's own wrapper that maps codes back to
        # classes.
        whole = (
            averaged([estimator], classes, names=["model"]) if classes else estimator
        )
        return whole, kept, ()

    def _with_codes(self, rows: EncodedRows) -> tuple[Any, EncodedRows]:
        """Rows in the form of the library, codes last, and the fitted step that makes
        them so.
        """
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
    """Encodes categories by the targets of preceding rows; a missing one is one more
    category.
    """

    names = hyperparameters.CATBOOST
    output = "pandas"
    metrics = _metrics("AUC PRAUC Logloss MultiClass MAE RMSE MAPE")

    def _codes_step(self) -> Any:
        # CatBoost takes no float for a category.
        import pandas as pd
        from sklearn.preprocessing import FunctionTransformer

        dtype = {"dtype": "int64"}
        return FunctionTransformer(
            pd.DataFrame, kw_args=dtype, feature_names_out="one-to-one"
        )

    def _boost(
        self,
        make: Any,
        given: Any,
        rows: EncodedRows,
        rounds: Rounds,
        held_out: EncodedRows | None,
    ) -> tuple[Any, int]:
        import catboost as cb

        def pool(part: EncodedRows) -> cb.Pool:
            given = {
                "cat_features": part.categorical,
                "weight": part.weights,
                "thread_count": 1,
            }
            return cb.Pool(part.table, part.y, **given)

        quiet = {
            "allow_writing_files": False,
            "allow_const_label": True,
            "logging_level": "Silent",
        }
        fixed: dict[str, Any] = {**given, "thread_count": 1, **quiet}
        is_classifier = hasattr(make, "predict_proba")
        if is_classifier:
            # Two at least: CatBoost refuses a single one.
            fixed["class_names"] = list(range(max(int(rows.y.max()) + 1, 2)))
        settings: dict[str, Any] = {}
        if rows.directions is not None:
            settings["monotone_constraints"] = rows.directions
        if held_out is not None:
            # The mean squared error of a probability has another name.
            is_brier = rounds.watched == "RMSE" and is_classifier
            settings["eval_metric"] = "BrierScore" if is_brier else rounds.watched
            settings |= {
                "od_type": "Iter",
                "od_wait": rounds.patience,
                "use_best_model": True,
            }
        fitted = make(**fixed, **settings, iterations=rounds.at_most)
        fitted.fit(pool(rows), eval_set=None if held_out is None else pool(held_out))
        # Removed, as they differ between equal fits: time and id, and predictions of
        # held-out rows.
        metadata = fitted.get_metadata()
        for name in ("model_guid", "train_finish_time"):
            del metadata[name]
        kept = int(fitted.tree_count_)
        bare = make(**fixed, iterations=kept)
        bare.load_model(blob=fitted.__getstate__()["__model"])
        return bare, kept


class XGBoostLearner(BoosterLearner):
    """Splits on sets of categories; a missing one is XGBoost's own missing value."""

    names = hyperparameters.XGBOOST
    metrics = _metrics("auc aucpr logloss mlogloss mae rmse mape")

    def _codes_step(self) -> Any:
        # XGBoost refuses negative codes, and handles missing values itself.
        from sklearn.impute import SimpleImputer

        given = {"missing_values": -1, "strategy": "constant", "fill_value": np.nan}
        return SimpleImputer(**given, keep_empty_features=True)

    def _boost(
        self,
        make: Any,
        given: Any,
        rows: EncodedRows,
        rounds: Rounds,
        held_out: EncodedRows | None,
    ) -> tuple[Any, int]:
        from xgboost.callback import EarlyStopping

        fixed = {**given, "tree_method": "hist", "n_jobs": 1, "verbosity": 0}
        if rows.categorical:
            numbers = rows.table.shape[1] - len(rows.categorical)
            kinds = ["q"] * numbers + ["c"] * len(rows.categorical)
            fixed |= {"enable_categorical": True, "feature_types": kinds}
        if rows.directions is not None:
            fixed["monotone_constraints"] = tuple(rows.directions)
        estimator, against = (
            make(**fixed, n_estimators=rounds.at_most),
            dict[str, Any](),
        )
        if held_out is not None:
            stop = EarlyStopping(
                rounds=rounds.patience, min_delta=rounds.min_delta, save_best=True
            )
            estimator.set_params(eval_metric=rounds.watched, callbacks=[stop])
            against["eval_set"] = [(held_out.table, held_out.y)]
            if held_out.weights is not None:
                against["sample_weight_eval_set"] = [held_out.weights]
        estimator.fit(
            rows.table, rows.y, sample_weight=rows.weights, verbose=False, **against
        )
        kept = estimator.get_booster().num_boosted_rounds()
        return estimator.set_params(callbacks=None, n_estimators=kept), kept
