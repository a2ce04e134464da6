"""What the ensemble of the best few brings: against the best configuration alone, on rows of neither.

The same searches, tables and seeds as the other comparisons; nothing is fitted for it. Both are
the fits of the search, on the train rows, judged on the validation rows, on which nobody chose. In:
tables and seeds. Out: a row per table: how often it is better there, by how much, and whether its
cross-fitted test score said so: that one does not flatter itself, while the best alone is the best
of twenty.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.statistics.scores import score
from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.bench.table_list import TABLES, Table
from experiment_pipeline_tests.stages.leaderboard.board_examples import board_of, chosen_of

SEEDS = 3
# Two families, twenty configurations; a table of 60,000 rows takes a minute.
SEARCH = (
    {
        "algorithm": "lightgbm",
        "method": "random",
        "draws": 16,
        "hyperparameters": {
            "learning_rate": {"low": 0.03, "high": 0.2, "scale": "log"},
            "num_leaves": {"low": 7, "high": 63, "scale": "log"},
            "min_child_samples": {"low": 5, "high": 100, "scale": "log"},
            "colsample_bytree": [0.4, 0.6, 0.8, 1.0],
            "extra_trees": [False, True],
        },
    },
    {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}},
    {
        "algorithm": "random_forest",
        "hyperparameters": {"n_estimators": 60, "min_samples_leaf": [3, 10]},
    },
)
_REGRESSION = {"algorithm": "linear", "hyperparameters": {"alpha": [0.1, 10.0]}}


@dataclass(frozen=True)
class Gain:
    """What an ensemble brought on one table and seed, greater than 0 = better, as shares of a score.

    Attributes:
        table: its name.
        metric: that chose and judges.
        members: of the ensemble; 1 = there was none.
        on_test: by its cross-fitted score.
        on_validation: on rows of neither.
        times: the prediction time of the best alone that it takes.
    """

    table: str
    metric: str
    members: int
    on_test: float
    on_validation: float
    times: float


def gains(chosen: Iterable[Table] = TABLES, seeds: int = SEEDS) -> Iterator[Gain]:
    """Search each table with each seed."""
    for table in chosen:
        for seed in range(seeds):
            yield _gain(table, seed)


def _gain(table: Table, seed: int) -> Gain:
    linear = [_REGRESSION if table.task == "regression" else SEARCH[1]]
    search = [SEARCH[0], *linear, SEARCH[2]]
    cut = tables.cut(table, seed, search=search, halving="off")
    sets, spec = cut.sets, cut.spec
    done = train_configurations(configurations(spec), sets, spec, workers=2)
    trained = {one.key: one for one in done if isinstance(one, TrainedModel)}
    board = board_of(spec, sets, trained)
    alone = board_of(spec.model_copy(update={"ensemble": None}), sets, trained)
    if board.ensemble is None:
        return Gain(table.name, table.metric, 1, 0.0, 0.0, 1.0)
    sign = METRICS[table.metric].sign

    def judged(of: Leaderboard) -> float:
        rows, classes = cut.validation, sets.classes
        pipeline = chosen_of(spec, sets, of, trained).train_only(sets, spec)
        prediction = predict(pipeline, rows, sets.features, sets.task, classes)
        return score(table.metric, cut.y_validation, prediction)

    rows = board.rows.set_index("key")
    mean = rows.loc[ENSEMBLE]
    best, judged_best = rows.loc[alone.chosen], judged(alone)
    whole = judged(replace(board, chosen=ENSEMBLE))
    size = abs(judged_best)
    return Gain(
        table.name,
        table.metric,
        len(board.ensemble.members),
        sign * float(mean["test_score"] - best["test_score"]) / size,
        sign * (whole - judged_best) / size,
        float(
            mean["predict_microseconds_per_row"] / max(best["predict_microseconds_per_row"], 1e-9)
        ),
    )


def rows_of(found: Sequence[Gain]) -> list[str]:
    """Return a row per table, and one of all."""
    by_table = defaultdict(list)
    for one in found:
        by_table[one.table].append(one)
    return [*map(_row, by_table, by_table.values()), _row("**all**", found)]


HEADER = [
    *("table", "better than the best alone, of the seeds", "gain on validation, mean"),
    *("smallest", "gain said by the test rows", "members", "times the prediction time"),
]


def _row(name: str, found: Sequence[Gain]) -> str:
    gained = np.array([one.on_validation for one in found])
    said = np.mean([one.on_test for one in found])
    members = np.mean([one.members for one in found])
    times = np.median([one.times for one in found])
    label = name if name.startswith("*") else f"{name} ({found[0].metric})"
    cells = [
        *(label, f"{int((gained > 0).sum())} of {len(found)}", f"{gained.mean():+.2%}"),
        *(f"{gained.min():+.2%}", f"{said:+.2%}", f"{members:.1f}", f"{times:.1f}"),
    ]
    return f"| {' | '.join(cells)} |"


def section() -> str:
    """Return what all tables show."""
    lines = [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER), *rows_of(list(gains()))]
    return "\n".join(lines)
