"""leaderboard: the configurations ranked on the test set, and the choice with its reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import dagster as dg
import numpy as np
import pandas as pd

from experiment_pipeline.rows.digests import table_digest
from experiment_pipeline.rows.units import resampling_units
from experiment_pipeline.spec import ExperimentSpec, LeaderboardSpec
from experiment_pipeline.stages import asset
from experiment_pipeline.stages.leaderboard import page
from experiment_pipeline.stages.leaderboard.board import (
    Leaderboard,
    check_same_metric,
    check_same_sets,
    rank,
)
from experiment_pipeline.stages.search.conclusions import (
    TRAINED,
    SearchResults,
    as_scored,
    failures,
    unranked,
)
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, training_sets
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.storage.entries import stage_entries
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.tables import from_parquet, to_parquet

STAGE = "leaderboard"
TABLE, SCORES, PAGE = "leaderboard.parquet", "scores.png", "leaderboard.html"
# Count it up whenever the code of this package would rank, choose or show otherwise.
LEADERBOARD_VERSION = 1
INPUTS = ("train_set", "test_set", "search_results")


def build_leaderboard(spec: ExperimentSpec) -> dg.AssetsDefinition:
    """Rank what the store holds for the current sets."""
    key, given = asset.key_of(spec, STAGE), spec.part(LeaderboardSpec)

    @asset.table_asset(
        spec,
        STAGE,
        ins=asset.table_inputs(spec, *INPUTS),
        kinds={"pandas"},
        description=f"Configurations ranked by {spec.metric} on the test set, with intervals.",
        check_specs=[dg.AssetCheckSpec("winner_beats_baseline", asset=key)],
    )
    def leaderboard(
        context: dg.AssetExecutionContext,
        train_set: SetTable,
        test_set: SetTable,
        search_results: SearchResults,
    ) -> dg.MaterializeResult:
        with asset.told_to_the_user():
            sets = training_sets(train_set, test_set, spec)
            check_same_sets("search_results", search_results.digests, sets.digests)
            check_same_metric(search_results, spec.metric)
            results, apart = search_results.rows, train_set.origin.set_aside
            fingerprint = _fingerprint(given, sets, results, apart)
            stored = asset.reused_or_made(
                context,
                stage_entries(spec.name, STAGE),
                fingerprint,
                lambda: _files(_rank(given, sets, results, apart), spec.name),
                "reused the ranking of the same results",
            )
        board = from_parquet(stored.files[TABLE], Leaderboard)
        place = str(stored.paths[PAGE])
        outcome = page.outcome(board, stored.files[SCORES], place)
        return asset.report(context, key, replace(outcome, version=fingerprint))

    return leaderboard


def _fingerprint(
    spec: LeaderboardSpec, sets: TrainingSets, results: pd.DataFrame, apart: Sequence[str]
) -> str:
    """Everything that decides the ranking; what the fits took is theirs, and stored with them."""
    concluded = results[["key", "status", "rung", "fingerprint", "error_type", "reason", "notes"]]
    return fingerprint_of(
        {
            "results": table_digest(concluded.reset_index(drop=True)),
            "sets": dict(sets.digests),
            "set_aside": list(apart),
            "spec": spec.model_dump(mode="json"),
            "version": LEADERBOARD_VERSION,
        }
    )


def _files(board: Leaderboard, experiment: str) -> dict[str, bytes]:
    from experiment_pipeline.reporting.plots import leaderboard_plot

    picture = leaderboard_plot(board.rows, board.metric, board.baseline)
    return {
        TABLE: to_parquet(board),
        SCORES: picture,
        PAGE: page.to_html(board, experiment, {"Scores": picture}).encode(),
    }


def _rank(
    spec: LeaderboardSpec, sets: TrainingSets, results: pd.DataFrame, apart: Sequence[str]
) -> Leaderboard:
    store = TrainedModelStore.of(spec.name)
    found = store.results([print_ for print_ in results["fingerprint"] if print_])
    stored = as_scored(results, found, spec.metric)
    trained = results[results["status"] == TRAINED]
    fingerprints = dict(zip(trained["key"], trained["fingerprint"], strict=True))
    board = rank(
        [replace(stored[print_], key=key) for key, print_ in fingerprints.items()],
        failures(results),
        _Predictions(store, fingerprints),
        sets.y_test,
        sets.y_train,
        resampling_units(sets.test, spec, sets.features),
        spec,
        sets.classes,
        unranked(results, stored),
    )
    return replace(board, notes=(*apart, *board.notes), digests=sets.digests)


class _Predictions(Mapping[str, np.ndarray]):
    """Key → stored prediction of the test rows, read when asked for."""

    def __init__(self, store: TrainedModelStore, fingerprints: Mapping[str, str]) -> None:
        self._store, self._fingerprints = store, fingerprints

    def __getitem__(self, key: str) -> np.ndarray:
        fingerprint = self._fingerprints[key]
        return self._store.test_predictions([fingerprint])[fingerprint]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fingerprints)

    def __len__(self) -> int:
        return len(self._fingerprints)
