"""Approve a version: in the registry, where it lasts, in the database, and on the pages."""

from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa

from experiment_pipeline.errors import StorageError, UnknownRun
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.storage.registry import Approval, Registry
from experiment_pipeline.tracking.database.archive import moment, version_row
from experiment_pipeline.tracking.database.connection import database, transaction
from experiment_pipeline.tracking.database.recording import record_rows
from experiment_pipeline.tracking.database.tables import VERSIONS
from experiment_pipeline.tracking.pages import write_pages, write_record


def approve(registry: Registry, version: str, by: str, comment: str = "") -> Approval:
    """Approve a version; the first approval of a version is the one that counts.

    Args:
        registry: of the experiment.
        version: `v0001` and so on.
        by: the name of the person.
        comment: what they have to say.

    Returns:
        The approval that counts.

    Raises:
        InvalidModel: no such version is published.
        DatabaseUnavailable: before anything is written.
    """
    database()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    approval = registry.approve(Approval(version, by, now, comment))
    run_id = _record(registry, approval)
    with suppress(StorageError, UnknownRun):
        if run_id is not None:
            write_record(registry.experiment, run_id, storage_root())
        write_pages(registry.experiment, storage_root())
    return approval


def _record(registry: Registry, approval: Approval) -> str | None:
    """Write the approval into the version's row; return the run that published it, if known."""
    which = {"experiment": registry.experiment, "version": approval.version}
    change = (
        sa.update(VERSIONS)
        .filter_by(**which)
        .values(
            approved_by=approval.by,
            approved_at=moment(approval.at),
            approval_comment=approval.comment or None,
        )
    )

    def write(connection: sa.Connection) -> list[str | None]:
        connection.execute(change)
        return list(connection.scalars(sa.select(VERSIONS.c.run_id).filter_by(**which)))

    found = transaction(write)
    if not found:
        entry = registry.entry(approval.version)
        record_rows([version_row(registry, entry, approval)], registry.experiment)
    return found[0] if found else None
