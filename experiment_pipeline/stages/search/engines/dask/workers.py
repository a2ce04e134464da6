"""Who is there: workers that may get fits, those that join and those that leave, the way to them.

A worker gets nothing before it was examined. Who left is seen by looking, a second later at most; a
worker that was asked to leave says so to the scheduler, one that was killed does not. A scheduler that
is gone is looked for again for a while. In: a way to connect. Out: members, departures, outcomes of
calls, or ClusterLost.
"""

import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiment_pipeline.errors import ClusterLost, ClusterUnreachable, WorkersDiffer
from experiment_pipeline.stages.search.engines.dask.calls import (
    Answer,
    Desk,
    Disconnected,
    Missing,
    Outcome,
)
from experiment_pipeline.stages.search.engines.dask.checks import (
    Examination,
    Report,
    differences,
    own_report,
    report,
)
from experiment_pipeline.storage import files
from experiment_pipeline.storage.locations import Location, without_credentials
from experiment_pipeline.storage.processes import Process

if TYPE_CHECKING:
    from distributed import Client

LOOK_SECONDS = 1.0
# A worker's first call imports LightGBM, scikit-learn and pandas, perhaps from a slow disk.
ANSWER_SECONDS = 120.0
SCHEDULER_SECONDS = 60.0
# Another machine takes longer to come than a scheduler to come back.
WORKER_SECONDS = 300.0
CONNECT_SECONDS = 10.0
SHOWN_WORKERS = 5
_RESUMES = "run again: what was trained is stored and is not trained again"


@dataclass(frozen=True)
class Member:
    """A worker that may get tasks: where it is, its threads, which process it is."""

    address: str
    threads: int
    process: Process


@dataclass(frozen=True)
class Departure:
    """A worker that is no longer there; `asked` when it left because it was told to."""

    address: str
    asked: bool


class Workers:
    """The workers of one scheduler, as far as they are known here.

    Args:
        connect: seconds → a client; OSError when no scheduler answers in time.
        scheduler: its address, for people.
        say: gets sentences about who comes and goes.
    """

    def __init__(
        self, connect: Callable[[float], "Client"], scheduler: str, say: Callable[[str], None]
    ) -> None:
        self._connect, self._scheduler, self.say = connect, scheduler, say
        self._examination: tuple[Examination, Report] | None = None
        self._probe: Location | None = None
        self._begin(connect(CONNECT_SECONDS))

    def _begin(self, client: "Client") -> None:
        self._client, self.desk = client, Desk(client)
        self.ready: dict[str, Member] = {}
        # Call → the worker that is asked, and its threads.
        self._asked: dict[str, tuple[str, int]] = {}
        self._refused: dict[str, str] = {}
        self._replaced = list[str]()
        self._seen, self._next_look = time.monotonic(), 0.0

    def close(self) -> None:
        """End the connection, and remove what `check` stored."""
        self._disconnect()
        if self._probe is not None:
            files.remove(self._probe)

    def _disconnect(self) -> None:
        self.desk.close()
        with suppress(Exception):  # a scheduler that is gone takes no leave
            self._client.close(timeout=CONNECT_SECONDS)

    def look(self) -> list[Departure]:
        """See who came and who left, at most once a second; who came is asked who it is.

        Raises:
            Disconnected: from the scheduler.
            ClusterLost: there was no worker that may get tasks for WORKER_SECONDS.
        """
        replaced, self._replaced = self._replaced, []
        left = [Departure(address, asked=False) for address in replaced]
        if time.monotonic() < self._next_look:
            return left
        self._next_look = time.monotonic() + LOOK_SECONDS
        threads = self._asked_of_scheduler(self._client.nthreads)
        known = {*self.ready, *self._refused, *(address for address, _ in self._asked.values())}
        for address in threads.keys() - known:
            self._ask(address, threads[address])
        left += [
            Departure(address, self._was_asked_to_leave(address))
            for address in known - threads.keys()
            if self._forget(address)
        ]
        if self.ready:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > WORKER_SECONDS:
            raise ClusterLost(
                f"the cluster of {self._scheduler}",
                f"has had no worker for {WORKER_SECONDS:.0f} s{self._reasons()}",
                f"start workers, then {_RESUMES}",
            )
        return left

    def take(self, seconds: float) -> tuple[str, Outcome] | None:
        """Return the next call with an outcome; None: nothing came, or only news of a worker."""
        taken = self.desk.take(seconds)
        if taken is None or taken[0] not in self._asked:
            return taken
        address, threads = self._asked.pop(taken[0])
        self._judge(address, threads, taken[1])
        return None

    def replaced(self, address: str) -> None:
        """Note that another process answers at an address: who was there is gone."""
        if self.ready.pop(address, None) is not None:
            self._replaced.append(address)

    def reconnect(self) -> None:
        """Find the scheduler again; then nothing is known of any worker or call.

        Raises:
            ClusterLost: it did not answer in SCHEDULER_SECONDS.
        """
        self.say(f"the scheduler {self._scheduler} is gone; trying for {SCHEDULER_SECONDS:.0f} s")
        self._disconnect()
        end = time.monotonic() + SCHEDULER_SECONDS
        while (left := end - time.monotonic()) > 0:
            with suppress(OSError):
                self._begin(self._connect(min(left, CONNECT_SECONDS)))
                self.say(
                    f"the scheduler {self._scheduler} is back; what has no result is sent again"
                )
                return
            time.sleep(min(LOOK_SECONDS, max(left, 0)))
        raise ClusterLost(
            f"the scheduler {self._scheduler}",
            f"went away and did not come back within {SCHEDULER_SECONDS:.0f} s",
            f"start it, then {_RESUMES}",
        )

    @contextmanager
    def none_is_lost(self) -> Generator[None, None, None]:
        """What is asked before the first task, when the scheduler must not go away.

        Raises:
            ClusterLost: it did.
        """
        try:
            yield
        except Disconnected as error:
            raise ClusterLost(
                f"the scheduler {self._scheduler}",
                "went away while its workers were asked who they are",
                "start it, then run again",
            ) from error

    def wait_for_answers(self) -> None:
        """Wait until every worker that is there now has said who it is, or has left.

        Raises:
            ClusterUnreachable: none did in ANSWER_SECONDS.
        """
        end = time.monotonic() + ANSWER_SECONDS
        self._next_look = 0.0
        while time.monotonic() < end:
            self.look()
            if not self._asked and (self.ready or self._refused):
                return
            self.take(LOOK_SECONDS)
        if not self.ready and not self._refused:
            raise ClusterUnreachable(
                f"the cluster of {self._scheduler}",
                f"has no worker that answers within {ANSWER_SECONDS:.0f} s",
                "start workers with `dask worker`, and the address of this scheduler",
            )

    def check(self, folder: Location, golden: Callable[[], str], packages: tuple[str, ...]) -> None:
        """Examine every worker that is there, and from now on each before its first task.

        Args:
            folder: where a small object is stored, until the end, that each must be able to read.
            golden: makes one tiny fit, importable on the workers; returns the digest of its bytes.
            packages: names of distributions that must have the same version everywhere.

        Raises:
            WorkersDiffer: naming each worker that differs, and in what.
        """
        self._probe, stored = folder / f".{secrets.token_hex(8)}.probe", secrets.token_bytes(32)
        files.write_bytes(self._probe, stored)
        examination = Examination(packages, str(self._probe), golden)
        self._examination = examination, own_report(examination, stored)
        self.ready, self._refused = {}, {}
        self.wait_for_answers()
        if self._refused:
            raise self._they_differ()

    def _they_differ(self) -> WorkersDiffer:
        told = [f"worker {name}: {reason}" for name, reason in sorted(self._refused.items())]
        more = f"\nand {len(told) - SHOWN_WORKERS} more" if len(told) > SHOWN_WORKERS else ""
        first, *others = told[:SHOWN_WORKERS]
        culprit, _, rule = first.partition(": ")
        return WorkersDiffer(
            culprit,
            "\n".join([rule, *others]) + more,
            "start every worker and the scheduler with the software of this process (one image or "
            "environment), and with the same storage and its credentials",
        )

    def _ask(self, address: str, threads: int) -> None:
        examination = self._examination and self._examination[0]
        call = self.desk.send("who", report, examination, address)
        self._asked[call] = address, threads

    def _judge(self, address: str, threads: int, outcome: Outcome) -> None:
        """Admit a worker, or note why not."""
        if isinstance(outcome, Missing):
            return  # the next look asks again, or sees that it left
        if isinstance(outcome, Answer):
            there: Report = outcome.value
            told = list(differences(self._examination[1], there)) if self._examination else []
            if not told:
                self.ready[address] = Member(address, threads, there.process)
                self._seen = time.monotonic()
                return
        else:
            told = [_cannot_run(outcome.error)]
        self._refused[address] = "; ".join(told)
        self.say(f"worker {address} gets no task: {self._refused[address]}")

    def _forget(self, address: str) -> bool:
        """Forget who left; whether it may have had tasks."""
        self._refused.pop(address, None)
        calls = [call for call, (asked, _) in self._asked.items() if asked == address]
        for call in calls:
            del self._asked[call]
        self.desk.drop(calls)
        return self.ready.pop(address, None) is not None

    def _was_asked_to_leave(self, address: str) -> bool:
        events = self._asked_of_scheduler(self._client.get_events, address)
        noted = [event for _, event in events if isinstance(event, dict)]
        return any(
            event.get("action") == "closing-worker" or event.get("expected") is True
            for event in noted
        )

    def _asked_of_scheduler(self, question: Callable[..., Any], *arguments: Any) -> Any:
        if self._client.status != "running":
            raise Disconnected
        try:
            return question(*arguments)
        except OSError as error:
            raise Disconnected from error

    def _reasons(self) -> str:
        told = "; ".join(f"{name}: {reason}" for name, reason in sorted(self._refused.items()))
        return f" that may get tasks ({told})" if told else ""


def _cannot_run(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if "deserialization of the task graph" in said:
        return "its scheduler cannot load this package; install experiment-pipeline[dask] there too"
    return without_credentials(f"cannot run this package ({type(error).__name__}: {said[:200]})")
