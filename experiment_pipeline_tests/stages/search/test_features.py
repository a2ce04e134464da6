"""Features: every type of column becomes numbers, on train and on rows never seen."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import issparse

from experiment_pipeline.stages.search import features as encoders
from experiment_pipeline.stages.search.features import (
    MAX_ONEHOT_CATEGORIES,
    MAX_ORDINAL_CATEGORIES,
    build_features,
)

N = 60


def awkward() -> pd.DataFrame:
    """A column of every type that a prepared table may hold, most with gaps."""
    random = np.random.default_rng(1)
    gap = random.random(N) < 0.2

    def with_gaps(values: Any, dtype: str) -> Any:
        return pd.array(np.where(gap, None, values), dtype=dtype)

    return pd.DataFrame(
        {
            'te"xt {é}': with_gaps(random.choice(["a", "b"], N), "str"),
            "whole": with_gaps(random.integers(0, 9, N), "Int64"),
            "real": with_gaps(random.normal(size=N), "Float64"),
            "flag": with_gaps(random.random(N) < 0.5, "boolean"),
            "number category": pd.Categorical(random.integers(0, 3, N)),
            "mixed": pd.Series([1, "x", None, 2.5, True] * (N // 5), dtype="object"),
            "nullable": with_gaps(random.choice(["p", "q"], N), "string"),
            "no text": pd.Series([None] * N, dtype="str"),
            "empty": np.full(N, np.nan),
            "constant": np.ones(N),
            "infinite": random.choice([np.inf, -np.inf, 0.0, 1.0], N),
            "huge": random.choice([1e300, -1e300, 1.0], N),
        }
    )


def fitted(encoder: str, train: pd.DataFrame) -> Any:
    """Features of every column, fitted."""
    return build_features(encoder, train, list(train)).fit(train)


@pytest.mark.parametrize("encoder", ["ordinal", "onehot"])
def test_every_type_of_column_is_encoded_as_whoever_delivers_it(encoder: str):
    """Gaps, infinities and mixtures become float64, whatever order, objects or further
    columns.
    """
    table = awkward()
    features = fitted(encoder, table)
    encoded = features.transform(table)
    assert encoded.dtype == np.float64
    assert not np.isinf(encoded).any()
    # The ordinal encoder leaves what is missing among numbers to the model.
    assert np.isnan(encoded).any() == (encoder == "ordinal")
    turned = table[table.columns[::-1]].assign(further=1)
    assert np.array_equal(features.transform(turned), encoded, equal_nan=True)
    row = table[table['te"xt {é}'].isna()].iloc[[0]]
    loose = row.astype("object").where(row.notna(), None).assign(**{"no text": np.nan})
    assert np.array_equal(
        features.transform(loose), features.transform(row), equal_nan=True
    )


def test_missing_and_unseen_categories_are_minus_one():
    """The ordinal encoder gives codes, as many as LightGBM has bins, and -1 for what
    has none.
    """
    features = fitted(
        "ordinal", pd.DataFrame({"x": pd.Series(["b", "a", None], dtype="str")})
    )
    later = pd.DataFrame({"x": pd.Series(["a", "b", None, "never seen"], dtype="str")})
    assert features.transform(later).ravel().tolist() == [0, 1, -1, -1]
    many = pd.DataFrame({"x": pd.Series([f"c{n}" for n in range(1000)], dtype="str")})
    assert fitted("ordinal", many).transform(many).max() == MAX_ORDINAL_CATEGORIES - 1


def test_an_unseen_category_counts_as_an_infrequent_one():
    """The one-hot encoder keeps the frequent categories and puts the others in one
    column.
    """
    frequent = [f"c{number:02}" for number in range(MAX_ONEHOT_CATEGORIES - 1)]
    train = pd.DataFrame(
        {"x": pd.Series([*frequent, *frequent, "rare 1", "rare 2"], dtype="str")}
    )
    rows = pd.DataFrame({"x": pd.Series(["rare 1", "never seen", "c00"], dtype="str")})
    rare, unseen, frequent_one = fitted("onehot", train).transform(rows)
    assert len(rare) == MAX_ONEHOT_CATEGORIES
    assert rare.tolist() == unseen.tolist() != frequent_one.tolist()


def test_a_missing_number_leaves_a_mark():
    """The one-hot encoder imputes the median and says where."""
    train = pd.DataFrame({"x": [1.0, 2.0, 9.0, np.nan]})
    encoded = fitted("onehot", train).transform(train)
    assert encoded[3, 0] == encoded[1, 0]
    assert encoded[3, 1] > 0 > encoded[0, 1]


def test_missing_is_missing_in_every_spelling():
    """None, nan and NA, in columns of objects or of nullable strings, are one
    category.
    """
    train = pd.DataFrame({"x": pd.Series(["a", "b", None], dtype="str")})
    features = fitted("onehot", train)
    for dtype, values in (
        ("object", [None, np.nan, pd.NA]),
        ("string", [None]),
        ("category", [None]),
    ):
        rows = pd.DataFrame({"x": pd.Series([*values, "a"], dtype=dtype)})
        *missing, first = features.transform(rows).tolist()
        assert missing == [[0, 0, 1]] * len(values)
        assert first == [1, 0, 0]


def test_a_table_that_would_be_too_large_is_sparse(monkeypatch):
    """Dense up to a size, sparse beyond it, and the same numbers."""
    table = awkward()
    dense = fitted("onehot", table).transform(table)
    monkeypatch.setattr(encoders, "MAX_DENSE_BYTES", 100)
    sparse = fitted("onehot", table).transform(table)
    assert issparse(sparse)
    assert np.array_equal(sparse.toarray(), dense)
