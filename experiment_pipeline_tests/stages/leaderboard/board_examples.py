"""A small search with made-up predictions, for the tests of what comes after
training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, rank
from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
from experiment_pipeline.stages.leaderboard.ensemble import RefitTime
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.stages.leaderboard.ranking import RankedRows
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    STOPPED_EARLY,
    Conclusion,
    Step,
)
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    ModelResult,
    TrainedModel,
)
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics import scores
from experiment_pipeline.table.clusters import resampling_clusters
from experiment_pipeline_tests.results import model_result

N_TEST = 300


def board_of(
    spec: ExperimentSpec,
    sets: TrainingSets,
    trained: Mapping[str, TrainedModel],
    time: RefitTime | None = None,
) -> Leaderboard:
    """Return the ranking of models that were trained in full, key → model."""
    return rank(
        [Conclusion.trained(one.result) for one in trained.values()],
        lambda one: trained[one.key].predictions.test,
        RankedRows(
            sets.y_test,
            resampling_clusters(sets.test, spec, sets.features),
            sets.y_train,
        ),
        spec,
        sets.classes,
        time,
    )


@dataclass(frozen=True)
class Kept:
    """Trained models, key → model, as a store gives them."""

    trained: Mapping[str, TrainedModel]

    def require(self, fingerprint: str) -> TrainedModel:
        """Return the model with a fingerprint."""
        return next(
            m for m in self.trained.values() if m.result.fingerprint == fingerprint
        )


def chosen_of(
    spec: ExperimentSpec,
    sets: TrainingSets,
    board: Leaderboard,
    trained: Mapping[str, TrainedModel],
) -> ChosenModel:
    """Return the choice of such a ranking."""
    clusters = resampling_clusters(sets.test, spec, sets.features)
    chosen, store = (
        ChosenModel.of(board, Kept(trained), sets.y_test, clusters),
        Kept(trained),
    )
    return chosen.calibrated(board, store, sets, spec)


def spec_of(count: int = 4, **changes: object) -> ExperimentSpec:
    """Return an experiment whose search holds `count` configurations of lightgbm."""
    leaves = {"num_leaves": [4 * 2**i for i in range(count)]}
    fields = {"name": "board", "data": "rows.csv", "target": "late", "task": "binary"}
    fields |= {
        "metric": "roc_auc",
        "search": [{"algorithm": "lightgbm", "hyperparameters": leaves}],
    }
    return ExperimentSpec.model_validate(fields | changes)


def shown_of(
    spec: ExperimentSpec,
    board: Leaderboard,
    paths: Mapping[str, tuple[Step, ...]] = MappingProxyType({}),
) -> SearchShown:
    """Return a board as its page is given it, with the rungs of each configuration."""
    declared = {one.key: one for one in configurations(spec)}
    return SearchShown(board, board.with_ensemble(declared), paths)


def result_of(
    configuration: object, score: float, spec: ExperimentSpec, **changes: object
):
    """Return what training would have left behind."""
    made = replace(
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
    return replace(made, **changes)


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

    def rank(
        self,
        *others: Conclusion,
        results: Sequence[ModelResult] | None = None,
        **changes: object,
    ) -> Leaderboard:
        """Return the leaderboard of the results, or of some, and of others that are
        unranked.
        """
        results = self.results if results is None else results
        arguments = {
            "predictions": lambda one: self.predictions[one.key],
            "rows": RankedRows(self.y_test, self.clusters, self.y_train),
            "spec": self.spec,
            "classes": (False, True) if self.spec.task == "binary" else None,
        }
        return rank(
            [*map(Conclusion.trained, results), *others], **(arguments | changes)
        )


def search_of(
    spec: ExperimentSpec, noises: Sequence[float], seed: int = 0, **changes
) -> Search:
    """Return a search whose i-th configuration sees the truth through noise of that
    size.
    """
    generator = np.random.default_rng(seed)
    y = (generator.random(N_TEST) < 0.4).astype(int)
    shared = generator.normal(size=N_TEST)
    predictions, results = {}, []
    for one, noise in zip(configurations(spec), noises, strict=False):
        logit = y + 0.8 * shared + noise * generator.normal(size=N_TEST)
        predictions[one.key] = expit(logit)
        score = scores.score(spec.metric, y, predictions[one.key])
        results.append(result_of(one, score, spec, **changes))
    y_train = (generator.random(900) < 0.4).astype(int)
    return Search(spec, results, predictions, y, y_train, np.arange(N_TEST))
