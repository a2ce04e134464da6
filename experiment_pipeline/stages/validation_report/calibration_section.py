"""The section on calibration of a validation report: whether a probability is what it says.

In: the report, and its pictures. Out: a section of a document; nothing is computed.
"""

import math

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Paragraph, Section, TableBlock
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.sections import Charts
from experiment_pipeline.statistics.calibration import CalibrationCurve


def calibration(report: ValidationReport, charts: Charts) -> list[Section]:
    """Whether a probability can be taken for what it says."""
    found = report.details.calibration
    if not found:
        return []
    before = report.details.uncalibrated
    rows = tuple(
        (
            f"{one.of}{which}",
            numbers.interval(one.slope),
            numbers.interval(one.intercept),
            numbers.score(one.expected_error),
            numbers.score(one.by_chance),
        )
        for some, which in ((found, ""), (before, ", before calibrating"))
        for one in some
    )
    header = ("class", "slope (1 is right)", "intercept (0 is right)", "mean error", "by chance")
    said = [Paragraph(" ".join(_calibrated(one, len(found) == 1) for one in found))]
    if report.miscalibration is not None:
        setting = report.miscalibration.setting
        said.insert(0, Paragraph(f"Probabilities are not calibrated: {setting} moves them."))
    if report.calibrated_by is not None:
        said.append(Paragraph(_mended(report)))
    meaning = Paragraph(
        "Slope and intercept are those of a logistic recalibration on the validation rows (Cox "
        "1958; the intercept with slope 1), with 95 % intervals. The mean error is the expected "
        "calibration error over bins of equal size; beside it, what it would be by chance of a "
        "model without error. The band of the curve is Wilson's 95 % interval, for each bin alone."
    )
    return [
        Section(
            "Calibration",
            (*said, TableBlock(header, rows), *charts.get("calibration", ()), meaning),
        )
    ]


def _mended(report: ValidationReport) -> str:
    """Return what calibrated the probabilities, and how far off they were."""
    before = report.details.uncalibrated
    how = (
        f"They are calibrated ({report.calibrated_by}), by what was learnt on predictions of train "
        "rows by fits that had not seen these rows."
    )
    if len(before) != 1:
        return f"{how} What the model says without it stands below as well."
    return (
        f"{how} Without it the model would be off by {100 * before[0].expected_error:.1f} "
        f"percentage points on average, with a slope of {numbers.score(before[0].slope.estimate)}."
    )


def _calibrated(found: CalibrationCurve, alone: bool) -> str:
    """Return what slope and intercept say, in a sentence."""
    of = "" if alone else f"{found.of}: "
    off = f"off by {100 * found.expected_error:.1f} percentage points on average"
    if not math.isfinite(found.slope.high - found.slope.low):
        return f"{of}Whether the probabilities are too sure cannot be told here; they are {off}."
    if not found.in_doubt:
        chance = f"{100 * found.by_chance:.1f} would be chance alone"
        return f"{of}Nothing speaks against the probabilities: they are {off}, where {chance}."
    said = []
    if math.isfinite(found.slope.estimate) and found.slope.high < 1:
        said.append("too sure of themselves, so that high ones are too high and low ones too low")
    if math.isfinite(found.slope.estimate) and found.slope.low > 1:
        said.append("too careful, so that high ones are too low and low ones too high")
    if found.intercept.high < 0:
        said.append("too high on average")
    if found.intercept.low > 0:
        said.append("too low on average")
    return f"{of}The probabilities are {', and '.join(said)}; they are {off}."
