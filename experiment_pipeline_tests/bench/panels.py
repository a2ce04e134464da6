"""What each split promises on published panels, and what the future gives.

In: the panels of `tables.yaml`, whose split names a time and a group. The last quarter of
the times is kept away; on the rows before them an experiment is run by each split, and
its model, fitted on train and test rows, predicts the rows of the future.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.errors import DataError
from experiment_pipeline.experiment.in_memory import ExperimentRun, run_experiment
from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench import tables

COLUMNS = [
    "panel",
    "metric",
    "split",
    "promised",
    "interval",
    "the future gave",
    "rows",
]
SEARCH = [
    {"algorithm": "linear"},
    {
        "algorithm": "lightgbm",
        "hyperparameters": {
            "n_estimators": [100],
            "learning_rate": [0.1],
            "num_leaves": [15],
        },
    },
]
# With fewer there is no telling.
_FEWEST = 100


def measurements() -> Iterator[list[str]]:
    """A row for each split of each panel."""
    for table in tables.PANELS:
        yield from compared(table)


def compared(table: tables.Table) -> Iterator[list[str]]:
    """Yield the cells of one panel."""
    declared = dict(table.declared)
    named: Any = declared.pop("split")
    time, group = named["column"], named["group"]
    rows = tables.raw(table.package, table.item, table.target)
    times = rows[time]
    is_later = times > times.quantile(0.75, interpolation="lower")
    past = rows[~is_later].reset_index(drop=True)
    future = rows[is_later]
    by_time = {"by": "time", "column": time}
    splits: Mapping[str, Mapping[str, str]] = {
        "random": {"by": "random"},
        "group": {"by": "group", "column": group},
        "time": by_time,
        "new": {**by_time, "group": group, "predicts": "new"},
        "known": {**by_time, "group": group, "predicts": "known"},
    }
    for name, split in splits.items():
        cells = [table.name, table.metric, name]
        try:
            run = _run(table, past, {**declared, "split": split})
        except DataError as error:
            yield [*cells, f"refused: {error.rule.split(':')[0]}", "", "", ""]
            continue
        interval = run.report.score(table.metric).interval
        known = future[group].isin(_fitted(run, past)[group])
        asked_for = {"new": future[~known], "known": future[known]}.get(name, future)
        yield [
            *cells,
            numbers.score(interval.estimate),
            f"{numbers.score(interval.low)} to {numbers.score(interval.high)}",
            _score(run, asked_for, table) if len(asked_for) >= _FEWEST else "",
            f"{len(asked_for):,}",
        ]


def _run(
    table: tables.Table, past: pd.DataFrame, settings: Mapping[str, Any]
) -> ExperimentRun:
    return run_experiment(
        past,
        table.target,
        task=table.task,
        metric=table.metric,
        search=SEARCH,
        ensemble="off",
        **settings,
    )


def _fitted(run: ExperimentRun, past: pd.DataFrame) -> pd.DataFrame:
    """The rows that the evaluated model was fitted on."""
    assert run.sets is not None
    return past.loc[[*run.sets.train.rows.index, *run.sets.test.rows.index]]


def _score(run: ExperimentRun, rows: pd.DataFrame, table: tables.Table) -> str:
    assert run.evaluation is not None
    pipeline = run.evaluation.pipeline
    y = rows[table.target].to_numpy()
    if table.task == "regression":
        predicted = np.asarray(pipeline.predict(rows))
    else:
        positive = table.declared["positive_class"]
        predicted = pipeline.predict_proba(rows)[
            :, [*pipeline.classes_].index(positive)
        ]
        y = (y == positive).astype(int)
    of_rows = SetPrediction(y, predicted, np.arange(len(rows)))
    return numbers.score(of_rows.score(table.metric))
