"""The columns that the YAML names, held against those that the table has.

The stages find a wrong name when they come to it; the header alone tells before anything is
read or trained. In: an experiment, its schema, the names of the delivered columns. Out: nothing,
or an error at the line of each key. How values are prepared and checked belongs to the stages.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import pandera.pandas as pa

from experiment_pipeline.columns.features import named_columns
from experiment_pipeline.columns.schema import shared_schema
from experiment_pipeline.columns.shape import fit_columns
from experiment_pipeline.errors import InvalidSchema, did_you_mean
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import FAST_LOADER, closest_line, compose
from experiment_pipeline.spec.sentences import Problem, invalid


@dataclass(frozen=True)
class NamedColumns:
    """What one experiment says of its columns, and where.

    Attributes:
        spec: what defs.yaml says.
        schema_text: the content of schema.yaml.
        line_of: path of a key of defs.yaml → its `file:line`.
        schema_path: of schema.yaml, as messages show it.
    """

    spec: ExperimentSpec
    schema_text: str
    line_of: Callable[[Location], str] = lambda _: "defs.yaml"
    schema_path: str = "schema.yaml"

    def check(self, delivered: Sequence[str]) -> None:
        """Hold every name against the table's.

        Names that `preparation.function` may have made cannot be told from the header.

        Raises:
            InvalidExperiment: keys of defs.yaml name columns that are not there.
            InvalidSchema: a column that the schema requires is not there, or a new one forbidden.
        """
        self._refuse(delivered, self._prepared_columns())
        if self.spec.preparation.function is not None:
            return
        calendar = self.spec.preparation.calendar.items()
        made = [f"{name}_{part}" for name, parts in calendar for part in parts]
        schema = shared_schema(self.schema_text, self.schema_path)
        columns = self._fitted([*delivered, *made], delivered, schema)
        target: tuple[Location, str] = (("target",), self.spec.target)
        self._refuse(columns, [target, *named_columns(self.spec)])

    def _prepared_columns(self) -> Iterator[tuple[Location, str]]:
        for setting in ("missing_values", "categories", "types", "calendar"):
            for column in getattr(self.spec.preparation, setting):
                yield ("preparation", setting, column), column

    def _refuse(self, columns: Sequence[str], named: Iterable[tuple[Location, str]]) -> None:
        problems = [
            Problem(at, f"the table has no column {name!r}; {did_you_mean(name, columns)}")
            for at, name in named
            if name not in columns
        ]
        if problems:
            raise invalid(problems, self.line_of)

    def _fitted(
        self, prepared: Sequence[str], delivered: Sequence[str], schema: pa.DataFrameSchema
    ) -> list[str]:
        """The columns that validated rows will have: an empty table goes the way of the full one."""
        try:
            frame, _ = fit_columns(
                pd.DataFrame(columns=list(prepared)), pd.Index(delivered), schema
            )
        except InvalidSchema as error:
            [root] = compose(self.schema_text, FAST_LOADER)
            name = error.culprit.removeprefix("columns.").removeprefix("column ")
            line = closest_line(root, ("columns", name))
            raise InvalidSchema(
                f"{self.schema_path}:{line}", f"{error.culprit}: {error.rule}", error.fix
            ) from None
        return [str(name) for name in frame.columns]
