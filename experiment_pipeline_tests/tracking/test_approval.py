"""Approving a version, from the command line alone: registry, database, pages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from experiment_pipeline.errors import DatabaseUnavailable, InvalidModel
from experiment_pipeline.storage.files import location
from experiment_pipeline.storage.registry import Approval, Registry
from experiment_pipeline.tracking import outcomes, questions
from experiment_pipeline.tracking.database.archive import reindex
from experiment_pipeline.tracking.outcomes import approve
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.storage.test_registry import accept, package
from experiment_pipeline_tests.tracking.history import version_row, write_run


@pytest.fixture
def registry(storage: Path) -> Registry:
    """Two versions, of which the second waits; a run published each."""
    found = Registry(UPath(storage), "flights")
    for number, required in enumerate((False, True), start=1):
        model = replace(package(f"model {number}".encode()), approval_required=required)
        published = found.publish(model, accept)
        told = {"place": published.path, "approval_required": required}
        version = version_row(published.version, **told)
        facts = {
            "experiment": "flights",
            "status": "accepted",
            "version": published.version,
        }
        write_run(f"run-{number}", version, **facts)
    return found


def test_the_database_and_the_pages_say_who_approved(
    registry: Registry, storage: Path
) -> None:
    """The champion of the experiment is another one from then on."""
    assert questions.experiments()["champion"].item() == "v0001"
    approve(registry, "v0002", "ada", "fine")
    found = questions.versions("flights").set_index("version").loc["v0002"]
    assert (found["approved_by"], found["approval_comment"]) == ("ada", "fine")
    assert found["approved_at"].date().isoformat() >= "2026-01-01"
    assert found["run_id"] == "run-2"
    assert questions.experiments()["champion"].item() == "v0002"
    record = (storage / "flights" / "runs" / "run-2.record.md").read_text()
    assert "approved by ada" in record
    assert "v0002" in (storage / "overview.html").read_text()


def test_a_database_that_is_lost_gets_the_approval_back(
    registry: Registry, storage: Path
) -> None:
    """The registry's files are enough; so they are for a database that never knew the
    version.
    """
    registry.approve(Approval("v0002", "ada", "2026-02-03T04:05:06+00:00"))
    for name in ("flights", "copy"):
        if name == "copy":
            (storage / "flights").rename(storage / "copy")
            reindex(location(str(storage)), print)
        else:
            approve(Registry(UPath(storage), "flights"), "v0002", "bob")
        found = questions.versions(name).set_index("version").loc["v0002"]
        assert found["approved_by"] == "ada"
        assert found["approval_required"]


def test_the_command_approves_and_lists(registry: Registry) -> None:
    """`approve` names the champion; `models` shows who waits, and who approved."""
    champion, waits = command("models", "flights").output.splitlines()[1:]
    known = ["v0001", "champion", "2026-01-02T03:04:05+00:00", "roc_auc", "0.7"]
    assert champion.split()[:5] == known
    assert "waits for approval" in waits
    assert state() == ("waits for approval", None)
    done = command("approve", "flights", "v0002", "--by", "ada", "--comment", "fine")
    assert done.exit_code == 0, done.output
    assert "v0002 is approved by ada at " in done.output
    assert "the champion is v0002" in done.output
    told = json.loads(
        command("approve", "flights", "v0002", "--by", "bob", "--json").stdout
    )
    assert told.pop("at")
    known = {"experiment": "flights", "version": "v0002", "comment": "fine"}
    assert told == known | {"by": "ada", "champion": "v0002"}, (
        "the first approval counts"
    )
    assert state() == ("champion", "ada")
    unknown = command("approve", "flights", "v0009", "--by", "ada")
    assert unknown.exit_code == 1
    assert "experiment-pipeline models flights" in unknown.output


def state(version: int = 2) -> tuple[str, str | None]:
    """State and approver of a version, as programs read them."""
    found = json.loads(command("models", "flights", "--json").output)[version - 1]
    return found["state"], found["approved_by"]


def test_an_approval_by_nobody_is_refused(registry: Registry) -> None:
    """An empty name, on the command line and in Python; nothing is written."""
    for nobody in ("", "  "):
        refused = command("approve", "flights", "v0002", "--by", nobody)
        assert (refused.exit_code, "--by is empty" in refused.output) == (1, True)
    assert state() == ("waits for approval", None)


def test_a_version_that_is_retired_is_champion_no_more(
    registry: Registry, storage: Path
) -> None:
    """The one before it is, also after a reindex; the reason is needed, kept
    and shown.
    """
    approve(registry, "v0002", "ada")
    assert (
        "--why is empty" in command("retire", "flights", "v0002", "--why", " ").output
    )
    why = "it had seen the answers"
    told = json.loads(
        command("retire", "flights", "v0002", "--why", why, "--json").stdout
    )
    assert (told["version"], told["comment"], told["champion"]) == (
        "v0002",
        why,
        "v0001",
    )
    done = command("retire", "flights", "v0002", "--why", "twice")
    assert "v0002 is retired since " in done.output
    assert "the champion is v0001" in done.output, done.output
    assert state() == ("retired: it had seen the answers", "ada")
    assert (registry.champion(), state(1)[0]) == ("v0001", "champion")
    assert questions.experiments()["champion"].item() == "v0001"
    with pytest.raises(InvalidModel, match="was retired: it had seen the answers"):
        registry.publish(package(b"model 2"), accept)
    (storage / "flights").rename(storage / "copy")
    reindex(location(str(storage)), print)
    comments = questions.versions("copy").set_index("version")["approval_comment"]
    assert comments["v0002"].endswith(": it had seen the answers")


@pytest.mark.parametrize("what", ["approve", "retire"])
def test_what_the_database_does_not_take_is_not_decided(
    registry: Registry, monkeypatch, what: str
):
    """A locked database: the command fails, and the champion is the one before."""

    def locked(*_: object) -> None:
        raise DatabaseUnavailable("sqlite", "database is locked", "Try again.")

    before = registry.champion()
    monkeypatch.setattr(outcomes, "record_rows", locked)
    option = {
        "approve": ("v0002", "--by", "ada"),
        "retire": ("v0001", "--why", "a leak"),
    }[what]
    failed = command(what, "flights", *option)
    assert (failed.exit_code, "database is locked" in failed.output) == (1, True)
    assert (registry.champion(), state()) == (before, ("waits for approval", None))


@pytest.mark.slow
def test_a_run_waits_for_its_approval(tmp_path: Path, storage: Path) -> None:
    """Published and waiting; its record, which stays as it is, says by which command it
    is approved.
    """
    spec = scenario.spec(
        url=str(scenario.write_csv(tmp_path / "v.csv")), approval="required"
    )
    registry = Registry(UPath(storage), spec.name)
    shown = runs.succeeded(spec, scenario.SCHEMA).metadata("exported_model")
    assert registry.champion() is None
    version = registry.folder / "v0001"
    record = (version / "decision_record.md").read_text()
    for text in (record, str(shown)):
        assert f"approve {spec.name} v0001 --by NAME" in text
    assert registry.waiting() == {"v0001"}
    assert command("approve", spec.name, "v0001", "--by", "ada").exit_code == 0
    assert registry.champion() == "v0001"
    assert (version / "decision_record.md").read_text() == record
    (row,) = questions.versions(spec.name).to_dict("records")
    assert (row["approval_required"], row["approved_by"]) == (True, "ada")
