"""The decision record: what a reviewer signs for."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from experiment_pipeline.cli import main
from experiment_pipeline.reporting.document import (
    Document,
    Paragraph,
    Section,
    TableBlock,
    render,
    render_html,
)
from experiment_pipeline.reporting.run_record import (
    EvidenceRow,
    GateRow,
    ReportRow,
    RunFacts,
    SetRow,
)
from experiment_pipeline.spec.operation import Statements
from experiment_pipeline.stages.data_analysis.findings.dictionary import (
    SensitiveFeatures,
)
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.tracking import run_pages
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.record import (
    decided,
    decision_record,
    record_of_version,
)
from experiment_pipeline_tests.tracking import history

ROOT = Path(__file__).parents[2]
EXPERIMENT = "flight_delay"
NO_GO = {
    "status": "rejected",
    "stage": "data_analysis",
    "verdict": "no go",
    "data_rows": 10,
    "data_columns": 2,
}


def record_of(run_id: str, root: str | None = None) -> dict[str, str]:
    """The record as Markdown: title of a section → what stands below it."""
    record = render(decision_record(decided(EXPERIMENT, run_id, root=root)))
    sections = (part.partition("\n") for part in record.split("\n## ")[1:])
    return {title: text for title, _, text in sections}


def test_an_accepted_run_says_what_is_shipped_and_why():
    """Outcome, question, data, search, choice, gates, looks and cost have numbers."""
    record = record_of(history.write_history()[2])
    for title, text in (
        ("Decision", "is published as v0003"),
        ("Decision", "Approval: not required"),
        ("Question", "| predict | delayed (binary) |"),
        ("Data", "3 rows (0.03 %)"),
        ("Data", "year has 1 value"),
        ("Tried, and not tried", "3 configurations declared: 2 trained, 1 failed, 1"),
        ("Tried, and not tried", "ValueError: no such solver"),
        ("Choice, and by how much", "Chosen: lightgbm (num_leaves 31"),
        ("Choice, and by how much", "No other configuration is statistically tied"),
        ("Gates and looks", "of roc_auc at least 0.65 | 0.6900 | 0.6500 | PASS |"),
        ("Gates and looks", "3 models were evaluated on these validation rows"),
        ("Cost until this was written", "36 s"),
        ("What the next run needs", "1 core, 0.4 GB of memory, 52 s ("),
        ("What the next run needs", "  dagster-k8s/config:\n    container_config:"),
        ("Reviewed", "| signature | ......"),
    ):
        assert text in record[title]


def test_a_gate_that_cannot_decide_has_not_failed():
    """It blocks nothing, and the decision says so."""
    run_id = history.write_history()[2]
    text = "selection_rate_ratio of sex at least 0.8"
    gate = GateRow(number=2, metric="m", rule=text, value=0.7, outcome="INCONCLUSIVE")
    RunRecord(EXPERIMENT, run_id).record([gate])
    decision = record_of(run_id)["Decision"]
    assert f"- **too little data to decide**: {text}: 0.7000, limit" in decision
    assert "failed" not in decision


@pytest.mark.parametrize(
    ("value", "outcome", "said"),
    [
        (-3.0, "PASS", "-3.0000, at most 0.0000"),
        (0.5, "FAIL", "0.5000, at most 0.0000"),
        (0.5, "PASS", "0.5000, at least 0.0000"),
        (-0.5, "FAIL", "-0.5000, at least 0.0000"),
    ],
)
def test_the_words_beside_a_bar_say_which_side_passes(value, outcome, said):
    """The mark of the limit alone does not."""
    run_id = history.write_history()[2]
    gate = GateRow(
        number=2, metric="m", rule="gain", value=value, limit_value=0, outcome=outcome
    )
    RunRecord(EXPERIMENT, run_id).record([gate])
    assert f"gain: {said}" in record_of(run_id)["Decision"]


def test_a_value_below_zero_has_a_bar_too():
    """Where lower is better, the one that passes best would have no length."""
    run_id = history.write_history()[2]
    rule = "the difference to the rule in use today at most 0"
    gate = GateRow(
        number=2, metric="m", rule=rule, value=-3.0, limit_value=0.0, outcome="PASS"
    )
    RunRecord(EXPERIMENT, run_id).record([gate])
    record = decision_record(decided(EXPERIMENT, run_id))
    blocks = [block for section in record.sections for block in section.blocks]
    bars = [bar for block in blocks for bar in getattr(block, "bars", ())]
    (ends,) = (bar.ends for bar in bars if bar.title == rule)
    assert ends == pytest.approx((100 / 11, 100))


def test_a_run_is_held_against_the_version_and_the_run_before():
    """A run after the champion's is compared with it, the next one with both."""
    ids = history.write_history()
    record = record_of(ids[3])
    changed = record["What changed"]
    assert "Since v0003 (00000002" in changed
    assert "data: " not in changed
    assert "- decision: accepted with conditions → not accepted" in changed
    assert "roc_auc 0.7100 (0.6900 to 0.7300) → 0.5900" in changed
    assert changed.count("Since ") == 1
    assert "no earlier run" in record_of(ids[0])["What changed"]
    assert "Not accepted: 1 of 1 gate failed" in record["Decision"]
    assert "nothing is exported and the champion v0003 stays" in record["Decision"]
    later = history.FIRST_DAY.replace(month=3)
    history.write_run("later", status="rejected", started_at=later)
    changed = record_of("later")["What changed"]
    assert "Since v0003 (00000002" in changed
    assert "Since the previous run (00000003" in changed


def test_the_way_from_table_to_decision_has_a_number_for_each_step():
    """Rows, rejected rows, sets, configurations, choice, score, decision; with links."""
    ids = history.write_history()
    way = record_of(ids[2], "artifacts")["From table to decision"].replace("\\_", "_")
    for text in (
        "1. Raw table: **10,002 rows, 12 columns**",
        "Set aside: 3 rows (0.03 %)",
        "6,000 train, 2,000 test, 2,000 validation",
        "1 failed, 1 reused. [Leaderboard](../../../flight_delay/leaderboard/2.html)",
        f"**{history.KEYS[2]}**",
        "(0.6900 to 0.7300); the baseline (no features) scores 0.5000",
        "8. Decision: **accepted with conditions: v0003**. 1 of 1 gate passed. [Model c",
    ):
        assert text in way
    way = record_of(ids[3])["From table to decision"]
    assert "8. Decision: **not accepted**. 1 of 1 gate failed. Nothing is exp" in way
    assert "](" not in way


def test_a_no_go_is_a_record_too():
    """Nothing was trained: the reasons stand where the choice would."""
    decision = "no go: the target is constant\nask who delivers it"
    history.write_run("stopped", **NO_GO, decision=decision)
    record = record_of("stopped")
    ended = "No go: the data analysis says not to go on; nothing is exported."
    assert ended in record["Decision"], "there was no champion that could stay"
    assert "- no go: the target is constant\n- ask who" in record["Decision"]
    way = record["From table to decision"]
    assert way.count("**not reached**") == 5
    assert not {"Choice, and by how much", "Gates and looks"} & record.keys()


def test_personal_and_protected_features_stand_in_the_record():
    """However many other findings there are."""
    others = [history.finding_row(code=f"code_{place}") for place in range(20)]
    evidence = "1 feature, says schema.yaml: sex (protected)."
    last = history.finding_row(code=SensitiveFeatures.code, evidence=evidence)
    history.write_run("found", *others, last, **NO_GO)
    assert f"| personal or protected | {evidence} |" in record_of("found")["Data"]


def test_the_record_of_a_version_knows_it_before_the_database_does():
    """Written while the run counts as running, it says accepted and who approves."""
    history.write_history(runs=2)
    started = history.FIRST_DAY.replace(month=3)
    history.write_run(
        "exporting", status="running", started_at=started, chosen=history.KEYS[0]
    )
    record = record_of_version(EXPERIMENT, "exporting", "v0009", required=True).decode()
    assert "is published as v0009" in record
    assert "experiment-pipeline approve flight_delay v0009 --by NAME" in record
    assert "decision: not accepted → accepted" in record


def test_every_run_has_a_page_and_a_decided_one_a_record_to_sign(storage: Path):
    """Page and Markdown in the folder of the run are named as its reports."""
    failed = history.write_run("open", status="failed", fix="Mount the disk.")
    (row,) = run_pages.write(failed, storage_root()).rows
    assert row.place == str(storage / EXPERIMENT / "runs/open/index.html")
    page = Path(row.place).read_text()
    assert '<span class="outcome failed">failed</span>' in page
    assert "Mount the disk." in page
    run_id = history.write_history()[2]
    rows = run_pages.write(RunRecord(EXPERIMENT, run_id), storage_root()).rows
    folder = storage / EXPERIMENT / "runs" / run_id
    assert {row.name: row.place for row in rows} == {
        "decision_record": str(folder / "index.html"),
        "decision_record.md": str(folder / "decision_record.md"),
        "compare_00000001-flight_delay": str(folder / "compare.html"),
    }
    assert 'class="verdict passed"' in (folder / "index.html").read_text()


def test_what_only_people_can_say_stands_there_or_is_named_as_missing():
    """A statement is shown; one that defs.yaml lacks is asked for."""
    statements = {"not_for": None, "oversight": None, "review_on": "2027-06-30"}
    history.write_run("stated", **NO_GO, record=statements)
    people = record_of("stated")["Purpose and people"]
    assert "| review on | 2027-06-30 |" in people
    assert (
        "Missing: not_for, oversight. Only people can state these; write them in defs.yaml"
        in people
    )


def test_evidence_beside_the_gates_is_shown_and_what_is_not_known():
    """Scores have a paired difference; rows without a score say why."""
    run_id = history.write_history()[2]
    rows = [
        EvidenceRow.of(
            "challenger", "linear", 0.66, gain=Interval(0.05, 0.01, 0.09), rows=2_000
        ),
        EvidenceRow(kind="challenger", what="best v0001: not compared", number=2),
        EvidenceRow(kind="incumbent", what="the incumbent rule: not compared"),
        EvidenceRow(kind="rests on", what="tenure", difference=0.25),
    ]
    what = "the incumbent rule, by f1: the model is significantly better"
    gain = Interval(0.05, 0.01, 0.09)
    compared = EvidenceRow.of("incumbent", what, 0.6, gain=gain, rows=2_000)
    rows.append(replace(compared, number=2))
    RunRecord(EXPERIMENT, run_id).record(rows)
    record = record_of(run_id)
    challengers = record["Challengers"]
    assert "linear | 0.6600 | 0.0500 (0.0100 to 0.0900) | 2,000 |" in challengers
    assert "| best v0001: not compared |  |  |  |" in challengers
    assert "Beside the incumbent rule: not compared." in record["Decision"]
    rests = "rests on tenure: where its values are shuffled, roc_auc is worse by 0.2500"
    assert rests in record["Decision"]
    beside = "better; the incumbent scores 0.6000, this model minus it 0.0500 (0.0100"
    assert beside in record["Decision"]
    unknown = record["What this run cannot know"]
    assert "rows like the 3 rejected ones" in unknown


def test_the_page_of_lists_names_every_point_and_only_what_exists():
    """Annex IV from 1(a) to 9; sections of pages, keys of `record:` and commands."""
    page = (ROOT / "docs/model_validation.md").read_text()
    points = [f"{number}({letter})" for number in (1, 2) for letter in "abcdefgh"]
    assert re.findall(r"^\| (\d\S*) \|", page, re.MULTILINE) == [*points, *"3456789"]
    package = ROOT / "experiment_pipeline"
    places = [
        *package.glob("stages/*/page.py"),
        package / "stages/validation_report/audit.py",
        package / "tracking/record.py",
        package / "reporting/document.py",
    ]
    source = "".join(place.read_text() for place in places)
    titles = set(re.findall(r'"([A-Z][a-z, ]+)"', page))
    assert [title for title in titles if f'"{title}"' not in source] == []
    assert set(re.findall(r"`record\.(\w+)`", page)) == set(Statements.model_fields)
    assert set(re.findall(r"`experiment-pipeline (\w+)", page)) <= main.commands.keys()


def test_a_failed_run_says_first_what_failed():
    """Where and why, and of a search that never ended, what it had tried."""
    rows = [row for row in history.configuration_rows(0.7) if row.status == "failed"]
    facts = {"stage": "search", "declared": 1, "error": "the disk is full"}
    history.write_run("open", *rows, status="failed", **facts)
    record = record_of("open")
    assert "Failed at search: the disk is full" in record["Decision"]
    assert "**1 declared**. 1 failed." in record["From table to decision"]
    assert "1 configuration declared: 1 failed." in record["Tried, and not tried"]


@pytest.mark.usefixtures("storage")
def test_a_running_run_says_how_far_it_is():
    """Configurations done and seconds used, the best so far, and what stops next."""
    facts = {
        "status": "running",
        "stage": "search",
        "metric": "roc_auc",
        "greater_is_better": True,
        "declared": 12,
        "budget_seconds": 60.0,
        "seen_at": history.FIRST_DAY + timedelta(seconds=21),
    }
    rows = history.configuration_rows(0.7)
    run = history.write_run("busy", *rows, **facts)
    decision = record_of("busy")["Decision"]
    assert "configurations done: 3 of 12 configurations" in decision
    assert "seconds used: 21 s of 60 s, 39 s left" in decision
    assert (
        f"Best so far: {history.KEYS[2]}, roc_auc 0.7000 on the rows that choose"
        in decision
    )
    assert "The search stops with the last configuration, or in 39 s" in decision
    (page, *_) = run_pages.write(run, storage_root()).rows
    assert "location.reload()" in Path(page.place).read_text()


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (-0.02, "As good and simpler: the best linear model is tied: 10 times smaller"),
        (0.01, "The best linear model is not as good: roc_auc 0.6800"),
    ],
)
def test_a_simpler_model_that_is_as_good_stands_beside_the_gates(
    low: float, words: str
):
    """By the paired difference on the validation rows; its size and speed with it."""
    run_id = history.write_history()[2]
    what = f"the best linear model, {history.KEYS[0]}, fitted on the same rows"
    gain = Interval(0.03, low, 0.05)
    linear = EvidenceRow.of("challenger", what, 0.68, gain=gain, rows=2_000)
    _, size, _ = history.configuration_rows(0.7)
    size = replace(size, model_bytes=12_000)
    RunRecord(EXPERIMENT, run_id).record([linear, size])
    assert words in record_of(run_id)["Decision"]


def test_the_decision_says_what_the_model_is_worth():
    """And which part of it may be chance."""
    run_id = history.write_history()[2]
    chance = Interval(-20, -60, 20)
    what = "alarming always, in a month of 5,000 rows"
    row = EvidenceRow.of("worth", what, 0.0, gain=chance, rows=2_000)
    gain = Interval(300, 100, 500)
    nothing = what.replace("alarming always", "doing nothing")
    surely = EvidenceRow.of("worth", nothing, 0.0, gain=gain, rows=2_000)
    RunRecord(EXPERIMENT, run_id).record([row, replace(surely, number=2)])
    sections = record_of(run_id)
    words = (
        "By its costs, the model saves in a month of 5,000 rows: "
        "-20.00 (-60.00 to 20.00) compared with alarming always, which may be chance; "
        "300.00 (100.00 to 500.00) compared with doing nothing."
    )
    assert words in sections["Decision"]
    assert "the model saves" in sections["What the model is worth"]


def test_the_number_line_puts_better_scores_further_right():
    """Baseline, limit and score of one set of rows; a linear model beside them."""
    run_id = history.write_history()[2]
    line = run_pages.number_line(decided(EXPERIMENT, run_id))
    assert [mark.role for mark in line.ordered] == ["baseline", "limit", "score"]
    smaller = replace(line, greater_is_better=False)
    places = [line.place(mark.value) for mark in line.ordered]
    assert places == sorted(places)
    assert [100 - smaller.place(mark.value) for mark in line.ordered] == pytest.approx(
        places
    )


def test_the_page_of_the_data_names_the_rows_that_were_rejected_after_it(storage: Path):
    """With their reasons as texts, in the run's own copy, and again when it is written
    again.
    """
    run_id, *_ = history.write_history(EXPERIMENT, runs=2)
    run = RunRecord(EXPERIMENT, run_id)
    run.record([RunFacts(rejection_reasons={"price > <b>": 3})])
    place = str(storage_root() / EXPERIMENT / "runs" / run_id / "data_analysis.html")
    run.record([ReportRow(name="data_analysis", place=place)])
    page = Path(place)
    page.parent.mkdir(parents=True)
    page.write_text(render_html(Document("Data", [Section("A", [Paragraph("b")])])))
    for _ in range(2):
        run_pages.write(run, storage_root())
        text = page.read_text()
        assert text.count("<p>3 rows (0.03 %) were set aside.</p>") == 1
        assert text.count("<li>price &gt; &lt;b&gt;: 3 rows</li>") == 1


def test_a_run_is_compared_with_the_run_before_and_with_the_version_before(
    storage: Path,
):
    """A page for each, the tab is that of the run before; reruns of it link the other."""
    history.write_history()
    later = history.FIRST_DAY.replace(month=3)
    history.write_run("later", status="rejected", started_at=later)
    rows = run_pages.write(RunRecord(EXPERIMENT, "later"), storage_root()).rows
    places = {row.name: Path(row.place) for row in rows}
    before = places["compare_00000003-flight_delay"]
    version = places["compare_00000002-flight_delay"]
    assert (before.name, version.name) == ("compare.html", "compare_version.html")
    assert '<a href="compare_version.html">Beside v0003</a>' in before.read_text()
    assert "Two runs side by side" in version.read_text()


@pytest.mark.parametrize(
    ("digest", "words"),
    [("test1", "on these test rows"), ("test9", "on test rows of its own")],
)
def test_the_champion_is_pinned_above_the_configurations(
    storage: Path, digest: str, words: str
):
    """With its score, and whether that is of the same rows."""
    run_id = history.write_history()[3]
    run = RunRecord(EXPERIMENT, run_id)
    run.record([SetRow(set_name="test", rows=2_000, columns=12, digest=digest)])
    place = storage / EXPERIMENT / "runs" / run_id / "leaderboard.html"
    table = TableBlock(("rank", "configuration"), [("1", "a")], pinned=[("", "b")])
    sections = [Section("Configurations", [Paragraph("b"), table])]
    place.parent.mkdir(parents=True)
    place.write_text(render_html(Document("Leaderboard", sections)))
    run.record([ReportRow(name="leaderboard", place=str(place))])
    for _ in range(2):
        run_pages.write(run, storage_root())
        champion = f"champion v0003<br><small>{history.KEYS[2]}, {words}</small>"
        assert place.read_text().count(champion) == 1
        assert "<td>0.7200 (0.7000 to 0.7400)</td>" in place.read_text()
