"""The split of a draft: not the one that promises most."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import Drafted, draft_experiment
from experiment_pipeline_tests.bench import statistics_drafts as worlds

SEED = 5


def table(world: Any, target: str = "number") -> pd.DataFrame:
    """A made-up table, in no order."""
    generator = np.random.default_rng(SEED)
    frame, signal = world(generator)
    frame["y"] = worlds.TARGETS[target](signal, generator)
    return frame.sample(frac=1, random_state=SEED)


@pytest.fixture
def draft(tmp_path) -> Any:
    """Drafts an experiment on a table with target y."""

    def drafted(frame: pd.DataFrame, **wishes: Any) -> Drafted:
        url = str(tmp_path / "rows.csv")
        frame.to_csv(url, index=False)
        return draft_experiment("rows", Wishes(data=url, target="y", **wishes), url, "")

    return drafted


def split_in(drafted: Drafted) -> dict[str, Any]:
    """The split in defs.yaml, without its fractions."""
    split = yaml.safe_load(drafted.files["defs.yaml"])["attributes"]["split"]
    split.pop("fractions", None)
    return split


@pytest.mark.parametrize("target", ["number", "class"])
def test_rows_that_are_harder_to_predict_ahead_are_split_by_time(
    draft: Any, target: str
):
    """The draft says both scores, and the line that gives a random split."""
    drafted = draft(table(worlds.waves, target))
    assert split_in(drafted) == {"by": "time", "column": "at"}
    text = " ".join(drafted.files["defs.yaml"].replace("#", " ").split())
    for said in (" ".join(drafted.reasons.split()), text):
        assert (
            "a random split would promise too much. The last third of the rows" in said
        )
        assert "a probe fitted on earlier rows scores" in said
        assert "as a random split does" in said
        assert "split at random (split: {by: random})" in said
    calendar = yaml.safe_load(drafted.files["defs.yaml"])["attributes"]["preparation"]
    assert "days" not in calendar["calendar"]["at"]


@pytest.mark.parametrize(
    "world", [worlds.recognised_persons, worlds.unrecognised_persons]
)
def test_persons_whose_rows_are_related_stay_together(draft: Any, world: Any):
    """Whether features identify them or not: then intervals by rows are too narrow."""
    drafted = draft(table(world))
    assert split_in(drafted) == {"by": "group", "column": "person_id"}
    assert "A probe fitted on other values of person_id scores" in drafted.reasons
    assert "intervals by rows would be" in drafted.reasons
    assert "split at random (split: {by: random})" in drafted.reasons


def test_new_persons_in_the_future_are_predicted_where_both_matter(draft: Any):
    """A date and an id, each with a random split that is too optimistic, are one split
    where enough later rows are about new persons.
    """
    frame = table(worlds.waves).reset_index(drop=True)
    order = frame["at"].rank(method="first").astype(int).to_numpy()
    person = order // 12
    shift = np.random.default_rng(SEED).normal(size=person.max() + 1)[person]
    frame["y"] += 2 * frame["y"].std() * shift
    frame["person_id"] = [f"p{code}" for code in person]
    drafted = draft(frame)
    assert split_in(drafted) == {
        "by": "time",
        "column": "at",
        "group": "person_id",
        "predicts": "new",
    }
    assert "A probe fitted on other values of person_id scores" in drafted.reasons
    assert "The last third of the rows" in drafted.reasons


@pytest.mark.parametrize(
    "world", [worlds.same_at_any_time, worlds.ids_of_unrelated_rows]
)
def test_a_date_or_an_id_that_tells_nothing_leaves_the_split_random(
    draft: Any, world: Any
):
    """Dates and ids alone are no reason; the hints stay."""
    drafted = draft(table(world))
    assert split_in(drafted) == {"by": "random"}
    assert "consider" in drafted.reasons


@pytest.mark.parametrize("wishes", [{"split": "random"}, {"exclude": ["at"]}])
def test_a_split_that_was_asked_for_and_an_excluded_date_are_not_measured(
    draft: Any, wishes: dict[str, Any]
):
    """The user knows better."""
    assert split_in(draft(table(worlds.waves), **wishes)) == {"by": "random"}


def test_dates_of_birth_do_not_order_rows(draft: Any):
    """A model meets every age at any time."""
    born = table(worlds.waves).rename(columns={"at": "date_of_birth"})
    assert split_in(draft(born)) == {"by": "random"}


def test_things_that_the_latest_rows_know_are_no_reason_for_groups(draft: Any):
    """Shops of which every day has sales are known when the model predicts."""
    generator = np.random.default_rng(SEED)
    shop, day = np.divmod(np.arange(3_000), 50)
    frame = pd.DataFrame(
        {
            "shop_id": shop + 100,
            "at": pd.Timestamp("2023-01-01") + pd.to_timedelta(day * 3, "D"),
            "size": generator.normal(size=60)[shop],
            "x": generator.normal(size=3_000),
        }
    )
    frame["y"] = generator.normal(size=60)[shop] + frame["x"]
    frame["y"] += generator.normal(size=3_000)
    split = split_in(draft(frame.sample(frac=1, random_state=SEED)))
    assert split == {"by": "random"}
    assert split_in(draft(frame.drop(columns="at"))) == {
        "by": "group",
        "column": "shop_id",
    }


def test_an_honest_split_by_which_a_run_would_stop_is_named(draft: Any):
    """A class that ends before the last rows cannot be judged by time."""
    frame = table(worlds.changing_effects, "class")
    is_early = frame["at"] < frame["at"].quantile(0.5)
    frame["y"] = frame["y"].where(~is_early | (frame["x2"] < 0), "maybe")
    drafted = draft(frame)
    assert split_in(drafted) == {"by": "random"}
    assert "(split: {by: time, column: at}); a run would stop (" in drafted.reasons


def test_a_leak_does_not_hide_that_a_random_split_is_too_optimistic(draft: Any):
    """With a column that equals the target, every split would seem as good."""
    frame = table(worlds.waves)
    frame["paid"] = 2 * frame["y"] + 1
    drafted = draft(frame)
    assert split_in(drafted) == {"by": "time", "column": "at"}
    assert "without paid, which may give the target away" in drafted.reasons
