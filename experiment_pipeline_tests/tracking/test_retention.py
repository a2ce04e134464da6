"""Old runs lose their files, but never one that something refers to."""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from experiment_pipeline.experiment import declared
from experiment_pipeline.reporting.run_record import (
    ConfigurationRow,
    ReportRow,
    RunFacts,
)
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage.files import (
    exists,
    files_below,
    storage_root,
    write_bytes,
)
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking import questions, retention
from experiment_pipeline.tracking.database.archive import archive, reindex
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.retention import clean
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.command_line import command

# Files are written now: this is when they are old.
NOW = datetime.now(UTC) + timedelta(days=2)
PAGES = ("data_analysis", "leaderboard", "validation_report")
KINDS = (*PAGES, "trained_model", "delivered", "damaged/leaderboard")
names = map("churn{}".format, itertools.count())


@dataclass(frozen=True)
class OldRun:
    """A run, and by number the entries that it refers to."""

    days: int  # since it began
    page: int
    models: frozenset[int] = frozenset()
    has_choice: bool = True
    published: bool = False  # a version
    archived: bool = True

    @classmethod
    def drawn(cls, random: Random) -> "OldRun":
        """A run at random."""
        return cls(
            days=random.randrange(300),
            page=random.randrange(4),
            models=frozenset(random.choices(range(4), k=random.randrange(4))),
            has_choice=random.random() < 0.7,
            published=random.random() < 0.3,
            archived=random.random() < 0.8,
        )


def spec(name: str, **retention: int) -> ExperimentSpec:
    """An experiment that keeps so much."""
    return scenario.spec(retention=retention).model_copy(update={"name": name})


def main_file(kind: str, number: int) -> str:
    """The place of an entry's page, or of a file, below the experiment."""
    ending = ".parquet" if kind == "delivered" else "/page.html"
    return f"{kind}/{sha256(f'{kind}{number}'.encode())}{ending}"


MODEL = partial(main_file, "trained_model")


def write(name: str, runs: Iterable[OldRun], looks: Iterable[int] = ()) -> UPath:
    """Write four entries of each kind, runs that refer to some, and looks at models."""
    folder = storage_root() / name
    for kind, number in itertools.product(KINDS, range(4)):
        path = folder / main_file(kind, number)
        write_bytes(path, b"0" * 100)
        if path.name == "page.html":
            write_bytes(path.parent / "result.json", b"{}")
    write_bytes(folder / "registry/v0001/manifest.json", MODEL(0).encode())
    for number in looks:
        write_bytes(folder / f"validation_looks/{number}.json", MODEL(number).encode())
    for number, run in enumerate(runs):
        write_old_run(folder, RunRecord(name, f"{number:08x}-{name}"), run)
    return folder


def write_old_run(folder: UPath, record: RunRecord, run: OldRun) -> None:
    """Write the rows and the record of a run."""
    page = f"runs/{record.run_id}/index.html"
    write_bytes(folder / page, b"record")
    pages = (page, *(main_file(kind, run.page) for kind in PAGES))
    facts = RunFacts(
        status="rejected",
        started_at=NOW - timedelta(days=run.days),
        chosen="linear" if run.has_choice else None,
        version_is_new=run.published or None,
        data_url=f"s3://bucket/{main_file('delivered', run.page)}",
    )
    models = [
        ConfigurationRow(
            key=fingerprint,
            algorithm="linear",
            hyperparameters={},
            status="trained",
            fingerprint=fingerprint,
        )
        for fingerprint in map(MODEL, run.models)
    ]
    names = dict.fromkeys([page], "decision_record")
    reports = [
        ReportRow(name=names.get(place, place), place=str(folder / place))
        for place in pages
    ]
    record.record([facts, *models, *reports])
    if run.archived:
        archive(record, storage_root())


def files_that_stay(
    name: str,
    runs: Iterable[OldRun],
    looks: Iterable[int],
    retention: Mapping[str, int],
) -> set[str]:
    """What has to stay, in the simple way."""
    ages = sorted(run.days for run in runs if run.has_choice and run.archived)
    oldest = 10**6
    if len(ages) >= retention["runs"]:
        oldest = max(ages[retention["runs"] - 1], retention["days"])
    files = {MODEL(number) for number in (0, *looks)}
    for number, run in enumerate(runs):
        is_kept = run.days <= oldest or not run.archived
        if is_kept or run.published:
            files |= {main_file(kind, run.page) for kind in (*PAGES, "delivered")}
            files.add(f"runs/{number:08x}-{name}/index.html")
        if is_kept:
            files |= set(map(MODEL, run.models))
    return files


def complete_files(folder: UPath) -> set[str]:
    """The files of a folder, of entries those that are complete."""
    stored = files_below(folder)
    return {
        path
        for path in stored
        if path.startswith((*KINDS, "runs/"))
        and ".json" not in path
        and path.replace("page.html", "result.json") in stored
    }


def places_of(name: str) -> list[str]:
    """The places of all reports of an experiment, in the database."""
    return questions.rows_of("reports", {"experiment": name})["place"].tolist()


@pytest.mark.usefixtures("storage")
@settings(max_examples=6)
@given(st.randoms(use_true_random=True))
def test_what_is_referred_to_stays_wherever_it_is_killed(random: Random):
    """No place of the database is dead; the next call removes the rest, and no more."""
    runs = [OldRun.drawn(random) for _ in range(random.randint(1, 7))]
    looks = set(random.choices(range(4), k=2))
    limits = {"runs": random.randint(1, 3), "days": random.choice([0, 150])}
    name = next(names)
    folder = write(name, runs, looks)
    stay = files_that_stay(name, runs, looks, limits)
    steps_left = itertools.count(random.randrange(40), -1)

    def killed(function: Callable[..., Any], *arguments: Any) -> Any:
        if next(steps_left) == 0:
            raise KeyboardInterrupt
        return function(*arguments)

    with (
        patch.object(retention, "remove", partial(killed, retention.remove)),
        patch.object(
            retention, "forget_pages", partial(killed, retention.forget_pages)
        ),
        patch.object(retention, "write_pages", lambda *_: None),
    ):
        for _ in range(2):
            with suppress(KeyboardInterrupt):
                clean(spec(name, **limits), now=NOW)
            assert stay <= complete_files(folder)
            places = places_of(name)
            assert len(places) == 4 * len(runs)
            assert all(exists(UPath(place)) for place in places if place)
            steps_left = itertools.count(-1, -1)
    assert complete_files(folder) == stay


@pytest.mark.usefixtures("place")
def test_a_bucket_is_cleaned_alike():
    """A dry run removes nothing, and what is young stays."""
    folder = write("churn", [OldRun(days, page=days) for days in range(4)])
    assert clean(spec("churn", runs=1)).removed == 0
    before = files_below(folder)
    planned = clean(spec("churn", runs=1), dry_run=True, now=NOW)
    assert files_below(folder).keys() == before.keys()
    cleaned = clean(spec("churn", runs=1), now=NOW)
    removed = before.keys() - files_below(folder).keys()
    assert cleaned == planned
    assert cleaned.removed_bytes == sum(before[path].size_bytes for path in removed)
    assert (cleaned.kept_runs, cleaned.removed) == (1, 22)


@pytest.fixture
def churn(storage: Path, monkeypatch) -> UPath:
    """The folder of an experiment with two old runs, of which one is kept."""
    folder = write("churn", [OldRun(9, page=0), OldRun(1, page=1)])
    for path in storage.rglob("*.*"):
        os.utime(path, (0, 0))
    named = NamedColumns(spec("churn", runs=1), "")
    monkeypatch.setattr(declared, "declared_now", lambda _: named)
    return folder


def test_nothing_is_removed_while_a_run_is_at_work(churn: UPath):
    """It may reuse an old entry."""
    before = complete_files(churn)
    run = RunRecord("churn", "at-work")
    process = vars(Process.here())
    run.record([RunFacts(status="running", process=process, started_at=NOW)])
    assert "a run is running" in command("clean").output
    run.record([RunFacts(status="failed")])
    with patch.object(retention, "activity", side_effect=itertools.count()):
        assert "a run has begun" in command("clean").output
    assert complete_files(churn) == before


def test_the_command_says_what_it_frees(churn: UPath, storage: Path):
    """No page and no row has a dead link then."""
    message = "churn: 1 run kept; would remove 20 entries and files, 0.0019 MB"
    assert message in command("clean", "--dry-run").output
    (cleaned,) = json.loads(command("clean", "churn", "--json").output)
    assert cleaned["removed"] == 20
    page = (storage / "churn/runs.html").read_text()
    links = re.findall('href="([^"#.][^"]*)"', page.partition("<main")[2])
    assert [exists(churn / link) for link in links] == [True]
    places = places_of("churn")
    assert reindex(storage_root(), print) == 2
    assert places_of("churn") == places
