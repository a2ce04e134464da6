"""The rows of the largest loss: which they are, what is shown of them, and where."""

import numpy as np
import pytest

from experiment_pipeline.reporting.run_record import worst_of
from experiment_pipeline.storage.tables import from_parquet
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline_tests.stages.validation_report.checked import checked, look_at, table


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_largest_losses_come_first_with_the_row_as_delivered(task: str) -> None:
    """Of every validation row there is target, prediction and loss; the loss follows from these."""
    rows, delivered = checked(task).check.rows, table(task)
    seen = rows[rows["set"] == "validation"]
    assert rows["target"].equals(delivered["y"].loc[rows.index])
    assert rows["distance"].equals(delivered["distance"].loc[rows.index])
    score = checked(task).check.report.score("mae" if task == "regression" else "log_loss")
    assert seen["loss"].mean() == pytest.approx(score.interval.estimate)
    worst = worst_of(rows, 7)
    assert list(worst["set"]) == ["validation"] * 7 + ["test"] * 7
    assert worst["loss"].iloc[0] == seen["loss"].max()


def test_ids_and_names_may_hold_anything() -> None:
    """An id is shown although no model sees it, as text; a feature called `loss` keeps its values."""
    frame = table("binary").rename(columns={"noise": "loss"})
    frame["who"] = [f"<script>{number}</script>" for number in range(len(frame))]
    split = {"by": "random", "id_columns": ["who"]}
    found = look_at(frame, "binary", {"positive_class": "yes & <b>", "split": split})
    rows = found.check.rows
    assert list(rows)[:3] == ["set", "who", "target"]
    assert rows["delivered_loss"].equals(frame["loss"].loc[rows.index].rename("delivered_loss"))
    first = worst_of(rows, 1).iloc[0]
    assert first["who"].replace("<", "&lt;").replace(">", "&gt;") in found.page
    assert first["who"] not in found.page


def test_they_are_stored_beside_the_report_but_not_in_its_markdown() -> None:
    """Markdown goes into event logs: what identifies a person stays in the storage."""
    files = (check := checked("binary").check).files(FittedRows(("x",), np.zeros(0, np.uint64)))
    assert b"Worst rows" in files["report.html"]
    assert b"Worst rows" not in files["report.md"]
    assert from_parquet(files["predicted_rows.parquet"]).equals(check.rows)
