"""The code location of this project alone: its experiments under `defs/`, and how runs look here."""

# ruff: noqa: E402
import gc
import logging
import warnings
from functools import cache
from pathlib import Path

# What is imported stays: looking through it for garbage, again and again, is a quarter of the start.
gc.disable()
gc.freeze()

import dagster as dg

from experiment_pipeline.orchestration.component import load_experiments
from experiment_pipeline.orchestration.executor import ConciseConsole, in_process_executor

# Parts of Dagster that are beta or preview, its superseded commands: a user can change neither.
for _category in (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning):
    warnings.filterwarnings("ignore", category=_category)

logging.setLoggerClass(ConciseConsole)
gc.freeze()
gc.enable()


@dg.definitions
@cache  # one command asks Dagster for them up to six times
def defs() -> dg.Definitions:
    """Load the experiments; whatever is run here, runs in one process."""
    return dg.Definitions.merge(
        load_experiments(Path(__file__).parent), dg.Definitions(executor=in_process_executor)
    )
