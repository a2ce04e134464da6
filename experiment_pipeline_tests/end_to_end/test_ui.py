"""Dagster's pages in a real browser: the buttons of the README, and what a user then sees."""

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from experiment_pipeline.tracking.database.connection import FILE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.end_to_end.browser import DagsterUi, watched_page
from experiment_pipeline_tests.end_to_end.project import Project

pytestmark = pytest.mark.slow

expect.set_options(timeout=30_000)  # a busy machine is no broken page

BY_JOB, BY_GRAPH = "clinic", "graph"  # by its job; by the asset graph
STRICT = "strict"  # by a command; nothing is good enough for it
KEY = "lightgbm__num_leaves=7"
LINEAR = {"algorithm": "linear"}
AUTOMATIONS = ("schedule", "new_data")
TWO = [LINEAR, {"algorithm": "dummy"}]


@pytest.fixture(scope="module")
def ui(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    scenario.write_csv(project.folder / "visits.csv")
    for name, search in ((BY_JOB, scenario.SEARCH), (BY_GRAPH, TWO)):
        project.add_experiment(name, scenario.spec_mapping(search=search), scenario.SCHEMA)
    gate = [{"metric": "roc_auc", "at_least": 0.999}]
    strict = scenario.spec_mapping(search=[LINEAR], acceptance=gate)
    project.add_experiment(STRICT, strict, scenario.SCHEMA)
    with DagsterUi(project) as ui:
        yield ui


@pytest.fixture(scope="module")
def browser(ui):
    with watched_page(ui) as watched:
        yield watched


@pytest.fixture(scope="module")
def launched(browser):
    """Every 'Materialize all' is pressed at once: Dagster looks at backfills every 30 seconds, and
    what the command line runs goes meanwhile.
    """
    materialize_all(browser.go(f"/locations/experiment_pipeline/jobs/{BY_JOB}"), 4)
    materialize_all(browser.go(graph_of(BY_GRAPH)), 2)


@pytest.fixture(scope="module")
def done(ui, launched):
    """The run of the job is over."""
    return ui.wait_for_runs(BY_JOB, 1)


def graph_of(experiment):
    return f"/locations/experiment_pipeline/asset-groups/{experiment}"


def materialize_all(page, partitions):
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    choose(dialog, "All", f"Partition selection{partitions} partition")
    launch(dialog)


def choose(dialog: Locator, button: str, said: str):
    """Press until it is heard: the dialog ignores a click while it still loads partitions."""
    for _ in range(20):
        dialog.get_by_role("button", name=button, exact=True).click()
        with suppress(AssertionError):
            expect(dialog).to_contain_text(said, timeout=2_000)
            return
    expect(dialog).to_contain_text(said)


def launch(dialog: Locator):
    dialog.get_by_role("button", name=re.compile("^Launch")).last.click()
    expect(dialog).to_be_hidden()


def picture(page, name):
    """Keep what the page looks like, for people, when the environment asks for it."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")


def metadata_of(browser, stage, experiment=BY_JOB):
    """The overview of an asset, with its metadata loaded."""
    page = browser.go(f"/assets/{experiment}/{stage}")
    expect(page.get_by_placeholder("Filter metadata keys")).to_be_visible()
    return page


def test_schedule_and_sensor_are_listed_and_stopped(ui, browser):
    """Nothing runs by itself before somebody starts it."""
    experiments = (BY_JOB, BY_GRAPH, STRICT)
    names = {f"{name}_{what}" for name in experiments for what in AUTOMATIONS}
    assert ui.automation() == dict.fromkeys(names, "STOPPED")
    page = browser.go("/automation")
    for name in names:
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    picture(page, "automation")


def test_the_page_of_a_failed_run_ends_with_what_to_do(ui, browser, launched):
    """A run of the command line is on its job's page, with its decision as a tag; gate, value, advice
    and the report stand in its last event, without a stack of Dagster's.
    """
    assert ui.project.execute(STRICT).returncode == 1
    ((run_id, tags),) = ui.history(STRICT).items()
    assert tags.items() >= {"experiment": STRICT, "decision": "rejected"}.items()
    page = browser.go(f"/locations/experiment_pipeline/jobs/{STRICT}/runs")
    expect(page.get_by_text(run_id[:8]).first).to_be_visible()
    picture(page, "history")
    browser.page.set_viewport_size({"width": 1500, "height": 1300})
    page = browser.go(f"/runs/{run_id}")
    last = page.get_by_text("Execution of run for").last
    expect(last).to_be_visible()
    told = page.get_by_text("NotAccepted: linear: lower bound of roc_auc at least 0.999").last
    expect(told).to_contain_text("page: /")
    expect(told).not_to_contain_text("Stack Trace")
    picture(page, "failed_run")
    metadata_of(browser, "validation_report", STRICT)
    expect(page.get_by_text("not accepted", exact=True).first).to_be_in_viewport(ratio=1)
    picture(page, "not_accepted")


def test_materialize_all_of_the_job_is_one_run(ui, done):
    """Every asset and every configuration in a single run, which a person started."""
    (run,) = done
    assert run.status == "SUCCESS"
    with closing(sqlite3.connect(ui.project.folder / ".dagster_home" / FILE)) as database:
        query = "SELECT triggered_by FROM runs WHERE experiment = ?"
        assert database.execute(query, [BY_JOB]).fetchall() == [("person",)]
    assert ui.missing(BY_JOB) == []
    events = ui.materializations(BY_JOB, "trained_model")
    assert [event.run_id for event in events] == [run.id] * 4


def test_one_configuration_from_its_asset_page(ui, browser, done):
    """One partition is one run of `trained_model` alone, and reuses what is stored."""
    page = browser.go(f"/assets/{BY_JOB}/trained_model")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    choose(dialog, "Custom", "4 partitions")
    tags = dialog.locator("[data-tooltip]")
    for key in [tag.get_attribute("data-tooltip") for tag in tags.all()]:
        if key != KEY:
            dialog.locator(f'[data-tooltip="{key}"] [aria-label=close]').click()
    expect(dialog).to_contain_text("1 partition")
    launch(dialog)
    newest, *_ = ui.wait_for_runs(BY_JOB, 2)
    assert newest.status == "SUCCESS"
    assert newest.stages == {"trained_model"}
    assert newest.tags["dagster/partition"] == KEY
    (event,) = [e for e in ui.materializations(BY_JOB, "trained_model") if e.run_id == newest.id]
    assert event.partition == KEY
    assert event.metadata["reused"] is True


def test_a_partition_shows_hyperparameters_score_and_cost(browser, done):
    """What was tried, how good it was, what it cost: on one page, in this order."""
    page = browser.go(f"/assets/{BY_JOB}/trained_model?view=partitions&partition={KEY}")
    for label in ("status", "hyperparameters", "test roc_auc", "CPU seconds to fit", "cost"):
        expect(page.get_by_text(label, exact=True)).to_be_visible()
    expect(page.get_by_text("trained on all train rows", exact=True)).to_be_visible()
    expect(page.get_by_text("num_leaves 7", exact=False).first).to_be_visible()
    picture(page, "partition")


def test_the_leaderboard_shows_its_table(browser, done):
    """Every configuration has its row; rank, score and interval are on the screen as it opens."""
    browser.page.set_viewport_size({"width": 1500, "height": 1300})
    page = metadata_of(browser, "leaderboard")
    table = page.locator("table").filter(has=page.get_by_text("95 % interval", exact=True))
    interval = table.last.get_by_text(re.compile(r"^0\.\d{4}\sto\s0\.\d{4}$")).first
    expect(interval).to_be_in_viewport(ratio=1)
    for key in ("linear", "dummy", "lightgbm__num_leaves=3", KEY):
        expect(table.last.get_by_text(key, exact=True).first).to_be_visible()
    picture(page, "leaderboard")


def test_materialize_all_of_the_asset_graph_trains_once(ui, browser, launched):
    """One run, or a second for `trained_model` when Dagster looks while the first is training.

    The search reports every configuration itself, so the backfill finds its partitions filled.
    """
    runs = ui.wait_for_backfill(BY_GRAPH)
    assert [run.status for run in runs] in (["SUCCESS"], ["SUCCESS"] * 2)
    assert ui.missing(BY_GRAPH) == []
    trained = ui.materializations(BY_GRAPH, "trained_model")
    assert sorted(e.partition for e in trained if not e.metadata["reused"]) == ["dummy", "linear"]
    # Dagster draws the state of an asset only where the whole graph has room for it.
    browser.page.set_viewport_size({"width": 2600, "height": 1300})
    page = browser.go(graph_of(BY_GRAPH))
    expect(page.get_by_text("100% filled").first).to_be_visible()
    picture(page, "graph")


def test_names_from_the_table_never_run_as_scripts(ui, browser, done):
    """A column called <script> is text in every page and report; nothing leaves the machine."""
    for stage in ("raw_data", "validated_data", "rejected_rows", "train_set", "data_analysis"):
        expect(metadata_of(browser, stage).get_by_text("Metadata").first).to_be_visible()
    page = browser.go(f"/assets/{BY_JOB}/raw_data")
    expect(page.get_by_text(scenario.MARKUP).first).to_be_visible()
    for stage, entry in (("data_analysis", "findings"), ("validation_report", "judgement")):
        metadata_of(browser, stage).get_by_role("row").filter(
            has=browser.page.get_by_text(entry, exact=True)
        ).get_by_text("Show Markdown").click()
        expect(browser.page.get_by_role("dialog")).to_be_visible()
        picture(browser.page, f"{stage}_{entry}")
    reports = list((ui.project.folder / "artifacts" / BY_JOB).rglob("*.html"))
    assert len(reports) >= 3
    for report in reports:
        browser.page.goto(report.as_uri())
    assert browser.dialogs == []
    assert browser.errors == []
    assert browser.outside == []
