"""The console logger of every run: what a person wants to read while it runs, and no more.

An error that a user can act on is printed as its message; its Dagster stack stays in the event
log. An unforeseen one (a bug) keeps its stack.
"""

import logging
import sys

import dagster as dg
from dagster import DagsterEventType
from dagster._core.log_manager import LOG_RECORD_METADATA_ATTR

# A failed run repeats what its failed step has said.
_ECHOES = {DagsterEventType.RUN_FAILURE, DagsterEventType.PIPELINE_FAILURE}


class ConciseFormatter(logging.Formatter):
    """Time, step and message on a line; failures without the stack of the framework."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record of Dagster's log manager."""
        meta = getattr(record, LOG_RECORD_METADATA_ATTR, {})
        event = meta.get("dagster_event")
        message = meta.get("orig_message") or record.getMessage()
        if event is not None and event.event_type_value in {kind.value for kind in _ECHOES}:
            message = f"run failed; steps: {', '.join(_failed_steps(message)) or 'none started'}"
        elif event is not None and event.is_step_failure:
            message = _failure_text(event, record.getMessage())
        time = self.formatTime(record, "%H:%M:%S")
        step = f"{meta['step_key']}: " if meta.get("step_key") else ""
        return f"{time} {record.levelname:<7} {step}{message}"


def _failed_steps(message: str) -> list[str]:
    _, _, steps = message.partition("Steps failed: [")
    return [step.strip(" '") for step in steps.split("]")[0].split(",") if step.strip()]


def _failure_text(event: dg.DagsterEvent, whole: str) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return f"FAILED\n{failure.user_failure_data.description}"
    if failure.error is not None and failure.error.cls_name == "DagsterAssetCheckFailedError":
        return f"FAILED\n{failure.error.message.strip()}"
    return whole


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO", is_required=False)},
    description="One line per event that matters, errors without the framework's stack.",
)
def concise_console_logger(init_context: dg.InitLoggerContext) -> logging.Logger:
    """INFO and above unless told otherwise, to stderr."""
    logger = logging.Logger("experiment_pipeline", init_context.logger_config["log_level"])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ConciseFormatter())
    logger.addHandler(handler)
    return logger
