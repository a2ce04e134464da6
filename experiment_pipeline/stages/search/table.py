"""search_results: a row for every declared configuration, and what the search cost.

declared = trained + stopped early + failed + not started, always. Searching lives in
`trained_model/search_run.py`, the line that tells of progress in `progress.py`. In: what
came of each configuration. Out: a table, its counts, and the failures back from it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    NOT_STARTED,
    STOPPED_EARLY,
    TRAINED,
    Conclusion,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import FailedConfiguration, ModelResult

STATUSES = (TRAINED, STOPPED_EARLY, FAILED, NOT_STARTED)
_MEASURED = {
    "fingerprint": "str",
    "train_score": "float64",
    "test_score": "float64",
    "rounds": "Int64",
    "fit_cpu_seconds": "float64",
    "fit_wall_seconds": "float64",
    "predict_seconds_per_row": "float64",
    "model_bytes": "Int64",
}
COLUMNS = {
    "key": "str",
    "algorithm": "str",
    "status": "str",
    "rung": "float64",
    "reused": "bool",
    **_MEASURED,
    "error_type": "str",
    "reason": "str",
    "notes": "str",
    "traceback": "str",
}


@dataclass(frozen=True, eq=False)
class SearchResults:
    """The table as it is stored, and what it holds for.

    Attributes:
        rows: see `search_results`.
        metric: what the scores are of.
        digests: of the sets "train" and "test".
    """

    rows: pd.DataFrame
    metric: str
    digests: Mapping[str, str]


def search_results(
    configurations: Sequence[Configuration], conclusions: Iterable[Conclusion]
) -> pd.DataFrame:
    """One row per declared configuration, in their order.

    Args:
        configurations: all of the experiment's (n of them).
        conclusions: one for each.

    Returns:
        (n, 17) table with the columns of `COLUMNS`. `rung` is the share of the train rows that
        the last fit had; scores at a rung below 1 are on a part of the test rows, and are
        missing where nothing was fitted.

    Raises:
        KeyError: a configuration has no conclusion.
    """
    concluded = {one.key: one for one in conclusions}
    rows = [_row(concluded[configuration.key]) for configuration in configurations]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def accounts(results: pd.DataFrame) -> Mapping[str, int]:
    """Return declared, trained, stopped early, failed, not started, and reused: name → count."""
    counts = Counter(results["status"])
    return {
        "declared": len(results),
        **{status.replace(" ", "_"): counts[status] for status in STATUSES},
        "reused": int(results["reused"].sum()),
    }


@dataclass(frozen=True)
class Unranked:
    """A configuration that has no place in the ranking, although it did not fail.

    Attributes:
        key: its partition key.
        status: STOPPED_EARLY or NOT_STARTED.
        reason: why, in words.
        fraction: of the train rows at its last rung; 0 when it was not started.
        result: of that rung; None when it was not started.
    """

    key: str
    status: str
    reason: str
    fraction: float = 0.0
    result: ModelResult | None = None


def unranked(results: pd.DataFrame, stored: Mapping[str, ModelResult]) -> list[Unranked]:
    """What was stopped early or not started, of a table of `search_results`.

    Args:
        results: the table.
        stored: fingerprint → result, of those that the table names.
    """
    rows = results[results["status"].isin([STOPPED_EARLY, NOT_STARTED])].fillna({"rung": 0.0})
    return [
        Unranked(
            key=str(row["key"]),
            status=str(row["status"]),
            reason=str(row["reason"]),
            fraction=float(row["rung"]),
            result=stored[row["fingerprint"]] if row["fingerprint"] else None,
        )
        for _, row in rows.iterrows()
    ]


def as_scored(
    results: pd.DataFrame, stored: Mapping[str, ModelResult], metric: str
) -> dict[str, ModelResult]:
    """Return stored results with the scores of this search: they were stored with other ones,
    where they had been trained for another metric.

    Args:
        results: a table of `search_results`.
        stored: fingerprint → result, of those that the table names.
        metric: that ranks.
    """
    scored = results[results["fingerprint"].isin(stored)]
    columns = scored[["fingerprint", "train_score", "test_score"]].itertuples(index=False)
    return {
        fingerprint: replace(
            stored[fingerprint], metric=metric, train_score=on_train, test_score=on_test
        )
        for fingerprint, on_train, on_test in columns
    }


def failures(results: pd.DataFrame) -> list[FailedConfiguration]:
    """The failed configurations of a table of `search_results`."""
    failed = results[results["status"] == FAILED]
    return [
        FailedConfiguration(
            key=str(row["key"]),
            fingerprint=str(row["fingerprint"]),
            error_type=str(row["error_type"]),
            reason=str(row["reason"]),
            traceback=str(row["traceback"]),
        )
        for _, row in failed.iterrows()
    ]


@dataclass(frozen=True)
class SearchCost:
    """What a run's search cost.

    Attributes:
        fits: that ended well in this run, at any rung.
        fit_cpu_seconds: of these fits.
        wall_seconds: from the first rung's beginning to the end.
        fitting_share: the part of wall seconds times workers that was spent inside these fits.
        peak_memory_bytes: of the process, since it began; without those that imported estimators
            may be fitted in.
    """

    fits: int
    fit_cpu_seconds: float
    wall_seconds: float
    fitting_share: float
    peak_memory_bytes: int


def search_cost(
    fitted: Sequence[ModelResult], wall_seconds: float, workers: int, peak_memory_bytes: int
) -> SearchCost:
    """Return what a search cost; a failed fit's seconds are not known and count as idle."""
    available = wall_seconds * workers
    inside = sum(result.fit_wall_seconds for result in fitted)
    return SearchCost(
        fits=len(fitted),
        fit_cpu_seconds=sum(result.fit_cpu_seconds for result in fitted),
        wall_seconds=wall_seconds,
        fitting_share=inside / available if available else 0.0,
        peak_memory_bytes=peak_memory_bytes,
    )


def _row(one: Conclusion) -> dict[str, object]:
    row: dict[str, object] = {
        "key": one.key,
        "algorithm": one.configuration.algorithm,
        "status": one.status,
        "rung": one.fraction,
        "reused": one.reused,
        "fingerprint": "",
        "error_type": "",
        "reason": one.reason,
        "notes": "",
        "traceback": "",
    }
    if one.failure is not None:
        for name in ("fingerprint", "error_type", "traceback"):
            row[name] = getattr(one.failure, name)
    if one.result is not None:
        row |= {name: getattr(one.result, name) for name in _MEASURED}
        row["notes"] = "; ".join(one.result.notes)
    return row
