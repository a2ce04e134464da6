"""validation_report: the chosen configuration on the validation set, its gates, the decision.

A report of the same choice on the same rows is reused: it is not another look.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg
import joblib
import pandas as pd

from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages import asset
from experiment_pipeline.stages.asset import asset_key, table_asset, table_input, told_to_the_user
from experiment_pipeline.stages.data_analysis.asset import label_ceiling
from experiment_pipeline.stages.leaderboard.board import Leaderboard, check_same_sets
from experiment_pipeline.stages.search.store import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, training_sets
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report import page as validation_page
from experiment_pipeline.stages.validation_report.look import (
    MARKDOWN,
    NEXT_SEARCH,
    PAGE,
    PICTURE,
    REPORT,
    STAGE,
    Look,
)
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.storage.entries import stage_entries

if TYPE_CHECKING:
    from experiment_pipeline.stages.validation_report.shortfall import Evidence

# What no judgement depends on but by the rows and the leaderboard: the report is not given it.
_BEFORE = (
    *("data", "analysis", "validation", "exclude"),
    *("halving", "budget", "choice", "workers", "schedule"),
)
INPUTS = ("raw_data", "train_set", "test_set", "validation_set", "leaderboard")


def build_validation_report(spec: ExperimentSpec, schema_text: str) -> dg.AssetsDefinition:
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
        raw_data: pd.DataFrame,
        train_set: SetTable,
        test_set: SetTable,
        validation_set: SetTable,
        leaderboard: Leaderboard,
    ) -> dg.MaterializeResult:
        store = stage_entries(spec.name, STAGE)
        with told_to_the_user():
            sets = training_sets(train_set, test_set, spec)
            check_same_sets("leaderboard", leaderboard.digests, sets.digests)
            look = Look(
                spec.without(*_BEFORE),
                raw_data,
                sets,
                validation_set,
                leaderboard,
                lambda: _evidence(
                    spec, sets, leaderboard, label_ceiling(raw_data, spec, schema_text)
                ),
                spec.workers or joblib.cpu_count(),
                context.log.warning,
            )
            stored = store.intact(look.fingerprint, context.log.warning)
            if stored is None:
                stored = store.put(look.fingerprint, look.files(), None)
            else:
                context.log.info("reused the report of the same model on the same rows")
        files, page = stored.files, stored.paths[PAGE]
        report = ValidationReport.from_json(files[REPORT].decode())
        context.log.info(validation_page.headline(report))
        context.log.info(f"report: {page}")
        if not report.accepted:
            context.log.error(_refusal(report, files))
        return dg.MaterializeResult(
            value=look.judged(report),
            data_version=dg.DataVersion(look.fingerprint),
            metadata={
                "accepted": report.accepted,
                f"validation {spec.metric}": asset.number(
                    report.score(spec.metric).interval.estimate
                ),
                "looks": report.looks,
                "judgement": dg.MetadataValue.md(files[MARKDOWN].decode()),
                "pictures": asset.pictures(_pictures(files)),
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


def _evidence(
    spec: ExperimentSpec, sets: TrainingSets, board: Leaderboard, ceiling: float | None
) -> "Evidence":
    """What the analysis and the search know of what is within reach."""
    from experiment_pipeline.stages.validation_report.learning_curve import learning_curve
    from experiment_pipeline.stages.validation_report.shortfall import Evidence

    store = TrainedModelStore.of(spec.name)
    trained = set(board.rows.loc[board.rows["rank"].notna(), "key"])
    return Evidence(ceiling, learning_curve(spec, sets, trained, store.test_predictions))


def _pictures(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Title → PNG."""
    return {n.removesuffix(PICTURE): png for n, png in files.items() if n.endswith(PICTURE)}


def _refusal(report: ValidationReport, files: Mapping[str, bytes]) -> str:
    gates = "; ".join(gate.in_words() for gate in report.failed_gates)
    return NotAccepted(
        report.configuration,
        gates,
        "Read the report for the reasons, then try this search:\n" + files[NEXT_SEARCH].decode(),
    ).told
