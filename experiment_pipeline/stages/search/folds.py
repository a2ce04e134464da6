"""Train and test set as folds, for a cross-validated search.

The choice rests on predictions of train and test rows by models that have not seen them; the
validation set has no part in it. Each row is once per repeat among the test rows, with the prediction
of that repeat: the mean over repeats would be that of several models, and one model is exported.
Which rows are a fold: `table/folds.py`. In: two sets. Out: `TrainingSets` with folds.
"""

from dataclasses import replace

import numpy as np

from experiment_pipeline.spec import CrossValidation, ExperimentSpec
from experiment_pipeline.stages.search.training_sets import Fold, TrainingSets, training_sets
from experiment_pipeline.stages.split_sets.sets import (
    SetTable,
    early_stopping_gap,
    early_stopping_rows,
)
from experiment_pipeline.storage.mapped import some_rows, together
from experiment_pipeline.table.clusters import canonical_order
from experiment_pipeline.table.folds import FoldRows, folds_of


def as_evaluated(train_set: SetTable, test_set: SetTable, spec: ExperimentSpec) -> TrainingSets:
    """Return what the configurations of an experiment are fitted on and compared on.

    Raises:
        EmptySet: there is nothing that a fold could leave out.
    """
    sets = training_sets(train_set, test_set, spec)
    wanted = spec.cross_validation
    return sets if wanted is None else _cross_validated(sets, wanted, spec)


def _cross_validated(
    sets: TrainingSets, wanted: CrossValidation, spec: ExperimentSpec
) -> TrainingSets:
    """Return the rows of train and test set, in the canonical order, with their folds.

    The model of all rows stops nowhere: its rounds are the median of the folds'.
    """
    rows = together([sets.train, sets.test])
    rows = some_rows(rows, canonical_order(rows, spec, sets.features))
    cut = folds_of(rows, spec, wanted, sets.features)
    of_repeat = [one.predicted for one in cut if one.repeat == 0]
    scored = np.flatnonzero(np.any(of_repeat, axis=0))
    groups = rows[spec.split.column].to_numpy() if spec.split.by == "group" else None
    pooled = replace(
        sets,
        train=rows,
        early_stopping=np.zeros(len(rows), dtype=bool),
        groups=groups,
        early_stopping_gap=None,
        pooled=sets.set_sizes,
    )
    return replace(
        pooled,
        test=together([some_rows(rows, scored)] * (1 + max(one.repeat for one in cut))),
        folds=tuple(_fold(pooled, number, one, scored, spec) for number, one in enumerate(cut)),
    )


def _fold(
    pooled: TrainingSets, number: int, rows: FoldRows, scored: np.ndarray, spec: ExperimentSpec
) -> Fold:
    """One fold; what stops its fits early is cut out of its own rows, by a draw of its own."""
    train, features = some_rows(pooled.train, np.flatnonzero(rows.fitted)), pooled.features
    early_stopping = early_stopping_rows(train, spec, features, draw=f"/{number}")
    sets = replace(
        pooled,
        train=train,
        test=some_rows(pooled.train, np.flatnonzero(rows.predicted)),
        early_stopping=early_stopping,
        early_stopping_gap=early_stopping_gap(train, early_stopping, spec),
        groups=None if pooled.groups is None else pooled.groups[rows.fitted],
        digests={},
    )
    places = np.searchsorted(scored, np.flatnonzero(rows.predicted))
    return Fold(rows.repeat, sets, rows.fitted, rows.repeat * len(scored) + places)
