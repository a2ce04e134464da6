"""The registry: numbered versions of an experiment's exported model, their history, the
champion.

    <root>/<experiment>/registry/claims/v0001.json    reserves the number; written first, once
                                 v0001/…              the files; manifest.json is written last
                                 history/v0001.json   a summary of it; never changed
                                 approvals/v0001.required   it needs an approval to be champion
                                           v0001.json       its approval; written once
                                 retired/v0001.json   why it cannot be champion any more; written once

A version exists once its manifest does, which is atomic on a disk and on S3; leftovers
of a killed exporter are never read. `stages/exported_model/export.py` decides what the
files contain.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, InvalidModel, did_you_mean
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage import files
from experiment_pipeline.storage.files import location, storage_root
from experiment_pipeline.storage.provenance import CodeProvenance, cpu_kernel
from experiment_pipeline.storage.records import from_json, to_json
from experiment_pipeline.table.digests import sha256

MANIFEST = "manifest.json"
MODEL = "model.skops"
METRICS = "metrics.json"
TRUSTED = "trusted_types.json"
EXAMPLE = "input_example.json"
EXPECTED = "expected_predictions.json"
PROFILE = "profile.json"
CARD = "README.md"
SCHEMA = "schema.yaml"
RECORD = "decision_record.md"  # for a reviewer to sign
# Files that determine predictions, or which rows get one. Models that agree in all are
# the same.
DECISIVE = (
    *(MODEL, TRUSTED, "signature.json", "preparation.yaml", SCHEMA),
    *("hyperparameters.yaml", "sets.json", "intervals.json"),
)
EXPERIMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_VERSION = re.compile(r"v\d{4,}")
_FORMAT: Literal[1] = 1
_REQUIRED = ".required"
_PATIENCE = (
    5.0  # seconds to wait for another exporter of the same model: it may be dead
)
Decisions = Literal[
    "approvals", "retired"
]  # kinds of decisions about a version: their folders


@dataclass(frozen=True)
class Manifest:
    """One version (`v0001` and so on) of an exported model."""

    format: Literal[1]  # of the manifest itself
    experiment: str
    version: str
    created: str  # when the model was exported, ISO 8601
    fingerprint: str  # of the chosen configuration (sha256 hex)
    identity: str  # of `ModelPackage`: two versions with one identity predict the same
    code: CodeProvenance
    files: Mapping[str, str]  # file name → sha256 hex, of every file but the manifest
    cpu: str = ""  # `cpu_kernel` of the exporting machine
    data: str = ""  # digest of the table as delivered
    # statements of people, by the keys of `record:`
    record: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Manifest":
        """Read a manifest back; InvalidModel about `source` if it is not one of this
        format.
        """
        damage = InvalidModel(
            source,
            f"it is not a manifest of format {_FORMAT}, or it is truncated",
            "Name a version that `experiment-pipeline models` lists, or run the experiment again: "
            "it publishes a new version after a damaged one.",
        )
        return from_json(cls, data, damage)

    def verify(self, name: str, content: bytes | None, source: str) -> bytes:
        """Return the content of a file if it is unchanged since the export; else raise
        InvalidModel.
        """
        if name not in self.files:
            fix = "Name a complete version folder."
            raise InvalidModel(source, f"the manifest lists no {name}", fix)
        digest, expected = (
            None if content is None else sha256(content),
            self.files[name],
        )
        if content is not None and digest == expected:
            return content
        rule = "is gone"
        if digest is not None:
            rule = f"sha256 is {digest[:12]}…, the manifest says {expected[:12]}…"
        fix = "Use a complete copy, or run the experiment again: it publishes a new version."
        raise InvalidModel(f"{source}/{name}", rule, fix)


@dataclass(frozen=True)
class ModelPackage:
    """The files of one version before it has a number; fields without a comment are as
    in `Manifest`.
    """

    experiment: str
    created: str
    fingerprint: str
    configuration: str  # the partition key of the chosen one
    headline: str  # the first metric with its interval, in words
    code: CodeProvenance
    files: Mapping[str, bytes]  # file name → content, of every file but the manifest
    own_packages: tuple[str, ...] = ()  # top-level packages of the user's own code
    approval_required: bool = (
        False  # whether it can only be champion once it is approved
    )
    data: str = ""
    record: Mapping[str, str] = field(default_factory=dict)
    # version → files that contain its number, so that they are made last; none is in
    # DECISIVE
    numbered_files: Callable[[str], Mapping[str, bytes]] = lambda _: {}

    def numbered(self, version: str) -> "ModelPackage":
        """Return the package with the files that contain the version's number."""
        return replace(self, files={**self.files, **self.numbered_files(version)})

    @property
    def identity(self) -> str:
        """The sha256 (hex) over fingerprint, DECISIVE files and `record`: equal for the
        same model.
        """
        decisive = [f"{name} {sha256(self.files[name])}" for name in DECISIVE]
        decisive += [to_json(self.record).decode()] if self.record else []
        return sha256("\n".join([self.fingerprint, *decisive]).encode())

    def manifest(self, version: str) -> Manifest:
        """Return the manifest that makes this package that version."""
        same = (
            "experiment",
            "created",
            "fingerprint",
            "identity",
            "code",
            "data",
            "record",
        )
        return Manifest(
            format=_FORMAT,
            version=version,
            files={name: sha256(content) for name, content in self.files.items()},
            cpu=cpu_kernel(),
            **{name: getattr(self, name) for name in same},
        )


@dataclass(frozen=True)
class ExportedModel:
    """The folder of one version; everything read from it is verified."""

    folder: UPath
    known_as: tuple[str, str] | None = (
        None  # experiment and version that its manifest must name
    )

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest; InvalidModel if there is none."""
        path = self.folder / MANIFEST
        if not files.exists(path):
            rule = f"holds no {MANIFEST}, so it is not an exported model"
            fix = "Name a version folder, or <storage root>/<experiment> for its champion."
            raise InvalidModel(str(self.folder), rule, fix)
        found = Manifest.from_bytes(files.read_bytes(path), str(path))
        if self.known_as not in {None, (found.experiment, found.version)}:
            rule = (
                f"is the manifest of {found.experiment} {found.version}, another model"
            )
            fix = "Put the version's own files back, or name the folder of a version."
            raise InvalidModel(str(path), rule, fix)
        return found

    def read(self, name: str) -> bytes:
        """Return a file of the version; InvalidModel if it changed since the export."""
        return self._read([name])[name]

    def files(self) -> dict[str, bytes]:
        """Return every file, verified, including the manifest."""
        return self._read(self.manifest.files) | {
            MANIFEST: files.read_bytes(self.folder / MANIFEST)
        }

    def damage(self) -> str | None:
        """Describe the first file that changed since the export; None: no file did."""
        try:
            self.files()
        except InvalidModel as error:
            return f"{error.culprit}: {error.rule}"
        return None

    def check_trusted(self, wanted: Collection[str], trusted: Collection[str]) -> None:
        """Raise InvalidModel if some of the `wanted` code is not trusted."""
        if unknown := sorted({*wanted} - {*trusted}):
            options = " ".join(f"--trust {name}" for name in unknown)
            rule = f"it runs code that is not part of experiment-pipeline: {', '.join(unknown)}"
            fix = f"If you know where it comes from, add {options}; in Python: trusted={unknown}"
            raise InvalidModel(
                f"{self.manifest.experiment} {self.manifest.version}", rule, fix
            )

    def _read(self, names: Iterable[str]) -> dict[str, bytes]:
        manifest, paths = self.manifest, {name: self.folder / name for name in names}
        found, source = files.read_many(paths.values()), str(self.folder)
        return {
            n: manifest.verify(n, found.get(path), source) for n, path in paths.items()
        }


@dataclass(frozen=True)
class PublishedVersion:
    """A version that was published now or before."""

    version: str
    path: str  # its folder
    identity: str
    reused: bool  # whether it already existed, as the same model with intact files
    damaged: str | None = None  # the damage of the previous version, if any


@dataclass(frozen=True)
class Approval:
    """The approval or retirement of a version by a person; `at`: ISO 8601 in UTC."""

    version: str
    by: str
    at: str
    comment: str = ""


@dataclass(frozen=True)
class HistoryEntry:
    """What the history keeps of a version even if its folder is deleted; fields as in
    `ModelPackage`.
    """

    version: str
    created: str
    configuration: str
    headline: str
    fingerprint: str
    code: str
    visible: bool = (
        True  # whether its folder existed and was complete when the history was read
    )


@dataclass(frozen=True)
class Registry:
    """The versions of one experiment's model, under the storage root or the YAML's
    export url.
    """

    root: UPath
    experiment: str

    @property
    def folder(self) -> UPath:
        """The folder of the versions."""
        return self.root / self.experiment / "registry"

    def versions(self) -> list[str]:
        """Return the visible versions, oldest first."""
        manifests = {self.folder / v / MANIFEST: v for v in _numbered(self.folder)}
        return [manifests[path] for path in files.read_many(manifests)]

    def champion(self) -> str | None:
        """Return the latest visible version that is neither waiting for an approval nor
        retired.
        """
        return self._latest(but={*self.waiting(), *_numbered(self.folder / "retired")})

    def waiting(self) -> set[str]:
        """Return the versions that need an approval and have none yet."""
        names = files.list_names(self.folder / "approvals")
        required = {
            one.removesuffix(_REQUIRED) for one in names if one.endswith(_REQUIRED)
        }
        return required and required - self.approvals(strict=False).keys()

    def approval_required(self, version: str) -> bool:
        """Whether a version can be champion only after an approval."""
        return files.exists(self.folder / "approvals" / f"{version}{_REQUIRED}")

    def approve(self, approval: Approval, kind: Decisions = "approvals") -> Approval:
        """Approve a version, or retire it if `kind` says so; return the first such
        decision, which counts.

        InvalidModel: no such version is visible, or the person or the reason is
        missing.
        """
        version, name = approval.version, f"{self.experiment} {approval.version}"
        if version not in (visible := self.versions()):
            rule = f"no such version is published in {self.root}; {did_you_mean(version, visible)}"
            fix = f"List the versions: experiment-pipeline models {self.experiment}."
            raise InvalidModel(name, rule, fix)
        text, option = (
            (approval.by, "--by")
            if kind == "approvals"
            else (approval.comment, "--why")
        )
        if not text.strip():
            raise InvalidModel(name, f"{option} is empty", "Say who decides, or why.")
        if files.create_exclusive(self.decision(version, kind), to_json(approval)):
            return approval
        return self.approvals(kind)[version]

    def decision(self, version: str, kind: Decisions) -> UPath:
        """Return the file of an approval or retirement."""
        return self.folder / kind / f"{version}.json"

    def approvals(
        self, kind: Decisions = "approvals", *, strict: bool = True
    ) -> dict[str, Approval]:
        """Return version → its approval or retirement; EntryCorrupt, if `strict`: a
        file was changed.
        """
        paths, found = (
            [self.decision(one, kind) for one in _numbered(self.folder / kind)],
            {},
        )
        for path, content in files.read_many(paths).items():
            fix = f"Delete the file, and decide about {path.stem} again."
            damage = EntryCorrupt(
                str(path), f"is not a decision about {path.stem}", fix
            )
            with nullcontext() if strict else suppress(EntryCorrupt):
                approval = from_json(Approval, content, damage)
                if approval.version != path.stem or not approval.by.strip():
                    raise damage
                found[path.stem] = approval
        return found

    def model(self, version: str) -> ExportedModel:
        """Return the folder of a version."""
        return ExportedModel(self.folder / version, (self.experiment, version))

    def history(self) -> list[HistoryEntry]:
        """Return all versions ever published, oldest first; EntryCorrupt: a file was
        changed.
        """
        folder, visible = self.folder / "history", self.versions()
        stored = files.read_many(
            folder / f"{version}.json" for version in _numbered(folder)
        )
        return [
            _history_entry(path, content, visible) for path, content in stored.items()
        ]

    def entry(self, version: str) -> HistoryEntry:
        """Return the history's entry of one version."""
        path = self.folder / "history" / f"{version}.json"
        return _history_entry(path, files.read_bytes(path), {version})

    def publish(
        self, package: ModelPackage, check: Callable[[ModelPackage], None]
    ) -> PublishedVersion:
        """Publish a package as the next version, unless `same` finds it; `check` may
        raise to prevent it.

        A damaged champion stays as it is, and its model gets a new version. So does a
        model that comes back after another one: the champion is the latest version. A
        retired one is refused.
        """
        identity, required = package.identity, package.approval_required
        if (
            gone := self._intact(retired := self.approvals("retired"), identity)
        ) is not None:
            rule = (
                f"is the same model, and was retired: {retired[gone.version].comment}"
            )
            fix = f"Change the experiment, or delete {self.decision(gone.version, 'retired')}."
            raise InvalidModel(f"{self.experiment} {gone.version}", rule, fix)
        if (same := self.same(identity, required=required)) is not None:
            return same
        check(package)
        latest = self._latest()
        damaged = None if latest is None else self.model(latest).damage()
        version = self._claim(package)
        folder, package = self.folder / version, package.numbered(version)
        for name, content in package.files.items():
            files.write_bytes(folder / name, content)
        # Writing takes seconds: another exporter may have published the same model in
        # the meantime.
        ends = time.monotonic() + _PATIENCE
        while self._is_claimed(identity, before=version) and time.monotonic() < ends:
            time.sleep(0.1)
        if (same := self.same(identity, required=required)) is not None:
            return same
        if required:
            files.write_bytes(self.folder / "approvals" / f"{version}{_REQUIRED}", b"")
        kept = ("created", "configuration", "headline", "fingerprint")
        line = {"version": version, **{name: getattr(package, name) for name in kept}}
        line["code"] = package.code.in_words()
        files.write_bytes(self.folder / "history" / f"{version}.json", to_json(line))
        files.write_bytes(folder / MANIFEST, to_json(package.manifest(version)))
        return PublishedVersion(
            version, str(folder), identity, reused=False, damaged=damaged
        )

    def same(self, identity: str, *, required: bool) -> PublishedVersion | None:
        """Return the champion if it has this identity and is intact.

        If an approval is `required`, the latest version counts, too, while it waits for
        one.
        """
        return self._intact(
            [self.champion(), self._latest() if required else None], identity
        )

    def _intact(
        self, versions: Iterable[str | None], identity: str
    ) -> PublishedVersion | None:
        for version in filter(None, dict.fromkeys(versions)):
            model = self.model(version)
            with suppress(InvalidModel):  # files are read only with this identity
                if model.manifest.identity == identity and model.files():
                    return PublishedVersion(
                        version, str(model.folder), identity, reused=True
                    )
        return None

    def _latest(self, but: Collection[str] = ()) -> str | None:
        for version in reversed(_numbered(self.folder)):
            if version not in but and files.exists(self.folder / version / MANIFEST):
                return version
        return None

    def _is_claimed(self, identity: str, before: str) -> bool:
        """Whether an earlier number, not published yet, is claimed for the
        same model.
        """
        claims, latest = self.folder / "claims", _number(self._latest() or "v0")
        earlier = [
            one for one in _numbered(claims) if latest < _number(one) < _number(before)
        ]
        contents = files.read_many(claims / f"{one}.json" for one in earlier)
        return any(identity.encode() in content for content in contents.values())

    def _claim(self, package: ModelPackage) -> str:
        """Reserve the next number, which no other exporter can get."""
        claims = self.folder / "claims"
        number = max(
            map(_number, [*_numbered(self.folder), *_numbered(claims)]), default=0
        )
        claim = to_json({"created": package.created, "identity": package.identity})
        while True:
            number += 1
            version = f"v{number:04d}"
            if files.create_exclusive(claims / f"{version}.json", claim):
                return version


def registry_of(spec: ExperimentSpec) -> Registry:
    """Return the registry of an experiment: at the YAML's export url, else at the
    storage root.
    """
    return Registry(
        location(spec.export.url) if spec.export.url else storage_root(), spec.name
    )


def find_model(name: str) -> ExportedModel:
    """Find a version by its folder, or a champion by its folder, URL or name;
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
        if retired := registry.approvals("retired"):
            rule = f"has no champion: {', '.join(retired)} retired"
            raise InvalidModel(
                name, rule, "Run the experiment again, or name a version's folder."
            )
    raise InvalidModel(
        name,
        "is neither the folder of a version nor an experiment with an exported model "
        f"(looked in {' and '.join(map(str, places))})",
        "Export a model first, or name the folder that holds its manifest.json.",
    )


def _numbered(folder: UPath) -> list[str]:
    names = {name.partition(".")[0] for name in files.list_names(folder)}
    return sorted((name for name in names if _VERSION.fullmatch(name)), key=_number)


def _number(version: str) -> int:
    return int(version.removeprefix("v"))


def _history_entry(
    path: UPath, content: bytes, visible: Collection[str]
) -> HistoryEntry:
    fix = f"Delete the file: the list then lacks {path.stem}, but its model stays as it is."
    damage = EntryCorrupt(str(path), "is not what was written", fix)
    entry = from_json(HistoryEntry, content, damage)
    return replace(entry, visible=entry.version in visible)
