"""Estimators of algorithms: how each is made from a configuration, and what it may stop on.

Declared algorithms (`spec/algorithms.py`) and import paths become scikit-learn estimators here.
scikit-learn's estimators stop early on a random part of the rows they are fitted on, whatever groups
or times the split keeps apart. Those whose `fit` takes `X_val` and `y_val` get the early-stopping
set; all others are fitted without early stopping, with a note.
"""

import importlib
import importlib.util
import inspect
import pkgutil
from typing import Any

import numpy as np

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean, listed
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS, Estimator, competes
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.statistics.scores import best_constant

# scikit-learn's meaning of "auto": up to so many rows it does not stop.
AUTO_ROWS = 10_000
_SWITCH, _PATIENCE = "early_stopping", "n_iter_no_change"
_RESERVED = ("random_state", "n_jobs")


def set_early_stopping(estimator: Any, early_stopping: np.ndarray) -> tuple[bool, tuple[str, ...]]:
    """Let an unfitted estimator stop on the early-stopping set, bool (n_train,), or not at all.

    Returns:
        Whether its `fit` is to be given that set, and a note for each setting that has no effect.
    """
    asked = _early_stopping_of(estimator)
    fix_rounds(estimator, None)
    if asked.get(_SWITCH) == "auto" and len(early_stopping) <= AUTO_ROWS:
        del asked[_SWITCH]
    # The rounds it ends with can be asked for again.
    taken = inspect.signature(estimator.fit).parameters.keys()
    takes_set = {"X_val", "y_val"} <= taken and "max_iter" in estimator.get_params(deep=False)
    on_set = _SWITCH in asked and takes_set
    on_set = on_set and bool(early_stopping.any() and not early_stopping.all())
    if on_set:
        estimator.set_params(**{_SWITCH: True})
        del asked[_SWITCH]
    why = "it would hold out random train rows, whatever the split keeps apart"
    if _SWITCH in asked and takes_set:
        why = "the train set has no early-stopping set"
    name = type(estimator).__name__
    return on_set, tuple(
        f"{setting}: {value} has no effect, {name} is fitted to its end: {why}"
        for setting, value in asked.items()
    )


def fix_rounds(estimator: Any, rounds: int | None) -> None:
    """Let an estimator make a fixed number of rounds, and not stop early; None: its own number."""
    asked = _early_stopping_of(estimator)
    estimator.set_params(**{name: False if name.endswith(_SWITCH) else None for name in asked})
    if rounds is not None:
        estimator.set_params(max_iter=rounds)


def _early_stopping_of(estimator: Any) -> dict[str, Any]:
    """The parameters that make it, or an estimator inside it, stop on rows of its own choice."""
    given = estimator.get_params(deep=True)
    asked = {}
    for name, value in given.items():
        path, _, last = name.rpartition("__")
        beside = {other.removeprefix(f"{path}__") for other in given if other.startswith(path)}
        # Without the switch, patience switches it on; with it, patience counts on train rows.
        is_patience = (
            last == _PATIENCE and _SWITCH not in beside and "validation_fraction" in beside
        )
        if (last == _SWITCH and value not in (False, None)) or (is_patience and value is not None):
            asked[name] = value
    return asked


def is_own_estimator(algorithm: str) -> bool:
    """Whether the algorithm is an import path."""
    return "." in algorithm


def check_estimator_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when an estimator's configuration cannot work; errors as of `build_estimator`.

    The class is imported and an unfitted estimator is made, which takes a second: not where all
    names are well known and no value is a text.
    """
    given = configuration.hyperparameters
    if (
        is_own_estimator(configuration.algorithm)
        or not set(given) <= _declared(configuration.algorithm, task).well_known
        or any(isinstance(value, str) for value in given.values())
    ):
        build_estimator(configuration, task, seed=0)


def build_estimator(configuration: Configuration, task: str, seed: int) -> Any:
    """Return the unfitted estimator of a configuration: one thread, seeded.

    A classifier must offer `predict_proba` with these hyperparameters: metrics, thresholds and
    gates work on probabilities.

    Raises:
        UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task.
        InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    declared = _declared(configuration.algorithm, task)
    path = declared.path
    cls = estimator_class(path)
    given = configuration.hyperparameters
    _check_names(configuration, cls)
    direct = {name: value for name, value in given.items() if "__" not in name}
    nested = {name: value for name, value in given.items() if "__" in name}
    try:
        estimator = cls(**{**declared.defaults, **direct})
        # In scikit-learn unset n_jobs means one thread, and it must stay unset.
        present = estimator.get_params(deep=False)
        fixed = {"random_state": seed} | ({} if path.startswith("sklearn.") else {"n_jobs": 1})
        fixed = {name: value for name, value in fixed.items() if name in present}
        estimator.set_params(**nested, **fixed)
        if path.startswith("sklearn."):
            estimator._validate_params()  # as each of its fits does, to begin with
    except (TypeError, ValueError, AttributeError) as error:
        raise errors.InvalidExperiment(
            f"configuration {configuration.key}",
            f"{cls.__name__} cannot be made with these hyperparameters: {error}",
            "correct their names and values",
        ) from error
    tags = getattr(estimator, "__sklearn_tags__", None)
    kind = getattr(estimator, "_estimator_type", None) or (tags and tags().estimator_type)
    wanted = "regressor" if task == "regression" else "classifier"
    if kind is not None and kind != wanted:
        raise _unknown(path, f"it is a {kind}, the task is {task}", f"name a {wanted}")
    if wanted == "classifier" and not hasattr(estimator, "predict_proba"):
        raise _unknown(
            path,
            "with these hyperparameters it has no predict_proba, and scores need probabilities",
            "choose hyperparameters or an estimator that predict probabilities",
        )
    return estimator


def is_baseline(configuration: Configuration, task: str) -> bool:
    """Whether it predicts the constant that suits the metric best, which differs for numbers."""
    baseline = not competes(configuration.algorithm) and not configuration.hyperparameters
    return baseline and task == "regression"


def estimator_for(
    configuration: Configuration,
    task: str,
    spec: ExperimentSpec,
    rows: EncodedRows,
    classes: tuple | None,
) -> Any:
    """Return the unfitted estimator for these rows; errors as of `build_estimator`.

    A dummy without hyperparameters is the baseline: the constant that suits the metric best.
    Class shares suit every metric of classes; for numbers they differ.
    """
    estimator = build_estimator(configuration, task, spec.seed)
    if is_baseline(configuration, task):
        constant = float(best_constant(spec.metric, rows.y, task, weights=rows.weights))
        estimator.set_params(strategy="constant", constant=constant)
    elif rows.directions is not None and competes(configuration.algorithm):
        # An estimator sorts its classes: where the positive one sorts first, directions turn.
        turned = classes is not None and bool(np.argsort(np.asarray(classes))[0])
        directions = [-one if turned else one for one in rows.directions]
        estimator.set_params(monotonic_cst=directions)
    return estimator


def check_estimator_demands(configuration: Configuration, task: str, spec: ExperimentSpec) -> None:
    """Raise when an estimator cannot do what the experiment asks of every configuration.

    Raises:
        InvalidExperiment: its `fit` takes no weights, or it has no monotone constraints.
    """
    if not competes(configuration.algorithm) or not (spec.sample_weight or spec.monotone):
        return
    estimator = build_estimator(configuration, task, seed=0)
    name, algorithm = type(estimator).__name__, f"algorithm {configuration.algorithm}"
    if spec.sample_weight and "sample_weight" not in inspect.signature(estimator.fit).parameters:
        raise errors.InvalidExperiment(
            algorithm,
            f"{name} takes no sample_weight when it is fitted, so {spec.sample_weight} would count "
            "in the scores alone",
            "take it out of `search`, or drop sample_weight",
        )
    if spec.monotone and "monotonic_cst" not in estimator.get_params(deep=False):
        raise errors.InvalidExperiment(
            algorithm,
            f"{name} cannot be held to a direction ({listed(list(spec.monotone))})",
            "take it out of `search`, or drop monotone; lightgbm, random_forest and "
            "sklearn.ensemble's HistGradientBoosting can",
        )


def estimator_class(path: str) -> type:
    """Return the class at an import path.

    Raises:
        UnknownAlgorithm: no such module or name, or no class with `fit` and `predict`.
    """
    module_name, _, name = path.rpartition(".")
    module = _module(module_name, path)
    if not hasattr(module, name):
        public = [one for one, cls in inspect.getmembers(module) if _is_estimator(cls)]
        raise _unknown(path, f"{module_name} has no {name}", did_you_mean(name, public))
    cls: type = getattr(module, name)
    if not _is_estimator(cls):
        raise _unknown(path, "it is not a class with fit and predict", "name an estimator's class")
    return cls


def _is_estimator(cls: Any) -> bool:
    return inspect.isclass(cls) and hasattr(cls, "fit") and hasattr(cls, "predict")


def _declared(algorithm: str, task: str) -> Estimator:
    """Return what is declared of an algorithm; of an import path nothing is."""
    own = is_own_estimator(algorithm)
    return Estimator(algorithm) if own else ALGORITHMS[algorithm].estimator(task)


def _module(name: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        parent, _, last = missing.rpartition(".")
        if not f"{name}.".startswith(f"{missing}."):
            rule, fix = f"it needs the module {missing}", "install the package that has it"
        elif not parent:
            rule = f"there is no module {missing}"
            fix = "correct the path, or install its package"
        else:
            spec = importlib.util.find_spec(parent)
            places = spec.submodule_search_locations if spec else None
            siblings = [module.name for module in pkgutil.iter_modules(places or [])]
            rule, fix = f"{parent} has no module {last}", did_you_mean(last, siblings)
        raise _unknown(path, rule, fix) from error


def _check_names(configuration: Configuration, cls: type) -> None:
    parameters = inspect.signature(cls).parameters.values()
    allowed = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name in configuration.hyperparameters:
        if name in _RESERVED:
            raise errors.InvalidExperiment(
                f"configuration {configuration.key}",
                f"{name!r} is the same for every configuration, so that scores can be compared "
                "and reproduced",
                "drop it; seed and workers of the experiment decide it",
            )
        if name.partition("__")[0] not in allowed and not takes_any:
            raise errors.InvalidExperiment(
                f"configuration {configuration.key}",
                f"{name!r} is not a hyperparameter of {cls.__name__}, which has {listed(allowed)}",
                f"correct the name: {did_you_mean(name, allowed)}",
            )


def _unknown(path: str, rule: str, fix: str) -> errors.UnknownAlgorithm:
    return errors.UnknownAlgorithm(f"algorithm {path}", rule, fix)
