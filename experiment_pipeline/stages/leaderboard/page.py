"""A leaderboard as an outcome and as a page. In: data. Out: facts, blocks; nothing is computed."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.charts import MUTED, SERIES, Estimates
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Document,
    Paragraph,
    Section,
    TableBlock,
    around,
    render_html,
)
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.reporting.outcome import Check, Notes, Outcome, PagePath, Pictures, Rows
from experiment_pipeline.reporting.run_record import (
    ConfigurationRow,
    RecordRow,
    ReportRow,
    RunFacts,
    ScoreRow,
)
from experiment_pipeline.reporting.sections import facts
from experiment_pipeline.spec.algorithms import ENSEMBLE
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.pictures import (
    SearchShown,
    hyperparameter_charts,
    rung_charts,
    score_charts,
)
from experiment_pipeline.stages.leaderboard.ranking import COLUMNS
from experiment_pipeline.stages.search.conclusions import FAILED, NOT_STARTED, STATUSES, TRAINED
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.page import MOST_SHOWN, first_of, searched_values
from experiment_pipeline.stages.search.workers import of_workers, slow_workers
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.metrics import METRICS, worse_bound
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.table.table import plain_rows

TABLE, SCORES, PAGE = "leaderboard.parquet", "scores.png", "leaderboard.html"
# Columns of the ranking that the database calls likewise.
_RECORDED = {*COLUMNS} & {*ConfigurationRow.__dataclass_fields__}
# Rem: the pictures need room.
_WIDTH = 92
SEEDS = "over seeds"
_HOW_TO_READ = (
    (
        "Tied configurations are statistically tied with the best: the difference may be chance. All are "
        "compared at once and on the same rows, so intervals may overlap where a configuration is not tied."
    ),
    (
        "A configuration that halving stopped early has a score on a part of the rows. It has no rank; do "
        "not compare its score with scores on all rows."
    ),
    "CPU seconds are those of the last fit; µs per row is the time of one prediction.",
    "The overfit gap is the score on train rows minus the score in the ranking, in the direction of better.",
    (
        "Where a configuration was fitted with several seeds, the mean and standard deviation of their "
        "scores are shown: a smaller lead is within the noise of the seed."
    ),
    (
        "The ensemble is a weighted mean of the predictions of configurations. Its score is cross-fitted: "
        "each weight was chosen on other rows. Its CPU seconds are those of its members."
    ),
    "Nothing on this page uses the validation set (final hold-out).",
)


def outcome(
    board: Leaderboard, scores: bytes, place: str, declared: Mapping[str, Configuration]
) -> Outcome:
    """Return the choice and the ranking; `scores` is a PNG, `declared` has every row's key."""
    words = declared[board.chosen].in_words
    return Outcome(
        value=board,
        notes=[f"chosen: {words}, rank {_rank(board)}: {board.reason}", *board.notes],
        facts={
            f"score {evaluated(board.evaluation).short}": f"{board.metric} {numbers.interval(board.score)}",
            "baseline": f"{numbers.score(board.baseline)} without features",
            "minus baseline": numbers.interval(board.difference_to_baseline),
            "chosen": words,
            "rank": _rank(board),
            "shown below": first_of(len(board.rows)),
            "leaderboard": Rows(_first_rows(board, declared)),
            "reason": board.reason,
            "report": PagePath(place),
            "notes": Notes(board.notes),
            "scores": Pictures({"Scores": scores}),
            f"test {board.metric}": board.score.estimate,
            f"baseline {board.metric}": board.baseline,
            "tie_group": len(board.tie_group),
            "partition": board.chosen,
            **_ensemble_facts(board),
        },
        checks=[_beats_baseline(board)],
        record=[*_record_rows(board, declared), ReportRow(name="leaderboard", place=place)],
    )


def _ensemble_facts(board: Leaderboard) -> dict[str, Any]:
    if board.ensemble is None:
        return {}
    row = board.rows[board.rows["key"] == ENSEMBLE].iloc[0]
    score = f"{board.metric} {numbers.score(row['test_score'])}, rank {row['rank']}"
    return {"ensemble": f"{board.ensemble.in_words}: {score}"}


def _rank(board: Leaderboard) -> str:
    rank, ranked = _place(board)
    return f"{rank:,} of {ranked:,}{_why_not_first(board) if rank > 1 else ''}"


def _why_not_first(board: Leaderboard) -> str:
    """Why an ensemble is chosen that is not ranked first."""
    if board.chosen_ensemble is None:
        return ""
    return (
        ": its score is cross-fitted, while the scores ranked above it are optimistic, because the "
        "best of them was picked on the same rows"
    )


def _place(board: Leaderboard) -> tuple[int, int]:
    """The rank of the choice, and how many configurations have one."""
    ranks = board.rows.set_index("key")["rank"]
    return int(ranks[board.chosen]), int(ranks.notna().sum())


def _first_rows(board: Leaderboard, declared: Mapping[str, Configuration]) -> pd.DataFrame:
    """The first rows: scores first, then hyperparameters and cost.

    A score in brackets is on a part of the rows, and has no rank.
    """
    rows = board.rows.head(MOST_SHOWN)
    each = plain_rows(rows)
    values = searched_values(declared[key] for key in rows["key"])
    varied: dict[str, Any] = {str(n): values[n].reindex(rows["key"]).to_numpy() for n in values}
    seeds = {SEEDS: [_spread(row) for row in each]} if _has_seeds(each) else {}
    table = pd.DataFrame(
        {
            "rank": rows["rank"],
            board.metric: [
                _score(row["test_score"]) if row["rank"] else f"({_score(row['test_score'])})"
                for row in each
            ],
            "95 % interval": list(map(_interval, each)),
            **seeds,
            "algorithm": rows["algorithm"],
            "standing": rows["status"].mask(rows["in_tie_group"], "tied").replace(TRAINED, ""),
            **varied,
            "overfit gap": [_score(row["overfit_gap"]) for row in each],
            "CPU s": rows["fit_cpu_seconds"].map(numbers.measured),
            "µs per row": rows["predict_microseconds_per_row"].map(numbers.measured),
            "MB": (rows["model_bytes"].astype("float64") / 1e6).map(numbers.measured),
            "configuration": rows["key"],
        }
    )
    return table.replace("()", "").reset_index(drop=True)


def _interval(row: Mapping[Any, Any]) -> str:
    return "" if row["low"] is None else f"{_score(row['low'])} to {_score(row['high'])}"


def _spread(row: Mapping[Any, Any]) -> str:
    mean, deviation = row["seed_mean"], row["seed_deviation"]
    return "" if mean is None or deviation is None else numbers.spread(mean, deviation)


def _has_seeds(rows: Sequence[Mapping[Any, Any]]) -> bool:
    return any(row["seed_mean"] is not None for row in rows)


def _record_rows(board: Leaderboard, declared: Mapping[str, Configuration]) -> Iterator[RecordRow]:
    """The ranking as rows, and what the run's own row says of the choice."""
    yield RunFacts(
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
        yield ConfigurationRow(
            hyperparameters=declared[row["key"]].given,
            is_chosen=row["key"] == board.chosen,
            test_low=row["low"],
            test_high=row["high"],
            **{name: row[name] for name in _RECORDED},
        )
    yield ScoreRow.of("test", board.metric, board.score, board.baseline)


def _beats_baseline(board: Leaderboard) -> Check:
    difference, better = board.difference_to_baseline, METRICS[board.metric].better_is
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


def files(shown: SearchShown, experiment: str) -> dict[str, bytes]:
    """Return what is stored of a board: name → table, picture, page."""
    page = to_html(shown, experiment).encode()
    return {TABLE: to_parquet(shown.board), SCORES: _scores(shown.board).png(), PAGE: page}


def _scores(board: Leaderboard) -> Estimates:
    """The first configurations with their intervals; a baseline far away is left out."""
    top = board.rows[board.rows["rank"].notna()].head(MOST_SHOWN)
    each = zip(top["test_score"], top["low"], top["high"], strict=True)
    ends = float(top["low"].min()), float(top["high"].max())
    wide = ends[1] - ends[0]
    return Estimates(
        tuple(f"{rank}  {key}" for rank, key in zip(top["rank"], top["key"], strict=True)),
        tuple(Interval(*one) for one in each),
        tuple(SERIES[0] if tied else MUTED for tied in top["in_tie_group"]),
        f"{board.metric}, 95 % interval; blue: tied with the best; dashed: baseline",
        board.baseline if ends[0] - wide <= board.baseline <= ends[1] + wide else math.nan,
    )


def to_html(shown: SearchShown, experiment: str) -> str:
    """Return the search as one self-contained page."""
    passed = shown.board.beats_baseline
    return render_html(document(shown, experiment), passed=passed, width=_WIDTH)


def document(shown: SearchShown, experiment: str) -> Document:
    """Return the search as a document; where it has more rows than are shown, it says so."""
    board = shown.board
    own = shown.declared[shown.best].algorithm
    drawn = {name: tuple(hyperparameter_charts(shown, name)) for name in (own, *shown.axes)}
    sections = [
        Section("Choice", (Paragraph(decision(shown)), _choice(shown))),
        Section("Scores and cost", tuple(score_charts(shown))),
        *(
            Section(f"Hyperparameters of {name}", charts, folded=name != own)
            for name, charts in drawn.items()
        ),
        Section("Halving", tuple(rung_charts(shown))),
        _configurations(shown),
        *(
            [Section("Failures", (_failures(board),))]
            if FAILED in set(board.rows["status"])
            else []
        ),
        *([] if shown.placed is None else [_workers(shown.placed)]),
        *([Section("Caveats", (Bullets(board.notes),))] if board.notes else []),
        Section(
            "How to read this page",
            (Bullets((_scores_in_words(board), *_HOW_TO_READ)),),
            folded=True,
        ),
    ]
    filled = tuple(section for section in sections if section.blocks)
    return Document(f"{experiment}: leaderboard", filled, around(experiment))


def _scores_in_words(board: Leaderboard) -> str:
    if board.evaluation == "cross_validation":
        return (
            "Scores are of train and test rows together, cut into folds: each fold is predicted by "
            "models that were fitted on the others. These models share rows, so the 95 % intervals "
            "are widened (Nadeau and Bengio 2003). The stored model was fitted on all of the rows."
        )
    return (
        "Scores are measured on the test set, which no model was fitted on. The 95 % interval shows "
        "how far the score could differ on other test rows of the same kind."
    )


def decision(shown: SearchShown) -> str:
    """Return what was chosen, its score, the baseline, and the ties, in words."""
    board = shown.board
    others, (rank, ranked) = len(board.tie_group) - 1, _place(board)
    beats = "significantly better than" if board.beats_baseline else "not significantly better than"
    ties = "No other configuration was trained on all rows"
    if ranked > 1:
        ties = "No other configuration is statistically tied with the best"
    if others > 0:
        is_tied = "is" if others == 1 else "are"
        count = numbers.counted(others, "other configuration")
        ties = f"{count} {is_tied} statistically tied with the best"
    why = ""
    if board.chosen_ensemble and rank > 1:
        why = f" The ensemble is ranked {rank:,} of {ranked:,}{_why_not_first(board)}."
    return (
        f"Chosen: {board.chosen}, with {board.metric} {numbers.score(board.score.estimate)} "
        f"{evaluated(board.evaluation).where} (95 % interval {numbers.bounds(board.score)}). This is "
        f"{beats} the baseline (no features), which scores {numbers.score(board.baseline)}. {ties}.{why}"
    )


def _choice(shown: SearchShown) -> Block:
    board = shown.board
    counts = Counter(board.rows["status"][board.rows["key"] != ENSEMBLE])
    ended = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts[status])
    held = board.rows.loc[board.rows["status"] == NOT_STARTED, "reason"]
    why = "".join(f" ({most_frequent})" for most_frequent in held[held != ""].mode().head(1))
    better = METRICS[board.metric].better_is
    ensemble, chosen = board.chosen_ensemble, board.chosen
    settings = ("Hyperparameters", shown.settings_in_words(chosen))
    name, words = settings if ensemble is None else ("Members", ensemble.in_words)
    known = {
        name: words,
        "Reason": f"It is the {board.reason}.",
        "Minus the baseline": f"{numbers.interval(board.difference_to_baseline)}, {better} is better",
        "Searched": f"{numbers.counted(counts.total(), 'configuration')}: {ended}{why}",
    }
    members = [chosen] if ensemble is None else [one.configuration.key for one in ensemble.members]
    if shown.spent.keys() >= set(members):
        whom = "the chosen configuration" if ensemble is None else "its members"
        known["Cost"] = (
            f"{numbers.measured(sum(shown.spent.values()))} CPU seconds for all fits, "
            f"{numbers.measured(sum(shown.spent[key] for key in members))} of them for {whom}; "
            "encoding, predicting and scoring are not included, but count for a budget"
        )
    return facts(known)


def _configurations(shown: SearchShown) -> Section:
    seeds = [SEEDS] if _has_seeds(shown.rows) else []
    header = (
        *("rank", "configuration", "algorithm", "status", shown.board.metric, "95 % interval"),
        *(*seeds, "minus the best", "tied", "CPU s", "µs per row", "MB", "overfit gap"),
        *(*shown.hyperparameters, *(["fitted by"] if shown.workers else []), "reason"),
    )
    table = TableBlock(
        header,
        tuple(_cells(shown, row, bool(seeds)) for row in shown.rows),
        tuple(_classes(row, shown.board.chosen) for row in shown.rows),
        ("algorithm", "status"),
    )
    if len(shown.rows) == len(shown.board.rows):
        return Section("Configurations", (table,))
    cut = Paragraph(
        f"These are the first {len(shown.rows):,} of {len(shown.board.rows):,} configurations; "
        "all of them are in the stored table."
    )
    return Section("Configurations", (cut, table))


def _classes(row: Mapping[Any, Any], chosen: str) -> str:
    has = {
        "not-trained": row["status"] != TRAINED,
        "failed": row["status"] == FAILED,
        "tied": row["in_tie_group"],
        "chosen": row["key"] == chosen,
    }
    return " ".join(name for name, holds in has.items() if holds)


def _cells(shown: SearchShown, row: Mapping[Any, Any], seeds: bool) -> tuple[str, ...]:
    size, settings = row["model_bytes"], shown.settings(row["key"])
    return (
        "" if row["rank"] is None else f"{row['rank']:,}",
        *(row["key"], row["algorithm"], row["status"], _score(row["test_score"]), _interval(row)),
        *([_spread(row)] if seeds else []),
        _score(row["difference_to_best"]),
        "yes" if row["in_tie_group"] else "",
        _amount(row["fit_cpu_seconds"]),
        _amount(row["predict_microseconds_per_row"]),
        _amount(None if size is None else size / 1e6),
        _score(row["overfit_gap"]),
        *(
            numbers.setting(settings[name]) if name in settings else ""
            for name in shown.hyperparameters
        ),
        *([shown.workers.get(row["key"], "")] if shown.workers else []),
        row["reason"],
    )


def _workers(placed: pd.DataFrame) -> Section:
    """The workers of a cluster, the slowest first."""
    table, there = of_workers(placed), placed["worker"].nunique()
    slow = tuple(slow_workers(placed)) or ("No worker is noticeably slower than the others.",)
    cut = f"These are the slowest {len(table):,} of {there:,}." if len(table) < there else ""
    rows = TableBlock(
        tuple(map(str, table.columns)), tuple(table.itertuples(index=False, name=None))
    )
    return Section("Workers", (Bullets(tuple(filter(None, (*slow, cut)))), rows))


def _failures(board: Leaderboard) -> TableBlock:
    failed = board.rows[board.rows["status"] == FAILED]
    return TableBlock(
        ("failed", "reason", "for example"),
        tuple(
            (f"{count:,}", reason, failed["key"][failed["reason"] == reason].iloc[0])
            for reason, count in Counter(failed["reason"]).most_common()
        ),
    )


def _score(value: float | None) -> str:
    return "" if value is None else numbers.score(value)


def _amount(value: float | None) -> str:
    return "" if value is None else numbers.measured(value)
