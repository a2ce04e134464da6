"""What a fit returns (numbers and model, or why it failed), and the stores of trained
models.

<root>/<experiment>/trained_model/<fingerprint>/
    model.<digest>.txt | .skops      LightGBM's text, or a skops file; no features
    test_predictions.<digest>.npy    of all test rows
    train_predictions.<digest>.npy   of the train rows used for the train score
    seed_predictions.<digest>.npy    of all test rows, of each of several fits alone
    result.json                      the numbers
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from experiment_pipeline.spec import Features, Scalar
from experiment_pipeline.spec.algorithms import model_file
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.storage.arrays import array_of, npy
from experiment_pipeline.storage.entries import Entries, Entry
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.records import Undefinable


@dataclass(frozen=True)
class SeedSpread:
    """Mean and sample standard deviation of a configuration's scores over seeds."""

    mean: float
    deviation: float
    fits: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one fit."""

    # the ranking metric; scores can be computed for another one later, see `scoring.py`
    metric: str
    # of `metric` on the train rows of `scoring.scored_rows`, at the threshold of the
    # test score
    train_score: Undefinable
    # of `metric` on all test rows, at the best threshold for these rows where it
    # depends on one; nan where undefined
    test_score: Undefinable
    # every metric of the experiment, on all test rows, at that threshold
    test_scores: Mapping[str, Undefinable]
    # of `metric` on all test rows, one per seed, the experiment's own first; empty for
    # a single fit
    seed_scores: tuple[Undefinable, ...] = ()

    @property
    def seeds(self) -> SeedSpread | None:
        """The spread of the score over seeds; None: one fit, or an undefined score."""
        scores = np.array(self.seed_scores)
        if len(scores) < 2 or not np.isfinite(scores).all():
            return None
        return SeedSpread(float(scores.mean()), float(scores.std(ddof=1)), len(scores))


@dataclass(frozen=True, kw_only=True)
class ModelResult(Scores):
    """The numbers of one trained configuration."""

    key: str  # the partition key when it was trained; keys may be renamed later
    fingerprint: str  # sha256 hex over everything that decides the model
    encoder_fingerprint: str  # the same for the fitted features it needs
    algorithm: str
    features: Features
    hyperparameters: Mapping[str, Scalar]  # without defaults
    status: str  # "trained"
    rounds: int | None  # boosting rounds of the model; None for what does not boost
    fit_cpu_seconds: float  # of the fitting thread
    fit_wall_seconds: float
    predict_seconds_per_row: float  # CPU time on encoded test rows
    model_bytes: int  # as stored, without features
    # to load it, beyond `persistence.TRUSTED_TYPES`
    trusted_types: tuple[str, ...] = ()
    calibration: str | None = None  # None: not calibrated
    notes: tuple[str, ...] = ()  # on the fit, one sentence each

    @property
    def configuration(self) -> Configuration:
        """What was trained."""
        return Configuration(
            self.key, self.algorithm, self.features, self.hyperparameters
        )


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one fit predicts: all that scores need.

    Regression (n,); binary (n,), the probability of classes[1]; multiclass (n, k), in
    the order of the classes.
    """

    test: np.ndarray  # of the test rows
    # of the train rows used for the train score, see `scoring.scored_rows`
    train: np.ndarray
    # (fits, n_test, …) of the test rows, of each fit alone; None: there is one
    by_seed: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained configuration; the model is LightGBM's text, or skops bytes."""

    result: ModelResult
    model: bytes
    predictions: Predictions

    @property
    def key(self) -> str:
        """The configuration's partition key."""
        return self.result.key


@dataclass(frozen=True)
class FailedConfiguration:
    """A configuration that could not be trained."""

    key: str
    fingerprint: str  # of what was to be trained
    error_type: str  # the class of the exception
    reason: str  # its message
    traceback: str
    # the error comes from the machine or the interpreter: another attempt may succeed
    is_of_the_machine: bool = False

    @property
    def in_words(self) -> str:
        """`ValueError: no such tree`."""
        return f"{self.error_type}: {self.reason}"


Outcome = TrainedModel | FailedConfiguration


class ModelsInMemory:
    """Trained models by fingerprint: the store of a run that writes no files."""

    def __init__(self, models: Mapping[str, TrainedModel] | None = None) -> None:
        """Start with models of earlier runs, or with none."""
        self.models = dict(models or {})

    def put(self, trained: TrainedModel) -> TrainedModel:
        """Keep a trained model."""
        return self.models.setdefault(trained.result.fingerprint, trained)

    def results(self, fingerprints: Iterable[str]) -> dict[str, ModelResult]:
        """Return fingerprint → numbers, of the models that were trained."""
        stored = [print_ for print_ in fingerprints if print_ in self.models]
        return {print_: self.models[print_].result for print_ in stored}

    def predictions(self, fingerprint: str) -> Predictions:
        """Return what a trained model predicts."""
        return self.models[fingerprint].predictions

    def test_predictions(self, fingerprints: Iterable[str]) -> dict[str, np.ndarray]:
        """Return fingerprint → predictions of the test rows, of what was trained."""
        stored = [print_ for print_ in fingerprints if print_ in self.models]
        return {print_: self.models[print_].predictions.test for print_ in stored}

    def require(self, fingerprint: str) -> TrainedModel:
        """Return a trained model."""
        return self.models[fingerprint]


_ON_TEST, _ON_TRAIN = "test_predictions.npy", "train_predictions.npy"
_BY_SEED = "seed_predictions.npy"


@dataclass(frozen=True)
class TrainedModelStore:
    """The trained models of one experiment; errors are those of `Entries`."""

    entries: Entries[ModelResult]  # what is stored
    # called with a sentence for each damaged entry that `results` finds; such entries
    # go into quarantine. None: entries are not checked.
    warn: Callable[[str], object] | None = None
    _checked: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls, experiment: str, warn: Callable[[str], object] | None = None
    ) -> "TrainedModelStore":
        """Return those under the storage root."""
        return cls(
            Entries(storage_root(), experiment, "trained_model", ModelResult), warn
        )

    def results(self, fingerprints: Iterable[str]) -> dict[str, ModelResult]:
        """Return fingerprint → numbers, of existing entries; each is checked once."""
        prints = list(fingerprints)
        if self.warn is not None:
            new = [print_ for print_ in prints if print_ not in self._checked]
            self.entries.quarantine_damaged(new, self.warn)
            self._checked.update(new)
        entries = self.entries.read(prints, names=())
        return {print_: entry.record for print_, entry in entries.items()}

    def test_predictions(self, fingerprints: Iterable[str]) -> dict[str, np.ndarray]:
        """Return fingerprint → predictions of the test rows, of existing entries."""
        entries = self.entries.read(fingerprints, [_ON_TEST])
        return {
            print_: array_of(entry.files[_ON_TEST]) for print_, entry in entries.items()
        }

    def predictions(self, fingerprint: str) -> Predictions:
        """Return what an entry predicts, from which any metric can be computed."""
        names = [_ON_TEST, _ON_TRAIN, _BY_SEED]
        return _predictions(self.entries.require(fingerprint, names).files)

    def require(self, fingerprint: str) -> TrainedModel:
        """Return an entry; EntryCorrupt when it is gone."""
        return _trained(self.entries.require(fingerprint))

    def put(self, trained: TrainedModel) -> TrainedModel:
        """Store a model; return what the store holds now, as an entry never changes."""
        result, predictions = trained.result, trained.predictions
        files = {
            _model_file(result): trained.model,
            _ON_TEST: npy(predictions.test),
            _ON_TRAIN: npy(predictions.train),
        }
        if predictions.by_seed is not None:
            files[_BY_SEED] = npy(predictions.by_seed)
        stored = self.entries.put(result.fingerprint, files, result)
        return trained if stored.record is result else _trained(stored)


# A search reuses what is there by fingerprint, and adds what it trains.
ModelStore = ModelsInMemory | TrainedModelStore


def _model_file(result: ModelResult) -> str:
    return "model.skops" if result.calibration else model_file(result.algorithm)


def _trained(entry: Entry[ModelResult]) -> TrainedModel:
    model = entry.files[_model_file(entry.record)]
    return TrainedModel(entry.record, model, _predictions(entry.files))


def _predictions(files: Mapping[str, bytes]) -> Predictions:
    by_seed = array_of(files[_BY_SEED]) if _BY_SEED in files else None
    return Predictions(array_of(files[_ON_TEST]), array_of(files[_ON_TRAIN]), by_seed)
