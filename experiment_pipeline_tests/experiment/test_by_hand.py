"""What a person decides: a model, a choice, the champion on today's data; and what a
seed decides.
"""

import functools
import json
import linecache
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import make_pipeline

import experiment_pipeline as ep
from experiment_pipeline.errors import DataError, ExportError, InvalidExperiment
from experiment_pipeline.experiment import declared
from experiment_pipeline.experiment import run as runs_of
from experiment_pipeline.experiment.files import EXPERIMENT, named_columns
from experiment_pipeline.experiment.flow import prepared_rows
from experiment_pipeline.intake.raw_table import RawTable
from experiment_pipeline.orchestration.job import build_experiment, range_tags
from experiment_pipeline.stages.exported_model import export
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.stages.search.own_estimators import Plain, WithHelper
from experiment_pipeline_tests.stages.search.scenario import OWN
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of
from experiment_pipeline_tests.tracking.history import write_history

pytestmark = pytest.mark.usefixtures("storage", "quick")
FRESH_PROCESS = export.check_in_fresh_process
SCORES = [
    "key",
    "rank",
    "test_score",
    "test_low",
    "test_high",
    "difference_low",
    "in_tie_group",
]
SEARCH = [
    {"algorithm": "linear", "hyperparameters": {"C": [0.1, 1.0]}},
    {"algorithm": "dummy"},
]
TWO = [{"algorithm": "linear"}, {"algorithm": "sklearn.naive_bayes.GaussianNB"}]
SETTINGS = {"search": SEARCH, "evaluation": "test_set", "ensemble": False}
run = functools.partial(ep.run, target="readmitted", progress=False, **SETTINGS)


def made_by_hand() -> Any:
    """A pipeline, by a function that an import path describes."""
    return make_pipeline(ExtraTreesClassifier(20, max_depth=3))


def test_a_model_of_ones_own_joins_the_leaderboard():
    """It alone is fitted, on the same rows, also beyond the budget, and is paired with
    the best.
    """
    table = scenario.table()
    table.index = table.index + 7
    found = run(table, name="visits", budget={"configurations": 1})
    trees = ExtraTreesClassifier(max_depth=4, n_estimators=40, random_state=7, n_jobs=2)
    more = ep.add(found, trees, "mine", note="what we had")
    assert more.facts["reused"] == found.facts["trained"] == more.facts["trained"] - 1
    assert more.facts["not_started"] == 1
    worst = more.errors()
    assert worst["target"].tolist() == table.loc[worst.index, "readmitted"].tolist()
    (mine,) = more.leaderboard.query("key == 'mine'").to_dict("records")
    assert mine["algorithm"] == "sklearn.ensemble.ExtraTreesClassifier"
    assert (mine["max_depth"], mine["n_estimators"], mine["note"]) == (
        4,
        40,
        "what we had",
    )
    assert "what we had" in Path(more.pages["leaderboard"]).read_text(encoding="utf-8")
    assert more.facts["looks"] == 1 + (more.facts["chosen"] != found.facts["chosen"])
    assert named_columns(more.save("defs/visits")).spec.search[-1].note == "what we had"
    with pytest.raises(
        ep.InvalidExperiment, match="the leaderboard has a configuration with"
    ):
        ep.add(more, trees, "again")
    with pytest.raises(ep.UnknownRun, match="did you mean 'visits'"):
        ep.add("visit", trees, "mine")
    pipeline = ep.add("visits", made_by_hand, "mine")
    algorithms = pipeline.leaderboard.set_index("key")["algorithm"]
    assert set(algorithms.index) == {*found.leaderboard["key"], "mine"}
    assert algorithms["mine"].endswith("made_by_hand")


def test_a_pipeline_joins_an_exploration():
    """Its defs.yaml names each step."""
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=300)})
    table["y"] = table["x"] + np.random.default_rng(1).normal(size=300) > 0
    found = ep.explore(table, "y", name="lines", progress=False, **SETTINGS)
    more = found.add(made_by_hand(), "mine")
    assert "mine" in set(more.leaderboard["key"])
    written = declared.declared_keys(more.named)["search"][-1]
    assert "ExtraTreesClassifier(max_depth=3" in written["hyperparameters"]["steps"]


@pytest.mark.parametrize(
    "estimator", [lambda: 0, type("Local", (Plain,), {}), "linear"]
)
def test_what_no_import_path_describes_is_refused(estimator: Any):
    """The error says to write a function in a module."""
    with pytest.raises(
        ep.InvalidExperiment, match="function at the top level of a module"
    ):
        ep.add(None, estimator, "mine")  # type: ignore[arg-type]


def test_a_model_of_the_notebook_is_ranked_and_not_exported(monkeypatch):
    """Its changes are noticed; its export and a folder of it say to move it into a
    module.
    """
    found = run(scenario.table(), name="visits")
    for code in (Plain, WithHelper):
        made = type("Mine", (code,), {**vars(code), "__module__": "__main__"})
        made.__qualname__ = "Mine"
        monkeypatch.setattr(sys.modules["__main__"], "Mine", made, raising=False)
        assert ep.add(found, made, "mine").facts["reused"] == found.facts["trained"]
    # Not by `monkeypatch`, which would end after `quick`, and leave its stub to the
    # next test.
    with patch.object(export, "check_in_fresh_process", FRESH_PROCESS):
        chosen = ep.choose("visits", "mine", why="it is mine")
    with pytest.raises(ExportError, match="Move it into a module"):
        _ = chosen.model
    assert (chosen.facts["status"], chosen.facts["chosen"]) == ("failed", "mine")
    with pytest.raises(ep.InvalidExperiment, match="Move it into a module"):
        chosen.save("defs/visits")
    cell = (
        f"from {OWN} import Plain\nclass Mine(Plain):\n    def fit(self, X, y): return "
        "super().fit(X, y)\n"
    )
    linecache.cache["<mine>"] = (
        len(cell),
        None,
        cell.splitlines(keepends=True),
        "<mine>",
    )
    monkeypatch.setattr(sys.modules["__main__"], "Plain", Plain, raising=False)
    exec(compile(cell, "<mine>", "exec"), vars(sys.modules["__main__"]))
    folder = chosen.save("defs/visits", module="written_models")
    assert Path("written_models.py").read_text().endswith(cell.partition("\n")[2])
    assert "algorithm: written_models.Mine" in (folder / "defs.yaml").read_text()


def test_another_refit_is_another_look():
    """Else a user could take the best of many means on the validation rows, and no
    interval would know.
    """
    asked = {}, {"fits": 2}, {"refit": "none"}
    found = [run(scenario.table(), name="visits", export=one) for one in asked]
    assert [one.facts["looks"] for one in found] == [1, 2, 3]
    assert found[1].facts["trained"] == found[1].facts["reused"]


def test_a_person_chooses_from_the_last_run_of_dagster(storage: Path):
    """Nothing is trained but the refit, no score changes; the choice, its author and
    reason are kept.
    """
    folder = Path("defs/visits")
    folder.mkdir(parents=True)
    scenario.write_csv(Path("visits.csv"))
    failing = {"algorithm": f"{OWN}.Raises"}
    given = scenario.spec_mapping(**{**SETTINGS, "search": [*SEARCH, failing]})
    (folder / "schema.yaml").write_text(scenario.SCHEMA)
    (folder / "defs.yaml").write_text(
        yaml.safe_dump({"type": EXPERIMENT, "attributes": given})
    )
    named = named_columns(folder)
    job = build_experiment(named).resolve_job_def("visits")
    with dg.DagsterInstance.ephemeral() as instance:
        tags = range_tags(configurations(named.spec))
        assert job.execute_in_process(instance=instance, tags=tags).success
    (first,) = ep.runs("visits", all_columns=True).to_dict("records")
    models, board = storage / "visits" / "trained_model", ep.results("visits")
    before = {*models.iterdir()}
    (other,) = {"linear__C=0.1", "linear__C=1.0"} - {first["chosen"]}
    Path("visits.csv").unlink()
    answer = command("choose", "visits", other, "--why", "<half> the size")
    assert answer.exit_code == 0, answer.output
    second = ep.runs("visits", all_columns=True).to_dict("records")[0]
    assert (
        f"visits: accepted with conditions (repeated_entities), v0002: {other}"
        in answer.output
    )
    assert {*models.iterdir()} == before
    assert (second["chosen"], second["version"], second["looks"]) == (other, "v0002", 2)
    assert second["triggered_by"] == "command line"
    name = second["trigger_name"]
    assert second["choice_reason"].startswith(
        f"chosen by {name}: <half> the size (choice: best_score"
    )
    ranked = ep.results("visits")
    pd.testing.assert_frame_equal(ranked[SCORES], board[SCORES])
    assert list(ranked.query("is_chosen")["key"]) == [other]
    record = storage / "visits" / "runs" / second["run_id"] / "index.html"
    assert f"chosen by {name}: &lt;half&gt; the size" in record.read_text(
        encoding="utf-8"
    )
    card = (storage / "visits" / "registry" / "v0002" / "README.md").read_text(
        encoding="utf-8"
    )
    assert "the choice was not made by score alone; the best of 3 single scores" in card
    with pytest.raises(ep.InvalidExperiment, match=r"did you mean 'linear__C=0\.1'"):
        ep.choose("visits", "linear__C=0.01", why="no")
    with pytest.raises(ep.InvalidExperiment, match="it has no rank: "):
        ep.choose("visits", "Raises", why="no")
    with pytest.raises(ep.InvalidExperiment, match="it is empty"):
        ep.choose("visits", "mine", why=" ")
    assert len(ep.runs("visits")) == 2


def test_the_champion_is_fitted_on_the_data_of_today():
    """Without a search, each member of an ensemble under its key, through all gates, as
    a new version.
    """
    table = str(scenario.write_csv(Path("visits.csv"), scenario.table().head(400)))
    given = scenario.spec_mapping(search=TWO, evaluation="test_set")
    del given["data"], given["target"]
    found = ep.run(table, "readmitted", schema=scenario.SCHEMA, **given)
    assert ep.choose("visits", "ensemble", why="it is both").facts["version"] == "v0002"
    scenario.write_csv(Path(table))
    answer = command("refit", "visits", "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["status"], told["version"], len(told["gates"]) > 0) == (
        "accepted",
        "v0003",
        True,
    )
    again = ep.runs("visits", all_columns=True).to_dict("records")[0]
    assert (again["declared"], again["reused"], again["version"]) == (2, 0, "v0003")
    assert again["looks"] > 1
    notes = ep.results("visits").set_index("key")["note"].dropna()
    assert notes.to_dict() == dict.fromkeys(
        ["linear", "GaussianNB"], "of the champion v0002"
    )
    found.save("defs/visits")
    same = ep.refit("visits").facts
    assert (same["version"], same["reused"]) == ("v0003", same["declared"])


def test_other_seeds_read_no_validation_row_and_stand_in_the_record(
    storage: Path, monkeypatch
):
    """The cost comes first; a seed that fails is a result; by time there is one way to
    cut.
    """
    write_history()
    before, tables = ep.runs("flight_delay", all_columns=True), list[pd.DataFrame]()
    raw = RawTable(scenario.table(), "digest", "DataFrame", None, None, None, ())
    specs = scenario.spec("binary", "random"), scenario.spec("binary", "time")
    named, timed = (NamedColumns(spec, scenario.SCHEMA) for spec in specs)

    def repeated(table: pd.DataFrame, _: str, *, split: Any, **__: Any) -> Any:
        tables.append(table)
        if split["seed"] == 2:
            raise DataError("the table", "has too few rows", "")
        report = replace(report_of(), conditions=("drift_over_time: x",))
        return SimpleNamespace(report=report)

    monkeypatch.setattr(runs_of, "run_experiment", repeated)
    monkeypatch.setattr(declared, "table_of", lambda _: raw)
    monkeypatch.setattr(declared, "declared_by", lambda _: named)
    asked = command("sensitivity", "flight_delay", input="n\n")
    assert (asked.exit_code, tables) == (1, [])
    assert asked.stderr.startswith("5 repeats, about 36 s each, 180 s in all")
    done = command("sensitivity", "flight_delay", "--seeds", 2, "--yes")
    assert "seed 2: the table" in done.stdout
    sets = prepared_rows(raw, named).sets
    assert all(
        [*table.index] == [*sets.index[sets.isin(["train", "test"])]]
        for table in tables
    )
    pd.testing.assert_frame_equal(ep.runs("flight_delay", all_columns=True), before)
    (page,) = (storage / "flight_delay" / "runs").glob("*/decision_record.md")
    assert (
        "num_leaves=4, accepted with conditions (drift_over_time)"
        in page.read_text().replace("\\_", "_")
    )
    monkeypatch.setattr(declared, "declared_by", lambda _: timed)
    with pytest.raises(
        InvalidExperiment, match="by: time splits the rows in only one way"
    ):
        ep.sensitivity("flight_delay")
