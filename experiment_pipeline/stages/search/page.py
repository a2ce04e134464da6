"""What people see of the search: every configuration the moment it is concluded, and all of them.

In: conclusions, the table of results, the cost. Out: outcomes and a check.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from experiment_pipeline.reporting.document import fenced
from experiment_pipeline.reporting.outcome import Check, Markdown, Notes, Outcome, Rows
from experiment_pipeline.reporting.remembered import ConfigurationRow, RunFacts
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    Conclusion,
    SearchResults,
    accounts,
)
from experiment_pipeline.stages.search.cost import SearchCost
from experiment_pipeline.stages.search.results import ModelResult


def remembered(one: Conclusion, hyperparameters: Mapping[str, Any]) -> ConfigurationRow:
    """What came of a configuration as a row; the leaderboard adds its rank."""
    row = ConfigurationRow(
        key=one.key,
        algorithm=one.algorithm,
        hyperparameters=hyperparameters,
        status=one.status,
        rung=one.fraction,
        reused=one.reused,
        fingerprint=None if one.failure is None else one.failure.fingerprint,
        reason=one.reason or None,
    )
    if one.result is None:
        return row
    return replace(
        row,
        test_score=one.result.test_score,
        train_score=one.result.train_score,
        fit_cpu_seconds=one.result.fit_cpu_seconds,
        fit_wall_seconds=one.result.fit_wall_seconds,
        predict_microseconds_per_row=1e6 * one.result.predict_seconds_per_row,
        model_bytes=one.result.model_bytes,
        rounds=one.result.rounds,
        fingerprint=one.result.fingerprint,
    )


def configuration(one: Conclusion, result: ModelResult, path: str) -> Outcome:
    """A configuration that was trained or stopped early; `path` is where its model lies."""
    hyperparameters = {f"hyperparameter/{k}": v for k, v in result.hyperparameters.items()}
    why = {"reason": one.reason} if one.reason else {}
    return Outcome(
        version=result.fingerprint,
        facts={
            "status": one.status.replace(" ", "_"),
            **why,
            "algorithm": result.algorithm,
            **hyperparameters,
            f"test {result.metric}": result.test_score,
            f"train {result.metric}": result.train_score,
            **{f"test {name}": score for name, score in result.test_scores.items()},
            "share of the train rows": one.fraction,
            "rounds": result.rounds,
            "fit_cpu_seconds": result.fit_cpu_seconds,
            "fit_wall_seconds": result.fit_wall_seconds,
            "predict_microseconds_per_row": 1e6 * result.predict_seconds_per_row,
            "model_bytes": result.model_bytes,
            "notes": Notes(result.notes),
            "reused": one.reused,
            "fingerprint": result.fingerprint,
            "path": path,
        },
    )


def results(found: SearchResults, cost: SearchCost) -> Outcome:
    """All declared configurations, and what the search cost."""
    counts: dict[str, Any] = dict(accounts(found.rows))
    return Outcome(
        value=found,
        facts={
            **counts,
            **{f"search/{name}": value for name, value in asdict(cost).items()},
            "results": Rows(found.rows.drop(columns="traceback")),
        },
        remembered=[RunFacts(**counts)],
    )


def none_failed(rows: pd.DataFrame) -> Check:
    """Whether every configuration could be fitted; the failed ones with their tracebacks.

    Args:
        rows: of `search_results`.
    """
    failed = rows[rows["status"] == FAILED]
    reasons = failed[["key", "error_type", "reason"]].rename(columns={"error_type": "error"})
    in_full = "\n\n".join(
        f"**{key}**\n\n{fenced('text', traceback)}"
        for key, traceback in zip(failed["key"], failed["traceback"], strict=True)
    )
    return Check(
        "no_configuration_failed",
        passed=failed.empty,
        means=f"{len(failed)} configurations failed",
        severity="warning",
        value=len(failed),
        limit=0,
        facts={"failed": Rows(reasons), "tracebacks": Markdown(in_full or "none")},
    )
