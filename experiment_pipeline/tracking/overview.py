"""The overview of all experiments, and the page of each experiment's runs.

In: the metadata database. Out: `Document`s, whose links are relative to the storage root, so that
the pages work wherever the storage is read. `pages.py` writes them.
"""

import html
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.document import HOLD_OUT
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.versions import RECORD
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import changes
from experiment_pipeline.tracking.server import EXPERIMENT_PAGE, OVERVIEW, is_page, relative_to

# More runs than people scroll through; the command line and SQL have them all.
MOST_RUNS = 200
MOST_VERSIONS = 40
_UNFOLDED = 20
_WIDTH, _HEIGHT, _MARGIN = 160, 36, 3
# The reports of a run in the order of the flow, the record of the whole run first.
_WORDS = {
    RECORD.removesuffix(".md"): "from table to decision",
    "data_analysis": "data analysis",
    "leaderboard": "leaderboard",
    "validation_report": "validation report",
}
_STATUS_WORDS = {
    "running": "is running: {stage}",
    "accepted": "was accepted",
    "rejected": "was rejected",
    "failed": "failed at {stage}",
    "killed": "was killed at {stage}",
    "partial": "ended without a decision, after {stage}",
}
_TONES: dict[Any, document.Tone] = {
    "accepted": "passed",
    "rejected": "failed",
    "failed": "failed",
    "killed": "doubtful",
    "partial": "doubtful",
}


def overview(now: datetime) -> document.Document:
    """Return the page of all experiments: champion, gates, last run, age of the data, cost, trend."""
    found = plain_rows(questions.experiments())
    last = {row["experiment"]: row for row in plain_rows(questions.last_runs())}
    champions = _champions()
    gates = _gates(champions)
    rows = [
        _experiment_row(row, last, champions.get(row["experiment"], ()), gates, now)
        for row in found
    ]
    header = (
        *("experiment", "last run (UTC)", "champion", "validation score", "gates"),
        *("trend of the score", "age of the data", "runs", "cost"),
    )
    statuses = Counter(_text(row["status"]) for row in last.values())
    told = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    sentence = f"{numbers.counted(len(found), 'experiment')}; last run of each: {told}."
    if not rows:
        sentence = "No experiment has run yet."
    blocks: tuple[document.Block, ...] = (document.Paragraph(sentence),)
    if rows:
        blocks = (*blocks, document.TableBlock(header, tuple(rows)))
    return document.Document(
        "Experiments", (document.Section(f"As of {now:%Y-%m-%d %H:%M} UTC", blocks),)
    )


def experiment_page(experiment: str, root: str) -> document.Document:
    """Return the page of one experiment: its runs, what changed between them, links to reports.

    Args:
        experiment: its name.
        root: of the storage, as text; reports below it are linked.
    """
    runs = plain_rows(questions.runs(experiment, limit=MOST_RUNS))
    scores = [row["validation_score"] for row in reversed(runs)]
    priced = any(_is_number(row["cost"]) for row in runs)
    costs = [row["cost" if priced else "wall_seconds"] for row in reversed(runs)]
    latest = runs[0]
    metric = next((row["metric"] for row in runs if _is_number(row["validation_score"])), "score")
    trends = document.TableBlock(
        ("over the runs", "", "last"),
        (
            (f"{metric} on validation", _trend(scores), _last(scores, "")),
            ("cost" if priced else "seconds", _trend(costs), _last(costs, "" if priced else " s")),
        ),
    )
    reports = _reports(experiment)
    header = ("run, started (UTC)", "outcome", "score", "version", "by", "took", "reports")
    table = document.TableBlock(
        header, tuple(_run_row(row, reports, experiment, root) for row in runs)
    )
    return document.Document(
        f"{experiment}: all runs",
        (
            document.Section(
                "Last run", (document.Paragraph(_in_a_sentence(latest)), *_why(latest), trends)
            ),
            document.Section(_counted(len(runs), experiment), (table,)),
            document.Section(
                "What changed between runs",
                (_neighbours(runs),),
                folded=len(runs) > _UNFOLDED,
            ),
        ),
        (document.Link("Overview of all experiments", f"../{OVERVIEW}"),),
    )


def _experiment_row(
    row: Mapping[str, Any],
    last: Mapping[str, Mapping[str, Any]],
    champions: Sequence[Mapping[str, Any]],
    gates: Mapping[tuple[str, str], str],
    now: datetime,
) -> tuple[document.Cell, ...]:
    name = row["experiment"]
    latest = last[name]
    current = champions[-1] if champions else None
    return (
        document.Link(name, f"{name}/{EXPERIMENT_PAGE}"),
        _two_lines(_outcome(latest), numbers.moment(row["last_started_at"])),
        _text(row["champion"]),
        _two_lines(*_scored(current)) if current else _text(row["champion_score"]),
        gates.get((name, current["run_id"]), "") if current else "",
        _trend([one["validation_score"] for one in champions]),
        _age(latest["data_modified_at"], now),
        str(row["runs"]),
        _cost(row),
    )


def _champions() -> dict[str, list[Mapping[str, Any]]]:
    """Experiment → its last versions that have a score, the oldest first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for version in plain_rows(questions.latest_versions(MOST_VERSIONS)):
        # A version that waits for approval is not the champion.
        if version["approved_by"] is not None or not version["approval_required"]:
            found.setdefault(version["experiment"], []).append(version)
    return found


def _gates(champions: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[tuple[str, str], str]:
    """Experiment and run of each current champion → how many gates it passed, of how many."""
    current = [versions[-1]["run_id"] for versions in champions.values()]
    return {
        (row["experiment"], row["run_id"]): f"{row['passed']} of {row['gates']} passed"
        for row in plain_rows(questions.gates_passed(current))
    }


def _run_row(
    row: Mapping[str, Any],
    reports: Mapping[str, Sequence[tuple[str, str]]],
    experiment: str,
    root: str,
) -> tuple[document.Cell, ...]:
    return (
        _two_lines(row["run_id"][:8], numbers.moment(row["started_at"])),
        _outcome(row),
        _two_lines(*_scored(row)),
        _text(row["version"]),
        _two_lines(_text(row["triggered_by"]), _text(row["trigger_name"])),
        numbers.seconds(row["wall_seconds"]) if _is_number(row["wall_seconds"]) else "",
        document.Markup(
            f'<div class="links">{" ".join(_linked(reports.get(row["run_id"], ()), experiment, root))}</div>'
        ),
    )


def _linked(reports: Iterable[tuple[str, str]], experiment: str, root: str) -> Iterator[str]:
    for name, place in sorted(reports, key=_by_flow):
        below = relative_to(root, place)
        if below is not None and is_page(below) and name != RECORD:
            inside = below.removeprefix(f"{experiment}/")
            words = html.escape(_WORDS.get(name, name).replace("_", " "))
            yield f'<a href="{quote(inside, safe="/=+@,")}">{words}</a>'


def _by_flow(report: tuple[str, str]) -> tuple[int, str]:
    name = report[0]
    return list(_WORDS).index(name) if name in _WORDS else len(_WORDS), name


def _two_lines(first: str | document.Markup, second: str) -> document.Markup:
    """A text in small letters below another."""
    above = first.html if isinstance(first, document.Markup) else html.escape(first)
    return document.Markup(f"{above}<br><small>{html.escape(second)}</small>" if second else above)


def tone_of(experiment: str) -> document.Tone:
    """Return the colour of an experiment's last run."""
    return _TONES.get(questions.runs(experiment, limit=1)["status"].iloc[0], "")


def _reports(experiment: str) -> dict[str, list[tuple[str, str]]]:
    """Run id → (name, place) of its pages."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in plain_rows(questions.reports_of(experiment, MOST_RUNS)):
        found.setdefault(row["run_id"], []).append((row["name"], row["place"]))
    return found


def _neighbours(runs: Sequence[Mapping[str, Any]]) -> document.Block:
    """What changed from each run to the next one, the newest pair first."""
    lines = []
    for after, before in pairwise(runs):
        told = "; ".join(one.in_words() for one in changes(before, after))
        lines.append(
            f"{before['run_id'][:8]} → {after['run_id'][:8]}: {told or 'nothing that affects the result'}"
        )
    return document.Bullets(tuple(lines)) if lines else document.Paragraph("This is its first run.")


def _in_a_sentence(row: Mapping[str, Any]) -> str:
    status = _text(row["status"])
    said = _STATUS_WORDS.get(status, f"is {status}").format(
        stage=_text(row["stage"]).replace("_", " ")
    )
    score, bounds = _scored(row)
    parts = [
        f"Run {row['run_id'][:8]} {said}",
        f"{score} ({bounds}) on the {HOLD_OUT}" if score else "",
        f"version {_text(row['version'])}" if _text(row["version"]) else "",
    ]
    return f"{', '.join(filter(None, parts))}."


def _why(row: Mapping[str, Any]) -> tuple[document.Paragraph, ...]:
    said = [_text(row[name]) for name in ("decision", "error", "fix")]
    return tuple(document.Paragraph(text) for text in said if text)


def _counted(shown: int, experiment: str) -> str:
    return f"{'Last ' if shown == MOST_RUNS else ''}{numbers.counted(shown, 'run')} of {experiment}"


def _outcome(row: Mapping[str, Any]) -> document.Markup:
    """The status in words, on its colour."""
    status = _text(row["status"])
    error = _text(row["error_type"])
    said = f"{status}: {error}" if status == "failed" and error else status
    return document.Markup(f'<span class="tag {_TONES.get(status, "")}">{html.escape(said)}</span>')


def _scored(row: Mapping[str, Any]) -> tuple[str, str]:
    """The score on validation, and its interval."""
    if not _is_number(row["validation_score"]):
        return "", ""
    parts = [row[f"validation_{part}"] for part in ("score", "low", "high")]
    found = Interval(*(math.nan if part is None else part for part in parts))
    return f"{row['metric']} {numbers.score(found.estimate)}", numbers.bounds(found)


def _age(moment: Any, now: datetime) -> str:
    if moment is None:
        return ""
    hours = (now - moment.to_pydatetime().astimezone(UTC)).total_seconds() / 3600
    return f"{hours / 24:,.0f} days" if hours >= 48 else f"{max(hours, 0):,.0f} hours"


def _cost(row: Mapping[str, Any]) -> str:
    if _is_number(row["cost"]):
        return f"{row['cost']:,.2f}"
    return f"{row['wall_seconds']:,.0f} s" if _is_number(row["wall_seconds"]) else ""


def _trend(values: Sequence[Any]) -> document.Markup:
    """A line through the values, the oldest first, named by its ends in words."""
    known = [(place, float(value)) for place, value in enumerate(values) if _is_number(value)]
    if len(known) < 2:
        return document.Markup("")
    low, high = min(value for _, value in known), max(value for _, value in known)
    width, height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def point(place: int, value: float) -> str:
        x = _MARGIN + width * (place / max(len(values) - 1, 1))
        y = _MARGIN + height * (1 - (value - low) / (high - low) if high > low else 0.5)
        return f"{x:.1f},{y:.1f}"

    points = [point(*one) for one in known]
    x, y = points[-1].split(",")
    words = (
        f"from {numbers.score(known[0][1])} to {numbers.score(known[-1][1])}, {len(known)} values"
    )
    return document.Markup(
        f'<svg role="img" aria-label="{words}" width="{_WIDTH}" height="{_HEIGHT}"><title>{words}</title>'
        f'<polyline points="{" ".join(points)}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f'<circle cx="{x}" cy="{y}" r="2.5" fill="currentColor"/></svg>'
    )


def _last(values: Sequence[Any], cluster: str) -> str:
    known = [value for value in values if _is_number(value)]
    if not known:
        return ""
    return f"{known[-1]:,.0f}{cluster}" if cluster else numbers.score(known[-1])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
