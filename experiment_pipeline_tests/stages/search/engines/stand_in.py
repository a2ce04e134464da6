"""A cluster that is this process: what crosses to a worker and back is pickled, as it would be."""

import pickle
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upath import UPath

from experiment_pipeline.stages.search.engines.dask import Done
from experiment_pipeline.stages.search.engines.on_cluster import OnCluster
from experiment_pipeline.storage.shared import Place, SharedFiles

HERE = "tcp://here:1"


@dataclass
class StandIn:
    """Does the last task first: which result comes first decides nothing.

    Attributes:
        places_now: what it says of its workers.
        deadly: keys of configurations that kill their workers.
        lists: names of the tasks of each call.
        sizes: bytes of each task.
        checked: digest of the golden fit and packages, of each examination.
    """

    places_now: int = 2
    deadly: frozenset[str] = frozenset()
    lists: list[list[str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    checked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def places(self) -> int:
        return self.places_now

    def check(self, folder: object, golden: Callable[[], str], packages: tuple[str, ...]) -> None:
        self.checked.append((golden(), packages))

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
                yield Done(name, None, "killed its worker", HERE, 2, 0.25, 0.0)
            else:
                back = pickle.dumps(function(pickle.loads(sent)))
                yield Done(name, pickle.loads(back), None, HERE, 1, 0.25, 0.5)


def workers(folder: Path | UPath, cluster: StandIn | None = None) -> OnCluster:
    """An engine on such a cluster, whose shared files lie in a folder."""

    @contextmanager
    def connect() -> Iterator[StandIn]:
        yield cluster or StandIn()

    said = list[str]()
    return OnCluster(connect, SharedFiles(Place(str(folder), "e"), said.append, said.append))


def files(folder: Path) -> dict[str, int]:
    """Path → when it was written, of the shared files."""
    place = folder / "e" / "shared"
    return {str(path): path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
