"""Values as bytes that are the same for the same values: strict JSON, plain YAML, fingerprints.

In: plain values. Out: bytes, or the sha256 over everything that decides a result, the same in
every process and on every machine. Nothing here touches a disk.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import yaml

from experiment_pipeline.rows.digests import sha256


def json_bytes(value: Any) -> bytes:
    """Return JSON that every parser reads: numbers that JSON lacks (nan, inf) become null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def yaml_bytes(value: Any) -> bytes:
    """Return YAML of plain values, keys in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).encode()


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Sha256, in hex, of the parts as canonical JSON (sorted keys, no spaces).

    Args:
        parts: JSON values by name. Anything else is a TypeError: a repr could hold an address.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
