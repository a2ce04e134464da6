"""Old runs lose their files: never one that something refers to, wherever the removal
is killed.
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from experiment_pipeline.experiment import run
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


class Made(NamedTuple):
    """A run, `age` days ago, and by number the entries that it refers to."""

    age: int
    page: int
    models: frozenset[int] = frozenset()
    chosen: bool = True
    is_new: bool = False  # it has published a version
    archived: bool = True


def spec(name: str, **rule: int) -> ExperimentSpec:
    """An experiment that keeps so much."""
    return scenario.spec(retention=rule).model_copy(update={"name": name})


def main_file(kind: str, number: int) -> str:
    """The place of an entry's page, or of a file, below the experiment."""
    ending = ".parquet" if kind == "delivered" else "/page.html"
    return f"{kind}/{sha256(f'{kind}{number}'.encode())}{ending}"


MODEL = partial(main_file, "trained_model")


def write(name: str, runs: Sequence[Made], looks: Iterable[int] = ()) -> UPath:
    """Write four entries of each kind, runs that refer to some, and looks at some
    models.
    """
    folder = storage_root() / name
    for kind, number in itertools.product(KINDS, range(4)):
        path = folder / main_file(kind, number)
        write_bytes(path, b"0" * 100)
        if path.name == "page.html":
            write_bytes(path.parent / "result.json", b"{}")
    write_bytes(folder / "registry/v0001/manifest.json", MODEL(0).encode())
    for number in looks:
        write_bytes(folder / f"validation_looks/{number}.json", MODEL(number).encode())
    for number, made in enumerate(runs):
        record = RunRecord(name, f"{number:08x}-{name}")
        pages = [
            f"runs/{record.run_id}.record.html",
            *(main_file(one, made.page) for one in PAGES),
        ]
        write_bytes(folder / pages[0], b"record")
        facts = RunFacts(
            status="rejected",
            started_at=NOW - timedelta(days=made.age),
            chosen="linear" if made.chosen else None,
            version_is_new=made.is_new or None,
            data_url=f"s3://bucket/{main_file('delivered', made.page)}",
        )
        told: dict[str, Any] = {
            "algorithm": "linear",
            "hyperparameters": {},
            "status": "trained",
        }
        prints = map(MODEL, made.models)
        models = (ConfigurationRow(key=one, fingerprint=one, **told) for one in prints)
        places = (ReportRow(name=one, place=str(folder / one)) for one in pages)
        record.record([facts, *models, *places])
        if made.archived:
            archive(record, storage_root())
    return folder


def wanted(
    name: str, runs: Sequence[Made], looks: set[int], least: int, days: int
) -> set[str]:
    """What has to stay, told the simple way."""
    ages = sorted(one.age for one in runs if one.chosen and one.archived)
    oldest = max(ages[least - 1], days) if len(ages) >= least else 10**6
    found = {MODEL(number) for number in (0, *looks)}
    for number, one in enumerate(runs):
        kept = one.age <= oldest or not one.archived
        if kept or one.is_new:
            found |= {main_file(kind, one.page) for kind in (*PAGES, "delivered")}
            found.add(f"runs/{number:08x}-{name}.record.html")
        found.update(map(MODEL, one.models if kept else ()))
    return found


def there(folder: UPath) -> set[str]:
    """What is there, of entries those that are whole."""
    stored = files_below(folder)
    files = {
        one
        for one in stored
        if one.startswith((*KINDS, "runs/")) and ".json" not in one
    }
    return {one for one in files if one.replace("page.html", "result.json") in stored}


def drawn(by: Random) -> Made:
    """A run at random."""
    models = frozenset(by.choices(range(4), k=by.randrange(4)))
    truths = (by.random() < share for share in (0.7, 0.3, 0.8))
    return Made(by.randrange(300), by.randrange(4), models, *truths)


@pytest.mark.usefixtures("storage")
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=True))
def test_what_is_referred_to_stays_wherever_it_is_killed(by: Random) -> None:
    """No place of the database is dead, then or later; the next call removes the rest,
    and no more.
    """
    runs, looks = (
        [drawn(by) for _ in range(by.randint(1, 7))],
        set(by.choices(range(4), k=2)),
    )
    name, steps = next(names), by.randrange(40)
    least, days = by.randint(1, 3), by.choice([0, 150])
    folder, left = write(name, runs, looks), itertools.count(steps, -1)

    def killed(act: Callable[..., Any], *given: Any) -> Any:
        if next(left) <= 0:
            raise KeyboardInterrupt
        return act(*given)

    with (
        patch.object(retention, "remove", partial(killed, retention.remove)),
        patch.object(
            retention, "forget_pages", partial(killed, retention.forget_pages)
        ),
        patch.object(retention, "write_pages", lambda *_: None),
    ):
        stay = wanted(name, runs, looks, least, days)
        for _ in range(2):
            with suppress(KeyboardInterrupt):
                clean(spec(name, runs=least, days=days), now=NOW)
            assert stay <= there(folder)
            places = questions.rows_of("reports", {"experiment": name})["place"]
            assert len(places) == 4 * len(runs)
            assert all(exists(UPath(one)) for one in places if one)
            left = itertools.count(10**6, -1)
    assert there(folder) == stay


@pytest.mark.usefixtures("place")
def test_a_bucket_is_cleaned_alike() -> None:
    """A dry run removes nothing, and what is young stays; the rest is counted
    in bytes.
    """
    folder = write("churn", [Made(age, age) for age in range(4)])
    assert clean(spec("churn", runs=1)).removed == 0
    before = files_below(folder)
    dry = clean(spec("churn", runs=1), dry_run=True, now=NOW)
    assert files_below(folder).keys() == before.keys()
    done = clean(spec("churn", runs=1), now=NOW)
    gone = before.keys() - files_below(folder).keys()
    assert done == dry
    assert done.removed_bytes == sum(before[one].size_bytes for one in gone)
    assert (done.kept_runs, done.removed) == (1, 22)


def test_the_command_says_what_it_frees(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing while a run is at work, which may reuse an old entry; no page or row has
    a dead link.
    """
    folder, begun = (
        write("churn", [Made(9, 0), Made(1, 1)]),
        RunRecord("churn", "at-work"),
    )
    for path in storage.rglob("*.*"):
        os.utime(path, (0, 0))
    monkeypatch.setattr(
        run, "declared_now", lambda _: NamedColumns(spec("churn", runs=1), "")
    )

    def said(*options: str) -> str:
        return command("clean", *options).output

    before = there(folder)
    begun.record(
        [RunFacts(status="running", process=vars(Process.here()), started_at=NOW)]
    )
    assert "a run is running" in said()
    begun.record([RunFacts(status="failed")])
    with patch.object(retention, "activity", side_effect=itertools.count()):
        assert "a run has begun" in said()
    assert there(folder) == before
    assert "churn: 1 run kept; would remove 20 entries and files, 0.0019 MB" in said(
        "--dry-run"
    )
    assert json.loads(said("churn", "--json"))[0]["removed"] == 20
    links = re.findall(
        'href="([^"#.][^"]*)"', (storage / "churn/runs.html").read_text()
    )
    assert [exists(folder / link) for link in links] == [True] * 4
    places = questions.rows_of("reports", {"experiment": "churn"})
    assert reindex(storage_root(), print) == 2
    assert questions.rows_of("reports", {"experiment": "churn"}).equals(places)
