"""Rounds: the same ones however the search is run, and everybody is accounted for."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.spec import Surrogate
from experiment_pipeline.stages.search.conclusions import Fitted, Note, RungStarted
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.rounds import round_sizes
from experiment_pipeline.stages.search.run import settled
from experiment_pipeline.stages.search.surrogate import pick
from experiment_pipeline.stages.search.table import accounts, search_results
from experiment_pipeline_tests.stages.search.halving_scenario import (
    Memory,
    Ran,
    experiment,
    run,
    sets_of,
)
from experiment_pipeline_tests.stages.search.scenario import OWN, one

LOG = {"low": 0.001, "high": 1.0, "scale": "log"}
SEARCH = [
    one("dummy"),
    one("linear", C=[0.00001, 0.001, 0.1, 10.0]),
    {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": 20,
        "hyperparameters": {
            "n_estimators": 5,
            "learning_rate": LOG,
            "num_leaves": {"low": 2, "high": 16},
        },
    },
]


def by_rounds(searched=SEARCH, tried: int | None = 11, **changes):
    """An experiment that tries eleven of 24 in rounds of four, three, three and one."""
    budget = {"budget": {"configurations": tried}} if tried else {}
    rounds = {"halving": False, "surrogate": {"first": 4, "per_round": 3}}
    return experiment(searched=searched, **{**rounds, **budget, **changes})


SPEC = by_rounds()
SETS = sets_of(SPEC)
KEYS = [one.key for one in configurations(SPEC)]
FITS = 11 + 1


@pytest.fixture(scope="module")
def stored():
    """What the first run stores."""
    return Memory()


@pytest.fixture(scope="module")
def ran(stored):
    """One search on an empty store."""
    return run(SPEC, SETS, stored, workers=1)


@pytest.fixture
def memory(stored, ran):
    """A store after the first run."""
    return Memory(dict(stored.models))


def trained(ran: Ran) -> set[str]:
    """The keys that have a model."""
    return {key for key, one in ran.conclusions.items() if one.status == "trained"}


def test_rounds_are_full_fits_of_the_budget(ran):
    """The baseline is beside the first round; who is left out says how far the rounds went."""
    rounds = [event for event in ran.events if isinstance(event, RungStarted)]
    assert [event.place for event in rounds] == [f"round {n} of 4" for n in (1, 2, 3, 4)]
    assert [event.configurations for event in rounds] == [5, 3, 3, 1]
    assert [event.work_after for event in rounds] == [7, 4, 1, 0]
    assert all(event.rung.is_full for event in rounds)
    assert ran.fits == FITS
    assert ran.counts == {"not started": len(KEYS) - FITS, "trained": FITS}
    assert "dummy" in trained(ran)
    reasons = {one.reason for one in ran.conclusions.values() if one.status == "not started"}
    assert reasons == {"not picked by the surrogate in 4 rounds: 11 of 24 were tried"}


@pytest.mark.parametrize("workers", [2, 4])
def test_the_answer_does_not_depend_on_workers(ran, memory, workers):
    """The same rounds, and the same bytes of every model."""
    other = Memory()
    assert run(SPEC, SETS, other, workers=workers).answer == ran.answer
    assert other.contents == memory.contents


def test_the_answer_does_not_depend_on_the_order(ran):
    """Configurations turned round end alike."""
    assert run(SPEC, SETS, wanted=configurations(SPEC)[::-1]).answer == ran.answer


@pytest.mark.parametrize("fits", [1, 5, 7, FITS - 1])
def test_a_kill_loses_nothing_and_changes_nothing(ran, memory, fits):
    """Killed in any round, the next run walks the same rounds and fits what is missing."""
    other = Memory()
    run(SPEC, SETS, other, kill_after=fits)
    rest = run(SPEC, SETS, other)
    assert rest.fits <= FITS - fits
    assert rest.answer == ran.answer
    assert other.contents == memory.contents


def test_a_rerun_trains_nothing_and_says_the_same(ran, memory):
    """The rounds are walked again on what is stored."""
    again = run(SPEC, SETS, memory)
    assert again.fits == 0
    assert again.answer == ran.answer
    assert all(one.reused for one in again.conclusions.values() if one.result)


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(ran, memory):
    """Also from within a round: it only adds."""
    more = run(by_rounds(tried=15), SETS, memory)
    assert more.fits == 4
    assert trained(ran) < trained(more)
    assert more.answer == run(by_rounds(tried=15), SETS).answer


def test_what_is_stored_besides_changes_no_pick(ran):
    """A model that exists anyway is reported, and the rounds are those of an empty store."""
    outside = next(c for c in configurations(SPEC) if c.key not in trained(ran))
    memory = Memory()
    run(SPEC, SETS, memory, wanted=[outside])
    after = run(SPEC, SETS, memory)
    assert trained(after) == trained(ran) | {outside.key}
    assert after.conclusions[outside.key].reused


def test_the_surrogate_decides_no_model(ran, memory):
    """A model is the same one with rounds, with halving, or with neither."""
    for spec in (experiment(searched=SEARCH), experiment(searched=SEARCH, halving=False)):
        for one_of in configurations(SPEC):
            assert fingerprint(one_of, SETS, spec) == fingerprint(one_of, SETS, SPEC)


def test_one_configuration_alone_is_trained():
    """Who asks for one gets it."""
    wanted = configurations(SPEC)[-1]
    alone = run(SPEC, SETS, wanted=[wanted])
    assert alone.answer[wanted.key][0] == "trained"
    assert not any(isinstance(event, Note) for event in alone.events)


def test_the_baseline_alone_is_trained():
    """It competes with nobody, and nobody else is needed."""
    (dummy,) = [c for c in configurations(SPEC) if c.algorithm == "dummy"]
    assert run(SPEC, SETS, wanted=[dummy]).counts == {"trained": 1}


def test_a_pool_within_the_budget_is_tried_as_a_whole():
    """A note says that nothing was left to pick."""
    small = run(by_rounds(searched=SEARCH[:2], tried=9), SETS)
    assert small.counts == {"trained": 5}
    (note,) = [event.text for event in small.events if isinstance(event, Note)]
    assert note == "the surrogate has nothing to leave out: 4 configurations compete"


def test_failures_are_told_and_the_rounds_go_on():
    """What fails has used its place, and the search ends as it would have."""
    bad = one(f"{OWN}.Raises", strength=[1.0, 2.0, 3.0])
    spec = by_rounds(searched=[*SEARCH, bad])
    failing = run(spec, SETS)
    assert failing.counts["trained"] + failing.counts["failed"] == FITS
    assert failing.answer == run(spec, SETS, workers=4).answer
    assert sum(failing.counts.values()) == len(failing.conclusions)


@pytest.mark.parametrize("ticks", [3, 9, 13])
def test_a_budget_of_seconds_ends_between_fits(ticks):
    """What was begun is kept, the rest says that the time was spent; more time goes on."""
    clock = itertools.count()
    spec = by_rounds(tried=None, budget={"seconds": ticks})
    memory = Memory()
    ran = run(spec, SETS, memory, workers=1, now=lambda: float(next(clock)))
    assert 0 < ran.fits < len(KEYS)
    assert set(ran.conclusions) == set(KEYS)
    left = [one.reason for one in ran.conclusions.values() if one.status == "not started"]
    assert left
    assert set(left) == {f"the budget of {ticks} seconds was spent"}
    (note,) = [event.text for event in ran.events if isinstance(event, Note)]
    assert "depends on the speed" in note
    assert trained(run(spec, SETS, memory)) == set(KEYS)


def test_without_time_for_all_the_first_picks_go_first(monkeypatch):
    """A round with a limit of seconds is fitted in the order of the surrogate."""
    picked = []

    def noted(*given, **named):
        picked.extend(found := pick(*given, **named))
        return found

    monkeypatch.setattr("experiment_pipeline.stages.search.rounds.pick", noted)
    spec = by_rounds(budget={"configurations": 11, "seconds": 60})
    ran = run(spec, SETS, workers=1)
    fitted = [event.model.key for event in ran.events if isinstance(event, Fitted)]
    assert fitted == ["dummy", *picked]


def test_others_are_settled_from_what_is_stored(memory, ran):
    """A run for some configurations reports the others as the search before left them."""
    again = {one.key: one for one in settled(configurations(SPEC), SETS, SPEC, memory)}
    assert {k: (c.status, c.reason) for k, c in again.items()} == {
        k: (c.status, c.reason) for k, c in ran.conclusions.items()
    }
    nothing = settled(configurations(SPEC), SETS, SPEC, Memory())
    assert {(c.status, c.reason) for c in nothing} == {("not started", "not asked for in this run")}


def test_a_model_comes_before_the_conclusion_that_rests_on_it(ran):
    """What is told of is stored already."""
    met = set()
    for event in ran.events:
        if isinstance(event, Fitted):
            met.add(event.model.result.key)
    assert met == trained(ran)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_accounts_always_add_up(stored, ran, data):
    """Whatever is stored, asked for, limited or cut off: each configuration is counted once."""
    names = data.draw(st.sets(st.sampled_from(sorted(stored.models))))
    wanted_keys = data.draw(st.sets(st.sampled_from(KEYS), min_size=1))
    budget = data.draw(
        st.sampled_from(
            [{"configurations": 5}, {"seconds": 2}, {"configurations": 9, "failures_in_a_row": 1}]
        )
    )
    spec = by_rounds(budget=budget)
    part = Memory({name: stored.models[name] for name in names})
    clock = itertools.count()
    declared = configurations(spec)
    wanted = [c for c in declared if c.key in wanted_keys]
    asked = run(spec, SETS, part, wanted=wanted, now=lambda: float(next(clock))).conclusions
    assert set(asked) == wanted_keys
    others = {one.key: one for one in settled(declared, SETS, spec, part)}
    table = search_results(declared, (others | asked).values())
    counts = accounts(table)
    assert counts["declared"] == len(declared)
    assert counts["trained"] + counts["failed"] + counts["not_started"] == len(declared)
    full = {fingerprint(c, SETS, spec) for c in declared}
    found = table[table["status"] == "trained"]
    assert set(found["fingerprint"]) == full & part.models.keys()
    assert not table.loc[table["status"] != "trained", "reason"].eq("").any()


@settings(max_examples=50, deadline=None)
@given(
    first=st.integers(2, 9),
    per_round=st.integers(1, 9),
    competing=st.integers(0, 60),
    tried=st.one_of(st.none(), st.integers(1, 60)),
)
def test_round_sizes_add_up_and_only_the_last_is_cut(first, per_round, competing, tried):
    """As many as may be tried, in full rounds."""
    sizes = round_sizes(Surrogate(first=first, per_round=per_round), competing, tried)
    assert sum(sizes) == min(competing, tried or competing)
    full = [first, *[per_round] * (len(sizes) - 1)]
    assert sizes[:-1] == full[:-1]
    assert sizes[-1] <= full[-1]
