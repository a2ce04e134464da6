"""An experiment without a schema.yaml: its first table gives the schema."""

import pytest

from experiment_pipeline.experiment.declared import with_schema
from experiment_pipeline.experiment.files import named_columns
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import run_named


@pytest.mark.usefixtures("storage")
def test_the_first_table_gives_the_schema(tmp_path):
    """Dagster's stages use it, and later tables do not change it."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    table = scenario.write_csv(tmp_path / "visits.csv")
    spec = scenario.spec(url=str(table), search=[{"algorithm": "linear"}])
    keys = spec.model_dump(mode="json", exclude_unset=True, exclude={"name"})
    text = to_yaml({"type": "experiment_pipeline.Experiment", "attributes": keys})
    (folder / "defs.yaml").write_text(text)
    named = named_columns(folder)
    assert named.schema_text == ""
    done = run_named(named, stages=["raw_data", "data_analysis", "validated_data"])
    assert done.success, done.failure
    inferred = with_schema(named).schema_text
    assert {spec.target, "ward"} <= {*load_schema(inferred).columns}
    table.unlink()
    assert with_schema(named_columns(folder)).schema_text == inferred
