"""What a person decides: a model, a choice, the champion on today's data; and what a
seed decides.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import experiment_pipeline as ep
from experiment_pipeline.errors import DataError, ExportError, InvalidExperiment
from experiment_pipeline.experiment import declared, result
from experiment_pipeline.experiment import run as runs_of
from experiment_pipeline.experiment.files import named_columns
from experiment_pipeline.experiment.flow import prepared_rows
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.intake.raw_table import RawTable
from experiment_pipeline.stages.exported_model import export
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.experiment.visits import delivered, run_visits
from experiment_pipeline_tests.stages.search.own_estimators import Plain
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of
from experiment_pipeline_tests.tracking.history import write_history

pytestmark = pytest.mark.usefixtures("storage", "quick")
KNN = "sklearn.neighbors.KNeighborsClassifier"
FRESH_PROCESS = export.check_in_fresh_process
BY_DUMMY = {"search": "dummy", "split": "random", "evaluation": "test_set"}
SCORES = ["key", "rank", "test_score", "test_low", "test_high", "in_tie_group"]


def made_by_hand() -> Any:
    """A pipeline, by a function that an import path describes."""
    return make_pipeline(ExtraTreesClassifier(20, max_depth=3))


def test_a_model_of_ones_own_joins_the_leaderboard(visits: RunResult):
    """It alone is fitted, on the same rows, also beyond the budget; another choice is
    another look.
    """
    trees = ExtraTreesClassifier(max_depth=4, n_estimators=40, random_state=7, n_jobs=2)
    more = ep.add(visits, trees, "mine", note="what we had")
    assert more.facts["reused"] == visits.facts["trained"] == more.facts["trained"] - 1
    assert more.facts["not_started"] == 1
    worst = more.errors()
    truth = delivered().loc[worst.index, "readmitted"]
    assert worst["target"].tolist() == truth.tolist()
    (mine,) = more.leaderboard.query("key == 'mine'").to_dict("records")
    assert mine["algorithm"] == "sklearn.ensemble.ExtraTreesClassifier"
    shown = (mine["max_depth"], mine["n_estimators"], mine["note"])
    assert shown == (4, 40, "what we had")
    assert more.facts["looks"] == 1 + (more.facts["chosen"] != visits.facts["chosen"])
    assert named_columns(more.save("defs/visits")).spec.search[-1].note == "what we had"
    with pytest.raises(ep.InvalidExperiment, match="the leaderboard has a config"):
        ep.add(more, trees, "again")


def test_a_pipeline_joins_an_exploration():
    """Its defs.yaml names each step, or the function that makes it, which replaces it
    under the same name.
    """
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=300)})
    table["y"] = table["x"] + np.random.default_rng(1).normal(size=300) > 0
    settings = {"search": "linear", "split": "random", "evaluation": "test_set"}
    found = ep.explore(table, "y", name="lines", progress=False, **settings)
    more = found.add(made_by_hand(), "mine")
    assert "mine" in set(more.leaderboard["key"])
    *_, written = declared.declared_keys(more.named)["search"]
    assert "ExtraTreesClassifier(max_depth=3" in written["hyperparameters"]["steps"]
    entry = {**declared.described(made_by_hand), "name": "mine"}
    other = declared.with_search(more.named, [entry], extend=True).spec.search
    assert other[-1].algorithm.endswith("test_by_hand.made_by_hand")
    assert len(other) == len(more.named.spec.search)


def test_a_pipeline_of_columns_goes_all_the_way():
    """With gaps, texts and texts that the train rows lack, it is exported, predicts the
    same in a fresh process, is explained, and reproduced.
    """
    random = np.random.default_rng(0)
    numbers = random.normal(size=(300, 2))
    table = pd.DataFrame({"age": numbers[:, 0], "the city": [*"ab", None] * 100})
    table["street"] = [f"no. {number}" for number in random.integers(0, 200, 300)]
    table["y"] = table["age"] + 2 * (table["the city"] == "a") + numbers[:, 1] > 0
    table.loc[::7, "age"] = np.nan
    encoder = OneHotEncoder(handle_unknown="ignore")
    parts = (encoder, ["the city", "street"]), (SimpleImputer(), ["age"])
    mine = make_pipeline(make_column_transformer(*parts), LogisticRegression())
    found = ep.explore(table, "y", name="cities", progress=False, **BY_DUMMY)
    of_target = make_column_transformer((encoder, ["y"]))
    wrong = make_pipeline(of_target, LogisticRegression())
    failed = "^configuration mine: .*'age', 'street', 'the city'"
    with pytest.raises(ep.TrainingError, match=failed):
        found.add(wrong, "mine")
    with patch.object(export, "check_in_fresh_process", FRESH_PROCESS):
        done = found.add(mine, "mine").evaluate()
    assert (done.facts["chosen"], done.accepted) == ("mine", True)
    unseen = table.drop(columns="y").assign(street="another")[:3]
    explained = done.model.explain(unseen)
    predicted = done.model.predict(unseen).predictions["probability_True"]
    total = explained.contributions.sum(axis=1)
    np.testing.assert_allclose(total, predicted, atol=1e-6)
    answer = command("reproduce", "cities")
    assert "the same, byte by byte" in answer.output


@pytest.mark.parametrize(
    "estimator", [lambda: 0, type("Local", (Plain,), {}), "linear"]
)
def test_what_no_import_path_describes_is_refused(estimator: Any):
    """The error says to write a function in a module."""
    with pytest.raises(
        ep.InvalidExperiment, match="function at the top level of a module"
    ):
        ep.add(None, estimator, "mine")  # type: ignore[arg-type]


def test_a_model_of_the_notebook_is_ranked_and_not_exported(
    visits: RunResult, monkeypatch
):
    """Its export and a folder of it say to move it into a module."""
    made = type("Mine", (Plain,), {**vars(Plain), "__module__": "__main__"})
    made.__qualname__ = "Mine"
    monkeypatch.setattr(sys.modules["__main__"], "Mine", made, raising=False)
    added = ep.add("visits", made, "mine")
    assert added.facts["reused"] == visits.facts["trained"]
    # Not by `monkeypatch`, which would end after `quick`, and leave its stub to the
    # next test.
    with patch.object(export, "check_in_fresh_process", FRESH_PROCESS):
        chosen = ep.choose("visits", "mine", why="it is mine")
    with pytest.raises(ExportError, match="Move it into a module"):
        _ = chosen.model
    assert (chosen.facts["status"], chosen.facts["chosen"]) == ("failed", "mine")
    with pytest.raises(ep.InvalidExperiment, match="Move it into a module"):
        chosen.save("defs/visits")
    monkeypatch.setattr(result, "module_of_main", lambda names: f"# {names}")
    folder = chosen.save("defs/visits", module="written_models")
    assert Path("written_models.py").read_text() == "# ['Mine']"
    assert "algorithm: written_models.Mine" in (folder / "defs.yaml").read_text()


def test_another_refit_is_another_look(visits: RunResult):
    """Else a user could take the best of many means on the validation rows, and no
    interval would know. Neither it nor words in the schema train a model again.
    """
    words = "{title: Age, description: Of the patient, unit: years, "
    described = visits.named.schema_text.replace("  age: {", f"  age: {words}")
    assert described != visits.named.schema_text
    again = run_visits(export={"fits": 2}, schema=described)
    assert (visits.facts["looks"], again.facts["looks"]) == (1, 2)
    assert again.facts["reused"] == again.facts["trained"]


def test_a_person_chooses_from_the_last_run(visits: RunResult, storage: Path):
    """Nothing is trained but the refit, no score changes; the choice, its author and
    reason are kept.
    """
    folder = storage / "visits"
    before = {*(folder / "trained_model").iterdir()}
    board = ep.results("visits")
    given = ("choose", "visits", "linear__C=1.0", "--why", "<half> the size")
    answer = command(*given)
    assert answer.exit_code == 0, answer.output
    assert "v0002: linear__C=1.0" in answer.output
    assert {*(folder / "trained_model").iterdir()} == before
    run = ep.runs("visits", all_columns=True).to_dict("records")[0]
    assert (run["version"], run["looks"]) == ("v0002", 2)
    assert run["triggered_by"] == "command line"
    by = f"chosen by {run['trigger_name']}: "
    assert run["choice_reason"].startswith(f"{by}<half> the size (")
    ranked = ep.results("visits")
    pd.testing.assert_frame_equal(ranked[SCORES], board[SCORES])
    assert list(ranked.query("is_chosen")["key"]) == ["linear__C=1.0"]
    record = folder / "runs" / run["run_id"] / "index.html"
    assert f"{by}&lt;half&gt; the size" in record.read_text("utf-8")


@pytest.mark.parametrize(
    ("key", "why", "says"),
    [
        ("linear__C=0.2", "no", r"did you mean 'linear__C=0\.1'"),
        ("linear__C=10.0", "no", "it has no rank: "),
        ("linear__C=1.0", " ", "it is empty"),
    ],
)
@pytest.mark.usefixtures("visits")
def test_a_choice_needs_a_rank_and_a_reason(key: str, why: str, says: str):
    """Else nothing runs."""
    with pytest.raises(ep.InvalidExperiment, match=says):
        ep.choose("visits", key, why=why)
    assert len(ep.runs("visits")) == 1


def test_the_champion_is_fitted_on_the_data_of_today():
    """Without a search, each member of an ensemble under its key, through all gates, as
    a new version.
    """
    table = scenario.write_csv(Path("visits.csv"))
    neighbours = {"algorithm": KNN, "hyperparameters": {"n_neighbors": 15}}
    search = ["linear", neighbours]
    found = run_visits(str(table), search=search, budget={}, ensemble={})
    assert found.facts["chosen"] == "ensemble"
    scenario.write_csv(table, scenario.table().iloc[:-20])
    answer = command("refit", "visits", "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["status"], told["version"]) == ("accepted", "v0002")
    assert told["gates"]
    again = ep.runs("visits", all_columns=True).to_dict("records")[0]
    assert (again["declared"], again["reused"]) == (2, 0)
    notes = ep.results("visits").set_index("key")["note"].dropna()
    members = ["linear", "KNeighborsClassifier"]
    assert notes.to_dict() == dict.fromkeys(members, "of the champion v0001")


def test_other_seeds_read_no_validation_row_and_stand_in_the_record(
    storage: Path, monkeypatch
):
    """The cost comes first; a seed that fails is a result; by time there is one way to
    cut.
    """
    write_history()
    before = ep.runs("flight_delay", all_columns=True)
    tables = list[pd.DataFrame]()
    raw = RawTable(scenario.table(), "digest", "DataFrame", None, None, None, ())
    named = NamedColumns(scenario.spec("binary", "random"), scenario.SCHEMA)

    def repeated(table: pd.DataFrame, _: str, *, split: Any, **__: Any) -> Any:
        tables.append(table)
        if split["seed"] == 2:
            raise DataError("the table", "has too few rows", "")
        return SimpleNamespace(report=report_of())

    monkeypatch.setattr(runs_of, "run_experiment", repeated)
    monkeypatch.setattr(declared, "table_of", lambda _: raw)
    monkeypatch.setattr(declared, "declared_by", lambda _: named)
    asked = command("sensitivity", "flight_delay", input="n\n")
    assert (asked.exit_code, tables) == (1, [])
    assert asked.stderr.startswith("5 repeats, about 36 s each, 180 s in all")
    done = command("sensitivity", "flight_delay", "--seeds", 2, "--yes")
    assert "seed 2: the table" in done.stdout
    sets = prepared_rows(raw, named).sets
    for table in tables:
        assert [*table.index] == [*sets.index[sets.isin(["train", "test"])]]
    pd.testing.assert_frame_equal(ep.runs("flight_delay", all_columns=True), before)
    (page,) = (storage / "flight_delay" / "runs").glob("*/decision_record.md")
    assert "seed 1: " in page.read_text()
    timed = NamedColumns(scenario.spec("binary", "time"), scenario.SCHEMA)
    monkeypatch.setattr(declared, "declared_by", lambda _: timed)
    with pytest.raises(InvalidExperiment, match="splits the rows in only one way"):
        ep.sensitivity("flight_delay")
