"""A laboratory that is killed at any write: nothing is lost, no budget is exceeded."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.lab.laboratory import Laboratory
from experiment_pipeline.lab.records import Event, History
from experiment_pipeline.storage import files
from experiment_pipeline_tests.lab import laboratories
from experiment_pipeline_tests.lab.laboratories import records

pytestmark = pytest.mark.usefixtures("storage", "quick")
KINDS = ("proposed", "claimed", "explored", "requested", "opened", "evaluated")
BUDGET = "explorations: 3, seconds: 90, looks: 1"
CHANGE = {"exclude": ["noise"]}


def session() -> None:
    """Propose, explore, ask and open, as server, worker and person do."""
    laboratory = Laboratory.of("made")
    proposal = laboratory.propose(CHANGE, "simpler", "agent")["proposal"]
    claim = laboratory.claim(proposal, "agent", 30)
    if claim is not None:
        laboratory.carry_out(claim)
    laboratory.request_opening(proposal, "simpler", "agent")
    laboratory.open(proposal)


def killed_session(environment: dict[str, str], kind: str, *, is_there: bool) -> None:
    """In a process of its own: a session that is killed when it writes an event of a
    kind, before or after the file appears.
    """
    os.environ.update(environment)
    create = Path.hardlink_to

    def create_or_die(place: Path, written: Path) -> None:
        kills = f'"kind": "{kind}"' in written.read_text()
        if not kills or is_there:
            create(place, written)
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.hardlink_to = create_or_die
    session()


# Before an event is as after the one before it.
KILLS = (
    ("claimed", True),
    ("explored", False),
    ("opened", False),
    ("evaluated", False),
)


@pytest.mark.slow
def test_a_restart_goes_on_wherever_the_laboratory_was_killed(tmp_path):
    """Earlier events stay, half of one is never seen, an exploration that was killed
    counts once, and a repeated proposal and opening are free.
    """
    laboratories.declare(tmp_path, BUDGET)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    before: list[Event] = []
    for kind, is_there in KILLS:
        process = processes.Process(
            target=killed_session,
            args=(dict(os.environ), kind),
            kwargs={"is_there": is_there},
        )
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, (kind, is_there)
        events = [*records().history()]
        assert events[: len(before)] == before
        assert (kind in [event.kind for event in events]) == is_there
        assert len(files.list_names(records().folder)) == len(events)
        before = events
    session()
    kinds = [event.kind for event in records().history()]
    # Killed as it was claimed, and before its end was written.
    assert kinds.count("claimed") == 3
    assert {*kinds} == {*KINDS}
    assert len(kinds) == len(KINDS) + 2
    left = records().history().left(Laboratory.of("made").spec)
    assert (left.explorations, left.looks) == (0, 0)
    assert 0 < left.seconds < 30


def test_a_broken_event_is_refused_and_one_that_stands_twice_gives_nothing(tmp_path):
    """Cut anywhere, its file is an error that names it; copied as the next event, it
    leaves no more to spend.
    """
    laboratories.declare(tmp_path, BUDGET)
    laboratory = Laboratory.of("made")
    proposal = laboratories.finished(laboratory, CHANGE)
    laboratory.request_opening(proposal, "simpler", "agent")
    for kind in ("opened", "evaluated"):
        laboratory.records.add(lambda _, kind=kind: Event(kind, "person", proposal))
    paths = sorted(Path(str(records().folder)).glob("[0-9]*.json"))
    for last, path in reversed([*enumerate(paths)]):
        content = path.read_bytes()
        left = History(records().history()[: last + 1]).left(laboratory.spec)
        following = path.with_name(f"{last + 2:04d}.json")
        following.write_bytes(content)
        after = records().history().left(laboratory.spec)
        assert after.explorations <= left.explorations
        assert (after.seconds, after.looks) <= (left.seconds, left.looks)
        following.unlink()
        for cut in (0, 1, len(content) // 2, len(content) - 2):
            path.write_bytes(content[:cut])
            with pytest.raises(EntryCorrupt, match=path.name):
                records().history()
        path.unlink()
    assert not records().history()


def test_an_event_whose_answer_was_lost_is_there_once(tmp_path, monkeypatch):
    """A bucket may take a file and not say so: an exploration is claimed once then."""
    laboratories.declare(tmp_path, BUDGET)
    laboratory = Laboratory.of("made")
    proposal = laboratory.propose(CHANGE, "simpler", "agent")["proposal"]
    create = files.create_exclusive
    monkeypatch.setattr(
        files, "create_exclusive", lambda path, content: create(path, content) and False
    )
    claim = laboratory.claim(proposal, "agent", 30)
    assert records().history().tried == [claim]
