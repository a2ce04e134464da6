"""Things that come many times a second are written together, once a second, by a thread of its own.

So the code that has something to write does not wait for a disk or a server. In: things, and a
function that writes some of them. Out: nothing, or what that function raised.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

SECONDS_BETWEEN_WRITES = 1.0
_SECONDS_AFTER_A_FAILURE = 30.0
_Thing = TypeVar("_Thing")


@contextmanager
def in_batches(
    write: Callable[[Sequence[_Thing]], object], away: type[Exception] | None = None
) -> Iterator[Callable[[Iterable[_Thing]], None]]:
    """Take things as they come, and have them written; whatever ends the block, all are.

    Args:
        write: is given what has come since its last call, in that order; the last time in the
            thread of the block.
        away: what it raises where it may succeed later: what it was given waits half a minute.

    Raises:
        Exception: what `write` has raised, when the next thing comes, or at the end.
    """
    batches = _Batches(write, away)
    try:
        yield batches.take
    finally:
        batches.close()


class _Batches(Generic[_Thing]):
    def __init__(
        self, write: Callable[[Sequence[_Thing]], object], away: type[Exception] | None
    ) -> None:
        self._write, self._away = write, away
        self._waiting: list[_Thing] = []
        self._error: Exception | None = None
        self._lock, self._came, self._closed = (
            threading.Lock(),
            threading.Event(),
            threading.Event(),
        )
        # A daemon: what cannot be written must not keep a process alive that wants to end.
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def take(self, things: Iterable[_Thing]) -> None:
        if self._error is not None:
            raise self._error
        with self._lock:
            self._waiting.extend(things)
        self._came.set()

    def close(self) -> None:
        self._closed.set()
        self._came.set()
        self._thread.join()
        if self._waiting:
            self._write(self._waiting)

    def _work(self) -> None:
        while self._came.wait() and not self._closed.is_set():
            self._came.clear()
            try:
                self._write_some()
            # The next `take`, or the end of the block, raises it.
            except Exception as error:  # noqa: BLE001
                if self._away is None or not isinstance(error, self._away):
                    self._error = error
                    return
                self._came.set()
                self._closed.wait(_SECONDS_AFTER_A_FAILURE)
            else:
                self._closed.wait(SECONDS_BETWEEN_WRITES)

    def _write_some(self) -> None:
        with self._lock:
            some, self._waiting = self._waiting, []
        try:
            self._write(some)
        except Exception:
            with self._lock:
                self._waiting[:0] = some
            raise
