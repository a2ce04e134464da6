"""The examples of the documentation run as they stand."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from upath import UPath

import experiment_pipeline as ep
from experiment_pipeline.spec.search import Search
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.lab import laboratories

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLES = DOCS / "examples"


@pytest.mark.slow
def test_partitions_as_configurations_in_plain_dagster(tmp_path, monkeypatch):
    """One run trains every configuration, each partition has its score, and the best
    one is chosen.
    """
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / "hyperparameter_partitions.py"))
    with dg.instance_for_test() as instance:
        job = names["defs"].resolve_job_def("search")
        assert job.execute_in_process(instance=instance).success
        scores = {}
        for key in names["CONFIGURATIONS"]:
            wanted = dg.AssetRecordsFilter(dg.AssetKey("model"), asset_partitions=[key])
            (record,) = instance.fetch_materializations(wanted, limit=1).records
            scores[key] = record.asset_materialization.metadata["auc"].value
        best = instance.get_latest_materialization_event(dg.AssetKey("leaderboard"))
    assert len(scores) == 9
    assert scores[best.asset_materialization.metadata["best"].value] == max(
        scores.values()
    )


@pytest.mark.slow
@pytest.mark.usefixtures("storage", "quick")
def test_the_first_ten_minutes_in_a_notebook(tmp_path):
    """Each cell of the page runs as it stands, but for columns, seconds and folds."""
    page = (DOCS / "start" / "notebook.md").read_text(encoding="utf-8")
    cells = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(cells) == 5
    names: dict = {}
    for cell in cells:
        quick = re.sub(r"seconds([=(])\d+", r"seconds\g<1>1", cell)
        once = quick.replace('biopsies", ', "biopsies\", evaluation='test_set', ")
        few = once.replace("True).frame", "True).frame.iloc[:, 3::3]")
        exec(few.replace("cv=3", "cv=2"), names)
    assert names["biopsies"].accepted
    assert names["found"].leaderboard["rank"].notna().any()
    assert (tmp_path / "experiment_pipeline/defs/biopsies/defs.yaml").exists()


def test_a_champion_behind_an_http_api(tmp_path, monkeypatch):
    """Valid rows are predicted, an invalid one comes back with its reason, a missing
    column is named.
    """
    from fastapi.testclient import TestClient

    spec = exported.make_spec(name="flights")
    Registry(UPath(tmp_path), spec.name).publish(
        exported.package(spec=spec), lambda _: None
    )
    monkeypatch.setenv("EXPERIMENT_PIPELINE_STORAGE", str(tmp_path))
    monkeypatch.setenv("EXPERIMENT", "flights")
    client = TestClient(runpy.run_path(str(EXAMPLES / "serve.py"))["app"])
    rows = json.loads(exported.delivered(5).to_json(orient="records"))
    rows[0]["distance"] = -1
    answer = client.post("/predict", json=rows).json()
    assert len(answer["predictions"]) == 4
    assert "distance" in answer["rejected"][0]["rejection_reasons"]
    refused = client.post("/predict", json=[{"carrier": "UA"}])
    assert refused.status_code == 422
    assert "distance" in refused.json()["detail"]


@pytest.mark.usefixtures("storage", "quick")
def test_a_rule_that_is_a_function_is_the_incumbent_as_the_guide_writes_it(monkeypatch):
    """What it reads stays a feature, its answers are none, and rows to predict lack
    them.
    """
    guide = (DOCS / "guides" / "own_code.md").read_text(encoding="utf-8")
    section = guide.partition("## The rule in use today")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (settings,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    Path("desk_rules.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(Path.cwd())
    generator = np.random.default_rng(0)
    rate = generator.normal(100, 20, 300)
    nights = generator.integers(1, 15, 300)
    paid = rate * 1.1 - 3 * nights + generator.normal(0, 5, 300)
    table = pd.DataFrame({"rate_last_year": rate, "nights": nights, "paid": paid})
    result = ep.run(
        table,
        "paid",
        name="rooms",
        split="random",
        search="linear",
        progress=False,
        **yaml.safe_load(settings),
    )
    evidence = questions.rows_of("evidence", result.facts).set_index("kind")["what"]
    said = "the incumbent rule, by rmse: the model is significantly better"
    assert evidence["incumbent"] == said
    assert {*result.model.signature.features} == {"rate_last_year", "nights"}
    predicted = result.model.predict(table.drop(columns="paid"))
    assert len(predicted.predictions) == 300


def test_the_guides_show_search_entries_that_are_read():
    """A reader copies them: algorithm, name and hyperparameters go together."""
    text = "".join(
        page.read_text(encoding="utf-8") for page in DOCS.glob("guides/*.md")
    )
    blocks = [
        yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    ]
    settings = [block.get("attributes", block) for block in blocks if block]
    entries = [
        Search.model_validate(entry)
        for setting in settings
        for entry in setting.get("search", ())
    ]
    assert "shop.models.MyModel" in {one.algorithm for one in entries}


@pytest.mark.slow
@pytest.mark.usefixtures("storage", "quick")
def test_a_scripted_agent_explores_a_table(tmp_path, monkeypatch, capfd):
    """It looks, proposes twice, is told whether either is better, and has 48 left."""
    laboratories.declare(tmp_path, "")
    with (tmp_path / "defs" / "made" / "defs.yaml").open("a") as file:
        file.write("  evaluation: test_set\n")
    script = str(EXAMPLES / "agent_session.py")
    monkeypatch.setattr("sys.argv", [script, "made"])
    runpy.run_path(script, run_name="__main__")
    printed = capfd.readouterr().out
    assert '"validation": 129' in printed
    assert printed.count("->") == 2
    assert "'explorations': 48" in printed


@pytest.mark.usefixtures("storage", "quick")
def test_what_the_skill_tells_agents_runs(tmp_path):
    """Its Python, then its commands on the experiment that the Python made."""
    skill = (DOCS / "agents" / "SKILL.md").read_text(encoding="utf-8")
    (python,) = re.findall(r"```python\n(.*?)```", skill, re.DOTALL)
    (commands,) = re.findall(r"```bash\n(.*?)```", skill, re.DOTALL)
    generator = np.random.default_rng(0)
    tenure, age = generator.normal(size=(2, 600)).round(3)
    churned = np.where(tenure + generator.normal(size=600) > 0, "yes", "no")
    table = pd.DataFrame({"tenure": tenure, "age": age, "churned": churned})
    table.to_csv("churn.csv", index=False)
    assert "seconds=20" in python
    names: dict[str, Any] = {}
    exec(python.replace("seconds=20", "search='linear'"), names)
    assert "not yet evaluated: .evaluate()" in repr(names["churn"])
    assert "to before: worse" in repr(names["simpler"])
    names["result"].save(tmp_path / "defs" / "churn")
    for line in commands.splitlines():
        result = command(*line.split()[1:])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)
