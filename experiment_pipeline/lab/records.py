"""What a laboratory keeps: files that are created once and never changed.

    <root>/<experiment>/laboratory/
      proposals/<id>.json         a change of the settings, who proposes it, and why
      explorations/0001.json      a claim: which proposal, and its share of the seconds
      explorations/0001.end.json  what came of it
      requests/<id>.json          that an agent asks to evaluate a proposal
      openings/<id>.json          that a person opened the validation set for it
      openings/<id>.end.json      what came of it

A claim takes the next free number by exclusive creation. What the claims before it may
spend is known when it is made, so neither agents at the same time nor a restart exceed
a budget. A claim without an end, after a crash, counts with all its seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from experiment_pipeline.errors import EntryCorrupt, InvalidExperiment
from experiment_pipeline.spec.operation import LabBudget
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage import files
from experiment_pipeline.storage.records import Journals, from_json, now, to_json

_Record = TypeVar("_Record")
# Reading a table and starting a process take about so long.
LEAST_SECONDS = 10.0
BASE = "base"  # the settings of the person, in the place of a proposal's id


@dataclass(frozen=True)
class ProposedChange:
    """A change of an experiment's settings."""

    id: str  # the start of the digest of the change and of what it changes
    at: str  # when, ISO 8601 in UTC
    agent: str
    change: Mapping[str, Any]  # key of defs.yaml → its new value
    reason: str


@dataclass(frozen=True)
class Claim:
    """The right to explore a proposal for some seconds."""

    number: int  # from 1
    at: str
    agent: str
    proposal: str
    seconds: float


@dataclass(frozen=True)
class ExplorationEnd:
    """What came of an exploration; scores are those of the test rows.

    Its agent is told the verdict, but no number that may be luck.
    """

    outcome: Literal["explored", "failed", "stopped"]
    seconds: float  # that it took
    words: str  # the verdict, or why it failed
    chosen: str = ""  # the key of the configuration
    ranked: int = 0
    metric: str = ""
    score: Interval | None = None
    compared_with: str = ""  # the proposal that was best before
    difference: Interval | None = None  # to it, paired, at the level of all
    is_best: bool = False  # better than the best before
    leaderboard: Sequence[Mapping[str, Any]] = ()  # without scores
    outlook: Sequence[str] = ()  # what more rows, time or other labels may bring


@dataclass(frozen=True)
class Request:
    """An agent's wish that a person opens the validation set for a proposal."""

    proposal: str
    at: str
    agent: str
    reason: str


@dataclass(frozen=True)
class Opening:
    """A person opened the validation set for a proposal."""

    proposal: str
    at: str
    by: str


@dataclass(frozen=True)
class OpeningEnd:
    """The run that evaluated it."""

    run_id: str
    accepted: bool
    words: str


@dataclass(frozen=True)
class Tried:
    """A claim and its end; None: it is under way, or was killed."""

    claim: Claim
    end: ExplorationEnd | None

    @property
    def seconds(self) -> float:
        """The seconds of the budget that it takes."""
        if self.end is None:
            return self.claim.seconds
        return min(self.end.seconds, self.claim.seconds)


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


class LaboratoryRecords(Journals):
    """The files of one experiment's laboratory."""

    FOLDER = "laboratory"

    def proposals(self) -> dict[str, ProposedChange]:
        """Return id → proposal, the oldest first."""
        proposals = [*self._all("proposals", ProposedChange)]
        proposals.sort(key=lambda proposal: proposal.at)
        return {proposal.id: proposal for proposal in proposals}

    def propose(self, proposal: ProposedChange) -> bool:
        """Keep a proposal; return whether it is new."""
        return self._create(f"proposals/{proposal.id}", proposal)

    def tried(self) -> list[Tried]:
        """Return the claims with their ends, by number."""
        claims = sorted(
            self._all("explorations", Claim), key=lambda claim: claim.number
        )
        return [
            Tried(claim, self._find(_end_of(claim), ExplorationEnd)) for claim in claims
        ]

    def left(self, budget: LabBudget, price_per_hour: float | None) -> BudgetLeft:
        """Return what of a budget is left."""
        return self._left(self.tried(), budget, price_per_hour)

    def _left(
        self, tried: Sequence[Tried], budget: LabBudget, price_per_hour: float | None
    ) -> BudgetLeft:
        spent = sum(each.seconds for each in tried)
        seconds = budget.seconds - spent
        money = None
        if budget.money is not None and price_per_hour is not None:
            money = max(budget.money - spent / 3600 * price_per_hour, 0.0)
            seconds = min(seconds, money / price_per_hour * 3600)
        looks = budget.looks - len(self.openings())
        explorations = budget.explorations - len(tried)
        return BudgetLeft(
            explorations=max(explorations, 0),
            seconds=round(max(seconds, 0.0), 1),
            looks=max(looks, 0),
            money=None if money is None else round(money, 4),
        )

    def claim(
        self,
        proposal: str,
        agent: str,
        seconds: float | None,
        budget: LabBudget,
        price_per_hour: float | None,
    ) -> Claim | None:
        """Claim seconds for a proposal, by default an equal share of what is left;
        None: the budget is spent.
        """
        while True:
            tried = self.tried()
            left = self._left(tried, budget, price_per_hour)
            if left.is_spent:
                return None
            wanted = seconds or left.seconds / left.explorations
            claim = Claim(
                number=len(tried) + 1,
                at=now(),
                agent=agent,
                proposal=proposal,
                seconds=min(max(wanted, LEAST_SECONDS), left.seconds),
            )
            if self._create(f"explorations/{claim.number:04d}", claim):
                return claim

    def end(self, claim: Claim, end: ExplorationEnd) -> None:
        """Keep what came of a claim; the first to say so is right."""
        self._create(_end_of(claim), end)

    def requests(self) -> dict[str, Request]:
        """Return proposal → request."""
        return {each.proposal: each for each in self._all("requests", Request)}

    def request(self, request: Request) -> bool:
        """Keep a request; return whether it is new."""
        return self._create(f"requests/{request.proposal}", request)

    def openings(self) -> dict[str, Opening]:
        """Return proposal → opening."""
        return {each.proposal: each for each in self._all("openings", Opening)}

    def opening_end(self, proposal: str) -> OpeningEnd | None:
        """Return what came of an opening; None: nothing yet."""
        return self._find(f"openings/{proposal}.end", OpeningEnd)

    def open(self, opening: Opening) -> bool:
        """Keep that a person opens; return whether it is new."""
        return self._create(f"openings/{opening.proposal}", opening)

    def end_opening(self, proposal: str, end: OpeningEnd) -> None:
        """Keep what came of an opening."""
        self._create(f"openings/{proposal}.end", end)

    def _all(self, folder: str, kind: type[_Record]) -> Iterator[_Record]:
        for name in files.list_names(self.folder / folder):
            stem = name.removesuffix(".json")
            if stem == name or stem.endswith(".end"):
                continue
            record = self._find(f"{folder}/{stem}", kind)
            if record is not None:
                yield record

    def _find(self, name: str, kind: type[_Record]) -> _Record | None:
        path = self.folder / f"{name}.json"
        content = files.read_if_exists(path)
        if content is None:
            return None
        damage = EntryCorrupt(
            str(path),
            rule="is not what the laboratory wrote",
            fix="Put back the file, or delete the folder: all its budget is then new.",
        )
        return from_json(kind, content, damage)

    def _create(self, name: str, record: object) -> bool:
        # Bounds may be infinite.
        content = to_json(record, not_finite="strings")
        return files.create_exclusive(self.folder / f"{name}.json", content)


def _end_of(claim: Claim) -> str:
    return f"explorations/{claim.number:04d}.end"


def known(proposals: Mapping[str, ProposedChange], proposal: str) -> ProposedChange:
    """Return a proposal by its id; InvalidExperiment: there is none."""
    if proposal not in proposals:
        raise InvalidExperiment(
            f"proposal {proposal[:40]!r}",
            rule="there is no such proposal",
            fix="Take an id that `propose` or `history` gives.",
        )
    return proposals[proposal]
