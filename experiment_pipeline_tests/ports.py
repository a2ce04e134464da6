"""The servers that tests start: ports of loopback, and waiting until they answer."""

import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

SECONDS_TO_START = 60


def free_ports(count: int) -> list[int]:
    """So many different ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def free_port() -> int:
    """A port that nobody listens on now."""
    return free_ports(1)[0]


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
