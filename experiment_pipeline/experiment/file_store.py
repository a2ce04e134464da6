"""Where a recorded run keeps what its stages make: files, and rows of the database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from logging import Logger
from typing import TypeVar

from experiment_pipeline.errors import StorageError, UnknownRun
from experiment_pipeline.experiment.sql import publish
from experiment_pipeline.experiment.store import (
    ExplorationStore,
    Made,
    StageFiles,
    Warn,
)
from experiment_pipeline.prediction.champions import PublishedChampion, find_champions
from experiment_pipeline.reporting.outcome import Fact, Outcome
from experiment_pipeline.reporting.run_record import RecordRow, RunFacts
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model import export
from experiment_pipeline.stages.search.dask_cluster import connected, engine_of
from experiment_pipeline.stages.search.halving import FitEngine, Threads, workers_of
from experiment_pipeline.stages.validated_data.changes import DataProfiles
from experiment_pipeline.stages.validated_data.issues import Earlier
from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.storage.entries import linked_page, stage_entries
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.registry import (
    RECORD,
    ModelPackage,
    PublishedVersion,
    Registry,
    registry_of,
)
from experiment_pipeline.storage.run_code import RunCode
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking import questions, run_pages
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.archive import restore_versions
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import (
    finish_run,
    record_outcome,
    recorded_stage,
)
from experiment_pipeline.tracking.questions import code_of, run_of
from experiment_pipeline.tracking.record import record_of_version
from experiment_pipeline.tracking.server import page_url

_IDENTITY = "identity.txt"  # of the published version, in the entry of its export
_Item = TypeVar("_Item")


@dataclass(kw_only=True)
class FileStore(ExplorationStore):
    """Files under the storage root and rows of the metadata database."""

    run: RunRecord
    started: RunFacts  # who or what started the run
    warn: Warn  # called for problems with what is stored
    # the pages of all runs, written when this run ends
    pages: dict[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.profiles = DataProfiles.of(self.spec.name)
        self.ledger = Ledger.of(self.spec.name)

    @property
    def page(self) -> str:
        """The address of the run's page; without a server its place."""
        place = str(run_pages.folder_of(self.run, storage_root()) / "index.html")
        return page_url(place) or place

    @property
    def run_id(self) -> str:
        """The run's id in the database."""
        return self.run.run_id

    def earlier_issues(self, digest: str) -> Earlier:
        """Read the issues of the last run that looked for some, the last interval, and
        the worst rows of the last report.
        """
        last = partial(questions.last_other, self.run.experiment, self.run.run_id)
        found = Earlier({})
        for run in last("data_issues"):
            rows = questions.plain_rows_of("data_issues", run)
            issues = {row["code"]: row for row in rows}
            same_table = run["data_digest"] == digest
            found = replace(
                found, issues=issues, run=run["run_id"], same_table=same_table
            )
        spec = self.spec
        for run in last("test_low"):
            if (run["target"], run["metric"]) == (spec.target, spec.metric):
                found = replace(found, width=run["test_high"] - run["test_low"])
        for run in last("validation_score"):
            if run["target"] != spec.target:
                continue
            with suppress(UnknownRun, StorageError):
                worst = questions.predicted_rows(run)
                found = replace(found, worst=worst, worst_run=run["run_id"])
        return found

    @contextmanager
    def recorded(self, stage: str, named: NamedColumns) -> Iterator[None]:
        """Record the stage in the database; an error ends the run there. Meanwhile the
        run's page is kept current.
        """
        texts = named.texts
        with (
            recorded_stage(
                self.run, stage, named.spec, texts, self.started, self._finish
            ),
            run_pages.kept_current(self.run, storage_root()),
        ):
            yield

    def _finish(self, run: RunRecord) -> None:
        self.pages.update(finish_run(run, self.warn))

    def record(self, rows: Iterable[RecordRow]) -> None:
        """Write rows of this run; DatabaseUnavailable."""
        self.run.record([*rows, RunFacts(seen_at=datetime.now(UTC))])

    def in_batches(
        self, write: Callable[[Sequence[_Item]], object]
    ) -> AbstractContextManager[Callable[[Sequence[_Item]], object]]:
        """Call `write` once a second, with all that came since."""
        return recording.in_batches(write)

    def record_outcome(self, outcome: Outcome) -> Mapping[str, Fact]:
        """Write the rows of an outcome, which may end the run."""
        pages = record_outcome(self.run, outcome, self.warn)
        publication = self.spec.publish
        if publication and "runs" in pages:  # it has ended
            row = run_of(self.run.experiment, self.run.run_id)
            if problem := publish(row, publication.sql):
                self.warn(problem)
        return pages

    def keep(self, stage: str, result: object) -> None:
        """Keep nothing: results are read from their files."""

    def reused_or_made(
        self, stage: str, fingerprint: str, make: Callable[[], Made], log: Logger
    ) -> StageFiles:
        """Return the entry of a fingerprint, or make and store one."""
        entries = stage_entries(self.spec.name, stage)
        entry = entries.intact(fingerprint, log.warning)
        if entry is not None:
            log.info(f"{stage}: reused the result of the same inputs")
            return StageFiles.of(entry)
        contents = {name: content() for name, content in make().contents.items()}
        folder = entries.folder(fingerprint)
        for name, content in contents.items():
            if name.endswith(".html"):
                contents[name] = linked_page(content, folder)
        entry = entries.put(fingerprint, contents, None)
        return StageFiles.of(entry)

    def find(self, stage: str, fingerprint: str) -> StageFiles | None:
        """Return the entry of a fingerprint, if there is one."""
        entry = stage_entries(self.spec.name, stage).get(fingerprint)
        return None if entry is None else StageFiles.of(entry)

    def require(self, stage: str, fingerprint: str) -> StageFiles:
        """Return the entry of a fingerprint, which must exist."""
        return StageFiles.of(stage_entries(self.spec.name, stage).require(fingerprint))

    def model_path(self, fingerprint: str) -> str:
        """Return the folder of a trained model."""
        return str(self.models().entries.folder(fingerprint))

    @contextmanager
    def engine(self, spec: ExperimentSpec, log: Logger) -> Iterator[FitEngine]:
        """Provide threads of this machine, unless YAML or environment name a
        cluster.
        """
        if (dask := engine_of(spec.engine)) is None:
            yield Threads(workers_of(spec))
            return
        from experiment_pipeline.stages.search.dask_engine import ClusterEngine

        connect = partial(connected, dask, workers=spec.workers, log=log.info)
        with ClusterEngine(connect) as engine:
            yield engine

    def champions(self, spec: ExperimentSpec) -> list[PublishedChampion]:
        """Return the versions of the registry that a new model is compared with."""
        return find_champions(registry_of(spec))

    def publish(
        self,
        spec: ExperimentSpec,
        fingerprint: str,
        package: Callable[[RunCode], ModelPackage],
        warn: Warn,
    ) -> tuple[Registry, PublishedVersion]:
        """Publish a version, unless an earlier run published the same one."""
        registry = registry_of(spec)
        entries = stage_entries(self.spec.name, "exported_model")
        entry = entries.intact(fingerprint, warn)
        required = spec.approval == "required"
        if entry is not None:
            identity = entry.files[_IDENTITY].decode()
            if published := registry.same(identity, required=required):
                restore_versions(registry, warn)
                return registry, published

        # Called once the version has its number, which the decision record contains.
        def record(version: str) -> dict[str, bytes]:
            return {
                RECORD: record_of_version(
                    self.spec.name, self.run.run_id, version, required=required
                )
            }

        code = code_of(self.spec.name, self.run.run_id)
        packaged = replace(package(code), numbered_files=record)
        published = export.publish(registry, packaged)
        entries.put(fingerprint, {_IDENTITY: packaged.identity.encode()}, None)
        if published.reused:
            restore_versions(registry, warn)
        return registry, published
