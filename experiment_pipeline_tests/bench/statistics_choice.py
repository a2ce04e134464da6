"""Is the choice honest? Simulations with the truth known: ties, differences, segments,
thresholds.

Each makes small tables and asks the code that decides in a run.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.special import expit, logit

from experiment_pipeline.spec import Costs, ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, rank
from experiment_pipeline.stages.leaderboard.ranking import RankedRows
from experiment_pipeline.stages.search.conclusions import Conclusion
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validation_report.effects import weakest_segments
from experiment_pipeline.statistics.calibration import calibrations
from experiment_pipeline.statistics.comparisons import Drawn, compare_with_best
from experiment_pipeline.statistics.interval import Interval, cluster_sums
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, score
from experiment_pipeline.statistics.thresholds import (
    cost_interval,
    decision_threshold,
    saved_interval,
    threshold_value,
)
from experiment_pipeline_tests.bench.simulations import (
    repeated,
)
from experiment_pipeline_tests.bench.statistics_gates import experiment, labels_of
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import result_of
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    AT_HALF,
    judged,
)

# Rows whose scores are taken for the truth.
_TRUTH_ROWS = 200_000
# Of the 20 configurations: the less, the better.
NOISE = np.concatenate([np.full(8, 0.6), np.linspace(0.6, 2.0, 13)[1:]])
AHEAD = "the score is ahead of the truth by"
OPTIMISM = "optimism that is said, of the true one"


@repeated
def _best_of_many(generator: Generator) -> dict[str, float]:
    """Rank 20 correlated configurations, eight of them equal; compare with the best and
    the truth.
    """
    rows, truth = 500, true_brier()
    y, probabilities = correlated(generator, rows)
    linearised = [apart(y, column).linearise("brier") for column in probabilities.T]
    scores = -np.array([found.estimate for found in linearised])
    sums = [cluster_sums(found.influence, np.arange(rows)) for found in linearised]
    seed = experiment("brier").seed
    found = compare_with_best(scores, -np.column_stack(sums), Drawn(seed))
    behind = truth - truth.max()
    best = int(scores.argmax())
    return {
        "the tie group holds the truly best": found.tied[int(truth.argmax())],
        "all differences to the truly best are covered": (
            (found.low <= behind) & (behind <= found.high)
        ).all(),
        "configurations in the tie group": found.tied.mean(),
        AHEAD: scores[best] - truth[best],
        OPTIMISM: found.optimism,
    }


def best_of_many(tables: int, seed: int) -> dict[str, float]:
    """Return the means, with the optimism that is said as a share of the true one."""
    found = _best_of_many(tables, seed)
    return found | {OPTIMISM: found[OPTIMISM] / found.pop(AHEAD)}


@repeated
def chosen(generator: Generator, *, metric: str, **more: object) -> dict[str, float]:
    """Rank the 20 on 150 rows, and score the choice on many more."""
    rows, spec = 150, experiment(metric, len(NOISE), **more)
    keys = [configuration.key for configuration in configurations(spec)]
    y, seen = correlated(generator, rows + 20_000)
    board = _board(spec, y[:rows], seen[:rows], labels_of(generator, y.mean(), 900))
    weights, ensemble = {board.chosen: 1.0}, board.chosen_ensemble
    if ensemble is not None:
        weights = {
            member.configuration.key: member.weight for member in ensemble.members
        }
    mean = seen @ np.array([weights.get(key, 0.0) for key in keys])
    on_test, new = mean[:rows], mean[rows:]
    if ensemble is not None:
        known = {print_of(key): seen[:rows, place] for place, key in enumerate(keys)}
        on_test = ensemble.cross_fitted(known.__getitem__, y[:rows], np.arange(rows))
    cut = threshold_value(decision_threshold(spec.metric_names, y[:rows], on_test))
    truth, told = score(metric, y[rows:], new, cut), board.score
    ahead = metric_of(metric).sign * (told.estimate - truth)
    return {
        "its interval holds the truth": told.low <= truth <= told.high,
        AHEAD: ahead,
    }


@repeated
def noise_beats_the_baseline(generator: Generator) -> bool:
    """Whether `winner_beats_baseline` passes with 20 configurations that know
    nothing.
    """
    count, rows = 20, 500
    spec, y = experiment("f1", count), labels_of(generator, 0.2, rows)
    shared = generator.normal(size=(rows, 1))
    noise = 0.5 * (generator.normal(size=(rows, count)) + shared)
    board = _board(spec, y, expit(noise - 1.4), labels_of(generator, 0.2, 3 * rows))
    return board.beats_baseline


def print_of(key: str) -> str:
    """Return a fingerprint of its own for each configuration: an ensemble takes each
    model once.
    """
    return key.encode().hex().zfill(64)


def _board(
    spec: ExperimentSpec, y: np.ndarray, probabilities: np.ndarray, y_train: np.ndarray
) -> Leaderboard:
    declared = configurations(spec)
    keys = [configuration.key for configuration in declared]
    by_key = dict(zip(keys, probabilities.T, strict=True))
    results = [
        result_of(configuration, 0.0, spec, fingerprint=print_of(configuration.key))
        for configuration in declared
    ]
    clusters = np.arange(len(y))
    ranked = RankedRows(
        spec, lambda result: by_key[result.key], y, clusters, y_train, n_classes=2
    )
    return rank([*map(Conclusion.trained, results)], ranked)


def correlated(
    generator: Generator, rows: int, noise: np.ndarray = NOISE
) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities (rows, C): one signal, seen through noise of
    their own.
    """
    signal = generator.normal(size=(rows, 1))
    y = (generator.random(rows) < expit(signal[:, 0])).astype(np.int64)
    return y, expit(signal + noise * generator.normal(size=(rows, len(noise))))


@cache
def true_brier() -> np.ndarray:
    """Return the negative Brier score that predictions through each noise have on
    endless rows.
    """
    scores = []
    for noise in NOISE:
        generator = np.random.default_rng(0)
        y, probabilities = correlated(generator, _TRUTH_ROWS, np.array([noise]))
        scores.append(score("brier", y, probabilities[:, 0]))
    return -np.array(scores)


@repeated
def accused(generator: Generator, *, metric: str, weak: bool = False) -> bool:
    """Whether a segment is called weaker than expected.

    Groups differ in prevalence, numbers in the size of their errors. The model predicts
    with the truth itself; a weak one ignores that one group of five follows another
    rule.
    """
    rows, spec = 2_000, experiment(metric)
    group, x = generator.integers(0, 5, rows), generator.normal(size=rows)
    known = np.array([-3.0, -1.5, 0.0, 1.0, 2.0])[group] + x
    truth = np.where(weak & (group == 3), 1 - 1.5 * x, known)
    seen = apart((generator.random(rows) < expit(truth)).astype(np.int64), expit(known))
    if spec.task == "regression":
        noise = 0.5 * generator.normal(size=rows)
        seen = apart(np.exp(truth + noise - 0.125), np.exp(known))
    frame = pd.DataFrame(
        {"group": group.astype(str), "x": x, "z": generator.normal(size=rows)}
    )
    model = judged(spec, seen, AT_HALF, rows=frame, features=tuple(frame))
    segments = weakest_segments(model)
    assert segments
    return any(segment.clearly_worse for segment in segments)


@repeated
def perfect_and_accused(generator: Generator) -> bool:
    """Whether the true probabilities of 200 rows are called miscalibrated."""
    logit = 1.2 * generator.normal(size=200) - 0.8
    y = (generator.random(200) < expit(logit)).astype(np.int64)
    return calibrations(apart(y, expit(logit)), (0, 1))[0].in_doubt


def _decided_rows(generator: Generator, n: int, centre: float) -> SetPrediction:
    """Rows with their true probabilities; with a centre of -4 4 % are positive."""
    logit = 1.5 * generator.normal(size=n) + centre
    return apart((generator.random(n) < expit(logit)).astype(np.int64), expit(logit))


def _coverage(
    interval: Callable[[SetPrediction, Generator], Interval],
    tables: int,
    seed: int,
    rows: int,
    centre: float,
) -> float:
    """Return how often the interval of so many rows holds the value of a million."""

    def of_rows(n: int, *seeds: int) -> Interval:
        generator = np.random.default_rng(seeds)
        return interval(_decided_rows(generator, n, centre), generator)

    truth = of_rows(1_000_000, seed).estimate
    intervals = [of_rows(rows, seed, table) for table in range(tables)]
    return float(np.mean([found.low <= truth <= found.high for found in intervals]))


def coverage_of_costs(tables: int, seed: int) -> float:
    """Return how often the interval of the cost holds the truth, with 4 % positives."""
    costs = Costs(false_positive=1, false_negative=20)

    def interval(drawn: SetPrediction, _: Generator) -> Interval:
        return cost_interval(costs, drawn, cut=1 / 21)

    return _coverage(interval, tables, seed, 200, -4.0)


def coverage_of_worth(
    tables: int,
    seed: int,
    *,
    against: str = "nothing",
    rows: int = 200,
    centre: float = -4.0,
) -> float:
    """Return how often the interval of what a model saves holds the truth, where a
    found positive row brings 40 and a false alarm costs 2.
    """
    costs, cut = Costs(false_positive=2, true_positive=-40), 2 / 42

    def interval(drawn: SetPrediction, generator: Generator) -> Interval:
        instead = np.full(len(drawn.y), against == "all")
        if against == "a rule":  # blurred
            noise = generator.normal(size=len(drawn.y))
            instead = logit(drawn.prediction) + noise >= logit(cut)
        return saved_interval(costs, drawn, cut, instead)

    return _coverage(interval, tables, seed, rows, centre)
