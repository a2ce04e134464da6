"""What a search yields while it runs, and its results: a row for every declared
configuration.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import pandas as pd

from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import (
    FailedConfiguration,
    ModelResult,
    Placement,
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
    result: ModelResult | None = (
        None  # of its last rung; None when it failed or was not started
    )
    fraction: float | None = (
        None  # of the train rows at that rung; None when it was not started
    )
    reused: bool = False  # whether that result is an earlier run's
    failure: FailedConfiguration | None = None  # what it raised, when it failed
    path: tuple[
        Step, ...
    ] = ()  # its fits from the smallest rung on, that of `result` last
    needed_seconds: float | None = (
        None  # estimate, where it was not started for lack of time
    )

    @property
    def placement(self) -> Placement | None:
        """Where its last fit ran, if on a cluster."""
        last = self.result or self.failure
        return None if last is None else last.placement

    @classmethod
    def trained(
        cls, result: ModelResult, *, reused: bool = False, before: Sequence[Step] = ()
    ) -> Self:
        """Conclude with a model of all train rows, after steps on fewer."""
        path = (*before, Step.of(result, 1.0))
        what = result.key, result.algorithm, TRAINED
        return cls(*what, result=result, fraction=1.0, reused=reused, path=path)

    @classmethod
    def failed(
        cls,
        algorithm: str,
        raised: FailedConfiguration,
        rung: Rung,
        before: Sequence[Step] = (),
    ) -> Self:
        """Conclude with a failure; the reason names the rung, unless it is the full
        one.
        """
        where = "" if rung.is_full else f" (at {rung})"
        failure = replace(raised, reason=f"{raised.reason}{where}")
        what = raised.key, algorithm, FAILED, failure.reason
        return cls(*what, fraction=rung.fraction, failure=failure, path=tuple(before))


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
# Further columns of a search on a cluster, from `Placement`.
_PLACED = {
    "worker": "str",
    "attempts": "Int64",
    "queue_seconds": "float64",
    "read_seconds": "float64",
}


@dataclass(frozen=True, eq=False)
class SearchResults:
    """The table of results as it is stored."""

    # a row for each declared configuration, in their order: (n, 18), and four columns
    # more where fits ran on a cluster. `rung` is the share of the train rows that the
    # last fit had; scores at a rung below 1 are on a part of the test rows, and are
    # missing where nothing was fitted.
    rows: pd.DataFrame
    metric: str  # the ranking metric
    digests: Mapping[str, str]  # of the sets "train" and "test"
    # key → its fits from the smallest rung on, of configurations that were fitted
    paths: Mapping[str, tuple[Step, ...]]

    @classmethod
    def of(
        cls,
        configurations: Sequence[Configuration],
        conclusions: Iterable[Conclusion],
        metric: str,
        digests: Mapping[str, str],
    ) -> Self:
        """Return the results of a search; KeyError: a configuration has no
        conclusion.
        """
        by_key = {one.key: one for one in conclusions}
        each = [by_key[configuration.key] for configuration in configurations]
        columns = _COLUMNS | (
            _PLACED if any(one.placement is not None for one in each) else {}
        )
        rows = pd.DataFrame([_row(one) for one in each], columns=list(columns)).astype(
            columns
        )
        paths = {one.key: one.path for one in by_key.values() if one.path}
        return cls(rows, metric, digests, paths)


def _row(one: Conclusion) -> dict[str, Any]:
    row = {
        "key": one.key,
        "algorithm": one.algorithm,
        "status": one.status,
        "rung": one.fraction,
        "reused": one.reused,
        "reason": one.reason,
        "needed_seconds": one.needed_seconds,
        **dict.fromkeys(("fingerprint", "error_type", "notes", "traceback"), ""),
    }
    if one.failure is not None:
        for name in ("fingerprint", "error_type", "traceback"):
            row[name] = getattr(one.failure, name)
    if one.result is not None:
        row |= {name: getattr(one.result, name) for name in _MEASURED}
        row["notes"] = "; ".join(one.result.notes)
    return row if one.placement is None else row | asdict(one.placement)


def concluded(
    found: SearchResults, stored: Mapping[str, ModelResult]
) -> list[Conclusion]:
    """Return each configuration's conclusion; `stored`: fingerprint → result, scored by
    any metric.
    """
    conclusions = []
    for row in found.rows.to_dict("records"):
        result, failure = None, None
        if row["status"] == FAILED:
            what = ("key", "fingerprint", "error_type", "reason", "traceback")
            failure = FailedConfiguration(*(row[name] for name in what))
        elif row["fingerprint"]:
            result = replace(
                stored[row["fingerprint"]],
                key=row["key"],
                metric=found.metric,
                train_score=row["train_score"],
                test_score=row["test_score"],
            )
        fraction, needed = (
            None if pd.isna(row[name]) else row[name]
            for name in ("rung", "needed_seconds")
        )
        stated = row["key"], row["algorithm"], row["status"], row["reason"]
        path = found.paths.get(row["key"], ())
        one = Conclusion(
            *stated, result, fraction, row["reused"], failure, path, needed
        )
        conclusions.append(one)
    return conclusions


def accounts(results: pd.DataFrame) -> Mapping[str, int]:
    """Return declared, trained, stopped early, failed, not started, and reused: name →
    count.
    """
    counts = Counter(results["status"])
    return {
        "declared": len(results),
        **{status.replace(" ", "_"): counts[status] for status in STATUSES},
        "reused": int(results["reused"].sum()),
    }
