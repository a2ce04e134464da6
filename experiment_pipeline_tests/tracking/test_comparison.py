"""Two runs side by side: what changed, and what it did to the scores."""

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

pytestmark = pytest.mark.usefixtures("each_database")


def judged(skill: float, *, seed: int = 0, by: int = 0) -> JudgedRows:
    """Predictions of a binary target; a greater skill is a better model."""
    y = np.random.default_rng(seed).integers(0, 2, N)
    noise = np.random.default_rng(by + 1).normal(size=N)
    prediction = 1 / (1 + np.exp(-(skill * (2 * y - 1) + noise)))
    return JudgedRows.of(SetPrediction(y, prediction, np.arange(N)), 0.5, np.arange(N))


def keep(folder: Path, *judged: JudgedRows) -> list[str]:
    """Store what the models of the first runs predicted; return the ids of all runs."""
    for run_id, rows in zip(ids := write_history(), judged, strict=False):
        keep_of(run_id, rows, folder)
    return ids


def keep_of(run_id: str, rows: JudgedRows, folder: Path) -> None:
    """Store what the model of a run predicted, for programs and for people."""
    for name, table in ((JUDGED_ROWS, rows), (PREDICTED_ROWS, shown_to_people(rows))):
        path = folder / f"{run_id}.{name}.parquet"
        path.write_bytes(to_parquet(table))
        RunRecord("flight_delay", run_id).record(
            [ReportRow(name=name, place=str(path))]
        )


def shown_to_people(rows: JudgedRows) -> pd.DataFrame:
    """The table of validation rows: an id, and two features of which one says where
    models differ.
    """
    of = rows.as_prediction
    right = np.where(of.y == 1, of.prediction, 1 - of.prediction)
    known = {
        "target": of.y,
        "prediction": of.decided(rows.threshold),
        "loss": -np.log(right),
    }
    who = rows.rows[ROW]
    features = {"carrier": np.where(who % 4, "others", "<AA>"), "month": who % 3}
    named = {"set": "validation", "who": [f"<b>{number}</b>" for number in who]}
    return pd.DataFrame(named | known | features)


def test_what_changed_is_said_in_words() -> None:
    """Data, YAML and code that differ are named; what is the same is not."""
    ids = write_history(runs=6)
    found = compare(ids[0], ids[4])
    assert [one.what for one in found.changes] == ["data", "yaml", "code", "version"]
    expected = "data: 10,000 rows, 12 columns (data0) → 10,004 rows, 12 columns (data2)"
    assert found.changes[0].in_words() == expected
    assert "-seed: 0\n+seed: 1" in found.yaml_diff
    assert "nothing has changed" in str(compare(ids[0], ids[0]))


def test_a_version_whose_run_is_not_recorded_cannot_be_compared() -> None:
    """One that was restored from the registry names none, and no other run stands in
    its place.
    """
    write_history()
    record_rows([version_row("v0009", run_id=None)], "flight_delay")
    with pytest.raises(UnknownRun, match="v0009: the run that made it is not recorded"):
        compare("v0009", "v0001", "flight_delay")


def test_changed_modules_are_shown_line_by_line() -> None:
    """A module that differs is a change of its own, and in the diff; a name that leads
    away is no file.
    """
    ids = write_history()
    for number, run_id in enumerate(ids[:2]):
        facts = RunFacts(code_files={"code/own.py": run_id, "code/../away.py": ids[0]})
        text = FileRow(digest=run_id, content=f"a = 1\nb = {number}\n")
        RunRecord("flight_delay", run_id).record([facts, text])
    found = compare(*ids[:2])
    assert found.changes[-1].in_words() == "code/own.py: b = 0 → b = 1"
    assert found.code_diff.endswith(
        "+++ code/own.py\n@@ -1,2 +1,2 @@\n a = 1\n-b = 0\n+b = 1"
    )
    assert "away" not in str(found)


def test_what_changed_in_a_yaml_shows_no_secret_of_an_address() -> None:
    """A token that was renewed is a change whose values no page, and no commit of a
    record, holds.
    """
    ids = write_history()
    for run_id in ids[:2]:
        text = f"data: https://me:{run_id}@host/visits.csv?token={run_id}\n"
        facts = [RunFacts(yaml_digest=run_id), FileRow(digest=run_id, content=text)]
        RunRecord("flight_delay", run_id).record(facts)
    found, masked = compare(*ids[:2]), "data: https://***@host/visits.csv?token=***"
    assert f"yaml: {masked} → {masked}" in [one.in_words() for one in found.changes]
    assert f"-{masked}\n+{masked}" in found.yaml_diff
    assert not [one for one in ids[:2] if f"token={one}" in str(found) + found.page()]


def test_scores_on_the_same_rows_are_paired(tmp_path: Path) -> None:
    """A difference that both intervals would hide is found; two models of the same
    skill are tied.
    """
    ids = keep(
        tmp_path, *(judged(0.50, by=by) for by in (8, 7)), *[judged(0.55, by=7)] * 2
    )
    assert "in both: no difference" in str(compare(*ids[2:4]))
    (score,), (tied,) = compare(*ids[1:3]).scores, compare(*ids[:2]).scores
    assert (score.is_paired, score.better, tied.better) == (True, True, None)
    assert 0 < score.difference.low < score.difference.estimate < score.difference.high
    assert tied.difference.low < 0 < tied.difference.high


def part(of: JudgedRows, rows: np.ndarray) -> JudgedRows:
    """Some of the rows."""
    return JudgedRows(of.rows.iloc[rows].reset_index(drop=True), of.threshold)


@pytest.mark.parametrize("other", ["few", "targets", "nothing", "gone", "earlier"])
def test_what_does_not_pair_is_not_paired(other: str, tmp_path: Path) -> None:
    """Few common rows, other targets, no file, rows without a name: each is said, none
    is a crash.
    """
    first, second = judged(0.5), judged(0.5, seed=int(other == "targets"))
    second = part(second, np.arange(2980 if other == "few" else 0, N))
    ids = keep(tmp_path, part(first, np.arange(3000)), *[second] * (other != "nothing"))
    path = tmp_path / f"{ids[1]}.{JUDGED_ROWS}.parquet"
    if other == "gone":
        path.unlink()
    elif other == "earlier":
        path.write_bytes(to_parquet(JudgedRows(second.rows.drop(columns=ROW), 0.5)))
    found = compare(*ids[:2])
    assert found.why_unpaired
    said = "20 rows of both validation sets (3,000 and 1,020 rows), matched by "
    assert found.why_unpaired.startswith(said) == (other == "few")
    assert (found.rows, found.scores[0].is_paired, found.scores[0].better) == (
        None,
        False,
        None,
    )
    assert found.why_unpaired in str(found)
    assert found.why_unpaired in found.page()


def test_other_validation_sets_are_paired_on_the_rows_of_both(tmp_path: Path) -> None:
    """In whatever order: it is as if these rows were the whole set."""
    old, new, of_both = judged(0.5), judged(0.6), np.arange(1000, 3000)
    sets = part(old, np.arange(3000)), part(new, np.arange(N)[:999:-1])
    ids = keep(tmp_path, *sets, *(part(one, of_both) for one in (old, new)))
    found, expected = compare(*ids[:2]), compare(*ids[2:])
    assert "of the 2,000 rows of both validation sets (3,000 and 3,000 rows)" in str(
        found
    )
    (score,) = found.scores
    assert score.difference == expected.scores[0].difference
    assert score.after.estimate - score.before.estimate == pytest.approx(
        score.difference.estimate
    )
    assert found.rows.in_words.startswith(expected.rows.in_words.removesuffix("all"))
    pd.testing.assert_frame_equal(found.rows.parts, expected.rows.parts)
    assert list(found.rows.largest["who"]) == list(expected.rows.largest["who"])


def test_the_rows_that_changed_sides_are_counted_and_the_gain_is_found(
    tmp_path: Path,
) -> None:
    """A model that is better for one carrier gains there; the last run, rejected,
    counts as any.
    """
    old, better, some = judged(0.5, by=7), judged(2.0, by=7).rows, np.arange(N) % 4 == 0
    new = JudgedRows(
        better.where(np.broadcast_to(some[:, None], better.shape), old.rows), 0.5
    )
    ids = keep(tmp_path, old, old, old, new)
    found = compare(ids[0], ids[-1])
    before, after = (
        one.as_prediction.decided(0.5) == one.rows["y"] for one in (old, new)
    )
    assert found.rows.gained == (after & ~before).sum()
    assert found.rows.lost == (before & ~after).sum()
    assert 0 < found.rows.net.low < found.rows.net.estimate < found.rows.net.high
    differs = found.rows.parts.set_index("value")["differs_from_all_rows"]
    assert differs.to_dict() == {
        "<AA>": True,
        "others": True,
        "0": False,
        "1": False,
        "2": False,
    }
    assert list(found.rows.largest["carrier"]) == ["<AA>"] * 20


def test_pages_and_notebooks_show_names_as_text(tmp_path: Path) -> None:
    """Ids come from a table: no markup of theirs reaches the page; a notebook gets few
    lines.
    """
    ids = keep(tmp_path, judged(0.5, by=7), judged(0.8, by=7))
    versions = compare("v0001", "v0002", "flight_delay")
    assert (versions.before["run_id"], versions.after["run_id"]) == (ids[0], ids[1])
    page, who = versions.page(), versions.rows.largest["who"].iloc[0]
    assert f"&lt;b&gt;{who[3:-4]}&lt;/b&gt;" in page
    assert who not in page
    assert versions._repr_html_().count("<p>") == 2
    assert repr(versions).count("\n") < len(versions.changes) + len(versions.scores) + 5


@pytest.mark.parametrize("k", [1, 3])
def test_judged_rows_survive_their_file(k: int) -> None:
    """Predictions of one column or of several come back as they were judged."""
    prediction = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    rows = np.arange(50)
    given = SetPrediction(rows % 3, prediction if k == 3 else prediction[:, 0], rows)
    back = from_parquet(to_parquet(JudgedRows.of(given, 0.5)), JudgedRows).as_prediction
    assert np.array_equal(back.prediction, given.prediction)
    assert np.array_equal(back.y, given.y)
    assert np.array_equal(back.clusters, given.clusters)
