"""No probe model beats predicting without features: there may be nothing to learn."""

import math

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule
from experiment_pipeline.stages.data_analysis.probe import BASELINE, NoProbe, Probe, ProbeScore
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "probe_no_better_than_baseline",
    "No signal in the features",
    "Look for features that can know the outcome before spending a search on these.",
)


def check(subject: Subject, probe: Probe | NoProbe) -> Finding:
    """Compare the gain of the surest model, in its standard errors, with the threshold."""
    if isinstance(probe, NoProbe):
        return RULE.not_applicable(probe.reason)
    models = [s for s in probe.scores if s.metric == probe.metric and s.model != BASELINE]
    known = [s for s in models if math.isfinite(s.gain) and math.isfinite(s.gain_error)]
    if not known:
        return RULE.not_applicable(f"{probe.metric} is undefined on the folds of the probe.")
    surest = max(known, key=_errors)
    errors, limit = _errors(surest), subject.threshold(RULE.code)
    evidence = (
        f"The surest probe ({surest.model}) reaches {numbers.score(surest.mean)} {probe.metric}, "
        f"the baseline {numbers.score(probe.score(BASELINE).mean)}: a gain of "
        f"{numbers.score(surest.gain)} ± {numbers.score(surest.gain_error)} per fold, "
        f"{errors:.3g} standard errors."
    )
    if errors >= limit:
        return RULE.not_found(evidence, number=errors, threshold=limit)
    return RULE.found("condition", evidence, number=errors, threshold=limit)


def _errors(score: ProbeScore) -> float:
    """Gain in standard errors; without any spread between the folds it is sure."""
    if score.gain_error > 0:
        return score.gain / score.gain_error
    return math.copysign(math.inf, score.gain) if score.gain else 0.0
