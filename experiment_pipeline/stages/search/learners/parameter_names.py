"""The hyperparameters of boosting libraries, by name, without importing any of them.

Lists of names are kept here and beside, so that a misspelt one is found when the YAML is loaded,
without an import (a second and more); tests hold the lists to the installed libraries. In: the
hyperparameters as given. Out: the same under a library's own names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from experiment_pipeline import errors
from experiment_pipeline.errors import did_you_mean
from experiment_pipeline.spec import Scalar

Aliases = Mapping[str, tuple[str, ...]]


def name_table(table: str) -> dict[str, tuple[str, ...]]:
    """Return own name → other names, of a text with a parameter in each line."""
    return {own: tuple(others) for own, *others in map(str.split, table.strip().splitlines())}


@dataclass(frozen=True, eq=False)
class ParameterNames:
    """What a configuration of a library may set, and what it may not.

    Attributes:
        library: as users call it.
        accepted: own name → other names. Those that decide the rounds are called as
            `rounds.take_rounds` calls them, whatever the library does.
        reserved: the same of what decides determinism, or what the experiment decides for every
            configuration alike.
        objective: the own name of the loss.
        objectives: task → its values; what follows a colon is the library's.
        texts: own names of the others that take a text; all others take a number, or true or false.
    """

    library: str
    accepted: Aliases
    reserved: Aliases
    objective: str
    objectives: Mapping[str, tuple[str, ...]]
    texts: frozenset[str]

    @cached_property
    def own_name(self) -> Mapping[str, str]:
        """Every name, own or alias → own name."""
        both = {**self.accepted, **self.reserved}
        return {alias: own for own, aliases in both.items() for alias in (own, *aliases)}

    def own_names(self, key: str, given: Mapping[str, Scalar], task: str) -> dict[str, Scalar]:
        """Return the hyperparameters of the configuration `key` under the library's own names.

        Raises:
            InvalidExperiment: an unknown or reserved name, one parameter under two names, a text
                for a number, or an objective that is not of the task.
        """
        named: dict[str, Scalar] = {}
        for name, value in given.items():
            own = self._own(key, name)
            if own in named:
                raise errors.InvalidExperiment(
                    f"configuration {key}",
                    f"{name} sets {own}, which is set already",
                    "keep one of the two names",
                )
            if isinstance(value, str) and own not in {self.objective, *self.texts}:
                self._check_reads(key, name, value)
            named[own] = value
        self._check_objective(key, named, task)
        return named

    def _own(self, key: str, name: str) -> str:
        own = self.own_name.get(name)
        if own is None:
            known = [one for one, its_own in self.own_name.items() if its_own in self.accepted]
            raise errors.InvalidExperiment(
                f"configuration {key}",
                f"{name!r} is no hyperparameter of {self.library} that can be set here",
                f"correct the name: {did_you_mean(name, known)}",
            )
        if own in self.reserved:
            raise errors.InvalidExperiment(
                f"configuration {key}",
                f"{name!r} is the same for every configuration, so that scores can be compared "
                "and reproduced",
                "drop it; seed, metric and workers of the experiment decide it",
            )
        return own

    @staticmethod
    def _check_reads(key: str, name: str, value: str) -> None:
        # Quoted, '7' and 'true' reach a library as what they read as.
        try:
            float(0 if value in ("true", "false") else value)
        except ValueError:
            raise errors.InvalidExperiment(
                f"configuration {key}",
                f"{value!r} is a text, and {name!r} takes none",
                "write a number, such as 0.1, or true or false; more than one as a list",
            ) from None

    def _check_objective(self, key: str, named: Mapping[str, Scalar], task: str) -> None:
        objective = named.get(self.objective)
        known = self.objectives[task]
        # `Quantile:alpha=0.9`: CatBoost's own way; XGBoost's colon is part of the name.
        if objective is None or objective in known or str(objective).partition(":")[0] in known:
            return
        raise errors.InvalidExperiment(
            f"configuration {key}",
            f"{objective!r} is no objective of task {task}",
            f"use one of {', '.join(known)}",
        )
