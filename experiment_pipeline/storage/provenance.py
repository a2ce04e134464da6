"""Where a model comes from, as data: the code's commit and the software's versions.

Finding them out is I/O and lives in `storage/origin.py`.
"""

from dataclasses import dataclass


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
