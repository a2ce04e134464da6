"""Texts that are kept of a run, with `***` in place of what looks like a secret.

masks.yaml holds the patterns: of files that are left out, of names that have a secret
for their value, and of the secrets themselves.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from experiment_pipeline.spec.reading import YamlFile
from experiment_pipeline.storage.files import without_credentials

_MASKS = yaml.safe_load(
    (Path(__file__).parent / "masks.yaml").read_text(encoding="utf-8")
)
_STARS = "***"
_NAMED_SECRET = re.compile(f".*{_MASKS['key']}", re.VERBOSE)
# Keys of defs.yaml with arguments and addresses. Elsewhere a key is often the name of a
# column, such as `token`, and its value a type or a reason.
_ARGUMENTS = frozenset(
    {"data", "engine", "export", "features", "mlflow", "search", "tags"}
)


def is_named_like_secrets(file: str) -> bool:
    """Whether the name of a file says that it holds secrets: .env, id_rsa, x.pem."""
    return bool(re.search(_MASKS["files"], file, re.VERBOSE | re.IGNORECASE))


def masked(text: str, *, python: bool) -> str:
    """Return a text with `***` in place of what looks like a secret, as many lines."""
    patterns = list(_MASKS["texts"])
    if not python:
        patterns.append(_MASKS["unquoted"])
    return _without(patterns, text)


def _without(patterns: Iterable[str], text: str) -> str:
    for pattern in patterns:
        with_key = pattern.replace("@key@", _MASKS["key"])
        text = re.sub(with_key, _hidden, text, flags=re.VERBOSE)
    return text


def _hidden(match: re.Match[str]) -> str:
    first, *further = match["secret"].split("\n")
    if _is_template(first):
        return match[0]
    # In a diff, the lines of a multi-line key keep their markers (+, -).
    stars = [_STARS, *(re.sub(r"^([+ -]?).*", r"\1***", line) for line in further)]
    return match[0].removesuffix(match["secret"]) + "\n".join(stars)


def _is_template(text: str) -> bool:
    return bool(re.fullmatch(_MASKS["template"], text, re.VERBOSE))


def masked_yaml(text: str) -> str:
    """Return the text of an experiment's YAML, as many lines, with `***` in place of
    passwords in addresses, known kinds of keys, and arguments that are named like a
    secret.

    Templates stay, and so do the names of columns.
    """
    for start, end in sorted(_secret_values(text), reverse=True):
        lines = "\n" * text.count("\n", start, end)
        text = f"{text[:start]}'{_STARS}'{lines}{text[end:]}"
    return _without_known_secrets(text)


def _without_known_secrets(text: str) -> str:
    patterns = [pattern for pattern in _MASKS["texts"] if "@key@" not in pattern]
    return without_credentials(_without(patterns, text))


def secret_lines(text: str) -> list[int]:
    """Return the numbers of the lines, from 1, that `masked_yaml` changes."""
    pairs = zip(text.split("\n"), masked_yaml(text).split("\n"), strict=True)
    return [n for n, (line, shown) in enumerate(pairs, start=1) if line != shown]


def _secret_values(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values stand that are secrets as a whole: by their key, or by
    their form.
    """
    for path, node in YamlFile(text, "defs.yaml").scalars():
        # The key of the experiment is the first, or the second below `attributes`.
        is_argument = not _ARGUMENTS.isdisjoint(path[:2])
        is_named = _NAMED_SECRET.fullmatch(str(path[-1])) if path else None
        is_secret = is_argument and is_named and not _is_template(node.value or "*")
        if is_secret or _without_known_secrets(node.value) == _STARS != node.value:
            yield node.start_mark.index, node.end_mark.index
