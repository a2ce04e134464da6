"""What only people know of a column: when its values come, and whom they concern."""

import pandas as pd
import pytest
import yaml

from experiment_pipeline_tests.stages.data_analysis.tables import (
    ROWS,
    analysed,
    check,
    rule,
    subject,
    table,
)

LATE = "columns: {x: {known: 30 days}, z: {known: never}, colour: {}, y: {}}"
ON_TIME = "columns: {x: {known: at prediction}, z: {known: 0 days}, colour: {}, y: {}}"
ARRIVAL = pd.date_range("2026-01-01", periods=ROWS, freq="h")
CALENDAR = {"preparation": {"calendar": {"arrival": ["month"]}}}


def test_a_feature_that_is_known_too_late_blocks_whatever_its_score():
    """Noise, too: no statistics could find it, so only the dictionary counts."""
    found = check("known_too_late", table(), dictionary=LATE)
    assert (found.severity, found.columns) == ("blocks", ("x", "z"))
    assert "x (known 30 days after the prediction), z (never known)" in found.evidence
    judged = analysed(table(), LATE)
    assert judged.verdict == "no go"
    assert {"x", "z"} <= {*judged.probe.left_out}


def test_excluding_it_takes_the_finding_away():
    """The suggested YAML does it, and nothing else is left to say."""
    found = check("known_too_late", table(), dictionary=LATE)
    mended = subject(table(), LATE, **yaml.safe_load(found.yaml or ""))
    assert mended.features == ("colour",)
    assert rule("known_too_late").check(mended).outcome == "not_found"


def test_an_accepted_one_is_a_condition_of_the_model():
    """With the reason, as for any finding that blocks."""
    accept = {"analysis": {"accept": {"known_too_late": "delivered daily since May"}}}
    judged = analysed(table(), LATE, **accept)
    assert judged.verdict == "go with conditions"
    assert "delivered daily since May" in judged.conditions[0]


@pytest.mark.parametrize("dictionary", ["", ON_TIME, "columns: {x: {}, z: {}}"])
def test_no_false_alarm_where_nothing_is_late(dictionary: str):
    """Nor where nobody said when: then the rule says that it cannot judge."""
    outcome = check("known_too_late", table(), dictionary=dictionary).outcome
    assert outcome == ("not_found" if dictionary == ON_TIME else "not_applicable")
    plain, said = analysed(table()), analysed(table(), dictionary)
    assert (said.verdict, said.reasons) == (plain.verdict, plain.reasons)
    assert said.probe == plain.probe


def test_the_target_may_come_as_late_as_it_likes():
    """Only what a model is given must be known."""
    late = "columns: {x: {known: at prediction}, y: {known: 365 days}}"
    assert check("known_too_late", table(), dictionary=late).outcome == "not_found"


def test_a_part_of_a_late_date_is_as_late():
    """What the calendar makes of it, unless the part itself says otherwise."""
    frame = table(arrival=ARRIVAL, arrival_month=ARRIVAL.month)
    late = (
        "columns: {arrival: {known: never, personal: true}, arrival_month: {title: m}}"
    )
    found = check("known_too_late", frame, dictionary=late, **CALENDAR)
    assert found.columns == ("arrival_month",)
    said = late.replace("{title: m}", "{known: at prediction}")
    assert (
        check("known_too_late", frame, dictionary=said, **CALENDAR).outcome
        == "not_found"
    )


def test_what_a_function_makes_of_late_columns_is_said_to_be_unknown():
    """The rule sees names, not code."""
    function = {"preparation": {"function": "json:loads"}}
    told = rule("known_too_late").check(subject(table(), ON_TIME, **function)).evidence
    assert "What preparation.function makes of late columns is not known." in told


def test_personal_and_protected_features_are_named():
    """As a note: whether the model may have them, people decide."""
    words = (
        "columns: {x: {personal: true}, colour: {personal: true, protected: true}, "
        "'z.*': {regex: true, protected: true}, y: {personal: true}}"
    )
    found = check("sensitive_features", table(), dictionary=words)
    assert (found.severity, found.columns) == ("note", ("x", "z", "colour"))
    assert "colour (personal and protected)" in found.evidence
    assert analysed(table(), words).verdict == analysed(table()).verdict
    assert check("sensitive_features", table()).outcome == "not_found"
