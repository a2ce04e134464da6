"""Rules about the probe's scores: no signal, too much of it, or less than the criteria require."""

import math

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Criterion
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Severity, Threshold
from experiment_pipeline.stages.data_analysis.probe import (
    BASELINE,
    NoProbe,
    Probe,
    ProbeScore,
    best_score,
)
from experiment_pipeline.stages.data_analysis.skill import NAMES
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.metrics import METRICS


class ProbeRule(Rule):
    """A rule about what the probe measured."""

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if isinstance(probe, NoProbe):
            return self.not_applicable(probe.reason)
        return self.judge(subject, probe)

    def judge(self, subject: Subject, probe: Probe) -> Finding:
        raise NotImplementedError


class ProbeNoBetterThanBaseline(ProbeRule):
    """No probe model is better than the baseline (no features): there may be nothing to learn."""

    code = "probe_no_better_than_baseline"
    title = "No signal in the features"
    advice = "Look for features that predict the outcome before you spend a search on these."
    threshold = Threshold(2, 0, 100, "standard errors between probe and baseline, found below it")

    def judge(self, subject: Subject, probe: Probe) -> Finding:
        models = [s for s in probe.scores if s.metric == probe.metric and s.model != BASELINE]
        known = [s for s in models if math.isfinite(s.gain) and math.isfinite(s.gain_error)]
        if not known:
            return self.not_applicable(f"{probe.metric} is undefined on the folds of the probe.")
        clearest = max(known, key=self._errors)
        errors, limit = self._errors(clearest), self.limit(subject)
        evidence = (
            f"The probe with the clearest gain ({clearest.model}) reaches "
            f"{numbers.score(clearest.mean)} {probe.metric}, the baseline "
            f"{numbers.score(probe.score(BASELINE).mean)}: a gain of "
            f"{numbers.score(clearest.gain)} ± {numbers.score(clearest.gain_error)} per fold, "
            f"{errors:.3g} standard errors."
        )
        severity: Severity | None = None if errors >= limit else "condition"
        return self.judged(severity, evidence, number=errors, threshold=limit)

    @staticmethod
    def _errors(score: ProbeScore) -> float:
        """Gain in standard errors; infinite without any spread between the folds."""
        if score.gain_error > 0:
            return score.gain / score.gain_error
        return math.copysign(math.inf, score.gain) if score.gain else 0.0


class ProbeNearlyPerfect(ProbeRule):
    """A simple model predicts nearly everything: an easy task, or a leak over several columns."""

    code = "probe_nearly_perfect"
    title = "Too good to be true"
    advice = (
        "Ask of the strongest columns when each becomes known; accept the finding if the task is "
        "that easy."
    )
    threshold = Threshold(0.995, 0, 1, "skill of the best probe, found from it")

    def judge(self, subject: Subject, probe: Probe) -> Finding:
        if not math.isfinite(probe.skill):
            return self.not_applicable("The skill is undefined on the folds of the probe.")
        limit = self.limit(subject)
        evidence = (
            f"The best probe ({probe.best}) has a skill of {numbers.share(probe.skill)}, as "
            f"{NAMES[subject.spec.task]}."
        )
        strongest = [association.column for association in subject.associations[:5]]
        return self.judged(
            None if probe.skill < limit else "condition",
            evidence,
            columns=[column for column in strongest if column not in probe.left_out],
            number=probe.skill,
            threshold=limit,
        )


class CriterionOutOfReach(ProbeRule):
    """An acceptance criterion far above what the probe reached.

    The gain still missing is compared with the probe's gain over the baseline: a search gains
    more than a probe, but seldom much more. It never blocks, because the probe is only an estimate.
    """

    code = "criterion_out_of_reach"
    title = "Criterion far above the probe"
    advice = (
        "Lower the criterion, or add features or rows; more hyperparameters seldom close such a "
        "gap."
    )
    threshold = Threshold(
        0.25, 0, 1e6, "gain still missing over the gain of the probe, found above it"
    )

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if not subject.spec.acceptance:
            return self.not_applicable("The experiment names no acceptance criterion.")
        return super().check(subject, probe)

    def judge(self, subject: Subject, probe: Probe) -> Finding:
        criteria = subject.spec.acceptance
        missing = {i: self._missing_gain(probe, c) for i, c in enumerate(criteria)}
        known = [i for i, value in missing.items() if not math.isnan(value)]
        if not known:
            return self.not_applicable("The criteria are undefined on the folds of the probe.")
        hardest = max(known, key=lambda i: missing[i])
        number, limit, criterion = missing[hardest], self.limit(subject), criteria[hardest]
        best = best_score(probe.scores, criterion.metric)
        baseline = probe.score(BASELINE, criterion.metric)
        if number <= 0:
            rest = "which the probe reaches."
        elif math.isinf(number):
            rest = "but the probe gains nothing over the baseline."
        else:
            rest = f"so a search must still gain {numbers.share(number)} of what the probe gained."
        evidence = (
            f"Best probe ({best.model}) {numbers.score(best.mean)} ± "
            f"{numbers.score(best.standard_error)} {criterion.metric}, baseline "
            f"{numbers.score(baseline.mean)}, criterion {criterion.limit:g}, {rest}"
        )
        severity: Severity | None = None if number <= limit else "condition"
        return self.judged(severity, evidence, number=number, threshold=limit)

    def _missing_gain(self, probe: Probe, criterion: Criterion) -> float:
        """(criterion - probe) / (probe - baseline); 0 when the probe reaches the criterion."""
        metric = criterion.metric
        best, baseline = best_score(probe.scores, metric), probe.score(BASELINE, metric)
        sign = METRICS[metric].sign
        missing = (criterion.limit - best.mean) * sign
        gained = (best.mean - baseline.mean) * sign
        if missing <= 0:
            return 0.0
        return missing / gained if gained > 0 else math.nan if math.isnan(gained) else math.inf


RULES = (ProbeNoBetterThanBaseline(), ProbeNearlyPerfect(), CriterionOutOfReach())
