"""Tiny fits whose bytes tell whether another machine computes as this one does."""

import numpy as np
from threadpoolctl import threadpool_limits

from experiment_pipeline.table.digests import sha256

# Whole numbers that look drawn, so that no library is asked for them.
_ROWS, _COLUMNS, _STEP, _MODULUS = 400, 3, 7_919, 1_009


def golden_digest() -> str:
    """Return the digest of what LightGBM and scikit-learn make of some rows, in one thread."""
    import lightgbm as lgb
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    table = (np.arange(_ROWS * _COLUMNS) * _STEP % _MODULUS / _MODULUS).reshape(_ROWS, _COLUMNS)
    y = (table[:, 0] * table[:, 1] > table[:, 2] / 2).astype(np.int64)
    settings = {"objective": "binary", "seed": 0, "deterministic": True, "force_row_wise": True}
    with threadpool_limits(limits=1):
        rows = lgb.Dataset(table, y, params={"verbosity": -1, "num_threads": 1})
        booster = lgb.train(settings | {"verbosity": -1, "num_threads": 1}, rows, 10)
        linear = LogisticRegression().fit(table, y)
        forest = RandomForestClassifier(5, random_state=0, n_jobs=1).fit(table, y)
        found = [booster.predict(table), linear.coef_, forest.predict_proba(table)]
    parts = [booster.model_to_string().encode(), *(np.asarray(one).tobytes() for one in found)]
    return sha256(b"".join(parts))
