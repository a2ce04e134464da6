"""A Dask scheduler and workers as processes of their own, on loopback, to be killed at will.

    with DaskProcesses(folder) as dask:
        dask.start_scheduler()
        worker = dask.start_worker()
        dask.kill(worker)

Everything that was started ends with the block, also what Dask started in turn.
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

PROJECT = Path(__file__).parents[2]
QUIET = {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning"}


class DaskProcesses:
    """Processes of one cluster, whose addresses stay the same when its scheduler starts again."""

    def __init__(self, folder: Path, tls: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self._tls = list(tls)
        self._protocol = "tls" if tls else "tcp"
        self.address = f"{self._protocol}://127.0.0.1:{self.port}"
        self.started: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler, and wait until it listens."""
        scheduler = self._start("scheduler", ["--port", str(self.port), "--no-show"], {})
        wait_for(scheduler, self._listens, self._log("scheduler"))
        return scheduler

    def _listens(self) -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0

    def start_worker(
        self,
        *,
        threads: int = 1,
        nanny: bool = False,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a worker; without a nanny, what is killed stays away.

        A nanny is what `dask worker` has by default: it starts a worker again that died, and takes
        leave of the scheduler when it is told to end.
        """
        options = [self.address, "--nthreads", str(threads), "--nanny" if nanny else "--no-nanny"]
        options += ["--memory-limit", "0", "--death-timeout", "60", "--worker-port", str(port)]
        options += ["--local-directory", str(self.folder / "dask")]
        return self._start("worker", options, environment or {})

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process with kill -9."""
        process.kill()
        process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(
        self, what: str, options: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        place = ["--host", "127.0.0.1", "--protocol", self._protocol, "--no-dashboard"]
        with self._log(what).open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"distributed.cli.dask_{what}",
                    *options,
                    *place,
                    *self._tls,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                start_new_session=True,
                env={**os.environ, **QUIET, **environment},
            )
        self.started.append(process)
        return process

    def _log(self, what: str) -> Path:
        return self.folder / f"{what}.log"
