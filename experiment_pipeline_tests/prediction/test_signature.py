"""What a model takes and gives: features by name and type, and rows on which it must not change."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.prediction import signature as golden_rows
from experiment_pipeline.prediction.signature import Signature
from experiment_pipeline_tests import exported


def test_golden_rows_hold_what_is_awkward() -> None:
    """Missing values of every feature that has them, and an unseen category, types kept."""
    rows = exported.prepared(exported.delivered())
    golden = golden_rows.golden_rows(rows, exported.FEATURES)
    assert list(golden.columns) == exported.FEATURES
    assert (golden.dtypes == rows[exported.FEATURES].dtypes).all()
    has_missing = rows[exported.FEATURES].isna().any()
    assert golden.isna().any()[has_missing].all()
    assert golden["carrier"].iloc[-1] == golden_rows.UNSEEN_CATEGORY
    assert len(golden) < 5 + len(exported.FEATURES) + 1


def test_golden_rows_of_a_wide_table_stay_few() -> None:
    """A row that lacks many features at once stands for all of them."""
    wide = pd.DataFrame(np.ones((20, 300))).rename(columns=str)
    wide.iloc[10, :] = np.nan
    assert len(golden_rows.golden_rows(wide, list(wide.columns))) == 6


def test_example_rows_come_back_bit_for_bit() -> None:
    """JSON keeps every value and dtype, missing and infinite ones included."""
    rows = pd.DataFrame(
        {
            "float": [0.1 + 0.2, np.nan, -np.inf],
            "integer": [2**53 + 1, -1, 0],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "flag": [True, False, True],
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "text": pd.Series(["ü", None, "null"], dtype="str"),
        }
    )
    types = {name: str(dtype) for name, dtype in rows.dtypes.items()}
    back = golden_rows.example_rows(
        golden_rows.example_bytes(rows), Signature("regression", "y", types)
    )
    pd.testing.assert_frame_equal(back, rows, check_exact=True)


def test_a_missing_feature_is_named() -> None:
    """A table without a feature, or with another type in it, is refused."""
    signature = Signature("regression", "y", {"a": "float64", "b": "int64"})
    with pytest.raises(UnusableTable, match="columns b: 1 of the model's 2 features"):
        signature.select(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(UnusableTable, match="column b: holds float64"):
        signature.select(pd.DataFrame({"a": [1], "b": [1.5]}))
    with pytest.raises(UnusableTable, match="column a: holds str"):
        signature.select(pd.DataFrame({"a": ["x"], "b": [1]}))
