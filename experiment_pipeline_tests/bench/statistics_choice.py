"""Is the choice honest? Simulations with the truth known: gates, ties, differences,
thresholds.

Each makes small tables and asks the code that decides in a run. Most look at one table,
by a generator; `repeated` makes of that a share of many.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.special import expit, logit, ndtri

from experiment_pipeline.spec import Costs, ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, rank
from experiment_pipeline.stages.leaderboard.ranking import (
    Measured,
    RankedRows,
    order,
)
from experiment_pipeline.stages.leaderboard.scored import (
    NOTHING_EARLIER,
    EarlierScores,
    ScoreLedger,
)
from experiment_pipeline.stages.search.conclusions import Conclusion
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validation_report import gates
from experiment_pipeline.stages.validation_report.effects import weakest_segments
from experiment_pipeline.stages.validation_report.judged_model import MetricScore
from experiment_pipeline.stages.validation_report.ledger import (
    LEAST_OVERLAP,
    EarlierLooks,
)
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.calibration import calibrations
from experiment_pipeline.statistics.comparisons import Drawn, compare_with_best
from experiment_pipeline.statistics.interval import (
    LEVEL,
    Interval,
    Linearised,
    cluster_sums,
    level_of_comparison,
)
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import (
    SetPrediction,
    best_constant,
    difference_to_baseline,
    paired_difference,
    score,
)
from experiment_pipeline.statistics.scores import layout as scores_layout
from experiment_pipeline.statistics.thresholds import (
    cost_interval,
    decision_threshold,
    saved_interval,
    threshold_value,
)
from experiment_pipeline.storage.files import location
from experiment_pipeline_tests.bench.statistics_coverage import OWN
from experiment_pipeline_tests.bench.statistics_rows import (
    BY_LUCK,
    COVERED,
    NEARLY_ALWAYS,
    SEED,
    Aim,
    Row,
    each,
    means,
    repeated,
    rows_of,
)
from experiment_pipeline_tests.bench.tables import spec_of
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import result_of
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    AT_HALF,
    judged,
    report_of,
)

# Rows whose scores are taken for the truth.
_TRUTH_ROWS = 200_000
_Generator = np.random.Generator


def experiment(
    metric: str, task: str, count: int = 1, **more: object
) -> ExperimentSpec:
    """Return an experiment that ranks by a metric, with so many configurations."""
    sizes = {"num_leaves": [4 + number for number in range(count)]}
    search = [{"algorithm": "lightgbm", "hyperparameters": sizes}]
    return spec_of(task, metric, search=search, **more)


# The default gate.


@repeated
def coin_flips_pass(
    generator: _Generator,
    *,
    metric: str = "accuracy",
    share: float = 0.5,
    rows: int = 500,
) -> bool:
    """Whether a model passes that draws its probabilities at random."""
    y = [_labels(generator, share, n) for n in (3 * rows, rows, rows)]
    test, validation = (apart(one, generator.random(len(one))) for one in y[1:])
    return report(metric, "binary", validation, test, np.concatenate(y[:2])).accepted


@repeated
def constant_passes(
    generator: _Generator,
    *,
    metric: str = "log_loss",
    rows: int = 500,
    learnt: float = 1.0,
) -> bool:
    """Whether a model passes that predicts one value, the best for what it was fitted
    on.

    The median for mae and mape, the shares of the classes for losses. A model that has
    learnt from all known rows is the baseline itself; one that has learnt from a share
    of them, as with an early-stopping set held out, is another constant.
    """
    regression = "regression" in metric_of(metric).tasks
    task = "regression" if regression else "binary"
    y = [
        generator.lognormal(size=n) if regression else _labels(generator, 0.5, n)
        for n in (3 * rows, rows, rows)
    ]
    known = np.concatenate(y[:2])
    said = best_constant(metric, known[: round(learnt * len(known))], task)
    test, validation = (apart(one, np.full(len(one), said)) for one in y[1:])
    return report(metric, task, validation, test, known).accepted


@repeated
def weak_signal_passes(generator: _Generator, *, metric: str) -> bool:
    """Whether a model passes that explains a small part of a number's variance."""
    r2, rows, y, seen = 0.05, 1_000, [], []
    for n in (3 * rows, rows, rows):
        signal = np.sqrt(r2) * generator.normal(size=n)
        y.append(signal + np.sqrt(1 - r2) * generator.normal(size=n))
        seen.append(apart(y[-1], signal))
    return report(
        metric, "regression", seen[2], seen[1], np.concatenate(y[:2])
    ).accepted


_FLIPS = {
    "coin flips, 50 % positives: pass accuracy": {"metric": "accuracy"},
    "coin flips, 30 % positives: pass {metric}": {"metric": [*OWN], "share": 0.3},
    "coin flips, 5 % positives: pass f1": {"metric": "f1", "share": 0.05},
}
_CONSTANTS = {
    "the best constant passes {metric}": {"metric": ["log_loss", "mae", "mape"]},
    "a constant learnt from 85 % of the rows passes log_loss": {"learnt": 0.85},
}
_WEAK = {"R² = .05 on 1,000 rows passes {metric}": {"metric": ["rmse", "r2"]}}
GATES = (
    *each(BY_LUCK, 2_000, coin_flips_pass, _FLIPS),
    *each(BY_LUCK, 2_000, constant_passes, _CONSTANTS),
    *each(Aim(low=0.93), 2_000, weak_signal_passes, _WEAK),
)


# Many looks at the same rows.


@repeated
def any_look_passes(generator: _Generator, *, fresh: float = 0.0) -> bool:
    """Whether any of several models passes that know nothing, judged on the same rows.

    Between two looks a share of the rows is replaced by `fresh` ones.
    """
    spec, looks, rows = experiment("roc_auc", "binary"), 30, 500
    shared = [max(0.0, 1 - fresh * age) for age in range(1, looks)]
    y = _labels(generator, 0.3, rows)
    for look in range(looks):
        new = round(fresh * rows)
        y = np.concatenate([y[new:], _labels(generator, 0.3, new)])
        counted = [share for share in shared[:look] if share >= LEAST_OVERLAP]
        level = EarlierLooks(
            len(counted), max(counted, default=0.0), sum(counted)
        ).level
        seen = apart(y, generator.random(rows))
        better = difference_to_baseline("roc_auc", seen, np.asarray(0.3), level=level)
        score = MetricScore(
            "roc_auc", seen.interval("roc_auc", level=level), 0.5, better
        )
        if all(gate.passed for gate in gates.score_gates(spec, [score])):
            return True
    return False


@repeated
def auc_after_challengers(
    generator: _Generator,
    *,
    rows: int,
    lost: float = 0.005,
    anchored: bool = True,
    positives: float = 0.5,
    alike: float = 0.8,
) -> float:
    """Return the true AUC of the champion after 30 challengers, each a little worse
    than it.

    The first one has 0.8. Predictions of two models on the same rows have the
    correlation `alike` within a class. Without `anchored` only the champion is compared
    with.
    """
    y = (np.arange(rows) < positives * rows) * 1
    shared = generator.normal(size=rows)

    def seen(auc: float) -> SetPrediction:
        own = np.sqrt(alike) * shared
        own += np.sqrt(1 - alike) * generator.normal(size=rows)
        return apart(y, expit(np.sqrt(2) * ndtri(auc) * y + own))

    versions = {"v0": (0.8, seen(0.8))}
    champion = best = "v0"
    for look in range(1, 31):
        auc = versions[champion][0] - lost
        challenger, level = seen(auc), EarlierLooks(look, 1.0, look).level
        held = [
            gates.ChampionComparison(
                version=version,
                metric="roc_auc",
                tolerance=0.0,
                role=role,
                scores=gates.compare(
                    "roc_auc", versions[version][1], challenger, (0.5, 0.5), level
                ),
            )
            for version, role in ((best, "best"), (champion, "champion"))
            if role == "champion" or anchored
        ]
        if all(one.gate.passed for one in held):
            champion = f"v{look}"
            versions[champion] = auc, challenger
            best = gates.best_after(held) or champion
    return versions[champion][0]


_NEW = {"the same, a fifth of the rows new at each look": {"fresh": 0.2}}
_AUC = "AUC after 30 challengers, {rows:,} rows"
_ALONE = {
    f"{_AUC}, without the best version": {
        "rows": [300, 1_000, 5_000],
        "anchored": False,
    }
}
_HARDER = {
    f"{_AUC}, {{positives}} of them positive, correlation {{alike}}": {
        "rows": [300, 1_000],
        "positives": 0.2,
        "alike": 0.6,
    }
}
LOOKS = (
    *each(
        Aim(high=0.05),
        400,
        any_look_passes,
        {"one of 30 models that know nothing passes on the same rows": {}},
    ),
    *each(None, 400, any_look_passes, _NEW),
    *each(Aim(low=0.74), 40, auc_after_challengers, {_AUC: {"rows": 300}}),
    *each(Aim(low=0.76), 40, auc_after_challengers, {_AUC: {"rows": 1_000}}),
    *each(Aim(low=0.78), 40, auc_after_challengers, {_AUC: {"rows": 5_000}}),
    *each(Aim(low=0.7), 40, auc_after_challengers, _HARDER),
    *each(None, 40, auc_after_challengers, _ALONE),
)


# The best of many.


def best_of_many(*, simulations: int, rows: int = 500) -> list[Row]:
    """Rank 20 correlated configurations, eight of them equal; compare with the best and
    the truth.
    """
    spec = experiment("brier", "binary", len(NOISE))
    truth = -np.array([true_brier(one) for one in NOISE])

    def once(generator: _Generator) -> tuple[float, ...]:
        y, probabilities = correlated(generator, rows)
        sign, clusters = metric_of(spec.metric).sign, np.arange(rows)
        linearised = [apart(y, one).linearise(spec.metric) for one in probabilities.T]
        scores = sign * np.array([one.estimate for one in linearised])
        sums = [cluster_sums(one.influence, clusters) for one in linearised]
        found = compare_with_best(
            scores, sign * np.column_stack(sums), Drawn(spec.seed)
        )
        inside = (found.low <= truth - truth.max()) & (
            truth - truth.max() <= found.high
        )
        best = int(scores.argmax())
        ahead = float(scores[best] - truth[best])
        tied = found.tied
        return (
            tied[int(truth.argmax())],
            inside.all(),
            tied.mean(),
            ahead,
            found.optimism,
        )

    held, covered, tied, ahead, said = means(once, simulations, SEED).tolist()
    figures = {
        "the tie group holds the truly best": (held, NEARLY_ALWAYS),
        "all differences to the truly best are covered": (covered, NEARLY_ALWAYS),
        "configurations in the tie group": (tied, None),
        "optimism that is said, of the true one": (said / ahead, HONEST),
    }
    return rows_of("", simulations, figures)


def chosen(name: str, *, simulations: int, metric: str, **more: object) -> list[Row]:
    """Rank the 20 on 150 rows, and score the choice on many more."""
    rows, spec = 150, experiment(metric, "binary", len(NOISE), **more)
    keys = [configuration.key for configuration in configurations(spec)]

    def once(generator: _Generator) -> tuple[bool, float]:
        y, seen = correlated(generator, rows + 20_000)
        board = _board(spec, y[:rows], seen[:rows], _labels(generator, y.mean(), 900))
        weights, ensemble = {board.chosen: 1.0}, board.chosen_ensemble
        if ensemble is not None:
            weights = {
                member.configuration.key: member.weight for member in ensemble.members
            }
        mean = seen @ np.array([weights.get(key, 0.0) for key in keys])
        on_test, new = mean[:rows], mean[rows:]
        if ensemble is not None:
            known = {
                print_of(key): seen[:rows, place] for place, key in enumerate(keys)
            }
            on_test = ensemble.cross_fitted(
                known.__getitem__, y[:rows], np.arange(rows)
            )
        cut = threshold_value(decision_threshold(spec.metric_names, y[:rows], on_test))
        truth, told = score(metric, y[rows:], new, cut), board.score
        ahead = metric_of(metric).sign * (told.estimate - truth)
        return told.low <= truth <= told.high, ahead

    covered, ahead = means(once, simulations, SEED).tolist()
    figures = {
        "its interval holds the truth": (covered, Aim(low=0.93)),
        "the score is ahead of the truth by": (ahead, None),
    }
    return rows_of(f"{name}: ", simulations, figures)


@repeated
def noise_beats_the_baseline(generator: _Generator) -> bool:
    """Whether `winner_beats_baseline` passes with 20 configurations that know
    nothing.
    """
    count, rows = 20, 500
    spec, y = experiment("f1", "binary", count), _labels(generator, 0.2, rows)
    shared = generator.normal(size=(rows, 1))
    noise = 0.5 * (generator.normal(size=(rows, count)) + shared)
    board = _board(spec, y, expit(noise - 1.4), _labels(generator, 0.2, 3 * rows))
    return board.beats_baseline


HONEST = Aim(0.75, 1.25)
# Of the 20 configurations: the less, the better.
NOISE = np.concatenate([np.full(8, 0.6), np.linspace(0.6, 2.0, 13)[1:]])


@repeated
def kept_of_explorations(
    generator: _Generator,
    *,
    explorations: int = 100,
    rows: int = 200,
    greedy: bool = False,
    corrected: bool = True,
) -> bool:
    """Whether the leaderboard's interval holds the true error of the best of many
    explorations, each of which adds ten columns of noise to the one feature that knows
    something.

    A greedy agent keeps the columns of its best, and adds to them. Without
    `corrected` the interval is that of the best alone, as of a score that nobody has
    picked.
    """
    x = generator.normal(size=(4 * rows, 1))
    y = x[:, 0] / 2 + generator.normal(size=4 * rows)
    test = slice(3 * rows, None)
    spec = experiment("rmse", "regression")
    declared = configurations(spec)[0]
    truth: dict[str, float] = {}
    measured: dict[str, Measured] = {}
    predictions: dict[str, np.ndarray] = {}
    ranked = RankedRows(
        spec,
        lambda result: predictions[result.fingerprint],
        y[test],
        np.arange(rows),
        y[: 3 * rows],
    )
    columns = x
    kept: Measured | None = None
    for number in range(explorations):
        table = np.column_stack([columns, generator.normal(size=(4 * rows, 10))])
        weights = np.linalg.lstsq(table[: 3 * rows], y[: 3 * rows], rcond=None)[0]
        error = weights - np.array([0.5] + (table.shape[1] - 1) * [0.0])
        fingerprint = print_of(f"exploration {number}")
        truth[fingerprint] = math.sqrt(1 + float(error @ error))
        predictions[fingerprint] = table[test] @ weights
        result = result_of(declared, 0.0, spec, fingerprint=fingerprint)
        model = ranked.measured(result, predictions[fingerprint])
        measured[fingerprint] = model
        if kept is None or model.score.estimate < kept.score.estimate:
            kept = model
            columns = table if greedy else x
    assert kept is not None
    earlier = NOTHING_EARLIER
    if corrected:
        earlier = entered(spec, ranked, y[test], measured, kept)
        assert earlier.configurations == explorations - 1
    interval = order([kept], ranked, earlier).entries[0].score
    return interval.low <= truth[kept.result.fingerprint] <= interval.high


@repeated
def chain_is_covered(
    generator: _Generator, *, explorations: int = 50, corrected: bool = True
) -> bool:
    """Whether the interval of each paired difference of a chain holds the true one.

    Each exploration adds a column of noise to those kept; the user keeps what looks
    better. Without `corrected` each interval is one for itself alone.
    """
    rows = 200
    test = slice(3 * rows, None)
    columns = generator.normal(size=(4 * rows, 1))
    y = columns[:, 0] / 2 + generator.normal(size=4 * rows)
    layout = scores_layout("rmse", y[test], np.arange(rows))

    def fitted(table: np.ndarray) -> tuple[Linearised, float]:
        """The score on the test rows, and the true error."""
        weights = np.linalg.lstsq(table[: 3 * rows], y[: 3 * rows], rcond=None)[0]
        error = weights - np.array([0.5] + (table.shape[1] - 1) * [0.0])
        predicted = apart(y[test], table[test] @ weights)
        return predicted.linearise("rmse"), math.sqrt(1 + float(error @ error))

    kept, kept_truth = fitted(columns)
    for number in range(1, explorations):
        table = np.column_stack([columns, generator.normal(size=4 * rows)])
        score, truth = fitted(table)
        level = level_of_comparison(number) if corrected else LEVEL
        change = paired_difference(kept, score, layout, level)
        if not change.low <= truth - kept_truth <= change.high:
            return False
        if change.estimate < 0:
            kept, kept_truth, columns = score, truth, table
    return True


@repeated
def gain_is_shown(
    generator: _Generator, *, exploration: int, gain: float, corrected: bool = True
) -> bool:
    """Whether a column that truly helps is called better at one exploration.

    `gain`: how many standard deviations of the error it moves the target.
    """
    rows = 200
    test = slice(3 * rows, None)
    columns = generator.normal(size=(4 * rows, 2))
    y = columns @ np.array([0.5, gain]) + generator.normal(size=4 * rows)
    layout = scores_layout("rmse", y[test], np.arange(rows))

    def fitted(table: np.ndarray) -> Linearised:
        weights = np.linalg.lstsq(table[: 3 * rows], y[: 3 * rows], rcond=None)[0]
        return apart(y[test], table[test] @ weights).linearise("rmse")

    level = level_of_comparison(exploration - 1) if corrected else LEVEL
    before, after = fitted(columns[:, :1]), fitted(columns)
    return paired_difference(before, after, layout, level).high < 0


def entered(
    spec: ExperimentSpec,
    ranked: RankedRows,
    y: np.ndarray,
    measured: Mapping[str, Measured],
    kept: Measured,
) -> EarlierScores:
    """Enter all models into a ledger of scores; return those beside the kept one."""
    with TemporaryDirectory() as folder:
        ledger = ScoreLedger(location(folder), spec.name)
        scored = ledger.on(pd.Series(y), ranked.groups, spec.metric)
        known = {name: model.score.estimate for name, model in measured.items()}
        columns = [model.in_ledger for model in measured.values()]
        scored.enter(known, np.column_stack(columns))
        chosen = {kept.result.fingerprint: kept.score.estimate}
        return scored.enter(chosen, kept.in_ledger[:, None])


@repeated
def explored_noise_passes(
    generator: _Generator, *, explorations: int = 100, rows: int = 200
) -> bool:
    """Whether the gates accept the best of many explorations, each of which tries ten
    columns of noise on a target that nothing explains.
    """
    y = generator.normal(size=5 * rows)
    train, test = slice(3 * rows), slice(3 * rows, 4 * rows)
    validation = slice(4 * rows, None)
    kept, least = np.empty(0), math.inf
    for _ in range(explorations):
        noise = generator.normal(size=(5 * rows, 10))
        weights = np.linalg.lstsq(noise[train], y[train], rcond=None)[0]
        predicted = noise @ weights
        error = float(np.mean((y[test] - predicted[test]) ** 2))
        if error < least:
            kept, least = predicted, error
    return report(
        "rmse",
        "regression",
        apart(y[validation], kept[validation]),
        apart(y[test], kept[test]),
        y[: 4 * rows],
    ).accepted


def print_of(key: str) -> str:
    """Return a fingerprint of its own for each configuration: an ensemble takes each
    model once.
    """
    return key.encode().hex().zfill(64)


def correlated(
    generator: _Generator, rows: int, noise: np.ndarray = NOISE
) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities (rows, C): one signal, seen through noise of
    their own.
    """
    signal = generator.normal(size=(rows, 1))
    y = (generator.random(rows) < expit(signal[:, 0])).astype(np.int64)
    return y, expit(signal + noise * generator.normal(size=(rows, len(noise))))


def true_brier(noise: float) -> float:
    """Return the Brier score that predictions through such noise have on
    endless rows.
    """
    y, probabilities = correlated(
        np.random.default_rng(0), _TRUTH_ROWS, np.array([noise])
    )
    return score("brier", y, probabilities[:, 0])


# The report.


@repeated
def accused(
    generator: _Generator, *, metric: str, weak: bool = False, rows: int = 2_000
) -> bool:
    """Whether a segment is called weaker than expected.

    Groups differ in prevalence, numbers in the size of their errors. The model predicts
    with the truth itself; a weak one ignores that one group of five follows another
    rule.
    """
    group, x = generator.integers(0, 5, rows), generator.normal(size=rows)
    known = np.array([-3.0, -1.5, 0.0, 1.0, 2.0])[group] + x
    truth = np.where(weak & (group == 3), 1 - 1.5 * x, known)
    task = "binary"
    seen = apart((generator.random(rows) < expit(truth)).astype(np.int64), expit(known))
    if "regression" in metric_of(metric).tasks:
        task = "regression"
        seen = apart(
            np.exp(truth + 0.5 * generator.normal(size=rows) - 0.125), np.exp(known)
        )
    frame = pd.DataFrame(
        {"group": group.astype(str), "x": x, "z": generator.normal(size=rows)}
    )
    model = judged(
        experiment(metric, task), seen, AT_HALF, rows=frame, features=tuple(frame)
    )
    segments = weakest_segments(model)
    assert segments
    return any(segment.clearly_worse for segment in segments)


@repeated
def said_to_be_worse(generator: _Generator, *, lost: float = 0.0) -> bool:
    """Whether a model is said to be worse by f1 on validation than on test; 5 % are
    positive.

    It tells the classes apart by 1.2 standard deviations on test, and by `lost` less on
    validation: with 0 it is as good there, and each such finding is an error.
    """
    share, rows, seen = 0.05, 2_000, []
    for distance in (1.2, 1.2 - lost):
        y = _labels(generator, share, rows)
        logit = distance * y + generator.normal(size=rows) + np.log(share / (1 - share))
        seen.append(apart(y, expit(logit)))
    return report("f1", "binary", seen[1], seen[0], seen[0].y).gap.worse


@repeated
def perfect_and_accused(generator: _Generator, *, rows: int = 200) -> bool:
    """Whether the true probabilities are called miscalibrated."""
    logit = 1.2 * generator.normal(size=rows) - 0.8
    y = (generator.random(rows) < expit(logit)).astype(np.int64)
    return calibrations(apart(y, expit(logit)), (0, 1))[0].in_doubt


def _decided_rows(n: int, centre: float, *seeds: int) -> SetPrediction:
    """Rows with their true probabilities; with a centre of -4 4 % are positive."""
    generator = np.random.default_rng(seeds)
    logit = 1.5 * generator.normal(size=n) + centre
    return apart((generator.random(n) < expit(logit)).astype(np.int64), expit(logit))


def _coverage(
    interval: Callable[[SetPrediction], Interval],
    tables: int,
    seed: int,
    rows: int,
    centre: float,
) -> float:
    """Return how often the interval of so many rows holds the value of a million."""
    truth = interval(_decided_rows(1_000_000, centre, seed)).estimate
    intervals = [
        interval(_decided_rows(rows, centre, seed, table)) for table in range(tables)
    ]
    return float(np.mean([found.low <= truth <= found.high for found in intervals]))


def coverage_of_costs(
    tables: int, seed: int, *, rows: int = 200, missed: float = 20.0
) -> float:
    """Return how often the interval of the cost holds the truth, with 4 % positives."""
    costs = Costs(false_positive=1, false_negative=missed)
    cut = 1 / (1 + missed)
    interval = partial(cost_interval, costs, cut=cut)
    return _coverage(interval, tables, seed, rows, -4.0)


def coverage_of_worth(
    tables: int,
    seed: int,
    *,
    against: str = "nothing",
    rows: int = 200,
    gain: float = 40.0,
    centre: float = -4.0,
) -> float:
    """Return how often the interval of what a model saves holds the truth, where a
    found positive row brings `gain` and a false alarm costs 2.
    """
    costs = Costs(false_positive=2, true_positive=-gain)

    def interval(drawn: SetPrediction) -> Interval:
        instead = np.full(len(drawn.y), against == "all")
        if against == "a rule":  # blurred
            noise = np.random.default_rng(seed).normal(size=len(drawn.y))
            instead = logit(drawn.prediction) + noise >= logit(2 / (2 + gain))
        return saved_interval(costs, drawn, 2 / (2 + gain), instead)

    return _coverage(interval, tables, seed, rows, centre)


_WEAKER = {
    "a perfect model is called weak in a segment, by {metric}": {
        "metric": ["roc_auc", "log_loss", "f1", "mae", "r2"]
    }
}
_NAMED = {
    "a weak segment of 400 rows is named, by {metric}": {
        "metric": ["roc_auc", "log_loss", "mae"],
        "weak": True,
    }
}
_HOW = {
    "with an ensemble": {},
    "without": {"ensemble": "off"},
    "the smallest": {"ensemble": "off", "choice": "smallest_in_tie_group"},
}
CHOICE = (
    partial(best_of_many, simulations=500),
    *(
        partial(
            chosen,
            f"the choice of 20 on 150 rows, {metric}, {how}",
            simulations=300,
            metric=metric,
            **more,
        )
        for metric in ("f1", "roc_auc")
        for how, more in _HOW.items()
    ),
    *each(BY_LUCK, 300, accused, _WEAKER),
    *each(Aim(low=0.9), 100, accused, _NAMED),
    *each(
        Aim(low=0.93),
        300,
        kept_of_explorations,
        {
            "{explorations} explorations, the best kept: the interval holds the truth": {
                "explorations": [10, 100, 200]
            },
        },
    ),
    *each(
        None,
        300,
        kept_of_explorations,
        {
            "{explorations} explorations, the best one's own interval": {
                "explorations": [10, 100, 200],
                "corrected": False,
            },
            "a greedy agent that sees all scores, {explorations} explorations": {
                "explorations": [10, 50],
                "greedy": True,
            },
            "the same, the best one's own interval": {
                "explorations": 50,
                "greedy": True,
                "corrected": False,
            },
        },
    ),
    *each(
        Aim(low=0.93),
        300,
        chain_is_covered,
        {
            "a greedy chain of {explorations} explorations: all differences are covered": {
                "explorations": [10, 50]
            }
        },
    ),
    *each(
        None,
        300,
        chain_is_covered,
        {
            "the same of {explorations}, each interval for itself": {
                "explorations": [10, 50],
                "corrected": False,
            }
        },
    ),
    *each(
        None,
        1_000,
        gain_is_shown,
        {
            "a true gain of {gain} is shown at exploration {exploration}": {
                "exploration": [2, 10, 50],
                "gain": [0.3, 0.5],
            },
            "the same gain of {gain}, its interval for itself": {
                "exploration": 2,
                "gain": [0.3, 0.5],
                "corrected": False,
            },
        },
    ),
    *each(
        BY_LUCK,
        1_000,
        explored_noise_passes,
        {
            "the best of {explorations} explorations of noise passes rmse": {
                "explorations": [1, 100]
            }
        },
    ),
    *each(
        BY_LUCK,
        400,
        noise_beats_the_baseline,
        {"the best of 20 that know nothing beats the baseline by f1": {}},
    ),
    *each(
        BY_LUCK,
        2_000,
        said_to_be_worse,
        {"as good on validation as on test, said to be worse by f1": {}},
    ),
    *each(
        Aim(low=0.8),
        400,
        said_to_be_worse,
        {"much worse, said to be so by f1": {"lost": 0.9}},
    ),
    *each(
        Aim(high=0.06),
        2_000,
        perfect_and_accused,
        {"perfect probabilities of 200 rows, called miscalibrated": {}},
    ),
    *each(
        COVERED,
        2_000,
        coverage_of_costs,
        {"costs at 1 to 20, 8 positives: the interval holds the truth": {}},
    ),
    *each(
        Aim(low=0.93),
        1_000,
        coverage_of_worth,
        {
            "worth against calling {against}, {rows} rows, mean logit {centre}: the "
            "interval holds the truth": {
                "against": ["nothing", "all", "a rule"],
                "rows": [200, 1_000],
                "centre": [-4.0, -1.5],
            }
        },
    ),
)


# What they share.


def _labels(generator: _Generator, share: float, n: int) -> np.ndarray:
    return (generator.random(n) < share).astype(np.int64)


def report(
    metric: str,
    task: str,
    validation: SetPrediction,
    test: SetPrediction,
    known: np.ndarray,
) -> ValidationReport:
    classes = ("no", "yes") if task == "binary" else None
    spec = experiment(metric, task)
    return report_of(spec, validation, test, y_fitted=known, classes=classes)


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
        RankedRows(
            spec,
            lambda result: by_key[result.key],
            y,
            np.arange(len(y)),
            y_train,
            n_classes=2,
        ),
    )
