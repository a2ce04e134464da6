"""A cluster that is this process: what crosses to a worker and back is pickled, as it
would be.
"""

import pickle
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upath import UPath

from experiment_pipeline.stages.search.dask_cluster import Done
from experiment_pipeline.stages.search.dask_engine import ClusterEngine
from experiment_pipeline.storage.entries import SharedFiles, SharedFolder

HERE = "tcp://here:1"


@dataclass
class StandIn:
    """Does the last task first: which result comes first decides nothing.

    `deadly`: configurations that kill their workers; `differs`: what its worker has
    otherwise;
    `lists`: the names of the tasks of each call; `sizes`: the bytes of each task.
    """

    deadly: frozenset[str] = frozenset()
    lists: list[list[str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    differs: Mapping[str, str] = field(default_factory=dict)

    def places(self) -> int:
        return 2

    def ask(
        self, function: Callable[..., dict[str, str]], *arguments: Any
    ) -> dict[str, Any]:
        return {HERE: function(*arguments) | self.differs}

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
                yield Done(name, None, "2 workers died", HERE, 2, 0.0)
            else:
                back = pickle.dumps(function(pickle.loads(sent)))
                yield Done(name, pickle.loads(back), None, HERE, 1, 0.25)


def shared_in(
    folder: Path | UPath, warn: Callable[[str], object] = print
) -> SharedFiles:
    """What a search shares, below a folder."""
    return SharedFiles(SharedFolder(str(folder), "e"), warn)


def workers(folder: Path | UPath, cluster: StandIn | None = None) -> ClusterEngine:
    """An engine on such a cluster, whose shared files lie in a folder."""

    @contextmanager
    def connect() -> Iterator[StandIn]:
        yield cluster or StandIn()

    return ClusterEngine(connect, shared_in(folder))


def files(folder: Path) -> dict[str, int]:
    """Path → when it was written, of the shared files."""
    place = folder / "e" / "shared"
    return {
        str(path): path.stat().st_mtime_ns
        for path in place.rglob("*")
        if path.is_file()
    }
