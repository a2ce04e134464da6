"""The overview of all experiments, and the page of each experiment's runs.

In: the metadata database. Out: `Document`s with links relative to the storage root, so
that the pages work wherever the storage is mounted or served. `outcomes.py` writes
them.
"""

import html
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.run_record import PredictionRow, WatchRow
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

# As many runs as people scroll through; the command line and SQL show all.
MOST_RUNS, MOST_WATCHES = 200, 30
_UNFOLDED = 20
_LONGEST = 160  # characters of a reason
# The reports of a run in the order of the flow, after the decision record.
_WORDS = {
    RECORD.removesuffix(".md"): "from table to decision",
    "data_analysis": "data analysis",
    "leaderboard": "leaderboard",
    "validation_report": "validation report",
}
_TONES: dict[Any, document.Tone] = {
    "accepted": "passed",
    "rejected": "failed",
    "failed": "failed",
    "killed": "doubtful",
    "partial": "doubtful",
}
_Row = Mapping[str, Any]


def overview(now: datetime) -> document.Document:
    """Return the page of all experiments: champion, gates, last run, age of the data,
    cost.
    """
    found = plain_rows(questions.experiments())
    last = {row["experiment"]: row for row in plain_rows(questions.last_runs())}
    statuses = Counter(row["last_outcome"].partition(" (")[0] for row in found)
    told = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    sentence = f"{numbers.counted(len(found), 'experiment')}; last run of each: {told}."
    sentence = sentence if found else "No experiment has run yet."
    blocks: list[document.Block] = [document.Paragraph(sentence)]
    if found:
        header = (
            *("experiment", "last run (UTC)", "champion", "validation score", "gates"),
            *("age of the data", "runs", "cost"),
        )
        rows = tuple(
            _experiment_row(row, last[row["experiment"]], now) for row in found
        )
        blocks.append(document.TableBlock(header, rows))
    section = document.Section(f"As of {now:%Y-%m-%d %H:%M} UTC", tuple(blocks))
    return document.Document("Experiments", (section,))


def _experiment_row(
    row: _Row, latest: _Row, now: datetime
) -> tuple[document.Cell, ...]:
    name, champion = row["experiment"], row["champion"]
    score: document.Cell = _text(row["champion_score"])
    gates = age = due = ""
    for version in plain_rows(questions.versions(name)):
        if version["version"] == champion and _is_number(version["validation_score"]):
            score = _two_lines(*_scored(version))
            if (
                review := (version["record"] or {}).get("review_on") or "9"
            ) < f"{now:%Y-%m-%d}":
                due = f"review was due on {review}"
            outcomes = questions.rows_of("gates", version)["outcome"]
            if len(outcomes):
                gates = f"{(outcomes == 'PASS').sum()} of {len(outcomes)} passed"
    if (changed := latest["data_modified_at"]) is not None:
        hours = max(
            (now - changed.to_pydatetime().astimezone(UTC)).total_seconds() / 3600, 0
        )
        age = f"{hours / 24:,.0f} days" if hours >= 48 else f"{hours:,.0f} hours"
    cost = ""
    if _is_number(row["cost"]):
        cost = f"{row['cost']:,.2f}"
    elif _is_number(row["wall_seconds"]):
        cost = numbers.seconds(row["wall_seconds"])
    return (
        document.Link(name, f"{name}/{EXPERIMENT_PAGE}"),
        _two_lines(_outcome(latest), numbers.moment(latest["started_at"])),
        _two_lines(_text(champion), due),
        score,
        gates,
        age,
        str(row["runs"]),
        cost,
    )


def experiment_page(experiment: str, root: str) -> document.Document:
    """Return the page of one experiment: its runs, what changed, and links to reports
    below `root`.
    """
    runs = plain_rows(questions.runs(experiment, limit=MOST_RUNS, all_columns=True))
    whole = [row for row in runs if row["status"] != "partial"]
    last = questions.run_of(experiment)["run_id"]
    latest = next((row for row in runs if row["run_id"] == last), runs[0])
    (score, bounds), how = (
        _scored(latest),
        questions.ended_as(latest["status"], latest["decision"]),
    )
    ended = [
        f"Run {latest['run_id'][:8]}: {how} at {_text(latest['stage']).replace('_', ' ')}",
        f"{score} ({bounds}) on the {document.HOLD_OUT}" if score else "",
        f"version {latest['version']}" if latest["version"] else "",
    ]
    said = [_text(latest[name]) for name in ("decision", "error", "fix")]
    first = [f"{', '.join(filter(None, ended))}.", *filter(None, said)]
    header = (
        "run, started (UTC)",
        "outcome",
        "score",
        "version",
        "by",
        "took",
        "reports",
    )
    reports: dict[str, list[tuple[str, str]]] = {}
    for one in plain_rows(questions.rows_of("reports", {"experiment": experiment})):
        reports.setdefault(one["run_id"], []).append((one["name"], one["place"]))
    table = document.TableBlock(
        header,
        tuple(_run_row(row, reports.get(row["run_id"], ()), root) for row in runs),
    )
    lines = []
    with_files = ((run, questions.files_of(run)) for run in whole)
    for (after, new), (before, old) in pairwise(with_files):
        told = "; ".join(one.in_words() for one in changes(before, after, (old, new)))
        names = f"{before['run_id'][:8]} → {after['run_id'][:8]}"
        lines.append(f"{names}: {told or 'nothing that affects the result'}")
    changed = document.Bullets(tuple(lines) or ("This is its first run.",))
    many = "Last " if len(runs) == MOST_RUNS else ""
    folded = len(runs) > _UNFOLDED
    return document.Document(
        f"{experiment}: all runs",
        (
            document.Section("Last run", tuple(map(document.Paragraph, first))),
            *_watched(experiment),
            document.Section(
                f"{many}{numbers.counted(len(runs), 'run')} of {experiment}", (table,)
            ),
            document.Section("What changed between runs", (changed,), folded=folded),
        ),
        (document.Link("Overview of all experiments", f"../{OVERVIEW}"),),
    )


def _watched(experiment: str) -> Iterator[document.Section]:
    """The watched promises of versions, and notes on predicted rows without labels yet;
    the latest first.
    """

    def last(kind: type[Any]) -> list[Any]:
        found = questions.rows_of(kind.TABLE, {"experiment": experiment}).sort_values(
            "at"
        )
        rows = plain_rows(found.drop(columns="experiment").tail(MOST_WATCHES)[::-1])
        return [kind(**row) for row in rows]

    first, watches, predicted = (
        ("at (UTC)", "version"),
        last(WatchRow),
        last(PredictionRow),
    )
    if watches:
        header = (*first, "labels", "score", "promise", "baseline", "answer")
        cells = [
            (x.at[:16], x.version, f"{x.rows:,}", *x.scores, x.answer) for x in watches
        ]
        notes = map(document.Paragraph, watches[0].notes)
        table = document.TableBlock(header, tuple(cells))
        yield document.Section("The promise, watched", (table, *notes))
    if predicted:
        cells = [
            (x.at[:16], x.version, f"{x.rows:,}", f"{x.rejected:,}", "; ".join(x.said))
            for x in predicted
        ]
        table = document.TableBlock(
            (*first, "rows", "rejected", "beside training"), tuple(cells)
        )
        yield document.Section("Predicted, before labels", (table,))


def tone_of(experiment: str) -> document.Tone:
    """Return the colour of an experiment's last run."""
    return _TONES.get(questions.run_of(experiment)["status"], "")


def _run_row(
    row: _Row, reports: Iterable[tuple[str, str]], root: str
) -> tuple[document.Cell, ...]:
    order, links = {name: number for number, name in enumerate(_WORDS)}, []
    for name, place in sorted(
        reports, key=lambda one: (order.get(one[0], len(order)), one)
    ):
        below = relative_to(root, place)
        if below is not None and is_page(below) and name != RECORD:
            inside = quote(below.removeprefix(f"{row['experiment']}/"), safe="/=+@,")
            words = html.escape(_WORDS.get(name, name).replace("_", " "))
            links.append(f'<a href="{inside}">{words}</a>')
    why = _text(row["decision"] if row["status"] == "rejected" else row["error"])
    return (
        _two_lines(row["run_id"][:8], numbers.moment(row["started_at"])),
        _two_lines(_outcome(row), textwrap.shorten(why, _LONGEST, placeholder=" …")),
        _two_lines(*_scored(row)),
        _text(row["version"]),
        _two_lines(_text(row["triggered_by"]), _text(row["trigger_name"])),
        numbers.seconds(row["wall_seconds"]) if _is_number(row["wall_seconds"]) else "",
        document.Markup(f'<div class="links">{" ".join(links)}</div>'),
    )


def _two_lines(first: str | document.Markup, second: str) -> document.Markup:
    above = first.html if isinstance(first, document.Markup) else html.escape(first)
    return document.Markup(
        f"{above}<br><small>{html.escape(second)}</small>" if second else above
    )


def _outcome(row: _Row) -> document.Markup:
    words = html.escape(questions.ended_as(row["status"], row["decision"]))
    return document.Markup(
        f'<span class="tag {_TONES.get(row["status"], "")}">{words}</span>'
    )


def _scored(row: _Row) -> tuple[str, str]:
    if not _is_number(row["validation_score"]):
        return "", ""
    parts = (row[f"validation_{part}"] for part in ("score", "low", "high"))
    found = numbers.known_interval(*parts)
    return f"{row['metric']} {numbers.score(found.estimate)}", numbers.bounds(found)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
