"""The roles of columns: features, target with its classes and codes, and columns that
the YAML names.

`NamedColumns` finds a wrong name from the table's header alone, before anything is read
or trained.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from experiment_pipeline.errors import (
    InvalidSchema,
    UnusableTable,
    did_you_mean,
    listed,
)
from experiment_pipeline.spec import CalendarPart, ExperimentSpec, Scalar
from experiment_pipeline.spec.models import Location
from experiment_pipeline.spec.reading import Problem, YamlFile, invalid
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.table.coercion import schema_kind
from experiment_pipeline.table.dictionary import Dictionary, dictionary_of
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, Kind, kind_of
from experiment_pipeline.table.preparation import calendar_columns, declared_columns
from experiment_pipeline.table.schema import column_schemas, fit_columns, shared_schema

LEFT_OUT = ", or schema.yaml leaves it out"
_NO_NUMBER = "Exclude it with the reason, or make it a number in preparation.function."
UNFIT = {
    "datetime": "Name it in preparation.calendar, or in exclude with the reason.",
    "duration": _NO_NUMBER,
    "complex": _NO_NUMBER,
    "nested": "Exclude it with the reason, or flatten it in preparation.function.",
}


def feature_columns(frame: pd.DataFrame, spec: ExperimentSpec) -> list[str]:
    """Return the columns that models are fitted on.

    Raises UnusableTable: a column for the split, ids or weights is absent; no feature
    is left; or a feature has a type that models cannot use.
    """
    for place, name in named_columns(spec):
        if name not in frame.columns:
            raise absent(".".join(map(str, place)), name, frame.columns)
    features = []
    for name in map(str, frame.columns):
        if name in spec.not_features:
            continue
        kind = kind_of(frame[name])
        if kind == "datetime" and name in spec.preparation.calendar:
            continue  # its parts are the features
        if kind in UNFIT:
            dtype = frame[name].dtype
            content = "lists or mappings" if kind == "nested" else str(dtype)
            raise UnusableTable(
                f"column {name}",
                rule=f"it holds {content}, which models cannot use as they are",
                fix=UNFIT[kind],
            )
        features.append(name)
    if not features:
        raise UnusableTable(
            "the table",
            rule=f"no feature is left: all {len(frame.columns)} columns are target, "
            "id, split or excluded",
            fix="Exclude fewer columns, or deliver more.",
        )
    return features


def directions_of(frame: pd.DataFrame, spec: ExperimentSpec) -> dict[str, int]:
    """Return feature → 1 if the prediction may only rise with it, -1 if only fall."""
    directions = {}
    for name, direction in spec.monotone.items():
        if name not in frame.columns:
            raise absent(f"monotone.{name}", name, frame.columns)
        kind = kind_of(frame[name])
        if kind not in NUMERIC:
            raise UnusableTable(
                f"monotone.{name}",
                rule=f"the column holds {kind}, which has no direction: only numbers "
                "have one",
                fix="Drop it there, or read it as a number by preparation: types: "
                f"{{{name}: number}}.",
            )
        directions[name] = 1 if direction == "increasing" else -1
    return directions


def all_calendar_columns(names: Iterable[str]) -> set[str]:
    """Return the names of all parts that datetime columns of these names can have."""
    parts = get_args(CalendarPart)
    return {column for name in names for column in calendar_columns(name, *parts)}


def slips_in_exclude(columns: Iterable[str], spec: ExperimentSpec) -> list[str]:
    """Return the names in `exclude` of no column, declared column or calendar part."""
    declared = {name for _, name in declared_columns(spec.preparation)}
    parts = all_calendar_columns(spec.exclude)
    return sorted(spec.exclude.keys() - {*columns, *declared, *parts})


def named_columns(spec: ExperimentSpec) -> Iterator[tuple[Location, str]]:
    """Yield (path of the key, column) for the columns that split, identify or weight
    the rows.
    """
    for number, name in enumerate(spec.split.id_columns):
        yield ("split", "id_columns", number), name
    if spec.split.by != "random":
        yield ("split", "column"), spec.split.column
    if spec.split.by == "time" and spec.split.group is not None:
        yield ("split", "group"), spec.split.group
    if spec.label is not None and spec.label.since is not None:
        yield ("label", "since"), spec.label.since
    if spec.sample_weight is not None:
        yield ("sample_weight",), spec.sample_weight
    if spec.incumbent is not None:
        yield ("incumbent",), spec.incumbent


def absent(place: str, name: str, columns: Collection[str]) -> UnusableTable:
    """Return the error about a column name in the YAML that the table lacks."""
    return UnusableTable(
        place,
        rule=f"the table has no column {name!r}{LEFT_OUT}; "
        f"{did_you_mean(name, columns)}",
        fix="Correct the name in the YAML, add it to schema.yaml, or drop the entry.",
    )


# Type in `preparation.types` → kinds of schema types that preserve it; "other" is no
# type.
_PRESERVED_BY: Mapping[str, Collection[Kind]] = {
    **dict.fromkeys(("number", "integer", "boolean"), (*NUMERIC, "category", "other")),
    "text": {"text", "category", "other"},
    "datetime": {"datetime", "category", "other"},
}


def _in_defs_yaml(_: Location) -> str:
    return "defs.yaml"


@dataclass(frozen=True)
class NamedColumns:
    """The columns that an experiment names, with their places.

    `line_of`: path of a key → its `file:line`.
    """

    spec: ExperimentSpec
    schema_text: str  # empty: the schema is not known yet
    line_of: Callable[[Location], str] = _in_defs_yaml
    schema_path: str = "schema.yaml"
    yaml_text: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """The texts of defs.yaml and schema.yaml."""
        return self.yaml_text, self.schema_text

    @property
    def dictionary(self) -> Dictionary:
        """What schema.yaml says about the columns."""
        return dictionary_of(self.schema_text, self.schema_path)

    def __getstate__(self) -> dict[str, Any]:
        # The file and its lines are not pickled.
        return {**self.__dict__, "line_of": _in_defs_yaml}

    def __repr__(self) -> str:
        return f"<NamedColumns of {self.spec.name}>"

    def check(self, delivered: Sequence[str]) -> None:
        """Compare every name with the table's columns.

        Only what the preparation reads, if `preparation.function` may make others.
        """
        spec = self.spec
        self._refuse_absent(
            delivered,
            [
                (("preparation", setting, name), name)
                for setting, name in declared_columns(spec.preparation)
                if name not in spec.exclude
            ],
        )
        if spec.preparation.function is not None:
            return
        calendar = [
            column
            for name, parts in spec.preparation.calendar.items()
            for column in calendar_columns(name, *parts)
        ]
        prepared = [*delivered, *calendar]
        columns, declared = prepared, list[str]()
        if self.schema_text:
            schema = shared_schema(self.schema_text, self.schema_path)
            columns, declared = self._fitted(prepared, delivered), [*schema.columns]
        slips = slips_in_exclude([*prepared, *declared], spec)
        self._refuse_absent(delivered, [(("exclude", name), name) for name in slips])
        names: list[tuple[Location, str]] = [
            (("target",), spec.target),
            *named_columns(spec),
            *((("monotone", name), name) for name in spec.monotone),
            *((("audit", "columns"), name) for name in spec.audited),
        ]
        self._refuse_absent(columns, names, LEFT_OUT)

    def _fitted(self, prepared: Sequence[str], delivered: Sequence[str]) -> list[str]:
        """Return the columns of a table after it is fitted to the schema."""
        spec = self.spec
        try:
            fitted, _ = fit_columns(
                pd.DataFrame(columns=[*prepared]),
                pd.Index(delivered),
                shared_schema(self.schema_text, self.schema_path),
                not_required={*spec.exclude, *all_calendar_columns(spec.exclude)},
            )
        except InvalidSchema as error:
            name = error.culprit.removeprefix("columns.").removeprefix("column ")
            file = YamlFile(self.schema_text, self.schema_path)
            place = file.place(("columns", name))
            raise InvalidSchema(
                place, rule=f"{error.culprit}: {error.rule}", fix=error.fix
            ) from None
        return [*map(str, fitted.columns)]

    def check_types(self) -> None:
        """Compare `preparation.types` with the schema's types, if no function runs."""
        if self.spec.preparation.function is not None:
            return
        types = self.spec.preparation.types
        file = YamlFile(self.schema_text, self.schema_path)
        schema = shared_schema(self.schema_text, self.schema_path)
        problems = []
        for name, column in column_schemas(types, schema).items():
            kind = schema_kind(column)
            if kind not in _PRESERVED_BY[types[name]]:
                rule = (
                    f"it is read as {types[name]}, but {file.place(('columns', name))} "
                    f"makes it {kind}; write one type in both"
                )
                problems.append(Problem(("preparation", "types", name), rule))
        if problems:
            raise invalid(problems, self.line_of)

    def _refuse_absent(
        self,
        columns: Sequence[str],
        names: Iterable[tuple[Location, str]],
        unless: str = "",
    ) -> None:
        problems = []
        for place, name in names:
            if name not in columns:
                hint = did_you_mean(name, columns)
                rule = f"the table has no column {name!r}{unless}; {hint}"
                problems.append(Problem(place, rule))
        if problems:
            raise invalid(problems, self.line_of)


SETS_TO_FILL = 3


def check_target(validated: pd.DataFrame, spec: ExperimentSpec) -> None:
    """Check the audited columns, and that the target varies and fits the task.

    Raises UnusableTable.
    """
    _check_audited(validated, spec)
    if spec.target not in validated.columns:
        raise _unusable(
            spec,
            "the table has no such column; "
            f"{did_you_mean(spec.target, validated.columns)}",
            "Correct target in the YAML.",
        )
    y = validated[spec.target].dropna()
    if y.empty:
        raise _unusable(
            spec, "it is missing in every row", "Deliver it, or name another column."
        )
    if kind_of(y) == "datetime":
        raise _unusable(
            spec, f"it holds {y.dtype}", "Predict a number or a class made of it."
        )
    if len(y.unique()) == 1:
        raise _unusable(
            spec,
            f"it is {y.iloc[0]!r} in all {len(y)} rows: there is nothing to learn",
            "Name another column, or deliver rows of every class.",
        )
    if spec.task == "regression":
        _check_numbers(y, spec)
    else:
        _check_classes(y, spec)


def _unusable(spec: ExperimentSpec, rule: str, fix: str) -> UnusableTable:
    return UnusableTable(f"target {spec.target}", rule, fix)


def _check_audited(validated: pd.DataFrame, spec: ExperimentSpec) -> None:
    for name in spec.audited:
        if name not in validated.columns:
            raise absent("audit", name, validated.columns)
        kind = kind_of(validated[name])
        if kind not in NUMERIC | TEXTS:
            raise UnusableTable(
                f"audit {name}",
                rule=f"it holds {kind}, which has no groups",
                fix="Name a column of bands.",
            )


def _check_numbers(y: pd.Series, spec: ExperimentSpec) -> None:
    kind = kind_of(y)
    if kind == "boolean":
        raise _unusable(
            spec, "it holds true and false, not numbers", "Write task: binary."
        )
    if kind not in NUMERIC:
        classes = y.nunique()
        task = "binary" if classes == 2 else "multiclass"
        raise _unusable(
            spec,
            f"it holds {y.dtype} with {classes} distinct values, regression needs "
            "numbers",
            f"Write preparation: types: {{{spec.target}: number}}, or task: {task}.",
        )
    infinite = np.isinf(y.to_numpy(dtype=np.float64))
    if infinite.any():
        raise _unusable(
            spec,
            f"infinite values: {infinite.sum()}, the first in row "
            f"{y.index[infinite][0]}",
            f"Reject them in schema.yaml, by columns: {spec.target}: in_range, "
            "or correct them in the source.",
        )


def _check_classes(y: pd.Series, spec: ExperimentSpec) -> None:
    counts = y.value_counts()
    kind = kind_of(y)
    if spec.task == "binary" and len(counts) != 2:
        are_numbers = kind in NUMERIC and len(counts) > 20
        fitting = "regression" if are_numbers else "multiclass"
        raise _unusable(
            spec,
            f"it has {len(counts)} classes, task binary needs 2: "
            f"{listed(counts.index)}",
            f"Write task: {fitting}, or merge classes by preparation.categories.",
        )
    if kind == "float" and (y != np.floor(y)).any():
        raise _unusable(
            spec, "it holds fractions, which are not classes", "Write task: regression."
        )
    _check_positive_class(y, spec)
    rare = counts[counts < SETS_TO_FILL]
    if len(rare):
        raise _unusable(
            spec,
            f"{len(rare)} of {len(counts)} classes have fewer than {SETS_TO_FILL} "
            f"rows, so not every set can hold one: {listed(rare.index)}",
            "Deliver more rows of them, merge them by preparation.categories, "
            "or reject them by notin in schema.yaml.",
        )


def _check_positive_class(y: pd.Series, spec: ExperimentSpec) -> None:
    if spec.positive_class is not None and spec.positive_class not in set(y.tolist()):
        classes = y.value_counts().index[:10]
        first = ", ".join(repr(plain(value)) for value in classes)
        raise UnusableTable(
            f"positive_class {spec.positive_class!r}",
            rule=f"{spec.target} never holds it; it holds {first}",
            fix="Write one of these, quoted if it is text.",
        )


def check_metrics(y: pd.Series, spec: ExperimentSpec) -> None:
    """Check that every metric of the experiment is defined for these targets (n,)."""
    if spec.task != "regression":
        return
    for name in spec.metric_names:
        lowest = metric_of(name).lowest_target
        below = int((y < lowest).sum())
        if below:
            raise UnusableTable(
                f"metric {name}",
                rule=f"it is only defined for targets from {lowest:g} on, "
                f"{spec.target} is lower in {below:,} of {len(y):,} rows, the lowest "
                f"is {y.min():g}",
                fix="Write another metric, such as rmse or mae, or reject these rows "
                "in schema.yaml.",
            )


def find_classes(train_y: pd.Series, spec: ExperimentSpec) -> tuple[Scalar, ...] | None:
    """Return the sorted classes, in the order of their codes; None for regression.

    The positive class comes last.
    """
    if spec.task == "regression":
        return None
    values = {plain(value) for value in train_y.dropna().unique().tolist()}
    classes = sorted(values, key=lambda value: (isinstance(value, str), value))
    if spec.positive_class is not None:
        classes.sort(key=lambda value: value == spec.positive_class)
    return tuple(classes)


def encode_target(y: pd.Series, classes: tuple[Scalar, ...] | None) -> np.ndarray:
    """Turn target values (n,) without missing ones into numbers.

    float64 for regression, else int64 positions in `classes`.
    """
    if classes is None:
        return y.to_numpy(dtype=np.float64)
    positions, distinct = pd.factorize(y)
    values = pd.Index([plain(value) for value in distinct])
    codes_of_distinct = pd.Index(classes, dtype=object).get_indexer(values)
    # A missing value has position -1, which selects the appended -1.
    codes = np.append(codes_of_distinct, -1)[positions]
    unknown = codes < 0
    if unknown.any():
        raise UnusableTable(
            f"target {y.name}",
            rule=f"values that are none of the classes {listed(classes)}: "
            f"{int(unknown.sum())}, such as {listed(y[unknown].unique())}",
            fix="Reject unknown classes by isin in schema.yaml.",
        )
    return codes.astype(np.int64)


def plain(value: object) -> Scalar:
    """Return a Python scalar; a whole float (1.0 beside missing) becomes an int."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value  # type: ignore[return-value]
