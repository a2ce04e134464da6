"""Draft the dictionary of columns: what names, the table's file and a list say of them,
and what only people know.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from yaml import MappingNode

from experiment_pipeline.errors import InvalidSchema, did_you_mean, listed
from experiment_pipeline.experiment.declared import experiment_folder
from experiment_pipeline.experiment.files import SCHEMA_FILE, named_columns
from experiment_pipeline.experiment.flow import prepared_rows
from experiment_pipeline.intake.contents import PARQUET_MAGIC, Content
from experiment_pipeline.intake.raw_table import RawTable, read
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.spec.reading import (
    YamlFile,
    explain,
    in_line,
    invalid,
    read_schema,
)
from experiment_pipeline.spec.schema import Column, Meaning, SchemaFile
from experiment_pipeline.stages.data_analysis.analysis import analyse_prepared
from experiment_pipeline.storage.files import location, read_bytes, write_bytes
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.preparation import calendar_columns

Said = dict[str, dict[str, Any]]  # column → key → value

# A unit, and how names write it otherwise.
_UNITS = """\
km m cm mm kg g t ms h kW kWh MW MWh hPa mph K V A W l °C days nights weeks months miles
EUR euro euros €
USD dollar dollars $
GBP £
% pct percent percentage
s secs seconds
minutes mins
hours hrs
years"""
_LINES_OF_UNITS = [line.split() for line in _UNITS.splitlines()]
_UNIT_OF = {unit.lower(): unit for unit in _LINES_OF_UNITS[0]} | {
    name.lower(): names[0] for names in _LINES_OF_UNITS[1:] for name in names
}
# What is settled only once it has happened, unless the name says that it was before.
_OUTCOMES = (
    "actual answered approved arrived assigned cancelled canceled cancellation closed "
    "collected completed delivered discharge duration ended final finished outcome "
    "paid reason recovered recoveries refund refunded repaid resolved response result "
    "returned settled status"
)
_EARLIER = (
    "earlier expected former historical last past planned previous prior sched "
    "scheduled"
)
_PERSONAL = (
    "address birth birthdate birthday dob email firstname iban ip lastname mail mobile "
    "passport phone postcode ssn street surname telephone zip zipcode"
)
_PROTECTED = "age disability ethnicity gender marital nationality race religion sex"
# key → the names that make one ask, and the question
_TELLING = {
    "known": (_OUTCOMES, "known: never? Its name is that of an outcome."),
    "personal": (_PERSONAL, "personal: true? Its name is that of personal data."),
    "protected": (_PROTECTED, "protected: true? Its name is that of such a group."),
}
_QUESTIONS = {
    "known": "when is a value known: at prediction, 30 days after it, never?",
    "description": "what does a value mean?",
    "unit": "in which unit are the numbers?",
    "owner": "who answers questions about it?",
}


@dataclass(frozen=True)
class DraftedDictionary:
    """What can be added to a schema.yaml, and what people must say."""

    file: YamlFile
    columns: Said
    questions: Sequence[str]

    def text(self) -> str:
        """Return the file's text with the keys added, and with all its comments.

        Raises InvalidSchema: a column is written in a way that cannot be added to.
        """
        keys = {key.value: below for key, below in self.file.documents[0].value}
        nodes = {name.value: node for name, node in keys["columns"].value}
        by_hand = InvalidSchema(
            self.file.path,
            rule="writes a column with an anchor or in another rare way",
            fix="add the printed keys by hand",
        )
        text = self.file.text
        expected = self.file.values()
        # From the end, so that the places before stay as they are.
        for name in sorted(
            self.columns, key=lambda name: -nodes[name].start_mark.index
        ):
            node = nodes[name]
            start, end = node.start_mark.index, node.end_mark.index
            if text[start : start + 1] in {"&", "!"}:
                raise by_hand
            lines = [in_line({key: said}) for key, said in self.columns[name].items()]
            if not isinstance(node, MappingNode):  # it has no rule yet
                text = f"{text[:start]} {{{', '.join(lines)}}}{text[end:]}"
            elif node.flow_style:
                text = f"{text[: start + 1]} {', '.join(lines)},{text[start + 1 :]}"
            else:
                indent = "\n" + " " * node.start_mark.column
                text = text[:start] + indent.join([*lines, ""]) + text[start:]
            rules = expected["columns"][name] or {}
            expected["columns"][name] = {**rules, **self.columns[name]}
        if YamlFile(text, self.file.path, InvalidSchema).values() != expected:
            raise by_hand
        return text


def draft_dictionary(
    experiment: str, list_: str | None = None, upstream: pd.DataFrame | None = None
) -> DraftedDictionary:
    """Draft what schema.yaml does not say yet.

    `list_`: a CSV that knows more. `upstream`: such a list of the asset that delivers
    the table; what it says of other columns is skipped. Raises InvalidSchema: there is
    no schema.yaml, or a list is wrong; and as `named_columns` and `read_source`.
    """
    named = named_columns(experiment_folder(experiment))
    if not named.schema_text:
        fix = "copy the inferred one beside defs.yaml: <storage>/<experiment>/schemas/"
        raise InvalidSchema(named.schema_path, "there is none", fix)
    file = YamlFile(named.schema_text, named.schema_path, InvalidSchema)
    schema = read_schema(file)
    contents = read_source(named.spec.source)
    # Each is surer than those before it.
    sources = [_of_parquet(contents[0][1]), *_of_lists(list_, upstream, schema)]
    added: Said = {}
    said: Said = {}
    for name, column in schema.columns.items():
        drafted = reduce(or_, (source.get(name, {}) for source in sources))
        drafted = _unit(name, column) | drafted
        new = {key: drafted[key] for key in drafted if key not in column.said}
        if new and not column.regex:
            added[name] = new
        said[name] = {**column.said, **new}
    raw = read(contents, named.spec.source)
    features = [name for name in _strongest_first(raw, named) if name in said]
    questions = [*_suspicions(features, said, named), *_open(features, said, schema)]
    return DraftedDictionary(file, added, questions)


def _strongest_first(raw: RawTable, named: NamedColumns) -> list[str]:
    """Return the delivered features, those that predict most alone first."""
    spec = named.spec
    prepared = prepared_rows(raw, named)
    analysis, _ = analyse_prepared(prepared, spec, named.dictionary)
    strongest = [feature.column for feature in analysis.associations]
    dates = spec.preparation.calendar.items()
    parts = {part for date, chosen in dates for part in calendar_columns(date, *chosen)}
    columns = dict.fromkeys([*strongest, *map(str, prepared.frame.columns)])
    return [name for name in columns if name not in {*spec.not_features, *parts}]


def write_dictionary(experiment: str, drafted: DraftedDictionary) -> None:
    """Add a draft to the experiment's schema.yaml."""
    path = experiment_folder(experiment) / SCHEMA_FILE
    write_bytes(location(str(path)), drafted.text().encode())


def _words(name: str) -> set[str]:
    """The words of a name in lower case: `signUp_date` has sign, up and date."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return {*re.split(r"[\W_]+", parted.lower())}


def _has_unit(column: Column) -> bool:
    """Whether it may have a unit: it holds numbers that are no codes."""
    is_number = re.match(r"u?int|float", column.dtype or "", re.IGNORECASE)
    return bool(is_number) and "isin" not in dict(column.all_checks())


def _unit(name: str, column: Column) -> dict[str, Any]:
    """Return the unit at the end of a name; in brackets it may be a single letter."""
    found = re.search(r"[(\[]\s*(\S+)\s*[)\]]$|[_ ]([^\W_]{2,}|[%€$£])$", name)
    unit = _UNIT_OF.get((found[1] or found[2]).lower()) if found else None
    return {"unit": unit} if unit and _has_unit(column) else {}


def _suspicions(
    features: Sequence[str], said: Said, named: NamedColumns
) -> Iterator[str]:
    """Ask about features whose names are those of outcomes, persons or groups."""
    target = _words(named.spec.target)
    for name in features:
        words = _words(name)
        is_earlier = words & {*_EARLIER.split()}
        for key, (telling, question) in _TELLING.items():
            suspected = bool(words & {*telling.split()})
            if key == "known":
                suspected = (suspected or target <= words) and not is_earlier
            if suspected and key not in said[name]:
                yield f"{name}: {question}"


def _open(features: Sequence[str], said: Said, schema: SchemaFile) -> Iterator[str]:
    """Name the features of which nobody has said what only people know, those that
    predict most first.
    """
    for key, question in _QUESTIONS.items():
        silent = [
            name
            for name in features
            if key not in said[name]
            if key != "unit" or _has_unit(schema.columns[name])
        ]
        if silent:
            yield f"{key}: {question} {listed(silent)}"


def _of_parquet(content: Content) -> Said:
    """Return what the fields of a Parquet file say; nothing of other files."""
    if bytes(content[:4]) != PARQUET_MAGIC:
        return {}
    said: Said = {}
    for field in pq.read_schema(pa.BufferReader(content)):
        metadata = field.metadata or {}
        told = {key.decode().lower(): text.decode() for key, text in metadata.items()}
        if "comment" in told:  # as Spark and Delta write it
            told.setdefault("description", told["comment"])
        keys = ("title", "description", "unit", "owner")
        said[field.name] = {key: told[key] for key in keys if told.get(key)}
    return said


def _of_dbt(path: str) -> pd.DataFrame:
    """Return the columns of dbt YAML of one model, as texts, without other meta."""
    file = YamlFile(read_bytes(location(path)).decode(), path, InvalidSchema)
    rows = []
    try:
        [model] = file.values()["models"]
        for column in model["columns"]:
            meta = {
                **column.get("config", {}).get("meta", {}),
                **column.get("meta", {}),
            }
            keys = Meaning.model_fields.keys() & meta
            row = {"column": column["name"], "description": column.get("description")}
            rows.append(row | {key: meta[key] for key in keys})
    except (AttributeError, KeyError, TypeError, ValueError):
        fix = "keep the one: models: [{name: …, columns: [{name: …, meta: {unit: …}}]}]"
        rule = "is not dbt's YAML of one model with columns"
        raise InvalidSchema(path, rule, fix) from None
    return pd.DataFrame(rows).astype("str").fillna("")


def _of_lists(
    list_: str | None, upstream: pd.DataFrame | None, schema: SchemaFile
) -> Iterator[Said]:
    """Yield what an asset and then what a list says of the columns of a schema."""
    if upstream is not None:
        delivered = upstream[upstream["column"].isin(schema.columns)]
        # None of them: its names are written otherwise, which is an error.
        named = upstream if delivered.empty else delivered
        yield _of_list(named, "the asset", schema)
    if list_ is not None:
        yield _of_list(_read_list(list_), list_, schema)


def _read_list(path: str) -> pd.DataFrame:
    """Read a CSV file, or dbt's YAML, as texts: `column`, and keys as `unit`."""
    try:
        if path.endswith((".yml", ".yaml")):
            return _of_dbt(path)
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidSchema(path, f"cannot be read: {reason}", "name a CSV") from None
    if "column" not in table:
        keys = ", ".join(Meaning.model_fields)
        fix = f"head the names of columns `column`; beside it may be {keys}"
        raise InvalidSchema(path, f"its header is {listed(table)}", fix)
    return table


def _of_list(table: pd.DataFrame, place: str, schema: SchemaFile) -> Said:
    """Return what a list from a place says of the columns of a schema."""
    said: Said = {}
    for name, row in table.set_index("column").iterrows():
        if name not in schema.columns:
            fix = f"correct the name; {did_you_mean(str(name), schema.columns)}"
            raise InvalidSchema(place, f"schema.yaml has no column {name!r}", fix)
        told = {str(key): text for key, text in row.items() if text}
        try:
            said[str(name)] = dict(Meaning.model_validate(told).said)
        except ValidationError as error:
            problems = explain(error, Meaning, told)
            where = f"{place}, column {name}"
            raise invalid(problems, lambda _, at=where: at, InvalidSchema) from None
    return said
