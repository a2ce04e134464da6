"""Configurations: what a search becomes, in which order, and under which keys."""

import re
from typing import Any

import pytest

from experiment_pipeline import errors
from experiment_pipeline.stages.search.configurations import (
    configurations,
    search_notes,
)
from experiment_pipeline.table.digests import sha256
from experiment_pipeline_tests.stages.search.scenario import experiment, one


def keys(*search: dict[str, Any]) -> list[str]:
    """The keys of a search, in order."""
    return [configuration.key for configuration in configurations(experiment(search))]


def drawn(space: Any, draws: int = 50) -> list[Any]:
    """The values that a random search over one space draws."""
    entry = one("lightgbm", x=space) | {"method": "random", "draws": draws}
    return [
        configuration.hyperparameters["x"]
        for configuration in configurations(experiment([entry]))
    ]


def test_a_grid_is_every_combination_in_the_order_of_the_yaml():
    """Its last list runs fastest; entries of one algorithm stand together, and a key
    names only what is searched.
    """
    search_keys = keys(
        one("lightgbm", num_leaves=[7, 31], reg_alpha=[0.1, 1e-05], max_depth=3),
        one("dummy"),
        one("linear", C=[1]),
        one("dummy", strategy=["prior"]),
    )
    assert search_keys == [
        "lightgbm__num_leaves=7__reg_alpha=0.1",
        "lightgbm__num_leaves=7__reg_alpha=1e-05",
        "lightgbm__num_leaves=31__reg_alpha=0.1",
        "lightgbm__num_leaves=31__reg_alpha=1e-05",
        "dummy",
        "dummy__strategy=prior",
        "linear__C=1",
    ]


def test_explicit_configurations_have_their_values_in_the_key():
    """Names and values of any text make distinct keys in the alphabet."""
    listed = [{"C": 0.1}, {"C": 1, "class_weight": None}, {"é ": "a..b"}, {"é.": "?"}]
    entry = one("linear", max_iter=50) | {"configurations": listed}
    declared = configurations(experiment([entry]))
    first, second, *strange = (configuration.key for configuration in declared)
    assert (first, second) == ("linear__C=0.1", "linear__C=1__class_weight=None")
    assert declared[0].hyperparameters == {"C": 0.1, "max_iter": 50}
    assert len({*strange}) == 2
    for key in strange:
        assert re.fullmatch(r"[A-Za-z0-9_.=-]{1,40}", key)
        assert ".." not in key


def test_trees_get_codes_and_others_columns_unless_told():
    """The default encoder suits the algorithm; the YAML may choose the other one."""
    search = [
        one("lightgbm"),
        one("linear"),
        one("random_forest") | {"features": "onehot"},
    ]
    declared = configurations(experiment(search))
    assert [configuration.features for configuration in declared] == [
        "ordinal",
        "onehot",
        "onehot",
    ]


def test_draws_are_rounded_so_that_the_key_is_the_truth():
    """A drawn float has four significant digits and stays within its ends."""
    values = drawn({"low": 0.000123456, "high": 0.98765432, "scale": "log"}, draws=200)
    assert all(0.000123456 <= value <= 0.98765432 for value in values)
    assert all(value == float(f"{value:.4g}") for value in values)
    # On a logarithmic scale each power of ten gets its share.
    assert sum(value < 0.01 for value in values) > 60


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_whole_ends_draw_whole_numbers_both_ends_included(scale: str):
    """Between integers only integers are drawn, and each can be."""
    values = drawn({"low": 1, "high": 5, "scale": scale}, draws=50)
    assert sorted(values) == [1, 2, 3, 4, 5]
    assert all(type(value) is int for value in values)


def test_an_exhausted_space_gives_fewer_configurations_and_a_note():
    """Draws never repeat; what is missing is said."""
    entry = one("lightgbm", num_leaves=[7, 31], extra_trees=[True, False])
    spec = experiment([entry | {"method": "random", "draws": 10}])
    assert len(configurations(spec)) == 4
    (note,) = search_notes(spec)
    differ = "search.0 (lightgbm): only 4 of 10 draws differ"
    assert note == f"{differ}; 1000 more in a row brought nothing new"


def test_a_configuration_declared_twice_counts_once():
    """Identical hyperparameters are one configuration, under its first key, and it is
    said.
    """
    spec = experiment(
        [one("lightgbm", num_leaves=[7, 31]), one("lightgbm", num_leaves=31)]
    )
    distinct = ["lightgbm__num_leaves=7", "lightgbm__num_leaves=31"]
    assert [configuration.key for configuration in configurations(spec)] == distinct
    told = "search.1 (lightgbm): 1 configuration declared before, counted once"
    assert search_notes(spec) == (told,)


def test_one_number_written_in_two_ways_is_one_configuration():
    """1 is 1.0, but not where a forest reads a count and a share, nor for an estimator
    that nobody here knows.
    """

    def count(algorithm: str, **values: Any) -> int:
        entries = [one(algorithm, **{name: value}) for name, value in values.items()]
        return len(configurations(experiment(entries)))

    assert count("linear", C=[1, 1.0, 2.5]) == 2
    assert count("random_forest", max_features=[1, 1.0]) == 2
    assert count("sklearn.neighbors.KNeighborsClassifier", p=[1, 1.0]) == 2


def test_a_name_is_a_key_as_it_stands_and_stands_once():
    """It wins over a key that would be the same, and two entries cannot share it."""
    named = one("linear", C=0.5) | {"name": "dummy", "note": "why"}
    by_hand, baseline = configurations(experiment([named, one("dummy")]))
    assert (by_hand.key, by_hand.named, by_hand.note) == ("dummy", True, "why")
    assert baseline.key.startswith("dummy__")
    with pytest.raises(errors.InvalidExperiment, match="two entries use it"):
        configurations(experiment([named, one("linear", C=0.7) | {"name": "dummy"}]))


def test_overlapping_entries_are_told_apart_by_what_differs():
    """Fixed parameters that differ join the key; the encoder or the module where
    nothing else does.
    """
    search_keys = keys(
        one("lightgbm", num_leaves=[7], max_depth=3, verbose_eval=1),
        one("lightgbm", num_leaves=[7], max_depth=5, verbose_eval=1),
        one("lightgbm", num_leaves=[7], verbose_eval=1),
    )
    assert search_keys == [
        "lightgbm__max_depth=3__num_leaves=7",
        "lightgbm__max_depth=5__num_leaves=7",
        "lightgbm__num_leaves=7",
    ]
    search_keys = keys(one("lightgbm"), one("lightgbm") | {"features": "onehot"})
    assert search_keys == ["lightgbm__features=ordinal", "lightgbm__features=onehot"]
    assert keys(one("a.Model"), one("b.Model")) == ["a.Model", "b.Model"]


def test_what_does_not_fit_into_a_key_is_a_digest():
    """Of at most 40 characters, which depends on its configuration alone."""
    fits = one("lightgbm", num_leaves=[31], reg_lambda=[0.5])
    assert keys(fits) == ["lightgbm__num_leaves=31__reg_lambda=0.5"]
    few = keys(one("lightgbm", learning_rate=[0.05], num_leaves=[31], reg_lambda=[1.5]))
    many = keys(
        one("lightgbm", learning_rate=[0.05, 0.1], num_leaves=[31], reg_lambda=[1.5])
    )
    assert len({*few, *many}) == len(many) == 2
    assert all(re.fullmatch(r"lightgbm__[0-9a-f]{8}", key) for key in many)


def test_digests_that_coincide_are_written_longer(monkeypatch):
    """Two configurations whose digests begin alike keep keys of their own."""
    monkeypatch.setattr(
        "experiment_pipeline.stages.search.configurations.sha256",
        lambda content: "0" * 8 + sha256(content),
    )
    # Keys are computed once for a search: no other test has this one.
    search_keys = keys(
        one("lightgbm", learning_rate=[0.07, 0.13], num_leaves=[29], reg_lambda=[1.7])
    )
    assert len(set(search_keys)) == 2
    assert all(re.fullmatch(r"lightgbm__0{8}[0-9a-f]{8}", key) for key in search_keys)


def test_a_search_written_otherwise_has_other_configurations():
    """Keys are computed once for a search; 1.0 is another search than 1."""
    whole = experiment([one("random_forest", max_features=[1])])
    again = experiment([one("random_forest", max_features=[1])])
    decimal = experiment([one("random_forest", max_features=[1.0])])
    assert configurations(whole) is configurations(again)
    (configuration,) = configurations(decimal)
    assert isinstance(configuration.hyperparameters["max_features"], float)


def test_a_grid_beyond_all_measure_is_refused():
    """A grid is counted before it is built."""
    lists = {f"p{i}": list(range(10)) for i in range(12)}
    with pytest.raises(
        errors.InvalidExperiment, match="1,000,000,000,000 configurations"
    ):
        configurations(experiment([one("lightgbm", **lists)]))


def test_a_list_of_encoders_is_crossed_with_a_grid():
    """Each choice comes with each encoder, which its key and its words tell."""
    entry = one("lightgbm", num_leaves=[7]) | {"features": ["ordinal", "target"]}
    ordinal, target = configurations(experiment([entry]))
    assert ordinal.key == "lightgbm__features=ordinal__num_leaves=7"
    assert target.key == "lightgbm__features=target__num_leaves=7"
    assert ordinal.in_words == "lightgbm (num_leaves 7)"
    assert target.in_words == "lightgbm (features target, num_leaves 7)"


def test_a_list_of_encoders_leaves_the_other_draws_as_they_were():
    """Encoders are drawn beside the hyperparameters; more draws begin with the same
    ones.
    """
    entry = one("lightgbm", learning_rate={"low": 0.01, "high": 0.3})
    entry |= {"method": "random", "draws": 12}
    encoders = {"features": ["ordinal", "target", "text"]}
    plain, varied, longer = (
        configurations(experiment([changed]))
        for changed in (entry, entry | encoders, entry | encoders | {"draws": 20})
    )
    for before, after in zip(plain, varied, strict=True):
        assert before.hyperparameters == after.hyperparameters
    assert {drawn.features for drawn in varied} == set(encoders["features"])
    assert longer[:12] == varied
