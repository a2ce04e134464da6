"""Whether the test and validation sets look like the train set, column by column.

In: the sets. Out: an effect size per column and set. It only warns: under a split by time the
sets are meant to differ by what changed.
"""

from collections.abc import Sequence

import pandas as pd

from experiment_pipeline.columns.samples import differences
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.split_sets.sets import SplitSets
from experiment_pipeline.statistics.distances import STATISTIC


def check_look_alike(
    sets: SplitSets, spec: ExperimentSpec, features: Sequence[str]
) -> pd.DataFrame:
    """Compare target and features of test and validation with those of train.

    Returns:
        Columns `column`, `set`, `statistic`, `effect_size` (0.25 and more is large; see
        `distances`), `alarming` (large, and more than noise); largest effects first.
    """
    compared = []
    for column in (spec.target, *features):
        found = differences(sets.train[column], sets.test[column], sets.validation[column])
        for name, apart in zip(("test", "validation"), found, strict=True):
            compared.append((column, name, STATISTIC, apart.effect_size, apart.alarming))
    table = pd.DataFrame(
        compared, columns=["column", "set", "statistic", "effect_size", "alarming"]
    )
    return table.sort_values(
        ["alarming", "effect_size"], ascending=False, kind="stable", ignore_index=True
    )
