"""What a worker must be before it gets a fit: the same software as here, the same bytes, the storage.

Dask compares its own packages, numpy, pandas and Python, and only warns; not lightgbm,
scikit-learn, pyarrow and skops (distributed#7017), any of which changes the bytes of a model. So each
worker is examined before its first fit, those that join later too. In: what is to be compared.
Out: reports, and what is different in them, as sentences.
"""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import experiment_pipeline
from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.stages.search.engines.dask.calls import this_process
from experiment_pipeline.storage.files import read_bytes
from experiment_pipeline.storage.locations import location
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.table.digests import sha256

# Whose version changes what a fit gives, or what is stored of it.
PACKAGES = (
    "lightgbm",
    "scikit-learn",
    "scipy",
    "numpy",
    "pandas",
    "pyarrow",
    "skops",
    "cloudpickle",
)
ABSENT = "not installed"
# What others do not install (`exclude` in pyproject.toml).
_NOT_INSTALLED = ("defs", "definitions.py")


@dataclass(frozen=True)
class Examination:
    """What every worker is asked.

    Attributes:
        packages: names of distributions.
        probe: path or URL of a small object that is stored.
        golden: makes one tiny fit, and returns the digest of its bytes.
    """

    packages: tuple[str, ...]
    probe: str
    golden: Callable[[], str]


@dataclass(frozen=True)
class Software:
    """What decides the bytes of a fit.

    Attributes:
        python: as 3.11.
        machine: the processor's architecture.
        packages: name → version, or `not installed`.
        own_source: digest of this package's source.
    """

    python: str
    machine: str
    packages: dict[str, str]
    own_source: str


@dataclass(frozen=True)
class Report:
    """What a process says of itself.

    Attributes:
        process: which one it is.
        software: what it runs; None: it was not examined.
        probe: digest of the stored object; where it could not be read, why.
        golden: digest of the golden fit's bytes; where it failed, why.
    """

    process: Process
    software: Software | None = None
    probe: str = ""
    golden: str = ""


def report(examination: Examination | None) -> Report:
    """Examine the worker that this runs on; None: it only says which process it is."""
    if examination is None:
        return Report(this_process())
    try:
        probe = sha256(read_bytes(location(examination.probe)))
    except ExperimentPipelineError as error:
        probe = f"{error.culprit}: {error.rule}"
    try:
        golden = examination.golden()
    except Exception as error:  # noqa: BLE001 - whatever a library raises is told, with the worker
        golden = f"{type(error).__name__}: {error}"
    return Report(this_process(), software(examination.packages), probe, golden)


def own_report(examination: Examination, stored: bytes) -> Report:
    """What the step says of itself, which wrote the small object; its failures are raised."""
    own = software(examination.packages)
    return Report(this_process(), own, sha256(stored), examination.golden())


@cache
def software(packages: tuple[str, ...]) -> Software:
    """What this process runs."""
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {name: _version(name) for name in packages}
    return Software(python, platform.machine(), versions, own_source_digest())


def own_source_digest() -> str:
    """Digest of every source file of this package, as it is installed elsewhere too."""
    root = Path(experiment_pipeline.__file__).parent
    files = [path.relative_to(root) for path in sorted(root.rglob("*.py"))]
    installed = [path for path in files if path.parts[0] not in _NOT_INSTALLED]
    parts = [f"{path.as_posix()} {sha256((root / path).read_bytes())}" for path in installed]
    return sha256("\n".join(parts).encode())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ABSENT


def differences(here: Report, there: Report) -> Iterator[str]:
    """What a worker has otherwise than the step, each as the end of a sentence."""
    if there.probe != here.probe:
        yield f"cannot read the storage ({there.probe})"
    if here.software is None or there.software is None:
        return
    yield from _other_software(here.software, there.software)
    # Where the software differs, other bytes are no news.
    if there.software == here.software and there.golden != here.golden:
        yield f"gives other bytes for the same small fit ({there.golden[:80]})"


def _other_software(here: Software, there: Software) -> Iterator[str]:
    for name, version in here.packages.items():
        if (other := there.packages.get(name, ABSENT)) != version:
            yield f"{name} {other}, here {version}"
    for field, said in (
        ("python", "Python {}, here {}"),
        ("machine", "a processor {}, here {}"),
        ("own_source", "another source of experiment-pipeline ({:.8}…, here {:.8}…)"),
    ):
        one, other = getattr(here, field), getattr(there, field)
        if one != other:
            yield said.format(other, one)
