"""What a fit leaves behind: its numbers, its model, or why it failed; and the store of these.

    <root>/<experiment>/trained_model/<fingerprint>/
        model.<digest>.txt | .skops      LightGBM's text, or a skops file; without the features
        test_predictions.<digest>.npy    of all test rows
        train_predictions.<digest>.npy   of the train rows that the train score is of
        seed_predictions.<digest>.npy    of all test rows, of each fit alone, where there are several
        result.json                      the numbers

Plain frozen data. In: what `fitting.py` measured. Out: the same, kept and checked. How entries
are kept whole: `storage/entries.py`; what decides a fingerprint: `fingerprints.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from experiment_pipeline.spec import CalibrationMethod, Features, Scalar
from experiment_pipeline.spec.algorithms import model_file
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.storage.arrays import array_of, npy
from experiment_pipeline.storage.entries import Entries, Entry
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.storage.records import Undefinable


@dataclass(frozen=True)
class SeedSpread:
    """Scores of one configuration's fits with several seeds.

    Attributes:
        mean: of the scores.
        deviation: their standard deviation, of a sample.
        fits: how many.
    """

    mean: float
    deviation: float
    fits: int


@dataclass(frozen=True)
class Placement:
    """Where a fit ran that was a task of a cluster.

    Attributes:
        worker: its address.
        attempts: how often it was begun; more than once where workers were lost.
        queue_seconds: from being handed out to the beginning of the last attempt.
        read_seconds: until the worker had the files that it shares with other fits.
    """

    worker: str
    attempts: int
    queue_seconds: float
    read_seconds: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one fit.

    Attributes:
        metric: the ranking metric that was asked for; like the other scores it can be another one
            later, see `scoring.py`.
        train_score: of `metric`, on train rows (those of `scoring.scored_rows`), at the threshold
            of the test score.
        test_score: of `metric`, on all test rows; nan where undefined. A score that depends on a
            threshold is at the best one for these rows.
        test_scores: every metric of the experiment, on all test rows, at that threshold.
        seed_scores: of `metric`, on all test rows: of each fit alone, the experiment's seed first;
            empty where there is one.
    """

    metric: str
    train_score: Undefinable
    test_score: Undefinable
    test_scores: Mapping[str, Undefinable]
    seed_scores: tuple[Undefinable, ...] = ()

    @property
    def seeds(self) -> SeedSpread | None:
        """What other seeds make of the score; None: there is one fit."""
        scores = np.array(self.seed_scores)
        if len(scores) < 2 or not np.isfinite(scores).all():
            return None
        return SeedSpread(float(scores.mean()), float(scores.std(ddof=1)), len(scores))


@dataclass(frozen=True, kw_only=True)
class ModelResult(Scores):
    """The numbers of one trained configuration.

    Attributes:
        key: the configuration's partition key when it was trained; keys may be renamed later.
        fingerprint: sha256 hex over everything that decides the model.
        encoder_fingerprint: the same for the fitted features it needs.
        algorithm: a built-in algorithm's name, or an import path.
        features: the feature encoder.
        hyperparameters: as the configuration gives them, defaults not included.
        status: "trained".
        rounds: boosting rounds that the model keeps; None for what does not boost.
        fit_cpu_seconds: CPU time of the fitting thread.
        fit_wall_seconds: the same fit by the clock on the wall.
        predict_seconds_per_row: CPU time on encoded test rows.
        model_bytes: size of the stored model, without features.
        trusted_types: what loading it needs beyond `persistence.TRUSTED_TYPES`: types of a
            user's own estimator, noted when this process had just fitted it.
        averaged: of how many fits it predicts the mean.
        calibration: how its probabilities were calibrated; None: they are as they are.
        notes: what to know about the fit, one sentence each.
        placement: where it ran; None: in this process, or beside it.
    """

    key: str
    fingerprint: str
    encoder_fingerprint: str
    algorithm: str
    features: Features
    hyperparameters: Mapping[str, Scalar]
    status: str
    rounds: int | None
    fit_cpu_seconds: float
    fit_wall_seconds: float
    predict_seconds_per_row: float
    model_bytes: int
    trusted_types: tuple[str, ...] = ()
    averaged: int = 1
    calibration: CalibrationMethod | None = None
    notes: tuple[str, ...] = ()
    placement: Placement | None = None

    @property
    def is_composed(self) -> bool:
        """Whether the stored model is more than one fit of its algorithm."""
        return self.averaged > 1 or self.calibration is not None

    @property
    def model_file(self) -> str:
        """What the stored model is called, by its format."""
        return _SKOPS if self.is_composed else model_file(self.algorithm)

    @property
    def configuration(self) -> Configuration:
        """What was trained."""
        return Configuration(self.key, self.algorithm, self.features, self.hyperparameters)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one fit predicts: all that scores need.

    Regression (n,); binary (n,), the probability of classes[1]; multiclass (n, k), in the order
    of the classes.

    Attributes:
        test: of the test rows.
        train: of the train rows that the train score is of, see `scoring.scored_rows`.
        by_seed: (fits, n_test, …) of the test rows, of each fit alone; None: there is one.
    """

    test: np.ndarray
    train: np.ndarray
    by_seed: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained configuration.

    Attributes:
        result: its numbers.
        model: LightGBM text in UTF-8, or canonical skops bytes; without the features.
        predictions: of test and train rows.
    """

    result: ModelResult
    model: bytes
    predictions: Predictions

    @property
    def key(self) -> str:
        """The configuration's partition key."""
        return self.result.key


@dataclass(frozen=True)
class FailedConfiguration:
    """A configuration that could not be trained.

    Attributes:
        key: the configuration's partition key.
        fingerprint: of what was to be trained.
        error_type: the class of the exception.
        reason: its message.
        traceback: for who has to mend the estimator.
        says_nothing: of the configuration: what it raised comes from the machine or the
            interpreter, and another attempt may end well.
        placement: as of `ModelResult`.
    """

    key: str
    fingerprint: str
    error_type: str
    reason: str
    traceback: str
    says_nothing: bool = False
    placement: Placement | None = None

    @property
    def in_words(self) -> str:
        """`ValueError: no such tree`."""
        return f"{self.error_type}: {self.reason}"


Outcome = TrainedModel | FailedConfiguration


_ON_TEST, _ON_TRAIN = "test_predictions.npy", "train_predictions.npy"
_SKOPS = "model.skops"
_BY_SEED = "seed_predictions.npy"


@dataclass(frozen=True)
class TrainedModelStore:
    """The trained models of one experiment; EntryCorrupt is raised as `Entries` says."""

    entries: Entries[ModelResult]

    @classmethod
    def of(cls, experiment: str) -> "TrainedModelStore":
        """Return those under the storage root."""
        return cls(Entries(storage_root(), experiment, "trained_model", ModelResult))

    def results(self, fingerprints: Iterable[str]) -> dict[str, ModelResult]:
        """Return fingerprint → numbers, of the entries that exist.

        One small file per entry is read; the model and its predictions are not looked at.
        """
        found = self.entries.read(fingerprints, names=())
        return {print_: entry.record for print_, entry in found.items()}

    def test_predictions(self, fingerprints: Iterable[str]) -> dict[str, np.ndarray]:
        """Return fingerprint → predictions of the test rows, of the entries that exist."""
        found = self.entries.read(fingerprints, [_ON_TEST])
        return {print_: array_of(entry.files[_ON_TEST]) for print_, entry in found.items()}

    def predictions(self, fingerprint: str) -> Predictions:
        """Return what an entry predicts, from which any metric can be computed."""
        return _predictions(
            self.entries.require(fingerprint, [_ON_TEST, _ON_TRAIN, _BY_SEED]).files
        )

    def get(self, fingerprint: str) -> TrainedModel | None:
        """Return an entry; None when there is none."""
        return self.get_many([fingerprint]).get(fingerprint)

    def require(self, fingerprint: str) -> TrainedModel:
        """Return an entry that must be there; EntryCorrupt when it is gone."""
        return _trained(self.entries.require(fingerprint))

    def get_many(self, fingerprints: Iterable[str]) -> dict[str, TrainedModel]:
        """Return fingerprint → trained model, of the entries that exist."""
        found = self.entries.read(fingerprints)
        return {print_: _trained(entry) for print_, entry in found.items()}

    def put(self, trained: TrainedModel) -> TrainedModel:
        """Store a trained model, and return what the store holds now: an entry never changes."""
        files = {
            trained.result.model_file: trained.model,
            _ON_TEST: npy(trained.predictions.test),
            _ON_TRAIN: npy(trained.predictions.train),
        }
        if trained.predictions.by_seed is not None:
            files[_BY_SEED] = npy(trained.predictions.by_seed)
        held = self.entries.put(trained.result.fingerprint, files, trained.result)
        return trained if held.record is trained.result else _trained(held)


@dataclass(frozen=True)
class IntactModels:
    """What of a store a run can reuse: each entry is looked into once, before it is relied on.

    Attributes:
        store: the trained models.
        tell: is given a sentence for each damaged entry, which goes into quarantine.
    """

    store: TrainedModelStore
    tell: Callable[[str], object]
    _looked_into: set[str] = field(default_factory=set)

    def results(self, fingerprints: Iterable[str]) -> dict[str, ModelResult]:
        """Return fingerprint → numbers, of the intact entries."""
        asked = list(fingerprints)
        new = [print_ for print_ in asked if print_ not in self._looked_into]
        self.store.entries.quarantine_damaged(new, self.tell)
        self._looked_into.update(new)
        return self.store.results(asked)

    def predictions(self, fingerprint: str) -> Predictions:
        """Return what an entry predicts."""
        return self.store.predictions(fingerprint)


def _trained(entry: Entry[ModelResult]) -> TrainedModel:
    model = entry.files[entry.record.model_file]
    return TrainedModel(entry.record, model, _predictions(entry.files))


def _predictions(files: Mapping[str, bytes]) -> Predictions:
    by_seed = array_of(files[_BY_SEED]) if _BY_SEED in files else None
    return Predictions(array_of(files[_ON_TEST]), array_of(files[_ON_TRAIN]), by_seed)
