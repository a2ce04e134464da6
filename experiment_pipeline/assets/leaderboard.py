"""leaderboard: the configurations ranked on the test set, and the choice with its reason."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import dagster as dg
import numpy as np
import pandas as pd

from experiment_pipeline.assets import set_aside, shown
from experiment_pipeline.assets.failures import told_to_the_user
from experiment_pipeline.assets.keys import asset_key, table_asset, table_input
from experiment_pipeline.core import metrics
from experiment_pipeline.core.fingerprints import fingerprint_of
from experiment_pipeline.core.leaderboard import Leaderboard, rank
from experiment_pipeline.core.leaderboard_page import to_html
from experiment_pipeline.core.leaderboard_table import (
    check_same_metric,
    check_same_sets,
    to_table,
)
from experiment_pipeline.core.search_results import as_scored, failures, unranked
from experiment_pipeline.core.set_prediction import drawn_units
from experiment_pipeline.core.spec import ExperimentSpec
from experiment_pipeline.core.trained_model import TRAINED
from experiment_pipeline.core.training_sets import training_sets
from experiment_pipeline.storage.files import storage_root, write_bytes
from experiment_pipeline.storage.trained_models import TrainedModelStore

INPUTS = ("train_set", "test_set", "search_results")


def build_leaderboard(spec: ExperimentSpec) -> dg.AssetsDefinition:
    """Rank what the store holds for the current sets."""
    key = asset_key(spec, "leaderboard")

    @table_asset(
        spec,
        "leaderboard",
        ins={name: table_input(spec, name) for name in INPUTS},
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
        from experiment_pipeline.core.plots import leaderboard_plot

        with told_to_the_user():
            board, digests = _rank(spec, train_set, test_set, search_results)
            board = replace(board, notes=(*set_aside.of(train_set), *board.notes))
            pictures = {"Scores": leaderboard_plot(board.rows, spec.metric, board.baseline)}
            page = storage_root() / spec.name / "leaderboard" / "leaderboard.html"
            write_bytes(page, to_html(board, spec.name, pictures).encode())
        context.log.info(f"chosen: {board.chosen}: {board.reason}")
        for note in board.notes:
            context.log.info(note)
        return dg.MaterializeResult(
            value=to_table(board, digests),
            data_version=dg.DataVersion(fingerprint_of({"chosen": board.chosen, **digests})),
            metadata={
                "chosen": board.chosen,
                f"test {spec.metric}": shown.number(board.score.estimate),
                "baseline": shown.number(board.baseline),
                "tie_group": len(board.tie_group),
                "reason": board.reason,
                "notes": dg.MetadataValue.md(
                    "\n".join(f"- {note}" for note in board.notes) or "none"
                ),
                "leaderboard": shown.table(board.rows),
                "scores": shown.pictures(pictures),
                "report": dg.MetadataValue.path(str(page)),
            },
            check_results=[_beats_baseline(board)],
        )

    return leaderboard


def _rank(
    spec: ExperimentSpec, train: pd.DataFrame, test: pd.DataFrame, results: pd.DataFrame
) -> tuple[Leaderboard, Mapping[str, str]]:
    sets = training_sets(train, test, spec)
    check_same_sets("search_results", results, sets.digests)
    store = TrainedModelStore(storage_root(), spec.name)
    check_same_metric(results, spec.metric)
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
        drawn_units(test, spec, sets.features),
        spec,
        sets.classes,
        unranked(results, stored),
    )
    return board, sets.digests


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


def _beats_baseline(board: Leaderboard) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name="winner_beats_baseline",
        passed=board.beats_baseline,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{board.metric} {board.score.in_words()} on the test set; predicting without "
            f"features scores {metrics.shown(board.baseline)}; the paired difference is "
            f"{board.difference_to_baseline.in_words()}"
        ),
    )
