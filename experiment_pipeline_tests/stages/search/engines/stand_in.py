"""A cluster that is this process: what crosses to a worker and back is pickled, as it would be."""

import pickle
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiment_pipeline.stages.search.engines.shared_files import Place
from experiment_pipeline.stages.search.engines.workers import Workers


@dataclass(frozen=True)
class Done:
    """As of `cluster`."""

    key: str
    value: Any
    lost: str | None = None
    worker: str = "tcp://here:1"
    attempts: int = 1
    queue_seconds: float = 0.25
    run_seconds: float = 0.5


@dataclass
class StandIn:
    """Does the last task first: which result comes first decides nothing.

    Attributes:
        places_now: what it says of its workers.
        deadly: keys of configurations that kill their workers.
        lists: names of the tasks of each call.
        sizes: bytes of each task.
    """

    places_now: int = 2
    deadly: frozenset[str] = frozenset()
    lists: list[list[str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def places(self) -> int:
        return self.places_now

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Mapping[str, Any],
        *,
        may_start: Callable[[str], bool],
    ) -> Generator[Done, None, None]:
        self.lists.append(list(tasks))
        for name, task in reversed(tasks.items()):
            if not may_start(name):
                continue
            sent = pickle.dumps(task)
            self.sizes.append(len(sent))
            if task.configuration.key in self.deadly:
                yield Done(name, None, lost="killed its worker in 2 attempts", attempts=2)
            else:
                yield Done(name, pickle.loads(pickle.dumps(function(pickle.loads(sent)))))


def workers(folder: Path, cluster: StandIn | None = None) -> Workers:
    """An engine on such a cluster, whose shared files lie in a folder."""

    @contextmanager
    def connect() -> Iterator[StandIn]:
        yield cluster or StandIn()

    said = list[str]()
    return Workers(connect, Place(str(folder), "e"), said.append)


def files(folder: Path) -> dict[str, int]:
    """Path → when it was written, of the shared files."""
    place = folder / "e" / "shared"
    return {str(path): path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
