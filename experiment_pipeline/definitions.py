"""The code location: every experiment under `defs/`, and what they share.

An error in a YAML file ends in one line with its file and line, in every command of both
CLIs; any other error is a bug and keeps its stack.
"""

import warnings
from pathlib import Path

import dagster as dg

from experiment_pipeline import console
from experiment_pipeline.assets.keys import TABLES
from experiment_pipeline.components.load_errors import told_in_one_line
from experiment_pipeline.storage.tables import tables_io_manager

# Parts of Dagster that the design rests on are marked beta or preview, and the old commands,
# which CI uses, as superseded: a user can do nothing about it.
for _category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
    warnings.filterwarnings("ignore", category=_category)

console.install()


@dg.definitions
def defs() -> dg.Definitions:
    """Load the experiments; each runs in one process, and all share the storage."""
    package = Path(__file__).parent
    with told_in_one_line(package / "defs"):
        experiments = dg.load_from_defs_folder(path_within_project=package)
    return dg.Definitions.merge(
        experiments,
        dg.Definitions(
            resources={TABLES: tables_io_manager()},
            executor=dg.in_process_executor,
        ),
    )
