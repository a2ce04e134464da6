"""What else there is to know of a model than its scores: calibration, decisions, classes, errors.

All of it is looked at once, on the validation rows, and decides nothing: the threshold was chosen
on test rows before. In: predictions on both sets. Out: frozen numbers, part of the report.
"""

from dataclasses import dataclass

import numpy as np

from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import CalibrationMethod, Costs, ExperimentSpec, Scalar
from experiment_pipeline.statistics.calibration import CalibrationCurve, calibrations
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.outcomes import (
    ClassOutcome,
    Residuals,
    class_outcomes,
    confusion,
    residuals_of,
)
from experiment_pipeline.statistics.scores import SetPrediction, mean_with_interval
from experiment_pipeline.statistics.thresholds import (
    DecisionThreshold,
    cheapest_threshold,
    cost_of,
    decision_threshold,
)
from experiment_pipeline.statistics.weights import weighted_mean


@dataclass(frozen=True)
class WayToDecide:
    """A threshold and what its wrong decisions cost.

    Attributes:
        name: in words.
        threshold: positive from this probability on.
        on_test: expected cost per row of test, where thresholds are chosen.
        on_validation: the same on rows that nothing was chosen on.
    """

    name: str
    threshold: float
    on_test: float
    on_validation: Interval


@dataclass(frozen=True)
class AtThreshold:
    """What comes of the decisions at the exported threshold, on the validation rows.

    Attributes:
        called: share of the rows that is called positive.
        precision: share of these that is positive.
        recall: share of the positive rows that is called so.
        ways: the exported threshold, the one without costs, nobody, everybody; empty without costs.
    """

    called: float
    precision: Interval
    recall: Interval
    ways: tuple[WayToDecide, ...]


@dataclass(frozen=True, eq=False)
class Uncalibrated:
    """A calibrated model without its calibrators.

    Attributes:
        prediction: of the rows that it is judged on.
        mended_by: how it is calibrated.
    """

    prediction: SetPrediction
    mended_by: CalibrationMethod


@dataclass(frozen=True)
class Details:
    """What stands in the report beside scores and gates.

    Attributes:
        calibration: of the positive class, or of the most frequent ones.
        uncalibrated: the same of the model without its calibrators; empty where it has none.
        at_threshold: binary only.
        classes: in the order of the target's classes; empty for regression.
        residuals: regression only.
    """

    calibration: tuple[CalibrationCurve, ...] = ()
    uncalibrated: tuple[CalibrationCurve, ...] = ()
    at_threshold: AtThreshold | None = None
    classes: tuple[ClassOutcome, ...] = ()
    residuals: Residuals | None = None


def exported_threshold(spec: ExperimentSpec, test: SetPrediction) -> DecisionThreshold | None:
    """Return the threshold that is exported, chosen on the test rows; None: not binary.

    With costs it is the cheapest one, as these are what the decisions are for; else the one that
    is best for the metric.
    """
    if spec.costs is not None:
        return cheapest_threshold(spec.costs, test.y, test.prediction, test.weights)
    return metric_threshold(spec, test)


def metric_threshold(spec: ExperimentSpec, test: SetPrediction) -> DecisionThreshold | None:
    """Return the threshold at which the configuration was ranked; None: not binary."""
    return decision_threshold(spec.metric_names, test.y, test.prediction, test.weights)


def details_of(
    spec: ExperimentSpec,
    exported: SetPrediction,
    test: SetPrediction,
    classes: tuple[Scalar, ...] | None,
    threshold: DecisionThreshold | None,
    uncalibrated: Uncalibrated | None = None,
) -> Details:
    """Look at the exported fit on the validation rows; arguments as of `report.judge`."""
    if classes is None:
        return Details(residuals=residuals_of(exported.y, exported.prediction))
    cut = 0.5 if threshold is None else threshold.value
    matrix = confusion(exported.y, exported.decided(cut), len(classes))
    return Details(
        calibration=calibrations(exported, classes),
        uncalibrated=() if uncalibrated is None else calibrations(uncalibrated.prediction, classes),
        at_threshold=None if threshold is None else _at(spec, exported, test, threshold),
        classes=class_outcomes(matrix, classes),
    )


def _at(
    spec: ExperimentSpec,
    exported: SetPrediction,
    test: SetPrediction,
    threshold: DecisionThreshold,
) -> AtThreshold:
    called, positive = exported.prediction >= threshold.value, exported.y == 1
    cheapest = f"the exported threshold, the cheapest {evaluated(spec.evaluation_name).short}"
    compared = {cheapest: threshold.value}
    if (own := metric_threshold(spec, test)) is not None:
        compared[f"the threshold that is best for {own.metric}"] = own.value
    compared |= {"call no row positive": float("inf"), "call every row positive": 0.0}
    costs = spec.costs
    ways = () if costs is None else (_way(*one, costs, exported, test) for one in compared.items())
    return AtThreshold(
        called=float(weighted_mean(called, exported.weights)),
        precision=_share(positive, exported, called),
        recall=_share(called, exported, positive),
        ways=tuple(ways),
    )


def _share(found: np.ndarray, of: SetPrediction, among: np.ndarray) -> Interval:
    rows = of.rows(among)
    return mean_with_interval(found[among], rows.clusters, rows.weights, share=True)


def _way(
    name: str, cut: float, costs: Costs, exported: SetPrediction, test: SetPrediction
) -> WayToDecide:
    on_test, on_validation = (
        cost_of(costs, one.y, one.prediction >= cut) for one in (test, exported)
    )
    interval = mean_with_interval(on_validation, exported.clusters, exported.weights)
    return WayToDecide(name, cut, float(weighted_mean(on_test, test.weights)), interval)
