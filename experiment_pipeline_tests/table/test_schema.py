"""schema.yaml: closed, safe, inferred, and read back."""

import inspect
from typing import get_args

import pandas as pd
import pandera.pandas as pa
import pytest

from experiment_pipeline.drafting.files import infer_schema
from experiment_pipeline.errors import InvalidSchema
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.spec.schema import Column, ColumnChecks, SchemaFile
from experiment_pipeline.table.dictionary import dictionary_of
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.intake.validation import checked, reasons

BAD_SCHEMAS = {
    "columns: {a: {known: later}}": r"known: 'later' is not when .* write at prediction, never",
    "columns: {a: {known: -30 days}}": "'-30 days' is not when",
    "a: [": r"schema\.yaml:\d: is not YAML",
    "": "not a mapping",
    "columns: {a: {}}\n---\ncolumns: {b: {}}": "second document",
    "columns: {a: {}}\nchecks: {columns_add_up: {parts: a, total: a}}": r"parts: 'a' should be a valid tuple",
    "columns: {a: {}}\nchecks: {columns_add_up: {parts: [a], total: a, tolerance: x}}": "a number",
    "columns: {a: {dtype: int46}}": r"columns\.a\.dtype.*'int64'",
    "columns: {a: {}, a: {}}": "is already on line 1",
    "columns: {a: {in_range: {min_value: 3, max_value: 1}}}": r"columns\.a\.in_range",
    "columns: {a: {str_matches: '('}}": "not a regular expression",
    "columns: {a: {dtype: int64, nullable: true}}": "write Int64",
    "columns: {a: {dtype: int64, default: x}}": r"columns\.a\.default",
    "columns: {a: {}}\nunique: [b]": "unique.*'b'",
    "columns: {a: {}}\ndrop_invalid_rows: true": "kept by row number",
    "columns: {a: {checks: [{value: 1, options: {check_name: __init__}}]}}": "unknown key",
    "columns: {a: !!python/object/apply:os.system ['true']}": "not YAML of plain values",
    "columns: {a: {}}\nchecks: {compare_columns: {left: a, operator: '<', right: b}}": "'b'",
    "columns: {a: {}}\nchecks: {compare_columns: {left: a, operator: '=<', right: a}}": "<=",
}


@pytest.mark.parametrize("text", BAD_SCHEMAS)
def test_a_wrong_schema_names_column_and_key(text):
    """Typos, unsafe YAML and contradictions are errors with the place and what is
    allowed.
    """
    with pytest.raises(InvalidSchema) as error:
        load_schema(text)
    assert pd.Series([str(error.value).replace("\n", " ")]).str.contains(
        BAD_SCHEMAS[text]
    )[0]


SEVERAL = """\
# Rules for visits.
columns:
  age: {dtype: int46}
  ward:
    dtype: str
    isin: north
  "a.b":
    dtype: float64
    in_range: {min: 3}
"""


def test_every_wrong_column_is_told_with_file_and_line():
    """Like those of defs.yaml: file, line, path, what is allowed; all columns
    at once.
    """
    with pytest.raises(InvalidSchema) as caught:
        load_schema(SEVERAL, "defs/visits/schema.yaml")
    ward, dotted, *_ = str(caught.value).splitlines()
    assert ward.startswith(
        "defs/visits/schema.yaml:6: columns.ward.isin: 'north' should be"
    )
    assert "schema.yaml:9: columns.a.b.in_range.min_value: is missing" in dotted


def test_what_only_pandera_can_judge_has_its_line_too():
    """A type is looked up once every key is one that may be there."""
    text = SEVERAL.replace("north", "[north]").replace(
        "{min:", "{max_value: 9, min_value:"
    )
    with pytest.raises(InvalidSchema) as caught:
        load_schema(text)
    told, fix = str(caught.value).split("\n")
    assert (
        told
        == "schema.yaml:3: columns.age.dtype: 'int46' is not a type; did you mean 'int64'?"
    )
    assert fix == "  fix: correct these keys"


def test_a_check_that_does_not_fit_the_type_is_an_error():
    """Comparing text with a number is the schema's mistake, told with the column."""
    with pytest.raises(InvalidSchema, match=r"columns\.a\.greater_than"):
        checked({"a": ["x"]}, "columns: {a: {dtype: str, greater_than: 0}}")


def test_the_grammar_knows_pandera_s_arguments():
    """The arguments that the grammar allows are those of pandera's own checks."""
    for name, field in ColumnChecks.model_fields.items():
        parameters = inspect.signature(getattr(pa.Check, name)).parameters
        [check, _] = get_args(field.annotation)
        assert [
            key for key in parameters if key not in ("args", "kwargs")
        ] == check.arguments()


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Column, pa.Column), (SchemaFile, pa.DataFrameSchema)]
)
def test_a_key_that_is_left_out_means_what_pandera_says(ours, theirs):
    """Editors show these defaults, pandera applies its own."""
    parameters = inspect.signature(theirs).parameters
    for name in ours.model_fields.keys() & parameters.keys() - {"columns", "checks"}:
        assert ours.model_fields[name].default == parameters[name].default, name


def test_a_schema_that_pandera_wrote_can_be_read():
    """YAML of pandera's own, in its list notation too, means the same here."""
    schema = pa.DataFrameSchema(
        {
            "a": pa.Column(
                int, [pa.Check.in_range(0, 5), pa.Check.isin([1, 9])], coerce=True
            )
        }
    )
    for minimal in (True, False):
        read = load_schema(schema.to_yaml(minimal=minimal))
        ours, theirs = (
            [one.error for one in of.columns["a"].checks] for of in (read, schema)
        )
        assert ours == theirs


def test_the_dictionary_decides_no_row():
    """What a column means is no rule of pandera's."""
    said = "title: t, description: d, unit: EUR, owner: o, personal: true, known: 1 day"
    rules = "columns: {a: {dtype: int64, greater_than: 0%s}}"
    plain, with_words = load_schema(rules % ""), load_schema(rules % f", {said}")
    assert with_words == plain
    meaning = dictionary_of(rules % f", {said}")["a"]
    assert (meaning.in_words, meaning.when_late) == (
        "d, in EUR",
        "known 1 day after the prediction",
    )
    assert dictionary_of(rules % "")["no column"].in_words == ""


def test_an_inferred_schema_accepts_the_table_it_came_from():
    """Strange names, listed categories and gaps survive the way through YAML, in any
    order of columns.
    """
    raw = scenario.sound_table()
    prepared = prepare(raw, scenario.spec().preparation)
    text = infer_schema(prepared.frame, "readmitted")
    assert validate(raw, prepared, load_schema(text)).rejected.empty
    assert "allowed_values: [day clinic, east, north, south]" in text
    assert text.startswith("#")
    assert (
        infer_schema(prepared.frame[prepared.frame.columns[::-1]], "readmitted") == text
    )


def test_an_inferred_schema_sets_no_limits_of_the_sample():
    """Beyond those seen, a number, a category or a gap is kept; only the target's list
    rejects.
    """
    columns = {
        "a": [1.0, 2.0] * 5,
        "b": ["x", "y"] * 5,
        "c": [1, 2] * 5,
        "d": ["u", "v"] * 5,
    }
    schema = infer_schema(pd.DataFrame(columns), "b")
    later = {"a": [-1e9, 5.0], "b": ["x", "z"], "c": [3, None], "d": ["w", None]}
    spec = scenario.spec(
        split={"by": "random"}, target="b", positive_class="x", exclude={}
    )
    data = checked(later, schema, spec)
    assert reasons(data) == {1: ["b: 'z' fails isin(['x', 'y'])"]}
    assert [note.partition(":")[0] for note in data.notes] == ["c", "d", "d"]
