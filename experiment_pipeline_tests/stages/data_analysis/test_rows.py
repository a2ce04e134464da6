import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.bench.leak_tables import jittered, persons, smoted
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    again,
    analysed,
    check,
    experiment,
    numeric,
    subject,
    table,
)

# conflicting_labels


def _twice(frame: pd.DataFrame, every: int) -> pd.DataFrame:
    """Each row twice; the target of every n-th copy is that of another row."""
    copies = frame.copy()
    copies.loc[::every, "y"] = np.roll(frame["y"], 1)[::every]
    both = pd.concat([frame, copies]).sort_index(kind="stable")
    return both.reset_index(drop=True)


def test_equal_rows_with_other_labels_are_a_condition() -> None:
    """The share of contradicted labels and the best accuracy they allow are told."""
    frame = _twice(table(), every=3)
    finding = check("conflicting_labels", frame, metric="accuracy")
    assert finding.severity == "condition"
    assert finding.number is not None
    assert f"accuracy can be {1 - finding.number:.4g} at best" in finding.evidence


def test_a_criterion_above_the_ceiling_blocks() -> None:
    """No model can pass a gate that the labels rule out."""
    acceptance = [{"metric": "roc_auc", "at_least": 0.999}]
    finding = check("conflicting_labels", _twice(table(), every=2), acceptance=acceptance)
    assert finding.severity == "blocks"
    assert "asks for 0.999" in finding.evidence


def test_the_ceiling_is_a_number_that_later_stages_read() -> None:
    """Told of the ranking metric alone, whether or not it weighs; none where rows are unique."""
    contradicted = check("conflicting_labels", _twice(table(), every=3), metric="accuracy")
    assert contradicted.ceiling == pytest.approx(1 - contradicted.number)
    both = pd.concat([table(), table()], ignore_index=True)
    agreed = check("conflicting_labels", both, metric="accuracy")
    assert (agreed.outcome, agreed.ceiling) == ("not_found", 1.0)
    assert check("conflicting_labels", _twice(table(), every=3), metric="f1").ceiling is None
    assert check("conflicting_labels", table(), metric="accuracy").ceiling is None


@pytest.mark.parametrize("metric", ["rmse", "mae", "mape"])
def test_numbers_have_a_ceiling_too(metric) -> None:
    """For a number the contradicted share of the variance is told."""
    frame = _twice(numeric(), every=1)
    finding = check("conflicting_labels", frame, task="regression", metric=metric)
    assert finding.outcome == "found"
    assert ("r2" if metric == "mape" else metric) in finding.evidence


# duplicate_rows


def _with_copies() -> pd.DataFrame:
    frame = table(when=pd.date_range("2024-01-01", periods=400))
    return pd.concat([frame, frame.head(40)], ignore_index=True)


@pytest.mark.parametrize(
    "split", [{"by": "random"}, {"by": "time", "column": "when"}, {"by": "group", "column": "when"}]
)
def test_copies_are_found(split: dict[str, str]) -> None:
    """Rows that repeat another are counted, and noted: every split keeps them in one set."""
    finding = check("duplicate_rows", _with_copies(), split=split)
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert "40 of 440 rows" in finding.evidence
    sets = subject(_with_copies(), split=split).sets.to_numpy()
    assert np.array_equal(sets[:40], sets[400:])


def test_rejecting_them_settles_it() -> None:
    """The proposed YAML leaves nothing to ask."""
    finding = check("duplicate_rows", _with_copies())
    assert again(finding, _with_copies()).outcome == "not_applicable"


# repeated_entities

RNG = np.random.default_rng(5)
PATIENT = RNG.integers(0, 80, ROWS)

ILL = RNG.random(80) < 0.5


def _visits(**columns) -> pd.DataFrame:
    """Visits of patients who are mostly ill, or mostly not."""
    ill = ILL[PATIENT] ^ (RNG.random(ROWS) < 0.1)
    return table(**{"patient_id": PATIENT, "y": np.where(ill, "yes", "no"), **columns})


def test_patients_with_several_visits_are_a_condition() -> None:
    """Entities whose target is alike call for a group split, which removes the finding."""
    finding = check("repeated_entities", _visits())
    assert finding.severity == "condition"
    assert finding.columns == ("patient_id",)
    assert again(finding, _visits()).outcome == "not_applicable"


def test_an_excluded_id_is_found_all_the_same() -> None:
    """A model may recognise a patient without being given the id."""
    finding = check("repeated_entities", _visits(), exclude={"patient_id": "names a person"})
    assert finding.columns == ("patient_id",)


def test_a_text_that_fixes_other_columns_is_an_entity() -> None:
    """A name need not say id when it decides birth year and height."""
    who = pd.Series(PATIENT).map("person {}".format)
    frame = _visits(who=who, born=1930 + PATIENT, height=150 + PATIENT * 0.7)
    frame = frame.drop(columns="patient_id")
    assert check("repeated_entities", frame).columns == ("who",)


# drift_over_time

DAYS = pd.date_range("2024-01-01", periods=ROWS)
LATE = np.arange(ROWS) > ROWS / 2


def test_a_feature_that_changes_is_a_condition() -> None:
    """A shift over time calls for a split by time, after which it is a note."""
    frame = table(day=DAYS, price=np.random.default_rng(0).normal(size=ROWS) + 3 * LATE)
    finding = check("drift_over_time", frame)
    assert (finding.severity, finding.columns) == ("condition", ("price",))
    assert again(finding, frame).severity == "note"
    assert check("drift_over_time", table(day=DAYS, shop=np.where(LATE, "new", "old"))).columns


def test_what_a_calendar_makes_of_the_time_is_not_compared_with_it() -> None:
    """Nor of a date that goes with it; the parts of any other date are."""
    born = pd.Timestamp("1960-01-01") + pd.to_timedelta(np.arange(ROWS) % 50 + 40 * LATE, "D")
    frame = table(day=DAYS, shipped=DAYS + pd.Timedelta("3 days"), born=born)
    parts = {"day": ["month", "days", "cycle_of_year"], "shipped": ["days"], "born": ["days"]}
    preparation = {"calendar": parts}
    made = prepare(frame, experiment(preparation=preparation).preparation).frame
    assert check("drift_over_time", made, preparation=preparation).columns == ("born_days",)


def test_a_target_that_changes_is_found() -> None:
    """The target of the visible rows is compared too, and named first."""
    finding = check("drift_over_time", table(day=DAYS, y=np.where(LATE, "yes", "no")))
    assert finding.columns[0] == "y"
    rising = numeric(day=DAYS, y=1.0 * np.arange(ROWS))
    assert check("drift_over_time", rising, **REGRESSION).columns == ("y",)


# related_rows

AS = {"binary": {}, "multiclass": MULTICLASS, "regression": REGRESSION}


@pytest.mark.parametrize("task", AS)
@pytest.mark.parametrize("related", [persons, jittered])
def test_rows_of_one_person_or_original_are_a_condition(task, related) -> None:
    """A target that is known by the nearest rows alone is found, whatever the task."""
    finding = check("related_rows", related(1, rows=ROWS, task=task).frame, **AS[task])
    assert finding.severity == "condition"
    assert "group" in finding.advice


def test_what_identifies_a_person_is_named_and_a_split_by_it_settles_it() -> None:
    """Columns in which the nearest rows agree are in the evidence."""
    frame = persons(1, rows=ROWS, equal=4).frame
    assert "Nearest rows agree in x" in check("related_rows", frame).evidence
    who = frame.groupby("x0").ngroup()
    split = {"split": {"by": "group", "column": "who"}}
    assert check("related_rows", frame.assign(who=who), **split).outcome == "not_found"


def test_synthetic_rows_are_told_by_lines() -> None:
    """Rows that SMOTE made before the split lie on lines between others; similar rows do not."""
    analysis = analysed(smoted(1, rows=ROWS).frame.rename_axis("row_number"))
    (finding,) = [one for one in analysis.found if one.code == "related_rows"]
    assert "oversampling (SMOTE)" in finding.evidence
    assert analysis.verdict == "go with conditions"


# random_split_over_time


def test_a_target_that_is_known_at_each_time_but_not_ahead_is_a_condition() -> None:
    """Both scores are in the evidence, and a split by time settles it."""
    waves = np.where(np.sin(np.arange(ROWS) / 20) > 0, "yes", "no")
    frame = table(day=DAYS, counter=np.arange(ROWS), y=waves)
    finding = check("random_split_over_time", frame)
    assert finding.severity == "condition"
    assert finding.evidence.count("roc_auc") == 1
    assert again(finding, frame).outcome == "not_applicable"
