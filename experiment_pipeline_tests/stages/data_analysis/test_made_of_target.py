import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests.bench.clean_tables import MADE
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    after,
    numeric,
    rule,
    subject,
    table,
)

check = rule("made_of_target").check

SHOP = np.random.default_rng(5).integers(0, 60, ROWS)
NUMBER = pd.Series(numeric()["y"].to_numpy())
FLAG = pd.Series((table()["y"] == "yes").to_numpy().astype(float))
HIDDEN = pd.Series(VALIDATION)


@pytest.mark.parametrize(
    "window",
    [
        lambda y: y.rolling(5).mean(),
        lambda y: y.rolling(12, 1).sum(),
        lambda y: y.rolling(5, center=True).mean(),
        lambda y: y.expanding().mean(),
        lambda y: y.ewm(alpha=0.3).mean(),
        lambda y: y.cumsum(),
        lambda y: y.shift(-2),
    ],
)
def test_windows_that_hold_the_row_itself_or_a_later_one_block(window) -> None:
    """Rolling, running and exponential means and sums, centred ones, and the future are found."""
    frame = numeric(leak=window(NUMBER).to_numpy())
    finding = check(subject(frame, **REGRESSION))
    assert (finding.severity, finding.columns) == ("blocks", ("leak",))
    assert check(after(finding, frame, **REGRESSION)).outcome == "not_found"


@pytest.mark.parametrize(
    "window",
    [
        lambda y: y.shift(1),
        lambda y: y.shift(1).rolling(5).mean(),
        lambda y: y.shift(1).expanding().mean(),
        lambda y: y.shift(1).ewm(alpha=0.3).mean(),
        lambda y: y.shift(1).cumsum(),
    ],
)
def test_windows_over_the_past_are_honest(window) -> None:
    """What is computed from the rows before is no leak."""
    frame = numeric(past=window(NUMBER).to_numpy())
    assert check(subject(frame, **REGRESSION)).outcome == "not_found"


def test_a_window_within_a_group_names_it() -> None:
    """Of the rows of each shop, in the order of the table."""
    so_far = FLAG.groupby(SHOP).expanding().mean().droplevel(0).sort_index()
    finding = check(subject(table(shop=SHOP.astype(str), rate=so_far.to_numpy())))
    assert "rate is the mean target of all rows so far" in finding.evidence
    assert "by shop" in finding.evidence


def _mean(y: pd.Series, prior: float = 0) -> np.ndarray:
    groups = y.groupby(SHOP)
    return ((groups.transform("sum") + prior * y.mean()) / (groups.transform("size") + prior)).array


@pytest.mark.parametrize("prior", [0, 10])
def test_target_encoding_over_all_rows_blocks(prior) -> None:
    """A shop's mean over a handful of rows, drawn to the overall mean or not, is found."""
    finding = check(subject(table(shop=SHOP.astype(str), leak=_mean(FLAG, prior))))
    assert (finding.severity, finding.columns) == ("blocks", ("leak",))
    assert "by shop" in finding.evidence


def test_the_mean_of_the_others_blocks() -> None:
    """Leaving the row out gives all of it away: the more others there were, the less is left."""
    groups = NUMBER.groupby(SHOP)
    others = (groups.transform("sum") - NUMBER) / (groups.transform("size") - 1)
    frame = numeric(shop=SHOP.astype(str), leak=others.to_numpy())
    assert check(subject(frame, **REGRESSION)).severity == "blocks"


def test_a_mean_of_other_rows_is_honest() -> None:
    """Target encoding from rows that the experiment does not have is what it should be."""
    rng = np.random.default_rng(2)
    before = pd.Series(rng.permutation(60) / 60)[SHOP].to_numpy()
    y = np.where(rng.random(ROWS) < before, "yes", "no")
    assert check(subject(table(shop=SHOP.astype(str), rate=before, y=y))).outcome == "not_found"


def test_hidden_targets_are_not_read() -> None:
    """A window over other targets than the visible ones is not seen."""
    frame = numeric()
    other = np.where(HIDDEN, NUMBER, np.random.default_rng(1).permutation(NUMBER))
    seen = check(subject(frame.assign(c=pd.Series(other).cumsum().to_numpy()), **REGRESSION))
    assert seen.outcome == "not_found"


def test_a_target_that_cannot_be_modelled_is_not_applicable() -> None:
    """Nothing is made of what never varies."""
    assert check(subject(table(y="yes"))).outcome == "not_applicable"


def test_honest_tables_stay_silent() -> None:
    """Of the made-up tables without a leak none is accused of this one."""
    for make in MADE[-9:-1:2]:
        problem = make(3)
        frame = problem.frame.rename_axis("row_number")
        task = {"regression": REGRESSION, "multiclass": MULTICLASS}.get(problem.task, {})
        examined = subject(frame, **problem.declared, **task)
        assert check(examined).outcome == "not_found", problem.name
