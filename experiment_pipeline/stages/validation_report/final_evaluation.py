"""The final evaluation with its storage: the ledger entry before it, and its files.

The computation is in `final_check.py`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.prediction.rows import source_columns
from experiment_pipeline.reporting.document import render, render_html
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.leaderboard.board import Leaderboard, board_digest
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report import champion, page
from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage.mapped import some_rows
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import registry_of
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows

if TYPE_CHECKING:
    from experiment_pipeline.stages.validation_report.final_check import FinalCheck
    from experiment_pipeline.stages.validation_report.shortfall import Evidence

REPORT, MARKDOWN, PAGE, MODEL = "report.json", "report.md", "report.html", "model.skops"
STAGE = "validation_report"
JUDGED = "validation_rows.parquet"
NEXT_SEARCH = "next_search.yaml"
PICTURE = ".png"


@dataclass(frozen=True)
class SetFact:
    """One of the three sets: the number of rows and their digest."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True, eq=False)
class Judged:
    """The stored scores, a row per metric, the report's fingerprint, the model's, and its sets."""

    scores: pd.DataFrame
    fingerprint: str
    model_fingerprint: str
    sets: tuple[SetFact, ...]


@dataclass(frozen=True)
class FinalEvaluation:
    """One choice on one validation set (final hold-out)."""

    spec: ExperimentSpec
    raw: pd.DataFrame
    sets: TrainingSets
    validation_set: SetTable
    board: Leaderboard
    evidence: Callable[[], "Evidence"]
    workers: int
    tell: Callable[[str], object]
    seconds_left: Callable[[], float]

    @property
    def model_fingerprint(self) -> str:
        """Of the chosen model."""
        return self.board.fingerprint

    @cached_property
    def current(self) -> champion.PublishedChampion | None:
        """The version that the model would replace; None: none, or no comparison is requested."""
        if self.spec.not_worse_than_champion is None:
            return None
        return champion.find_champion(registry_of(self.spec))

    @property
    def held_against(self) -> str | None:
        """The version that the report compares with; of the champion itself, the one before it.

        So the report of an exported model is found again.
        """
        if self.current is None:
            return None
        if self.current.fingerprint == self.model_fingerprint:
            with suppress(InvalidModel):
                return self.current.held_against
        return self.current.version

    @cached_property
    def fingerprint(self) -> str:
        """Of all inputs of the report except the number of earlier looks."""
        return fingerprint_of(
            {
                "board": board_digest(self.board),
                "validation": self.validation_set.digest,
                "spec": self.spec.model_dump(mode="json"),
                "champion": self.held_against,
                "set_aside": list(self.validation_set.origin.set_aside),
                "version": STAGES[STAGE].version,
            }
        )

    def files(self) -> dict[str, bytes]:
        """Evaluate, and return the result as files: name → content."""
        from experiment_pipeline.stages.validation_report.pictures import pngs
        from experiment_pipeline.storage.persistence import to_bytes

        check = self._evaluate()
        report, following = check.report, check.next_search
        document = page.build_document(report, following, check.charts)
        files = {
            REPORT: report.to_json().encode(),
            MARKDOWN: render(document).encode(),
            PAGE: render_html(document, passed=report.accepted).encode(),
            MODEL: to_bytes(check.pipeline),
            **{f"{title}{PICTURE}": png for title, png in pngs(report).items()},
            FITTED_ROWS: fitted_rows_of(self.raw, self.sets, self.spec).to_bytes(),
            JUDGED: to_parquet(check.judged),
        }
        if following is not None:
            files[NEXT_SEARCH] = following.yaml.encode()
        return files

    def _evaluate(self) -> "FinalCheck":
        """Evaluate, after an entry in the ledger: an evaluation that crashes counts as a look."""
        from experiment_pipeline.stages.leaderboard.chosen import ChosenModel
        from experiment_pipeline.stages.validation_report.final_check import final_check

        ledger = Ledger.of(self.spec.name)
        delivered = delivered_rows(self.raw, self.validation_set.rows.index)
        model = (self.validation_set.digest, self.model_fingerprint)
        seen = (*model, delivered, self.spec.split.id_columns)
        earlier = ledger.earlier_looks(*seen, tell=self.tell)
        ledger.record_look(*seen)
        store, sets = TrainedModelStore.of(self.spec.name), self.sets
        clusters = sets.test_clusters(self.spec)
        check = final_check(
            self.spec,
            self.board,
            ChosenModel.of(self.board, store, sets.y_test, clusters),
            sets,
            self.validation_set.rows,
            delivered=delivered,
            earlier_looks=earlier,
            current=self._trusted(store),
            evidence=self.evidence,
            workers=self.workers,
            seconds_left=self.seconds_left,
        )
        notes = (*self.validation_set.origin.set_aside, *check.report.notes)
        return replace(check, report=replace(check.report, notes=notes))

    def _trusted(self, store: TrainedModelStore) -> champion.CurrentVersion | None:
        """The champion; code is trusted that this storage trained with or that the YAML names."""
        current, function = self.current, self.spec.preparation.function
        if current is None:
            return None
        known = store.results(current.models).values()
        types = sorted({kind for one in known for kind in one.trusted_types})
        return champion.CurrentVersion(
            current.version, current.fingerprint, lambda: current.read(types, function)
        )

    def judged(self, report: ValidationReport) -> Judged:
        """Return the scores as a table, with the fingerprints and sets."""
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
        sets = set_facts(self.sets, self.validation_set)
        return Judged(scores, self.fingerprint, self.model_fingerprint, sets)


def delivered_rows(raw: pd.DataFrame, row_numbers: pd.Index) -> pd.DataFrame:
    """Return rows of the sets as delivered."""
    return some_rows(raw, raw.index.get_indexer(row_numbers))


def fitted_rows_of(raw: pd.DataFrame, sets: TrainingSets, spec: ExperimentSpec) -> FittedRows:
    """Return the rows that the exported model is fitted on; later challengers leave them out."""
    sources = source_columns(sets.features, raw.columns, spec.preparation)
    # A user's function does not declare the columns it reads.
    every = spec.preparation.function is not None
    rows = raw.index.get_indexer(sets.row_numbers)
    return FittedRows.of(raw, spec, list(raw.columns) if every else sources, rows)


def set_facts(sets: TrainingSets, validation_set: SetTable) -> tuple[SetFact, ...]:
    """Return rows and digest of the three sets."""
    sizes, digests = sets.set_sizes, sets.digests
    return (
        *(SetFact(name, sizes[name], digests[name]) for name in ("train", "test")),
        SetFact("validation", len(validation_set.rows), validation_set.digest),
    )
