"""The shell: a factory per stage turns a specification into Dagster assets and checks.

Each factory reads, calls the stage's namesake in `core/`, stores and reports. No arithmetic.
"""

import dagster as dg

from experiment_pipeline.assets.data_analysis import build_data_analysis
from experiment_pipeline.assets.exported_model import build_exported_model
from experiment_pipeline.assets.leaderboard import build_leaderboard
from experiment_pipeline.assets.raw_data import build_raw_data
from experiment_pipeline.assets.split_sets import build_split_sets
from experiment_pipeline.assets.trained_model import build_trained_model
from experiment_pipeline.assets.validated_data import build_validated_data
from experiment_pipeline.assets.validation_report import build_validation_report
from experiment_pipeline.automation.jobs import build_job
from experiment_pipeline.automation.schedules import build_schedule
from experiment_pipeline.automation.sensors import build_sensor
from experiment_pipeline.core.configurations import configurations
from experiment_pipeline.core.named_columns import NamedColumns
from experiment_pipeline.core.spec import ExperimentSpec


def build_experiment(
    spec: ExperimentSpec, schema_text: str, named: NamedColumns | None = None
) -> dg.Definitions:
    """Everything Dagster knows of one experiment.

    Args:
        spec: what the YAML says.
        schema_text: the content of schema.yaml.
        named: the columns that both name, with their lines; None: there are no files.
    """
    declared = configurations(spec)
    return dg.Definitions(
        assets=[
            build_raw_data(spec, named or NamedColumns(spec, schema_text)),
            build_data_analysis(spec, schema_text),
            build_validated_data(spec, schema_text),
            build_split_sets(spec, schema_text),
            build_trained_model(spec, declared),
            build_leaderboard(spec),
            build_validation_report(spec, schema_text),
            build_exported_model(spec, declared, schema_text),
        ],
        jobs=[build_job(spec, declared)],
        schedules=[build_schedule(spec, declared)],
        sensors=[build_sensor(spec, declared)],
    )
