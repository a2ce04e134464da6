"""How often the report's horizons, a paired comparison and the drift at `predict` are
right: made-up days, pairs of models, and columns, of which it is known what changed.
"""

import numpy as np
import pandas as pd
from scipy.special import expit

from experiment_pipeline.intake.profile import profile
from experiment_pipeline.prediction.drift import DriftCounts, model_profile
from experiment_pipeline.prediction.rows import Signature
from experiment_pipeline.stages.validation_report import effects
from experiment_pipeline.statistics.caveats import undeclared_entities_note
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction, paired_difference
from experiment_pipeline_tests.bench.simulations import (
    of_each,
    repeated,
)
from experiment_pipeline_tests.bench.statistics_coverage import luck_of
from experiment_pipeline_tests.stages.leaderboard.board_examples import spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import judged

_Generator = np.random.Generator
_BINARY = ("roc_auc", "log_loss")
# Rows of the population: the truth is known much better than a sample knows it.
POPULATION = 400_000
_DAYS, _A_DAY = 100, 30
_BY_TIME = {"split": {"by": "time", "column": "day"}}
_FITTED = pd.DataFrame({"day": [pd.Timestamp("2024-01-31")]})


def _predicted(
    generator: _Generator, metric: str, known: np.ndarray, shared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and predictions of a model that knows (n,) of a signal; `shared`: luck.

    Numbers have errors, labels are drawn.
    """
    if metric in _BINARY:
        y = generator.random(len(known)) < expit(1.2 * known - 0.8 + shared)
        return y * 1.0, expit(1.2 * known - 0.8)
    return known + shared + 0.7 * generator.normal(size=len(known)), known


@repeated
def decay_is_named(
    generator: _Generator, *, metric: str, memory: float, lost: float = 0.0
) -> bool:
    """Whether a stretch of the validation days is said to be worse than the first.

    The model loses a share of its signal, evenly until the last day.
    """
    day = np.repeat(np.arange(_DAYS), _A_DAY)
    luck = 0.4 * luck_of(generator, _DAYS, memory)[day]
    signal, noise = generator.normal(size=(2, len(day)))
    y, _ = _predicted(generator, metric, signal, luck)
    kept = 1 - lost * day / _DAYS
    blurred = kept * signal + np.sqrt(1 - kept**2) * noise
    prediction = expit(1.2 * blurred - 0.8) if metric in _BINARY else blurred
    task = "binary" if metric in _BINARY else "regression"
    days = pd.Timestamp("2024-02-01") + pd.to_timedelta(day, unit="D")
    model = judged(
        spec_of(metric=metric, task=task, **_BY_TIME),
        SetPrediction(y, prediction, day.view(ConsecutiveClusters)),
        rows=pd.DataFrame({"day": days}),
        fitted=_FITTED,
    )
    return any(stretch.clearly_worse for stretch in effects.by_horizon(model))


def _pair(
    generator: _Generator, metric: str, clusters: int, size: int, memory: float | None
) -> tuple[SetPrediction, SetPrediction]:
    """The predictions of two models for the same rows: one knows a third more."""
    codes = np.repeat(np.arange(clusters), size)
    luck = 0.5 * luck_of(generator, clusters, memory)[codes]
    known, more = generator.normal(size=(2, len(codes)))
    y, _ = _predicted(generator, metric, known + 0.6 * more, luck)
    if memory is not None:
        codes = codes.view(ConsecutiveClusters)
    less = 0.9 * known
    answers = (less, known + 0.5 * more)
    if metric in _BINARY:
        answers = tuple(expit(1.2 * answer - 0.8) for answer in answers)
    first, second = (SetPrediction(y, answer, codes) for answer in answers)
    return first, second


def difference_held(
    samples: int,
    seed: int,
    *,
    metric: str,
    clusters: int,
    size: int = 1,
    memory: float | None = None,
) -> float:
    """Return how often the interval of a paired difference holds the true one."""
    count = POPULATION // size
    first, second = _pair(np.random.default_rng([seed]), metric, count, size, memory)
    truth = second.score(metric) - first.score(metric)
    held = 0
    for generator in of_each(samples, seed):
        first, second = _pair(generator, metric, clusters, size, memory)
        found = paired_difference(
            first.linearise(metric), second.linearise(metric), first.layout(metric)
        )
        held += found.low <= truth <= found.high
    return held / samples


@repeated
def id_is_named(
    generator: _Generator, *, metric: str, customers: int, luck: float = 0.0
) -> bool:
    """Whether a column of customers, or one of three others, is named as an id that is
    not declared: customers share luck over 100 days, campaigns and shops do not.
    """
    day = np.repeat(np.arange(_DAYS), 20)
    columns = {
        "customer": generator.integers(0, customers, len(day)),
        "campaign": generator.zipf(1.5, len(day)) % 200,
        "shop": generator.integers(0, 40, len(day)),
        "week": day // 3,
    }
    shared = luck * generator.normal(size=customers)[columns["customer"]]
    days = 0.3 * luck_of(generator, _DAYS, 0.5)[day]
    y, prediction = _predicted(
        generator, metric, generator.normal(size=len(day)), shared + days
    )
    rows = SetPrediction(y, prediction, day.view(ConsecutiveClusters))
    note = undeclared_entities_note(metric, rows, columns)
    return note is not None and (not luck or "value of customer " in note)


_TOWNS = np.array(["a", "b", "c", "d", "e"])
_SIGNATURE = Signature(
    "regression",
    "price",
    {"area": "float64", "income": "float64", "rooms": "int64", "town": "str"},
    (),
    (),
    None,
)


def _delivered(generator: _Generator, rows: int, shift: float) -> pd.DataFrame:
    """Four features: a normal one, which may shift by standard deviations, one with a
    long tail, whole numbers with gaps, and a text.
    """
    rooms = pd.Series(generator.poisson(3, rows) * 1.0)
    return pd.DataFrame(
        {
            "area": generator.normal(80 + 20 * shift, 20, rows),
            "income": generator.lognormal(sigma=1.2, size=rows),
            "rooms": rooms.mask(generator.random(rows) < 0.1),
            "town": pd.array(
                generator.choice(_TOWNS, rows, p=[0.5, 0.25, 0.15, 0.08, 0.02]),
                dtype="str",
            ),
        }
    )


@repeated
def drift_is_named(generator: _Generator, *, rows: int, shift: float = 0.0) -> bool:
    """Whether `predict` says of any of five columns that it has a large drift."""

    def answers(features: pd.DataFrame) -> np.ndarray:
        return features["area"].to_numpy() + generator.normal(size=len(features))

    fitted = _delivered(generator, 4_000, 0.0)
    known = model_profile(
        profile(fitted, 0.0), answers(_delivered(generator, 800, 0.0)), (), _SIGNATURE
    )
    counts, new = DriftCounts(known), _delivered(generator, rows, shift)
    counts.add(new, pd.DataFrame({"prediction": answers(new)}))
    return not counts.in_words()[0].startswith("0 of 5 columns")
