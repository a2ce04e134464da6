"""Remove the files of old runs that nothing refers to any more: mark what stays, sweep the rest.

Entries, page files and delivered tables are named by digests. One stays where its digest stands in a
text that stays: the archive of a kept run, and every JSON, YAML or Markdown file of the experiment that
is never removed, such as those of registry, approvals and ledger.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from experiment_pipeline.errors import EntryCorrupt, UnknownRun
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import ConfigurationRow
from experiment_pipeline.spec import ExperimentSpec, Retention
from experiment_pipeline.storage.entries import RESULT
from experiment_pipeline.storage.files import (
    Location,
    StoredFile,
    files_below,
    read_many,
    remove,
    storage_root,
)
from experiment_pipeline.storage.page_files import PAGE_FILES
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import registry_of
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.archive import RUNS_FOLDER, archived_runs, forget_pages
from experiment_pipeline.tracking.database.recording import recorded_runs
from experiment_pipeline.tracking.outcomes import write_pages

# Younger files may belong to a run that another database records.
YOUNG = timedelta(days=1)
_DIGEST = re.compile("[0-9a-f]{64}")
# What is removed as one, and its name: in a path below the experiment, or at the end of any place.
_ENTRIES = r"data_analysis|leaderboard|validation_report|trained_model|damaged/\w+"
_UNIT = re.compile(
    rf"(?:^|/)(?P<unit>(?:{_ENTRIES}|{PAGE_FILES}|delivered)/(?P<digest>[0-9a-f]{{64}})[^/]*"
    rf"|{RUNS_FOLDER}/(?P<run_id>[^/]+)\.record\.\w+$)"
)
_TEXTS = (".json", ".yaml", ".yml", ".md", ".txt")


@dataclass(frozen=True)
class Cleaned:
    """What was removed of an experiment, or would be."""

    experiment: str
    note: str = ""  # why nothing was removed, or not all
    kept_runs: int = 0
    removed: int = 0  # entries and files
    removed_bytes: int = 0

    def in_words(self, *, dry_run: bool) -> str:
        """`churn: 50 runs kept; removed 214 entries and files, 38 MB`."""
        kept = f"{numbers.counted(self.kept_runs, 'run')} kept"
        freed = f"{self.removed:,} entries and files, {numbers.megabytes(self.removed_bytes)}"
        said = [kept, f"{'would remove' if dry_run else 'removed'} {freed}"]
        parts = [*(said if self.kept_runs else ()), *([self.note] if self.note else ())]
        return f"{self.experiment}: {'; '.join(parts)}"


@dataclass
class _Unit:
    """What is removed as one: an entry, or a file."""

    name: str  # a digest, or the id of a run
    paths: list[str] = field(default_factory=list)
    size_bytes: int = 0
    modified: float = 0.0  # of its youngest file


def clean(spec: ExperimentSpec, *, dry_run: bool = False, now: datetime | None = None) -> Cleaned:
    """Remove what `retention` does not keep, unless a run is at work.

    First the rows of the database lose the places that go, then the files go, `result.json` of an entry
    first: a kill in between loses nothing that is referred to, and the next call goes on.
    """
    root, name, now = storage_root(), spec.name, now or datetime.now(UTC)
    if spec.retention is None:
        return Cleaned(name, "no retention in its defs.yaml, so everything is kept")
    if name in {*questions.runs(status="running", all_columns=True)["experiment"]}:
        return Cleaned(name, "a run is at work; clean again when it has ended")
    archived = list(archived_runs(root, name))
    runs = [run for _, run in archived if not isinstance(run, EntryCorrupt)]
    kept = _kept(runs, spec.retention, now)
    going = _unmarked(spec, archived, kept, (now - YOUNG).timestamp())
    if dry_run:
        freed = sum(unit.size_bytes for unit in going.values())
        return Cleaned(name, "", len(kept), len(going), freed)
    for run in runs:
        places = {row.place: _UNIT.search(row.place) for row in run.reports}
        if gone := {place for place, unit in places.items() if unit and unit["unit"] in going}:
            forget_pages(run, gone, root)
    if going:
        with suppress(UnknownRun):  # its runs are recorded elsewhere
            write_pages(name, root)
    found = Cleaned(name, "", len(kept))
    for path, unit in going.items():
        if recorded_runs(experiment=name, status="running"):  # it may reuse what is to go
            return replace(found, note="a run has begun; clean again when it has ended")
        if f"{path}/{RESULT}" in unit.paths:
            remove(root / name / path / RESULT)
        remove(root / name / path)
        freed = found.removed_bytes + unit.size_bytes
        found = replace(found, removed=found.removed + 1, removed_bytes=freed)
    return found


def _unmarked(
    spec: ExperimentSpec, archived: Sequence[tuple[bytes, Any]], kept: set[str], limit: float
) -> dict[str, _Unit]:
    """What nothing refers to, by its path below the experiment; not what is younger than the limit."""
    folder = storage_root() / spec.name
    stored, runs = files_below(folder), f"{RUNS_FOLDER}/"
    units = _units(stored)
    expired = {one.run_id for _, one in archived if not _stays(one, kept)}
    marked = {one.name for path, one in units.items() if path.startswith(runs)} - expired
    others = [one for one in stored if not one.startswith(runs) and not _UNIT.match(one)]
    for text in (*_texts(spec, archived, kept), *_contents(folder, others, _TEXTS)):
        marked.update(_DIGEST.findall(text))
    # Page files are named in pages alone.
    staying = [one for one in units.values() if one.name in marked or one.modified >= limit]
    for page in _contents(folder, (path for one in staying for path in one.paths), (".html",)):
        marked.update(_DIGEST.findall(page))
    return {k: one for k, one in units.items() if one.name not in marked and one.modified < limit}


def _kept(runs: Sequence[Any], rule: Retention, now: datetime) -> set[str]:
    """The ids of the runs that the rule keeps, of those that were archived."""
    boards = sorted((one.runs[0].started_at for one in runs if one.runs[0].chosen), reverse=True)
    if len(boards) < rule.runs:
        return {one.run_id for one in runs}
    oldest = min(boards[rule.runs - 1], now - timedelta(days=rule.days))
    return {one.run_id for one in runs if (one.runs[0].started_at or now) >= oldest}


def _stays(run: Any, kept: set[str]) -> bool:
    """Whether the pages of a run stay, also as those behind a version, or for want of its archive."""
    return isinstance(run, EntryCorrupt) or run.run_id in kept or bool(run.runs[0].version_is_new)


def _units(stored: Mapping[str, StoredFile]) -> dict[str, _Unit]:
    units = dict[str, _Unit]()
    for path, file in stored.items():
        if (found := _UNIT.match(path)) is not None:
            unit = units.setdefault(found["unit"], _Unit(found["digest"] or found["run_id"]))
            unit.paths.append(path)
            unit.size_bytes += file.size_bytes
            unit.modified = max(unit.modified, file.modified)
    return units


def _texts(
    spec: ExperimentSpec, archived: Sequence[tuple[bytes, Any]], kept: set[str]
) -> Iterator[str]:
    """What runs refer to, as text: all that a kept one, or one that has no archive, has recorded."""
    yield "" if spec.data is None else spec.data.url
    known = set[str]()
    for content, run in archived:
        known.add(getattr(run, "run_id", ""))
        if isinstance(run, EntryCorrupt) or run.run_id in kept:
            yield content.decode(errors="replace")
        elif _stays(run, kept):
            # What its version needs of the trained models is in the registry.
            yield to_json(run.model_copy(update={ConfigurationRow.TABLE: ()})).decode()
    for run in recorded_runs(experiment=spec.name):
        if run.run_id not in known:
            for table in ("runs", "reports", "configurations"):
                yield str(plain_rows(questions.rows_of(table, run.scope)))
    registry = registry_of(spec)
    if registry.root != storage_root():
        yield from _contents(registry.folder, files_below(registry.folder), _TEXTS)


def _contents(folder: Location, paths: Iterable[str], endings: tuple[str, ...]) -> Iterator[str]:
    for content in read_many(folder / path for path in paths if path.endswith(endings)).values():
        yield content.decode(errors="replace")
