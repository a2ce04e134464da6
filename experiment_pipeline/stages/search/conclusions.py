"""What a search says: events while it runs, a line of progress, and in the end a table.

`search_results` has a row for every declared configuration: declared = trained + stopped early +
failed + not started, always. Searching lives in `halving.py`. In: what it finds out. Out: what the
shell stores, logs and counts, and the failures back from the table.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import FailedConfiguration, ModelResult, TrainedModel
from experiment_pipeline.stages.search.rungs import Rung
from experiment_pipeline.statistics.metrics import better

TRAINED, STOPPED_EARLY = "trained", "stopped early"
FAILED, NOT_STARTED = "failed", "not started"


@dataclass(frozen=True)
class Note:
    """Something to know about the search as a whole."""

    text: str


@dataclass(frozen=True, eq=False)
class RungStarted:
    """A rung begins.

    Attributes:
        rung: which one.
        configurations: how many take part.
        known: of these, how many an earlier run has fitted here.
        work_after: of all later rungs at the most, in fits on all train rows.
    """

    rung: Rung
    configurations: int
    known: int
    work_after: float

    @property
    def place(self) -> str:
        """`rung 1 of 3`; empty where there is but one."""
        return "" if self.rung.of == 1 else f"rung {self.rung.number} of {self.rung.of}"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit has ended well and is to be stored, whatever the rung."""

    rung: Rung
    model: TrainedModel


@dataclass(frozen=True)
class Conclusion:
    """What came of one configuration; a search has exactly one for each.

    Attributes:
        configuration: which one.
        status: TRAINED, STOPPED_EARLY, FAILED or NOT_STARTED.
        reason: why it was not trained in full; empty when it was.
        result: of its last rung; None when it failed or was not started.
        fraction: of the train rows at that rung.
        reused: whether that result is an earlier run's.
        failure: what it raised, when it failed.
    """

    configuration: Configuration
    status: str
    reason: str = ""
    result: ModelResult | None = None
    fraction: float | None = None
    reused: bool = False
    failure: FailedConfiguration | None = None

    @property
    def key(self) -> str:
        """The configuration's partition key."""
        return self.configuration.key

    @classmethod
    def of_failure(
        cls, configuration: Configuration, raised: FailedConfiguration, rung: Rung
    ) -> Self:
        """Return that a configuration failed; at a small rung it says which."""
        where = "" if rung.is_full else f" (at {rung})"
        failure = replace(raised, reason=f"{raised.reason}{where}")
        return cls(configuration, FAILED, failure.reason, fraction=rung.fraction, failure=failure)


Event = Note | RungStarted | Fitted | Conclusion


# Quick fits end many times a second, and every line is an event that is stored.
SECONDS_BETWEEN_LINES = 1.0


@dataclass
class Progress:
    """The state of a search.

    Attributes:
        metric: name of the ranking metric.
        started: the rung that runs; None before the first.
        done: configurations that this rung is done with.
        fitted_here: of these, fits of this run.
        work: of this run so far, in fits on all train rows.
        best: the best result on all train rows.
        said_at: elapsed seconds at the last line that was due.
    """

    metric: str
    started: RungStarted | None = None
    done: int = 0
    fitted_here: int = 0
    work: float = 0.0
    best: ModelResult | None = None
    said_at: float = -math.inf

    def see(self, event: Event) -> bool:
        """Take an event into account; True when a fit has ended, well or not."""
        if isinstance(event, RungStarted):
            self.started, self.done, self.fitted_here = event, event.known, 0
        if isinstance(event, Conclusion) and event.result is not None and event.fraction == 1:
            self._consider(event.result)
        if isinstance(event, Fitted) and event.rung.is_full:
            self._consider(event.model.result)
        ended = isinstance(event, Fitted) or (
            isinstance(event, Conclusion) and event.status == FAILED
        )
        if ended and self.started is not None:
            self.done += 1
            self.fitted_here += 1
            self.work += self.started.rung.fraction
        return ended

    def is_due(self, elapsed_seconds: float) -> bool:
        """Whether to say a line now: the first, the last of a rung, and one a second between."""
        ended = self.started is not None and self.done >= self.started.configurations
        due = ended or elapsed_seconds - self.said_at >= SECONDS_BETWEEN_LINES
        self.said_at = elapsed_seconds if due else self.said_at
        return due

    def line(self, elapsed_seconds: float) -> str:
        """`rung 1 of 3: 12 / 34 done, best roc_auc 0.6912 (lightgbm__…), about 40 s left`."""
        if self.started is None:
            return "0 done"
        rung, total = self.started.rung, self.started.configurations
        text = f"{self.started.place}: " if self.started.place else ""
        text += f"{self.done} / {total} done"
        if self.best is not None:
            text += f", best {self.metric} {numbers.score(self.best.test_score)} ({self.best.key})"
        left = (total - self.done) * rung.fraction + self.started.work_after
        if self.work and left:
            text += f", about {numbers.seconds(elapsed_seconds / self.work * left)} left"
        return text

    def _consider(self, result: ModelResult) -> None:
        """Keep the better of this and the best so far."""
        if self.best is None or better(self.metric, result.test_score, self.best.test_score):
            self.best = result


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
