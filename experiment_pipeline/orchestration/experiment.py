"""One experiment for Dagster: the assets of its stages, and the job, schedule and sensor that run them.

What an asset does is in its stage's `asset.py`. The job is one run: its range tags train every
configuration (BackfillPolicy.single_run), first key to last of one ordered list, because Dagster
takes a reversed range for an unpartitioned one.
"""

from collections.abc import Sequence

import dagster as dg

from experiment_pipeline.columns.features import NamedColumns
from experiment_pipeline.errors import DataError, StorageError
from experiment_pipeline.orchestration.executor import in_process_executor
from experiment_pipeline.orchestration.tables import tables_io_manager
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.asset import TABLES, recorder
from experiment_pipeline.stages.data_analysis.asset import build_data_analysis
from experiment_pipeline.stages.exported_model.asset import build_exported_model
from experiment_pipeline.stages.leaderboard.asset import build_leaderboard
from experiment_pipeline.stages.raw_data.asset import build_raw_data
from experiment_pipeline.stages.raw_data.sources import fingerprint_source
from experiment_pipeline.stages.search.asset import build_trained_model
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.split_sets.asset import build_split_sets
from experiment_pipeline.stages.validated_data.asset import build_validated_data
from experiment_pipeline.stages.validation_report.asset import build_validation_report

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def range_tags(configurations: Sequence[Configuration]) -> dict[str, str]:
    """Tags of a run that covers every configuration, first key to last."""
    return {RANGE_START: configurations[0].key, RANGE_END: configurations[-1].key}


def build_schedule(
    spec: ExperimentSpec, configurations: Sequence[Configuration]
) -> dg.ScheduleDefinition:
    """A run on unchanged data reuses every stored result and costs seconds."""

    @dg.schedule(
        name=f"{spec.name}_schedule",
        job_name=spec.name,
        cron_schedule=spec.schedule,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Reruns the experiment; what has not changed is reused, not trained again.",
    )
    def rerun() -> dg.RunRequest:
        return dg.RunRequest(tags=range_tags(configurations))

    return rerun


SECONDS_BETWEEN_LOOKS = 60


def build_sensor(
    spec: ExperimentSpec, configurations: Sequence[Configuration]
) -> dg.SensorDefinition:
    """Requests one run per new state of the source; a source that is away is skipped, and said."""

    @dg.sensor(
        name=f"{spec.name}_new_data",
        job_name=spec.name,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Runs the experiment when {spec.data.shown_url} changes.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            state = fingerprint_source(spec.data)
        except (DataError, StorageError) as error:
            return dg.SkipReason(str(error))
        if state == context.cursor:
            return dg.SkipReason(f"unchanged since the last look ({state[:12]})")
        request = dg.RunRequest(run_key=state, tags=range_tags(configurations))
        return dg.SensorResult(run_requests=[request], cursor=state)

    return new_data


def build_experiment(named: NamedColumns) -> dg.Definitions:
    """Everything Dagster knows of one experiment; what it needs of a project, it brings along."""
    spec, schema_text = named.spec, named.schema_text
    declared = configurations(spec)
    record = recorder(spec, named.yaml_text, schema_text)
    assets = [
        build_raw_data(spec, named, record),
        build_data_analysis(spec, schema_text, record),
        build_validated_data(spec, schema_text, record),
        build_split_sets(spec, record),
        build_trained_model(spec, declared, record),
        build_leaderboard(spec, record),
        build_validation_report(spec, schema_text, record),
        build_exported_model(spec, declared, schema_text, record),
    ]
    job = dg.define_asset_job(
        name=spec.name,
        selection=assets,
        tags=range_tags(declared),
        description=(
            f"Which configuration should we ship to predict {spec.target}? "
            f"{len(declared)} configuration{'s' * (len(declared) != 1)}, "
            f"judged by {spec.metric}."
        ),
        executor_def=in_process_executor,
    )
    return dg.Definitions(
        assets=assets,
        jobs=[job],
        schedules=[build_schedule(spec, declared)],
        sensors=[build_sensor(spec, declared)],
        resources={TABLES: tables_io_manager},
    )
