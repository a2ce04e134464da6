"""The accounts of attempts, on workers that are made up; and how a call is performed and stopped."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import cloudpickle
from hypothesis import given
from hypothesis import strategies as st

from experiment_pipeline.stages.search.engines.dask.calls import (
    Answer,
    Disconnected,
    Outcome,
    perform,
    stop,
    this_process,
)
from experiment_pipeline.stages.search.engines.dask.tasks import Cluster, Done
from experiment_pipeline.stages.search.engines.dask.workers import Departure, Member
from experiment_pipeline.storage.processes import Process

STRANGER = Process("elsewhere", 1, "")


class Simulated:
    """Workers whose tasks end in any order, die of some, leave, and forget all now and then."""

    def __init__(self, threads: list[int], killers: set[str], chance: random.Random) -> None:
        self.threads, self.killers, self.chance = threads, killers, chance
        self.desk, self.ready = self, dict[str, Member]()
        self.on = dict[str, list[tuple[str, str]]]()
        self.left, self.names = list[Departure](), 0
        self.kills, self.company, self.fullest = Counter[str](), dict[str, int](), 0.0
        self.was_lost = False
        self.join()

    def join(self) -> None:
        for threads in self.threads[len(self.ready) :]:
            self.names += 1
            self.ready[f"w{self.names}"] = Member(f"w{self.names}", threads, this_process())
            self.on[f"w{self.names}"] = []

    def leave(self, address: str, *, asked: bool) -> None:
        del self.ready[address], self.on[address]
        self.left.append(Departure(address, asked))

    def send(self, label: str, function: object, argument: str, worker: str, meant: object) -> str:
        call = f"{label}/{self.chance.random()}"
        self.on[worker].append((call, argument))
        self.fullest = max(self.fullest, len(self.on[worker]) / self.ready[worker].threads)
        return call

    def take(self, seconds: float) -> tuple[str, Outcome] | None:
        busy = [address for address, calls in self.on.items() if calls]
        if not busy or self.chance.random() < 0.2:
            return None
        address = self.chance.choice(busy)
        running = self.on[address][: self.ready[address].threads]
        call, key = self.chance.choice(running)
        if key in self.killers:
            self.kills[key] += 1
            self.company[key] = len(self.on[address])
            self.leave(address, asked=False)
            return None
        self.on[address].remove((call, key))
        return call, Answer(key.upper(), self.chance.choice([0.01, 2.0]))

    def look(self) -> list[Departure]:
        if self.chance.random() < 0.05:
            raise Disconnected
        if len(self.ready) > 1 and self.chance.random() < 0.05:
            self.leave(self.chance.choice(list(self.ready)), asked=True)
        left, self.left = self.left, []
        self.join()
        return left

    def reconnect(self) -> None:
        self.was_lost = True
        self.ready, self.on, self.left = {}, {}, []
        self.join()

    def drop(self, calls: object) -> None: ...
    def stop(self, calls: object, workers: object) -> None: ...
    def say(self, sentence: str) -> None: ...
    def wait_for_answers(self) -> None: ...
    def none_is_lost(self) -> Any:
        return threading.Lock()


def run(simulated: Simulated, keys: list[str], may: Callable[[str], bool]) -> list[Done]:
    """Do all tasks on made-up workers."""
    cluster = Cluster(simulated)  # type: ignore[arg-type]
    return list(cluster.run(str, {key: key for key in keys}, may_start=may))


@given(
    seed=st.integers(0, 2**32),
    threads=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    n_tasks=st.integers(0, 15),
    deadly=st.sets(st.integers(0, 14), max_size=3),
)
def test_who_kills_is_lost_and_nobody_else(
    seed: int, threads: list[int], n_tasks: int, deadly: set[int]
) -> None:
    """Each task ends once; a killer costs two workers at the most, the last while it is alone."""
    keys = [f"t{number}" for number in range(n_tasks)]
    killers = {f"t{number}" for number in deadly if number < n_tasks}
    simulated = Simulated(threads, killers, random.Random(seed))
    done = run(simulated, keys, lambda _: True)
    assert sorted(one.key for one in done) == sorted(keys)
    assert {one.key for one in done if one.lost} == killers
    assert {one.key: one.value for one in done if not one.lost} == {
        key: key.upper() for key in keys if key not in killers
    }
    assert all(one.attempts >= 1 + bool(one.lost) for one in done)
    assert simulated.fullest <= 2
    # Of a worker that died just before the scheduler was lost nothing is known.
    assert simulated.was_lost or max(simulated.kills.values(), default=0) <= 2
    assert {key: simulated.company[key] for key in killers} == dict.fromkeys(killers, 1)


@given(seed=st.integers(0, 2**32), refused=st.sets(st.integers(0, 9)))
def test_what_may_not_start_is_left_out(seed: int, refused: set[int]) -> None:
    """It is asked of each once, in the order given, and of none that was begun."""
    asked = list[str]()

    def may(key: str) -> bool:
        asked.append(key)
        return int(key[1:]) not in refused

    keys = [f"t{number}" for number in range(10)]
    done = run(Simulated([2, 1], set(), random.Random(seed)), keys, may)
    assert asked == keys
    assert {one.key for one in done} == {f"t{n}" for n in range(10) if n not in refused}


def test_a_call_for_another_process_does_not_begin() -> None:
    """Its answer says so; the one that is meant returns the value."""
    payload = cloudpickle.dumps((str.upper, "a"))
    assert perform("a", STRANGER, payload) == Answer(None, 0.0, begun=False)
    assert perform("a", this_process(), payload).value == "A"
    assert perform("a", None, payload).begun


def test_a_call_is_stopped_at_its_next_line() -> None:
    """It says that there is no value; others of the process go on, and so does its thread."""
    answers = list[Answer]()

    def sleep(seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
        return "woke"

    def work() -> None:
        for call, seconds in (("long", 60.0), ("short", 0.1)):
            answers.append(perform(call, None, cloudpickle.dumps((sleep, seconds))))

    thread = threading.Thread(target=work)
    thread.start()
    while len(answers) < 1:
        stop(["long", "unknown"])
        time.sleep(0.02)
    thread.join()
    assert [(one.value, one.begun) for one in answers] == [(None, False), ("woke", True)]
