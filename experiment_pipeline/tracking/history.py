"""The history of an experiment: its scores over runs, and what changed at each step.

In: the metadata database. Out: a `Document` with links relative to its place.
"""

import html
import textwrap
from collections.abc import Iterator, Mapping, Sequence
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
from experiment_pipeline.reporting.header import DECISION, TABS
from experiment_pipeline.reporting.run_record import PredictionRow, RecordRow, WatchRow
from experiment_pipeline.statistics.interval import LEVEL
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import Change, changes
from experiment_pipeline.tracking.server import OVERVIEW, relative_to
from experiment_pipeline.tracking.summary import Row, RunSummary, summary_of

# As many runs as people scroll through; the command line and SQL show all.
MOST_RUNS = 200
MOST_WATCHES = 30
_LONGEST = 160  # characters of a reason
_FEWEST = 2  # runs of a chart
_COMPARE = "experiment-pipeline compare {} {} --html compare.html"


def experiment_page(experiment: str, root: str) -> document.Document:
    """Return the page of one experiment, with links to pages below `root`."""
    runs = plain_rows(questions.runs(experiment, limit=MOST_RUNS, all_columns=True))
    latest = "Last " if len(runs) == MOST_RUNS else ""
    number = numbers.counted(len(runs), "run")
    table = _runs_table(experiment, runs, root)
    sections = [
        document.Section("Last run", _last_run(questions.run_of(experiment))),
        document.Section("Score over runs", tuple(_score_chart(runs))),
        document.Section(
            f"{latest}{number} of {experiment}",
            (_comparer(), table),
        ),
        *_watched(experiment),
        document.Section(
            "Cost and looks over runs", tuple(_cost_charts(runs)), folded=True
        ),
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


def _last_run(row: Row) -> Sequence[document.Block]:
    run = summary_of(row)
    parts = [f"Run {run.short_id}: {run.outcome} at {run.stage}"]
    if run.on_validation is not None:
        bounds = numbers.bounds(run.on_validation.interval)
        score = f"{run.on_validation.estimate} ({bounds})"
        parts.append(f"{score} on the {document.HOLD_OUT}")
    if run.version:
        parts.append(f"version {run.version}")
    texts = [f"{', '.join(parts)}.", run.decision, run.error, run.next_step]
    return [document.Paragraph(text) for text in texts if text]


def _score_chart(runs: Sequence[Row]) -> Iterator[document.Chart]:
    """Yield the scores with their intervals, the oldest run first."""
    metric = _metric_of(runs)
    scored = [
        (row, run)
        for row, run in enumerate(runs)
        if run["validation_score"] is not None and run["metric"] == metric
    ][::-1]
    if len(scored) < _FEWEST:
        return
    marks: dict[str, list[Mark]] = {"accepted": [], "not accepted": []}
    last_accepted: list[Mark] = []
    spans = []
    for place, (row, run) in enumerate(scored):
        score = run["validation_score"]
        outcome = "accepted" if run["status"] == "accepted" else "not accepted"
        marks[outcome].append(Mark(place, score, row=row))
        if run["validation_low"] is not None:
            low, high = run["validation_low"], run["validation_high"]
            spans.append(Span(place, low, high, row))
        if outcome == "accepted":
            last_accepted.append(Mark(place, score))
        elif last_accepted:
            last_accepted.append(Mark(place, last_accepted[-1].y))
    dates = [numbers.moment(run["started_at"])[:10] for _, run in scored]
    series: list[charts.Series] = [
        Line(last_accepted, INK, "last accepted", size=0, step=True),
        Intervals(spans, MUTED, opacity=0.6),
        Points(marks["accepted"], GOOD, "accepted", size=11),
        Points(
            marks["not accepted"], BAD, "not accepted", "triangle", 11, filled=False
        ),
    ]
    baseline = scored[-1][1]["validation_baseline"]
    bounds = [end for span in spans for end in (span.low, span.high)] or [0.0]
    margin = max(bounds) - min(bounds)
    beside = ""
    if baseline is not None:
        beside = f" The baseline of the last one is {numbers.score(baseline)}."
        if min(bounds) - margin < baseline < max(bounds) + margin:
            series.append(Level("y", baseline, "baseline", BAD))
    first, last = scored[0][1], scored[-1][1]
    better = "higher" if last["greater_is_better"] else "lower"
    yield charts.chart(
        f"{metric} over runs, {better} is better",
        f"{metric} of {len(scored)} runs, from "
        f"{numbers.score(first['validation_score'])} to "
        f"{numbers.score(last['validation_score'])} of the last one.{beside}",
        Plot(Axis(names=dates), Axis(metric or ""), series, legend=True),
        f"Each run on its own {document.HOLD_OUT}, with its "
        f"{numbers.share(LEVEL)} interval; the line is the last accepted score. "
        f"A click marks the run in the table.",
        height=260,
        size="full",
    )


def _cost_charts(runs: Sequence[Row]) -> Iterator[document.Chart]:
    """Yield the duration of each run, and how often the validation rows were seen."""
    for column, title, how in (
        ("wall_seconds", "Seconds of each run", "Seconds from its start to its end."),
        (
            "looks",
            "Looks so far",
            "Models scored on these validation rows; each makes the next claim weaker.",
        ),
    ):
        known = [run for run in runs[::-1] if run[column] is not None]
        if len(known) < _FEWEST:
            continue
        dates = [numbers.moment(run["started_at"])[:10] for run in known]
        marks = [
            Mark(place, run[column], f"{run['run_id'][:8]}: {run[column]:,.0f}")
            for place, run in enumerate(known)
        ]
        total = sum(mark.y for mark in marks)
        alt = f"{title}: {marks[-1].y:,.0f} for the last one"
        if column == "wall_seconds":
            alt += f", {total:,.0f} in all"
        plot = Plot(Axis(names=dates), Axis(low=0), [Line(marks, INK, size=6)])
        yield charts.chart(title, f"{alt}.", plot, how, height=200)


def _runs_table(experiment: str, runs: Sequence[Row], root: str) -> document.TableBlock:
    pages = {}
    for report in plain_rows(questions.rows_of("reports", {"experiment": experiment})):
        below = relative_to(f"{root}/{experiment}", report["place"])
        if below is not None and below.endswith(f"/{TABS[DECISION]}"):
            pages[report["run_id"]] = below
    failed_gates = _failed_gates(experiment)
    changed = _changes_between(runs)
    metric = _metric_of(runs)
    axis = _axis_of([run for run in runs if run["metric"] == metric])
    rows = []
    for row in runs:
        run = summary_of(row)
        # The decision of an accepted run only repeats its outcome.
        why = "" if row["status"] == "accepted" else run.decision
        conditions = run.outcome.removeprefix(run.outcome_word).strip(" ()")
        why = failed_gates.get(run.run_id) or run.error or why or conditions
        score: document.Cell = ""
        if run.on_validation is not None:
            score = str(run.on_validation)
            if row["metric"] == metric:
                score = charts.on_line(run.on_validation.interval, axis)
        seconds = row["wall_seconds"]
        page = pages.get(run.run_id)
        cells: dict[str, document.Cell] = {
            "started (UTC)": _tick(run),
            "run": run.short_id,
            "page": document.Link("open", page) if page else "",
            "outcome": document.Markup(
                f'<span class="tag {run.tone}">{run.outcome_word}</span>',
                run.outcome_word,
            ),
            metric or "score": score,
            "what changed": _folded(changed.get(run.run_id, ())),
            "why": textwrap.shorten(why, _LONGEST, placeholder=" …"),
            "version": run.version,
            "took": "" if seconds is None else numbers.seconds(seconds),
            "by": row["triggered_by"] or "",
        }
        rows.append(cells)
    header = [name for name in rows[0] if any(cells[name] for cells in rows)]
    return document.TableBlock(
        header,
        [[cells[name] for name in header] for cells in rows],
        filters=("outcome",),
    )


def _metric_of(runs: Sequence[Row]) -> str | None:
    """The metric of the last run that has a score."""
    scored = (run["metric"] for run in runs if run["validation_score"] is not None)
    return next(scored, None)


def _failed_gates(experiment: str) -> Mapping[str, str]:
    """Id of a run → the gates that failed, in words."""
    words: dict[str, str] = {}
    for gate in plain_rows(questions.rows_of("gates", {"experiment": experiment})):
        if gate["outcome"] == "FAIL":
            value = document.known(gate["value"])
            before = f"{words[gate['run_id']]}; " if gate["run_id"] in words else ""
            words[gate["run_id"]] = f"{before}failed: {gate['rule']}, it is {value}"
    return words


def _axis_of(runs: Sequence[Row]) -> Axis:
    """The axis of all scores with their intervals."""
    columns = ("validation_score", "validation_low", "validation_high")
    ends = [run[name] for run in runs for name in columns if run[name] is not None]
    return Axis(low=min(ends), high=max(ends)) if ends else Axis()


def _tick(run: RunSummary) -> document.Markup:
    """A box to choose a run for a comparison, beside when it started."""
    box = f'<input type="checkbox" value="{html.escape(run.run_id)}">'
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
    with_files = [(run, questions.files_of(run)) for run in complete]
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
