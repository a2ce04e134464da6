"""A schema.yaml as a text → what it says, or InvalidSchema with file and line of every problem.

What it may say belongs to `schema`, its nodes and lines to `reading`, the sentences to `sentences`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from experiment_pipeline.errors import InvalidSchema
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import MalformedYaml, YamlFile
from experiment_pipeline.spec.schema import SchemaFile
from experiment_pipeline.spec.sentences import Problem, a_line_each, explain


@dataclass(frozen=True)
class SchemaText:
    """The text of a schema.yaml, and the path under which messages show it."""

    text: str
    path: str = "schema.yaml"

    def read(self) -> SchemaFile:
        """Return what it says.

        Raises:
            InvalidSchema: it is no YAML, or says something that is not known here.
        """
        try:
            raw = YamlFile(self.text, self.path).values()
        except MalformedYaml as error:
            line, rule = error.oddity
            raise InvalidSchema(f"{self.path}:{line}", rule, "Correct the line.") from None
        if not isinstance(raw, Mapping):
            raise self.invalid([Problem((), "it is no mapping of keys", "Begin with columns:")])
        try:
            return SchemaFile.model_validate(raw)
        except ValidationError as error:
            problems = explain(error, SchemaFile)
            raise self.invalid([_as_written(problem, raw) for problem in problems]) from None

    def place(self, location: Location) -> str:
        """`file:line` of a key, or of what would hold it."""
        return YamlFile(self.text, self.path).place(location)

    def invalid(self, problems: Sequence[Problem]) -> InvalidSchema:
        """One error for all problems, a line each, the first after its own `file:line`."""
        culprit, text = a_line_each(problems, self.place)
        fix = problems[0].fix or "Correct it."
        if len(problems) > 1:
            fix = f"Correct these {len(problems)} problems."
        return InvalidSchema(culprit, text, fix)


def _as_written(problem: Problem, raw: Any) -> Problem:
    """The problem at the last key that stands in the file: a bare value has no key of its own."""
    at: list[str | int] = []
    for part in problem.location:
        if isinstance(raw, Mapping) and isinstance(part, int) and part not in raw:
            continue  # checks by name count as a list of one
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            break
        at.append(part)
    return Problem(tuple(at), problem.message, problem.fix)
