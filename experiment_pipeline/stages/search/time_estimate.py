"""Estimate how long a fit, the final refit and the report take, for a budget of seconds.

Estimates only decide which fits start; they never change a result.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import FEW_TEXTS
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import estimated_cost, seconds_of
from experiment_pipeline.stages.search.learners.rounds import PATIENCE
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.rungs import competes
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# Seconds to encode a number, a text, and a different text that is read letter by letter; measured.
_PER_NUMBER, _PER_TEXT, _PER_LETTERS = 1e-7, 3e-6, 8e-5
# Of a fit before any has ended: seconds per cell and pass. A pass costs so many cells beside its rows.
_PER_CELL, _OVERHEAD_CELLS = 1.5e-9, 50_000
_PASSES_OF_OTHERS = 10.0
# A report loads its libraries, judges and draws; it encodes the rows for two fits and predicts with both.
_REPORT_SECONDS, _ENCODINGS = 2.5, 2.5
# A refit with its predictions takes up to so many times what the fit on fewer rows promises.
_REFIT = 1.5


def encoding_seconds(encoder: Features, sets: TrainingSets) -> float:
    """Estimate how long it takes to fit an encoder and to encode the train and test rows, folds included."""
    rows, seconds = len(sets.train) + len(sets.test), 0.0
    for name in sets.features:
        column = sets.train[name]
        if kind_of(column) in NUMERIC:
            seconds += rows * _PER_NUMBER
        elif encoder == "text" and (distinct := column.nunique()) > FEW_TEXTS:
            seconds += distinct * rows / len(column) * _PER_LETTERS
        else:
            seconds += rows * _PER_TEXT
    return seconds * (1 + len(sets.folds))


class FitTimes:
    """Estimates the seconds of fits, from those that have ended."""

    def __init__(self) -> None:
        """Know nothing yet."""
        # Seconds per unit of work: of a configuration's last fit, and an algorithm's slowest.
        self._own = dict[str, float]()
        self._slowest = dict[str, float]()

    def learn(self, one: Configuration, sets: TrainingSets, seconds: float) -> None:
        """Take a fit into account that has ended."""
        if competes(one):  # the baseline's fit is all overhead
            self._own[one.key] = pace = seconds / _work(one, sets)
            self._slowest[one.algorithm] = max(pace, self._slowest.get(one.algorithm, 0.0))

    def knows(self, algorithm: str) -> bool:
        """Whether a fit of an algorithm has ended."""
        return algorithm in self._slowest

    def seconds(self, one: Configuration, sets: TrainingSets) -> float:
        """Estimate a fit's seconds by its last fit, else by the slowest of its algorithm."""
        pace = self._own.get(one.key, self._slowest.get(one.algorithm, _PER_CELL))
        return pace * _work(one, sets)


@dataclass(frozen=True)
class AfterSearch:
    """Estimates how long refit and report take once a search has ended.

    Attributes:
        sets: the full train and test set; the validation set is taken to be as large as the latter.
        workers: fits at a time.
    """

    sets: TrainingSets
    workers: int
    _encoding: dict[Features, float] = field(default_factory=dict)

    def seconds(self, members: Sequence[ModelResult]) -> float:
        """Return the seconds for the chosen configuration, or the members of the chosen ensemble."""
        refits = [self.refit(seconds_of(one, len(self.sets.test)), one.rounds) for one in members]
        return self.total(refits, {one.features for one in members})

    def encoding(self, encoder: Features) -> float:
        """Return the seconds to encode all rows."""
        if encoder not in self._encoding:
            self._encoding[encoder] = encoding_seconds(encoder, self.sets)
        return self._encoding[encoder]

    def refit(self, seconds: float, rounds: int | None) -> float:
        """Return the seconds of a refit, by those of the fit: its kept rounds on train and test rows."""
        sets = self.sets
        fitted = len(sets.train) + sum(len(fold.sets.train) for fold in sets.folds)
        kept = 1.0 if rounds is None else rounds / (rounds + PATIENCE)
        return _REFIT * seconds * kept * len(sets.row_numbers) / max(fitted, 1)

    def total(self, refits: Sequence[float], encoders: Collection[Features]) -> float:
        """Return the seconds of these refits side by side, of encoding, and of the report."""
        encoding = _ENCODINGS * sum(map(self.encoding, encoders))
        side_by_side = max([sum(refits) / self.workers, *refits, 0.0])
        return side_by_side + encoding + _REPORT_SECONDS


def _work(one: Configuration, sets: TrainingSets) -> float:
    """Passes over the rows times cells: proportional to the seconds of a fit."""
    passes = estimated_cost(one, len(sets.train), len(sets.classes or ()))
    passes = max(passes, 1.0) if math.isfinite(passes) else _PASSES_OF_OTHERS
    return passes * (len(sets.train) * len(sets.features) + _OVERHEAD_CELLS)
