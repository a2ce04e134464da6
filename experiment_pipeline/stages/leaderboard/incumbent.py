"""The rule in use today, beside a model on the same rows.

In: the rule's answers, a column of the prepared rows: classes, probabilities or
numbers. Out: an `IncumbentComparison`, of the test rows with the choice of a
leaderboard, and of the validation rows with the judged model.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable, listed
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Costs, ExperimentSpec
from experiment_pipeline.statistics.caveats import FEW_CLUSTERS
from experiment_pipeline.statistics.interval import LEVEL, Interval, number_of_clusters
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline.statistics.thresholds import (
    EXPECTED_COST,
    DecisionThreshold,
    best_threshold,
    cost_interval,
    saved_interval,
    threshold_value,
)
from experiment_pipeline.table.features import encode_target, plain
from experiment_pipeline.table.intervals import Classes
from experiment_pipeline.table.kinds import NUMERIC, kind_of, numbers_of

# Level of the difference's interval in gates that stop a model: its better bound is a
# one-sided test at the 5 % level. Simulated (logistic data, 1,000 validation rows): it
# stops 67 % of the models that are worse by 0.02 AUC and 3 % of those that are not
# worse; a level of 95 % stops 59 % and 0 %, one of 80 % 74 % and 6 %.
CONFIDENCE = 0.9


@dataclass(frozen=True)
class IncumbentComparison:
    """A model and the incumbent on the rows that it answers."""

    column: str  # of its answers
    metric: str  # EXPECTED_COST: what the decisions cost, per row
    rows: int = 0
    left_out: int = 0  # rows without an answer
    why_not_compared: str = ""
    scores: tuple[float, float] = (math.nan, math.nan)  # of incumbent and model
    cut: float = 0.5  # the incumbent's threshold, from the test rows
    # model minus incumbent, paired, at the level CONFIDENCE. On test rows it flatters
    # the model, which was chosen on them
    difference: Interval | None = None
    gain: Interval | None = None  # the same at the level of the other gates
    cost: float = 0.0  # of its decisions, per row
    saved: Interval | None = None  # by the model's, per row; None: no costs

    @property
    def sign(self) -> int:
        """1 if a greater score is better, else -1."""
        return -1 if self.metric == EXPECTED_COST else metric_of(self.metric).sign

    @property
    def how(self) -> str:
        """`significantly better`, or what else the model is."""
        if self.gain is None or self.difference is None:
            return "not compared"
        if min(self._leads(self.gain)) > 0:
            return "significantly better"
        if max(self._leads(self.difference)) < 0:
            return "significantly worse"
        return "not significantly different"

    @property
    def answer(self) -> str:
        """`significantly better than the incumbent rule`, or what else it is."""
        joined = {"not compared": "with", "not significantly different": "from"}
        return f"{self.how} {joined.get(self.how, 'than')} the incumbent {self.column}"

    def _leads(self, difference: Interval) -> tuple[float, float]:
        """The bounds of a difference, positive where the model is better."""
        return self.sign * difference.low, self.sign * difference.high

    @property
    def in_words(self) -> str:
        """`roc_auc 0.7134, minus the choice -0.0211, on 300 rows`."""
        score, of_model = self.scores
        gap = numbers.gap(score - of_model, beside=of_model)
        return (
            f"{self.metric} {numbers.score(score)}, minus the choice {gap}, on "
            f"{numbers.counted(self.rows, 'row')}"
        )


@dataclass(frozen=True, eq=False)
class IncumbentAnswers:
    """What the incumbent says of rows."""

    column: str
    known: np.ndarray  # (n,) bool, whether it answers
    prediction: np.ndarray  # of the rows that it answers, as a model's
    are_classes: bool = False  # no probabilities, no numbers

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        spec: ExperimentSpec,
        classes: Classes,
    ) -> Self | None:
        """Read the answers; None: the YAML names no incumbent.

        Raises UnusableTable: the column holds no answers for this task.
        """
        if spec.incumbent is None:
            return None
        column = rows[spec.incumbent]
        known = column.notna().to_numpy()
        values = column[known]
        if classes is not None and {*map(plain, values.unique())} <= {*classes}:
            codes = encode_target(values, (*classes,))
            answers = np.eye(len(classes))[codes]
            if spec.task == "binary":
                answers = codes.astype(np.float64)
            return cls(spec.incumbent, known, answers, are_classes=True)
        if spec.task != "multiclass" and kind_of(column) in NUMERIC:
            answers = numbers_of(values)
            if classes is None or ((answers >= 0) & (answers <= 1)).all():
                return cls(spec.incumbent, known, answers)
        raise _no_answers(values, spec, classes)


def _no_answers(
    values: pd.Series, spec: ExperimentSpec, classes: Classes
) -> UnusableTable:
    allowed = "numbers"
    if classes is not None:
        allowed = f"the classes {listed(classes)}"
        allowed += " or probabilities, 0 to 1" if spec.task == "binary" else ""
    return UnusableTable(
        f"incumbent {spec.incumbent}",
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
    spec: ExperimentSpec,
    answers: IncumbentAnswers,
    model: SetPrediction,
    cut: float,
    on_test: IncumbentComparison | None = None,
    level: float = LEVEL,
) -> IncumbentComparison:
    """Compare a model, of this threshold, with the incumbent on the rows that it
    answers.

    `on_test`: the comparison on the test rows, which gives metric and the incumbent's
    threshold; None: these are the test rows. `level`: of `gain`.
    """
    judged = model.rows(answers.known)
    left_out = len(model.y) - len(judged.y)
    comparison = IncumbentComparison(
        answers.column, spec.metric, len(judged.y), left_out
    )
    if on_test is not None:
        comparison = replace(
            comparison,
            metric=on_test.metric,
            cut=on_test.cut,
            why_not_compared=on_test.why_not_compared,
        )
    clusters = number_of_clusters(judged.clusters)
    if clusters < FEW_CLUSTERS:
        why = f"not compared, it answers {clusters:,} clusters of rows; "
        why += f"{FEW_CLUSTERS} are needed"
        comparison = replace(comparison, why_not_compared=why)
    if comparison.why_not_compared:
        return comparison
    incumbent = replace(judged, prediction=answers.prediction)
    if on_test is None:
        threshold = best_threshold(spec.metric_names, spec.costs, incumbent)
        comparison = replace(comparison, cut=threshold_value(threshold))
        if answers.are_classes:
            metric = _metric_of_decisions(spec.metric, threshold)
            comparison = replace(comparison, metric=metric, cut=0.5)
    pair = _OnSameRows(
        comparison.metric, spec.costs, judged, cut, incumbent, comparison.cut
    )
    if spec.costs is not None:
        comparison = replace(
            comparison,
            cost=cost_interval(spec.costs, incumbent, comparison.cut).estimate,
            saved=pair.saved(spec.costs),
        )
    return replace(
        comparison,
        scores=pair.scores,
        difference=pair.difference(CONFIDENCE),
        gain=pair.difference(level),
    )


def _metric_of_decisions(metric: str, threshold: DecisionThreshold | None) -> str:
    """What classes are compared by, which have no probabilities."""
    if threshold is not None:
        return threshold.metric
    return metric if metric_of(metric).by_threshold else "balanced_accuracy"
