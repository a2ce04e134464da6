"""A search that has concluded concludes the same again, whatever its clock left
unstarted.
"""

import pytest

from experiment_pipeline.stages.search.conclusions import SearchResults
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.earlier import (
    EarlierSearches,
    concluded_again,
    search_fingerprint,
)
from experiment_pipeline.stages.search.halving import Threads, run_search
from experiment_pipeline_tests.stages.search.halving_scenario import (
    Memory,
    experiment,
    run,
    sets_of,
)
from experiment_pipeline_tests.stages.search.scenario import OWN, one
from experiment_pipeline_tests.stages.search.test_halving import OneByOne

SPEC = experiment(budget={"seconds": 22})
SETS = sets_of(SPEC)
DECLARED = configurations(SPEC)


@pytest.fixture(scope="module")
def searched():
    """A search that the clock ended, its store and its results."""
    memory, engine = Memory(), OneByOne()
    ran = run(SPEC, SETS, memory, engine=engine, clock=lambda: engine.seconds)
    conclusions = ran.conclusions.values()
    results = SearchResults.of(DECLARED, conclusions, SPEC.metric, SETS.digests)
    return ran, memory, results


def test_what_the_clock_left_out_stays_out(searched):
    """Status, reason and scores are those of before, and all results are reused; the
    log says what a larger budget would go on with.
    """
    ran, memory, results = searched
    earlier = concluded_again(results, DECLARED, SETS, SPEC, memory)
    assert {
        end.key: (end.status, end.reason, end.path) for end in earlier.conclusions
    } == {
        end.key: (end.status, end.reason, end.path) for end in ran.conclusions.values()
    }
    assert all(end.reused == (end.result is not None) for end in earlier.conclusions)
    out_of_time = [
        end for end in ran.conclusions.values() if "seconds for search" in end.reason
    ]
    assert f"{len(out_of_time)} configurations had no time" in earlier.in_words


def test_a_configuration_that_was_asked_for_since_then_is_trained(searched):
    """It has a model of all rows; every other one ends as before."""
    ran, memory, results = searched
    left_out = next(
        end for end in ran.conclusions.values() if "seconds for search" in end.reason
    )
    later = Memory(dict(memory.models))
    asked_for = [entrant for entrant in DECLARED if entrant.key == left_out.key]
    run(SPEC, SETS, later, asked_for=asked_for)
    earlier = concluded_again(results, DECLARED, SETS, SPEC, later)
    changed = {
        end.key: end.status
        for end in earlier.conclusions
        if end.status != ran.conclusions[end.key].status
    }
    assert changed == {left_out.key: "trained"}


def test_a_search_whose_models_are_gone_is_run_again(searched):
    """Nothing is concluded without the model behind it."""
    _, _, results = searched
    assert concluded_again(results, DECLARED, SETS, SPEC, Memory()) is None


@pytest.mark.parametrize(
    ("changes", "is_the_same"),
    [
        ({"acceptance": [{"metric": "roc_auc", "at_least": 0.6}]}, True),
        ({"budget": {"seconds": 500}, "workers": 2}, True),
        ({"budget": {"seconds": 22, "configurations": 7}}, False),
        ({"metric": "log_loss"}, False),
    ],
)
def test_a_search_is_the_same_by_what_decides_it(changes, is_the_same):
    """Gates, seconds and workers decide no search; its halving, metric and seed do."""
    other = experiment(**{"budget": {"seconds": 22}} | changes)
    before = search_fingerprint(DECLARED, SETS, SPEC)
    after = search_fingerprint(configurations(other), SETS, other)
    assert (before == after) == is_the_same


@pytest.mark.usefixtures("storage")
def test_the_search_with_the_most_seconds_is_kept(searched):
    """It replaces that of fewer seconds, and is read with its paths."""
    _, _, results = searched
    searches = EarlierSearches.of("clinic")
    searches.keep("a" * 64, 22.0, results)
    assert searches.find("a" * 64, 30.0, print) is None
    searches.keep("a" * 64, 30.0, results)
    found = searches.find("a" * 64, 30.0, print)
    assert found is not None
    assert found.paths == results.paths
    assert searches.find("b" * 64, 30.0, print) is None


def test_a_search_in_which_a_fit_failed_is_final():
    """The same code and rows would fail again."""
    failing = one(f"{OWN}.Raises", strength=[1.0, 2.0, 3.0])
    spec = experiment(searched=[failing, one("linear")])
    assert run_search(configurations(spec), SETS, spec, Memory(), Threads(1)).is_final
