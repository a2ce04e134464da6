"""What happened in a laboratory: events, each a file that is created once.

    <root>/<experiment>/laboratory/0001.json, 0002.json, …

An event is decided on all events before it, and takes the next number by exclusive
creation: where another one was faster, it is decided again. So neither agents at the
same time, nor a restart or a kill at any point, exceed a budget. A claim without an
end, after a crash, counts with all its seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, Literal

import numpy as np

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.statistics.interval import Interval, Linearised
from experiment_pipeline.storage import files
from experiment_pipeline.storage.records import Journals, from_json, now, to_json

# Reading a table and starting a process take about so long.
LEAST_SECONDS = 10.0
BASE = "base"  # the settings of the person, in the place of a proposal's id


@dataclass(frozen=True)
class Explored:
    """What came of an exploration, on the test rows.

    Its agent is told the verdict, but no number that may be luck.
    """

    judged_by: str  # digest of metric and test rows: others are not compared
    score: Interval  # of the choice, corrected for the best of many
    estimate: float  # its score as it is compared
    influence: Sequence[float]  # of each test row on it
    leaderboard: Sequence[Mapping[str, Any]]  # without scores
    outlook: Sequence[str]  # what more rows, time or other labels may bring

    @property
    def linearised(self) -> Linearised:
        """The score as it is compared."""
        return Linearised(self.estimate, np.array(self.influence))


@dataclass(frozen=True)
class Event:
    """What somebody did with a proposal, or what came of it."""

    kind: Literal[
        "proposed",
        "claimed",
        "explored",
        "failed",
        "stopped",
        "requested",
        "opened",
        "evaluated",
    ]
    by: str  # an agent; of openings a person
    proposal: str  # the start of the digest of the change and of what it changes
    words: str = ""  # why it is proposed or requested; or what came of it
    change: Mapping[str, Any] = field(default_factory=dict)  # that is proposed
    exploration: int = 0  # its number from 1: of a claim, and of its end
    seconds: float = 0.0  # that an exploration may take, or took
    result: Explored | None = None
    compared_with: str = ""  # the proposal that was best before
    difference: Interval | None = None  # to it, paired, at the level of all
    is_best: bool = False  # better than the best before
    error: str = ""  # for the person: it may quote cells and paths
    at: str = field(default_factory=now)


@dataclass(frozen=True)
class BudgetLeft:
    """What may still be spent."""

    explorations: int
    seconds: float
    looks: int
    money: float | None  # None: nothing was said of money

    @property
    def is_spent(self) -> bool:
        """Whether no further exploration may start."""
        return self.explorations < 1 or self.seconds < LEAST_SECONDS


class History(tuple[Event, ...]):
    """The events of a laboratory, the oldest first."""

    __slots__ = ()

    def last(self, *kinds: str) -> dict[str, Event]:
        """Return proposal → its last event of some kinds."""
        return {event.proposal: event for event in self if event.kind in kinds}

    @property
    def tried(self) -> list[Event]:
        """The explorations by number: each one's end, or its claim as long as it is
        under way, or if it was killed.
        """
        return [
            *{event.exploration: event for event in self if event.exploration}.values()
        ]

    @property
    def explored(self) -> dict[str, Explored]:
        """Proposal → what came of it, if it has a leaderboard."""
        return {event.proposal: event.result for event in self if event.result}

    def left(self, spec: ExperimentSpec) -> BudgetLeft:
        """Return what the person's settings leave to spend."""
        budget = spec.lab
        tried = self.tried
        spent = sum(event.seconds for event in tried)
        seconds = budget.seconds - spent
        money = None
        if budget.money is not None and spec.price_per_hour is not None:
            money = max(budget.money - spent / 3600 * spec.price_per_hour, 0.0)
            seconds = min(seconds, money / spec.price_per_hour * 3600)
        return BudgetLeft(
            explorations=max(budget.explorations - len(tried), 0),
            seconds=round(max(seconds, 0.0), 1),
            looks=max(budget.looks - len(self.last("opened")), 0),
            money=None if money is None else round(money, 4),
        )


class LaboratoryRecords(Journals):
    """The files of one experiment's laboratory."""

    FOLDER = "laboratory"

    @cached_property
    def _read(self) -> dict[int, Event]:
        return {}

    def history(self) -> History:
        """Return the events; those that were read before are not read again."""
        for number in count(1):
            if number not in self._read:
                path = self._path(number)
                content = files.read_if_exists(path)
                if content is None:
                    break
                damage = EntryCorrupt(
                    str(path),
                    rule="is not what the laboratory wrote",
                    fix="Put back the file, or delete the folder: all its budget is "
                    "then new.",
                )
                self._read[number] = from_json(Event, content, damage)
        return History(self._read[earlier] for earlier in range(1, number))

    def add(self, decide: Callable[[History], Event | None]) -> Event | None:
        """Add the event that is decided on all before it; None: there is none."""
        while True:
            history = self.history()
            event = decide(history)
            if event is None:
                return None
            # Bounds may be infinite.
            content = to_json(event, not_finite="strings")
            path = self._path(len(history) + 1)
            # The answer of a bucket that has taken the file may be lost.
            if files.create_exclusive(path, content) or (
                files.read_bytes(path) == content
            ):
                return event

    def _path(self, number: int) -> files.Location:
        return self.folder / f"{number:04d}.json"
