"""How an error of the project looks in Dagster: the three sentences, and no stack.

A `Failure` with the message as its description is what the UI shows first; the console
logger of `console.py` prints it alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from experiment_pipeline.errors import ExperimentPipelineError


def console_message(error: ExperimentPipelineError) -> str:
    """The error as it is shown to people: its class says which branch of the family it is."""
    return f"{type(error).__name__}: {error}"


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """Turn the project's own errors into a Failure that is not retried; bugs crash as they are."""
    try:
        yield
    except ExperimentPipelineError as error:
        raise dg.Failure(
            description=console_message(error),
            metadata={"culprit": error.culprit, "rule": error.rule, "fix": error.fix},
            allow_retries=False,
        ) from None
