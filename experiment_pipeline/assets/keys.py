"""Names of the stages as Dagster sees them: key, group, op name, storage.

Every asset of an experiment is `<experiment>/<stage>` in the group `<experiment>`.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from experiment_pipeline.spec import ExperimentSpec

TABLES = "tables"


def asset_key(spec: ExperimentSpec, stage: str) -> dg.AssetKey:
    """`<experiment>/<stage>`."""
    return dg.AssetKey([spec.name, stage])


def table_spec(spec: ExperimentSpec, stage: str, **options: Any) -> dg.AssetSpec:
    """One output of a multi-asset whose value is a table."""
    return dg.AssetSpec(
        asset_key(spec, stage), group_name=spec.name, **options
    ).with_io_manager_key(TABLES)


def table_asset(
    spec: ExperimentSpec, stage: str, **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` for a stage whose value is a table."""
    decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        name=stage,
        key_prefix=spec.name,
        group_name=spec.name,
        io_manager_key=TABLES,
        # Beside a check, Dagster takes `-> MaterializeResult` for an asset without a value.
        dagster_type=dg.Any,
        backfill_policy=dg.BackfillPolicy.single_run(),
        **options,
    )
    return decorate


def table_input(spec: ExperimentSpec, stage: str) -> dg.AssetIn:
    """The table of another stage as an argument."""
    return dg.AssetIn(asset_key(spec, stage))
