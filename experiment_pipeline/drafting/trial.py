"""Whether a drafted experiment will run: the stages up to the split, tried on the table itself.

In: the raw table and a spec. Out: the inferred schema, and the first problem of the data, if
there is one. Nothing is trained.
"""

from dataclasses import dataclass

import pandas as pd

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.preparation import prepare
from experiment_pipeline.columns.schema import load_schema
from experiment_pipeline.columns.target import check_target
from experiment_pipeline.drafting.schema import infer_schema
from experiment_pipeline.errors import DataError
from experiment_pipeline.rows.membership import assign_sets
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.split_sets.sets import SplitSets, split
from experiment_pipeline.stages.validated_data.guards import check_rejection_rate
from experiment_pipeline.stages.validated_data.rows import validate


@dataclass(frozen=True)
class Trial:
    """What came out.

    Attributes:
        schema_text: YAML of the schema that was inferred.
        sets: the split; None where it did not come to that.
        problem: why a run would stop; None where it would not.
    """

    schema_text: str
    sets: SplitSets | None
    problem: str | None


def try_out(raw: pd.DataFrame, spec: ExperimentSpec) -> Trial:
    """Prepare, validate and split the table as a run will do it."""
    prepared = prepare(raw, spec.preparation)
    schema_text = infer_schema(prepared.frame, spec.target)
    try:
        membership = assign_sets(prepared.frame, spec, feature_columns(prepared.frame, spec))
        outcome = validate(raw, prepared, load_schema(schema_text), spec, sets=lambda: membership)
        check_target(outcome.validated, spec)
        features = feature_columns(outcome.validated, spec)
        sets = split(outcome.validated, spec, features, membership)
    except DataError as error:
        return Trial(schema_text, None, str(error))
    rejected = check_rejection_rate(outcome, spec.validation)
    return Trial(schema_text, sets, rejected[0] if rejected else None)
