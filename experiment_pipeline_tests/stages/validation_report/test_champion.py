"""A challenger is stopped when significantly worse than the champion, never for what
cannot be told.
"""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.search import Export
from experiment_pipeline.stages.validation_report import gates
from experiment_pipeline.stages.validation_report.gates import (
    ChampionComparison,
    ChampionModel,
    compare_with_champion,
)
from experiment_pipeline.stages.validation_report.page import outcome
from experiment_pipeline.stages.validation_report.referee import Case, challengers
from experiment_pipeline.stages.validation_report.report import Reason
from experiment_pipeline.stages.validation_report.shortfall import Evidence, reasons
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline_tests.results import apart
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    search_of,
    spec_of,
)
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    AT_HALF,
    judged,
    report_of,
    text_of,
)

FEATURES, FEWER = ["age", "income", "noise"], ["age", "noise"]
BOARD = search_of(spec_of(), [1] * 4).rank()
IF_BETTER = {"replace": "if_better"}


def rows_of(n: int, seed: int) -> pd.DataFrame:
    """Rows as delivered, with the target."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(generator.normal(size=(n, 3)), columns=FEATURES)
    chance = 1 / (1 + np.exp(-(frame["age"] + frame["income"])))
    return frame.assign(
        late=generator.random(n) < chance, id=[f"{seed}-{i}" for i in range(n)]
    )


VALIDATION, GOOD, OTHERS = rows_of(1_000, 9), rows_of(2_000, 1), rows_of(2_000, 2)


def spec(**changes: Any) -> ExperimentSpec:
    """An experiment with ids."""
    ids = {"by": "random", "id_columns": ["id"]}
    return spec_of(**{"split": ids, "target": "late", **changes})


def fitted_on(
    rows: pd.DataFrame, features: list[str] = FEATURES
) -> Callable[[pd.DataFrame], np.ndarray]:
    """The probabilities of a model of some features."""
    model = LogisticRegression().fit(rows[features], rows["late"])
    return lambda new: model.predict_proba(new[features])[:, 1]


def champion(
    rows: pd.DataFrame, features: list[str] = FEATURES, **changes: Any
) -> ChampionModel:
    """A version of a model that was fitted on these rows."""
    predict = fitted_on(rows, features)
    read = ChampionModel(
        task="binary",
        target="late",
        classes=(False, True),
        positive_class=True,
        threshold=0.5,
        fitted=FittedRows.of(rows, spec(), features),
        predict=lambda new, _: predict(new),
    )
    return replace(read, **changes)


def version(read: Callable[[], ChampionModel], fingerprint: str = "c" * 64) -> Any:
    """A version that is read when asked for."""

    def is_made_of(challenger: str, export: Export) -> bool:
        return challenger == fingerprint and export == Export()

    return SimpleNamespace(
        version="v0001",
        role="champion",
        is_made_of=is_made_of,
        read=lambda trusted: read(),
    )


def compared(
    current: ChampionModel,
    challenger: Callable[[pd.DataFrame], np.ndarray],
    rows: pd.DataFrame = VALIDATION,
    **changes: Any,
) -> ChampionComparison:
    """Hold a fitted model against a champion."""
    seen = apart(rows["late"].to_numpy().astype(int), challenger(rows))
    model = judged(spec(**changes), seen, AT_HALF, delivered=rows)
    return compare_with_champion(model, version(lambda: current))


def worse_one(**changes: Any) -> ChampionComparison:
    """A model that lacks a feature of the champion."""
    return compared(champion(GOOD), fitted_on(GOOD, FEWER), **changes)


def better_one(**changes: Any) -> ChampionComparison:
    """A model with a feature that the champion lacks."""
    return compared(champion(GOOD, FEWER), fitted_on(GOOD), **changes)


def equal_one(**changes: Any) -> ChampionComparison:
    """A model of as many other rows."""
    return compared(champion(GOOD), fitted_on(OTHERS), **changes)


def why(comparison: ChampionComparison) -> dict[str, Reason]:
    """Code → reason, of the report of a model that is compared like this."""
    report = report_of(champions=(comparison,))
    explained = reasons(spec_of(), BOARD, report, Evidence())
    return {reason.code: reason for reason in explained}


@pytest.mark.parametrize("metric", ["log_loss", "f1"])
def test_a_worse_model_is_stopped_and_a_better_one_is_not(metric: str):
    """Whichever way the metric runs, unless it is tolerated; scores and difference are
    recorded.
    """
    worse, better = worse_one(metric=metric), better_one(metric=metric)
    assert (worse.gate.outcome, worse.scores.rows) == ("FAIL", 1_000)
    change = worse.scores.challenger - worse.scores.champion
    assert worse.scores.difference.estimate == pytest.approx(change)
    tolerance = {"tolerance": 0.5}
    assert worse_one(metric=metric, not_worse_than_champion=tolerance).gate.passed
    assert better.gate.passed
    assert better.scores.difference.estimate == pytest.approx(-change)


def test_a_champion_worse_than_chance_stops_the_run():
    """Yes and no are swapped in the new rows: what has learnt that is better, and not
    accepted.
    """
    swapped, rows = (
        drawn.assign(late=~drawn["late"]) for drawn in (OTHERS, VALIDATION)
    )
    comparison = compared(champion(GOOD), fitted_on(swapped), rows, metric="log_loss")
    assert comparison.better
    assert comparison.gate.outcome == "FAIL"
    assert comparison.scores.reversed.high < 0.3
    first, *_ = why(comparison).values()
    assert first.code == "target_reversed"
    assert "retire board v0001 --why" in first.advice


def test_a_target_that_changes_its_meaning_is_seen_and_drift_is_not():
    """The sign of a number, or two of four classes swapped; not a level that has
    doubled, nor the forecast of a high quantile, which may be far from the mean.
    """
    generator = np.random.default_rng(0)
    signal = generator.normal(size=400)
    number = apart(signal + generator.normal(size=400), signal)
    codes = generator.integers(0, 4, 400)
    shares = np.eye(4)[codes] + generator.random((400, 4))
    classes = apart(codes, shares / shares.sum(axis=1, keepdims=True))

    def is_reversed(metric: str, seen: SetPrediction, y: np.ndarray) -> bool:
        other = replace(seen, y=y)
        scores = gates.compare(metric, other, other, (0.5, 0.5), 0.95)
        return scores.reversed is not None

    assert is_reversed("rmse", number, -number.y)
    assert is_reversed("log_loss", classes, np.array([1, 0, 2, 3])[codes])
    assert not is_reversed("rmse", number, 2 * number.y + 5)
    high = replace(number, prediction=number.prediction + 5)
    noisy = replace(high, prediction=high.prediction + generator.normal(size=400))
    assert not gates.compare("pinball_0.9", high, noisy, (0.5, 0.5), 0.95).far_above


def test_only_a_significantly_better_model_replaces_if_the_yaml_says_so():
    """`replace: if_better`: an equal one, and one that cannot be compared, leave the
    champion.
    """
    strict = {"not_worse_than_champion": IF_BETTER}
    equal = equal_one(**strict)
    unknown = compared(champion(VALIDATION), fitted_on(GOOD), **strict)
    comparisons = [better_one(**strict), equal, unknown]
    assert [comparison.gate.outcome for comparison in comparisons] == [
        "PASS",
        "FAIL",
        "FAIL",
    ]
    assert "better_than_champion v0001" in equal.gate.rule
    reason = why(equal)["worse_than_champion"]
    assert "not significantly better than the champion v0001" in reason.evidence
    assert "drop replace: if_better" in reason.advice


def test_a_tied_model_that_a_person_takes_passes_as_a_condition():
    """Worse than the champion, but not by more than tied models may differ: accepted
    under a condition with the numbers. Beyond the tie it is stopped.
    """
    strict = worse_one()
    lost = strict.scores.difference
    assert not strict.gate.passed
    assert not strict.passes_as_tied
    tied = replace(strict, tolerance_of_tie=-lost.high + 0.001)
    assert tied.passes_as_tied
    report = report_of(champions=(tied,))
    (condition,) = report.conditions
    assert condition.startswith("chosen_by_hand: significantly worse than the champion")
    assert report.decision == "accepted with conditions (chosen_by_hand)"
    beyond = replace(strict, tolerance_of_tie=-lost.high - 0.001)
    assert not beyond.gate.passed
    assert not report_of(champions=(beyond,)).conditions


def test_only_a_significantly_better_version_is_the_best_from_then_on():
    """One that passes as good leaves the best; one that cannot be compared any more is
    given up.
    """
    better, equal = better_one(), equal_one()
    best = replace(equal, version="v0000", role="best")
    gone = replace(best, scores=None, why_not_compared="a column is gone")
    cases = {(): None, (better,): None, (equal,): "v0001", (equal, best): "v0000"}
    cases |= {(better, best): "v0000", (equal, gone): "v0001", (better, gone): None}
    assert {case: gates.best_after(case) for case in cases} == cases


@pytest.mark.parametrize(("strength", "leaked"), [(0.5, False), (4.0, True)])
def test_a_champion_far_above_an_honest_model_may_have_leaked(
    strength: float, leaked: bool
):
    """It is said, with how to retire it; not of one that is better by a feature's
    worth.
    """

    def with_leak(rows: pd.DataFrame) -> pd.DataFrame:
        luck = np.random.default_rng(len(rows)).normal(size=len(rows))
        return rows.assign(leak=strength * rows["late"] + luck)

    old = champion(with_leak(GOOD), [*FEATURES, "leak"])
    worse = compared(old, fitted_on(GOOD), with_leak(VALIDATION))
    assert not worse.gate.passed
    assert ("champion_may_have_leaked" in why(worse)) is leaked
    report = report_of(champions=(worse,))
    (check,) = outcome(report, "", {"validation_report": "r.html"}, "linear").checks
    assert ("retire board v0001 --why TEXT" in check.refusal.fix) is leaked


def test_rows_that_the_champion_has_seen_are_left_out():
    """The comparison is on the others alone, and says how many were left out."""
    new = VALIDATION[:200]
    mixed = pd.concat([GOOD[:300], new], ignore_index=True)
    comparison = compared(champion(GOOD), fitted_on(GOOD), mixed)
    assert (comparison.left_out, comparison.scores.rows) == (300, 200)
    assert comparison.scores == compared(champion(GOOD), fitted_on(GOOD), new).scores


def unreadable() -> ChampionModel:
    """A version that was changed."""
    raise InvalidModel("v0001/model.skops", "sha256 is another", "Export it again.")


UNKNOWN_ROWS = FittedRows(("gone",), np.empty(0, np.uint64))


@pytest.mark.parametrize(
    ("read", "rule"),
    [
        (lambda: champion(VALIDATION), "0 of the validation set's clusters"),
        (
            lambda: champion(GOOD, fitted=UNKNOWN_ROWS),
            "may hold rows that the champion",
        ),
        (lambda: champion(GOOD, classes=("a", "b")), "other classes"),
        (lambda: champion(GOOD, positive_class=False), "other classes"),
        (unreadable, "sha256 is another"),
    ],
    ids=["all rows seen", "no record", "another target", "other side", "damaged"],
)
def test_what_cannot_be_told_is_said_and_blocks_nothing(
    read: Callable[[], ChampionModel], rule: str
):
    """Each obstacle is named; the outcome is neither PASS nor FAIL."""
    truth = VALIDATION["late"].to_numpy().astype(int)
    model = judged(spec(), apart(truth, np.full(1_000, 0.5)), delivered=VALIDATION)
    gate = compare_with_champion(model, version(read)).gate
    assert (gate.outcome, gate.passed) == ("INCONCLUSIVE", True)
    assert rule in gate.rule


def test_the_same_model_passes_without_a_comparison():
    """A rerun that finds the champion again is not held against itself; the mean of
    more fits is.
    """
    same = version(unreadable, judged().result.fingerprint)
    gate = compare_with_champion(judged(spec()), same).gate
    assert gate.outcome == "PASS"
    assert "it is this model" in gate.rule
    averaged = judged(spec(export={"fits": 5}), delivered=VALIDATION)
    assert not compare_with_champion(averaged, same).same_model


def test_a_report_lists_the_gate_its_numbers_and_the_reason():
    """The champion's gate stands among the others, decides with them, and is
    explained.
    """
    worse = worse_one()
    report = report_of(champions=(worse,))
    assert report.failed_gates == (worse.gate,)
    text = text_of(report).replace("\\", "")
    assert "not_worse_than_champion v0001" in text
    case = Case(judged(), report, "not computed", predict=len, most_features=0)
    *_, row = challengers(case)
    assert row.what.startswith("champion v0001 (0 rows that it was fitted or chosen on")
    assert row.difference == worse.scores.gain.estimate
    assert "worse_than_champion" in why(worse)
