"""The accepted choice, gathered from what the stages before have stored, as a package to export."""

import datetime as dt
from pathlib import Path

from experiment_pipeline.columns.features import feature_columns
from experiment_pipeline.prediction import signature
from experiment_pipeline.rows.identity import FITTED_ROWS, FittedRows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model.package import (
    build_package,
    environment_packages,
    serialize,
)
from experiment_pipeline.stages.exported_model.page import ModelFacts, Score
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult, TrainedModelStore
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report.look import MODEL, REPORT, STAGE, Judged
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.entries import stage_entries
from experiment_pipeline.storage.provenance import code_provenance, environment
from experiment_pipeline.storage.versions import ModelPackage


class Accepted:
    """The accepted choice, gathered from the stages before."""

    def __init__(
        self,
        spec: ExperimentSpec,
        configuration: Configuration,
        board: Leaderboard,
        judged: Judged,
    ) -> None:
        self.spec, self.configuration, self.board, self.judged = spec, configuration, board, judged
        judgement = stage_entries(spec.name, STAGE)
        files = judgement.require(judged.fingerprint).files
        self.report = ValidationReport.from_json(files[REPORT].decode())
        store = TrainedModelStore.of(spec.name)
        self.result: ModelResult = store.require(judged.model_fingerprint).result
        self.fitted_rows = FittedRows.from_bytes(files[FITTED_ROWS], STAGE)
        self.pipeline = persistence.from_bytes(files[MODEL], self.result.trusted_types)

    def package(self, validation: SetTable, schema_text: str) -> ModelPackage:
        """The files of the version."""
        serialized = serialize(self.pipeline)
        features = feature_columns(validation.rows, self.spec)
        facts = ModelFacts(
            spec=self.spec,
            configuration=self.configuration,
            rounds=self.result.rounds,
            fingerprint=self.result.fingerprint,
            reason=self.board.reason,
            raw_types=validation.origin.raw_types,
            sets=self.judged.sets,
            positive_class=self.report.positive_class,
            threshold=self.report.threshold.value if self.report.threshold else None,
            scores=(
                *(
                    Score("validation", one.metric, one.interval, one.baseline)
                    for one in self.report.scores
                ),
                Score("test", self.board.metric, self.board.score, self.board.baseline),
            ),
            gates=self.report.gates,
            looks=self.report.looks,
            overlap=self.report.overlap,
            champion=self.report.champion,
            limits=tuple(dict.fromkeys((*self.board.notes, *self.report.notes))),
            created=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
            code=code_provenance(Path.cwd()),
            environment=environment(environment_packages(serialized), serialized.own_packages),
        )
        golden = signature.golden_rows(validation.rows, features)
        return build_package(
            self.pipeline, serialized, facts, schema_text, golden, self.fitted_rows
        )
