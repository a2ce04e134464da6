"""The leaderboard as a table: every declared configuration in a row, nobody forgotten.

In: a ranking, all results, what failed. Out: a data frame with the columns of COLUMNS.
"""

import math
from collections.abc import Sequence

import pandas as pd

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.ranking import Entry, Ranking
from experiment_pipeline.stages.search.conclusions import FAILED, NOT_STARTED
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.results import FailedConfiguration, ModelResult
from experiment_pipeline.stages.search.table import Unranked
from experiment_pipeline.statistics.metrics import METRICS

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
    unranked: Sequence[Unranked],
    failed: Sequence[FailedConfiguration],
    spec: ExperimentSpec,
) -> pd.DataFrame:
    """Return a row per declared configuration with the columns of COLUMNS.

    Args:
        ranking: of the configurations with a score; they come first.
        chosen: key of the choice, marked in the column `reason`.
        unranked: what was stopped early follows those without a score, the one that came
            furthest first; what was not started comes last.
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
    rows += [_stopped(*pair, sign) for pair in _furthest_first(unranked, sign)]
    rows += [
        _unscored(one.key, declared.get(one.key, ""), FAILED, failure_in_words(one))
        for one in sorted(failed, key=lambda one: (failure_in_words(one), one.key))
    ]
    met = {row["key"] for row in rows}
    reasons = {one.key: one.reason for one in unranked}
    rows += [
        _unscored(key, algorithm, NOT_STARTED, reasons.get(key, ""))
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


def _furthest_first(unranked: Sequence[Unranked], sign: int) -> list[tuple[Unranked, ModelResult]]:
    """What was stopped early, by rung, then by its score there: undefined ones last."""

    def place(pair: tuple[Unranked, ModelResult]) -> tuple[float, bool, float, str]:
        score = pair[1].test_score
        return -pair[0].fraction, math.isnan(score), -sign * score, pair[0].key

    return sorted(((one, one.result) for one in unranked if one.result is not None), key=place)


def _stopped(one: Unranked, result: ModelResult, sign: int) -> dict[str, object]:
    row = _measured(result, result.test_score, sign, one.reason)
    return row | {"key": one.key, "status": one.status}


def _unscored(key: str, algorithm: str, status: str, reason: str) -> dict[str, object]:
    return {"key": key, "algorithm": algorithm, "status": status, "reason": reason}


def failure_in_words(one: FailedConfiguration) -> str:
    """`ValueError: no such tree`."""
    return f"{one.error_type}: {one.reason}"
