"""The overview of all experiments, and the page of each experiment's runs.

In: the metadata database. Out: `Document`s with links relative to the storage root, so
that the pages work wherever the storage is mounted or served. `outcomes.py` writes
them.
"""

import html
import math
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import quote

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.run_record import PredictionRow, RecordRow, WatchRow
from experiment_pipeline.storage.registry import RECORD
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import changes
from experiment_pipeline.tracking.server import (
    EXPERIMENT_PAGE,
    OVERVIEW,
    is_page,
    relative_to,
)
from experiment_pipeline.tracking.summary import (
    Row,
    RunSummary,
    Score,
    outcome_of,
    score_of,
    summary_of,
)

# As many runs as people scroll through; the command line and SQL show all.
MOST_RUNS = 200
MOST_WATCHES = 30
_UNFOLDED = 20  # runs whose changes are shown at once
_LONGEST = 160  # characters of a reason
# The reports of a run in the order of the flow, after the decision record.
_REPORTS = {
    RECORD.removesuffix(".md"): "from table to decision",
    "data_analysis": "data analysis",
    "leaderboard": "leaderboard",
    "validation_report": "validation report",
}
_OVERVIEW_HEADER = (
    "experiment",
    "last run (UTC)",
    "champion",
    "validation score",
    "gates",
    "age of the data",
    "runs",
    "cost",
)
_RUNS_HEADER = (
    "run, started (UTC)",
    "outcome",
    "score",
    "version",
    "by",
    "took",
    "reports",
)


def overview(now: datetime) -> document.Document:
    """Return the page of all experiments."""
    experiments = plain_rows(questions.experiments())
    last_runs = {row["experiment"]: row for row in plain_rows(questions.last_runs())}
    blocks: list[document.Block] = [document.Paragraph("No experiment has run yet.")]
    if experiments:
        outcomes = Counter(outcome_of(row) for row in last_runs.values())
        counts = [f"{count} {outcome}" for outcome, count in outcomes.most_common()]
        number = numbers.counted(len(experiments), "experiment")
        text = f"{number}; last run of each: {', '.join(counts)}."
        rows = [
            _experiment_row(row, last_runs[row["experiment"]], now)
            for row in experiments
        ]
        table = document.TableBlock(_OVERVIEW_HEADER, rows)
        blocks = [document.Paragraph(text), table]
    section = document.Section(f"As of {now:%Y-%m-%d %H:%M} UTC", blocks)
    return document.Document("Experiments", (section,))


def _experiment_row(
    experiment: Row, last_run: Row, now: datetime
) -> tuple[document.Cell, ...]:
    name = experiment["experiment"]
    summary = summary_of(last_run)
    score: document.Cell = experiment["champion_score"] or ""
    gates = overdue = ""
    for version in plain_rows(questions.versions(name)):
        if version["version"] == experiment["champion"]:
            score = _scored(score_of(version, "validation")) or score
            gates = _gates(version)
            overdue = _overdue(version, now)
    return (
        document.Link(name, f"{name}/{EXPERIMENT_PAGE}"),
        _two_lines(_outcome(summary), summary.started),
        _two_lines(experiment["champion"] or "", overdue),
        score,
        gates,
        _age(last_run["data_modified_at"], now),
        str(experiment["runs"]),
        _cost(experiment),
    )


def _cost(experiment: Row) -> str:
    """The cost of all runs of an experiment: money where it is known, else time."""
    cost = experiment["cost"]
    seconds = experiment["wall_seconds"]
    if cost is not None and math.isfinite(cost):
        return f"{cost:,.2f}"
    return _seconds(seconds)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else numbers.seconds(seconds)


def _gates(version: Row) -> str:
    outcomes = questions.rows_of("gates", version)["outcome"]
    passed = (outcomes == "PASS").sum()
    return f"{passed} of {len(outcomes)} passed" if len(outcomes) else ""


def _overdue(version: Row, now: datetime) -> str:
    review_on = (version["record"] or {}).get("review_on")
    is_overdue = review_on and review_on < f"{now:%Y-%m-%d}"
    return f"review was due on {review_on}" if is_overdue else ""


def _age(modified_at: datetime | None, now: datetime) -> str:
    if modified_at is None:
        return ""
    hours = max((now - modified_at.astimezone(UTC)).total_seconds() / 3600, 0)
    if hours >= 48:
        return numbers.counted(round(hours / 24), "day")
    return numbers.counted(round(hours), "hour")


def experiment_page(experiment: str, root: str) -> document.Document:
    """Return the page of one experiment, with links to reports below `root`."""
    runs = plain_rows(questions.runs(experiment, limit=MOST_RUNS, all_columns=True))
    number = numbers.counted(len(runs), "run")
    latest = "Last " if len(runs) == MOST_RUNS else ""
    sections = (
        _last_run(experiment),
        *_watched(experiment),
        document.Section(
            f"{latest}{number} of {experiment}", (_runs_table(experiment, runs, root),)
        ),
        document.Section(
            "What changed between runs",
            (_changes_between(runs),),
            folded=len(runs) > _UNFOLDED,
        ),
    )
    link = document.Link("Overview of all experiments", f"../{OVERVIEW}")
    return document.Document(f"{experiment}: all runs", sections, (link,))


def _last_run(experiment: str) -> document.Section:
    run = summary_of(questions.run_of(experiment))
    parts = [f"Run {run.short_id}: {run.outcome} at {run.stage}"]
    if run.on_validation is not None:
        bounds = numbers.bounds(run.on_validation.interval)
        score = f"{run.on_validation.estimate} ({bounds})"
        parts.append(f"{score} on the {document.HOLD_OUT}")
    if run.version:
        parts.append(f"version {run.version}")
    texts = [f"{', '.join(parts)}.", run.decision, run.error, run.next_step]
    paragraphs = [document.Paragraph(text) for text in texts if text]
    return document.Section("Last run", paragraphs)


def _runs_table(experiment: str, runs: Sequence[Row], root: str) -> document.TableBlock:
    reports = defaultdict[str, list[Row]](list)
    for report in plain_rows(questions.rows_of("reports", {"experiment": experiment})):
        reports[report["run_id"]].append(report)
    rows = []
    for row in runs:
        run = summary_of(row)
        # The decision of an accepted run only repeats its outcome.
        reason = run.error if row["status"] == "accepted" else run.decision or run.error
        reason = textwrap.shorten(reason, _LONGEST, placeholder=" …")
        cells: tuple[document.Cell, ...] = (
            _two_lines(run.short_id, run.started),
            _two_lines(_outcome(run), reason),
            _scored(run.on_validation),
            run.version,
            _two_lines(row["triggered_by"] or "", row["trigger_name"] or ""),
            _seconds(row["wall_seconds"]),
            _links(reports[run.run_id], f"{root}/{experiment}"),
        )
        rows.append(cells)
    return document.TableBlock(_RUNS_HEADER, rows)


def _links(reports: Sequence[Row], folder: str) -> document.Markup:
    order = list(_REPORTS)

    def by_flow(report: Row) -> tuple[int, str]:
        name = report["name"]
        return order.index(name) if name in order else len(order), name

    links = []
    for report in sorted(reports, key=by_flow):
        name = report["name"]
        below = relative_to(folder, report["place"])
        if below is not None and is_page(below) and name != RECORD:
            text = html.escape(_REPORTS.get(name, name).replace("_", " "))
            links.append(f'<a href="{quote(below, safe="/=+@,")}">{text}</a>')
    return document.Markup(f'<div class="links">{" ".join(links)}</div>')


def _changes_between(runs: Sequence[Row]) -> document.Bullets:
    complete = [run for run in runs if run["status"] != "partial"]
    lines = []
    with_files = [(run, questions.files_of(run)) for run in complete]
    for (after, new_files), (before, old_files) in pairwise(with_files):
        differences = changes(before, after, old_files, new_files)
        text = "; ".join(change.in_words() for change in differences)
        runs_named = f"{before['run_id'][:8]} → {after['run_id'][:8]}"
        lines.append(f"{runs_named}: {text or 'nothing that affects the result'}")
    return document.Bullets(lines or ["This is its first run."])


def _watched(experiment: str) -> Iterator[document.Section]:
    """The watched promises of versions, and predictions that have no labels yet."""
    watches = [WatchRow(**row) for row in _latest(WatchRow, experiment)]
    if watches:
        header = (
            "at (UTC)",
            "version",
            "labels",
            "score",
            "promise",
            "baseline",
            "answer",
        )
        cells = [
            (row.at[:16], row.version, f"{row.rows:,}", *row.scores, row.answer)
            for row in watches
        ]
        notes = [document.Paragraph(note) for note in watches[0].notes]
        table = document.TableBlock(header, cells)
        yield document.Section("The promise, watched", (table, *notes))
    predictions = [PredictionRow(**row) for row in _latest(PredictionRow, experiment)]
    if predictions:
        header = ("at (UTC)", "version", "rows", "rejected", "beside training")
        rows = [
            (
                row.at[:16],
                row.version,
                f"{row.rows:,}",
                f"{row.rejected:,}",
                "; ".join(row.said),
            )
            for row in predictions
        ]
        table = document.TableBlock(header, rows)
        yield document.Section("Predicted, before labels", (table,))


def _latest(kind: type[RecordRow], experiment: str) -> Sequence[Row]:
    frame = questions.rows_of(kind.TABLE, {"experiment": experiment})
    latest = frame.sort_values("at").tail(MOST_WATCHES)[::-1]
    return plain_rows(latest.drop(columns="experiment"))


def _two_lines(first: str | document.Markup, second: str) -> document.Markup:
    above = first.html if isinstance(first, document.Markup) else html.escape(first)
    below = f"<br><small>{html.escape(second)}</small>" if second else ""
    return document.Markup(above + below)


def _outcome(run: RunSummary) -> document.Markup:
    text = html.escape(run.outcome)
    return document.Markup(f'<span class="tag {run.tone}">{text}</span>')


def _scored(score: Score | None) -> document.Cell:
    if score is None:
        return ""
    return _two_lines(score.estimate, numbers.bounds(score.interval))
