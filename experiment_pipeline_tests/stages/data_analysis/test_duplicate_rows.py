import numpy as np
import pandas as pd
import pytest

from experiment_pipeline_tests.stages.data_analysis.tables import after, rule, subject, table

check = rule("duplicate_rows").check


def _with_copies() -> pd.DataFrame:
    frame = table(when=pd.date_range("2024-01-01", periods=400))
    return pd.concat([frame, frame.head(40)], ignore_index=True)


@pytest.mark.parametrize(
    "split", [{"by": "random"}, {"by": "time", "column": "when"}, {"by": "group", "column": "when"}]
)
def test_copies_are_found(split: dict[str, str]) -> None:
    """Rows that repeat another are counted, and noted: every split keeps them in one set."""
    examined = subject(_with_copies(), split=split)
    finding = check(examined)
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert "40 of 440 rows" in finding.evidence
    sets = examined.sets.to_numpy()
    assert np.array_equal(sets[:40], sets[400:])


def test_rejecting_them_settles_it() -> None:
    """The proposed YAML leaves nothing to ask."""
    finding = check(subject(_with_copies()))
    assert check(after(finding, _with_copies())).outcome == "not_applicable"


def test_a_table_without_copies_is_not_found() -> None:
    """Rows that differ in one column are no copies."""
    assert check(subject(table())).outcome == "not_found"


def test_few_combinations_are_not_applicable() -> None:
    """A table of two small categories must repeat itself."""
    assert check(subject(table()[["colour", "y"]])).outcome == "not_applicable"
