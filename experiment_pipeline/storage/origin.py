"""Where a model comes from: the code's commit, and the versions of its software.

In: a directory, names of packages. Out: frozen facts for the manifest and the card.
"""

import platform
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from experiment_pipeline.storage.git import GitFailed, git
from experiment_pipeline.storage.provenance import CodeProvenance, Environment


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
