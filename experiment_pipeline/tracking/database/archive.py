"""Archive the rows of each ended run in the storage, and restore a lost database.

<root>/<experiment>/runs/<run_id>.json               all rows of one run
                    watches/<version>/<time>-….json  a delivery of labels, compared
                    watched_rows/<digest>.parquet    the rows that were new in it
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
    ReportRow,
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
from experiment_pipeline.storage.registry import (
    EXPERIMENT,
    Approval,
    HistoryEntry,
    Registry,
)
from experiment_pipeline.tracking.database.connection import reading
from experiment_pipeline.tracking.database.recording import (
    RunRecord,
    from_row,
    record_rows,
)
from experiment_pipeline.tracking.database.tables import RUNS, TABLES, VERSIONS

RUNS_FOLDER = "runs"
_FIX = "Delete the file: only this run is then missing from the database."
# Every table with rows of one run; the texts of its files are archived with them.
_OF_A_RUN = [kind for kind in ROWS if kind.SCOPE == RunFacts.SCOPE]
_FIELDS: Mapping[str, Any] = {
    kind.TABLE: (GenericAlias(tuple, (kind, ...)), ())  # of an older version: none
    for kind in (*_OF_A_RUN, FileRow)
}
_SCOPE: Mapping[str, Any] = dict.fromkeys(RunFacts.SCOPE, (str, ...))
_ARCHIVED: Any = create_model("ArchivedRun", **_SCOPE, **_FIELDS)


def archive(run: RunRecord, root: Location) -> None:
    """Write a run's rows to the storage, replacing an earlier archive of the run."""
    with reading() as connection:

        def rows(kind: type[RecordRow], where: Mapping[str, str]) -> list[RecordRow]:
            query = sa.select(TABLES[kind.TABLE]).filter_by(**where)
            return [from_row(kind, row) for row in connection.execute(query).mappings()]

        tables: dict[str, Any] = {
            kind.TABLE: rows(kind, run.scope) for kind in _OF_A_RUN
        }
        [facts] = tables[RunFacts.TABLE]
        code_digests = (facts.code_files or {}).values()
        files = []
        for digest in {facts.yaml_digest, facts.schema_digest, *code_digests} - {None}:
            files += rows(FileRow, {"digest": digest})
    _write(run, root, {**tables, FileRow.TABLE: files})


def _write(run: RunRecord, root: Location, tables: Mapping[str, Any]) -> None:
    path = root / run.experiment / RUNS_FOLDER / f"{run.run_id}.json"
    write_bytes(path, to_json({**run.scope, **tables}))


def reindex(root: Location, warn: Callable[[str], object]) -> int:
    """Restore the rows of all runs and versions of a storage root; report damaged
    files; count the runs.
    """
    restored = 0
    for experiment in filter(EXPERIMENT.fullmatch, list_names(root)):
        for _, run in archived_runs(root, experiment):
            if isinstance(run, EntryCorrupt):
                warn(str(run))
                continue
            rows = [row for table in _FIELDS for row in getattr(run, table)]
            RunRecord(run.experiment, run.run_id).record(rows)
            restored += 1
        restore_versions(Registry(root, experiment), warn)
        _restore_watches(Watches(root, experiment), warn)
    return restored


def _restore_watches(watches: "Watches", warn: Callable[[str], object]) -> None:
    for version in list_names(watches.folder):
        for note in watches.journal(version).notes().values():
            if isinstance(note, EntryCorrupt):
                warn(str(note))
            else:
                record_rows([note], watches.experiment)


class Watches(Journals):
    """The watched deliveries of one experiment, by version."""

    FOLDER = "watches"
    _FIX = (
        "Restore the file from a backup, or delete what refers to it and deliver its "
        "rows again."
    )

    def journal(self, version: str) -> Journal[WatchRow]:
        """The journal of a version's deliveries."""
        return Journal(
            self.folder / version, WatchRow, "is not what was written", self._FIX
        )

    def of_version(self, version: str) -> list[WatchRow]:
        """Return the deliveries of a version.

        EntryCorrupt: one is damaged, so its rows could count twice.
        """
        deliveries = []
        for note in self.journal(version).notes().values():
            if isinstance(note, EntryCorrupt):
                raise note
            deliveries.append(note)
        return deliveries

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
    reports = [
        replace(report, place="") if report.place in places else report
        for report in run.reports
    ]
    record = RunRecord(run.experiment, run.run_id)
    if record.facts() is not None:
        record.record(reports)
    tables = {table: getattr(run, table) for table in _FIELDS}
    _write(record, root, {**tables, ReportRow.TABLE: reports})


def version_row(
    registry: Registry,
    entry: HistoryEntry,
    approval: Approval | None = None,
    retired: Approval | None = None,
) -> VersionRow:
    """The row of a version as the registry knows it; a retired version loses its
    approval.
    """
    row = VersionRow(
        version=entry.version,
        created_at=datetime.fromisoformat(entry.created),
        place=str(registry.folder / entry.version),
        configuration=entry.configuration,
        headline=entry.headline,
        fingerprint=entry.fingerprint,
    )
    if retired is not None:
        comment = f"retired by {retired.by}: {retired.comment}"
        return replace(row, approval_required=True, approval_comment=comment)
    row = replace(row, approval_required=registry.approval_required(entry.version))
    if approval is None:
        return row
    return replace(
        row,
        approved_by=approval.by,
        approved_at=datetime.fromisoformat(approval.at),
        approval_comment=approval.comment or None,
    )


def restore_versions(registry: Registry, warn: Callable[[str], object]) -> None:
    """Write the versions of a registry that the database lacks, for example after a
    killed run.
    """
    try:
        history = registry.history()
        approvals = registry.approvals()
        retired = registry.approvals("retired")
    except EntryCorrupt as error:
        warn(str(error))
        return
    experiment = registry.experiment
    versions = sa.select(VERSIONS.c.version).filter_by(experiment=experiment)
    publishers = sa.select(RUNS.c.version, RUNS.c.run_id).filter_by(
        experiment=experiment, version_is_new=True
    )
    with reading() as connection:
        recorded = set(connection.scalars(versions))
        run_ids = {row.version: row.run_id for row in connection.execute(publishers)}
    rows = []
    for entry in history:
        version = entry.version
        if version not in recorded:
            row = version_row(
                registry, entry, approvals.get(version), retired.get(version)
            )
            rows.append(replace(row, run_id=run_ids.get(version)))
    if rows:
        record_rows(rows, experiment)
