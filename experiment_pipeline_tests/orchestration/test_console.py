"""What a run prints about a failure: once, and without a line for each step after it."""

import logging
import os
import pty
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from experiment_pipeline.orchestration import console
from experiment_pipeline.orchestration.assets.shared import Cancelled
from experiment_pipeline.stages.search.progress import DRAWN, Progress, Standing, drawing


@pytest.fixture
def concise() -> Iterator[None]:
    """The consoles that Dagster makes are the project's."""
    usual = logging.getLoggerClass()
    console.install()
    yield
    logging.setLoggerClass(usual)


class Halfway(Progress):
    """A search that is not over."""

    def __init__(self) -> None:
        super().__init__("roc_auc")

    @property
    def standing(self) -> Standing:
        """Two fifths of the way."""
        return Standing("", "rung 2 of 3, 1200 of 3400 configurations", 0.4)


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


@dg.op
def interrupted() -> None:
    """A step that is ended from outside."""
    raise Cancelled("the run was cancelled; the next run reuses what is stored")


@dg.job
def ended_early() -> None:
    """One step."""
    interrupted()


@pytest.mark.usefixtures("concise")
def test_an_interruption_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told once, by the end of the run, without a stack."""
    assert not ended_early.execute_in_process(raise_on_error=False).success
    told = capsys.readouterr().err
    assert "FAILED\n\nthe run was cancelled; " in told
    assert told.count("the run was cancelled") == 1
    assert "Stack Trace" not in told


@pytest.mark.usefixtures("concise")
def test_a_bar_is_shorter_than_the_beginning_of_a_line_and_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Drawn on a terminal by the command alone; the next line is written over it; it vanishes."""
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal, monkeypatch.context() as patch:  # noqa: PTH123
        patch.setattr(sys, "stderr", terminal)
        patch.setattr(sys, "argv", ["dagster", "job", "execute"])
        console.install()
        (bar,) = (one for one in DRAWN.handlers if isinstance(one, console.Bar))
        with drawing() as draw:
            draw(Halfway())
        shown = ""
        while not (shown.count("\x1b[K") == 2 and shown.endswith("\r")):
            shown += os.read(ours, 1_000).decode()
        DRAWN.removeHandler(bar)
        DRAWN.propagate = True
        bar.terminal.close()
    drawn, gone = shown.split("\r\x1b[K")[1:]
    assert drawn.startswith("[####      ] rung 2 of 3, 1200 of 3400")
    assert drawn.endswith("\r")
    assert len(drawn.rstrip("\r")) < len("2026-02-02 06:00:00 +0000 - dagster - INFO - ")
    assert gone == "\r"


@pytest.mark.usefixtures("concise")
@pytest.mark.parametrize("command", [["dagster", "job", "execute"], ["dagster", "dev"]])
def test_no_bar_is_drawn_where_nobody_waits(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, CI and runs of a server get lines alone, and no standing is even made."""
    monkeypatch.setattr(sys, "argv", command)
    console.install()
    assert not DRAWN.handlers
    with drawing() as draw:
        draw(Halfway())
