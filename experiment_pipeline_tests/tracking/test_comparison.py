"""Two runs side by side: what changed, and what it did to the scores."""

import html
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import UnknownRun
from experiment_pipeline.reporting.run_record import (
    JUDGED_ROWS,
    PREDICTED_ROWS,
    ROW,
    FileRow,
    JudgedRows,
    ReportRow,
    RunFacts,
)
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline_tests.tracking.history import version_row, write_history

N = 4000


def judged(skill: float, *, seed: int = 0, by: int = 0) -> JudgedRows:
    """Predictions of a binary target; a greater skill is a better model."""
    y = np.random.default_rng(seed).integers(0, 2, N)
    noise = np.random.default_rng(by + 1).normal(size=N)
    prediction = 1 / (1 + np.exp(-(skill * (2 * y - 1) + noise)))
    return JudgedRows.of(SetPrediction(y, prediction, np.arange(N)), 0.5, np.arange(N))


def part(rows: JudgedRows, places: np.ndarray) -> JudgedRows:
    """Some of the rows."""
    return JudgedRows(rows.rows.iloc[places].reset_index(drop=True), rows.threshold)


def keep(folder: Path, *judged: JudgedRows) -> list[str]:
    """Store what the models of the first runs predicted; return the ids of all runs."""
    ids = write_history()
    for run_id, rows in zip(ids, judged, strict=False):
        keep_of(run_id, rows, folder)
    return ids


def keep_of(run_id: str, rows: JudgedRows, folder: Path) -> None:
    """Store what the model of a run predicted, for programs and for people."""
    for name, table in ((JUDGED_ROWS, rows), (PREDICTED_ROWS, shown_to_people(rows))):
        path = folder / f"{run_id}.{name}.parquet"
        path.write_bytes(to_parquet(table))
        report = ReportRow(name=name, place=str(path))
        RunRecord("flight_delay", run_id).record([report])


def shown_to_people(rows: JudgedRows) -> pd.DataFrame:
    """The table of validation rows: an id, and two features."""
    predicted = rows.as_prediction
    y, probability = predicted.y, predicted.prediction
    numbers = rows.rows[ROW]
    return pd.DataFrame(
        {
            "set": "validation",
            "who": [f"<b>{number}</b>" for number in numbers],
            "target": y,
            "prediction": predicted.decided(rows.threshold),
            "loss": -np.log(np.where(y == 1, probability, 1 - probability)),
            "carrier": np.where(numbers % 4, "others", "<AA>"),
            "month": numbers % 3,
        }
    )


@pytest.mark.usefixtures("each_database")
def test_what_changed_is_said_in_words():
    """Data, YAML and code that differ are named; what is the same is not."""
    ids = write_history(runs=6)
    comparison = compare(ids[0], ids[4])
    names = [change.what for change in comparison.changes]
    assert names == ["data", "yaml", "code", "version"]
    expected = "data: 10,000 rows, 12 columns (data0) → 10,004 rows, 12 columns (data2)"
    assert comparison.changes[0].in_words() == expected
    assert "-seed: 0\n+seed: 1" in comparison.yaml_diff
    assert "nothing has changed" in str(compare(ids[0], ids[0]))


def test_a_version_whose_run_is_not_recorded_cannot_be_compared():
    """A version that was restored from the registry names no run."""
    write_history()
    record_rows([version_row("v0009", run_id=None)], "flight_delay")
    with pytest.raises(UnknownRun, match="v0009: the run that made it is not recorded"):
        compare("v0009", "v0001", "flight_delay")


def test_changed_modules_are_shown_line_by_line():
    """A module that differs is a change; a name that leads away is no file."""
    before, after, *_ = write_history()
    for number, run_id in enumerate((before, after)):
        facts = RunFacts(code_files={"code/own.py": run_id, "code/../away.py": before})
        text = FileRow(digest=run_id, content=f"# {number}\na = 1\nb = {number}\n")
        RunRecord("flight_delay", run_id).record([facts, text])
    comparison = compare(before, after)
    assert comparison.changes[-1].in_words() == "code/own.py: b = 0 → b = 1"
    diff = "+++ code/own.py\n@@ -1,3 +1,3 @@\n-# 0\n+# 1\n a = 1\n-b = 0\n+b = 1"
    assert comparison.code_diff.endswith(diff)
    assert "away" not in str(comparison)


def test_what_changed_in_a_yaml_shows_no_secret_of_an_address():
    """A token that was renewed is a change without its values."""
    before, after, *_ = write_history()
    for run_id in (before, after):
        text = f"data: https://me:{run_id}@host/visits.csv?token={run_id}\n"
        facts = [RunFacts(yaml_digest=run_id), FileRow(digest=run_id, content=text)]
        RunRecord("flight_delay", run_id).record(facts)
    comparison = compare(before, after)
    masked = "data: https://***@host/visits.csv?token=***"
    assert f"-{masked}\n+{masked}" in comparison.yaml_diff
    shown = str(comparison) + comparison.page()
    assert f"yaml: {masked} → {masked}" in shown
    assert f"token={before}" not in shown
    assert f"token={after}" not in shown


def test_scores_on_the_same_rows_are_paired(tmp_path):
    """A difference that both intervals would hide is found; equal models are tied."""
    better = judged(0.55, by=7)
    runs = keep(tmp_path, judged(0.5, by=8), judged(0.5, by=7), better, better)
    assert "in both: no difference" in str(compare(*runs[2:4]))
    comparison = compare(*runs[1:3])
    (score,) = comparison.scores
    page = comparison.page()
    assert "The later run is significantly better: roc_auc differs by 0.0" in page
    assert page.count('class="interval"') == 3 + len(comparison.rows.parts)
    assert "The difference is not significant" in compare(*runs[:2]).page()
    assert score.is_paired
    assert score.better is True
    assert 0 < score.difference.low < score.difference.estimate < score.difference.high
    (tied,) = compare(*runs[:2]).scores
    assert tied.better is None
    assert tied.difference.low < 0 < tied.difference.high


@pytest.mark.parametrize("case", ["few", "targets", "gone", "earlier"])
def test_what_does_not_pair_is_not_paired(case: str, tmp_path):
    """Few common rows, other targets, no file, rows without a name: each is said."""
    second = judged(0.5, seed=int(case == "targets"))
    second = part(second, np.arange(2980 if case == "few" else 0, N))
    stored = [part(judged(0.5), np.arange(3000))]
    before, after, *_ = keep(tmp_path, *stored, second)
    path = tmp_path / f"{after}.{JUDGED_ROWS}.parquet"
    if case == "gone":
        path.unlink()
    elif case == "earlier":
        path.write_bytes(to_parquet(JudgedRows(second.rows.drop(columns=ROW), 0.5)))
    comparison = compare(before, after)
    reason = comparison.why_unpaired
    assert reason
    few = "20 rows of both validation sets (3,000 and 1,020 rows), matched by "
    assert reason.startswith(few) == (case == "few")
    assert comparison.rows is None
    (score,) = comparison.scores
    assert (score.is_paired, score.better) == (False, None)
    assert reason in str(comparison)
    assert "cannot be compared row by row" in comparison.page()
    assert reason in html.unescape(comparison.page())


def test_other_validation_sets_are_paired_on_the_rows_of_both(tmp_path):
    """In whatever order: it is as if these rows were the whole set."""
    old, new, shared = judged(0.5), judged(0.6), np.arange(1000, 3000)
    ids = keep(
        tmp_path,
        part(old, np.arange(3000)),
        part(new, np.arange(N)[:999:-1]),
        part(old, shared),
        part(new, shared),
    )
    comparison, expected = compare(*ids[:2]), compare(*ids[2:])
    which = "of the 2,000 rows of both validation sets (3,000 and 3,000 rows)"
    assert which in str(comparison)
    (score,) = comparison.scores
    assert score.difference == expected.scores[0].difference
    change = score.after.estimate - score.before.estimate
    assert change == pytest.approx(score.difference.estimate)
    rows, expected_rows = comparison.rows, expected.rows
    assert rows.in_words.startswith(expected_rows.in_words.removesuffix("all"))
    pd.testing.assert_frame_equal(rows.parts, expected_rows.parts)
    assert list(rows.largest["who"]) == list(expected_rows.largest["who"])


def test_the_rows_that_changed_sides_are_counted_and_the_gain_is_found(tmp_path):
    """A model that is better for one carrier gains there."""
    old, better = judged(0.5, by=7), judged(2.0, by=7)
    rows = old.rows.copy()
    rows[::4] = better.rows[::4]
    new = JudgedRows(rows, 0.5)
    ids = keep(tmp_path, old, old, old, new)
    changes = compare(ids[0], ids[-1]).rows
    before = old.as_prediction.decided(0.5) == old.rows["y"]
    after = new.as_prediction.decided(0.5) == new.rows["y"]
    assert changes.gained == (after & ~before).sum()
    assert changes.lost == (before & ~after).sum()
    assert 0 < changes.net.low < changes.net.estimate < changes.net.high
    differs = changes.parts.set_index("value")["differs_from_all_rows"]
    assert set(differs.index[differs]) == {"<AA>", "others"}
    assert len(differs) == 5
    assert list(changes.largest["carrier"]) == ["<AA>"] * 20


def test_pages_and_notebooks_show_names_as_text(tmp_path):
    """No markup of an id reaches the page; a notebook gets few lines."""
    ids = keep(tmp_path, judged(0.5, by=7), judged(0.8, by=7))
    comparison = compare("v0001", "v0002", "flight_delay")
    assert [comparison.before["run_id"], comparison.after["run_id"]] == ids[:2]
    page, who = comparison.page(), comparison.rows.largest["who"].iloc[0]
    assert f"&lt;b&gt;{who[3:-4]}&lt;/b&gt;" in page
    assert who not in page
    assert comparison._repr_html_().count("<p>") == 2
    lines = len(comparison.changes) + len(comparison.scores)
    assert repr(comparison).count("\n") < lines + 5


def test_judged_rows_survive_their_file():
    """Predictions of several columns come back as they were judged."""
    prediction = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    predicted = SetPrediction(np.arange(50) % 3, prediction, np.arange(50))
    stored = to_parquet(JudgedRows.of(predicted, 0.5))
    restored = from_parquet(stored, JudgedRows).as_prediction
    assert np.array_equal(restored.prediction, predicted.prediction)
    assert np.array_equal(restored.y, predicted.y)
    assert np.array_equal(restored.clusters, predicted.clusters)
