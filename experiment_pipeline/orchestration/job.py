"""Dagster's definitions of one experiment: the assets of its stages, their job,
schedule and sensor.

The job is a single run (BackfillPolicy.single_run). Its range tags select every
configuration, from the first key to the last of one ordered list, because Dagster
treats a reversed range as unpartitioned.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from experiment_pipeline.errors import DataError, StorageError
from experiment_pipeline.intake.sources import fingerprint_source
from experiment_pipeline.orchestration.assets import stage_assets, watch
from experiment_pipeline.orchestration.executor import (
    end_lost_runs,
    in_process_executor,
)
from experiment_pipeline.orchestration.tables import TABLES, tables_io_manager
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.models import duration
from experiment_pipeline.spec.operation import Watch
from experiment_pipeline.spec.reading import Problem
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.questions import rows_of

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
# Asset → version of the code that makes it; Dagster's page marks assets of older
# versions as stale.
CODE_VERSIONS = {
    asset: stage.version for stage in STAGES.values() for asset in stage.assets
}
# The assets with a freshness policy: every run materializes them, and they hold its
# result.
AGEING = ("leaderboard", "exported_model")
SECONDS_BETWEEN_LOOKS = 60
_RERUNS = "Reruns the experiment; what has not changed is reused, not trained again."


def range_tags(configurations: Sequence[Configuration]) -> dict[str, str]:
    """Tags of a run that covers every configuration, first key to last."""
    return {RANGE_START: configurations[0].key, RANGE_END: configurations[-1].key}


def build_experiment(named: NamedColumns) -> dg.Definitions:
    """All definitions of one experiment, including the resources it needs in any
    project.
    """
    spec = named.spec
    declared = configurations(spec)
    fresh = _freshness(spec)

    def described(spec_of_asset: dg.AssetSpec) -> dg.AssetSpec:
        stage = spec_of_asset.key.path[-1]
        return spec_of_asset.merge_attributes(
            owners=spec.owners, tags=spec.tags
        ).replace_attributes(
            code_version=str(CODE_VERSIONS[stage]),
            freshness_policy=fresh if stage in AGEING else None,
        )

    assets = [asset.map_asset_specs(described) for asset in stage_assets(named)]
    tags = {**spec.run_tags, **range_tags(declared)}
    job = dg.define_asset_job(
        name=spec.name,
        selection=assets,
        tags=tags,
        description=(
            f"Which configuration should we ship to predict {spec.target}? "
            f"{numbers.counted(len(declared), 'configuration')}, judged by "
            f"{spec.metric}."
        ),
        executor_def=in_process_executor,
    )
    built_of_run = dg.Definitions(
        assets=assets,
        jobs=[job],
        schedules=[_schedule(spec.name, spec.schedule, _RERUNS, tags)],
        sensors=[_sensor(spec, tags)],
        resources={TABLES: tables_io_manager},
    )
    if spec.watch is None:
        return built_of_run
    return dg.Definitions.merge(built_of_run, _watching(named, spec.watch, tags))


def _watching(
    named: NamedColumns, settings: Watch, tags: dict[str, Any]
) -> dg.Definitions:
    """The asset `watch`, its job and schedule, and the sensor that requests a run of
    the experiment.
    """
    spec = named.spec
    watched = watch(named, settings)
    watched = watched.map_asset_specs(
        lambda spec_of_asset: spec_of_asset.merge_attributes(
            owners=spec.owners, tags=spec.tags
        )
    )
    job = dg.define_asset_job(
        f"{spec.name}_watch", [watched], executor_def=in_process_executor
    )
    sensors = [_promise_broken(spec, tags)] if settings.rerun else []
    schedules = [_schedule(job.name, settings.schedule)] if settings.schedule else []
    return dg.Definitions(
        assets=[watched], jobs=[job], schedules=schedules, sensors=sensors
    )


def _promise_broken(spec: ExperimentSpec, tags: dict[str, Any]) -> dg.SensorDefinition:
    """Requests one run for each version that scores below its promise; the run still
    has to pass all gates.
    """

    @dg.sensor(
        name=f"{spec.name}_promise_broken",
        job_name=spec.name,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Runs the experiment once for each version that is below its "
        "promise.",
    )
    def promise_broken() -> dg.RunRequest | dg.SkipReason:
        last_watch = (
            rows_of("watches", {"experiment": spec.name}).sort_values("at").tail(1)
        )
        for row in last_watch.itertuples():
            if row.below:
                return dg.RunRequest(
                    run_key=f"{row.version} is below its promise", tags=tags
                )
        return dg.SkipReason("no version is below its promise")

    return promise_broken


def refused_by_dagster(spec: ExperimentSpec) -> list[Problem]:
    """The YAML values that Dagster does not accept, with Dagster's own messages."""
    makers: dict[str, Callable[[], object]] = {
        "schedule": lambda: _schedule(spec.name, spec.schedule),
        "owners": lambda: dg.AssetSpec("asset", owners=spec.owners),
        "tags": lambda: dg.AssetSpec("asset", tags=spec.tags),
        "run_tags": lambda: dg.RunRequest(tags=spec.run_tags),
        "freshness": lambda: _freshness(spec),
        "watch": lambda: (
            spec.watch and _schedule(spec.name, spec.watch.schedule or "@daily")
        ),
    }
    problems = []
    for key, make in makers.items():
        try:
            make()
        except Exception as error:  # noqa: BLE001 - its checks raise errors of many kinds
            problems.append(Problem((key,), " ".join(str(error).split())))
    return problems


def _freshness(spec: ExperimentSpec) -> dg.FreshnessPolicy | None:
    if spec.freshness is None:
        return None
    warn = spec.freshness.warn_after
    return dg.FreshnessPolicy.time_window(
        fail_window=duration(spec.freshness.fail_after),
        warn_window=None if warn is None else duration(warn),
    )


def _schedule(
    job: str,
    cron: str,
    text: str | None = None,
    tags: dict[str, Any] | None = None,
) -> dg.ScheduleDefinition:
    names = {"name": f"{job}_schedule", "job_name": job, "cron_schedule": cron}
    run = dg.RunRequest(tags=tags)
    return dg.ScheduleDefinition(**names, execution_fn=lambda _: run, description=text)


def _sensor(spec: ExperimentSpec, tags: dict[str, Any]) -> dg.SensorDefinition:
    """Requests one run per new state of the source; an unreachable source is skipped
    with its error.
    """

    @dg.sensor(
        name=f"{spec.name}_new_data",
        job_name=spec.name,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Runs the experiment when {spec.shown_source} changes.",
    )
    def new_data(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        end_lost_runs(context.instance)
        try:
            state = fingerprint_source(spec.source)
        except (DataError, StorageError) as error:
            return dg.SkipReason(str(error))
        if state == context.cursor:
            return dg.SkipReason(f"unchanged since the last check ({state[:12]})")
        # Without a run key: Dagster would skip a state seen before, such as a restored
        # file.
        return dg.SensorResult(run_requests=[dg.RunRequest(tags=tags)], cursor=state)

    return new_data
