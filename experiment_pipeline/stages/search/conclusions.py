"""What a search says while it runs: rungs begun, fits done, and what came of each configuration.

Plain frozen data. In: what `fitting.py` finds out. Out: what the shell stores, logs and counts.
"""

from dataclasses import dataclass, replace
from typing import Self

from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import FailedConfiguration, ModelResult, TrainedModel
from experiment_pipeline.stages.search.rungs import Rung

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
