"""The job of an experiment: every asset, every configuration, one run.

The range tags make `dagster job execute -j <name>` train all partitions in one run
(BackfillPolicy.single_run); both ends come from the same ordered list, because Dagster
takes a reversed range for an unpartitioned one.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from experiment_pipeline.orchestration.executor import in_process_executor
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def range_tags(configurations: Sequence[Configuration]) -> dict[str, str]:
    """Tags of a run that covers every configuration, first key to last."""
    return {RANGE_START: configurations[0].key, RANGE_END: configurations[-1].key}


def build_job(
    spec: ExperimentSpec, configurations: Sequence[Configuration]
) -> UnresolvedAssetJobDefinition:
    """One run for the whole experiment, in one process."""
    return dg.define_asset_job(
        name=spec.name,
        selection=dg.AssetSelection.groups(spec.name),
        tags=range_tags(configurations),
        description=(
            f"Which configuration should we ship to predict {spec.target}? "
            f"{len(configurations)} configuration{'s' * (len(configurations) != 1)}, "
            f"judged by {spec.metric}."
        ),
        executor_def=in_process_executor,
    )
