"""What an agent may change of an experiment, and what is left to a person.

The change is an object of keys of defs.yaml with their new values. It is checked here
for what an agent could misuse, then as any defs.yaml.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from experiment_pipeline.errors import InvalidExperiment, allowed_instead, did_you_mean
from experiment_pipeline.experiment import declared
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.spec.notation import paths_in
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.schema import shared_schema

# Which rows judge, and by what, is the question itself.
_OF_A_PERSON = ("metric", "split", "target", "acceptance", "evaluation")
_OF_AN_ENTRY = (
    "algorithm",
    "method",
    "draws",
    "hyperparameters",
    "configurations",
    "features",
    "note",
)
_MOST_BYTES = 20_000
_MOST_CONFIGURATIONS = 300
_LONGEST_TEXT = 80
_LONGEST_REASON = 1_000
# No path, address, template or markup.
_PLAIN = re.compile(r"[\w .,:;=+()%-]*")
# The name of a hyperparameter, also within a text in Python's notation.
_SEED = re.compile(r"\b(\w+_)?(seed|random_state)\b")
_Check = Callable[[Any, NamedColumns], None]


def changed(change: Mapping[str, Any], named: NamedColumns) -> NamedColumns:
    """Return an experiment with a proposed change.

    Raises InvalidExperiment: it is not allowed, or impossible.
    """
    try:
        text = json.dumps(change, allow_nan=False)
    except ValueError as error:
        raise _refused("the change", str(error), "Give plain values.") from None
    if len(text) > _MOST_BYTES:
        raise _refused(
            "the change",
            f"{len(text):,} characters, at most {_MOST_BYTES:,} are allowed",
            "Propose less at once.",
        )
    if not change:
        raise _refused("the change", "it changes nothing", "Name a key.")
    for key, value in change.items():
        if key in _OF_A_PERSON:
            raise _refused(
                key,
                "it is part of the question, which a person decides",
                "Ask the person, with your reason.",
            )
        if key not in _CHECKS:
            hint = allowed_instead(key, list(_CHECKS))
            raise _refused(key, "an agent may not change it", f"{hint}.")
        _CHECKS[key](value, named)
    keys = dict(change)
    if "exclude" in keys:
        keys["exclude"] = {**named.spec.exclude, **_excluded(keys["exclude"])}
    if "preparation" in keys:
        declared_keys = declared.declared_keys(named)
        keys["preparation"] = {
            **declared_keys.get("preparation", {}),
            **keys["preparation"],
        }
    return declared.with_keys(named, keys, named.schema_text)


def id_of(change: Mapping[str, Any], named: NamedColumns) -> str:
    """Return the id of a change of an experiment: equal ones have the same."""
    return fingerprint_of(
        change=change, yaml=named.yaml_text, schema=named.schema_text
    )[:12]


def checked_reason(reason: str) -> str:
    """Return a reason for a record; InvalidExperiment: it is empty or too long."""
    text = " ".join(reason.split())
    if not 0 < len(text) <= _LONGEST_REASON:
        raise _refused(
            "reason",
            f"{len(text):,} characters; 1 to {_LONGEST_REASON:,} are allowed",
            "Say in a sentence or two why it may help.",
        )
    return text


def _refused(culprit: str, rule: str, fix: str) -> InvalidExperiment:
    return InvalidExperiment(culprit[:_LONGEST_TEXT], rule, fix)


def _plain(value: Any, place: str) -> None:
    """Check that all texts in a value are plain."""
    for text in _texts(value):
        if len(text) > _LONGEST_TEXT or not _PLAIN.fullmatch(text):
            raise _refused(
                place,
                f"{text[:_LONGEST_TEXT]!r} is not a plain text of at most "
                f"{_LONGEST_TEXT} characters",
                "Leave out paths, addresses, templates and markup.",
            )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _check_plain(value: Any, _named: NamedColumns) -> None:
    _plain(value, "the change")


def _check_search(search: Any, named: NamedColumns) -> None:
    if not isinstance(search, list) or not search:
        raise _refused(
            "search", "it is not a list of entries", "Give [{algorithm: linear}]."
        )
    configurations = 0.0
    for number, entry in enumerate(search):
        place = f"search.{number}"
        if not isinstance(entry, dict):
            raise _refused(
                place, "it is not an object", "Give {algorithm: …, hyperparameters: …}."
            )
        for key in entry:
            if key not in _OF_AN_ENTRY:
                hint = allowed_instead(key, list(_OF_AN_ENTRY))
                raise _refused(f"{place}.{key}", "an agent may not give it", f"{hint}.")
        _plain(entry, place)
        for path in (entry.get("algorithm", ""), *paths_in(list(_texts(entry)))):
            _check_path(path, place, named)
        _check_seeds(entry, place)
        configurations += _configurations(entry)
    if configurations > _MOST_CONFIGURATIONS:
        raise _refused(
            "search",
            f"{configurations:,.0f} configurations, at most {_MOST_CONFIGURATIONS}",
            "Give fewer values, or method: random with draws.",
        )


def _configurations(entry: Mapping[str, Any]) -> float:
    """How many configurations an entry stands for."""
    if "draws" in entry:
        return float(entry["draws"]) if isinstance(entry["draws"], int) else 1.0
    hyperparameters = entry.get("hyperparameters")
    values = hyperparameters.values() if isinstance(hyperparameters, dict) else ()
    lists = [len(value) for value in values if isinstance(value, list)]
    several = entry.get("configurations")
    listed = len(several) if isinstance(several, list) else 1
    features = entry.get("features")
    encoders = len(features) if isinstance(features, list) else 1
    return math.prod(map(float, [*lists, max(listed, 1), max(encoders, 1)]))


def _check_seeds(entry: Mapping[str, Any], place: str) -> None:
    several = entry.get("configurations")
    listed = several if isinstance(several, list) else []
    texts = [*_texts(entry.get("hyperparameters")), *_texts(listed)]
    for text in texts:
        if seed := _SEED.search(text):
            raise _refused(
                f"{place}.{seed[0]}",
                "seeds are not chosen: a lucky one is no better model",
                "Leave it out.",
            )


def _check_path(path: Any, place: str, named: NamedColumns) -> None:
    """Check that a name is built in, or on the person's list."""
    modules = named.spec.lab.modules
    if path in ALGORITHMS or path in modules:
        return
    allowed = [*ALGORITHMS, *modules]
    hint = did_you_mean(str(path), allowed, otherwise=f"allowed: {', '.join(allowed)}")
    raise _refused(
        f"{place}: {str(path)[:_LONGEST_TEXT]!r}",
        "it is neither built in nor on the person's list `lab.modules`",
        hint,
    )


def _check_exclude(exclude: Any, named: NamedColumns) -> None:
    columns = _columns_of(named)
    for name, why in _excluded(exclude).items():
        if name not in columns:
            raise _refused(
                f"exclude: {name!r}",
                "the table has no such column",
                did_you_mean(name, columns),
            )
        if not isinstance(why, str):
            raise _refused(f"exclude.{name}", "it has no reason", "Give one.")
        _plain(why, f"exclude.{name}")


def _excluded(exclude: Any) -> dict[str, Any]:
    """Column → reason; a list of names is short for it."""
    if isinstance(exclude, list):
        return dict.fromkeys(map(str, exclude), "proposed")
    if isinstance(exclude, dict):
        return exclude
    raise _refused("exclude", "it is not a list of columns", 'Give ["tenure"].')


def _check_monotone(monotone: Any, named: NamedColumns) -> None:
    columns = _columns_of(named)
    for name in monotone if isinstance(monotone, dict) else [str(monotone)]:
        if name not in columns:
            raise _refused(
                f"monotone: {name!r}",
                "the table has no such column",
                did_you_mean(name, columns),
            )


def _check_preparation(preparation: Any, named: NamedColumns) -> None:
    _check_only(preparation, "preparation", "function")
    _check_path(preparation["function"], "preparation.function", named)


def _check_features(features: Any, named: NamedColumns) -> None:
    path = features
    if isinstance(features, dict):
        _check_only(features, "features", "transformer")
        path = features["transformer"]
    _check_path(path, "features", named)


def _check_only(value: Any, place: str, key: str) -> None:
    if not isinstance(value, dict) or [*value] != [key]:
        raise _refused(
            place, f"only its key {key} may be changed", f"Give {{{key}: module:name}}."
        )


def _columns_of(named: NamedColumns) -> list[str]:
    """The columns that a reason or a rule may name."""
    schema = shared_schema(named.schema_text, named.schema_path)
    return [str(column) for column in schema.columns]


# Key of defs.yaml that an agent may change → how its value is checked first.
_CHECKS: Mapping[str, _Check] = {
    "search": _check_search,
    "exclude": _check_exclude,
    "monotone": _check_monotone,
    "preparation": _check_preparation,
    "features": _check_features,
    "halving": _check_plain,
    "calibrate": _check_plain,
    "choice": _check_plain,
    "ensemble": _check_plain,
}
