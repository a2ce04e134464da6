"""Rounds picked by the surrogate against halving and random draws, of one pool, at equal work.

Six tables, five seeds: each seed draws rows, sets and 120 LightGBM configurations. All of them
are trained in full once; the ways to search are played on what is known. Work is the fits' CPU
seconds, as much as halving needs. The winner is chosen on test and judged on validation.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import joblib
import numpy as np
import pandas as pd
from scipy import stats

from experiment_pipeline.core import metrics
from experiment_pipeline.core.configurations import Configuration, configurations
from experiment_pipeline.core.trained_model import (
    Conclusion,
    Fitted,
    ModelResult,
    TrainedModel,
    fingerprint,
    search,
    train_configurations,
)
from experiment_pipeline.core.trained_model.order import drawn
from experiment_pipeline_tests.bench.tables import TABLES, Cut, Table, cut

POOL, SEEDS, RANDOM_ORDERS = 120, 5, 20
# The defaults, but for the smallest rung, which would be a little too small here.
HALVING = {"fractions": [0.08, 0.25, 1.0]}
SPACE = {
    "learning_rate": {"low": 0.01, "high": 0.5, "scale": "log"},
    "num_leaves": {"low": 4, "high": 127, "scale": "log"},
    "min_data_in_leaf": {"low": 5, "high": 300, "scale": "log"},
    "feature_fraction": {"low": 0.3, "high": 1.0},
    "lambda_l2": {"low": 0.01, "high": 100.0, "scale": "log"},
    "n_estimators": 100,
    "early_stopping_round": 10,
}


@dataclass(frozen=True)
class Paired:
    """By how much the surrogate's winner is better, seed by seed; scores signed to grow.

    Attributes:
        table: its name.
        metric: that chooses and judges.
        halving: surrogate − halving of each seed, on validation.
        random: surrogate − random draws of each seed, the mean of 20 orders.
        fits: full fits that the surrogate had for halving's work, the median of the seeds.
    """

    table: str
    metric: str
    halving: tuple[float, ...]
    random: tuple[float, ...]
    fits: int

    def row(self) -> str:
        """A line of the Markdown table."""
        against = " | ".join(map(_in_words, (self.halving, self.random)))
        return f"| {self.table}, {self.metric} | {self.fits} of {POOL} | {against} |"


def rows(tables: Sequence[Table] = TABLES, seeds: int = SEEDS) -> list[Paired]:
    """Compare on every table; a line per seed is printed.

    Args:
        tables: of TABLES.
        seeds: how many.
    """
    return [_paired(table, [_seed(table, seed) for seed in range(seeds)]) for table in tables]


@dataclass(frozen=True)
class Known:
    """A configuration that was trained on all train rows.

    Attributes:
        test: its score, signed so that greater is better.
        validation: the same on rows that nobody chooses on.
        work: CPU seconds of the fit.
    """

    test: float
    validation: float
    work: float


@dataclass(frozen=True)
class Winners:
    """The validation score of each way's winner."""

    surrogate: float
    halving: float
    random: float
    fits: int


def _seed(table: Table, seed: int) -> Winners:
    """Train a pool and search it in each way."""
    started = time.perf_counter()
    entry = {"algorithm": "lightgbm", "method": "random", "draws": POOL, "seed": seed}
    here = cut(table, seed, search=[{**entry, "hyperparameters": SPACE}], halving=HALVING)
    pool = configurations(here.spec)
    results, known = _trained(pool, here)
    work, finalists = _halved(pool, here)
    picked = _within(work, _picked(pool, here, results), known)
    orders = [
        [one.key for one in drawn(pool, 1_000 * (seed + 1) + n)] for n in range(RANDOM_ORDERS)
    ]
    found = Winners(
        _winner(picked, known),
        _winner(finalists, known),
        statistics.fmean(_winner(_within(work, order, known), known) for order in orders),
        len(picked),
    )
    print(f"  {table.name} {seed}: {found}, {time.perf_counter() - started:.0f} s", flush=True)
    return found


def _trained(
    pool: Sequence[Configuration], here: Cut
) -> tuple[Mapping[str, ModelResult], dict[str, Known]]:
    """Train all of the pool; results by fingerprint, as a store has them, and scores by key."""
    rows, n_test = pd.concat([here.sets.test, here.validation]), len(here.sets.test)
    # One prediction serves both sets: no fit looks at these rows.
    both = replace(here.sets, test=rows, digests={**here.sets.digests, "test": "and validation"})
    sign = metrics.METRICS[here.spec.metric].sign
    results, known = {}, {}
    prints = {one.key: fingerprint(one, here.sets, here.spec) for one in pool}
    for outcome in train_configurations(pool, both, here.spec, joblib.cpu_count()):
        if not isinstance(outcome, TrainedModel):
            raise RuntimeError(f"{outcome.key}: {outcome.reason}")
        key, said = outcome.result.key, outcome.test_predictions
        on_test = metrics.score(here.spec.metric, here.sets.y_test, said[:n_test])
        on_validation = metrics.score(here.spec.metric, here.y_validation, said[n_test:])
        results[prints[key]] = replace(outcome.result, fingerprint=prints[key], test_score=on_test)
        known[key] = Known(sign * on_test, sign * on_validation, outcome.result.fit_cpu_seconds)
    return results, known


def _halved(pool: Sequence[Configuration], here: Cut) -> tuple[float, list[str]]:
    """Search by halving on an empty store; its CPU seconds, and who was trained in full."""
    events = list(
        search(pool, here.sets, here.spec, lambda _: {}, joblib.cpu_count(), time.perf_counter)
    )
    work = sum(one.model.result.fit_cpu_seconds for one in events if isinstance(one, Fitted))
    return work, [one.key for one in events if isinstance(one, Conclusion) and one.fraction == 1]


def _picked(
    pool: Sequence[Configuration], here: Cut, results: Mapping[str, ModelResult]
) -> Iterator[str]:
    """Yield who is trained, round after round, until all are."""
    declared = here.spec.model_dump(exclude_unset=True, exclude={"halving"})
    spec = type(here.spec).model_validate(
        {**declared, "surrogate": True, "budget": {"configurations": len(pool)}}
    )

    def stored(prints: Sequence[str]) -> dict[str, ModelResult]:
        return {one: results[one] for one in prints}

    for event in search(pool, here.sets, spec, stored, 1, time.perf_counter):
        if isinstance(event, Conclusion):
            yield event.key


def _within(work: float, order: Iterator[str] | Sequence[str], known: Mapping[str, Known]) -> list:
    """Take keys as long as there is work left for the next fit."""
    taken = list[str]()
    for key in order:
        if (work := work - known[key].work) < 0:
            break
        taken.append(key)
    return taken


def _winner(keys: Sequence[str], known: Mapping[str, Known]) -> float:
    """Choose on test, look at validation."""
    return known[max(keys, key=lambda key: (known[key].test, key))].validation


def _paired(table: Table, found: Sequence[Winners]) -> Paired:
    return Paired(
        table.name,
        table.metric,
        tuple(one.surrogate - one.halving for one in found),
        tuple(one.surrogate - one.random for one in found),
        round(statistics.median(one.fits for one in found)),
    )


def _in_words(differences: Sequence[float]) -> str:
    """`+0.0012 (-0.0004 to +0.0028)`: mean and 95 % t interval."""
    mean, n = statistics.fmean(differences), len(differences)
    half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(differences, ddof=1)) / n**0.5
    return f"{mean:+.4g} ({mean - half:+.4g} to {mean + half:+.4g})"
