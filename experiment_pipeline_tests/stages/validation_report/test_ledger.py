"""The ledger of looks at the validation set loses none and counts the right ones."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.statistics.interval import LEVEL
from experiment_pipeline.storage.files import list_names, read_bytes, write_bytes

ROWS, OTHER_ROWS = "a" * 64, "b" * 64
MODELS = ["1" * 64, "2" * 64, "3" * 64]
TABLE = pd.DataFrame({"id": range(200), "size": [number / 7 for number in range(200)]})


def test_looks_are_kept_with_time_rows_and_model(place: UPath):
    """Every look is there, oldest first, also a second one with the same model."""
    ledger = Ledger(place, "flights")
    assert ledger.looks.notes() == {}
    looks = [
        ledger.record_look(ROWS, model, TABLE) for model in (*MODELS[:2], MODELS[0])
    ]
    assert list(ledger.looks.notes().values()) == looks
    age = datetime.now(UTC) - datetime.fromisoformat(looks[0].at)
    assert timedelta() <= age < timedelta(hours=1)
    # A file's name tells when, which rows and which model.
    at, rows, model, _ = list_names(ledger.folder)[0].removesuffix(".json").split("-")
    assert datetime.strptime(at, "%Y%m%dT%H%M%S.%f%z") == datetime.fromisoformat(
        looks[0].at
    )
    assert (rows, model) == (ROWS[:12], MODELS[0][:12])
    # The rows are kept once.
    assert len(list_names(place / "flights" / "validation_rows")) == 1


def test_another_column_or_one_more_row_does_not_reset_the_count(tmp_path):
    """Looks count by the overlap of their rows; a model that looks again
    counts once.
    """
    ledger = Ledger(UPath(tmp_path), "flights")
    for model in (MODELS[0], MODELS[0], MODELS[1]):
        ledger.record_look(ROWS, model, TABLE)
    counted = [
        ledger.earlier_looks(ROWS, model, TABLE, tell=print).models for model in MODELS
    ]
    assert counted == [1, 1, 2]

    def looks(rows: pd.DataFrame, *ids: str) -> tuple[int, float]:
        earlier = ledger.earlier_looks(OTHER_ROWS, MODELS[2], rows, ids, tell=print)
        return earlier.models, round(earlier.overlap, 2)

    assert looks(TABLE.assign(size=0), "id") == (2, 1.0)
    assert looks(pd.concat([TABLE, TABLE + 1_000])) == (2, 0.5)
    assert looks(TABLE + 1_000) == (0, 0.0)


def test_another_name_of_the_experiment_does_not_reset_the_count(place: UPath):
    """Looks of all experiments of a storage count; under other names only those at the
    same target.
    """
    before = Ledger(place, "churn"), Ledger(place, "churn_2"), Ledger(place, "price")
    for ledger, model, target in zip(
        before, MODELS, ("left", "left", "price"), strict=True
    ):
        ledger.record_look(ROWS, model, TABLE, target=target)
    write_bytes(place / "notes.txt", b"")  # beside the experiments

    def looks(name: str, target: str, rows: pd.DataFrame = TABLE) -> int:
        earlier = Ledger(place, name).earlier_looks(
            OTHER_ROWS, "9" * 64, rows, target=target, tell=print
        )
        return earlier.models

    assert [looks("churn_3", "left"), looks("churn_3", "price")] == [2, 1]
    assert looks("churn_3", "left", TABLE + 1_000) == 0
    # In an experiment of one name every look counts, whatever its target was.
    assert looks("price", "left") == 3
    # A look without a target is of an earlier release.
    before[2].record_look(ROWS, "4" * 64, TABLE)
    assert looks("churn_3", "left") == 3


def test_another_name_of_the_target_does_not_reset_the_count(place: UPath):
    """A target with the same values in the same rows is the same; others share no
    luck.
    """
    rng = np.random.default_rng(3)
    left = pd.Series(rng.random(len(TABLE)) < 0.05).map({True: "yes", False: "no"})
    before = TABLE.assign(left=left)
    Ledger(place, "churn").record_look(ROWS, MODELS[0], before, target="left")

    def looks(target: str, rows: pd.DataFrame, *ids: str) -> int:
        earlier = Ledger(place, "gone").earlier_looks(
            OTHER_ROWS, MODELS[1], rows, ids, target, tell=print
        )
        return earlier.models

    renamed = before.rename(columns={"left": "gone"})
    assert looks("gone", renamed) == 1
    assert looks("gone", renamed.sample(frac=1, random_state=1), "id") == 1
    assert looks("gone", before.assign(gone=left)) == 1
    # One corrected label.
    assert looks("gone", renamed.assign(gone=left.where(TABLE["id"] > 0, "yes"))) == 1
    assert looks("gone", renamed.assign(id=TABLE["id"] + 1_000), "id") == 0
    # Another table, without a column by which its rows could be recognised.
    assert looks("gone", renamed[["gone"]]) == 0
    # Another rare event agrees in nine of ten rows.
    for seed in range(20, 40):
        rare = np.random.default_rng(seed).random(len(TABLE)) < 0.05
        other = pd.Series(rare).map({True: "yes", False: "no"})
        assert looks("gone", renamed.assign(gone=other)) == 0
        assert (
            looks("size_2", TABLE.assign(size_2=rng.normal(size=200), left=left)) == 0
        )


def test_a_damaged_look_counts_in_its_own_experiment(place: UPath):
    """Nobody knows at which rows it was: another experiment does not pay for it."""
    Ledger(place, "churn").record_look(ROWS, MODELS[0], TABLE)
    folder = place / "churn" / "validation_looks"
    (name,) = list_names(folder)
    write_bytes(folder / name, b"{")
    counted = [
        Ledger(place, experiment)
        .earlier_looks(ROWS, MODELS[1], TABLE, tell=print)
        .models
        for experiment in ("churn", "price")
    ]
    assert counted == [1, 0]


def test_the_gates_pay_for_looks_and_new_rows_bring_the_level_back(tmp_path):
    """The first look is at 95 %, look k errs in 5 %/k²; half as many rows in common
    count half.
    """
    ledger = Ledger(UPath(tmp_path), "flights")

    def level(rows: pd.DataFrame) -> float:
        return ledger.earlier_looks(OTHER_ROWS, "9" * 64, rows, tell=print).level

    assert level(TABLE) == LEVEL
    for model in MODELS:
        ledger.record_look(ROWS, model, TABLE)
    assert level(TABLE) == pytest.approx(1 - 0.05 / 4**2)
    assert level(pd.concat([TABLE, TABLE + 1_000])) == pytest.approx(
        1 - 0.05 / 2.5**2, abs=0.001
    )
    assert level(TABLE + 1_000) == LEVEL


def test_looks_of_many_runs_at_once_are_all_kept(place: UPath):
    """Forty looks by eight threads, and ten by another process, are fifty looks."""
    ledger = Ledger(place, "flights")
    code = (
        "import pandas as pd\n"
        "from experiment_pipeline.stages.validation_report.ledger import Ledger\n"
        "ledger, rows = Ledger.of('flights'), pd.DataFrame({'id': range(200)})\n"
        f"for _ in range(10): ledger.record_look('{ROWS}', '{MODELS[0]}', rows)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ledger.record_look(ROWS, MODELS[0], TABLE), range(40)))
    assert process.wait() == 0
    looks = list(ledger.looks.notes().values())
    assert len(looks) == 50
    assert looks == sorted(looks, key=lambda look: look.at)


@pytest.mark.parametrize("damaged", ["validation_looks", "validation_rows"])
def test_a_look_that_is_damaged_is_told_and_counts(place: UPath, damaged: str):
    """Rows that cannot be recognised any more are taken for these: not one
    look less.
    """
    ledger, told = Ledger(place, "flights"), []
    ledger.record_look(ROWS, MODELS[0], TABLE)
    folder = place / "flights" / damaged
    (name,) = list_names(folder)
    write_bytes(folder / name, read_bytes(folder / name)[:-2])
    rows = TABLE + 1_000
    earlier = ledger.earlier_looks(OTHER_ROWS, MODELS[1], rows, tell=told.append)
    assert (earlier.models, earlier.overlap) == (1, 1.0)
    assert str(folder / name) in told[0]
