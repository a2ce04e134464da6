"""The history of an experiment: its scores over runs, and what changed at each step.

In: the metadata database. Out: a `Document` with links relative to its place.
"""

import html
import json
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from experiment_pipeline.reporting import charts, document, numbers
from experiment_pipeline.reporting.charts import (
    BAD,
    GOOD,
    INK,
    MUTED,
    Axis,
    Intervals,
    Level,
    Line,
    Mark,
    Plot,
    Points,
    Span,
)
from experiment_pipeline.reporting.run_record import PredictionRow, WatchRow
from experiment_pipeline.statistics.interval import LEVEL
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import Change, changes
from experiment_pipeline.tracking.record import Decided
from experiment_pipeline.tracking.server import OVERVIEW, relative_to
from experiment_pipeline.tracking.summary import Row, RunSummary, summary_of

# As many runs as a screen draws at once, and as the end of a run reads again whatever
# the number of earlier ones; the command line and SQL show all.
MOST_RUNS = 100
MOST_WATCHES = 30
_LONGEST = 160  # characters of a reason
_FEWEST = 2  # runs of a chart
_COMPARE = "experiment-pipeline compare {} {} --html compare.html"
_OLDER = "Older runs: experiment-pipeline runs {} --limit 1000"


def experiment_page(last: Decided) -> document.Document:
    """Return the page of one experiment, given its last run."""
    experiment = last.summary.experiment
    # With the run that the oldest of these is held against.
    newest = questions.last_rows(experiment, MOST_RUNS + 1)
    runs = newest[:MOST_RUNS]
    title = f"{numbers.counted(len(runs), 'run')} of {experiment}"
    table = _runs_table(runs, _changes_between(newest), last.root or "")
    blocks: list[document.Block] = [_comparer(), table]
    if len(newest) > len(runs):
        title = f"Last {title}"
        blocks.append(document.Paragraph(_OLDER.format(experiment)))
    run = last.summary
    last_run = document.Paragraph(f"Run {run.short_id}: {run.outcome} at {run.stage}.")
    sections = [
        document.Section("Score over runs", [last_run, *_score_chart(runs)]),
        document.Section(title, blocks),
        *_watched(experiment),
    ]
    link = document.Link("All experiments", f"../{OVERVIEW}")
    filled = [section for section in sections if section.blocks]
    return document.Document(f"{experiment}: history", filled, (link,))


def _comparer() -> document.Markup:
    """The place where two ticked runs are shown side by side."""
    command = html.escape(_COMPARE)
    text = "Tick two runs to compare them."
    return document.Markup(
        f'<div class="comparer" role="status" data-command="{command}">'
        f"<p>{text}</p></div>"
    )


@dataclass(frozen=True)
class _ScoredRun:
    """A run of the chart of scores."""

    place: int  # on the axis, the oldest is 0
    row: int  # of the table of runs
    run: Row

    @property
    def is_accepted(self) -> bool:
        return self.run["status"] == "accepted"

    @property
    def mark(self) -> Mark:
        return Mark(self.place, self.run["validation_score"], row=self.row)


def _score_chart(runs: Sequence[Row]) -> Iterator[document.Chart]:
    """Yield the scores with their intervals, the oldest run first."""
    metric = _metric_of(runs)
    scored = _scored_runs(runs, metric)
    if len(scored) < _FEWEST:
        return
    first, last = scored[0].run, scored[-1].run
    alt = (
        f"{metric} of {len(scored)} runs, from "
        f"{numbers.score(first['validation_score'])} to "
        f"{numbers.score(last['validation_score'])} of the last one."
    )
    baseline = last["validation_baseline"]
    if baseline is not None:
        alt += f" The baseline of the last one is {numbers.score(baseline)}."
    dates = [numbers.moment(run.run["started_at"])[5:] for run in scored]
    better = "higher" if last["greater_is_better"] else "lower"
    yield charts.chart(
        f"{metric} over runs, {better} is better",
        alt,
        Plot(
            Axis(names=dates),
            Axis(metric or ""),
            _series(scored, baseline),
            legend=True,
        ),
        f"Each run on its own {document.HOLD_OUT}, with its "
        f"{numbers.share(LEVEL)} interval; the line is the last accepted score. "
        f"A click marks the run in the table.",
        height=260,
        size="full",
    )


def _series(
    scored: Sequence[_ScoredRun], baseline: float | None
) -> list[charts.Series]:
    """Marks of all runs, and the baseline where it does not flatten them."""
    accepted = [run.mark for run in scored if run.is_accepted]
    others = [run.mark for run in scored if not run.is_accepted]
    spans = _spans(scored)
    series: list[charts.Series] = [
        Line(_last_accepted(scored), INK, "last accepted", size=0, step=True),
        Intervals(spans, MUTED, opacity=0.6),
        Points(accepted, GOOD, "accepted", size=11),
        Points(others, BAD, "not accepted", "triangle", 11, filled=False),
    ]
    if baseline is not None and _is_near(baseline, spans):
        series.append(Level("y", baseline, "baseline", BAD))
    return series


def _scored_runs(runs: Sequence[Row], metric: str | None) -> list[_ScoredRun]:
    """The runs with a score of `metric`, the oldest first."""
    rows = [
        row
        for row, run in enumerate(runs)
        if run["validation_score"] is not None and run["metric"] == metric
    ]
    return [_ScoredRun(place, row, runs[row]) for place, row in enumerate(rows[::-1])]


def _spans(scored: Sequence[_ScoredRun]) -> list[Span]:
    spans = []
    for run in scored:
        low, high = run.run["validation_low"], run.run["validation_high"]
        if low is not None:
            spans.append(Span(run.place, low, high, run.row))
    return spans


def _last_accepted(scored: Sequence[_ScoredRun]) -> list[Mark]:
    """The score that the last accepted run had, at each run from the first such."""
    marks: list[Mark] = []
    for run in scored:
        if run.is_accepted:
            marks.append(Mark(run.place, run.run["validation_score"]))
        elif marks:
            marks.append(Mark(run.place, marks[-1].y))
    return marks


def _is_near(score: float, spans: Sequence[Span]) -> bool:
    """Whether an axis that holds `score`, too, still shows the intervals well."""
    if not spans:
        return False
    low = min(span.low for span in spans)
    high = max(span.high for span in spans)
    return low - (high - low) < score < high + (high - low)


@dataclass(frozen=True)
class _BesideRuns:
    """What the table of runs shows of other tables of the database."""

    pages: Mapping[str, Mapping[str, str]]  # id of a run → name → page
    changed: Mapping[str, Sequence[Change]]  # id of a run → since the one before
    metric: str | None
    axis: Axis  # of the scores


def _runs_table(
    runs: Sequence[Row], changed: Mapping[str, Sequence[Change]], root: str
) -> document.TableBlock:
    metric = _metric_of(runs)
    beside = _BesideRuns(
        pages=_pages(runs, root),
        changed=changed,
        metric=metric,
        axis=_axis_of([run for run in runs if run["metric"] == metric]),
    )
    rows = [_cells(row, beside) for row in runs]
    header = [name for name in rows[0] if any(cells[name] for cells in rows)]
    return document.TableBlock(
        header,
        [[cells[name] for name in header] for cells in rows],
        filters=("outcome",),
    )


def _pages(runs: Sequence[Row], root: str) -> Mapping[str, Mapping[str, str]]:
    """Id of a run → name of a report → its page, relative to that of the experiment."""
    pages = defaultdict[str, dict[str, str]](dict)
    for (experiment, run_id), reports in questions.rows_by_run("reports", runs).items():
        for report in reports:
            below = relative_to(f"{root}/{experiment}", report["place"])
            if below is not None:
                pages[run_id][report["name"]] = below
    return pages


def _cells(row: Row, beside: _BesideRuns) -> dict[str, document.Cell]:
    """Column → cell of a run."""
    run = summary_of(row)
    pages = beside.pages[run.run_id]
    page = pages.get("decision_record")
    seconds = row["wall_seconds"]
    tag = f'<span class="tag {run.tone}">{run.outcome_word}</span>'
    return {
        "started (UTC)": _tick(run, pages),
        "run": run.short_id,
        "page": document.Link("open", page) if page else "",
        "outcome": document.Markup(tag, run.outcome_word),
        beside.metric or "score": _score(row, run, beside),
        "what changed": _folded(beside.changed.get(run.run_id, ())),
        "why": textwrap.shorten(run.why, _LONGEST, placeholder=" …"),
        "version": run.version,
        "took": "" if seconds is None else numbers.seconds(seconds),
        "by": row["triggered_by"] or "",
    }


def _score(row: Row, run: RunSummary, beside: _BesideRuns) -> document.Cell:
    if run.on_validation is None:
        return ""
    if row["metric"] != beside.metric:
        return str(run.on_validation)
    return charts.on_line(run.on_validation.interval, beside.axis)


def _metric_of(runs: Sequence[Row]) -> str | None:
    """The metric of the last run that has a score."""
    scored = (run["metric"] for run in runs if run["validation_score"] is not None)
    return next(scored, None)


def _axis_of(runs: Sequence[Row]) -> Axis:
    """The axis of all scores with their intervals."""
    columns = ("validation_score", "validation_low", "validation_high")
    ends = [run[name] for run in runs for name in columns if run[name] is not None]
    return Axis(low=min(ends), high=max(ends)) if ends else Axis()


def _tick(run: RunSummary, pages: Mapping[str, str]) -> document.Markup:
    """A box to choose a run for a comparison, with the pages of those that exist."""
    compared = {
        name.removeprefix("compare_"): page
        for name, page in pages.items()
        if name.startswith("compare_")
    }
    box = (
        f'<input type="checkbox" value="{html.escape(run.run_id)}" '
        f'data-compared="{html.escape(json.dumps(compared))}">'
    )
    return document.Markup(f"<label>{box} {run.started}</label>", run.started)


def _folded(changes_of_run: Sequence[Change]) -> document.Cell:
    """The names of what changed; unfolded, the values before and after."""
    if not changes_of_run:
        return ""
    names = numbers.some_of([change.what for change in changes_of_run], 4)
    lines = [change.in_words() for change in changes_of_run]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    summary = f"<summary>{html.escape(names)}</summary>"
    folded = f"<details>{summary}<ul>{items}</ul></details>"
    return document.Markup(folded, "; ".join(lines))


def _changes_between(runs: Sequence[Row]) -> Mapping[str, Sequence[Change]]:
    """Id of a run → what is different from the complete run before it."""
    complete = [run for run in runs if run["status"] != "partial"]
    with_files = list(zip(complete, questions.files_of_runs(complete), strict=True))
    # The outcome has columns of its own.
    results = {"choice", "decision", "version"}
    return {
        after["run_id"]: [
            change
            for change in changes(before, after, old_files, new_files)
            if change.what not in results
        ]
        for (after, new_files), (before, old_files) in pairwise(with_files)
    }


def _watched(experiment: str) -> Iterator[document.Section]:
    """The watched promises of versions, and predictions that have no labels yet."""
    watches = [WatchRow(**row) for row in _latest("watches", experiment)]
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
    predictions = [PredictionRow(**row) for row in _latest("predictions", experiment)]
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


def _latest(table: str, experiment: str) -> Sequence[Row]:
    rows = questions.plain_rows_of(table, {"experiment": experiment})
    rows.sort(key=lambda row: row["at"], reverse=True)
    return [
        {name: value for name, value in row.items() if name != "experiment"}
        for row in rows[:MOST_WATCHES]
    ]
