"""trained_model: one partition per configuration; search_results: a row per configuration.

One op makes both. It reuses what the store holds and trains the rest; what is trained is stored at once
and materialized within a second, so that progress shows live and a kill loses nothing finished.
"""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
from pydantic import Field

from experiment_pipeline.experiment import steps
from experiment_pipeline.experiment.steps import SetTable
from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.table.features import NamedColumns


class ThisRun(dg.Config):
    """What the launchpad may change for one run; the YAML's value applies where nothing is given."""

    workers: int | None = Field(None, ge=1, le=256, description="Fits at a time")
    budget_seconds: float | None = Field(
        None,
        gt=0,
        description="Wall seconds of search, refit and report; the result depends on the machine",
    )


_TRAINED_MODEL = """\
One fitted pipeline per hyperparameter configuration, each a partition.

Its metadata begin with its status: **trained**, or **stopped early** on a part of the train rows,
because others did better there. A partition that failed stays missing. *Plots* compares the last
120 partitions; the report of `leaderboard` compares all. No arrow leaves this asset, or `leaderboard`
would not be made when a single configuration fails: `search_results` lists every configuration.
"""


def search(named: NamedColumns) -> dg.AssetsDefinition:
    """The search: train every configuration that is asked for and not stored yet."""
    spec = named.spec
    declared = configurations(spec)
    models, results = asset.key_of(spec, "trained_model"), asset.key_of(spec, "search_results")
    upstream = [asset.key_of(spec, "train_set"), asset.key_of(spec, "test_set")]

    @asset.stage_assets(
        spec,
        "training",
        specs=[
            dg.AssetSpec(
                models,
                deps=upstream,
                partitions_def=dg.StaticPartitionsDefinition([c.key for c in declared]),
                skippable=True,
                group_name=spec.name,
                kinds={"scikitlearn", *(c.algorithm for c in declared if c.algorithm in NAMES)},
                description=_TRAINED_MODEL,
            ).with_io_manager_key(asset.TABLES),
            asset.table_spec(
                spec,
                "search_results",
                deps=upstream,
                kinds={"pandas"},
                description="Every configuration: trained, stopped early, failed or not started.",
            ),
        ],
        check_specs=[asset.check_spec("no_configuration_failed", results)],
        pool=f"{spec.name}_training",
    )
    def trained_model(
        context: dg.AssetExecutionContext, config: ThisRun, train_set: SetTable, test_set: SetTable
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        # All partitions are asked for where only `search_results` is.
        keyed = context.has_partition_key or context.has_partition_key_range
        found = steps.search(
            asset.stage_run(context, named, config.workers),
            train_set,
            test_set,
            set(context.partition_keys) if keyed else None,
            lambda key, outcome: asset.log_materialization(context, models, outcome, key),
        )
        for _, outcome in found:
            if results in context.selected_asset_keys:
                yield asset.report(context, results, replace(outcome, checks=()))
            if context.selected_asset_check_keys:
                for check in outcome.checks:
                    yield asset.report_check(context, results, check)

    return trained_model
