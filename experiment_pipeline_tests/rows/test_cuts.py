"""Where to cut: units whole, sets filled, classes on both sides."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.rows.membership import cut_by_hash, cut_by_order, cut_tail
from experiment_pipeline_tests.rows.made_rows import SHARES


@settings(max_examples=100, deadline=None)
@given(
    hashes=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60),
    classes=st.integers(1, 4),
)
def test_a_cut_by_hash_keeps_units_whole_and_fills_sets(hashes, classes):
    """One hash, one set; a class with three units or more is in every set."""
    array = np.array(hashes * 2, dtype=np.uint64)
    strata = (array % np.uint64(classes)).astype(np.int64)
    sets = cut_by_hash(array, strata, SHARES)
    table = pd.DataFrame({"hash": array, "stratum": strata, "set": sets})
    assert table.groupby("hash")["set"].nunique().max() == 1
    for _, units in table.drop_duplicates("hash").groupby("stratum"):
        assert units["set"].nunique() == min(3, len(units))


@settings(max_examples=100, deadline=None)
@given(places=st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_a_cut_by_order_is_a_cut(places):
    """Later places are in later sets, equal ones in one, and each set has a place if it can."""
    array = np.array(places)
    sets, _ = cut_by_order(array, SHARES)
    table = pd.DataFrame({"place": array, "set": sets}).sort_values("place")
    assert table["set"].is_monotonic_increasing
    assert table.groupby("place")["set"].nunique().max() == 1
    assert table["set"].nunique() == min(3, table["place"].nunique())


@settings(max_examples=100, deadline=None)
@given(
    places=st.lists(st.integers(0, 20), min_size=2, max_size=60).filter(lambda p: len(set(p)) > 1),
    classes=st.integers(1, 3),
)
def test_a_tail_keeps_every_class_on_both_sides_if_any_cut_does(places, classes):
    """Compared with every possible cut: when one keeps all classes, so does the chosen one."""
    array, strata = np.array(places), np.arange(len(places)) % classes
    held_out = cut_tail(array, strata, 0.15)

    def keeps_all(mask):
        return len(set(strata[mask])) == len(set(strata[~mask])) == len(set(strata))

    cuts = [array > place for place in sorted(set(places))[:-1]]
    assert 0 < held_out.sum() < len(places)
    assert keeps_all(held_out) == any(keeps_all(cut) for cut in cuts)
