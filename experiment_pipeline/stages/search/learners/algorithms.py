"""Algorithms at work: what each accepts, how its estimator is set up, and what it may stop on.

Declared algorithms (`spec/algorithms.py`) and import paths become scikit-learn estimators here;
LightGBM is fitted on a shared binned table instead, in `boosting.py`. No fitting lives here.

scikit-learn's estimators stop early on a random part of the rows they are fitted on, whatever groups
or times the split keeps apart. Those whose `fit` takes `X_val` and `y_val` are given the early-stopping set;
all others are fitted without early stopping, with a note. In: a configuration and a task. Out: an
unfitted estimator and how to fit it, or an error that names what is right.
"""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean, listed
from experiment_pipeline.spec import ExperimentSpec, Range, Scalar
from experiment_pipeline.spec.algorithms import ALGORITHMS, Direction, Estimator, competes
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.boosters import BOOSTERS
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.statistics.scores import best_constant

# scikit-learn's meaning of "auto": up to so many rows it does not stop.
AUTO_ROWS = 10_000
_SWITCH, _PATIENCE = "early_stopping", "n_iter_no_change"


@dataclass(frozen=True)
class OwnStopping:
    """How an estimator is fitted.

    Attributes:
        on_slice: on the rows that are not held out, with the early-stopping set as X_val and y_val.
        notes: what was asked for and is not done, with the reason.
    """

    on_slice: bool
    notes: tuple[str, ...] = ()


def settle(estimator: Any, early_stopping: np.ndarray) -> OwnStopping:
    """Let an unfitted estimator stop on the early-stopping set, bool (n_train,), or not at all."""
    asked = _asked_for(estimator)
    estimator.set_params(**{name: _off(name) for name in asked})
    if asked.get(_SWITCH) == "auto" and len(early_stopping) <= AUTO_ROWS:
        del asked[_SWITCH]
    takes_slice = _SWITCH in asked and _takes_slice(estimator)
    on_slice = takes_slice and bool(early_stopping.any() and not early_stopping.all())
    if on_slice:
        estimator.set_params(**{_SWITCH: True})
        del asked[_SWITCH]
    notes = tuple(_note(estimator, *one, takes_slice) for one in asked.items())
    return OwnStopping(on_slice, notes)


def fix_rounds(estimator: Any, rounds: int | None) -> None:
    """Let an estimator make as many rounds as a fit that stopped on the slice, and stop nowhere."""
    estimator.set_params(**{name: _off(name) for name in _asked_for(estimator)})
    if rounds is not None:
        estimator.set_params(max_iter=rounds)


def _asked_for(estimator: Any) -> dict[str, Any]:
    """The parameters that make it, or an estimator inside it, stop on rows of its own choice."""
    given = estimator.get_params(deep=True)
    asked = {}
    for name, value in given.items():
        path, _, last = name.rpartition("__")
        beside = {other.removeprefix(f"{path}__") for other in given if other.startswith(path)}
        # Without the switch it is the patience that switches; with it, that counts on train rows.
        is_patience = (
            last == _PATIENCE and _SWITCH not in beside and "validation_fraction" in beside
        )
        if (last == _SWITCH and value not in (False, None)) or (is_patience and value is not None):
            asked[name] = value
    return asked


def _off(name: str) -> bool | None:
    return False if name.endswith(_SWITCH) else None


def _takes_slice(estimator: Any) -> bool:
    """Whether `fit` has a place for it, and the rounds it ends with can be asked for again."""
    taken = inspect.signature(estimator.fit).parameters
    return {"X_val", "y_val"} <= taken.keys() and "max_iter" in estimator.get_params(deep=False)


def _note(estimator: Any, name: str, value: object, takes_slice: bool) -> str:
    why = "it would hold out random train rows, whatever the split keeps apart"
    if takes_slice:
        why = "the train set has no early-stopping set to stop on"
    return f"{name}: {value} is not done, {type(estimator).__name__} is fitted to its end: {why}"


_RESERVED = ("random_state", "n_jobs")


def is_own_estimator(algorithm: str) -> bool:
    """Whether the algorithm is an import path."""
    return "." in algorithm


def check_estimator_hyperparameters(configuration: Configuration, task: str) -> None:
    """Raise when an estimator's configuration cannot work, before it is fitted.

    The class is imported and an unfitted estimator is made, which takes a second: not where all
    names are well known and no value is a text.

    Raises:
        UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task.
        InvalidExperiment: a hyperparameter that does not exist, or may not be set or be that.
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
    gates work on probabilities, and a `decision_function` is none.

    Raises:
        UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task.
        InvalidExperiment: a hyperparameter that does not exist, or may not be set.
    """
    declared = _declared(configuration.algorithm, task)
    path = declared.path
    cls = estimator_class(path)
    given = configuration.hyperparameters
    _check_names(configuration.key, cls, given)
    direct = {name: value for name, value in given.items() if "__" not in name}
    try:
        estimator = cls(**{**declared.defaults, **direct})
        nested = {name: value for name, value in given.items() if "__" in name}
        estimator.set_params(**nested, **_settings(estimator, path, seed))
        if path.startswith("sklearn."):
            estimator._validate_params()  # as each of its fits does, to begin with
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
    baseline = not competes(configuration.algorithm) and not configuration.hyperparameters
    return baseline and task == "regression"


def estimator_for(
    configuration: Configuration,
    task: str,
    spec: ExperimentSpec,
    rows: EncodedRows,
    classes: tuple | None,
) -> Any:
    """Return the unfitted estimator for these rows; errors as for `build_estimator`.

    A dummy without hyperparameters is the baseline: the constant that suits the metric best.
    Class shares suit every metric of classes; for numbers they differ.
    """
    estimator = build_estimator(configuration, task, spec.seed)
    if is_baseline(configuration, task):
        constant = float(best_constant(spec.metric, rows.y, task, weights=rows.weights))
        estimator.set_params(strategy="constant", constant=constant)
    elif rows.directions is not None and competes(configuration.algorithm):
        # An estimator sorts its classes: what rises for us may be what falls for it.
        turned = classes is not None and bool(np.argsort(np.asarray(classes))[0])
        directions = [-one if turned else one for one in rows.directions]
        estimator.set_params(monotonic_cst=directions)
    return estimator


def check_demands(configuration: Configuration, task: str, spec: ExperimentSpec) -> None:
    """Raise when an estimator cannot do what the experiment asks of every configuration.

    Raises:
        InvalidExperiment: its fit takes no weights, or it can hold no direction.
    """
    if not competes(configuration.algorithm) or not (spec.sample_weight or spec.monotone):
        return
    estimator = build_estimator(configuration, task, seed=0)
    name = type(estimator).__name__
    if spec.sample_weight and "sample_weight" not in inspect.signature(estimator.fit).parameters:
        raise errors.InvalidExperiment(
            f"algorithm {configuration.algorithm}",
            f"{name} takes no sample_weight when it is fitted, so {spec.sample_weight} would count "
            "in the scores alone",
            "take it out of `search`, or drop sample_weight",
        )
    if spec.monotone and "monotonic_cst" not in estimator.get_params(deep=False):
        raise errors.InvalidExperiment(
            f"algorithm {configuration.algorithm}",
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
        raise _unknown(path, f"{module_name} has no {name}", did_you_mean(name, _public(module)))
    cls = getattr(module, name)
    if not inspect.isclass(cls) or not (hasattr(cls, "fit") and hasattr(cls, "predict")):
        raise _unknown(path, "it is no class with fit and predict", "name an estimator's class")
    return cls


def _declared(algorithm: str, task: str) -> Estimator:
    """Return what is declared of an algorithm; of an import path nothing is."""
    return (
        Estimator(algorithm)
        if is_own_estimator(algorithm)
        else ALGORITHMS[algorithm].estimator(task)
    )


def space(
    algorithm: str, task: str, direction: Direction, used: Iterable[str] = ()
) -> dict[str, Range]:
    """Return where to search an algorithm; empty for an import path and for dummy.

    Args:
        algorithm: a declared algorithm's name, or an import path.
        task: decides what it is.
        direction: towards which models.
        used: names the YAML uses already; a parameter of a booster keeps the alias it has there.
    """
    ranges = _declared(algorithm, task).spaces.get(direction, {})
    if algorithm not in BOOSTERS:
        return dict(ranges)
    names, aliases = set(used), BOOSTERS[algorithm].names.accepted
    return {
        next((alias for alias in aliases[own] if alias in names), own): given
        for own, given in ranges.items()
    }


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
