"""The ledger of scores: what was ever compared on the same test rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.stages.leaderboard.scored import ScoreLedger
from experiment_pipeline.statistics.comparisons import Drawn
from experiment_pipeline.storage.files import location

ROWS = 200
CONTRIBUTIONS = np.random.default_rng(0).normal(size=(ROWS, 4))


@pytest.fixture(name="ledger")
def _ledger(tmp_path: Path) -> ScoreLedger:
    return ScoreLedger(location(str(tmp_path)), "made")


def targets(seed: int = 0) -> pd.Series:
    """Return the targets of the test rows."""
    return pd.Series(np.random.default_rng(seed).normal(size=ROWS))


def test_others_are_counted_and_known_ones_are_not(ledger: ScoreLedger):
    """In whichever experiment they were scored, and in whichever order the rows are;
    other rows and other metrics share no luck.
    """
    first = ledger.on(targets(), np.arange(ROWS), "rmse")
    assert first.enter({"a": 1.0, "b": 2.0}, CONTRIBUTIONS[:, :2]).configurations == 0
    shuffled = targets().sample(frac=1, random_state=0)
    again = replace(ledger, experiment="other").on(
        shuffled, shuffled.index.to_numpy(), "rmse"
    )
    earlier = again.enter({"a": 1.0, "c": 3.0}, CONTRIBUTIONS[:, [0, 2]])
    assert (earlier.rankings, earlier.scores.tolist()) == (1, [2.0])
    assert earlier.contributions[:, 0] == pytest.approx(CONTRIBUTIONS[:, 1], rel=1e-5)
    for seed, metric in ((1, "rmse"), (0, "mae")):
        other = ledger.on(targets(seed), np.arange(ROWS), metric)
        assert other.enter({"d": 1.0}, CONTRIBUTIONS[:, :1]).configurations == 0


def test_a_damaged_file_is_passed_over(ledger: ScoreLedger):
    """The others still count."""
    rows = ledger.on(targets(), np.arange(ROWS), "rmse")
    rows.enter({"a": 1.0}, CONTRIBUTIONS[:, :1])
    for path in Path(str(ledger.folder)).glob("contributions/*"):
        path.write_bytes(b"damaged")
    rows.enter({"b": 1.0}, CONTRIBUTIONS[:, 1:2])
    assert rows.enter({"c": 1.0}, CONTRIBUTIONS[:, 2:3]).scores.tolist() == [1.0]


def test_unlike_scores_widen_intervals_and_like_ones_hardly(ledger: ScoreLedger):
    """A copy of what is ranked adds no luck, an independent score does."""
    rows = ledger.on(targets(), np.arange(ROWS), "rmse")
    own = CONTRIBUTIONS[:, :1]
    rows.enter({"copy": 1.0}, own + 1e-6 * CONTRIBUTIONS[:, 1:2])
    alike = rows.enter({"a": 1.0}, own).widening(own, Drawn(0))
    rows.enter({"b": 1.0, "c": 1.0}, CONTRIBUTIONS[:, 1:3])
    unlike = rows.enter({"a": 1.0}, own).widening(own, Drawn(0))
    assert alike == pytest.approx(1.0, abs=0.05)
    assert 1.1 < unlike < 1.5
