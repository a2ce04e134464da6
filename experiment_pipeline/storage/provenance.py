"""Provenance of a model: the user's git commit, software versions; and committing a
version to git.

A version becomes a commit on the branch `experiment-pipeline/<experiment>`, which
contains `models/<experiment>/…`, and the tag `<experiment>/<version>`. It is made in a
temporary bare repository and pushed in one atomic step: a user's files and index are
never touched, and git itself decides between concurrent exporters. The branch shares no
history with the user's code.
"""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from experiment_pipeline.errors import ExportError
from experiment_pipeline.storage.files import without_credentials

# The folder of the user's own modules, and what was not committed when they ran.
CODE, PATCH, ENVIRONMENT = "code/", "uncommitted.patch", "environment.txt"
COMMITTED = (
    CODE,
    PATCH,
    "hyperparameters.yaml",
    "metrics.json",
    "README.md",
    "decision_record.md",
    "experiment.yaml",
    "schema.yaml",
    "manifest.json",
    # For `reproduce`:
    ENVIRONMENT,
    "sets.json",
    "expected_predictions.json",
)
SECONDS = 60
# Sequences that a terminal would obey, and other control characters.
_CONTROL = re.compile(
    r"""\x1b \[ [0-?]* [\ -/]* [@-~]
    | \x1b \] [^\x07\x1b]* (?: \x07 | \x1b \\ )
    | [\x00-\x09\x0b-\x1f\x7f-\x9f]""",
    re.VERBOSE,
)
# Set inside git hooks: these variables would direct all commands to the hook's
# repository.
_OF_A_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_QUARANTINE_PATH",
)
_NOBODY = (
    "-c",
    "user.name=experiment-pipeline",
    "-c",
    "user.email=experiment-pipeline@localhost",
)
# Import name → distributions; cached, because it reads a file of each distribution.
owners = cache(metadata.packages_distributions)


@cache
def cpu_kernel() -> str:
    """The CPU kernels in use, such as `Haswell, X86_V3`; on other kernels models differ
    by rounding.
    """
    architectures = (library.get("architecture") for library in threadpool_info())
    blas = sorted({str(name) for name in architectures if name})
    numpy: Any = np.show_config(mode="dicts")
    return ", ".join([*blas, *numpy.get("SIMD Extensions", {}).get("found", ())])


@dataclass(frozen=True)
class CodeProvenance:
    """The code that made a model: git's commit id, and whether files differed; None:
    unknown.
    """

    commit: str | None
    dirty: bool | None

    def in_words(self) -> str:
        """Return the commit and whether files differed, as text."""
        if self.dirty is None:
            return "unknown: not run in a git repository"
        commit = self.commit or "no commit yet"
        return f"{commit}, with uncommitted changes" if self.dirty else commit


@dataclass(frozen=True)
class Environment:
    """The software a model needs; `exporter`: this package, which it does not need."""

    exporter: str
    python: str
    # (distribution, version); the version is None for a module of the user's project
    packages: tuple[tuple[str, str | None], ...]

    def in_words(self) -> str:
        """Return the versions in one line."""
        versions = [
            f"{name} {version or '(not installed)'}" for name, version in self.packages
        ]
        needed = ", ".join([f"Python {self.python}", *versions])
        return f"{needed}; exported by {self.exporter}"

    def requirements(self) -> str:
        """Return the versions as a file for `pip install -r`."""
        lines = [f"# Python {self.python}; exported by {self.exporter}"]
        for name, version in self.packages:
            if version:
                lines.append(f"{name}=={version}")
            else:
                hint = "no installed distribution; put its folder on sys.path"
                lines.append(f"# {name}: {hint}")
        return "\n".join(lines) + "\n"


def code_provenance(directory: Path) -> CodeProvenance:
    """Return the commit of the repository that contains a directory, and whether files
    differ from it: untracked ones count, ignored ones do not.
    """
    try:
        status = git(directory, "--no-optional-locks", "status", "--porcelain")
    except GitFailed:  # no repository
        return CodeProvenance(commit=None, dirty=None)
    try:
        commit = git(directory, "rev-parse", "--verify", "HEAD")
    except GitFailed:  # no commit
        return CodeProvenance(commit=None, dirty=True)
    return CodeProvenance(commit, dirty=bool(status))


@cache
def installed_version(distribution: str) -> str:
    """Return the version of a distribution, or of its CPU-only build (`xgboost-cpu`).

    PackageNotFoundError: neither is installed.
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return metadata.version(f"{distribution}-cpu")


def environment(
    distributions: Iterable[str], own_packages: Iterable[str]
) -> Environment:
    """Return the installed versions of distributions, and of a user's packages by
    import name.
    """
    versions: dict[str, str | None] = {}
    for name in distributions:
        versions[_normal(name)] = installed_version(name)
    for package in own_packages:
        if package in owners():
            distribution = owners()[package][0]
            versions[_normal(distribution)] = metadata.version(distribution)
        else:
            versions[_normal(package)] = None
    exporter = f"experiment-pipeline {metadata.version('experiment-pipeline')}"
    return Environment(exporter, platform.python_version(), tuple(versions.items()))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def versions_beside(requirements: str) -> Iterator[tuple[str, str, str]]:
    """Yield (name, version, version installed here) for the text of
    `Environment.requirements`.
    """
    for name, version in re.findall(r"([\w-]+)(?: |==)(\d[^\s;]*)", requirements):
        installed = platform.python_version() if name == "Python" else "not installed"
        with suppress(metadata.PackageNotFoundError):
            installed = installed_version(name)
        yield name, version, installed


# --- Commits ---


@dataclass(frozen=True)
class Commit:
    """A version in a git repository; `reused`: it already existed."""

    commit: str  # the full id
    branch: str
    tag: str
    reused: bool


def commit_version(
    repository: str,
    experiment: str,
    version: str,
    files: Mapping[str, bytes],
    created: str,
) -> Commit:
    """Commit the files of a version whose names begin with one of `COMMITTED`, and tag
    the commit, once.

    `repository`: a local path or any URL that git accepts; `created`: the commit's
    time.

    Raises ExportError: git failed, with its message; or the tag names another model.
    """
    path = Path(repository).expanduser()
    url = str(path.resolve()) if path.exists() else repository
    branch, tag = f"experiment-pipeline/{experiment}", f"{experiment}/{version}"
    branch_ref, tag_ref = f"refs/heads/{branch}", f"refs/tags/{tag}"
    try:
        with tempfile.TemporaryDirectory(prefix="experiment_pipeline_git_") as folder:
            local = Path(folder)
            git(local, "init", "--quiet", "--bare")
            tree = _write_tree(local, f"models/{experiment}", files)
            refs = git(local, "ls-remote", "--", url, branch_ref, tag_ref)
            if tag_ref in refs.split():
                commit = _fetch(local, url, tag_ref)
                _check_same_files(local, commit, tree, tag=tag_ref, url=url)
                return Commit(commit, branch, tag, reused=True)
            parents = []
            if branch_ref in refs.split():
                parents = ["-p", _fetch(local, url, branch_ref)]
            commit = git(
                local,
                *_author(local),
                "commit-tree",
                tree,
                *parents,
                "-m",
                f"{experiment} {version}",
                variables={"GIT_AUTHOR_DATE": created, "GIT_COMMITTER_DATE": created},
            )
            # Not forced: git refuses if the branch has moved or the tag exists in the
            # meantime.
            pushed = [f"{commit}:{branch_ref}", f"{commit}:{tag_ref}"]
            git(local, "push", "--quiet", "--atomic", "--", url, *pushed)
    except GitFailed as error:
        raise ExportError(
            without_credentials(repository),
            rule=f"git reports: {error}",
            fix="Correct export.repository or the access to it. The next run commits "
            f"{version}, which is in the registry already.",
        ) from None
    return Commit(commit, branch, tag, reused=False)


def _write_tree(local: Path, folder: str, files: Mapping[str, bytes]) -> str:
    """Write the `COMMITTED` ones of these files into a repository; return the tree's
    id.
    """
    index = ""
    for name in sorted(files):
        if name.startswith(COMMITTED):
            blob = git(local, "hash-object", "-w", "--stdin", stdin=files[name])
            index += f"100644 {blob}\t{folder}/{name}\n"
    git(local, "update-index", "--add", "--index-info", stdin=index.encode())
    return git(local, "write-tree")


def _fetch(local: Path, url: str, ref: str) -> str:
    """Fetch a ref of a remote, and return the id of its commit."""
    git(local, "fetch", "--quiet", "--depth=1", "--", url, ref)
    return git(local, "rev-parse", "FETCH_HEAD^{commit}")


def _check_same_files(
    local: Path, commit: str, tree: str, *, tag: str, url: str
) -> None:
    # Additional files are ignored: an older exporter committed fewer of them.
    if git(local, "diff-tree", "-r", "--diff-filter=MD", commit, tree):
        raise ExportError(
            without_credentials(url),
            rule=f"{tag} already names another model",
            fix="Use one repository per storage root, or delete the tag there.",
        )


def _author(local: Path) -> tuple[str, ...]:
    """Options for the commit's author, unless the user's configuration names one."""
    try:
        git(local, "config", "--get", "user.email")
    except GitFailed:
        return _NOBODY
    return ()


class GitFailed(Exception):
    """git failed, did not answer in time, or is not installed."""


def git(
    directory: Path,
    *arguments: str,
    stdin: bytes = b"",
    variables: Mapping[str, str] | None = None,
    accepted: Collection[int] = (0,),
) -> str:
    """Run git in a directory and return its output without the last line break.

    `accepted`: exit codes that are no failure. Raises GitFailed: with git's message, in
    English, without credentials.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_A_REPOSITORY
    }
    environment = {
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20",
        **inherited,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        **(variables or {}),
    }
    try:
        done = subprocess.run(  # noqa: S603 - no shell; this project builds the arguments
            ["git", *arguments],  # noqa: S607 - the user's git is the one on their PATH
            cwd=directory,
            input=stdin,
            env=environment,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitFailed(f"no answer within {SECONDS} s") from None
    except FileNotFoundError:
        raise GitFailed("git is not installed") from None
    if done.returncode not in accepted:
        message = (done.stderr or done.stdout).decode(errors="replace").strip()
        # A server's message may hold escape sequences, which a terminal would obey.
        message = _CONTROL.sub("", without_credentials(message))
        raise GitFailed(message or f"exit code {done.returncode}")
    return done.stdout.decode(errors="replace").rstrip("\n")
