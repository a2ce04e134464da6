"""Is the choice honest? Simulations with the truth known: gates, ties, differences, thresholds.

Each function makes many small tables, asks the code that decides in a run, and returns how often
it was right or wrong. Which figure is good enough is for those who print them, and for the
tests. In: how many tables, a seed. Out: shares between 0 and 1, unless said otherwise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.special import expit, ndtri

from experiment_pipeline.spec import Costs, ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, rank
from experiment_pipeline.stages.leaderboard.ranking import RankedRows
from experiment_pipeline.stages.search.conclusions import Conclusion
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validation_report.effects import weakest_segments
from experiment_pipeline.stages.validation_report.gates import (
    ChampionComparison,
    MetricScore,
    best_after,
    compare,
    hold,
)
from experiment_pipeline.stages.validation_report.ledger import LEAST_OVERLAP, EarlierLooks
from experiment_pipeline.stages.validation_report.report import ValidationReport, judge
from experiment_pipeline.statistics.calibration import calibrations
from experiment_pipeline.statistics.comparisons import Comparison, Drawn, compare_with_best
from experiment_pipeline.statistics.interval import cluster_sums
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
    score,
)
from experiment_pipeline.statistics.tails import expected_gain
from experiment_pipeline.statistics.thresholds import (
    cost_interval,
    decision_threshold,
    threshold_value,
)
from experiment_pipeline_tests.stages.leaderboard.board_examples import result_of

# Rows whose scores are taken for the truth.
_TRUTH_ROWS = 200_000


def experiment(metric: str, task: str, count: int = 1, **more: object) -> ExperimentSpec:
    """Return an experiment that ranks by a metric, with so many configurations."""
    sizes = {"num_leaves": [4 + number for number in range(count)]}
    fields = {
        "name": "simulated",
        "data": "simulated.csv",
        "target": "y",
        "task": task,
        "metric": metric,
        "search": [{"algorithm": "lightgbm", "hyperparameters": sizes}],
    }
    return ExperimentSpec.model_validate(fields | more)


# The default gate.


def gate_error_of_coin_flips(
    tables: int, seed: int, *, metric: str = "accuracy", share: float = 0.5, rows: int = 500
) -> float:
    """Return how often a model passes that draws its probabilities at random."""
    generator = np.random.default_rng(seed)

    def flips() -> ValidationReport:
        y = [_labels(generator, share, n) for n in (3 * rows, rows, rows)]
        test, validation = (_seen(one, generator.random(len(one))) for one in y[1:])
        return _judged(metric, "binary", validation, test, np.concatenate(y[:2]))

    return _accepted(flips, tables)


def gate_error_of_constants(
    tables: int,
    seed: int,
    *,
    metric: str = "log_loss",
    share: float = 0.5,
    rows: int = 500,
    learnt: float = 1.0,
) -> float:
    """Return how often a model passes that predicts one value, the best for what it was fitted on.

    The median for mae and mape, the shares of the classes for losses. A model that has learnt
    from all known rows is the baseline itself; one that has learnt from a share of them, as with
    an early-stopping set held out, is another constant.
    """
    generator = np.random.default_rng(seed)
    regression = "regression" in metric_of(metric).tasks
    task = "regression" if regression else "binary"

    def constant() -> ValidationReport:
        y = [
            generator.lognormal(size=n) if regression else _labels(generator, share, n)
            for n in (3 * rows, rows, rows)
        ]
        known = np.concatenate(y[:2])
        said = best_constant(metric, known[: round(learnt * len(known))], task)
        test, validation = (_seen(one, np.full(len(one), said)) for one in y[1:])
        return _judged(metric, task, validation, test, known)

    return _accepted(constant, tables)


def power_at_r2(
    tables: int, seed: int, *, r2: float = 0.05, rows: int = 1_000, metric: str = "r2"
) -> float:
    """Return how often a model passes that explains a small part of a number's variance."""
    generator = np.random.default_rng(seed)

    def weak() -> ValidationReport:
        y, seen = [], []
        for n in (3 * rows, rows, rows):
            signal = np.sqrt(r2) * generator.normal(size=n)
            y.append(signal + np.sqrt(1 - r2) * generator.normal(size=n))
            seen.append(_seen(y[-1], signal))
        return _judged(metric, "regression", seen[2], seen[1], np.concatenate(y[:2]))

    return _accepted(weak, tables)


def gate_error_of_looks(
    tables: int, seed: int, *, looks: int = 30, rows: int = 500, fresh: float = 0.0
) -> float:
    """Return how often any of several models passes that know nothing, judged on the same rows.

    Between two looks a share of the rows is replaced by `fresh` ones.
    """
    generator = np.random.default_rng(seed)
    spec = experiment("roc_auc", "binary")

    def passed() -> bool:
        shared = [max(0.0, 1 - fresh * age) for age in range(1, looks)]
        y = _labels(generator, 0.3, rows)
        for look in range(looks):
            new = round(fresh * rows)
            y = np.concatenate([y[new:], _labels(generator, 0.3, new)])
            counted = [share for share in shared[:look] if share >= LEAST_OVERLAP]
            level = EarlierLooks(len(counted), max(counted, default=0.0), sum(counted)).level
            seen = _seen(y, generator.random(rows))
            better = difference_to_baseline("roc_auc", seen, np.asarray(0.3), level=level)
            score = MetricScore("roc_auc", seen.interval("roc_auc", level=level), 0.5, better)
            if all(gate.passed for gate in hold(spec, [score])):
                return True
        return False

    return _share(passed() for _ in range(tables))


def auc_after_challengers(
    tables: int,
    seed: int,
    *,
    rows: int = 300,
    steps: int = 30,
    lost: float = 0.005,
    anchored: bool = True,
) -> float:
    """Return the true AUC of the champion after challengers, each a little worse than it.

    The first one has 0.8. Predictions of two models on the same rows have a correlation of 0.8
    within a class. Without `anchored` only the champion is compared with.
    """
    generator = np.random.default_rng(seed)
    y = np.repeat([0, 1], rows // 2)

    def left() -> float:
        shared = generator.normal(size=rows)

        def seen(auc: float) -> SetPrediction:
            own = np.sqrt(0.8) * shared + np.sqrt(0.2) * generator.normal(size=rows)
            return _seen(y, expit(np.sqrt(2) * ndtri(auc) * y + own))

        versions = {"v0": (0.8, seen(0.8))}
        champion = best = "v0"
        for look in range(1, steps + 1):
            auc = versions[champion][0] - lost
            challenger, level = seen(auc), EarlierLooks(look, 1.0, look).level
            held = [
                ChampionComparison(
                    *(version, "roc_auc", 0.0, role),
                    scores=compare("roc_auc", versions[version][1], challenger, (0.5, 0.5), level),
                )
                for version, role in ((best, "best"), (champion, "champion"))
                if role == "champion" or anchored
            ]
            if all(one.gate.passed for one in held):
                champion = f"v{look}"
                versions[champion] = auc, challenger
                best = best_after(held) or champion
        return versions[champion][0]

    return float(np.mean([left() for _ in range(tables)]))


def winner_error_of_noise(
    tables: int, seed: int, *, metric: str = "f1", count: int = 20, rows: int = 500
) -> float:
    """Return how often `winner_beats_baseline` passes with configurations that know nothing."""
    generator = np.random.default_rng(seed)
    spec = experiment(metric, "binary", count)

    def passed() -> bool:
        y = _labels(generator, 0.2, rows)
        shared = generator.normal(size=(rows, 1))
        noise = 0.5 * (generator.normal(size=(rows, count)) + shared)
        board = _board(spec, y, expit(noise - 1.4), _labels(generator, 0.2, 3 * rows))
        return board.beats_baseline

    return _share(passed() for _ in range(tables))


# The best of many.


@dataclass(frozen=True)
class BestOfMany:
    """How comparisons with the best hold up."""

    tie_group: float  # how often the tie group contains the truly best one
    coverage: float  # how often all differences to the truly best lie in their intervals at once
    tied: float  # the mean share of the configurations that is in the tie group
    flattery: float  # by how much the best score lies above its truth on average
    optimism: float  # what is reported of that on average


def best_of_many(
    tables: int, seed: int, *, count: int = 20, equal: int = 8, rows: int = 500
) -> BestOfMany:
    """Rank configurations whose predictions are correlated, the first `equal` of them equals."""
    generator = np.random.default_rng(seed)
    noise = np.concatenate([np.full(equal, 0.6), np.linspace(0.6, 2.0, count - equal + 1)[1:]])
    spec = experiment("brier", "binary", count)
    truth = -np.array([true_brier(one) for one in noise])
    outcomes = []
    for _ in range(tables):
        y, probabilities = correlated(generator, rows, noise)
        scores, comparison = _compared(spec, y, probabilities)
        inside = (comparison.low <= truth - truth.max()) & (truth - truth.max() <= comparison.high)
        best = int(scores.argmax())
        outcomes.append(
            (
                comparison.tied[int(truth.argmax())],
                inside.all(),
                comparison.tied.mean(),
                scores[best] - truth[best],
                comparison.optimism,
            )
        )
    return BestOfMany(*np.mean(outcomes, axis=0).tolist())


def best_of_days(
    tables: int, seed: int, *, memory: float, count: int = 20, days: int = 60
) -> float:
    """Return how often the tie group of equals holds a given one, when days resemble the last.

    Every configuration has luck of its own beside what all share, both autoregressive.
    """
    generator = np.random.default_rng(seed)

    def held() -> bool:
        shocks = np.sqrt(1 - memory**2) * generator.normal(size=(days, count + 1))
        shocks[0] = generator.normal(size=count + 1)
        luck = lfilter([1.0], [1.0, -memory], shocks, axis=0)
        values = luck[:, :1] + 0.6 * luck[:, 1:]
        scores = values.mean(axis=0)
        parts = (values - scores) / days
        return bool(compare_with_best(scores, parts, Drawn(0, consecutive=True)).tied[0])

    return _share(held() for _ in range(tables))


@dataclass(frozen=True)
class ChosenScore:
    """What the score of a choice is worth on new rows."""

    covered: float  # how often its interval on the board holds the truth
    flattery: float  # by how much the score is better than the truth on average


def chosen_score(
    tables: int, seed: int, *, metric: str = "f1", rows: int = 150, **more: object
) -> ChosenScore:
    """Rank 20 configurations, eight of them equals, on few rows, and score the choice on many more."""
    generator = np.random.default_rng(seed)
    noise = np.concatenate([np.full(8, 0.6), np.linspace(0.6, 2.0, 13)[1:]])
    spec = experiment(metric, "binary", len(noise), **more)
    keys = [one.key for one in configurations(spec)]

    def once() -> tuple[bool, float]:
        y, seen = correlated(generator, rows + 20_000, noise)
        board = _board(spec, y[:rows], seen[:rows], _labels(generator, y.mean(), 900))
        weights, ensemble = {board.chosen: 1.0}, board.chosen_ensemble
        if ensemble is not None:
            weights = {one.configuration.key: one.weight for one in ensemble.members}
        mean = seen @ np.array([weights.get(key, 0.0) for key in keys])
        on_test, new = mean[:rows], mean[rows:]
        if ensemble is not None:
            known = {print_of(key): seen[:rows, place] for place, key in enumerate(keys)}
            on_test = ensemble.cross_fitted(known.__getitem__, y[:rows], np.arange(rows))
        cut = threshold_value(decision_threshold(spec.metric_names, y[:rows], on_test))
        truth, told = score(metric, y[rows:], new, cut), board.score
        ahead = metric_of(metric).sign * (told.estimate - truth)
        return told.low <= truth <= told.high, ahead

    return ChosenScore(*np.mean([once() for _ in range(tables)], axis=0).tolist())


def print_of(key: str) -> str:
    """Return a fingerprint of its own for each configuration: an ensemble takes each model once."""
    return key.encode().hex().zfill(64)


def correlated(
    generator: np.random.Generator, rows: int, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities (rows, C): one signal, seen through noise of their own."""
    signal = generator.normal(size=(rows, 1))
    y = (generator.random(rows) < expit(signal[:, 0])).astype(np.int64)
    return y, expit(signal + noise * generator.normal(size=(rows, len(noise))))


def true_brier(noise: float) -> float:
    """Return the Brier score that predictions through such noise have on endless rows."""
    y, probabilities = correlated(np.random.default_rng(0), _TRUTH_ROWS, np.array([noise]))
    return score("brier", y, probabilities[:, 0])


def _compared(
    spec: ExperimentSpec, y: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, Comparison]:
    sign, clusters = metric_of(spec.metric).sign, np.arange(len(y))
    rows = [SetPrediction(y, one, clusters) for one in probabilities.T]
    linearised = [one.linearise(spec.metric) for one in rows]
    scores = sign * np.array([one.estimate for one in linearised])
    contributions = sign * np.column_stack(
        [cluster_sums(one.influence, clusters) for one in linearised]
    )
    return scores, compare_with_best(scores, contributions, Drawn(spec.seed))


# Weak segments.


def accused(tables: int, seed: int, *, metric: str, weak: bool = False, rows: int = 2_000) -> float:
    """Return how often a segment is called weaker than expected.

    Groups differ in prevalence, numbers in the size of their errors. The model predicts with the
    truth itself; a weak one ignores that one group of five follows another rule.
    """
    generator = np.random.default_rng(seed)

    def found() -> bool:
        group, x = generator.integers(0, 5, rows), generator.normal(size=rows)
        known = np.array([-3.0, -1.5, 0.0, 1.0, 2.0])[group] + x
        truth = np.where(weak & (group == 3), 1 - 1.5 * x, known)
        seen = _seen((generator.random(rows) < expit(truth)).astype(np.int64), expit(known))
        if "regression" in metric_of(metric).tasks:
            y = np.exp(truth + 0.5 * generator.normal(size=rows) - 0.125)
            seen = _seen(y, np.exp(known))
        frame = pd.DataFrame({"group": group.astype(str), "x": x, "z": generator.normal(size=rows)})
        segments = weakest_segments(frame, list(frame), seen, metric)
        return any(one.clearly_worse for one in segments)

    return _share(found() for _ in range(tables))


# Thresholds.


def gap_error(
    tables: int,
    seed: int,
    *,
    metric: str = "f1",
    share: float = 0.05,
    rows: int = 2_000,
    lost: float = 0.0,
) -> float:
    """Return how often a model is said to be worse on validation than on test.

    It tells the classes apart by 1.2 standard deviations on test, and by `lost` less on
    validation: with 0 it is as good there, and each such finding is an error.
    """
    generator = np.random.default_rng(seed)

    def worse() -> bool:
        seen = []
        for apart in (1.2, 1.2 - lost):
            y = _labels(generator, share, rows)
            logit = apart * y + generator.normal(size=rows) + np.log(share / (1 - share))
            seen.append(_seen(y, expit(logit)))
        return _judged(metric, "binary", seen[1], seen[0], seen[0].y).gap.worse

    return _share(worse() for _ in range(tables))


# What they share.


def _labels(generator: np.random.Generator, share: float, n: int) -> np.ndarray:
    return (generator.random(n) < share).astype(np.int64)


def _seen(y: np.ndarray, prediction: np.ndarray) -> SetPrediction:
    return SetPrediction(y, prediction, np.arange(len(y)))


def _judged(
    metric: str, task: str, validation: SetPrediction, test: SetPrediction, known: np.ndarray
) -> ValidationReport:
    classes = ("no", "yes") if task == "binary" else None
    spec = experiment(metric, task)
    threshold = decision_threshold(spec.metric_names, test.y, test.prediction)
    return judge(
        spec, "simulated", validation, validation, test, known, classes, threshold=threshold
    )


def _accepted(report: Callable[[], ValidationReport], tables: int) -> float:
    return _share(report().accepted for _ in range(tables))


def _share(outcomes: Iterator[bool]) -> float:
    return float(np.mean(list(outcomes)))


def _board(
    spec: ExperimentSpec, y: np.ndarray, probabilities: np.ndarray, y_train: np.ndarray
) -> Leaderboard:
    declared = configurations(spec)
    by_key = dict(zip((one.key for one in declared), probabilities.T, strict=True))
    return rank(
        [
            Conclusion.trained(result_of(one, 0.0, spec, fingerprint=print_of(one.key)))
            for one in declared
        ],
        lambda one: by_key[one.key],
        RankedRows(y, np.arange(len(y)), y_train),
        spec,
        (False, True),
    )


def perfect_and_accused(tables: int, seed: int, *, rows: int = 200) -> float:
    """Return how often the true probabilities are called miscalibrated."""
    generator = np.random.default_rng(seed)

    def accused() -> bool:
        logit = 1.2 * generator.normal(size=rows) - 0.8
        y = (generator.random(rows) < expit(logit)).astype(np.int64)
        return calibrations(_seen(y, expit(logit)), (0, 1))[0].in_doubt

    return _share(accused() for _ in range(tables))


def coverage_of_costs(tables: int, seed: int, *, rows: int = 200, missed: float = 20.0) -> float:
    """Return how often the interval of the cost holds the truth, with 4 % positives."""
    costs, cut = Costs(false_positive=1, false_negative=missed), 1 / (1 + missed)

    def drawn(n: int, *seeds: int) -> SetPrediction:
        generator = np.random.default_rng(seeds)
        logit = 1.5 * generator.normal(size=n) - 4
        return _seen((generator.random(n) < expit(logit)).astype(np.int64), expit(logit))

    truth = cost_interval(costs, drawn(1_000_000, seed), cut).estimate
    found = (cost_interval(costs, drawn(rows, seed, table), cut) for table in range(tables))
    return _share(one.low <= truth <= one.high for one in found)


@dataclass(frozen=True)
class StoppedSearch:
    """When searches end by what they are worth."""

    enough: float  # share of them that would have gained less than was asked in the next minute
    gained: float  # what they would have gained there on average, of what was asked
    fits: float  # how many they made, of those until nothing was truly worth it; the median


# Quantiles of the score of one fit.
SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda share: 0.01 * ndtri(share),
    "exponential": lambda share: -0.005 * np.log(1 - share),
    "bounded": lambda share: 0.05 * np.sqrt(share),
}


def stopped_search(searches: int, seed: int, *, kind: str, most: int = 3_000) -> StoppedSearch:
    """End random searches of 60 fits a minute where a gain of .003 a minute is expected no more."""
    scores = SCORES[kind]
    minute, asked, generator = 60, 0.003, np.random.default_rng(seed)
    of_a_minute = scores(((np.arange(2_000) + 0.5) / 2_000) ** (1 / minute))
    found = []
    for _ in range(searches):
        drawn = scores(generator.random(most + minute))
        best = np.maximum.accumulate(drawn)
        fits = range(20, most)
        ours = next((k for k in fits if expected_gain(drawn[:k], minute).high < asked), most)
        truly = (k for k in fits if np.maximum(of_a_minute - best[k - 1], 0).mean() < asked)
        found.append(((best[ours + minute - 1] - best[ours - 1]) / asked, ours / next(truly, most)))
    gains, ratios = np.array(found).T
    return StoppedSearch(float((gains < 1).mean()), float(gains.mean()), float(np.median(ratios)))
