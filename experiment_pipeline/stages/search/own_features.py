"""A user's own feature transformer, which makes the columns that encoders read.

It is fitted only on the rows of a fit mask and is the first step of the exported
pipeline.
"""

import inspect
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from experiment_pipeline.errors import (
    InvalidExperiment,
    TrainingError,
    did_you_mean,
    listed,
)
from experiment_pipeline.spec.table import OwnFeatures
from experiment_pipeline.statistics.threads import one_thread
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.run_code import own_code
from experiment_pipeline.table.features import UNFIT
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.preparation import differing_columns, imported
from experiment_pipeline.table.table import of_columns, spilled, with_only


@dataclass(frozen=True)
class OwnTransformer:
    """The transformer that the YAML names, and everything besides the rows that decides
    what it learns.
    """

    path: str  # module:name
    arguments: Mapping[str, Any]
    seed: int  # of each random_state that is not set
    code: Mapping[str, str | None]  # by `own_code`

    @classmethod
    def of(cls, declared: OwnFeatures, seed: int) -> Self:
        """Return the declared transformer; it is not imported yet."""
        code = own_code(declared.transformer)
        return cls(declared.transformer, declared.arguments, seed, code)

    def make(self) -> Any:
        """Return a new, unfitted transformer. Raises InvalidExperiment: path and
        arguments make none.
        """
        factory = imported(self.path, "features", "transformer")
        try:
            transformer = factory(**self.arguments)
            _ = transformer.fit_transform, transformer.transform  # raises without one
            getattr(transformer, "set_output", dict)(transform="pandas")
            parameters = getattr(transformer, "get_params", dict)()
            for name, value in parameters.items():
                if name.rpartition("__")[2] == "random_state" and value is None:
                    transformer.set_params(**{name: self.seed})
        except Exception as error:  # a user's code raises anything
            raise InvalidExperiment(
                "features",
                rule=f"{self.path} is unusable: {error}",
                fix=self._remedy(factory),
            ) from error
        return transformer

    def _remedy(self, factory: Any) -> str:
        names: Collection[str] = ()
        # No signature: written in C, or not callable.
        with suppress(TypeError, ValueError):
            names = inspect.signature(factory).parameters
        misspelt = [name for name in self.arguments if name not in names]
        if names and misspelt:
            return did_you_mean(misspelt[0], names)
        return "name a transformer's class"

    def read(
        self,
        fitted: Any,
        rows: pd.DataFrame,
        features: Sequence[str],
        y: str = "",
        names: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Return prepared rows (n, columns) with the columns that a transformer makes
        of the features.

        With the target's name `y` it is fitted on the rows first; without, it must make
        the columns `names`. Raises TrainingError: it fails, or does not return a table
        of these rows.
        """
        delivered = with_only(rows, features)  # a table of its own, which it may change
        try:
            # The last bits of what it learns would depend on the number of threads.
            with one_thread():
                if y:
                    transformed = fitted.fit_transform(delivered, rows[y])
                else:
                    transformed = fitted.transform(delivered)
        except Exception as error:
            problem = f"{type(error).__name__} on {len(rows):,} rows: {error}"
            raise self._refused(problem) from error
        beside = {str(name): rows[name] for name in rows if name not in features}
        if not isinstance(transformed, pd.DataFrame) or not transformed.index.equals(
            rows.index
        ):
            became = f"a {type(transformed).__name__} of {np.shape(transformed)}"
            raise self._refused(
                f"{len(rows):,} rows became {became}, or their index changed"
            )
        self._check_columns(transformed, beside, names)
        if y:
            self._check_not_empty(transformed, rows, features)
        cells = {str(name): spilled(transformed[name]) for name in transformed}
        return of_columns(beside | cells, rows.index)

    def _check_columns(
        self, transformed: pd.DataFrame, beside: Collection[str], names: Sequence[str]
    ) -> None:
        columns = list(transformed)
        if {*map(type, columns)} != {str} or not transformed.columns.is_unique:
            raise self._refused(
                f"its column names are not distinct texts: {listed(columns)}"
            )
        taken = transformed.columns.intersection([*beside], sort=False)
        unfit = [name for name in columns if kind_of(transformed[name]) in UNFIT]
        problem = ""
        if len(taken):
            problem = f"it returns {listed(taken)}, a column that is not a feature"
        elif names and columns != list(names):
            problem = f"the columns differ from those of the fit: {listed(columns)}"
        elif unfit:
            problem = f"no model can read the type of {listed(unfit)}"
        if problem:
            raise self._refused(problem)

    def _check_not_empty(
        self, transformed: pd.DataFrame, rows: pd.DataFrame, features: Sequence[str]
    ) -> None:
        """A column may be empty only if it was delivered so."""
        empty = list[Hashable]()
        for name in transformed:
            was_empty = name in features and rows[name].isna().all()
            if transformed[name].isna().all() and not was_empty:
                empty.append(name)
        if empty:
            raise self._refused(f"every value is missing in {listed(empty)}")

    def trusted_types(
        self,
        fitted: Any,
        rows: pd.DataFrame,
        features: Sequence[str],
        read: pd.DataFrame,
    ) -> tuple[str, ...]:
        """Return the types to trust when it is loaded. Raises TrainingError: after
        storing and loading, its output for a few of these rows differs from `read`, or
        it fails at a text never seen.
        """
        stored = persistence.to_bytes(fitted)
        trusted = persistence.untrusted_types(stored)
        loaded = persistence.from_bytes(stored, trusted)
        few = np.unique(np.linspace(0, len(rows) - 1).astype(np.int64))
        alone = self.read(loaded, rows.iloc[few], features)
        different = differing_columns(read.iloc[few], alone)
        if different:
            raise self._refused(
                f"{len(few)} rows by themselves get other values after it was stored "
                f"and loaded (columns: {listed(different)})"
            )
        texts = [
            name for name in features if rows[name].dtype.name in {"str", "string"}
        ]
        unseen = rows.iloc[:1].assign(**dict.fromkeys(texts, "a text never seen"))
        self.read(loaded, unseen.astype(rows.dtypes), features)
        return trusted

    def _refused(self, problem: str) -> TrainingError:
        return TrainingError(
            f"features {self.path}",
            rule=problem,
            fix="take X, y in fit, X in transform; return a DataFrame of the same rows "
            "and index",
        )
