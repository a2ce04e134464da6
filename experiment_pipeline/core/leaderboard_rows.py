"""The leaderboard as a table: every declared configuration in a row, nobody forgotten.

In: a ranking, all results, what failed. Out: a data frame with the columns of COLUMNS.
"""

from collections.abc import Sequence

import pandas as pd

from experiment_pipeline.core.configurations import configurations
from experiment_pipeline.core.metrics import METRICS
from experiment_pipeline.core.ranking import Entry, Ranking
from experiment_pipeline.core.search_results import FAILED, NOT_STARTED, TRAINED
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model import FailedConfiguration, ModelResult

COLUMNS = {
    "rank": "Int64",
    "key": "str",
    "algorithm": "str",
    "test_score": "float64",
    "low": "float64",
    "high": "float64",
    "difference_to_best": "float64",
    "difference_low": "float64",
    "difference_high": "float64",
    "in_tie_group": "bool",
    "train_score": "float64",
    "overfit_gap": "float64",
    "fit_cpu_seconds": "float64",
    "predict_microseconds_per_row": "float64",
    "model_bytes": "Int64",
    "rounds": "Int64",
    "status": "str",
    "reason": "str",
    "fingerprint": "str",
}


def build_rows(
    ranking: Ranking,
    chosen: str,
    results: Sequence[ModelResult],
    failed: Sequence[FailedConfiguration],
    spec: ExperimentSpec,
) -> pd.DataFrame:
    """Return a row per declared configuration with the columns of COLUMNS.

    Args:
        ranking: of the configurations with a score; they come first.
        chosen: key of the choice, marked in the column `reason`.
        results: all results: what was stopped early follows those without a score.
        failed: come then, same reasons together.
        spec: declares the rest, which nobody has trained.
    """
    declared = {one.key: one.algorithm for one in configurations(spec)}
    sign = METRICS[spec.metric].sign
    rows: list[dict[str, object]]
    rows = [
        _ranked(number, entry, sign, chosen)
        for number, entry in enumerate(ranking.entries, start=1)
    ]
    rows += [
        _measured(r, r.test_score, sign, f"{spec.metric} is undefined") for r in ranking.undefined
    ]
    others = sorted((r for r in results if r.status != TRAINED), key=lambda r: r.key)
    why = "not ranked with fully trained ones"
    rows += [_measured(result, result.test_score, sign, why) for result in others]
    rows += [
        _unscored(one.key, declared.get(one.key, ""), FAILED, failure_in_words(one))
        for one in sorted(failed, key=lambda one: (failure_in_words(one), one.key))
    ]
    met = {row["key"] for row in rows}
    rows += [
        _unscored(key, algorithm, NOT_STARTED, "")
        for key, algorithm in declared.items()
        if key not in met
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(in_tie_group=table["in_tie_group"].eq(True)).astype(COLUMNS)


def _ranked(number: int, entry: Entry, sign: int, chosen: str) -> dict[str, object]:
    reason = "chosen" if entry.result.key == chosen else ""
    return _measured(entry.result, entry.score.estimate, sign, reason) | {
        "rank": number,
        "low": entry.score.low,
        "high": entry.score.high,
        "difference_to_best": entry.difference.estimate,
        "difference_low": entry.difference.low,
        "difference_high": entry.difference.high,
        "in_tie_group": entry.tied,
    }


def _measured(result: ModelResult, score: float, sign: int, reason: str) -> dict[str, object]:
    return {
        "key": result.key,
        "algorithm": result.algorithm,
        "test_score": score,
        "train_score": result.train_score,
        "overfit_gap": sign * (result.train_score - score),
        "fit_cpu_seconds": result.fit_cpu_seconds,
        "predict_microseconds_per_row": 1e6 * result.predict_seconds_per_row,
        "model_bytes": result.model_bytes,
        "rounds": result.rounds,
        "status": result.status,
        "reason": reason,
        "fingerprint": result.fingerprint,
    }


def _unscored(key: str, algorithm: str, status: str, reason: str) -> dict[str, object]:
    return {"key": key, "algorithm": algorithm, "status": status, "reason": reason}


def failure_in_words(one: FailedConfiguration) -> str:
    """`ValueError: no such tree`."""
    return f"{one.error_type}: {one.reason}"
