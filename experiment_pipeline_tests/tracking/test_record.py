"""The decision record: everything a reviewer signs for, of a run that exported or
refused.
"""

import re
from pathlib import Path

from experiment_pipeline.cli import main
from experiment_pipeline.reporting.document import render, render_html
from experiment_pipeline.reporting.run_record import EvidenceRow, GateRow
from experiment_pipeline.spec.operation import Statements
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.outcomes import write_record
from experiment_pipeline.tracking.record import (
    decided,
    decision_record,
    record_of_version,
)
from experiment_pipeline_tests.scenario import MARKUP
from experiment_pipeline_tests.tracking import history

ROOT = Path(__file__).parents[2]
EXPERIMENT = "flight_delay"
WAY = "From table to decision"
NO_GO = {"status": "rejected", "stage": "data_analysis", "verdict": "no go"}
NO_GO |= {"data_rows": 10, "data_columns": 2}


def record_of(run_id: str, experiment: str = EXPERIMENT) -> str:
    """The record as Markdown."""
    return render(decision_record(decided(experiment, run_id), None))


def section(record: str, title: str) -> str:
    """What stands under a title."""
    return record.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_an_accepted_run_says_what_is_shipped_and_why() -> None:
    """Outcome, question, data, choice by how much, gates, looks, cost: with their
    numbers.
    """
    record = record_of(history.write_history()[2])
    assert "is published as v0003" in section(record, "Decision")
    assert "Approval: not required" in section(record, "Decision")
    assert "| predict | delayed (binary) |" in section(record, "Question")
    assert "3 rows (0.03 %)" in section(record, "Data")
    assert "| validation | 2,000 |" in section(record, "Data")
    assert "year has 1 value" in section(record, "Data")
    choice = section(record, "Choice, and by how much")
    assert "Chosen: lightgbm (num\\_leaves 31" in choice.replace(
        "num_leaves", "num\\_leaves"
    )
    assert "-0.0500" in choice
    assert (
        "No other configuration is statistically tied with the best on the test set"
        in choice
    )
    judged = section(record, "Gates and looks")
    assert "| lower bound of roc_auc at least 0.65 | 0.6900 | 0.6500 | PASS |" in judged
    assert "3 models were evaluated on these validation rows" in judged
    assert "36 s" in section(record, "Cost until this was written")
    assert section(record, "Reviewed").count("....... |") == 4


def test_a_gate_that_cannot_decide_has_not_failed() -> None:
    """It blocks nothing, and the decision says so."""
    run_id, rule = (
        history.write_history()[2],
        "selection_rate_ratio of sex at least 0.8",
    )
    undecided = GateRow(
        number=2, metric="m", rule=rule, value=0.7, outcome="INCONCLUSIVE"
    )
    RunRecord(EXPERIMENT, run_id).record([undecided])
    said = section(record_of(run_id), "Decision")
    assert f"- Too little data to decide: {rule}; it is 0.7000" in said
    assert "Failed" not in said


def test_what_was_tried_and_what_was_not_is_counted() -> None:
    """Trained, stopped, failed with its reason, not started, reused: nobody is left
    out.
    """
    tried = section(record_of(history.write_history()[0]), "Tried, and not tried")
    assert (
        "3 configurations declared: 2 trained on all train rows, 0 stopped early"
        in tried
    )
    assert "1 failed, 0 not started, 1 reused from earlier runs" in tried
    assert "ValueError: no such solver" in tried


def test_a_run_is_held_against_the_version_and_the_run_before() -> None:
    """A refused run follows the champion's; the next one is held against both."""
    ids = history.write_history()
    refused = section(record_of(ids[3]), "What changed")
    assert "Since v0003 (00000002" in refused
    assert "data: " not in refused
    assert (
        "- code: 000000000000 → 111111111111\n- decision: accepted → rejected"
        in refused
    )
    assert "roc_auc 0.7100 (0.6900 to 0.7300) → 0.5900" in refused
    assert "not paired: " in refused
    assert refused.count("Since ") == 1
    assert "no earlier run" in section(record_of(ids[0]), "What changed")
    record = record_of(ids[3])
    assert "Refused: 1 of 1 gate failed" in section(record, "Decision")
    assert "the champion stays" in section(record, "Decision")
    assert "| FAIL |" in section(record, "Gates and looks")
    history.write_run(
        "later", status="rejected", started_at=history.FIRST_DAY.replace(month=3)
    )
    both = section(record_of("later"), "What changed")
    assert "Since v0003 (00000002" in both
    assert "Since the previous run (00000003" in both


def test_the_way_from_table_to_decision_has_a_number_for_each_step() -> None:
    """Rows, rejected rows, sets, configurations, choice, score against the baseline,
    decision.
    """
    ids = history.write_history()
    way = section(
        render(decision_record(decided(EXPERIMENT, ids[2]), "artifacts")), WAY
    )
    steps = way.strip().splitlines()
    assert [step.partition(" ")[0] for step in steps] == [f"{n}." for n in range(1, 9)]
    for step, told in zip(
        steps,
        (
            "**10,002 rows, 12 columns**",
            "**go with conditions**",
            "3 rows rejected (0.03 %)",
            "6,000 train, 2,000 test, 2,000 validation",
            "2 trained, 1 failed. [Leaderboard](../../flight_delay/leaderboard/2.html)",
            f"**{history.KEYS[2]}**",
            "(0.6900 to 0.7300); the baseline (no features) scores 0.5000",
            "**accepted with conditions: v0003**. 1 of 1 gate passed. [Model card](../../flight_delay/",
        ),
        strict=True,
    ):
        assert told in step.replace("\\_", "_")
    refused = section(record_of(ids[3]), WAY)
    assert (
        "8. Decision: **refused**. 0 of 1 gate passed. Nothing is exported" in refused
    )
    assert "](" not in refused


def test_a_no_go_is_a_record_too() -> None:
    """Nothing was trained: the reasons stand where the choice would, and steps say "not
    reached".
    """
    decision = "no go: the target is constant\nask who delivers it"
    history.write_run("stopped", **NO_GO, decision=decision)
    record = record_of("stopped")
    assert "Refused at data analysis: nothing is exported" in section(
        record, "Decision"
    )
    assert "- no go: the target is constant\n- ask who delivers it" in record
    assert "No configuration: the run ended at data analysis" in record
    way = section(record, WAY)
    assert "2. Data analysis: **no go**" in way
    assert way.count("**not reached**") == 5
    assert "8. Decision: **refused**" in way
    assert "## Choice" not in record
    assert "## Gates" not in record


def test_names_from_data_stay_texts() -> None:
    """Markup in a name, a reason or a value is shown, in Markdown and on the page."""
    finding = history.finding_row(
        column_names=(MARKUP,), evidence=f"{MARKUP} is constant"
    )
    facts = NO_GO | {"stage": "validated_data", "data_url": MARKUP, "decision": MARKUP}
    facts |= {
        "rejected_rows": 3,
        "rejection_reasons": {f"{MARKUP}: is not a number": 3},
    }
    history.write_run("strange", finding, **facts | {"verdict": None})
    document = decision_record(decided(EXPERIMENT, "strange"), None)
    for text in (render(document), render_html(document)):
        assert "<script>" not in text
        assert text.count("&lt;script&gt;") == 7


def test_the_record_of_a_version_knows_it_before_the_database_does() -> None:
    """Written while the run still counts as running, it says accepted, and who must
    approve.
    """
    history.write_history(runs=2)
    facts = {
        "started_at": history.FIRST_DAY.replace(month=3),
        "chosen": history.KEYS[0],
    }
    history.write_run("exporting", status="running", **facts)
    record = record_of_version(EXPERIMENT, "exporting", "v0009", required=True).decode()
    assert "is published as v0009" in record
    assert "experiment-pipeline approve flight_delay v0009 --by NAME" in record
    assert "decision: rejected → accepted" in record


def test_a_record_is_written_for_decided_runs_only(storage: Path) -> None:
    """As a page and as Markdown beside the archived run, both named as reports of the
    run.
    """
    history.write_run("open", status="failed")
    assert write_record(EXPERIMENT, "open", storage_root()) == ()
    assert not storage.exists()
    run_id = history.write_history()[2]
    rows = write_record(EXPERIMENT, run_id, storage_root())
    folder = storage / EXPERIMENT / "runs"
    assert {row.name: row.place for row in rows} == {
        "decision_record": str(folder / f"{run_id}.record.html"),
        "decision_record.md": str(folder / f"{run_id}.record.md"),
    }
    assert 'class="verdict passed"' in (folder / f"{run_id}.record.html").read_text()


def test_what_only_people_can_say_stands_there_or_is_named_as_missing() -> None:
    """As text, whatever was written."""
    said = {
        "purpose": MARKUP,
        "not_for": None,
        "oversight": None,
        "review_on": "2027-06-30",
    }
    history.write_run("said", **NO_GO, record=said)
    document = decision_record(decided(EXPERIMENT, "said"), None)
    people = section(render(document), "Purpose and people")
    assert "| review on | 2027-06-30 |" in people
    assert "Missing: not_for, oversight. Only people can say these" in people
    for text in (people, render_html(document)):
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_evidence_beside_the_gates_is_shown_and_what_is_not_known() -> None:
    """Scores with the paired difference; rows without a score say why; rejected rows
    are unknown.
    """
    run_id = history.write_history()[2]
    known = (f"linear {MARKUP}", 0.66, Interval(0.05, 0.01, 0.09), 2_000)
    rows = [
        EvidenceRow.of("challenger", *known),
        EvidenceRow(kind="challenger", what="best v0001: not compared", number=2),
    ]
    RunRecord(EXPERIMENT, run_id).record(rows)
    record = record_of(run_id)
    challengers, unknown = (
        section(record, x) for x in ("Challengers", "What this run cannot know")
    )
    assert "| compared with | its roc_auc | this model minus it | rows |" in challengers
    assert (
        "&lt;/script&gt; | 0.6600 | 0.0500 (0.0100 to 0.0900) | 2,000 |" in challengers
    )
    assert "| best v0001: not compared |  |  |  |" in challengers
    assert "- Drift is not measured.\n" in unknown
    assert "rows like the 3 rejected ones" in unknown


def test_the_page_of_lists_names_every_point_and_only_what_exists() -> None:
    """Annex IV from 1(a) to 9; sections of our pages, keys of `record:` and commands,
    as they are called.
    """
    page, package = (
        (ROOT / "docs/model_validation.md").read_text(),
        ROOT / "experiment_pipeline",
    )
    points = [f"{number}({one})" for number in (1, 2) for one in "abcdefgh"]
    assert re.findall(r"^\| (\d\S*) \|", page, re.MULTILINE) == [*points, *"3456789"]
    places = (*package.glob("stages/*/page.py"), package / "tracking/record.py")
    places += (package / "stages/validation_report/audit.py",)
    source = "".join(
        f.read_text() for f in (*places, package / "reporting/document.py")
    )
    titles = set(re.findall(r'"([A-Z][a-z, ]+)"', page))
    assert [one for one in titles if f'"{one}"' not in source] == []
    assert set(re.findall(r"`record\.(\w+)`", page)) == set(Statements.model_fields)
    assert set(re.findall(r"`experiment-pipeline (\w+)", page)) <= main.commands.keys()
