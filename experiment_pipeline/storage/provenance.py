"""Where a model comes from, and where it goes to: git, and the versions of the software.

In: a directory, names of packages, the files of a version. Out: frozen facts for the manifest and
the card; a commit on the branch `experiment-pipeline/<experiment>` that holds
`models/<experiment>/…`, and the tag `<experiment>/<version>`; or git's own message, credentials
removed.

Every repository is treated as a remote one: the commit is made in a temporary bare repository and
pushed, branch and tag in one atomic step. So a user's checked-out files and index are never
touched, the branch is ours alone (it shares no history with the user's code: it holds what was
published, not a copy of the code, whose commit stands in the manifest), and two exporters at once
are sorted out by git itself.
"""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from experiment_pipeline.errors import RepositoryRefused
from experiment_pipeline.storage.locations import without_credentials


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


SECONDS = 60
# Set inside git hooks; they would point every command here at the hook's repository.
_OF_A_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_QUARANTINE_PATH",
)
COMMITTED = (
    "hyperparameters.yaml",
    "metrics.json",
    "README.md",
    "experiment.yaml",
    "schema.yaml",
    "manifest.json",
)
TRIES = 5
_NOBODY = ("-c", "user.name=experiment-pipeline", "-c", "user.email=experiment-pipeline@localhost")


class GitFailed(Exception):
    """git ended with an error, gave no answer in time, or is not installed."""


def git(
    directory: Path,
    *arguments: str,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run git in a directory and return what it printed, without the last line break.

    Raises:
        GitFailed: with git's message, in English, without credentials.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in _OF_A_REPOSITORY}
    quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    ssh = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20"}
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the arguments are built by this project
            ["git", *arguments],  # noqa: S607 - the user's git is the one on their PATH
            cwd=directory,
            input=b"" if stdin is None else stdin,
            env={**ssh, **inherited, **quiet, **(environment or {})},
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip()
        raise GitFailed(without_credentials(said) or f"exit code {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise GitFailed(f"no answer within {SECONDS} s") from None
    except FileNotFoundError:
        raise GitFailed("git is not installed") from None
    return done.stdout.decode(errors="replace").rstrip("\n")


@dataclass(frozen=True)
class Commit:
    """A version in a git repository.

    Attributes:
        commit: full commit id.
        branch: where it stands.
        tag: what names it.
        reused: whether it was there before.
    """

    commit: str
    branch: str
    tag: str
    reused: bool


@dataclass(frozen=True)
class _Target:
    """A repository as git is told of it, and the refs of one version in it."""

    url: str
    branch: str
    tag: str

    def refs(self, local: Path) -> dict[str, str]:
        """Return ref → object id, of those of the two that exist."""
        lines = git(local, "ls-remote", "--", self.url, self.branch, self.tag).splitlines()
        found = {ref: commit for commit, ref in (line.split("\t") for line in lines)}
        return {ref: found[ref] for ref in (self.branch, self.tag) if ref in found}


def commit_version(
    repository: str, experiment: str, version: str, files: Mapping[str, bytes], created: str
) -> Commit:
    """Commit the small files of a version and tag it, once.

    Args:
        repository: a local path, or what git takes as a URL.
        experiment: the experiment's name; `[A-Za-z0-9_]` by its spec.
        version: `v0001` and so on, as the registry numbered it.
        files: the version's files; those of `COMMITTED` are taken.
        created: ISO 8601; the commit's time.

    Raises:
        RepositoryRefused: with git's own message; or the tag names another model.
    """
    branch = f"experiment-pipeline/{experiment}"
    tag = f"{experiment}/{version}"
    target = _Target(_address(repository), f"refs/heads/{branch}", f"refs/tags/{tag}")
    try:
        with tempfile.TemporaryDirectory(prefix="experiment_pipeline_git_") as folder:
            local = Path(folder)
            git(local, "init", "--quiet", "--bare")
            tree = _write_tree(local, experiment, files)
            commit, reused = _publish(local, target, tree, f"{experiment} {version}", created)
    except GitFailed as error:
        raise RepositoryRefused(
            without_credentials(repository),
            f"git said: {error}",
            "Correct export.repository or the access to it, and run again: "
            f"{version} is in the registry and will only be committed.",
        ) from None
    return Commit(commit, branch, tag, reused)


def _address(repository: str) -> str:
    path = Path(repository).expanduser()
    return str(path.resolve()) if path.exists() else repository


def _write_tree(local: Path, experiment: str, files: Mapping[str, bytes]) -> str:
    """Write models/<experiment>/… and return the tree's id."""
    inner = ""
    for name in sorted(COMMITTED):
        blob = git(local, "hash-object", "-w", "--stdin", stdin=files[name])
        inner += f"100644 blob {blob}\t{name}\n"
    tree = git(local, "mktree", stdin=inner.encode())
    for name in (experiment, "models"):
        tree = git(local, "mktree", stdin=f"040000 tree {tree}\t{name}\n".encode())
    return tree


def _publish(
    local: Path, target: _Target, tree: str, message: str, created: str
) -> tuple[str, bool]:
    """Push a commit of the tree; begin again when another exporter was faster."""
    for _ in range(TRIES):
        refs = target.refs(local)
        if target.tag in refs:
            return _tagged(local, target, tree), True
        commit = _commit(local, target if target.branch in refs else None, tree, message, created)
        # Not forced: git refuses when the branch has moved or the tag exists by now.
        pushed = (f"{commit}:{target.branch}", f"{commit}:{target.tag}")
        try:
            git(local, "push", "--quiet", "--atomic", "--", target.url, *pushed)
        except GitFailed:
            if target.refs(local) == refs:  # nobody else was there: it is a refusal
                raise
        else:
            return commit, False
    raise GitFailed(f"other exporters were faster {TRIES} times")


def _commit(local: Path, onto: _Target | None, tree: str, message: str, created: str) -> str:
    parents: tuple[str, ...] = ()
    if onto is not None:
        git(local, "fetch", "--quiet", "--depth=1", "--", onto.url, onto.branch)
        parents = ("-p", git(local, "rev-parse", "FETCH_HEAD"))
    dates = {"GIT_AUTHOR_DATE": created, "GIT_COMMITTER_DATE": created}
    arguments = (*_author(local), "commit-tree", tree, *parents, "-m", message)
    return git(local, *arguments, environment=dates)


def _author(local: Path) -> tuple[str, ...]:
    """Return nothing where the user's git knows a name, else one for it."""
    try:
        git(local, "config", "--get", "user.email")
    except GitFailed:
        return _NOBODY
    return ()


def _tagged(local: Path, target: _Target, tree: str) -> str:
    """Return the commit of the tag, when it holds this version.

    Raises:
        RepositoryRefused: it holds something else.
    """
    git(local, "fetch", "--quiet", "--depth=1", "--", target.url, target.tag)
    commit, found = git(local, "rev-parse", "FETCH_HEAD^{commit}", "FETCH_HEAD^{tree}").split("\n")
    if found != tree:
        raise RepositoryRefused(
            without_credentials(target.url),
            f"{target.tag} already names another model",
            "Use one repository per storage root, or delete the tag there.",
        )
    return commit
