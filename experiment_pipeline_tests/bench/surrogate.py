"""Rounds picked by the surrogate against halving and random draws, of one pool, at equal work.

Six tables, five seeds: each seed cuts the sets and draws 120 LightGBM configurations. All of them
are trained in full once; the ways to search are played on what is known. Work is the fits' CPU
seconds, as much as halving needs. The winner is chosen on test and judged on validation. How much
the smallest rung tells of all rows is the rank correlation of its scores with those.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import joblib
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from experiment_pipeline.stages.search.conclusions import Conclusion, Fitted
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.order import drawn
from experiment_pipeline.stages.search.results import ModelResult, TrainedModel
from experiment_pipeline.stages.search.run import search
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench.rivals import Mean, mean_of
from experiment_pipeline_tests.bench.sections import table
from experiment_pipeline_tests.bench.tables import TABLES, Cut, Table, cut
from experiment_pipeline_tests.results import NothingKnown

POOL, SEEDS, RANDOM_ORDERS = 120, 5, 20
# The defaults, but for the floor: what small rungs tell is a question here.
HALVING = {"fewest_rows": 250}
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
    """By how much the surrogate's winners are better: above 0 = the surrogate's are.

    Attributes:
        table: its name.
        metric: that chooses and judges.
        fits: full fits that the surrogate had for halving's work, the median of the seeds.
        rung_rows: train rows of the smallest rung, the median of the seeds.
        rung_tells: rank correlation of its scores with those on all rows, the mean of the seeds.
        halving: surrogate less halving, on validation.
        random: surrogate less random draws, the mean of 20 orders, on validation.
        halving_on_test: surrogate less halving, on what both choose on.
        random_on_test: surrogate less random draws, there.
    """

    table: str
    metric: str
    fits: int
    rung_rows: int
    rung_tells: float
    halving: Mean
    random: Mean
    halving_on_test: Mean
    random_on_test: Mean

    def row(self) -> str:
        """A line of the Markdown table."""
        return (
            f"| {self.table} ({self.metric}) | {self.rung_rows:,} | {self.rung_tells:.2f} "
            f"| {self.fits} of {POOL} "
            f"| {self.halving} | {self.halving.verdict} | {self.random} | {self.random.verdict} "
            f"| {self.halving_on_test} | {self.random_on_test} |"
        )


def rows(seeds: int = SEEDS, names: Sequence[str] = ()) -> list[Paired]:
    """Compare on every table; a line per seed is printed.

    Args:
        seeds: how many; each draws rows, sets and pool.
        names: of the tables; empty: all.
    """
    asked = [one for one in TABLES if not names or one.name in names]
    return [_paired(one, [_seed(one, seed) for seed in range(seeds)]) for one in asked]


def section(seeds: int = SEEDS, names: Sequence[str] = ()) -> str:
    """Return the part's Markdown; the arguments are those of `rows`."""
    columns = [
        "table",
        "rows of the smallest rung",
        "it tells",
        "full fits",
        "less halving",
        "it is",
        "less random draws",
        "it is",
    ]
    columns += ["less halving, on test", "less random draws, on test"]
    return f"""A pool of {POOL} LightGBM configurations, {seeds} seeds; a seed cuts the sets and draws the pool. Rounds
picked by the surrogate, and random draws, have the CPU seconds of fitting that halving needs for
the pool; the full fits of the rounds are given. Winners are chosen on the test rows and judged on
the validation rows, fitted on the train rows; the last two columns say what they scored where they
were chosen. A difference is paired by seed, above 0 where the surrogate's winner is better, with
its 95 % interval. What the smallest rung of halving tells is the rank correlation of its scores with
those on all rows (1 = the same order, 0 = nothing). The space is wide here; the more alike the
configurations are, the less a small rung tells, and `halving.fewest_rows` is 250 instead of 1,500.

{table(columns, rows(seeds, names))}"""


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
    """The winners of one seed.

    Attributes:
        surrogate: of the rounds.
        halving: of halving.
        random: validation score of random draws, the mean over their orders.
        random_on_test: the mean of the test scores.
        fits: of the rounds.
        rung_rows: train rows of the smallest rung.
        rung_tells: rank correlation of its scores with those on all rows.
    """

    surrogate: Known
    halving: Known
    random: float
    random_on_test: float
    fits: int
    rung_rows: int
    rung_tells: float


def _seed(given: Table, seed: int) -> Winners:
    """Train a pool and search it in each way."""
    started = time.perf_counter()
    entry = {"algorithm": "lightgbm", "method": "random", "draws": POOL, "seed": seed}
    here = cut(given, seed, search=[{**entry, "hyperparameters": SPACE}], halving=HALVING)
    pool = configurations(here.spec)
    results, known = _trained(pool, here)
    halved = _halved(pool, here)
    work = halved.work
    picked = _within(work, _picked(pool, here, results), known)
    orders = [
        [one.key for one in drawn(pool, 1_000 * (seed + 1) + n)] for n in range(RANDOM_ORDERS)
    ]
    by_chance = [_winner(_within(work, order, known), known) for order in orders]
    found = Winners(
        _winner(picked, known),
        _winner(halved.in_full, known),
        statistics.fmean(one.validation for one in by_chance),
        statistics.fmean(one.test for one in by_chance),
        len(picked),
        halved.rung_rows,
        told(halved.rung_scores, known),
    )
    print(f"  {given.name}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    return found


def _trained(
    pool: Sequence[Configuration], here: Cut
) -> tuple[Mapping[str, ModelResult], dict[str, Known]]:
    """Train all of the pool; results by fingerprint, as a store has them, and scores by key."""
    rows, n_test = pd.concat([here.sets.test, here.validation]), len(here.sets.test)
    # One prediction serves both sets: no fit looks at these rows.
    both = replace(here.sets, test=rows, digests={**here.sets.digests, "test": "and validation"})
    sign = METRICS[here.spec.metric].sign
    results, known = {}, {}
    prints = {one.key: fingerprint(one, here.sets, here.spec) for one in pool}
    for outcome in train_configurations(pool, both, here.spec, joblib.cpu_count()):
        assert isinstance(outcome, TrainedModel), outcome
        key, said = outcome.result.key, outcome.predictions.test
        on_test = scores.score(here.spec.metric, here.sets.y_test, said[:n_test])
        on_validation = scores.score(here.spec.metric, here.y_validation, said[n_test:])
        results[prints[key]] = replace(outcome.result, fingerprint=prints[key], test_score=on_test)
        known[key] = Known(sign * on_test, sign * on_validation, outcome.result.fit_cpu_seconds)
    return results, known


@dataclass(frozen=True)
class Halved:
    """A search by halving.

    Attributes:
        work: CPU seconds of its fits.
        in_full: keys of who was trained in full.
        rung_rows: train rows of the smallest rung.
        rung_scores: key → test score there, signed so that greater is better.
    """

    work: float
    in_full: list[str]
    rung_rows: int
    rung_scores: Mapping[str, float]


def _halved(pool: Sequence[Configuration], here: Cut) -> Halved:
    """Search by halving on an empty store."""
    events = list(
        search(pool, here.sets, here.spec, NothingKnown(), joblib.cpu_count(), time.perf_counter)
    )
    fits = [one for one in events if isinstance(one, Fitted)]
    sign = METRICS[here.spec.metric].sign
    smallest = [one for one in fits if one.rung.number == 1]
    return Halved(
        sum(one.model.result.fit_cpu_seconds for one in fits),
        [one.key for one in events if isinstance(one, Conclusion) and one.fraction == 1],
        len(smallest[0].rung.sets.train),
        {one.model.result.key: sign * one.model.result.test_score for one in smallest},
    )


def told(rung_scores: Mapping[str, float], known: Mapping[str, Known]) -> float:
    """Return Spearman's rank correlation of scores at a rung with those on all rows."""
    on_all_rows = [known[key].test for key in rung_scores]
    return float(spearmanr(list(rung_scores.values()), on_all_rows).statistic)


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


def _winner(keys: Sequence[str], known: Mapping[str, Known]) -> Known:
    """Choose on test."""
    return known[max(keys, key=lambda key: (known[key].test, key))]


def _paired(given: Table, found: Sequence[Winners]) -> Paired:
    def less(other: Callable[[Winners], float], on: Callable[[Known], float]) -> Mean:
        return mean_of(np.array([on(one.surrogate) - other(one) for one in found]))

    validation, test = attrgetter("validation"), attrgetter("test")
    return Paired(
        given.name,
        given.metric,
        round(statistics.median(one.fits for one in found)),
        round(statistics.median(one.rung_rows for one in found)),
        statistics.fmean(one.rung_tells for one in found),
        halving=less(attrgetter("halving.validation"), validation),
        random=less(attrgetter("random"), validation),
        halving_on_test=less(attrgetter("halving.test"), test),
        random_on_test=less(attrgetter("random_on_test"), test),
    )
