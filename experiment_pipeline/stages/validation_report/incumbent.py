"""The rule in use today, compared with the judged model on the same rows.

In: the model, and the rule's answers, a column of the rows as delivered: classes,
probabilities or numbers. Out: an `IncumbentComparison`; its gate fails only if the
model is significantly worse.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable, listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Costs
from experiment_pipeline.stages.validation_report.gates import CONFIDENCE, Gate
from experiment_pipeline.stages.validation_report.judged_model import (
    Classes,
    JudgedModel,
    exported_threshold,
)
from experiment_pipeline.statistics.caveats import FEW_CLUSTERS
from experiment_pipeline.statistics.interval import LEVEL, Interval, cluster_codes
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.statistics.thresholds import (
    EXPECTED_COST,
    cost_interval,
    saved_interval,
    threshold_value,
)
from experiment_pipeline.table.features import encode_target, plain
from experiment_pipeline.table.kinds import NUMERIC, kind_of, numbers_of


@dataclass(frozen=True)
class IncumbentComparison:
    """The judged model and the incumbent on the validation rows that it answers."""

    column: str  # of its answers
    metric: str  # EXPECTED_COST: what the decisions cost, per row
    rows: int = 0
    left_out: int = 0  # validation rows without an answer
    why_not_compared: str = ""
    scores: tuple[float, float] = (math.nan, math.nan)  # of incumbent and model
    on_test: tuple[float, float] = (math.nan, math.nan)  # the same on the test rows
    # model minus incumbent, paired, at the level CONFIDENCE
    difference: Interval | None = None
    gain: Interval | None = None  # the same at the level of the other gates
    cost: float = 0.0  # of its decisions, per row
    saved: Interval | None = None  # by the model's, per row; None: no costs

    @property
    def answer(self) -> str:
        """`significantly better than the incumbent rule`, or what else it is."""
        how = "not compared with"
        if self.gain is not None and self.difference is not None:
            how = "not significantly different from"
            if min(_better_first(self.metric, self.gain)) > 0:
                how = "significantly better than"
            elif max(_better_first(self.metric, self.difference)) < 0:
                how = "significantly worse than"
        return f"{how} the incumbent {self.column}"

    @property
    def gate(self) -> Gate:
        """The gate; it fails if even the better bound of the difference is worse."""
        rule = f"not_worse_than_incumbent {self.column}"
        if self.difference is None:
            return Gate(
                self.metric,
                rule=f"{rule}: {self.why_not_compared}",
                value=math.nan,
                limit=0.0,
                by_bound=True,
                passed=True,
                conclusive=False,
                means="not compared",
            )
        better = max(_better_first(self.metric, self.difference))
        level = numbers.confidence(self.difference.level)
        return Gate(
            self.metric,
            rule=(
                f"{rule}: {self.metric} {numbers.score(self.scores[1])} after "
                f"{numbers.score(self.scores[0])} on the same {self.rows:,} rows; "
                f"better bound ({level}) of the difference "
                f"{numbers.interval(self.difference)}"
            ),
            value=_sign(self.metric) * better,
            limit=0.0,
            by_bound=True,
            passed=better >= 0,
            means=self.answer,
        )


def _sign(metric: str) -> int:
    return -1 if metric == EXPECTED_COST else metric_of(metric).sign


def _better_first(metric: str, difference: Interval) -> tuple[float, float]:
    """The bounds of a difference, positive where the model is better."""
    sign = _sign(metric)
    return sign * difference.low, sign * difference.high


@dataclass(frozen=True, eq=False)
class _Answers:
    """What the incumbent says of rows."""

    known: np.ndarray  # (n,) whether it answers
    prediction: np.ndarray  # of the rows that it answers, as a model's
    are_classes: bool  # no probabilities, no numbers

    @classmethod
    def of(cls, column: pd.Series, task: str, classes: Classes) -> Self:
        """Read a column. Raises UnusableTable: it holds no answers for this task."""
        known = column.notna().to_numpy()
        values = column[known]
        if classes is not None and {*map(plain, values.unique())} <= {*classes}:
            codes = encode_target(values, classes)
            if task == "binary":
                return cls(known, codes.astype(np.float64), are_classes=True)
            return cls(known, np.eye(len(classes))[codes], are_classes=True)
        if task != "multiclass" and kind_of(column) in NUMERIC:
            answers = numbers_of(values)
            if classes is None or ((answers >= 0) & (answers <= 1)).all():
                return cls(known, answers, are_classes=False)
        allowed = "numbers"
        if classes is not None:
            allowed = f"the classes {listed(classes)}"
            allowed += " or probabilities, 0 to 1" if task == "binary" else ""
        raise UnusableTable(
            f"incumbent {column.name}",
            rule=f"holds other values than {allowed}, such as "
            f"{listed(values.unique()[:3])}",
            fix="Deliver its answers like that, missing where it has none, or drop "
            "incumbent.",
        )


@dataclass(frozen=True, eq=False)
class _OnSameRows:
    """The decisions or predictions of model and incumbent for the same rows."""

    metric: str
    costs: Costs | None
    model: SetPrediction
    model_cut: float
    incumbent: SetPrediction
    incumbent_cut: float

    @property
    def scores(self) -> tuple[float, float]:
        """Of the incumbent, then of the model."""
        return (
            self._score(self.incumbent, self.incumbent_cut),
            self._score(self.model, self.model_cut),
        )

    def _score(self, rows: SetPrediction, cut: float) -> float:
        if self.metric == EXPECTED_COST and self.costs is not None:
            return cost_interval(self.costs, rows, cut).estimate
        return rows.score(self.metric, cut)

    def saved(self, costs: Costs, level: float = LEVEL) -> Interval:
        """What the model's decisions save per row."""
        instead = self.incumbent.prediction >= self.incumbent_cut
        return saved_interval(costs, self.model, self.model_cut, instead, level)

    def difference(self, level: float) -> Interval:
        """The model's score minus the incumbent's."""
        if self.metric == EXPECTED_COST and self.costs is not None:
            saved = self.saved(self.costs, level)
            return Interval(-saved.estimate, -saved.high, -saved.low, level)
        before = self.incumbent.linearise(self.metric, self.incumbent_cut)
        after = self.model.linearise(self.metric, self.model_cut)
        drawn = self.model.layout(self.metric)
        return paired_difference(before, after, drawn, level)


def compare_with_incumbent(
    model: JudgedModel, tested: pd.DataFrame, test: SetPrediction, level: float = LEVEL
) -> IncumbentComparison | None:
    """Compare the model with the incumbent on the validation rows that it answers;
    None: the YAML names none.

    `tested`: the rows of `test`, the predictions of the test set, as delivered; they
    give the threshold of an incumbent that answers probabilities. `level`: of the
    gates.
    """
    spec = model.spec
    column = spec.incumbent
    if column is None:
        return None
    answers = _Answers.of(model.delivered[column], spec.task, model.classes)
    of_test = _Answers.of(tested[column], spec.task, model.classes)
    metric = _metric(model, are_classes=answers.are_classes)
    judged = model.exported.rows(answers.known)
    comparison = IncumbentComparison(
        column, metric, len(judged.y), left_out=int((~answers.known).sum())
    )
    clusters = len(np.unique(cluster_codes(model.exported.clusters)[answers.known]))
    if clusters < FEW_CLUSTERS or not of_test.known.any():
        why = (
            f"not compared, it answers {clusters:,} of the validation set's clusters "
            f"and {of_test.known.sum():,} test rows; {FEW_CLUSTERS} and 1 are needed"
        )
        return replace(comparison, why_not_compared=why)
    test = test.rows(of_test.known)
    on_test = replace(test, prediction=of_test.prediction)
    cut = 0.5
    if spec.task == "binary" and not answers.are_classes:
        cut = threshold_value(exported_threshold(spec, on_test))
    incumbent = replace(judged, prediction=answers.prediction)
    pair = _OnSameRows(metric, spec.costs, judged, model.cut, incumbent, cut)
    pair_on_test = replace(pair, model=test, incumbent=on_test)
    if spec.costs is not None:
        comparison = replace(
            comparison,
            cost=cost_interval(spec.costs, incumbent, cut).estimate,
            saved=pair.saved(spec.costs),
        )
    return replace(
        comparison,
        scores=pair.scores,
        on_test=pair_on_test.scores,
        difference=pair.difference(CONFIDENCE),
        gain=pair.difference(level),
    )


def _metric(model: JudgedModel, *, are_classes: bool) -> str:
    """What both are compared by; classes have no probabilities, so by decisions."""
    spec = model.spec
    if not are_classes:
        return spec.metric
    if spec.costs is not None:
        return EXPECTED_COST
    if metric_of(spec.metric).by_threshold:
        return spec.metric
    return "balanced_accuracy" if model.threshold is None else model.threshold.metric
