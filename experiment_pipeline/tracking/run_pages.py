"""The pages of one run: a folder with a page per tab, each below the same header.

    <root>/<experiment>/runs/<run_id>/index.html        the decision, from the first
                                                        stage on
                                      leaderboard.html, data_analysis.html,
                                      data_issues.html,
                                      validation_report.html    pages of the stages
                                      compare.html      beside the run before
                                      compare_version.html      beside its champion
                                      decision_record.md

All are written again when the run has news. A page of a stage gets its header by
itself: the stage renders a `Document` as ever, and names its page in a `ReportRow`
whose name is in `header.STAGE_TABS`. Another page of a run shows
`header_of(run, "Compare")` through `header.with_header`.
"""

import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from threading import Event
from time import monotonic

from experiment_pipeline.errors import StorageError
from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.header import (
    COMPARE,
    DATA,
    DECISION,
    HISTORY,
    LEADERBOARD,
    STAGE_TABS,
    TABS,
    Header,
    NumberLine,
    Role,
    ScoreMark,
    as_markdown,
    with_header,
)
from experiment_pipeline.reporting.run_record import RecordRow, ReportRow, Row
from experiment_pipeline.storage.entries import linked_page
from experiment_pipeline.storage.files import (
    Location,
    location,
    read_bytes,
    read_if_exists,
    write_bytes,
)
from experiment_pipeline.storage.registry import RECORD
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.archive import RUNS_FOLDER
from experiment_pipeline.tracking.database.recording import RunRecord, alongside
from experiment_pipeline.tracking.next_step import next_step
from experiment_pipeline.tracking.record import Decided, decided, decision_record
from experiment_pipeline.tracking.server import LABORATORY_PAGE, OVERVIEW
from experiment_pipeline.tracking.summary import summary_of

_RELOAD_SECONDS = 4
_WORDS_OF_CHOICE = 6


def folder_of(run: RunRecord, root: Location) -> Location:
    """Return the folder of a run's pages."""
    return root / run.experiment / RUNS_FOLDER / run.run_id


def own_copies(
    run: RunRecord, rows: Sequence[RecordRow], root: Location
) -> list[tuple[ReportRow, Location]]:
    """Return the reports of stages as rows of the run's own copies, with the places of
    the stages' pages.
    """
    folder = folder_of(run, root)
    return [
        (replace(row, place=str(folder / f"{row.name}.html")), location(row.place))
        for row in rows
        if isinstance(row, ReportRow) and row.name in STAGE_TABS.values() and row.place
    ]


def copy(source: Location, place: Location) -> None:
    """Copy the page that a stage has stored; `write` then adds the header."""
    # The name of the entry is for `retention`: it stays as long as its copies.
    entry = f"<!--{html.escape(source.parent.name)}-->".encode()
    write_bytes(place, read_bytes(source) + entry)


@dataclass(frozen=True)
class Written:
    """The pages of a run that no stage reports, and its header as Markdown."""

    rows: Sequence[ReportRow]
    first_screen: str


def write(run: RunRecord, root: Location) -> Written:
    """Write all pages of a run with its header of now."""
    folder = folder_of(run, root)
    shown = decided(run.experiment, run.run_id, root=str(root))
    places = {row["place"] for row in shown.rows["reports"]}
    for title, name in STAGE_TABS.items():
        place = folder / f"{name}.html"
        page = read_if_exists(place) if str(place) in places else None
        if page is not None:
            write_bytes(place, with_header(page, header_of(shown, title)))
    rows = list(_own_pages(shown, folder))
    return Written(rows, as_markdown(header_of(shown, DECISION)))


def _pinned(run: Decided) -> Iterator[tuple[str, str, str]]:
    """The champion, above the table of configurations."""
    for version in run.versions:
        if version["version"] != run.champion or version["run_id"] is None:
            continue
        of_run = {"experiment": run.run["experiment"], "run_id": version["run_id"]}
        digests = {
            row["digest"]
            for sets in (run.rows["sets"], questions.plain_rows_of("sets", of_run))
            for row in sets
            if row["set_name"] == "test"
        }
        rows = "these test rows" if len(digests) == 1 else "test rows of its own"
        for champion in questions.plain_rows_of("runs", of_run):
            score = summary_of(champion).on_test
            if score is not None:
                what = f"{champion['chosen']}, on {rows}"
                yield f"champion {run.champion}", what, numbers.interval(score.interval)


@contextmanager
def kept_current(run: RunRecord, root: Location) -> Iterator[None]:
    """Write the page of a running run every few seconds, from its rows of the
    database.
    """
    folder = folder_of(run, root)

    def work(closed: Event) -> None:
        is_there = read_if_exists(folder / TABS[DECISION]) is not None
        pause = _RELOAD_SECONDS if is_there else 0.0
        while not closed.wait(pause):
            began = monotonic()
            with suppress(StorageError):  # the run matters more than its page
                _write_decision(
                    decided(run.experiment, run.run_id, root=str(root)), folder
                )
            # On a busy machine or a slow bucket, at most a few percent of the time.
            pause = max(_RELOAD_SECONDS, 30 * (monotonic() - began))

    with alongside(work, "page"):
        yield


def _rejected_rows(run: Decided) -> list[str]:
    """How many rows are in no set, and why: the page of the data is written before."""
    if not run.summary.rejected:
        return []
    reasons = run.run["rejection_reasons"] or {}
    lines = [f"{reason}: {numbers.counted(n, 'row')}" for reason, n in reasons.items()]
    return [f"{run.summary.rejected} were set aside.", *lines]


def _own_pages(shown: Decided, folder: Location) -> Iterator[ReportRow]:
    """Write the decision, and the comparison with the run before."""
    record = _write_decision(shown, folder)
    name = RECORD.removesuffix(".md")
    yield ReportRow(name=name, place=str(folder / TABS[DECISION]))
    if shown.is_decided:
        write_bytes(folder / RECORD, document.render(record).encode())
        yield ReportRow(name=RECORD, place=str(folder / RECORD))
        yield from _comparisons(shown, folder)


def _comparisons(shown: Decided, folder: Location) -> Iterator[ReportRow]:
    """Write a page beside each earlier run; the last one links the other."""
    links: list[document.Link] = []
    for words, comparison in shown.earlier.items():
        is_last = words == list(shown.earlier)[-1]
        file = TABS[COMPARE] if is_last else "compare_version.html"
        page = linked_page(comparison.page(links).encode(), folder)
        write_bytes(folder / file, with_header(page, header_of(shown, COMPARE)))
        links.append(document.Link(f"Beside {words}", file))
        before = comparison.before["run_id"]
        yield ReportRow(name=f"compare_{before}", place=str(folder / file))


def _write_decision(shown: Decided, folder: Location) -> document.Document:
    record = decision_record(shown)
    page = document.render_html(record, tone=shown.summary.tone).encode()
    write_bytes(folder / TABS[DECISION], with_header(page, header_of(shown, DECISION)))
    return record


def header_of(run: Decided, tab: str, folder: str = "") -> Header:
    """Return the header of a run's page; `tab`: the title of the page, in `TABS`.

    `folder`: of the run's pages, as a page elsewhere links it.
    """
    summary = run.summary
    step = next_step(run)
    started = f"run {summary.short_id}, {summary.started} UTC"
    is_running = summary.outcome_word == "running" and tab == DECISION
    return Header(
        experiment=summary.experiment,
        run=started,
        outcome=summary.outcome_word,
        tone=summary.tone,
        choice=choice_in_words(run),
        next_step=step.sentence,
        read_on=step.link and replace(step.link, target=folder + step.link.target),
        tabs=_tabs(run, folder),
        current=tab,
        overview=f"{folder}../../../{OVERVIEW}",
        line=number_line(run),
        pinned=list(_pinned(run)) if tab == LEADERBOARD else (),
        notes=_rejected_rows(run) if tab == DATA else (),
        reload=_RELOAD_SECONDS if is_running else 0,
    )


def _tabs(run: Decided, folder: str) -> list[tuple[str, str]]:
    """The titles of a run's pages, each with its address, empty: there is none."""
    reports = {row["name"] for row in run.rows["reports"] if row["place"]}
    exists = {
        DECISION: True,
        HISTORY: True,
        COMPARE: run.is_decided and bool(run.earlier_ids),
    }
    tabs = []
    for title, file in TABS.items():
        is_there = exists.get(title, file.removesuffix(".html") in reports)
        tabs.append((title, f"{folder}{file}" if is_there else ""))
    if run.has_laboratory:
        tabs.append(("Laboratory", f"{folder}../../{LABORATORY_PAGE}"))
    return tabs


def choice_in_words(run: Decided) -> str:
    """The chosen configuration in at most six words: `linear, C 0.1, penalty l2`."""
    key = run.summary.choice
    words = key.partition("__")[0]
    for row in run.rows["configurations"]:
        if row["key"] == key and row["hyperparameters"]:
            for name, value in row["hyperparameters"].items():
                longer = f"{words}, {numbers.settings({name: value})}"
                if len(longer.split()) <= _WORDS_OF_CHOICE:
                    words = numbers.shown(longer, 80)
    return words


def number_line(run: Decided) -> NumberLine | None:
    """Return the scores of a run by its metric, all on the same set of rows.

    Before the final evaluation these are scores of the test set, afterwards of the
    validation set: no model but the chosen one and its challengers has a score there.
    """
    row = run.run
    if row["validation_score"] is not None:
        where = f"on the {document.HOLD_OUT}"
        marks = [*_scores_of(row, "validation"), *_challengers(run)]
        marks += _limits(run)
    elif row["test_score"] is not None:
        where = numbers.evaluated(row["evaluation"]).where
        marks = [*_scores_of(row, "test"), *_runner_up(run)]
    else:
        return None
    better = "greater" if row["greater_is_better"] else "smaller"
    title = f"{row['metric']} {where}, {better} is better"
    return NumberLine(title, marks, bool(row["greater_is_better"]))


def _scores_of(row: Row, set_name: str) -> Iterator[ScoreMark]:
    baseline = row[f"{set_name}_baseline"]
    if baseline is not None:
        yield ScoreMark("baseline", "baseline", baseline)
    score, low, high = (row[f"{set_name}_{part}"] for part in ("score", "low", "high"))
    score = numbers.interval_from(score, low, high)
    yield ScoreMark("score", "this model", score.estimate, score.low, score.high)


def _runner_up(run: Decided) -> Iterator[ScoreMark]:
    ranked = [row for row in run.rows["configurations"] if row["rank"] is not None]
    others = [row for row in ranked if not row["is_chosen"]]
    for row in others[:1]:
        yield ScoreMark("runner-up", f"runner-up {row['algorithm']}", row["test_score"])


def _challengers(run: Decided) -> Iterator[ScoreMark]:
    """The best linear model and the champion, where they were scored on these rows."""
    roles: dict[str, tuple[Role, str]] = {
        "the best linear model": ("linear", "best linear"),
        "champion": ("champion", f"champion {run.champion}"),
    }
    for row in run.rows["evidence"]:
        if row["kind"] == "challenger" and row["score"] is not None:
            for beginning, (role, name) in roles.items():
                if row["what"].startswith(beginning):
                    yield ScoreMark(role, name.strip(), row["score"])


def _limits(run: Decided) -> Iterator[ScoreMark]:
    """The limits of acceptance criteria for the ranking metric."""
    metric = run.run["metric"]
    for gate in run.rows["gates"]:
        limit = gate["limit_value"]
        asks_score = f" of {metric} at " in gate["rule"]
        if gate["metric"] == metric and asks_score and limit is not None:
            yield ScoreMark("limit", "required", limit)
