"""The YAML file behind a component: its attributes, and the line of each.

In: Dagster's load context. Out: plain values with environment variables filled in, and
`file:line` for a path of keys. What the values must be is `spec`'s business.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.resolved.errors import ResolutionException
from dagster_shared.yaml_utils.source_position import SourcePositionTree

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import read_component_file
from experiment_pipeline.spec.sentences import Problem, invalid

# Only these are templates: a column may be called "{{x}}", and Dagster would turn the
# quoted text '1' into a number on the way.
_TEMPLATE = re.compile(r"\{\{\s*env\b")
_VARIABLE = re.compile(r"\benv(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*\))")


class YamlSource:
    """One document of a defs.yaml."""

    def __init__(self, context: dg.ComponentLoadContext) -> None:
        self._resolution = context.resolution_context
        tree = self._resolution.source_position_tree
        if tree is None:
            raise InvalidExperiment(
                str(context.path), "the experiment comes from no YAML file", "write a defs.yaml"
            )
        self._tree: SourcePositionTree = tree
        self.path = Path(tree.position.filename)

    def line_of(self, location: Location) -> str:
        """`file:line` of a key under `attributes`, or of what would hold it."""
        position, _ = self._tree.lookup_closest_and_path(["attributes", *location], None)
        return f"{shown_path(self.path)}:{position.start.line}"

    def check_text(self) -> None:
        """Raise InvalidExperiment for what YAML passes over in silence."""
        file = read_component_file(self.path.read_text(encoding="utf-8"))
        for oddity in file.repetitions:
            raise InvalidExperiment(
                f"{shown_path(self.path)}:{oddity.line}", oddity.message, "edit the file"
            )

    def filled_in(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes with `{{ env.NAME }}` replaced by the variable's value.

        Raises:
            InvalidExperiment: a variable is not set, or the template cannot be read.
        """
        problems = [
            Problem(location, f"the environment variable {name} is not set; export {name}=…")
            for location, text in _texts(attributes, ())
            for name in _unset(text)
        ]
        if problems:
            raise invalid(problems, self.line_of)
        filled = self._filled(attributes, ())
        return dict(filled)

    def _filled(self, value: Any, location: Location) -> Any:
        if isinstance(value, Mapping):
            return {key: self._filled(item, (*location, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item, (*location, i)) for i, item in enumerate(value)]
        if not isinstance(value, str) or not _TEMPLATE.search(value):
            return value
        try:
            return self._resolution.resolve_value(value)
        except ResolutionException as error:
            last = str(error).strip().splitlines()[-1]
            problem = Problem(location, f"{value!r} is no template that can be filled in: {last}")
            raise invalid([problem], self.line_of) from error


def shown_path(path: Path) -> Path:
    """Relative to the working directory where it lies below it: what an editor can open."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _texts(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*location, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*location, number))
    elif isinstance(value, str):
        yield location, value


def _unset(text: str) -> list[str]:
    if not _TEMPLATE.search(text):
        return []
    names = [dotted or called for dotted, called in _VARIABLE.findall(text)]
    return [name for name in names if name not in os.environ]
