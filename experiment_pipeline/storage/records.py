"""Records as canonical JSON and back, plain YAML, fingerprints. Nothing here touches a disk.

A record is a frozen dataclass; its fields are the keys of a JSON object.
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
# Class → its validator; made once each, because it takes milliseconds.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
# A number that may be undefined: null in JSON, which comes back as nan.
Undefinable = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


def to_json(
    record: object, *, not_finite: Literal["null", "strings", "constants"] = "null"
) -> bytes:
    """Return a record, or plain values, as strict JSON.

    Args:
        record: a dataclass of numbers, texts, tuples, mappings and other such dataclasses.
        not_finite: how nan and inf are written: as null, which every parser reads; as texts, which
            come back where a number is declared; or as NaN and Infinity, which only Python reads.
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
    """Return a record as JSON with a digest of its own, so that any change is noticed."""
    content = pydantic_core.to_jsonable_python(record, inf_nan_mode="null")
    return to_json({**content, "sha256": fingerprint_of(content)})


def unsealed(kind: type[_Record], content: bytes, damage: ExperimentPipelineError) -> _Record:
    """Return the record that `sealed` wrote; arguments as of `from_json`."""
    try:
        values = json.loads(content)
        if values.pop("sha256") != fingerprint_of(values):
            raise damage
        record: _Record = _adapter(kind).validate_python(values, extra="forbid")
    # Without a digest, not an object, or not JSON at all.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damage from error
    return record


def yaml_bytes(value: Any) -> bytes:
    """Return YAML of plain values, keys in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).encode()


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Sha256, in hex, of JSON values by name: the same on every machine; TypeError for others."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode())
