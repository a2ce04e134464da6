"""The canonical order of rows, so that the order of the source decides nothing.

Sums of floats, bins of histograms and the batches of a fit go by the order of rows. In: a
table. Out: positions.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.rows.hashes import row_hashes
from experiment_pipeline.rows.units import times_of
from experiment_pipeline.spec import ExperimentSpec


def canonical_order(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> np.ndarray:
    """Order rows by what is in them: by time under a split by time, and then by a hash.

    The hash is that of the features and the target, so that a column that no model sees changes
    nothing; rows that are equal there go by their other columns. The row number has no part.

    Args:
        frame: (n, columns) rows; without the target, the features alone count.
        spec: the experiment.
        features: feature columns.

    Returns:
        int64 (n,): positions, first to last.
    """
    keys = [
        row_hashes(frame, list(frame.columns), "order"),
        row_hashes(frame, [n for n in frame.columns if n in {*features, spec.target}], "order"),
    ]
    if spec.split.by == "time":
        keys.append(times_of(frame, spec.split.column, pd.Timedelta(0))[0])
    return np.lexsort(keys)
