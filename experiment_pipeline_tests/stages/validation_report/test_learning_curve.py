"""The rungs of a search tell whether more train rows still help."""

import numpy as np
import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.conclusions import TRAINED, Fitted
from experiment_pipeline.stages.validation_report.shortfall import LearningCurve, learning_curve
from experiment_pipeline.statistics.scores import score
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.stages.search.halving_scenario import experiment, rows, run
from experiment_pipeline_tests.stages.search.scenario import one

TREES = one(
    "lightgbm",
    n_estimators=60,
    early_stopping_round=0,
    num_leaves=[15, 31],
    learning_rate=[0.1, 0.15, 0.2, 0.25],
)
LINES = one("linear", C=[0.001 * 2**power for power in range(8)])
ROWS = rows(6_000)
HALVING = {"fractions": [0.2, 1.0], "keep": 0.5, "fewest_rows": 500}


def curve(spec: ExperimentSpec, **changes) -> tuple[LearningCurve | None, dict[str, np.ndarray]]:
    """The curve of a search that was run, and key → predictions of the test rows."""
    frame = changes.get("frame", ROWS)
    sets = scenario.to_train_on(frame[:3_000], frame[3_000:], spec)
    ran = run(spec, sets)
    fitted = [event.model for event in ran.events if isinstance(event, Fitted)]
    stored = {model.result.fingerprint: model.predictions.test for model in fitted}
    trained = {key for key, found in ran.conclusions.items() if found.status == TRAINED}
    ends = {m.key: m.predictions.test for m in fitted if m.key in trained}
    found = learning_curve(
        spec, sets, trained, lambda prints: {p: stored[p] for p in prints if p in stored}
    )
    return found, ends


def test_flexible_models_of_few_rows_still_gain() -> None:
    """Trees on a fifth of the rows are surely worse; the end is the mean score of who went on."""
    spec = experiment(searched=[TREES], halving=HALVING)
    found, ends = curve(spec)
    assert (found.rows_before, found.rows, found.configurations) == (599, 3_000, 5)
    y = (ROWS["late"][3_000:] == "yes").to_numpy().astype(int)
    assert found.after == pytest.approx(np.mean([score("roc_auc", y, p) for p in ends.values()]))
    assert found.gain.estimate == pytest.approx(found.after - found.before)
    assert found.gain.low > 0


def test_stiff_models_of_many_rows_gain_nothing() -> None:
    """Lines know all they can from a fifth of the rows."""
    found, _ = curve(experiment(searched=[LINES], halving=HALVING))
    assert found.gain.low < 0


def test_without_a_small_rung_there_is_no_curve() -> None:
    """No halving, too few configurations, or rungs of more than half of the rows."""
    large = {**HALVING, "fractions": [0.7, 1.0]}
    for changes in ({"halving": "off"}, {"halving": large}, {"searched": [one("linear")]}):
        found, _ = curve(experiment(**{"searched": [LINES], **changes}))
        assert found is None


def test_a_metric_with_a_threshold_is_scored_at_each_fits_best() -> None:
    """f1 of a rare class is none at 0.5; its curve is told all the same."""
    frame = ROWS
    signal = frame["age"] + frame["size"] ** 2
    rare = frame.assign(late=np.where(signal > np.quantile(signal, 0.93), "yes", "no"))
    found, _ = curve(experiment(searched=[LINES], halving=HALVING, metric="f1"), frame=rare)
    assert found.before > 0.1
