"""Remove the files of old runs that nothing refers to any more: mark and sweep.

Entries, page files and delivered tables are named by digests. Each one stays if its
digest occurs in a text that stays: the archive of a kept run, or any JSON, YAML or
Markdown file of the experiment that is never removed, such as those of registry,
approvals and ledger.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from experiment_pipeline.errors import EntryCorrupt, UnknownRun
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.header import STAGE_TABS
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
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import registry_of
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
# What is removed as a whole, in a path below the experiment or at the end of any place:
# the folder or file of a digest, or the pages of a run.
_ENTRIES = "|".join([*STAGE_TABS.values(), "trained_model", r"damaged/\w+"])
_UNIT = re.compile(
    rf"(?:^|/)(?P<unit>(?:{_ENTRIES}|delivered)/(?P<digest>[0-9a-f]{{64}})[^/]*"
    rf"|{RUNS_FOLDER}/(?P<run_id>[^/]+?)(?:\.record\.\w+$|(?=/[^/]+$)))"
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
        verb = "would remove" if dry_run else "removed"
        size = numbers.megabytes(self.removed_bytes)
        removed = f"{verb} {self.removed:,} entries and files"
        return f"{self.experiment}: {why}; {removed}, {size}"


def clean(
    spec: ExperimentSpec, *, dry_run: bool = False, now: datetime | None = None
) -> Cleaned:
    """Remove what `retention` does not keep, unless a run of the experiment is running.

    First the places of removed pages are cleared in the database, then files are
    removed, of an entry `result.json` first: a kill in between loses nothing that is
    referred to; the next call continues.
    """
    root = storage_root()
    name = spec.name
    now = now or datetime.now(UTC)
    if spec.retention is None:
        return Cleaned(name, "no retention in its defs.yaml, so everything is kept")
    activity_before = activity(name)
    running = questions.runs(status="running", all_columns=True)
    if name in set(running["experiment"]):
        return Cleaned(name, "a run is running, so clean again when it has ended")
    archived = list(archived_runs(root, name))
    runs = [run for _, run in archived if not isinstance(run, EntryCorrupt)]
    kept_ids = _kept(runs, spec.retention, now)
    sizes = _removable(spec, archived, kept_ids, newest=(now - YOUNG).timestamp())
    if dry_run:
        return Cleaned(name, "", len(kept_ids), len(sizes), sum(sizes.values()))
    for run in runs:
        _forget_removed_pages(run, sizes.keys(), root)
    with suppress(UnknownRun):  # its runs are recorded elsewhere
        write_pages(root, name)
    cleaned = Cleaned(name, "", len(kept_ids))
    for unit, size in sizes.items():
        if activity(name) != activity_before:  # a run may reuse what would be removed
            note = "a run has begun, so clean again when it has ended"
            return replace(cleaned, note=note)
        remove(root / name / unit / RESULT)
        remove(root / name / unit)
        cleaned = replace(
            cleaned,
            removed=cleaned.removed + 1,
            removed_bytes=cleaned.removed_bytes + size,
        )
    return cleaned


def _kept(runs: Sequence[Any], retention: Retention, now: datetime) -> set[str]:
    """The ids of the archived runs that `retention` keeps."""
    with_choice = [run.runs[0].started_at for run in runs if run.runs[0].chosen]
    if len(with_choice) < retention.runs:
        return {run.run_id for run in runs}
    newest_first = sorted(with_choice, reverse=True)
    oldest = min(newest_first[retention.runs - 1], now - timedelta(days=retention.days))
    return {run.run_id for run in runs if (run.runs[0].started_at or now) >= oldest}


def _forget_removed_pages(run: Any, removed: Collection[str], root: Location) -> None:
    places = set()
    for report in run.reports:
        match = _UNIT.search(report.place)
        if match and match["unit"] in removed:
            places.add(report.place)
    if places:
        forget_pages(run, places, root)


def _removable(
    spec: ExperimentSpec,
    archived: Sequence[tuple[bytes, Any]],
    kept_ids: Collection[str],
    *,
    newest: float,
) -> dict[str, int]:
    """Unit → bytes, of those that nothing refers to and that are not too young.

    A unit is a path below the experiment, its name is the digest or the run in it.
    """
    folder = storage_root() / spec.name
    stored = files_below(folder)
    units, texts = _units_and_texts(stored)
    names = {unit: _name_of(paths[0]) for unit, paths in units.items()}
    referred = _runs_that_stay(names.values(), archived, kept_ids)
    referred |= _digests_in(_texts_of_runs(spec, archived, kept_ids))
    referred |= _digests_in(_contents(folder, texts, _TEXTS))
    # Pages of a run name the entries that they are copies of.
    staying = _units_named(referred, names)
    referred |= _digests_in(_pages_of(folder, units, staying))
    # Page files are referred to only in pages.
    young = _young(units, stored, newest)
    staying = young | _units_named(referred, names)
    referred |= _digests_in(_pages_of(folder, units, staying))
    staying = young | _units_named(referred, names)
    return {
        unit: sum(stored[path].size_bytes for path in paths)
        for unit, paths in units.items()
        if unit not in staying
    }


def _units_named(wanted: Collection[str], names: Mapping[str, str]) -> set[str]:
    """The units whose name is wanted."""
    return {unit for unit, name in names.items() if name in wanted}


def _young(
    units: Mapping[str, Sequence[str]], stored: Mapping[str, StoredFile], newest: float
) -> set[str]:
    """The units that were modified at or after `newest`."""
    return {
        unit
        for unit, paths in units.items()
        if max(stored[path].modified for path in paths) >= newest
    }


def _pages_of(
    folder: Location, units: Mapping[str, Sequence[str]], chosen: Collection[str]
) -> Iterator[str]:
    """The texts of the pages of chosen units."""
    paths = [path for unit in chosen for path in units[unit]]
    return _contents(folder, paths, (".html",))


def _units_and_texts(paths: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Unit → its paths, and the paths of files that are never removed."""
    units = defaultdict[str, list[str]](list)
    texts = []
    for path in paths:
        match = _UNIT.match(path)
        if match is not None:
            units[match["unit"]].append(path)
        elif not path.startswith(f"{RUNS_FOLDER}/"):
            texts.append(path)
    return units, texts


def _name_of(path: str) -> str:
    """The digest or the run in a path of a unit."""
    match = _UNIT.match(path)
    assert match is not None
    return match["digest"] or match["run_id"]


def _runs_that_stay(
    names: Iterable[str],
    archived: Sequence[tuple[bytes, Any]],
    kept_ids: Collection[str],
) -> set[str]:
    """The ids of runs whose pages stay: all but those known to be over and not kept."""
    run_ids = {name for name in names if not _DIGEST.fullmatch(name)}
    for _, run in archived:
        if isinstance(run, EntryCorrupt) or run.run_id in kept_ids:
            continue
        if not run.runs[0].version_is_new:
            run_ids.discard(run.run_id)
    return run_ids


def _texts_of_runs(
    spec: ExperimentSpec,
    archived: Sequence[tuple[bytes, Any]],
    kept_ids: Collection[str],
) -> Iterator[str]:
    """Yield texts with all digests that kept runs, and runs without an archive, refer
    to.
    """
    yield "" if spec.data is None else spec.data.url
    archived_ids = set()
    for content, run in archived:
        archived_ids.add(getattr(run, "run_id", ""))
        if isinstance(run, EntryCorrupt) or run.run_id in kept_ids:
            yield content.decode(errors="replace")
        elif run.runs[0].version_is_new:
            # The registry names the trained models that its version needs.
            yield to_json(run.model_copy(update={"configurations": ()})).decode()
    for record in recorded_runs(experiment=spec.name):
        if record.run_id not in archived_ids:
            for table in ("runs", "reports", "configurations"):
                yield str(questions.plain_rows_of(table, record.scope))
    registry = registry_of(spec)
    if registry.root.path != storage_root().path:
        yield from _contents(registry.folder, files_below(registry.folder), _TEXTS)


def _digests_in(texts: Iterable[str]) -> set[str]:
    return {digest for text in texts for digest in _DIGEST.findall(text)}


def _contents(
    folder: Location, paths: Iterable[str], endings: tuple[str, ...]
) -> Iterator[str]:
    places = [folder / path for path in paths if path.endswith(endings)]
    for content in read_many(places).values():
        yield content.decode(errors="replace")
