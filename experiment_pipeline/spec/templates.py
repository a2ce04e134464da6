"""Templates in the values of a defs.yaml: `{{ env.NAME }}`, `{{ env('NAME', '…') }}`.

In: plain values and the environment. Out: the values filled in, and which text was
written for each, so that a file about an experiment shows the template and not what
may be a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import Problem

_VARIABLE = re.compile(
    r"""\{\{ \s* env
        (?: \. (?P<name>\w+)
        | \( \s* ['"] (?P<asked>\w+) ['"] \s*
          (?: , \s* (?P<quote>['"]) (?P<default>(?:(?!(?P=quote)).)*) (?P=quote) \s* )?
          \) )
        \s* \}\}""",
    re.VERBOSE,
)
# Any other expression that Dagster would compute.
_EXPRESSION = re.compile(r"\{\{-?\s*(?P<first>[A-Za-z_]\w*)[^{}]*\}\}|\{%.*%\}")
# Keys whose values are addresses, arguments and words. Below the others, a value may be
# the name of a column or of a category, which may be called {{x}}.
_NO_COLUMNS = frozenset(
    {
        "data",
        "engine",
        "export",
        "features",
        "metric",
        "mlflow",
        "owners",
        "run_tags",
        "schedule",
        "search",
        "tags",
        "task",
        "watch",
    }
)


@dataclass
class Templates:
    """Fills templates in, and keeps what was written."""

    variables: Mapping[str, str]
    # Whether another expression is refused everywhere: the file has variables for it.
    has_module: bool = False
    problems: list[Problem] = field(default_factory=list)
    # key of the experiment → value filled in → the text with its templates
    written: dict[str, dict[str, str]] = field(default_factory=dict)
    # value of a variable → its template
    values: dict[str, str] = field(default_factory=dict)

    def filled(self, value: Any, at: Location = ()) -> Any:
        """Return a plain value with each template replaced.

        Appends to `problems` where that fails.
        """
        if isinstance(value, Mapping):
            return {key: self.filled(inner, (*at, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner, (*at, n)) for n, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        self._refuse_others(value, at)

        def variable(match: re.Match[str]) -> str:
            return self._value_of(match, at)

        text = _VARIABLE.sub(variable, value)
        if text != value and text:
            self.written.setdefault(str(at[0]) if at else "", {})[text] = value
        return text

    def _value_of(self, match: re.Match[str], at: Location) -> str:
        name = match["name"] or match["asked"]
        if name in self.variables:
            self.values[self.variables[name]] = match[0]
            return self.variables[name]
        if match["quote"]:
            return match["default"]
        message = f"the environment variable {name} is not set; export {name}=…"
        self.problems.append(Problem(at, message))
        return ""

    def _refuse_others(self, value: str, at: Location) -> None:
        rest = _VARIABLE.sub("", value)
        for match in _EXPRESSION.finditer(rest):
            certain = self.has_module or match["first"] in {"env", "context"}
            if certain or at[:1] == () or at[0] in _NO_COLUMNS:
                message = (
                    f"{value!r} is not a template of an experiment; write "
                    "{{ env.NAME }} or {{ env('NAME', 'default') }}"
                )
                self.problems.append(Problem(at, message))
                return


def with_templates(value: Any, written: Mapping[str, str]) -> Any:
    """Return a plain value with the written texts in place of those filled in."""
    if isinstance(value, str):
        return written.get(value, value)
    if isinstance(value, Mapping):
        return {key: with_templates(inner, written) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_templates(inner, written) for inner in value]
    return value
