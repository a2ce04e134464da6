"""Persistence: the same bytes for the same estimator, and nothing but trusted types
back.
"""

from hashlib import sha256

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import VotingRegressor

from experiment_pipeline import errors
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.fresh_process import printed_by
from experiment_pipeline_tests.stages.search import scenario
from experiment_pipeline_tests.stages.search.own_estimators import WithHelper

DIGESTS = """
from experiment_pipeline_tests.storage.test_persistence import digests
print(*digests(), sep="\\n")
"""


def pipelines() -> list:
    """A small fitted pipeline with trees of each library, and one without."""
    search = [
        scenario.one("lightgbm", num_leaves=4),
        scenario.one("random_forest", n_estimators=3, max_depth=3),
        scenario.one("linear"),
    ]
    spec, sets = scenario.experiment(search), scenario.training_sets()
    return [
        scenario.refit(
            c, 3 if c.algorithm == "lightgbm" else None, sets.train, sets, spec
        )
        for c in configurations(spec)
    ]


def test_what_is_stored_comes_back_and_predicts_the_same():
    """With the fixed list of trusted types alone."""
    rows = scenario.training_sets().test
    for pipeline in pipelines():
        data = persistence.to_bytes(pipeline)
        reloaded = persistence.from_bytes(data)
        assert persistence.to_bytes(reloaded) == data
        assert persistence.untrusted_types(data) == ()
        assert np.array_equal(
            reloaded.predict_proba(rows), pipeline.predict_proba(rows)
        )
        assert reloaded.predict(rows).tolist() == pipeline.predict(rows).tolist()


def digests() -> list[str]:
    """Those of the stored pipelines, and the fingerprint of a user's own estimator."""
    name = f"{scenario.OWN}.Plain"
    configuration = Configuration("key", name, "onehot", {"b": 1, "a": "x"})
    spec = scenario.experiment([scenario.one("lightgbm")])
    stored = [persistence.to_bytes(pipeline) for pipeline in pipelines()]
    return [
        *(sha256(content).hexdigest() for content in stored),
        fingerprint(configuration, scenario.training_sets(), spec),
    ]


def test_two_processes_write_the_same_bytes_under_the_same_names():
    """Neither memory addresses nor the order of hashes nor the time reach bytes or
    fingerprint.
    """
    expected = digests()
    assert len(set(expected)) == 4
    assert printed_by(DIGESTS, PYTHONHASHSEED="2").splitlines() == expected


def test_bytes_between_fields_do_not_count():
    """A structured array is its fields; what lies in its gaps is whatever
    memory held.
    """
    kind = np.dtype([("small", "i1"), ("large", "i8")], align=True)
    written = []
    for filler in (b"\x00", b"\xff"):
        array = np.frombuffer(filler * kind.itemsize * 2, kind).copy()
        array["small"], array["large"] = 1, 2
        estimator = DummyRegressor()
        estimator.nodes_ = array
        written.append(persistence.to_bytes(estimator))
    assert written[0] == written[1]
    assert persistence.from_bytes(written[0]).nodes_.tolist() == [(1, 2), (1, 2)]


def test_estimators_of_several_parts_load_without_further_trust():
    """The mapping of their parts' names is scikit-learn's."""
    parts = [("mean", DummyRegressor()), ("median", DummyRegressor(strategy="median"))]
    X = np.arange(10.0)[:, None]
    fitted = VotingRegressor(parts).fit(X, X[:, 0])
    stored = persistence.to_bytes(fitted)
    assert persistence.untrusted_types(stored) == ()
    assert np.array_equal(persistence.from_bytes(stored).predict(X), fitted.predict(X))


def test_an_own_type_is_refused_unless_it_is_trusted():
    """What the fixed list lacks must be named by who loads it."""
    table = np.random.default_rng(0).normal(size=(50, 2))
    estimator = WithHelper().fit(table, table[:, 0] > 0)
    data = persistence.to_bytes(estimator)
    with pytest.raises(errors.InvalidModel, match="own_estimators"):
        persistence.from_bytes(data)
    untrusted = persistence.untrusted_types(data)
    assert [name.rpartition(".")[2] for name in untrusted] == ["Helper", "WithHelper"]
    reloaded = persistence.from_bytes(data, untrusted)
    assert np.array_equal(reloaded.predict_proba(table), estimator.predict_proba(table))


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_skops_file_is_said_to_be_none(data: bytes):
    """Broken bytes are an InvalidModel, not a crash."""
    with pytest.raises(errors.InvalidModel, match="not a skops file"):
        persistence.from_bytes(data)


def test_a_category_that_begins_as_a_model_does_is_only_a_text():
    """Only what a booster holds is read as a model."""
    estimator = DummyRegressor()
    estimator.categories_ = ["tree\nversion=v4\nmax_feature_idx=9", "florist"]
    content = persistence.to_bytes(estimator)
    persistence.check_foreign(content)
    assert persistence.from_bytes(content).categories_ == estimator.categories_


def test_what_cannot_be_written_is_refused_with_its_reason():
    """A generator in an attribute would need pickle, and even that would fail."""
    estimator = DummyRegressor()
    estimator.rows_ = (number for number in range(3))
    with pytest.raises(errors.InvalidModel, match="cannot be stored without pickle"):
        persistence.to_bytes(estimator)
