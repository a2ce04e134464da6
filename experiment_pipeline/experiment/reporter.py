"""What a call in a notebook or a terminal shows while it runs: a progress bar."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from threading import Event, Thread
from typing import Any

from rich import get_console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Column

from experiment_pipeline.experiment.context import RunBudget
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.table.features import NamedColumns

LOG = logging.getLogger("experiment_pipeline")
_SECONDS_BETWEEN_BARS = 0.5


@dataclass
class ProgressReporter:
    """A progress bar over the seconds of the run, else over stages and configurations.

    In a terminal or in Jupyter, where it needs no widgets.
    """

    named: NamedColumns
    progress: bool
    budget: RunBudget = field(default_factory=RunBudget)
    log: logging.Logger = LOG
    _stage: str = "starting"
    _trained: int = 0
    _done: int = 0  # stages and configurations
    _bar: Progress = field(init=False)
    _task: TaskID = field(init=False)
    _cell: Any = None  # the output of a notebook's cell that shows the bar

    def __post_init__(self) -> None:
        # A text that does not fit is wrapped, never cut off.
        text = TextColumn("{task.description}", table_column=Column())
        share = TaskProgressColumn("{task.percentage:.0f} %")
        console = get_console()
        quiet = not (self.progress and console.is_interactive)
        bar = BarColumn(bar_width=20)
        self._bar = Progress(bar, share, text, disable=quiet, transient=True)
        total = len(STAGES) + len(configurations(self.named.spec))
        self._task = self._bar.add_task("", total=self.budget.seconds or total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar, where the console has room for one."""
        in_notebook = self.progress and get_console().is_jupyter
        if self._bar.disable and not in_notebook:
            yield
            return
        ended = Event()
        clock = Thread(target=self._keep_current, args=(ended,), daemon=True)
        with self._bar:
            self.show()
            if in_notebook:
                # rich itself would need ipywidgets here.
                ipython = import_module("IPython.display")
                self._cell = ipython.display(self._bar, display_id=True)
            clock.start()
            try:
                yield
            finally:
                ended.set()
                clock.join()
                if self._cell is not None:
                    self._cell.update({"text/plain": ""}, raw=True)

    def _keep_current(self, ended: Event) -> None:
        while not ended.wait(_SECONDS_BETWEEN_BARS):
            self.show()

    def show(self) -> None:
        """Bring the bar up to date."""
        words = self._stage
        if self._trained:
            words += f", {self._trained:,} done"
        done: float = self._done
        if self.budget.seconds is not None:
            done = self.budget.spent()
            words = f"{done:,.0f} of {self.budget.seconds:,.0f} s: {words}"
        self._bar.update(self._task, completed=done, description=words)
        if self._cell is not None:
            self._cell.update(self._bar)

    @contextmanager
    def at_work(self, stage: str) -> Iterator[None]:
        """Show the stage, then advance the bar."""
        self._stage = STAGES[stage].doing
        self._trained = 0
        yield
        self._done += 1

    def concluded(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        """Advance the bar by configurations."""
        self._trained += len(outcomes)
        self._done += len(outcomes)
