"""The stub `experiment/keys.pyi`, for editors that complete without running anything.

`python -m experiment_pipeline_tests.experiment.keys_stub` writes it.
"""

import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import experiment_pipeline
from experiment_pipeline.experiment.settings import UNSET

PATH = Path(experiment_pipeline.__file__).parent / "experiment" / "keys.pyi"
HEAD = """\
# Keys of defs.yaml as typed arguments, for editors. Made from the spec, not by hand:
# `python -m experiment_pipeline_tests.experiment.keys_stub`

from collections.abc import Callable
from typing import Any, Literal, TypedDict

class Keys(TypedDict, total=False):
"""
_WRITTEN = {
    dict: "dict[str, Any]",
    list: "list[Any]",
    NoneType: "None",
    Callable: "Callable[..., Any]",
}


def stub() -> str:
    """Return the text: a key, its types and a sentence for each argument that
    `experiment_pipeline.run` takes beside its own.
    """
    run = experiment_pipeline.run
    lines = [HEAD]
    for key, argument in inspect.signature(run).parameters.items():
        if argument.default is not UNSET:
            continue
        [sentence] = [
            line.partition(": ")[2]
            for line in (run.__doc__ or "").splitlines()
            if line.startswith(f"    {key}: ")
        ]
        lines.append(f"    {key}: {_written(argument.annotation)}\n")
        text = f'"""{sentence}"""'
        if len(text) > 84:  # it has no summary of its own: quotes end its lines
            text = "\n".join(textwrap.wrap(f'"""{sentence}', 84)) + '\n"""'
        lines.append(textwrap.indent(text, "    ") + "\n")
    return "".join(lines)


def _written(annotation: Any) -> str:
    """Write a type as in a stub: choices together, None last."""
    kinds = [annotation]
    if get_origin(annotation) in (Union, UnionType):
        kinds = sorted(get_args(annotation), key=lambda kind: kind is NoneType)
    choices = [
        choice
        for kind in kinds
        if get_origin(kind) is Literal
        for choice in get_args(kind)
    ]
    texts = []
    for kind in kinds:
        text = _WRITTEN.get(kind) or getattr(kind, "__name__", "")
        if get_origin(kind) is Literal:
            listed = ", ".join(json.dumps(choice) for choice in dict.fromkeys(choices))
            text = f"Literal[{listed.replace('false', 'False')}]"
        texts.append(text)
    return " | ".join(dict.fromkeys(texts))


if __name__ == "__main__":
    PATH.write_text(stub())
