"""Estimators as `Learner`s: scikit-learn's, and users' own by their import path.

They are fitted to their end: scikit-learn's own early stopping would hold out random
rows. Models are stored by skops and load without this package.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import (
    InvalidExperiment,
    TrainingError,
    UnknownAlgorithm,
    did_you_mean,
    listed,
)
from experiment_pipeline.spec import ExperimentSpec, Scalar, notation
from experiment_pipeline.spec.algorithms import (
    ALGORITHMS,
    COLUMNS,
    NGRAMS,
    Estimator,
    competes,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
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
from experiment_pipeline.statistics.threads import one_thread
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.run_code import metric_sources
from experiment_pipeline.table.kinds import UNSEEN_CATEGORY, holds_objects

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
# Hyperparameters that are texts, as every version takes them.
_WELL_KNOWN_TEXTS = {("max_features", "sqrt"), ("max_features", "log2")}
# A fitted estimator of encoded rows, and its rounds as in `FittedModel`.
Fit = tuple[Any, int | None]


class EstimatorLearner(Learner):
    """Fits what has `fit` and `predict`."""

    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Build an unfitted estimator, which takes a second, unless all names and
        values are known to work.
        """
        well_known = declared_estimator(configuration.algorithm, task).well_known
        is_certain = not is_own_estimator(configuration.algorithm)
        for name, value in configuration.hyperparameters.items():
            is_plain = value is None or (name, value) in _WELL_KNOWN_TEXTS
            is_plain = is_plain or (not isinstance(value, str) and value >= 0)
            is_certain = is_certain and is_plain and name in well_known
        if not is_certain:
            build_estimator(configuration, task, seed=0)

    def watched(self, request: FitRequest) -> str | None:
        """The metric, for a baseline that predicts the best constant for it."""
        if not _is_baseline(request):
            return None
        return f"{request.spec.metric}{metric_sources(request.spec) or ''}"

    def reads_all(self, configuration: Configuration) -> bool:
        """True, except for the baseline, which reads only the target."""
        return competes(configuration.algorithm)

    def fit_rows(
        self,
        request: FitRequest,
        rows: EncodedRows,
        rounds: int | None,
        *,
        stops: bool,  # noqa: ARG002
    ) -> Fit:
        """Fit an estimator; `stops`: whether one that can stop early may do so."""
        sets = request.sets
        estimator = build_estimator(request.configuration, sets.task, request.spec.seed)
        if _is_baseline(request):
            constant = best_constant(
                request.spec.metric, rows.y, sets.task, weights=rows.weights
            )
            estimator.set_params(strategy="constant", constant=float(constant))
        elif rows.directions is not None and competes(request.configuration.algorithm):
            directions = _of_sorted_classes(rows.directions, sets.classes)
            estimator.set_params(monotonic_cst=directions)
        X = rows.table
        if isinstance(X, SlicedTable):
            # Only the baseline is given a sliced table, and it reads only the shape.
            X = np.broadcast_to(0.0, X.shape)
        y = rows.y if sets.classes is None else np.asarray(sets.classes)[rows.y]
        weights = {} if rows.weights is None else {"sample_weight": rows.weights}
        if rows.frame_step is None:
            estimator.fit(X, y, **weights)
            return estimator, rounds
        from sklearn.pipeline import Pipeline

        frame = rows.frame_step.transform(X)
        _check_columns(estimator, frame, request.culprit)
        estimator.fit(frame, y, **weights)
        _check_unseen(estimator, frame, request.culprit)
        return Pipeline([("frame", rows.frame_step), ("model", estimator)]), rounds

    def fit(
        self,
        request: FitRequest,
        work: SharedWork,
        rounds: int | None = None,
        *,
        stored: bool,
    ) -> FittedModel:
        """Fit, and check that a user's own estimator survives the store."""
        configuration, sets = request.configuration, request.sets
        train = work.train[configuration.features]
        # Limited here again: the import of a user's own estimator may have loaded
        # another OpenMP.
        with one_thread("openmp"), Clock() as clock:
            estimator, rounds = self.fit_rows(
                request, train, rounds, stops=rounds is None
            )

        def predict(rows: Any) -> np.ndarray:
            return predictions_of(estimator, rows, sets.task, sets.classes)

        model = persistence.to_bytes(estimator) if stored else b""
        trusted_types: tuple[str, ...] = ()
        if stored and is_own_estimator(configuration.algorithm):
            trusted_types = persistence.untrusted_types(model)
            reloaded = persistence.from_bytes(model, trusted_types)
            test = work.test[configuration.features][:RELOADED_ROWS]
            after = predictions_of(reloaded, test, sets.task, sets.classes)
            if not np.array_equal(predict(test), after, equal_nan=True):
                raise TrainingError(
                    request.culprit,
                    rule="the estimator predicts something else after it was stored "
                    "and loaded",
                    fix="keep everything that it has learnt in attributes of plain "
                    "data and arrays",
                )
        return FittedModel(
            predict=predict,
            model=model,
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=rounds,
            trusted_types=trusted_types,
        )

    def restore(self, request: FitRequest, stored: Restorable, model: bytes) -> Any:  # noqa: ARG002
        """Read the skops file, trusting the types recorded when it was fitted."""
        return persistence.from_bytes(model, stored.trusted_types)

    def refit(self, request: FitRequest, rounds: int | None, rows: EncodedRows) -> Any:
        """Fit an estimator with this number of rounds, without early stopping."""
        estimator, _ = self.fit_rows(request, rows, rounds, stops=False)
        return estimator


def _is_baseline(request: FitRequest) -> bool:
    """Whether it is a regression's baseline: class shares suit all other metrics."""
    configuration = request.configuration
    is_plain = not competes(configuration.algorithm)
    return (
        is_plain
        and not configuration.hyperparameters
        and request.sets.task == "regression"
    )


def _of_sorted_classes(
    directions: list[int], classes: Sequence[Any] | None
) -> list[int]:
    """Directions as an estimator reads them, which sorts its classes: where the
    positive one sorts first, they are reversed.
    """
    if classes is None or np.argsort(np.asarray(classes))[0] == 0:
        return directions
    return [-direction for direction in directions]


def is_own_estimator(algorithm: str) -> bool:
    """Whether the algorithm is an import path."""
    return "." in algorithm


def declared_estimator(algorithm: str, task: str) -> Estimator:
    """Return what is declared of an algorithm; nothing for an import path."""
    if is_own_estimator(algorithm):
        return Estimator(algorithm)
    return ALGORITHMS[algorithm].estimator(task)


def build_estimator(configuration: Configuration, task: str, seed: int) -> Any:
    """Return the unfitted estimator of a configuration: one thread, seeded.

    Raises
    ------
    UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task.
    InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    declared = declared_estimator(configuration.algorithm, task)
    culprit = f"configuration {configuration.key}"
    cls = estimator_class(declared.path)
    _check_names(configuration, cls)
    direct = dict[str, Any](declared.defaults)
    if (
        configuration.features == NGRAMS
        and "solver" not in configuration.hyperparameters
    ):
        direct |= declared.defaults_of_ngrams
    nested = dict[str, Any]()
    for name, value in configuration.hyperparameters.items():
        parameters = nested if "__" in name else direct
        parameters[name] = value
    try:
        made = {name: notation.value_of(value, _part) for name, value in direct.items()}
        estimator = cls(**made)
        seeds = _seeds_and_threads(estimator, seed)
        estimator.set_params(**nested, **seeds)
        if declared.path.startswith("sklearn."):
            estimator._validate_params()  # as each of its fits does, to begin with
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidExperiment(
            culprit,
            rule=f"{cls.__name__} cannot be made with these hyperparameters: {error}",
            fix="correct their names and values",
        ) from error
    _switch_early_stopping_off(estimator, culprit)
    if configuration.features != COLUMNS and names_columns(estimator):
        raise InvalidExperiment(
            culprit,
            rule="its ColumnTransformer names columns, and the encoder "
            f"{configuration.features} makes others of them",
            fix=f"write `features: {COLUMNS}` beside its algorithm",
        )
    _check_task(estimator, declared.path, task)
    return estimator


def _seeds_and_threads(estimator: Any, seed: int) -> dict[str, Any]:
    """Return them for an estimator and all its parts, such as steps of a pipeline."""
    estimators = {"": estimator, **estimator.get_params(deep=True)}
    settings = dict[str, Any]()
    for name in estimators:
        owner, _, parameter = name.rpartition("__")
        if parameter == "random_state":
            settings[name] = seed
        elif parameter == "n_jobs":
            # None means one thread in scikit-learn, which warns about other values.
            module = type(estimators.get(owner)).__module__
            settings[name] = None if module.startswith("sklearn.") else 1
    return settings


def _switch_early_stopping_off(estimator: Any, culprit: str) -> None:
    """Set "auto" to False; InvalidExperiment: early stopping is asked for."""
    parameters = estimator.get_params(deep=True)
    for name, value in parameters.items():
        owner = name.removesuffix("early_stopping").removesuffix("n_iter_no_change")
        is_switch = name.endswith("early_stopping")
        if name.endswith("n_iter_no_change"):
            # Without a switch, a patience turns early stopping on; with one, it counts
            # rounds on train rows.
            holds_out = f"{owner}validation_fraction" in parameters
            is_switch = holds_out and f"{owner}early_stopping" not in parameters
        if is_switch and value == "auto":
            estimator.set_params(**{name: False})
        elif is_switch and value:
            raise InvalidExperiment(
                culprit,
                rule=f"{name}: {value} would hold out random train rows, whatever the "
                "split keeps apart",
                fix="drop it and search the number of rounds, or take lightgbm, "
                "catboost or xgboost, which stop on rows that the split sets apart",
            )


def names_columns(estimator: Any) -> bool:
    """Whether a ColumnTransformer is a part of an estimator."""
    parts = estimator.get_params(deep=True).values()
    return any(hasattr(part, "transformers") for part in parts)


def _check_columns(estimator: Any, frame: pd.DataFrame, culprit: str) -> None:
    """Refuse what a ColumnTransformer at the start of a pipeline cannot select."""
    first = estimator
    while hasattr(first, "steps"):
        first = first.steps[0][1]
    for _, _, columns in getattr(first, "transformers", ()):
        for name in columns if isinstance(columns, list | tuple) else [columns]:
            if isinstance(name, str | int) and name not in frame:
                raise TrainingError(
                    culprit,
                    rule=f"its ColumnTransformer selects {name!r}, which is not the "
                    f"name of a feature; {did_you_mean(str(name), frame)}",
                    fix="correct the name, or take it out: the target and excluded "
                    "columns are not features",
                )


def _check_unseen(estimator: Any, frame: pd.DataFrame, culprit: str) -> None:
    texts = [str(name) for name in frame if holds_objects(frame[name])]
    try:
        estimator.predict(frame[:1].assign(**dict.fromkeys(texts, UNSEEN_CATEGORY)))
    except ValueError as error:
        raise TrainingError(
            culprit,
            rule=f"it cannot predict a row with new texts: {error}",
            fix="let it take them, such as by OneHotEncoder(handle_unknown='ignore')",
        ) from error


def _check_task(estimator: Any, path: str, task: str) -> None:
    kind = getattr(estimator, "_estimator_type", None)
    if kind is None and hasattr(estimator, "__sklearn_tags__"):
        kind = estimator.__sklearn_tags__().estimator_type
    needed = "regressor" if task == "regression" else "classifier"
    if kind not in (None, needed):
        raise _unknown(path, f"it is a {kind}, the task is {task}", f"name a {needed}")
    if needed == "classifier" and not hasattr(estimator, "predict_proba"):
        raise _unknown(
            path,
            "with these hyperparameters it has no predict_proba, and scores need "
            "probabilities",
            "choose settings or an estimator with predict_proba",
        )


def _check_names(configuration: Configuration, cls: type) -> None:
    culprit = f"configuration {configuration.key}"
    parameters = inspect.signature(cls).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    allowed = [
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    for name in configuration.hyperparameters:
        if name in ("random_state", "n_jobs"):
            raise InvalidExperiment(
                culprit,
                rule=f"{name!r} is the same for every configuration, so that scores "
                "can be compared and reproduced",
                fix="drop it; seed and workers of the experiment decide it",
            )
        if not takes_any and name.partition("__")[0] not in allowed:
            raise InvalidExperiment(
                culprit,
                rule=f"{name!r} is not a hyperparameter of {cls.__name__}, which has "
                f"{listed(allowed)}",
                fix=f"correct the name: {did_you_mean(name, allowed)}",
            )


def check_demands(configuration: Configuration, spec: ExperimentSpec) -> None:
    """Raise InvalidExperiment: it cannot use the YAML's weights or directions."""
    algorithm = configuration.algorithm
    if not (spec.sample_weight or spec.monotone) or not competes(algorithm):
        return
    if algorithm in NAMES:
        objective = _objective(configuration, spec)
        name = f"{algorithm} towards {objective}"
        takes_weights = True
        keeps_directions = objective not in _DIRECTIONLESS
    else:
        estimator = build_estimator(configuration, spec.task, seed=0)
        name = type(estimator).__name__
        takes_weights = "sample_weight" in inspect.signature(estimator.fit).parameters
        keeps_directions = "monotonic_cst" in estimator.get_params(deep=False)
    if spec.sample_weight and not takes_weights:
        raise InvalidExperiment(
            f"algorithm {algorithm}",
            rule=f"{name} takes no sample_weight when it is fitted, so "
            f"{spec.sample_weight} would only count in the scores",
            fix="take it out of `search`, or drop sample_weight",
        )
    if spec.monotone and not keeps_directions:
        raise InvalidExperiment(
            f"algorithm {algorithm}",
            rule=f"{name} cannot be held to a direction ({listed(spec.monotone)})",
            fix="take it out of `search`, or drop monotone; boosted trees towards a "
            "mean, and forests, can",
        )


def _objective(configuration: Configuration, spec: ExperimentSpec) -> Scalar:
    names = NAMES[configuration.algorithm]
    by_metric = None
    if names.library == "lightgbm" and "alpha" in metric_of(spec.metric).objective:
        by_metric = "quantile"
    own_names = names.own_names(configuration, spec.task)
    return own_names.get(names.objective) or by_metric


def estimator_class(path: str) -> type:
    """Return the class or factory at a path; UnknownAlgorithm: there is none."""

    def is_estimator(cls: Any) -> bool:
        if inspect.isfunction(cls):
            return cls.__module__ == module_name
        return inspect.isclass(cls) and hasattr(cls, "fit") and hasattr(cls, "predict")

    module_name = path.rpartition(".")[0]
    cls: type = _imported(path, is_estimator)
    if not is_estimator(cls):
        problem = "it is not a class with fit and predict"
        raise _unknown(path, problem, "name an estimator's class")
    return cls


def _imported(path: str, is_meant: Callable[[Any], bool]) -> Any:
    """Return what is at a path; `is_meant`: whether a name is worth a suggestion."""
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        problem = f"there is no module {error.name or module_name}"
        remedy = "correct the path, or install its package"
        raise _unknown(path, problem, remedy) from error
    if not hasattr(module, name):
        public = [public for public, _ in inspect.getmembers(module, is_meant)]
        raise _unknown(path, f"{module_name} has no {name}", did_you_mean(name, public))
    return getattr(module, name)


def _part(path: str) -> Any:
    """Return a class or function within a hyperparameter; UnknownAlgorithm."""

    def is_part(part: Any) -> bool:
        return hasattr(part, "get_params") if inspect.isclass(part) else callable(part)

    part = _imported(path, is_part)
    if not is_part(part):
        problem = "it is neither a class with get_params nor a function"
        raise _unknown(path, problem, "name an estimator's class")
    return part


def _unknown(path: str, problem: str, remedy: str) -> UnknownAlgorithm:
    return UnknownAlgorithm(f"algorithm {path}", rule=problem, fix=remedy)
