"""Fingerprints: one sha256 over everything that decides a result.

The same parts give the same fingerprint in every process and on every machine.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Sha256, in hex, of the parts as canonical JSON (sorted keys, no spaces).

    Args:
        parts: JSON values by name. Anything else is a TypeError: a repr could hold an address.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
