"""How far a search is, in lines of a log: what is done, the best so far, the time left.

How the time left is guessed: `time_left.py`. In: the events of a search, and when they came. Out:
notes to log, `Standing` for whoever draws it, and what the search found out.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from experiment_pipeline import errors
from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Event,
    Fitted,
    Note,
    RungStarted,
)
from experiment_pipeline.stages.search.cost import seconds_of
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import best_first, competes
from experiment_pipeline.stages.search.time_left import TimeLeft
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.interval import Interval

# Quick fits end many times a second, and every line is an event that is stored: a line says
# something new after so many seconds, and after such a part of the way.
SECONDS_BETWEEN_LINES = 5.0
LINES_ON_THE_WAY = 20
# Nobody plans by less, and the last fit is hard to guess.
LEAST_SECONDS_LEFT = 2.0


@dataclass(frozen=True)
class Standing:
    """How far a search is.

    Attributes:
        text: in words.
        short: where it is and the time left, in words, for a line that is short.
        part: of the way, by time, in [0, 1].
    """

    text: str
    short: str
    part: float


# A handler of this logger draws how far a search is: records with a `standing`, None at the end.
DRAWN = logging.getLogger("experiment_pipeline.drawn")


@dataclass
class Progress:
    """How far a search is.

    Attributes:
        metric: name of the ranking metric.
        time_left: guesses when it ends.
        interval: of a result's score on the test rows of these sets; None = scores alone.
        most_seconds: after which no fit starts; None = no limit.
        concluded: key → what came of it.
        fitted: the fits of this run, at any rung.
        started: the rung that runs; None before the first.
        done: configurations that this rung is done with.
        scored: key → result at this rung.
        intervals: fingerprint → interval, of those that were the best when a line was due.
        said_at: elapsed seconds at the last line that was due.
    """

    metric: str
    time_left: TimeLeft
    interval: Callable[[ModelResult, TrainingSets], Interval] | None = None
    most_seconds: float | None = None
    concluded: dict[str, Conclusion] = field(default_factory=dict)
    fitted: list[ModelResult] = field(default_factory=list)
    started: RungStarted | None = None
    done: int = 0
    scored: dict[str, ModelResult] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    said_at: float = -math.inf

    def told(self, event: Event, elapsed_seconds: float) -> Iterator[Note]:
        """Take an event into account, and yield what there is to say of it."""
        if isinstance(event, Note):
            yield event
        elif isinstance(event, RungStarted):
            yield from self._begin(event, elapsed_seconds)
        elif isinstance(event, Fitted):
            result = event.model.result
            for note in result.notes:
                yield Note(f"{result.key}: {note}", warns=True)
            self.fitted.append(result)
            self.scored[result.key] = result
            seconds = seconds_of(result, len(event.rung.sets.test))
            self.time_left.fit_ended(result.key, elapsed_seconds, seconds, result.rounds)
            yield from self._fit_ended(elapsed_seconds)
        else:
            self.concluded[event.key] = event
            if (raised := event.failure) is not None:
                text = f"{event.key} failed: {raised.in_words}\n{raised.traceback}"
                yield Note(text, warns=True)
                self.time_left.fit_ended(event.key, elapsed_seconds)
                yield from self._fit_ended(elapsed_seconds)

    @property
    def cancelled(self) -> str:
        """How far a search had come that is ended from outside."""
        if self.started is None:
            return "the search was cancelled before its first fit"
        rung = self.started.rung
        counts = f"{self.done} of {numbers.counted(len(self.started.entered), 'configuration')}"
        at = f" at {rung}" if rung.of > 1 else ""
        return f"the search was cancelled after {counts}{at}"

    def end(self) -> Iterator[Note]:
        """Yield what was reused.

        Raises:
            AllConfigurationsFailed: nothing at all worked.
        """
        if reused := sum(one.reused for one in self.concluded.values()):
            yield Note(f"reused {reused} of {len(self.concluded)} configurations")
        failed = [one.failure for one in self.concluded.values() if one.failure is not None]
        if len(failed) == len(self.concluded):
            raise errors.AllConfigurationsFailed(
                f"{len(failed)} of {len(failed)} configurations",
                f"failed, the first ({failed[0].key}) with {failed[0].in_words}",
                "Mend the cause, or take the algorithm out of `search`.",
            )

    def standing(self, elapsed_seconds: float) -> Standing:
        """`rung 2 of 3: 12 of 34 done, best roc_auc 0.6912 by lightgbm, about 40 s left`."""
        left = self._seconds_left(elapsed_seconds)
        text, where = self._counts()
        if best := self._best_first():
            result = self.scored[best[0]]
            interval = self.intervals.get(result.fingerprint)
            score = numbers.score(result.test_score)
            if interval is not None:
                score = numbers.interval(interval)
            text += f", best {self.metric} {score} by {result.algorithm}"
        if left is None:
            return Standing(text, where, 0.0)
        said = f", about {numbers.duration(left)} left" if left >= LEAST_SECONDS_LEFT else ""
        part = elapsed_seconds / max(elapsed_seconds + left, 1e-9)
        return Standing(text + said, f"{where}{said}", part)

    def _begin(self, event: RungStarted, elapsed_seconds: float) -> Iterator[Note]:
        self.started, self.done, self.scored = event, len(event.known), dict(event.known)
        known = event.known.keys()
        self.time_left.rung_began(event.rung, event.later, event.entered, known, elapsed_seconds)
        if event.rung.of > 1:
            counts = numbers.counted(len(event.entered), "configuration")
            yield Note(f"{event.rung}: {counts}, {len(known)} reused")

    def _fit_ended(self, elapsed_seconds: float) -> Iterator[Note]:
        """A line after the first fit, after the last of a rung, and now and then between."""
        if self.started is None:
            return
        self.done += 1
        if self.done >= len(self.started.entered) or self._is_due(elapsed_seconds):
            self.said_at = elapsed_seconds
            self._look_at_the_best(self.started.rung.sets)
            yield Note(self.standing(elapsed_seconds).text)

    def _is_due(self, elapsed_seconds: float) -> bool:
        pause = elapsed_seconds - self.said_at
        if pause < SECONDS_BETWEEN_LINES:
            return False
        left = self._seconds_left(elapsed_seconds) or 0.0
        return pause >= (elapsed_seconds + left) / LINES_ON_THE_WAY

    def _counts(self) -> tuple[str, str]:
        """Where the search is: in full, and in short."""
        if self.started is None:
            return "0 done", "0 done"
        rung = self.started.rung
        done = f"{self.done} of {len(self.started.entered)} done"
        if rung.of == 1:
            return done, done
        where = f"rung {rung.number} of {rung.of}"
        return f"{where}: {done}", where

    def _look_at_the_best(self, sets: TrainingSets) -> None:
        """An interval takes longer than a score: of the best alone, when it is said."""
        for key in self._best_first()[:1]:
            result = self.scored[key]
            if self.interval is not None and result.fingerprint not in self.intervals:
                self.intervals[result.fingerprint] = self.interval(result, sets)

    def _best_first(self) -> list[str]:
        """Who competes at this rung, the best first; nobody whose score is undefined."""
        scored = {
            key: one
            for key, one in self.scored.items()
            if competes(one) and math.isfinite(one.test_score)
        }
        return best_first(scored, self.metric)

    def _seconds_left(self, elapsed_seconds: float) -> float | None:
        left = self.time_left.seconds(elapsed_seconds, self._best_first())
        if left is None or self.most_seconds is None:
            return left
        return min(left, max(self.most_seconds - elapsed_seconds, 0.0))


@contextmanager
def drawing() -> Iterator[Callable[[Progress, float], None]]:
    """Give a function that shows progress after so many seconds to whoever draws it, if any."""

    def draw(progress: Progress, elapsed_seconds: float) -> None:
        if DRAWN.handlers:
            DRAWN.warning("", extra={"standing": progress.standing(elapsed_seconds)})

    try:
        yield draw
    finally:
        if DRAWN.handlers:
            DRAWN.warning("", extra={"standing": None})
