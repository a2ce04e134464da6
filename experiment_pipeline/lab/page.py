"""The page *Laboratory*: who proposed what and why, what it brought, what was opened.

    <root>/<experiment>/laboratory.html

In: the records of a laboratory. Out: a `Document`; `write` puts it beside the runs.
"""

from collections.abc import Iterator, Sequence

from experiment_pipeline.lab.laboratory import Laboratory
from experiment_pipeline.lab.records import LaboratoryRecords, Tried
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
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.statistics.metrics import better, metric_of
from experiment_pipeline.storage.entries import linked_page
from experiment_pipeline.storage.files import storage_root, write_bytes

PAGE = "laboratory.html"
_HEADER = ("no", "agent", "why", "what came of it", "score", "difference", "seconds")


def write(laboratory: Laboratory) -> str:
    """Write the page, and return its place."""
    folder = storage_root() / laboratory.base.name
    html = document.render_html(page(laboratory)).encode()
    write_bytes(folder / PAGE, linked_page(html, folder, levels=1))
    return str(folder / PAGE)


def page(laboratory: Laboratory) -> document.Document:
    """Return the page of a laboratory."""
    tried = laboratory.records.tried()
    left = laboratory.records.left(laboratory.spec.lab, laboratory.spec.price_per_hour)
    summary = (
        f"{numbers.counted(len(tried), 'exploration')}; left are {left.explorations} "
        f"explorations, {numbers.seconds(left.seconds)} and "
        f"{numbers.counted(left.looks, 'look')}. "
        "Scores are those of the test rows; agents see no validation row."
    )
    sections = [
        document.Section("Summary", [document.Paragraph(summary)]),
        document.Section("Scores", [*_chart(laboratory, tried)]),
        document.Section("Explorations", [_table(laboratory.records, tried)]),
        document.Section("Openings", [*_openings(laboratory.records)]),
    ]
    return document.Document(f"Laboratory {laboratory.base.name}", sections)


def _chart(laboratory: Laboratory, tried: Sequence[Tried]) -> Iterator[document.Block]:
    """Each exploration's score, the best so far, and what luck alone may bring."""
    metric = laboratory.spec.metric
    scored = [
        (each.claim.number, each.end.score)
        for each in tried
        if each.end is not None and each.end.score is not None
    ]
    if not scored:
        yield document.Paragraph("Nothing was explored yet.")
        return
    base = laboratory.base.board.score.estimate
    series: list[charts.Series] = [
        Line(_best_so_far(metric, base, scored), GOOD, "best so far", 0, step=True),
        Intervals([Span(n, s.low, s.high) for n, s in scored], MUTED, opacity=0.5),
        Points([Mark(n, s.estimate) for n, s in scored], SERIES[0], "explorations"),
        Level("y", base, "the person's settings"),
    ]
    alt = (
        f"{metric} of {numbers.counted(len(scored), 'exploration')}; the person's "
        f"settings score {numbers.score(base)}."
    )
    floor = [*_noise_floor(metric, tried)]
    if floor:
        series.append(Line(floor, MUTED, "noise floor"))
        alt += f" The last noise floor is {numbers.score(floor[-1].y)}."
    yield charts.chart(
        f"{metric} over explorations",
        alt,
        Plot(Axis("exploration"), Axis(metric), series, legend=True),
        f"Vertical lines are {numbers.share(LEVEL)} intervals that hold for everything "
        "scored on these test rows. The noise floor is the score that an exploration "
        "needs to be better than the best before it, at the level of all explorations: "
        "what stays short of it may be luck, and its agent is not told it.",
        size="full",
    )


def _noise_floor(metric: str, tried: Sequence[Tried]) -> Iterator[Mark]:
    """Yield the score that each exploration would have needed to be better."""
    for each in tried:
        end = each.end
        if end is None or end.score is None or end.difference is None:
            continue
        before = end.score.estimate - end.difference.estimate
        luck = (end.difference.high - end.difference.low) / 2
        yield Mark(each.claim.number, before + metric_of(metric).sign * luck)


def _best_so_far(
    metric: str, base: float, scored: Sequence[tuple[int, Interval]]
) -> list[Mark]:
    best = base
    marks = [Mark(0, base)]
    for number, score in scored:
        if better(metric, score.estimate, best):
            best = score.estimate
        marks.append(Mark(number, best))
    return marks


def _table(records: LaboratoryRecords, tried: Sequence[Tried]) -> document.TableBlock:
    proposals = records.proposals()
    rows = []
    for each in tried:
        proposal, end = proposals[each.claim.proposal], each.end
        score = difference = ""
        if end is not None and end.score is not None:
            score = numbers.score(end.score.estimate)
        if end is not None and end.difference is not None:
            difference = numbers.signed(end.difference.estimate)
        rows.append(
            (
                str(each.claim.number),
                each.claim.agent,
                proposal.reason,
                "under way, or killed" if end is None else end.words,
                score,
                difference,
                numbers.seconds(each.seconds),
            )
        )
    return document.TableBlock(_HEADER, rows)


def _openings(records: LaboratoryRecords) -> Iterator[document.Block]:
    """Who asked, who opened, and what the validation set said."""
    lines = []
    openings = records.openings()
    for proposal, request in records.requests().items():
        line = f"{proposal}, asked for by {request.agent}: {request.reason}"
        if proposal in openings:
            end = records.opening_end(proposal)
            said = "it has not ended" if end is None else end.words
            line += f" Opened by {openings[proposal].by}: {said}"
        lines.append(line)
    yield document.Bullets(lines or ["Nobody has asked for one."])
