"""Labels that are not in yet, as the data analysis finds them."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import again, check

DAYS = 1_000
DAY = np.sort(np.random.default_rng(1).integers(0, DAYS, 6_000))


def customers(
    seed: int = 0, column: str = "signed_up", **shares: float
) -> pd.DataFrame:
    """Customers of 1,000 days, of whom 30 % leave; the shares change that by the end.

    `late`: leaving takes up to so many days to show; `fall`, `season`: by how much the
    share itself changes.
    """
    rng = np.random.default_rng(seed)
    share = 0.3 - shares.get("fall", 0) * DAY / DAYS
    share = share + shares.get("season", 0) * np.sin(2 * np.pi * DAY / 365)
    leaves = rng.random(len(DAY)) < share
    shows = DAY + shares.get("late", 0) * rng.random(len(DAY))
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(DAY, unit="D")
    known = leaves & (shows <= DAYS)
    return pd.DataFrame({column: at, "x": rng.normal(size=len(DAY)), "y": known})


def test_young_rows_that_lack_positives_are_named_with_the_key_that_settles_it():
    """The column, the class, both shares, and a time that is long enough."""
    table = customers(late=60)
    finding = check("labels_not_in_yet", table)
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert finding.columns == ("signed_up",)
    assert "y True is" in finding.evidence
    assert "the younger a row, the fewer" in finding.evidence
    days = int(finding.yaml.split("within: ")[1].split()[0])
    assert 60 <= days <= 120
    assert again(finding, table).outcome == "not_applicable"


def test_of_either_class_the_one_that_becomes_rare_is_named():
    """A target may say who stays."""
    table = customers(late=60)
    finding = check("labels_not_in_yet", table.assign(y=~table["y"]))
    assert "y False is" in finding.evidence


@pytest.mark.parametrize(
    ("changes", "most"), [({}, 1), ({"fall": 0.25}, 2), ({"season": 0.1}, 2)]
)
def test_a_share_that_changes_by_itself_is_not_taken_for_late_labels(changes, most):
    """Constant, falling to a sixth, or with the season: of 20 tables at most one or
    two.
    """
    outcomes = [
        check("labels_not_in_yet", customers(seed, **changes)).outcome
        for seed in range(20)
    ]
    assert outcomes.count("found") <= most


@pytest.mark.parametrize(
    ("table", "settings", "said"),
    [
        (customers(late=60, column="birthday"), {}, "No column of dates"),
        (customers().assign(signed_up=pd.Timestamp("2026-01-01")), {}, "one moment"),
        (customers(late=60)[::10], {}, "too few rows"),
        (
            customers(late=60),
            {"split": {"by": "time", "column": "signed_up"}},
            "validation set, whose targets are not read",
        ),
    ],
)
def test_where_nothing_can_be_seen_it_is_said_why(table, settings, said):
    """Of births, of few rows, and where the youngest rows are hidden."""
    finding = check("labels_not_in_yet", table, **settings)
    assert finding.outcome == "not_applicable"
    assert said in finding.evidence
