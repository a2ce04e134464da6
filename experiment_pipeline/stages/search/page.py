"""The search as outcomes: each configuration when it is concluded, then the table of all.

In: conclusions, the table of results, the cost. Out: outcomes and a check.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import fenced
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.outcome import Check, Fact, Markdown, Notes, Outcome, Rows
from experiment_pipeline.reporting.run_record import ConfigurationRow, RunFacts
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    STATUSES,
    TRAINED,
    Conclusion,
    SearchResults,
    accounts,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.cost import SearchCost
from experiment_pipeline.stages.search.results import ModelResult, Placement
from experiment_pipeline.stages.search.workers import of_workers, slow_workers
from experiment_pipeline.statistics.metrics import METRICS

# A screen of them: all are in the stored table, and on the leaderboard's page.
MOST_SHOWN = 20


def record_row(one: Conclusion, hyperparameters: Mapping[str, Any]) -> ConfigurationRow:
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
        **({} if one.placement is None else asdict(one.placement)),
    )
    if one.result is None:
        return row
    return replace(
        row,
        test_score=one.result.test_score,
        train_score=one.result.train_score,
        seed_mean=None if one.result.seeds is None else one.result.seeds.mean,
        seed_deviation=None if one.result.seeds is None else one.result.seeds.deviation,
        calibration=one.result.calibration,
        fit_cpu_seconds=one.result.fit_cpu_seconds,
        fit_wall_seconds=one.result.fit_wall_seconds,
        predict_microseconds_per_row=1e6 * one.result.predict_seconds_per_row,
        model_bytes=one.result.model_bytes,
        rounds=one.result.rounds,
        fingerprint=one.result.fingerprint,
    )


def configuration(
    one: Conclusion, result: ModelResult, path: str, evaluation: str = "test_set"
) -> Outcome:
    """Return the outcome of a configuration that was trained or stopped early.

    Dagster plots each number over all partitions. Scores of configurations that were stopped early
    are on a part of the rows, so each such part has a plot of its own.

    Args:
        one: how it ended.
        result: of its last fit.
        path: of its model.
        evaluation: where its test score comes from.
    """
    share = numbers.share(one.fraction or 0.0)
    where = "" if one.status == TRAINED else f" at {share} of the train rows"
    words = result.configuration
    score = f"{result.metric} {numbers.score(result.test_score)}"
    return Outcome(
        version=result.fingerprint,
        notes=[f"{one.status}{where}: {words.in_words}, {score} {evaluated(evaluation).where}"],
        tags={"status": one.status.replace(" ", "_")},
        facts={
            "status": f"{one.status}{where or ' on all train rows'}",
            **({"reason": one.reason} if one.reason else {}),
            "algorithm": result.algorithm,
            "hyperparameters": words.settings,
            f"test {result.metric}{where}": result.test_score,
            **({} if where else {f"train {result.metric}": result.train_score}),
            "other scores": _others(result),
            **_seeds_of(result),
            **({} if result.calibration is None else {"calibrated by": result.calibration}),
            "share of the train rows": one.fraction,
            "CPU seconds to fit": result.fit_cpu_seconds,
            "cost": _cost_of(result),
            **({} if result.placement is None else {"fitted by": _placed(result.placement)}),
            "notes": Notes(result.notes),
            "reused": one.reused,
            # A fingerprint in one piece would push all others off the screen.
            "stored in": f"{path.removesuffix(result.fingerprint)}, by data version (see Tags)",
        },
    )


def _seeds_of(result: ModelResult) -> dict[str, Fact]:
    if (found := result.seeds) is None:
        return {}
    fits = f"{found.fits} fits with different seeds"
    return {
        "over seeds": f"{numbers.spread(found.mean, found.deviation)} ({fits})",
        f"deviation of {result.metric} over seeds": found.deviation,
    }


def _others(result: ModelResult) -> str:
    """Beside the score on the test set."""
    parts = [f"train {result.metric} {numbers.score(result.train_score)}"]
    others = {name: it for name, it in result.test_scores.items() if name != result.metric}
    parts += (f"test {name} {numbers.score(it)}" for name, it in others.items())
    return ", ".join(parts)


def _placed(found: Placement) -> str:
    """`tcp://10.0.0.7:40123, after 0.31 s in the queue and 0.12 s to read, 2 attempts`."""
    queue, read = map(numbers.measured, (found.queue_seconds, found.read_seconds))
    again = "" if found.attempts == 1 else f", {found.attempts} attempts"
    return f"{found.worker}, after {queue} s in the queue and {read} s to read{again}"


def _cost_of(result: ModelResult) -> str:
    parts = [
        f"{numbers.measured(result.fit_wall_seconds)} s to fit",
        f"{numbers.measured(1e6 * result.predict_seconds_per_row)} µs per row to predict",
        numbers.megabytes(result.model_bytes),
        *([] if result.rounds is None else [numbers.counted(result.rounds, "boosting round")]),
    ]
    return ", ".join(parts)


def results(
    found: SearchResults,
    cost: SearchCost,
    declared: Sequence[Configuration],
    evaluation: str = "test_set",
) -> Outcome:
    """All declared configurations, and what the search cost; `evaluation` as of `configuration`."""
    counts: dict[str, Any] = dict(accounts(found.rows))
    return Outcome(
        value=found,
        facts={
            "configurations": ", ".join(_counted(counts)),
            **_best(found, declared, evaluation),
            "cost of this run": _cost(cost),
            "time in fits": numbers.share(cost.fitting_share),
            "peak memory": numbers.megabytes(cost.peak_memory_bytes),
            **_workers(found.rows),
            "shown below": first_of(len(found.rows)),
            "results": Rows(_shown(found, declared)),
            **counts,
        },
        record=[RunFacts(**counts)],
    )


def _workers(rows: pd.DataFrame) -> dict[str, Fact]:
    """The workers of a cluster, and the slow ones."""
    found = of_workers(rows)
    if found.empty:
        return {}
    slow = tuple(slow_workers(rows))
    return {"workers": Rows(found), **({"slow workers": Notes(slow)} if slow else {})}


def first_of(rows: int) -> str:
    """`20 of 1,000; the leaderboard's report has all`."""
    if rows <= MOST_SHOWN:
        return numbers.counted(rows, "configuration")
    return f"{MOST_SHOWN} of {rows:,}; the leaderboard's report has all"


def _counted(counts: Mapping[str, int]) -> Iterator[str]:
    for status in (*STATUSES, "reused"):
        if count := counts[status.replace(" ", "_")]:
            yield f"{count:,} {status}"


def _cost(cost: SearchCost) -> str:
    return (
        f"{numbers.counted(cost.fits, 'fit')}, {numbers.measured(cost.fit_cpu_seconds)} CPU s "
        f"in {numbers.measured(cost.wall_seconds)} s"
    )


def _ordered(found: SearchResults) -> pd.DataFrame:
    """The best first: by the share of rows of the last fit, then by score."""
    sign = METRICS[found.metric].sign
    return (
        found.rows.assign(_gain=sign * found.rows["test_score"])
        .sort_values(["rung", "_gain"], ascending=False, kind="stable", na_position="last")
        .drop(columns="_gain")
    )


def _best(
    found: SearchResults, declared: Sequence[Configuration], evaluation: str
) -> dict[str, Fact]:
    trained = _ordered(found).query("status == @TRAINED")
    if trained.empty:
        return {}
    first = trained.iloc[0]
    (best,) = (one for one in declared if one.key == first["key"])
    score = f"{found.metric} {numbers.score(first['test_score'])}"
    return {f"best {evaluated(evaluation).short}": score, "by": best.in_words}


def searched_values(declared: Iterable[Configuration]) -> pd.DataFrame:
    """Return the hyperparameters that vary, as texts: a row per key, a column per hyperparameter.

    Empty where a configuration does not have the hyperparameter.
    """
    given = {one.key: {k: str(v) for k, v in one.hyperparameters.items()} for one in declared}
    table = pd.DataFrame(list(given.values()), index=list(given), dtype="str")
    return table.loc[:, [len(table[name].dropna().unique()) > 1 for name in table]].fillna("")


def _shown(found: SearchResults, declared: Sequence[Configuration]) -> pd.DataFrame:
    """The first rows as people compare them: scores first, then what it is and what it cost."""
    rows = _ordered(found).head(MOST_SHOWN)
    values = searched_values(one for one in declared if one.key in set(rows["key"]))
    table = pd.DataFrame(
        {
            found.metric: [_score(it) for it in rows["test_score"]],
            "train rows": ["" if pd.isna(it) else numbers.share(it) for it in rows["rung"]],
            "algorithm": rows["algorithm"],
            "status": rows["status"],
            **{name: values[name].reindex(rows["key"]).to_numpy() for name in values},
            "on train": [_score(it) for it in rows["train_score"]],
            "CPU s": rows["fit_cpu_seconds"].map(numbers.measured),
            "configuration": rows["key"],
        }
    )
    return table.reset_index(drop=True)


def _score(value: float) -> str:
    return "" if pd.isna(value) else numbers.score(value)


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
        means=_failed_in_words(len(failed), len(rows)),
        severity="warning",
        value=len(failed),
        limit=0,
        facts={"failed": Rows(reasons), "tracebacks": Markdown(in_full or "none")},
    )


def _failed_in_words(failed: int, declared: int) -> str:
    if not failed:
        return f"none of {numbers.counted(declared, 'configuration')} failed"
    return (
        f"{failed:,} of {numbers.counted(declared, 'configuration')} failed: they have no score, and the "
        "leaderboard lists them last"
    )
