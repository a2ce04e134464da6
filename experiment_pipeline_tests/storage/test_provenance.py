"""Committing versions to git repositories, and reading where the code came from."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from experiment_pipeline.errors import ExportError
from experiment_pipeline.storage import provenance
from experiment_pipeline.storage.provenance import (
    CODE,
    COMMITTED,
    CodeProvenance,
    Commit,
    commit_version,
)

CREATED = "2026-01-02T03:04:05.678901+00:00"
SMALL = {*COMMITTED} - {CODE} | {f"{CODE}own.py"}
FILES = {name: f"content of {name}\n".encode() for name in (*SMALL, "model.skops")}


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def committed(
    repository: Path | str,
    version: str = "v0001",
    files: Mapping[str, bytes] = FILES,
) -> Commit:
    """Commit a version of flights to a repository."""
    return commit_version(str(repository), "flights", version, files, CREATED)


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path) -> None:
    """A machine without a git configuration, as CI is."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no_configuration"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def bare(tmp_path) -> Path:
    """An empty repository such as a server keeps."""
    folder = tmp_path / "models.git"
    git(tmp_path, "init", "--quiet", "--bare", str(folder))
    return folder


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A user's repository with one commit, one staged file and one changed one."""
    folder = tmp_path / "code"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(folder))
    (folder / "train.py").write_text("print('hello')\n")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=me", "-c", "user.email=me@here", "commit", "-m", "one")
    (folder / "staged.py").write_text("")
    git(folder, "add", "staged.py")
    (folder / "train.py").write_text("print('changed')\n")
    return folder


def test_a_version_becomes_a_commit_and_a_tag(bare: Path):
    """An empty repository receives the version's small files, and no model file."""
    commit = committed(bare)
    assert git(bare, "rev-parse", "flights/v0001^{commit}") == commit.commit
    assert git(bare, "rev-parse", commit.branch) == commit.commit
    listed = git(bare, "ls-tree", "-r", "--name-only", commit.tag).splitlines()
    assert listed == sorted(f"models/flights/{name}" for name in SMALL)
    shown = git(bare, "show", f"{commit.tag}:models/flights/metrics.json")
    assert shown == "content of metrics.json"


def test_the_next_version_stands_on_the_one_before(bare: Path):
    """The branch holds one commit per version, in order."""
    first = committed(bare)
    changed = FILES | {"manifest.json": b"second"}
    second = committed(bare, "v0002", changed)
    assert git(bare, "rev-parse", f"{second.commit}^") == first.commit
    expected = "flights v0002 experiment-pipeline 2026-01-02T03:04:05Z"
    assert git(bare, "log", "-1", "--format=%s %an %aI", second.tag) == expected


def test_a_version_is_committed_once(bare: Path):
    """Again, now with more files, it is the same commit; another model under its tag is
    an error.
    """
    fewer = {name: FILES[name] for name in FILES.keys() - {"sets.json"}}
    first = committed(f"file://{bare}", files=fewer)
    again = committed(f"file://{bare}")
    assert (first.reused, again.reused) == (False, True)
    assert again.commit == first.commit
    assert git(bare, "rev-list", "--all", "--count") == "1"
    changed = FILES | {"manifest.json": b"another model"}
    with pytest.raises(ExportError, match="names another model"):
        committed(bare, files=changed)


def test_a_users_files_and_index_stay_as_they_are(checkout: Path, monkeypatch):
    """A checked-out repository, here named `.`, gets a branch and a tag; nothing else
    changes.
    """
    monkeypatch.chdir(checkout)
    before = git(checkout, "status", "--porcelain", "--branch")
    index = (checkout / ".git" / "index").read_bytes()
    commit = committed(".")
    assert git(checkout, "status", "--porcelain", "--branch") == before
    assert (checkout / ".git" / "index").read_bytes() == index
    assert git(checkout, "branch", "--list", "--format=%(refname:short)").split() == [
        commit.branch,
        "main",
    ]
    assert not (checkout / "models").exists()


def test_a_refusal_is_told_in_gits_own_words(tmp_path):
    """No repository at the path: git's message, and what to do."""
    with pytest.raises(
        ExportError, match="does not appear to be a git repository"
    ) as told:
        committed(tmp_path)
    assert "export.repository" in told.value.fix
    url = "https://me:s3cr3t@127.0.0.1:1/models.git"
    with pytest.raises(ExportError, match=r"127\.0\.0\.1") as told:
        committed(url)
    assert "s3cr3t" not in str(told.value)


def test_a_hook_that_refuses_is_quoted(bare: Path):
    """Without its escape sequences, which would drive a terminal; neither branch nor
    tag is left behind.
    """
    hook = bare / "hooks" / "pre-receive"
    says = "\\033[2J\\033]0;owned\\007only reviewed models\\n"
    hook.write_text(f"#!/bin/sh\nprintf '{says}' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ExportError, match="only reviewed models") as raised:
        committed(bare)
    assert not {*str(raised.value)} & {"\x1b", "\x07"}
    assert git(bare, "for-each-ref") == ""


def test_a_hooks_variables_lead_nowhere(bare: Path, checkout: Path, monkeypatch):
    """Run inside a git hook of another repository, the right one is written to."""
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(checkout / ".git" / "index"))
    committed(bare)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert git(checkout, "tag", "--list") == ""
    assert git(bare, "tag", "--list") == "flights/v0001"


def test_code_provenance_says_dirty(checkout: Path, tmp_path):
    """Commit and dirty flag of a directory, untracked files included; unknown outside a
    repository.
    """
    assert provenance.code_provenance(tmp_path) == CodeProvenance(None, dirty=None)
    head = git(checkout, "rev-parse", "HEAD")
    assert provenance.code_provenance(checkout) == CodeProvenance(head, dirty=True)
    git(checkout, "reset", "--quiet", "--hard")
    assert provenance.code_provenance(checkout) == CodeProvenance(head, dirty=False)
    (checkout / "new_module.py").write_text("")
    assert provenance.code_provenance(checkout) == CodeProvenance(head, dirty=True)


def test_the_environment_is_pinned():
    """Installed versions by distribution, and own packages by the distribution they are
    of.
    """
    modules = ["lightgbm", "no_such_module"]
    packages = dict(provenance.environment(["scikit-learn"], modules).packages)
    assert list(packages) == ["scikit-learn", "lightgbm", "no-such-module"]
    assert packages["scikit-learn"] == pytest.importorskip("sklearn").__version__
    assert packages["no-such-module"] is None
