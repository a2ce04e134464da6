"""leaderboard: the configurations ranked on the test set, and the choice with its reason."""

import dagster as dg
import pandas as pd

from experiment_pipeline.assets import shown
from experiment_pipeline.assets.failures import told_to_the_user
from experiment_pipeline.assets.keys import asset_key, table_asset, table_input
from experiment_pipeline.core import leaderboard as core
from experiment_pipeline.core import plots
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.trained_models import TrainedModelStore


def build_leaderboard(spec: ExperimentSpec) -> dg.AssetsDefinition:
    """Rank what the store holds for the current sets."""
    key = asset_key(spec, "leaderboard")

    @dg.asset(
        **table_asset(spec, "leaderboard"),
        ins={name: table_input(spec, name) for name in ("train_set", "test_set", "search_results")},
        kinds={"pandas"},
        description=f"Configurations ranked by {spec.metric} on the test set, with intervals.",
        check_specs=[dg.AssetCheckSpec("winner_beats_baseline", asset=key)],
    )
    def leaderboard(
        context: dg.AssetExecutionContext,
        train_set: pd.DataFrame,
        test_set: pd.DataFrame,
        search_results: pd.DataFrame,
    ) -> dg.MaterializeResult:
        store = TrainedModelStore(storage_root(), spec.name)
        with told_to_the_user():
            board = core.build(spec, train_set, test_set, search_results, store.get_many)
        context.log.info(f"chosen: {board.chosen}: {board.reason}")
        return dg.MaterializeResult(
            value=board.rows,
            metadata={
                "chosen": board.chosen,
                "reason": board.reason,
                "leaderboard": shown.table(board.rows),
                "tie_group": len(board.tie_group),
                "baseline": shown.number(board.baseline),
            },
        )

    return leaderboard
