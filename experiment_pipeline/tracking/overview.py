"""The overview of all experiments: a row each, those that need attention first.

In: the metadata database. Out: a `Document` with links relative to the storage root, so
that the page works wherever the storage is mounted or served. `outcomes.py` writes it.
"""

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from urllib.parse import quote

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.next_step import next_step
from experiment_pipeline.tracking.record import Decided, champion_of
from experiment_pipeline.tracking.server import EXPERIMENT_PAGE, LABORATORY_PAGE
from experiment_pipeline.tracking.summary import Row, score_of

MOST_POINTS = 20  # runs whose first and last score are shown
_MONTH = timedelta(days=30)
_HEADER = (
    "experiment",
    "last run (UTC)",
    "what next",
    "champion",
    "score over runs",
    "promise",
    "cost of 30 days",
)
# The first needs attention most.
_BY_ATTENTION = ("failed", "doubtful", "", "passed")


def overview(last_runs: Mapping[str, Decided], now: datetime) -> document.Document:
    """Return the page of all experiments; `last_runs`: experiment → its last run."""
    points = questions.rows_by_experiment(questions.last_points(MOST_POINTS))
    watches = questions.rows_by_experiment(questions.plain_rows_of("watches", {}))
    lines = [
        _ExperimentRow(
            totals=row,
            run=last_runs[row["experiment"]],
            runs=points[row["experiment"]],
            watches=watches[row["experiment"]],
            now=now,
        )
        for row in questions.totals_since(now - _MONTH)
        if row["experiment"] in last_runs
    ]
    lines.sort(key=lambda line: _BY_ATTENTION.index(line.attention))
    blocks: list[document.Block] = [document.Paragraph("No experiment has run yet.")]
    if lines:
        outcomes = Counter(line.run.summary.outcome_word for line in lines)
        counts = [f"{count} {outcome}" for outcome, count in outcomes.most_common()]
        number = numbers.counted(len(lines), "experiment")
        text = f"{number}; last run of each: {', '.join(counts)}."
        rows = [line.cells for line in lines]
        table = document.TableBlock(_HEADER, rows, classes=["stacked"] * len(rows))
        blocks = [document.Paragraph(text), table]
    section = document.Section(f"As of {now:%Y-%m-%d %H:%M} UTC", blocks)
    return document.Document("Experiments", (section,))


@dataclass(frozen=True)
class _ExperimentRow:
    """The row of an experiment."""

    totals: Row  # of `questions.totals_since`
    run: Decided  # its last run
    runs: Sequence[Row]  # of `questions.last_points`, the oldest first
    watches: Sequence[Row]
    now: datetime

    @cached_property
    def champion(self) -> Row | None:
        """The last version that is approved, or needs no approval."""
        return champion_of(self.run.versions)

    @cached_property
    def watch(self) -> Row | None:
        """The last comparison of the champion's promise with later labels."""
        version = self.champion and self.champion["version"]
        of_champion = [row for row in self.watches if row["version"] == version]
        return max(of_champion, key=lambda row: row["at"], default=None)

    @property
    def attention(self) -> document.Tone:
        """Failed: now; doubtful: soon; passed: no."""
        tone = self.run.summary.tone
        if tone == "failed" or (self.watch and self.watch["below"]):
            return "failed"
        waits = self.run.approval.startswith("required")
        return "doubtful" if waits or self.overdue else tone

    @property
    def overdue(self) -> str:
        review_on = self.champion and (self.champion["record"] or {}).get("review_on")
        is_overdue = review_on and review_on < f"{self.now:%Y-%m-%d}"
        return f"review was due on {review_on}" if is_overdue else ""

    @property
    def cells(self) -> tuple[document.Cell, ...]:
        name = self.totals["experiment"]
        number = numbers.counted(self.totals["runs"], "run")
        link = f'<a href="{quote(name)}/{EXPERIMENT_PAGE}">{name}</a>'
        if self.run.has_laboratory:
            link += f'<br><a href="{quote(name)}/{LABORATORY_PAGE}">laboratory</a>'
        return (
            _lines(document.Markup(link), number),
            self._last_run,
            self._next,
            self._champion,
            _scores(self.runs),
            self._promise,
            self._cost,
        )

    @property
    def _last_run(self) -> document.Cell:
        summary = self.run.summary
        reason = ""
        if summary.tone == "failed" and summary.why:
            reason = numbers.shown(summary.why, 90)
        return _lines(_tag(summary.outcome, summary.tone), reason, summary.started)

    @property
    def _next(self) -> document.Cell:
        step = next_step(self.run)
        text = numbers.shown(step.sentence, 160)
        if step.link is None or not self.run.folder:
            return text
        target = html.escape(quote(f"{self.run.folder}{step.link.target}", safe="/#"))
        link = f'<a href="{target}">{html.escape(step.link.text)}</a>'
        return document.Markup(f"{html.escape(text)} {link}")

    @property
    def _champion(self) -> document.Cell:
        if self.champion is None:
            return "none yet"
        score = score_of(self.champion, "validation")
        text = (self.champion["headline"] or "") if score is None else str(score)
        age = f"{age_of(self.champion['created_at'], self.now)} old"
        first = f"{self.champion['version']}, {age}"
        return _lines(first, text, self.overdue)

    @property
    def _promise(self) -> document.Cell:
        if self.watch is None:
            return "not watched" if self.champion else ""
        labels = f"{self.watch['rows']:,} labels"
        if self.watch["below"]:
            return _lines(_tag(f"broken since {self.watch['since']}", "failed"), labels)
        return _lines(_tag("kept", "passed"), labels)

    @property
    def _cost(self) -> str:
        """Money where it is known, else time."""
        cost = self.totals["cost"]
        if cost is not None and math.isfinite(cost):
            return f"{cost:,.2f}"
        return numbers.seconds(self.totals["wall_seconds"] or 0.0)


def _scores(runs: Sequence[Row]) -> document.Cell:
    """The first and the last score by the metric of the last run with one."""
    scored = [row for row in runs if row["validation_score"] is not None]
    scored = [row for row in scored if row["metric"] == scored[-1]["metric"]]
    if not scored:
        return ""
    first, last = [
        numbers.score(row["validation_score"]) for row in (scored[0], scored[-1])
    ]
    number = f"last {len(scored)} runs, from {first}" if len(scored) > 1 else "1 run"
    return _lines(f"{scored[-1]['metric']} {last}", number)


def age_of(moment: datetime, now: datetime) -> str:
    """`3 hours`, `2 days`."""
    hours = max((now - moment.astimezone(UTC)).total_seconds() / 3600, 0)
    if hours < 0.5:
        return "less than an hour"
    if hours >= 48:
        return numbers.counted(round(hours / 24), "day")
    return numbers.counted(round(hours), "hour")


def _tag(word: str, tone: document.Tone) -> document.Markup:
    return document.Markup(f'<span class="tag {tone}">{html.escape(word)}</span>')


def _lines(first: str | document.Markup, *more: str) -> document.Markup:
    above = first.html if isinstance(first, document.Markup) else html.escape(first)
    small = [f"<br><small>{html.escape(line)}</small>" for line in more if line]
    return document.Markup(above + "".join(small))
