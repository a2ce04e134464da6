"""The page *Laboratory*: who proposed what and why, what it brought, what was opened.

    <root>/<experiment>/laboratory.html

In: the records of a laboratory. Out: a `Document`; `write` puts it beside the runs.
"""

from experiment_pipeline.experiment.explore import Exploration
from experiment_pipeline.lab.laboratory import Laboratory
from experiment_pipeline.lab.records import History
from experiment_pipeline.reporting import charts, document, numbers
from experiment_pipeline.reporting.charts import (
    GOOD,
    MUTED,
    SERIES,
    Axis,
    Intervals,
    Line,
    Mark,
    Plot,
    Points,
    Span,
)
from experiment_pipeline.statistics.interval import LEVEL
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.storage.entries import linked_page
from experiment_pipeline.storage.files import exists, storage_root, write_bytes
from experiment_pipeline.tracking.outcomes import write_again
from experiment_pipeline.tracking.server import LABORATORY_PAGE

_TRIED = ("no", "agent", "why", "what came of it", "score", "difference", "seconds")
_OPENED = ("at (UTC)", "by", "proposal", "event", "words")


def write(laboratory: Laboratory) -> str:
    """Write the page, and return its place; the first time, earlier pages link it."""
    name = laboratory.base.name
    place = storage_root() / name / LABORATORY_PAGE
    is_first = not exists(place)
    html = document.render_html(page(laboratory)).encode()
    write_bytes(place, linked_page(html, place.parent, levels=1))
    if is_first:
        write_again(name)
    return str(place)


def page(laboratory: Laboratory) -> document.Document:
    """Return the page of a laboratory."""
    base = laboratory.base
    history = laboratory.records.history()
    left = history.left(laboratory.spec)
    summary = (
        f"{numbers.counted(len(history.tried), 'exploration')}; left are "
        f"{left.explorations} explorations, {numbers.seconds(left.seconds)} and "
        f"{numbers.counted(left.looks, 'look')}. "
        "Scores are those of the test rows; agents see no validation row."
    )
    sections = [
        document.Section("Summary", [document.Paragraph(summary)]),
        document.Section("Scores", [_chart(base, history)]),
        document.Section("Explorations", [_explorations(history)]),
        document.Section("Openings", [_openings(history)]),
    ]
    return document.Document(f"Laboratory {base.name}", sections)


def _chart(base: Exploration, history: History) -> document.Block:
    """Each exploration's score, the best so far, and what luck alone may bring."""
    metric = base.board.metric
    sign = metric_of(metric).sign
    start = base.board.score.estimate
    best = [Mark(0, start)]
    points: list[Mark] = []
    spans: list[Span] = []
    floor: list[Mark] = []
    for event in history.tried:
        result = event.result
        if result is None or result.judged_by != base.judged_by:
            continue
        number = event.exploration
        score = result.score
        points.append(Mark(number, score.estimate))
        spans.append(Span(number, score.low, score.high))
        best.append(Mark(number, sign * max(sign * best[-1].y, sign * score.estimate)))
        if event.difference is not None:
            luck = (event.difference.high - event.difference.low) / 2
            before = result.estimate - event.difference.estimate
            floor.append(Mark(number, before + sign * luck))
    if not points:
        return document.Paragraph("Nothing was explored yet.")
    series = [
        Line(best, GOOD, "best so far", 0, step=True),
        Intervals(spans, MUTED, opacity=0.5),
        Points(points, SERIES[0], "explorations"),
        Line(floor, MUTED, "noise floor"),
    ]
    return charts.chart(
        f"{metric} over explorations",
        f"{metric} of {numbers.counted(len(points), 'exploration')}; the person's "
        f"settings score {numbers.score(start)}, the best {numbers.score(best[-1].y)}.",
        Plot(Axis("exploration"), Axis(metric), series, legend=True),
        f"Vertical lines are {numbers.share(LEVEL)} intervals that hold for everything "
        "scored on these test rows. The best so far begins with the person's settings. "
        "The noise floor is the score that an exploration needs to be better than the "
        "best before it, at the level of all explorations: what stays short of it may "
        "be luck, and its agent is not told it.",
        size="full",
    )


def _explorations(history: History) -> document.TableBlock:
    """Who tried what and why, and what it brought."""
    proposed = history.last("proposed")
    rows = []
    for event in history.tried:
        result = event.result
        rows.append(
            (
                str(event.exploration),
                event.by,
                proposed[event.proposal].words,
                event.error or event.words,
                numbers.score(result.score.estimate) if result else "",
                numbers.difference(event.difference) if event.difference else "",
                numbers.seconds(event.seconds),
            )
        )
    return document.TableBlock(_TRIED, rows)


def _openings(history: History) -> document.TableBlock:
    """Who asked, who opened, and what the validation set said."""
    rows = [
        (event.at[:16], event.by, event.proposal, event.kind, event.words)
        for event in history
        if event.kind in ("requested", "opened", "evaluated")
    ]
    return document.TableBlock(_OPENED, rows)
