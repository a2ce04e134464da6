"""The schedule of an experiment: the whole job, at the YAML's cron times, stopped at first."""

from collections.abc import Sequence

import dagster as dg

from experiment_pipeline.orchestration.job import range_tags
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration


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
