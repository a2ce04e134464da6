"""The outcomes of a search: one per configuration when it is concluded, then the table
of all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
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
    one: conclusions.Conclusion, hyperparameters: Mapping[str, Any]
) -> ConfigurationRow:
    """Return a configuration's row of the run record; the leaderboard adds its rank."""
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
    if one.placement is not None:
        row = replace(row, **asdict(one.placement))
    if (result := one.result) is None:
        return row
    names = [
        "test_score",
        "train_score",
        "calibration",
        "fit_cpu_seconds",
        "fit_wall_seconds",
    ]
    names += ["model_bytes", "rounds", "fingerprint"]
    return replace(
        row,
        seed_mean=None if result.seeds is None else result.seeds.mean,
        seed_deviation=None if result.seeds is None else result.seeds.deviation,
        predict_microseconds_per_row=1e6 * result.predict_seconds_per_row,
        **{name: getattr(result, name) for name in names},
    )


def configuration(
    one: conclusions.Conclusion,
    result: ModelResult,
    path: str,
    evaluation: str = "test_set",
) -> Outcome:
    """Return the outcome of a configuration whose model is stored at `path`; each rung
    plots its own score.
    """
    share = numbers.share(one.fraction or 0.0)
    what = "train rows" if evaluation == "test_set" else "folds"
    where = "" if one.status == conclusions.TRAINED else f" at {share} of the {what}"
    words, metric = result.configuration, result.metric
    score = f"{metric} {numbers.score(result.test_score)}"
    others = {
        f"test {name}": value
        for name, value in result.test_scores.items()
        if name != metric
    }
    others = {f"train {metric}": result.train_score, **others}
    facts: dict[str, Fact] = {"status": f"{one.status}{where or ' on all train rows'}"}
    if one.reason:
        facts["reason"] = one.reason
    facts |= {
        "algorithm": result.algorithm,
        "hyperparameters": words.settings,
        f"test {metric}{where}": result.test_score,
        **({} if where else {f"train {metric}": result.train_score}),
        "other scores": ", ".join(f"{k} {numbers.score(v)}" for k, v in others.items()),
    }
    if (seeds := result.seeds) is not None:
        spread = numbers.spread(seeds.mean, seeds.deviation)
        facts["over seeds"] = f"{spread} ({seeds.fits} fits with different seeds)"
        facts[f"deviation of {metric} over seeds"] = seeds.deviation
    if result.calibration is not None:
        facts["calibrated by"] = result.calibration
    facts |= {
        "share of the train rows": one.fraction,
        "CPU seconds to fit": result.fit_cpu_seconds,
        "cost": _cost_of(result),
    }
    if (placed := result.placement) is not None:
        queue, read = map(numbers.measured, (placed.queue_seconds, placed.read_seconds))
        again = "" if placed.attempts == 1 else f", {placed.attempts} attempts"
        waits = f"after {queue} s in the queue and {read} s to read"
        facts["fitted by"] = f"{placed.worker}, {waits}{again}"
    return Outcome(
        version=result.fingerprint,
        notes=[
            f"{one.status}{where}: {words.in_words}, {score} {evaluated(evaluation).where}"
        ],
        tags={"status": one.status.replace(" ", "_")},
        facts=facts
        | {
            "notes": Notes(result.notes),
            "reused": one.reused,
            # A fingerprint in one piece would push all others off the screen.
            "stored in": f"{path.removesuffix(result.fingerprint)}, by data version (see Tags)",
        },
    )


def _cost_of(result: ModelResult) -> str:
    seconds = numbers.measured(result.fit_wall_seconds)
    per_row = numbers.measured(1e6 * result.predict_seconds_per_row)
    size = numbers.megabytes(result.model_bytes)
    cost = f"{seconds} s to fit, {per_row} µs per row to predict, {size}"
    rounds = result.rounds
    return (
        cost
        if rounds is None
        else f"{cost}, {numbers.counted(rounds, 'boosting round')}"
    )


def results(
    found: conclusions.SearchResults,
    cost: conclusions.SearchCost,
    declared: Sequence[Configuration],
    evaluation: str = "test_set",
) -> Outcome:
    """All declared configurations, and what the search cost; `evaluation` as of
    `configuration`.
    """
    counts: dict[str, Any] = dict(conclusions.accounts(found.rows))
    statuses = [
        f"{counts[status.replace(' ', '_')]:,} {status}"
        for status in (*conclusions.STATUSES, "reused")
        if counts[status.replace(" ", "_")]
    ]
    facts: dict[str, Fact] = {"configurations": ", ".join(statuses)}
    # The best first: by the share of rows of the last fit, then by score.
    gain = metric_of(found.metric).sign * found.rows["test_score"]
    ordered = found.rows.assign(_gain=gain).sort_values(
        ["rung", "_gain"], ascending=False, kind="stable", na_position="last"
    )
    if not (trained := ordered[ordered["status"] == conclusions.TRAINED]).empty:
        first = trained.iloc[0]
        (best,) = (one for one in declared if one.key == first["key"])
        score = f"{found.metric} {numbers.score(first['test_score'])}"
        facts |= {f"best {evaluated(evaluation).short}": score, "by": best.in_words}
    fits, seconds = (
        numbers.counted(cost.fits, "fit"),
        numbers.measured(cost.wall_seconds),
    )
    facts |= {
        "cost of this run": f"{fits}, {numbers.measured(cost.fit_cpu_seconds)} CPU s in {seconds} s",
        "time in fits": numbers.share(cost.fitting_share),
        "peak memory": numbers.megabytes(cost.peak_memory_bytes),
    }
    if not (workers := of_workers(found.rows)).empty:
        facts["workers"] = Rows(workers)
    shown = ordered.head(MOST_SHOWN)
    values = searched_values(one for one in declared if one.key in set(shown["key"]))
    table = pd.DataFrame(
        {
            found.metric: [_score(it) for it in shown["test_score"]],
            "train rows": [
                "" if pd.isna(it) else numbers.share(it) for it in shown["rung"]
            ],
            "algorithm": shown["algorithm"],
            "status": shown["status"],
            **{name: values[name].reindex(shown["key"]).to_numpy() for name in values},
            "on train": [_score(it) for it in shown["train_score"]],
            "CPU s": shown["fit_cpu_seconds"].map(numbers.measured),
            "configuration": shown["key"],
        }
    )
    facts["shown below"] = first_of(len(found.rows))
    facts["results"] = Rows(table.reset_index(drop=True))
    checks = [none_failed(found.rows)]
    return Outcome(
        value=found, facts=facts | counts, record=[RunFacts(**counts)], checks=checks
    )


def first_of(rows: int) -> str:
    """`20 of 1,000; the leaderboard's report has all`."""
    if rows <= MOST_SHOWN:
        return numbers.counted(rows, "configuration")
    return f"{MOST_SHOWN} of {rows:,}; the leaderboard's report has all"


def searched_values(declared: Iterable[Configuration]) -> pd.DataFrame:
    """Return the hyperparameters that vary as texts: a row per key, a column per
    hyperparameter.
    """
    given = {
        one.key: {k: str(v) for k, v in one.hyperparameters.items()} for one in declared
    }
    table = pd.DataFrame(list(given.values()), index=list(given), dtype="str")
    return table.loc[
        :, [len(table[name].dropna().unique()) > 1 for name in table]
    ].fillna("")


def _score(value: float) -> str:
    return "" if pd.isna(value) else numbers.score(value)


def none_failed(rows: pd.DataFrame) -> Check:
    """Whether every configuration of `search_results` could be fitted; failed ones with
    tracebacks.
    """
    failed = rows[rows["status"] == conclusions.FAILED]
    declared = numbers.counted(len(rows), "configuration")
    reasons = failed[["key", "error_type", "reason"]].rename(
        columns={"error_type": "error"}
    )
    in_full = "\n\n".join(
        f"**{key}**\n\n{fenced('text', traceback)}"
        for key, traceback in zip(failed["key"], failed["traceback"], strict=True)
    )
    means = f"none of {declared} failed"
    if not failed.empty:
        means = (
            f"{len(failed):,} of {declared} failed: they have no score, and the leaderboard lists "
            "them last"
        )
    return Check(
        "no_configuration_failed",
        passed=failed.empty,
        means=means,
        severity="warning",
        value=len(failed),
        limit=0,
        facts={"failed": Rows(reasons), "tracebacks": Markdown(in_full or "none")},
    )


def of_workers(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row per worker of a cluster as text, the slowest first, at most
    MOST_SHOWN.
    """
    if "worker" not in results:
        return results[:0]
    by_worker = results[results["worker"].fillna("") != ""].groupby("worker")
    middles = (
        by_worker["fit_wall_seconds"]
        .median()
        .sort_values(ascending=False, kind="stable")
    )
    return pd.DataFrame(
        {
            "worker": worker,
            "fits": f"{own['fit_wall_seconds'].count():,}",
            "failed": f"{own['fit_wall_seconds'].isna().sum():,}",
            "s per fit": numbers.measured(middle),
            "restarts": f"{int(own['attempts'].sum()) - len(own):,}",
            "s in the queue": numbers.measured(own["queue_seconds"].sum()),
            "s to read": numbers.measured(own["read_seconds"].sum()),
        }
        for worker, middle in middles.head(MOST_SHOWN).items()
        for own in [by_worker.get_group(worker)]
    )
