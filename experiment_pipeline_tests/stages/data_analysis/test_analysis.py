import itertools
import json
from collections import Counter
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.stages.data_analysis.analysis import (
    reasons_of,
    verdict_of,
    weighed,
    weight,
)
from experiment_pipeline.stages.data_analysis.finding import SEVERITIES, Finding, Rule
from experiment_pipeline.stages.data_analysis.findings import TABLE_RULES
from experiment_pipeline.stages.data_analysis.findings.probe import PROBE_RULES
from experiment_pipeline.stages.data_analysis.page import markdown_report
from experiment_pipeline_tests.stages.data_analysis import tables

CODES = [rule.code for rule in (*TABLE_RULES, *PROBE_RULES)]


def test_a_plain_table_is_a_go_and_every_code_has_exactly_one_finding():
    """All rules speak about every table; without findings nothing is to explain."""
    analysis = tables.analysed(tables.table())
    assert (analysis.verdict, analysis.reasons, analysis.found) == ("go", (), ())
    assert Counter(finding.code for finding in analysis.findings) == Counter(CODES)
    assert all(finding.evidence and finding.advice for finding in analysis.findings)


@pytest.mark.parametrize(
    ("frame", "changes"),
    [
        (tables.table(when=pd.date_range("2024-01-01", periods=tables.ROWS)), {}),
        (tables.numeric(), tables.REGRESSION),
        (tables.table(y=1.0 * (np.arange(tables.ROWS) % 3)), tables.MULTICLASS),
    ],
)
def test_targets_of_the_validation_set_change_nothing(frame, changes):
    """Whatever stands in the validation set's targets, the analysis is the same."""
    y = frame["y"].to_numpy(copy=True)
    y[tables.VALIDATION] = np.random.default_rng(0).permutation(y[tables.VALIDATION])
    y = pd.Series(y).mask(tables.VALIDATION & (np.arange(tables.ROWS) % 20 >= 10))
    changed = tables.analysed(frame.assign(y=y.array), **changes)
    assert changed.to_json() == tables.analysed(frame, **changes).to_json()


def test_an_unaccepted_leak_stops_the_run_and_an_accepted_one_does_not():
    """A copy of the target blocks; accepted it is a condition, and is probed."""
    frame = tables.table(outcome=tables.table()["y"])
    blocked = tables.analysed(frame)
    accepted = tables.analysed(
        frame, analysis={"accept": {"leak_suspect": "known before"}}
    )
    assert (blocked.verdict, accepted.verdict) == ("no go", "go with conditions")
    assert blocked.probe.left_out == ("outcome",)
    assert accepted.probe.left_out == ()
    assert "accepted: known before" in accepted.reasons[0]


def test_without_its_strongest_column_a_table_is_not_called_without_signal():
    """A leak suspect is not probed: what is said of the others names it."""
    generator = np.random.default_rng(0)
    y = generator.permutation(tables.ROWS) % 2
    noise = tables.table(y=y)

    def said(frame: pd.DataFrame) -> Finding:
        found = tables.analysed(frame).findings
        return next(f for f in found if f.code == "probe_no_better_than_baseline")

    assert said(noise).title == "No signal in the features"
    finding = said(noise.assign(outcome=y))
    assert finding.outcome == "found"
    assert finding.title == "No signal beside the leak suspects (outcome)"
    assert "Leak suspects are not used by the probe: outcome." in finding.evidence
    assert finding.advice.startswith("If the suspects are known before the target, ")


def test_an_absent_target_is_an_error_that_names_the_columns():
    """A misspelt target is told what there is."""
    with pytest.raises(UnusableTable, match="did you mean 'colour'"):
        tables.analysed(tables.table(), target="color")


def test_json_is_strict_and_complete():
    """Every finding stands in the JSON, and numbers that JSON lacks are null."""
    content = json.loads(
        tables.analysed(tables.table(huge=[np.inf] * 200 + [1e300] * 200)).to_json(),
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON"),
    )
    assert {finding["code"] for finding in content["findings"]} == set(CODES)
    assert content["probe"]["scores"]
    assert "shown_rows" not in content


CELLS = st.one_of(
    st.none(),
    st.integers(-(10**6), 10**6),
    st.floats(),
    st.text(max_size=8),
    st.booleans(),
    st.sampled_from(["?", "1,5", "2024-01-01", "-999", " a", "A"]),
)
TWELVE = partial(st.lists, min_size=12, max_size=12)
FLAGS = st.one_of(st.none(), st.booleans())
COLUMNS = st.one_of(*map(TWELVE, (st.floats(), st.text(max_size=6), FLAGS, CELLS)))
CLASSES = (["yes", "no"], ["a", "b", "c", None])
TARGETS = st.one_of(
    COLUMNS, *map(TWELVE, map(st.sampled_from, CLASSES)), TWELVE(st.floats(-9, 9))
)


@settings(max_examples=6)
@given(first=COLUMNS, second=COLUMNS, target=TARGETS, copies=st.sampled_from([1, 5]))
@pytest.mark.parametrize("task", [{}, tables.REGRESSION, tables.MULTICLASS])
def test_any_table_gets_a_verdict(task, first, second, target, copies):
    """Whatever the cells are, every rule answers and the reports can be written."""
    frame = pd.DataFrame(
        {"a": first * copies, "b": second * copies, "y": target * copies}
    )
    analysis = tables.analysed(frame, **task)
    assert len(analysis.findings) == len(CODES)
    verdict = json.loads(analysis.to_json())["verdict"]
    assert verdict in markdown_report(analysis, tables.experiment(**task))


class Named(Rule):
    """A rule that is called after the severity of its findings."""

    title = advice = ""

    def __init__(self, code: str) -> None:
        self.code = code


FOUND = {name: Named(name).found(name, "evidence") for name in SEVERITIES}


def _verdict(*findings: Finding, **accepted: str) -> str:
    return verdict_of(weighed(findings, accepted))


def test_the_heaviest_finding_decides():
    """In any order, one block means no go, and one condition makes conditions."""
    for findings in itertools.permutations(FOUND.values()):
        assert _verdict(*findings) == "no go"
    assert _verdict(FOUND["note"], FOUND["condition"]) == "go with conditions"
    assert _verdict(FOUND["note"]) == "go"
    rule = Named("blocks")
    assert _verdict(rule.not_found(""), rule.not_applicable("")) == "go"


def test_a_sentinel_of_the_target_waits_for_either_answer():
    """A run stops until the YAML says that it is missing or a value; both go on."""
    frame = tables.numeric()
    frame["y"] = frame["y"].where(np.arange(len(frame)) % 10 > 0, -200.0)
    assert tables.analysed(frame, **tables.REGRESSION).verdict == "no go"
    accepted = {"accept": {"target_placeholder": "the sensor's lower limit"}}
    as_value = tables.analysed(frame, **tables.REGRESSION, analysis=accepted)
    assert as_value.verdict == "go with conditions"
    frame["y"] = frame["y"].mask(frame["y"] == -200)
    assert "target_placeholder" not in {
        finding.code for finding in tables.analysed(frame, **tables.REGRESSION).found
    }


def test_an_accepted_finding_weighs_one_step_less():
    """An accepted block is a condition, an accepted condition a note."""
    assert _verdict(FOUND["blocks"], blocks="known") == "go with conditions"
    assert _verdict(FOUND["condition"], condition="known") == "go"
    (accepted,) = weighed([FOUND["blocks"]], {"blocks": "known"})
    assert (accepted.accepted, accepted.severity) == ("known", "blocks")
    assert weight(accepted) == "condition"


def test_reasons_tell_what_weighed_and_what_was_accepted():
    """Each finding that weighed has a sentence."""
    findings = weighed([FOUND["condition"], FOUND["blocks"]], {"condition": "known"})
    assert reasons_of(findings) == (
        "blocks blocks: evidence",
        "condition is a note (accepted: known): evidence",
    )


def test_an_acceptance_of_nothing_is_idle():
    """It is a reason that is no condition."""
    accepted = {"accept": {"outliers": "why not"}}
    analysis = tables.analysed(tables.table(), analysis=accepted)
    assert analysis.reasons == ("accepted, but not found: outliers",)
    assert analysis.conditions == ()
