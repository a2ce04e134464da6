"""A leaderboard as an outcome and as a page: from its data to facts and blocks; nothing
is computed.
"""

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from experiment_pipeline.reporting import numbers, run_record
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Document,
    Paragraph,
    Section,
    TableBlock,
    facts,
    known,
    render_html,
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
    TRAINED,
)
from experiment_pipeline.stages.search.page import MOST_SHOWN, first_of
from experiment_pipeline.statistics.interval import LEVEL
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
    first_rows = pd.DataFrame(table.rows[:MOST_SHOWN], columns=list(table.header))
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
    """Return the search as a document, with a note if not all rows are shown."""
    board = shown.board
    best_algorithm = shown.declared[shown.best].algorithm
    hyperparameters = [
        Section(
            f"Hyperparameters of {algorithm}",
            tuple(pictures.hyperparameter_charts(shown, algorithm)),
            folded=algorithm != best_algorithm,
        )
        for algorithm in dict.fromkeys([best_algorithm, *shown.axes])
    ]
    table: list[Block] = [_table(shown)]
    if len(shown.rows) < len(board.rows):
        first = (
            f"These are the first {len(shown.rows):,} of {len(board.rows):,} "
            "configurations; the stored table has all."
        )
        table.insert(0, Paragraph(first))
    how_to_read = Bullets((evaluated(board.evaluation).scores, *_HOW_TO_READ))
    sections = [
        Section("Choice", (Paragraph(decision(shown)), facts(_choice(shown)))),
        Section("Scores and cost", tuple(pictures.score_charts(shown))),
        Section("Where the time went", _time(shown), folded=True),
        *hyperparameters,
        Section("Halving", tuple(pictures.rung_charts(shown))),
        Section("Configurations", table),
        Section("Caveats", (Bullets(board.notes),) if board.notes else ()),
        Section("How to read this page", (how_to_read,), folded=True),
    ]
    filled = [section for section in sections if section.blocks]
    return Document(f"{experiment}: leaderboard", filled)


def decision(shown: pictures.SearchShown) -> str:
    """Return what was chosen, its score, the baseline, and the ties, in words."""
    board = shown.board
    return (
        f"Chosen: {shown.declared[board.chosen].in_words}, with {board.metric} "
        f"{numbers.score(board.score.estimate)} {evaluated(board.evaluation).where} "
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
        settings = numbers.settings(shown.settings(board.chosen))
        choice["Hyperparameters"] = settings or "nothing was searched"
        members = [board.chosen]
        whose = "the chosen configuration"
    choice["Reason"] = f"{board.reason[:1].upper()}{board.reason[1:]}."
    difference = numbers.interval(board.difference_to_baseline)
    better_is = metric_of(board.metric).better_is
    choice["Minus the baseline"] = f"{difference}, {better_is} is better"
    choice["Searched"] = _searched(board)
    spent = {
        key: sum(step.fit_cpu_seconds for step in path)
        for key, path in shown.paths.items()
    }
    if spent.keys() >= set(members):
        choice["Cost"] = (
            f"{numbers.measured(sum(spent.values()))} CPU seconds for all fits, "
            f"{numbers.measured(sum(spent[key] for key in members))} of them for "
            f"{whose}"
        )
    return choice


def _time(shown: pictures.SearchShown) -> tuple[Block, ...]:
    """Each second of the run until the search had ended, and what was left then."""
    seconds = dict(shown.phases)
    if shown.seconds_left is not None:
        seconds["left for ensemble, refit and report"] = shown.seconds_left
    if not seconds:
        return ()
    return (facts({name: f"{seconds[name]:.1f} s" for name in seconds}),)


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
    rows = [_cells(shown, row) for row in shown.rows]
    return TableBlock(
        header=[name for name, _ in rows[0]],
        rows=[[text for _, text in cells] for cells in rows],
        classes=[_colors(row, shown.board.chosen) for row in shown.rows],
        filters=("algorithm", "status"),
    )


def _cells(shown: pictures.SearchShown, row: pictures.Row) -> list[tuple[str, str]]:
    """Name of the column and text; a hyperparameter may be called like a column."""
    settings = shown.settings(row["key"])
    varied = [axis.title for axes in shown.axes.values() for axis in axes]
    size = row["model_bytes"]
    reasons = [row["reason"], shown.declared[row["key"]].note]
    return [
        ("rank", "" if row["rank"] is None else f"{row['rank']:,}"),
        ("configuration", row["key"]),
        ("algorithm", row["algorithm"]),
        ("status", row["status"]),
        (shown.board.metric, known(row["test_score"], "")),
        (f"{_CONFIDENCE} interval", _bounds(row)),
        *([("over seeds", _over_seeds(row))] if shown.has_seeds else []),
        ("minus the best", known(row["difference_to_best"], "")),
        ("tied", "yes" if row["in_tie_group"] else ""),
        ("CPU s", numbers.measured(row["fit_cpu_seconds"])),
        ("µs per row", numbers.measured(row["predict_microseconds_per_row"])),
        ("MB", numbers.measured(None if size is None else size / 1e6)),
        ("overfit gap", known(row["overfit_gap"], "")),
        *(
            (name, numbers.setting(settings[name]) if name in settings else "")
            for name in dict.fromkeys(varied)
        ),
        ("reason", "; ".join(filter(None, reasons))),
    ]


def _colors(row: pictures.Row, chosen: str) -> str:
    """The classes of a row on the page."""
    applies = {
        "not-trained": row["status"] != TRAINED,
        "failed": row["status"] == FAILED,
        "tied": row["in_tie_group"],
        "chosen": row["key"] == chosen,
    }
    return " ".join(name for name in applies if applies[name])


def _bounds(row: pictures.Row) -> str:
    if row["low"] is None:
        return ""
    return f"{known(row['low'])} to {known(row['high'])}"


def _over_seeds(row: pictures.Row) -> str:
    if row["seed_mean"] is None:
        return ""
    return numbers.spread(row["seed_mean"], row["seed_deviation"])
