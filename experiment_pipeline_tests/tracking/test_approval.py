"""Approving a version, from the command line alone: registry, database, pages."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from experiment_pipeline.errors import (
    DatabaseUnavailable,
    EntryCorrupt,
    InvalidModel,
)
from experiment_pipeline.storage.files import location, write_bytes
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import Approval, Registry
from experiment_pipeline.tracking import outcomes, questions
from experiment_pipeline.tracking.database.archive import reindex
from experiment_pipeline.tracking.outcomes import approve
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.storage.test_registry import accept, package
from experiment_pipeline_tests.tracking.history import version_row, write_run


@pytest.fixture
def registry(storage: Path) -> Registry:
    """Two versions, of which the second waits; each was published by a run."""
    flights = Registry(UPath(storage), "flights")
    for number, required in enumerate((False, True), start=1):
        model = replace(package(f"model {number}".encode()), approval_required=required)
        published = flights.publish(model, accept)
        version = version_row(
            published.version, place=published.path, approval_required=required
        )
        write_run(
            f"run-{number}",
            version,
            experiment="flights",
            status="accepted",
            version=published.version,
        )
    return flights


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_database_that_is_lost_gets_the_approval_back(
    registry: Registry, storage: Path, *, is_lost: bool
):
    """The registry's files are enough, also if the database never knew the version."""
    registry.approve(Approval("v0002", "ada", "2026-02-03T04:05:06+00:00"))
    name = "copy" if is_lost else "flights"
    if is_lost:
        (storage / "flights").rename(storage / name)
        reindex(location(str(storage)), print)
    else:
        approve(registry, "v0002", "bob")
    version = questions.versions(name).set_index("version").loc["v0002"]
    assert version["approved_by"] == "ada"
    assert version["approval_required"]


def test_the_command_approves_and_database_and_pages_say_who(
    registry: Registry, storage: Path
):
    """`approve` names the champion, another one from then on; `models` shows who waits,
    and who approved. The first approval counts.
    """
    champion, waiting = command("models", "flights").output.splitlines()[1:]
    expected = ["v0001", "champion", "2026-01-02T03:04:05+00:00", "roc_auc", "0.7"]
    assert champion.split()[:5] == expected
    assert "waits for approval" in waiting
    assert questions.experiments()["champion"].item() == "v0001"
    arguments = ("approve", "flights", "v0002", "--by")
    output = command(*arguments, "ada", "--comment", "fine").output
    assert "v0002 is approved by ada at " in output
    assert "the champion is v0002" in output
    second = json.loads(command(*arguments, "bob", "--json").stdout)
    assert (second["by"], second["comment"], second["champion"]) == (
        "ada",
        "fine",
        "v0002",
    )
    assert state() == ("champion", "ada")
    version = questions.versions("flights").set_index("version").loc["v0002"]
    assert (version["approved_by"], version["approval_comment"]) == ("ada", "fine")
    assert version["run_id"] == "run-2"
    assert questions.experiments()["champion"].item() == "v0002"
    record = (storage / "flights" / "runs" / "run-2" / "decision_record.md").read_text()
    assert "approved by ada" in record
    assert "v0002" in (storage / "overview.html").read_text()
    unknown = command("approve", "flights", "v0009", "--by", "ada")
    assert unknown.exit_code == 1
    assert "experiment-pipeline models flights" in unknown.output


def state(version: int = 2) -> tuple[str, str | None]:
    """State and approver of a version, as programs read them."""
    versions = json.loads(command("models", "flights", "--json").output)
    return versions[version - 1]["state"], versions[version - 1]["approved_by"]


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("nobody", ["  ", "ada\x1b[2J"])
def test_an_approval_by_nobody_is_refused(nobody: str):
    """Nothing is written."""
    refused = command("approve", "flights", "v0002", "--by", nobody)
    assert refused.exit_code == 1
    assert re.search("--by is empty|a character that nobody sees", refused.output)
    assert state() == ("waits for approval", None)


def test_a_version_that_is_retired_is_champion_no_more(
    registry: Registry, storage: Path
):
    """The one before it is, also after a reindex; the reason is needed, kept, shown."""
    approve(registry, "v0002", "ada")
    arguments = ("retire", "flights", "v0002", "--why")
    assert "--why is empty" in command(*arguments, " ").output
    reason = "it had seen the answers"
    retired = json.loads(command(*arguments, reason, "--json").stdout)
    assert (retired["version"], retired["champion"]) == ("v0002", "v0001")
    assert retired["comment"] == reason
    output = command(*arguments, "twice").output
    assert "v0002 is retired since " in output
    assert "the champion is v0001" in output
    assert state() == (f"retired: {reason}", "ada")
    assert (registry.champion(), state(1)[0]) == ("v0001", "champion")
    assert questions.experiments()["champion"].item() == "v0001"
    with pytest.raises(InvalidModel, match=f"was retired: {reason}"):
        registry.publish(package(b"model 2"), accept)
    (storage / "flights").rename(storage / "copy")
    reindex(location(str(storage)), print)
    comments = questions.versions("copy").set_index("version")["approval_comment"]
    assert comments["v0002"].endswith(f": {reason}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("approve", "flights", "v0002", "--by", "ada"),
        ("retire", "flights", "v0001", "--why", "a leak"),
    ],
)
def test_what_the_database_does_not_take_is_not_decided(
    registry: Registry, monkeypatch, arguments: tuple[str, ...]
):
    """A locked database: the command fails, and the champion is the one before."""

    def locked(*_: object) -> None:
        raise DatabaseUnavailable("sqlite", "database is locked", "Try again.")

    before = registry.champion()
    monkeypatch.setattr(outcomes, "record_rows", locked)
    failed = command(*arguments)
    assert failed.exit_code == 1
    assert "database is locked" in failed.output
    assert (registry.champion(), state()) == (before, ("waits for approval", None))


def test_two_who_decide_at_once_lose_neither(registry: Registry, monkeypatch):
    """A retirement that comes while an approval is written stands in the database,
    too.
    """
    usual, between = outcomes.record_rows, []

    def interrupted(*given: object) -> None:
        if not between:
            between.append("retired")
            approve(registry, "v0002", "bob", "a leak", "retired")
        usual(*given)

    monkeypatch.setattr(outcomes, "record_rows", interrupted)
    approve(registry, "v0002", "ada")
    version = questions.versions("flights").set_index("version").loc["v0002"]
    assert version["approval_comment"] == "retired by bob: a leak"
    assert questions.experiments()["champion"].item() == registry.champion() == "v0001"


@pytest.mark.parametrize("name", ["a/../flights", ".."])
def test_what_is_no_name_is_no_path(registry: Registry, name: str):
    """Every command that takes an experiment or a version refuses it."""
    for arguments in (
        ("approve", name, "v0002", "--by", "ada"),
        ("retire", name, "v0002", "--why", "a leak"),
        ("models", name),
        ("reproduce", name, "v0001"),
        ("reproduce", "flights", f"v0001/{name}"),
    ):
        refused = command(*arguments)
        assert refused.exit_code == 1
        assert "is not the name of " in refused.output
    assert state() == ("waits for approval", None)


def test_a_decision_without_a_date_is_damaged(registry: Registry):
    """It counts for nothing, and the error names its file."""
    path = registry.decision("v0002", "approvals")
    approval = Approval("v0002", "ada", "yesterday")
    write_bytes(path, to_json(approval))
    assert registry.champion() == "v0001"
    with pytest.raises(EntryCorrupt, match=r"v0002\.json"):
        registry.approvals()


def test_folders_of_other_kinds_do_not_stop_a_reindex(
    registry: Registry, storage: Path
):
    """A folder that is named like a file is no experiment."""
    (storage / "x.json" / "runs").mkdir(parents=True)
    (storage / "flights" / "runs" / "folder.json").mkdir(parents=True)
    reindex(location(str(storage)), print)
    assert registry.versions() == ["v0001", "v0002"]
