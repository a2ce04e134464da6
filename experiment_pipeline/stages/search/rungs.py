"""The rungs of successive halving: which there are, their rows, and who goes on.

Synchronous: a rung is decided when all its fits are done, so neither the number of workers nor
their speed changes the answer. Sources: Jamieson and Talwalkar 2016 (successive halving), Li
et al. 2018 (Hyperband); scikit-learn's HalvingRandomSearchCV does the same with cross-validation.
In: configurations, sets and the experiment. Out: a `Ladder`. Fitting lives in `halving.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from experiment_pipeline.rows.digests import rows_digest
from experiment_pipeline.spec import ExperimentSpec, Halving
from experiment_pipeline.stages.search.order import best_first
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.search.sets import TrainingSets
from experiment_pipeline.stages.search.thinning import evenly_thinned, thinning_order

# Below, a rung costs more trust than it saves time.
FEWEST_CONFIGURATIONS = 8
FEWEST_ROWS_PER_CLASS = 20
# So many go on at least: a tie group needs candidates.
FEWEST_KEPT = 5
# Test rows that small rungs are scored on at least: cheap, and few would choose by luck (of 60
# configurations of the bundled flights, 2,000 rows lost the 9 best ones, 4,000 the very best).
SCORED_ROWS = 4_000


@dataclass(frozen=True, eq=False)
class Rung:
    """One round of the search.

    Attributes:
        number: from 1 on.
        of: how many rungs there are.
        fraction: of the train rows.
        kept: how many configurations go on from here; 0 at the last rung.
        sets: thinned train and test rows with digests of their own; the last rung's are full.
    """

    number: int
    of: int
    fraction: float
    kept: int
    sets: TrainingSets

    @property
    def is_full(self) -> bool:
        """Whether this is the rung whose scores are ranked."""
        return self.number == self.of

    def __str__(self) -> str:
        return f"rung {self.number} of {self.of} ({self.fraction:.4g} of the train rows)"


@dataclass(frozen=True)
class Ladder:
    """The rungs of a search, the full one last, and why there are not more of them."""

    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()

    def work_after(self, rung: Rung) -> float:
        """Return how many fits on all rows the rungs after one amount to, at the most."""
        steps = pairwise(self.rungs)
        return sum(one.kept * after.fraction for one, after in steps if one.number >= rung.number)


def full_only(sets: TrainingSets, *notes: str) -> Ladder:
    """Return a search without halving: one rung, all rows."""
    return Ladder((Rung(1, 1, 1.0, 0, sets),), notes)


def ladder(n_competing: int, sets: TrainingSets, spec: ExperimentSpec) -> Ladder:
    """Return the rungs of a search, as many as its configurations and rows allow.

    Args:
        n_competing: configurations that compete.
        sets: the full sets.
        spec: its `halving` decides.
    """
    if not spec.halving:
        return full_only(sets)
    if n_competing < FEWEST_CONFIGURATIONS:
        return full_only(
            sets,
            f"no halving: {n_competing} configurations compete, it needs {FEWEST_CONFIGURATIONS}",
        )
    kept = _kept(n_competing, spec.halving)
    if not kept:
        return full_only(
            sets,
            f"no halving: keeping {spec.halving.keep:g} of {n_competing} configurations stops nobody",
        )
    # Fewer configurations than rungs could thin out: the smallest rungs go first.
    fractions = spec.halving.fractions[:-1][-len(kept) :]
    order = thinning_order(sets, spec)
    fewest = spec.halving.fewest_rows
    problems = {fraction: _too_small(sets, order < fraction, fewest) for fraction in fractions}
    notes = [
        f"no rung of {fraction:.4g} of the train rows: {problem}"
        for fraction, problem in problems.items()
        if problem
    ]
    small = fractions[len(notes) :]
    of = len(small) + 1
    rungs = [
        Rung(number, of, fraction, left, _thinned(sets, order < fraction, fraction))
        for number, (fraction, left) in enumerate(zip(small, kept, strict=False), start=1)
    ]
    return Ladder((*rungs, Rung(of, of, 1.0, 0, sets)), tuple(notes))


def survivors(rung: Rung, scored: Mapping[str, ModelResult], metric: str) -> tuple[str, ...]:
    """Return the keys that go on, the best first.

    Args:
        rung: its `kept` decides how many.
        scored: key → result at this rung, of all algorithms.
        metric: that ranks.
    """
    return tuple(best_first(scored, metric)[: rung.kept])


def _kept(n_competing: int, halving: Halving) -> list[int]:
    """Return how many go on from each rung, as long as somebody is stopped."""
    counts = [n_competing]
    for _ in halving.fractions[:-1]:
        counts.append(max(math.ceil(counts[-1] * halving.keep), FEWEST_KEPT))
    return [after for before, after in pairwise(counts) if after < before]


def _too_small(sets: TrainingSets, rows: np.ndarray, fewest_rows: int) -> str:
    """Say what a rung lacks; empty = nothing. Smaller fractions lack more."""
    if (count := int(rows.sum())) < fewest_rows:
        return f"it would have {count} rows, it needs {fewest_rows}"
    if sets.classes is None:
        return ""
    fewest = int(np.bincount(sets.y_train[rows], minlength=len(sets.classes)).min())
    if fewest < FEWEST_ROWS_PER_CLASS:
        return f"its rarest class would have {fewest} rows, it needs {FEWEST_ROWS_PER_CLASS}"
    return ""


def _thinned(sets: TrainingSets, rows: np.ndarray, fraction: float) -> TrainingSets:
    """Return the sets of a small rung."""
    scored = evenly_thinned(sets.y_test, fraction, SCORED_ROWS, by_class=sets.classes is not None)
    train, test = sets.train[rows], sets.test[scored]
    return replace(
        sets,
        train=train,
        test=test,
        inner=sets.inner[rows],
        digests={"train": rows_digest(train), "test": rows_digest(test)},
        groups=None if sets.groups is None else sets.groups[rows],
        inner_gap=None if sets.inner_gap is None else sets.inner_gap[rows],
    )
