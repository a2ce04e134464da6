"""Features in fewer parts: the same numbers, whatever the rows hold and however they are typed."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import issparse

from experiment_pipeline.stages.search import features as encoders
from experiment_pipeline.stages.search import gathering
from experiment_pipeline.stages.search.features import (
    build_features,
    categorical_positions,
    encoded_columns,
    seen_categories,
)
from experiment_pipeline.stages.search.gathering import gathered
from experiment_pipeline.storage.persistence import from_bytes, to_bytes
from experiment_pipeline_tests.stages.search.test_features import awkward

ENCODERS = ["ordinal", "onehot"]


def typed_anew(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows as others deliver them: shuffled, of objects, with texts and gaps never seen."""
    loose = table.astype("object").where(table.notna(), None)
    never = table.astype({"nullable": "object", "mixed": "object"})
    never.loc[never.index[:9], ["nullable", "mixed"]] = "never seen"
    return [table, table.iloc[::-1, ::-1], table.iloc[[0]], loose, loose.iloc[[1]], never]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_row_is_encoded_as_before(encoder: str) -> None:
    """To the bit, in fewer parts."""
    table = awkward()
    fitted = build_features(encoder, table, list(table)).fit(table)
    together = gathered(fitted, table)
    assert len(together.transformers_) < len(fitted.transformers_)
    for rows in typed_anew(table):
        assert np.array_equal(together.transform(rows), fitted.transform(rows), equal_nan=True)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_known_of_the_features_is_the_same(encoder: str) -> None:
    """Whose columns are whose, which are codes, which texts were seen, what they are called."""
    table = awkward()
    fitted = build_features(encoder, table, list(table)).fit(table)
    together = gathered(fitted, table)
    assert categorical_positions(together) == categorical_positions(fitted)
    for asked in (encoded_columns, seen_categories):
        before, after = asked(fitted), asked(together)
        assert list(after) == list(before)
        for name, values in before.items():
            assert after[name].tolist() == pytest.approx(values.tolist(), nan_ok=True)
    names = together.get_feature_names_out()
    assert len(set(names)) == len(names)


def test_dates_and_rare_texts_keep_a_part_of_their_own() -> None:
    """A date is cut by the others of its column; rare texts share a code."""
    n = 1_000
    table = pd.DataFrame(
        {
            "day": pd.date_range("2020-01-01", periods=n),
            "dated": pd.Categorical(pd.date_range("2020-01-01", periods=n)),
            "rare": pd.Series([f"c{number}" for number in range(n)], dtype="str"),
            **{
                f"few {k}": pd.Series(["a", "b"] * (n // 2), dtype="str")
                for k in range(gathering.MOST_TOGETHER + 2)
            },
        }
    )
    fitted = build_features("ordinal", table, list(table)).fit(table)
    together = gathered(fitted, table)
    columns = [of for *_, of in together.transformers_]
    assert columns[:3] == ["day", "dated", "rare"]
    assert [len(of) for of in columns[3:]] == [gathering.MOST_TOGETHER, 2]
    for rows in (table, table.iloc[:1]):
        assert np.array_equal(together.transform(rows), fitted.transform(rows))


def test_nothing_to_gather_is_nothing_done() -> None:
    """One column of texts is one part already."""
    table = pd.DataFrame({"x": [1.0, 2.0], "y": pd.Series(["a", "b"], dtype="str")})
    fitted = build_features("ordinal", table, list(table)).fit(table)
    assert gathered(fitted, table) is fitted


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_is_stored_without_more_trust(encoder: str) -> None:
    """Loaded, it encodes as before; its bytes are the same again."""
    table = awkward()
    together = gathered(build_features(encoder, table, list(table)).fit(table), table)
    loaded = from_bytes(to_bytes(together))
    assert np.array_equal(loaded.transform(table), together.transform(table), equal_nan=True)
    assert to_bytes(loaded) == to_bytes(together)


def test_a_sparse_table_stays_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large for a dense one, before and after."""
    table = awkward()
    monkeypatch.setattr(encoders, "MAX_DENSE_BYTES", 100)
    fitted = build_features("onehot", table, list(table)).fit(table)
    together = gathered(fitted, table)
    assert issparse(together.transform(table))
    assert np.array_equal(
        together.transform(table).toarray(), fitted.transform(table).toarray(), equal_nan=True
    )
