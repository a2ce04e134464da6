"""A leaderboard as an outcome and as a page: from its data to facts and blocks; nothing
is computed.
"""

import math
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from experiment_pipeline.reporting import charts, numbers, run_record
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Cell,
    Document,
    Paragraph,
    Section,
    TableBlock,
    cell_text,
    facts,
    render_html,
    score_text,
)
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.outcome import Check, Notes, Outcome, PagePath, Rows
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard import pictures
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.ranking import COLUMNS
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    NOT_STARTED,
    STATUSES,
    STOPPED_EARLY,
    TRAINED,
)
from experiment_pipeline.stages.search.page import MOST_SHOWN, first_of
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.metrics import metric_of, worse_bound
from experiment_pipeline.table.table import plain_rows

TABLE, PAGE = "leaderboard.parquet", "leaderboard.html"
# Columns of the ranking that have the same name in the database.
_RECORDED = {*COLUMNS} & {*run_record.ConfigurationRow.__dataclass_fields__}
_CONFIDENCE = numbers.share(LEVEL)
_HOW_TO_READ = (
    "Tied: the difference to the best, on the same rows, may be chance.",
    "Stopped early by halving: scored on a part of the rows, so without a rank.",
    "CPU seconds are those of the last fit; µs per row is the time of one prediction.",
    "The line in a cell is the score's interval; the red mark is the baseline.",
    "Intervals hold for all configurations together, so also for the best score.",
    "Scores that need a decision threshold use one of other rows (cross-fitted).",
    "The overfit gap is by how much the train score is better than the ranked score.",
    "Over seeds: mean and standard deviation; a smaller lead is within their noise.",
    "The ensemble is a weighted mean: its score is cross-fitted, its costs are summed.",
    "Its rank comes from its lead over the best single model, also cross-fitted.",
    "Nothing on this page uses the validation set (final hold-out).",
)


def outcome(shown: pictures.SearchShown, place: str) -> Outcome:
    """Return the choice and the ranking as an outcome; `place`: of the stored page."""
    board = shown.board
    table = _table(shown)
    texts = [[*map(cell_text, row)] for row in table.rows[:MOST_SHOWN]]
    first_rows = pd.DataFrame(texts, columns=list(table.header))
    # Keys are long: the scores come first.
    keys = first_rows.pop("configuration")
    first_rows.insert(len(first_rows.columns) - 1, "configuration", keys)
    words = shown.declared[board.chosen].in_words
    ranks = board.rows.set_index("key")["rank"]
    rank = f"{ranks[board.chosen]:,} of {ranks.notna().sum():,}"
    score = f"{board.metric} {numbers.interval(board.score)}"
    facts = {
        f"score {evaluated(board.evaluation).short}": score,
        "baseline": f"{numbers.score(board.baseline)} without features",
        "minus baseline": numbers.interval(board.difference_to_baseline),
        "chosen": words,
        "rank": rank,
        "shown below": first_of(len(board.rows)),
        "leaderboard": Rows(first_rows),
        "reason": board.reason,
        "report": PagePath(place),
        "notes": Notes(board.notes),
        f"test {board.metric}": board.score.estimate,
        f"baseline {board.metric}": board.baseline,
        "tie_group": len(board.tie_group),
        "partition": board.chosen,
    }
    if board.incumbent is not None:
        facts[f"incumbent {board.incumbent.column}"] = board.incumbent.in_words
    if board.ensemble is not None:
        facts["ensemble"] = board.ensemble.in_words
    report = run_record.ReportRow(name="leaderboard", place=place)
    return Outcome(
        value=board,
        notes=[f"chosen: {words}, rank {rank}: {board.reason}", *board.notes],
        facts=facts,
        checks=[_beats_baseline(board)],
        record=[*_record_rows(shown), report],
    )


def _record_rows(shown: pictures.SearchShown) -> Iterator[run_record.RecordRow]:
    """The ranking as rows, and the facts about the choice in the run's own row."""
    board = shown.board
    yield run_record.RunFacts(
        chosen=board.chosen,
        choice_reason=board.reason,
        tie_group=len(board.tie_group),
        evaluation=board.evaluation,
        test_score=board.score.estimate,
        test_low=board.score.low,
        test_high=board.score.high,
        test_baseline=board.baseline,
    )
    for row in plain_rows(board.rows):
        declared = shown.declared[row["key"]]
        yield run_record.ConfigurationRow(
            hyperparameters=declared.declared_settings,
            is_chosen=row["key"] == board.chosen,
            test_low=row["low"],
            test_high=row["high"],
            note=declared.note or None,
            **{name: row[name] for name in _RECORDED},
        )
    yield run_record.ScoreRow.of("test", board.metric, board.score, board.baseline)


def _beats_baseline(board: Leaderboard) -> Check:
    bound = worse_bound(board.metric, board.difference_to_baseline)
    return Check(
        "winner_beats_baseline",
        passed=board.beats_baseline,
        means=(
            f"the choice is {_compared(board)} the baseline (no features): "
            f"{board.metric} {numbers.interval(board.score)} "
            f"{evaluated(board.evaluation).where}, "
            f"{metric_of(board.metric).better_is} is better, against "
            f"{numbers.score(board.baseline)}; the paired difference is "
            f"{numbers.interval(board.difference_to_baseline)}, and its worse bound, "
            f"{numbers.score(bound)}, is compared with 0"
        ),
        severity="warning",
        value=bound,
        limit=0.0,
    )


def _compared(board: Leaderboard) -> str:
    better = "significantly better than"
    return better if board.beats_baseline else f"not {better}"


def page_html(shown: pictures.SearchShown, experiment: str) -> bytes:
    """Return the page of a board."""
    page = render_html(document(shown, experiment), passed=shown.board.beats_baseline)
    return page.encode()


def document(shown: pictures.SearchShown, experiment: str) -> Document:
    """Return the search as a document: the table, then what explains it."""
    board = shown.board
    best_algorithm = shown.declared[shown.best].algorithm
    table: list[Block] = [Paragraph(decision(shown)), _table(shown)]
    if len(shown.rows) < len(board.rows):
        first = (
            f"These are the first {len(shown.rows):,} of {len(board.rows):,} "
            "configurations; the stored table has all."
        )
        table.append(Paragraph(first))
    how_to_read = Bullets((evaluated(board.evaluation).scores, *_HOW_TO_READ))
    sections = [
        Section("Configurations", table),
        Section("Caveats", (Bullets(board.notes),) if board.notes else ()),
        Section("Score and cost", tuple(pictures.cost_chart(shown))),
        *_hyperparameters(shown, best_algorithm),
        Section("The choice and its cost", (facts(_choice(shown)),), folded=True),
        Section("How to read this page", (how_to_read,), folded=True),
    ]
    filled = [section for section in sections if section.blocks]
    return Document(f"{experiment}: leaderboard", filled)


def _hyperparameters(
    shown: pictures.SearchShown, best_algorithm: str
) -> Iterator[Section]:
    """Yield a section for each algorithm with charts; all but the first are folded."""
    is_folded = False
    for algorithm in dict.fromkeys([best_algorithm, *shown.axes]):
        charts_of_algorithm = tuple(pictures.hyperparameter_charts(shown, algorithm))
        if charts_of_algorithm:
            title = f"What mattered in {algorithm}"
            yield Section(title, charts_of_algorithm, folded=is_folded)
            is_folded = True


def decision(shown: pictures.SearchShown) -> str:
    """Return what was chosen, its score, the baseline, and the ties, in words."""
    board = shown.board
    chosen = shown.declared[board.chosen].in_words
    if (ensemble := board.chosen_ensemble) is not None:
        chosen = f"the weighted mean of {len(ensemble.members)} configurations"
    return (
        f"Chosen: {chosen}, with {board.metric} "
        f"{numbers.estimate(board.score)} {evaluated(board.evaluation).where} "
        f"({_CONFIDENCE} interval {numbers.bounds(board.score)}). This is "
        f"{_compared(board)} "
        f"the baseline (no features), which scores {numbers.score(board.baseline)}. "
        f"{numbers.tied(len(board.tie_group))}."
    )


def _choice(shown: pictures.SearchShown) -> dict[str, str]:
    board = shown.board
    choice: dict[str, str] = {}
    if (ensemble := board.chosen_ensemble) is not None:
        choice["Members"] = ensemble.in_words
        members = ensemble.keys
        whose = "its members"
    else:
        members = [board.chosen]
        whose = "the chosen configuration"
    choice["Reason"] = f"{board.reason[:1].upper()}{board.reason[1:]}."
    choice["Searched"] = _searched(board)
    spent = {
        key: sum(step.fit_cpu_seconds for step in path)
        for key, path in shown.results.paths.items()
    }
    if spent.keys() >= set(members):
        choice["Cost"] = (
            f"{numbers.measured(sum(spent.values()))} CPU seconds for all fits, "
            f"{numbers.measured(sum(spent[key] for key in members))} of them for "
            f"{whose}"
        )
    seconds = dict(shown.results.phases)
    if shown.results.seconds_left is not None:
        seconds["left for ensemble, refit and report"] = shown.results.seconds_left
    choice |= {f"Time {name}": f"{seconds[name]:.1f} s" for name in seconds}
    return choice


def _searched(board: Leaderboard) -> str:
    """How many configurations ended how, and why most were not started."""
    single = board.rows[board.rows["key"] != ENSEMBLE]
    counts = Counter(single["status"])
    ended = [f"{counts[status]:,} {status}" for status in STATUSES if counts[status]]
    words = f"{numbers.counted(len(single), 'configuration')}: {', '.join(ended)}"
    reasons = Counter(single["reason"][single["status"] == NOT_STARTED])
    for reason, _ in reasons.most_common(1):
        words += f" ({reason})" if reason else ""
    return words


def _table(shown: pictures.SearchShown) -> TableBlock:
    """The table of configurations; charts refer to its rows by number."""
    board = shown.board
    axis = _axis_of_intervals(shown)
    best = _best(shown)
    rows = [_cells(shown, row, axis, best) for row in shown.rows]
    # A column without any value says nothing.
    header = [name for name in rows[0] if any(cells[name] for cells in rows)]
    pinned = _pinned(board, axis, best)
    return TableBlock(
        header=header,
        rows=[[cells[name] for name in header] for cells in rows],
        classes=[_colors(row, board.chosen) for row in shown.rows],
        filters=("status",),
        pinned=[[cells.get(name, "") for name in header] for cells in pinned],
    )


def _pinned(
    board: Leaderboard, axis: charts.Axis, best: float
) -> list[dict[str, Cell]]:
    """The cells of what every configuration stands beside: baseline and incumbent."""
    baseline = Interval(board.baseline, math.nan, math.nan)
    pinned: list[dict[str, Cell]] = [
        {
            "configuration": "baseline (no features)",
            board.metric: charts.on_line(baseline, axis, board.baseline),
            "vs best": numbers.gap(board.baseline - best, beside=best),
        }
    ]
    if (rule := board.incumbent) is not None:
        name = f"incumbent {rule.column}"
        pinned.append({"configuration": name, board.metric: rule.in_words})
    return pinned


def _axis_of_intervals(shown: pictures.SearchShown) -> charts.Axis:
    ranked = list(filter(pictures.is_ranked, shown.rows))
    bounds = [
        row[end] for row in ranked for end in ("low", "high") if row[end] is not None
    ]
    axis, _ = pictures.score_axis(shown, [row["test_score"] for row in ranked], bounds)
    return axis


def _best(shown: pictures.SearchShown) -> float:
    return next(row["test_score"] for row in shown.rows if pictures.is_ranked(row))


def _cells(
    shown: pictures.SearchShown, row: pictures.Row, axis: charts.Axis, best: float
) -> dict[str, Cell]:
    """Column → cell."""
    board = shown.board
    size = row["model_bytes"]
    score: Cell = score_text(row["test_score"], "")
    if pictures.is_ranked(row):
        interval = numbers.interval_from(row["test_score"], row["low"], row["high"])
        score = charts.on_line(interval, axis, board.baseline)
    difference = ""
    if row["difference_to_best"] is not None:
        difference = numbers.gap(row["difference_to_best"], beside=best)
    cells: dict[str, Cell] = {
        "rank": "" if row["rank"] is None else f"{row['rank']:,}",
        "configuration": row["key"],
        board.metric: score,
        "vs best": f"{difference} tied" if row["in_tie_group"] else difference,
        "train CPU s": numbers.measured(row["fit_cpu_seconds"]),
        "µs per row": numbers.measured(row["predict_microseconds_per_row"]),
        "MB": numbers.measured(None if size is None else size / 1e6),
    }
    settings = shown.settings(row["key"])
    for name in shown.varied:
        # A hyperparameter may be called like a column.
        column = f"{name} (set)" if name in cells else name
        cells[column] = numbers.setting(settings[name]) if name in settings else ""
    return cells | {
        "overfit gap": score_text(row["overfit_gap"], ""),
        "over seeds": _over_seeds(row),
        "status": row["status"],
        "note": _note(shown, row),
    }


def _note(shown: pictures.SearchShown, row: pictures.Row) -> str:
    """Why it has no rank, in few words, and what the YAML notes about it."""
    reason = row["reason"]
    path = shown.results.paths.get(row["key"])
    if row["status"] == NOT_STARTED:
        reason = ""  # it stands in the caveats, once for all
    elif row["status"] == STOPPED_EARLY and path:
        reason = f"at {numbers.share(path[-1].fraction)} of the rows"
    return "; ".join(filter(None, [reason, shown.declared[row["key"]].note]))


def _colors(row: pictures.Row, chosen: str) -> str:
    """The classes of a row on the page."""
    applies = {
        "not-trained": row["status"] != TRAINED,
        "failed": row["status"] == FAILED,
        "tied": row["in_tie_group"],
        "chosen": row["key"] == chosen,
    }
    return " ".join(name for name in applies if applies[name])


def _over_seeds(row: pictures.Row) -> str:
    if row["seed_mean"] is None:
        return ""
    return numbers.spread(row["seed_mean"], row["seed_deviation"])
