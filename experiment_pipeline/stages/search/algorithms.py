"""Algorithms by name: what each one is, what it accepts, and how it is set up.

Built-in names and import paths become scikit-learn estimators here; LightGBM is fitted on a
shared binned table instead, in `boosting.py`. No fitting lives here. In: a configuration and
a task. Out: an unfitted estimator, or an error that names what is right.
"""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean, listed
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.stages.search import lightgbm_parameters
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.statistics.baselines import best_constant

# Name → (classifier, regressor).
BUILT_IN: dict[str, tuple[str, str]] = {
    "random_forest": (
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.ensemble.RandomForestRegressor",
    ),
    "linear": ("sklearn.linear_model.LogisticRegression", "sklearn.linear_model.Ridge"),
    "dummy": ("sklearn.dummy.DummyClassifier", "sklearn.dummy.DummyRegressor"),
}
# What classifier and regressor of every version take; of linear models, one name differs.
_WELL_KNOWN: dict[str, frozenset[str]] = {
    "random_forest": frozenset(
        {
            *("n_estimators", "max_depth", "max_features", "max_samples", "max_leaf_nodes"),
            *("min_samples_leaf", "min_samples_split", "bootstrap"),
        }
    ),
    "linear": frozenset({"max_iter", "tol", "fit_intercept", "solver"}),
    "dummy": frozenset({"strategy", "constant"}),
}
# lbfgs on one-hot columns often needs more than scikit-learn's 100 iterations.
_DEFAULTS: dict[str, dict[str, Scalar]] = {
    "sklearn.linear_model.LogisticRegression": {"max_iter": 1000},
    "sklearn.dummy.DummyClassifier": {"strategy": "prior"},
    "sklearn.dummy.DummyRegressor": {"strategy": "mean"},
}
_RESERVED = ("random_state", "n_jobs")


def is_own_estimator(algorithm: str) -> bool:
    """Whether the algorithm is an import path."""
    return "." in algorithm


def check_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when a configuration's names cannot work, before anything is fitted.

    LightGBM's are looked up in a list. Of every other algorithm the class is imported and an
    unfitted estimator is made, which takes a second: not where all names are well known. Values
    are judged by the algorithm, when it is fitted.

    Raises:
        UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task.
        InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    if configuration.algorithm == "lightgbm":
        lightgbm_parameters.own_names(configuration.key, configuration.hyperparameters, task)
        return
    known = well_known_names(configuration.algorithm, task)
    if is_own_estimator(configuration.algorithm) or not set(configuration.hyperparameters) <= known:
        build_estimator(configuration, task, seed=0)


def well_known_names(algorithm: str, task: str) -> frozenset[str]:
    """Return hyperparameters that a built-in algorithm has in every version; none of others."""
    strength = {"alpha" if task == "regression" else "C"} if algorithm == "linear" else set()
    return _WELL_KNOWN.get(algorithm, frozenset()) | strength


def build_estimator(configuration: Configuration, task: str, seed: int) -> Any:
    """Return the unfitted estimator of a configuration: one thread, seeded.

    A classifier must offer `predict_proba` with these hyperparameters: metrics, thresholds and
    gates work on probabilities, and a `decision_function` is none.

    Raises:
        UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task.
        InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    path = _path(configuration.algorithm, task)
    cls = estimator_class(path)
    given = configuration.hyperparameters
    _check_names(configuration.key, cls, given)
    direct = {name: value for name, value in given.items() if "__" not in name}
    try:
        estimator = cls(**{**_DEFAULTS.get(path, {}), **direct})
        nested = {name: value for name, value in given.items() if "__" in name}
        estimator.set_params(**nested, **_settings(estimator, path, seed))
    except (TypeError, ValueError, AttributeError) as error:
        raise errors.InvalidExperiment(
            f"configuration {configuration.key}",
            f"{cls.__name__} cannot be made with these hyperparameters: {error}",
            "correct their names and values",
        ) from error
    _check_estimator(path, estimator, task)
    return estimator


def is_baseline(configuration: Configuration, task: str) -> bool:
    """Whether it predicts the constant that suits the metric best, which differs for numbers."""
    is_dummy = configuration.algorithm == "dummy" and not configuration.hyperparameters
    return is_dummy and task == "regression"


def estimator_for(
    configuration: Configuration, task: str, spec: ExperimentSpec, labels: np.ndarray
) -> Any:
    """Return the unfitted estimator for these targets; errors as for `build_estimator`.

    A dummy without hyperparameters is the baseline: the constant that suits the metric best.
    Class shares suit every metric of classes; for numbers they differ.

    Args:
        configuration: what to build.
        task: binary, multiclass or regression.
        spec: gives seed and metric.
        labels: (n,) targets that it will be fitted on.
    """
    estimator = build_estimator(configuration, task, spec.seed)
    if is_baseline(configuration, task):
        constant = float(best_constant(spec.metric, labels, task))
        estimator.set_params(strategy="constant", constant=constant)
    return estimator


def estimator_class(path: str) -> type:
    """Return the class at an import path.

    Raises:
        UnknownAlgorithm: no such module or name, or no class with `fit` and `predict`.
    """
    module_name, _, name = path.rpartition(".")
    module = _module(module_name, path)
    if not hasattr(module, name):
        raise _unknown(path, f"{module_name} has no {name}", did_you_mean(name, _public(module)))
    cls = getattr(module, name)
    if not inspect.isclass(cls) or not (hasattr(cls, "fit") and hasattr(cls, "predict")):
        raise _unknown(path, "it is no class with fit and predict", "name an estimator's class")
    return cls


def _path(algorithm: str, task: str) -> str:
    if is_own_estimator(algorithm):
        return algorithm
    classifier, regressor = BUILT_IN[algorithm]
    return regressor if task == "regression" else classifier


def _module(name: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if not f"{name}.".startswith(f"{missing}."):
            raise _unknown(
                path, f"it needs the module {missing}", "install the package that has it"
            ) from error
        parent, _, last = missing.rpartition(".")
        if not parent:
            raise _unknown(
                path, f"there is no module {missing}", "correct the path, or install its package"
            ) from error
        spec = importlib.util.find_spec(parent)
        places = spec.submodule_search_locations if spec else None
        siblings = [module.name for module in pkgutil.iter_modules(places or [])]
        raise _unknown(
            path, f"{parent} has no module {last}", did_you_mean(last, siblings)
        ) from error


def _public(module: Any) -> list[str]:
    classes = inspect.getmembers(module, inspect.isclass)
    return [name for name, cls in classes if hasattr(cls, "fit") and hasattr(cls, "predict")]


def _check_names(key: str, cls: type, given: Mapping[str, Scalar]) -> None:
    parameters = inspect.signature(cls).parameters.values()
    allowed = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name in given:
        if name in _RESERVED:
            raise errors.InvalidExperiment(
                f"configuration {key}",
                f"{name!r} is the same for every configuration, so that scores can be compared "
                "and reproduced",
                "drop it; seed and workers of the experiment decide it",
            )
        if name.partition("__")[0] not in allowed and not takes_any:
            raise errors.InvalidExperiment(
                f"configuration {key}",
                f"{name!r} is no hyperparameter of {cls.__name__}, which has {listed(allowed)}",
                f"correct the name: {did_you_mean(name, allowed)}",
            )


def _settings(estimator: Any, path: str, seed: int) -> dict[str, Scalar]:
    """Return what the sweep decides for every estimator that has such a setting."""
    present = estimator.get_params(deep=False)
    settings: dict[str, Scalar] = {"random_state": seed}
    # In scikit-learn unset n_jobs means one thread, and where it went it must stay unset.
    if not path.startswith("sklearn."):
        settings["n_jobs"] = 1
    return {name: value for name, value in settings.items() if name in present}


def _check_estimator(path: str, estimator: Any, task: str) -> None:
    kind = getattr(estimator, "_estimator_type", None) or _kind_by_tags(estimator)
    wanted = "regressor" if task == "regression" else "classifier"
    if kind is not None and kind != wanted:
        raise _unknown(path, f"it is a {kind}, the task is {task}", f"name a {wanted}")
    if wanted == "classifier" and not hasattr(estimator, "predict_proba"):
        raise _unknown(
            path,
            "with these hyperparameters it has no predict_proba, and scores need probabilities",
            "choose hyperparameters or an estimator that predict probabilities",
        )


def _kind_by_tags(estimator: Any) -> str | None:
    tags = getattr(estimator, "__sklearn_tags__", None)
    return tags().estimator_type if tags else None


def _unknown(path: str, rule: str, fix: str) -> errors.UnknownAlgorithm:
    return errors.UnknownAlgorithm(f"algorithm {path}", rule, fix)
