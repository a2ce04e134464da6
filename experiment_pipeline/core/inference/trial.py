"""Whether a drafted experiment will run: the stages up to the split, tried on the table itself.

In: the raw table and a spec. Out: the inferred schema, and the first problem of the data, if
there is one. Nothing is trained.
"""

from dataclasses import dataclass

import pandas as pd

from experiment_pipeline.core.errors import DataError
from experiment_pipeline.core.preparation import prepare
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.split_sets import SplitSets, assign_sets, split
from experiment_pipeline.core.validated_data import (
    check_rejection_rate,
    check_target,
    feature_columns,
    infer_schema,
    load_schema,
    validate,
)


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
