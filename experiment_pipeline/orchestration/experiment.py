"""The shell: a factory per stage turns a specification into Dagster assets and checks.

Each factory reads, calls the stage's namesake in `core/`, stores and reports. No arithmetic.
"""

import dagster as dg

from experiment_pipeline.columns.features import NamedColumns
from experiment_pipeline.orchestration.job import build_job
from experiment_pipeline.orchestration.schedule import build_schedule
from experiment_pipeline.orchestration.sensor import build_sensor
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.asset import build_data_analysis
from experiment_pipeline.stages.exported_model.asset import build_exported_model
from experiment_pipeline.stages.leaderboard.asset import build_leaderboard
from experiment_pipeline.stages.raw_data.asset import build_raw_data
from experiment_pipeline.stages.search.asset import build_trained_model
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.split_sets.asset import build_split_sets
from experiment_pipeline.stages.validated_data.asset import build_validated_data
from experiment_pipeline.stages.validation_report.asset import build_validation_report


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
