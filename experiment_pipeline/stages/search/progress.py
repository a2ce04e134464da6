"""How far a search is, in one line: rung or round, counts, the best so far, the time that is left.

In: the events of a search. Out: text for a log.
"""

import math
from dataclasses import dataclass

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    Conclusion,
    Event,
    Fitted,
    RungStarted,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.metrics import better

# Quick fits end many times a second, and every line is an event that is stored.
SECONDS_BETWEEN_LINES = 1.0


@dataclass
class Progress:
    """The state of a search.

    Attributes:
        metric: name of the ranking metric.
        started: the rung that runs; None before the first.
        done: configurations that this rung is done with.
        fitted_here: of these, fits of this run.
        work: of this run so far, in fits on all train rows.
        best: the best result on all train rows.
        said_at: elapsed seconds at the last line that was due.
    """

    metric: str
    started: RungStarted | None = None
    done: int = 0
    fitted_here: int = 0
    work: float = 0.0
    best: ModelResult | None = None
    said_at: float = -math.inf

    def see(self, event: Event) -> bool:
        """Take an event into account; True when a fit has ended, well or not."""
        if isinstance(event, RungStarted):
            self.started, self.done, self.fitted_here = event, event.known, 0
        if isinstance(event, Conclusion) and event.result is not None and event.fraction == 1:
            self._consider(event.result)
        if isinstance(event, Fitted) and event.rung.is_full:
            self._consider(event.model.result)
        ended = isinstance(event, Fitted) or (
            isinstance(event, Conclusion) and event.status == FAILED
        )
        if ended and self.started is not None:
            self.done += 1
            self.fitted_here += 1
            self.work += self.started.rung.fraction
        return ended

    def is_due(self, elapsed_seconds: float) -> bool:
        """Whether to say a line now: the first, the last of a rung, and one a second between."""
        ended = self.started is not None and self.done >= self.started.configurations
        due = ended or elapsed_seconds - self.said_at >= SECONDS_BETWEEN_LINES
        self.said_at = elapsed_seconds if due else self.said_at
        return due

    def line(self, elapsed_seconds: float) -> str:
        """`rung 1 of 3: 12 / 34 done, best roc_auc 0.6912 (lightgbm__…), about 40 s left`."""
        if self.started is None:
            return "0 done"
        rung, total = self.started.rung, self.started.configurations
        text = f"{self.started.place}: " if self.started.place else ""
        text += f"{self.done} / {total} done"
        if self.best is not None:
            text += f", best {self.metric} {numbers.score(self.best.test_score)} ({self.best.key})"
        left = (total - self.done) * rung.fraction + self.started.work_after
        if self.work and left:
            text += f", about {numbers.seconds(elapsed_seconds / self.work * left)} left"
        return text

    def _consider(self, result: ModelResult) -> None:
        """Keep the better of this and the best so far."""
        if self.best is None or better(self.metric, result.test_score, self.best.test_score):
            self.best = result
