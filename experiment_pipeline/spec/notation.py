"""Estimators, lists and mappings as the text of one hyperparameter.

    estimator: sklearn.tree.DecisionTreeClassifier(max_depth=3)
    steps: "[('scale', sklearn.preprocessing.StandardScaler()), ('knn', …)]"

Python's notation, of which literals, import paths and calls of them with keyword
arguments are read. Nothing else is evaluated: any other text stays a text.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Find = Callable[[str], Any]  # an import path → its class or function


def value_of(value: Any, find: Find) -> Any:
    """Return what a text stands for, or any other value as it is.

    Raises what the constructors raise, and TypeError: a function would be called.
    """
    node = _parsed(value)
    return value if node is None else _value(node, find)


def paths_in(values: Any) -> Iterator[str]:
    """Yield the import paths in hyperparameters: a value, or lists and mappings."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            yield from paths_in(value)
    elif (node := _parsed(values)) is not None:
        paths = list[str]()

        def note(path: str) -> Any:
            paths.append(path)
            return dict

        _value(node, note)
        yield from paths


def _parsed(value: Any) -> ast.expr | None:
    """Return the syntax of a text in this notation; None: it is a plain value."""
    if not isinstance(value, str):
        return None
    try:
        node = ast.parse(value, mode="eval").body
        _value(node, lambda _: dict)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    is_compound = isinstance(node, ast.Call | ast.List | ast.Tuple | ast.Dict)
    return node if is_compound else None


def _value(node: ast.expr | None, find: Find) -> Any:
    """Return the value of an expression; ValueError: it is not in this notation."""
    match node:
        case ast.List(elements) | ast.Tuple(elements):
            values = [_value(element, find) for element in elements]
            return values if isinstance(node, ast.List) else tuple(values)
        case ast.Dict(keys, values):
            pairs = zip(keys, values, strict=True)
            return {_value(key, find): _value(value, find) for key, value in pairs}
        case ast.Attribute():
            path = ast.unparse(node)
            if not re.fullmatch(r"\w+(\.\w+)+", path):
                raise ValueError(path)
            return find(path)
        case ast.Call(args=[], func=ast.Attribute()):
            return _made(node, find)
    # Of `None`, the key of `**`, too: a ValueError.
    return ast.literal_eval(node)  # type: ignore[arg-type]


def _made(node: ast.Call, find: Find) -> Any:
    """Return an instance of the class that an expression calls."""
    made = _value(node.func, find)
    if not inspect.isclass(made):
        raise TypeError(f"{ast.unparse(node.func)} is not a class")
    return made(**{key.arg or "": _value(key.value, find) for key in node.keywords})
