"""Progress of a search as log lines: what is done, the best score, the slowest fit."""

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
    SearchCost,
    SearchNote,
)
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import Rung, best_first, competes
from experiment_pipeline.storage.processes import peak_memory_bytes

# Quick fits end many times a second, and every log line is a stored event: the next
# line waits for so many seconds and for 1 / LINES_OF_A_RUNG of the rung's
# configurations.
SECONDS_BETWEEN_LINES = 5.0
LINES_OF_A_RUNG = 20
_BESIDE_FITS = "encoding, predicting, scoring, storing and idle workers"


@dataclass
class _RungProgress:
    rung: Rung
    entrants: int
    done: int  # configurations that are fitted or failed
    results: dict[str, ModelResult]  # of those that compete
    began: float  # elapsed seconds of the search
    fit_seconds: float = 0.0  # of the fits of this run, summed
    # Elapsed seconds and done configurations at the last line.
    last_line_seconds: float = -math.inf
    last_line_done: int = 0


@dataclass
class Progress:
    """The progress of a search."""

    metric: str
    concluded: dict[str, Conclusion] = field(default_factory=dict)  # by key
    fitted: list[ModelResult] = field(default_factory=list)  # in this run, at any rung
    _at: _RungProgress | None = None
    _rungs: list[_RungProgress] = field(default_factory=list)
    _logged: set[tuple[str, str]] = field(default_factory=set)  # algorithm and note

    def messages(
        self, event: Event, elapsed_seconds: float
    ) -> Iterator[SearchNote | Conclusion]:
        """Take an event into account; yield the lines to log, then a conclusion."""
        if isinstance(event, RungStarted):
            stored = event.stored
            rivals = {key: stored[key] for key in stored if competes(stored[key])}
            # What comes before the first rung is counted there.
            began = elapsed_seconds if self._rungs else 0.0
            self._at = _RungProgress(
                event.rung, event.entrants, len(stored), rivals, began
            )
            self._rungs.append(self._at)
            if event.rung.last > 1:
                counts = numbers.counted(event.entrants, "configuration")
                yield SearchNote(f"{event.rung}: {counts}, {len(stored)} reused")
        elif isinstance(event, Fitted):
            yield from self._fitted(event.model.result)
            yield from self._fit_ended(elapsed_seconds)
        else:
            if isinstance(event, Conclusion):
                self.concluded[event.key] = event
                if (failure := event.failure) is not None:
                    text = f"{event.key} failed: {failure.in_words}"
                    yield SearchNote(f"{text}\n{failure.traceback}", warns=True)
                    yield from self._fit_ended(elapsed_seconds)
            yield event

    @property
    def cancelled(self) -> str:
        """How far the search got before it was cancelled, as a sentence."""
        if self._at is None:
            return "the search was cancelled before its first fit"
        rung = self._at.rung
        entrants = numbers.counted(self._at.entrants, "configuration")
        where = f" at {rung}" if rung.last > 1 else ""
        return f"the search was cancelled after {self._at.done} of {entrants}{where}"

    def end(self) -> Iterator[SearchNote]:
        """Yield how many configurations were reused; TrainingError: all failed."""
        conclusions = self.concluded.values()
        if reused := sum(conclusion.reused for conclusion in conclusions):
            yield SearchNote(f"reused {reused} of {len(conclusions)} configurations")
        failures = [
            conclusion.failure
            for conclusion in conclusions
            if conclusion.failure is not None
        ]
        if failures and len(failures) == len(conclusions):
            first = failures[0]
            # That of scikit-learn's searches begins with an empty line.
            reason = f"{first.error_type}: {first.reason.strip()}".partition("\n")[0]
            if len(failures) == 1:
                raise errors.TrainingError(
                    f"configuration {first.key}",
                    rule=f"it could not be trained: {reason}",
                    fix="Correct the model or its hyperparameters, and start again; "
                    "the log has the traceback. Models that were trained before are "
                    "kept.",
                )
            raise errors.TrainingError(
                "the configurations",
                rule=f"none of {len(failures):,} could be trained; the first, "
                f"{first.key}, ended with {reason}",
                fix="Fix the cause, or take its algorithm out of search.",
            )

    def cost(self, wall_seconds: float, workers: int) -> SearchCost:
        """Return what the search cost."""
        fit_seconds = sum(result.fit_wall_seconds for result in self.fitted)
        return SearchCost(
            fits=len(self.fitted),
            fit_cpu_seconds=sum(result.fit_cpu_seconds for result in self.fitted),
            wall_seconds=wall_seconds,
            fitting_share=fit_seconds / (wall_seconds * workers),
            peak_memory_bytes=peak_memory_bytes(),
            phases=self._phases(wall_seconds, workers),
        )

    def _phases(self, wall_seconds: float, workers: int) -> dict[str, float]:
        if not self._rungs:
            return {"reading the search of an earlier run": wall_seconds}
        phases = dict[str, float]()
        ends = [rung.began for rung in self._rungs[1:]]
        for at, end in zip(self._rungs, [*ends, wall_seconds], strict=True):
            seconds = end - at.began
            in_fits = min(at.fit_seconds / workers, seconds)
            phases[f"{at.rung}: fits"] = in_fits
            phases[f"{at.rung}: {_BESIDE_FITS}"] = seconds - in_fits
        return phases

    def _fitted(self, result: ModelResult) -> Iterator[SearchNote]:
        # The page lists the notes of every configuration; the log has each once per
        # algorithm.
        for note in result.notes:
            if (result.algorithm, note) not in self._logged:
                self._logged.add((result.algorithm, note))
                yield SearchNote(f"{result.key}: {note}", warns=True)
        self.fitted.append(result)
        if self._at is None:
            return
        self._at.fit_seconds += result.fit_wall_seconds
        if competes(result):
            self._at.results[result.key] = result

    def _fit_ended(self, elapsed_seconds: float) -> Iterator[SearchNote]:
        """Yield a line after the first and last fit of a rung, and some between."""
        at = self._at
        if at is None:
            return
        at.done += 1
        waited = elapsed_seconds - at.last_line_seconds >= SECONDS_BETWEEN_LINES
        advanced = at.done - at.last_line_done >= at.entrants / LINES_OF_A_RUNG
        if at.done >= at.entrants or (waited and advanced):
            at.last_line_seconds = elapsed_seconds
            at.last_line_done = at.done
            yield SearchNote(self._standing(at))

    def _standing(self, at: _RungProgress) -> str:
        """`rung 2 of 3: 12 of 34 done, best rmse 3.912 by linear, slowest fit 40 s`."""
        text = f"{at.done} of {at.entrants} done"
        if at.rung.last > 1:
            text = f"rung {at.rung.number} of {at.rung.last}: {text}"
        for key in best_first(at.results, self.metric)[:1]:
            best = at.results[key]
            if math.isfinite(best.test_score):
                score = numbers.score(best.test_score)
                text += f", best {self.metric} {score} by {best.algorithm}"
        if self.fitted:
            slowest = max(result.fit_wall_seconds for result in self.fitted)
            text += f", slowest fit {numbers.measured(slowest)} s"
        return text
