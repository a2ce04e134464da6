"""Whether a budget of seconds is kept: search, refit and report of a table within it.

In: tables made up here, small to large, and one with a title in each row. Out: the
seconds of the three as a share of the budget, and how many configurations were
compared, and trained on all rows.
"""

import time
from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.inference import infer
from experiment_pipeline.reporting.document import render_html
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.leaderboard.ensemble import RefitTime
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import Fitted
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.stages.validation_report.final_evaluation import (
    Choice,
    evaluate,
)
from experiment_pipeline.stages.validation_report.page import build_document
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.bench.data import Measured, shown
from experiment_pipeline_tests.bench.tables import TABLES, Cut, raw
from experiment_pipeline_tests.results import events_of
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    board_of,
    chosen_of,
)
from experiment_pipeline_tests.table.made_rows import cut_rows


@dataclass(frozen=True)
class Shape:
    """A made-up table: rows x features, and how many classes."""

    rows: int
    features: int
    classes: int

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.features}, {self.classes} classes"

    def frame(self) -> pd.DataFrame:
        """Return features f0, f1, … and the target y, with the index `row_number`."""
        informative = max(4, self.features // 3)
        X, y = make_classification(
            self.rows,
            self.features,
            n_informative=informative,
            n_classes=self.classes,
            # scikit-learn has a corner of the informative features for each.
            n_clusters_per_class=min(2, 2**informative // self.classes),
            random_state=0,
        )
        frame = pd.DataFrame(X).add_prefix("f").assign(y=[f"c{code:02d}" for code in y])
        return frame.rename_axis(index="row_number")


@dataclass(frozen=True)
class Texts:
    """A made-up table: a short text a row, in no language, whose words go by a class."""

    rows: int
    classes: int = 3

    def __str__(self) -> str:
        return f"{self.rows:,} short texts, {self.classes} classes"

    def frame(self) -> pd.DataFrame:
        """Return the text, a place that says little, and the target y."""
        random = np.random.default_rng(0)
        letters = np.array([*"aeiouklmnrst"])
        words = ["".join(random.choice(letters, 2 + n % 7)) for n in range(4_000)]
        # Zipf's law, bent by the class.
        usual = 1 / np.arange(10, len(words) + 10)
        upto = (usual * random.lognormal(0, 0.6, (self.classes, len(words)))).cumsum(1)
        y = random.integers(self.classes, size=self.rows)
        said = list[str]()
        for code in y:
            drawn = random.uniform(0, upto[code, -1], random.integers(5, 25))
            said.append(" ".join(words[n] for n in np.searchsorted(upto[code], drawn)))
        places = [f"place {number}" for number in random.integers(60, size=self.rows)]
        columns = {"said": said, "place": places, "y": [f"c{code}" for code in y]}
        return pd.DataFrame(columns).rename_axis(index="row_number")


MadeUp = Shape | Texts


def case_of(table: MadeUp | str, seconds: float | None) -> tuple[str, Cut]:
    """A table by its name and size, drafted and cut."""
    if isinstance(table, str):
        known = next(one for one in TABLES if one.name == table)
        frame, target = raw(known.package, known.item, known.target), known.target
        frame = frame.drop(columns=[*dict(known.declared["exclude"])])
    else:
        frame, target = table.frame(), "y"
    drafted = infer(frame, Wishes(target=target, seconds=seconds))
    spec = spec_from("budget", drafted.attributes({"url": "made up"}))
    rows = prepare(frame, spec.preparation).frame
    cut = cut_rows(rows, spec, feature_columns(rows, spec))
    size = (
        "" if isinstance(table, MadeUp) else f", {len(frame):,} x {frame.shape[1] - 1}"
    )
    sets = as_evaluated(cut.train, cut.test, spec)
    return f"{table}{size}", Cut(spec, sets, cut.validation.rows)


# A made-up table, or one with a title in nearly each row, and the seconds; None: what
# the scaffold writes.
CASES: tuple[tuple[MadeUp | str, float | None], ...] = (
    *(
        (Shape(rows, 20, 2), s)
        for rows in (2_000, 20_000, 100_000)
        for s in (10.0, 30.0)
    ),
    *((Shape(1_000, 20, 10), None), (Shape(10_000, 16, 26), None)),
    *((Shape(20_000, 16, 26), None), (Shape(101_000, 20, 8), None)),
    *((Shape(15_000, 54, 7), 30.0), ("movies", 10.0), ("movies", 30.0)),
    (Texts(15_000), 30.0),
)
MOST_SHARE = 1.15


def measurements(
    cases: tuple[tuple[MadeUp | str, float | None], ...] = CASES,
) -> list[Measured]:
    """Search, fit again and report on each table within its budget, with the scaffold's
    search.
    """
    return [one for case in cases for one in _measured(*case_of(*case))]


def _measured(table: str, cut: Cut) -> list[Measured]:
    spec, sets, rows, workers = cut.spec, cut.sets, cut.validation, joblib.cpu_count()
    seconds, asked = spec.budget.seconds or 0.0, configurations(spec)
    began = time.perf_counter()
    events = events_of(spec, sets)
    fits = [event for event in events if isinstance(event, Fitted)]
    searched = time.perf_counter() - began
    # Ranking is another stage, which a budget is not of.
    trained = {fit.model.key: fit.model for fit in fits if fit.rung.is_full}
    time_left = RefitTime(seconds - searched, AfterSearch(sets, workers).of)
    board = board_of(spec, sets, trained, time_left)
    chosen = chosen_of(spec, sets, board, trained)
    again = time.perf_counter()

    def left() -> float:
        return seconds - searched - (time.perf_counter() - again)

    whole = pd.concat([sets.train, sets.test, rows])
    choice = Choice(spec, board, chosen, sets, rows, whole, workers)
    check = evaluate(choice, seconds_left=left)
    # Drawn and written as a run does.
    document = build_document(check.report, check.charts)
    render_html(document, passed=check.report.accepted)
    to_bytes(check.pipeline)
    share = 1 - left() / seconds
    name = f"{table}, {seconds:g} s"
    print(f"  {board.reason}", flush=True)
    return shown(
        [
            Measured(
                f"{name}: search, refit and report ÷ the budget", share, "x", MOST_SHARE
            ),
            Measured(f"{name}: the search alone ÷ the budget", searched / seconds, "x"),
            Measured(
                f"{name}: fits on all train rows of {len(asked)}", len(trained), ""
            ),
            Measured(f"{name}: {spec.metric} of the chosen", board.score.estimate, ""),
        ]
    )
