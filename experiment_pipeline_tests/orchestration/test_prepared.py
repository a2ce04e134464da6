"""A run prepares its rows once: the data analysis hands them to the validation."""

from experiment_pipeline.orchestration.assets.validated_data import prepared_rows
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario


def test_prepared_rows_are_handed_on_once_and_only_for_the_same_experiment() -> None:
    """The next call takes them; another table, or another split, gets rows of its own."""
    raw = RawTable(scenario.table(), "one", "csv", None, None, None, ())
    spec = scenario.spec()
    named = NamedColumns(spec, scenario.SCHEMA)
    first = prepared_rows(raw, spec, named, hand_on=True)
    assert prepared_rows(raw, spec, named) is first
    assert prepared_rows(raw, spec, named, hand_on=True) is not first
    other = prepared_rows(raw, scenario.spec(split="time"), named)
    assert not other.sets.equals(first.sets)
    assert prepared_rows(raw, spec, named) is not first
