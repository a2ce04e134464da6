"""The database's second home: a run's rows as one file in the storage, and the way back.

    <root>/<experiment>/runs/<run_id>.json    everything that the tables hold of one run

Written when a run is decided or fails, so that a database that is lost, or that was another one, is
made again from the storage. In: a run. Out: its file; or, of a storage root, all rows again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TypeVar

import sqlalchemy as sa

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting.run_record import (
    ConfigurationRow,
    FileRow,
    FindingRow,
    GateRow,
    Remembered,
    ReportRow,
    RunFacts,
    ScoreRow,
    SetRow,
    VersionRow,
)
from experiment_pipeline.storage.files import list_names, read_many, write_bytes
from experiment_pipeline.storage.locations import Location
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.storage.registry import Approval, HistoryEntry, Registry
from experiment_pipeline.tracking.database.connection import database, told
from experiment_pipeline.tracking.database.tables import RUNS, TABLES
from experiment_pipeline.tracking.database.writing import RunMemory, remember

_Row = TypeVar("_Row", bound=Remembered)
RUNS_FOLDER = "runs"
_FIX = "Delete the file: the run it tells of is forgotten, nothing else."


@dataclass(frozen=True)
class ArchivedRun:
    """Everything that is remembered of one run."""

    experiment: str
    run_id: str
    facts: RunFacts
    sets: tuple[SetRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    configurations: tuple[ConfigurationRow, ...] = ()
    scores: tuple[ScoreRow, ...] = ()
    gates: tuple[GateRow, ...] = ()
    reports: tuple[ReportRow, ...] = ()
    files: tuple[FileRow, ...] = ()

    @property
    def rows(self) -> tuple[Remembered, ...]:
        """All of them."""
        found = (self.sets, self.findings, self.configurations, self.scores, self.gates)
        return (self.facts, *chain.from_iterable(found), *self.reports, *self.files)


def archive(run: RunMemory, root: Location) -> None:
    """Write a run's rows into the storage, over what an earlier moment of it left there."""
    folder = root / run.experiment / RUNS_FOLDER
    write_bytes(folder / f"{run.run_id}.json", to_json(_archived(run)))


def reindex(root: Location, tell: Callable[[str], object]) -> int:
    """Write the rows of every run and version that a storage root knows, and return how many runs.

    Args:
        root: the storage root.
        tell: hears of each file that is passed over because it is damaged.
    """
    restored = 0
    for experiment in list_names(root):
        folder = root / experiment / RUNS_FOLDER
        paths = [folder / name for name in list_names(folder) if name.endswith(".json")]
        for path, content in read_many(paths).items():
            damage = EntryCorrupt(str(path), "is no archived run", _FIX)
            try:
                run = from_json(ArchivedRun, content, damage)
            except EntryCorrupt as error:
                tell(str(error))
                continue
            RunMemory(run.experiment, run.run_id).remember(run.rows)
            restored += 1
        _restore_versions(Registry(root, experiment), tell)
    return restored


def know_version(registry: Registry, version: str, tell: Callable[[str], object]) -> None:
    """Remember a version whose run was killed between publishing it and saying so."""
    versions, engine = TABLES["versions"], database()
    query = sa.select(versions.c.version).filter_by(experiment=registry.experiment, version=version)
    with told(engine.url), engine.connect() as connection:
        known = connection.execute(query).first()
    if known is None:
        _restore_versions(registry, tell)


def version_row(registry: Registry, entry: HistoryEntry, approval: Approval | None) -> VersionRow:
    """What the registry itself knows of a version."""
    return VersionRow(
        version=entry.version,
        created_at=moment(entry.created),
        place=str(registry.folder / entry.version),
        configuration=entry.configuration,
        headline=entry.headline,
        fingerprint=entry.fingerprint,
        approval_required=registry.approval_required(entry.version),
        approved_by=None if approval is None else approval.by,
        approved_at=None if approval is None else moment(approval.at),
        approval_comment=None if approval is None else approval.comment or None,
    )


def _restore_versions(registry: Registry, tell: Callable[[str], object]) -> None:
    """The versions of the registry's history that the database does not know."""
    try:
        history, approvals = registry.history(), registry.approvals()
    except EntryCorrupt as error:
        tell(str(error))
        return
    versions = TABLES["versions"]
    engine = database()
    with told(engine.url), engine.connect() as connection:
        query = sa.select(versions.c.version).filter_by(experiment=registry.experiment)
        known = set(connection.execute(query).scalars())
        made = sa.select(RUNS.c.version, RUNS.c.run_id).filter_by(
            experiment=registry.experiment, version_is_new=True
        )
        makers = {row.version: row.run_id for row in connection.execute(made)}
    rows = [
        replace(
            version_row(registry, one, approvals.get(one.version)), run_id=makers.get(one.version)
        )
        for one in history
        if one.version not in known
    ]
    if rows:
        remember(rows, registry.experiment)


def moment(text: str) -> datetime:
    """Return a moment that was written as ISO 8601; one without a zone is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _archived(run: RunMemory) -> ArchivedRun:
    engine = database()
    with told(engine.url), engine.connect() as connection:

        def rows(kind: type[_Row], **where: str) -> tuple[_Row, ...]:
            found = connection.execute(sa.select(TABLES[kind.TABLE]).filter_by(**where)).mappings()
            named = [{k: v for k, v in row.items() if k not in kind.SCOPE} for row in found]
            return tuple(kind(**row) for row in named)

        facts = rows(RunFacts, **run.scope)[0]
        digests = [one for one in (facts.yaml_digest, facts.schema_digest) if one]
        return ArchivedRun(
            **run.scope,
            facts=facts,
            sets=rows(SetRow, **run.scope),
            findings=rows(FindingRow, **run.scope),
            configurations=rows(ConfigurationRow, **run.scope),
            scores=rows(ScoreRow, **run.scope),
            gates=rows(GateRow, **run.scope),
            reports=rows(ReportRow, **run.scope),
            files=tuple(file for digest in digests for file in rows(FileRow, digest=digest)),
        )
