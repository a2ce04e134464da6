"""Exploration: up to the leaderboard, on the same test rows, without a look."""

import functools
import pickle
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Lasso

import experiment_pipeline as ep
from experiment_pipeline.experiment import explore as explore_module
from experiment_pipeline.experiment import run as run_module
from experiment_pipeline.experiment.result import RunResult

pytestmark = pytest.mark.usefixtures("storage", "quick")
SEARCH = [{"algorithm": "linear"}]


@functools.cache
def table() -> pd.DataFrame:
    """Return 600 rows; `useful` and `more` decide the target, `noise` does not."""
    generator = np.random.default_rng(0)
    columns = ["useful", "more", "noise"]
    made = pd.DataFrame(generator.normal(size=(600, 3)), columns=columns)
    error = generator.normal(size=600)
    return made.assign(target=made["useful"] + made["more"] / 2 + error)


def explore(rows: pd.DataFrame, **settings: object) -> ep.Exploration:
    """Explore such rows with one linear model."""
    usual = {"search": SEARCH, "split": "random"}
    return ep.explore(rows, "target", name="made", **{**usual, **settings})


def with_product(rows: pd.DataFrame) -> pd.DataFrame:
    """Add a column that says nothing new."""
    return rows.assign(product=rows["noise"] * rows["useful"])


def test_exploring_ends_with_a_leaderboard_and_no_look():
    """Nothing is recorded; the evaluation trains nothing again, is the first look, and
    keeps the labels of the given rows.
    """
    shuffled = table().sample(frac=1, random_state=1)
    found = explore(shuffled)
    assert found.leaderboard["key"].tolist() == ["linear"]
    assert "not yet evaluated" in repr(found)
    assert "not yet evaluated" in found._repr_html_()
    assert "validation_report" not in found.assets
    assert {"code", "severity"} <= set(found.findings)
    assert not Path("artifacts/made/validation_looks").exists()
    assert not len(ep.runs())
    evaluated = found.evaluate()
    assert (evaluated.facts["looks"], evaluated.facts["reused"]) == (1, 1)
    worst = evaluated.errors()
    assert worst["target"].tolist() == shuffled.loc[worst.index, "target"].tolist()


def test_a_change_of_features_keeps_the_rows_and_shows_the_difference():
    """The same rows are compared, so the validation set stays unseen; noise makes no
    difference, a useful column does.
    """
    found = explore(table())
    worse = found.without("more")
    same = found.with_features(with_product)
    for other in (worse, same):
        for name in ("train_set", "test_set", "validation_set"):
            rows = other.assets[name].rows.index
            assert sorted(rows) == sorted(found.assets[name].rows.index)
    assert worse.change is not None
    assert worse.change.low > 0
    assert repr(worse).endswith("to before: worse")
    assert same.change is not None
    assert same.change.low < 0 < same.change.high
    assert repr(same).endswith("to before: not yet a difference")
    # The best of the chain is evaluated, not the last, where it is worse.
    assert worse.best is found
    result = RunResult(found.named, "", "", {}, None)
    with patch.object(run_module, "executed", return_value=result) as executed:
        worse.evaluate()
    assert executed.call_args.args == (found.named,)


def test_an_outlook_says_what_rows_labels_and_time_may_bring():
    """The step of halving to all rows, labels that contradict each other, and models
    that had no time; where nothing is known, nothing is said.
    """
    assert explore(table()).outlook == ()
    generator = np.random.default_rng(0)
    step = generator.integers(3, size=600)
    labels = np.where(generator.random(600) < 0.2 + 0.3 * step, "yes", "no")
    found = explore(
        pd.DataFrame({"step": step, "target": labels}),
        search=[{"algorithm": "linear", "hyperparameters": {"C": [*range(1, 11)]}}],
        evaluation="test_set",
        halving={"fractions": [0.25, 1.0], "fewest_rows": 50},
    )
    rows = found.board.rows
    rows.loc[rows.index[-1], "status"] = "not started"
    assert found.outlook == (
        "360 in place of 89 train rows: not yet a difference.",
        "Contradicting labels allow at best roc_auc 0.7620.",
        "1 configuration had no time to start.",
    )


def test_an_exploration_can_be_pickled():
    """With its tables, what it changes and its pages; where the storage is, it goes on."""
    found = explore(table()).without("noise")
    again = pickle.loads(pickle.dumps(found))
    assert again._repr_html_() == found._repr_html_()
    assert again.change == found.change
    pd.testing.assert_frame_equal(again.leaderboard, found.leaderboard)
    pd.testing.assert_frame_equal(again.findings, found.findings)
    pages = (each.store.require("leaderboard", "") for each in (again, found))
    assert len({each.read("leaderboard.html") for each in pages}) == 1
    assert set(again.add(Lasso(), "mine").leaderboard["key"]) == {"linear", "mine"}


def test_another_call_with_more_columns_keeps_the_rows(caplog):
    """A cell that is edited and run again does not move rows into the validation set;
    the first columns decide a row's set: without them it is not known, and said so.
    """
    first = explore(table())
    second = explore(table().assign(added=table()["noise"] ** 2))
    rows = second.assets["validation_set"].rows.index
    assert sorted(rows) == sorted(first.assets["validation_set"].rows.index)
    assert "the rows are split anew" not in caplog.text
    explore(table().assign(noise=0.5 * table()["noise"]))
    assert "the rows are split anew" in caplog.text


def test_intervals_hold_for_all_that_was_ever_scored_on_the_rows():
    """Each further exploration widens them; the name of the experiment does not
    matter.
    """
    first = explore(table())
    for seed in range(2):
        noise = np.random.default_rng(seed).normal(size=(600, 3))
        explore(table().assign(**{f"noise_{n}": noise[:, n] for n in range(3)}))
    again = explore(table())
    assert first.board.score.low > again.board.score.low
    assert first.board.score.high < again.board.score.high
    note = "2 more configurations of 2 earlier leaderboards"
    assert again.board.notes[0].startswith(note)


@pytest.mark.parametrize("function", [ep.explore, ep.run])
def test_a_leak_ends_exploration_and_run(function):
    """Their leaderboard would be of no use."""
    leaking = table().assign(copy=table()["target"])
    with pytest.raises(ep.DataError, match="copy"):
        function(leaking, "target", split="random", search="linear", progress=False)


def test_each_further_exploration_widens_the_difference_and_a_repeated_one_does_not():
    """Whoever tries often is told what remains after so many tries; models that are
    added count as well, and a long chain without a difference warns.
    """
    found = explore(table())
    first = found.with_features(with_product)
    assert first.change is not None
    assert first.change.level == pytest.approx(1 - 0.05 / 2)
    assert "corrected for 2 explorations) to before: not yet" in repr(first)
    added = found.add(Lasso(alpha=0.1), "mine")
    third = found.without("more")
    assert (added.explorations, third.explorations) == (3, 4)
    assert third.change is not None
    assert third.change.level == pytest.approx(1 - 0.05 / 12)
    assert found.with_features(with_product).change == first.change
    assert "optimistic" not in repr(first)
    chain = first
    for _ in range(explore_module._MOST_UNPROVEN):
        chain = replace(first, before=chain)
        chain.__dict__["_verdict"] = explore_module.NOT_YET
    assert "8 changes up to here were not yet a difference" in repr(chain)
    assert "optimistic" in chain._repr_html_()
