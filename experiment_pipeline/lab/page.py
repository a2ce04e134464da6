"""The page *Laboratory*: who proposed what and why, what it brought, what was opened.

    <root>/<experiment>/laboratory.html

In: the records of a laboratory. Out: a `Document`; `write` puts it beside the runs.
"""

from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from experiment_pipeline.errors import UnknownRun
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
    Level,
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
from experiment_pipeline.tracking import questions, run_pages
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import write_pages
from experiment_pipeline.tracking.server import LABORATORY_PAGE

_HEADER = ("no", "agent", "why", "what came of it", "score", "difference", "seconds")


def write(laboratory: Laboratory) -> str:
    """Write the page, and return its place; the first time, earlier pages link it."""
    root = storage_root()
    name = laboratory.base.name
    place = root / name / LABORATORY_PAGE
    is_linked = exists(place)
    html = document.render_html(page(laboratory)).encode()
    write_bytes(place, linked_page(html, place.parent, levels=1))
    with suppress(UnknownRun):
        if not is_linked:
            last_run = RunRecord(name, questions.run_of(name)["run_id"])
            run_pages.write(last_run, root)
            write_pages(root, name)
    return str(place)


def page(laboratory: Laboratory) -> document.Document:
    """Return the page of a laboratory."""
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
        document.Section("Scores", [_chart(laboratory.base, history)]),
        document.Section("Explorations", [_table(history)]),
        document.Section("Openings", [_openings(history)]),
    ]
    return document.Document(f"Laboratory {laboratory.base.name}", sections)


def _chart(base: Exploration, history: History) -> document.Block:
    """Each exploration's score, the best so far, and what luck alone may bring."""
    metric = base.board.metric
    sign = metric_of(metric).sign
    results = {
        tried.claim.exploration: tried.result
        for tried in history.tried
        if tried.result is not None and tried.result.judged_by == base.judged_by
    }
    if not results:
        return document.Paragraph("Nothing was explored yet.")
    start = base.board.score.estimate
    scores = {number: result.score for number, result in results.items()}
    estimates = [start, *(score.estimate for score in scores.values())]
    best = sign * np.maximum.accumulate(sign * np.array(estimates))
    floor = {
        number: result.estimate
        - change.estimate
        + sign * (change.high - change.low) / 2
        for number, result in results.items()
        if (change := result.difference) is not None
    }
    series = [
        Line(_marks([0, *scores], best), GOOD, "best so far", 0, step=True),
        Intervals(
            [Span(n, s.low, s.high) for n, s in scores.items()], MUTED, opacity=0.5
        ),
        Points(_marks(scores, estimates[1:]), SERIES[0], "explorations"),
        Level("y", start, "the person's settings"),
        Line(_marks(floor, floor.values()), MUTED, "noise floor"),
    ]
    return charts.chart(
        f"{metric} over explorations",
        f"{metric} of {numbers.counted(len(scores), 'exploration')}; the person's "
        f"settings score {numbers.score(start)}, the best {numbers.score(best[-1])}.",
        Plot(Axis("exploration"), Axis(metric), series, legend=True),
        f"Vertical lines are {numbers.share(LEVEL)} intervals that hold for everything "
        "scored on these test rows. The noise floor is the score that an exploration "
        "needs to be better than the best before it, at the level of all explorations: "
        "what stays short of it may be luck, and its agent is not told it.",
        size="full",
    )


def _marks(numbers_: Iterable[int], scores: Iterable[float]) -> list[Mark]:
    return [*map(Mark, numbers_, scores)]


def _table(history: History) -> document.TableBlock:
    proposed = history.last("proposed")
    rows = []
    for tried in history.tried:
        result = tried.result
        change = result and result.difference
        rows.append(
            (
                str(tried.claim.exploration),
                tried.claim.by,
                proposed[tried.claim.proposal].words,
                tried.words,
                numbers.score(result.score.estimate) if result else "",
                numbers.difference(change) if change else "",
                numbers.seconds(tried.seconds),
            )
        )
    return document.TableBlock(_HEADER, rows)


def _openings(history: History) -> document.Block:
    """Who asked, who opened, and what the validation set said."""
    lines = []
    opened = history.last("opened", "evaluated")
    for proposal, request in history.last("requested").items():
        line = f"{proposal}, asked for by {request.by}: {request.words}"
        if proposal in opened:
            opening = opened[proposal]
            line += f" Opened by {opening.by}: {opening.words or 'it has not ended'}"
        lines.append(line)
    return document.Bullets(lines or ["Nobody has asked for one."])
