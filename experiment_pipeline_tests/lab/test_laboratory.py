"""A laboratory: nothing of the validation set comes out, and no budget is exceeded."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import experiment_pipeline as ep
from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.lab import page
from experiment_pipeline.lab.laboratory import Laboratory
from experiment_pipeline.lab.records import ExplorationEnd
from experiment_pipeline.reporting.document import render
from experiment_pipeline.spec.operation import LabBudget
from experiment_pipeline_tests.lab import laboratories
from experiment_pipeline_tests.lab.laboratories import MARK, explored, records

pytestmark = pytest.mark.usefixtures("storage", "quick")
BUDGET = "explorations: 4, seconds: 200"
WITHOUT_NOISE = {"exclude": ["noise"]}
TREES = {"search": [{"algorithm": "lightgbm", "hyperparameters": {"num_leaves": 4}}]}


def test_nothing_of_the_validation_set_is_in_any_answer(tmp_path):
    """Texts and a number that only validation rows have are in no answer."""
    laboratory = laboratories.marked(tmp_path, BUDGET)
    validation = laboratory.base.assets["validation_set"].rows
    assert validation["kind"].str.startswith(MARK).all()
    first = explored(laboratory, WITHOUT_NOISE)
    trees = explored(laboratory, TREES)
    proposals = first["proposal"], trees["proposal"]
    answers = [
        laboratory.describe(),
        laboratory.findings(),
        first,
        trees,
        *map(laboratory.leaderboard, proposals),
        *map(laboratory.shortfall, proposals),
        laboratory.compare(*proposals),
        laboratory.budget(),
        laboratory.request_opening(proposals[0], "simpler", "tester"),
        laboratory.history(),
    ]
    texts = [json.dumps(answer) for answer in answers]
    assert all(MARK not in text and "98765" not in text for text in texts)
    assert max(map(len, texts)) < 8_000
    described = laboratory.describe()["data"]["columns"]
    kind = next(column for column in described if column["name"] == "kind")
    train = laboratory.base.assets["train_set"].rows["kind"].value_counts()
    assert kind["frequent"] == train.to_dict()
    assert {column["name"] for column in described} == {*laboratories.table()}


def test_a_session_from_a_proposal_to_an_opening_by_a_person(tmp_path):
    """A repeated proposal costs nothing, a difference is said in words, and only a
    person opens, once: a run is recorded then, and the page tells it all.
    """
    laboratories.declare(tmp_path, BUDGET)
    laboratory = Laboratory.of("made")
    trees = explored(laboratory, TREES)
    assert (trees["compared_with"], trees["metric"]) == ("base", "rmse")
    assert trees["words"].startswith("worse: rmse +")
    left = laboratory.budget()
    assert explored(laboratory, TREES) == trees
    assert laboratory.budget() == left
    assert left["explorations"] == 3
    again = laboratory.propose(TREES, "another reason", "someone else")
    assert (again["is_new"], again["explored_before"]["exploration"]) == (False, 1)
    better = explored(laboratory, WITHOUT_NOISE)
    assert better["words"].startswith("not yet a difference: up to 0.0")
    assert not {"score", "difference", "chosen"} & {*better}
    assert not len(ep.runs())

    id_ = better["proposal"]
    with pytest.raises(InvalidExperiment, match="no agent has asked"):
        laboratory.open(id_)
    laboratory.request_opening(id_, "it is simpler", "tester")
    laboratory.request_opening(trees["proposal"], "trees, too", "tester")
    # A new process knows all of it.
    result = Laboratory.of("made").open(id_)
    assert result.accepted
    assert "noise" in result.named.spec.exclude
    assert (len(ep.runs()), result.facts["looks"]) == (1, 1)
    assert result.facts["triggered_by"] == "laboratory"
    with pytest.raises(InvalidExperiment, match="all 1 are spent"):
        laboratory.open(trees["proposal"])
    shown = render(page.page(laboratory))
    for text in ("it is simpler", "trees, too", "accepted", "Opened by", "noise floor"):
        assert text in shown
    assert Path(page.write(laboratory)).read_text().startswith("<!DOCTYPE html>")
    told = laboratory.history()["proposals"]
    assert [row.get("request") for row in told] == ["waits for a person", "opened"]


def test_agents_at_the_same_time_never_exceed_the_budget(storage):
    """Twelve claim at once: four explorations, and no more seconds than there are;
    one that was killed counts with all its seconds, one that ended with its own.
    """
    budget = LabBudget(explorations=4, seconds=100)
    with ThreadPoolExecutor(12) as agents:
        claims = [
            *agents.map(
                lambda number: records().claim(
                    "p", f"agent {number}", 60, budget, None
                ),
                range(12),
            )
        ]
    made = [claim for claim in claims if claim is not None]
    assert sum(claim.seconds for claim in made) == 100
    assert [claim.seconds for claim in sorted(made, key=lambda c: c.number)] == [60, 40]
    assert records().left(budget, None).seconds == 0
    records().end(made[0], ExplorationEnd("explored", 5.0, ""))
    records().end(made[0], ExplorationEnd("stopped", 60.0, "too late"))
    assert records().left(budget, None).seconds == made[0].seconds - 5
    for _ in range(2):
        assert records().claim("p", "agent", 10, budget, None) is not None
    assert records().claim("p", "agent", 10, budget, None) is None
    assert storage.exists()


def test_money_limits_the_seconds(storage):
    """At 3.6 an hour, .01 pays for ten seconds."""
    budget = LabBudget(explorations=9, seconds=100, money=0.01)
    claim = records().claim("p", "agent", 60, budget, 3.6)
    assert claim is not None
    assert claim.seconds == 10
    assert records().left(budget, 3.6).money == 0
    assert records().claim("p", "agent", 60, budget, 3.6) is None
    assert storage.exists()


def test_an_error_of_the_data_does_not_quote_them(tmp_path):
    """A proposal that no row can be modelled by fails with words, without a cell; it
    counts, and the next one goes on.
    """
    laboratory = laboratories.marked(tmp_path, BUDGET)
    nothing_left = {"exclude": ["useful", "more", "noise", "kind"]}
    answer = explored(laboratory, nothing_left)
    assert answer["outcome"] == "failed"
    assert MARK not in json.dumps(answer)
    assert laboratory.budget()["explorations"] == 3
    assert explored(laboratory, WITHOUT_NOISE)["outcome"] == "explored"
