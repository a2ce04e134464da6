"""The header of every page of a run: outcome, choice, number line, next step, tabs.

A page of a stage is stored before its run has ended, and later runs reuse it. It is
therefore rendered with placeholders, and `with_header` fills those of each run's own
copy, again whenever the run has news: the header, and rows that are pinned above the
table of configurations. In: a `Header`. Out: HTML.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Link, Tone, escape, template

Role = Literal["baseline", "limit", "champion", "linear", "runner-up", "score"]
DECISION, HISTORY, COMPARE = "Decision", "History", "Compare"
LEADERBOARD, DATA = "Leaderboard", "Data"
# The tabs that are pages of stages → the report that names the page.
STAGE_TABS = {
    LEADERBOARD: "leaderboard",
    DATA: "data_analysis",
    "Data issues": "data_issues",
    "Model": "validation_report",
}
# All tabs of a run → the file of each, beside each other.
TABS = {
    DECISION: "index.html",
    **{title: f"{report}.html" for title, report in STAGE_TABS.items()},
    HISTORY: "../../runs.html",
    COMPARE: "compare.html",
}
_PLACEHOLDER = re.compile(rb"<!--(header|pinned)-->.*?<!--/\1-->", re.DOTALL)
_MARGIN = 0.06  # of the number line, left free at both ends


@dataclass(frozen=True)
class ScoreMark:
    """A score on the number line, with its bounds if it has any."""

    role: Role
    name: str
    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def in_words(self) -> str:
        """`0.6912 (0.6803 to 0.7021)`."""
        return numbers.as_known(self.value, self.low, self.high)

    @property
    def ends(self) -> list[float]:
        """Its finite numbers."""
        return list(filter(math.isfinite, (self.value, self.low, self.high)))


@dataclass(frozen=True)
class NumberLine:
    """Scores by one metric on the same rows; better ones are drawn further right."""

    title: str
    marks: Sequence[ScoreMark]
    greater_is_better: bool = True

    @property
    def ordered(self) -> list[ScoreMark]:
        """The marks with a finite score, the worst first."""
        finite = [mark for mark in self.marks if math.isfinite(mark.value)]
        sign = 1 if self.greater_is_better else -1
        return sorted(finite, key=lambda mark: sign * mark.value)

    def place(self, value: float) -> float:
        """Percent of the line's width, from the left."""
        ends = [end for mark in self.ordered for end in mark.ends]
        low, high = min(ends), max(ends)
        part = (value - low) / (high - low) if high > low else 0.5
        if not self.greater_is_better:
            part = 1 - part
        return round(100 * (_MARGIN + (1 - 2 * _MARGIN) * part), 2)

    def span(self, mark: ScoreMark) -> tuple[float, float] | None:
        """Left end and width of a mark's interval in percent; None without bounds."""
        if len(mark.ends) < 3:
            return None
        ends = sorted((self.place(mark.low), self.place(mark.high)))
        return ends[0], round(ends[1] - ends[0], 2)


@dataclass(frozen=True)
class Header:
    """What every page of a run shows first."""

    experiment: str
    run: str  # the beginning of its id, and when it started
    outcome: str  # one of the six words, or partial
    tone: Tone
    choice: str  # the chosen configuration in a few words; empty: none yet
    next_step: str  # one sentence
    read_on: Link | None  # where to do it
    tabs: Sequence[tuple[str, str]]  # title, and target; "": there is no such page
    current: str  # title of the tab that the page is
    line: NumberLine | None = None
    overview: str = ""  # the page of all experiments
    pinned: Sequence[tuple[str, str, str]] = ()  # name, what it is, score
    notes: Sequence[str] = ()  # about the tab: a sentence, and what is listed below
    reload: int = 0  # seconds after which the page of a running run is loaded again


def with_header(page: bytes, header: Header) -> bytes:
    """Return a page with this header in place of its placeholder or earlier header."""
    pinned = template("pinned.html").render(pinned=header.pinned)
    contents = {b"header": rendered_header(header), b"pinned": pinned}

    def filled(place: re.Match[bytes]) -> bytes:
        name = place[1]
        return b"<!--%b-->%b<!--/%b-->" % (name, contents[name].encode(), name)

    return _PLACEHOLDER.sub(filled, page)


def as_markdown(header: Header) -> str:
    """Return the same first screen as Markdown, without its links.

    Dagster keeps it as it was when a stage ended, so it does not say that a run works.
    """
    is_running = header.outcome == "running"
    outcome = "" if is_running else f" {header.outcome}"
    choice = f": {escape(header.choice)}" if header.choice else ""
    lines = [f"**{escape(header.experiment)}{outcome}**{choice}"]
    if header.line is not None and header.line.ordered:
        lines.append(f"{escape(header.line.title)}, the worst first:")
        lines.append(
            "\n".join(
                f"- {escape(mark.name)}: **{mark.in_words}**"
                for mark in header.line.ordered
            )
        )
    if not is_running:
        lines.append(f"What next: {escape(header.next_step)}")
    return "\n\n".join(lines)


def rendered_header(header: Header) -> str:
    """Return the header as HTML."""
    line = header.line
    spans = {} if line is None else {m.name: line.span(m) for m in line.ordered}
    return template("header.html").render(header=header, spans=spans)
