"""From the tables of the split stage to what every fit is given.

In: train and test set as split. Out: a `TrainingSets` with features, classes, the inner slice
for early stopping and the digests that fingerprints rest on.
"""

import pandas as pd

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.target import find_classes
from experiment_pipeline.rows.digests import rows_digest
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.sets import TrainingSets
from experiment_pipeline.stages.split_sets.sets import inner_gap, inner_slice


def training_sets(train: pd.DataFrame, test: pd.DataFrame, spec: ExperimentSpec) -> TrainingSets:
    """Return what the configurations of an experiment are fitted on and compared on.

    Args:
        train: (n_train, columns) validated rows, in canonical order as `split` gives them.
        test: (n_test, columns) validated rows, likewise.
        spec: the experiment.
    """
    features = feature_columns(train, spec)
    inner = inner_slice(train, spec, features)
    return TrainingSets(
        train=train,
        test=test,
        features=tuple(features),
        target=spec.target,
        task=spec.task,
        classes=find_classes(train[spec.target], spec),
        inner=inner,
        inner_gap=inner_gap(train, inner, spec),
        digests={"train": rows_digest(train), "test": rows_digest(test)},
        groups=train[spec.split.column].to_numpy() if spec.split.by == "group" else None,
    )
