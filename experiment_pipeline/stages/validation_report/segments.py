"""Where a model is weakest: parts of a set, by one feature at a time, with their intervals.

In: the rows' features and a `SetPrediction` of them. Out: `Segment`s, the weakest first.
Metrics that depend on how many rows are positive (log_loss, brier, average_precision, f1)
differ between parts for that reason alone; the reader is told the rows, not the cause.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.statistics import metrics
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.scores import SetPrediction, interval_of
from experiment_pipeline.table.kinds import QUANTITIES, TEXTS, kind_of

# What bounds the work: columns looked at, rows looked at, values of a category.
MOST_COLUMNS = 100
MOST_ROWS = 100_000
_MOST_VALUES = 20
_BINS = 4


@dataclass(frozen=True)
class Segment:
    """Rows that share a value, a range of values, or their absence.

    Attributes:
        column: the feature.
        value: in words: `EWR`, `513 to 1,089`, `missing`.
        rows: how many.
        score: of the model on them, with its own 95 % interval.
        clearly_worse: whether it stays worse than the whole set's score after correction for
            the number of segments looked at (Bonferroni).
    """

    column: str
    value: str
    rows: int
    score: Interval
    clearly_worse: bool


def weakest_segments(
    frame: pd.DataFrame,
    features: Sequence[str],
    predicted: SetPrediction,
    metric: str,
    *,
    threshold: float = 0.5,
    least_rows: int = 100,
    most: int = 5,
) -> tuple[Segment, ...]:
    """Return the parts of a set on which a model scores worst, those first that are surely weak.

    Args:
        frame: (n, columns) the rows, prepared.
        features: the columns to cut by; the first MOST_COLUMNS are looked at.
        predicted: of the same rows; above MOST_ROWS every k-th is looked at.
        metric: that judges.
        threshold: of the metrics that need one.
        least_rows: smaller parts are not judged.
        most: how many to return.
    """
    step = -(-len(frame) // MOST_ROWS)
    frame, predicted = frame.iloc[::step], predicted.rows(slice(None, None, step))
    overall = predicted.score(metric, threshold)
    parts = [
        (column, value, predicted.rows(mask))
        for column in list(features)[:MOST_COLUMNS]
        for value, mask in _parts(frame[column])
        if least_rows <= int(mask.sum()) < len(frame)
    ]
    level = 1 - (1 - LEVEL) / max(len(parts), 1)
    weak = []
    for column, value, rows in parts:
        spread = rows.spread(metric, threshold)
        if not metrics.better(metric, overall, spread.estimate) or np.isnan(spread.estimate):
            continue
        score = interval_of(metric, spread)
        best_case = metrics.better_bound(metric, interval_of(metric, spread, level))
        clearly = metrics.better(metric, overall, best_case)
        segment = Segment(column, value, len(rows.y), score, clearly)
        weak.append((metrics.METRICS[metric].sign * best_case, segment))
    weak.sort(key=lambda pair: (pair[0], pair[1].column, pair[1].value))
    return tuple(segment for _, segment in weak[:most])


def _parts(column: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """What a part shares, in words, and which rows are in it."""
    missing = column.isna().to_numpy()
    if missing.any():
        yield "missing", missing
    kind = kind_of(column)
    numeric = kind in QUANTITIES
    if numeric and column.nunique() > _BINS:
        yield from _bins(column.to_numpy(dtype=np.float64, na_value=np.nan))
    elif numeric or kind in TEXTS | {"boolean"}:
        for value in column.value_counts().index[:_MOST_VALUES]:
            mask = (column == value).fillna(value=False).to_numpy(dtype=bool)
            yield " ".join(str(value).split()), mask


def _bins(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    present = values[np.isfinite(values)]
    ends = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1)))
    for low, high in itertools.pairwise(ends):
        last = high == ends[-1]
        mask = (values >= low) & ((values <= high) if last else (values < high))
        yield f"{low:,.6g} to {'' if last else 'below '}{high:,.6g}", mask
