"""The bundled flights, prepared and cut as the experiment cuts them, and 60
configurations.
"""

from pathlib import Path

import yaml

from experiment_pipeline.intake.raw_table import parse
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.stages.split_sets.sets import split
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests.bench.tables import Cut

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "experiment_pipeline" / "defs" / "flight_delay"
TREES = 100
SEARCH = [
    {
        "algorithm": "lightgbm",
        "hyperparameters": {
            "learning_rate": [0.03, 0.05, 0.08, 0.12, 0.2],
            "num_leaves": [7, 15, 31, 63],
            "min_child_samples": [20, 100, 400],
            "n_estimators": TREES,
            "early_stopping_round": 0,
        },
    }
]


def flights_spec(**changes: object) -> ExperimentSpec:
    """The bundled experiment, with another search."""
    declared = yaml.safe_load((FOLDER / "defs.yaml").read_text())["attributes"]
    declared["data"] = str(ROOT / "data" / "flights.csv.gz")
    return ExperimentSpec.model_validate(
        {"name": "flight_delay", **declared, **changes}
    )


def flights_cut(spec: ExperimentSpec) -> Cut:
    """The three sets of the flights, as the assets make them."""
    raw = parse(read_source(spec.data), spec.data).frame
    schema = load_schema((FOLDER / "schema.yaml").read_text())
    prepared = prepare_and_assign(raw, schema, spec)
    parted = validate(raw, prepared, schema, spec)
    sets = split(
        parted.to_split(prepared), spec, feature_columns(parted.validated, spec)
    )
    return Cut(spec, as_evaluated(sets.train, sets.test, spec), sets.validation.rows)
