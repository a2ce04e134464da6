"""A leaderboard as an outcome and as a page: from its data to facts and blocks; nothing
is computed.
"""

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from experiment_pipeline.reporting import numbers, run_record
from experiment_pipeline.reporting.document import (
    Bullets,
    Document,
    Paragraph,
    Section,
    TableBlock,
    around,
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
from experiment_pipeline.statistics.metrics import metric_of, worse_bound
from experiment_pipeline.table.table import plain_rows

TABLE, PAGE = "leaderboard.parquet", "leaderboard.html"
# Columns of the ranking that have the same name in the database.
_RECORDED = {*COLUMNS} & {*run_record.ConfigurationRow.__dataclass_fields__}
# Page width in rem, as the charts need room.
_WIDTH = 92
_HOW_TO_READ = (
    "Tied: the difference to the best may be chance. All are compared at once, on the same rows.",
    "Stopped early by halving: scored on a part of the rows, not comparable, and without a rank.",
    "CPU seconds are those of the last fit; µs per row is the time of one prediction.",
    "Intervals hold for all configurations together, so also for the one chosen by its score.",
    "Scores with a decision threshold use one that was chosen on other rows (cross-fitted).",
    "The overfit gap is by how much the train score is better than the ranked score.",
    "Over seeds: mean and standard deviation; a smaller lead is within the noise of the seed.",
    "The ensemble is a weighted mean of predictions: its score is cross-fitted, costs are summed.",
    "Its rank and difference come from its lead over the best single model, also cross-fitted.",
    "Nothing on this page uses the validation set (final hold-out).",
)


def outcome(shown: pictures.SearchShown, place: str) -> Outcome:
    """Return the choice and the ranking as an outcome; `place`: of the stored page."""
    board, table = shown.board, _table(shown)
    words, ranks = (
        shown.declared[board.chosen].in_words,
        board.rows.set_index("key")["rank"],
    )
    rank = f"{ranks[board.chosen]:,} of {ranks.notna().sum():,}"
    rows = pd.DataFrame(table.rows[:MOST_SHOWN], columns=list(table.header))
    # Keys are long: the scores come first.
    rows.insert(len(rows.columns) - 1, "configuration", rows.pop("configuration"))
    ensemble = {} if board.ensemble is None else {"ensemble": board.ensemble.in_words}
    return Outcome(
        value=board,
        notes=[f"chosen: {words}, rank {rank}: {board.reason}", *board.notes],
        facts={
            f"score {evaluated(board.evaluation).short}": f"{board.metric} {numbers.interval(board.score)}",
            "baseline": f"{numbers.score(board.baseline)} without features",
            "minus baseline": numbers.interval(board.difference_to_baseline),
            "chosen": words,
            "rank": rank,
            "shown below": first_of(len(board.rows)),
            "leaderboard": Rows(rows),
            "reason": board.reason,
            "report": PagePath(place),
            "notes": Notes(board.notes),
            f"test {board.metric}": board.score.estimate,
            f"baseline {board.metric}": board.baseline,
            "tie_group": len(board.tie_group),
            "partition": board.chosen,
            **ensemble,
        },
        checks=[_beats_baseline(board)],
        record=[
            *_record_rows(shown),
            run_record.ReportRow(name="leaderboard", place=place),
        ],
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
        yield run_record.ConfigurationRow(
            hyperparameters=shown.declared[row["key"]].declared_settings,
            is_chosen=row["key"] == board.chosen,
            test_low=row["low"],
            test_high=row["high"],
            note=shown.declared[row["key"]].note or None,
            **{name: row[name] for name in _RECORDED},
        )
    yield run_record.ScoreRow.of("test", board.metric, board.score, board.baseline)


def _beats_baseline(board: Leaderboard) -> Check:
    difference, better = board.difference_to_baseline, metric_of(board.metric).better_is
    bound = worse_bound(board.metric, difference)
    how = "significantly better" if board.beats_baseline else "not significantly better"
    return Check(
        "winner_beats_baseline",
        passed=board.beats_baseline,
        means=(
            f"the choice is {how} than the baseline (no features): {board.metric} "
            f"{numbers.interval(board.score)} {evaluated(board.evaluation).where}, {better} is better, "
            f"against {numbers.score(board.baseline)}; the paired difference is "
            f"{numbers.interval(difference)}, and its worse bound, {numbers.score(bound)}, is "
            "compared with 0"
        ),
        severity="warning",
        value=bound,
        limit=0.0,
    )


def page_html(shown: pictures.SearchShown, experiment: str) -> bytes:
    """Return the page of a board."""
    passed = shown.board.beats_baseline
    page = render_html(document(shown, experiment), passed=passed, width=_WIDTH)
    return page.encode()


def document(shown: pictures.SearchShown, experiment: str) -> Document:
    """Return the search as a document, with a note if not all rows are shown."""
    board = shown.board
    own = shown.declared[shown.best].algorithm
    drawn = {
        name: tuple(pictures.hyperparameter_charts(shown, name))
        for name in (own, *shown.axes)
    }
    notes = (Bullets(board.notes),) if board.notes else ()
    count, of = len(shown.rows), len(board.rows)
    first = f"These are the first {count:,} of {of:,} configurations; the stored table has all."
    cut = [Paragraph(first)] if count < of else []
    how = Bullets((evaluated(board.evaluation).scores, *_HOW_TO_READ))
    sections = [
        Section("Choice", (Paragraph(decision(shown)), facts(_choice(shown)))),
        Section("Scores and cost", tuple(pictures.score_charts(shown))),
        *(
            Section(f"Hyperparameters of {name}", charts, folded=name != own)
            for name, charts in drawn.items()
        ),
        Section("Halving", tuple(pictures.rung_charts(shown))),
        Section("Configurations", (*cut, _table(shown))),
        Section("Caveats", notes),
        Section("How to read this page", (how,), folded=True),
    ]
    filled = tuple(section for section in sections if section.blocks)
    return Document(f"{experiment}: leaderboard", filled, around(experiment))


def decision(shown: pictures.SearchShown) -> str:
    """Return what was chosen, its score, the baseline, and the ties, in words."""
    board = shown.board
    beats = (
        "significantly better than"
        if board.beats_baseline
        else "not significantly better than"
    )
    return (
        f"Chosen: {shown.declared[board.chosen].in_words}, with {board.metric} "
        f"{numbers.score(board.score.estimate)} "
        f"{evaluated(board.evaluation).where} (95 % interval {numbers.bounds(board.score)}). This is "
        f"{beats} the baseline (no features), which scores {numbers.score(board.baseline)}. "
        f"{numbers.tied(len(board.tie_group))}."
    )


def _choice(shown: pictures.SearchShown) -> dict[str, str]:
    board, ensemble, chosen = (
        shown.board,
        shown.board.chosen_ensemble,
        shown.board.chosen,
    )
    counts = Counter(board.rows["status"][board.rows["key"] != ENSEMBLE])
    ended = ", ".join(
        f"{counts[status]:,} {status}" for status in STATUSES if counts[status]
    )
    held = board.rows.loc[board.rows["status"] == NOT_STARTED, "reason"]
    why = "".join(
        f" ({most_frequent})" for most_frequent in held[held != ""].mode().head(1)
    )
    known = {
        "Reason": f"{board.reason[:1].upper()}{board.reason[1:]}.",
        "Minus the baseline": (
            f"{numbers.interval(board.difference_to_baseline)}, "
            f"{metric_of(board.metric).better_is} is better"
        ),
        "Searched": f"{numbers.counted(counts.total(), 'configuration')}: {ended}{why}",
    }
    members, whom = [chosen], "the chosen configuration"
    if ensemble is None:
        settings = numbers.settings(shown.settings(chosen))
        known = {"Hyperparameters": settings or "nothing was searched", **known}
    else:
        members, whom = ensemble.keys, "its members"
        known = {"Members": ensemble.in_words, **known}
    spent = {
        k: sum(step.fit_cpu_seconds for step in path) for k, path in shown.paths.items()
    }
    if spent.keys() >= set(members):
        known["Cost"] = (
            f"{numbers.measured(sum(spent.values()))} CPU seconds for all fits, "
            f"{numbers.measured(sum(spent[key] for key in members))} of them for {whom}; "
            "encoding, predicting and scoring are not included, but count for a budget"
        )
    return known


def _table(shown: pictures.SearchShown) -> TableBlock:
    """The table of configurations; charts refer to its rows by number."""
    varied = dict.fromkeys(axis.name for axes in shown.axes.values() for axis in axes)
    seeds = any(row["seed_mean"] is not None for row in shown.rows)
    header = (
        *(
            "rank",
            "configuration",
            "algorithm",
            "status",
            shown.board.metric,
            "95 % interval",
        ),
        *(
            *(["over seeds"] if seeds else []),
            "minus the best",
            "tied",
            "CPU s",
            "µs per row",
        ),
        *("MB", "overfit gap", *varied, "reason"),
    )
    cells, classes = [], []
    for row in shown.rows:
        size, settings = row["model_bytes"], shown.settings(row["key"])
        has_seeds = row["seed_mean"] is not None and row["seed_deviation"] is not None
        spread = (
            numbers.spread(row["seed_mean"], row["seed_deviation"]) if has_seeds else ""
        )
        interval = (
            "" if row["low"] is None else f"{known(row['low'])} to {known(row['high'])}"
        )
        cells.append(
            (
                "" if row["rank"] is None else f"{row['rank']:,}",
                *(row["key"], row["algorithm"], row["status"]),
                *(known(row["test_score"], ""), interval, *([spread] if seeds else [])),
                *(
                    known(row["difference_to_best"], ""),
                    "yes" if row["in_tie_group"] else "",
                ),
                numbers.measured(row["fit_cpu_seconds"]),
                numbers.measured(row["predict_microseconds_per_row"]),
                numbers.measured(None if size is None else size / 1e6),
                known(row["overfit_gap"], ""),
                *(
                    numbers.setting(settings[one]) if one in settings else ""
                    for one in varied
                ),
                "; ".join(
                    filter(None, (row["reason"], shown.declared[row["key"]].note))
                ),
            )
        )
        has = {
            "not-trained": row["status"] != TRAINED,
            "failed": row["status"] == FAILED,
            "tied": row["in_tie_group"],
            "chosen": row["key"] == shown.board.chosen,
        }
        classes.append(" ".join(name for name, holds in has.items() if holds))
    return TableBlock(header, tuple(cells), tuple(classes), ("algorithm", "status"))
