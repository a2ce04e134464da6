"""Progress of a search as log lines: how much is done, the best score so far, the
slowest fit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from experiment_pipeline import errors
from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    Event,
    Fitted,
    RungStarted,
    SearchNote,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import best_first, competes

# Quick fits end many times a second, and every log line is a stored event: the next
# line waits for so many seconds and for 1 / LINES_OF_A_RUNG of the rung's
# configurations.
SECONDS_BETWEEN_LINES = 5.0
LINES_OF_A_RUNG = 20


@dataclass
class Progress:
    """The progress of a search."""

    metric: str
    concluded: dict[str, Conclusion] = field(default_factory=dict)  # by key
    fitted: list[ModelResult] = field(default_factory=list)  # in this run, at any rung
    _rung: RungStarted | None = None
    # Of the current rung: how many configurations are done, and key → result of those
    # that compete.
    _done: int = 0
    _scored: dict[str, ModelResult] = field(default_factory=dict)
    # Elapsed seconds and done configurations at the last line.
    _last_line: tuple[float, int] = (-math.inf, 0)

    def notes(self, event: Event, elapsed_seconds: float) -> Iterator[SearchNote]:
        """Take an event into account, and yield the lines to log."""
        if isinstance(event, SearchNote):
            yield event
        elif isinstance(event, RungStarted):
            self._rung, self._done, self._last_line = (
                event,
                len(event.known),
                (-math.inf, 0),
            )
            self._scored = {
                key: one for key, one in event.known.items() if competes(one)
            }
            if event.rung.of > 1:
                counts = numbers.counted(event.entered, "configuration")
                yield SearchNote(f"{event.rung}: {counts}, {len(event.known)} reused")
        elif isinstance(event, Fitted):
            result = event.model.result
            # The page lists the notes of every configuration; the log has each once per
            # algorithm.
            for note in result.notes:
                earlier = (
                    one for one in self.fitted if one.algorithm == result.algorithm
                )
                if not any(note in one.notes for one in earlier):
                    yield SearchNote(f"{result.key}: {note}", warns=True)
            self.fitted.append(result)
            if competes(result):
                self._scored[result.key] = result
            yield from self._fit_ended(elapsed_seconds)
        else:
            self.concluded[event.key] = event
            if (raised := event.failure) is not None:
                text = f"{event.key} failed: {raised.in_words}\n{raised.traceback}"
                yield SearchNote(text, warns=True)
                yield from self._fit_ended(elapsed_seconds)

    @property
    def cancelled(self) -> str:
        """How far the search got before it was cancelled, as a sentence."""
        if self._rung is None:
            return "the search was cancelled before its first fit"
        rung = self._rung.rung
        counts = (
            f"{self._done} of {numbers.counted(self._rung.entered, 'configuration')}"
        )
        at = f" at {rung}" if rung.of > 1 else ""
        return f"the search was cancelled after {counts}{at}"

    def end(self) -> Iterator[SearchNote]:
        """Yield how many configurations were reused. Raises TrainingError: every one of
        them failed.
        """
        if reused := sum(one.reused for one in self.concluded.values()):
            yield SearchNote(f"reused {reused} of {len(self.concluded)} configurations")
        failed = [
            one.failure for one in self.concluded.values() if one.failure is not None
        ]
        if len(failed) == len(self.concluded):
            rule = f"failed, the first ({failed[0].key}) with {failed[0].in_words}"
            fix = "Fix the cause, or take the algorithm out of `search`."
            raise errors.TrainingError(
                f"{len(failed)} of {len(failed)} configurations", rule, fix
            )

    @property
    def standing(self) -> str:
        """`rung 2 of 3: 12 of 34 done, best roc_auc 0.6912 by lightgbm, slowest fit 40
        s`.
        """
        if self._rung is None:
            return "0 done"
        rung, entered = self._rung.rung, self._rung.entered
        text = f"{self._done} of {entered} done"
        if rung.of > 1:
            text = f"rung {rung.number} of {rung.of}: {text}"
        best = next(
            (self._scored[key] for key in best_first(self._scored, self.metric)), None
        )
        if best is not None and math.isfinite(best.test_score):
            score = numbers.score(best.test_score)
            text += f", best {self.metric} {score} by {best.algorithm}"
        if self.fitted:
            slowest = max(one.fit_wall_seconds for one in self.fitted)
            text += f", slowest fit {numbers.measured(slowest)} s"
        return text

    def _fit_ended(self, elapsed_seconds: float) -> Iterator[SearchNote]:
        """Yield a line after the first and the last fit of a rung, and now and then
        between them.
        """
        if self._rung is None:
            return
        self._done += 1
        entered, (seconds, done) = self._rung.entered, self._last_line
        is_due = (
            elapsed_seconds - seconds >= SECONDS_BETWEEN_LINES
            and self._done - done >= entered / LINES_OF_A_RUNG
        )
        if is_due or self._done >= entered:
            self._last_line = elapsed_seconds, self._done
            yield SearchNote(self.standing)
