"""scikit-learn's estimators, and users' own, as a `Learner`: how each is made, checked and fitted.

Declared algorithms (`spec/algorithms.py`) and import paths become estimators here; a model is stored
by skops. scikit-learn's estimators stop early on a random part of the rows they are fitted on,
whatever groups or times the split keeps apart. Those whose `fit` takes `X_val` and `y_val` get the
early-stopping set; all others are fitted without early stopping, with a note.
"""

import importlib
import inspect
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean, listed
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS, Estimator, competes
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners.learner import (
    Clock,
    FitRequest,
    FittedModel,
    Learner,
    Restorable,
)
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.search.shared_work import EncodedRows, SharedWork, SlicedTable
from experiment_pipeline.statistics.scores import best_constant
from experiment_pipeline.storage import persistence

# scikit-learn's meaning of "auto": up to so many rows it does not stop.
AUTO_ROWS = 10_000
# Rows on which a user's own estimator must predict the same after it was stored and loaded.
RELOADED_ROWS = 100


# A fitted estimator of encoded rows, with rounds and notes as in `FittedModel`.
Fit = tuple[Any, int | None, tuple[str, ...]]


class EstimatorLearner(Learner):
    """Fits what has `fit` and `predict`."""

    def check_hyperparameters(self, configuration: Configuration, task: str) -> None:
        """Make an unfitted estimator; its import takes a second.

        Not where all names are well known and no value is a text.
        """
        given, declared = configuration.hyperparameters, _declared(configuration.algorithm, task)
        is_text = any(isinstance(value, str) for value in given.values())
        if is_own_estimator(configuration.algorithm) or is_text or set(given) - declared.well_known:
            build_estimator(configuration, task, seed=0)

    def watched(self, request: FitRequest) -> str | None:
        """The metric itself for the baseline, whose constant is the best one for it."""
        is_baseline = _is_baseline(request.configuration, request.sets.task)
        return request.spec.metric if is_baseline else None

    def reads_all(self, configuration: Configuration) -> bool:
        """True, but for the baseline, which reads the target alone."""
        return competes(configuration.algorithm)

    def fit_rows(
        self,
        request: FitRequest,
        rows: EncodedRows,
        rounds: int | None = None,
        *,
        stops: bool = True,
    ) -> Fit:
        """Fit an estimator, with the early-stopping set where its `fit` takes one.

        Args:
            request: what to fit.
            rows: what to fit on; where it stops early, the train rows.
            rounds: a fixed number, without early stopping.
            stops: whether it may stop early.
        """
        configuration, sets = request.configuration, request.sets
        estimator = build_estimator(configuration, sets.task, request.spec.seed)
        if _is_baseline(configuration, sets.task):
            metric = request.spec.metric
            constant = float(best_constant(metric, rows.y, sets.task, weights=rows.weights))
            estimator.set_params(strategy="constant", constant=constant)
        elif rows.directions is not None and competes(configuration.algorithm):
            # An estimator sorts its classes: where the positive one sorts first, directions turn.
            turned = sets.classes is not None and bool(np.argsort(np.asarray(sets.classes))[0])
            directions = [-one if turned else one for one in rows.directions]
            estimator.set_params(monotonic_cst=directions)
        may_stop = stops and rounds is None
        on_set, notes = set_early_stopping(estimator, sets.early_stopping if may_stop else None)
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
        # The baseline reads the shape of a sliced table alone.
        sliced = isinstance(rows.table, SlicedTable)
        X = np.broadcast_to(0.0, rows.table.shape) if sliced else rows.table
        estimator.fit(X, labels(rows.y), **given)
        return estimator, estimator.n_iter_ if on_set else None, notes

    def fit(
        self, request: FitRequest, work: SharedWork, rounds: int | None = None, *, stored: bool
    ) -> FittedModel:
        """Fit on the train rows, and check that a user's own estimator survives the store."""
        configuration, task, classes = (
            request.configuration,
            request.sets.task,
            request.sets.classes,
        )
        rows = work.train[configuration.features]
        # Once more here: the import of a user's own estimator may have loaded another OpenMP.
        with threadpool_limits(limits=1, user_api="openmp"), Clock() as clock:
            estimator, kept, notes = self.fit_rows(request, rows, rounds)

        def predict(rows: Any) -> np.ndarray:
            return predictions_of(estimator, rows, task, classes)

        model = persistence.to_bytes(estimator) if stored else b""
        trusted_types: tuple[str, ...] = ()
        if stored and is_own_estimator(configuration.algorithm):
            trusted_types = persistence.untrusted_types(model)
            some = work.test[configuration.features][:RELOADED_ROWS]
            reloaded = persistence.from_bytes(model, trusted_types)
            again = predictions_of(reloaded, some, task, classes)
            if not np.array_equal(predict(some), again, equal_nan=True):
                raise errors.TrainingError(
                    request.culprit,
                    "the estimator predicts something else after it was stored and loaded",
                    "keep everything that it has learnt in attributes of plain data and arrays",
                )
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
        """Read the skops file, trusting the types that were recorded when it was fitted."""
        return persistence.from_bytes(model, stored.trusted_types)

    def refit(self, request: FitRequest, rounds: int | None, rows: EncodedRows) -> Any:
        """Fit an estimator of as many rounds, without early stopping."""
        return self.fit_rows(request, rows, rounds, stops=False)[0]


def _is_baseline(configuration: Configuration, task: str) -> bool:
    """Whether it predicts the constant that suits the metric best.

    Class shares suit every metric of classes; for numbers the constants differ.
    """
    baseline = not competes(configuration.algorithm) and not configuration.hyperparameters
    return baseline and task == "regression"


def set_early_stopping(
    estimator: Any, early_stopping: np.ndarray | None
) -> tuple[bool, tuple[str, ...]]:
    """Let an unfitted estimator stop on the early-stopping set, bool (n_train,), or not at all.

    Returns:
        Whether its `fit` is to be given that set, and a note for each setting that has no effect.
    """
    switch, given, asked = "early_stopping", estimator.get_params(deep=True), dict[str, Any]()
    for name, value in given.items():
        path, _, last = name.rpartition("__")
        beside = {other.removeprefix(f"{path}__") for other in given if other.startswith(path)}
        # Without the switch, patience switches it on; with it, patience counts on train rows.
        is_patience = switch not in beside and "validation_fraction" in beside
        if (last == switch and value not in (False, None)) or (
            last == "n_iter_no_change" and is_patience and value is not None
        ):
            asked[name] = value
    estimator.set_params(**{name: False if name.endswith(switch) else None for name in asked})
    if early_stopping is None:
        return False, ()
    if asked.get(switch) == "auto" and len(early_stopping) <= AUTO_ROWS:
        del asked[switch]
    # The rounds it ends with can be asked for again.
    taken = inspect.signature(estimator.fit).parameters.keys()
    takes_set = {"X_val", "y_val"} <= taken and "max_iter" in estimator.get_params(deep=False)
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
    """What is declared of an algorithm; of an import path nothing is."""
    own = is_own_estimator(algorithm)
    return Estimator(algorithm) if own else ALGORITHMS[algorithm].estimator(task)


def build_estimator(configuration: Configuration, task: str, seed: int) -> Any:
    """Return the unfitted estimator of a configuration: one thread, seeded.

    A classifier must offer `predict_proba` with these hyperparameters: metrics, thresholds and
    gates work on probabilities.

    Raises:
        UnknownAlgorithm: the import path leads nowhere, or to no estimator of the task.
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
        # In scikit-learn unset n_jobs means one thread, and it must stay unset.
        fixed = {"random_state": seed} | ({} if path.startswith("sklearn.") else {"n_jobs": 1})
        present = estimator.get_params(deep=False)
        fixed = {name: value for name, value in fixed.items() if name in present}
        estimator.set_params(**nested, **fixed)
        if path.startswith("sklearn."):
            estimator._validate_params()  # as each of its fits does, to begin with
    except (TypeError, ValueError, AttributeError) as error:
        rule = f"{cls.__name__} cannot be made with these hyperparameters: {error}"
        raise errors.InvalidExperiment(culprit, rule, "correct their names and values") from error
    tags = getattr(estimator, "__sklearn_tags__", None)
    kind = getattr(estimator, "_estimator_type", None) or (tags and tags().estimator_type)
    wanted = "regressor" if task == "regression" else "classifier"
    if kind is not None and kind != wanted:
        raise _unknown(path, f"it is a {kind}, the task is {task}", f"name a {wanted}")
    if wanted == "classifier" and not hasattr(estimator, "predict_proba"):
        rule = "with these hyperparameters it has no predict_proba, and scores need probabilities"
        raise _unknown(path, rule, "choose what predicts probabilities")
    return estimator


def _check_names(configuration: Configuration, cls: type) -> None:
    parameters = inspect.signature(cls).parameters.values()
    allowed = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name in configuration.hyperparameters:
        if name in ("random_state", "n_jobs"):
            rule = (
                f"{name!r} is the same for every configuration, so that scores can be compared "
                "and reproduced"
            )
            fix = "drop it; seed and workers of the experiment decide it"
        elif name.partition("__")[0] not in allowed and not takes_any:
            rule = (
                f"{name!r} is not a hyperparameter of {cls.__name__}, which has {listed(allowed)}"
            )
            fix = f"correct the name: {did_you_mean(name, allowed)}"
        else:
            continue
        raise errors.InvalidExperiment(f"configuration {configuration.key}", rule, fix)


def check_estimator_demands(configuration: Configuration, task: str, spec: ExperimentSpec) -> None:
    """Raise when an estimator cannot do what the experiment asks of every configuration.

    Raises:
        InvalidExperiment: its `fit` takes no weights, or it has no monotone constraints.
    """
    if not competes(configuration.algorithm) or not (spec.sample_weight or spec.monotone):
        return
    estimator = build_estimator(configuration, task, seed=0)
    name, rule = type(estimator).__name__, None
    if spec.sample_weight and "sample_weight" not in inspect.signature(estimator.fit).parameters:
        rule = (
            f"{name} takes no sample_weight when it is fitted, so {spec.sample_weight} would count "
            "in the scores alone"
        )
        fix = "drop sample_weight"
    elif spec.monotone and "monotonic_cst" not in estimator.get_params(deep=False):
        rule = f"{name} cannot be held to a direction ({listed(list(spec.monotone))})"
        fix = "drop monotone; boosted trees and forests can"
    if rule is not None:
        culprit = f"algorithm {configuration.algorithm}"
        raise errors.InvalidExperiment(culprit, rule, f"take it out of `search`, or {fix}")


def estimator_class(path: str) -> type:
    """Return the class at an import path.

    Raises:
        UnknownAlgorithm: no such module or name, or no class with `fit` and `predict`.
    """

    def is_estimator(cls: Any) -> bool:
        return inspect.isclass(cls) and hasattr(cls, "fit") and hasattr(cls, "predict")

    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        rule = f"there is no module {error.name or module_name}"
        raise _unknown(path, rule, "correct the path, or install its package") from error
    if not hasattr(module, name):
        public = [one for one, cls in inspect.getmembers(module) if is_estimator(cls)]
        raise _unknown(path, f"{module_name} has no {name}", did_you_mean(name, public))
    cls: type = getattr(module, name)
    if not is_estimator(cls):
        raise _unknown(path, "it is not a class with fit and predict", "name an estimator's class")
    return cls


def _unknown(path: str, rule: str, fix: str) -> errors.UnknownAlgorithm:
    return errors.UnknownAlgorithm(f"algorithm {path}", rule, fix)
