"""Random rows, and experiments that split them in each way."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.intake.validation import Origin, ValidatedRows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.split_sets.page import check_copies, check_leaks
from experiment_pipeline.stages.split_sets.sets import SplitSets, split
from experiment_pipeline.table.membership import assign_sets, codes_of
from experiment_pipeline_tests import scenario

FEATURES = ["a", "b"]
SHARES = (0.6, 0.2, 0.2)


def made(rows: int, seed: int = 0, **columns) -> pd.DataFrame:
    """Return random rows: two features, a target, an id, a group of ten rows,
    a time.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": rng.choice(["x", "y", "z"], rows),
            "readmitted": rng.choice(["no", "yes"], rows),
            "cost": rng.normal(size=rows),
            "visit_id": [f"{seed}-{number}" for number in range(rows)],
            "patient": [f"{seed}-{number // 10}" for number in range(rows)],
            "visited": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(np.arange(rows), unit="h"),
        }
    )
    return frame.assign(**columns).rename_axis(index="row_number")


def experiment(by: dict, task: str = "binary"):
    """Return an experiment on such rows that is split as given."""
    return scenario.spec(task, by, name="made", exclude={}, preparation={})


RANDOM = {"by": "random"}
BY_ID = {"by": "random", "id_columns": ["visit_id"]}
BY_GROUP = {"by": "group", "column": "patient"}
BY_TIME = {"by": "time", "column": "visited"}


def assigned(frame: pd.DataFrame, by: dict, task: str = "binary") -> pd.Series:
    """Return the set of each row."""
    return assign_sets(frame, experiment(by, task), FEATURES)


def cut_rows(
    frame: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str] = FEATURES
) -> SplitSets:
    """Return the three sets of rows none of which was rejected."""
    codes = codes_of(assign_sets(frame, spec, features))
    return split(ValidatedRows(frame, codes, Origin("", {}, "", ())), spec, features)


def leaks_of(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str] = FEATURES
) -> list[str]:
    """Return what the sets must not share, in words."""
    return [*check_leaks(sets, spec), *check_copies(sets, spec, features).problems]


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as another export of the same source would deliver them."""
    mixed = frame.sample(frac=1, random_state=0).reset_index(drop=True)
    return mixed.rename_axis(index="row_number")
