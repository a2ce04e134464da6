"""A user's own feature transformer, which makes the columns that encoders read.

It is fitted only on the rows of a fit mask and is the first step of the exported
pipeline.
"""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiment_pipeline.errors import (
    InvalidExperiment,
    TrainingError,
    did_you_mean,
    listed,
)
from experiment_pipeline.spec.table import OwnFeatures
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
            made = factory(**self.arguments)
            _ = made.fit_transform, made.transform  # raises where one is lacking
            getattr(made, "set_output", dict)(transform="pandas")
            for name, value in getattr(made, "get_params", dict)().items():
                if name.rpartition("__")[2] == "random_state" and value is None:
                    made.set_params(**{name: self.seed})
        except Exception as error:  # a user's code raises anything
            known: Mapping[str, Any] = {}
            with suppress(
                TypeError, ValueError
            ):  # no signature: written in C, or not callable
                known = inspect.signature(factory).parameters
            wrong = [name for name in self.arguments if name not in known]
            fix = (
                did_you_mean(wrong[0], known)
                if wrong and known
                else "name a transformer's class"
            )
            raise InvalidExperiment(
                "features", f"{self.path} is unusable: {error}", fix
            ) from error
        return made

    def read(
        self,
        fitted: Any,
        rows: pd.DataFrame,
        features: Any,
        y: str = "",
        names: Any = (),
    ) -> pd.DataFrame:
        """Return prepared rows (n, columns) with the columns that a transformer makes
        of the features. With the target's name `y` it is fitted on the rows first;
        without, it must make the columns `names`. Raises TrainingError: it fails, or
        does not return a table of these rows.
        """
        given = with_only(rows, features)  # a table of its own, which it may change
        try:
            # The last bits of what it learns would depend on the number of threads.
            with threadpool_limits(limits=1):
                made = (
                    fitted.fit_transform(given, rows[y])
                    if y
                    else fitted.transform(given)
                )
        except Exception as error:
            raise self._refused(
                f"{type(error).__name__} on {len(rows):,} rows: {error}"
            ) from error
        others = {str(name): rows[name] for name in rows if name not in features}
        if not isinstance(made, pd.DataFrame) or not made.index.equals(rows.index):
            what = (
                f"a {type(made).__name__} of {np.shape(made)}, or their index changed"
            )
            raise self._refused(f"{len(rows):,} rows became {what}")
        if {*map(type, made)} != {str} or not made.columns.is_unique:
            raise self._refused(
                f"its column names are not distinct texts: {listed(made)}"
            )
        if taken := [name for name in made if name in others]:
            raise self._refused(
                f"it returns {listed(taken)}, a column that is not a feature"
            )
        if names and list(made) != list(names):
            raise self._refused(
                f"the columns differ from those of the fit: {listed(made)}"
            )
        if unfit := [name for name in made if kind_of(made[name]) in UNFIT]:
            raise self._refused(f"no model can read the type of {listed(unfit)}")
        bare = [name for name in made if y and made[name].isna().all()]
        if empty := [
            name for name in bare if name not in features or rows[name].notna().any()
        ]:
            raise self._refused(f"every value is missing in {listed(empty)}")
        return of_columns(
            others | {str(name): spilled(made[name]) for name in made}, rows.index
        )

    def trusted_types(
        self, fitted: Any, rows: pd.DataFrame, features: Any, read: pd.DataFrame
    ) -> tuple[str, ...]:
        """Return the types to trust when it is loaded. Raises TrainingError: after
        storing and loading, its output for a few of these rows differs from `read`, or
        it fails at a text never seen.
        """
        stored = persistence.to_bytes(fitted)
        loaded = persistence.from_bytes(
            stored, trusted := persistence.untrusted_types(stored)
        )
        few = np.unique(np.linspace(0, len(rows) - 1).astype(np.int64))
        alone = self.read(loaded, rows.iloc[few], features)
        if different := differing_columns(read.iloc[few], alone):
            rule = f"{len(few)} rows by themselves get other values after it was stored and loaded"
            raise self._refused(f"{rule} (columns: {listed(different)})")
        texts = [
            name for name in features if rows[name].dtype.name in {"str", "string"}
        ]
        unseen = rows.iloc[:1].assign(**dict.fromkeys(texts, "a text never seen"))
        self.read(loaded, unseen.astype(rows.dtypes), features)
        return trusted

    def _refused(self, rule: str) -> TrainingError:
        fix = "take X, y in fit, X in transform; return a DataFrame of the same rows and index"
        return TrainingError(f"features {self.path}", rule, fix)
