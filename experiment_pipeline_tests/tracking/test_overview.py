"""The pages of the memory: what they say, what they lead to, and what a browser makes
of them.
"""

import re
from datetime import UTC, datetime
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


def tables(document: Document) -> list[TableBlock]:
    """All tables of a page, in order."""
    return [
        b
        for section in document.sections
        for b in section.blocks
        if isinstance(b, TableBlock)
    ]


def row(table: TableBlock, first: str) -> dict[str, str]:
    """The row that begins with a text, as header → text."""
    for cells in table.rows:
        shown = (getattr(one, "html", getattr(one, "text", one)) for one in cells)
        texts = [re.sub("<[^>]+>", " ", one).strip() for one in shown]
        if texts[0] == first:
            return dict(zip(table.header, texts, strict=True))
    raise KeyError(first)


def test_the_overview_has_a_row_per_experiment() -> None:
    """Champion, its review if overdue, its score with interval and gates, the last run,
    age and cost.
    """
    *_, third, _ = write_history("flight_delay", runs=4)
    write_history("wine", runs=2)
    (table,) = tables(overview(NOW))
    found = row(table, "flight_delay")
    assert found["champion"] == "v0003"
    assert found["validation score"].split() == [
        "roc_auc",
        "0.7100",
        "0.6900",
        "to",
        "0.7300",
    ]
    assert found["gates"] == "1 of 1 passed"
    assert found["last run (UTC)"].split() == ["rejected", "2026-02-05", "06:00"]
    assert found["age of the data"] == "5 days"
    assert (found["runs"], found["cost"]) == ("4", "0.01")
    assert [cells[0] for cells in table.rows] == [
        Link("flight_delay", "flight_delay/runs.html"),
        Link("wine", "wine/runs.html"),
    ]
    for day, said in (
        ("2026-02-10", []),
        ("2026-02-09", ["review was due on 2026-02-09"]),
    ):
        RunRecord("flight_delay", third).record([RunFacts(record={"review_on": day})])
        (table,) = tables(overview(NOW))
        assert row(table, "flight_delay")["champion"].split(maxsplit=1) == [
            "v0003",
            *said,
        ]


def test_an_empty_database_is_a_page_that_says_so() -> None:
    """Before the first run there is nothing to show, and no error."""
    document = overview(NOW)
    assert document.sections[0].blocks == (Paragraph("No experiment has run yet."),)


def test_an_experiment_without_any_result_has_its_page(storage: Path) -> None:
    """A first run that is still running, or failed at once, leaves empty cells, not
    errors.
    """
    write_run("r1", experiment="fresh", status="running")
    write_pages("fresh", storage_root())
    assert "This is its first run." in (storage / "fresh/runs.html").read_text()
    assert row(tables(overview(NOW))[0], "fresh")["last run (UTC)"].startswith(
        "running"
    )


@pytest.mark.parametrize(
    ("status", "tone"),
    [
        ("accepted", "passed"),
        ("rejected", "failed"),
        ("failed", "failed"),
        ("killed", "doubtful"),
    ],
)
def test_a_status_has_a_colour_and_a_word(
    storage: Path, status: str, tone: str
) -> None:
    """Who cannot tell the colours reads the same."""
    write_run("r1", experiment="visits", status=status, stage="search")
    write_pages("visits", storage_root())
    text = (storage / "visits/runs.html").read_text()
    assert f'<span class="tag {tone}">{status}</span>' in text
    assert re.search(f'<p class="verdict {tone}">Run r1: {status}', text)
    assert (
        f'<span class="tag {tone}">{status}</span>'
        in (storage / "overview.html").read_text()
    )


def test_where_accepted_is_said_its_conditions_are(storage: Path) -> None:
    """Those that the YAML accepts as well, and a gate that it switches off; nobody else
    has any.
    """
    said = "PASS; condition: drift_over_time is a note (accepted: old); condition: baseline: off"
    for status in ("accepted", "killed"):
        facts = RunFacts(
            status=status, started_at=FIRST_DAY, verdict="go", decision=said
        )
        RunRecord(status, "r1").record([facts])
        write_pages(status, storage_root())
    shown = [
        (storage / page).read_text() for page in ("overview.html", "accepted/runs.html")
    ]
    shown += [str(terminal.run(questions.run_of("accepted")))]
    shown += [
        render(decision_record(decided("accepted", "r1"), None)).replace("Acc", "acc")
    ]
    words = "accepted with conditions"
    assert [
        "(drift_over_time, baseline)" in one.partition(words)[2] for one in shown
    ] == [True] * 4
    assert words in str(terminal.listed("experiments", questions.experiments()))
    assert "last run of each: 1 accepted with conditions, 1 killed." in shown[0]
    assert "killed with" not in "".join(shown)


def test_a_page_of_runs_says_what_changed_and_why_in_words(storage: Path) -> None:
    """Lines of the YAML and no digests; why a run was rejected or failed; a part
    replaces nothing.
    """
    ids = write_history("visits", runs=5)
    late = {"experiment": "visits", "started_at": FIRST_DAY.replace(month=3)}
    write_run("failed", **late, status="failed", error="rows.csv: no such file")
    write_run(
        "part",
        **late | {"started_at": FIRST_DAY.replace(month=3, day=9)},
        status="partial",
    )
    page = experiment_page("visits", str(storage))
    first, _, changed = (section.blocks[0] for section in page.sections)
    assert "Run failed: failed" in str(first)
    lines = [
        line for line in changed.items if ids[3][:8] in line and ids[4][:8] in line
    ]
    assert "yaml: seed: 0 → seed: 1" in lines[0]
    assert "digest" not in str(changed)
    assert not any("part" in line for line in changed.items)
    (runs,) = tables(page)
    assert "no such file" in row(runs, "failed  2026-03-02 06:00")["outcome"]
    assert "roc_auc is below 0.65" in str(runs.rows[2])
    assert row(tables(overview(NOW))[0], "visits")["last run (UTC)"].startswith(
        "failed"
    )


def test_many_runs_are_shown_and_older_ones_left_out(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest come first; what changed between so many is folded away."""
    monkeypatch.setattr(pages, "MOST_RUNS", 25)
    ids = write_history("visits", runs=30)
    document = experiment_page("visits", str(storage))
    (runs,) = tables(document)
    assert [cells[0].html[:8] for cells in runs.rows[:2]] == [ids[-1][:8], ids[-2][:8]]
    assert len(runs.rows) == 25
    sections = {section.title: section for section in document.sections}
    assert "Last 25 runs of visits" in sections
    assert sections["What changed between runs"].folded


def test_names_from_data_stay_texts(storage: Path) -> None:
    """Whatever an error, a person or a report is called, no page runs it."""
    texts = ("error_type", "error", "fix", "trigger_name", "metric", "version")
    facts = {"status": "failed", "validation_score": 0.5, "cost": 1.0} | dict.fromkeys(
        texts, EVIL
    )
    report = ReportRow(name=EVIL, place=f'{storage}/visits/"{EVIL}.html')
    write_run(EVIL, report, experiment="visits", **facts)
    write_pages("visits", storage_root())
    for page in ("overview.html", "visits/runs.html"):
        text = (storage / page).read_text()
        assert "<script" not in text
        assert f'"{EVIL}' not in text
    assert "&lt;script&gt;" in text


def test_reports_are_linked_relative_to_the_page(storage: Path) -> None:
    """Pages below the storage root are linked; tables, and what lies elsewhere, are
    not.
    """
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
    links = re.findall('<a href="([^"]+)">([^<]+)</a>', text)
    assert ("leaderboard/a=b/leaderboard.html", "leaderboard") in links
    assert ("registry/v0001/README.md", "card") in links
    assert len(links) == 3
    assert ("../overview.html", "Overview of all experiments") in links


def test_a_library_or_a_setting_that_changed_is_said_between_runs() -> None:
    """What is kept as JSON counts between neighbours as it does in a comparison."""
    ids = write_history(runs=2)
    libraries = {"lightgbm": "4.8.0", "CPU kernel": "Haswell"}
    changed = RunFacts(libraries=libraries, settings={"workers": 1})
    RunRecord("flight_delay", ids[1]).record([changed])
    page = render(experiment_page("flight_delay", "artifacts"))
    assert "lightgbm: 4.7.0 → 4.8.0" in page
    assert "workers" in page
