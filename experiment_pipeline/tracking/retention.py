"""Remove the files of old runs that nothing refers to any more: mark and sweep.

Entries, page files and delivered tables are named by digests. Each one stays if its
digest occurs in a text that stays: the archive of a kept run, or any JSON, YAML or
Markdown file of the experiment that is never removed, such as those of registry,
approvals and ledger.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from experiment_pipeline.errors import EntryCorrupt, UnknownRun
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Retention
from experiment_pipeline.storage.entries import RESULT
from experiment_pipeline.storage.files import (
    Location,
    files_below,
    read_many,
    remove,
    storage_root,
)
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import registry_of
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.archive import (
    RUNS_FOLDER,
    archived_runs,
    forget_pages,
)
from experiment_pipeline.tracking.database.recording import activity, recorded_runs
from experiment_pipeline.tracking.outcomes import write_pages

# Younger files may belong to a run that another database records.
YOUNG = timedelta(days=1)
_DIGEST = re.compile("[0-9a-f]{64}")
# The units of removal and their names, in a path below the experiment or at the end of
# any place.
_ENTRIES = r"data_analysis|leaderboard|validation_report|trained_model|damaged/\w+"
_UNIT = re.compile(
    rf"(?:^|/)(?P<unit>(?:{_ENTRIES}|delivered)/(?P<digest>[0-9a-f]{{64}})[^/]*"
    rf"|{RUNS_FOLDER}/(?P<run_id>[^/]+)\.record\.\w+$)"
)
_TEXTS = (".json", ".yaml", ".yml", ".md", ".txt")


@dataclass(frozen=True)
class Cleaned:
    """What was removed of an experiment, or would be in a dry run."""

    experiment: str
    note: str = ""  # why nothing was removed, or not all
    kept_runs: int = 0
    removed: int = 0  # entries and files
    removed_bytes: int = 0

    def in_words(self, *, dry_run: bool) -> str:
        """`churn: 50 runs kept; removed 214 entries and files, 38 MB`."""
        why = self.note or f"{numbers.counted(self.kept_runs, 'run')} kept"
        freed = f"{self.removed:,} entries and files, {numbers.megabytes(self.removed_bytes)}"
        return f"{self.experiment}: {why}; {'would remove' if dry_run else 'removed'} {freed}"


def clean(
    spec: ExperimentSpec, *, dry_run: bool = False, now: datetime | None = None
) -> Cleaned:
    """Remove what `retention` does not keep, unless a run of the experiment is running.

    First the places of removed pages are cleared in the database, then files are
    removed, of an entry `result.json` first: a kill in between loses nothing that is
    referred to; the next call continues.
    """
    root, name, now = storage_root(), spec.name, now or datetime.now(UTC)
    if spec.retention is None:
        return Cleaned(name, "no retention in its defs.yaml, so everything is kept")
    before = activity(name)
    if name in {*questions.runs(status="running", all_columns=True)["experiment"]}:
        return Cleaned(name, "a run is running, so clean again when it has ended")
    archived = list(archived_runs(root, name))
    runs = [run for _, run in archived if not isinstance(run, EntryCorrupt)]
    kept = _kept(runs, spec.retention, now)
    going = _unmarked(spec, archived, kept, (now - YOUNG).timestamp())
    if dry_run:
        return Cleaned(name, "", len(kept), len(going), sum(going.values()))
    for run in runs:
        places = {row.place: _UNIT.search(row.place) for row in run.reports}
        if gone := {
            place for place, unit in places.items() if unit and unit["unit"] in going
        }:
            forget_pages(run, gone, root)
    with suppress(UnknownRun):  # its runs are recorded elsewhere
        write_pages(name, root)
    found = Cleaned(name, "", len(kept))
    for number, (unit, size) in enumerate(going.items(), start=1):
        if activity(name) != before:  # a run may have reused what would be removed
            return replace(
                found, note="a run has begun, so clean again when it has ended"
            )
        remove(root / name / unit / RESULT)
        remove(root / name / unit)
        found = replace(found, removed=number, removed_bytes=found.removed_bytes + size)
    return found


def _kept(runs: Sequence[Any], rule: Retention, now: datetime) -> set[str]:
    """The ids of the archived runs that the rule keeps."""
    boards = sorted(
        (one.runs[0].started_at for one in runs if one.runs[0].chosen), reverse=True
    )
    if len(boards) < rule.runs:
        return {one.run_id for one in runs}
    oldest = min(boards[rule.runs - 1], now - timedelta(days=rule.days))
    return {one.run_id for one in runs if (one.runs[0].started_at or now) >= oldest}


def _unmarked(
    spec: ExperimentSpec,
    archived: Sequence[tuple[bytes, Any]],
    kept: set[str],
    limit: float,
) -> dict[str, int]:
    """Path below the experiment → bytes, for units that nothing refers to and that are
    older than `limit`.
    """
    folder, units, others = (
        storage_root() / spec.name,
        defaultdict[str, list[str]](list),
        [],
    )
    stored, names = files_below(folder), dict[str, str]()
    expired = {one.run_id for _, one in archived if not _stays(one, kept)}
    for path in stored:
        if (found := _UNIT.match(path)) is not None:
            units[found["unit"]].append(path)
            names[found["unit"]] = found["digest"] or found["run_id"]
        elif not path.startswith(f"{RUNS_FOLDER}/"):
            others.append(path)
    old = {
        one
        for one in units
        if all(stored[path].modified < limit for path in units[one])
    }
    marked = {name for name in names.values() if not _DIGEST.fullmatch(name)} - expired
    for text in (*_texts(spec, archived, kept), *_contents(folder, others, _TEXTS)):
        marked.update(_DIGEST.findall(text))
    # Page files are referred to only in pages.
    pages = [
        path
        for one in units
        if one not in old or names[one] in marked
        for path in units[one]
    ]
    for page in _contents(folder, pages, (".html",)):
        marked.update(_DIGEST.findall(page))
    going = [one for one in old if names[one] not in marked]
    return {one: sum(stored[path].size_bytes for path in units[one]) for one in going}


def _stays(run: Any, kept: set[str]) -> bool:
    """Whether a run's pages stay: it is kept, made a version, or its archive cannot be
    read.
    """
    return (
        isinstance(run, EntryCorrupt)
        or run.run_id in kept
        or bool(run.runs[0].version_is_new)
    )


def _texts(
    spec: ExperimentSpec, archived: Sequence[tuple[bytes, Any]], kept: set[str]
) -> Iterator[str]:
    """Yield texts with all digests that runs refer to: of kept runs, and of runs
    without an archive.
    """
    yield "" if spec.data is None else spec.data.url
    for content, run in archived:
        if isinstance(run, EntryCorrupt) or run.run_id in kept:
            yield content.decode(errors="replace")
        elif _stays(
            run, kept
        ):  # the registry names the trained models that its version needs
            yield to_json(run.model_copy(update={"configurations": ()})).decode()
    known = {getattr(run, "run_id", "") for _, run in archived}
    for record in recorded_runs(experiment=spec.name):
        for table in (
            ("runs", "reports", "configurations") if record.run_id not in known else ()
        ):
            yield str(plain_rows(questions.rows_of(table, record.scope)))
    if (registry := registry_of(spec)).root.path != storage_root().path:
        yield from _contents(registry.folder, files_below(registry.folder), _TEXTS)


def _contents(
    folder: Location, paths: Iterable[str], endings: tuple[str, ...]
) -> Iterator[str]:
    for content in read_many(
        folder / path for path in paths if path.endswith(endings)
    ).values():
        yield content.decode(errors="replace")
