"""search_results: a row for every declared configuration, and the line that tells of progress.

What was trained comes from the store, whoever trained it; what failed from this run; the rest
has not been started. declared = trained + failed + not started, always.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.metrics import better
from experiment_pipeline.core.trained_model import FailedConfiguration, ModelResult

TRAINED, FAILED, NOT_STARTED = "trained", "failed", "not started"
COLUMNS = {
    "key": "str",
    "algorithm": "str",
    "status": "str",
    "fingerprint": "str",
    "train_score": "float64",
    "test_score": "float64",
    "rounds": "Int64",
    "fit_cpu_seconds": "float64",
    "fit_wall_seconds": "float64",
    "predict_seconds_per_row": "float64",
    "model_bytes": "Int64",
    "error_type": "str",
    "reason": "str",
}


def search_results(
    configurations: Sequence[Configuration],
    stored: Mapping[str, ModelResult],
    failed: Sequence[FailedConfiguration],
) -> pd.DataFrame:
    """One row per declared configuration, in their order.

    Args:
        configurations: all of the experiment's (n of them).
        stored: configuration key → result, of the current sets.
        failed: what failed in this run.

    Returns:
        (n, 13) table with the columns of `COLUMNS`; scores are missing where nothing was trained.
    """
    reasons = {failure.key: failure for failure in failed}
    rows = [
        _row(configuration, stored.get(configuration.key), reasons.get(configuration.key))
        for configuration in configurations
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def failures(results: pd.DataFrame) -> list[FailedConfiguration]:
    """The failed configurations of a table of `search_results`; tracebacks stay in the log."""
    failed = results[results["status"] == FAILED]
    return [
        FailedConfiguration(
            key=str(row["key"]),
            fingerprint=str(row["fingerprint"]),
            error_type=str(row["error_type"]),
            reason=str(row["reason"]),
            traceback="",
        )
        for _, row in failed.iterrows()
    ]


def _row(
    configuration: Configuration, result: ModelResult | None, failure: FailedConfiguration | None
) -> dict[str, object]:
    row: dict[str, object] = {"key": configuration.key, "algorithm": configuration.algorithm}
    if result is not None:
        measured = {name: getattr(result, name) for name in COLUMNS if hasattr(result, name)}
        return measured | row | {"status": TRAINED, "error_type": "", "reason": ""}
    texts = dict.fromkeys(("fingerprint", "error_type", "reason"), "")
    if failure is not None:
        texts = {name: getattr(failure, name) for name in texts}
    return row | texts | {"status": FAILED if failure else NOT_STARTED}


@dataclass
class Progress:
    """How far a search is: counts, the best so far, and the time that is left.

    Attributes:
        total: configurations that the run was asked for.
        reused: of these, those found in the store.
        metric: name of the ranking metric.
    """

    total: int
    reused: int
    metric: str
    done: int = 0
    best: ModelResult | None = None

    def __post_init__(self) -> None:
        self.done = self.reused

    def add(self, result: ModelResult | None) -> None:
        """Count one configuration as done; None is a failed one."""
        self.done += 1
        if result is not None:
            self.consider(result)

    def consider(self, result: ModelResult) -> None:
        """Keep the better of this and the best so far."""
        if self.best is None or better(self.metric, result.test_score, self.best.test_score):
            self.best = result

    def line(self, elapsed_seconds: float) -> str:
        """`12 / 34 done, best roc_auc 0.6912 (lightgbm__…), about 40 s left`."""
        text = f"{self.done} / {self.total} done"
        if self.best is not None:
            text += f", best {self.metric} {self.best.test_score:.4f} ({self.best.key})"
        fitted = self.done - self.reused
        if fitted and self.done < self.total:
            left = elapsed_seconds / fitted * (self.total - self.done)
            text += f", about {left:.0f} s left"
        return text
