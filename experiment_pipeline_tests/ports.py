"""The servers that tests start: ports of loopback, and waiting until they answer."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

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


def wait_for(server: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    """Return when a server answers; RuntimeError with the end of its log when it never does."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        if answers():
            return
        time.sleep(0.05)
    server.kill()
    raise RuntimeError(f"no answer of {server.args}: {log.read_text(errors='replace')[-2000:]}")


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Return when a condition holds; AssertionError when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
