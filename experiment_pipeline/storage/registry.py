"""The registry: numbered versions of an experiment's exported model, their history, the champion.

    <root>/<experiment>/registry/claims/v0001.json    takes the number; written first, once
                                 v0001/…              the files; manifest.json is written last
                                 history/v0001.json   one line about it; never changed
                                 approvals/v0001.required   it needs an approval to be champion
                                           v0001.json       its approval; written once

A version exists with its manifest, an atomic step on a disk and on S3 alike; what a killed exporter
left behind is never read.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, InvalidModel, did_you_mean
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage import files
from experiment_pipeline.storage.locations import location, storage_root
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.storage.versions import MANIFEST, ExportedModel, ModelPackage

_REQUIRED = ".required"
_VERSION = re.compile(r"v\d{4,}")
EXPERIMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class PublishedVersion:
    """A version that is visible.

    Attributes:
        version: `v0001` and so on.
        path: its folder, as text.
        identity: as of `ModelPackage`.
        reused: whether it was there before, as the same model, file by file.
        damaged: what is wrong with the version before, if anything.
    """

    version: str
    path: str
    identity: str
    reused: bool
    damaged: str | None = None


@dataclass(frozen=True)
class Approval:
    """The approval of a version.

    Attributes:
        version: `v0001` and so on.
        by: the name of the person.
        at: when, ISO 8601 in UTC.
        comment: what they had to say; empty for nothing.
    """

    version: str
    by: str
    at: str
    comment: str = ""


@dataclass(frozen=True)
class HistoryEntry:
    """What the history keeps of a version, also when its folder is deleted; as of `ModelPackage`.

    `visible`: whether its folder is there and complete, as of the moment of reading.
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

    @property
    def _approvals(self) -> UPath:
        return self.folder / "approvals"

    def versions(self) -> list[str]:
        """Return the visible versions, oldest first."""
        manifests = {self.folder / v / MANIFEST: v for v in _numbered(self.folder)}
        return [manifests[path] for path in files.read_many(manifests)]

    def champion(self) -> str | None:
        """Return the latest visible version that does not wait for an approval, if any."""
        return self._latest(but=self.waiting())

    def waiting(self) -> set[str]:
        """Return the versions that must be approved and are not yet."""
        names = set(files.list_names(self._approvals))
        return {one for one in _required(names) if f"{one}.json" not in names}

    def approval_required(self, version: str) -> bool:
        """Whether a version can only be champion once it is approved."""
        return version in _required(files.list_names(self._approvals))

    def approve(self, approval: Approval) -> Approval:
        """Approve a version, and return the approval that counts: the first one.

        Raises:
            InvalidModel: no such version is visible.
        """
        if approval.version not in (visible := self.versions()):
            raise InvalidModel(
                f"{self.experiment} {approval.version}",
                f"no such version is published in {self.root}; "
                + did_you_mean(approval.version, visible),
                f"List the versions: experiment-pipeline models {self.experiment}.",
            )
        path = self._approvals / f"{approval.version}.json"
        if files.create_exclusive(path, to_json(approval)):
            return approval
        return _approval(path, files.read_bytes(path))

    def approvals(self) -> dict[str, Approval]:
        """Return version → its approval.

        Raises:
            EntryCorrupt: a file is not what was written.
        """
        paths = [self._approvals / f"{version}.json" for version in _numbered(self._approvals)]
        return {p.stem: _approval(p, content) for p, content in files.read_many(paths).items()}

    def model(self, version: str) -> ExportedModel:
        """Return the folder of a version."""
        return ExportedModel(self.folder / version)

    def history(self) -> list[HistoryEntry]:
        """Return what was ever published, oldest first.

        Raises:
            EntryCorrupt: a file of the history is not what was written.
        """
        folder, visible = self.folder / "history", self.versions()
        stored = files.read_many(folder / f"{version}.json" for version in _numbered(folder))
        return [_history_entry(path, content, visible) for path, content in stored.items()]

    def entry(self, version: str) -> HistoryEntry:
        """Return the history's entry of one version."""
        path = self.folder / "history" / f"{version}.json"
        return _history_entry(path, files.read_bytes(path), {version})

    def publish(
        self, package: ModelPackage, check: Callable[[ModelPackage], None]
    ) -> PublishedVersion:
        """Make a package the next version, unless `same` finds it.

        A damaged champion stays as it is, and its model gets a new version. So does a model that
        comes back after another one: the champion is the latest version.

        Args:
            package: the files.
            check: raises when they must not become visible.
        """
        identity, required = package.identity, package.approval_required
        if (same := self.same(identity, required=required)) is not None:
            return same
        check(package)
        # The check takes seconds: another exporter may have published the same model meanwhile.
        if (same := self.same(identity, required=required)) is not None:
            return same
        latest = self._latest()
        damaged = None if latest is None else self.model(latest).damage()
        version = self._claim(package)
        folder, package = self.folder / version, package.numbered(version)
        for name, content in package.files.items():
            files.write_bytes(folder / name, content)
        if required:
            files.write_bytes(self._approvals / f"{version}{_REQUIRED}", b"")
        line = {
            "version": version,
            "created": package.created,
            "configuration": package.configuration,
            "headline": package.headline,
            "fingerprint": package.fingerprint,
            "code": package.code.in_words(),
        }
        files.write_bytes(self.folder / "history" / f"{version}.json", to_json(line))
        files.write_bytes(folder / MANIFEST, package.manifest(version).to_bytes())
        return PublishedVersion(version, str(folder), identity, reused=False, damaged=damaged)

    def same(self, identity: str, *, required: bool) -> PublishedVersion | None:
        """Return the champion, if it is the model of an identity and intact.

        Where an approval is required, so is the latest version, while it waits for one.
        """
        versions = [self.champion(), self._latest() if required else None]
        for version in filter(None, dict.fromkeys(versions)):
            model = self.model(version)
            if model.is_model(identity):
                return PublishedVersion(version, str(model.folder), identity, reused=True)
        return None

    def _latest(self, but: Collection[str] = ()) -> str | None:
        """Return the latest visible version, without some."""
        for version in reversed(_numbered(self.folder)):
            if version not in but and files.exists(self.folder / version / MANIFEST):
                return version
        return None

    def _claim(self, package: ModelPackage) -> str:
        """Take the next number, which no other exporter gets."""
        claims = self.folder / "claims"
        taken = [*_numbered(self.folder), *_numbered(claims)]
        number = max(map(_number, taken), default=0)
        claim = to_json({"created": package.created, "identity": package.identity})
        while True:
            number += 1
            version = f"v{number:04d}"
            if files.create_exclusive(claims / f"{version}.json", claim):
                return version


def registry_of(spec: ExperimentSpec) -> Registry:
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
    places = [here, *([storage_root() / name] if EXPERIMENT.fullmatch(name) else [])]
    for place in places:
        registry = Registry(place.parent, place.name)
        if (version := registry.champion()) is not None:
            return registry.model(version)
        if waiting := sorted(registry.waiting().intersection(registry.versions())):
            raise InvalidModel(
                name,
                f"has no champion: {', '.join(waiting)} must be approved first",
                f"experiment-pipeline approve {place.name} {waiting[-1]} --by NAME, or name the "
                "version's folder.",
            )
    raise InvalidModel(
        name,
        "is neither the folder of a version nor an experiment with an exported model "
        f"(looked in {' and '.join(map(str, places))})",
        "Export a model first, or name the folder that holds its manifest.json.",
    )


def _numbered(folder: UPath) -> list[str]:
    """Return the names of versions in a folder, oldest first."""
    names = {name.partition(".")[0] for name in files.list_names(folder)}
    return sorted((name for name in names if _VERSION.fullmatch(name)), key=_number)


def _number(version: str) -> int:
    return int(version.removeprefix("v"))


def _required(names: Iterable[str]) -> set[str]:
    return {name.removesuffix(_REQUIRED) for name in names if name.endswith(_REQUIRED)}


def _approval(path: UPath, content: bytes) -> Approval:
    fix = f"Delete the file and approve {path.stem} again."
    return from_json(Approval, content, EntryCorrupt(str(path), "is not an approval", fix))


def _history_entry(path: UPath, content: bytes, visible: Collection[str]) -> HistoryEntry:
    fix = f"Delete the file: the list then lacks {path.stem}, whose model stays as it is."
    damage = EntryCorrupt(str(path), "is not what was written", fix)
    entry = from_json(HistoryEntry, content, damage)
    return replace(entry, visible=entry.version in visible)
