"""validation_report: the chosen configuration on the validation set, its gates, the decision.

A report of the same choice on the same rows is reused: it is not another look.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd

from experiment_pipeline.assets import set_aside, shown
from experiment_pipeline.assets.failures import console_message, told_to_the_user
from experiment_pipeline.assets.keys import asset_key, table_asset, table_input
from experiment_pipeline.core import validation_page
from experiment_pipeline.core.errors import NotAccepted
from experiment_pipeline.core.fingerprints import fingerprint_of
from experiment_pipeline.core.leaderboard import Leaderboard
from experiment_pipeline.core.leaderboard_table import check_same_sets, from_table
from experiment_pipeline.core.persistence import to_bytes
from experiment_pipeline.core.raw_data import table_digest
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model import TrainingSets
from experiment_pipeline.core.training_sets import training_sets
from experiment_pipeline.core.validation_report import ValidationReport
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.ledger import Ledger
from experiment_pipeline.storage.results import ResultStore
from experiment_pipeline.storage.trained_models import TrainedModelStore

if TYPE_CHECKING:
    from experiment_pipeline.core.final_check import FinalCheck

STAGE = "validation_report"
REPORT, MARKDOWN, PAGE, MODEL = "report.json", "report.md", "report.html", "model.skops"
NEXT_SEARCH = "next_search.yaml"
PICTURE = ".png"
# Count it up whenever the code of this package would judge otherwise.
REPORT_VERSION = 1
INPUTS = ("train_set", "test_set", "validation_set", "leaderboard")


def build_validation_report(spec: ExperimentSpec) -> dg.AssetsDefinition:
    """Look at the validation set once, with the chosen configuration."""
    key = asset_key(spec, STAGE)

    @table_asset(
        spec,
        STAGE,
        ins={name: table_input(spec, name) for name in INPUTS},
        kinds={"scikitlearn"},
        description="The chosen configuration on the validation set: scores, gates, decision.",
        check_specs=[dg.AssetCheckSpec("acceptance_criteria_met", asset=key, blocking=True)],
    )
    def validation_report(
        context: dg.AssetExecutionContext,
        train_set: pd.DataFrame,
        test_set: pd.DataFrame,
        validation_set: pd.DataFrame,
        leaderboard: pd.DataFrame,
    ) -> dg.MaterializeResult:
        store = ResultStore(storage_root(), spec.name, STAGE)
        with told_to_the_user():
            sets = training_sets(train_set, test_set, spec)
            check_same_sets("leaderboard", leaderboard, sets.digests)
            look = _Look(spec, sets, validation_set, from_table(leaderboard))
            stored = store.get(look.fingerprint)
            if stored is None:
                stored = store.put(look.fingerprint, _files(look.take()))
            else:
                context.log.info("reused the report of the same model on the same rows")
        files, page = stored.files, stored.paths[PAGE]
        report = ValidationReport.from_json(files[REPORT].decode())
        context.log.info(validation_page.headline(report))
        context.log.info(f"report: {page}")
        if not report.accepted:
            context.log.error(_refusal(report, files))
        pictures = {
            name.removesuffix(PICTURE): data
            for name, data in files.items()
            if name.endswith(PICTURE)
        }
        return dg.MaterializeResult(
            value=look.table(report),
            data_version=dg.DataVersion(look.fingerprint),
            metadata={
                "accepted": report.accepted,
                f"validation {spec.metric}": shown.number(
                    report.score(spec.metric).interval.estimate
                ),
                "looks": report.looks,
                "judgement": dg.MetadataValue.md(files[MARKDOWN].decode()),
                "pictures": shown.pictures(pictures),
                "report": dg.MetadataValue.path(str(page)),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="acceptance_criteria_met",
                    passed=report.accepted,
                    description="\n".join(gate.in_words() for gate in report.gates),
                )
            ],
        )

    return validation_report


@dataclass(frozen=True)
class _Look:
    """What is looked at: one choice, one validation set."""

    spec: ExperimentSpec
    sets: TrainingSets
    validation: pd.DataFrame
    board: Leaderboard

    @property
    def model_fingerprint(self) -> str:
        rows = self.board.rows
        return str(rows.loc[rows["key"] == self.board.chosen, "fingerprint"].item())

    @property
    def digest(self) -> str:
        return table_digest(self.validation)

    @property
    def fingerprint(self) -> str:
        """Everything that decides the report, but how often was looked before."""
        judged_by = {"metric", "acceptance", "export", "task", "positive_class", "split"}
        judged_by |= {"search", "choice", "seed"}  # the next search to try depends on them
        return fingerprint_of(
            {
                "model": self.model_fingerprint,
                "validation": self.digest,
                "spec": self.spec.model_dump(mode="json", include=judged_by),
                "set_aside": set_aside.of(self.validation),
                "version": REPORT_VERSION,
            }
        )

    def take(self) -> "FinalCheck":
        """Look, and write it into the ledger first: a look that crashes was one, too."""
        from experiment_pipeline.core.final_check import final_check

        ledger = Ledger(storage_root(), self.spec.name)
        earlier = len(ledger.looks(self.digest))
        ledger.record_look(self.digest, self.model_fingerprint)
        model = TrainedModelStore(storage_root(), self.spec.name).require(self.model_fingerprint)
        check = final_check(
            self.spec,
            self.board,
            model.result,
            model.model,
            self.sets,
            self.validation,
            earlier_looks=earlier,
        )
        notes = (*set_aside.of(self.validation), *check.report.notes)
        return replace(check, report=replace(check.report, notes=notes))

    def table(self, report: ValidationReport) -> pd.DataFrame:
        """The scores as a table; its attrs say where the whole report is."""
        table = pd.DataFrame(
            [
                {
                    "metric": score.metric,
                    "estimate": score.interval.estimate,
                    "low": score.interval.low,
                    "high": score.interval.high,
                    "baseline": score.baseline,
                }
                for score in report.scores
            ]
        )
        table.attrs = {
            "fingerprint": self.fingerprint,
            "model_fingerprint": self.model_fingerprint,
            "sets": {
                "train": {"rows": len(self.sets.train), "digest": self.sets.digests["train"]},
                "test": {"rows": len(self.sets.test), "digest": self.sets.digests["test"]},
                "validation": {"rows": len(self.validation), "digest": self.digest},
            },
        }
        return table


def _files(check: "FinalCheck") -> dict[str, bytes]:
    """The result as files; the report in three forms, for programs, the UI and people."""
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


def _refusal(report: ValidationReport, files: Mapping[str, bytes]) -> str:
    gates = "; ".join(gate.in_words() for gate in report.failed_gates)
    error = NotAccepted(
        report.configuration,
        gates,
        "Read the report for the reasons, then try this search:\n" + files[NEXT_SEARCH].decode(),
    )
    return console_message(error)
