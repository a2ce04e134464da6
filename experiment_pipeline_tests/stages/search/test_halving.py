"""The search: the best go on, the same ones however it is run, and everybody is
accounted for; scores follow from stored predictions, so that no metric is a reason to
fit again.
"""

import itertools

import pytest

from experiment_pipeline.spec.search import Budget
from experiment_pipeline.stages.search import budget, conclusions, sweep
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.fitting import share_work
from experiment_pipeline.stages.search.halving import settled
from experiment_pipeline.stages.search.rungs import competes
from experiment_pipeline.stages.search.sweep import in_order, trained_or_failed
from experiment_pipeline_tests.stages.search.halving_scenario import (
    HALVING,
    SEARCH,
    Memory,
    experiment,
    run,
    sets_of,
)
from experiment_pipeline_tests.stages.search.scenario import OWN, one

SPEC = experiment()
SETS = sets_of(SPEC)
KEYS = [configuration.key for configuration in configurations(SPEC)]
FITS = 14 + 6 + 5 + 1


@pytest.fixture(scope="module")
def stored():
    """What the first run stores."""
    return Memory()


@pytest.fixture
def memory(stored, ran):
    """A store after the first run."""
    return Memory(dict(stored.models))


@pytest.fixture(scope="module")
def ran(stored):
    """One search on an empty store."""
    return run(SPEC, SETS, stored, workers=1)


def test_the_best_of_each_rung_go_on(ran):
    """14 compete on a fifth of the rows, 6 on half, 5 and the dummy on all; who stops
    says why.
    """
    rungs = [
        event for event in ran.events if isinstance(event, conclusions.RungStarted)
    ]
    assert [event.entrants for event in rungs] == [14, 6, 6]
    assert ran.fits == FITS
    assert ran.counts == {"stopped early": 9, "trained": 6}
    place = "not among the best {} of {} at rung {} of 3 ({} % of the train rows)"
    assert {ended.reason for ended in ran.ended("stopped early").values()} == {
        place.format(6, 14, 1, 20),
        place.format(5, 6, 2, 50),
    }


def test_every_rung_of_a_configuration_is_told(ran):
    """Its path has the score and the cost of each fit, its result's last."""
    for key, ended in ran.conclusions.items():
        rungs = [1.0] if key == "dummy" else [0.2, 0.5, 1.0]
        climbed = [fraction for fraction in rungs if fraction <= ended.fraction]
        assert [step.fraction for step in ended.path] == climbed
        assert ended.path[-1] == conclusions.Step.of(ended.result, ended.fraction)


def test_the_answer_does_not_depend_on_workers_or_order(ran, memory):
    """The same conclusions, and the same bytes of every model."""
    store, asked_for = Memory(), configurations(SPEC)[::-1]
    again = run(SPEC, SETS, store, workers=4, asked_for=asked_for)
    assert again.answer == ran.answer
    assert store.contents == memory.contents


def test_a_kill_loses_nothing_and_changes_nothing(ran, memory):
    """Killed amid a rung, the next run fits the rest and concludes the same."""
    store = Memory()
    run(SPEC, SETS, store, kill_after=17)
    rest = run(SPEC, SETS, store)
    assert rest.fits <= FITS - 17
    assert rest.answer == ran.answer
    assert store.contents == memory.contents


def test_a_rerun_trains_nothing_and_says_the_same(ran, memory):
    """Those stopped early are told again from what is stored."""
    again = run(SPEC, SETS, memory)
    assert again.fits == 0
    assert again.answer == ran.answer
    for key, conclusion in again.conclusions.items():
        assert conclusion.reused
        assert conclusion.path == ran.conclusions[key].path


def test_a_wider_search_reuses_rungs(memory, ran):
    """One more configuration costs its own fits, and those of whom it lets in."""
    wider = experiment(searched=[*SEARCH, one("random_forest", n_estimators=3)])
    wider_run = run(wider, SETS, memory)
    assert wider_run.fits <= 3
    assert len(wider_run.conclusions) == len(KEYS) + 1


def test_one_configuration_alone_or_without_halving_is_trained_on_all_rows():
    """Who asks for one gets it, and is told; `halving: off` is one rung."""
    alone = run(SPEC, SETS, asked_for=configurations(SPEC)[1:2])
    assert alone.conclusions[KEYS[1]].fraction == 1.0
    (note,) = alone.notes
    assert "no halving" in note
    whole = run(experiment(halving=False), SETS)
    assert (whole.counts, whole.fits) == ({"trained": len(KEYS)}, len(KEYS))


def test_a_named_configuration_is_trained_on_all_rows(ran, memory):
    """Halving does not stop it, and what becomes of all others stays the same."""
    named = one("linear", C=0.000001) | {"name": "mine", "note": "by hand"}
    wider_run = run(experiment(searched=[*SEARCH, named]), SETS, memory)
    assert wider_run.fits == 1
    answer = wider_run.answer
    assert answer.pop("mine")[0] == "trained"
    assert answer == ran.answer


def test_who_was_trained_in_full_before_stays_trained(ran, memory):
    """A full model that exists is not reported as stopped, and nobody loses a place by
    it.
    """
    worst = next(iter(ran.ended("stopped early")))
    alone = [c for c in configurations(SPEC) if c.key == worst]
    run(SPEC, SETS, memory, asked_for=alone)
    after = run(SPEC, SETS, memory).answer
    assert after.pop(worst)[0] == "trained"
    assert after == {key: value for key, value in ran.answer.items() if key != worst}


def test_failures_take_no_place(memory):
    """What fails at a small rung is failed, says where, and as many go on as without
    it.
    """
    bad = [one(f"{OWN}.Raises"), one(f"{OWN}.NotFinite")]
    ran = run(experiment(searched=[*SEARCH, *bad]), SETS, memory)
    assert ran.counts == {"failed": 2, "stopped early": 9, "trained": 6}
    failed = ran.conclusions["Raises"]
    assert (
        failed.reason
        == "this table has a bad smell (at rung 1 of 3 (20 % of the train rows))"
    )
    assert failed.failure.reason == failed.reason


def test_a_renamed_key_is_concluded_under_its_present_name(memory, ran):
    """Stored results keep the key of when they were trained; the conclusion
    does not.
    """
    best = next(
        k for k, c in ran.conclusions.items() if k[0] == "l" and c.status == "trained"
    )
    result = ran.conclusions[best].result
    fixed = one(result.algorithm, **result.hyperparameters)
    again = run(experiment(searched=[fixed]), SETS, memory)
    assert again.fits == 0
    (conclusion,) = again.conclusions.values()
    assert conclusion.key == conclusion.result.key == result.algorithm


def test_a_budget_of_configurations_is_drawn_by_the_seed():
    """So many are tried beside the baseline, the others not."""
    small = run(experiment(budget={"configurations": 4}), SETS)
    assert small.counts == {"not started": len(KEYS) - 5, "trained": 5}
    reasons = {ended.reason for ended in small.ended("not started").values()}
    assert reasons == {"the budget is 4 configurations"}


class OneByOne:
    """Fits in the calling thread; by its own clock that takes a second for each 600
    train rows.
    """

    workers, seconds = 1, 0.0

    def train(self, configurations, sets, spec, brake=None):
        """Train those that may start."""
        if not configurations:
            return
        work = share_work(configurations, sets, spec)
        for configuration in in_order(configurations, sets, brake):
            if brake is None or brake.may_start(configuration.key):
                self.seconds += len(sets.train) / 600
                yield trained_or_failed(configuration, work, sets, spec)


def test_the_longest_fits_start_first_unless_time_may_run_out():
    """That keeps workers busy to the end; against a clock the best so far go first."""
    long, *_, quick = [entrant for entrant in configurations(SPEC) if competes(entrant)]
    assert in_order([quick, long], SETS, None) == [long, quick]
    after = budget.AfterSearch(SETS, workers=2)
    timed = budget.Brake(Budget(seconds=60), lambda: 0.0, after, "roc_auc")
    assert in_order([quick, long], SETS, timed) == [quick, long]


def test_a_budget_of_seconds_ends_between_fits(ran, monkeypatch):
    """What is running ends and is kept; the rest says that the time was spent."""
    monkeypatch.setattr(budget, "_MOST_BUSY", 1.0)
    spec = experiment(budget={"seconds": 22})
    memory, engine = Memory(), OneByOne()
    limited = run(spec, SETS, memory, engine=engine, clock=lambda: engine.seconds)
    assert 0 < limited.fits < FITS
    assert set(limited.conclusions) == set(KEYS)
    assert "seconds for search" in "".join(
        c.reason for c in limited.conclusions.values()
    )
    assert "depends on the speed" in limited.notes[0]
    # Who was trained in full for lack of time stays so.
    in_full = limited.ended("trained").keys()
    after = run(SPEC, SETS, memory)
    assert in_full <= after.ended("trained").keys()
    assert {key for key in KEYS if after.answer[key] != ran.answer[key]} <= in_full


def test_a_budget_that_encoding_uses_up_trains_somebody(monkeypatch):
    """The clock runs while tables are encoded, before any fit may start."""
    clock = [0.0]

    def slow(*arguments):
        clock[0] += 10.0
        return share_work(*arguments)

    monkeypatch.setattr(sweep, "share_work", slow)
    spec = experiment(budget={"seconds": 5})
    ran = run(spec, SETS, workers=2, clock=lambda: clock[0])
    assert "dummy" in ran.ended("trained")
    assert len(ran.ended("trained")) == 2


def test_others_are_settled_from_what_is_stored(memory, ran):
    """A run for some configurations reports the others as the search before
    left them.
    """
    again = settled(configurations(SPEC), SETS, SPEC, memory)
    assert {(c.key, c.status, c.reason) for c in again} == {
        (c.key, c.status, c.reason) for c in ran.conclusions.values()
    }
    nothing = settled(configurations(SPEC), SETS, SPEC, Memory())
    assert {(c.status, c.reason) for c in nothing} == {
        ("not started", "not asked for in this run")
    }


@pytest.mark.parametrize("limit", [{}, {"configurations": 3}, {"seconds": 2}])
def test_the_accounts_always_add_up(memory, ran, limit):
    """Whatever is stored, asked for or limited: each configuration is counted once."""
    spec = experiment(budget=limit)
    part = Memory(dict([*memory.models.items()][::2]))
    declared, ticks = configurations(spec), itertools.count()
    asked_for = declared[::3]
    clock = lambda: float(next(ticks))  # noqa: E731
    concluded = run(spec, SETS, part, asked_for=asked_for, clock=clock).conclusions
    assert set(concluded) == {entrant.key for entrant in asked_for}
    not_asked_for = {ended.key: ended for ended in settled(declared, SETS, spec, part)}
    table = conclusions.SearchResults.of(
        declared, (not_asked_for | concluded).values(), "roc_auc", {}
    ).rows
    counts = dict(conclusions.accounts(table))
    counts.pop("reused")
    assert counts.pop("declared") == len(declared) == sum(counts.values())
    full = {fingerprint(entrant, SETS, spec) for entrant in declared}
    trained = table["status"] == "trained"
    assert set(table.loc[trained, "fingerprint"]) == full & part.models.keys()
    assert not table.loc[~trained, "reason"].eq("").any()


def test_another_metric_or_gate_fits_nothing_again():
    """Every rung is decided by the new metric on predictions that exist; scores are a
    fresh fit's, to the bit.
    """
    trees = one("lightgbm", n_estimators=5, early_stopping_round=0)
    trees["hyperparameters"]["num_leaves"] = [2, 4, 8, 16, 32, 64]
    halving = {**HALVING, "fractions": [0.2, 1.0], "keep": 0.5}
    settings = {"searched": [one("linear", C=[0.001, 0.1]), trees], "halving": halving}
    sets, memory = sets_of(experiment(**settings)), Memory()
    run(experiment(**settings), sets, memory)
    gate = [{"metric": "brier", "at_most": 0.3}]
    gated = run(experiment(**settings, acceptance=gate), sets, memory)
    assert gated.fits == 0
    result = next(iter(gated.ended("trained").values())).result
    assert set(result.test_scores) == {"roc_auc", "brier"}
    by_loss = experiment(**settings, metric="log_loss")
    again, fresh = run(by_loss, sets, memory), run(by_loss, sets)
    # Other configurations may survive a rung: they alone are fitted.
    assert again.fits == sum(not ended.reused for ended in again.conclusions.values())
    for key, expected in fresh.ended("trained").items():
        rescored = again.conclusions[key].result
        assert rescored.metric == "log_loss"
        assert rescored.train_score == expected.result.train_score
        assert rescored.test_score == expected.result.test_score


def test_a_full_model_outlives_a_failure_at_a_small_rung(memory):
    """Neighbours that a small rung lacks are there in all rows, and were asked for."""
    many = one("sklearn.neighbors.KNeighborsClassifier", n_neighbors=[2_000])
    spec = experiment(searched=[*SEARCH, many])
    (last,) = [c for c in configurations(spec) if "KNeighbors" in c.key]
    assert run(spec, SETS, memory).conclusions[last.key].status == "failed"
    run(spec, SETS, memory, asked_for=[last])
    assert run(spec, SETS, memory).conclusions[last.key].status == "trained"
