"""Why no configuration is good enough: reasons, each with its number, the surest first.

What to search next is `next_search.py`'s answer. In: a leaderboard and a validation report
whose gate failed. Out: `Reason`s, in this order: what no search can mend (nothing learnt, a
ceiling in the labels, too few rows to be sure), then what was measured on the chosen fit
(drift, underfit, overfit, weak segments), then what the search and the data leave open.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiment_pipeline.core.gates import Gate
from experiment_pipeline.core.leaderboard import Leaderboard
from experiment_pipeline.core.metrics import better, shown
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.validation_report import ValidationReport


@dataclass(frozen=True)
class Reason:
    """Something that explains a failed gate.

    Attributes:
        code: stable name.
        evidence: a sentence with the numbers.
        advice: what to do about it.
    """

    code: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class LearningPoint:
    """What a number of train rows led to.

    Attributes:
        rows: train rows.
        score: of the ranking metric on the test set.
    """

    rows: int
    score: float


@dataclass(frozen=True)
class Evidence:
    """What other stages know, where they do.

    Attributes:
        ceiling: the best score of the ranking metric that rows with the same features and
            different labels allow.
        learning_curve: more rows, other scores; in order of rows.
    """

    ceiling: float | None = None
    learning_curve: tuple[LearningPoint, ...] = ()


def reasons(
    spec: ExperimentSpec,
    board: Leaderboard,
    report: ValidationReport,
    evidence: Evidence,
) -> tuple[Reason, ...]:
    """Return the reasons, the surest first; none when every gate passed.

    Args:
        spec: the experiment.
        board: of the search.
        report: of its choice.
        evidence: from other stages.
    """
    if report.accepted:
        return ()
    gate = _decisive(spec, report.failed_gates)
    return (
        *_nothing_learnt(board),
        *_ceiling(gate, spec, evidence),
        *_uncertainty(gate, report),
        *_drift(report),
        *_fit(gate, spec, board),
        *_weak_segments(report),
        *_edges(board),
        *_more_rows(spec, evidence),
        *_families(spec, board),
    )


def families(spec: ExperimentSpec) -> tuple[str, ...]:
    """Return the algorithms of the search that look at features, in the order of the YAML."""
    tried = dict.fromkeys(entry.algorithm for entry in spec.search)
    return tuple(name for name in tried if name != "dummy")


def _decisive(spec: ExperimentSpec, failed: Sequence[Gate]) -> Gate:
    """The gate to explain: that of the ranking metric, which all the evidence is about."""
    return next((gate for gate in failed if gate.metric == spec.metric), failed[0])


def _nothing_learnt(board: Leaderboard) -> Iterator[Reason]:
    if not board.beats_baseline:
        yield Reason(
            "nothing_learnt",
            f"No configuration is surely better than predicting without features: {board.metric} "
            f"{board.score.in_words()}, baseline {shown(board.baseline)}.",
            "Look for features that have to do with the target; another search will not help.",
        )


def _ceiling(gate: Gate, spec: ExperimentSpec, evidence: Evidence) -> Iterator[Reason]:
    ceiling = evidence.ceiling
    if (
        ceiling is None
        or gate.metric != spec.metric
        or not better(gate.metric, gate.limit, ceiling)
    ):
        return
    yield Reason(
        "label_ceiling",
        f"Rows with the same features have different labels: no model can exceed {spec.metric} "
        f"{shown(ceiling)}, the limit is {shown(gate.limit)}.",
        "Correct the labels, add features that tell these rows apart, or change the limit.",
    )


def _uncertainty(gate: Gate, report: ValidationReport) -> Iterator[Reason]:
    """The estimate is good enough, its bound is not: the standard error shrinks as 1/√rows."""
    interval = report.score(gate.metric).interval
    estimate = interval.estimate
    if not gate.by_bound or not better(gate.metric, estimate, gate.limit):
        return
    factor = ((estimate - gate.value) / (estimate - gate.limit)) ** 2
    more = f"about {math.ceil(factor)} times as many" if math.isfinite(factor) else "many more"
    yield Reason(
        "too_few_validation_rows",
        f"The estimate of {gate.metric}, {interval.in_words()}, meets the limit "
        f"{shown(gate.limit)}; its bound does not.",
        f"Validate on {more} rows (or groups, or days), or judge by the estimate.",
    )


def _drift(report: ValidationReport) -> Iterator[Reason]:
    gap = report.gap
    if gap.worse:
        yield Reason(
            "drift",
            f"The same fit scores worse on validation than on test: {report.metric} "
            f"{shown(gap.validation.estimate)} after {shown(gap.test.estimate)} (difference "
            f"{gap.difference.in_words()}).",
            "Find the features that changed between the sets, retrain on later rows, or drop them.",
        )


def _fit(gate: Gate, spec: ExperimentSpec, board: Leaderboard) -> Iterator[Reason]:
    """Overfit when train beats test by more than the interval's width, else underfit when even
    train misses the limit.
    """
    row = board.rows[board.rows["key"] == board.chosen].iloc[0]
    train, gap = float(row["train_score"]), float(row["overfit_gap"])
    if gap > board.score.high - board.score.low:
        yield Reason(
            "overfit",
            f"On its train rows the chosen model has {spec.metric} {shown(train)}, on test "
            f"{shown(board.score.estimate)}: it has learnt rows by heart.",
            "Regularise more, drop features, or train on more rows.",
        )
    elif gate.metric == spec.metric and better(spec.metric, gate.limit, train):
        yield Reason(
            "underfit",
            f"Even on its own train rows the chosen model has {spec.metric} {shown(train)}, the "
            f"limit is {shown(gate.limit)}.",
            "Let models be more flexible, and add features.",
        )


def _weak_segments(report: ValidationReport) -> Iterator[Reason]:
    weak = [segment for segment in report.segments if segment.clearly_worse]
    if weak:
        worst = weak[0]
        yield Reason(
            "weak_segment",
            f"The model is clearly weaker where {worst.column} is {worst.value}: {report.metric} "
            f"{worst.score.in_words()} on {worst.rows:,} rows.",
            "Look for features that matter there, or leave these rows to another model.",
        )


def _edges(board: Leaderboard) -> Iterator[Reason]:
    for edge in board.edges:
        sentence = edge.in_words().partition(";")[0]
        yield Reason(
            "search_edge",
            f"{sentence}.",
            f"Search on to {edge.wider:g}.",
        )


def _more_rows(spec: ExperimentSpec, evidence: Evidence) -> Iterator[Reason]:
    """A curve that still rises at its end: the gain of the last doubling."""
    curve = evidence.learning_curve
    if len(curve) < 2:
        return
    last = curve[-1]
    half = max((p for p in curve if p.rows <= last.rows / 2), key=lambda p: p.rows, default=None)
    if half is None or not better(spec.metric, last.score, half.score):
        return
    yield Reason(
        "few_train_rows",
        f"More train rows still help: {spec.metric} {shown(half.score)} with {half.rows:,} rows, "
        f"{shown(last.score)} with {last.rows:,}.",
        "Collect more rows of the same kind.",
    )


def _families(spec: ExperimentSpec, board: Leaderboard) -> Iterator[Reason]:
    tried = families(spec)
    if len(tried) == 1:
        yield Reason(
            "one_family", f"Only {tried[0]} was tried.", "Try an algorithm of another family."
        )
        return
    tied = board.rows.loc[board.rows["in_tie_group"], "algorithm"]
    if len(tried) > 1 and set(tried) <= set(tied):
        yield Reason(
            "families_agree",
            f"Algorithms as different as {', '.join(tried[:-1])} and {tried[-1]} reach the same {spec.metric}: what "
            "they share, the features, sets the limit.",
            "Add or improve features before searching on.",
        )
