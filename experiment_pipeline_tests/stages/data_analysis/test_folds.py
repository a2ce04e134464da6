import numpy as np
import pandas as pd

from experiment_pipeline.stages.data_analysis.subject import folds
from experiment_pipeline_tests.stages.data_analysis.tables import ROWS, subject, table


def _pairs(frame: pd.DataFrame, number: int = 5, **changes):
    examined = subject(frame, **changes)
    rows = examined.target.rows
    return rows, list(folds(examined, rows, number))


def test_each_row_is_judged_once_by_models_that_have_not_seen_it() -> None:
    """Random folds are a partition, and fit and judge share no row."""
    rows, pairs = _pairs(table())
    judged = np.concatenate([judge for _, judge in pairs])
    assert sorted(judged) == list(range(len(rows)))
    assert all(not set(fit) & set(judge) for fit, judge in pairs)


def test_each_fold_holds_both_classes_evenly() -> None:
    """Folds are stratified by the target."""
    frame = table(y=np.where(np.arange(ROWS) % 20 == 0, "yes", "no"))
    examined = subject(frame)
    y = examined.target.y
    counts = [int(y[judge].sum()) for _, judge in folds(examined, examined.target.rows, 5)]
    assert max(counts) - min(counts) <= 1


def test_equal_rows_and_groups_stay_together() -> None:
    """A cluster is never on both sides of a fold."""
    twice = pd.concat([table(), table()], ignore_index=True)
    group = np.arange(ROWS) % 37
    for frame, cluster, changes in (
        (twice, "x", {}),
        (table(g=group), "g", {"split": {"by": "group", "column": "g"}}),
        (table(g=group), "g", {"split": {"by": "random", "id_columns": ["g"]}}),
    ):
        rows, pairs = _pairs(frame, **changes)
        clusters = frame[cluster].to_numpy()[rows]
        assert len(pairs) == 5
        assert all(not set(clusters[fit]) & set(clusters[judge]) for fit, judge in pairs)


def test_time_folds_look_forward_and_cut_between_moments() -> None:
    """Every fold judges moments later than all it was fitted on."""
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(ROWS)[::-1] // 7, unit="D")
    rows, pairs = _pairs(table(day=day), split={"by": "time", "column": "day"})
    days = day.to_numpy()[rows]
    assert len(pairs) == 5
    assert all(days[fit].max() < days[judge].min() for fit, judge in pairs)
