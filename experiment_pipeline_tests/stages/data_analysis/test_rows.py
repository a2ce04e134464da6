"""Rows that contradict, repeat, follow or give away one another."""

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests.bench.leak_tables import (
    jittered,
    persons,
    smoted,
)
from experiment_pipeline_tests.bench.leak_tables import patients as recorded
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    again,
    check,
    experiment,
    numeric,
    subject,
    table,
)
from experiment_pipeline_tests.stages.data_analysis.test_findings import rare

RNG = np.random.default_rng(3)
ROW = np.arange(ROWS)


def _twice(frame: pd.DataFrame, step: int) -> pd.DataFrame:
    """Each row twice; the target of each `step`-th copy is that of another row."""
    copies = frame.copy()
    copies.loc[::step, "y"] = np.roll(frame["y"], 1)[::step]
    return pd.concat([frame, copies]).sort_index(kind="stable").reset_index(drop=True)


def test_the_ceiling_of_contradicted_labels_is_told_and_read_by_later_stages():
    """It is of the ranking metric alone; rows that are unique have none."""
    contradicted = check(
        "conflicting_labels", _twice(table(), step=3), metric="accuracy"
    )
    assert contradicted.severity == "condition"
    assert contradicted.ceiling == pytest.approx(1 - contradicted.number)
    assert (
        f"accuracy can be {contradicted.ceiling:.4g} at best" in contradicted.evidence
    )
    twice = pd.concat([table(), table()], ignore_index=True)
    agreed = check("conflicting_labels", twice, metric="accuracy")
    assert (agreed.outcome, agreed.ceiling) == ("not_found", 1.0)
    assert (
        check("conflicting_labels", _twice(table(), step=3), metric="f1").ceiling
        is None
    )
    assert check("conflicting_labels", table(), metric="accuracy").ceiling is None


def test_a_criterion_above_the_ceiling_blocks():
    """No model can pass a gate that the labels rule out."""
    acceptance = [{"metric": "roc_auc", "at_least": 0.999}]
    finding = check(
        "conflicting_labels", _twice(table(), step=2), acceptance=acceptance
    )
    assert finding.severity == "blocks"
    assert "asks for 0.999" in finding.evidence


@pytest.mark.parametrize("metric", ["rmse", "mae", "mape"])
def test_numbers_have_a_ceiling_too(metric):
    """For a number the contradicted share of the variance is told."""
    frame = _twice(numeric(), step=1)
    finding = check("conflicting_labels", frame, task="regression", metric=metric)
    assert finding.outcome == "found"
    assert ("r2" if metric == "mape" else metric) in finding.evidence


@pytest.mark.parametrize(
    "split",
    [
        {"by": "random"},
        {"by": "time", "column": "when"},
        {"by": "group", "column": "when"},
    ],
)
def test_copies_are_found(split: dict[str, str]):
    """They are noted, as every split keeps them in one set, until rejected."""
    frame = table(when=pd.date_range("2024-01-01", periods=ROWS))
    frame = pd.concat([frame, frame.head(40)], ignore_index=True)
    finding = check("duplicate_rows", frame, split=split)
    assert (finding.outcome, finding.severity) == ("found", "note")
    assert "40 of 440 rows" in finding.evidence
    sets = subject(frame, split=split).sets.to_numpy()
    assert np.array_equal(sets[:40], sets[400:])
    assert again(finding, frame, split=split).outcome == "not_applicable"


def test_what_a_calendar_makes_of_the_time_is_not_compared_with_it():
    """Nor of a date that goes with it; the parts of any other date are."""
    days = pd.date_range("2024-01-01", periods=ROWS)
    born = pd.Timestamp("1960-01-01") + pd.to_timedelta(
        ROW % 50 + 40 * (ROW > ROWS / 2), "D"
    )
    frame = table(day=days, shipped=days + pd.Timedelta("3 days"), born=born)
    parts = {
        "day": ["month", "days", "cycle_of_year"],
        "shipped": ["days"],
        "born": ["days"],
    }
    preparation = {"calendar": parts}
    made = prepare(frame, experiment(preparation=preparation).preparation).frame
    assert check("drift_over_time", made, preparation=preparation).columns == (
        "born_days",
    )


AS = {"binary": {}, "multiclass": MULTICLASS, "regression": REGRESSION}


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        *(
            (make(1, rows=ROWS, task=task), "group")
            for make in (persons, jittered)
            for task in AS
        ),
        (smoted(1, rows=ROWS), "oversampling (SMOTE)"),
    ],
)
def test_rows_of_one_person_or_original_are_a_condition(problem, kind):
    """A target that the nearest rows know is found, whatever the task."""
    finding = check("related_rows", problem.frame, **AS[problem.task])
    assert finding.severity == "condition"
    assert kind in f"{finding.evidence} {finding.advice}"


@pytest.mark.parametrize("most", [20, 60])
def test_persons_of_many_rows_are_found_in_a_part_of_the_rows(most):
    """More than ten nearest rows are of the same person; in fewer rows fewer are."""
    problem = persons(2, rows=2_000, visits=(most // 2, most))
    finding = check("related_rows", problem.frame)
    assert finding.severity == "condition"
    assert "In a random" in finding.evidence
    strangers = problem.frame.assign(y=RNG.permutation(problem.frame["y"]))
    assert check("related_rows", strangers).outcome == "not_found"


def test_persons_are_found_by_the_values_in_which_their_rows_agree():
    """Where the rows say little of the person but the age does; a target of its own
    for each row is not found.
    """
    problem = recorded(1, persons=40, visits=40)
    finding = check("related_rows", problem.frame, **REGRESSION)
    assert (finding.severity, finding.columns) == ("condition", ("age",))
    aged = problem.frame["age"] + RNG.normal(0, 5, len(problem.frame))
    by_age = check("related_rows", problem.frame.assign(y=aged), **REGRESSION)
    assert by_age.outcome == "not_found"


def test_copies_of_features_and_copies_of_rows_are_counted_apart():
    """The YAML removes rows that repeat whole, not those with another target."""
    plain = table()
    other = plain.head(30).assign(y=np.where(plain["y"].head(30) == "yes", "no", "yes"))
    frame = pd.concat([plain, plain.head(50), other], ignore_index=True)
    finding = check("duplicate_rows", frame)
    assert finding.evidence == (
        "80 of 480 rows (16.7 %) repeat an earlier one in all columns but the target, "
        "50 of them in the target, too (duplicate_rows: reject removes these)."
    )
    finding = check("duplicate_rows", pd.concat([plain, other], ignore_index=True))
    assert (finding.outcome, finding.yaml) == ("found", None)
    assert "none of them in the target" in finding.evidence


def test_what_identifies_a_person_is_named_and_a_split_by_it_settles_it():
    """Columns in which the nearest rows agree are in the evidence."""
    frame = persons(1, rows=ROWS, equal=4).frame
    assert "Nearest rows agree in x" in check("related_rows", frame).evidence
    who = frame.groupby("x0").ngroup()
    split = {"split": {"by": "group", "column": "who"}}
    assert check("related_rows", frame.assign(who=who), **split).outcome == "not_found"


def test_a_text_that_says_the_target_is_found():
    """A word among others, or an amount; a text that only tends to say it is not."""
    said = table()["y"].map({"yes": "closed", "no": "open"})
    filler = pd.Series(
        RNG.choice(["the", "case", "was", "seen", "by", "us"], (ROWS, 3)).tolist()
    )
    number = pd.Series(RNG.integers(0, 10_000, ROWS).astype(str)) + " "
    notes = number + filler.str.join(" ")
    telling = check("leak_suspect", table(note=(notes + " " + said.array).array))
    assert (telling.severity, telling.columns) == ("blocks", ("note",))
    assert "by its words" in telling.evidence
    tends = said.where(RNG.random(ROWS) < 0.6, RNG.permutation(said))
    tending = table(note=(notes + " " + tends.array).array)
    assert check("leak_suspect", tending).outcome == "not_found"
    amounts = numeric()["y"].abs().map(lambda y: f"paid {y:.4f} EUR").array
    paid = numeric(note=amounts, y=numeric()["y"].abs())
    assert check("leak_suspect", paid, **REGRESSION).columns == ("note",)


def test_the_validation_set_is_estimated_without_its_targets():
    """Whatever class the validation rows have, the finding stays the same."""
    frame = rare(0, 6)
    before = check("too_few_rows_per_class", frame, **MULTICLASS)
    changed = frame.assign(y=frame["y"].mask(VALIDATION, "rare"))
    assert check("too_few_rows_per_class", changed, **MULTICLASS) == before
