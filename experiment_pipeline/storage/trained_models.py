"""Trained models by fingerprint: written once, never changed, reused by every later run.

    <root>/<experiment>/trained_model/<fingerprint>/
        model.<digest>.txt | .skops      LightGBM's text, or a skops file; without the features
        test_predictions.<digest>.npy    of all test rows
        train_predictions.<digest>.npy   of the train rows that the train score is of
        result.json                      written last, once: only with it does the entry exist

`result.json` names the other three and their sha256. The digests in the names keep two writers
apart who train one configuration at once: each file is whole, and the first `result.json`
decides which ones count. In: a `TrainedModel`. Out: the same one, checked. What decides a
fingerprint is in `core/trained_model`.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from upath import UPath

from experiment_pipeline.core.errors import EntryCorrupt
from experiment_pipeline.core.fingerprints import fingerprint_of
from experiment_pipeline.core.trained_model.results import ModelResult, Predictions, TrainedModel
from experiment_pipeline.storage.files import create_exclusive, read_many, write_bytes

RESULT = "result.json"
_MODEL, _ON_TEST, _ON_TRAIN = "model", "test_predictions", "train_predictions"
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
        return {print_: entry.result for print_, entry in self._entries(fingerprints).items()}

    def test_predictions(self, fingerprints: Iterable[str]) -> dict[str, np.ndarray]:
        """Return fingerprint → predictions of the test rows, of the entries that exist.

        Raises:
            EntryCorrupt: as of `get_many`; models are not looked at.
        """
        contents = self._contents(self._entries(fingerprints), (_ON_TEST,))
        return {print_: _array(files[_ON_TEST]) for print_, files in contents.items()}

    def predictions(self, fingerprint: str) -> Predictions:
        """Return what an entry predicts, from which any metric can be computed.

        Raises:
            EntryCorrupt: there is no such entry, or as of `get_many`; the model is not looked at.
        """
        contents = self._contents(self._entries([fingerprint]), (_ON_TEST, _ON_TRAIN))
        if fingerprint not in contents:
            raise self._corrupt(fingerprint, RESULT, "is gone")
        return _predictions(contents[fingerprint])

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
        entries = self._entries(fingerprints)
        contents = self._contents(entries, (_MODEL, _ON_TEST, _ON_TRAIN))
        return {
            print_: TrainedModel(entries[print_].result, files[_MODEL], _predictions(files))
            for print_, files in contents.items()
        }

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

    def _entries(self, fingerprints: Iterable[str]) -> dict[str, "_Entry"]:
        paths = {print_: self.folder(print_) / RESULT for print_ in fingerprints}
        found = read_many(paths.values())
        return {
            print_: self._parsed(print_, found[path])
            for print_, path in paths.items()
            if path in found
        }

    def _parsed(self, fingerprint: str, content: bytes) -> "_Entry":
        try:
            entry = _Entry.from_bytes(content)
        except (ValueError, KeyError, TypeError) as error:
            raise self._corrupt(fingerprint, RESULT, "is not what was written") from error
        if entry.result.fingerprint != fingerprint:
            raise self._corrupt(fingerprint, RESULT, "belongs to another fingerprint")
        return entry

    def _contents(
        self, entries: Mapping[str, "_Entry"], parts: tuple[str, ...]
    ) -> dict[str, dict[str, bytes]]:
        """Fingerprint → part → content, all read at once and checked."""
        paths = {
            (print_, part): self.folder(print_) / entry.files[part].name
            for print_, entry in entries.items()
            for part in parts
        }
        found = read_many(paths.values())
        contents: dict[str, dict[str, bytes]] = {print_: {} for print_ in entries}
        for (print_, part), path in paths.items():
            if path not in found:
                raise self._corrupt(print_, path.name, "is gone")
            if _sha256(found[path]) != entries[print_].files[part].sha256:
                raise self._corrupt(print_, path.name, "is not what was written")
            contents[print_][part] = found[path]
        return contents

    def _corrupt(self, fingerprint: str, name: str, rule: str) -> EntryCorrupt:
        folder = self.folder(fingerprint)
        return EntryCorrupt(str(folder / name), rule, f"Delete the folder {folder}, and run again.")


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
