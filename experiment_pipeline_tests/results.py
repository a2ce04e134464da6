"""Made-up results of configurations, where only their scores matter."""

from collections.abc import Sequence

from experiment_pipeline.stages.search.results import ModelResult, Predictions


class NothingKnown:
    """A store that is empty."""

    def results(self, fingerprints: Sequence[str]) -> dict[str, ModelResult]:
        """No result exists."""
        return {}

    def predictions(self, fingerprint: str) -> Predictions:
        """Nobody may ask."""
        raise KeyError(fingerprint)


def model_result(key: str, test_score: float, metric: str = "roc_auc") -> ModelResult:
    """A trained linear configuration with that score."""
    return ModelResult(
        key=key,
        fingerprint=f"f-{key}",
        recipe_fingerprint="recipe",
        algorithm="linear",
        features="onehot",
        hyperparameters={},
        status="trained",
        metric=metric,
        train_score=test_score,
        test_score=test_score,
        test_scores={metric: test_score},
        rounds=None,
        fit_cpu_seconds=0.5,
        fit_wall_seconds=0.5,
        predict_seconds_per_row=1e-6,
        model_bytes=1_000,
    )
