"""Records as canonical JSON and back, fingerprints, and journals of records.

A record is a frozen dataclass; its fields are the keys of a JSON object. A journal
consists of small records, one file each, which are never changed, and larger files that
they refer to:

    <root>/<experiment>/<folder>/
        <time>-<marks>-<random>.json    one note each
        <sha256>.<ending>               a file that notes refer to by digest

A note is written without reading others, so concurrent runs lose none; the names sort
by time.
"""

import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import pydantic_core
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from experiment_pipeline.errors import EntryCorrupt, ExperimentPipelineError
from experiment_pipeline.storage import files
from experiment_pipeline.table.digests import sha256

_Record = TypeVar("_Record")
# Class → its validator; cached, because making one takes milliseconds.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
# A number that may be undefined: nan, which is null in JSON.
Undefinable = Annotated[
    float, BeforeValidator(lambda value: math.nan if value is None else value)
]


def to_json(
    record: object, *, not_finite: Literal["null", "strings", "constants"] = "null"
) -> bytes:
    """Return a dataclass of plain values and nested such dataclasses as JSON.

    nan and inf become null, texts that are read back as numbers, or Python's own
    constants.
    """
    return pydantic_core.to_json(record, indent=2, inf_nan_mode=not_finite) + b"\n"


def from_json(
    kind: type[_Record], content: bytes | str, damage: ExperimentPipelineError
) -> _Record:
    """Return the record that `to_json` wrote; raise `damage` if it is not of `kind`."""
    try:
        return _adapter(kind).validate_json(content, extra="forbid")
    except ValidationError as error:
        raise damage from error


def sealed(record: object) -> bytes:
    """Return a record as JSON with its own digest, so that any change is detected."""
    content = pydantic_core.to_jsonable_python(record, inf_nan_mode="null")
    return to_json({**content, "sha256": fingerprint_of(**content)})


def unsealed(
    kind: type[_Record], content: bytes, damage: ExperimentPipelineError
) -> _Record:
    """Return the record that `sealed` wrote; arguments as for `from_json`."""
    try:
        fields = json.loads(content)
        if fields.pop("sha256") != fingerprint_of(**fields):
            raise damage
        return _adapter(kind).validate_python(fields, extra="forbid")
    # It has no digest, is not an object, or is not JSON at all.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damage from error


def fingerprint_of(**parts: Any) -> str:
    """Sha256 (hex) of named JSON values, the same on all machines.

    TypeError for other values.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode())


def read_verified(
    digests: Mapping[files.Location, str],
    damage: Callable[[files.Location, str], ExperimentPipelineError],
) -> dict[files.Location, bytes]:
    """Return path → content of files that have these digests (sha256, hex).

    Raises what `damage` makes of the path of the first other one and a rule.
    """
    contents = files.read_many(digests)
    for path, digest in digests.items():
        if path not in contents:
            raise damage(path, "is gone")
        if sha256(contents[path]) != digest:
            raise damage(path, "is not what was written")
    return contents


class Dated(Protocol):
    """A frozen dataclass with the time at which it was made, as returned by `now`."""

    @property
    def at(self) -> str: ...  # noqa: D102


_IN_NAMES = "%Y%m%dT%H%M%S.%fZ"
_Note = TypeVar("_Note", bound=Dated)


def now() -> str:
    """The current time in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def soon() -> datetime:
    """Return the latest plausible time of a note: other clocks may be ahead by an
    hour.
    """
    return datetime.now(UTC) + timedelta(hours=1)


@dataclass(frozen=True)
class Journals:
    """The journals of one experiment; a subclass sets their FOLDER."""

    root: files.Location
    experiment: str
    FOLDER: ClassVar[str]

    @classmethod
    def of(cls, experiment: str) -> Self:
        """Return the journals under the storage root."""
        return cls(files.storage_root(), experiment)

    @property
    def folder(self) -> files.Location:
        """The folder of the journals."""
        return self.root / self.experiment / self.FOLDER

    def of_all(self) -> list[Self]:
        """These, then those of all other experiments."""
        names = {*files.list_names(self.root)} - {self.experiment}
        return [self, *(replace(self, experiment=name) for name in sorted(names))]


@dataclass(frozen=True)
class Journal(Generic[_Note]):
    """Notes of one kind; `rule` and `fix` describe a damaged one in its error."""

    folder: files.Location
    kind: type[_Note]
    rule: str
    fix: str

    def append(self, note: _Note, *digests: str) -> None:
        """Write a note; its file name has the time and the start of the digests."""
        at = datetime.fromisoformat(note.at).strftime(_IN_NAMES)
        marks = [digest[:12] for digest in digests]
        name = "-".join([at, *marks, secrets.token_hex(4)])
        files.write_bytes(self.folder / f"{name}.json", to_json(note))

    def notes(self, digest: str = "") -> dict[str, _Note | EntryCorrupt]:
        """Return name → the note, or the error about it, the oldest first.

        Notes from the future come before all others. `digest`: only those that were
        appended with it.
        """
        last = soon().strftime(_IN_NAMES)
        marked = [name for name in files.list_names(self.folder) if digest[:12] in name]
        names = sorted(marked, key=lambda name: (name < last, name))
        contents = files.read_many(self.folder / name for name in names)
        return {name: self._note(self.folder / name, contents) for name in names}

    def _note(
        self, path: files.Location, contents: dict[files.Location, bytes]
    ) -> _Note | EntryCorrupt:
        damage = EntryCorrupt(str(path), self.rule, self.fix)
        try:
            return from_json(self.kind, contents.get(path, b""), damage)
        except EntryCorrupt:
            return damage


@dataclass(frozen=True)
class NamedByDigest:
    """Files `<digest of the content>.<ending>`: equal content is kept once.

    Errors as in `Journal`.
    """

    folder: files.Location
    ending: str
    rule: str
    fix: str

    def put(self, content: bytes) -> str:
        """Store content and return its digest; a damaged file is rewritten."""
        digest = sha256(content)
        path = self.path(digest)
        if files.read_if_exists(path) != content:
            files.write_bytes(path, content)
        return digest

    def read(self, digest: str) -> bytes:
        """Return the content; EntryCorrupt if it is gone or was changed."""
        path = self.path(digest)
        content = files.read_if_exists(path)
        if content is None or sha256(content) != digest:
            raise EntryCorrupt(str(path), self.rule, self.fix)
        return content

    def path(self, digest: str) -> files.Location:
        """Return the path of a digest's content, whether it exists or not."""
        return self.folder / f"{digest}.{self.ending}"
