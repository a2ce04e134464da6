"""Several fits as one model: a configuration with other seeds, and calibrated probabilities.

Both are done on all train rows only: at the small rungs of halving one fit is enough. Seeds show how
much of a score is chance; the mean of the fits is a model of its own. Calibrators are learnt on
out-of-fold predictions of train rows, by fits of as many rounds as the model's, with folds cut by the
clusters of the split. No test row is used, so the test score is that of the calibrated model that is
exported. How an average or a calibrated model is built: `averaging.py`, `calibrating.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import EmptySet
from experiment_pipeline.spec import CalibrationMethod, CrossValidation, ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import competes
from experiment_pipeline.stages.search.averaging import averaged
from experiment_pipeline.stages.search.calibrating import Calibrators, learn_calibration
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.search.shared_work import EncodedRows, SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.weights import Weights
from experiment_pipeline.storage import persistence
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.folds import FoldRows, folds_of

# scikit-learn's default. By simulation (reweighted LightGBM, 190 positives of 4,000): slope 1.11 with
# five folds and 1.17 with three, whose models see a third fewer rows and are overconfident.
CALIBRATION_FOLDS = 5
# With fewer rows of the rarest class, the two numbers of a sigmoid are a guess.
FEWEST_TO_CALIBRATE = 20
# With fewer rows of the rarest class, isotonic steps overfit. By simulation they made the log loss of
# calibrated models worse by .015 with 55 positives, .010 with 180, .004 with 730; a sigmoid by .000 to
# .001.
FEWEST_FOR_ISOTONIC = 500

_DRAWS_NOTHING = "another seed makes the same model: it draws nothing, and counts as one fit"
_Fit = tuple[FittedModel, np.ndarray, float]
Fit = Callable[[Configuration, SharedWork, TrainingSets, ExperimentSpec], _Fit]


@dataclass(frozen=True, eq=False)
class Composed:
    """The model of a configuration."""

    fitted: FittedModel  # the model, as it is stored, judged and exported
    on_test: np.ndarray  # its predictions of the test rows
    predict_seconds: float  # CPU time of that
    # (fits, n_test, …) the predictions of each fit; None: there is one
    by_seed: np.ndarray | None = None
    averaged: int = 1  # of how many fits it is the mean
    calibration: CalibrationMethod | None = None  # how its probabilities were calibrated


@dataclass(frozen=True)
class _FitToRestore:
    """A fit as `Learner.restore` needs it."""

    configuration: Configuration
    rounds: int | None
    trusted_types: tuple[str, ...]


def calibration_of(configuration: Configuration, spec: ExperimentSpec) -> CalibrationMethod | None:
    """Return how to calibrate a configuration: as in the YAML, else where it reweights."""
    if spec.calibrate == "off":
        return None
    if spec.task == "regression" or not competes(configuration.algorithm):
        return None
    if spec.calibrate is None:
        return "sigmoid" if reweighting(configuration.hyperparameters) else None
    return spec.calibrate


def composition(configuration: Configuration, spec: ExperimentSpec) -> dict[str, dict[str, Scalar]]:
    """Return what decides a model beyond its single fit; empty for a single fit."""
    found: dict[str, Scalar] = {}
    if (fits := planned_fits(configuration, spec)) > 1 and spec.seeds is not None:
        found |= {"fits": fits, "average": spec.seeds.average}
    if method := calibration_of(configuration, spec):
        found |= {"calibrate": method, "folds": CALIBRATION_FOLDS}
    return {"composition": found} if found else {}


def planned_fits(configuration: Configuration, spec: ExperimentSpec) -> int:
    """Return with how many seeds a configuration is fitted."""
    return len(_specs(configuration, spec))


def folds_to_calibrate(
    configurations: Iterable[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> tuple[FoldRows, ...]:
    """Return the folds of the train rows; none where no configuration is to be calibrated."""
    if not any(calibration_of(one, spec) for one in configurations):
        return ()
    wanted = CrossValidation(folds=CALIBRATION_FOLDS, repeats=1)
    try:
        return folds_of(sets.train, spec, wanted, sets.features)
    except EmptySet:
        # One cluster cannot be cut: `_method` notes that the model is not calibrated.
        return ()


def compose(
    configuration: Configuration,
    work: SharedWork,
    sets: TrainingSets,
    spec: ExperimentSpec,
    fit: Fit,
) -> Composed:
    """Fit a configuration with each of its seeds, and calibrate it.

    Args:
        configuration: what to fit.
        work: its encoder's tables, and the folds for calibration.
        sets: task, classes and folds; their rows are not used.
        spec: its seeds and its calibration are used.
        fit: makes one fit.
    """
    composing = _Composing(configuration, work, sets, _specs(configuration, spec))
    fits = list(composing.fits(fit))
    average = len(fits) > 1 and spec.seeds is not None and spec.seeds.average
    members = fits if average else fits[:1]
    (model, on_test, seconds), every = fits[0], [one for one, _, _ in fits]
    method, caveat = _method(configuration, work, spec)
    nothing = [_DRAWS_NOTHING] if len(fits) < len(composing.specs) else []
    rounds = [one.rounds for one, _, _ in members if one.rounds is not None]
    whole = Composed(
        replace(
            model,
            rounds=round(float(np.median(rounds))) if rounds else None,
            cpu_seconds=sum(one.cpu_seconds for one in every),
            wall_seconds=sum(one.wall_seconds for one in every),
            notes=(*model.notes, *nothing, *caveat),
        ),
        np.mean([predicted for _, predicted, _ in members], axis=0) if average else on_test,
        seconds,
        by_seed=np.stack([predicted for _, predicted, _ in fits]) if len(fits) > 1 else None,
        averaged=len(members),
    )
    if not average and method is None:
        return whole
    estimator = composing.estimator([model for model, _, _ in members])
    if method is not None:
        whole, calibration = composing.calibrated(whole, method, estimator.classes_)
        estimator = calibration.around(estimator)
    return composing.as_estimator(whole, estimator)


def refit_composed(
    configuration: Configuration,
    rounds: int | None,
    rows: EncodedRows,
    sets: TrainingSets,
    spec: ExperimentSpec,
    *,
    averaged_fits: int = 1,
    calibration: Calibrators | None = None,
) -> Any:
    """Return an estimator fitted on other rows, composed as the model of the search is.

    Args:
        configuration: what to fit.
        rounds: of the search's fit; None for what does not stop early.
        rows: what to fit on.
        sets: give task and classes; their rows are not used.
        spec: its seeds.
        averaged_fits: of how many fits the model is the mean.
        calibration: of the search: one learnt anew would have seen test rows.
    """
    refit = learner_of(configuration.algorithm).refit
    specs = _specs(configuration, spec)[:averaged_fits]
    members = [refit(configuration, rounds, rows, sets, one) for one in specs]
    whole = members[0]
    if averaged_fits > 1:
        whole = averaged(members, getattr(whole, "classes_", None))
    return whole if calibration is None else calibration.around(whole)


def _specs(configuration: Configuration, spec: ExperimentSpec) -> list[ExperimentSpec]:
    """The experiment with each of a configuration's seeds, its own first."""
    fits = 1 if spec.seeds is None or not competes(configuration.algorithm) else spec.seeds.fits
    others = [f"{spec.seed}/fit {number}".encode() for number in range(2, fits + 1)]
    seeds = [int(sha256(text)[:8], 16) % 2**31 for text in others]
    return [spec, *(spec.model_copy(update={"seed": seed}) for seed in seeds)]


@dataclass(frozen=True, eq=False)
class _Composing:
    """One configuration, what its fits share, and the experiment with each of its seeds."""

    configuration: Configuration
    work: SharedWork
    sets: TrainingSets
    specs: Sequence[ExperimentSpec]

    def fits(self, fit: Fit) -> Iterator[_Fit]:
        """The fits with each seed; one alone where a second one predicts the same."""
        first = fit(self.configuration, self.work, self.sets, self.specs[0])
        yield first
        for number, spec in enumerate(self.specs[1:]):
            again = fit(self.configuration, self.work, self.sets, spec)
            if number == 0 and np.array_equal(first[1], again[1]):
                return
            yield again

    def estimator(self, models: Sequence[FittedModel]) -> Any:
        """The fits as one fitted estimator."""
        restore = learner_of(self.configuration.algorithm).restore
        each = [
            restore(
                _FitToRestore(self.configuration, model.rounds, model.trusted_types),
                *(model.model, self.sets, spec),
            )
            for model, spec in zip(models, self.specs, strict=False)
        ]
        return each[0] if len(each) == 1 else averaged(each, getattr(each[0], "classes_", None))

    def calibrated(
        self, whole: Composed, method: CalibrationMethod, labels: np.ndarray
    ) -> tuple[Composed, Calibrators]:
        """Learn calibrators of a model, whose classes come in the order of `labels`."""
        order = [list(self.sets.classes or ()).index(label) for label in labels]
        on_test, work = whole.on_test, self.work
        with Clock() as clock, threadpool_limits(limits=1, user_api="openmp"):
            if self.sets.folds:
                # The predictions of a cross-validation are out of fold.
                calibration = learn_calibration(method, on_test, work.y_test, order, work.w_test)
                on_test = self._cross_calibrated(method, on_test, order)
            else:
                rows, predicted = self._out_of_fold(whole.fitted.rounds, whole.averaged)
                y, weights = work.y_train[rows], _of(work.w_train, rows)
                calibration = learn_calibration(method, predicted, y, order, weights)
        fitted = replace(
            whole.fitted,
            cpu_seconds=whole.fitted.cpu_seconds + clock.cpu_seconds,
            wall_seconds=whole.fitted.wall_seconds + clock.wall_seconds,
        )
        by_seed = whole.by_seed
        if by_seed is not None:
            by_seed = np.stack([calibration.applied(one) for one in by_seed])
        whole = replace(whole, fitted=fitted, on_test=on_test, by_seed=by_seed, calibration=method)
        return whole, calibration

    def _out_of_fold(self, rounds: int | None, fits: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of train rows, and the mean predictions there of fits without them.

        Features are encoded on all train rows; encoders that use the target are cross-fitted.
        """
        task, classes = self.sets.task, self.sets.classes
        refit = learner_of(self.configuration.algorithm).refit
        every = self.work.train[self.configuration.features]
        rows, means = list[np.ndarray](), list[np.ndarray]()
        for fold in self.work.folds_to_calibrate:
            seen, held_out = every.part(fold.fitted), every.table[fold.predicted]
            models = [
                refit(self.configuration, rounds, seen, self.sets, spec)
                for spec in self.specs[:fits]
            ]
            predicted = [predictions_of(one, held_out, task, classes) for one in models]
            rows.append(np.flatnonzero(fold.predicted))
            means.append(np.mean(predicted, axis=0))
        return np.concatenate(rows), np.concatenate(means)

    def _cross_calibrated(
        self, method: CalibrationMethod, prediction: np.ndarray, order: Sequence[int]
    ) -> np.ndarray:
        """The predictions of a cross-validation, each fold calibrated on the others."""
        folds, found, work = self.sets.folds, np.empty_like(prediction), self.work
        for fold in folds:
            others = np.concatenate(
                [one.places for one in folds if one.repeat == fold.repeat and one is not fold]
            )
            y, weights = work.y_test[others], _of(work.w_test, others)
            learnt = learn_calibration(method, prediction[others], y, order, weights)
            found[fold.places] = learnt.applied(prediction[fold.places])
        return found

    def as_estimator(self, whole: Composed, estimator: Any) -> Composed:
        """The model, stored as the estimator that would be exported, and predicting with it."""

        def predict(rows: Any) -> np.ndarray:
            return predictions_of(estimator, rows, self.sets.task, self.sets.classes)

        model = persistence.to_bytes(estimator)
        fitted = replace(whole.fitted, predict=predict, model=model)
        whole = replace(whole, fitted=fitted)
        if self.sets.folds:
            return whole
        with Clock() as clock:
            on_test = predict(self.work.test[self.configuration.features])
        return replace(whole, on_test=on_test, predict_seconds=clock.cpu_seconds)


def _of(weights: Weights, rows: np.ndarray) -> Weights:
    return None if weights is None else weights[rows]


def _method(
    configuration: Configuration, work: SharedWork, spec: ExperimentSpec
) -> tuple[CalibrationMethod | None, list[str]]:
    """How to calibrate a configuration on these rows, and why it differs from the YAML."""
    method = calibration_of(configuration, spec)
    if method is None:
        return None, []
    counts = np.bincount(work.y_train)
    rows = fewest = int(counts.min())
    if not work.folds:
        cut = [work.y_train[one.fitted] for one in work.folds_to_calibrate]
        fewest = min((int(np.bincount(y, minlength=len(counts)).min()) for y in cut), default=0)
    has = f"the rarest class has {rows:,} train rows"
    if rows < FEWEST_TO_CALIBRATE or not fewest:
        return None, [f"not calibrated: {has}, too few to learn it ({FEWEST_TO_CALIBRATE})"]
    if method == "isotonic" and rows < FEWEST_FOR_ISOTONIC:
        few = f"isotonic steps follow the noise below {FEWEST_FOR_ISOTONIC}"
        return "sigmoid", [f"calibrated by a sigmoid: {has}, and {few}"]
    return method, []
