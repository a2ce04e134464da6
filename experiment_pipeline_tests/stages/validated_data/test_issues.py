"""What the owner of the data can correct: the causes, their costs, and what is new or
corrected.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.intake.profile import profile
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.analysis import analyse_prepared
from experiment_pipeline.stages.validated_data.changes import ComparedData, compare
from experiment_pipeline.stages.validated_data.issues import (
    CheckedRows,
    Delivery,
    Earlier,
    Issue,
)
from experiment_pipeline.stages.validated_data.issues_page import IssuesReport, outcome
from experiment_pipeline.table.dictionary import NO_DICTIONARY
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario

NOW = datetime(2026, 12, 2, tzinfo=UTC)
BEFORE = datetime(2026, 11, 1, tzinfo=UTC)


def delivery(
    frame: pd.DataFrame | None = None,
    *,
    split: str = "random",
    accepted: pd.DataFrame | None = None,
    earlier: Earlier = Earlier({}),  # noqa: B008 - frozen
    personal: tuple[str, ...] = (),
    **changes: Any,
) -> Delivery:
    """The clinic's table, or another one, analysed and checked; `accepted`: the table
    of the last export.
    """
    spec = scenario.spec(split=split, **changes)
    raw = scenario.table() if frame is None else frame
    checked = checked_rows(raw, spec)
    if accepted is not None:
        of_export = checked_rows(accepted, spec).rows
        before = profile(of_export.validated, of_export.rejection_rate)
        now = profile(checked.rows.validated, checked.rows.rejection_rate)
        changed = compare(before, now, checked.rows.validated, spec)
        compared = ComparedData("", None, changed, before)
        checked = replace(checked, compared=compared)
    analysis, _ = analyse_prepared(checked.prepared, spec, NO_DICTIONARY)
    found = json.loads(json.dumps([asdict(one) for one in analysis.found]))
    findings = {finding["code"]: finding for finding in found}
    return Delivery(raw, checked, findings, spec, personal, earlier)


def checked_rows(raw: pd.DataFrame, spec: ExperimentSpec) -> CheckedRows:
    schema = load_schema(scenario.SCHEMA)
    prepared = prepare_and_assign(raw, schema, spec)
    rows = validate(raw, prepared, schema, spec)
    return CheckedRows(prepared, rows, ComparedData())


def issues(*given: Any, **options: Any) -> dict[str, Issue]:
    """Code → issue."""
    return {issue.code: issue for issue in delivery(*given, **options).issues()}


def row_of(issue: Issue) -> Mapping[str, Any]:
    """A row of the database, of an earlier run."""
    return {
        "code": issue.code,
        "rule": issue.rule,
        "rows": 2,
        "share": 0.1,
        "since": BEFORE,
        "since_run": "11111111-2222",
    }


def report(
    found: list[Issue], earlier: Earlier, to_check: Issue | None = None
) -> IssuesReport:
    return IssuesReport("clinic", "visits.csv", found, to_check, earlier)


def test_a_sound_table_has_no_issue():
    """No false alarm: also beside an accepted version of the same rows."""
    sound = scenario.sound_table()
    assert issues(sound) == {}
    assert issues(sound, split="time", accepted=sound) == {}


def test_each_broken_rule_is_a_cause_with_rows_as_delivered():
    """The rule is in words, and the cell is the one of the file."""
    found = issues()
    assert sum(issue.rows for issue in found.values()) == len(scenario.BROKEN_ROWS)
    age = found["Rejected rows: age: fails in_range(0, 120)"]
    assert age.rule == "age must be in the range (0, 120)"
    assert (age.rows, age.share) == (2, 2 / 480)
    delivered = scenario.table()
    first = age.examples[0]
    assert first.row == 11
    assert first.ids == f"visit_id {delivered.loc[11, 'visit_id']}"
    assert (first.column, first.cell) == ("age", "430.0")
    [date] = [one for one in found.values() if "date" in one.rule]
    assert date.examples[0].cell == "yesterday"


def test_the_cost_is_a_share_of_the_class_and_a_width():
    """The width shrinks with the root of the rows; a row with two faults would not come
    back by one.
    """
    table = scenario.table()
    table.loc[11, "ward"] = "Narnia"  # its age is broken, too
    of_age = issues(table, earlier=Earlier({}, width=0.1))[
        "Rejected rows: age: fails in_range(0, 120)"
    ]
    gain = 0.1 * (1 - np.sqrt(470 / 471))
    assert "With 1 more row the interval of roc_auc" in of_age.cost
    assert f"about {gain:.2g} narrower" in of_age.cost
    assert "% of the rows with readmitted = yes, outside" in of_age.cost
    unknown = issues(table)["Rejected rows: age: fails in_range(0, 120)"]
    assert "narrower" not in unknown.cost


def test_targets_of_the_validation_set_change_nothing():
    """Neither causes nor costs nor examples depend on them."""
    table = scenario.sound_table()
    copies = pd.concat([table, table.head(60).assign(readmitted="no")])
    copies = copies.reset_index(drop=True).rename_axis("row_number")
    copies["cost"] = 5.0
    copies["triage"] = "low"
    first = delivery(copies)
    found = first.issues()
    assert {issue.cause for issue in found} >= {"Contradictions", "Duplicates"}
    hidden = (first.checked.prepared.sets == "validation").to_numpy()
    assert hidden.any()
    for issue in found:
        assert not {example.row for example in issue.examples} & {
            *copies.index[hidden].tolist()
        }
    flipped = copies.copy()
    flipped.loc[hidden, "readmitted"] = np.where(
        copies["readmitted"][hidden] == "yes", "no", "yes"
    )
    assert delivery(flipped).issues() == found


def test_a_repeated_row_names_the_first_one_that_it_is_like():
    """On the page and in the CSV, also where that is row 0."""
    table = scenario.sound_table().head(300)
    copies = pd.concat([table, table.head(60), table.head(60)], ignore_index=True)
    found = issues(copies.rename_axis("row_number"))["Duplicates"]
    numbers = {example.row: example.like_row for example in found.examples}
    assert numbers[0] is None
    assert {numbers[row] for row in (300, 360)} == {0}
    csv = pd.read_csv(io.BytesIO(report([found], Earlier({})).csv()))
    assert csv["like_row"].dropna().isin(csv["row"]).all()
    assert "like row" in report([found], Earlier({})).page().decode()


def test_numbers_that_stand_for_missing_are_named_by_column():
    """With the rows that hold them."""
    table = scenario.sound_table()
    table.loc[table.index[:40], scenario.STRANGE] = -999.0
    found = issues(table)
    [issue] = found.values()
    assert issue.code == f"Placeholders: {scenario.STRANGE}"
    assert issue.rows == 40
    assert {example.cell for example in issue.examples} == {"-999.0"}


def test_rows_that_come_late_or_are_missing_at_the_end_are_counted():
    """Against the period of the accepted version; later rows are neither, and rows that
    were rejected then are not late.
    """
    table = scenario.sound_table()
    middle, end = table.iloc[200:230], table.iloc[-20:]
    late = issues(table, split="time", accepted=table.drop(index=middle.index))
    assert late["Late rows: visited"].rows == 30
    gone = issues(table.drop(index=end.index), split="time", accepted=table)
    assert gone["Missing rows: visited"].rows == 20
    later = issues(table, split="time", accepted=table.drop(index=end.index))
    assert not {"Late rows: visited", "Missing rows: visited"} & later.keys()
    rejected = scenario.table().iloc[:-20]
    corrected = table.iloc[:-20]
    assert issues(corrected, split="time", accepted=rejected) == {}


def test_a_column_that_drifts_is_a_cause():
    """With both versions in words, unless the column is personal."""
    table = scenario.sound_table()
    older = table.assign(age=table["age"] + 20)
    drifted = issues(older, accepted=table)["Drift: age"]
    assert drifted.rows is None
    assert "Then: median" in drifted.rule
    hidden = issues(older, accepted=table, personal=("age",))["Drift: age"]
    assert "median" not in hidden.rule


def test_cells_of_personal_columns_are_left_out():
    """Also from ids; the rows stay."""
    personal = ("age", "visit_id", "weight", "ward", "visited", "patient")
    found = list(issues(personal=personal).values())
    text = report(found, Earlier({})).csv().decode()
    page = report(found, Earlier({})).page().decode()
    for row, (column, cell, _) in scenario.BROKEN_ROWS.items():
        assert any(example.row == row for one in found for example in one.examples)
        if cell is not None and len(cell) > 3 and column in personal:
            assert cell not in text
            assert cell not in page


def test_new_issues_are_told_from_earlier_ones_and_corrected_ones():
    """The first run that saw one is named; the check fails for new ones only."""
    rejected, other = (
        Issue("Rejected rows", "a", "a is wrong", 3, 0.1),
        "Rejected rows: b",
    )
    gone = {**row_of(Issue("Rejected rows", "b", "b is wrong")), "code": other}
    old = Earlier({rejected.code: row_of(rejected), other: gone}, run="22222222-3333")
    same = report([rejected], old)
    [row] = same.frame.itertuples()
    assert row.since == "since 2026-11-01"
    before = "Run 11111111 found it first; the run before found 2 rows, 10 %."
    assert row.history == before
    assert before in same.page().decode()
    assert same.gone == ["b is wrong (2 rows, 10 %): corrected; first seen 2026-11-01"]
    done = outcome(same, "p.html", "p.csv", "33333333-4444", NOW)
    assert done.checks[0].passed
    [row] = [row for row in done.record if hasattr(row, "since")]
    assert (row.since, row.since_run) == (BEFORE, "11111111-2222")
    assert "No longer found since run 22222222" in same.page().decode()

    new = report([rejected], Earlier({}))
    done = outcome(new, "p.html", "p.csv", "33333333-4444", NOW)
    [check] = done.checks
    assert (check.passed, check.ends_run) == (False, False)
    assert check.means == "Rejected rows: a is wrong (3 rows, 10 %)"
    [row] = [row for row in done.record if hasattr(row, "since")]
    assert (row.since, row.since_run) == (NOW, "33333333-4444")
    in_memory = outcome(report([rejected], Earlier()), "", "", "", NOW)
    assert in_memory.checks[0].passed


def test_an_issue_that_has_grown_is_reported_from_what_to_what():
    """The check fails, though the run before had it."""
    before = {**row_of(Issue("Rejected rows", "a", "a is wrong")), "share": 2 / 480}
    issue = Issue("Rejected rows", "a", "a is wrong", 20, 20 / 500)
    grown = report([issue], Earlier({issue.code: before}))
    [check] = outcome(grown, "", "", "", NOW).checks
    assert not check.passed
    text = "Rejected rows: a is wrong (20 rows, 4 %), grown from 2 rows, 0.417 %"
    assert check.means == text
    page = grown.page().decode()
    assert "the run before found 2 rows, 0.417 %: more than by chance." in page
    assert "1 data issue, 1 with a larger share of the rows." in page


def test_a_stable_share_of_another_table_has_hardly_ever_grown():
    """By simulation: 1 in 1,000 of tables that are 1.3 or 10 times as large; a doubled
    share of 20,000 rows is found, and a growth by 3 % of a million rows is not reported.
    """
    generator = np.random.default_rng(0)

    def grown(share: float, rows: int, growth: float, more: float) -> float:
        first = generator.binomial(rows, share, 500)
        later = generator.binomial(int(rows * more), share * growth, 500)
        alarms = [
            Issue("", "", "", count, count / int(rows * more)).has_grown(
                {"rows": old, "share": old / rows}
            )
            for old, count in zip(first.tolist(), later.tolist(), strict=True)
        ]
        return float(np.mean(alarms))

    stable = [
        grown(share, rows, 1.0, more)
        for share in (0.002, 0.02, 0.3)
        for rows in (300, 3_000, 1_000_000)
        for more in (1.3, 10)
    ]
    assert np.mean(stable) <= 0.001
    assert max(stable) <= 0.006  # 3 of 500
    assert grown(0.01, 20_000, 2.0, 1.3) == 1
    assert grown(0.1, 1_000_000, 1.03, 1.3) == 0


@pytest.mark.parametrize(
    ("code", "same_table", "words"),
    [
        ("Rejected rows: a", True, "the table is the same: a setting has changed"),
        ("Drift: a", False, "like the accepted version again, or accepted"),
    ],
)
def test_what_disappears_without_a_correction_is_not_called_corrected(
    code, same_table, words
):
    """A changed rule, or an export, makes an issue go as well."""
    row = {**row_of(Issue("", "", "a is wrong")), "code": code}
    [text] = report([], Earlier({code: row}, same_table=same_table)).gone
    assert words in text
    assert "corrected" not in text


def test_no_cell_becomes_a_formula_and_no_text_becomes_html():
    """The CSV marks such cells as texts; numbers stay numbers."""
    cells = ['=HYPERLINK("x")', "+1", "@a", "-2+3", "-2.5", "fine", "<b>"]
    table = scenario.table()
    examples = [
        replace(example, cell=cell)
        for example, cell in zip(
            issues(table)["Rejected rows: age: fails in_range(0, 120)"].examples * 4,
            cells,
            strict=False,
        )
    ]
    issue = Issue("Rejected rows", "=a", "=a", 7, 0.1, examples=examples)
    done = report([issue], Earlier({}))
    read = pd.read_csv(io.BytesIO(done.csv()))
    first = ['\'=HYPERLINK("x")', "'+1", "'@a", "'-2+3", "-2.5", "fine", "<b>"]
    assert read["cell"].tolist() == first
    assert set(read["rule"]) == {"'=a"}
    page = done.page().decode()
    assert "=HYPERLINK(&#34;x&#34;)" in page
    assert "<b>" not in page


def test_improbable_targets_of_test_rows_are_a_question_and_no_issue():
    """No row of the validation set is among them."""
    worst = pd.DataFrame(
        {
            "set": ["validation", "test", "test"],
            "visit_id": ["V0001", "V0002", "V0003"],
            "target": "yes",
            "prediction": "no",
            "probability_of_target": [0.01, 0.02, 0.4],
        },
        index=[5, 7, 9],
    )
    given = delivery(earlier=Earlier({}, worst=worst, worst_run="44444444-1"))
    question = given.to_check()
    assert [example.row for example in question.examples] == [7]
    assert question.examples[0].cell == "yes (predicted: no)"
    done = report([], Earlier({}), question)
    assert "Targets to check" in done.page().decode()
    assert done.in_words == "0 data issues"
