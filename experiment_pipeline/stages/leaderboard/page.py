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
from experiment_pipeline.stages.search.page import MOST_SHOWN, first_of, searched_values
from experiment_pipeline.statistics.metrics import METRICS, worse_bound
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
    words = declared[board.chosen].in_words
    return Outcome(
        value=board,
        notes=[f"chosen: {words}, rank {_rank(board)}: {board.reason}", *board.notes],
        facts={
            "chosen": words,
            "score": f"{board.metric} {numbers.interval(board.score)} on the test set",
            "baseline": (
                f"{numbers.score(board.baseline)} without features; the difference, on the same "
                f"rows, is {numbers.interval(board.difference_to_baseline)}"
            ),
            "reason": board.reason,
            "report": Place(place),
            "shown below": first_of(len(board.rows)),
            "leaderboard": Rows(_first_rows(board, declared)),
            "notes": Notes(board.notes),
            "scores": Pictures({"Scores": scores}),
            f"test {board.metric}": board.score.estimate,
            f"baseline {board.metric}": board.baseline,
            "tie_group": len(board.tie_group),
            "partition": board.chosen,
        },
        checks=[_beats_baseline(board)],
        remembered=[*_remembered(board, declared), ReportRow(name="leaderboard", place=place)],
    )


def _rank(board: Leaderboard) -> str:
    ranked = board.rows.set_index("key")["rank"]
    return f"{ranked[board.chosen]} of {int(ranked.notna().sum()):,}"


def _first_rows(board: Leaderboard, declared: Mapping[str, Configuration]) -> pd.DataFrame:
    """The first rows as people compare them: scores first, then what it is and what it costs."""
    rows = board.rows.head(MOST_SHOWN)
    values = searched_values(declared[key] for key in rows["key"])
    table = pd.DataFrame(
        {
            "rank": rows["rank"],
            f"test {board.metric}": rows["test_score"],
            "95 % interval": [
                "" if pd.isna(low) else f"{numbers.score(low)} to {numbers.score(high)}"
                for low, high in zip(rows["low"], rows["high"], strict=True)
            ],
            "tied": ["yes" if tied else "" for tied in rows["in_tie_group"]],
            "algorithm": rows["algorithm"],
            **{name: values[name].reindex(rows["key"]).to_numpy() for name in values},
            "overfit gap": rows["overfit_gap"],
            "CPU s": rows["fit_cpu_seconds"].map(numbers.measured),
            "µs per row": rows["predict_microseconds_per_row"].map(numbers.measured),
            "MB": (rows["model_bytes"].astype("float64") / 1e6).map(numbers.measured),
            "configuration": rows["key"],
            "status": rows["status"],
        }
    )
    return table.reset_index(drop=True)


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
    difference = board.difference_to_baseline
    better = "higher" if METRICS[board.metric].greater_is_better else "lower"
    bound = worse_bound(board.metric, difference)
    told = "is" if board.beats_baseline else "may be no"
    return Check(
        "winner_beats_baseline",
        passed=board.beats_baseline,
        means=(
            f"the choice {told} better than predicting without features: {board.metric} "
            f"{numbers.interval(board.score)} on the test set, where {better} is better, against "
            f"{numbers.score(board.baseline)}; the difference on the same rows is "
            f"{numbers.interval(difference)}, of which the worse end, {numbers.score(bound)}, is "
            "held against 0"
        ),
        severity="warning",
        value=bound,
        limit=0.0,
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
