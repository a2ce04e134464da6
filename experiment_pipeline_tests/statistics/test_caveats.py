"""Caveats name intervals that are too narrow, and seldom other ones."""

from functools import partial

import numpy as np
import pytest

from experiment_pipeline.statistics.caveats import caveats, undeclared_entities_note
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench.statistics_coverage import claims, labels

NUMBERS, RANKS = ("rmse", "mae", "r2"), ("roc_auc", "log_loss")


def _numbers(errors: np.ndarray) -> SetPrediction:
    y = 10 + np.linspace(-1, 1, len(errors))
    return SetPrediction(y, y + errors, np.arange(len(y)))


def _days(generator: np.random.Generator, memory: float) -> SetPrediction:
    return labels(0.2, 30, luck=1.0, memory=memory)(generator, 80)


def _caveats(metrics: tuple[str, ...], predicted: SetPrediction) -> list[str]:
    return list(caveats(metrics, predicted, "row", "validation"))


def test_heavy_tails_are_named_and_mae_is_trusted():
    """A few rows make the squared error, or its tail is heavy: rmse and r2 are doubted,
    mae is not.
    """
    few = "those of 3 of 300 clusters (row) make 90 % of all"
    for errors, reason in (
        (np.where(np.arange(300) < 3, 30.0, 1.0), few),
        ((1 - np.linspace(0, 0.999, 300)) ** -0.8, "(tail index 0.8"),
    ):
        (sentence,) = _caveats(NUMBERS, _numbers(errors))
        assert sentence.startswith(
            "the intervals of rmse, r2 on the validation set may be too narrow"
        )
        assert reason in sentence
        assert sentence.endswith("mae is the metric to trust")
    (worse,) = _caveats(NUMBERS, _numbers(np.where(np.arange(300) < 3, 900.0, 1.0)))
    assert "rmse, mae, r2" in worse
    assert "trust" not in worse


def test_intervals_without_a_caveat_hold_where_tails_are_heavy():
    """Of 200 samples with errors of Student's t (3), those without a caveat hold the
    rmse in 90 %.
    """
    covered = []
    for seed in range(200):
        sample = _numbers(np.random.default_rng(seed).standard_t(3, size=1_000))
        if not _caveats(("rmse",), sample):
            interval = sample.interval("rmse")
            covered.append(interval.low <= np.sqrt(3) <= interval.high)
    assert len(covered) >= 100
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize("freedom", [2.5, 3.0])
def test_r2_holds_without_a_caveat_where_tails_are_heavy(freedom: float):
    """Bounds of r2 are those of a mean of skewed squares: of 150 samples without a
    caveat 9 of 10 hold.
    """
    variance = freedom / (freedom - 2)
    covered = []
    for seed in range(150):
        generator = np.random.default_rng(seed)
        signal = generator.normal(size=1_000)
        y = signal + generator.standard_t(freedom, size=1_000)
        sample = SetPrediction(y, signal, np.arange(1_000))
        if not _caveats(("r2",), sample):
            interval = sample.interval("r2")
            covered.append(interval.low <= 1 / (1 + variance) <= interval.high)
    assert len(covered) >= 60
    assert np.mean(covered) >= 0.9


def test_a_rare_class_is_named():
    """An AUC of 5 positives is doubted, one of 6 is not; the log loss is not in either
    case.
    """
    for positives, notes in ((5, 1), (6, 0)):
        y = (np.arange(200) < positives).astype(int)
        chances = np.random.default_rng(1).random(200)
        sentences = _caveats(RANKS, SetPrediction(y, chances, np.arange(200)))
        assert len(sentences) == notes
        for sentence in sentences:
            assert "of roc_auc on" in sentence
            assert "is in 5 clusters" in sentence


def test_days_that_resemble_their_neighbours_are_named():
    """The sentence has the probability; the same days as strangers have none."""
    days = _days(np.random.default_rng(1), 0.9)
    (sentence,) = _caveats(("log_loss",), days)
    assert "80 consecutive clusters (row) resemble their neighbours" in sentence
    assert "(probability 9" in sentence or "(probability 100 %)" in sentence
    strangers = SetPrediction(days.y, days.prediction, np.asarray(days.clusters))
    assert not _caveats(("log_loss",), strangers)


def test_an_id_that_is_not_declared_is_named_where_it_can_be_told_from_days():
    """Rows of 40 customers share their errors over the days. Of 20 that is not known,
    and a week, which holds whole days, is no id.
    """
    day = np.repeat(np.arange(120), 20)
    customer = np.arange(len(day)) % 40
    notes = []
    for codes in (customer, customer // 2, day // 3):
        errors = 1.0 + codes % 2
        clusters = day.view(ConsecutiveClusters)
        rows = SetPrediction(np.zeros(len(day)), errors, clusters)
        notes.append(undeclared_entities_note("rmse", rows, {"column": codes}))
    named, *others = notes
    assert named
    assert others == [None, None]


def _around(centre: float, generator: np.random.Generator) -> SetPrediction:
    mean = centre + 0.7 * generator.normal(size=2_000)
    return SetPrediction(
        mean + 0.7 * generator.normal(size=2_000), mean, np.arange(2_000)
    )


@pytest.mark.parametrize(
    ("metrics", "draw", "least", "most"),
    [
        (NUMBERS, lambda generator: _numbers(generator.normal(size=200)), 0, 0.1),
        (NUMBERS, lambda generator: _numbers(generator.exponential(size=400)), 0, 0.1),
        (NUMBERS, lambda generator: claims(0.05)(generator, 2_000), 0, 0.1),
        (RANKS, lambda generator: _days(generator, 0.0), 0, 0.1),
        (("mape",), partial(_around, 4), 0, 0.05),
        (("mape",), partial(_around, 0), 0.95, 1),
        (
            NUMBERS,
            lambda generator: _numbers(generator.pareto(1.5, size=1_000)),
            0.7,
            1,
        ),
        (RANKS, lambda generator: _days(generator, 0.9), 0.7, 1),
    ],
    ids=[
        *("normal errors", "exponential errors", "5 % have a claim of a light tail"),
        *(
            "days without memory",
            "relative errors far from zero",
            "relative errors around zero",
        ),
        *("infinite variance", "days with memory"),
    ],
)
def test_a_caveat_is_frequent_where_intervals_are_too_narrow_and_rare_elsewhere(
    metrics: tuple[str, ...], draw, least: float, most: float
):
    """Of 60 samples; the caveat of relative errors is that they have no mean."""
    samples = [draw(np.random.default_rng(seed)) for seed in range(60)]
    by_sample = [_caveats(metrics, sample) for sample in samples]
    assert least <= np.mean([bool(sentences) for sentences in by_sample]) <= most
    if metrics == ("mape",):
        for (sentence,) in filter(None, by_sample):
            assert "of targets near zero" in sentence
            assert "40 to 60 %" in sentence
