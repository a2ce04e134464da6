"""Names of the stages as Dagster sees them: key, group, op name, storage.

Every asset of an experiment is `<experiment>/<stage>` in the group `<experiment>`.
"""

from typing import Any

import dagster as dg

from experiment_pipeline.core.spec import ExperimentSpec

TABLES = "tables"


def asset_key(spec: ExperimentSpec, stage: str) -> dg.AssetKey:
    """`<experiment>/<stage>`."""
    return dg.AssetKey([spec.name, stage])


def table_spec(spec: ExperimentSpec, stage: str, **options: Any) -> dg.AssetSpec:
    """One output of a multi-asset whose value is a table."""
    return dg.AssetSpec(
        asset_key(spec, stage), group_name=spec.name, **options
    ).with_io_manager_key(TABLES)


def table_asset(spec: ExperimentSpec, stage: str) -> dict[str, Any]:
    """Options that every asset holding a table shares."""
    return {
        "name": stage,
        "key_prefix": spec.name,
        "group_name": spec.name,
        "io_manager_key": TABLES,
        # Beside a check, Dagster takes `-> MaterializeResult` for an asset without a value.
        "dagster_type": dg.Any,
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }


def table_input(spec: ExperimentSpec, stage: str) -> dg.AssetIn:
    """The table of another stage as an argument."""
    return dg.AssetIn(asset_key(spec, stage))
