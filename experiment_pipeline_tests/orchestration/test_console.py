"""What a run prints about a failure: once, and without a line for each step after it."""

import logging
from collections.abc import Iterator

import dagster as dg
import pytest

from experiment_pipeline.orchestration import console


@pytest.fixture
def concise() -> Iterator[None]:
    """The consoles that Dagster makes are the project's."""
    usual = logging.getLoggerClass()
    console.install()
    yield
    logging.setLoggerClass(usual)


@dg.op
def first() -> int:
    """A step with an error that a user can act on."""
    raise dg.Failure("the table has no column 'nme'")


@dg.op
def second(number: int) -> int:
    """A step that needs the other."""
    return number


@dg.job
def chain() -> None:
    """Two steps, of which the second is never reached."""
    second(first())


@pytest.mark.usefixtures("concise")
def test_steps_after_a_failed_one_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """The failure is told once; that the run ends and nothing else ran goes without saying."""
    assert not chain.execute_in_process(raise_on_error=False).success
    told = capsys.readouterr().err
    assert "first: FAILED\n\nthe table has no column 'nme'" in told
    assert told.count("the table has no column 'nme'") == 1
    assert "Steps failed" not in told
    assert "Not executing" not in told
    assert "Stack Trace" not in told
