"""The code location of this repository: its experiments under `defs/`, and its console
output.
"""

# ruff: noqa: E402
import gc
import logging
import warnings
from functools import cache
from pathlib import Path

# Imported objects are never freed; scanning them for garbage is a quarter of the
# start-up time.
gc.disable()
gc.freeze()

import dagster as dg

from experiment_pipeline.orchestration.component import load_experiments
from experiment_pipeline.orchestration.executor import (
    ConciseConsole,
    in_process_executor,
)

# Warnings of Dagster's beta, preview and superseded parts: a user cannot act on them.
for _category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
    warnings.filterwarnings("ignore", category=_category)

logging.setLoggerClass(ConciseConsole)
gc.freeze()
gc.enable()


@dg.definitions
@cache  # one command asks Dagster for them up to six times
def defs() -> dg.Definitions:
    """Load the experiments; every run of this code location uses one process."""
    return dg.Definitions.merge(
        load_experiments(Path(__file__).parent),
        dg.Definitions(executor=in_process_executor),
    )
