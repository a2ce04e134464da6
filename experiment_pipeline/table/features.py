"""The roles of columns: features, target with its classes and codes, and columns that
the YAML names.

`NamedColumns` finds a wrong name from the table's header alone, before anything is read
or trained.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NoReturn, get_args

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
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, Kind, kind_of
from experiment_pipeline.table.preparation import calendar_columns, declared_columns
from experiment_pipeline.table.schema import column_schemas, fit_columns, shared_schema

LEFT_OUT = ", or schema.yaml leaves it out"
UNFIT = {
    "datetime": "Name it in preparation.calendar, or in exclude with the reason.",
    "duration": "Exclude it with the reason, or make it a number in preparation.function.",
    "complex": "Exclude it with the reason, or make it a number in preparation.function.",
    "nested": "Exclude it with the reason, or flatten it in preparation.function.",
}


def feature_columns(frame: pd.DataFrame, spec: ExperimentSpec) -> list[str]:
    """Return the columns that models are fitted on. Raises UnusableTable: a column for
    the split, ids or weights is absent; no feature is left; or a feature has a type
    that models cannot use.
    """
    for place, name in named_columns(spec):
        if name not in frame.columns:
            raise absent(".".join(map(str, place)), name, frame.columns)
    kinds = {
        str(name): kind_of(frame[name])
        for name in frame.columns
        if name not in spec.not_features
    }
    calendar = spec.preparation.calendar
    features = [
        name for name in kinds if kinds[name] != "datetime" or name not in calendar
    ]
    if not features:
        raise UnusableTable(
            "the table",
            f"no feature is left: all {len(frame.columns)} columns are target, id, split or excluded",
            "Exclude fewer columns, or deliver more.",
        )
    for name in features:
        if (kind := kinds[name]) in UNFIT:
            held = "lists or mappings" if kind == "nested" else str(frame[name].dtype)
            rule = f"it holds {held}, which models cannot use as they are"
            raise UnusableTable(f"column {name}", rule, UNFIT[kind])
    return features


def directions_of(frame: pd.DataFrame, spec: ExperimentSpec) -> dict[str, int]:
    """Return feature → 1 if the prediction may only rise with it, -1 if it may only
    fall.
    """
    for name in spec.monotone:
        if name not in frame.columns:
            raise absent(f"monotone.{name}", name, frame.columns)
        if (kind := kind_of(frame[name])) not in NUMERIC:
            raise UnusableTable(
                f"monotone.{name}",
                f"the column holds {kind}, which has no direction: only numbers have one",
                f"Drop it there, or read it as a number by preparation: types: {{{name}: number}}.",
            )
    return {
        name: 1 if one == "increasing" else -1 for name, one in spec.monotone.items()
    }


def parts_of_excluded(spec: ExperimentSpec) -> set[str]:
    """Return the names of all calendar columns of excluded columns."""
    every = product(spec.exclude, get_args(CalendarPart))
    return {new for name, part in every for new in calendar_columns(name, part)}


def slips_in_exclude(known: Iterable[str], spec: ExperimentSpec) -> list[str]:
    """Return the names in `exclude` that neither table, schema, preparation nor
    calendar has.
    """
    prepared = (name for _, name in declared_columns(spec.preparation))
    return sorted(spec.exclude.keys() - {*known, *prepared, *parts_of_excluded(spec)})


def named_columns(spec: ExperimentSpec) -> Iterator[tuple[Location, str]]:
    """Yield (path of the key, column) for the columns that split, identify or weight
    the rows.
    """
    for number, name in enumerate(spec.split.id_columns):
        yield ("split", "id_columns", number), name
    if spec.split.by != "random":
        yield ("split", "column"), spec.split.column
    if spec.sample_weight is not None:
        yield ("sample_weight",), spec.sample_weight


def absent(place: str, name: str, known: Collection[str]) -> UnusableTable:
    """Return the error about a column name in the YAML that the table lacks."""
    rule = f"the table has no column {name!r}{LEFT_OUT}"
    fix = "Correct the name in the YAML, add it to schema.yaml, or drop the entry."
    return UnusableTable(place, f"{rule}; {did_you_mean(name, known)}", fix)


# Type in `preparation.types` → kinds of schema types that preserve it; "other" is no
# type.
_KEPT_BY: Mapping[str, Collection[Kind]] = {
    **dict.fromkeys(("number", "integer", "boolean"), (*NUMERIC, "category", "other")),
    "text": {"text", "category", "other"},
    "datetime": {"datetime", "category", "other"},
}


@dataclass(frozen=True)
class NamedColumns:
    """The columns that an experiment names, with their places; `line_of`: path of a key
    → its `file:line`.
    """

    spec: ExperimentSpec
    schema_text: str
    line_of: Callable[[Location], str] = lambda _: "defs.yaml"
    schema_path: str = "schema.yaml"
    yaml_text: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """The texts of defs.yaml and schema.yaml."""
        return self.yaml_text, self.schema_text

    def check(self, delivered: Sequence[str]) -> None:
        """Compare every name with the table's columns, unless `preparation.function`
        may make others.
        """
        spec, preparation = self.spec, self.spec.preparation
        declared = [
            one for one in declared_columns(preparation) if one[1] not in spec.exclude
        ]
        self._refuse(
            delivered, [(("preparation", *place), place[1]) for place in declared]
        )
        if preparation.function is not None:
            return
        made = [
            new
            for name, parts in preparation.calendar.items()
            for part in parts
            for new in calendar_columns(name, part)
        ]
        # An empty table is fitted to the schema like the full one.
        empty = pd.DataFrame(columns=[*delivered, *made])
        try:
            rules = shared_schema(self.schema_text, self.schema_path)
            absent = {*spec.exclude, *parts_of_excluded(spec)}
            fitted, _ = fit_columns(empty, pd.Index(delivered), rules, absent)
        except InvalidSchema as error:
            name = error.culprit.removeprefix("columns.").removeprefix("column ")
            place = YamlFile(self.schema_text, self.schema_path).place(
                ("columns", name)
            )
            raise InvalidSchema(
                place, f"{error.culprit}: {error.rule}", error.fix
            ) from None
        slips = slips_in_exclude([*empty.columns, *rules.columns], spec)
        self._refuse(delivered, [(("exclude", name), name) for name in slips])
        target: tuple[Location, str] = (("target",), spec.target)
        monotone = [(("monotone", name), name) for name in spec.monotone]
        audited = [(("audit", "columns"), name) for name in spec.audited]
        named = [target, *named_columns(spec), *monotone, *audited]
        self._refuse([*map(str, fitted.columns)], named, LEFT_OUT)

    def check_types(self) -> None:
        """Compare `preparation.types` with the schema's types, unless a function runs
        in between.
        """
        types = (
            self.spec.preparation.types
            if self.spec.preparation.function is None
            else {}
        )
        file = YamlFile(self.schema_text, self.schema_path)
        schemas = column_schemas(
            types, shared_schema(self.schema_text, self.schema_path)
        )
        problems = []
        for name, wanted in types.items():
            if (kind := schema_kind(schemas[name])) not in _KEPT_BY[wanted]:
                there = file.place(("columns", name))
                rule = f"it is read as {wanted}, but {there} makes it {kind}; write one type in both"
                problems.append(Problem(("preparation", "types", name), rule))
        if problems:
            raise invalid(problems, self.line_of)

    def _refuse(
        self,
        columns: Sequence[str],
        named: Iterable[tuple[Location, str]],
        but: str = "",
    ) -> None:
        problems = [
            Problem(
                at,
                f"the table has no column {name!r}{but}; {did_you_mean(name, columns)}",
            )
            for at, name in named
            if name not in columns
        ]
        if problems:
            raise invalid(problems, self.line_of)


SETS_TO_FILL = 3


def check_target(validated: pd.DataFrame, spec: ExperimentSpec) -> None:
    """Check the audited columns, and that the target varies and fits the task;
    UnusableTable if not.
    """
    _check_audited(validated, spec)
    if spec.target not in validated.columns:
        known = did_you_mean(spec.target, validated.columns)
        _refuse(
            spec,
            f"the table has no such column; {known}",
            "Correct target in the YAML.",
        )
    y = validated[spec.target].dropna()
    if y.empty:
        _refuse(
            spec, "it is missing in every row", "Deliver it, or name another column."
        )
    if kind_of(y) == "datetime":
        _refuse(spec, f"it holds {y.dtype}", "Predict a number or a class made of it.")
    if len(y.unique()) == 1:
        _refuse(
            spec,
            f"it is {y.iloc[0]!r} in all {len(y)} rows: there is nothing to learn",
            "Name another column, or deliver rows of every class.",
        )
    if spec.task != "regression":
        _check_classes(y, spec)
        return
    kind = kind_of(y)
    if kind == "boolean":
        _refuse(spec, "it holds true and false, not numbers", "Write task: binary.")
    if kind not in NUMERIC:
        classes = y.nunique()
        _refuse(
            spec,
            f"it holds {y.dtype} with {classes} distinct values, regression needs numbers",
            f"Write preparation: types: {{{spec.target}: number}}, or task: "
            f"{'binary' if classes == 2 else 'multiclass'}.",
        )
    infinite = np.isinf(y.to_numpy(dtype=np.float64))
    if infinite.any():
        _refuse(
            spec,
            f"{infinite.sum()} rows are infinite, the first is row {y.index[infinite][0]}",
            f"Reject them in schema.yaml, by columns: {spec.target}: in_range, "
            "or correct them in the source.",
        )


def _check_audited(validated: pd.DataFrame, spec: ExperimentSpec) -> None:
    for name in spec.audited:
        if name not in validated.columns:
            raise absent("audit", name, validated.columns)
        if (kind := kind_of(validated[name])) not in NUMERIC | TEXTS:
            rule, fix = (
                f"it holds {kind}, which has no groups",
                "Name a column of bands.",
            )
            raise UnusableTable(f"audit {name}", rule, fix)


def _check_classes(y: pd.Series, spec: ExperimentSpec) -> None:
    counts, kind = y.value_counts(), kind_of(y)
    if spec.task == "binary" and len(counts) != 2:
        numbers = kind in NUMERIC and len(counts) > 20
        fitting = "regression" if numbers else "multiclass"
        _refuse(
            spec,
            f"it has {len(counts)} classes, task binary needs 2: {listed(counts.index)}",
            f"Write task: {fitting}, or merge classes by preparation.categories.",
        )
    if kind == "float" and (y != np.floor(y)).any():
        _refuse(
            spec, "it holds fractions, which are not classes", "Write task: regression."
        )
    if spec.positive_class is not None and spec.positive_class not in set(y.tolist()):
        held = ", ".join(repr(plain(value)) for value in counts.index[:10])
        rule = f"{spec.target} never holds it; it holds {held}"
        fix = "Write one of these, quoted if it is text."
        raise UnusableTable(f"positive_class {spec.positive_class!r}", rule, fix)
    rare = counts[counts < SETS_TO_FILL]
    if len(rare):
        _refuse(
            spec,
            f"{len(rare)} of {len(counts)} classes have fewer than {SETS_TO_FILL} rows, so not "
            f"every set can hold one: {listed(rare.index)}",
            "Deliver more rows of them, merge them by preparation.categories, "
            "or reject them by notin in schema.yaml.",
        )


def _refuse(spec: ExperimentSpec, rule: str, fix: str) -> NoReturn:
    raise UnusableTable(f"target {spec.target}", rule, fix)


def check_metrics(y: pd.Series, spec: ExperimentSpec) -> None:
    """Check that every metric of the experiment is defined for these targets (n,)."""
    for name in spec.metric_names:
        lowest = metric_of(name).lowest_target
        if spec.task == "regression" and (below := int((y < lowest).sum())):
            raise UnusableTable(
                f"metric {name}",
                f"it is only defined for targets from {lowest:g} on, {spec.target} is lower in {below:,} of "
                f"{len(y):,} rows, the lowest is {y.min():g}",
                "Write another metric, such as rmse or mae, or reject these rows in schema.yaml.",
            )


def find_classes(train_y: pd.Series, spec: ExperimentSpec) -> tuple[Scalar, ...] | None:
    """Return the sorted classes, in the order of their codes, the positive one last;
    None for regression.
    """
    if spec.task == "regression":
        return None
    values = train_y.dropna().unique().tolist()
    classes = sorted(
        {plain(value) for value in values}, key=lambda v: (isinstance(v, str), v)
    )
    if spec.positive_class is not None:
        classes.sort(key=lambda value: value == spec.positive_class)
    return tuple(classes)


def encode_target(y: pd.Series, classes: tuple[Scalar, ...] | None) -> np.ndarray:
    """Turn target values (n,) without missing ones into float64, or into int64
    positions in `classes`.
    """
    if classes is None:
        return y.to_numpy(dtype=np.float64)
    positions, distinct = pd.factorize(y)
    known = pd.Index(classes, dtype=object).get_indexer(
        pd.Index([plain(v) for v in distinct])
    )
    # A missing value has position -1, which selects the appended -1.
    codes = np.append(known, -1)[positions]
    if (codes < 0).any():
        raise UnusableTable(
            f"target {y.name}",
            f"{int((codes < 0).sum())} rows have none of the classes {listed(classes)}: "
            f"{listed(y[codes < 0].unique())}",
            "Reject unknown classes by isin in schema.yaml.",
        )
    return codes.astype(np.int64)


def plain(value: object) -> Scalar:
    """Return a Python scalar; a whole float becomes an int, as missing values make
    class 1 a 1.0.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value  # type: ignore[return-value]
