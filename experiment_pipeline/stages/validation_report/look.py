"""One look at the validation set: what decides it, what is noted before it, the files it leaves.

What Dagster is told of it lives in `asset.py`. In: the choice, the sets, what the
stages before have stored. Out: files by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.rows.identity import FITTED_ROWS, FittedRows
from experiment_pipeline.spec import ValidationReportSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, board_digest
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report import page as validation_page
from experiment_pipeline.stages.validation_report.champion import PublishedChampion, find_champion
from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import registry_of

if TYPE_CHECKING:
    from experiment_pipeline.stages.validation_report.champion import CurrentVersion
    from experiment_pipeline.stages.validation_report.final_check import FinalCheck
    from experiment_pipeline.stages.validation_report.shortfall import Evidence

REPORT, MARKDOWN, PAGE, MODEL = "report.json", "report.md", "report.html", "model.skops"
STAGE = "validation_report"
NEXT_SEARCH = "next_search.yaml"
PICTURE = ".png"
# Count it up whenever the code of this package would judge otherwise.
REPORT_VERSION = 2


@dataclass(frozen=True)
class SetFact:
    """One of the three sets: how many rows, and the digest by which to recognise them."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True, eq=False)
class Judged:
    """The scores as they are stored, and where the whole report is.

    Attributes:
        scores: a row per metric.
        fingerprint: of the report.
        model_fingerprint: of the model that was looked at.
        sets: what it was fitted, chosen and looked at on.
    """

    scores: pd.DataFrame
    fingerprint: str
    model_fingerprint: str
    sets: tuple[SetFact, ...]


@dataclass(frozen=True)
class Look:
    """What is looked at: one choice, one validation set."""

    spec: ValidationReportSpec
    raw: pd.DataFrame
    sets: TrainingSets
    validation_set: SetTable
    board: Leaderboard
    evidence: Callable[[], "Evidence"]
    workers: int
    tell: Callable[[str], object]

    @property
    def model_fingerprint(self) -> str:
        """Of the chosen configuration."""
        rows = self.board.rows
        return str(rows.loc[rows["key"] == self.board.chosen, "fingerprint"].item())

    @property
    def validation(self) -> pd.DataFrame:
        """The validation rows."""
        return self.validation_set.rows

    @cached_property
    def champion(self) -> PublishedChampion | None:
        """What the model would replace, where the YAML asks."""
        if self.spec.not_worse_than_champion is None:
            return None
        return find_champion(registry_of(self.spec))

    @property
    def held_against(self) -> str | None:
        """The version that decides the report: of a model that is the champion, the one before.

        So a model that was exported finds the report again with which it was.
        """
        if self.champion is None:
            return None
        if self.champion.fingerprint != self.model_fingerprint:
            return self.champion.version
        try:
            return self.champion.held_against
        except InvalidModel:
            return self.champion.version

    @cached_property
    def fingerprint(self) -> str:
        """Everything that decides the report, but how often was looked before."""
        return fingerprint_of(
            {
                "board": board_digest(self.board),
                "validation": self.validation_set.digest,
                "spec": self.spec.model_dump(mode="json"),
                "champion": self.held_against,
                "set_aside": list(self.validation_set.origin.set_aside),
                "version": REPORT_VERSION,
            }
        )

    def files(self) -> dict[str, bytes]:
        """Look, and return the result as files."""
        return {**_files(self.take()), FITTED_ROWS: self.fitted_rows().to_bytes()}

    def fitted_rows(self) -> FittedRows:
        """The rows that the next challenger must not be compared on."""
        from experiment_pipeline.prediction.rows import source_columns

        rows = self.raw.loc[self.sets.train.index.append(self.sets.test.index)]
        # Only a user's function knows what it reads.
        preparation = self.spec.preparation
        sources = source_columns(self.sets.features, rows.columns, preparation)
        every = preparation.function is not None
        return FittedRows.of(rows, self.spec, list(rows.columns) if every else sources)

    def take(self) -> "FinalCheck":
        """Look, and write it into the ledger first: a look that crashes was one, too."""
        from experiment_pipeline.stages.validation_report.final_check import final_check

        ledger = Ledger.of(self.spec.name)
        delivered = self.raw.loc[self.validation.index]
        seen = (
            self.validation_set.digest,
            self.model_fingerprint,
            delivered,
            self.spec.split.id_columns,
        )
        earlier = ledger.earlier_looks(*seen, tell=self.tell)
        ledger.record_look(*seen)
        store = TrainedModelStore.of(self.spec.name)
        model = store.require(self.model_fingerprint)
        check = final_check(
            self.spec,
            self.board,
            model,
            self.sets,
            self.validation,
            delivered=delivered,
            earlier_looks=earlier,
            current=self._current(store),
            evidence=self.evidence,
            workers=self.workers,
        )
        notes = (*self.validation_set.origin.set_aside, *check.report.notes)
        return replace(check, report=replace(check.report, notes=notes))

    def _current(self, store: TrainedModelStore) -> "CurrentVersion | None":
        """The champion, trusted as far as this storage trained it and the YAML names its code."""
        if self.champion is None:
            return None
        known = store.results([self.champion.fingerprint]).get(self.champion.fingerprint)
        types = () if known is None else known.trusted_types
        return self.champion.current(types, self.spec.preparation.function)

    def judged(self, report: ValidationReport) -> Judged:
        """The scores as a table, and where the whole report is."""
        scores = pd.DataFrame(
            [
                {
                    "metric": score.metric,
                    "estimate": score.interval.estimate,
                    "low": score.interval.low,
                    "high": score.interval.high,
                    "baseline": score.baseline,
                    "difference_to_baseline": score.difference_to_baseline.estimate,
                    "difference_low": score.difference_to_baseline.low,
                    "difference_high": score.difference_to_baseline.high,
                }
                for score in report.scores
            ]
        )
        sets = (
            SetFact("train", len(self.sets.train), self.sets.digests["train"]),
            SetFact("test", len(self.sets.test), self.sets.digests["test"]),
            SetFact("validation", len(self.validation), self.validation_set.digest),
        )
        return Judged(scores, self.fingerprint, self.model_fingerprint, sets)


def _files(check: "FinalCheck") -> dict[str, bytes]:
    """The result as files; the report in three forms, for programs, the UI and people."""
    from experiment_pipeline.storage.persistence import to_bytes

    files = {
        REPORT: check.report.to_json().encode(),
        MARKDOWN: validation_page.to_markdown(check.report, check.next_search).encode(),
        PAGE: validation_page.to_html(check.report, check.pictures, check.next_search).encode(),
        MODEL: to_bytes(check.pipeline),
        **{f"{title}{PICTURE}": png for title, png in check.pictures.items()},
    }
    if check.next_search is not None:
        files[NEXT_SEARCH] = check.next_search.yaml.encode()
    return files
