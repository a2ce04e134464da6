"""What a run prints: what a person wants to read while it runs, and no more.

An error that a user can act on is printed as its message; its Dagster stack stays in the event
log. A bug keeps its stack. That the steps after a failed one do not run needs no line for each of
them. Dagster makes its console with `logging.getLoggerClass()`: the
standard library's way to replace it works for every kind of run, while a logger of a job's own
would have to be named in each run's config.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

from dagster import DagsterEvent
from dagster._core.events import RunFailureReason
from dagster._core.log_manager import LOG_RECORD_METADATA_ATTR

from experiment_pipeline.orchestration.assets.shared import FAILED, Cancelled
from experiment_pipeline.stages.search.progress import DRAWN

# As Dagster begins the record that it logs for each step after a failed one.
_NOT_REACHED = "Dependencies for step "
_INTERRUPTED = "DagsterExecutionInterruptedError", Cancelled.__name__
_ENDED_EARLY = f"""{FAILED}The run was interrupted.
  fix: Run it again: what it had finished is reused.
"""


class ConciseConsole(logging.Logger):
    """Step and message on a line; failures without the framework's stack."""

    def handle(self, record: logging.LogRecord) -> None:
        """Shorten a record of Dagster's log manager; leave every other as it is."""
        meta = getattr(record, LOG_RECORD_METADATA_ATTR, None)
        if meta is not None:
            if meta["orig_message"].startswith(_NOT_REACHED):
                return
            event = meta["dagster_event"]
            if event is not None and _told_elsewhere(event):
                return
            step = f"{meta['step_key']}: " if meta["step_key"] else ""
            text = meta["orig_message"] if event is None else _told(event, record.getMessage())
            record.msg, record.args = f"{step}{text}", ()
        super().handle(record)


class Bar(logging.Handler):
    """How far a search is, on the last line of a terminal, gone when the search is over.

    No library's bar: Dagster gives a step's standard error to a file, and another process copies
    what arrives there to the terminal. So nobody can take the bar away before a line and put it
    back after. It leaves the cursor at the line's beginning instead, and is shorter than what each
    line of the log begins with: the next line is written over it.
    """

    CELLS = 10
    # `2026-02-02 06:00:00 +0000 - dagster - INFO - `
    MOST_COLUMNS = 44

    def __init__(self, terminal: TextIO) -> None:
        """Draw on a terminal."""
        super().__init__()
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Draw a record's standing over the one before."""
        standing = getattr(record, "standing", None)
        text = ""
        if standing is not None:
            filled = "#" * round(self.CELLS * standing.part)
            text = f"[{filled:{self.CELLS}}] {standing.short}"[: self.MOST_COLUMNS]
        # A terminal that is gone ends no run.
        with suppress(OSError):
            self.terminal.write(f"\r\x1b[K{text}\r")
            self.terminal.flush()


def install() -> None:
    """Shorten what is logged from now on; for a person who waits at a terminal, draw a bar."""
    logging.setLoggerClass(ConciseConsole)
    # Runs that a server starts have its terminal, which nobody waits at.
    if sys.argv[1:3] == ["job", "execute"] and sys.stderr.isatty() and not DRAWN.handlers:
        DRAWN.propagate = False
        # A step's standard error is another one later.
        DRAWN.addHandler(Bar(os.fdopen(os.dup(sys.stderr.fileno()), "w")))


def _told(event: DagsterEvent, whole: str) -> str:
    if event.is_step_failure:
        return _failure(event, whole)
    error = event.job_failure_data.error if event.is_run_failure else None
    if error is not None and error.cls_name == Cancelled.__name__:
        return f"{FAILED}{error.message}"
    if error is not None and error.cls_name in _INTERRUPTED:
        return _ENDED_EARLY
    return whole


def _told_elsewhere(event: DagsterEvent) -> bool:
    """A blocking check has logged why it failed; a run fails of a step, and a step with its run."""
    if event.is_run_failure:
        return event.job_failure_data.failure_reason is RunFailureReason.STEP_FAILURE
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name in ("DagsterAssetCheckFailedError", *_INTERRUPTED)


def _failure(event: DagsterEvent, whole: str) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return f"{FAILED}{failure.user_failure_data.description}\n"
    return whole
