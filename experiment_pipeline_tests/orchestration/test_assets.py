"""What Dagster's page says of an experiment's assets beside their results."""

from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy
from dagster._core.loader import LoadingContextForTest

from experiment_pipeline.orchestration.assets.search import ThisRun, log_partition
from experiment_pipeline.orchestration.job import AGEING, CODE_VERSIONS
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline_tests import runs, scenario

OWNERS = ["team:clinic", "ada@example.org"]
# Dagster's limits, at their ends: it would refuse the code location.
TAGS = {"tier": "1", "clinic.org/cost-center": "", "a" * 63: "b" * 63}
FRESH = {"warn_after": "2 days", "fail_after": "7 days"}


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    spec = scenario.spec(owners=OWNERS, tags=TAGS, freshness=FRESH)
    definitions = runs.definitions(spec, scenario.SCHEMA)
    dg.Definitions.validate_loadable(definitions)
    return {one.key.path[-1]: one for one in definitions.resolve_all_asset_specs()}


def test_owners_and_tags_of_the_yaml_are_on_every_asset(specs) -> None:
    """Beside the tags that Dagster makes of kinds."""
    for one in specs.values():
        assert sorted(one.owners) == sorted(OWNERS)
        assert one.tags.items() >= TAGS.items()
        assert one.kinds


def test_every_asset_has_the_version_of_its_code(specs) -> None:
    """What an older version of a stage has made is shown as stale."""
    assert {stage: one.code_version for stage, one in specs.items()} == {
        stage: str(version) for stage, version in CODE_VERSIONS.items()
    }


def test_the_answer_may_not_get_older_than_the_yaml_says(specs) -> None:
    """Leaderboard and exported model have the policy; data that is reused may be old."""
    policies = {stage: one.freshness_policy for stage, one in specs.items()}
    wanted = dg.FreshnessPolicy.time_window(timedelta(days=7), timedelta(days=2))
    assert isinstance(wanted, TimeWindowFreshnessPolicy)
    assert {stage for stage, one in policies.items() if one is not None} == set(AGEING)
    assert all(policies[stage] == wanted for stage in AGEING)


def defined(code_version: str) -> dg.Definitions:
    """An asset that reports its only partition itself, as training does, and what it is made of."""

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
        log_partition(context, dg.AssetKey("trained_model"), "linear", outcome)
        yield from ()

    return dg.Definitions([train_set, training], jobs=[dg.define_asset_job("job")])


def test_a_trained_model_is_stale_when_the_code_of_training_is_another() -> None:
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
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            found = resolver.get_stale_causes(key, "linear")
            return resolver.get_status(key, "linear"), [one.reason for one in found]

        assert causes(defined("1")) == (StaleStatus.FRESH, [])
        assert causes(defined("2")) == (StaleStatus.STALE, ["has a new code version"])


def test_what_the_launchpad_changes_is_for_one_run() -> None:
    """The YAML's value applies where nothing is given."""
    spec = scenario.spec(workers=3, budget={"seconds": 60, "configurations": 7})
    changed = ThisRun(budget_seconds=5).over(spec)
    assert (changed.workers, changed.budget.seconds, changed.budget.configurations) == (3, 5, 7)
    assert ThisRun().over(spec) == spec
    assert ThisRun(workers=2).over(spec).workers == 2
