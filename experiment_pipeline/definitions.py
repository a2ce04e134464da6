"""The code location: every experiment under `defs/`, and what they share.

An error in a YAML file takes its own experiment out and says so, with its file and line, in
every command of both CLIs; any other error is a bug and keeps its stack.
"""

import warnings
from pathlib import Path

import dagster as dg

from experiment_pipeline.orchestration import console
from experiment_pipeline.orchestration.killed_runs import in_process_executor
from experiment_pipeline.orchestration.loading import ReadableTree, load_experiments
from experiment_pipeline.orchestration.tables import tables_io_manager
from experiment_pipeline.stages.asset import TABLES

# Parts of Dagster that the design rests on are marked beta or preview, and the old commands,
# which CI uses, as superseded: a user can do nothing about it.
for _category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
    warnings.filterwarnings("ignore", category=_category)

console.install()


@dg.definitions
def defs() -> dg.Definitions:
    """Load the experiments; each runs in one process, and all share the storage."""
    return dg.Definitions.merge(
        load_experiments(ReadableTree.for_project(Path(__file__).parent)),
        dg.Definitions(
            resources={TABLES: tables_io_manager()},
            executor=in_process_executor,
        ),
    )
