"""Calls to one worker each: what is sent, what runs there, and what comes back, once.

Every call is bound to a worker, so that the scheduler neither moves it nor runs it again by itself
when that worker dies: who tries again, and where, is decided by who calls. A result is taken off its
worker as soon as it is there. Fits run in threads of the worker, which Dask does not stop; `stop`
raises in them, which ends a fit at its next line of Python. In: functions and arguments, pickled
for a process that is meant by name. Out: answers in the order in which they come.
"""

import asyncio
import ctypes
import itertools
import pickle
import queue
import secrets
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from experiment_pipeline.storage.processes import Process

if TYPE_CHECKING:
    from distributed import Client, Future

# Results on their way at a time.
FETCHERS = 8
# How long the end of a run waits for workers to say that they stopped.
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """What a worker sends back.

    Attributes:
        value: what the function returned.
        run_seconds: how long it ran, with the imports of its first call.
        begun: False where another process than the one that was meant got the call, or the call
            was stopped: there is no value.
    """

    value: Any
    run_seconds: float
    begun: bool = True


@dataclass(frozen=True)
class Raised:
    """What the function raised, or Dask when it could not run it."""

    error: BaseException


@dataclass(frozen=True)
class Missing:
    """There is no answer, and none will come: the worker is gone, or the scheduler."""

    because_of: Literal["worker", "scheduler"]


Outcome = Answer | Raised | Missing


class Disconnected(Exception):
    """The scheduler is gone, or has forgotten what this client asked for."""


class _Stopped(BaseException):
    """Raised in a thread whose answer nobody waits for; no `except Exception` catches it."""


_running: dict[str, int] = {}
_turn = threading.Lock()


@cache
def this_process() -> Process:
    """The process this runs in; a worker that Dask has started again is another one."""
    return Process.here()


def perform(call: str, meant: Process | None, payload: bytes) -> Answer:
    """Run a pickled function on its argument, on the worker; pure but for what the function does."""
    if meant not in (None, this_process()):
        return Answer(None, 0.0, begun=False)
    began = time.monotonic()
    # Pickled here and not by Dask, or the scheduler would import what the function needs.
    function, argument = pickle.loads(payload)  # noqa: S301 - the function came the same way
    try:
        with _turn:
            _running[call] = threading.get_ident()
        value = function(argument)
    except _Stopped:
        return Answer(None, time.monotonic() - began, begun=False)
    finally:
        with _turn:
            _raise_in(_running.pop(call, threading.get_ident()), None)
    return Answer(value, time.monotonic() - began)


def stop(calls: Collection[str]) -> None:
    """Raise in the threads of this process that run one of the calls."""
    with _turn:
        for call in calls:
            if (thread := _running.get(call)) is not None:
                _raise_in(thread, _Stopped)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Let a thread raise at its next instruction; None: take back what was to be raised."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


class Desk:
    """The calls of one client that are on their way, and a queue of what came back."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._futures: dict[str, Future[Answer]] = {}
        self._back = queue.SimpleQueue[tuple[str, Outcome]]()
        self._fetchers = ThreadPoolExecutor(FETCHERS, "fetch")
        # Dask must never see a name twice: it would answer with the first one's result.
        self._name, self._numbers = secrets.token_hex(4), itertools.count()

    def send(
        self,
        label: str,
        function: Callable[[Any], Any],
        argument: Any,
        worker: str,
        meant: Process | None = None,
    ) -> str:
        """Send a call to a worker, and return its name.

        Args:
            label: what Dask's own pages show.
            function: what runs there; it comes by name where it can be imported there.
            argument: its only argument.
            worker: an address.
            meant: the process at this address; another one does not begin.

        Raises:
            Disconnected: from the scheduler.
        """
        import cloudpickle

        call = f"task-{label}-{self._name}-{next(self._numbers)}"
        payload = cloudpickle.dumps((function, argument))
        try:
            future = self._client.submit(
                perform, call, meant, payload, key=call, workers=[worker], pure=False
            )
        except Exception as error:
            if self._client.status == "running":
                raise
            raise Disconnected from error
        self._futures[call] = future
        future.add_done_callback(lambda ended: self._fetch_later(call, ended))
        return call

    def take(self, seconds: float) -> tuple[str, Outcome] | None:
        """Return the next call that has an outcome, with it; None: nothing came in time."""
        try:
            call, outcome = self._back.get(timeout=seconds)
        except queue.Empty:
            return None
        return (call, outcome) if self._futures.pop(call, None) is not None else None

    def drop(self, calls: Collection[str]) -> None:
        """Forget calls: those that wait on a worker are not begun, and no outcome is given out."""
        futures = [self._futures.pop(call) for call in calls if call in self._futures]
        if futures and self._client.status == "running":
            with suppress(Exception):  # the connection broke just now: nothing waits any more
                self._client.cancel(futures)

    def stop(self, calls: Collection[str], workers: Collection[str]) -> None:
        """Forget calls, and end those that run; whoever does not answer in seconds is left."""
        self.drop(calls)
        if not calls or self._client.status != "running":
            return
        asked = self._fetchers.submit(
            self._client.run, stop, list(calls), workers=list(workers), on_error="ignore"
        )
        with suppress(Exception):  # nothing more can be done, and the run ends anyway
            asked.result(STOP_SECONDS)

    def close(self) -> None:
        """Forget everything."""
        self.drop(list(self._futures))
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def _fetch_later(self, call: str, future: "Future[Answer]") -> None:
        with suppress(RuntimeError):  # closed
            self._fetchers.submit(self._fetch, call, future)

    def _fetch(self, call: str, future: "Future[Answer]") -> None:
        outcome = _outcome(future)
        future.release()
        self._back.put((call, outcome))


def _outcome(future: "Future[Answer]") -> Outcome:
    from distributed.scheduler import KilledWorker, NoValidWorkerError

    try:
        if future.status == "error":
            error = future.exception()
            gone = isinstance(error, KilledWorker | NoValidWorkerError)
            return Missing("worker") if gone else Raised(error)
        answer: Answer = future.result()
    except (OSError, CancelledError, asyncio.CancelledError):
        return Missing("scheduler")
    except Exception as error:  # noqa: BLE001 - a result that cannot be read here: raised in the step
        return Raised(error)
    return answer
