"""Which columns of a table reach a model, and whether the columns that the YAML names exist.

The stages find a wrong name when they come to it; `NamedColumns` finds it from the header alone,
before anything is read or trained. How features are encoded belongs to `stages/search`, how values are
prepared and checked to the stages.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import pandera.pandas as pa

from experiment_pipeline.errors import InvalidSchema, UnusableTable, did_you_mean
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import Problem, YamlFile, invalid
from experiment_pipeline.table.calendar_parts import calendar_columns
from experiment_pipeline.table.kinds import NUMERIC, kind_of
from experiment_pipeline.table.preparation import declared_columns
from experiment_pipeline.table.schema import fit_columns, shared_schema


def feature_columns(frame: pd.DataFrame, spec: ExperimentSpec) -> list[str]:
    """Return the columns that models are fitted on.

    Raises:
        UnusableTable: a column that the YAML excludes, splits or weighs by or calls an id is absent;
            nothing is left; or a column is of a type no model takes.
    """
    _check_named_columns(frame, spec)
    features = [
        str(name)
        for name in frame.columns
        if name not in spec.not_features and not _is_calendar_source(frame[name], spec)
    ]
    if not features:
        raise UnusableTable(
            "the table",
            f"no feature is left: all {len(frame.columns)} columns are target, id, split or excluded",
            "Exclude fewer columns, or deliver more.",
        )
    for name in features:
        _check_type(frame[name])
    return features


def directions_of(frame: pd.DataFrame, spec: ExperimentSpec) -> dict[str, int]:
    """Return feature → 1 where the prediction may only rise with it, -1 where only fall.

    Raises:
        UnusableTable: a column of `monotone` is absent, or holds no numbers.
    """
    for name in spec.monotone:
        if name not in frame.columns:
            raise _absent(f"monotone.{name}", name, frame)
        if (kind := kind_of(frame[name])) not in NUMERIC:
            raise UnusableTable(
                f"monotone.{name}",
                f"the column holds {kind}, which has no direction: only numbers have one",
                f"Drop it there, or read it as a number by preparation: types: {{{name}: number}}.",
            )
    return {
        name: 1 if direction == "increasing" else -1 for name, direction in spec.monotone.items()
    }


def named_columns(spec: ExperimentSpec) -> Iterator[tuple[Location, str]]:
    """(path of the key, column) of the columns that are neither target nor feature."""
    for name in spec.exclude:
        yield ("exclude", name), name
    for number, name in enumerate(spec.split.id_columns):
        yield ("split", "id_columns", number), name
    if spec.split.by != "random":
        yield ("split", "column"), spec.split.column
    if spec.sample_weight is not None:
        yield ("sample_weight",), spec.sample_weight


def _check_named_columns(frame: pd.DataFrame, spec: ExperimentSpec) -> None:
    for place, name in named_columns(spec):
        if name not in frame.columns:
            raise _absent(".".join(map(str, place)), name, frame)


def _absent(place: str, name: str, frame: pd.DataFrame) -> UnusableTable:
    return UnusableTable(
        place,
        f"the table has no column {name!r}; {did_you_mean(name, frame.columns)}",
        "Correct the name in the YAML, or drop the entry.",
    )


def _is_calendar_source(column: pd.Series, spec: ExperimentSpec) -> bool:
    return column.name in spec.preparation.calendar and kind_of(column) == "datetime"


def _check_type(column: pd.Series) -> None:
    kind, name = kind_of(column), column.name
    if kind == "datetime":
        raise UnusableTable(
            f"column {name}",
            "it holds datetimes, which models do not take as they are",
            "Name it in preparation.calendar, or in exclude with the reason.",
        )
    if kind in ("duration", "complex"):
        raise UnusableTable(
            f"column {name}",
            f"it holds {column.dtype}, which models do not take",
            "Exclude it with the reason, or make it a number in preparation.function.",
        )
    if kind == "nested":
        raise UnusableTable(
            f"column {name}",
            "its cells are lists or mappings",
            "Exclude it with the reason, or flatten it in preparation.function.",
        )


@dataclass(frozen=True)
class NamedColumns:
    """The columns that one experiment names, and where.

    Attributes:
        spec: of defs.yaml.
        schema_text: the content of schema.yaml.
        line_of: path of a key of defs.yaml → its `file:line`.
        schema_path: of schema.yaml, as messages show it.
        yaml_text: the content of defs.yaml; empty for an experiment that comes from no file.
    """

    spec: ExperimentSpec
    schema_text: str
    line_of: Callable[[Location], str] = lambda _: "defs.yaml"
    schema_path: str = "schema.yaml"
    yaml_text: str = ""

    def check(self, delivered: Sequence[str]) -> None:
        """Hold every name against the table's.

        Columns that `preparation.function` may make are not in the header, and are not checked.

        Raises:
            InvalidExperiment: keys of defs.yaml name columns that are not there.
            InvalidSchema: a column that the schema requires is not there, or a new one forbidden.
        """
        prepared = declared_columns(self.spec.preparation)
        self._refuse(delivered, [(("preparation", *place), place[1]) for place in prepared])
        if self.spec.preparation.function is not None:
            return
        calendar = self.spec.preparation.calendar.items()
        made = [
            new
            for name, parts in calendar
            for part in parts
            for new in calendar_columns(name, part)
        ]
        schema = shared_schema(self.schema_text, self.schema_path)
        columns = self._fitted([*delivered, *made], delivered, schema)
        target: tuple[Location, str] = (("target",), self.spec.target)
        monotone = [(("monotone", name), name) for name in self.spec.monotone]
        self._refuse(columns, [target, *named_columns(self.spec), *monotone])

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
            name = error.culprit.removeprefix("columns.").removeprefix("column ")
            place = YamlFile(self.schema_text, self.schema_path).place(("columns", name))
            raise InvalidSchema(place, f"{error.culprit}: {error.rule}", error.fix) from None
        return [str(name) for name in frame.columns]
