"""The tools, how each is started, and the memory of what they did.

A rival runs in an environment that uv makes of what its script names; ours in this one.
A run is remembered by all that decides it, so that a bench which was stopped goes on,
and one that is repeated runs what has changed. In: jobs. Out: `Done`.
"""

import ast
import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from experiment_pipeline_tests.bench.automl.jobs import Job
from experiment_pipeline_tests.bench.automl.runners.contract import CORES

RUNNERS = Path(__file__).parent / "runners"
TREE = Path(__file__).parents[3]
OURS = "ours"
# So long a tool may take beyond its seconds before it is ended.
PATIENCE = 4.0, 240.0
_WORDS_OF_AN_ERROR = 300
# A line of JSON for each run.
_DONE = "done.jsonl"


@dataclass(frozen=True)
class Tool:
    """One way to spend the seconds."""

    name: str  # as the page shows it
    script: str  # of `runners/`
    arguments: tuple[str, ...] = ()  # of the script

    @property
    def is_ours(self) -> bool:
        """Whether it runs on this source tree."""
        return self.script == "run_ours.py"


TOOLS = (
    Tool(OURS, "run_ours.py"),
    Tool("AutoGluon, medium", "run_autogluon.py", ("medium_quality",)),
    Tool("AutoGluon, good", "run_autogluon.py", ("good_quality",)),
    Tool("AutoGluon, best", "run_autogluon.py", ("best_quality",)),
    Tool("mljar, Compete", "run_mljar.py"),
    Tool("FLAML", "run_flaml.py"),
    Tool("Optuna + LightGBM", "run_lightgbm.py"),
)


@dataclass(frozen=True)
class Done:
    """One tool on one table by one seed."""

    tool: str  # its name
    identity: str  # digest of what it is: script, pinned packages, source tree
    table: str
    seed: int  # of the cut
    rows: str  # digest of the cut table
    seconds: float  # that it was given
    failure: str | None = None  # why there is no score; None: there is one
    score: float = float("nan")  # on the validation rows
    start_seconds: float = float("nan")  # interpreter and imports
    fit_seconds: float = float("nan")  # from the typed tables to the stored model
    cpu_seconds: float = float("nan")  # of its processes up to there
    predict_seconds_per_1000: float = float(
        "nan"
    )  # of the loaded model, for 1,000 rows
    model_bytes: float = float("nan")  # of the stored model
    claimed: float = float("nan")  # the score that the tool itself expects
    low: float = float("nan")  # bounds of that, where it tells them
    high: float = float("nan")
    said: str = ""  # by the tool about itself

    @property
    def key(self) -> tuple[object, ...]:
        """All that decides it."""
        return self.tool, self.identity, self.table, self.seed, self.rows, self.seconds


def remembered(folder: Path) -> dict[tuple[object, ...], Done]:
    """What has been done, by all that decides it; failures too, which a new script or
    tree tries again.
    """
    file = folder / _DONE
    lines = file.read_text().splitlines() if file.exists() else []
    return {one.key: one for one in (Done(**json.loads(line)) for line in lines)}


def identity(tool: Tool) -> str:
    """Digest of what a tool is; comments in its script change nothing."""
    found = hashlib.sha256(json.dumps([tool.arguments, CORES]).encode())
    for script in (tool.script, "contract.py"):
        code = ast.dump(ast.parse((RUNNERS / script).read_text()))
        found.update((_pins(script) + code).encode())
    if tool.is_ours:
        found.update(_package_digest().encode())
    return found.hexdigest()[:16]


@functools.cache
def _package_digest() -> str:
    found = hashlib.sha256()
    for file in sorted((TREE / "experiment_pipeline").rglob("*.py")):
        found.update(str(file.relative_to(TREE)).encode())
        found.update(file.read_bytes())
    return found.hexdigest()


def perform(
    tool: Tool, job: Job, seconds: float, folder: Path, *, run: bool = True
) -> Done | None:
    """Let a tool do a job, or remember that it has; None: it has not, and is not to be
    run.
    """
    asked = Done(
        tool.name, identity(tool), job.table.name, job.seed, job.digest, seconds
    )
    done = remembered(folder).get(asked.key)
    if done is None and run:
        done = _run(tool, job, asked)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _DONE).open("a") as file:
            file.write(json.dumps(asdict(done)) + "\n")
    return done


def packages(tools: Sequence[Tool]) -> list[str]:
    """The packages that the scripts of tools pin, with their versions."""
    scripts = sorted({tool.script for tool in tools})
    found = (re.findall(r'"([^"]+==[^"]+)"', _pins(script)) for script in scripts)
    return sorted({one for names in found for one in names})


def _pins(script: str) -> str:
    """The comment at the top of a script, which uv reads."""
    lines = (RUNNERS / script).read_text().splitlines()
    return "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))


def _run(tool: Tool, job: Job, asked: Done) -> Done:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) / "job"
        try:
            command = [
                python_of(tool.script),
                RUNNERS / tool.script,
                place,
                *tool.arguments,
            ]
            environment = {"PYTHONPATH": str(TREE)} if tool.is_ours else {}
            job.write(place, asked.seconds)
            _call(command, temporary, environment, asked.seconds)
            found = json.loads((place / "result.json").read_text())
            score = job.score(np.load(place / "predictions.npy"), found.pop("classes"))
        except (OSError, ValueError, subprocess.SubprocessError, RuntimeError) as error:
            return replace(asked, failure=str(error)[-_WORDS_OF_AN_ERROR:])
        return replace(asked, score=score, **found)


def _call(
    command: Sequence[object],
    folder: str,
    environment: Mapping[str, str],
    seconds: float,
) -> None:
    factor, more = PATIENCE
    quiet = {"PYTHONWARNINGS": "ignore", "MPLBACKEND": "agg", **environment}
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **quiet},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_on_its_cores,  # noqa: PLW1509 - nothing else runs here
    ) as process:
        try:
            _, errors = process.communicate(timeout=factor * seconds + more)
        finally:
            # Workers that a tool has left would take the next one's cores.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        last = errors.strip().splitlines() or [f"ended with {process.returncode}"]
        raise RuntimeError(last[-1])


def _on_its_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


@functools.cache
def python_of(script: str) -> str:
    """Return the interpreter of a script; its environment is made when there
    is none.
    """
    if not _pins(script):
        return sys.executable
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv") or "uv"
    # pip's own folder of wheels, where there is one, for uv too.
    links = os.environ.get("PIP_FIND_LINKS")
    environment = {**os.environ, **({"UV_FIND_LINKS": links} if links else {})}
    environment.pop("VIRTUAL_ENV", None)

    def called(*arguments: str) -> str:
        command = [uv, *arguments, "--script", str(RUNNERS / script)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"no environment for {script}: {done.stderr.strip()}")
        return done.stdout.strip()

    called("sync", "--quiet", "--python", sys.executable)
    return called("python", "find")
