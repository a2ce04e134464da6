"""From the tables of the split stage to what every fit is given.

In: train and test set as split. Out: a `TrainingSets` with features, classes, the inner slice
for early stopping and the digests that fingerprints rest on.
"""

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.columns.target import find_classes
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.sets import TrainingSets
from experiment_pipeline.stages.split_sets.sets import SetTable, inner_gap, inner_slice


def training_sets(train_set: SetTable, test_set: SetTable, spec: ExperimentSpec) -> TrainingSets:
    """Return what the configurations of an experiment are fitted on and compared on."""
    train, test = train_set.rows, test_set.rows
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
        digests={"train": train_set.digest, "test": test_set.digest},
        groups=train[spec.split.column].to_numpy() if spec.split.by == "group" else None,
    )
