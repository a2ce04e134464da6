"""A leaderboard as an outcome and as a page. In: data. Out: what is shown; nothing is computed."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Document,
    Paragraph,
    Picture,
    Section,
    Table,
    render_html,
)
from experiment_pipeline.reporting.outcome import Check, Notes, Outcome, Pictures, Place, Rows
from experiment_pipeline.reporting.remembered import (
    ConfigurationRow,
    Remembered,
    ReportRow,
    RunFacts,
    ScoreRow,
)
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.storage.tables import to_parquet

TABLE, SCORES, PAGE = "leaderboard.parquet", "scores.png", "leaderboard.html"
_REMEMBERED = (
    *("status", "test_score", "difference_to_best", "difference_low", "difference_high"),
    *("in_tie_group", "train_score", "fit_cpu_seconds", "predict_microseconds_per_row"),
    *("model_bytes", "rounds", "fingerprint", "reason"),
)
_MOST_ROWS_OF_PAGE = 1_000
_OTHER_COLUMNS = (
    *("95 % interval", "minus the best", "tied", "overfit gap", "CPU s", "µs per row"),
    *("bytes", "rounds", "status"),
)


def outcome(
    board: Leaderboard, scores: bytes, place: str, declared: Mapping[str, Configuration]
) -> Outcome:
    """The choice and the ranking, their picture (PNG), and the place of the page.

    `declared` is key → configuration, of all that the YAML declares.
    """
    return Outcome(
        value=board,
        notes=[f"chosen: {board.chosen}: {board.reason}", *board.notes],
        facts={
            "chosen": board.chosen,
            f"test {board.metric}": board.score.estimate,
            "baseline": board.baseline,
            "tie_group": len(board.tie_group),
            "reason": board.reason,
            "notes": Notes(board.notes),
            "leaderboard": Rows(board.rows),
            "scores": Pictures({"Scores": scores}),
            "report": Place(place),
        },
        checks=[_beats_baseline(board)],
        remembered=[*_remembered(board, declared), ReportRow(name="leaderboard", place=place)],
    )


def _remembered(board: Leaderboard, declared: Mapping[str, Configuration]) -> Iterator[Remembered]:
    """The ranking as rows, and what the run's own row says of the choice."""
    yield RunFacts(
        chosen=board.chosen,
        choice_reason=board.reason,
        tie_group=len(board.tie_group),
        test_score=board.score.estimate,
        test_low=board.score.low,
        test_high=board.score.high,
        test_baseline=board.baseline,
    )
    for row in board.rows.astype(object).where(board.rows.notna(), None).to_dict("records"):
        yield ConfigurationRow(
            key=row["key"],
            algorithm=row["algorithm"],
            hyperparameters=declared[row["key"]].hyperparameters,
            rank=row["rank"],
            is_chosen=row["key"] == board.chosen,
            test_low=row["low"],
            test_high=row["high"],
            **{name: row[name] for name in _REMEMBERED},
        )
    yield ScoreRow.of("test", board.metric, board.score, board.baseline)


def _beats_baseline(board: Leaderboard) -> Check:
    return Check(
        "winner_beats_baseline",
        passed=board.beats_baseline,
        means=(
            f"{board.metric} {numbers.interval(board.score)} on the test set; predicting without "
            f"features scores {numbers.score(board.baseline)}; the paired difference is "
            f"{numbers.interval(board.difference_to_baseline)}"
        ),
        severity="warning",
        value=board.score.estimate,
        limit=board.baseline,
    )


def files(board: Leaderboard, experiment: str) -> dict[str, bytes]:
    """Return what is stored of a board: name → table, picture, page."""
    from experiment_pipeline.reporting.plots import leaderboard_plot

    drawing = leaderboard_plot(board.rows, board.metric, board.baseline)
    page = to_html(board, experiment, drawing.picture()).encode()
    return {TABLE: to_parquet(board), SCORES: drawing.png(), PAGE: page}


def to_html(board: Leaderboard, experiment: str, scores: Picture | None = None) -> str:
    """Return the board as one self-contained page, with the picture of its scores."""
    shown_board = document(board, experiment, _MOST_ROWS_OF_PAGE, scores)
    return render_html(shown_board, passed=board.beats_baseline)


def document(
    board: Leaderboard, experiment: str, most_rows: int, scores: Picture | None = None
) -> Document:
    """Return the board as a document; where it has more rows than the most, it says so."""
    said = (
        f"Chosen: {board.chosen}. It is the {board.reason}. Predicting without features scores "
        f"{numbers.score(board.baseline)}; the paired difference is "
        f"{numbers.interval(board.difference_to_baseline)}."
    )
    choice: list[Block] = [Paragraph(said)]
    if board.notes:
        choice.append(Bullets(board.notes))
    if scores is not None:
        choice.append(scores)
    return Document(
        f"{experiment}: leaderboard",
        (Section("Choice", tuple(choice)), _table(board, most_rows)),
    )


def _table(board: Leaderboard, most_rows: int) -> Section:
    header = ("rank", "configuration", board.metric, *_OTHER_COLUMNS)
    rows = board.rows.head(most_rows).to_dict("records")
    table = Table(header, tuple(map(_cells, rows)))
    if len(board.rows) <= most_rows:
        return Section("Configurations", (table,))
    more = Paragraph(f"{len(board.rows) - most_rows:,} more rows are in the stored table.")
    return Section("Configurations", (table, more))


def _cells(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    return (
        _whole(row["rank"]),
        row["key"],
        _number(row["test_score"]),
        ""
        if pd.isna(row["low"])
        else f"{numbers.score(row['low'])} to {numbers.score(row['high'])}",
        _number(row["difference_to_best"]),
        "yes" if row["in_tie_group"] else "",
        _number(row["overfit_gap"]),
        _number(row["fit_cpu_seconds"]),
        _number(row["predict_microseconds_per_row"]),
        _whole(row["model_bytes"]),
        _whole(row["rounds"]),
        ", ".join(filter(None, [row["status"], row["reason"]])),
    )


def _number(value: float) -> str:
    return "" if pd.isna(value) else numbers.score(value)


def _whole(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:,}"
