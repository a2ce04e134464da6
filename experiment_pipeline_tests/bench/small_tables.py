"""Small tables: how much of a choice is the luck of its split, with one test set and with folds.

400 rows are drawn of a table of many, once; what differs between runs is the seed of the split
alone, and with it which 80 rows are the validation set. What was chosen is fitted again on train and
test rows, as it would be exported, and scored on the table's other rows: that is the truth that a
user of the model will meet. In: a table, seeds. Out: `Luck`, and lines of a Markdown table.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.drafting.search import Shape, propose_search
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.rungs import best_first
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.statistics.scores import score
from experiment_pipeline.table.features import encode_target, feature_columns
from experiment_pipeline_tests.bench.tables import TABLES, experiment, rows_of
from experiment_pipeline_tests.stages.search.scenario import refit
from experiment_pipeline_tests.table.made_rows import cut_rows

NAMES = ("churn", "loans", "diamonds")
ROWS, TRUTH_ROWS, SEEDS = 400, 20_000, 12
DRAWS, TREES = 8, 60
COLUMNS = ["table, metric", "evaluation", "true score: mean", "spread", "said: mean", "spread"]


@dataclass(frozen=True)
class Chosen:
    """What one search chose.

    Attributes:
        true: its score on rows that nobody has seen, refitted on train and test rows.
        said: its score where it was chosen.
    """

    true: float
    said: float


@dataclass(frozen=True)
class Luck:
    """The choices of all split seeds, with one test set and by cross-validation."""

    name: str
    test_set: tuple[Chosen, ...]
    cross_validation: tuple[Chosen, ...]

    def rows(self) -> list[str]:
        """Two lines of the table."""
        return [
            f"| {self.name} | {how} | {_moments([one.true for one in chosen])} "
            f"| {_moments([one.said for one in chosen])} |"
            for how, chosen in (
                ("one test set", self.test_set),
                ("cross-validation", self.cross_validation),
            )
        ]


def luck(name: str, seeds: int = SEEDS, rows: int = ROWS, draws: int = DRAWS) -> Luck:
    """Search with each split seed, both ways, on the same rows of a table of the list."""
    (table,) = (one for one in TABLES if one.name == name)
    search = _search(Shape(table.task, table.metric, rows, features=10), draws)
    spec = experiment(table, 0, search=search, ensemble="off")
    every = rows_of(table, spec)
    order = np.random.default_rng(0).permutation(len(every))
    drawn, truth = every.iloc[order[:rows]], every.iloc[order[rows : rows + TRUTH_ROWS]]

    def chosen(seed: int, evaluation: str) -> Chosen:
        asked = experiment(table, seed, search=search, ensemble="off", evaluation=evaluation)
        return _choose(asked, drawn, truth)

    ways = [
        tuple(chosen(seed, evaluation) for seed in range(seeds))
        for evaluation in ("test_set", "cross_validation")
    ]
    return Luck(f"{name}, {table.metric}", *ways)


def section() -> str:
    """Return what three tables show."""
    header = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join([*header, *(line for name in NAMES for line in luck(name).rows())])


def _search(shape: Shape, draws: int) -> list[dict[str, object]]:
    """The scaffold's search, with fewer draws and trees: what is chosen between, not its size."""
    found = [dict(one.entry) for one in propose_search(shape)]
    for entry in found:
        if entry["algorithm"] == "random_forest":
            entry["hyperparameters"] = {**entry["hyperparameters"], "n_estimators": TREES}
        if "draws" in entry:
            entry["draws"] = draws
    return found


def _choose(spec: ExperimentSpec, drawn: pd.DataFrame, truth: pd.DataFrame) -> Chosen:
    cut = cut_rows(drawn, spec, feature_columns(drawn, spec))
    sets = as_evaluated(cut.train, cut.test, spec)
    outcomes = train_configurations(configurations(spec), sets, spec, 1)
    trained = {one.key: one.result for one in outcomes if isinstance(one, TrainedModel)}
    best = trained[best_first(trained, spec.metric)[0]]
    model = refit(best.configuration, best.rounds, sets.every_row, sets, spec)
    return Chosen(_score(model, truth, sets, spec), best.test_score)


def _score(model: object, rows: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec) -> float:
    predicted = predict(model, rows, sets.features, sets.task, sets.classes)
    return score(spec.metric, encode_target(rows[sets.target], sets.classes), predicted)


def _moments(scores: list[float]) -> str:
    return f"{np.mean(scores):.4g} | **{np.std(scores, ddof=1):.3g}**"
