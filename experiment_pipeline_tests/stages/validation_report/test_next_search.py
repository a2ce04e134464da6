"""Why it is not good enough, in order of certainty, and a search that can be run as it is."""

import itertools

import numpy as np
import pytest
import yaml

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.algorithms import check_hyperparameters, space
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validation_report.next_search import (
    FAMILIES,
    NextSearch,
    next_search,
)
from experiment_pipeline.stages.validation_report.segments import Segment
from experiment_pipeline.stages.validation_report.shortfall import Evidence, LearningCurve, reasons
from experiment_pipeline.statistics.doubts import fewest_units, perfect_bound
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import better
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import Search, search_of, spec_of
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    report_of,
    seen_through,
)

TOO_HIGH = [{"metric": "roc_auc", "at_least": 0.97}]
TWO_FAMILIES = [
    {"algorithm": "lightgbm", "hyperparameters": {"num_leaves": [4, 8, 16]}},
    {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}},
]


def _codes(search: Search, report, evidence: Evidence | None = None) -> list[str]:
    found = reasons(search.spec, search.rank(), report, evidence or Evidence())
    return [reason.code for reason in found]


def _next(spec: ExperimentSpec, noises: list[float], train_score: float = 0.8) -> NextSearch:
    search = search_of(spec, noises, train_score=train_score)
    return next_search(spec, search.rank(), report_of(spec))


def _runnable(found: NextSearch, spec: ExperimentSpec) -> ExperimentSpec:
    """Return the experiment with the new search, every name in it checked."""
    fields = spec.model_dump(exclude_unset=True) | yaml.safe_load(found.yaml)
    again = ExperimentSpec.model_validate(fields)
    for one in configurations(again):
        check_hyperparameters(one, again.task)
    return again


def test_an_accepted_model_needs_no_reasons() -> None:
    """Nothing is wrong when every gate passed."""
    assert _codes(search_of(spec_of(), [1] * 4), report_of()) == []


def test_nothing_learnt_comes_before_everything_else() -> None:
    """When nothing beats the baseline no search is to blame."""
    spec = spec_of(acceptance=TOO_HIGH)
    codes = _codes(search_of(spec, [80] * 4), report_of(spec))
    assert codes[0] == "nothing_learnt"


def test_a_ceiling_of_the_labels_below_the_limit_is_said() -> None:
    """Conflicting labels make the limit unreachable; a higher ceiling does not."""
    spec = spec_of(acceptance=TOO_HIGH)
    search, report = search_of(spec, [1] * 4), report_of(spec)
    assert "label_ceiling" in _codes(search, report, Evidence(ceiling=0.9))
    assert "label_ceiling" not in _codes(search, report, Evidence(ceiling=0.99))


def test_an_estimate_above_the_limit_asks_for_validation_rows() -> None:
    """Only the bound failed: the reason says how many rows it would take."""
    report = report_of()
    limit = report.score("roc_auc").interval.estimate - 0.005
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": limit}])
    search = search_of(spec, [1] * 4)
    found = reasons(spec, search.rank(), report_of(spec), Evidence())
    (reason,) = [r for r in found if r.code == "too_few_validation_rows"]
    half = report.score("roc_auc").interval.estimate - report.score("roc_auc").interval.low
    assert f"about {int((half / 0.005) ** 2) + 1} times as many" in reason.advice


@pytest.mark.parametrize(("rows", "reason"), [(36, True), (4_000, False)])
def test_too_few_rows_for_even_a_perfect_score_are_a_reason(rows: int, reason: bool) -> None:
    """36 validation rows cannot show an accuracy of 0.999; the number that could is named."""
    spec = spec_of(metric="accuracy", acceptance=[{"metric": "accuracy", "at_least": 0.999}])
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, rows)
    good = SetPrediction(y, np.where(generator.random(rows) < 0.9, y, 1 - y) / 1, np.arange(rows))
    found = reasons(spec, search_of(spec, [1] * 4).rank(), report_of(spec, good), Evidence())
    said = [one.evidence for one in found if one.code == "too_few_validation_rows"]
    assert bool(said) is reason
    if reason:
        assert said[0].startswith("Of 36 validation rows 36 units (row) count for accuracy")
        needed = fewest_units("accuracy", 0.999)
        assert needed == pytest.approx(1.96**2 * 999, rel=0.01)
        assert said[0].endswith(f"it cannot reach 0.9990 with fewer than {needed:,}.")


def test_an_undefined_score_has_no_sample_size() -> None:
    """A validation set of one class has no AUC, whatever its number of rows."""
    rows = seen_through(1, seed=1)
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    report = report_of(spec, rows.rows(rows.y == 0))
    assert "too_few_validation_rows" not in _codes(search_of(spec, [1] * 4), report)


def test_the_fewest_units_are_those_of_the_interval() -> None:
    """At that number a perfect score just reaches the limit; one unit less, and it does not."""
    for metric, limit in (("accuracy", 0.9), ("roc_auc", 0.99), ("brier", 0.05)):
        least = fewest_units(metric, limit)
        assert least is not None
        bounds = [perfect_bound(metric, units) for units in (least - 1, least)]
        assert [better(metric, limit, bound) for bound in bounds] == [True, False]
    assert fewest_units("accuracy", 1.0) is None
    assert fewest_units("rmse", 0.1) == 1


def test_of_a_rare_class_its_units_count() -> None:
    """1,000 rows with 20 positives know an AUC from 20."""
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    y = (np.arange(1_000) < 20).astype(int)
    weak = SetPrediction(y, np.random.default_rng(0).random(1_000), np.arange(1_000))
    found = reasons(spec, search_of(spec, [1] * 4).rank(), report_of(spec, weak), Evidence())
    (said,) = [one.evidence for one in found if one.code == "too_few_validation_rows"]
    assert said.startswith("Of 1,000 validation rows 20 units (row) count for roc_auc")


def test_drift_underfit_and_overfit_are_told_apart() -> None:
    """Each is seen in the numbers it is about."""
    spec = spec_of(acceptance=TOO_HIGH)
    drifted = report_of(spec, exported=seen_through(3, seed=2), test=seen_through(0.3, seed=1))
    assert "drift" in _codes(search_of(spec, [1] * 4), drifted)
    under = _codes(search_of(spec, [1] * 4, train_score=0.72), report_of(spec))
    over = _codes(search_of(spec, [1] * 4, train_score=1.0), report_of(spec))
    assert "underfit" in under
    assert "overfit" not in under
    assert "overfit" in over
    assert "underfit" not in over


def test_a_clearly_weak_segment_is_a_reason() -> None:
    """The part of the rows where the model fails is named."""
    weak = Segment("origin", "EWR", 400, Interval(0.5, 0.4, 0.6), clearly_worse=True)
    spec = spec_of(acceptance=TOO_HIGH)
    report = report_of(spec, segments=[weak])
    assert "weak_segment" in _codes(search_of(spec, [1] * 4), report)


def test_a_learning_curve_that_still_rises_asks_for_train_rows() -> None:
    """More rows are advised only when the last step surely helped."""
    spec = spec_of(acceptance=TOO_HIGH)
    search, report = search_of(spec, [1] * 4), report_of(spec)

    def curve(*gain: float) -> Evidence:
        found = LearningCurve(1_000, 4_000, 0.6, 0.6 + gain[0], Interval(*gain), 5)
        return Evidence(learning_curve=found)

    assert "few_train_rows" in _codes(search, report, curve(0.04, 0.01, 0.07))
    assert "few_train_rows" not in _codes(search, report, curve(0.04, -0.01, 0.09))
    assert "few_train_rows" not in _codes(search, report)
    lower = spec_of(metric="log_loss", acceptance=[{"metric": "log_loss", "at_most": 0.01}])
    losses = (search_of(lower, [1] * 4), report_of(lower))
    assert "few_train_rows" in _codes(*losses, curve(-0.04, -0.07, -0.01))
    assert "few_train_rows" not in _codes(*losses, curve(0.04, 0.01, 0.07))


def test_families_that_agree_blame_the_features_and_one_family_is_not_enough() -> None:
    """Different algorithms with the same score share their limit; one alone proves nothing."""
    two = spec_of(search=TWO_FAMILIES, acceptance=TOO_HIGH)
    assert "families_agree" in _codes(search_of(two, [1] * 5), report_of(two))
    one = spec_of(acceptance=TOO_HIGH)
    assert "one_family" in _codes(search_of(one, [1] * 4), report_of(one))


def test_the_next_search_goes_beyond_an_edge() -> None:
    """The chosen value at the high end becomes the low part of the new range."""
    spec = spec_of(3, acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [5, 5, 0.1]), spec)
    leaves = again.search[0].hyperparameters["num_leaves"]
    assert (leaves.low, leaves.high) == (8, 32)


def test_an_overfit_is_answered_with_stiffer_models_and_an_underfit_with_flexible_ones() -> None:
    """The direction of the search follows the fit."""
    spec = spec_of(search=[{"algorithm": "lightgbm"}], acceptance=TOO_HIGH)
    stiff = _runnable(_next(spec, [1], train_score=1.0), spec).search[0].hyperparameters
    loose = _runnable(_next(spec, [1], train_score=0.7), spec).search[0].hyperparameters
    assert stiff["num_leaves"].high <= loose["num_leaves"].low
    assert "lambda_l2" in stiff


def test_what_was_fixed_stays_fixed_under_its_own_name() -> None:
    """Fixed values and aliases of the YAML are kept, and never doubled."""
    entry = {
        "algorithm": "lightgbm",
        "hyperparameters": {"n_estimators": 500, "eta": 0.05, "max_leaves": [8, 16, 32]},
    }
    neither_over_nor_underfit = [{"metric": "average_precision", "at_least": 0.99}]
    spec = spec_of(search=[entry], acceptance=neither_over_nor_underfit)
    new = _runnable(_next(spec, [1, 0.1, 1]), spec).search[0].hyperparameters
    assert (new["n_estimators"], new["eta"]) == (500, 0.05)
    assert "max_leaves" in new
    assert not {"num_iterations", "learning_rate", "num_leaves"} & new.keys()


def test_one_family_is_joined_by_the_others_and_seeds_are_new() -> None:
    """The untried families are added, and no draw repeats the old seed."""
    entry = {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": 4,
        "seed": 7,
        "hyperparameters": {"num_leaves": {"low": 4, "high": 64, "scale": "log"}},
    }
    spec = spec_of(search=[entry], acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [1] * 4), spec)
    assert [one.algorithm for one in again.search] == list(FAMILIES)
    assert {one.seed for one in again.search} == {8}


def test_an_own_estimator_is_searched_around_its_best() -> None:
    """Of an import path only what was searched is known: half to twice the chosen value."""
    entry = {
        "algorithm": "sklearn.neighbors.KNeighborsClassifier",
        "hyperparameters": {"n_neighbors": [5, 20, 80], "weights": ["uniform", "distance"]},
    }
    spec = spec_of(search=[entry, {"algorithm": "linear"}], acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [5, 5, 0.1, 5, 5, 5, 5]), spec)
    (new,) = again.search
    assert (new.hyperparameters["n_neighbors"].low, new.hyperparameters["n_neighbors"].high) == (
        10,
        40,
    )
    assert new.hyperparameters["weights"] == ("uniform", "distance")
    assert new.algorithm == entry["algorithm"]


def test_a_dummy_that_wins_is_followed_by_real_algorithms() -> None:
    """There is nothing to search around a dummy."""
    spec = spec_of(search=[{"algorithm": "dummy"}], acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [80]), spec)
    assert [one.algorithm for one in again.search] == list(FAMILIES)


@pytest.mark.parametrize(
    ("algorithm", "task"),
    list(itertools.product(FAMILIES, ["binary", "multiclass", "regression"])),
)
def test_every_space_names_hyperparameters_that_exist(algorithm: str, task: str) -> None:
    """The built-in spaces are accepted by the algorithms, for every task and direction."""
    metric = "rmse" if task == "regression" else "log_loss"
    for direction in ("stiffer", "as_is", "more_flexible"):
        entry = {
            "algorithm": algorithm,
            "method": "random",
            "draws": 3,
            "hyperparameters": space(algorithm, task, direction),
        }
        for one in configurations(spec_of(search=[entry], task=task, metric=metric)):
            check_hyperparameters(one, task)
