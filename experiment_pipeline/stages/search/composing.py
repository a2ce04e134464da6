"""Several fits as one model: a configuration with other seeds, and the calibrator of its probabilities.

Only on all train rows: at small rungs of halving one fit is enough to tell who goes on. A seed says
how much of a score is luck; averaged, the fits are a model of their own. A calibrator is learnt on
predictions of train rows by fits that have not seen them, as many rounds as the model has, of folds
cut by the clusters of the split; no test row has a part in it, so that the test score, which ranks, is
that of the calibrated model, the one that is exported. It is paid for by each configuration that has
one, as a score without it would be another model's. In: a configuration and shared work. Out: one
`FittedModel`. How an average or a calibrated model is put together: `averaging.py`, `calibrating.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import EmptySet
from experiment_pipeline.spec import (
    CalibrationMethod,
    CrossValidation,
    ExperimentSpec,
    Scalar,
)
from experiment_pipeline.spec.algorithms import competes
from experiment_pipeline.stages.search.averaging import averaged
from experiment_pipeline.stages.search.calibrating import (
    Calibration,
    learn_calibration,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.learners import learner_of
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel, Learner
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.search.shared_work import EncodedRows, SharedWork
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.calibration import reweighting
from experiment_pipeline.statistics.weights import Weights
from experiment_pipeline.storage import persistence
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.folds import FoldRows, folds_of

# scikit-learn's number. By simulation (reweighted LightGBM, 190 positives of 4,000): slope 1.11 with
# five folds and 1.17 with three, whose models are of a third fewer rows and so too sure.
CALIBRATION_FOLDS = 5
# Below, in the rarest class, a sigmoid of two numbers is a guess.
FEWEST_TO_CALIBRATE = 20
# Below, in the rarest class, steps follow the noise. By simulation isotonic made models that were
# calibrated before worse: log loss by .015 with 55 positives, .010 with 180, .004 with 730; a
# sigmoid by .000 to .001.
FEWEST_FOR_ISOTONIC = 500

_DRAWS_NOTHING = "another seed makes the same model: it draws nothing, and counts as one fit"
_Fit = tuple[FittedModel, np.ndarray, float]
Fit = Callable[[Configuration, SharedWork, TrainingSets, ExperimentSpec], _Fit]


@dataclass(frozen=True, eq=False)
class Composed:
    """What came of a configuration.

    Attributes:
        fitted: the model, as it is stored, judged and exported.
        on_test: what it predicts for the test rows.
        predict_seconds: CPU time of that.
        by_seed: (fits, n_test, …) what each fit alone predicts for them; None: there is one.
        averaged: of how many fits it is the mean.
        calibration: how its probabilities were calibrated.
    """

    fitted: FittedModel
    on_test: np.ndarray
    predict_seconds: float
    by_seed: np.ndarray | None = None
    averaged: int = 1
    calibration: CalibrationMethod | None = None


@dataclass(frozen=True)
class _FitToRestore:
    """A fit as `Learner.restore` asks for it."""

    configuration: Configuration
    rounds: int | None
    trusted_types: tuple[str, ...]


def calibration_of(configuration: Configuration, spec: ExperimentSpec) -> CalibrationMethod | None:
    """Return how a configuration is to be calibrated: as the YAML says, else where it reweights."""
    if (
        spec.task == "regression"
        or spec.calibrate == "off"
        or not competes(configuration.algorithm)
    ):
        return None
    if spec.calibrate is None:
        return "sigmoid" if reweighting(configuration.hyperparameters) else None
    return spec.calibrate


def composition(configuration: Configuration, spec: ExperimentSpec) -> dict[str, dict[str, Scalar]]:
    """Return what decides a model beyond its one fit: nothing, where there is no more to it."""
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
    """Return the folds of the train rows, where somebody is to be calibrated."""
    if not any(calibration_of(one, spec) for one in configurations):
        return ()
    wanted = CrossValidation(folds=CALIBRATION_FOLDS, repeats=1)
    try:
        return folds_of(sets.train, spec, wanted, sets.features)
    except EmptySet:
        # Of one cluster no fold can be left out: each configuration says that it is not calibrated.
        return ()


def compose(
    configuration: Configuration,
    work: SharedWork,
    sets: TrainingSets,
    spec: ExperimentSpec,
    fit: Fit,
) -> Composed:
    """Fit a configuration as often as asked for, and calibrate it.

    Args:
        configuration: what to fit.
        work: its encoder's tables, and the folds where somebody is calibrated.
        sets: task, classes and folds; their rows are not used.
        spec: its seeds and its calibration are used.
        fit: makes one fit.
    """
    given = _Given(configuration, work, sets, _specs(configuration, spec))
    fits = list(given.fits(fit))
    average = len(fits) > 1 and spec.seeds is not None and spec.seeds.average
    members = fits if average else fits[:1]
    whole = _together(fits, members)
    method, caveat = _method(configuration, work, spec)
    nothing = [_DRAWS_NOTHING] if len(fits) < len(given.specs) else []
    notes = (*whole.fitted.notes, *nothing, *caveat)
    whole = replace(whole, fitted=replace(whole.fitted, notes=notes))
    if not average and method is None:
        return whole
    estimator = given.estimator([model for model, _, _ in members])
    if method is not None:
        whole, calibration = given.calibrated(whole, method, estimator.classes_)
        estimator = calibration.around(estimator)
    return given.as_estimator(whole, estimator)


def refit_composed(
    configuration: Configuration,
    rounds: int | None,
    rows: EncodedRows,
    sets: TrainingSets,
    spec: ExperimentSpec,
    *,
    averaged_fits: int = 1,
    calibration: Calibration | None = None,
) -> Any:
    """Return an estimator fitted on other rows, put together as the model of the search is.

    Args:
        configuration: what to fit.
        rounds: of the search's fit; None for what does not stop early.
        rows: what to fit on.
        sets: give task and classes; their rows are not used.
        spec: its seeds.
        averaged_fits: of how many fits the model is the mean.
        calibration: taken over as it was learnt: another one would have seen test rows.
    """
    refit = learner_of(configuration.algorithm).refit
    specs = _specs(configuration, spec)[:averaged_fits]
    members = [refit(configuration, rounds, rows, sets, one) for one in specs]
    whole = members[0]
    if averaged_fits > 1:
        whole = averaged(members, getattr(whole, "classes_", None))
    return whole if calibration is None else calibration.around(whole)


def _specs(configuration: Configuration, spec: ExperimentSpec) -> list[ExperimentSpec]:
    """The experiment with each of the seeds that a configuration is fitted with, its own first."""
    fits = 1 if spec.seeds is None or not competes(configuration.algorithm) else spec.seeds.fits
    others = [f"{spec.seed}/fit {number}".encode() for number in range(2, fits + 1)]
    seeds = [int(sha256(text)[:8], 16) % 2**31 for text in others]
    return [spec, *(spec.model_copy(update={"seed": seed}) for seed in seeds)]


def _together(fits: Sequence[_Fit], members: Sequence[_Fit]) -> Composed:
    """Some of the fits as one, at the cost of all."""
    (model, on_test, seconds), every = fits[0], [one for one, _, _ in fits]
    if len(members) > 1:
        on_test = np.mean([predicted for _, predicted, _ in members], axis=0)
    cost = replace(
        model,
        rounds=_median([one.rounds for one, _, _ in members]),
        cpu_seconds=sum(one.cpu_seconds for one in every),
        wall_seconds=sum(one.wall_seconds for one in every),
    )
    by_seed = np.stack([predicted for _, predicted, _ in fits]) if len(fits) > 1 else None
    return Composed(cost, on_test, seconds, by_seed, averaged=len(members))


@dataclass(frozen=True, eq=False)
class _Given:
    """One configuration, what its fits share, and the experiment with each of its seeds."""

    configuration: Configuration
    work: SharedWork
    sets: TrainingSets
    specs: Sequence[ExperimentSpec]

    @property
    def learner(self) -> Learner:
        return learner_of(self.configuration.algorithm)

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
        each = []
        for model, spec in zip(models, self.specs, strict=False):
            stored = _FitToRestore(self.configuration, model.rounds, model.trusted_types)
            each.append(self.learner.restore(stored, model.model, self.sets, spec))
        return each[0] if len(each) == 1 else averaged(each, getattr(each[0], "classes_", None))

    def calibrated(
        self, whole: Composed, method: CalibrationMethod, labels: np.ndarray
    ) -> tuple[Composed, Calibration]:
        """Learn calibrators of a model, whose classes come in the order of `labels`."""
        order = [list(self.sets.classes or ()).index(label) for label in labels]
        on_test = whole.on_test
        with Clock() as clock, threadpool_limits(limits=1, user_api="openmp"):
            if self.sets.folds:
                found = self._learn(method, on_test, order)
                on_test = self._cross_calibrated(method, on_test, order)
            else:
                rows, guessed = self._out_of_fold(whole.fitted.rounds, whole.averaged)
                weights = _of(self.work.w_train, rows)
                found = learn_calibration(method, guessed, self.work.y_train[rows], order, weights)
        fitted = replace(
            whole.fitted,
            cpu_seconds=whole.fitted.cpu_seconds + clock.cpu_seconds,
            wall_seconds=whole.fitted.wall_seconds + clock.wall_seconds,
        )
        by_seed = whole.by_seed
        if by_seed is not None:
            by_seed = np.stack([found.applied(one) for one in by_seed])
        whole = replace(whole, fitted=fitted, on_test=on_test, by_seed=by_seed, calibration=method)
        return whole, found

    def _out_of_fold(self, rounds: int | None, fits: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of train rows, and what fits that have not seen them predict there.

        Their features were made of all train rows, which knows no target but by an encoding that
        is cross-fitted itself.
        """
        task, classes = self.sets.task, self.sets.classes
        every = self.work.train_rows(self.configuration.features)
        rows, guessed = list[np.ndarray](), list[np.ndarray]()
        for fold in self.work.folds_to_calibrate:
            seen = every.part(fold.fitted)
            models = [
                self.learner.refit(self.configuration, rounds, seen, self.sets, spec)
                for spec in self.specs[:fits]
            ]
            held_out = every.table[fold.predicted]
            said = [predictions_of(one, held_out, task, classes) for one in models]
            rows.append(np.flatnonzero(fold.predicted))
            guessed.append(np.mean(said, axis=0))
        return np.concatenate(rows), np.concatenate(guessed)

    def _cross_calibrated(
        self, method: CalibrationMethod, prediction: np.ndarray, order: Sequence[int]
    ) -> np.ndarray:
        """The predictions of a cross-validation, each fold calibrated by what the others show."""
        folds, found = self.sets.folds, np.empty_like(prediction)
        for fold in folds:
            others = np.concatenate(
                [one.places for one in folds if one.repeat == fold.repeat and one is not fold]
            )
            learnt = self._learn(method, prediction, order, others)
            found[fold.places] = learnt.applied(prediction[fold.places])
        return found

    def _learn(
        self,
        method: CalibrationMethod,
        on_test: np.ndarray,
        order: Sequence[int],
        rows: Any = slice(None),
    ) -> Calibration:
        """Learn on predictions of test rows: of a cross-validation, which are out of fold."""
        y, weights = self.work.y_test[rows], _of(self.work.w_test, rows)
        return learn_calibration(method, on_test[rows], y, order, weights)

    def as_estimator(self, whole: Composed, estimator: Any) -> Composed:
        """A model that is stored, and predicts, as the estimator that would be exported."""

        def predict(rows: Any) -> np.ndarray:
            return predictions_of(estimator, rows, self.sets.task, self.sets.classes)

        model = persistence.to_bytes(estimator)
        fitted = replace(whole.fitted, predict=predict, model=model, on_train=None)
        whole = replace(whole, fitted=fitted)
        if self.sets.folds:
            return whole
        with Clock() as clock:
            on_test = predict(self.work.encoded[self.configuration.features].test)
        return replace(whole, on_test=on_test, predict_seconds=clock.cpu_seconds)


def _of(weights: Weights, rows: Any) -> Weights:
    return None if weights is None else weights[rows]


def _median(rounds: Sequence[int | None]) -> int | None:
    known = [one for one in rounds if one is not None]
    return round(float(np.median(known))) if known else None


def _method(
    configuration: Configuration, work: SharedWork, spec: ExperimentSpec
) -> tuple[CalibrationMethod | None, list[str]]:
    """How a configuration is calibrated on these rows, and why not as asked for."""
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
