"""What a run prints.

An error that a user can act on is printed as its message; its Dagster stack stays in the event
log. A bug keeps its stack. The steps after a failed one get no line. Dagster makes its console with
`logging.getLoggerClass()`, so replacing the class works for every kind of run; a logger of a job
would have to be named in each run's config.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

from dagster import DagsterEvent

from experiment_pipeline.orchestration.assets.shared import FAILED, Cancelled
from experiment_pipeline.orchestration.executor import CHECK_FAILED
from experiment_pipeline.stages.search.progress import DRAWN

# Where Dagster's log manager keeps what it knows of a record.
_METADATA = "dagster_meta"
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
        meta = getattr(record, _METADATA, None)
        if meta is not None:
            if meta["orig_message"].startswith(_NOT_REACHED):
                return
            event = meta["dagster_event"]
            if event is not None and _is_repeated(event):
                return
            step = f"{meta['step_key']}: " if meta["step_key"] else ""
            text = meta["orig_message"] if event is None else _text_of(event, record.getMessage())
            record.msg, record.args = f"{step}{text}", ()
        super().handle(record)


class Bar(logging.Handler):
    """The progress of a search on the last line of a terminal.

    A library's bar does not work here: Dagster redirects a step's standard error to a file, and
    another process copies it to the terminal, so a bar cannot be removed before a log line. This one
    leaves the cursor at the beginning of the line and is shorter than the prefix of every log line,
    which therefore overwrites it.
    """

    CELLS = 10
    # `2026-02-02 06:00:00 +0000 - dagster - INFO - `
    MOST_COLUMNS = 44

    def __init__(self, terminal: TextIO) -> None:
        """Draw on a terminal."""
        super().__init__()
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Replace the bar by the record's progress."""
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
    """Shorten what is logged from now on; draw a bar on the terminal of `dagster job execute`."""
    logging.setLoggerClass(ConciseConsole)
    # Runs that a server starts share its terminal.
    if sys.argv[1:3] == ["job", "execute"] and sys.stderr.isatty() and not DRAWN.handlers:
        DRAWN.propagate = False
        # Dagster redirects a step's standard error later.
        DRAWN.addHandler(Bar(os.fdopen(os.dup(sys.stderr.fileno()), "w")))


def _text_of(event: DagsterEvent, whole: str) -> str:
    if event.is_step_failure:
        return _failure(event, whole)
    error = event.job_failure_data.error if event.is_run_failure else None
    if error is not None and error.cls_name == Cancelled.__name__:
        return f"{FAILED}{error.message}"
    if error is not None and error.cls_name in _INTERRUPTED:
        return _ENDED_EARLY
    return whole


def _is_repeated(event: DagsterEvent) -> bool:
    """Whether the failure was logged before: by a blocking check, or by the step that failed."""
    if event.is_run_failure:
        reason = event.job_failure_data.failure_reason
        return reason is not None and reason.name == "STEP_FAILURE"
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name in (CHECK_FAILED, *_INTERRUPTED)


def _failure(event: DagsterEvent, whole: str) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return f"{FAILED}{failure.user_failure_data.description}\n"
    return whole
