"""The probe: simple models on a sample, before a search, and the rules about them.

Baseline, a linear model and a small LightGBM are cross-validated on visible rows, in
folds that follow the experiment's split.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec.search import Criterion
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Threshold
from experiment_pipeline.stages.data_analysis.skill import NAMES, mean_of_known, skill
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.statistics.metrics import better, metric_of
from experiment_pipeline.statistics.scores import baseline_score, score
from experiment_pipeline.statistics.threads import one_thread
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
    # Mean difference to the baseline of the fold; positive is better for any metric.
    gain: float
    gain_error: float

    @property
    def gain_in_errors(self) -> float:
        """The gain in its standard errors; nan where one of them is undefined."""
        if not (math.isfinite(self.gain) and math.isfinite(self.gain_error)):
            return math.nan
        if self.gain_error > 0:
            return self.gain / self.gain_error
        return math.copysign(math.inf, self.gain) if self.gain else 0.0


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
        metric = metric or self.metric
        return next(s for s in self.scores if (s.model, s.metric) == (model, metric))


@dataclass(frozen=True)
class NoProbe:
    """Why there is no probe: one sentence."""

    reason: str


@dataclass(frozen=True, eq=False)
class _JudgedFold:
    """Encoded targets of both sides, and each model's predictions for the second."""

    y_fit: np.ndarray
    y: np.ndarray
    predictions: dict[str, np.ndarray]


def run_probe(subject: Subject, left_out: Sequence[str]) -> Probe | NoProbe:
    """Cross-validate the probe's models on the features that are not left out."""
    if subject.target.problem:
        return NoProbe(f"Nothing to predict: {subject.target.problem}.")
    sample = ProbeSample.of(subject, subject.target.rows, left_out)
    if not sample.encoded.shape[1]:
        return NoProbe("No number or text feature is left to learn from.")
    y = sample.y
    judged = []
    # Small fits on many threads wait for each other, above all on a busy machine.
    with one_thread():
        for fit, judge in subject.cross_fit(sample.rows, FOLDS).folds:
            if len(fit) >= _FEWEST_TO_FIT and sample.can_fit(fit):
                predictions = {
                    "linear": sample.linear(fit, judge),
                    "lightgbm": sample.lightgbm(fit, judge),
                }
                judged.append(_JudgedFold(y[fit], y[judge], predictions))
    if len(judged) < 2:
        rows = f"{len(y):,} rows"
        return NoProbe(f"{rows} do not make two folds to fit and score models on.")
    scores = tuple(
        _probe_score(subject, judged, model, metric)
        for metric in subject.spec.metric_names
        for model in (BASELINE, *MODELS)
    )
    best = best_score(scores, subject.spec.metric).model
    skills = [
        skill(subject.spec.task, fold.y, fold.predictions[best]) for fold in judged
    ]
    return Probe(
        metric=subject.spec.metric,
        scores=scores,
        best=best,
        skill=mean_of_known(skills, math.nan),
        rows=len(y),
        folds=len(judged),
        left_out=tuple(left_out),
        unread=sample.unread,
    )


@dataclass(frozen=True, eq=False)
class ProbeSample:
    """Rows that a probe reads, and the models that it fits on some of them.

    A model takes positions (m,) to fit on and to judge; it predicts (judge,) numbers or
    probabilities of the second class, or (judge, classes), 0 for an unseen class.
    """

    subject: Subject
    rows: np.ndarray  # positions (m,) in the table
    y: np.ndarray  # (m,) encoded targets
    encoded: np.ndarray  # float64 (m, columns), numbers first
    n_numbers: int
    unread: int  # text features beyond MOST_TEXTS

    @classmethod
    def of(
        cls, subject: Subject, rows: np.ndarray, left_out: Sequence[str] = ()
    ) -> "ProbeSample":
        """Draw from rows with a target, and encode the features not left out."""
        usable = [column for column in subject.features if column not in left_out]
        unread = [column for column in usable if column in subject.texts][MOST_TEXTS:]
        features = [column for column in usable if column not in set(unread)]
        cells_per_row = max(len(features), 1) * max(subject.target.n_classes, 2) / 2
        most_rows = int(np.clip(MOST_CELLS / cells_per_row, FEWEST_ROWS, MOST_ROWS))
        rows = subject.sample(rows, most_rows)
        encoded, n_numbers = _encode(subject.frame[features].iloc[rows])
        y = subject.target.of(rows)
        return cls(subject, rows, y, encoded, n_numbers, len(unread))

    def can_fit(self, rows: np.ndarray) -> bool:
        """Whether some of the rows have two classes, if there are classes."""
        return (
            self.subject.spec.task == "regression" or len(np.unique(self.y[rows])) > 1
        )

    def lightgbm(self, fit: np.ndarray, judge: np.ndarray) -> np.ndarray:
        """Predict by a LightGBM that is fast on so many rows."""
        from lightgbm import LGBMClassifier, LGBMRegressor

        regression = self.subject.spec.task == "regression"
        model = LGBMRegressor if regression else LGBMClassifier
        trees_per_round = max(self.subject.target.n_classes - 1, 1)
        settings = {
            "n_estimators": max(_ROUNDS // trees_per_round, _FEWEST_ROUNDS),
            "num_leaves": 15,
            "min_child_samples": int(np.clip(len(fit) // 20, 2, 20)),
            "max_bin": 63,
            "n_jobs": 1,
            "random_state": self.subject.spec.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        return self._predicted(model(**settings), fit, judge)

    def linear(self, fit: np.ndarray, judge: np.ndarray) -> np.ndarray:
        """Predict by a linear model on scaled numbers and one-hot categories."""
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
        columns = list(range(self.encoded.shape[1]))
        encoder = ColumnTransformer(
            [
                ("numbers", scaled, columns[: self.n_numbers]),
                ("categories", categories, columns[self.n_numbers :]),
            ]
        )
        regression = self.subject.spec.task == "regression"
        model = Ridge() if regression else LogisticRegression(max_iter=100)
        return self._predicted(make_pipeline(encoder, model), fit, judge)

    def _predicted(self, model: Any, fit: np.ndarray, judge: np.ndarray) -> np.ndarray:
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            # The linear model is good enough for a probe before it has converged.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(self.encoded[fit], self.y[fit])
        task = self.subject.spec.task
        if task == "regression":
            return np.asarray(model.predict(self.encoded[judge]))
        probabilities = np.zeros((len(judge), self.subject.target.n_classes))
        classes = model.classes_.astype(int)
        probabilities[:, classes] = model.predict_proba(self.encoded[judge])
        return probabilities[:, 1] if task == "binary" else probabilities


def _encode(features: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Number and text features as float64 (n, columns), and how many are numbers."""
    columns, texts = [], []
    for column in features:
        kind = kind_of(features[column])
        if kind in NUMERIC:
            values = numbers_of(features[column])
            clipped = np.clip(values, -_LARGEST, _LARGEST)
            columns.append(np.where(np.isfinite(values), clipped, np.nan))
        elif kind in TEXTS:
            texts.append(_ranks_of_texts(features[column]))
    values = np.column_stack([np.empty((len(features), 0)), *columns, *texts])
    return values, len(columns)


def _ranks_of_texts(column: pd.Series) -> np.ndarray:
    """Rank (n,) of each text by its frequency, at most 50; 0 for a missing one."""
    codes, _ = pd.factorize(as_text(column), sort=True)
    counts = np.bincount(codes[codes >= 0])
    ranks = np.zeros(len(counts) + 1)  # the last one is of code -1
    places = np.arange(1, len(counts) + 1)
    ranks[np.argsort(-counts, kind="stable")] = np.minimum(places, _MOST_CODES)
    return ranks[codes]


def _probe_score(
    subject: Subject, folds: Sequence[_JudgedFold], model: str, metric: str
) -> ProbeScore:
    task, classes = subject.spec.task, subject.target.n_classes
    by_threshold = task == "binary" and metric_of(metric).by_threshold
    baselines, scores = [], []
    for fold in folds:
        baseline = baseline_score(metric, fold.y_fit, fold.y, task, classes)
        baselines.append(baseline)
        if model == BASELINE:
            scores.append(baseline)
            continue
        threshold = 0.5
        if by_threshold:
            threshold = _best_threshold(
                [f for f in folds if f is not fold], model, metric
            )
        scores.append(score(metric, fold.y, fold.predictions[model], threshold))
    gains = metric_of(metric).sign * (np.array(scores) - np.array(baselines))
    ratios = np.array([len(fold.y) / len(fold.y_fit) for fold in folds])
    mean, standard_error = _mean_with_error(np.array(scores), ratios)
    gain, gain_error = _mean_with_error(gains, ratios)
    return ProbeScore(model, metric, mean, standard_error, gain, gain_error)


def _best_threshold(folds: Sequence[_JudgedFold], model: str, metric: str) -> float:
    y = np.concatenate([fold.y for fold in folds])
    prediction = np.concatenate([fold.predictions[model] for fold in folds])
    return choose_threshold(metric, y, prediction).value


def _mean_with_error(values: np.ndarray, ratios: np.ndarray) -> tuple[float, float]:
    """The mean over the folds (k,), and its standard error; nan where undefined."""
    finite = np.isfinite(values)
    error = math.nan
    if finite.sum() >= 2:
        factor = 1 / finite.sum() + ratios[finite].mean()
        error = float(np.sqrt(factor * np.var(values[finite], ddof=1)))
    return mean_of_known(values, math.nan), error


def best_score(scores: Sequence[ProbeScore], metric: str) -> ProbeScore:
    """The score of the model, other than the baseline, that is best on a metric."""
    models = [s for s in scores if s.metric == metric and s.model != BASELINE]
    best = models[0]
    for model in models[1:]:
        if better(metric, model.mean, best.mean):
            best = model
    return best


class ProbeNoBetterThanBaseline(Rule):
    """No probe model is better than the baseline, which has no features."""

    code = "probe_no_better_than_baseline"
    title = "No signal in the features"
    advice = (
        "Look for features that predict the outcome before you spend a search on these."
    )
    threshold = Threshold(
        2, 0, 100, "standard errors between probe and baseline, found below it"
    )

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if isinstance(probe, NoProbe):
            return self.not_applicable(probe.reason)
        scores = [
            score
            for score in probe.scores
            if (score.metric == probe.metric and score.model != BASELINE)
            and not math.isnan(score.gain_in_errors)
        ]
        if not scores:
            undefined = f"{probe.metric} is undefined on the folds of the probe."
            return self.not_applicable(undefined)
        clearest = max(scores, key=lambda score: score.gain_in_errors)
        errors, limit = clearest.gain_in_errors, self.limit(subject)
        evidence = (
            f"The probe with the clearest gain ({clearest.model}) reaches "
            f"{numbers.score(clearest.mean)} {probe.metric}, the baseline "
            f"{numbers.score(probe.score(BASELINE).mean)}: a gain of "
            f"{numbers.spread(clearest.gain, clearest.gain_error)} per fold, "
            f"{errors:.3g} standard errors."
        )
        severity = "condition" if errors < limit else None
        finding = self.found(severity, evidence, errors, limit)
        if not probe.left_out:
            return finding
        names = numbers.some_of([numbers.shown(name) for name in probe.left_out])
        return replace(
            finding,
            title=f"No signal beside the leak suspects ({names})",
            evidence=f"{evidence} Leak suspects are not used by the probe: {names}.",
            advice=(
                "If the suspects are known before the target, accept that finding: "
                "then they are features. Else "
                f"{self.advice[0].lower()}{self.advice[1:]}"
            ),
        )


class ProbeNearlyPerfect(Rule):
    """A simple model predicts nearly everything: an easy task, or a leak."""

    code = "probe_nearly_perfect"
    title = "Too good to be true"
    advice = (
        "Ask when the strongest columns become known; accept it if the task is that "
        "easy."
    )
    threshold = Threshold(0.995, 0, 1, "skill of the best probe, found from it")

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if isinstance(probe, NoProbe):
            return self.not_applicable(probe.reason)
        if not math.isfinite(probe.skill):
            undefined = "The skill is undefined on the folds of the probe."
            return self.not_applicable(undefined)
        limit = self.limit(subject)
        strongest = [association.column for association in subject.associations[:5]]
        return self.found(
            severity="condition" if probe.skill >= limit else None,
            evidence=(
                f"The best probe ({probe.best}) has a skill of "
                f"{numbers.share(probe.skill)}, as {NAMES[subject.spec.task]}."
            ),
            number=probe.skill,
            threshold=limit,
            columns=[column for column in strongest if column not in probe.left_out],
        )


class CriterionOutOfReach(Rule):
    """An acceptance criterion far above what the probe reached; it never blocks."""

    code = "criterion_out_of_reach"
    title = "Criterion far above the probe"
    advice = (
        "Lower the criterion, or add features or rows; a search seldom closes such a "
        "gap."
    )
    threshold = Threshold(
        0.25, 0, 1e6, "gain missing over the probe's gain, found above it"
    )

    def check(self, subject: Subject, probe: Probe | NoProbe) -> Finding:
        if not subject.spec.acceptance:
            return self.not_applicable("The experiment names no acceptance criterion.")
        if isinstance(probe, NoProbe):
            return self.not_applicable(probe.reason)
        measured = [
            (_missing_gain(probe, criterion), criterion)
            for criterion in subject.spec.acceptance
        ]
        defined = [pair for pair in measured if not math.isnan(pair[0])]
        if not defined:
            undefined = "The criteria are undefined on the folds of the probe."
            return self.not_applicable(undefined)
        missing, criterion = max(defined, key=lambda pair: pair[0])
        best = best_score(probe.scores, criterion.metric)
        baseline = probe.score(BASELINE, criterion.metric)
        limit = self.limit(subject)
        evidence = (
            f"Best probe ({best.model}) "
            f"{numbers.spread(best.mean, best.standard_error)} {criterion.metric}, "
            f"baseline {numbers.score(baseline.mean)}, criterion "
            f"{criterion.limit:g}: the gain that is still missing is {missing:.3g} "
            "times the gain of the probe."
        )
        severity = "condition" if missing > limit else None
        return self.found(severity, evidence, missing, limit)


def _missing_gain(probe: Probe, criterion: Criterion) -> float:
    """Gain that a criterion asks for beyond the probe, in the probe's gains.

    0 where the probe meets it; infinite where the probe gains nothing; nan: undefined.
    """
    best = best_score(probe.scores, criterion.metric).mean
    baseline = probe.score(BASELINE, criterion.metric).mean
    sign = metric_of(criterion.metric).sign
    lacking = (criterion.limit - best) * sign
    gained = (best - baseline) * sign
    if lacking <= 0:
        return 0.0
    if math.isnan(gained):
        return math.nan
    return lacking / gained if gained > 0 else math.inf


PROBE_RULES = (ProbeNoBetterThanBaseline(), ProbeNearlyPerfect(), CriterionOutOfReach())
