"""What a random split would have promised on published tables with time or groups, and
whether it orders configurations as the declared split does.

In: the tables of `tables.yaml`. Out: a row per table. Every configuration is fitted
once on the train rows, and predicts test and validation rows; as a random split would,
it predicts the same test rows from random train and test rows.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

import pandas as pd
from scipy.stats import kendalltau

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.stages.validation_report.final_evaluation import (
    Choice,
    by_random_split,
)
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.results import trained_by_search
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    board_of,
    store_of,
)
from experiment_pipeline_tests.table.made_rows import cut_rows

COLUMNS = [
    "table",
    "split",
    "metric",
    "a random split promises",
    "declared test rows",
    "validation rows",
    "τ random, declared",
    "τ random, validation",
    "τ declared, validation",
]
MOST_ROWS = 3_000
_BOOSTED = {"n_estimators": [100], "learning_rate": [0.1]}
SEARCH = [
    {"algorithm": "linear"},
    {
        "algorithm": "random_forest",
        "hyperparameters": {"n_estimators": [30], "min_samples_leaf": [1, 5, 25]},
    },
    {
        "algorithm": "lightgbm",
        "hyperparameters": {**_BOOSTED, "num_leaves": [4, 15, 63]},
    },
]
SETTINGS: Mapping[str, object] = {
    "search": SEARCH,
    "ensemble": "off",
    "calibrate": "off",
    "export": {"refit": "none"},
}


def compared(table: tables.Table) -> list[str]:
    """Return the cells of one table."""
    spec = tables.experiment(table, 0, **SETTINGS)
    rows = tables.rows_of(table, spec)
    if len(rows) > MOST_ROWS:
        rows = rows.sample(MOST_ROWS, random_state=0).sort_index()
    cut = cut_rows(rows, spec, feature_columns(rows, spec))
    sets = as_evaluated(cut.train, cut.test, spec)
    trained = trained_by_search(spec, sets, workers=1)
    board = board_of(spec, sets, trained)
    clusters = sets.test_clusters(spec)
    store = store_of(trained)
    by_key: dict[str, dict[str, float]] = {}
    for key in trained:
        one = replace(board, chosen=key)
        chosen = ChosenModel.of(one, store, sets.y_test, clusters)
        choice = Choice(spec, one, chosen, sets, cut.validation.rows, rows)
        model = choice.judged()
        (row,) = by_random_split(choice, model, math.inf)
        by_key[key] = {
            "random": row.score,
            "declared": row.score - row.difference,
            "validation": model.exported.score(spec.metric, model.cut),
        }
    scores = pd.DataFrame(by_key).T
    taus = [
        kendalltau(scores[first], scores[second]).statistic
        for first, second in combinations(scores, 2)
    ]
    best = scores["declared"] * metric_of(spec.metric).sign
    return [
        table.name,
        f"{spec.split.by}: {spec.split.column}",
        spec.metric,
        *map(numbers.score, scores.loc[best.idxmax()]),
        *(f"{taus[place]:.2f}" for place in (0, 1, 2)),
    ]


def measurements() -> Iterator[list[str]]:
    """A row per table."""
    return map(compared, tables.TIME_AND_GROUPS)
