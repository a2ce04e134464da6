"""leaderboard: the configurations ranked on the test set, and the choice with its reason."""

import math
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

import dagster as dg
import joblib

from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.orchestration.assets.search import budget_left, budget_of
from experiment_pipeline.stages.leaderboard import board, page
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.ensemble import RefitTime
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.stages.registry import STAGES, table_bytes
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import SearchResults
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.storage.entries import stage_entries
from experiment_pipeline.storage.tables import from_parquet
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.outcomes import with_pages

STAGE = "leaderboard"


def build(named: NamedColumns, record: asset.Recorder) -> dg.AssetsDefinition:
    """Rank what the store holds for the current sets."""
    spec = named.spec
    key, given = asset.key_of(spec, STAGE), spec.part(STAGES[STAGE].reads)

    @asset.stage_asset(
        spec,
        STAGE,
        kinds={"pandas"},
        description=f"Configurations ranked by {spec.metric}, with intervals.",
    )
    def leaderboard(
        context: dg.AssetExecutionContext,
        train_set: SetTable,
        test_set: SetTable,
        search_results: SearchResults,
    ) -> dg.MaterializeResult:
        with record(context):
            sets = as_evaluated(train_set, test_set, spec)
            board.check_same_sets("search_results", search_results.digests, sets.digests)
            board.check_same_metric(search_results, spec.metric)
            set_aside = train_set.origin.set_aside
            fingerprint = board.ranking_fingerprint(
                given, search_results, set_aside, budget_of(context, spec)
            )

            def files() -> Mapping[str, bytes]:
                left = budget_left(context, spec, perf_counter)()
                after = AfterSearch(sets, spec.workers or joblib.cpu_count())
                time = None if math.isinf(left) else RefitTime(left, after.of)
                models = TrainedModelStore.of(spec.name)
                ranked = board.leaderboard(search_results, models, sets, given, set_aside, time)
                return page.files(SearchShown.of(ranked, search_results, given), spec.name)

            stored = asset.reused_or_made(
                context,
                stage_entries(spec.name, STAGE),
                fingerprint,
                lambda: table_bytes(sets.test),
                files,
                "reused the ranking of the same results",
            )
        ranked = from_parquet(stored.files[page.TABLE], Leaderboard)
        shown = SearchShown.of(ranked, search_results, spec)
        outcome = page.outcome(shown, str(stored.paths[page.PAGE]))
        return asset.report(
            context, key, with_pages(replace(outcome, version=fingerprint), spec.name)
        )

    return leaderboard
