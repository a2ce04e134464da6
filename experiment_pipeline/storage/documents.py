"""The text files of an exported model: strict JSON, plain YAML, and URLs without secrets.

In: plain values. Out: bytes that are the same for the same values, or values read back
safely. What goes into which file lives in `stages/exported_model/package.py`; nothing here touches a disk.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^/@\s]+)@", re.IGNORECASE)
_SECRET_SETTING = re.compile(
    r"(?P<key>[?&][^=&\s]*(?:sig|token|key|secret|password|credential)[^=&\s]*)=[^&\s#]*",
    re.IGNORECASE,
)


def json_bytes(value: Any) -> bytes:
    """Return JSON that every parser reads: numbers that JSON lacks (nan, inf) become null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def yaml_bytes(value: Any) -> bytes:
    """Return YAML of plain values, keys in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).encode()


def without_credentials(text: str) -> str:
    """Replace what a URL keeps secret by `***`: user and password, tokens and signatures.

    >>> without_credentials("https://me:pass@host/repo.git?token=abc&x=1")
    'https://***@host/repo.git?token=***&x=1'

    The user of an ssh URL stays (`ssh://git@host`): it is an address, not a secret.
    """
    return _SECRET_SETTING.sub(r"\g<key>=***", _USER_INFO.sub(_hide_user, text))


def redacted(value: Any) -> Any:
    """Apply `without_credentials` to every text inside a nested plain value."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def _hide_user(match: re.Match[str]) -> str:
    scheme, user = match["scheme"], match["user"]
    if scheme.lower().endswith("ssh") and ":" not in user:
        return match[0]
    return f"{scheme}://***@"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
