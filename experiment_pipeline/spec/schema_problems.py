"""What is wrong with a schema.yaml, and how it is told: file, line, path, rule, fix.

In: problems at paths of keys, and the nodes of the file. Out: one InvalidSchema for all of them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import yaml

from experiment_pipeline.errors import InvalidSchema
from experiment_pipeline.spec.models import Location, readable
from experiment_pipeline.spec.reading import closest_line
from experiment_pipeline.spec.sentences import MOST_PROBLEMS, a_line_each

_Result = TypeVar("_Result")


class SchemaProblems(Exception):
    """Everything that was found wrong before it made no sense to look on."""

    def __init__(self, problems: Sequence["SchemaProblem"]) -> None:
        self.problems = problems
        super().__init__(*problems)


class SchemaProblem(SchemaProblems):
    """One thing that is wrong.

    Args:
        at: path of its key.
        rule: what it breaks.
        fix: what to do, as an imperative sentence.
    """

    def __init__(self, at: Location, rule: str, fix: str) -> None:
        self.at, self.rule, self.fix = at, rule, fix
        super().__init__([self])

    def __str__(self) -> str:
        path = ".".join(map(readable, self.at))
        return f"{path}: {self.rule}" if path else self.rule


def all_of(names: Iterable[Any], judge: Callable[[Any], _Result]) -> dict[Any, _Result]:
    """Return name → judgement, or raise SchemaProblems with those of every name."""
    found: dict[Any, _Result] = {}
    problems: list[SchemaProblem] = []
    for name in names:
        try:
            found[name] = judge(name)
        except SchemaProblems as error:
            problems += error.problems
    if problems:
        raise SchemaProblems(problems)
    return found


def told(path: str, root: yaml.Node | None, error: SchemaProblems) -> InvalidSchema:
    """One error for all problems, a line each, the first after its own `file:line`.

    Args:
        path: of the file, as it is shown.
        root: its node; None for an empty file.
        error: what is wrong.
    """
    first, *others = error.problems
    shown = [
        (f"{path}:{closest_line(root, one.at) if root else 1}", f"{one}. {one.fix}")
        for one in error.problems[:MOST_PROBLEMS]
    ]
    place = shown[0][0]
    if not others:
        return InvalidSchema(place, str(first), first.fix)
    count = len(error.problems)
    return InvalidSchema(place, a_line_each(shown, count), f"Correct these {count} problems.")
