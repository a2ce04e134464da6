"""The order of the source's rows and columns decides nothing: not the sets, not the models, not the choice."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import TrainedModel
from experiment_pipeline.stages.search.rungs import ladder
from experiment_pipeline.stages.search.scoring import predict
from experiment_pipeline.stages.search.sweep import train_configurations
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets.sets import SplitSets, split
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline.stages.validation_report.report import judge
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.statistics.thresholds import decision_threshold
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline.table.features import encode_target, feature_columns
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.stages.leaderboard.board_examples import board_of, chosen_of
from experiment_pipeline_tests.stages.search import halving_scenario
from experiment_pipeline_tests.table.made_rows import cut_rows

SEARCH = [*scenario.SEARCH, {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 5}}]
MEASURED = ["fit_cpu_seconds", "predict_microseconds_per_row"]
BY_FEATURES = {"by": "random"}
CASES = [
    ("binary", BY_FEATURES),
    ("multiclass", scenario.SPLITS["group"]),
    ("regression", scenario.SPLITS["time"]),
]


def shuffled(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return the rows as another export of the same source would deliver them."""
    return (
        frame.sample(frac=1, random_state=seed)
        .reset_index(drop=True)
        .rename_axis(index="row_number")
    )


@dataclass(frozen=True)
class Answer:
    """What an experiment says of a table."""

    digests: dict[str, str]
    models: dict[str, TrainedModel]
    board: Leaderboard
    exported: bytes
    intervals: list[tuple]


def sets_of(raw: pd.DataFrame, spec: ExperimentSpec) -> SplitSets:
    """Prepare, validate and split a table as the assets do."""
    schema = load_schema(scenario.SCHEMA)
    prepared = prepare_and_assign(raw, schema, spec)
    data = validate(raw, prepared, schema, spec)
    return split(data.to_split(prepared), spec, feature_columns(data.validated, spec))


def answer(raw: pd.DataFrame, spec: ExperimentSpec) -> Answer:
    """Run the core of an experiment, from the raw table to the model to export."""
    parts = sets_of(raw, spec)
    sets = as_evaluated(parts.train, parts.test, spec)
    declared = configurations(spec)
    models = {one.result.key: one for one in train_configurations(declared, sets, spec, workers=2)}
    board = board_of(spec, sets, models)
    chosen = chosen_of(spec, sets, board, models)
    exported = chosen.refitted(pd.concat([sets.train, sets.test]), sets, spec)
    train_only = chosen.train_only(sets, spec)
    on_test = predicted(train_only, sets.test, sets, spec)
    report = judge(
        spec,
        board.chosen,
        predicted(exported, parts.validation.rows, sets, spec),
        predicted(train_only, parts.validation.rows, sets, spec),
        on_test,
        sets.y_train,
        sets.classes,
        threshold=decision_threshold(spec.metric_names, on_test.y, on_test.prediction),
    )
    intervals = [(one.metric, one.interval, one.baseline) for one in report.scores]
    digests = {name: one.digest for name, one in parts.by_name().items()}
    return Answer(digests, models, board, to_bytes(exported), intervals)


def predicted(
    pipeline: Any, rows: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec
) -> SetPrediction:
    """Predict rows of a set, with the clusters of its intervals."""
    return SetPrediction(
        encode_target(rows[sets.target], sets.classes),
        predict(pipeline, rows, sets.features, sets.task, sets.classes),
        resampling_clusters(rows, spec, sets.features),
    )


@pytest.mark.parametrize(("task", "by"), CASES)
def test_a_shuffled_table_gives_the_same_answer(task, by):
    """Fingerprints, model bytes, scores, the choice, the exported model and its intervals."""
    spec = _spec(task, by)
    table = scenario.table()
    usual = answer(table, spec)
    other = answer(shuffled(table)[table.columns[::-1]], spec)
    assert other.digests == usual.digests
    for key, model in usual.models.items():
        assert other.models[key].result.fingerprint == model.result.fingerprint
        assert other.models[key].model == model.model
        assert other.models[key].result.test_scores == model.result.test_scores
        assert np.array_equal(other.models[key].predictions.test, model.predictions.test)
    assert other.board.chosen == usual.board.chosen
    boards = [one.board.rows.drop(columns=MEASURED) for one in (usual, other)]
    pd.testing.assert_frame_equal(*boards)
    assert other.exported == usual.exported
    assert other.intervals == usual.intervals


def _spec(task: str, by: dict) -> ExperimentSpec:
    mapping = scenario.spec_mapping(task, by["by"], search=SEARCH) | {"split": by}
    if "id_columns" not in by:
        mapping["exclude"] |= {"visit_id": "names a visit"}
    return ExperimentSpec.model_validate({"name": "clinic", **mapping})


@pytest.mark.parametrize("by", ["random", "group", "time"])
def test_the_rungs_of_a_shuffled_table_have_the_same_rows(by):
    """Thinning goes by what is in the rows, for the rows to fit on and those to score on."""
    spec = halving_scenario.experiment(by)
    features = ["age", "size", "colour"]
    digests = []
    for frame in (halving_scenario.rows(), shuffled(halving_scenario.rows())):
        parts = cut_rows(frame, spec, features)
        rungs = ladder(15, as_evaluated(parts.train, parts.test, spec), spec).rungs
        digests.append(
            [(dict(one.sets.digests), one.sets.early_stopping.tolist()) for one in rungs]
        )
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def test_people_who_are_alike_are_told_apart_by_what_is_in_their_rows():
    """Of equal people with different ids, the same ones are in a set after a shuffle."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.random((900, 3)) < 0.3, columns=list("abc")).rename_axis(
        index="row_number"
    )
    frame = frame.assign(late=random.choice(["no", "yes"], 900), hour=np.arange(900))
    spec = halving_scenario.experiment(exclude={"hour": "of the delivery"})
    usual, other = (cut_rows(table, spec, list("abc")) for table in (frame, shuffled(frame)))
    assert usual.test.digest == other.test.digest
    assert usual.validation.digest == other.validation.digest
