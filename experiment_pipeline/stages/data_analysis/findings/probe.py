"""The probe: scores of simple models on a sample, before a search, and the rules about
them.

Baseline, a linear model and a small LightGBM are cross-validated on visible rows, in
folds that follow the experiment's split.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Threshold
from experiment_pipeline.stages.data_analysis.skill import NAMES, mean_of_known, skill
from experiment_pipeline.stages.data_analysis.subject import Subject, folds
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.scores import baseline_score, score
from experiment_pipeline.statistics.thresholds import choose_threshold
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

BASELINE = "baseline"
MODELS = ("linear", "lightgbm")
FOLDS = 5
MOST_ROWS, FEWEST_ROWS = 10_000, 1_000
# Rows are thinned until rows times features times classes are at most this many.
MOST_CELLS = 2_000_000
# One-hot encoding costs time per column, however few rows there are.
MOST_TEXTS = 200
_MOST_CODES = 50
_FEWEST_TO_FIT = 10
_ROUNDS, _FEWEST_ROUNDS = 60, 10
# Larger values would overflow in a variance.
_LARGEST = 1e100


@dataclass(frozen=True)
class ProbeScore:
    """Mean score of a model over the folds.

    Standard errors are corrected for folds that share their training rows (Nadeau and
    Bengio 2003): √((1/k + judged rows / fitted rows) · variance).
    """

    model: str
    metric: str
    mean: float
    standard_error: float
    gain: float  # mean difference to the baseline of the fold; positive is better for any metric
    gain_error: float


@dataclass(frozen=True)
class Probe:
    """What the probe measured: every model on every metric of the experiment."""

    metric: str  # the experiment's, by which the best model was chosen
    scores: tuple[ProbeScore, ...]
    best: str
    skill: float  # of the best model, from 0 to 1 (see `skill.py`)
    rows: int
    folds: int
    left_out: tuple[str, ...]  # leak suspects, not used
    unread: int  # number of further text features not used, because there are too many

    def score(self, model: str, metric: str | None = None) -> ProbeScore:
        """One score, by default on the experiment's metric."""
        wanted = metric or self.metric
        return next(s for s in self.scores if s.model == model and s.metric == wanted)


@dataclass(frozen=True)
class NoProbe:
    """Why there is no probe: one sentence."""

    reason: str


@dataclass(frozen=True, eq=False)
class _ProbedFold:
    """Encoded targets of both sides, and each model's predictions for the second."""

    y_fit: np.ndarray
    y: np.ndarray
    predictions: dict[str, np.ndarray]


def run_probe(subject: Subject, left_out: Sequence[str]) -> Probe | NoProbe:
    """Cross-validate the probe's models on the features that are not left out."""
    if subject.target.problem:
        return NoProbe(f"Nothing to predict: {subject.target.problem}.")
    features = readable(subject, left_out)
    unread = len(set(subject.features) - set(left_out)) - len(features)
    rows = subject.sample(subject.target.rows, most_rows(subject, len(features)))
    values, n_numbers = encoded(subject.frame[features].iloc[rows])
    if not values.shape[1]:
        return NoProbe("No number or text feature is left to learn from.")
    y, judged = subject.target.of(rows), []
    # Small fits on many threads wait for each other, above all on a busy machine.
    with threadpool_limits(limits=1):
        for fit, judge in folds(subject, rows, FOLDS):
            one_class = subject.spec.task != "regression" and len(np.unique(y[fit])) < 2
            if len(fit) >= _FEWEST_TO_FIT and not one_class:
                models = {
                    "linear": _linear(subject, n_numbers, values.shape[1]),
                    "lightgbm": small_lightgbm(subject, len(fit)),
                }
                predictions = {
                    name: predicted(subject, model, values, y, fit, judge)
                    for name, model in models.items()
                }
                judged.append(_ProbedFold(y[fit], y[judge], predictions))
    if len(judged) < 2:
        return NoProbe(
            f"{len(rows):,} rows do not make two folds to fit and score models on."
        )
    scores = tuple(
        _averaged(subject, judged, name, metric)
        for metric in subject.spec.metric_names
        for name in (BASELINE, *MODELS)
    )
    best = best_score(scores, subject.spec.metric).model
    skills = [
        skill(subject.spec.task, fold.y, fold.predictions[best]) for fold in judged
    ]
    return Probe(
        *(subject.spec.metric, scores, best, mean_of_known(skills, math.nan)),
        *(len(rows), len(judged), tuple(left_out), unread),
    )


def readable(subject: Subject, left_out: Sequence[str]) -> list[str]:
    """The features that a probe reads: not those left out, and not too many texts."""
    usable = [column for column in subject.features if column not in set(left_out)]
    unread = set([column for column in usable if column in subject.texts][MOST_TEXTS:])
    return [column for column in usable if column not in unread]


def most_rows(subject: Subject, features: int) -> int:
    """Rows that a probe reads at most."""
    cells_per_row = max(features, 1) * max(subject.target.n_classes, 2) / 2
    return int(np.clip(MOST_CELLS / cells_per_row, FEWEST_ROWS, MOST_ROWS))


def encoded(features: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Number and text features as float64 (n, columns), numbers first, and how many
    numbers there are.
    """
    kinds = {column: kind_of(features[column]) for column in features}
    known = [numbers_of(features[c]) for c, kind in kinds.items() if kind in NUMERIC]
    columns = [
        np.where(np.isfinite(x), np.clip(x, -_LARGEST, _LARGEST), np.nan) for x in known
    ]
    for column in [c for c, kind in kinds.items() if kind in TEXTS]:
        codes, _ = pd.factorize(as_text(features[column]), sort=True)
        counts = np.bincount(codes[codes >= 0])
        rank = np.empty(len(counts) + 1)
        place = np.minimum(np.arange(1, len(counts) + 1), _MOST_CODES)
        rank[np.argsort(-counts, kind="stable")] = place
        rank[-1] = 0  # code -1, a missing value
        columns.append(rank[codes])
    return np.column_stack(columns) if columns else np.empty((len(features), 0)), len(
        known
    )


def predicted(
    subject: Subject,
    model: Any,
    values: np.ndarray,
    y: np.ndarray,
    fit: np.ndarray,
    judge: np.ndarray,
) -> np.ndarray:
    """Fit a model on some positions and predict others, (n,) or (n, classes); an unseen
    class has 0.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # The linear model is good enough for a probe before it has converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(values[fit], y[fit])
    if subject.spec.task == "regression":
        return np.asarray(model.predict(values[judge]))
    probabilities = np.zeros((len(judge), subject.target.n_classes))
    probabilities[:, model.classes_.astype(int)] = model.predict_proba(values[judge])
    return probabilities[:, 1] if subject.spec.task == "binary" else probabilities


def small_lightgbm(subject: Subject, rows: int) -> Any:
    """An unfitted model that is fast on so many rows."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMRegressor if subject.spec.task == "regression" else LGBMClassifier
    trees_per_round = max(subject.target.n_classes - 1, 1)
    return kind(
        n_estimators=max(_ROUNDS // trees_per_round, _FEWEST_ROUNDS),
        num_leaves=15,
        min_child_samples=int(np.clip(rows // 20, 2, 20)),
        max_bin=63,
        n_jobs=1,
        random_state=subject.spec.seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )


def _linear(subject: Subject, n_numbers: int, n_columns: int) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    scaled = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    categories = OneHotEncoder(
        handle_unknown="ignore", min_frequency=5, sparse_output=False
    )
    parts = [("numbers", scaled, list(range(n_numbers)))]
    parts += [("categories", categories, list(range(n_numbers, n_columns)))]
    columns = ColumnTransformer(parts)
    regression = subject.spec.task == "regression"
    return make_pipeline(
        columns, Ridge() if regression else LogisticRegression(max_iter=100)
    )


def _averaged(
    subject: Subject, judged: list[_ProbedFold], model: str, metric: str
) -> ProbeScore:
    """Mean score and mean gain over the folds, each with its standard error."""
    task, classes = subject.spec.task, subject.target.n_classes
    baselines = [
        baseline_score(metric, fold.y_fit, fold.y, task, classes) for fold in judged
    ]
    scores = baselines if model == BASELINE else []
    for fold in judged if model != BASELINE else ():
        threshold = 0.5
        if task == "binary" and metric_of(metric).by_threshold:
            # The decision threshold that is best on the other folds.
            others = [other for other in judged if other is not fold]
            y = np.concatenate([other.y for other in others])
            prediction = np.concatenate([other.predictions[model] for other in others])
            threshold = choose_threshold(metric, y, prediction).value
        scores.append(score(metric, fold.y, fold.predictions[model], threshold))
    gains = metric_of(metric).sign * (np.array(scores) - np.array(baselines))
    ratios = np.array([len(fold.y) / len(fold.y_fit) for fold in judged])
    averages = []
    for values in (np.array(scores), gains):
        known, error = np.isfinite(values), math.nan
        if known.sum() >= 2:
            factor = 1 / known.sum() + ratios[known].mean()
            error = float(np.sqrt(factor * np.var(values[known], ddof=1)))
        averages += [mean_of_known(values, math.nan), error]
    return ProbeScore(model, metric, *averages)


def best_score(scores: Sequence[ProbeScore], metric: str) -> ProbeScore:
    """The score of the model, other than the baseline, that is best on a metric."""
    best, *others = [s for s in scores if s.metric == metric and s.model != BASELINE]
    for other in others:
        best = other if metrics.better(metric, other.mean, best.mean) else best
    return best


class ProbeNoBetterThanBaseline(Rule):
    """No probe model is better than the baseline (no features): there may be nothing to
    learn.
    """

    code, title = "probe_no_better_than_baseline", "No signal in the features"
    advice = (
        "Look for features that predict the outcome before you spend a search on these."
    )
    threshold = Threshold(
        2, 0, 100, "standard errors between probe and baseline, found below it"
    )

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if isinstance(probe, NoProbe):
            return self.not_applicable(probe.reason)
        errors = {}
        for one in probe.scores:
            known = math.isfinite(one.gain) and math.isfinite(one.gain_error)
            if one.metric == probe.metric and one.model != BASELINE and known:
                without_spread = math.copysign(math.inf, one.gain) if one.gain else 0.0
                errors[one] = (
                    one.gain / one.gain_error if one.gain_error > 0 else without_spread
                )
        if not errors:
            return self.not_applicable(
                f"{probe.metric} is undefined on the folds of the probe."
            )
        clearest = max(errors, key=lambda one: errors[one])
        limit = self.limit(subject)
        evidence = (
            f"The probe with the clearest gain ({clearest.model}) reaches "
            f"{numbers.score(clearest.mean)} {probe.metric}, the baseline "
            f"{numbers.score(probe.score(BASELINE).mean)}: a gain of "
            f"{numbers.spread(clearest.gain, clearest.gain_error)} per fold, "
            f"{errors[clearest]:.3g} standard errors."
        )
        return self.found(
            "condition" if errors[clearest] < limit else None,
            evidence,
            errors[clearest],
            limit,
        )


class ProbeNearlyPerfect(Rule):
    """A simple model predicts nearly everything: an easy task, or a leak over several
    columns.
    """

    code, title = "probe_nearly_perfect", "Too good to be true"
    advice = "Ask when the strongest columns become known; accept it if the task is that easy."
    threshold = Threshold(0.995, 0, 1, "skill of the best probe, found from it")

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if isinstance(probe, NoProbe):
            return self.not_applicable(probe.reason)
        if not math.isfinite(probe.skill):
            return self.not_applicable(
                "The skill is undefined on the folds of the probe."
            )
        limit = self.limit(subject)
        strongest = [association.column for association in subject.associations[:5]]
        return self.found(
            "condition" if probe.skill >= limit else None,
            f"The best probe ({probe.best}) has a skill of {numbers.share(probe.skill)}, as "
            f"{NAMES[subject.spec.task]}.",
            probe.skill,
            limit,
            [column for column in strongest if column not in probe.left_out],
        )


class CriterionOutOfReach(Rule):
    """An acceptance criterion far above what the probe, an estimate, reached; it never
    blocks.
    """

    code, title = "criterion_out_of_reach", "Criterion far above the probe"
    advice = "Lower the criterion, or add features or rows; a search seldom closes such a gap."
    threshold = Threshold(
        0.25, 0, 1e6, "gain missing over the probe's gain, found above it"
    )

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if not subject.spec.acceptance:
            return self.not_applicable("The experiment names no acceptance criterion.")
        if isinstance(probe, NoProbe):
            return self.not_applicable(probe.reason)
        missing = []
        for criterion in subject.spec.acceptance:
            best = best_score(probe.scores, criterion.metric)
            baseline = probe.score(BASELINE, criterion.metric)
            sign = metric_of(criterion.metric).sign
            lacking = (criterion.limit - best.mean) * sign
            gained = (best.mean - baseline.mean) * sign
            number = 0.0
            if not lacking <= 0:
                unreached = math.nan if math.isnan(gained) else math.inf
                number = lacking / gained if gained > 0 else unreached
            if not math.isnan(number):
                evidence = (
                    f"Best probe ({best.model}) {numbers.spread(best.mean, best.standard_error)} "
                    f"{criterion.metric}, baseline {numbers.score(baseline.mean)}, criterion "
                    f"{criterion.limit:g}: the gain that is still missing is {number:.3g} times "
                    "the gain of the probe."
                )
                missing.append((number, evidence))
        if not missing:
            return self.not_applicable(
                "The criteria are undefined on the folds of the probe."
            )
        number, evidence = max(missing, key=lambda one: one[0])
        limit = self.limit(subject)
        return self.found(
            "condition" if number > limit else None, evidence, number, limit
        )


PROBE_RULES = (ProbeNoBetterThanBaseline(), ProbeNearlyPerfect(), CriterionOutOfReach())
