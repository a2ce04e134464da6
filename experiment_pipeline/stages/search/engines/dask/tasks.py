"""Many tasks on the workers: handed out in order, tried again where a worker died, yielded as done.

Dask by itself runs the tasks of a dead worker again wherever it likes, so that one that kills its
worker takes several down before it is given up (`allowed-failures`, 3), with whatever else was on
them. Here each task is bound to one worker, a few at a time, and the driver keeps the accounts: what
was on a worker when it died is tried once more, alone on a worker; what kills that one too is lost,
and costs no third. Who was merely beside it comes through. In: a function, an argument per key.
Out: what each returned, or why it could not be done. Arrival decides the order of the results, and
nothing else.
"""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.stages.search.engines.dask.calls import (
    Disconnected,
    Missing,
    Outcome,
    Raised,
)
from experiment_pipeline.stages.search.engines.dask.workers import (
    LOOK_SECONDS,
    Departure,
    Member,
    Workers,
)
from experiment_pipeline.storage.locations import Location

# Shorter runs than this lose a share of their time to the way there and back (20 ms): a worker then
# has the next ones waiting.
SHORT_SECONDS = 0.5
# How many of the last runs say how long the next ones may be.
REMEMBERED = 20
# A task whose workers were told to leave so often in the midst of it may be why they leave.
MOST_MOVES = 4


@dataclass(frozen=True)
class Done:
    """A task that ended.

    Attributes:
        key: its name.
        value: what the function returned; None where it is lost.
        lost: why it could not be done; None: it was.
        worker: the address of the worker that did it, or that it killed last.
        attempts: how often it was sent to a worker.
        queue_seconds: what its last attempt took beyond its run: on the way, and waiting there.
        run_seconds: of its last attempt, on the worker's clock; 0 where it is lost.
    """

    key: str
    value: Any | None
    lost: str | None
    worker: str
    attempts: int
    queue_seconds: float
    run_seconds: float


@dataclass(frozen=True)
class _Flight:
    """An attempt that is on its way."""

    key: str
    member: Member
    alone: bool
    since: float


class Cluster:
    """Workers that run functions; `connected` makes one."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        with workers.none_is_lost():
            workers.wait_for_answers()

    def places(self) -> int:
        """How many tasks run at a time: the threads of all workers that are there now."""
        return sum(member.threads for member in self._workers.ready.values())

    def check(self, folder: Location, golden: Callable[[], str], packages: tuple[str, ...]) -> None:
        """Examine every worker that is there, and from now on each before its first task.

        Same versions, architecture and source of this package, the same bytes for one tiny fit, and
        a small object that is stored here can be read there. A worker that joins later and differs
        gets no task, and is told of.

        Args:
            folder: where the small object is stored until the connection ends.
            golden: makes the fit, and returns a digest of its bytes; importable on the workers.
            packages: names of distributions whose version must be the same.

        Raises:
            WorkersDiffer: naming each worker, and what differs.
            ClusterLost: the scheduler went away meanwhile.
        """
        with self._workers.none_is_lost():
            self._workers.check(folder, golden, packages)

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Mapping[str, Any],
        *,
        may_start: Callable[[str], bool],
    ) -> Generator[Done, None, None]:
        """Do each task on some worker, and yield it when it is done.

        Args:
            function: what runs on a worker, on the argument of one task. What it raises is raised
                here and ends the others: it returns what is a result.
            tasks: key → argument, handed out in this order, few more than `places()` at a time.
            may_start: asked before a task is handed out; where it says no, the task is left out.

        Closing the generator cancels what waits, and ends what runs at its next line of Python.

        Raises:
            ClusterLost: the scheduler or every worker went away and did not come back in time.
        """
        return _Course(self._workers, function, tasks, may_start).run()


class _Course:
    """The tasks of one `run`: which wait, which are on their way, how often each was tried."""

    def __init__(
        self,
        workers: Workers,
        function: Callable[[Any], Any],
        tasks: Mapping[str, Any],
        may_start: Callable[[str], bool],
    ) -> None:
        self._workers, self._tasks = workers, tasks
        self._function, self._may_start = function, may_start
        self._places = {key: place for place, key in enumerate(tasks)}
        self._waiting, self._suspects = deque(tasks), deque[str]()
        self._flights: dict[str, _Flight] = {}
        self._attempts = Counter[str]()
        # Key → the workers that died while it was on them.
        self._deaths = defaultdict[str, list[str]](list)
        self._runs = deque[float](maxlen=REMEMBERED)

    def run(self) -> Generator[Done, None, None]:
        """Hand out, and yield what ends."""
        try:
            while self._is_open():
                try:
                    yield from self._step()
                except Disconnected:
                    self._start_over()
        finally:
            workers = {flight.member.address for flight in self._flights.values()}
            self._workers.desk.stop(list(self._flights), workers)

    def _step(self) -> Generator[Done, None, None]:
        # What has arrived counts before its worker is found dead.
        self._hand_out()
        taken = self._workers.take(LOOK_SECONDS if self._is_open() else 0.0)
        while taken is not None:
            yield from self._landed(*taken)
            self._hand_out()
            taken = self._workers.take(0.0)
        for departure in self._workers.look():
            yield from self._left(departure)

    def _is_open(self) -> bool:
        return bool(self._waiting or self._suspects or self._flights)

    def _hand_out(self) -> None:
        apart = self._try_suspects()
        while self._waiting and (member := self._freest(apart)) is not None:
            key = self._waiting.popleft()
            # What was begun is brought to its end, whatever the brake says by now.
            if self._attempts[key] or self._may_start(key):
                self._send(key, member)

    def _try_suspects(self) -> set[str]:
        """Send those that may have killed a worker each to one that is empty.

        Returns:
            Addresses that get nothing else: a suspect is there, or is to come when they are empty.
            Half of the workers at the most, so that the others go on.
        """
        apart = {flight.member.address for flight in self._flights.values() if flight.alone}
        load = self._load()
        ready = [m for name, m in self._workers.ready.items() if name not in apart]
        most = max(1, len(self._workers.ready) // 2)
        for member in sorted(ready, key=lambda one: load[one.address]):
            if not self._suspects or len(apart) >= most:
                break
            apart.add(member.address)
            if not load[member.address]:
                self._send(self._suspects.popleft(), member, alone=True)
        return apart

    def _freest(self, apart: set[str]) -> Member | None:
        load, ahead = self._load(), 2 if self._are_short() else 1
        free = {
            name: ahead * member.threads - load[name]
            for name, member in self._workers.ready.items()
            if name not in apart
        }
        best = max(free, key=free.__getitem__, default=None)
        return self._workers.ready[best] if best is not None and free[best] > 0 else None

    def _are_short(self) -> bool:
        return bool(self._runs) and sum(self._runs) / len(self._runs) < SHORT_SECONDS

    def _load(self) -> Counter[str]:
        return Counter(flight.member.address for flight in self._flights.values())

    def _send(self, key: str, member: Member, *, alone: bool = False) -> None:
        flight = _Flight(key, member, alone, time.monotonic())
        call = self._workers.desk.send(
            key, self._function, self._tasks[key], member.address, member.process
        )
        self._attempts[key] += 1
        self._flights[call] = flight

    def _landed(self, call: str, outcome: Outcome) -> Generator[Done, None, None]:
        flight = self._flights.get(call)
        if flight is None:
            return
        if isinstance(outcome, Raised):
            raise outcome.error
        if isinstance(outcome, Missing):
            if outcome.because_of == "scheduler":
                raise Disconnected
            yield from self._blamed([self._flights.pop(call)])
        elif not outcome.begun:
            # The flight stays: what was on the process that is gone is judged together.
            self._workers.replaced(flight.member.address)
        else:
            del self._flights[call]
            self._runs.append(outcome.run_seconds)
            ran, took = outcome.run_seconds, time.monotonic() - flight.since
            where = flight.member.address, self._attempts[flight.key]
            yield Done(flight.key, outcome.value, None, *where, max(took - ran, 0.0), ran)

    def _left(self, departure: Departure) -> Generator[Done, None, None]:
        calls = [
            call
            for call, flight in self._flights.items()
            if flight.member.address == departure.address
        ]
        self._workers.desk.drop(calls)
        flights = [self._flights.pop(call) for call in calls]
        self._workers.say(
            f"worker {departure.address} {'left' if departure.asked else 'died'}, with "
            f"{len(flights)} of the tasks on it; they are tried elsewhere"
        )
        moved = [f for f in flights if departure.asked and self._attempts[f.key] <= MOST_MOVES]
        self._wait_again(flight.key for flight in moved)
        yield from self._blamed([flight for flight in flights if flight not in moved])

    def _blamed(self, flights: Iterable[_Flight]) -> Generator[Done, None, None]:
        """Try once more alone what was on a worker that died; twice is lost."""
        for flight in flights:
            deaths = self._deaths[flight.key]
            deaths.append(flight.member.address)
            if len(deaths) == 1:
                self._suspects.append(flight.key)
                continue
            lost = (
                f"killed its worker twice: it was on {deaths[0]} when that died, and alone on "
                f"{deaths[1]}; often the memory of a worker is too small"
            )
            where = flight.member.address, self._attempts[flight.key]
            yield Done(flight.key, None, lost, *where, 0.0, 0.0)

    def _start_over(self) -> None:
        """Find the scheduler again; every worker it had is gone, and none is to blame."""
        self._wait_again(flight.key for flight in self._flights.values())
        self._flights = {}
        self._workers.reconnect()

    def _wait_again(self, keys: Iterable[str]) -> None:
        """Put tasks that were begun before those that were not, in the order given.

        Who is under suspicion stays so, or it would be blamed for what others do beside it.
        """
        for key in sorted(keys, key=self._places.__getitem__, reverse=True):
            (self._suspects if self._deaths[key] else self._waiting).appendleft(key)
