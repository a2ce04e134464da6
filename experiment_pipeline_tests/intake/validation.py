"""Short ways to validate a table in tests."""

import pandas as pd

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.intake.profile import DataProfile
from experiment_pipeline.intake.validation import ValidatedData, validate
from experiment_pipeline.spec import ExperimentSpec, Preparation
from experiment_pipeline.storage.records import from_json
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario


def checked(columns: dict, schema: str, spec=None) -> ValidatedData:
    """Validate a small table that needs no preparation."""
    raw, rules = (
        pd.DataFrame(columns).rename_axis(index="row_number"),
        load_schema(schema),
    )
    prepared = scenario.prepared_rows(raw, Preparation(), rules)
    return validate(raw, prepared, rules, spec).some_left()


def reasons(data: ValidatedData) -> dict[int, list[str]]:
    """Return row number → its reasons."""
    return {
        row: text.split("\n")
        for row, text in data.rejected["rejection_reasons"].items()
    }


def clinic(
    spec: ExperimentSpec | None = None, raw: pd.DataFrame | None = None
) -> ValidatedData:
    """Validate the scenario's table, or another one like it."""
    raw, spec = scenario.table() if raw is None else raw, spec or scenario.spec()
    rules = load_schema(scenario.SCHEMA)
    prepared = scenario.prepared_rows(raw, spec.preparation, rules)
    return validate(raw, prepared, rules, spec).some_left()


def read_back(content: bytes) -> DataProfile:
    """Return the profile that is stored as these bytes."""
    return from_json(
        DataProfile, content, EntryCorrupt("here", "is no profile", "make it again")
    )
