"""A laboratory: nothing of the validation set comes out, and no budget is exceeded."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from pandas import DataFrame

import experiment_pipeline as ep
from experiment_pipeline.errors import InvalidExperiment, StorageError
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.intake.profile import profile
from experiment_pipeline.lab import laboratory as lab_module
from experiment_pipeline.lab import page
from experiment_pipeline.lab.laboratory import Answer, Laboratory
from experiment_pipeline.lab.records import Event
from experiment_pipeline.reporting.document import render
from experiment_pipeline.spec.reading import to_yaml
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.table.dictionary import dictionary_of
from experiment_pipeline.tracking import outcomes
from experiment_pipeline.tracking.outcomes import write_pages
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
        laboratory.compare(*proposals),
        laboratory.budget(),
        laboratory.request_opening(proposals[0], "simpler", "tester"),
        laboratory.history(),
    ]
    texts = [json.dumps(answer) for answer in answers]
    assert all(MARK not in text and "98765" not in text for text in texts)
    assert max(map(len, texts)) < 8_000
    described = laboratory.describe()["data"]
    kind = next(column for column in described if column["name"] == "kind")
    train = laboratory.base.assets["train_set"].rows["kind"].value_counts()
    assert kind["frequent"] == train.to_dict()
    assert {column["name"] for column in described} == {*laboratories.table()}


def test_a_session_from_a_proposal_to_an_opening_by_a_person(tmp_path, monkeypatch):
    """A repeated proposal costs nothing, a difference is said in words, and only a
    person opens, once: a run is recorded then, and the page tells it all; other pages
    link it once it is there.
    """
    laboratories.declare(tmp_path, BUDGET)
    laboratory = Laboratory.of("made")
    trees = explored(laboratory, TREES)
    assert trees["compared_with"] == "base"
    assert trees["words"].startswith("worse: rmse +")
    left = laboratory.budget()
    assert explored(laboratory, TREES) == trees
    assert laboratory.budget() == left
    assert left["explorations"] == 3
    again = laboratory.propose(TREES, "another reason", "someone else")
    assert again == {"proposal": trees["proposal"], "is_new": False}
    better = explored(laboratory, WITHOUT_NOISE)
    assert better["words"].startswith("not yet a difference: up to 0.0")
    assert not {"score", "difference", "chosen"} & {*better}
    assert not len(ep.runs())

    id_ = better["proposal"]
    # Comparisons use what explorations have kept.
    compared = laboratory.compare("base", trees["proposal"])
    assert compared["words"].startswith("not yet a difference: up to 0.1")
    assert laboratory.leaderboard(id_)["leaderboard"][0]["algorithm"]
    assert laboratory.budget()["explorations"] == 2
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
    write_pages(storage_root(), "made")
    before = links_to_laboratory(result)
    assert {*before.values()} == {None}
    # Not quickly; undone here, since `quick`, which undoes its own, ends before.
    with monkeypatch.context() as patched:
        patched.setattr(outcomes, "write_pages", write_pages)
        place = Path(page.write(laboratory))
    assert {*links_to_laboratory(result).values()} == {place}
    shown = render(page.page(laboratory))
    for text in ("it is simpler", "trees, too", "accepted", "opened"):
        assert text in shown
    assert "noise floor" in place.read_text()
    told = laboratory.history()["data"]
    assert [row["state"] for row in told] == ["opened", "requested"]
    assert all(told[0][name] == better[name] for name in ("words", "seconds"))
    assert laboratory.history(skip=1)["data"] == told[1:]


def links_to_laboratory(run: RunResult) -> dict[Path, Path | None]:
    """Where the overview, the history and the run's pages link the laboratory."""
    pages = [*Path(run.pages["leaderboard"]).parent.glob("[dilv]*.html")]
    folder = pages[0].parent.parent.parent
    links = {}
    for shown in (*pages, folder / "runs.html", folder.parent / "overview.html"):
        link = re.search(r'href="([^"]*laboratory\.html)"', shown.read_text())
        links[shown] = link and (shown.parent / link[1]).resolve()
    return links


def test_agents_at_the_same_time_never_exceed_the_budget(tmp_path):
    """Twelve claim at once: four explorations, and no more seconds than there are;
    one that was killed counts with all its seconds, one that ended with its own.
    """
    laboratory, proposal = with_proposal(tmp_path, "explorations: 4, seconds: 100")
    assert "Nothing was explored yet." in render(page.page(laboratory))
    with ThreadPoolExecutor(12) as agents:
        made = [
            *filter(None, agents.map(partial(claimed, laboratory), [proposal] * 12))
        ]
    made.sort(key=lambda claim: claim.exploration)
    assert [claim.seconds for claim in made] == [60, 40]
    assert laboratory.budget()["seconds"] == 0
    laboratory.end(replace(made[0], kind="failed"), 5.0)
    laboratory.end(replace(made[0], kind="stopped"), 60.0)
    assert laboratory.budget()["seconds"] == made[0].seconds - 5
    other = laboratory.propose(TREES, "tried", "tester")["proposal"]
    for _ in range(2):
        assert laboratory.claim(other, "agent", 10) is not None
    assert claimed(laboratory, other) is None


def test_the_dictionary_reaches_an_agent_and_personal_values_do_not():
    """Meaning, unit and when a column is known stand beside its train rows' shares."""
    meaning = {"description": "a class", "known": "30 days", "personal": True}
    schema = {"columns": {"kind": {"dtype": "str", **meaning}}}
    columns = profile(laboratories.table(), 0.0).columns
    dictionary = dictionary_of(to_yaml(schema))
    told = lab_module._described("kind", columns["kind"], dictionary["kind"])
    assert told["description"] == "a class"
    assert told["known"] == "30 days"
    assert "frequent" not in told


def with_proposal(folder: Path, budget: str) -> tuple[Laboratory, str]:
    """Return a laboratory and the id of a proposal."""
    laboratories.declare(folder, budget)
    laboratory = Laboratory.of("made")
    return laboratory, laboratory.propose(WITHOUT_NOISE, "x", "tester")["proposal"]


def claimed(laboratory: Laboratory, proposal: str) -> Event | None:
    """Claim 60 seconds as a process of its own; None: the budget is spent."""
    try:
        return replace(laboratory, records=records()).claim(proposal, "agent", 60)
    except InvalidExperiment:
        return None


def test_an_answer_stays_small_and_the_next_one_goes_on(tmp_path):
    """Of 200 columns and of 40 long proposals an answer holds a few kB; `skip` leads to
    the others.
    """
    laboratories.declare(tmp_path, BUDGET)
    laboratory = Laboratory.of("made")
    base = laboratory.base
    names = [f"column_{place:03}" for place in range(200)]
    texts = [f"{place % 8}{'x' * 60}" for place in range(80)]
    train = replace(
        base.assets["train_set"], rows=DataFrame(dict.fromkeys(names, texts))
    )
    assets = {**base.assets, "train_set": train}
    laboratory = replace(laboratory, base=replace(base, assets=assets))
    proposed = [f"proposal_{place:03}" for place in range(40)]
    for id_ in proposed:
        event = Event("proposed", "agent", id_, "x" * 1_000, WITHOUT_NOISE)
        laboratory.records.add(lambda _, event=event: event)
    assert [row["name"] for row in told_in_all(laboratory.describe)] == names
    latest = [row["proposal"] for row in told_in_all(laboratory.history)]
    assert latest == proposed[::-1]


def told_in_all(tool: Callable[[int], Answer]) -> list[Answer]:
    """Ask a tool until nothing is left to tell; each answer is small."""
    told: list[Answer] = []
    while rows := (answer := tool(len(told)))["data"]:
        assert len(json.dumps(answer)) < 8_000
        told += rows
    return told


def test_money_limits_the_seconds(tmp_path):
    """At 3.6 an hour, .01 pays for ten seconds."""
    budget = "explorations: 9, seconds: 100, money: 0.01"
    laboratory, proposal = with_proposal(tmp_path, budget)
    claim = claimed(laboratory, proposal)
    assert claim is not None
    assert claim.seconds == 10
    assert laboratory.budget()["money"] == 0
    assert claimed(laboratory, proposal) is None


def test_two_persons_at_once_open_no_more_than_the_looks(tmp_path):
    """The second opening is decided on the first."""
    laboratories.declare(tmp_path, BUDGET)
    laboratory = Laboratory.of("made")
    changes = ({"exclude": ["kind"]}, WITHOUT_NOISE)
    ids = [laboratories.finished(laboratory, change) for change in changes]
    for id_ in ids:
        laboratory.request_opening(id_, "look", "tester")

    def opened(id_: str) -> bool:
        try:
            return replace(laboratory, records=records()).open(id_).accepted is not None
        except InvalidExperiment:
            return False

    with ThreadPoolExecutor(2) as persons:
        assert sorted(persons.map(opened, ids)) == [False, True]
    assert laboratory.budget()["looks"] == 0


def test_an_error_of_the_data_does_not_quote_them(tmp_path):
    """A proposal that no row can be modelled by fails with words, without a cell; the
    page says more to the person. It counts, and the next one goes on.
    """
    laboratory = laboratories.marked(tmp_path, BUDGET)
    nothing_left = {"exclude": ["useful", "more", "noise", "kind"]}
    answer = explored(laboratory, nothing_left)
    assert answer["state"] == "failed"
    assert MARK not in json.dumps(answer)
    assert answer["words"].startswith("UnusableTable: `findings` may say")
    assert "no feature is left" in render(page.page(laboratory))
    assert laboratory.budget()["explorations"] == 3
    assert explored(laboratory, WITHOUT_NOISE)["state"] == "explored"


def test_what_is_no_fault_of_a_proposal_leaves_it_to_be_tried_again(
    tmp_path, monkeypatch
):
    """A storage that fails ends the process; the same proposal is claimed once more."""
    laboratory, proposal = with_proposal(tmp_path, BUDGET)
    failure = StorageError("the bucket", rule="no answer", fix="Wait.")
    monkeypatch.setattr(lab_module, "explored", Mock(side_effect=failure))
    claim = claimed(laboratory, proposal)
    assert claim is not None
    with pytest.raises(StorageError):
        laboratory.carry_out(claim)
    laboratory.end(replace(claim, kind="stopped"), 5.0)  # as the server does
    again = claimed(laboratory, proposal)
    assert again is not None
    assert again.exploration == 2
