"""What the validation report costs after a search as scaffolded, on wide and multiclass tables.

The refit of the chosen configuration is the one fit that a report must make; it is timed apart.
In: tables made up here. Out: seconds, and the rest of the report as a share of the search.
"""

import time
from dataclasses import dataclass

import joblib
import pandas as pd
from sklearn.datasets import make_classification, make_regression

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.inference import infer
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.validation_report.final_evaluation import evaluate
from experiment_pipeline_tests.bench.data import Measured, shown
from experiment_pipeline_tests.results import trained_by_search
from experiment_pipeline_tests.stages.leaderboard.board_examples import board_of, chosen_of
from experiment_pipeline_tests.table.made_rows import cut_rows

MOST_SHARE = 0.2
MOST_SECONDS = 30.0


@dataclass(frozen=True)
class Shape:
    """A made-up table: rows x features, and how many classes (1: regression)."""

    rows: int
    features: int
    classes: int

    @property
    def task(self) -> str:
        """Regression, binary or multiclass."""
        return {1: "regression", 2: "binary"}.get(self.classes, "multiclass")

    def __str__(self) -> str:
        kind = "regression" if self.classes == 1 else f"{self.classes} classes"
        return f"{self.rows:,} x {self.features}, {kind}"

    def table(self) -> pd.DataFrame:
        """Return features f0, f1, … and the target y, with the index `row_number`."""
        informative = max(4, self.features // 3)
        if self.classes == 1:
            X, y = make_regression(
                self.rows, self.features, n_informative=informative, noise=50, random_state=0
            )
        else:
            X, y = make_classification(
                self.rows,
                self.features,
                n_informative=informative,
                n_classes=self.classes,
                # scikit-learn has a corner of the informative features for each.
                n_clusters_per_class=min(2, 2**informative // self.classes),
                random_state=0,
            )
        frame = pd.DataFrame(X, columns=[f"f{place}" for place in range(self.features)])
        target = y if self.classes == 1 else [f"c{code:02d}" for code in y]
        return frame.assign(y=target).rename_axis(index="row_number")


@dataclass(frozen=True, eq=False)
class Case:
    """A table, what is asked of it within a budget, and its rows."""

    name: str
    spec: ExperimentSpec
    sets: TrainingSets
    validation: pd.DataFrame


def case_of(shape: Shape, seconds: float | None) -> Case:
    """A made-up table, drafted and cut."""
    frame = shape.table()
    spec = spec_from(
        "report", infer(frame, Wishes(target="y", seconds=seconds)).attributes({"url": "made up"})
    )
    cut = cut_rows(frame, spec, [name for name in frame if name != "y"])
    return Case(str(shape), spec, as_evaluated(cut.train, cut.test, spec), cut.validation.rows)


SHAPES = (Shape(15_120, 54, 7), Shape(20_000, 16, 26), Shape(6_000, 400, 1))


def measurements(
    shapes: tuple[Shape, ...] = SHAPES, seconds: float | None = None
) -> list[Measured]:
    """Search, within so many seconds, and report on each table; see the module."""
    return [one for shape in shapes for one in _measured(shape, seconds)]


def _measured(shape: Shape, seconds: float | None) -> list[Measured]:
    case = case_of(shape, seconds)
    spec, sets, rows = case.spec, case.sets, case.validation
    started = time.perf_counter()
    trained = trained_by_search(spec, sets)
    searching = time.perf_counter() - started
    board = board_of(spec, sets, trained)
    chosen = chosen_of(spec, sets, board, trained)
    started = time.perf_counter()
    chosen.refitted(pd.concat([sets.train, sets.test]), sets, spec)
    refitting = time.perf_counter() - started
    started = time.perf_counter()
    workers = joblib.cpu_count()
    table = pd.concat([sets.train, sets.test, rows])
    evaluate(spec, board, chosen, sets, rows, delivered=table, workers=workers)
    rest = time.perf_counter() - started - refitting
    return shown(
        [
            Measured(f"{shape}: search as scaffolded", searching, "s", None),
            Measured(f"{shape}: refit of {chosen.result.algorithm}", refitting, "s", None),
            Measured(f"{shape}: the rest of the report", rest, "s", MOST_SECONDS),
            Measured(f"{shape}: the rest ÷ the search", rest / searching, "x", MOST_SHARE),
        ]
    )
