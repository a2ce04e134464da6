"""What an agent may change of an experiment, and what is left to a person.

The change is an object of keys of defs.yaml with their new values. Its texts are
checked before they become YAML, its import paths before anything is imported; the rest
as in any defs.yaml.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from experiment_pipeline.errors import InvalidExperiment, allowed_instead, did_you_mean
from experiment_pipeline.experiment import declared
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS
from experiment_pipeline.spec.reading import Problem
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.table.features import NamedColumns

# Which rows judge, and by what, is the question itself, and a person's.
_KEYS = [
    *("search", "exclude", "monotone", "preparation", "features", "halving"),
    *("calibrate", "choice", "ensemble"),
]
_OF_COLUMNS = ("exclude", "monotone")
_MOST_CHARACTERS = 20_000
_MOST_CONFIGURATIONS = 300
_LONGEST_TEXT = 80
# No path, address, template or markup.
_PLAIN = re.compile(r"[\w .,:;=+()%-]*")
# A key, or an argument within a text in Python's notation.
_SEED = re.compile(r"\w*(seed|random_state)\s*=")


def changed(
    change: Mapping[str, Any], named: NamedColumns, columns: Collection[str]
) -> NamedColumns:
    """Return an experiment with a proposed change; `columns`: the table's.

    Raises InvalidExperiment: it is not allowed, or impossible.
    """
    size = len(json.dumps(change))
    if not change or size > _MOST_CHARACTERS:
        raise InvalidExperiment(
            "the change",
            f"{size:,} characters; a key, and at most {_MOST_CHARACTERS:,} are allowed",
            "Name a key to change, and propose less at once.",
        )
    for key, value in change.items():
        if key not in _KEYS:
            rule = "an agent may not change it"
            hint = f"{allowed_instead(key, _KEYS)}; else ask the person"
            raise InvalidExperiment(key[:_LONGEST_TEXT], rule, hint)
        _check_texts(key, value, columns)
    keys = declared.as_written(change)
    if "exclude" in keys:
        keys["exclude"] = {**named.spec.exclude, **keys["exclude"]}
    if "preparation" in keys:
        function = _function(keys["preparation"])
        earlier = declared.declared_keys(named).get("preparation", {})
        keys["preparation"] = {**earlier, "function": function}
    refused = partial(_problems, base=named.spec)
    proposed = declared.with_keys(named, keys, named.schema_text, refused)
    proposed.check([*columns])
    return proposed


def id_of(change: Mapping[str, Any], named: NamedColumns) -> str:
    """Return the id of a change of an experiment: equal ones have the same."""
    return fingerprint_of(
        change=change, yaml=named.yaml_text, schema=named.schema_text
    )[:12]


def _check_texts(key: str, value: Any, columns: Collection[str]) -> None:
    """Check that texts are plain, and choose no seeds."""
    for text in _texts(value):
        is_column = key in _OF_COLUMNS and text.removesuffix("=") in columns
        # A template is one in a column's name, too.
        if is_column and "{" not in text:
            continue
        if len(text) > _LONGEST_TEXT or not _PLAIN.fullmatch(text):
            raise InvalidExperiment(
                key,
                f"{text[:_LONGEST_TEXT]!r} is not a plain text of at most "
                f"{_LONGEST_TEXT} characters",
                "Leave out paths, addresses, templates and markup.",
            )
        if _SEED.search(text):
            rule = "seeds are not chosen: a lucky one is no better model"
            raise InvalidExperiment(f"{key}: {text}", rule, "Leave it out.")


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts within a value, and its keys as `key=`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{key}="
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _function(preparation: Any) -> Any:
    if not isinstance(preparation, Mapping) or [*preparation] != ["function"]:
        rule = "only its key function may be changed"
        raise InvalidExperiment("preparation", rule, "Give {function: module:name}.")
    return preparation["function"]


def _problems(spec: ExperimentSpec, base: ExperimentSpec) -> Iterator[Problem]:
    """Yield what a proposed spec may not have, before anything is imported."""
    for key, paths in spec.paths_by_key.items():
        # Code that defs.yaml names for another purpose expects other arguments.
        allowed = [*ALGORITHMS, *base.paths_by_key[key], *base.lab.modules]
        for path in paths:
            if path not in allowed:
                otherwise = f"use {', '.join(allowed)}"
                hint = did_you_mean(path, allowed, otherwise=otherwise)
                rule = f"neither built in, nor in `{key}` of defs.yaml or `lab.modules`"
                yield Problem((key,), f"{path[:_LONGEST_TEXT]!r} is {rule}; {hint}")
    size = sum(entry.draws or 0 for entry in spec.search)
    if size <= _MOST_CONFIGURATIONS:
        size = len(configurations(spec))
    if size > _MOST_CONFIGURATIONS:
        rule = f"{size:,} configurations, at most {_MOST_CONFIGURATIONS} are allowed"
        yield Problem(("search",), f"{rule}; give fewer values, or random with draws")
