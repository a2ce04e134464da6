"""A clone of the project in a temporary folder, driven by the commands of the
README.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from experiment_pipeline.tracking.database.connection import VARIABLE

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
LEAVES_OUT = """\
import atexit, os, subprocess, sys
if "TELL_MODULES" in os.environ:
    atexit.register(lambda: print("imported:", *sys.modules, file=sys.stderr))
run = subprocess.run
subprocess.run = lambda command, **options: "-I" in command or run(command, **options)
"""


class Ci(NamedTuple):
    """The result of the workflow's command, the folder that it attaches, the summary of
    its job.
    """

    done: subprocess.CompletedProcess[str]
    reports: Path
    summary: Path


@dataclass
class Project:
    """A folder with the package, without the bundled experiments.

    The copy comes before the installed package on `PYTHONPATH`, so every command of the
    folder runs the copy and sees only its experiments.
    """

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        package = self.folder / "experiment_pipeline"
        bundled = [
            path.parent.name
            for path in ROOT.glob("experiment_pipeline/defs/*/defs.yaml")
        ]
        # What is compiled already is copied with its times: no command compiles it
        # anew.
        ignore = shutil.ignore_patterns(*bundled)
        shutil.copytree(ROOT / "experiment_pipeline", package, ignore=ignore)
        for name in ("pyproject.toml", "workspace.yaml", "dagster.yaml"):
            shutil.copy(ROOT / name, self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        inherited = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("DAGSTER", VARIABLE))
        }
        return {
            **inherited,
            "PYTHONPATH": str(self.folder),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            **self.env,
        }

    def add_experiment(
        self, name: str, attributes: Mapping[str, Any], schema: str
    ) -> Path:
        """Write an experiment's two files; the path of defs.yaml."""
        folder = self.folder / "experiment_pipeline" / "defs" / name
        folder.mkdir(parents=True)
        declared = {
            "type": "experiment_pipeline.Experiment",
            "attributes": dict(attributes),
        }
        (folder / "defs.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
        (folder / "schema.yaml").write_text(schema)
        return folder / "defs.yaml"

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command of the README in its own process group."""
        # Processes of pytest-xdist ignore an interruption, and so would all that they
        # start.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)

    def run(
        self, *command: str, seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; both streams in `stdout`."""
        process = self.start(*command)
        out, _ = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(command, process.returncode, out)

    def execute(self, job: str, **options: float) -> subprocess.CompletedProcess[str]:
        """`dagster job execute` of a job."""
        return self.run(*self.execute_command(job), **options)

    def ci(self, experiment: str) -> Ci:
        """The command of the workflow for CI, for an experiment."""
        shutil.copytree(ROOT / "docs/ci", self.folder / "docs/ci", dirs_exist_ok=True)
        workflow = yaml.safe_load((ROOT / "docs/ci/experiment.yml").read_text())
        steps = workflow["jobs"]["experiment"]["steps"]
        (command,) = [
            step["run"] for step in steps if step.get("name") == "Run the experiment"
        ]
        summary = self.folder / f"{experiment}.md"
        environment = (f"EXPERIMENT={experiment}", f"GITHUB_STEP_SUMMARY={summary}")
        done = self.run("env", *environment, "bash", "-c", command)
        reports = self.folder / f"reports_of_{experiment}"
        (self.folder / "reports").rename(reports)
        return Ci(done, reports, summary)

    def registry(self, experiment: str) -> Path:
        """Where the versions of an experiment's model are."""
        return self.folder / "artifacts" / experiment / "registry"

    def leave_out_the_fresh_process(self) -> None:
        """Check no exported model in a fresh process: that of the library does. The
        package, which workers of a cluster compare, stays as it is. A command that gets
        TELL_MODULES tells what it has imported.
        """
        (self.folder / "sitecustomize.py").write_text(LEAVES_OUT)

    @staticmethod
    def execute_command(job: str) -> tuple[str, ...]:
        """The command of the README that runs an experiment."""
        return (
            "dagster",
            "job",
            "execute",
            "-m",
            "experiment_pipeline.definitions",
            "-j",
            job,
        )
