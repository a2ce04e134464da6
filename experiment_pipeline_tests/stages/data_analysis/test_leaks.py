import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.reporting import numbers
from experiment_pipeline_tests.bench.leak_tables import MADE
from experiment_pipeline_tests.stages.data_analysis.tables import (
    MULTICLASS,
    REGRESSION,
    ROWS,
    VALIDATION,
    again,
    check,
    numeric,
    table,
)

# leak_suspect

RNG = np.random.default_rng(3)


def test_a_copy_of_the_target_blocks() -> None:
    """A column that names the class is found, and excluding it removes the finding."""
    frame = table(outcome=table()["y"].map({"yes": "paid", "no": "defaulted"}))
    finding = check("leak_suspect", frame)
    assert (finding.severity, finding.columns) == ("blocks", ("outcome",))
    assert again(finding, frame).outcome == "not_found"


def test_a_very_strong_column_is_a_condition() -> None:
    """A column that predicts almost always, but not always, is for people to judge."""
    wrong = RNG.random(ROWS) < 0.03
    frame = table(early=(table()["y"] == "yes") ^ wrong)
    finding = check("leak_suspect", frame)
    assert (finding.severity, finding.columns) == ("condition", ("early",))


@pytest.mark.parametrize("scale", [np.asarray, np.exp])
def test_a_function_of_a_numeric_target_blocks(scale) -> None:
    """A monotone function of the target is found, whatever its tail."""
    frame = numeric()
    assert check("leak_suspect", numeric(paid=scale(frame["y"])), **REGRESSION).columns == ("paid",)


def test_columns_that_sum_to_the_target_block() -> None:
    """Columns that add up or multiply to the target are found though none predicts it alone."""
    casual, registered = RNG.integers(0, 500, ROWS), RNG.integers(0, 500, ROWS)
    frame = numeric(casual=casual, registered=registered, y=casual + registered)
    finding = check("leak_suspect", frame, **REGRESSION)
    assert (finding.severity, finding.columns) == ("blocks", ("casual", "registered"))
    assert "casual + registered equals the target" in finding.evidence
    product = numeric(q=casual + 1, p=registered + 1, y=(casual + 1) * (registered + 1))
    assert "q · p equals the target" in check("leak_suspect", product, **REGRESSION).evidence


def test_a_copy_with_flips_is_a_condition() -> None:
    """A tenth of wrong rows hides a copy from its skill, not from how it agrees."""
    flipped = (table()["y"] == "yes") ^ (np.random.default_rng(1).random(ROWS) < 0.1)
    finding = check("leak_suspect", table(x=RNG.normal(size=ROWS), copy=flipped))
    assert (finding.severity, finding.columns) == ("condition", ("copy",))


def test_a_near_copy_of_a_rare_class_blocks() -> None:
    """Noise of a millionth hides nothing, however few rows are positive."""
    y = np.arange(ROWS) % 25 == 0
    finding = check("leak_suspect", table(y=y, near=y + 1e-6 * RNG.normal(size=ROWS)))
    assert (finding.severity, finding.columns) == ("blocks", ("near",))


@pytest.mark.parametrize("name", ["C{}", "C{:06d}"])
def test_ids_in_the_order_of_the_target_are_found(name) -> None:
    """Ids given out after sorting by the target say it, C9 before C10."""
    y = table()["y"].to_numpy()
    places = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    finding = check("leak_suspect", table(id=[name.format(place) for place in places]))
    assert finding.columns == ("id",)
    assert "in the order of its texts" in finding.evidence
    shuffled = RNG.permutation(places)
    honest = table(id=[name.format(place) for place in shuffled])
    assert check("leak_suspect", honest).outcome == "not_found"


def test_a_text_that_says_the_target_is_found() -> None:
    """A word among others, or an amount; a text that only tends to say it is not."""
    said = table()["y"].map({"yes": "closed", "no": "open"})
    filler = pd.Series(RNG.choice(["the", "case", "was", "seen", "by", "us"], (ROWS, 3)).tolist())
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


def test_the_validation_set_is_not_read() -> None:
    """A column that gives away only the validation rows is not seen."""
    y = table()["y"]
    frame = table(c=np.where(VALIDATION, y, RNG.permutation(y)))
    assert check("leak_suspect", frame).outcome == "not_found"


# made_of_target

SHOP = np.random.default_rng(5).integers(0, 60, ROWS)
NUMBER = pd.Series(numeric()["y"].to_numpy())

FLAG = pd.Series((table()["y"] == "yes").to_numpy().astype(float))


@pytest.mark.parametrize(
    "window",
    [
        lambda y: y.rolling(5).mean(),
        lambda y: y.rolling(12, 1).sum(),
        lambda y: y.rolling(5, center=True).mean(),
        lambda y: y.expanding().mean(),
        lambda y: y.ewm(alpha=0.3).mean(),
        lambda y: y.cumsum(),
        lambda y: y.shift(-2),
    ],
)
def test_windows_that_hold_the_row_itself_or_a_later_one_block(window) -> None:
    """Rolling, running and exponential means and sums, centred ones, and the future are found."""
    frame = numeric(leak=window(NUMBER).to_numpy())
    finding = check("made_of_target", frame, **REGRESSION)
    assert (finding.severity, finding.columns) == ("blocks", ("leak",))
    assert again(finding, frame, **REGRESSION).outcome == "not_found"


@pytest.mark.parametrize(
    "window",
    [
        lambda y: y.shift(1),
        lambda y: y.shift(1).rolling(5).mean(),
        lambda y: y.shift(1).expanding().mean(),
        lambda y: y.shift(1).ewm(alpha=0.3).mean(),
        lambda y: y.shift(1).cumsum(),
    ],
)
def test_windows_over_the_past_are_honest(window) -> None:
    """What is computed from the rows before is no leak."""
    frame = numeric(past=window(NUMBER).to_numpy())
    assert check("made_of_target", frame, **REGRESSION).outcome == "not_found"


def _mean(y: pd.Series, prior: float = 0) -> np.ndarray:
    groups = y.groupby(SHOP)
    return ((groups.transform("sum") + prior * y.mean()) / (groups.transform("size") + prior)).array


@pytest.mark.parametrize("prior", [0, 10])
def test_target_encoding_over_all_rows_blocks(prior) -> None:
    """A shop's mean over a handful of rows, drawn to the overall mean or not, is found."""
    finding = check("made_of_target", table(shop=SHOP.astype(str), leak=_mean(FLAG, prior)))
    assert (finding.severity, finding.columns) == ("blocks", ("leak",))
    assert "by shop" in finding.evidence


def test_the_mean_of_the_others_blocks() -> None:
    """Leaving the row out gives all of it away: the more others there were, the less is left."""
    groups = NUMBER.groupby(SHOP)
    others = (groups.transform("sum") - NUMBER) / (groups.transform("size") - 1)
    frame = numeric(shop=SHOP.astype(str), leak=others.to_numpy())
    assert check("made_of_target", frame, **REGRESSION).severity == "blocks"


def test_a_mean_of_other_rows_is_honest() -> None:
    """Target encoding from rows that the experiment does not have; of a wide table not all is claimed."""
    rng = np.random.default_rng(2)
    before = pd.Series(rng.permutation(60) / 60)[SHOP].to_numpy()
    y = np.where(rng.random(ROWS) < before, "yes", "no")
    frame = table(shop=SHOP.astype(str), rate=before, y=y)
    assert check("made_of_target", frame).outcome == "not_found"
    noise = pd.DataFrame(rng.normal(size=(ROWS, 200))).add_prefix("w")
    wide = pd.concat([frame, noise.set_axis(frame.index)], axis=1)
    assert "not computed beyond the first 200 columns" in check("made_of_target", wide).evidence


def test_hidden_targets_are_not_read() -> None:
    """A window over other targets than the visible ones is not seen."""
    other = np.where(VALIDATION, NUMBER, np.random.default_rng(1).permutation(NUMBER))
    frame = numeric(c=other.cumsum())
    assert check("made_of_target", frame, **REGRESSION).outcome == "not_found"


def test_honest_tables_stay_silent() -> None:
    """Of the made-up tables without a leak none is accused of this one."""
    for make in MADE[-7:-3:2]:
        problem = make(3)
        frame = problem.frame.rename_axis("row_number")
        task = {"regression": REGRESSION, "multiclass": MULTICLASS}.get(problem.task, {})
        finding = check("made_of_target", frame, **problem.declared, **task)
        assert finding.outcome == "not_found", problem.name


# telling_missing_values

LATE = (table()["y"] == "yes").to_numpy()

CANCELLED = LATE & (np.arange(ROWS) % 4 == 0)


def test_values_that_are_missing_with_the_outcome_are_a_condition() -> None:
    """A plane missing only where the flight is late is found, though it is no leak suspect."""
    frame = table(seats=np.where(CANCELLED, np.nan, RNG.normal(size=ROWS)))
    finding = check("telling_missing_values", frame)
    assert (finding.severity, finding.columns) == ("condition", ("seats",))
    others = ~CANCELLED & ~VALIDATION
    assert f"100 % of them yes, {numbers.share(LATE[others].mean())} elsewhere" in finding.evidence
    assert check("leak_suspect", frame).outcome == "not_found"
    assert again(finding, frame).outcome == "not_applicable"


def test_a_rare_class_is_no_surprise() -> None:
    """Thirty rows without the rare class are what chance gives."""
    y = np.where(np.arange(ROWS) % 100 == 1, "yes", "no")
    frame = table(y=y, z=table()["z"].where(np.arange(ROWS) % 10 != 0))
    assert check("telling_missing_values", frame).outcome == "not_found"
