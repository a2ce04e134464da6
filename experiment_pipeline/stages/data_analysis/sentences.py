"""Sentences that Markdown and HTML share: what the verdict is, what the probe reached."""

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.finding import Finding, shown, some_of
from experiment_pipeline.stages.data_analysis.probe import BASELINE, NoProbe, Probe
from experiment_pipeline.stages.data_analysis.verdict import weight


def probe_sentence(probe: Probe | NoProbe, spec: ExperimentSpec | None = None) -> str:
    """`Best probe 0.6912 ± 0.0110 roc_auc (lightgbm), baseline 0.5000, your criterion 0.75`."""
    if isinstance(probe, NoProbe):
        return f"No probe: {probe.reason}"
    best, baseline = probe.score(probe.best), probe.score(BASELINE)
    reached = f"{numbers.score(best.mean)} ± {numbers.score(best.standard_error)}"
    criteria = [
        f"your criterion {c.at_least if c.at_least is not None else c.at_most:g}"
        for c in (spec.acceptance if spec else ())
        if c.metric == probe.metric
    ]
    parts = [
        f"Best probe {reached} {probe.metric} ({probe.best})",
        f"baseline {numbers.score(baseline.mean)}",
        *criteria,
    ]
    left_out = some_of([shown(column) for column in probe.left_out])
    without = f", without the leak suspects {left_out}" if left_out else ""
    without += f", without {probe.unread:,} of the text features" if probe.unread else ""
    return f"{', '.join(parts)}; {probe.folds} folds of {probe.rows:,} rows{without}."


def weight_in_words(finding: Finding) -> str:
    """`blocks`, `condition`, `note`, with what acceptance made of it."""
    if finding.accepted is None:
        return finding.severity
    return f"{weight(finding)} (accepted {finding.severity})"


def measured(finding: Finding) -> str:
    """The number and its threshold, for people; empty where there is none."""
    if finding.number is None:
        return ""
    limit = "" if finding.threshold is None else f" (threshold {finding.threshold:.4g})"
    return f"{finding.number:.4g}{limit}"
