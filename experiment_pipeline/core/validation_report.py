"""The validation report: what the chosen configuration is worth on rows nobody chose by.

Scores live in `set_prediction.py`, criteria in `gates.py`, weak parts in `segments.py`; why it
is not good enough is `next_search.py`'s question, and how a report looks `validation_page.py`'s.
In: predictions of three kinds (see `judge`). Out: a frozen `ValidationReport`, rendered last.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from experiment_pipeline.core.gates import Gate, MetricScore, hold
from experiment_pipeline.core.interval_doubts import doubts
from experiment_pipeline.core.intervals import difference, few_units_note
from experiment_pipeline.core.leaderboard_notes import unit_in_words
from experiment_pipeline.core.metrics import (
    METRICS,
    Interval,
    baseline_score,
    better,
    names_of,
    shown,
)
from experiment_pipeline.core.segments import Segment
from experiment_pipeline.core.set_prediction import SetPrediction
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.thresholds import Threshold, choose_threshold, deciding_metric


@dataclass(frozen=True)
class Gap:
    """How one and the same train-only fit scores on test and on validation.

    Attributes:
        test: its score on the test set, by which it was chosen.
        validation: its score on the validation set.
        difference: validation minus test, in units of the metric.
        worse: whether even the interval's better end is worse than no difference.
    """

    test: Interval
    validation: Interval
    difference: Interval
    worse: bool


@dataclass(frozen=True)
class ValidationReport:
    """The judgement of one exported fit.

    Attributes:
        experiment: its name.
        configuration: key of the chosen configuration.
        metric: the ranking metric.
        rows: of the validation set.
        refitted: whether the exported fit has seen the test rows as well.
        scores: of every metric of the task, the ranking metric first, then the criteria's.
            f1, accuracy and balanced_accuracy of a binary model are at `threshold`.
        gates: at least one.
        gap: of the ranking metric.
        threshold: binary only; chosen on the test set.
        prevalence: binary only: share of positive rows in the validation set.
        segments: the weakest parts of the validation set.
        looks: how often these rows have been looked at, this time included.
        notes: what to know before believing it, one sentence each.
    """

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")

    experiment: str
    configuration: str
    metric: str
    rows: int
    refitted: bool
    scores: tuple[MetricScore, ...]
    gates: tuple[Gate, ...]
    gap: Gap
    threshold: Threshold | None
    prevalence: float | None
    segments: tuple[Segment, ...]
    looks: int
    notes: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)

    @property
    def failed_gates(self) -> tuple[Gate, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def score(self, metric: str) -> MetricScore:
        """Return what the exported fit scores; StopIteration for a metric of another task."""
        return next(score for score in self.scores if score.metric == metric)

    def to_json(self) -> str:
        """Return strict JSON; numbers that JSON lacks are the texts NaN and Infinity."""
        return TypeAdapter(ValidationReport).dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the report that `to_json` wrote; pydantic's ValidationError for another text."""
        return TypeAdapter(cls).validate_json(text)


def judge(
    spec: ExperimentSpec,
    configuration: str,
    exported: SetPrediction,
    train_only: SetPrediction,
    test: SetPrediction,
    y_train: np.ndarray,
    classes: tuple | None,
    *,
    segments: Sequence[Segment] = (),
    earlier_looks: int = 0,
) -> ValidationReport:
    """Judge the chosen configuration on the validation set.

    Args:
        spec: the experiment.
        configuration: key of the chosen one.
        exported: the fit that would be exported, on the validation rows.
        train_only: the fit of the search, on the same rows; without a refit it is `exported`.
        test: that fit on the test rows: the threshold is chosen there.
        y_train: encoded targets of the train set; the baseline knows nothing else.
        classes: of the target; None for regression.
        segments: by `weakest_segments`, of `exported`.
        earlier_looks: how often the ledger counts these validation rows already.
    """
    threshold = _threshold(spec, test)
    scores = _scores(spec, exported, threshold, y_train, len(classes or ()))
    report = ValidationReport(
        experiment=spec.name,
        configuration=configuration,
        metric=spec.metric,
        rows=len(exported.y),
        refitted=spec.export.refit == "train_and_test",
        scores=scores,
        gates=hold(spec, scores),
        gap=_gap(spec.metric, train_only, test, _cut(threshold)),
        threshold=threshold,
        prevalence=float(np.mean(exported.y)) if spec.task == "binary" else None,
        segments=tuple(segments),
        looks=earlier_looks + 1,
        notes=(),
    )
    return replace(report, notes=tuple(_notes(spec, report, exported, test)))


def _threshold(spec: ExperimentSpec, test: SetPrediction) -> Threshold | None:
    if spec.task != "binary":
        return None
    return choose_threshold(deciding_metric(spec, test.y), test.y, test.prediction)


def _cut(threshold: Threshold | None) -> float:
    return 0.5 if threshold is None else threshold.value


def _scores(
    spec: ExperimentSpec,
    exported: SetPrediction,
    threshold: Threshold | None,
    y_train: np.ndarray,
    n_classes: int,
) -> tuple[MetricScore, ...]:
    names = dict.fromkeys((*spec.metric_names, *names_of(spec.task)))
    return tuple(
        MetricScore(
            name,
            exported.interval(name, _cut(threshold)),
            baseline_score(name, y_train, exported.y, spec.task, n_classes),
        )
        for name in names
    )


def _gap(metric: str, validation: SetPrediction, test: SetPrediction, threshold: float) -> Gap:
    gap = difference(test.spread(metric, threshold), validation.spread(metric, threshold))
    best_case = gap.high if METRICS[metric].greater_is_better else gap.low
    return Gap(
        test=test.interval(metric, threshold),
        validation=validation.interval(metric, threshold),
        difference=gap,
        worse=better(metric, 0.0, best_case) and math.isfinite(best_case),
    )


def _notes(
    spec: ExperimentSpec, report: ValidationReport, exported: SetPrediction, test: SetPrediction
) -> Iterator[str]:
    if report.looks > 1:
        yield (
            f"these validation rows have been looked at {report.looks - 1} times before: every "
            "choice made after a look makes their scores more flattering"
        )
    if report.gap.worse:
        yield _gap_in_words(spec, report.gap)
    unit = unit_in_words(spec)
    yield from filter(None, [few_units_note(exported.units, unit, "validation")])
    yield from filter(None, [few_units_note(test.units, unit, "test")])
    metrics = [score.metric for score in report.scores]
    yield from doubts(metrics, exported, unit, "validation", _cut(report.threshold))
    for score in report.scores:
        if math.isnan(score.interval.estimate):
            yield f"{score.metric} is undefined on the validation set"
    for segment in report.segments:
        if segment.clearly_worse:
            yield (
                f"clearly weaker where {segment.column} is {segment.value} ({segment.rows:,} "
                f"rows): {spec.metric} {segment.score.in_words()}"
            )


def _gap_in_words(spec: ExperimentSpec, gap: Gap) -> str:
    lost = (
        f"the fit that was chosen on test loses {shown(abs(gap.difference.estimate))} "
        f"{spec.metric} on validation ({shown(gap.difference.low)} to "
        f"{shown(gap.difference.high)})"
    )
    if spec.split.by == "time":
        return f"{lost}: drift and the optimism of the choice, which cannot be told apart here"
    return f"{lost}: more than chance; the choice was optimistic, or the sets are not alike"
