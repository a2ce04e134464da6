"""Why no configuration is good enough: reasons, each with its number, the surest first.

Whether more train rows still help is read from the rungs of the search. What to search next is
`next_search.py`'s answer. In: a leaderboard and a validation report
whose gate failed. Out: `Reason`s, in this order: what no search can mend (nothing learnt, a
ceiling in the labels, too few rows to be sure), then what was measured on the chosen fit
(drift, underfit, overfit, weak segments), then what the search and the data leave open.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import ExperimentSpec, algorithms
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.notes import cluster_in_words
from experiment_pipeline.stages.search import rungs
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.validation_report.gates import Gate
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.caveats import fewest_clusters, perfect_bound
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import better, worse_bound
from experiment_pipeline.statistics.scores import layout, paired_difference
from experiment_pipeline.statistics.spread import average
from experiment_pipeline.statistics.thresholds import on_test


@dataclass(frozen=True)
class Reason:
    """Something that explains a failed gate: a stable code, a sentence with the numbers, advice."""

    code: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class LearningCurve:
    """What the last step to all train rows brought, on the same test rows.

    Attributes:
        rows_before: train rows of the last rung but one.
        rows: all train rows.
        before: mean score of the ranking metric with `rows_before`.
        after: the same with all.
        gain: after minus before, paired.
        configurations: how many were trained on both.
    """

    rows_before: int
    rows: int
    before: float
    after: float
    gain: Interval
    configurations: int


@dataclass(frozen=True)
class Evidence:
    """What other stages know, where they do.

    Attributes:
        ceiling: the best score of the ranking metric that rows with the same features and
            different labels allow on the train and test rows.
        learning_curve: what more train rows brought.
        train_rows: that train scores are of, for each test row.
    """

    ceiling: float | None = None
    learning_curve: LearningCurve | None = None
    train_rows: float = 1.0


def reasons(
    spec: ExperimentSpec, board: Leaderboard, report: ValidationReport, evidence: Evidence
) -> tuple[Reason, ...]:
    """Return why a gate failed, the surest reason first; none when every gate passed."""
    if report.accepted:
        return ()
    gate = _decisive(spec, report)
    return (
        *_nothing_learnt(board),
        *(() if gate is None else _ceiling(gate, spec, evidence)),
        *(() if gate is None else _sample_size(gate, spec, report)),
        *_measured(report),
        *_fit(gate, spec, board, evidence.train_rows),
        *_weak_segments(report),
        *_left_open(spec, board, evidence.learning_curve),
    )


def families(spec: ExperimentSpec) -> tuple[str, ...]:
    """Return the algorithms of the search that look at features, in the order of the YAML."""
    tried = dict.fromkeys(entry.algorithm for entry in spec.search)
    return tuple(filter(algorithms.competes, tried))


def _decisive(spec: ExperimentSpec, report: ValidationReport) -> Gate | None:
    """The gate to explain: that of the ranking metric, which all the evidence is about.

    None when the model is good enough, and only the champion is better.
    """
    against_champion = None if report.champion is None else report.champion.gate
    failed = [gate for gate in report.failed_gates if gate != against_champion]
    of_metric = [gate for gate in failed if gate.metric == spec.metric]
    return next(iter([*of_metric, *failed]), None)


def _nothing_learnt(board: Leaderboard) -> Iterator[Reason]:
    if not board.beats_baseline:
        yield Reason(
            "nothing_learnt",
            f"No configuration is surely better than predicting without features: {board.metric} "
            f"{numbers.interval(board.score)}, baseline {numbers.score(board.baseline)}.",
            "Look for features that have to do with the target; another search will not help.",
        )


def _ceiling(gate: Gate, spec: ExperimentSpec, evidence: Evidence) -> Iterator[Reason]:
    ceiling, metric = evidence.ceiling, spec.metric
    if ceiling is not None and gate.metric == metric and better(metric, gate.limit, ceiling):
        yield Reason(
            "label_ceiling",
            "Rows with the same features have different labels: on the train and test rows no "
            f"model can do better than {metric} {numbers.score(ceiling)}, the limit is "
            f"{numbers.score(gate.limit)}.",
            "Correct the labels, add features that tell these rows apart, or change the limit.",
        )


def _sample_size(gate: Gate, spec: ExperimentSpec, report: ValidationReport) -> Iterator[Reason]:
    """Too few rows even for a perfect score, or for the one that was reached."""
    if not gate.by_bound or math.isnan(gate.value):
        return
    metric, limit = gate.metric, numbers.score(gate.limit)
    clusters, needed = report.clusters_that_count[metric], fewest_clusters(metric, gate.limit)
    interval = report.score(metric).interval
    if needed is None or needed > clusters:
        enough = "whatever their number" if needed is None else f"with fewer than {needed:,}"
        yield Reason(
            "too_few_validation_rows",
            f"Of {report.rows:,} validation rows {clusters:,} clusters ({cluster_in_words(spec)}) count "
            f"for {metric}: even a perfect score has the bound "
            f"{numbers.score(perfect_bound(metric, clusters))} there; it cannot reach {limit} "
            f"{enough}.",
            "Validate on more rows, or change the limit; no search can mend it.",
        )
    elif better(metric, interval.estimate, gate.limit):
        # The standard error shrinks as 1/√rows.
        reached = interval.estimate
        factor = ((reached - gate.value) / (reached - gate.limit)) ** 2
        more = f"about {math.ceil(factor)} times as many" if math.isfinite(factor) else "many more"
        yield Reason(
            "too_few_validation_rows",
            f"The estimate of {metric}, {numbers.interval(interval)}, meets the limit {limit}; "
            "its bound does not.",
            f"Validate on {more} rows (or groups, or days), or judge by the estimate.",
        )


def _measured(report: ValidationReport) -> Iterator[Reason]:
    held, gap = report.champion, report.gap
    if held is not None and held.scores is not None and not held.gate.passed:
        yield Reason(
            "worse_than_champion",
            f"The champion {held.version} is better on the same {held.scores.rows:,} rows: "
            f"{held.metric} {numbers.score(held.scores.champion)}, this model "
            f"{numbers.score(held.scores.challenger)} (difference "
            f"{numbers.interval(held.scores.difference)}).",
            "Find what the champion's data, features or search had that these lack; where it is "
            "right to replace it all the same, raise not_worse_than_champion.tolerance.",
        )
    if gap.worse:
        same = gap.evaluation == "test_set"
        whose = "The same fit" if same else "The exported model"
        yield Reason(
            "drift",
            f"{whose} scores worse on validation than {evaluated(gap.evaluation).short}: "
            f"{report.metric} "
            f"{numbers.score(gap.validation.estimate)} after {numbers.score(gap.test.estimate)} "
            f"(difference {numbers.interval(gap.difference)}).",
            "Find the features that changed between the sets, retrain on later rows, or drop them.",
        )


def _fit(
    gate: Gate | None, spec: ExperimentSpec, board: Leaderboard, train_rows: float
) -> Iterator[Reason]:
    """Overfit when train beats test by more than chance, else underfit when even train misses the
    limit.

    The variances of two sets' scores add up, each falls with the number of rows: the train score of
    fewer rows is the less sure one. Twice the half width of 95 % is asked for.
    """
    row = board.rows[board.rows["key"] == board.single].iloc[0]
    train, gap = float(row["train_score"]), float(row["overfit_gap"])
    model = "the chosen model" if board.single == board.chosen else "the best model alone"
    if gap > (board.score.high - board.score.low) * math.sqrt(1 + 1 / train_rows):
        yield Reason(
            "overfit",
            f"On its train rows {model} has {spec.metric} {numbers.score(train)}, "
            f"{evaluated(spec.evaluation_name).short} {numbers.score(float(row['test_score']))}: it "
            "has learnt rows by heart.",
            "Regularise more, drop features, or train on more rows.",
        )
    elif gate and gate.metric == spec.metric and better(spec.metric, gate.limit, train):
        yield Reason(
            "underfit",
            f"Even on its own train rows {model} has {spec.metric} "
            f"{numbers.score(train)}, the limit is {numbers.score(gate.limit)}.",
            "Let models be more flexible, and add features.",
        )


def _weak_segments(report: ValidationReport) -> Iterator[Reason]:
    weak = [segment for segment in report.segments if segment.clearly_worse]
    for worst in weak[:1]:
        yield Reason(
            "weak_segment",
            f"The model is clearly weaker where {worst.column} is {worst.value}: {report.metric} "
            f"{numbers.interval(worst.score)} on {worst.rows:,} rows.",
            "Look for features that matter there, or leave these rows to another model.",
        )


def _left_open(
    spec: ExperimentSpec, board: Leaderboard, curve: LearningCurve | None
) -> Iterator[Reason]:
    for edge in board.edges:
        sentence = edge.in_words().partition(";")[0]
        yield Reason("search_edge", f"{sentence}.", f"Search on to {edge.wider:g}.")
    # All train rows are surely better than a part of them.
    if curve is not None and better(spec.metric, worse_bound(spec.metric, curve.gain), 0.0):
        yield Reason(
            "few_train_rows",
            f"More train rows still help: {spec.metric} {numbers.score(curve.before)} with "
            f"{curve.rows_before:,} rows, {numbers.score(curve.after)} with {curve.rows:,} on the "
            f"same test rows (difference {numbers.interval(curve.gain)}, mean of "
            f"{numbers.counted(curve.configurations, 'configuration')}).",
            "Collect more rows of the same kind.",
        )
    tried = families(spec)
    tied = board.rows.loc[board.rows["in_tie_group"], "algorithm"]
    if len(tried) == 1:
        yield Reason(
            "one_family", f"Only {tried[0]} was tried.", "Try an algorithm of another family."
        )
    elif tried and set(tried) <= set(tied):
        yield Reason(
            "families_agree",
            f"Algorithms as different as {', '.join(tried[:-1])} and {tried[-1]} reach the same "
            f"{spec.metric}: what they share, the features, sets the limit.",
            "Add or improve features before searching on.",
        )


# A step that shows something: twice the rows at least.
_LARGEST_PART = 0.5
Predictions = Callable[[Sequence[str]], Mapping[str, np.ndarray]]


def learning_curve(
    spec: ExperimentSpec, sets: TrainingSets, trained: Collection[str], stored: Predictions
) -> LearningCurve | None:
    """Return what the train rows beyond the last rung brought; None where no rung was small.

    The mean over all configurations that went from that rung to the end: they were chosen by
    their scores at the rung, so chance makes the gain look smaller, never larger.

    Args:
        spec: the experiment.
        sets: the full sets.
        trained: keys of the configurations that were trained on all rows.
        stored: fingerprints → predictions of the test rows (of the rung) that exist.
    """
    candidates = rungs.within_budget(configurations(spec), spec)
    competing = [one for one in candidates if rungs.competes(one)]
    *small, full = rungs.ladder(len(competing), sets, spec).rungs
    small = [rung for rung in small if rung.fraction <= _LARGEST_PART]
    if not small:
        return None
    rung = small[-1]
    pairs = [
        (fingerprint(one, rung.sets, spec), fingerprint(one, full.sets, spec))
        for one in competing
        if one.key in trained
    ]
    found = stored([print_ for pair in pairs for print_ in pair])
    both = [pair for pair in pairs if set(pair) <= found.keys()]
    if not both:
        return None
    scored = sets.test.index.isin(rung.sets.test.index)
    y = rung.sets.y_test
    weights, metrics = rung.sets.w_test, spec.metric_names
    before = average([on_test(metrics, y, found[part], weights) for part, _ in both])
    after = average([on_test(metrics, y, found[whole][scored], weights) for _, whole in both])
    clusters = rung.sets.test_clusters(spec)
    return LearningCurve(
        rows_before=len(rung.sets.train),
        rows=len(sets.train),
        before=before.estimate,
        after=after.estimate,
        gain=paired_difference(before, after, layout(spec.metric, y, clusters, weights)),
        configurations=len(both),
    )
