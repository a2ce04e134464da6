"""Things that come many times a second are written together, soon, and all of them."""

import threading
import time

import pytest

from experiment_pipeline.storage import batches
from experiment_pipeline.storage.batches import in_batches

SOON = 5.0


class Away(Exception):
    """What a server raises that comes back."""


def wait_until(true) -> None:
    """Wait for a thread to get there."""
    ends = time.monotonic() + SOON
    while not true() and time.monotonic() < ends:
        time.sleep(0.005)
    assert true()


def test_what_comes_together_is_written_together_and_in_order() -> None:
    """Hundreds of things in a moment are two writings or three, and none is lost or moved."""
    written: list[list[int]] = []
    with in_batches(lambda some: written.append(list(some))) as take:
        for number in range(300):
            take([number])
    assert [one for some in written for one in some] == list(range(300))
    assert len(written) <= 3


def test_the_last_one_does_not_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thing is written within the time between two writings, also when nothing follows it."""
    monkeypatch.setattr(batches, "SECONDS_BETWEEN_WRITES", 0.05)
    written: list[str] = []
    with in_batches(written.extend) as take:
        take(["first"])
        wait_until(lambda: written == ["first"])
        take(["second"])
        wait_until(lambda: written == ["first", "second"])


@pytest.mark.parametrize("ending", [KeyboardInterrupt, ValueError])
def test_whatever_ends_the_block_all_is_written(ending: type[BaseException]) -> None:
    """An interruption loses nothing that was taken."""
    written: list[int] = []

    def interrupted() -> None:
        with in_batches(written.extend) as take:
            take([1])
            take([2, 3])
            raise ending

    with pytest.raises(ending):
        interrupted()
    assert written == [1, 2, 3]


def test_what_cannot_be_written_now_is_written_later() -> None:
    """Of a server that goes away nothing is heard while it may come back; all arrives in the end."""
    written: list[int] = []
    asked = threading.Event()
    away = True

    def write(some) -> None:
        asked.set()
        if away:
            raise Away
        written.extend(some)

    with in_batches(write, away=Away) as take:
        take([1])
        assert asked.wait(SOON)
        take([2])
        away = False
    assert written == [1, 2]


def test_a_server_that_stays_away_is_heard_of_at_the_end() -> None:
    """What could not be written is no secret."""

    def write(_) -> None:
        raise Away

    with pytest.raises(Away), in_batches(write, away=Away) as take:
        take([1])


def test_a_writing_that_cannot_succeed_is_told_to_who_brings_the_next() -> None:
    """A mistake in the writer's thread is not lost with it."""
    failed = threading.Event()

    def write(_) -> None:
        failed.set()
        raise ValueError("no such table")

    def work() -> None:
        with in_batches(write) as take:
            take([1])
            assert failed.wait(SOON)
            wait_until(lambda: "batches" not in {one.name for one in threading.enumerate()})
            take([2])
            raise AssertionError("it was taken")

    with pytest.raises(ValueError, match="no such table"):
        work()
