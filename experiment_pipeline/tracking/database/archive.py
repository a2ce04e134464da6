"""Archive the rows of each ended run as a file in the storage, and restore a lost
database from these.

<root>/<experiment>/runs/<run_id>.json    all rows of one run
                    watches/<version>/<time>-….json    a delivery of labels, and its comparison
                    watched_rows/<digest>.parquet      the rows that were new in it
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from types import GenericAlias
from typing import Any

import sqlalchemy as sa
from pydantic import create_model

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting.run_record import (
    ROWS,
    FileRow,
    RecordRow,
    RunFacts,
    VersionRow,
    WatchRow,
)
from experiment_pipeline.storage.files import (
    Location,
    list_names,
    read_many,
    write_bytes,
)
from experiment_pipeline.storage.records import (
    Journal,
    Journals,
    NamedByDigest,
    from_json,
    to_json,
)
from experiment_pipeline.storage.registry import Approval, HistoryEntry, Registry
from experiment_pipeline.tracking.database.connection import reading
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline.tracking.database.tables import RUNS, TABLES, VERSIONS

RUNS_FOLDER = "runs"
_FIX = "Delete the file: only this run is then missing from the database."
# Every table with rows of one run; the texts of its files are archived with them.
_OF_A_RUN = [kind for kind in ROWS if kind.SCOPE == RunFacts.SCOPE]
_FIELDS: Mapping[str, Any] = {
    kind.TABLE: (GenericAlias(tuple, (kind, ...)), ...)
    for kind in (*_OF_A_RUN, FileRow)
}
_SCOPE: Mapping[str, Any] = dict.fromkeys(RunFacts.SCOPE, (str, ...))
_ARCHIVED: Any = create_model("ArchivedRun", **_SCOPE, **_FIELDS)


def archive(run: RunRecord, root: Location) -> None:
    """Write a run's rows to the storage, replacing an earlier archive of the run."""
    with reading() as connection:

        def rows(kind: type[RecordRow], where: Mapping[str, str]) -> list[RecordRow]:
            found = connection.execute(
                sa.select(TABLES[kind.TABLE]).filter_by(**where)
            ).mappings()
            named = [
                {str(k): v for k, v in row.items() if k not in kind.SCOPE}
                for row in found
            ]
            return [kind(**row) for row in named]

        archived: dict[str, Any] = {
            kind.TABLE: rows(kind, run.scope) for kind in _OF_A_RUN
        }
        [facts] = archived[RunFacts.TABLE]
        digests = {
            facts.yaml_digest,
            facts.schema_digest,
            *(facts.code_files or {}).values(),
        }
        files = [
            one
            for digest in digests
            if digest
            for one in rows(FileRow, {"digest": digest})
        ]
    path = root / run.experiment / RUNS_FOLDER / f"{run.run_id}.json"
    write_bytes(path, to_json({**run.scope, **archived, FileRow.TABLE: files}))


def reindex(root: Location, warn: Callable[[str], object]) -> int:
    """Restore the rows of all runs and versions of a storage root; report damaged
    files; count the runs.
    """
    restored = 0
    for experiment in list_names(root):
        for _, run in archived_runs(root, experiment):
            if isinstance(run, EntryCorrupt):
                warn(str(run))
                continue
            rows = [row for table in _FIELDS for row in getattr(run, table)]
            RunRecord(run.experiment, run.run_id).record(rows)
            restored += 1
        restore_versions(Registry(root, experiment), warn)
        watches = Watches(root, experiment)
        for version in list_names(watches.folder):
            for found in watches.journal(version).notes().values():
                if isinstance(found, EntryCorrupt):
                    warn(str(found))
                else:
                    record_rows([found], experiment)
    return restored


class Watches(Journals):
    """The watched deliveries of one experiment, by version."""

    FOLDER = "watches"
    _FIX = "Restore the file from a backup, or delete what refers to it and deliver its rows again."

    def journal(self, version: str) -> Journal[WatchRow]:
        """The journal of a version's deliveries."""
        return Journal(
            self.folder / version, WatchRow, "is not what was written", self._FIX
        )

    def of_version(self, version: str) -> list[WatchRow]:
        """Return the deliveries of a version; EntryCorrupt: one is damaged, so its rows
        could count twice.
        """
        found = list(self.journal(version).notes().values())
        if damaged := [one for one in found if isinstance(one, EntryCorrupt)]:
            raise damaged[0]
        return [one for one in found if isinstance(one, WatchRow)]

    @property
    def rows(self) -> NamedByDigest:
        """The rows of a delivery, by its digest `delivery`."""
        folder = self.root / self.experiment / "watched_rows"
        return NamedByDigest(folder, "parquet", "is not what was written", self._FIX)


def archived_runs(root: Location, experiment: str) -> Iterator[tuple[bytes, Any]]:
    """Yield (content of the file, archived run) for each run; EntryCorrupt instead of a
    damaged run.
    """
    folder = root / experiment / RUNS_FOLDER
    paths = [folder / name for name in list_names(folder) if name.endswith(".json")]
    for path, content in read_many(paths).items():
        damage = EntryCorrupt(str(path), "is not an archived run", _FIX)
        try:
            yield content, from_json(_ARCHIVED, content, damage)
        except EntryCorrupt as error:
            yield content, error


def forget_pages(run: Any, places: Collection[str], root: Location) -> None:
    """Set these places of reports to "" for an archived run, in the database and in the
    archive.
    """
    rows = [
        replace(one, place="") if one.place in places else one for one in run.reports
    ]
    record = RunRecord(run.experiment, run.run_id)
    if record.facts() is not None:
        record.record(rows)
    path = root / run.experiment / RUNS_FOLDER / f"{run.run_id}.json"
    write_bytes(path, to_json(run.model_copy(update={"reports": tuple(rows)})))


def version_row(
    registry: Registry,
    entry: HistoryEntry,
    approval: Approval | None,
    retired: Approval | None,
) -> VersionRow:
    """The row of a version as the registry knows it; a retired version loses its
    approval.
    """
    comment = approval and approval.comment
    if retired is not None:
        approval, comment = None, f"retired by {retired.by}: {retired.comment}"
    return VersionRow(
        version=entry.version,
        created_at=datetime.fromisoformat(entry.created),
        place=str(registry.folder / entry.version),
        configuration=entry.configuration,
        headline=entry.headline,
        fingerprint=entry.fingerprint,
        approval_required=retired is not None
        or registry.approval_required(entry.version),
        approved_by=None if approval is None else approval.by,
        approved_at=None if approval is None else datetime.fromisoformat(approval.at),
        approval_comment=comment or None,
    )


def restore_versions(registry: Registry, warn: Callable[[str], object]) -> None:
    """Write the versions of a registry that the database lacks, for example after a
    killed run.
    """
    try:
        history, approvals = registry.history(), registry.approvals()
        retired = registry.approvals("retired")
    except EntryCorrupt as error:
        warn(str(error))
        return
    with reading() as connection:
        of_this = {"experiment": registry.experiment}
        known = set(
            connection.scalars(sa.select(VERSIONS.c.version).filter_by(**of_this))
        )
        made = sa.select(RUNS.c.version, RUNS.c.run_id).filter_by(
            **of_this, version_is_new=True
        )
        makers = {row.version: row.run_id for row in connection.execute(made)}
    rows = [
        replace(
            version_row(
                registry, one, approvals.get(one.version), retired.get(one.version)
            ),
            run_id=makers.get(one.version),
        )
        for one in history
        if one.version not in known
    ]
    if rows:
        record_rows(rows, registry.experiment)
