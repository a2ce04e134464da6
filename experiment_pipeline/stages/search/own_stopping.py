"""An estimator's own early stopping: on our inner slice, or off, and never on rows it draws.

scikit-learn's estimators stop on a random part of the rows they are fitted on, whatever groups
or times the split keeps apart. Those whose `fit` takes `X_val` and `y_val` are given the inner
slice; all others are fitted without early stopping, with a note. LightGBM's is in `boosting.py`.
In: an unfitted estimator. Out: the same one, set, and how to fit it.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

# scikit-learn's meaning of "auto": up to so many rows it does not stop.
AUTO_ROWS = 10_000
_SWITCH, _PATIENCE = "early_stopping", "n_iter_no_change"


@dataclass(frozen=True)
class OwnStopping:
    """How an estimator is fitted.

    Attributes:
        on_slice: on the rows that are not held out, with the inner slice as X_val and y_val.
        notes: what was asked for and is not done, with the reason.
    """

    on_slice: bool
    notes: tuple[str, ...] = ()


def settle(estimator: Any, inner: np.ndarray) -> OwnStopping:
    """Let an estimator stop on the inner slice, or not at all.

    Args:
        estimator: unfitted; its parameters are set.
        inner: bool (n_train,): the rows held out for early stopping.
    """
    asked = _asked_for(estimator)
    estimator.set_params(**{name: _off(name) for name in asked})
    if asked.get(_SWITCH) == "auto" and len(inner) <= AUTO_ROWS:
        del asked[_SWITCH]
    takes_slice = _SWITCH in asked and _takes_slice(estimator)
    on_slice = takes_slice and bool(inner.any() and not inner.all())
    if on_slice:
        estimator.set_params(**{_SWITCH: True})
        del asked[_SWITCH]
    notes = tuple(_note(estimator, *one, takes_slice) for one in asked.items())
    return OwnStopping(on_slice, notes)


def fix_rounds(estimator: Any, rounds: int | None) -> None:
    """Let an estimator make as many rounds as a fit that stopped on the slice, and stop nowhere.

    Args:
        estimator: unfitted; its parameters are set.
        rounds: of that fit; None where it did not stop on the slice.
    """
    estimator.set_params(**{name: _off(name) for name in _asked_for(estimator)})
    if rounds is not None:
        estimator.set_params(max_iter=rounds)


def _asked_for(estimator: Any) -> dict[str, Any]:
    """The parameters that make it, or an estimator inside it, stop on rows of its own choice."""
    given = estimator.get_params(deep=True)
    asked = {}
    for name, value in given.items():
        path, _, last = name.rpartition("__")
        beside = {other.removeprefix(f"{path}__") for other in given if other.startswith(path)}
        # Without the switch it is the patience that switches; with it, that counts on train rows.
        is_patience = (
            last == _PATIENCE and _SWITCH not in beside and "validation_fraction" in beside
        )
        if (last == _SWITCH and value not in (False, None)) or (is_patience and value is not None):
            asked[name] = value
    return asked


def _off(name: str) -> bool | None:
    return False if name.endswith(_SWITCH) else None


def _takes_slice(estimator: Any) -> bool:
    """Whether `fit` has a place for it, and the rounds it ends with can be asked for again."""
    taken = inspect.signature(estimator.fit).parameters
    return {"X_val", "y_val"} <= taken.keys() and "max_iter" in estimator.get_params(deep=False)


def _note(estimator: Any, name: str, value: object, takes_slice: bool) -> str:
    why = "it would hold out random train rows, whatever the split keeps apart"
    if takes_slice:
        why = "the train set has no inner slice to stop on"
    return f"{name}: {value} is not done, {type(estimator).__name__} is fitted to its end: {why}"
