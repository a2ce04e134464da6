"""The outcomes of a search: one per concluded configuration, then the table of all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import fenced
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.outcome import (
    Check,
    Fact,
    Markdown,
    Notes,
    Outcome,
    Rows,
)
from experiment_pipeline.reporting.run_record import ConfigurationRow, RunFacts
from experiment_pipeline.stages.search import conclusions
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.metrics import metric_of

# Rows of one screen; the stored table and the leaderboard's page have all.
MOST_SHOWN = 20


def record_row(
    conclusion: conclusions.Conclusion, hyperparameters: Mapping[str, Any]
) -> ConfigurationRow:
    """Return a configuration's row of the run record; the leaderboard adds its rank."""
    failure, result = conclusion.failure, conclusion.result
    row = ConfigurationRow(
        key=conclusion.key,
        algorithm=conclusion.algorithm,
        hyperparameters=hyperparameters,
        status=conclusion.status,
        rung=conclusion.fraction,
        reused=conclusion.reused,
        fingerprint=None if failure is None else failure.fingerprint,
        reason=conclusion.reason or None,
    )
    if result is None:
        return row
    if (seeds := result.seeds) is not None:
        row = replace(row, seed_mean=seeds.mean, seed_deviation=seeds.deviation)
    return replace(
        row,
        test_score=result.test_score,
        train_score=result.train_score,
        calibration=result.calibration,
        fit_cpu_seconds=result.fit_cpu_seconds,
        fit_wall_seconds=result.fit_wall_seconds,
        model_bytes=result.model_bytes,
        rounds=result.rounds,
        fingerprint=result.fingerprint,
        predict_microseconds_per_row=1e6 * result.predict_seconds_per_row,
    )


def configuration(
    conclusion: conclusions.Conclusion,
    result: ModelResult,
    path: str,
    evaluation: str = "test_set",
) -> Outcome:
    """Return the outcome of one with its model at `path`; each rung plots its score."""
    metric, trained = result.metric, result.configuration
    where = ""
    if conclusion.status != conclusions.TRAINED:
        parts = "train rows" if evaluation == "test_set" else "folds"
        where = f" at {numbers.share(conclusion.fraction or 0.0)} of the {parts}"
    status = conclusion.status
    facts: dict[str, Fact] = {"status": f"{status}{where or ' on all train rows'}"}
    if conclusion.reason:
        facts["reason"] = conclusion.reason
    facts["algorithm"] = result.algorithm
    facts["hyperparameters"] = trained.settings
    facts[f"test {metric}{where}"] = result.test_score
    if not where:
        facts[f"train {metric}"] = result.train_score
    facts["other scores"] = _scores_beside(result)
    if (seeds := result.seeds) is not None:
        spread = numbers.spread(seeds.mean, seeds.deviation)
        facts["over seeds"] = f"{spread} ({seeds.fits} fits with different seeds)"
        facts[f"deviation of {metric} over seeds"] = seeds.deviation
    if result.calibration is not None:
        facts["calibrated by"] = result.calibration
    facts["share of the train rows"] = conclusion.fraction
    facts["CPU seconds to fit"] = result.fit_cpu_seconds
    facts["cost"] = _cost_of(result)
    facts["notes"] = Notes(result.notes)
    facts["reused"] = conclusion.reused
    # A fingerprint in one piece would push all others off the screen.
    folder = path.removesuffix(result.fingerprint)
    facts["stored in"] = f"{folder}, by data version (see Tags)"
    score = f"{metric} {numbers.score(result.test_score)}"
    on_set = evaluated(evaluation).where
    return Outcome(
        version=result.fingerprint,
        notes=[f"{status}{where}: {trained.in_words}, {score} {on_set}"],
        tags={"status": status.replace(" ", "_")},
        facts=facts,
    )


def _scores_beside(result: ModelResult) -> str:
    """The train score, and the test scores by the metrics that do not rank."""
    texts = [f"train {result.metric} {numbers.score(result.train_score)}"]
    for name, score in result.test_scores.items():
        if name != result.metric:
            texts.append(f"test {name} {numbers.score(score)}")
    return ", ".join(texts)


def _cost_of(result: ModelResult) -> str:
    seconds = numbers.measured(result.fit_wall_seconds)
    per_row = numbers.measured(1e6 * result.predict_seconds_per_row)
    size = numbers.megabytes(result.model_bytes)
    cost = f"{seconds} s to fit, {per_row} µs per row to predict, {size}"
    if result.rounds is None:
        return cost
    return f"{cost}, {numbers.counted(result.rounds, 'boosting round')}"


def results(
    search_results: conclusions.SearchResults,
    cost: conclusions.SearchCost,
    declared: Sequence[Configuration],
    evaluation: str = "test_set",
) -> Outcome:
    """All declared configurations, and what the search cost."""
    rows, metric = search_results.rows, search_results.metric
    by_key = {configuration.key: configuration for configuration in declared}
    counts: dict[str, Any] = dict(conclusions.accounts(rows))
    statuses = list[str]()
    for status in (*conclusions.STATUSES, "reused"):
        if count := counts[status.replace(" ", "_")]:
            statuses.append(f"{count:,} {status}")
    facts: dict[str, Fact] = {"configurations": ", ".join(statuses)}
    trained = rows[rows["status"] == conclusions.TRAINED]
    gain = metric_of(metric).sign * trained["test_score"]
    if gain.notna().any():
        [best] = trained.loc[[gain.idxmax()]].to_dict("records")
        score = numbers.score(best["test_score"])
        facts[f"best {evaluated(evaluation).short}"] = f"{metric} {score}"
        facts["by"] = by_key[best["key"]].in_words
    fits = numbers.counted(cost.fits, "fit")
    cpu_seconds = numbers.measured(cost.fit_cpu_seconds)
    wall_seconds = numbers.measured(cost.wall_seconds)
    facts["cost of this run"] = f"{fits}, {cpu_seconds} CPU s in {wall_seconds} s"
    facts["time in fits"] = numbers.share(cost.fitting_share)
    facts["where the time went"] = Rows(
        pd.DataFrame({"s": [*map(numbers.measured, cost.phases.values())]})
        .assign(phase=[*cost.phases])
        .loc[:, ["phase", "s"]]
    )
    facts["peak memory"] = numbers.megabytes(cost.peak_memory_bytes)
    return Outcome(
        value=search_results,
        facts=facts | counts,
        record=[RunFacts(**counts)],
        checks=[none_failed(rows)],
    )


def first_of(rows: int) -> str:
    """`20 of 1,000; the leaderboard's report has all`."""
    if rows <= MOST_SHOWN:
        return numbers.counted(rows, "configuration")
    return f"{MOST_SHOWN} of {rows:,}; the leaderboard's report has all"


def none_failed(rows: pd.DataFrame) -> Check:
    """Whether all configurations could be fitted; failures come with tracebacks."""
    failed = rows[rows["status"] == conclusions.FAILED]
    declared = numbers.counted(len(rows), "configuration")
    means = f"none of {declared} failed"
    if not failed.empty:
        means = (
            f"{len(failed):,} of {declared} failed: they have no score, and the "
            "leaderboard lists them last"
        )
    reasons = failed[["key", "error_type", "reason"]]
    tracebacks = "\n\n".join(
        f"**{key}**\n\n{fenced('text', traceback)}"
        for key, traceback in zip(failed["key"], failed["traceback"], strict=True)
    )
    return Check(
        "no_configuration_failed",
        passed=failed.empty,
        means=means,
        severity="warning",
        value=len(failed),
        limit=0,
        facts={
            "failed": Rows(reasons.rename(columns={"error_type": "error"})),
            "tracebacks": Markdown(tracebacks or "none"),
        },
    )
