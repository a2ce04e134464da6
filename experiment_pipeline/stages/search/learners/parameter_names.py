"""The hyperparameters of boosting libraries by name, as far as possible without importing any.

A misspelt name is found when the YAML is loaded; an import takes a second and more. Tests compare
the lists with the installed libraries.
"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean
from experiment_pipeline.spec import Scalar


def name_table(table: str) -> dict[str, tuple[str, ...]]:
    """Return own name → aliases, of a text with a parameter in each line."""
    return {own: tuple(others) for own, *others in map(str.split, table.strip().splitlines())}


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


@dataclass(frozen=True, eq=False)
class ParameterNames:
    """What a configuration of a library may set, and what it may not.

    Attributes:
        library: name of the package.
        accepted: own name → aliases. The names that decide the rounds are those of
            `rounds.take_rounds`, whatever the library calls them.
        reserved: every name of what decides determinism, or what the experiment decides for every
            configuration.
        objective: the own name of the loss.
        objectives: task → its values; what follows a colon is the library's.
        texts: own names of the others that take a text; all others take a number, or true or
            false. None: the library checks values when it fits.
        path: of the class whose constructor has the names that are not listed here; it is imported
            for such a name alone. None: all are listed.
    """

    library: str
    accepted: Mapping[str, tuple[str, ...]]
    reserved: frozenset[str]
    objective: str
    objectives: Mapping[str, tuple[str, ...]]
    texts: frozenset[str] | None = None
    path: str | None = None

    @cached_property
    def own_name(self) -> Mapping[str, str]:
        """Own name or alias → own name."""
        listed = self.accepted.items()
        return {alias: own for own, aliases in listed for alias in (own, *aliases)}

    def own_names(self, key: str, given: Mapping[str, Scalar], task: str) -> dict[str, Scalar]:
        """Return the hyperparameters of the configuration `key` under the library's own names.

        Raises:
            InvalidExperiment: an unknown or reserved name, one parameter under two names, a text
                for a number, or an objective that is not of the task.
        """
        configuration, named = f"configuration {key}", dict[str, Scalar]()
        for name, value in given.items():
            if name in self.reserved:
                raise errors.InvalidExperiment(
                    configuration,
                    f"{name!r} is the same for every configuration, so that scores can be compared "
                    "and reproduced",
                    "drop it; seed, metric and workers of the experiment decide it",
                )
            own = self.own_name.get(name)
            if own is None and name in self._of_constructor:
                own = name
            if own is None:
                known = [*self.own_name, *sorted(self._of_constructor - self.reserved)]
                raise errors.InvalidExperiment(
                    configuration,
                    f"{name!r} is not a hyperparameter of {self.library} that can be set here",
                    f"correct the name: {did_you_mean(name, known)}",
                )
            if own in named:
                raise errors.InvalidExperiment(
                    configuration,
                    f"{name} sets {own}, which is set already",
                    "keep one of the two names",
                )
            if self.texts is not None and own not in {self.objective, *self.texts}:
                _check_number(configuration, name, value)
            named[own] = value
        objective, known = str(named.get(self.objective)), list(self.objectives[task])
        # `Quantile:alpha=0.9` is CatBoost's own form; in XGBoost the colon is part of the name.
        if self.objective in named and not {objective, objective.partition(":")[0]} & {*known}:
            raise errors.InvalidExperiment(
                configuration,
                f"{objective!r} is not an objective of task {task}",
                f"use one of {', '.join(known)}",
            )
        return named

    @cached_property
    def _of_constructor(self) -> frozenset[str]:
        """The names that the constructor of `path` takes, one by one."""
        if self.path is None:
            return frozenset()
        module, _, name = self.path.rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        return frozenset({*inspect.signature(cls).parameters, *cls().get_params()} - {"kwargs"})


def _check_number(configuration: str, name: str, value: Scalar) -> None:
    """Raise for a text that does not read as a number, true or false."""
    if not isinstance(value, str) or value in ("true", "false"):
        return
    try:
        float(value)
    except ValueError:
        raise errors.InvalidExperiment(
            configuration,
            f"{value!r} is a text, and {name!r} takes none",
            "write a number, such as 0.1, or true or false; more than one as a list",
        ) from None
