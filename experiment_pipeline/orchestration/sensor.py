"""The new-data sensor of an experiment: looks at the source's size and time, not its content."""

from collections.abc import Sequence

import dagster as dg

from experiment_pipeline.errors import DataError, StorageError
from experiment_pipeline.orchestration.job import range_tags
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.raw_data.sources import fingerprint_source
from experiment_pipeline.stages.search.configurations import Configuration

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
