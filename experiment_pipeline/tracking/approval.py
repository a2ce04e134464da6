"""Approving a version: in the registry, where it lasts, in the database, and on the pages.

In: a registry, who approves which version. Out: who did; the version may be the champion now.
"""

from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa

from experiment_pipeline.errors import StorageError, UnknownRun
from experiment_pipeline.storage.locations import storage_root
from experiment_pipeline.storage.registry import Approval, Registry
from experiment_pipeline.tracking.database.archive import moment, version_row
from experiment_pipeline.tracking.database.connection import database, told
from experiment_pipeline.tracking.database.tables import TABLES
from experiment_pipeline.tracking.database.writing import remember
from experiment_pipeline.tracking.pages import write_pages, write_record


def approve(registry: Registry, version: str, by: str, comment: str = "") -> Approval:
    """Approve a version; one that somebody has approved already keeps that approval.

    Args:
        registry: of the experiment.
        version: `v0001` and so on.
        by: who stands for it.
        comment: what they have to say.

    Returns:
        The approval that holds.

    Raises:
        InvalidModel: no such version is published.
        DatabaseUnavailable: before anything is written.
    """
    database()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    given = registry.approve(Approval(version, by, now, comment))
    run_id = _note(registry, given)
    with suppress(StorageError, UnknownRun):
        if run_id is not None:
            write_record(registry.experiment, run_id, storage_root())
        write_pages(registry.experiment, storage_root())
    return given


def _note(registry: Registry, approval: Approval) -> str | None:
    """Write it into the version's row; return the run that published the version, if known."""
    engine, versions = database(), TABLES["versions"]
    which = {"experiment": registry.experiment, "version": approval.version}
    values = {
        "approved_by": approval.by,
        "approved_at": moment(approval.at),
        "approval_comment": approval.comment or None,
    }
    with told(engine.url), engine.begin() as connection:
        connection.execute(sa.update(versions).filter_by(**which).values(values))
        query = sa.select(versions.c.run_id).filter_by(**which)
        found = connection.execute(query).first()
    if found is not None:
        return found.run_id  # type: ignore[no-any-return]
    entry = registry.entry(approval.version)
    remember([version_row(registry, entry, approval)], registry.experiment)
    return None
