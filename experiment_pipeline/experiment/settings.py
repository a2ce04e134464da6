"""The keys of defs.yaml as arguments: prompts complete them, `help` lists them."""

import inspect
from collections.abc import Callable
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from experiment_pipeline.spec import ExperimentSpec

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Unset:
    def __repr__(self) -> str:
        return "unset"


UNSET = _Unset()
# What a call takes beside what YAML takes, see `declared.py`.
_SHORT_FORMS = {
    "exclude": list,
    "split": str,
    "search": str,
    "metric": Callable,
    "features": Callable,
}


def with_settings(function: _Function) -> _Function:
    """Give a function with `**settings` a signature and a docstring with every key.

    Jedi, IPython and `help` read both at runtime. Editors that run nothing read the
    same keys in `keys.pyi`.
    """
    signature = inspect.signature(function)
    arguments = [
        argument
        for argument in signature.parameters.values()
        if argument.kind is not argument.VAR_KEYWORD
    ]
    lines = [inspect.cleandoc(function.__doc__ or ""), "", "Keyword Args:"]
    for key, field in ExperimentSpec.model_fields.items():
        if key in signature.parameters:
            continue
        arguments.append(
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=UNSET,
                annotation=_taken(key, field),
            )
        )
        meaning = field.description or inspect.getdoc(field.annotation) or ""
        sentence = " ".join(meaning.partition("\n\n")[0].split())
        lines.append(f"    {key}: {sentence}")
    function.__dict__["__signature__"] = signature.replace(parameters=arguments)
    function.__doc__ = "\n".join(lines)
    return function


def _taken(key: str, field: FieldInfo) -> Any:
    """Return the types that an argument takes."""
    short = [
        part.json_schema_input_type
        for part in field.metadata
        if isinstance(part, BeforeValidator)
    ]
    kinds = [field.annotation, *short, _SHORT_FORMS.get(key, field.annotation)]
    return reduce(or_, map(_in_python, kinds))


def _in_python(annotation: Any) -> Any:
    """Return the type that a caller writes: a dict for a model of keys, no limits."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return dict
    origin = get_origin(annotation)
    if origin is Annotated:
        return _in_python(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return reduce(or_, map(_in_python, get_args(annotation)))
    return {tuple: list, dict: dict}.get(origin, annotation)
