"""The registry: numbered versions of an experiment's exported model, their history, the
champion.

    <root>/<experiment>/registry/
        claims/v0001.json            reserves the number; written first, once
        v0001/…                      the files; manifest.json is written last
        history/v0001.json           a summary of it; never changed
        approvals/v0001.required     it needs an approval to be champion
                  v0001.json         its approval; written once
        commits/v0001.due            its commit to git is still to be made
        retired/v0001.json           why it cannot be champion any more; written once

A version exists once its manifest does, which is atomic on a disk and on S3; leftovers
of a killed exporter are never read. `stages/exported_model/export.py` decides what the
files contain.
"""

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import yaml
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, InvalidModel, did_you_mean
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.templates import Templates
from experiment_pipeline.storage import files
from experiment_pipeline.storage.files import location, storage_root
from experiment_pipeline.storage.provenance import CodeProvenance, cpu_kernel
from experiment_pipeline.storage.records import from_json, read_verified, to_json
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
SETTINGS = "experiment.yaml"
RECORD = "decision_record.md"  # for a reviewer to sign
# Files that determine predictions, or which rows get one. Models that agree in all are
# the same.
DECISIVE = (
    MODEL,
    TRUSTED,
    "signature.json",
    "preparation.yaml",
    SCHEMA,
    "hyperparameters.yaml",
    "sets.json",
    "intervals.json",
)
EXPERIMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_VERSION = re.compile(r"v\d{4,}")
_REQUIRED, _DUE = ".required", ".due"
SECONDS_TO_PUBLISH = 5.0  # that another exporter may take to write its files
# Kinds of decisions about a version, and the folders that hold them.
Decisions = Literal["approvals", "retired"]


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
    # file name → sha256 hex, of all files but the manifest
    files: Mapping[str, str] = field(repr=False)
    cpu: str = ""  # `cpu_kernel` of the exporting machine
    data: str = ""  # digest of the table as delivered
    # statements of people, by the keys of `record:`
    record: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> "Manifest":
        """Read a manifest back; InvalidModel about `source` if it is not one."""
        damage = InvalidModel(
            source,
            "it is not a manifest of format 1, or it is truncated",
            "Name a version that `experiment-pipeline models` lists, or run the "
            "experiment again: it publishes a new version after a damaged one.",
        )
        return from_json(cls, content, damage)


@dataclass(frozen=True)
class ModelPackage:
    """The files of one version before it has a number; other fields: see `Manifest`."""

    experiment: str
    created: str
    fingerprint: str
    configuration: str  # the partition key of the chosen one
    headline: str  # the first metric with its interval, in words
    code: CodeProvenance
    # file name → content, of all files but the manifest
    files: Mapping[str, bytes] = field(repr=False)
    own_packages: tuple[str, ...] = ()  # top-level packages of the user's own code
    approval_required: bool = False  # to become champion
    commit_due: bool = False  # to be committed to git once it is published
    data: str = ""
    record: Mapping[str, str] = field(default_factory=dict)
    # version → files that contain its number, so that they are made last; none is in
    # DECISIVE
    numbered_files: Callable[[str], Mapping[str, bytes]] = field(
        default=lambda _: {}, repr=False
    )

    def numbered(self, version: str) -> "ModelPackage":
        """Return the package with the files that contain the version's number."""
        return replace(self, files={**self.files, **self.numbered_files(version)})

    @property
    def identity(self) -> str:
        """The sha256 (hex) over fingerprint, DECISIVE files and `record`."""
        lines = [self.fingerprint]
        lines += [f"{name} {sha256(self.files[name])}" for name in DECISIVE]
        if self.record:
            lines.append(to_json(self.record).decode())
        return sha256("\n".join(lines).encode())

    def manifest(self, version: str) -> Manifest:
        """Return the manifest that makes this package that version."""
        return Manifest(
            format=1,
            experiment=self.experiment,
            version=version,
            created=self.created,
            fingerprint=self.fingerprint,
            identity=self.identity,
            code=self.code,
            files={name: sha256(content) for name, content in self.files.items()},
            cpu=cpu_kernel(),
            data=self.data,
            record=self.record,
        )


@dataclass(frozen=True)
class ExportedModel:
    """The folder of one version; everything read from it is verified."""

    folder: UPath
    # experiment and version that its manifest must name
    expected: tuple[str, str] | None = None

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest; InvalidModel if there is none, or that of another model."""
        path = self.folder / MANIFEST
        if not files.exists(path):
            raise InvalidModel(
                str(self.folder),
                rule=f"holds no {MANIFEST}, so it is not an exported model",
                fix="Name a version folder, or <storage root>/<experiment> for its "
                "champion.",
            )
        manifest = Manifest.from_bytes(files.read_bytes(path), str(path))
        name = (manifest.experiment, manifest.version)
        if self.expected is not None and self.expected != name:
            raise InvalidModel(
                str(path),
                rule=f"is the manifest of {' '.join(name)}, another model",
                fix="Put the version's own files back, or name the folder of a "
                "version.",
            )
        return manifest

    def read(self, name: str) -> bytes:
        """Return a file of the version; InvalidModel if it changed since the export."""
        return self._read([name])[name]

    def settings(
        self, *, leave_out: Collection[str] = (), url: str | None = None
    ) -> dict[str, Any]:
        """Return what the experiment declared, with the environment's values for its
        templates; not where it was exported to.

        `url`: of the table, in place of the declared one. InvalidModel: a variable is
        not set, or as `read`.
        """
        declared = yaml.safe_load(self.read(SETTINGS))
        selected = {key: declared[key] for key in declared.keys() - {*leave_out}}
        for address in ("url", "repository"):
            selected.get("export", {}).pop(address, None)
        if url is not None:
            selected["data"] = {**(selected.get("data") or {}), "url": url}
        templates = Templates(os.environ)
        settings: dict[str, Any] = templates.filled(selected)
        for problem in templates.problems:
            raise InvalidModel(
                f"{self.manifest.experiment} {self.manifest.version}",
                rule=f"{SETTINGS}: {problem}",
                fix="Set it as it was when the experiment ran.",
            )
        return settings

    def files(self) -> dict[str, bytes]:
        """Return all files, verified, including the manifest."""
        manifest = files.read_bytes(self.folder / MANIFEST)
        return self._read(self.manifest.files) | {MANIFEST: manifest}

    def damage(self) -> str | None:
        """Describe the first file that changed since the export; None: no file did."""
        try:
            self.files()
        except InvalidModel as error:
            return f"{error.culprit}: {error.rule}"
        return None

    def check_trusted(self, used: Collection[str], trusted: Collection[str]) -> None:
        """Raise InvalidModel if some of the `used` code is not trusted."""
        unknown = sorted({*used} - {*trusted})
        if unknown:
            options = " ".join(f"--trust {name}" for name in unknown)
            raise InvalidModel(
                f"{self.manifest.experiment} {self.manifest.version}",
                rule="it runs code that is not part of experiment-pipeline: "
                f"{', '.join(unknown)}",
                fix=f"If you know where it comes from, add {options}; in Python: "
                f"trusted={unknown}",
            )

    def _read(self, names: Iterable[str]) -> dict[str, bytes]:
        digests = self.manifest.files
        paths = {name: self.folder / name for name in names}
        for name, path in paths.items():
            if name not in digests:
                raise self._damage(path, "is not in the manifest")
        contents = read_verified(
            {path: digests[name] for name, path in paths.items()}, self._damage
        )
        return {name: contents[path] for name, path in paths.items()}

    @staticmethod
    def _damage(path: UPath, rule: str) -> InvalidModel:
        return InvalidModel(
            str(path),
            rule,
            fix="Use a complete copy, or run the experiment again: it publishes a new "
            "version.",
        )


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
    """What the history keeps of a version even if its folder is deleted.

    Fields as in `ModelPackage`.
    """

    version: str
    created: str
    configuration: str
    headline: str
    fingerprint: str
    code: str
    # whether its folder existed and was complete when the history was read
    visible: bool = True


@dataclass(frozen=True)
class Registry:
    """The versions of one experiment's model.

    `root`: the storage root, or the YAML's export url.
    """

    root: UPath
    experiment: str

    def __post_init__(self) -> None:
        # Before it becomes part of a path.
        if not EXPERIMENT.fullmatch(self.experiment):
            raise InvalidModel(
                repr(self.experiment),
                rule="is not the name of an experiment: letters, digits and _, a "
                "letter first",
                fix="Name one that `experiment-pipeline experiments` lists.",
            )

    @property
    def folder(self) -> UPath:
        """The folder of the versions."""
        return self.root / self.experiment / "registry"

    def versions(self) -> list[str]:
        """Return the visible versions, oldest first."""
        manifests = {
            self.folder / version / MANIFEST: version
            for version in _versions_in(self.folder)
        }
        return [manifests[path] for path in files.read_many(manifests)]

    def champion(self) -> str | None:
        """Return the latest visible version that is approved, if it must be, and not
        retired.
        """
        retired = _versions_in(self.folder / "retired")
        return self._latest(excluded={*self.waiting(), *retired})

    def waiting(self) -> set[str]:
        """Return the versions that need an approval and have none yet."""
        names = files.list_names(self.folder / "approvals")
        waiting = {
            name.removesuffix(_REQUIRED) for name in names if name.endswith(_REQUIRED)
        }
        if waiting:
            for path, content in self._decisions("approvals").items():
                with suppress(EntryCorrupt):  # a damaged file approves nothing
                    waiting.discard(_approval(path, content).version)
        return waiting

    def approval_required(self, version: str) -> bool:
        """Whether a version can be champion only after an approval."""
        return files.exists(self.folder / "approvals" / f"{version}{_REQUIRED}")

    def approve(self, approval: Approval, kind: Decisions = "approvals") -> Approval:
        """Approve a version, or retire it if `kind` says so.

        Return the first such decision, which counts. InvalidModel: no such version is
        visible, or the person or the reason is missing.
        """
        name = f"{self.experiment} {approval.version}"
        versions = self.versions()
        if approval.version not in versions:
            raise InvalidModel(
                name,
                rule=f"no such version is published in {self.root}; "
                f"{did_you_mean(approval.version, versions)}",
                fix=f"List the versions: experiment-pipeline models {self.experiment}.",
            )
        if kind == "approvals":
            option = "--by"
            text = approval.by
        else:
            option = "--why"
            text = approval.comment
        if not _visible(text):
            raise InvalidModel(name, f"{option} is empty", "Say who decides, or why.")
        if not approval.by.isprintable():
            raise InvalidModel(
                name,
                rule=f"{approval.by!r} holds a character that nobody sees",
                fix="Write a name.",
            )
        path = self.decision(approval.version, kind)
        if files.create_exclusive(path, to_json(approval)):
            return approval
        return self.approvals(kind)[approval.version]

    def decision(self, version: str, kind: Decisions) -> UPath:
        """Return the file of an approval or retirement."""
        return self.folder / kind / f"{version}.json"

    def approvals(self, kind: Decisions = "approvals") -> dict[str, Approval]:
        """Return version → its approval or retirement; EntryCorrupt: a file was
        changed.
        """
        decisions = self._decisions(kind)
        return {
            path.stem: _approval(path, content) for path, content in decisions.items()
        }

    def due_commits(self) -> list[str]:
        """Return the visible versions that are still to be committed, oldest first."""
        names = files.list_names(self.folder / "commits")
        due = {name.removesuffix(_DUE) for name in names if name.endswith(_DUE)}
        return [version for version in self.versions() if version in due]

    def committed(self, version: str) -> None:
        """Note that a version is committed."""
        files.remove(self._due(version))

    def _due(self, version: str) -> UPath:
        return self.folder / "commits" / f"{version}{_DUE}"

    def model(self, version: str) -> ExportedModel:
        """Return the folder of a version; InvalidModel: it is no version's name."""
        if not _VERSION.fullmatch(version):
            raise InvalidModel(
                f"{self.experiment} {version!r}",
                rule="is not the name of a version, such as v0001",
                fix=f"List them: experiment-pipeline models {self.experiment}.",
            )
        return ExportedModel(self.folder / version, (self.experiment, version))

    def history(self) -> list[HistoryEntry]:
        """Return all versions ever published, oldest first; EntryCorrupt: a file was
        changed.
        """
        folder = self.folder / "history"
        visible = self.versions()
        paths = [folder / f"{version}.json" for version in _versions_in(folder)]
        return [
            _history_entry(path, content, visible)
            for path, content in files.read_many(paths).items()
        ]

    def entry(self, version: str) -> HistoryEntry:
        """Return the history's entry of one version."""
        path = self.folder / "history" / f"{version}.json"
        return _history_entry(path, files.read_bytes(path), {version})

    def publish(
        self, package: ModelPackage, check: Callable[[ModelPackage], None]
    ) -> PublishedVersion:
        """Publish a package as the next version, unless `same` returns it; `check` may
        raise to prevent it.

        A damaged champion stays as it is, and its model gets a new version. So does a
        model that comes back after another one: the champion is the latest version. A
        retired one is refused. Of several exporters that publish one model in the same
        moment, all get the version of the first.
        """
        identity = package.identity
        required = package.approval_required
        self._refuse_retired(identity)
        published = self.same(identity, required=required)
        if published is None:
            check(package)
            # Which takes seconds: another exporter may have published this model.
            published = self.same(identity, required=required)
        if published is not None:
            return published
        latest = self._latest()
        damage = None if latest is None else self.model(latest).damage()
        version = self._claim(package)
        published = self._of_earlier_claim(version, latest, identity)
        if published is not None:
            return published
        package = package.numbered(version)
        folder = self.folder / version
        files.write_many(
            {folder / name: content for name, content in package.files.items()}
        )
        if required:
            files.write_bytes(self.folder / "approvals" / f"{version}{_REQUIRED}", b"")
        if package.commit_due:
            files.write_bytes(self._due(version), b"")
        summary = {
            "version": version,
            "created": package.created,
            "configuration": package.configuration,
            "headline": package.headline,
            "fingerprint": package.fingerprint,
            "code": package.code.in_words(),
        }
        files.write_bytes(self.folder / "history" / f"{version}.json", to_json(summary))
        files.write_bytes(folder / MANIFEST, to_json(package.manifest(version)))
        return PublishedVersion(
            version, str(folder), identity, reused=False, damaged=damage
        )

    def same(self, identity: str, *, required: bool) -> PublishedVersion | None:
        """Return the champion if it has this identity and is intact.

        If an approval is `required`, the latest version counts, too, while it waits for
        one.
        """
        candidates = [self.champion()]
        if required:
            candidates.append(self._latest())
        return self._intact(filter(None, candidates), identity)

    def _refuse_retired(self, identity: str) -> None:
        retired = self.approvals("retired")
        published = self._intact(retired, identity)
        if published is not None:
            version = published.version
            raise InvalidModel(
                f"{self.experiment} {version}",
                rule=f"is the same model, and was retired: {retired[version].comment}",
                fix="Change the experiment, or delete "
                f"{self.decision(version, 'retired')}.",
            )

    def _intact(
        self, versions: Iterable[str], identity: str
    ) -> PublishedVersion | None:
        for version in versions:
            model = self.model(version)
            with suppress(InvalidModel):  # files are read only with this identity
                if model.manifest.identity == identity and model.files():
                    return PublishedVersion(
                        version, str(model.folder), identity, reused=True
                    )
        return None

    def _latest(self, excluded: Collection[str] = ()) -> str | None:
        for version in reversed(_versions_in(self.folder)):
            if version in excluded:
                continue
            if files.exists(self.folder / version / MANIFEST):
                return version
        return None

    def _claim(self, package: ModelPackage) -> str:
        """Reserve the next number, which no other exporter can get."""
        claims = self.folder / "claims"
        taken = [*_versions_in(self.folder), *_versions_in(claims)]
        number = max(map(_number, taken), default=0)
        claim = to_json({"created": package.created, "identity": package.identity})
        while True:
            number += 1
            version = f"v{number:04d}"
            if files.create_exclusive(claims / f"{version}.json", claim):
                return version

    def _of_earlier_claim(
        self, version: str, latest: str | None, identity: str
    ) -> PublishedVersion | None:
        """Wait for exporters of the same model that claimed a number just before; None:
        there are none, or they were killed.
        """
        claims = self.folder / "claims"
        between = range(_number(latest or "v0") + 1, _number(version))
        paths = [
            claims / f"{claimed}.json"
            for claimed in _versions_in(claims)
            if _number(claimed) in between
        ]
        rivals = [
            path.stem
            for path, claim in files.read_many(paths).items()
            if identity.encode() in claim
        ]
        end = time.monotonic() + SECONDS_TO_PUBLISH
        while rivals and time.monotonic() < end:
            if published := self._intact(rivals, identity):
                return published
            time.sleep(0.1)
        return None

    def _decisions(self, kind: Decisions) -> dict[UPath, bytes]:
        versions = _versions_in(self.folder / kind)
        return files.read_many(self.decision(version, kind) for version in versions)


def registry_of(spec: ExperimentSpec) -> Registry:
    """Return the registry of an experiment: at the YAML's export url, else at the
    storage root.
    """
    root = location(spec.export.url) if spec.export.url else storage_root()
    return Registry(root, spec.name)


def find_model(name: str) -> ExportedModel:
    """Find a version by its folder, or a champion by its folder, URL or name.

    InvalidModel: there is none.
    """
    folder = location(name)
    if files.exists(folder / MANIFEST):
        return ExportedModel(folder)
    places = [folder]
    if EXPERIMENT.fullmatch(name):
        places.append(storage_root() / name)
    for place in places:
        if not EXPERIMENT.fullmatch(place.name):
            continue
        registry = Registry(place.parent, place.name)
        champion = registry.champion()
        if champion is not None:
            return registry.model(champion)
        if waiting := sorted(registry.waiting().intersection(registry.versions())):
            raise InvalidModel(
                name,
                rule=f"has no champion: {', '.join(waiting)} must be approved first",
                fix=f"experiment-pipeline approve {place.name} {waiting[-1]} --by "
                "NAME, or name the version's folder.",
            )
        if retired := registry.approvals("retired"):
            raise InvalidModel(
                name,
                rule=f"has no champion: {', '.join(retired)} retired",
                fix="Run the experiment again, or name a version's folder.",
            )
    raise InvalidModel(
        name,
        rule="is neither the folder of a version nor an experiment with an exported "
        f"model (looked in {' and '.join(map(str, places))})",
        fix="Export a model first, or name the folder that holds its manifest.json.",
    )


def _versions_in(folder: UPath) -> list[str]:
    names = {name.partition(".")[0] for name in files.list_names(folder)}
    return sorted(filter(_VERSION.fullmatch, names), key=_number)


def _number(version: str) -> int:
    return int(version.removeprefix("v"))


def _approval(path: UPath, content: bytes) -> Approval:
    damage = EntryCorrupt(
        str(path),
        rule=f"is not a decision about {path.stem}",
        fix=f"Delete the file, and decide about {path.stem} again.",
    )
    approval = from_json(Approval, content, damage)
    if approval.version != path.stem or not _visible(approval.by):
        raise damage
    try:
        datetime.fromisoformat(approval.at)
    except ValueError:
        raise damage from None
    return approval


def _visible(text: str) -> str:
    """The text without what nobody sees, such as a zero-width space."""
    return "".join(filter(str.isprintable, text)).strip()


def _history_entry(
    path: UPath, content: bytes, visible: Collection[str]
) -> HistoryEntry:
    damage = EntryCorrupt(
        str(path),
        rule="is not what was written",
        fix=f"Delete the file: the list then lacks {path.stem}, but its model stays as "
        "it is.",
    )
    entry = from_json(HistoryEntry, content, damage)
    return replace(entry, visible=entry.version in visible)
