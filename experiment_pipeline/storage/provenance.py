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
    *(CODE, PATCH),
    *("hyperparameters.yaml", "metrics.json", "README.md", "decision_record.md"),
    *("experiment.yaml", "schema.yaml", "manifest.json"),
    *(ENVIRONMENT, "sets.json", "expected_predictions.json"),  # for `reproduce`
)
SECONDS = 60
# Set inside git hooks: these variables would direct every command to the hook's
# repository.
_OF_A_REPOSITORY = (
    *(
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_COMMON_DIR",
    ),
    *(
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
    ),
    "GIT_QUARANTINE_PATH",
)
owners = cache(
    metadata.packages_distributions
)  # cached: it reads a file of every distribution
_NOBODY = (
    "-c",
    "user.name=experiment-pipeline",
    "-c",
    "user.email=experiment-pipeline@localhost",
)


@cache
def cpu_kernel() -> str:
    """The CPU kernels in use, such as `Haswell, X86_V3`; on other kernels models differ
    by rounding.
    """
    blas = {
        str(one["architecture"]) for one in threadpool_info() if one.get("architecture")
    }
    found: Any = np.show_config(mode="dicts")
    return ", ".join(
        [*sorted(blas), *found.get("SIMD Extensions", {}).get("found", ())]
    )


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
    """The software a model needs: Python and (distribution, version) of packages; the
    version is None for a module of the user's project. `exporter`: this package, which
    the model does not need.
    """

    exporter: str
    python: str
    packages: tuple[tuple[str, str | None], ...]

    def in_words(self) -> str:
        """Return the versions in one line."""
        shown = [
            f"{name} {version or '(not installed)'}" for name, version in self.packages
        ]
        needed = ", ".join([f"Python {self.python}", *shown])
        return f"{needed}; exported by {self.exporter}"

    def requirements(self) -> str:
        """Return the versions as a file for `pip install -r`."""
        lines = [f"# Python {self.python}; exported by {self.exporter}"]
        for name, version in self.packages:
            own = f"# {name}: no installed distribution; put its folder on sys.path"
            lines.append(f"{name}=={version}" if version else own)
        return "\n".join(lines) + "\n"


def code_provenance(directory: Path) -> CodeProvenance:
    """Return the commit of the repository that contains a directory, and whether files
    differ from it: untracked ones count, ignored ones do not.
    """
    commit = dirty = None
    with suppress(GitFailed):  # no repository, or one without a commit
        status = git(directory, "--no-optional-locks", "status", "--porcelain")
        dirty = True
        commit = git(directory, "rev-parse", "--verify", "HEAD")
        dirty = bool(status)
    return CodeProvenance(commit, dirty)


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
    distributions: Iterable[str], own_packages: Iterable[str] = ()
) -> Environment:
    """Return the installed versions of distributions, and of a user's packages by
    import name.
    """

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    pinned = dict[str, str | None](
        (normal(one), installed_version(one)) for one in distributions
    )
    for package in own_packages:
        (owner, *_) = owners().get(package, [None])
        pinned[normal(owner or package)] = (
            None if owner is None else metadata.version(owner)
        )
    exporter = f"experiment-pipeline {metadata.version('experiment-pipeline')}"
    return Environment(exporter, platform.python_version(), tuple(pinned.items()))


def versions_beside(requirements: str) -> Iterator[tuple[str, str, str]]:
    """Yield (name, version, version installed here) for the text of
    `Environment.requirements`.
    """
    for name, version in re.findall(r"([\w-]+)(?: |==)(\d[^\s;]*)", requirements):
        here = platform.python_version() if name == "Python" else "not installed"
        with suppress(metadata.PackageNotFoundError):
            here = installed_version(name)
        yield name, version, here


@dataclass(frozen=True)
class Commit:
    """A version in a git repository: full commit id, branch and tag; `reused`: it
    already existed.
    """

    commit: str
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
    branch, tag = f"experiment-pipeline/{experiment}", f"{experiment}/{version}"
    path = Path(repository).expanduser()
    url = str(path.resolve()) if path.exists() else repository
    try:
        with tempfile.TemporaryDirectory(prefix="experiment_pipeline_git_") as folder:
            local = Path(folder)
            git(local, "init", "--quiet", "--bare")
            index = ""
            for name in sorted(files):
                if name.startswith(COMMITTED):
                    blob = git(local, "hash-object", "-w", "--stdin", stdin=files[name])
                    index += f"100644 {blob}\tmodels/{experiment}/{name}\n"
            git(local, "update-index", "--add", "--index-info", stdin=index.encode())
            tree = git(local, "write-tree")
            message = f"{experiment} {version}"
            commit, reused = _pushed(local, url, (branch, tag), tree, message, created)
    except GitFailed as error:
        raise ExportError(
            without_credentials(repository),
            f"git reports: {error}",
            "Correct export.repository or the access to it, and run again: "
            f"{version} is already in the registry; only the commit is missing.",
        ) from None
    return Commit(commit, branch, tag, reused)


def _pushed(
    local: Path, url: str, names: tuple[str, str], tree: str, message: str, created: str
) -> tuple[str, bool]:
    """Push a commit of a tree to a branch and a tag; return its id, and whether it
    already existed.
    """
    branch, tag = f"refs/heads/{names[0]}", f"refs/tags/{names[1]}"

    def existing() -> dict[str, str]:
        lines = git(local, "ls-remote", "--", url, branch, tag).splitlines()
        return {ref: commit for commit, ref in (line.split("\t") for line in lines)}

    def fetched(ref: str) -> str:
        """Fetch a ref of the remote, and return the id of its commit."""
        git(local, "fetch", "--quiet", "--depth=1", "--", url, ref)
        return git(local, "rev-parse", "FETCH_HEAD^{commit}")

    author: tuple[str, ...] = ()
    try:
        git(local, "config", "--get", "user.email")
    except GitFailed:
        author = _NOBODY
    dates = {"GIT_AUTHOR_DATE": created, "GIT_COMMITTER_DATE": created}
    refs = existing()
    if tag in refs:
        commit = fetched(tag)
        # Additional files are ignored: an older exporter committed fewer of them.
        if not git(local, "diff-tree", "-r", "--diff-filter=MD", commit, tree):
            return commit, True
        rule = f"{tag} already names another model"
        fix = "Use one repository per storage root, or delete the tag there."
        raise ExportError(without_credentials(url), rule, fix)
    parents = ["-p", fetched(branch)] if branch in refs else []
    commit = git(
        local, *author, "commit-tree", tree, *parents, "-m", message, variables=dates
    )
    # Not forced: git refuses if the branch has moved or the tag exists in the meantime.
    git(
        local,
        "push",
        "--quiet",
        "--atomic",
        "--",
        url,
        f"{commit}:{branch}",
        f"{commit}:{tag}",
    )
    return commit, False


class GitFailed(Exception):
    """git failed, did not answer in time, or is not installed."""


def git(
    directory: Path,
    *arguments: str,
    stdin: bytes = b"",
    variables: Mapping[str, str] | None = None,
    accepted: Collection[int] = (0,),
) -> str:
    """Run git in a directory and return its output without the last line break;
    `accepted`: exit codes that are no failure. Raises GitFailed: with git's message, in
    English, without credentials.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in _OF_A_REPOSITORY}
    quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    ssh = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20"}
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the arguments are built by this project
            ["git", *arguments],  # noqa: S607 - the user's git is the one on their PATH
            cwd=directory,
            input=stdin,
            env={**ssh, **inherited, **quiet, **(variables or {})},
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
        raise GitFailed(without_credentials(message) or f"exit code {done.returncode}")
    return done.stdout.decode(errors="replace").rstrip("\n")
