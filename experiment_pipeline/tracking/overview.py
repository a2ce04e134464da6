"""The overview of all experiments.

In: the metadata database. Out: `Document`s with links relative to the storage root, so
that the page works wherever the storage is mounted or served. `outcomes.py` writes
it.
"""

import html
import math
from collections import Counter
from datetime import UTC, datetime

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.server import EXPERIMENT_PAGE
from experiment_pipeline.tracking.summary import (
    Row,
    RunSummary,
    Score,
    outcome_of,
    score_of,
    summary_of,
)

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
