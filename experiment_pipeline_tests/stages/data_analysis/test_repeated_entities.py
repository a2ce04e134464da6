import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.stages.data_analysis.findings.rows import is_named_like_an_id
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    ROWS,
    after,
    rule,
    subject,
    table,
)

check = rule("repeated_entities").check
RNG = np.random.default_rng(5)
PATIENT = RNG.integers(0, 80, ROWS)
ILL = RNG.random(80) < 0.5


def _visits(**columns) -> pd.DataFrame:
    """Visits of patients who are mostly ill, or mostly not."""
    ill = ILL[PATIENT] ^ (RNG.random(ROWS) < 0.1)
    return table(**{"patient_id": PATIENT, "y": np.where(ill, "yes", "no"), **columns})


def test_patients_with_several_visits_are_a_condition() -> None:
    """Entities whose target is alike call for a group split, which removes the finding."""
    finding = check(subject(_visits()))
    assert (finding.outcome, finding.severity) == ("found", "condition")
    assert finding.columns == ("patient_id",)
    assert check(after(finding, _visits())).outcome == "not_applicable"


def test_an_excluded_id_is_found_all_the_same() -> None:
    """A model may recognise a patient without being given the id."""
    finding = check(subject(_visits(), exclude={"patient_id": "names a person"}))
    assert finding.columns == ("patient_id",)


def test_a_text_that_fixes_other_columns_is_an_entity() -> None:
    """A name need not say id when it decides birth year and height."""
    who = pd.Series(PATIENT).map("person {}".format)
    frame = _visits(who=who, born=1930 + PATIENT, height=(150 + PATIENT * 0.7)).drop(
        columns="patient_id"
    )
    assert check(subject(frame)).columns == ("who",)


def test_unlike_targets_are_a_note() -> None:
    """Entities that repeat, but say nothing about the target, are only noted."""
    assert check(subject(table(customer_id=PATIENT))).severity == "note"


def test_several_classes_are_compared_too() -> None:
    """Of several classes the most frequent one is compared with the rest."""
    assert check(subject(_visits(y=PATIENT % 3), **MULTICLASS)).severity == "condition"


def test_a_plain_table_is_not_found() -> None:
    """Numbers and small categories name no entities."""
    assert check(subject(table(age=RNG.integers(20, 80, ROWS)))).outcome == "not_found"


def test_a_group_split_is_not_applicable() -> None:
    """A split by group has dealt with it."""
    split = {"by": "group", "column": "patient_id"}
    assert check(subject(_visits(), split=split)).outcome == "not_applicable"


@pytest.mark.parametrize("name", ["id", "patient_id", "customerId", "tailnum", "user", "order no"])
def test_names_of_ids_are_recognised(name) -> None:
    """Names that say that they name something."""
    assert is_named_like_an_id(name)


@pytest.mark.parametrize("name", ["paid", "humid", "casino", "distance", "user_age"])
def test_other_names_are_not(name) -> None:
    """Words that only end like an id."""
    assert not is_named_like_an_id(name)
