"""The probe: scores of simple models on a sample, before a search.

In: a subject and the features to leave out. Out: scores of the baseline, a linear model and a small
LightGBM, cross-validated on visible rows in folds that follow the experiment's split. Medians,
scales and categories are learnt within each fold. The work is bounded by rows, columns, classes and
rounds, not by time, so the result does not depend on the machine.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from experiment_pipeline.stages.data_analysis.skill import mean_of_known, skill
from experiment_pipeline.stages.data_analysis.subject import Subject, folds
from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import baseline_score, score
from experiment_pipeline.statistics.thresholds import choose_threshold
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

MOST_CODES = 50
# Larger values would overflow in a variance.
_LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of n rows: numbers, then categories as codes.

    Missing numbers are nan, a missing category is code 0, rare ones share the last code.
    """

    matrix: np.ndarray  # float64 (n, numbers + categories)
    numbers: int


def encode(frame: pd.DataFrame, features: Sequence[str]) -> Encoded:
    """Encode number and text features; others are left out."""
    kinds = {column: kind_of(frame[column]) for column in features}
    numbers = [numbers_of(frame[c]) for c, kind in kinds.items() if kind in NUMERIC]
    columns = [np.where(np.isfinite(x), np.clip(x, -_LARGEST, _LARGEST), np.nan) for x in numbers]
    columns += [_codes(frame[c]) for c, kind in kinds.items() if kind in TEXTS]
    values = np.column_stack(columns) if columns else np.empty((len(frame), 0))
    return Encoded(values, len(numbers))


def _codes(column: pd.Series) -> np.ndarray:
    """Codes (n,): 0 missing, 1 the most frequent text, MOST_CODES all texts beyond."""
    codes, _ = pd.factorize(as_text(column), sort=True)
    counts = np.bincount(codes[codes >= 0])
    rank = np.empty(len(counts) + 1)
    rank[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(1, len(counts) + 1), MOST_CODES)
    rank[-1] = 0  # code -1, a missing value
    return rank[codes]


MODELS = ("linear", "lightgbm")
ROUNDS = 60
_FEWEST_ROUNDS = 10


def fitted_models(
    subject: Subject, encoded: Encoded, y: np.ndarray, fit: np.ndarray
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the estimator of each of MODELS, fitted to `y` (m,) on some positions."""
    from sklearn.exceptions import ConvergenceWarning

    for name in MODELS:
        model = _linear(subject, encoded) if name == "linear" else _lightgbm(subject, len(fit))
        with warnings.catch_warnings():
            # The linear model is good enough for a probe before it has converged.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(encoded.matrix[fit], y[fit])
        yield name, model


def predict(subject: Subject, model: Any, values: np.ndarray) -> np.ndarray:
    """Predictions (n,) or (n, classes) as metrics take them; an unseen class has probability 0."""
    if subject.spec.task == "regression":
        return np.asarray(model.predict(values))
    probabilities = np.zeros((len(values), subject.target.n_classes))
    probabilities[:, model.classes_.astype(int)] = model.predict_proba(values)
    return probabilities[:, 1] if subject.spec.task == "binary" else probabilities


def _lightgbm(subject: Subject, rows: int) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMRegressor if subject.spec.task == "regression" else LGBMClassifier
    trees_per_round = max(subject.target.n_classes - 1, 1)
    return kind(
        n_estimators=max(ROUNDS // trees_per_round, _FEWEST_ROUNDS),
        num_leaves=15,
        min_child_samples=int(np.clip(rows // 20, 2, 20)),
        max_bin=63,
        n_jobs=1,
        random_state=subject.spec.seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )


def _linear(subject: Subject, encoded: Encoded) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    categories = OneHotEncoder(handle_unknown="ignore", min_frequency=5, sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", numbers, list(range(encoded.numbers))),
            ("categories", categories, list(range(encoded.numbers, encoded.matrix.shape[1]))),
        ]
    )
    regression = subject.spec.task == "regression"
    return make_pipeline(columns, Ridge() if regression else LogisticRegression(max_iter=100))


BASELINE = "baseline"
MOST_ROWS = 10_000
FEWEST_ROWS = 1_000
# Rows are thinned until rows times features times classes are at most this many.
MOST_CELLS = 2_000_000
# One-hot encoding costs time per column, however few rows there are.
MOST_TEXTS = 200
FOLDS = 5
_FEWEST_TO_FIT = 10


@dataclass(frozen=True)
class ProbeScore:
    """Mean score of a model over the folds.

    Attributes:
        standard_error: of the mean, corrected for folds that share their training rows (Nadeau
            and Bengio 2003): √((1/k + judged rows / fitted rows) · variance).
        gain: mean difference to the baseline of the same fold; positive is better for any metric.
        gain_error: standard error of the gain.
    """

    model: str
    metric: str
    mean: float
    standard_error: float
    gain: float
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


def best_score(scores: Sequence[ProbeScore], metric: str) -> ProbeScore:
    """The score of the model, other than the baseline, that is best on a metric."""
    best, *others = [s for s in scores if s.metric == metric and s.model != BASELINE]
    for other in others:
        best = other if metrics.better(metric, other.mean, best.mean) else best
    return best


@dataclass(frozen=True)
class NoProbe:
    """Why there is no probe: one sentence."""

    reason: str


@dataclass(frozen=True, eq=False)
class _ProbedFold:
    """One fold: encoded targets of both sides, and each model's predictions for the second."""

    y_fit: np.ndarray
    y: np.ndarray
    predictions: dict[str, np.ndarray]


def run_probe(subject: Subject, left_out: Sequence[str]) -> Probe | NoProbe:
    """Cross-validate the probe's models on the features that are not left out."""
    if subject.target.problem:
        return NoProbe(f"Nothing to predict: {subject.target.problem}.")
    usable = [column for column in subject.features if column not in set(left_out)]
    unread = [column for column in usable if column in subject.texts][MOST_TEXTS:]
    features = [column for column in usable if column not in set(unread)]
    cells_per_row = max(len(features), 1) * max(subject.target.n_classes, 2) / 2
    most_rows = int(np.clip(MOST_CELLS / cells_per_row, FEWEST_ROWS, MOST_ROWS))
    rows = subject.sample(subject.target.rows, most_rows)
    encoded = encode(subject.frame[features].iloc[rows], features)
    if not encoded.matrix.shape[1]:
        return NoProbe("No number or text feature is left to learn from.")
    # Small fits on many threads wait for each other, above all on a busy machine.
    with threadpool_limits(limits=1):
        judged = list(_judge(subject, rows, encoded))
    if len(judged) < 2:
        return NoProbe(f"{len(rows):,} rows do not make two folds with every class to learn.")
    metric = subject.spec.metric
    scores = tuple(
        _averaged(subject, judged, name, wanted)
        for wanted in subject.spec.metric_names
        for name in (BASELINE, *MODELS)
    )
    best = best_score(scores, metric).model
    skills = [skill(subject.spec.task, fold.y, fold.predictions[best]) for fold in judged]
    mean_skill = mean_of_known(skills, math.nan)
    return Probe(
        *(metric, scores, best, mean_skill),
        *(len(rows), len(judged), tuple(left_out), len(unread)),
    )


def _judge(subject: Subject, rows: np.ndarray, encoded: Encoded) -> Iterator[_ProbedFold]:
    """Fit and predict every usable fold."""
    y = subject.target.of(rows)
    classification = subject.spec.task != "regression"
    for fit, judge in folds(subject, rows, FOLDS):
        if len(fit) < _FEWEST_TO_FIT or (classification and len(np.unique(y[fit])) < 2):
            continue
        predictions = {
            name: predict(subject, model, encoded.matrix[judge])
            for name, model in fitted_models(subject, encoded, y, fit)
        }
        yield _ProbedFold(y[fit], y[judge], predictions)


def _scores(subject: Subject, judged: list[_ProbedFold], model: str, metric: str) -> list[float]:
    task, classes = subject.spec.task, subject.target.n_classes
    if model == BASELINE:
        return [baseline_score(metric, f.y_fit, f.y, task, classes) for f in judged]
    scores = []
    for number, fold in enumerate(judged):
        threshold = 0.5
        if task == "binary" and METRICS[metric].by_threshold:
            # The decision threshold that is best on the other folds.
            others = judged[:number] + judged[number + 1 :]
            y = np.concatenate([other.y for other in others])
            prediction = np.concatenate([other.predictions[model] for other in others])
            threshold = choose_threshold(metric, y, prediction).value
        scores.append(score(metric, fold.y, fold.predictions[model], threshold))
    return scores


def _averaged(subject: Subject, judged: list[_ProbedFold], model: str, metric: str) -> ProbeScore:
    scores = np.array(_scores(subject, judged, model, metric))
    gains = scores - np.array(_scores(subject, judged, BASELINE, metric))
    gains *= METRICS[metric].sign
    mean, gain = mean_of_known(scores, math.nan), mean_of_known(gains, math.nan)
    errors = _error_of_mean(scores, judged), _error_of_mean(gains, judged)
    return ProbeScore(model, metric, mean, errors[0], gain, errors[1])


def _error_of_mean(values: np.ndarray, judged: list[_ProbedFold]) -> float:
    known = np.isfinite(values)
    if known.sum() < 2:
        return float("nan")
    ratios = np.array([len(fold.y) / len(fold.y_fit) for fold in judged])
    factor = 1 / known.sum() + ratios[known].mean()
    return float(np.sqrt(factor * np.var(values[known], ddof=1)))
