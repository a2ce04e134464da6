"""trained_model: one partition per configuration; search_results: a row per configuration.

One op makes both. It reuses what the store holds, trains the rest, and logs each configuration's
materialization the moment it is stored, so that progress shows live and a kill loses nothing
finished. `search_results` does not depend on `trained_model`: it reads the store, so a failed
configuration stays missing while the leaderboard still gets made.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
import pandas as pd

from experiment_pipeline.assets import shown
from experiment_pipeline.assets.failures import told_to_the_user
from experiment_pipeline.assets.keys import asset_key, table_input, table_spec
from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.errors import AllConfigurationsFailed
from experiment_pipeline.core.search_results import Progress, search_results
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.trained_models import TrainedModelStore


def build_trained_model(
    spec: ExperimentSpec, configurations: Sequence[Configuration]
) -> dg.AssetsDefinition:
    """The search: train every configuration that is asked for and not stored yet."""
    models, results = asset_key(spec, "trained_model"), asset_key(spec, "search_results")
    upstream = [asset_key(spec, "train_set"), asset_key(spec, "test_set")]

    @dg.multi_asset(
        name=f"{spec.name}__training",
        specs=[
            dg.AssetSpec(
                models,
                deps=upstream,
                partitions_def=dg.StaticPartitionsDefinition([c.key for c in configurations]),
                skippable=True,
                group_name=spec.name,
                kinds={"scikitlearn"},
                description="One fitted pipeline per hyperparameter configuration.",
            ),
            table_spec(
                spec,
                "search_results",
                deps=upstream,
                kinds={"pandas"},
                description="Every configuration of the YAML: trained, failed or not started.",
            ),
        ],
        ins={
            "train_set": table_input(spec, "train_set"),
            "test_set": table_input(spec, "test_set"),
        },
        check_specs=[dg.AssetCheckSpec("no_configuration_failed", asset=results)],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=f"{spec.name}_training",
    )
    def trained_model(
        context: dg.AssetExecutionContext, train_set: pd.DataFrame, test_set: pd.DataFrame
    ) -> Iterator[dg.MaterializeResult]:
        with told_to_the_user():
            training = _Training(context, spec, models, train_set, test_set)
            outcome = training.run(_asked_for(context, configurations))
            table = search_results(configurations, outcome.stored, outcome.failed, spec)
        if results in context.selected_asset_keys:
            yield dg.MaterializeResult(
                asset_key=results,
                value=table,
                metadata={
                    "declared": len(configurations),
                    "trained": int((table["status"] == "trained").sum()),
                    "failed": len(outcome.failed),
                    "reused": outcome.reused,
                    "results": shown.table(table),
                },
            )
        if context.selected_asset_check_keys:
            yield _none_failed(outcome.failed, results)

    return trained_model


def _asked_for(
    context: dg.AssetExecutionContext, configurations: Sequence[Configuration]
) -> list[Configuration]:
    """The partitions of the run; all of them when only `search_results` is asked for."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return list(configurations)
    keys = set(context.partition_keys)
    return [configuration for configuration in configurations if configuration.key in keys]
