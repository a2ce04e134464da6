"""What a search yields while it runs, and its results: a row per configuration."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pandas as pd

from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    ModelResult,
    TrainedModel,
)
from experiment_pipeline.stages.search.rungs import Rung

TRAINED, STOPPED_EARLY = "trained", "stopped early"
FAILED, NOT_STARTED = "failed", "not started"
STATUSES = (TRAINED, STOPPED_EARLY, FAILED, NOT_STARTED)


@dataclass(frozen=True)
class SearchNote:
    """A line to log about the search."""

    text: str
    warns: bool = False


@dataclass(frozen=True, eq=False)
class RungStarted:
    """A rung starts."""

    rung: Rung
    entrants: int  # configurations
    stored: Mapping[str, ModelResult]  # by key, results of an earlier run at this rung


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit has succeeded and is to be stored, whatever the rung."""

    rung: Rung
    model: TrainedModel


@dataclass(frozen=True)
class Step:
    """One fit of a configuration; scores of different fractions cannot be compared."""

    fraction: float  # of the train rows
    test_score: float  # of the ranking metric; nan where undefined
    train_score: float
    fit_cpu_seconds: float  # whichever run fitted it

    @classmethod
    def of(cls, result: ModelResult, fraction: float) -> Self:
        """Return a result as a step."""
        return cls(
            fraction, result.test_score, result.train_score, result.fit_cpu_seconds
        )


@dataclass(frozen=True)
class Conclusion:
    """The end of one configuration's search; a search yields exactly one for each."""

    key: str
    algorithm: str
    status: str  # TRAINED, STOPPED_EARLY, FAILED or NOT_STARTED
    reason: str = ""  # why it was not trained in full; empty when it was
    # of its last rung; None when it failed or was not started
    result: ModelResult | None = None
    # of the train rows at that rung; None when it was not started
    fraction: float | None = None
    reused: bool = False  # whether that result is an earlier run's
    failure: FailedConfiguration | None = None  # what it raised, when it failed
    # its fits from the smallest rung on, that of `result` last
    path: tuple[Step, ...] = ()
    # estimate, where its next fit did not start for lack of time
    needed_seconds: float | None = None

    @classmethod
    def trained(
        cls, result: ModelResult, *, reused: bool = False, before: Sequence[Step] = ()
    ) -> Self:
        """Conclude with a model of all train rows, after steps on fewer."""
        return cls(
            result.key,
            result.algorithm,
            TRAINED,
            result=result,
            fraction=1.0,
            reused=reused,
            path=(*before, Step.of(result, 1.0)),
        )

    @classmethod
    def failed(
        cls,
        algorithm: str,
        raised: FailedConfiguration,
        rung: Rung,
        before: Sequence[Step] = (),
    ) -> Self:
        """Conclude with a failure; the reason names a rung that is not the full one."""
        where = "" if rung.is_full else f" (at {rung})"
        failure = replace(raised, reason=f"{raised.reason}{where}")
        return cls(
            raised.key,
            algorithm,
            FAILED,
            failure.reason,
            fraction=rung.fraction,
            failure=failure,
            path=tuple(before),
        )


Event = SearchNote | RungStarted | Fitted | Conclusion


@dataclass(frozen=True)
class SearchCost:
    """What a run's search cost."""

    fits: int  # that succeeded in this run, at any rung
    fit_cpu_seconds: float  # of these fits
    wall_seconds: float  # of the whole search
    # the share of wall seconds times workers that these fits took; failed fits count as
    # idle
    fitting_share: float
    peak_memory_bytes: int  # of the process, since it began
    # what the wall seconds went to, in order; they add up to `wall_seconds`
    phases: Mapping[str, float]


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
_COLUMNS = {
    "key": "str",
    "algorithm": "str",
    "status": "str",
    "rung": "float64",
    "reused": "bool",
    **_MEASURED,
    "error_type": "str",
    "reason": "str",
    "needed_seconds": "float64",
    "notes": "str",
    "traceback": "str",
}


@dataclass(frozen=True, eq=False)
class SearchResults:
    """The table of results as it is stored."""

    # a row for each declared configuration, in their order: (n, 18). `rung` is the
    # share of the train rows that the
    # last fit had; scores at a rung below 1 are on a part of the test rows, and are
    # missing where nothing was fitted.
    rows: pd.DataFrame
    metric: str  # the ranking metric
    digests: Mapping[str, str]  # of the sets "train" and "test"
    # key → its fits from the smallest rung on, of configurations that were fitted
    paths: Mapping[str, tuple[Step, ...]]
    # what the seconds of the run went to until the search had ended, in order
    phases: Mapping[str, float] = field(default_factory=dict)
    # of the budget, when the search had ended; None: no limit
    seconds_left: float | None = None

    @classmethod
    def of(
        cls,
        configurations: Sequence[Configuration],
        conclusions: Iterable[Conclusion],
        metric: str,
        digests: Mapping[str, str],
    ) -> Self:
        """Return the results; KeyError: a configuration has no conclusion."""
        by_key = {conclusion.key: conclusion for conclusion in conclusions}
        declared = [by_key[configuration.key] for configuration in configurations]
        rows = [_row(conclusion) for conclusion in declared]
        table = pd.DataFrame(rows, columns=[*_COLUMNS]).astype(_COLUMNS)
        paths = {key: by_key[key].path for key in by_key if by_key[key].path}
        return cls(table, metric, digests, paths)

    def __repr__(self) -> str:
        statuses = self.rows["status"].value_counts()
        counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
        return f"SearchResults({counts}; ranked by {self.metric})"


def _row(conclusion: Conclusion) -> dict[str, Any]:
    row = dict.fromkeys(("fingerprint", "error_type", "notes", "traceback"), "")
    row |= {
        "key": conclusion.key,
        "algorithm": conclusion.algorithm,
        "status": conclusion.status,
        "rung": conclusion.fraction,
        "reused": conclusion.reused,
        "reason": conclusion.reason,
        "needed_seconds": conclusion.needed_seconds,
    }
    if (failure := conclusion.failure) is not None:
        row["fingerprint"] = failure.fingerprint
        row["error_type"] = failure.error_type
        row["traceback"] = failure.traceback
    if (result := conclusion.result) is not None:
        row |= {name: getattr(result, name) for name in _MEASURED}
        row["notes"] = "; ".join(result.notes)
    return row


def concluded(
    results: SearchResults, stored: Mapping[str, ModelResult]
) -> list[Conclusion]:
    """Return all conclusions; `stored`: fingerprint → result, by any metric."""
    return [
        _conclusion(row, results, stored) for row in results.rows.to_dict("records")
    ]


def _conclusion(
    row: Mapping[Any, Any], results: SearchResults, stored: Mapping[str, ModelResult]
) -> Conclusion:
    """The conclusion that `_row` wrote."""
    key, needed_seconds = row["key"], row["needed_seconds"]
    conclusion = Conclusion(
        key,
        row["algorithm"],
        row["status"],
        row["reason"],
        fraction=None if pd.isna(row["rung"]) else row["rung"],
        reused=row["reused"],
        path=results.paths.get(key, ()),
        needed_seconds=None if pd.isna(needed_seconds) else needed_seconds,
    )
    fingerprint = row["fingerprint"]
    if conclusion.status == FAILED:
        failure = FailedConfiguration(
            key, fingerprint, row["error_type"], row["reason"], row["traceback"]
        )
        return replace(conclusion, failure=failure)
    if not fingerprint:
        return conclusion
    result = replace(
        stored[fingerprint],
        key=key,
        metric=results.metric,
        train_score=row["train_score"],
        test_score=row["test_score"],
    )
    return replace(conclusion, result=result)


def accounts(rows: pd.DataFrame) -> Mapping[str, int]:
    """Return the counts of declared and reused configurations and of each status."""
    counts = Counter(rows["status"])
    return {
        "declared": len(rows),
        **{status.replace(" ", "_"): counts[status] for status in STATUSES},
        "reused": int(rows["reused"].sum()),
    }
