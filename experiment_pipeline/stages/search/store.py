"""Trained models by fingerprint: written once, never changed, reused by every later run.

    <root>/<experiment>/trained_model/<fingerprint>/
        model.<digest>.txt | .skops      LightGBM's text, or a skops file; without the features
        test_predictions.<digest>.npy    of all test rows
        train_predictions.<digest>.npy   of the train rows that the train score is of
        result.json                      written last, once: only with it does the entry exist

`result.json` names the other three and their sha256. The digests in the names keep two writers
apart who train one configuration at once: each file is whole, and the first `result.json`
decides which ones count. In: a `TrainedModel`. Out: the same one, checked; damaged ones go
into quarantine (`storage/entries.py`). What decides a fingerprint is in `stages/search`.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.stages.search.results import ModelResult, Predictions, TrainedModel
from experiment_pipeline.storage.entries import RESULT, quarantine
from experiment_pipeline.storage.files import create_exclusive, read_many, write_bytes
from experiment_pipeline.storage.records import fingerprint_of

_CHECKED_AT_ONCE = 8  # entries in memory: models may be large
_MODEL, _ON_TEST, _ON_TRAIN = _PARTS = ("model", "test_predictions", "train_predictions")
_SKOPS_START = b"PK"  # a skops file is a zip archive


@dataclass(frozen=True)
class TrainedModelStore:
    """The trained models of one experiment.

    Attributes:
        root: the storage root.
        experiment: the experiment's name.
    """

    root: UPath
    experiment: str

    def folder(self, fingerprint: str) -> UPath:
        """Return where the entry of a fingerprint is, or would be."""
        return self.root / self.experiment / "trained_model" / fingerprint

    def results(self, fingerprints: Iterable[str]) -> dict[str, ModelResult]:
        """Return fingerprint → numbers, of the entries that exist.

        One small file per entry is read; the model and its predictions are not looked at.

        Raises:
            EntryCorrupt: a `result.json` is not what was written.
        """
        return {print_: entry.result for print_, (entry, _) in self._read(fingerprints).items()}

    def test_predictions(self, fingerprints: Iterable[str]) -> dict[str, np.ndarray]:
        """Return fingerprint → predictions of the test rows, of the entries that exist.

        Raises:
            EntryCorrupt: as of `get_many`; models are not looked at.
        """
        found = self._read(fingerprints, _ON_TEST)
        return {print_: _array(files[_ON_TEST]) for print_, (_, files) in found.items()}

    def predictions(self, fingerprint: str) -> Predictions:
        """Return what an entry predicts, from which any metric can be computed.

        Raises:
            EntryCorrupt: there is no such entry, or as of `get_many`; the model is not looked at.
        """
        found = self._read([fingerprint], _ON_TEST, _ON_TRAIN)
        if fingerprint not in found:
            raise self._corrupt(fingerprint, RESULT, "is gone")
        return _predictions(found[fingerprint][1])

    def get(self, fingerprint: str) -> TrainedModel | None:
        """Return an entry; None when there is none. EntryCorrupt as of `get_many`."""
        return self.get_many([fingerprint]).get(fingerprint)

    def require(self, fingerprint: str) -> TrainedModel:
        """Return an entry that must be there; EntryCorrupt when it is gone."""
        if (found := self.get(fingerprint)) is None:
            raise self._corrupt(fingerprint, RESULT, "is gone")
        return found

    def get_many(self, fingerprints: Iterable[str]) -> dict[str, TrainedModel]:
        """Return fingerprint → trained model, of the entries that exist.

        Raises:
            EntryCorrupt: a file of an entry is gone, cut short or changed.
        """
        return {
            print_: TrainedModel(entry.result, files[_MODEL], _predictions(files))
            for print_, (entry, files) in self._read(fingerprints, *_PARTS).items()
        }

    def quarantine_damaged(
        self, fingerprints: Iterable[str], tell: Callable[[str], object]
    ) -> None:
        """Look into every file of the entries that exist, and put those that are damaged into quarantine.

        What is left can be reused to the end of a run, and what is in quarantine is trained again.

        Args:
            fingerprints: which entries.
            tell: is given a sentence for each that was damaged.
        """
        prints = list(fingerprints)
        for start in range(0, len(prints), _CHECKED_AT_ONCE):
            some = prints[start : start + _CHECKED_AT_ONCE]
            for print_, found in self._look(some, _PARTS).items():
                if isinstance(found, EntryCorrupt):
                    tell(quarantine(self.folder(print_), found))

    def put(self, trained: TrainedModel) -> TrainedModel:
        """Store a trained model, and return what the store holds now.

        That is the one given, or the one that was there before, or that of another writer who
        was faster: an entry never changes.

        Raises:
            EntryCorrupt: there is an entry, and it is damaged.
        """
        fingerprint = trained.result.fingerprint
        if (existing := self.get(fingerprint)) is not None:
            return existing
        contents = _files_of(trained)
        for name, content in contents.values():
            write_bytes(self.folder(fingerprint) / name, content)
        files = {part: _File(name, _sha256(content)) for part, (name, content) in contents.items()}
        entry = _Entry(trained.result, files)
        if create_exclusive(self.folder(fingerprint) / RESULT, entry.to_bytes()):
            return trained
        return self.require(fingerprint)

    def _read(self, fingerprints: Iterable[str], *parts: str) -> dict[str, "_Content"]:
        """What `_look` finds; EntryCorrupt when an entry is damaged."""
        whole: dict[str, _Content] = {}
        for print_, found in self._look(fingerprints, parts).items():
            if isinstance(found, EntryCorrupt):
                raise found
            whole[print_] = found
        return whole

    def _look(
        self, fingerprints: Iterable[str], parts: tuple[str, ...]
    ) -> dict[str, "_Content | EntryCorrupt"]:
        """Fingerprint → the entry and some of its files, read at once; or what is wrong with it."""
        places = {print_: self.folder(print_) / RESULT for print_ in fingerprints}
        written = read_many(places.values())
        entries = {
            print_: self._parsed(print_, written[path])
            for print_, path in places.items()
            if path in written
        }
        files = read_many(
            self.folder(print_) / entry.files[part].name
            for print_, entry in entries.items()
            if isinstance(entry, _Entry)
            for part in parts
        )
        return {
            print_: self._checked(print_, entry, parts, files)
            if isinstance(entry, _Entry)
            else entry
            for print_, entry in entries.items()
        }

    def _parsed(self, fingerprint: str, content: bytes) -> "_Entry | EntryCorrupt":
        try:
            entry = _Entry.from_bytes(content)
        except (ValueError, KeyError, TypeError):
            return self._corrupt(fingerprint, RESULT, "is not what was written")
        if entry.result.fingerprint != fingerprint:
            return self._corrupt(fingerprint, RESULT, "belongs to another fingerprint")
        return entry

    def _checked(
        self,
        fingerprint: str,
        entry: "_Entry",
        parts: tuple[str, ...],
        found: Mapping[UPath, bytes],
    ) -> "_Content | EntryCorrupt":
        contents = {}
        for part in parts:
            file = entry.files[part]
            content = found.get(self.folder(fingerprint) / file.name)
            if content is None:
                return self._corrupt(fingerprint, file.name, "is gone")
            if _sha256(content) != file.sha256:
                return self._corrupt(fingerprint, file.name, "is not what was written")
            contents[part] = content
        return entry, contents

    def _corrupt(self, fingerprint: str, name: str, rule: str) -> EntryCorrupt:
        fix = "Materialize trained_model: it moves the damaged entry away and trains it again."
        return EntryCorrupt(str(self.folder(fingerprint) / name), rule, fix)


@dataclass(frozen=True)
class IntactModels:
    """What of a store a run can reuse: each entry is looked into once, before it is relied on.

    Attributes:
        store: the trained models.
        tell: is given a sentence for each damaged entry, which goes into quarantine.
    """

    store: TrainedModelStore
    tell: Callable[[str], object]
    _looked_into: set[str] = field(default_factory=set)

    def results(self, fingerprints: Iterable[str]) -> dict[str, ModelResult]:
        """Return fingerprint → numbers, of the intact entries."""
        asked = list(fingerprints)
        new = [print_ for print_ in asked if print_ not in self._looked_into]
        self.store.quarantine_damaged(new, self.tell)
        self._looked_into.update(new)
        return self.store.results(asked)

    def predictions(self, fingerprint: str) -> Predictions:
        """Return what an entry predicts."""
        return self.store.predictions(fingerprint)


@dataclass(frozen=True)
class _File:
    """A file of an entry: its name in the folder, and its digest in hex."""

    name: str
    sha256: str


@dataclass(frozen=True)
class _Entry:
    """What `result.json` says."""

    result: ModelResult
    files: Mapping[str, _File]

    def to_bytes(self) -> bytes:
        """JSON with a digest of its own, so that a changed number shows too."""
        content = {
            "result": json.loads(self.result.to_json()),
            "files": {part: {"name": f.name, "sha256": f.sha256} for part, f in self.files.items()},
        }
        return json.dumps({**content, "sha256": fingerprint_of(content)}, indent=2).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Raise ValueError, KeyError or TypeError when that is not what `to_bytes` wrote."""
        parsed: dict[str, Any] = json.loads(content)
        if parsed.pop("sha256") != fingerprint_of(parsed):
            raise ValueError("the digest does not fit")
        files = {part: _File(**file) for part, file in parsed["files"].items()}
        return cls(ModelResult.from_json(json.dumps(parsed["result"])), files)


# An entry, and the content of some of its files by part.
_Content = tuple[_Entry, dict[str, bytes]]


def _files_of(trained: TrainedModel) -> dict[str, tuple[str, bytes]]:
    """Part → name and content of its file."""
    ending = "skops" if trained.model.startswith(_SKOPS_START) else "txt"
    contents = {
        (_MODEL, ending): trained.model,
        (_ON_TEST, "npy"): _npy(trained.predictions.test),
        (_ON_TRAIN, "npy"): _npy(trained.predictions.train),
    }
    return {
        part: (f"{part}.{_sha256(content)[:12]}.{ending}", content)
        for (part, ending), content in contents.items()
    }


def _predictions(files: Mapping[str, bytes]) -> Predictions:
    return Predictions(test=_array(files[_ON_TEST]), train=_array(files[_ON_TRAIN]))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(content: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
