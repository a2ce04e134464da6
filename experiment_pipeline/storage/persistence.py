"""Estimators as bytes without pickle: skops, made canonical, so that equal estimators
have equal bytes.

skops' own output differs between processes: object ids are memory addresses, the
archive contains the time, and tree nodes have undefined padding bytes. Here ids and
files are numbered in the order of their first use, plain values have no id, the time is
fixed, and padding is zero.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiment_pipeline import errors
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.storage.arrays import npy
from experiment_pipeline.storage.processes import free_memory
from experiment_pipeline.storage.structure import check_structure

# Types in this package's pipelines beyond those that skops trusts by itself: reviewed,
# and never extended because a file asks for more.
TRUSTED_TYPES: tuple[str, ...] = (
    *(name for algorithm in ALGORITHMS.values() for name in algorithm.trusted_types),
    # Contained in scikit-learn's CalibratedClassifierCV: plain attributes and NumPy.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    # Names of the parts of StackingClassifier and VotingClassifier: a mapping.
    "sklearn.utils._bunch.Bunch",
    "numpy.asarray",
    "numpy.clip",
    "numpy.diff",
    "numpy.dot",
    "numpy.nan_to_num",
    "numpy.prod",
    "numpy.reshape",
    "numpy.take",
    "numpy.dtype",
    "numpy.expand_dims",
    "pandas.DataFrame",
    "pandas.Series",
)
# Errors of zipfile, zlib, json, NumPy and `check_structure` when a few bytes of a file
# are changed.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    KeyError,
    OverflowError,
    ValueError,
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SCHEMA = "schema.json"
_STORED = "the stored estimator"  # the culprit of errors
# Measured memory of a parsed JSON schema with many texts, relative to its size.
_AS_OBJECTS = 9
# On a forest, level 6 takes 2.5 times as long as level 1, for a file that is 20 %
# smaller.
_COMPRESSION_LEVEL = 1


def to_bytes(estimator: Any) -> bytes:
    """Return the estimator as canonical skops bytes; InvalidModel if skops cannot write
    it.

    The bytes are the same in all processes unless an attribute is a `set` of texts,
    whose order is random in each process.
    """
    import skops
    from skops.io._persist import SaveContext, get_state
    from skops.io.exceptions import UnsupportedTypeException

    buffer = io.BytesIO()
    try:
        # As `skops.io.dumps`, but without indenting the schema, which took 10 s for
        # 40,000 texts.
        with zipfile.ZipFile(buffer, "w") as archive:
            context = SaveContext(zip_file=archive)
            state = get_state(estimator, context)
            state |= {"protocol": context.protocol, "_skops_version": skops.__version__}
            archive.writestr(_SCHEMA, json.dumps(state))
    except (UnsupportedTypeException, TypeError, AttributeError, ValueError) as error:
        raise errors.InvalidModel(
            f"estimator {type(estimator).__name__}",
            rule=f"it cannot be stored without pickle: {error}",
            fix="keep only data, module-level functions and estimators in its "
            "attributes",
        ) from error
    return _canonical(buffer)


def from_bytes(content: bytes, extra_trusted: Sequence[str] = ()) -> Any:
    """Return the estimator of `to_bytes`; InvalidModel: a type is not trusted, or the
    file is damaged.
    """
    from skops.io._audit import audit_tree, get_tree
    from skops.io._utils import read_schema
    from skops.io.exceptions import UntrustedTypesFoundException

    trusted = [*TRUSTED_TYPES, *extra_trusted]
    try:
        # As `skops.io.loads`, which does not look at what arrays and trees contain.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            schema, context = read_schema(archive)
            tree = get_tree(schema, context, trusted=trusted)
            audit_tree(tree, trusted=trusted)
            check_structure(tree)
            return tree.construct()
    except UntrustedTypesFoundException as error:
        raise errors.InvalidModel(
            _STORED,
            rule=str(error),
            fix="trust its types only if you know where it comes from",
        ) from error
    except _DAMAGED as error:
        raise errors.InvalidModel(
            _STORED,
            rule=f"it is not a skops file, or was changed: {error}",
            fix="train or export it again",
        ) from error


def check_foreign(model: bytes) -> None:
    """Raise InvalidModel for a skops file that unpacks beyond the free memory."""
    needed = loading_bytes(model)
    free = free_memory()
    if needed > free.size:
        raise errors.InvalidModel(
            _STORED,
            rule=f"loading it takes {needed:,} bytes, beyond {free.limited_by} "
            f"({free.size:,} are free)",
            fix="use a machine with more memory",
        )
    # skops reads a file once for each object that names it.
    owners = dict[str, list[Any]]()

    def collect(node: dict[str, Any]) -> None:
        if isinstance(name := node.get("file"), str):
            owners.setdefault(name, []).append(node.get("__id__"))

    archive = zipfile.ZipFile(io.BytesIO(model))
    json.loads(archive.read(_SCHEMA), object_hook=collect)
    for name, ids in owners.items():
        if None in ids or len({*ids}) > 1:
            raise errors.InvalidModel(
                _STORED,
                rule=f"several objects name {name}, so that loading it takes more "
                "memory than it says",
                fix="train or export it again",
            )


def loading_bytes(model: bytes) -> int:
    """Estimate the memory for loading a file of `to_bytes`: arrays twice, and the
    schema as objects.
    """
    parts = zipfile.ZipFile(io.BytesIO(model)).infolist()
    return sum(
        part.file_size * (_AS_OBJECTS if part.filename == _SCHEMA else 2)
        for part in parts
    )


def untrusted_types(fresh: bytes) -> tuple[str, ...]:
    """Return the types in freshly made bytes that neither skops nor TRUSTED_TYPES
    trusts.
    """
    import skops.io

    return tuple(sorted({*skops.io.get_untrusted_types(data=fresh)} - {*TRUSTED_TYPES}))


def _canonical(skops_file: io.BytesIO) -> bytes:
    source = zipfile.ZipFile(skops_file)
    numbering = _Numbering()
    schema = numbering.renamed(json.loads(source.read(_SCHEMA)))
    contents = {_SCHEMA: json.dumps(schema).encode()}
    for old, new in numbering.files.items():
        contents[new] = _without_padding(source.read(old))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in contents.items():
            archive.writestr(
                zipfile.ZipInfo(name, _EPOCH),
                content,
                zipfile.ZIP_DEFLATED,
                _COMPRESSION_LEVEL,
            )
    return target.getvalue()


def _without_padding(content: bytes) -> bytes:
    """A file, with the padding zeroed if it is a structured array."""
    if not content.startswith(b"\x93NUMPY"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    return npy(clean)


@dataclass(frozen=True)
class _Numbering:
    """Ids and files of a schema, numbered in the order of their first use."""

    ids: dict[int, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def renamed(self, node: Any) -> Any:
        """Copy a part of the schema, with new ids and files.

        Texts and numbers lose their id: Python decides whether two equal ones are one
        object.
        """
        if isinstance(node, list):
            return [self.renamed(child) for child in node]
        if not isinstance(node, dict):
            return node
        copy = {
            key: value if key == "__id__" else self.renamed(value)
            for key, value in node.items()
        }
        if copy.get("__loader__") == "JsonNode":
            copy.pop("__id__", None)
        if "__id__" in copy:
            # Starting at 1: skops treats 0 as no id.
            copy["__id__"] = self.ids.setdefault(copy["__id__"], len(self.ids) + 1)
        if isinstance(name := copy.get("file"), str):
            new_name = f"{len(self.files):04d}{Path(name).suffix}"
            copy["file"] = self.files.setdefault(name, new_name)
        return copy
