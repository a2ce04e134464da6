"""The commands of the README, on the small awkward table, as subprocesses."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiment_pipeline.storage.database.connection import FILE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    scenario.write_csv(project.folder / "visits.csv")
    subprocess.run(["git", "init", "--bare", "-q", "models.git"], cwd=project.folder, check=True)
    mapping = scenario.spec_mapping(export={"repository": str(project.folder / "models.git")})
    project.add_experiment("clinic", mapping, scenario.SCHEMA)
    return project


@pytest.fixture(scope="module")
def first_run(project):
    return project.execute("clinic")


@pytest.fixture(scope="module")
def rerun(project, first_run):
    """The same command once more, beside a broken experiment; it tells what it imports."""
    broken = project.add_experiment("broken", {"target": "late"}, scenario.SCHEMA)
    project.env["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        return project.execute("clinic")
    finally:
        del project.env["PYTHONPROFILEIMPORTTIME"]
        shutil.rmtree(broken.parent)


def registry(project, name="clinic"):
    return project.folder / "artifacts" / name / "registry"


def test_the_job_ends_with_the_report_and_the_exported_model(project, first_run):
    """One command takes the table to an exported model, and says where it is."""
    assert first_run.returncode == 0, first_run.stdout
    assert f"v0001 published: {registry(project)}/v0001" in first_run.stdout
    assert "report: " in first_run.stdout
    assert (registry(project) / "v0001" / "model.skops").exists()


def test_the_version_is_committed_and_tagged_in_the_named_repository(project, first_run):
    """The company's repository holds the hyperparameters, metrics and card of the version."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "clinic/v0001"],
        cwd=project.folder / "models.git",
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in ("hyperparameters.yaml", "metrics.json", "README.md", "experiment.yaml"):
        assert f"models/clinic/{name}" in listed


def test_every_row_is_validated_or_rejected_with_its_reason(project, first_run):
    """The ten broken rows are rejected, the others kept."""
    from upath import UPath

    from experiment_pipeline.storage.tables import read_table
    from experiment_pipeline_tests.runs import table_path

    root = UPath(project.folder / "artifacts")
    rejected = read_table(table_path(root, "clinic", "rejected_rows"))
    validated = read_table(table_path(root, "clinic", "validated_data"))
    assert set(rejected.index) == set(scenario.BROKEN_ROWS)
    assert len(validated) + len(rejected) == scenario.ROWS
    for row, (_, _, reason) in scenario.BROKEN_ROWS.items():
        assert reason in rejected.loc[row, "rejection_reasons"]


def test_a_rerun_on_unchanged_data_reuses_everything(project, rerun):
    """Nothing is trained, judged or published twice; the run says so, and imports nothing for it."""
    imported = set(re.findall(r"^import time:.*\| +(\w+)$", rerun.stdout, re.MULTILINE))
    assert not imported & {"sklearn", "lightgbm", "matplotlib", "skops", "skrub"}
    assert {"pandas", "jinja2"} <= imported, "every run makes the pages of the memory anew"
    assert rerun.returncode == 0
    assert "reused 4 of 4 configurations" in rerun.stdout
    assert "reused the analysis of the same table" in rerun.stdout
    assert "reused the report of the same model on the same rows" in rerun.stdout
    assert "v0001 is the champion already" in rerun.stdout
    assert len(list((project.folder / "artifacts/clinic/validation_looks").iterdir())) == 1


def test_both_runs_are_remembered_beside_what_dagster_stores(project, first_run, rerun):
    """Without any set-up there is a database of runs, which the command lists and compares."""
    assert (project.folder / ".dagster_home" / FILE).exists()
    listed = project.run("experiment-pipeline", "runs", "clinic", "--json")
    second, first = json.loads(listed.stdout)
    assert (first["status"], first["version_is_new"]) == ("accepted", True)
    assert (second["status"], second["version_is_new"]) == ("accepted", False)
    assert (first["reused"], second["reused"]) == (0, 4)
    assert first["triggered_by"] == "command line"
    told = project.run("experiment-pipeline", "compare", first["run_id"], second["run_id"][:8])
    assert "nothing that decides has changed" in told.stdout
    assert "no difference" in told.stdout
    assert "not paired" not in told.stdout
    overview = project.folder / "artifacts" / "overview.html"
    assert "clinic" in overview.read_text()


def test_a_broken_neighbour_stops_no_other_experiment(rerun):
    """Its error is in the log, and the job of the one that is sound runs to its end."""
    assert rerun.returncode == 0, rerun.stdout
    assert rerun.stdout.count("broken is left out: ") == 1
    assert "broken/defs.yaml:2: data: is missing" in rerun.stdout


def test_the_exported_model_predicts_rows_as_delivered(project, first_run, tmp_path):
    """`predict` prepares raw rows itself, and says which it rejects."""
    done = project.run(
        "experiment-pipeline",
        "predict",
        str(registry(project) / "v0001"),
        "visits.csv",
        "--output",
        str(tmp_path / "predictions.csv"),
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "predictions.csv").read_text().count("\n") > 400


def test_a_gate_that_fails_ends_the_run_and_says_what_to_try(project, first_run):
    """Exit code 1; the gate, its value, the next search and the pages stand in one block, last."""
    criteria = [{"metric": "roc_auc", "at_least": 0.999}]
    project.add_experiment("strict", scenario.spec_mapping(acceptance=criteria), scenario.SCHEMA)
    done = project.execute("strict")
    assert done.returncode == 1
    assert "lower bound of roc_auc at least 0.999" in done.stdout
    assert "Traceback" not in done.stdout
    told = done.stdout.partition("FAILED\n\n")[2]
    assert told.count("\n") < 10
    (proposed,) = re.findall(r"in (/\S+next_search\S*yaml)", told)
    assert "algorithm: " in Path(proposed).read_text()
    pages = re.findall(r"page: (/\S+)", told)
    assert Path(pages[0]).name.startswith("report")
    assert all(Path(page).exists() for page in pages)
    assert len(pages) == 2
    assert not registry(project, "strict").exists()


def test_a_mistake_in_the_yaml_is_one_line_with_file_line_and_suggestion(project, tmp_path):
    """No stack; the misspelt key is named with its line and what was meant."""
    other = Project(tmp_path / "typo")
    mapping = scenario.spec_mapping()
    mapping["metrik"] = mapping.pop("metric")
    path = other.add_experiment("clinic", mapping, scenario.SCHEMA)
    done = other.execute("clinic")
    assert done.returncode == 1
    line = next(n for n, t in enumerate(path.read_text().splitlines(), 1) if "metrik" in t)
    assert f"defs.yaml:{line}" in done.stdout
    assert "did you mean 'metric'" in done.stdout
    assert "Traceback" not in done.stdout
    assert len(done.stdout.splitlines()) < 20


def test_two_runs_at_once_end_in_right_results_or_one_clear_error(project, first_run):
    """Neither mixes the other's sets with its own; the registry gets one version."""
    project.add_experiment("twice", scenario.spec_mapping(), scenario.SCHEMA)
    both = [project.start(*project.execute_command("twice")) for _ in range(2)]
    told = [process.communicate(timeout=200)[0] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes, told
    for code, text in zip(codes, told, strict=True):
        assert code == 0 or "fix:" in text, text
    versions = [path.name for path in registry(project, "twice").glob("v*/manifest.json")]
    assert len(versions) == 1


def test_a_kill_in_training_loses_nothing_that_was_finished(tmp_path):
    """After kill -9 at the second rung only what is missing is trained, as in a quiet run."""
    search = [
        {"algorithm": "dummy"},
        {
            "algorithm": "lightgbm",
            "hyperparameters": {
                "learning_rate": [round(0.01 * k, 2) for k in range(1, 11)],
                "n_estimators": 400,
                "early_stopping_round": 0,
                "min_child_samples": 3,
            },
        },
    ]
    halving = {"fractions": [0.4, 1.0], "keep": 0.5, "fewest_rows": 500}
    killed, quiet = Project(tmp_path / "killed"), Project(tmp_path / "quiet")
    for one in (killed, quiet):
        scenario.write_csv(one.folder / "visits.csv", scenario.long_table())
        mapping = scenario.spec_mapping(search=search, halving=halving, workers=1)
        one.add_experiment("clinic", mapping, scenario.SCHEMA)
    process = killed.start(*killed.execute_command("clinic"))
    models = killed.folder / "artifacts/clinic/trained_model"
    deadline = time.monotonic() + 120
    while len(list(models.glob("*/result.json"))) < 11 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finished = models_of(killed)
    assert 11 <= len(finished) < 16
    again = killed.execute("clinic")
    assert again.returncode == 0, again.stdout
    assert "rung 1 of 2 (40 % of the train rows): 10 configurations, 10 reused" in again.stdout
    in_full = f"6 configurations, {len(finished) - 10} reused"
    assert f"rung 2 of 2 (100 % of the train rows): {in_full}" in again.stdout
    assert quiet.execute("clinic").returncode == 0
    assert models_of(quiet) == models_of(killed)
    assert finished.items() <= models_of(killed).items()


def models_of(project):
    """Fingerprint → digest of the stored model."""
    folder = project.folder / "artifacts/clinic/trained_model"
    return {
        path.parent.name: next(
            file["sha256"]
            for name, file in json.loads(path.read_text())["files"].items()
            if name.startswith("model.")
        )
        for path in folder.glob("*/result.json")
    }
