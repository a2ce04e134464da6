"""Why no configuration is good enough, in order of certainty, and a search that follows
from it.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline import run_experiment
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners import check_hyperparameters, space
from experiment_pipeline.stages.validation_report import shortfall
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.caveats import fewest_clusters, perfect_bound
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import better
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    Search,
    search_of,
    spec_of,
)
from experiment_pipeline_tests.stages.search.scenario import one
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    TOO_HIGH,
    report_of,
    seen_through,
)

REFUSED = spec_of(acceptance=TOO_HIGH)
TWO_FAMILIES = [one("lightgbm", num_leaves=[4, 8, 16]), one("linear", C=[0.1, 1.0])]


def codes(search: Search, report: ValidationReport, **known: Any) -> list[str]:
    """The codes of the reasons, in order."""
    found = shortfall.reasons(
        search.spec, search.rank(), report, shortfall.Evidence(**known)
    )
    return [reason.code for reason in found]


def too_few(spec: Any, predicted: SetPrediction | None = None) -> list[tuple[str, str]]:
    """What is said about too few validation rows: evidence and advice."""
    found = shortfall.reasons(
        spec,
        search_of(spec, [1] * 4).rank(),
        report_of(spec, predicted),
        shortfall.Evidence(),
    )
    return [
        (r.evidence, r.advice) for r in found if r.code == "too_few_validation_rows"
    ]


def test_what_no_search_changes_is_a_reason() -> None:
    """Nothing learnt, before all else; labels that rule the limit out; a limit that
    different families share.
    """
    assert (
        codes(search_of(REFUSED, [80] * 4), report_of(REFUSED))[0] == "nothing_learnt"
    )
    search, report = search_of(REFUSED, [1] * 4), report_of(REFUSED)
    assert "label_ceiling" in codes(search, report, ceiling=0.9)
    assert "label_ceiling" not in codes(search, report, ceiling=0.99)
    two = spec_of(search=TWO_FAMILIES, acceptance=TOO_HIGH)
    assert "families_agree" in codes(search_of(two, [1] * 5), report_of(two))
    # One family alone proves nothing.
    assert "one_family" in codes(search, report)


def test_intervals_that_hold_too_few_rows_are_a_reason() -> None:
    """They are named where their gate fails, and only there: no search changes them."""
    asked = spec_of(coverage=0.9)
    assert "coverage_not_held" in codes(search_of(asked, [1] * 4), report_of(asked))
    assert "coverage_not_held" not in codes(
        search_of(REFUSED, [1] * 4), report_of(REFUSED)
    )


def test_an_estimate_above_the_limit_asks_for_validation_rows() -> None:
    """Only the bound failed: the reason says how many rows it would take."""
    reached = report_of().score("roc_auc").interval
    limit = reached.estimate - 0.005
    ((_, advice),) = too_few(
        spec_of(acceptance=[{"metric": "roc_auc", "at_least": limit}])
    )
    half = reached.estimate - reached.low
    assert f"about {int((half / 0.005) ** 2) + 1} times as many" in advice
    assert advice.endswith("or write judged_by: estimate below this criterion.")


@pytest.mark.parametrize(("rows", "reason"), [(36, True), (4_000, False)])
def test_too_few_rows_for_even_a_perfect_score_are_a_reason(
    rows: int, reason: bool
) -> None:
    """36 validation rows cannot show an accuracy of 0.999; the number that could is
    named.
    """
    spec = spec_of(
        metric="accuracy", acceptance=[{"metric": "accuracy", "at_least": 0.999}]
    )
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, rows)
    good = SetPrediction(
        y, np.where(generator.random(rows) < 0.9, y, 1 - y) / 1, np.arange(rows)
    )
    said = [evidence for evidence, _ in too_few(spec, good)]
    assert bool(said) is reason
    if reason:
        assert said[0].startswith(
            "In 36 validation rows, 36 clusters (row) count for accuracy"
        )
        needed = fewest_clusters("accuracy", 0.999)
        assert needed == pytest.approx(1.96**2 * 999, rel=0.01)
        assert said[0].endswith(f"it cannot reach 0.9990 with fewer than {needed:,}.")


def test_of_a_rare_class_its_clusters_count_and_an_undefined_score_has_no_sample_size() -> (
    None
):
    """1,000 rows with 20 positives know an AUC from 20; rows of one class have none."""
    spec = spec_of(acceptance=[{"metric": "roc_auc", "at_least": 0.9}])
    y = (np.arange(1_000) < 20).astype(int)
    weak = SetPrediction(y, np.random.default_rng(0).random(1_000), np.arange(1_000))
    ((said, _),) = too_few(spec, weak)
    assert said.startswith(
        "In 1,000 validation rows, 20 clusters (row) count for roc_auc"
    )
    rows = seen_through(1, seed=1)
    assert too_few(spec, rows.rows(rows.y == 0)) == []


def test_the_fewest_clusters_are_those_of_the_interval() -> None:
    """At that number a perfect score just reaches the limit; one cluster less, and it
    does not.
    """
    for metric, limit in (("accuracy", 0.9), ("roc_auc", 0.99), ("brier", 0.05)):
        least = fewest_clusters(metric, limit)
        assert least is not None
        bounds = [perfect_bound(metric, clusters) for clusters in (least - 1, least)]
        assert [better(metric, limit, bound) for bound in bounds] == [True, False]
    assert fewest_clusters("accuracy", 1.0) is None
    assert fewest_clusters("rmse", 0.1) == 1


def test_drift_underfit_and_overfit_are_told_apart() -> None:
    """Each is seen in the numbers it is about."""
    drifted = report_of(
        REFUSED, exported=seen_through(3, seed=2), test=seen_through(0.3, seed=1)
    )
    assert "drift" in codes(search_of(REFUSED, [1] * 4), drifted)
    under = codes(search_of(REFUSED, [1] * 4, train_score=0.72), report_of(REFUSED))
    over = codes(search_of(REFUSED, [1] * 4, train_score=1.0), report_of(REFUSED))
    fits = {"underfit", "overfit"}
    assert (fits & set(under), fits & set(over)) == ({"underfit"}, {"overfit"})


def test_a_train_score_of_few_rows_is_no_overfit_by_chance() -> None:
    """Of a hundred test rows for each of its own, it may lie ten times as far from the
    test score.
    """
    score = search_of(REFUSED, [1] * 4).rank().score
    train = score.estimate + 1.5 * (score.high - score.low)
    high = search_of(REFUSED, [1] * 4, train_score=train)
    assert "overfit" in codes(high, report_of(REFUSED), train_rows=10.0)
    assert "overfit" not in codes(high, report_of(REFUSED), train_rows=0.01)


def test_a_learning_curve_that_still_rises_asks_for_train_rows() -> None:
    """More rows are advised only when the last step significantly helped."""
    search, report = search_of(REFUSED, [1] * 4), report_of(REFUSED)

    def curve(*gain: float) -> shortfall.LearningCurve:
        return shortfall.LearningCurve(
            1_000, 4_000, 0.6, 0.6 + gain[0], Interval(*gain), 5
        )

    assert "few_train_rows" in codes(search, report, curve=curve(0.04, 0.01, 0.07))
    assert "few_train_rows" not in codes(search, report, curve=curve(0.04, -0.01, 0.09))
    assert "few_train_rows" not in codes(search, report)


def test_flexible_models_of_few_rows_still_gain_and_a_line_does_not() -> None:
    """A refused search by halving knows what all train rows brought over its last small
    rung.
    """
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(4_000, 3)), columns=list("abc"))
    noise, straight = random.normal(size=4_000), frame["a"] + frame["c"]
    wave = np.sin(3 * frame["a"]) + np.cos(3 * frame["b"])
    trees = {"num_leaves": [20, 25, 30, 35, 40, 45, 50, 55], "n_estimators": 40}
    lines = {"C": [0.1 * 2**power for power in range(8)]}
    found = {}
    for algorithm, values, y in (
        ("lightgbm", trees, wave),
        ("linear", lines, straight),
    ):
        run = run_experiment(
            frame.assign(late=np.where(y + noise > 0, "yes", "no")),
            "late",
            search=[one(algorithm, **values)],
            halving={"fractions": [0.2, 1.0], "keep": 0.5, "fewest_rows": 300},
            evaluation="test_set",
            acceptance=TOO_HIGH,
        )
        assert run.evaluation.next_search is not None
        found[algorithm] = {why.code: why for why in run.evaluation.next_search.reasons}
    assert "few_train_rows" not in found["linear"]
    rows = len(run.sets.train.rows)
    reason = found["lightgbm"]["few_train_rows"].evidence
    assert f"with {rows:,} on the same test rows" in reason
    assert "mean of 5 configurations" in reason


# --- the next search ---


def _next(
    spec: ExperimentSpec, noises: list[float], train_score: float = 0.8
) -> shortfall.NextSearch:
    search = search_of(spec, noises, train_score=train_score)
    return shortfall.next_search(
        spec, search.rank(), report_of(spec), shortfall.Evidence()
    )


def _runnable(found: shortfall.NextSearch, spec: ExperimentSpec) -> ExperimentSpec:
    """Return the experiment with what is new in the search, every name in it
    checked.
    """
    # Pasted below `attributes:`, in the place of the old search, whose fits are reused.
    written = yaml.safe_load(f"attributes:\n  name: x\n{found.yaml}")["attributes"][
        "search"
    ]
    again = ExperimentSpec.model_validate(
        spec.model_dump(exclude_unset=True) | {"search": written}
    )
    keys = {each.key for each in configurations(again)}
    assert {each.key for each in configurations(spec)} <= keys
    for each in configurations(again):
        check_hyperparameters(each, again.task)
    return again.model_copy(update={"search": again.search[len(spec.search) :]})


def test_the_next_search_goes_beyond_an_edge() -> None:
    """The chosen value at the high end becomes the low part of the new range."""
    spec = spec_of(3, acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [5, 5, 0.1]), spec)
    leaves = again.search[0].hyperparameters["num_leaves"]
    assert (leaves.low, leaves.high) == (8, 32)


def test_an_overfit_is_answered_with_stiffer_models_and_an_underfit_with_flexible_ones() -> (
    None
):
    """The direction of the search follows the fit."""
    spec = spec_of(search=[{"algorithm": "lightgbm"}], acceptance=TOO_HIGH)
    stiff = _runnable(_next(spec, [1], train_score=1.0), spec).search[0].hyperparameters
    loose = _runnable(_next(spec, [1], train_score=0.7), spec).search[0].hyperparameters
    assert stiff["num_leaves"].high <= loose["num_leaves"].low
    assert "lambda_l2" in stiff


def test_what_was_fixed_stays_fixed_under_its_own_name() -> None:
    """Fixed values and aliases of the YAML are kept, and never doubled."""
    entry = one("lightgbm", n_estimators=500, eta=0.05, max_leaves=[8, 16, 32])
    neither_over_nor_underfit = [{"metric": "average_precision", "at_least": 0.99}]
    spec = spec_of(search=[entry], acceptance=neither_over_nor_underfit)
    new = _runnable(_next(spec, [1, 0.1, 1]), spec).search[0].hyperparameters
    assert (new["n_estimators"], new["eta"]) == (500, 0.05)
    assert "max_leaves" in new
    assert not {"num_iterations", "learning_rate", "num_leaves"} & new.keys()


def test_one_family_is_joined_by_the_others_and_seeds_are_new() -> None:
    """The untried families are added, and no draw repeats the old seed."""
    entry = one("lightgbm", num_leaves={"low": 4, "high": 64, "scale": "log"})
    entry |= {"method": "random", "draws": 4, "seed": 7}
    spec = spec_of(search=[entry], acceptance=TOO_HIGH)
    again = _runnable(_next(spec, [1] * 4), spec)
    assert [each.algorithm for each in again.search] == list(shortfall.FAMILIES)
    assert {each.seed for each in again.search} == {8}
    assert (
        "  # pip install 'experiment-pipeline[catboost,xgboost]'\n"
        in _next(spec, [1] * 4).yaml
    )


@pytest.mark.parametrize("algorithm", shortfall.FAMILIES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_space_names_hyperparameters_that_exist(
    algorithm: str, task: str
) -> None:
    """The built-in spaces are accepted by the algorithms, for every task and
    direction.
    """
    metric = "rmse" if task == "regression" else "log_loss"
    for direction in ("stiffer", "as_is", "more_flexible"):
        entry = one(algorithm, **space(algorithm, task, direction)) | {
            "method": "random",
            "draws": 3,
        }
        for each in configurations(spec_of(search=[entry], task=task, metric=metric)):
            check_hyperparameters(each, task)
