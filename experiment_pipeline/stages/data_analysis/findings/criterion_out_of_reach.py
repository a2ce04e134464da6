"""An acceptance criterion far above what the probe reached.

What a search must still gain is compared with what the probe gained over the baseline: a
search finds more than a probe, but seldom much more. A condition and never a block, because
the probe is only a probe.
"""

import math

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Criterion
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, percent
from experiment_pipeline.stages.data_analysis.probe import BASELINE, NoProbe, Probe, ProbeScore
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.metrics import METRICS

RULE = Rule(
    "criterion_out_of_reach",
    "Criterion far above the probe",
    "Lower the criterion, or add features or rows; more hyperparameters seldom close such a gap.",
)


def check(subject: Subject, probe: Probe | NoProbe) -> Finding:
    """Compare missing gain over gained gain with the threshold, for the hardest criterion."""
    if not subject.spec.acceptance:
        return RULE.not_applicable("The experiment names no acceptance criterion.")
    if isinstance(probe, NoProbe):
        return RULE.not_applicable(probe.reason)
    missing = {i: _missing_gain(probe, c) for i, c in enumerate(subject.spec.acceptance)}
    known = [i for i, value in missing.items() if not math.isnan(value)]
    if not known:
        return RULE.not_applicable("The criteria are undefined on the folds of the probe.")
    hardest = max(known, key=lambda i: missing[i])
    number, limit = missing[hardest], subject.threshold(RULE.code)
    evidence = _evidence(probe, subject.spec.acceptance[hardest], number)
    if number <= limit:
        return RULE.not_found(evidence, number=number, threshold=limit)
    return RULE.found("condition", evidence, number=number, threshold=limit)


def _limit(criterion: Criterion) -> float:
    limit = criterion.at_least if criterion.at_least is not None else criterion.at_most
    return math.nan if limit is None else limit


def _best(probe: Probe, metric: str) -> ProbeScore:
    """The better of the probe's models on this metric."""
    best, *others = [s for s in probe.scores if s.metric == metric and s.model != BASELINE]
    for other in others:
        best = other if metrics.better(metric, other.mean, best.mean) else best
    return best


def _missing_gain(probe: Probe, criterion: Criterion) -> float:
    """(criterion - probe) / (probe - baseline): negative when the probe is beyond it."""
    metric = criterion.metric
    best, baseline = _best(probe, metric), probe.score(BASELINE, metric)
    sign = METRICS[metric].sign
    missing = (_limit(criterion) - best.mean) * sign
    gained = (best.mean - baseline.mean) * sign
    if missing <= 0:
        return 0.0
    return missing / gained if gained > 0 else math.nan if math.isnan(gained) else math.inf


def _evidence(probe: Probe, criterion: Criterion, number: float) -> str:
    metric = criterion.metric
    best, baseline = _best(probe, metric), probe.score(BASELINE, metric)
    missing = (
        "which the probe reaches."
        if number <= 0
        else "so nothing was gained yet of what is asked."
        if math.isinf(number)
        else f"so a search must still gain {percent(number)} of what the probe gained."
    )
    return (
        f"Best probe ({best.model}) {numbers.score(best.mean)} ± "
        f"{numbers.score(best.standard_error)} {metric}, baseline "
        f"{numbers.score(baseline.mean)}, criterion {_limit(criterion):g}, {missing}"
    )
