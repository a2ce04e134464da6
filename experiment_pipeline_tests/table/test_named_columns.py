"""Columns that the YAML names and the table lacks: told from the header, with
the line.
"""

import pytest

from experiment_pipeline.errors import InvalidExperiment, InvalidSchema
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario

DELIVERED = list(scenario.sound_table().columns)


def named(schema: str = scenario.SCHEMA, **changes) -> NamedColumns:
    spec = scenario.spec(**changes)
    return NamedColumns(spec, schema, lambda at: f"defs.yaml:{'.'.join(map(str, at))}")


def told(one: NamedColumns, columns: list[str] = DELIVERED) -> str:
    with pytest.raises((InvalidExperiment, InvalidSchema)) as caught:
        one.check(columns)
    return str(caught.value)


@pytest.mark.parametrize("split", scenario.SPLITS)
@pytest.mark.parametrize("task", scenario.TARGETS)
def test_right_names_are_told_nothing(task: str, split: str):
    """Every split and task of the awkward table, and columns that the
    calendar makes.
    """
    NamedColumns(scenario.spec(task, split), scenario.SCHEMA).check(DELIVERED)


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("exclude.aeg", {"exclude": {"aeg": "a slip"}}),
        ("target", {"target": "readmited", "positive_class": "yes"}),
        ("split.id_columns.0", {"split": {"by": "random", "id_columns": ["visit"]}}),
        ("preparation.types.wieght", {"preparation": {"types": {"wieght": "text"}}}),
        (
            "preparation.missing_values.x",
            {"preparation": {"missing_values": {"x": ["?"]}}},
        ),
    ],
)
def test_a_wrong_name_is_told_its_line_and_the_likely_one(place: str, changes):
    """Each key that names columns, at its own line."""
    message = told(named("columns:\n  age: {}\nstrict: false\n", **changes))
    assert message.startswith(f"defs.yaml:{place}: {place}: the table has no column ")
    assert "did you mean" in message or "there are" in message


def test_an_excluded_column_is_required_nowhere():
    """Neither by the schema nor by the preparation, nor what a calendar would make of
    it.
    """
    schema = scenario.SCHEMA.replace(
        "  ward:", "  visited_hour: {dtype: float64}\n  ward:"
    )
    excluded = {
        **scenario.spec().exclude,
        "visited": "of the export",
        "visited_day_of_week": "so",
    }
    for columns in (DELIVERED, [name for name in DELIVERED if name != "visited"]):
        named(schema, exclude=excluded).check(columns)
    assert "did you mean 'visited'" in told(named(schema, exclude={"visitd": "a slip"}))


def test_what_the_schema_requires_or_leaves_out_is_told():
    """With the schema's line where the header lacks it; `strict: filter` drops what the
    sets would need.
    """
    message = told(named("columns:\n  age: {}\n  agge: {}\nstrict: false\n"))
    lacks = "schema.yaml:3: columns.agge: the table lacks required columns: 'agge'"
    assert message.startswith(lacks)
    one = named(f"columns:\n  {scenario.TARGETS['binary']}: {{}}\nstrict: filter\n")
    assert "no column 'visit_id', or schema.yaml leaves it out" in told(one)


def test_columns_that_a_function_may_have_made_are_not_judged():
    """Only what is there before it can be told from the header."""
    preparation = {"function": "mine:add_columns", "types": {"weight": "text"}}
    named(preparation=preparation, exclude={"made_by_it": "a reason"}).check(DELIVERED)
    wrong = {"function": "mine:add_columns", "types": {"wieght": "text"}}
    assert "wieght" in told(named(preparation=wrong))


def test_a_table_that_was_read_as_one_column_is_told_its_delimiter():
    """A wrong delimiter makes one long name of the header."""
    two = named("columns:\n  age: {}\n  ward: {}\n", preparation={})
    advice = "fix: Correct data.delimiter: the table was read as one column."
    assert advice in told(two, ["age;ward"])
    assert "delimiter" not in told(two, ["age", "wrad"])
