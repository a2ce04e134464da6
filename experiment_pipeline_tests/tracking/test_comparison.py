"""Two runs side by side: what changed, and what it did to the scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiment_pipeline.errors import UnknownRun
from experiment_pipeline.reporting.run_record import (
    JUDGED_ROWS,
    PREDICTED_ROWS,
    FileRow,
    JudgedRows,
    ReportRow,
    RunFacts,
    SetRow,
)
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.questions import worst_rows
from experiment_pipeline_tests.tracking.history import write_history

N = 4000

pytestmark = pytest.mark.usefixtures("each_database")


def judged(skill: float, *, seed: int = 0, by: int = 0) -> JudgedRows:
    """Predictions of a binary target; a greater skill is a better model."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, N)
    noise = np.random.default_rng(by + 1).normal(size=N)
    prediction = 1 / (1 + np.exp(-(skill * (2 * y - 1) + noise)))
    return JudgedRows.of(SetPrediction(y, prediction, np.arange(N)), 0.5)


def keep(run_id: str, rows: JudgedRows, folder: Path, digest: str = "same") -> None:
    """Store what a run's model predicted, as a run does: for programs, and for people."""
    path, table = folder / f"{run_id}.parquet", folder / f"{run_id}.rows.parquet"
    path.write_bytes(to_parquet(rows))
    table.write_bytes(to_parquet(shown_to_people(rows)))
    RunRecord("flight_delay", run_id).record(
        [
            SetRow(set_name="validation", rows=N, columns=12, digest=digest),
            ReportRow(name=JUDGED_ROWS, place=str(path)),
            ReportRow(name=PREDICTED_ROWS, place=str(table)),
        ]
    )


def shown_to_people(rows: JudgedRows) -> pd.DataFrame:
    """The table of validation rows: an id, and two features of which one says where models differ."""
    of = rows.as_prediction
    right = np.where(of.y == 1, of.prediction, 1 - of.prediction)
    known = {"target": of.y, "prediction": of.decided(rows.threshold), "loss": -np.log(right)}
    features = {"carrier": np.where(np.arange(N) % 4, "others", "<AA>"), "month": np.arange(N) % 3}
    named = {"set": "validation", "who": [f"<b>{number}</b>" for number in range(N)]}
    return pd.DataFrame(named | known | features)


def test_what_changed_is_said_in_words() -> None:
    """Data, YAML and code that differ are named; what is the same is not."""
    ids = write_history(runs=6)
    found = compare(ids[0], ids[4])
    assert [one.what for one in found.changes] == ["data", "yaml", "code", "version"]
    expected = "data: 10,000 rows, 12 columns (data0) → 10,004 rows, 12 columns (data2)"
    assert found.changes[0].in_words() == expected
    assert "-seed: 0\n+seed: 1" in found.yaml_diff
    assert compare(ids[0], ids[0]).changes == ()
    assert "nothing has changed" in str(compare(ids[0], ids[0]))


def test_changed_modules_are_shown_line_by_line() -> None:
    """A module that differs is a change of its own, and in the diff; a name that leads away is no file."""
    ids = write_history()
    for number, one in enumerate(("own0", "own1")):
        facts = RunFacts(code_files={"code/own.py": one, "code/../away.py": "own0"})
        text = FileRow(digest=one, content=f"a = 1\nb = {number}\n")
        RunRecord("flight_delay", ids[number]).record([facts, text])
    found = compare(*ids[:2])
    assert found.changes[-1].in_words() == "code/own.py: b = 0 → b = 1"
    assert found.code_diff.endswith("+++ code/own.py\n@@ -1,2 +1,2 @@\n a = 1\n-b = 0\n+b = 1")
    assert "away" not in str(found)


def test_scores_on_the_same_rows_are_paired(tmp_path: Path) -> None:
    """A difference that both intervals would hide is found where the rows pair."""
    ids = write_history()
    keep(ids[0], judged(0.50, by=7), tmp_path)
    keep(ids[1], judged(0.55, by=7), tmp_path)
    keep(ids[2], judged(0.55, by=7), tmp_path)
    assert "in both: no difference" in str(compare(ids[1], ids[2]))
    (score,) = compare(ids[0], ids[1]).scores
    assert score.is_paired
    assert score.better is True
    assert 0 < score.difference.low < score.difference.estimate < score.difference.high


def test_equal_models_cannot_be_told_apart(tmp_path: Path) -> None:
    """Two models of the same skill are called neither better nor worse."""
    ids = write_history()
    keep(ids[0], judged(0.50, by=7), tmp_path)
    keep(ids[1], judged(0.50, by=8), tmp_path)
    (score,) = compare(ids[0], ids[1]).scores
    assert score.better is None
    assert score.difference.low < 0 < score.difference.high


@pytest.mark.parametrize("other", ["rows", "targets", "nothing", "gone"])
def test_what_does_not_pair_is_not_paired(other: str, tmp_path: Path) -> None:
    """Other rows, other targets, nothing kept, a file that is gone: each is said, none is a crash."""
    ids = write_history()
    keep(ids[0], judged(0.5), tmp_path)
    if other == "rows":
        keep(ids[1], judged(0.5), tmp_path, digest="others")
    elif other == "targets":
        keep(ids[1], judged(0.5, seed=1), tmp_path)
    elif other == "nothing":
        same = SetRow(set_name="validation", rows=N, columns=12, digest="same")
        RunRecord("flight_delay", ids[1]).record([same])
    else:
        keep(ids[1], judged(0.5), tmp_path)
        (tmp_path / f"{ids[1]}.parquet").unlink()
    found = compare(ids[0], ids[1])
    assert found.why_unpaired
    assert not found.scores[0].is_paired
    assert found.scores[0].better is None
    assert found.why_unpaired in str(found)
    assert found.why_unpaired in found.page()


def better_for_some(part: np.ndarray) -> JudgedRows:
    """The predictions of a model that is better than `judged(0.5, by=7)` on a part of the rows alone."""
    old, new = judged(0.5, by=7).rows, judged(2.0, by=7).rows
    return JudgedRows(new.where(np.broadcast_to(part[:, None], new.shape), old), 0.5)


def test_the_rows_that_changed_sides_are_counted_and_the_gain_is_found(tmp_path: Path) -> None:
    """A model that is better for one carrier gains there; the last run, rejected, counts as any."""
    ids = write_history()
    old, new = judged(0.5, by=7), better_for_some(np.arange(N) % 4 == 0)
    keep(ids[0], old, tmp_path)
    keep(ids[-1], new, tmp_path)
    found = compare(ids[0], ids[-1])
    before, after = (one.as_prediction.decided(0.5) == one.rows["y"] for one in (old, new))
    assert found.rows.gained == (after & ~before).sum()
    assert found.rows.lost == (before & ~after).sum()
    assert 0 < found.rows.net.low < found.rows.net.estimate < found.rows.net.high
    differs = found.rows.parts.set_index("value")["differs_from_all_rows"]
    assert differs.to_dict() == {"<AA>": True, "others": True, "0": False, "1": False, "2": False}
    assert list(found.rows.largest["carrier"]) == ["<AA>"] * 20
    assert found.rows.in_words in str(found)


def test_pages_and_notebooks_show_names_as_text(tmp_path: Path) -> None:
    """Ids come from a table: no markup of theirs reaches the page; a notebook gets few lines."""
    ids = write_history()
    keep(ids[0], judged(0.5, by=7), tmp_path)
    keep(ids[1], judged(0.8, by=7), tmp_path)
    versions = compare("v0001", "v0002", "flight_delay")
    assert (versions.before["run_id"], versions.after["run_id"]) == (ids[0], ids[1])
    page, who = versions.page(), versions.rows.largest["who"].iloc[0]
    assert f"&lt;b&gt;{who[3:-4]}&lt;/b&gt;" in page
    assert who not in page
    assert versions._repr_html_().count("<p>") == 2


def test_rows_that_an_earlier_version_has_not_kept_are_not_compared(tmp_path: Path) -> None:
    """The scores still pair; who asks for the worst rows of such a run is told why there are none."""
    ids = write_history()
    with pytest.raises(UnknownRun, match="has stored no predicted rows"):
        worst_rows("flight_delay", run=ids[0])
    keep(ids[1], judged(0.5), tmp_path)
    same = SetRow(set_name="validation", rows=N, columns=12, digest="same")
    kept = ReportRow(name=JUDGED_ROWS, place=str(tmp_path / f"{ids[1]}.parquet"))
    RunRecord("flight_delay", ids[0]).record([same, kept])
    found = compare(ids[0], ids[1])
    assert (found.scores[0].is_paired, found.rows) == (True, None)


@pytest.mark.parametrize("k", [1, 3])
def test_judged_rows_survive_their_file(k: int) -> None:
    """Predictions of one column or of several come back as they were judged."""
    from experiment_pipeline.storage.tables import from_parquet

    prediction = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    given = SetPrediction(
        np.arange(50) % 3, prediction if k == 3 else prediction[:, 0], np.arange(50)
    )
    back = from_parquet(to_parquet(JudgedRows.of(given, 0.5)), JudgedRows).as_prediction
    assert np.array_equal(back.prediction, given.prediction)
    assert np.array_equal(back.y, given.y)
    assert np.array_equal(back.clusters, given.clusters)
