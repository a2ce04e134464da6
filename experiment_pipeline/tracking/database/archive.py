"""Keep each ended run's rows as a file in the storage, and make a lost database again from these.

<root>/<experiment>/runs/<run_id>.json    all rows of one run
                    watches/<version>/<time>-….json    a moment at which labels came, and the answer
                    watched_rows/<digest>.parquet      the rows that were new then
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from experiment_pipeline.storage.files import Location, list_names, read_many, write_bytes
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
_FIX = "Delete the file: this run is then missing from the database, nothing else."
# Every table that has rows of one run; the texts of its files go with it.
_OF_A_RUN = [kind for kind in ROWS if kind.SCOPE == RunFacts.SCOPE]
_KINDS: list[type[RecordRow]] = [*_OF_A_RUN, FileRow]
_FIELDS: Mapping[str, Any] = {
    kind.TABLE: (GenericAlias(tuple, (kind, ...)), ...) for kind in _KINDS
}
_SCOPE: Mapping[str, Any] = dict.fromkeys(RunFacts.SCOPE, (str, ...))
_ARCHIVED: Any = create_model("ArchivedRun", **_SCOPE, **_FIELDS)


def archive(run: RunRecord, root: Location) -> None:
    """Write a run's rows into the storage, over those of an earlier moment."""
    with reading() as connection:

        def rows(kind: type[RecordRow], where: Mapping[str, str]) -> list[RecordRow]:
            found = connection.execute(sa.select(TABLES[kind.TABLE]).filter_by(**where)).mappings()
            named = [{str(k): v for k, v in row.items() if k not in kind.SCOPE} for row in found]
            return [kind(**row) for row in named]

        archived: dict[str, Any] = {kind.TABLE: rows(kind, run.scope) for kind in _OF_A_RUN}
        [facts] = archived[RunFacts.TABLE]
        digests = {facts.yaml_digest, facts.schema_digest, *(facts.code_files or {}).values()}
        files = [one for digest in digests if digest for one in rows(FileRow, {"digest": digest})]
    path = root / run.experiment / RUNS_FOLDER / f"{run.run_id}.json"
    write_bytes(path, to_json({**run.scope, **archived, FileRow.TABLE: files}))


def reindex(root: Location, warn: Callable[[str], object]) -> int:
    """Write the rows of the runs and versions of a storage root; `warn` of damaged files; count runs."""
    restored = 0
    for experiment in list_names(root):
        folder = root / experiment / RUNS_FOLDER
        paths = [folder / name for name in list_names(folder) if name.endswith(".json")]
        for path, content in read_many(paths).items():
            damage = EntryCorrupt(str(path), "is not an archived run", _FIX)
            try:
                run: Any = from_json(_ARCHIVED, content, damage)
            except EntryCorrupt as error:
                warn(str(error))
                continue
            rows = [row for table in _FIELDS for row in getattr(run, table)]
            RunRecord(run.experiment, run.run_id).record(rows)
            restored += 1
        restore_versions(Registry(root, experiment), warn)
        watches = Watches(root, experiment)
        for version in list_names(watches.folder):
            found = watches.of_version(version).notes().values()
            for damaged in (note for note in found if isinstance(note, EntryCorrupt)):
                warn(str(damaged))
            rows = [note.found for note in found if not isinstance(note, EntryCorrupt)]
            record_rows(rows, experiment)
    return restored


@dataclass(frozen=True)
class WatchNote:
    """What one moment of watching brought; `rows`: the digest of its new rows; `at` as of `now`."""

    at: str
    rows: str
    found: WatchRow


class Watches(Journals):
    """What was watched of one experiment, by version."""

    FOLDER = "watches"

    def of_version(self, version: str) -> Journal[WatchNote]:
        """The notes of a version; without one of them its rows could be counted again."""
        fix = "Restore the file from a backup; or delete it, and deliver its rows again."
        return Journal(self.folder / version, WatchNote, "is not what was written", fix)

    @property
    def rows(self) -> NamedByDigest:
        """The rows that notes name."""
        fix = "Restore the file from a backup; or delete the note, and deliver its rows again."
        folder = self.root / self.experiment / "watched_rows"
        return NamedByDigest(folder, "parquet", "is not what was written", fix)


def version_row(
    registry: Registry, entry: HistoryEntry, approval: Approval | None, retired: Approval | None
) -> VersionRow:
    """What the registry itself knows of a version; a retired one has lost its approval."""
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
        approval_required=retired is not None or registry.approval_required(entry.version),
        approved_by=None if approval is None else approval.by,
        approved_at=None if approval is None else datetime.fromisoformat(approval.at),
        approval_comment=comment or None,
    )


def restore_versions(registry: Registry, warn: Callable[[str], object]) -> None:
    """Write the versions of a registry that the database lacks, as where a run was killed."""
    try:
        history, approvals = registry.history(), registry.approvals()
        retired = registry.approvals("retired")
    except EntryCorrupt as error:
        warn(str(error))
        return
    with reading() as connection:
        of_this = {"experiment": registry.experiment}
        known = set(connection.scalars(sa.select(VERSIONS.c.version).filter_by(**of_this)))
        made = sa.select(RUNS.c.version, RUNS.c.run_id).filter_by(**of_this, version_is_new=True)
        makers = {row.version: row.run_id for row in connection.execute(made)}
    rows = [
        replace(
            version_row(registry, one, approvals.get(one.version), retired.get(one.version)),
            run_id=makers.get(one.version),
        )
        for one in history
        if one.version not in known
    ]
    if rows:
        record_rows(rows, registry.experiment)
