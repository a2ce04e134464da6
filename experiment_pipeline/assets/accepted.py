"""The accepted choice, gathered from what the stages before have stored, as a package to export."""

import datetime as dt
from pathlib import Path

import pandas as pd

from experiment_pipeline.assets.look import MODEL, REPORT
from experiment_pipeline.assets.validation_report import STAGE
from experiment_pipeline.core import golden_rows, persistence
from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.delivered_rows import raw_types
from experiment_pipeline.core.exported_model import (
    ModelPackage,
    build_package,
    environment_packages,
    serialize,
)
from experiment_pipeline.core.leaderboard import Leaderboard
from experiment_pipeline.core.model_facts import ModelFacts, Score, SetFact
from experiment_pipeline.core.row_identity import FITTED_ROWS, FittedRows
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model import ModelResult
from experiment_pipeline.core.validated_data import feature_columns
from experiment_pipeline.core.validation_report import ValidationReport
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.provenance import code_provenance, environment
from experiment_pipeline.storage.results import ResultStore
from experiment_pipeline.storage.trained_models import TrainedModelStore


class Accepted:
    """The accepted choice, gathered from the stages before."""

    def __init__(
        self,
        spec: ExperimentSpec,
        configuration: Configuration,
        board: Leaderboard,
        judged: pd.DataFrame,
    ) -> None:
        self.spec, self.configuration, self.board, self.judged = spec, configuration, board, judged
        judgement = ResultStore(storage_root(), spec.name, STAGE)
        files = judgement.require(judged.attrs["fingerprint"]).files
        self.report = ValidationReport.from_json(files[REPORT].decode())
        store = TrainedModelStore(storage_root(), spec.name)
        self.result: ModelResult = store.require(judged.attrs["model_fingerprint"]).result
        self.fitted_rows = FittedRows.from_bytes(files[FITTED_ROWS], STAGE)
        self.pipeline = persistence.from_bytes(files[MODEL], self.result.trusted_types)

    def package(
        self, raw: pd.DataFrame, validation: pd.DataFrame, schema_text: str
    ) -> ModelPackage:
        """The files of the version."""
        serialized = serialize(self.pipeline)
        features = feature_columns(validation, self.spec)
        facts = ModelFacts(
            spec=self.spec,
            configuration=self.configuration,
            rounds=self.result.rounds,
            fingerprint=self.result.fingerprint,
            reason=self.board.reason,
            raw_types=raw_types(raw),
            sets=tuple(
                SetFact(name, one["rows"], one["digest"])
                for name, one in self.judged.attrs["sets"].items()
            ),
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
        golden = golden_rows.choose(validation, features)
        return build_package(
            self.pipeline, serialized, facts, schema_text, golden, self.fitted_rows
        )
