"""Late labels, as a draft looks for them."""

from dataclasses import replace

import numpy as np
import pytest

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import draft_experiment
from experiment_pipeline.drafting.labels import late_labels
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.stages.data_analysis.tables import experiment
from experiment_pipeline_tests.stages.data_analysis.test_labels import customers

TIMES = {"calendar": {"signed_up": ["month"]}}


@pytest.mark.parametrize(
    ("split", "is_hidden"),
    [
        ({"by": "random"}, True),
        ({"by": "random", "id_columns": ["id"]}, True),
        ({"by": "group", "column": "id"}, True),
        ({"by": "time", "column": "signed_up"}, False),
    ],
)
def test_only_of_a_split_by_time_the_validation_set_is_looked_at(split, is_hidden):
    """There its rows are the youngest; else their targets change nothing."""
    table = customers(late=60)
    table["id"] = np.arange(len(table)) // 2
    spec = experiment(split=split, preparation=TIMES)
    prepared = prepare(table.rename_axis(index="row_number"), spec.preparation)
    sets = assign_sets(prepared.frame, spec, feature_columns(prepared.frame, spec))
    prepared = replace(prepared, sets=sets)
    decision = late_labels(prepared, spec)
    assert decision is not None
    assert decision.value["since"] == "signed_up"
    is_other = prepared.frame["y"] | (sets == "validation").to_numpy()
    changed = replace(prepared, frame=prepared.frame.assign(y=is_other))
    assert (late_labels(changed, spec) == decision) == is_hidden


def test_the_command_says_that_labels_seem_to_be_late(tmp_path):
    """Not only the file that it writes: the rows that it counts are fewer."""
    url = str(tmp_path / "customers.csv")
    customers(late=60).to_csv(url, index=False)
    reasons = draft_experiment("churn", Wishes(data=url, target="y"), url, "").reasons
    assert "labels    {since: signed_up, within: " in reasons
    assert "as if their labels were not in yet" in reasons
