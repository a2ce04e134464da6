"""Values as bytes and back, the same bytes for the same values: JSON records, plain YAML, fingerprints.

A record is a frozen dataclass; its fields are the keys of a JSON object, so that what is written
needs no other description. In: values, bytes. Out: bytes; a checked record, or the error that who
reads it names. Nothing here touches a disk.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

import pydantic_core
import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from experiment_pipeline.errors import ExperimentPipelineError
from experiment_pipeline.table.digests import sha256

_Record = TypeVar("_Record")
# A class → what checks it; made once each, for it takes milliseconds.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
# A number that may be undefined: JSON says null, which comes back as nan.
Undefinable = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


def to_json(
    record: object, *, not_finite: Literal["null", "strings", "constants"] = "null"
) -> bytes:
    """Return a record, or plain values, as strict JSON.

    Args:
        record: a dataclass of numbers, texts, tuples, mappings and other such dataclasses.
        not_finite: what becomes of numbers that JSON lacks (nan, inf): null, which every parser
            reads; texts, which come back where a number is declared; or NaN and Infinity, which
            come back anywhere, but only here.
    """
    return pydantic_core.to_json(record, indent=2, inf_nan_mode=not_finite) + b"\n"


def from_json(
    kind: type[_Record], content: bytes | str, damage: ExperimentPipelineError
) -> _Record:
    """Return the record that `to_json` wrote.

    Args:
        kind: the record's class.
        content: JSON.
        damage: what is raised when a field is unknown, missing or of another type.
    """
    try:
        record: _Record = _adapter(kind).validate_json(content, extra="forbid")
    except ValidationError as error:
        raise damage from error
    return record


def sealed(record: object) -> bytes:
    """Return a record as JSON with a digest of its own, so that a changed number shows too."""
    content = pydantic_core.to_jsonable_python(record, inf_nan_mode="null")
    return to_json({**content, "sha256": fingerprint_of(content)})


def unsealed(kind: type[_Record], content: bytes, damage: ExperimentPipelineError) -> _Record:
    """Return the record that `sealed` wrote; arguments as of `from_json`."""
    try:
        said = json.loads(content)
        if said.pop("sha256") != fingerprint_of(said):
            raise damage
        record: _Record = _adapter(kind).validate_python(said, extra="forbid")
    # Without a digest, no object, or no JSON at all.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damage from error
    return record


def yaml_bytes(value: Any) -> bytes:
    """Return YAML of plain values, keys in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).encode()


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Sha256, in hex, of the parts as canonical JSON: the same in every process, on every machine.

    Args:
        parts: JSON values by name. Anything else is a TypeError: a repr could hold an address.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode())
