"""A Dask scheduler and workers as processes of their own, on loopback, to be killed at
will.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from experiment_pipeline_tests.ports import free_port, wait_for

PROJECT = Path(__file__).parents[4]
SETTINGS = {
    "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    # As docs/cluster/dask.yaml: else each process takes 3 % of a core to look at
    # itself.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
}


class DaskProcesses:
    """Processes of one cluster, which end with its block; `tls`: options that name
    certificates.
    """

    def __init__(self, folder: Path, tls: Sequence[str] = ()) -> None:
        self.folder, self.port, self._tls = folder, free_port(), list(tls)
        self._protocol = "tls" if tls else "tcp"
        self.address = f"{self._protocol}://127.0.0.1:{self.port}"
        self.started: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler, and wait until it listens."""
        scheduler = self._start(
            "scheduler", ["--port", str(self.port), "--no-show"], {}
        )

        def listens() -> bool:
            with socket.socket() as asking:
                return asking.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for(scheduler, listens, self.folder / "scheduler.log")
        return scheduler

    def start_worker(
        self, *, threads: int = 1, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker without a nanny: what is killed stays away."""
        options = [
            self.address,
            "--nthreads",
            str(threads),
            "--no-nanny",
            "--memory-limit",
            "0",
        ]
        options += [
            "--death-timeout",
            "60",
            "--local-directory",
            str(self.folder / "dask"),
        ]
        return self._start("worker", options, environment or {})

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, and what it started, with kill -9."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            self.end(process)

    def _start(
        self, role: str, options: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        place = ["--host", "127.0.0.1", "--protocol", self._protocol, "--no-dashboard"]
        module = ["-m", f"distributed.cli.dask_{role}"]
        with (self.folder / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *module, *options, *place, *self._tls],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                start_new_session=True,
                env={**os.environ, **SETTINGS, **environment},
            )
        self.started.append(process)
        return process
