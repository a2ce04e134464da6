"""Dagster as a user has it, started once: its pages in a real browser with the buttons
of the README, the command of the workflow for CI, a run that was killed before it
started, and one that is cancelled.
"""

import json
import re
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import expect

from experiment_pipeline.tracking.database.connection import FILE, VARIABLE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.end_to_end.browser import DagsterUi, watched_page
from experiment_pipeline_tests.end_to_end.project import Project
from experiment_pipeline_tests.orchestration.test_executor import (
    killed_process,
    started_run,
)

pytestmark = pytest.mark.slow

expect.set_options(timeout=120_000)  # a busy machine is no broken page

CLINIC = "clinic"  # by the asset graph, by its job, by a command
STRICT = "strict"  # by a command; nothing is good enough for it
KEY = "lightgbm__num_leaves=7"
LINEAR = {"algorithm": "linear"}
CANCELLED, FITS = "cancelled", 5
CUT_SHORT = (
    rf"the search was cancelled after (\d+) of {FITS + 1} configurations; "
    "the next run reuses what is stored"
)
# All fits but the first two of the run that is cancelled wait.
MODULE = "waiting"
WAITING_CODE = """\
import pathlib, time

from sklearn.linear_model import LogisticRegression

GO_ON = pathlib.Path(__file__).with_name("go_on")

class Waits(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        while self.C > 2 and not GO_ON.exists():
            time.sleep(0.1)
        return super().fit(X, y, sample_weight)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    (project.folder / f"{MODULE}.py").write_text(WAITING_CODE)
    settings = (project.folder / "dagster.yaml").read_text()
    quick = settings.replace("poll_interval_seconds: 30", "poll_interval_seconds: 4")
    # One run that is killed fills the queue, as two would.
    quick = quick.replace("max_concurrent_runs: 2", "max_concurrent_runs: 1")
    assert len(quick) == len(settings) - 1
    (project.folder / "dagster.yaml").write_text(quick)
    project.leave_out_the_fresh_process()
    scenario.write_csv(project.folder / "visits.csv")
    gate = [{"metric": "roc_auc", "at_least": 0.999}]
    waits = {
        "algorithm": f"{MODULE}.Waits",
        "hyperparameters": {"C": [float(one) for one in range(1, FITS + 1)]},
    }
    for name, changed in {
        CLINIC: {},
        STRICT: {"search": [LINEAR], "acceptance": gate},
        CANCELLED: {"search": [LINEAR, waits], "workers": 2},
    }.items():
        project.add_experiment(name, scenario.spec_mapping(**changed), scenario.SCHEMA)
    return project


@pytest.fixture(scope="module")
def killed(project):
    """The id of a run that fills the queue, and whose process was killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        with dg.DagsterInstance.from_config(str(project.folder)) as instance:
            return started_run(instance, killed_process()).run_id


@pytest.fixture(scope="module")
def ui(project, killed):
    with DagsterUi(project) as ui:
        yield ui


@pytest.fixture(scope="module")
def browser(ui):
    with watched_page(ui) as watched:
        yield watched


@pytest.fixture(autouse=True)
def resting(browser):
    """No page stays open while something else is waited for."""
    yield
    browser.rest()


@pytest.fixture(scope="module")
def launched(browser):
    """Dagster looks at backfills every 30 seconds, and what the command line runs goes
    meanwhile.
    """
    materialize_all(browser.go(graph_of(CLINIC)), 4)
    browser.rest()


@pytest.fixture(scope="module")
def trained(ui, launched):
    """The runs of the asset graph are over."""
    return ui.wait_for_backfill(CLINIC)


@pytest.fixture(scope="module")
def done(ui, browser, trained):
    """The run of the job is over, after those of the asset graph; its id and status."""
    materialize_all(browser.go(f"/locations/experiment_pipeline/jobs/{CLINIC}"), 4)
    browser.rest()
    return set(ui.wait_for_runs(CLINIC, len(trained) + 1).items()) - set(
        trained.items()
    )


@pytest.fixture(scope="module")
def rerun(project, done):
    """The run of the job once more, by the workflow for CI; it tells what it imports."""
    project.env["TELL_MODULES"] = "1"
    try:
        return project.ci(CLINIC)
    finally:
        del project.env["TELL_MODULES"]


def recorded(project, *columns: str) -> list[tuple[str, ...]]:
    """These columns of every run in the metadata database."""
    with closing(sqlite3.connect(project.folder / ".dagster_home" / FILE)) as database:
        return database.execute(f"SELECT {', '.join(columns)} FROM runs").fetchall()


def graph_of(experiment):
    return f"/locations/experiment_pipeline/asset-groups/{experiment}"


def materialize_all(page, partitions):
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    said = f"Partition selection{partitions} partition"
    for _ in range(20):  # the dialog ignores a click while it still loads partitions
        dialog.get_by_role("button", name="All", exact=True).click()
        with suppress(AssertionError):
            expect(dialog).to_contain_text(said, timeout=2_000)
            break
    expect(dialog).to_contain_text(said)
    dialog.get_by_role("button", name=re.compile("^Launch")).last.click()
    expect(dialog).to_be_hidden()


def metadata_of(browser, stage, experiment=CLINIC):
    """The overview of an asset, with its metadata loaded."""
    page = browser.go(f"/assets/{experiment}/{stage}")
    expect(page.get_by_placeholder("Filter metadata keys")).to_be_visible()
    return page


@pytest.fixture(scope="module")
def midway(ui, killed):
    """A run that was launched while the queue was full: some of its configurations are
    stored, the others fit or wait.
    """
    run = ui.launch(CANCELLED)
    ui.wait_until(lambda: len(stored(ui)) >= 2, 600, "some are stored", 0.3)
    return run


def stored(ui) -> set[str | None]:
    """The configurations of the run to cancel that are trained."""
    return {
        event.partition for event in ui.materializations(CANCELLED, "trained_model")
    }


def test_a_killed_run_frees_its_place(ui, killed, midway):
    """A killed run fills the queue; it fails, and says that its process has gone; the
    next run starts.
    """
    assert ui.status(killed) == "FAILURE"
    (said,) = [e for e in ui.log(killed) if e["__typename"] == "RunFailureEvent"]
    assert "is gone; it was killed" in said["message"]
    assert recorded(ui.project, "experiment", "status") == [(CANCELLED, "running")]


def test_cancelling_takes_back_what_waits_and_loses_nothing(ui, project, midway):
    """The run ends with a sentence on how far it came; what was trained is stored."""
    ui.terminate(midway)
    time.sleep(5)  # until the interruption has arrived: what fits ends by itself
    (project.folder / "go_on").touch()
    ui.wait_until(lambda: ui.status(midway) == "CANCELED", 300, "the run has ended")
    done = stored(ui)
    assert len(done) < FITS + 1
    errors = [event["error"] for event in ui.log(midway) if event.get("error")]
    counted = {re.search(CUT_SHORT, error["message"])[1] for error in errors}
    assert counted == {str(len(done))}
    # A run reuses what is stored whole: that is told by the result, which comes last.
    results = project.folder.rglob(f"{CANCELLED}/trained_model/*/result.json")
    assert len([*results]) == len(done)


def test_the_page_of_a_failed_run_ends_with_what_to_do(ui, browser, launched):
    """Exit code 1; gate, value, next search and pages stand last, in CI and on the
    job's page.
    """
    refused = ui.project.ci(STRICT)
    assert refused.done.returncode == 1
    assert "lower bound of roc_auc at least 0.999" in refused.done.stdout
    assert "Traceback" not in refused.done.stdout
    block = refused.done.stdout.partition("FAILED\n\n")[2]
    assert block.count("\n") < 10
    (proposed,) = re.findall(r"in (/\S+next_search\S*yaml)", block)
    assert "algorithm: " in Path(proposed).read_text()
    pages = [Path(page) for page in re.findall(r"page: (/\S+)", block)]
    assert pages[0].name == "validation_report.html"
    assert [page.exists() for page in pages] == [True, True]
    assert not ui.project.registry(STRICT).exists()
    assert (
        json.loads((refused.reports / "run.json").read_text())["status"] == "rejected"
    )
    record = (refused.reports / "decision_record.md").read_text()
    assert "Not accepted: 1 of " in record
    assert refused.summary.read_text() == record
    run_id = dict(recorded(ui.project, "experiment", "run_id"))[STRICT]
    page = browser.go(f"/locations/experiment_pipeline/jobs/{STRICT}/runs")
    expect(page.get_by_text(run_id[:8]).first).to_be_visible()
    browser.page.set_viewport_size({"width": 1500, "height": 1300})
    page = browser.go(f"/runs/{run_id}")
    expect(page.get_by_text("Execution of run for").last).to_be_visible()
    told = page.get_by_text(
        "NotAccepted: linear: lower bound of roc_auc at least 0.999"
    ).last
    expect(told).to_contain_text("page: /")
    expect(told).not_to_contain_text("Stack Trace")
    metadata_of(browser, "validation_report", STRICT)
    outcome = page.get_by_text(f"{STRICT} not accepted", exact=True)
    expect(outcome.first).to_be_in_viewport(ratio=1)


def test_materialize_all_of_the_asset_graph_trains_once(ui, browser, trained):
    """One run, or a second that finds its partitions filled: the search reports every
    one itself.
    """
    assert [*trained.values()] in (["SUCCESS"], ["SUCCESS"] * 2)
    assert ui.missing(CLINIC) == []
    events = ui.materializations(CLINIC, "trained_model")
    made = sorted(event.partition for event in events if not event.metadata["reused"])
    assert made == ["dummy", "lightgbm__num_leaves=3", KEY, "linear"]
    # Dagster draws the state of an asset only where the whole graph has room for it.
    browser.page.set_viewport_size({"width": 2600, "height": 1300})
    page = browser.go(graph_of(CLINIC))
    expect(page.get_by_text("100% filled").first).to_be_visible()


def test_materialize_all_of_the_job_is_one_run(ui, done):
    """Every asset and every configuration in a single run, which a person started."""
    ((run, status),) = done
    assert status == "SUCCESS"
    assert (CLINIC, "person") in recorded(ui.project, "experiment", "triggered_by")
    for stage, count in (("raw_data", 1), ("trained_model", 4), ("exported_model", 1)):
        events = ui.materializations(CLINIC, stage)
        assert [event.run_id for event in events[:count]] == [run] * count


def test_the_leaderboard_shows_its_table(browser, done):
    """Every configuration has its row; rank, score and interval are on the screen as it
    opens.
    """
    browser.page.set_viewport_size({"width": 1500, "height": 1300})
    page = metadata_of(browser, "leaderboard")
    table = page.locator("table").filter(
        has=page.get_by_role("columnheader", name="vs best", exact=True)
    )
    score = re.compile(r"^0\.\d{4} \(0\.\d{4}\sto\s0\.\d{4}\)$")
    expect(table.last.get_by_text(score).first).to_be_in_viewport(ratio=1)
    for key in ("linear", "dummy", "lightgbm__num_leaves=3", KEY):
        expect(table.last.get_by_text(key, exact=True).first).to_be_visible()


def test_a_rerun_passes_in_ci_with_its_pages_and_reuses_everything(project, rerun):
    """Outcome, report and record are in the folder and the summary; nothing is trained,
    judged or published twice, and nothing imported for it.
    """
    told = rerun.done.stdout
    assert rerun.done.returncode == 0, told
    imported = set(re.findall(r"^imported: (.*)", told, re.MULTILINE)[0].split())
    # The estimator of the run to cancel brings linear models, and no pipeline.
    assert not imported & {"sklearn.pipeline", "lightgbm", "matplotlib", "skops"}
    assert {"pandas", "jinja2"} <= imported, (
        "every run makes the pages of the memory anew"
    )
    assert "reused 4 of 4 configurations" in told
    assert "data_analysis: reused the result of the same inputs" in told
    assert "validation_report: reused the result of the same inputs" in told
    assert f"v0001 is already the champion: {project.registry(CLINIC)}/v0001" in told
    looks = project.folder / "artifacts" / CLINIC / "validation_looks"
    assert len(list(looks.iterdir())) == 1
    run = json.loads((rerun.reports / "run.json").read_text())
    assert (run["status"], run["version"]) == ("accepted", "v0001")
    record = (rerun.reports / "decision_record.md").read_text()
    assert "Accepted with conditions (repeated_entities): " in record
    assert rerun.summary.read_text() == record
    for page in ("validation_report", "leaderboard", "data_analysis", "index"):
        assert (rerun.reports / f"{page}.html").stat().st_size > 1_000


def test_all_runs_are_remembered_beside_what_dagster_stores(
    project, rerun, monkeypatch
):
    """Without any set-up there is a database of runs, which the command lists and
    compares.
    """
    assert (project.folder / ".dagster_home" / FILE).exists()
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv(VARIABLE)
    told = json.loads(command("runs", CLINIC, "--json").stdout)
    # Dagster may start a second run for partitions that are filled already.
    runs = [run for run in told if run["status"] != "partial"]
    assert {run["status"] for run in runs} == {"accepted"}
    assert [run["version_is_new"] for run in runs] == [False, False, True]
    assert [run["reused"] for run in runs[:2]] == [4, 4]
    triggers = [run["triggered_by"] for run in runs]
    assert triggers == ["command line", "person", "person"]
    last, before, _ = [run["run_id"] for run in runs]
    told = command("compare", before, last[:8]).output
    assert "nothing has changed" in told
    assert "no difference" in told
    assert "not paired" not in told
    overview = project.folder / "artifacts" / "overview.html"
    assert CLINIC in overview.read_text()
    page = overview.parent / CLINIC / "runs.html"
    assert page.read_text().count("accepted") >= 3


def test_names_from_the_table_never_run_as_scripts(ui, browser, done):
    """A column called <script> is text in every page and report; nothing leaves the
    machine.
    """
    for stage in ("rejected_rows", "train_set"):
        expect(
            metadata_of(browser, stage).get_by_text("Metadata").first
        ).to_be_visible()
    page = browser.go(f"/assets/{CLINIC}/raw_data")
    expect(page.get_by_text(scenario.MARKUP).first).to_be_visible()
    for stage, entry in (
        ("data_analysis", "findings"),
        ("validation_report", "judgement"),
    ):
        rows = metadata_of(browser, stage).get_by_role("row")
        row = rows.filter(has=browser.page.get_by_text(entry, exact=True)).first
        expect(row).to_be_visible()
        # Dagster shows a short text in the row, and a long one in a dialog.
        button = row.get_by_text("Show Markdown")
        if button.count():
            button.click()
            expect(browser.page.get_by_role("dialog")).to_be_visible()
    reports = list((ui.project.folder / "artifacts" / CLINIC).rglob("*.html"))
    assert len(reports) >= 3
    for report in reports:
        browser.page.goto(report.as_uri())
    assert (browser.dialogs, browser.errors) == ([], [])
    assert browser.outside == []
