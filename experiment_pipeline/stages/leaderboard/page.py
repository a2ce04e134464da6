"""A leaderboard as an outcome and as a page. In: data. Out: what is shown; nothing is computed."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.charts import MUTED, SERIES, Estimates
from experiment_pipeline.reporting.document import (
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
    "Tied configurations cannot be told from the best: the difference may be chance. All are compared at once and on the same rows, so intervals may overlap where a configuration is not tied.",
    "A configuration that was stopped early has a score on a part of the rows: it has no rank, and its score cannot be compared with those on all rows.",
    "CPU seconds are those of the last fit, on as many rows as it had; µs per row is what one prediction takes.",
    "The overfit gap is by how much the score on train rows is better.",
    "Where a configuration was fitted with several seeds, mean and standard deviation of their scores stand beside it: a lead smaller than that is luck of the seed.",
    "The ensemble is a weighted mean of what configurations predict. Its score is of predictions whose weights were chosen on other rows; its CPU seconds are those of its members, and are spent already.",
)


def outcome(
    board: Leaderboard, scores: bytes, place: str, declared: Mapping[str, Configuration]
) -> Outcome:
    """The choice and the ranking, their picture (PNG), and the place of the page.

    `declared` is key → configuration of every row: what the YAML declares, and the ensemble.
    """
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
    why = "; the scores above it are optimistic, its own is cross-fitted" if rank > 1 else ""
    return f"{rank:,} of {ranked:,}{why if board.chosen_ensemble else ''}"


def _place(board: Leaderboard) -> tuple[int, int]:
    """The rank of the choice, and how many have one."""
    ranks = board.rows.set_index("key")["rank"]
    return int(ranks[board.chosen]), int(ranks.notna().sum())


def _first_rows(board: Leaderboard, declared: Mapping[str, Configuration]) -> pd.DataFrame:
    """The first rows as people compare them: scores first, then what it is and what it costs.

    A score in brackets is on a part of the rows, and no rank's.
    """
    rows = board.rows.head(MOST_SHOWN)
    standing = rows["status"].mask(rows["in_tie_group"], "tied").replace(TRAINED, "")
    scores = [
        "" if pd.isna(score) else numbers.score(score) if ranked else f"({numbers.score(score)})"
        for score, ranked in zip(rows["test_score"], rows["rank"].notna(), strict=True)
    ]
    values = searched_values(declared[key] for key in rows["key"])
    varied: dict[str, Any] = {str(n): values[n].reindex(rows["key"]).to_numpy() for n in values}
    table = pd.DataFrame(
        {
            "rank": rows["rank"],
            board.metric: scores,
            "95 % interval": [
                "" if pd.isna(low) else f"{numbers.score(low)} to {numbers.score(high)}"
                for low, high in zip(rows["low"], rows["high"], strict=True)
            ],
            **_seeds_of(rows),
            "algorithm": rows["algorithm"],
            "standing": standing,
            **varied,
            "overfit gap": ["" if pd.isna(it) else numbers.score(it) for it in rows["overfit_gap"]],
            "CPU s": rows["fit_cpu_seconds"].map(numbers.measured),
            "µs per row": rows["predict_microseconds_per_row"].map(numbers.measured),
            "MB": (rows["model_bytes"].astype("float64") / 1e6).map(numbers.measured),
            "configuration": rows["key"],
        }
    )
    return table.reset_index(drop=True)


def _seeds_of(rows: pd.DataFrame) -> dict[str, Any]:
    """A column of what other seeds make of each score, where there are some."""
    if rows["seed_mean"].isna().all():
        return {}
    each = zip(rows["seed_mean"], rows["seed_deviation"], strict=True)
    return {SEEDS: [_spread(mean, deviation) for mean, deviation in each]}


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None or deviation is None or pd.isna(mean):
        return ""
    return numbers.spread(mean, deviation)


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
    difference = board.difference_to_baseline
    better = METRICS[board.metric].better_is
    bound = worse_bound(board.metric, difference)
    told = "is" if board.beats_baseline else "may be no"
    return Check(
        "winner_beats_baseline",
        passed=board.beats_baseline,
        means=(
            f"the choice {told} better than predicting without features: {board.metric} "
            f"{numbers.interval(board.score)} {evaluated(board.evaluation).where}, where {better} is better, against "
            f"{numbers.score(board.baseline)}; the difference on the same rows is "
            f"{numbers.interval(difference)}, of which the worse end, {numbers.score(bound)}, is "
            "held against 0"
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
            "Scores are of train and test rows together: the rows are cut into folds, and each "
            "fold is predicted by models that were fitted on others. These models share rows, so "
            "the 95 % intervals are wider than the rows alone would make them (Nadeau and Bengio "
            "2003). The model that is kept was fitted on all of the rows."
        )
    return (
        "A score is on the test set, which no model was fitted on; its 95 % interval says what "
        "other test rows of the same kind could have made of it."
    )


def decision(shown: SearchShown) -> str:
    """What was chosen, what it scores and beats, and how many are as good, in words."""
    board = shown.board
    others, (rank, ranked) = len(board.tie_group) - 1, _place(board)
    surely = "It beats" if board.beats_baseline else "It does not surely beat"
    as_good = (
        f"{numbers.counted(others, 'other configuration')} cannot be told from the best"
        if others
        else "No other configuration comes close enough to be taken for it by chance"
        if ranked > 1
        else "No other configuration was trained on all rows"
    )
    honest = (
        f" Rank {rank:,} of {ranked:,} does not speak against the ensemble: its score is of "
        "predictions whose weights were chosen on other rows, while the best of those above it "
        "was picked by the rows that it is scored on; one that is picked by other rows does worse."
    )
    return (
        f"Chosen: {board.chosen}, with {board.metric} {numbers.score(board.score.estimate)} "
        f"{evaluated(board.evaluation).where} (95 % interval {numbers.bounds(board.score)}). {surely} predicting without "
        f"features, which scores {numbers.score(board.baseline)}. {as_good}."
        f"{honest if board.chosen_ensemble and rank > 1 else ''}"
    )


def _choice(shown: SearchShown) -> TableBlock:
    board = shown.board
    counts = Counter(board.rows["status"][board.rows["key"] != ENSEMBLE])
    ended = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts[status])
    held = board.rows.loc[board.rows["status"] == NOT_STARTED, "reason"]
    why = "".join(f" ({most_frequent})" for most_frequent in held[held != ""].mode().head(1))
    better = METRICS[board.metric].better_is
    ensemble, chosen = board.chosen_ensemble, board.chosen
    facts = {
        **(
            {"Hyperparameters": shown.settings_in_words(chosen)}
            if ensemble is None
            else {"Members": ensemble.in_words}
        ),
        "Why this one": f"It is the {board.reason}.",
        "Minus the baseline": f"{numbers.interval(board.difference_to_baseline)}, {better} is better",
        "Searched": f"{numbers.counted(counts.total(), 'configuration')}: {ended}{why}",
    }
    members = [chosen] if ensemble is None else [one.configuration.key for one in ensemble.members]
    if shown.spent.keys() >= set(members):
        whom = "the chosen configuration" if ensemble is None else "its members"
        facts["Cost"] = (
            f"{numbers.measured(sum(shown.spent.values()))} CPU seconds for all fits, "
            f"{numbers.measured(sum(shown.spent[key] for key in members))} of them for {whom}; "
            "encoding, predicting and scoring take time of their own, which a budget counts"
        )
    return TableBlock(("", ""), tuple(facts.items()))


def _configurations(shown: SearchShown) -> Section:
    seeds = [SEEDS] if _has_seeds(shown) else []
    header = (
        *("rank", "configuration", "algorithm", "status", shown.board.metric, "95 % interval"),
        *(*seeds, "minus the best", "tied", "CPU s", "µs per row", "MB", "overfit gap"),
        *(*shown.hyperparameters, *(["fitted by"] if shown.workers else []), "reason"),
    )
    table = TableBlock(
        header,
        tuple(_cells(shown, row) for row in shown.rows),
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


def _has_seeds(shown: SearchShown) -> bool:
    return any(row["seed_mean"] is not None for row in shown.rows)


def _cells(shown: SearchShown, row: Mapping[Any, Any]) -> tuple[str, ...]:
    interval = row["low"] is not None
    size = row["model_bytes"]
    settings = shown.settings(row["key"])
    return (
        "" if row["rank"] is None else f"{row['rank']:,}",
        *(row["key"], row["algorithm"], row["status"]),
        _score(row["test_score"]),
        f"{numbers.score(row['low'])} to {numbers.score(row['high'])}" if interval else "",
        *([_spread(row["seed_mean"], row["seed_deviation"])] if _has_seeds(shown) else []),
        _score(row["difference_to_best"]),
        "yes" if row["in_tie_group"] else "",
        _amount(row["fit_cpu_seconds"]),
        _amount(row["predict_microseconds_per_row"]),
        "" if size is None else numbers.measured(size / 1e6),
        _score(row["overfit_gap"]),
        *(
            numbers.setting(settings[name]) if name in settings else ""
            for name in shown.hyperparameters
        ),
        *([shown.workers.get(row["key"], "")] if shown.workers else []),
        row["reason"],
    )


def _workers(placed: pd.DataFrame) -> Section:
    """Who fitted, the slowest first."""
    table, there = of_workers(placed), placed["worker"].nunique()
    slow = tuple(slow_workers(placed)) or ("No worker stands out by how long its fits take.",)
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
