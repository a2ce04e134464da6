"""A leaderboard as one table, the form in which it goes from asset to asset, and back.

The choice and what goes with it travel in the table's `attrs`, so that nothing downstream has
to rank again. In: a `Leaderboard`. Out: a DataFrame, and the same `Leaderboard`.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pandas as pd
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from experiment_pipeline.errors import SetsReplaced, TrainingError
from experiment_pipeline.rows.digests import table_digest
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.edges import SearchEdge
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.records import fingerprint_of

CHOICE, DIGESTS, METRIC = "choice", "digests", "metric"


@checked(config=ConfigDict(ser_json_inf_nan="strings"))
class _Choice:
    """Everything of a leaderboard but its rows; the same names."""

    metric: str
    chosen: str
    reason: str
    score: Interval
    baseline: float
    difference_to_baseline: Interval
    tie_group: tuple[str, ...]
    optimism: float | None
    edges: tuple[SearchEdge, ...]
    notes: tuple[str, ...]


_JSON = TypeAdapter(_Choice)


def to_table(board: Leaderboard, digests: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows, with the choice and the digests of the sets it holds for."""
    table = board.rows.copy()
    table.attrs = {CHOICE: _choice_json(board), DIGESTS: dict(digests)}
    return table


def from_table(table: pd.DataFrame) -> Leaderboard:
    """Return the leaderboard that `to_table` wrote."""
    choice = _JSON.validate_json(table.attrs[CHOICE])
    return Leaderboard(
        rows=table, **{one.name: getattr(choice, one.name) for one in fields(choice)}
    )


def board_digest(board: Leaderboard) -> str:
    """Return the digest of a leaderboard: of all that a later stage can learn from it."""
    return fingerprint_of({"rows": table_digest(board.rows), CHOICE: _choice_json(board)})


def check_same_sets(stage: str, table: pd.DataFrame, digests: Mapping[str, Any]) -> None:
    """Stop when a table was made from other sets than those read now.

    Raises:
        SetsReplaced: another run has replaced the sets in between.
    """
    other = [name for name, digest in digests.items() if table.attrs[DIGESTS].get(name) != digest]
    if other:
        raise SetsReplaced(
            f"{' and '.join(other)} set",
            f"another run replaced it after {stage} was made from {table.attrs[DIGESTS]}",
            "Wait until that run has ended, then run the experiment's job again.",
        )


def check_same_metric(results: pd.DataFrame, metric: str) -> None:
    """Stop when `search_results` was scored by another metric than the experiment's.

    Raises:
        TrainingError: the YAML was changed in between.
    """
    if (scored_by := results.attrs.get(METRIC)) != metric:
        raise TrainingError(
            "search_results",
            f"it was scored by {scored_by}, the experiment's metric is {metric}",
            "Materialize it again; what is trained is reused.",
        )


def _choice_json(board: Leaderboard) -> str:
    choice = _Choice(**{one.name: getattr(board, one.name) for one in fields(_Choice)})
    return _JSON.dump_json(choice).decode()
