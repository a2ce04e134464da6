"""The registry: numbered versions of an experiment's exported model, their history, the champion.

    <root>/<experiment>/registry/claims/v0001.json    who took the number; written first, once
                                 v0001/…              the files; manifest.json is written last
                                 history/v0001.json   one line about it; never changed

A version exists with its manifest, an atomic step on a disk and on S3 alike; what an
exporter that died left behind is never read. In: an experiment, or what a user names; a
`ModelPackage`. Out: a `PublishedVersion`, or an `ExportedModel` (`versions.py`). Git: `provenance.py`.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, InvalidModel
from experiment_pipeline.spec import ValidationReportSpec
from experiment_pipeline.storage import files
from experiment_pipeline.storage.locations import location, storage_root
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.storage.versions import MANIFEST, ExportedModel, ModelPackage

# How long an exporter waits for another one of the same model: writing takes less.
_RIVAL_SECONDS, _PAUSE = 5.0, 0.1
_VERSION = re.compile(r"v\d{4,}")
EXPERIMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class PublishedVersion:
    """A version that is visible.

    Attributes:
        version: `v0001` and so on.
        path: its folder, as text.
        identity: as of `ModelPackage`.
        reused: whether it was there before: the champion is the same model, file by file.
        damaged: what is wrong with the version that was the champion before, if anything.
    """

    version: str
    path: str
    identity: str
    reused: bool
    damaged: str | None = None


@dataclass(frozen=True)
class HistoryEntry:
    """What the history keeps of a version, also when its folder is deleted; as of `ModelPackage`.

    `visible`: whether its folder is there and complete, which every reader finds out anew.
    """

    version: str
    created: str
    configuration: str
    headline: str
    fingerprint: str
    code: str
    visible: bool = True


@dataclass(frozen=True)
class Registry:
    """The versions of one experiment's model, under the storage root or the YAML's export url."""

    root: UPath
    experiment: str

    @property
    def folder(self) -> UPath:
        """Where the versions are."""
        return self.root / self.experiment / "registry"

    def versions(self) -> list[str]:
        """Return the visible versions, oldest first."""
        manifests = {self.folder / v / MANIFEST: v for v in self._numbered(self.folder)}
        return [manifests[path] for path in files.read_many(manifests)]

    def champion(self) -> str | None:
        """Return the latest visible version; None when nothing was exported yet."""
        for version in reversed(self._numbered(self.folder)):
            if files.exists(self.folder / version / MANIFEST):
                return version
        return None

    def model(self, version: str) -> ExportedModel:
        """Return the folder of a version."""
        return ExportedModel(self.folder / version)

    def history(self) -> list[HistoryEntry]:
        """Return what was ever published, oldest first.

        Raises:
            EntryCorrupt: a file of the history is not what was written.
        """
        folder, visible = self.folder / "history", self.versions()
        stored = files.read_many(folder / f"{version}.json" for version in self._numbered(folder))
        found = []
        for path, content in stored.items():
            fix = f"Delete the file: the list then lacks {path.stem}, whose model stays as it is."
            damage = EntryCorrupt(str(path), "is not what was written", fix)
            entry = from_json(HistoryEntry, content, damage)
            found.append(replace(entry, visible=entry.version in visible))
        return found

    def publish(
        self, package: ModelPackage, check: Callable[[ModelPackage], None]
    ) -> PublishedVersion:
        """Make a package the next version, unless the champion is the same model and whole.

        A damaged champion stays as it is, and its model gets a new version. So does one that comes
        back after another: the champion is the latest, so it must not be the one in between.

        `check` raises when the package must not become visible.
        """
        if (same := self.same_champion(package.identity)) is not None:
            return same
        check(package)
        # The check takes seconds: another exporter may have published the same model meanwhile.
        if (same := self.same_champion(package.identity)) is not None:
            return same
        champion = self.champion()
        damaged = None if champion is None else self.model(champion).damage()
        version = self._claim(package)
        if (same := self._rival(version, package.identity)) is not None:
            return same
        folder = self.folder / version
        for name, content in package.files.items():
            files.write_bytes(folder / name, content)
        noted = {
            "version": version,
            "created": package.created,
            "configuration": package.configuration,
            "headline": package.headline,
            "fingerprint": package.fingerprint,
            "code": package.code.in_words(),
        }
        files.write_bytes(self.folder / "history" / f"{version}.json", to_json(noted))
        files.write_bytes(folder / MANIFEST, package.manifest(version).to_bytes())
        return PublishedVersion(
            version, str(folder), package.identity, reused=False, damaged=damaged
        )

    def same_champion(self, identity: str) -> PublishedVersion | None:
        """Return the champion, if it is the model of this identity and its files are whole."""
        version = self.champion()
        if version is None:
            return None
        model = self.model(version)
        # Only a model that claims to be the same is read whole.
        if model.identity != identity or model.damage() is not None:
            return None
        return PublishedVersion(version, str(model.folder), identity, reused=True)

    def _rival(self, version: str, identity: str) -> PublishedVersion | None:
        """Return the same model of who claimed a number just before, once it is visible.

        Two runs at once export one model: the second waits for the first, unless that one died.
        """
        if (same := self.same_champion(identity)) is not None:
            return same
        champion = self.champion()
        first = 0 if champion is None else _number(champion)
        claims = self.folder / "claims"
        earlier = [v for v in self._numbered(claims) if first < _number(v) < _number(version)]
        found = files.read_many(claims / f"{v}.json" for v in earlier).values()
        until = time.monotonic() + _RIVAL_SECONDS
        while any(identity.encode() in claim for claim in found) and time.monotonic() < until:
            if (same := self.same_champion(identity)) is not None:
                return same
            time.sleep(_PAUSE)
        return None

    def _claim(self, package: ModelPackage) -> str:
        claims = self.folder / "claims"
        taken = {*self._numbered(self.folder), *self._numbered(claims)}
        number = max((_number(version) for version in taken), default=0)
        claim = to_json({"created": package.created, "identity": package.identity})
        while True:
            number += 1
            version = f"v{number:04d}"
            if files.create_exclusive(claims / f"{version}.json", claim):
                return version

    def _numbered(self, folder: UPath) -> list[str]:
        """Return the names of versions in a folder, oldest first."""
        names = {name.partition(".")[0] for name in files.list_names(folder)}
        return sorted((name for name in names if _VERSION.fullmatch(name)), key=_number)


def registry_of(spec: ValidationReportSpec) -> Registry:
    """Return where an experiment's models go: the YAML's export url, else the storage root."""
    return Registry(location(spec.export.url) if spec.export.url else storage_root(), spec.name)


def find_model(name: str) -> ExportedModel:
    """Return the model that a user names.

    Args:
        name: a version's folder, a folder or URL `<root>/<experiment>`, or an experiment's
            name under the storage root; the last two mean the champion.

    Raises:
        InvalidModel: there is none.
    """
    here = location(name)
    if files.exists(here / MANIFEST):
        return ExportedModel(here)
    places = [here]
    if EXPERIMENT.fullmatch(name):
        places.append(storage_root() / name)
    for place in places:
        registry = Registry(place.parent, place.name)
        if (version := registry.champion()) is not None:
            return registry.model(version)
    raise InvalidModel(
        name,
        "is neither the folder of a version nor an experiment with an exported model "
        f"(looked in {' and '.join(map(str, places))})",
        "Export a model first, or name the folder that holds its manifest.json.",
    )


def _number(version: str) -> int:
    return int(version.removeprefix("v"))
