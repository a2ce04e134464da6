"""The pages of all runs: what they say, and what they lead to."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from experiment_pipeline.reporting.document import (
    Document,
    Paragraph,
    TableBlock,
    render,
)
from experiment_pipeline.reporting.run_record import (
    EvidenceRow,
    ReportRow,
    RunFacts,
    WatchRow,
)
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.tracking import history as pages
from experiment_pipeline.tracking import questions, run_pages, terminal
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline.tracking.history import experiment_page
from experiment_pipeline.tracking.outcomes import write_pages
from experiment_pipeline.tracking.overview import overview
from experiment_pipeline.tracking.record import (
    decided,
    decision_record,
    last_decided_runs,
)
from experiment_pipeline_tests.tracking.history import (
    FAILED,
    FIRST_DAY,
    write_history,
    write_run,
    write_watch,
)

NOW = datetime(2026, 2, 10, 6, 0, tzinfo=UTC)
EVIL = "<script>document.title = 'owned'</script>"


def overview_now() -> Document:
    """The overview at a fixed time."""
    return overview(last_decided_runs(str(storage_root())), NOW)


def history_of(experiment: str) -> Document:
    """The page of the runs of an experiment."""
    return experiment_page(last_decided_runs(str(storage_root()))[experiment])


def table_of(document: Document) -> TableBlock:
    """The only table of a page."""
    (table,) = (
        block
        for section in document.sections
        for block in section.blocks
        if isinstance(block, TableBlock)
    )
    return table


def row(table: TableBlock, first: str) -> dict[str, str]:
    """The row that begins with a text, as header → text."""
    for cells in table.rows:
        shown = (getattr(cell, "html", getattr(cell, "text", cell)) for cell in cells)
        texts = [" ".join(re.sub("<[^>]+>", " ", text).split()) for text in shown]
        if texts[0] == first:
            return dict(zip(table.header, texts, strict=True))
    raise KeyError(first)


def test_the_overview_has_a_row_per_experiment_that_needs_attention_first():
    """Outcome with the failed gate, what next, champion and age, scores, cost."""
    write_run("fine", experiment="aging", status="accepted", cost=1.0)
    old = FIRST_DAY - timedelta(days=90)
    write_run("old", experiment="aging", started_at=old, status="accepted", cost=5.0)
    write_history("flight_delay", runs=4)
    table = table_of(overview_now())
    assert row(table, "flight_delay 4 runs") == {
        "experiment": "flight_delay 4 runs",
        "last run (UTC)": f"not accepted {FAILED} 2026-02-05 06:00",
        "what next": "Read which gate failed.",
        "champion": "v0003, 6 days old roc_auc 0.7100 (0.6900 to 0.7300)",
        "score over runs": "roc_auc 0.5900 last 4 runs, from 0.6900",
        "promise": "not watched",
        "cost of 30 days": "0.01",
    }
    assert row(table, "aging 2 runs")["cost of 30 days"] == "1.00"
    names = [cells[0].html for cells in table.rows]
    assert names[0].startswith('<a href="flight_delay/runs.html">flight_delay</a>')
    assert names[1].startswith('<a href="aging/runs.html">aging</a>')


def test_the_next_step_of_a_refused_run_is_its_first_reason(storage: Path):
    """It stands in the overview, with a link to the page of the run."""
    run = RunRecord("flight_delay", write_history(runs=2)[1])
    step = EvidenceRow(kind="next step", what="Raise budget.seconds.", promises="open")
    run.record([step])
    run.record(run_pages.write(run, storage_root()).rows)
    cells = table_of(overview_now()).rows[0]
    assert cells[2].html.startswith("Raise budget.seconds. <a href=")
    target = f"flight_delay/runs/{run.run_id}/index.html#why-and-what-next"
    assert f'"{target}"' in cells[2].html
    assert 'id="why-and-what-next"' in (storage / target.partition("#")[0]).read_text()


@pytest.mark.parametrize(
    ("day", "champion"),
    [
        ("2026-02-10", "0.7300)"),
        ("2026-02-09", "0.7300) review was due on 2026-02-09"),
    ],
)
def test_an_overdue_review_stands_beside_the_champion(day: str, champion: str):
    """From the day after `review_on`."""
    run = RunRecord("flight_delay", write_history(runs=4)[2])
    run.record([RunFacts(record={"review_on": day})])
    line = row(table_of(overview_now()), "flight_delay 4 runs")
    assert line["champion"].endswith(champion)


@pytest.mark.parametrize(
    ("below", "words"), [(False, "kept 900 labels"), (True, "broken since May 900")]
)
def test_a_watched_promise_stands_in_the_overview(below: bool, words: str):
    """Kept, or since when it is not."""
    write_history(runs=2)
    write_watch()
    (watch,) = questions.plain_rows_of("watches", {"experiment": "flight_delay"})
    changed = {**watch, "below": below, "since": "May"}
    del changed["experiment"]
    record_rows([WatchRow(**changed)], "flight_delay")
    line = row(table_of(overview_now()), "flight_delay 2 runs")
    assert line["promise"].startswith(words)


def test_an_empty_database_is_a_page_that_says_so():
    """Before the first run there is nothing to show, and no error."""
    document = overview_now()
    assert document.sections[0].blocks == [Paragraph("No experiment has run yet.")]


def test_an_experiment_without_any_result_has_its_page(storage: Path):
    """A first run that is still running leaves empty cells, not errors."""
    write_run("r1", experiment="fresh", status="running")
    write_pages(storage_root(), "fresh")
    assert "Run r1: running" in (storage / "fresh/runs.html").read_text()
    table = table_of(history_of("fresh"))
    assert row(table, "2026-02-02 06:00")["outcome"] == "running"
    last_run = row(table_of(overview_now()), "fresh 1 run")["last run (UTC)"]
    assert last_run.startswith("running")


@pytest.mark.parametrize(
    ("status", "verdict", "outcome", "tone"),
    [
        ("accepted", "go", "accepted", "passed"),
        ("rejected", "no go", "no go", "failed"),
        ("killed", None, "failed", "failed"),
    ],
)
def test_an_outcome_has_a_word_and_a_colour(
    storage: Path, status: str, verdict: str | None, outcome: str, tone: str
):
    """The word is the same on every page, for those who cannot tell the colours."""
    write_run("r1", experiment="visits", status=status, verdict=verdict, stage="search")
    write_pages(storage_root(), "visits")
    text = (storage / "visits/runs.html").read_text()
    tag = f'<span class="tag {tone}">{outcome}</span>'
    assert tag in text
    assert f'<p class="verdict {tone}">Run r1: {outcome}' in text
    assert tag in (storage / "overview.html").read_text()


def test_where_accepted_is_said_its_conditions_are(storage: Path):
    """Those that the YAML accepts, and a gate that it switches off."""
    decision = (
        "PASS; condition: drift is a note (accepted: old); condition: baseline: off"
    )
    write_run("r1", experiment="visits", status="accepted", decision=decision)
    write_run("r1", experiment="killed", status="killed", decision=decision)
    write_pages(storage_root(), "visits")
    write_pages(storage_root(), "killed")
    words = "ccepted with conditions (drift, baseline)"
    page = (storage / "overview.html").read_text()
    assert words in page
    assert "last run of each: 1 failed, 1 accepted with conditions." in page
    assert words in (storage / "visits/runs.html").read_text()
    assert words in str(terminal.run(questions.run_of("visits")))
    assert words in render(decision_record(decided("visits", "r1")))
    experiments = terminal.listed("experiments", questions.experiments())
    assert "accepted with conditions" in str(experiments)
    assert "with conditions" not in (storage / "killed/runs.html").read_text()


def test_a_page_of_runs_says_what_changed_and_why_in_words(storage: Path):
    """Lines of the YAML and no digests; why a run ended; a part replaces nothing."""
    ids = write_history("visits", runs=5)
    libraries = {"lightgbm": "4.8.0", "CPU kernel": "Haswell"}
    changed = RunFacts(libraries=libraries, settings={"workers": 1})
    RunRecord("visits", ids[1]).record([changed])
    march = FIRST_DAY.replace(month=3)
    write_run(
        "failed",
        experiment="visits",
        started_at=march,
        status="failed",
        error="rows.csv: no such file",
    )
    write_run(
        "part",
        experiment="visits",
        started_at=march.replace(day=9),
        status="partial",
    )
    page = history_of("visits")
    assert "Run failed: failed" in str(page.sections[0].blocks[0])
    runs = {cells[1]: cells for cells in table_of(page).rows}
    changed = "what changed"
    column = list(table_of(page).header).index(changed)
    assert runs[ids[4][:8]][column].text.endswith("yaml: seed: 0 → seed: 1")
    assert "lightgbm: 4.7.0 → 4.8.0" in runs[ids[1][:8]][column].text
    assert "workers" in runs[ids[1][:8]][column].text
    assert "digest" not in str(runs)
    assert runs["part"][column] == ""
    assert "rows.csv: no such file" in runs["failed"]
    assert FAILED in runs[ids[4][:8]]
    last_run = row(table_of(overview_now()), "visits 7 runs")["last run (UTC)"]
    assert last_run.startswith("failed")


def test_many_runs_are_shown_and_older_ones_left_out(storage: Path, monkeypatch):
    """The newest come first, each with what changed since the one before; the page
    names the command that lists the others.
    """
    monkeypatch.setattr(pages, "MOST_RUNS", 3)
    ids = write_history("visits", runs=5)
    document = history_of("visits")
    table = table_of(document)
    assert [cells[1] for cells in table.rows] == [run_id[:8] for run_id in ids[:1:-1]]
    oldest = dict(zip(table.header, table.rows[-1], strict=True))
    assert "data: 10,001 rows" in oldest["what changed"].text
    (runs,) = (part for part in document.sections if part.title.startswith("Last 3"))
    assert "experiment-pipeline runs visits --limit" in runs.blocks[-1].text
    monkeypatch.setattr(pages, "MOST_RUNS", 5)
    assert "Older runs" not in str(history_of("visits"))


def test_names_from_data_stay_texts(storage: Path):
    """Whatever an error, a person or a report is called, no page runs it."""
    texts = ("error_type", "error", "fix", "trigger_name", "metric", "version")
    report = ReportRow(name=EVIL, place=f'{storage}/visits/"{EVIL}.html')
    write_run(
        EVIL,
        report,
        experiment="visits",
        status="failed",
        validation_score=0.5,
        cost=1.0,
        **dict.fromkeys(texts, EVIL),
    )
    write_pages(storage_root(), "visits")
    for page in ("overview.html", "visits/runs.html"):
        text = (storage / page).read_text()
        assert EVIL not in text
        assert f'"{EVIL}' not in text
    assert "&lt;script&gt;" in text
