"""A small search with made-up predictions, for the tests of what follows training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.special import expit

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, rank
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.leaderboard.ensemble import RefitTime
from experiment_pipeline.stages.leaderboard.incumbent import IncumbentAnswers
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.stages.leaderboard.ranking import RankedRows
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    STOPPED_EARLY,
    Conclusion,
    SearchResults,
    Step,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    ModelResult,
    ModelsInMemory,
    TrainedModel,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics import scores
from experiment_pipeline_tests.results import model_result

N_TEST = 300


def store_of(trained: Mapping[str, TrainedModel]) -> ModelsInMemory:
    """Return the store of trained models, key → model."""
    return ModelsInMemory(
        {model.result.fingerprint: model for model in trained.values()}
    )


def board_of(
    spec: ExperimentSpec,
    sets: TrainingSets,
    trained: Mapping[str, TrainedModel],
    time: RefitTime | None = None,
) -> Leaderboard:
    """Return the ranking of models that were trained in full, key → model."""
    rows = RankedRows(
        spec,
        lambda result: trained[result.key].predictions.test,
        sets.y_test,
        sets.test_clusters(spec),
        sets.y_train,
        n_classes=len(sets.classes or ()),
        incumbent=IncumbentAnswers.of(sets.test, spec, sets.classes),
    )
    ends = [Conclusion.trained(model.result) for model in trained.values()]
    return rank(ends, rows, time)


def chosen_of(
    spec: ExperimentSpec,
    sets: TrainingSets,
    board: Leaderboard,
    trained: Mapping[str, TrainedModel],
) -> ChosenModel:
    """Return the choice of such a ranking."""
    store = store_of(trained)
    chosen = ChosenModel.of(board, store, sets.y_test, sets.test_clusters(spec))
    return chosen.calibrated(board, store, sets, spec)


def spec_of(count: int = 4, **changes: object) -> ExperimentSpec:
    """Return an experiment whose search holds `count` configurations of lightgbm."""
    leaves = {"num_leaves": [4 * 2**power for power in range(count)]}
    settings: dict[str, object] = {
        "name": "board",
        "data": "rows.csv",
        "target": "late",
        "task": "binary",
        "metric": "roc_auc",
        "search": [{"algorithm": "lightgbm", "hyperparameters": leaves}],
    }
    return ExperimentSpec.model_validate(settings | changes)


def shown_of(
    spec: ExperimentSpec,
    board: Leaderboard,
    paths: Mapping[str, tuple[Step, ...]] = MappingProxyType({}),
) -> SearchShown:
    """Return a board as its page shows it, with the rungs of each configuration."""
    results = SearchResults(pd.DataFrame(), spec.metric, {}, paths)
    return SearchShown(board, board.configurations(spec), results)


def result_of(
    configuration: Configuration, score: float, spec: ExperimentSpec, **changes: object
) -> ModelResult:
    """Return what training would have left behind."""
    result = replace(
        model_result(configuration.key, score, spec.metric),
        fingerprint="f" * 64,
        algorithm=configuration.algorithm,
        features=configuration.features,
        hyperparameters=configuration.hyperparameters,
        train_score=0.9,
        rounds=50,
        fit_cpu_seconds=2.0,
        fit_wall_seconds=2.5,
        predict_seconds_per_row=3e-6,
    )
    return replace(result, **changes)


def failure_of(key: str, reason: str = "no such tree") -> Conclusion:
    """Return a configuration that raised."""
    failure = FailedConfiguration(key, "f" * 64, "ValueError", reason, "Traceback …")
    return Conclusion(key, "lightgbm", FAILED, reason, fraction=1.0, failure=failure)


def stopped(
    result: ModelResult, reason: str = "", fraction: float = 0.25
) -> Conclusion:
    """Return a configuration that was stopped early with such a result."""
    return Conclusion(
        result.key, result.algorithm, STOPPED_EARLY, reason, result, fraction
    )


@dataclass(frozen=True, eq=False)
class Search:
    """A finished search: everything `rank` needs."""

    spec: ExperimentSpec
    results: Sequence[ModelResult]
    predictions: dict[str, np.ndarray]
    y_test: np.ndarray
    y_train: np.ndarray
    clusters: np.ndarray

    @property
    def rows(self) -> RankedRows:
        """The test rows and their predictions."""
        return RankedRows(
            self.spec,
            lambda result: self.predictions[result.key],
            self.y_test,
            self.clusters,
            self.y_train,
            n_classes=2 if self.spec.task == "binary" else 0,
        )

    def rank(
        self,
        *unranked: Conclusion,
        results: Sequence[ModelResult] | None = None,
        time: RefitTime | None = None,
    ) -> Leaderboard:
        """Return the leaderboard of the results, or of some, and of unranked ends."""
        ranked = self.results if results is None else results
        ends = [*map(Conclusion.trained, ranked), *unranked]
        return rank(ends, self.rows, time)


def search_of(
    spec: ExperimentSpec,
    noises: Sequence[float],
    seed: int = 0,
    *,
    n: int = N_TEST,
    shared: float = 0.8,
    distinct: bool = False,
    **changes: object,
) -> Search:
    """Return a search whose i-th configuration sees the truth through noise of that
    size, and noise that all share.

    `distinct`: each has a fingerprint of its own, so that an ensemble has members.
    """
    generator = np.random.default_rng(seed)
    is_binary = spec.task == "binary"

    def targets(rows: int) -> np.ndarray:
        if is_binary:
            return (generator.random(rows) < 0.4).astype(int)
        return generator.normal(size=rows)

    y = targets(n)
    common = shared * generator.normal(size=n)
    predictions, results = {}, []
    for configuration, noise in zip(configurations(spec), noises, strict=False):
        seen = y + common + noise * generator.normal(size=n)
        prediction = expit(seen) if is_binary else seen
        score = scores.score(spec.metric, y, prediction)
        predictions[configuration.key] = prediction
        result = result_of(configuration, score, spec, **changes)
        if distinct:
            number = len(results)
            result = replace(
                result, fingerprint=f"{number:064}", model_bytes=1_000 + number
            )
        results.append(result)
    return Search(spec, results, predictions, y, targets(900), np.arange(n))
