"""Where a model comes from: the code's commit, and the versions of its software.

In: a directory, names of packages. Out: frozen facts for the manifest and the card.
"""

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from experiment_pipeline.storage.git import GitFailed, git


@dataclass(frozen=True)
class CodeProvenance:
    """The code that made a model.

    Attributes:
        commit: git's full commit id; None outside a repository, or before its first commit.
        dirty: whether files differed from that commit, untracked ones included; None
            outside a repository.
    """

    commit: str | None
    dirty: bool | None

    def in_words(self) -> str:
        """Return the provenance as a card says it."""
        if self.dirty is None:
            return "unknown: not run in a git repository"
        commit = self.commit or "no commit yet"
        return f"{commit}, with uncommitted changes" if self.dirty else commit


@dataclass(frozen=True)
class Environment:
    """The software a model needs.

    Attributes:
        exporter: name and version of this package, which the model does not need.
        python: the interpreter's version.
        packages: (distribution, version), pinned; version None when the package is no
            installed distribution (a module of the user's own project).
    """

    exporter: str
    python: str
    packages: tuple[tuple[str, str | None], ...]

    def in_words(self) -> str:
        """Return the versions in one line."""
        shown = [f"{name} {version or '(not installed)'}" for name, version in self.packages]
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
    """Return the commit of the repository around a directory, and whether files differ from it.

    Untracked files count as a difference (git ignores apart): an untracked module can be
    imported as well as any other. Outside a repository, or without git, nothing is known.
    """
    try:
        status = git(directory, "--no-optional-locks", "status", "--porcelain")
    except GitFailed:
        return CodeProvenance(commit=None, dirty=None)
    try:
        commit = git(directory, "rev-parse", "--verify", "HEAD")
    except GitFailed:  # a repository without a commit
        return CodeProvenance(commit=None, dirty=True)
    return CodeProvenance(commit, dirty=bool(status))


def environment(distributions: Iterable[str], own_packages: Iterable[str] = ()) -> Environment:
    """Return the installed versions of what a model needs.

    Args:
        distributions: names as pip knows them.
        own_packages: import names of a user's own packages; one that belongs to no installed
            distribution is listed without a version.
    """
    owners = metadata.packages_distributions() if own_packages else {}
    own = [(name, owners.get(name, [None])[0]) for name in own_packages]
    pinned: dict[str, str | None] = {
        _normal(name): metadata.version(name) for name in distributions
    }
    for package, distribution in own:
        found = None if distribution is None else metadata.version(distribution)
        pinned[_normal(distribution or package)] = found
    exporter = f"experiment-pipeline {metadata.version('experiment-pipeline')}"
    return Environment(exporter, platform.python_version(), tuple(pinned.items()))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
