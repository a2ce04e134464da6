"""What Dagster knows of an experiment: assets with owners and ages, a job, a schedule,
a sensor.
"""

import json
from datetime import timedelta

import dagster as dg
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleStatus,
)
from dagster._core.loader import LoadingContextForTest

from experiment_pipeline.experiment.context import Run, RunBudget
from experiment_pipeline.experiment.store import Store
from experiment_pipeline.orchestration.job import (
    AGEING,
    CODE_VERSIONS,
    RANGE_END,
    RANGE_START,
)
from experiment_pipeline.orchestration.reporter import DagsterReporter
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import runs, scenario

OWNERS = ["team:clinic", "ada@example.org"]
# Dagster's limits, at their ends: it would refuse the code location.
TAGS = {"tier": "1", "clinic.org/cost-center": "", "a" * 63: "b" * 63}


def test_every_asset_has_what_the_page_says_of_it():
    """Owners, tags and kinds; the version of its code; how old the answer may get."""
    fresh = {"warn_after": "2 days", "fail_after": "7 days"}
    spec = scenario.spec(owners=OWNERS, tags=TAGS, freshness=fresh)
    definitions = runs.definitions(spec, scenario.SCHEMA)
    dg.Definitions.validate_loadable(definitions)
    specs = {
        asset.key.path[-1]: asset for asset in definitions.resolve_all_asset_specs()
    }
    policy = dg.FreshnessPolicy.time_window(timedelta(days=7), timedelta(days=2))
    for stage, one in specs.items():
        assert sorted(one.owners) == sorted(OWNERS)
        assert one.tags.items() >= TAGS.items()
        assert one.kinds
        assert one.freshness_policy == (policy if stage in AGEING else None)
    assert {stage: one.code_version for stage, one in specs.items()} == {
        stage: str(version) for stage, version in CODE_VERSIONS.items()
    }


def test_a_requested_run_has_the_tags_of_the_yaml_and_its_own_range():
    """Of the job, and of its schedule, whose requests do not inherit the job's: from
    the first to the last configuration, once somebody has started it.
    """
    resources = {"requests": {"cpu": "2"}}
    tags = {"dagster-k8s/config": {"container_config": {"resources": resources}}}
    spec = scenario.spec(run_tags=tags)
    definitions = runs.definitions(spec, scenario.SCHEMA)
    schedule = definitions.resolve_schedule_def("clinic_schedule")
    assert schedule.cron_schedule == spec.schedule
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    (request,) = schedule.evaluate_tick(dg.build_schedule_context()).run_requests or ()
    first, *_, last = [configuration.key for configuration in configurations(spec)]
    for found in (definitions.resolve_job_def(spec.name).tags, request.tags):
        assert json.loads(found["dagster-k8s/config"]) == tags["dagster-k8s/config"]
        assert (found[RANGE_START], found[RANGE_END]) == (first, last)


def defined(code_version: str) -> dg.Definitions:
    """An asset that reports its only partition itself, as training does, and what it is
    made of.
    """

    @dg.asset(code_version="1")
    def train_set() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("rows"))

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                "trained_model",
                deps=["train_set"],
                partitions_def=dg.StaticPartitionsDefinition(["linear"]),
                skippable=True,
                code_version=code_version,
            )
        ],
        can_subset=True,
    )
    def training(context: dg.AssetExecutionContext):
        outcome = Outcome(facts={}, version="model")
        reporter = DagsterReporter(context, NamedColumns(scenario.spec(), ""))
        reporter.materialized(dg.AssetKey("trained_model"), outcome, "linear")
        yield from ()

    return dg.Definitions([train_set, training], jobs=[dg.define_asset_job("job")])


def test_a_trained_model_is_stale_when_the_code_of_training_is_another():
    """Its events hold the version of the code, as Dagster's own do."""
    key = dg.AssetKey("trained_model")
    with dg.instance_for_test() as instance:
        for one in ("train_set", "trained_model"):
            dg.materialize(
                defined("1").assets,
                instance=instance,
                selection=[one],
                partition_key="linear" if one == "trained_model" else None,
            )

        def causes(definitions: dg.Definitions) -> tuple[StaleStatus, list[str]]:
            graph = definitions.get_repository_def().asset_graph
            resolver = CachingStaleStatusResolver(
                instance, graph, LoadingContextForTest(instance)
            )
            found = resolver.get_stale_causes(key, "linear")
            return resolver.get_status(key, "linear"), [one.reason for one in found]

        assert causes(defined("1")) == (StaleStatus.FRESH, [])
        assert causes(defined("2")) == (StaleStatus.STALE, ["has a new code version"])


def test_what_the_launchpad_changes_is_for_one_run():
    """Else the YAML's value applies; a budget that is gone still fits baseline and
    quickest other.
    """
    spec = scenario.spec(workers=3, budget={"seconds": 60, "configurations": 7})
    named = NamedColumns(spec, scenario.SCHEMA)

    def stage(
        spent: float = 0.0, seconds: float = 60.0, workers: int | None = None
    ) -> Run:
        reporter = DagsterReporter(
            dg.build_asset_context(), NamedColumns(scenario.spec(), "")
        )
        budget = RunBudget(seconds, lambda: spent)
        return Run(named, Store(spec), reporter, budget, workers=workers)

    searched = stage(seconds=5.0).searched_spec
    assert (
        searched.workers,
        searched.budget.seconds,
        searched.budget.configurations,
    ) == (3, 5, 7)
    assert stage(seconds=5.0).changed == {"budget_seconds": 5.0}
    assert stage().searched_spec == spec
    assert stage().changed == {}
    assert stage(workers=2).searched_spec.workers == 2
    left = [stage(spent).searched_spec.budget.seconds for spent in (0.0, 2.04, 90.0)]
    assert left == [60.0, 58.0, 0.1]
    assert stage(30.0).budget.countdown(lambda: 0.0)() == 30.0


def test_the_sensor_runs_once_per_state_of_the_source(tmp_path):
    """A new file asks for a run, the same one does not, a missing one is told; somebody
    starts it first.
    """
    spec = scenario.spec(url=str(scenario.write_csv(tmp_path / "visits.csv")))
    definitions = runs.definitions(spec, scenario.SCHEMA)
    sensor = definitions.resolve_sensor_def("clinic_new_data")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    with dg.instance_for_test() as instance:
        first = sensor.evaluate_tick(dg.build_sensor_context(instance))
        # Dagster starts no second run of a key, and a state may come back.
        assert [run_request.run_key for run_request in first.run_requests] == [None]
        same = sensor.evaluate_tick(
            dg.build_sensor_context(instance, cursor=first.cursor)
        )
        assert same.run_requests == []
        (tmp_path / "visits.csv").unlink()
        gone = sensor.evaluate_tick(
            dg.build_sensor_context(instance, cursor=first.cursor)
        )
        assert "visits.csv" in gone.skip_message
