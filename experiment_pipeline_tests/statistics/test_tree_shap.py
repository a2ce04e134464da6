"""Shapley values of trees, held against those that LightGBM computes row by row."""

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from experiment_pipeline.statistics.importance import tree_shap


@pytest.mark.parametrize("changes", [{}, {"zero_as_missing": True}, {"use_missing": False}])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("rows", [30, 3_000])
def test_values_are_those_of_lightgbm(rows: int, classes: int, changes: dict[str, Any]) -> None:
    """Missing values, zeros, categories, unseen ones among them, deep trees and several classes."""
    rng = np.random.default_rng(rows)
    cells = np.column_stack([rng.normal(size=(3_000, 4)).round(1), rng.integers(0, 12, 3_000)])
    y = np.digitize(cells[:, 0] * cells[:, 1] + cells[:, 4] % 3, [1.0, 2.0])
    cells[rng.random(cells.shape) < 0.1] = np.nan
    given = {"objective": "regression" if classes == 1 else "multiclass", "num_class": classes}
    given |= {"num_leaves": 60, "min_data_in_leaf": 5, "verbosity": -1, **changes}
    model = lgb.train(given, lgb.Dataset(cells, y, categorical_feature=[4]), 4)
    cells[:5, 4] = 99
    found = tree_shap(model.dump_model(), cells[:rows])
    wanted = model.predict(cells[:rows], pred_contrib=True)
    assert np.allclose(found.reshape(rows, -1), wanted, rtol=0, atol=1e-12)
