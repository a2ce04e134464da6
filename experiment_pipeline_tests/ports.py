"""The servers that tests start: ports of loopback, and waiting until they answer."""

import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

SECONDS_TO_START = 120


# Below the ports that a kernel gives to outgoing connections, each worker of pytest has
# a thousand of its own: nobody takes one between the moment in which it is free and the
# server's start.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw10").removeprefix("gw")) % 11
_THOUSAND = range(20_000 + 1_000 * _WORKER, 21_000 + 1_000 * _WORKER)
_PORTS = itertools.islice(
    itertools.cycle(_THOUSAND), secrets.randbelow(len(_THOUSAND)), None
)


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """So many different ports that nobody listens on now."""
    return list(itertools.islice(filter(_is_free, _PORTS), count))


def free_port() -> int:
    """A port that nobody listens on now."""
    return free_ports(1)[0]


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class Server(ABC):
    """A server in a temporary folder, which is removed with it; pickled, it can be used
    elsewhere.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="experiment_pipeline_server_"))
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> Self:
        """Start the server and wait until it answers."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once, as a crash would; what was committed is there again after
        `start`.
        """

    def remove(self) -> None:
        """End the server, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_process": None}


def wait_for(
    server: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path
) -> None:
    """Return when a server answers; RuntimeError with the end of its log when it never
    does.
    """
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        if answers():
            return
        time.sleep(0.05)
    server.kill()
    raise RuntimeError(
        f"no answer of {server.args}: {log.read_text(errors='replace')[-2000:]}"
    )


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Return when a condition holds; AssertionError when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
