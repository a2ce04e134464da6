"""Where a run keeps what its stages make: in memory, or as models and scores in files.
With rows of the database: `file_store.py`.

A stage asks the store of its run for earlier results and gives it new ones; it does not
know which of the two stores it has.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from logging import Logger
from pathlib import Path
from typing import Any, TypeVar

from experiment_pipeline.prediction.champions import PublishedChampion
from experiment_pipeline.reporting.outcome import Fact, Outcome
from experiment_pipeline.reporting.run_record import RecordRow
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.scored import ScoreLedger
from experiment_pipeline.stages.search.earlier import EarlierSearches
from experiment_pipeline.stages.search.halving import FitEngine, Threads, workers_of
from experiment_pipeline.stages.search.results import (
    ModelsInMemory,
    ModelStore,
    TrainedModelStore,
)
from experiment_pipeline.stages.validated_data.changes import DataProfiles
from experiment_pipeline.stages.validated_data.issues import CheckedRows, Earlier
from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.storage.entries import Entry
from experiment_pipeline.storage.registry import (
    ModelPackage,
    PublishedVersion,
    Registry,
)
from experiment_pipeline.storage.run_code import RunCode, run_code
from experiment_pipeline.table.features import NamedColumns

Warn = Callable[[str], object]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Made:
    """What a stage computed, and the files that show and store it."""

    result: object  # for callers in this process
    # name → function that returns the content; a store in memory never renders pages
    contents: Mapping[str, Callable[[], bytes]]


@dataclass(frozen=True)
class StageFiles:
    """The files of a stage's result, by name."""

    contents: Mapping[str, Callable[[], bytes]]
    paths: Mapping[str, str] = field(default_factory=dict)  # empty in memory

    @classmethod
    def of(cls, entry: Entry[None]) -> "StageFiles":
        """Return the files of a stored entry."""
        contents = {name: partial(bytes, data) for name, data in entry.files.items()}
        return cls(contents, {name: str(path) for name, path in entry.paths.items()})

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self.contents[name]()

    def path(self, name: str) -> str:
        """Return the path of a file; empty if it is not stored."""
        return self.paths.get(name, "")

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the files as they are written."""
        contents = {name: partial(bytes, self.read(name)) for name in self.contents}
        return {"contents": contents, "paths": self.paths}


@dataclass
class Store:
    """Results in this process: no files, no database, no history."""

    spec: ExperimentSpec
    trained: ModelsInMemory = field(default_factory=ModelsInMemory)
    results: dict[str, Any] = field(default_factory=dict)  # stage → what it computed
    # experiment and digest of the raw table → its checked rows: the data analysis
    # hands them on to the validation of the same run
    checked: dict[tuple[str, str], CheckedRows] = field(default_factory=dict)
    # of earlier runs: profiles of tables, searches, scores on test rows, looks at
    # validation sets; None: no history
    profiles: DataProfiles | None = None
    searches: EarlierSearches | None = None
    scores: ScoreLedger | None = None
    ledger: Ledger | None = None
    _files: dict[str, StageFiles] = field(default_factory=dict)

    @cached_property
    def code(self) -> RunCode:
        """The user's code, read once: files may change during the run."""
        return run_code(self.spec, Path.cwd())

    @property
    def page(self) -> str:
        """The address of the run's page, also while it runs; empty: it has none."""
        return ""

    @property
    def run_id(self) -> str:
        """The id under which the run is recorded; empty: it is not."""
        return ""

    def earlier_issues(self, digest: str) -> Earlier:
        """What earlier runs recorded of issues in the data; `digest`: of the table."""
        return Earlier()

    def recorded(self, stage: str, named: NamedColumns) -> AbstractContextManager[None]:
        """Record the start, cost and error of a stage's work."""
        _ = self.code
        return nullcontext()

    def record(self, rows: Iterable[RecordRow]) -> None:
        """Write rows of this run."""

    def in_batches(
        self, write: Callable[[Sequence[_Item]], object]
    ) -> AbstractContextManager[Callable[[Sequence[_Item]], object]]:
        """Provide `write` for many calls a second."""
        return nullcontext(write)

    def record_outcome(self, outcome: Outcome) -> Mapping[str, Fact]:
        """Record an outcome; return the pages of all runs if it ends this one."""
        return {}

    def keep(self, stage: str, result: object) -> None:
        """Keep what a stage computed, for callers in this process."""
        self.results[stage] = result

    def reused_or_made(
        self, stage: str, fingerprint: str, make: Callable[[], Made], log: Logger
    ) -> StageFiles:
        """Return the files of a fingerprint; `make` them if they are not stored."""
        computed = make()
        self.keep(stage, computed.result)
        self._files[stage] = StageFiles(computed.contents)
        return self._files[stage]

    def find(self, stage: str, fingerprint: str) -> StageFiles | None:
        """Return the files of a fingerprint, if they are stored."""
        return self._files.get(stage)

    def require(self, stage: str, fingerprint: str) -> StageFiles:
        """Return the files of a fingerprint; EntryCorrupt: gone or damaged."""
        return self._files[stage]

    def models(self, warn: Warn | None = None) -> ModelStore:
        """Return the trained models; `warn` is called for damaged ones."""
        return self.trained

    def model_path(self, fingerprint: str) -> str:
        """Return the folder of a trained model; empty in memory."""
        return ""

    @contextmanager
    def engine(self, spec: ExperimentSpec, log: Logger) -> Iterator[FitEngine]:
        """Provide the engine that trains: threads of this machine."""
        yield Threads(workers_of(spec))

    def champions(self, spec: ExperimentSpec) -> list[PublishedChampion]:
        """Return the published versions that a new model is compared with."""
        return []

    def publish(
        self,
        spec: ExperimentSpec,
        fingerprint: str,
        package: Callable[[RunCode], ModelPackage],
        warn: Warn,
    ) -> tuple[Registry, PublishedVersion] | None:
        """Publish a packaged model as a version; None: it is only packaged."""
        self.keep("exported_model", package(self.code))
        return None


@dataclass
class ExplorationStore(Store):
    """Trained models, searches and scores are files, which later runs reuse; the rest
    is in memory, and nothing is recorded.
    """

    def __post_init__(self) -> None:
        self.searches = EarlierSearches.of(self.spec.name)
        self.scores = ScoreLedger.of(self.spec.name)

    def models(self, warn: Warn | None = None) -> TrainedModelStore:
        """Return the trained models under the storage root."""
        return TrainedModelStore.of(self.spec.name, warn)
