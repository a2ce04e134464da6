"""The pages of all runs: what they say, and what they lead to."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from experiment_pipeline.reporting.document import (
    Document,
    Link,
    Paragraph,
    TableBlock,
    render,
)
from experiment_pipeline.reporting.run_record import ReportRow, RunFacts
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.tracking import overview as pages
from experiment_pipeline.tracking import questions, terminal
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import write_pages
from experiment_pipeline.tracking.overview import experiment_page, overview
from experiment_pipeline.tracking.record import decided, decision_record
from experiment_pipeline_tests.tracking.history import (
    FIRST_DAY,
    write_history,
    write_run,
)

NOW = datetime(2026, 2, 10, 6, 0, tzinfo=UTC)
EVIL = "<script>document.title = 'owned'</script>"


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


def test_the_overview_has_a_row_per_experiment():
    """Champion, its score with interval and gates, the last run, age and cost."""
    write_history("flight_delay", runs=4)
    write_history("wine", runs=2)
    table = table_of(overview(NOW))
    assert row(table, "flight_delay") == {
        "experiment": "flight_delay",
        "last run (UTC)": "not accepted 2026-02-05 06:00",
        "champion": "v0003",
        "validation score": "roc_auc 0.7100 0.6900 to 0.7300",
        "gates": "1 of 1 passed",
        "age of the data": "5 days",
        "runs": "4",
        "cost": "0.01",
    }
    assert [cells[0] for cells in table.rows] == [
        Link("flight_delay", "flight_delay/runs.html"),
        Link("wine", "wine/runs.html"),
    ]


@pytest.mark.parametrize(
    ("day", "champion"),
    [("2026-02-10", "v0003"), ("2026-02-09", "v0003 review was due on 2026-02-09")],
)
def test_an_overdue_review_stands_beside_the_champion(day: str, champion: str):
    """From the day after `review_on`."""
    run = RunRecord("flight_delay", write_history(runs=4)[2])
    run.record([RunFacts(record={"review_on": day})])
    assert row(table_of(overview(NOW)), "flight_delay")["champion"] == champion


@pytest.mark.parametrize(
    ("hours", "age"),
    [(0.9, "1 hour"), (2, "2 hours"), (47.9, "48 hours"), (50, "2 days")],
)
def test_the_age_of_the_data_is_counted_in_words(hours: float, age: str):
    """One hour, two hours."""
    write_run("aged", data_modified_at=NOW - timedelta(hours=hours))
    aged = row(table_of(overview(NOW)), "flight_delay")
    assert aged["age of the data"] == age


def test_an_empty_database_is_a_page_that_says_so():
    """Before the first run there is nothing to show, and no error."""
    document = overview(NOW)
    assert document.sections[0].blocks == [Paragraph("No experiment has run yet.")]


def test_an_experiment_without_any_result_has_its_page(storage: Path):
    """A first run that is still running leaves empty cells, not errors."""
    write_run("r1", experiment="fresh", status="running")
    write_pages("fresh", storage_root())
    assert "This is its first run." in (storage / "fresh/runs.html").read_text()
    last_run = row(table_of(overview(NOW)), "fresh")["last run (UTC)"]
    assert last_run.startswith("running")


@pytest.mark.parametrize(
    ("status", "verdict", "outcome", "tone"),
    [
        ("accepted", "go", "accepted", "passed"),
        ("rejected", "go", "not accepted", "failed"),
        ("rejected", "no go", "no go", "failed"),
        ("failed", None, "failed", "failed"),
        ("killed", None, "failed", "failed"),
    ],
)
def test_an_outcome_has_a_word_and_a_colour(
    storage: Path, status: str, verdict: str | None, outcome: str, tone: str
):
    """The word is the same on every page, for those who cannot tell the colours."""
    write_run("r1", experiment="visits", status=status, verdict=verdict, stage="search")
    write_pages("visits", storage_root())
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
    write_pages("visits", storage_root())
    write_pages("killed", storage_root())
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
    page = experiment_page("visits", str(storage))
    first, _, changed = (section.blocks[0] for section in page.sections)
    assert "Run failed: failed" in str(first)
    (line,) = (
        line for line in changed.items if ids[3][:8] in line and ids[4][:8] in line
    )
    assert "yaml: seed: 0 → seed: 1" in line
    assert "digest" not in str(changed)
    assert not any("part" in line for line in changed.items)
    runs = table_of(page)
    assert "no such file" in row(runs, "failed 2026-03-02 06:00")["outcome"]
    assert "roc_auc is below 0.65" in str(runs.rows[2])
    last_run = row(table_of(overview(NOW)), "visits")["last run (UTC)"]
    assert last_run.startswith("failed")


def test_many_runs_are_shown_and_older_ones_left_out(storage: Path, monkeypatch):
    """The newest come first; what changed between so many is folded away."""
    monkeypatch.setattr(pages, "MOST_RUNS", 25)
    ids = write_history("visits", runs=30)
    document = experiment_page("visits", str(storage))
    runs = table_of(document)
    assert [cells[0].html[:8] for cells in runs.rows[:2]] == [ids[-1][:8], ids[-2][:8]]
    assert len(runs.rows) == 25
    sections = {section.title: section for section in document.sections}
    assert "Last 25 runs of visits" in sections
    assert sections["What changed between runs"].folded


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
    write_pages("visits", storage_root())
    for page in ("overview.html", "visits/runs.html"):
        text = (storage / page).read_text()
        assert "<script" not in text
        assert f'"{EVIL}' not in text
    assert "&lt;script&gt;" in text


def test_reports_are_linked_relative_to_the_page(storage: Path):
    """Pages below the storage root are linked; tables, and what lies elsewhere, not."""
    places = {
        "leaderboard": f"{storage}/visits/leaderboard/a=b/leaderboard.html",
        "card": f"{storage}/visits/registry/v0001/README.md",
        "validation_rows": f"{storage}/visits/validation_report/ab/rows.parquet",
        "elsewhere": "/somewhere/else/page.html",
    }
    rows = [ReportRow(name=name, place=place) for name, place in places.items()]
    write_run("r1", *rows, experiment="visits", status="accepted")
    write_pages("visits", storage_root())
    text = (storage / "visits/runs.html").read_text()
    assert set(re.findall('<a href="([^"]+)">([^<]+)</a>', text)) == {
        ("leaderboard/a=b/leaderboard.html", "leaderboard"),
        ("registry/v0001/README.md", "card"),
        ("../overview.html", "Overview of all experiments"),
    }


def test_a_library_or_a_setting_that_changed_is_said_between_runs():
    """What is kept as JSON counts between neighbours as it does in a comparison."""
    ids = write_history(runs=2)
    libraries = {"lightgbm": "4.8.0", "CPU kernel": "Haswell"}
    changed = RunFacts(libraries=libraries, settings={"workers": 1})
    RunRecord("flight_delay", ids[1]).record([changed])
    page = render(experiment_page("flight_delay", "artifacts"))
    assert "lightgbm: 4.7.0 → 4.8.0" in page
    assert "workers" in page
