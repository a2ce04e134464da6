"""The UI as a user has it: `dagster dev` of a project, and a browser that notes what is
wrong.

`DagsterUi` serves and answers GraphQL, so that tests wait for states and not for
seconds; `Watched` is the page with everything that must never happen on it.
"""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from playwright.sync_api import Browser, Dialog, Page, Request, sync_playwright

from experiment_pipeline_tests.end_to_end.project import Project
from experiment_pipeline_tests.ports import free_port

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-software-rasterizer",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

RUNS = """{runsOrError{... on Runs{results{runId status assetSelection{path}}}}}"""
LAUNCH = """mutation($job: String!){launchRun(executionParams: {selector: {
  repositoryLocationName: "experiment_pipeline", repositoryName: "__repository__",
  jobName: $job}, runConfigData: {}}){__typename ... on LaunchRunSuccess{run{runId}}}}"""
TERMINATE = """mutation($run: String!){terminateRun(runId: $run,
  terminatePolicy: SAFE_TERMINATE){__typename}}"""
STATUS = """query($run: ID!){runOrError(runId: $run){... on Run{status}}}"""
LOGS = """query($run: ID!){logsForRun(runId: $run){... on EventConnection{events{
  __typename ... on MessageEvent{message} ... on ErrorEvent{error{message stack}}}}}}"""
BACKFILLS = """{partitionBackfillsOrError{... on PartitionBackfills{results{
  status assetSelection{path}}}}}"""
NODES = """{assetNodes{assetKey{path} isPartitioned
  partitionStats{numMaterialized numPartitions} assetMaterializations(limit: 1){runId}}}"""
EVENTS = """query($path: [String!]!){assetNodeOrError(assetKey: {path: $path}){... on AssetNode{
  assetMaterializations(limit: 50){runId partition metadataEntries{label
    ... on BoolMetadataEntry{boolValue} ... on IntMetadataEntry{intValue}}}}}}"""


@dataclass(frozen=True)
class Materialization:
    """One event of an asset, with those metadata that are a flag or a whole number."""

    run_id: str
    partition: str | None
    metadata: dict[str, bool | int]


class DagsterUi:
    """The command of the README, on a free port; stopped when the context ends."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output: list[str] = []

    def __enter__(self) -> Self:
        dev = ("dagster", "dev", "-w", "workspace.yaml", "-p", str(self.port))
        # An open page would else ask for all assets every two seconds.
        seldom = ("--live-data-poll-rate", "20000")
        reports = ("experiment-pipeline", "reports")
        self._process = self.project.start(*reports, *dev, *seldom)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_until(self._answers, 300, "the web server answers")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def launch(self, job: str) -> str:
        """Launch a run of a job, as the launchpad does; its id."""
        launched = self.ask(LAUNCH, job=job)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess"
        return launched["run"]["runId"]

    def terminate(self, run: str) -> None:
        """What the button of a run's page does."""
        answer = self.ask(TERMINATE, run=run)["terminateRun"]["__typename"]
        assert answer == "TerminateRunSuccess"

    def status(self, run: str) -> str:
        """The status of a run."""
        return self.ask(STATUS, run=run)["runOrError"]["status"]

    def log(self, run: str) -> list[dict[str, Any]]:
        """What a run says, in order."""
        return self.ask(LOGS, run=run)["logsForRun"]["events"]

    def wait_until(
        self,
        condition: Callable[[], bool],
        seconds: float,
        what: str,
        every: float = 2.0,
    ) -> None:
        """Return when the condition holds; fail with the server's last words."""
        deadline = time.monotonic() + seconds
        while not condition():
            alive = self._process.poll() is None
            in_time = alive and time.monotonic() < deadline
            assert in_time, (what, "".join(self.output[-40:]))
            time.sleep(every)

    def runs(self, experiment: str) -> dict[str, str]:
        """Run → its status, of the runs of an experiment."""
        found = self.ask(RUNS)["runsOrError"]["results"]
        ours = (run for run in found if _is_of(experiment, run["assetSelection"]))
        return {run["runId"]: run["status"] for run in ours}

    def wait_for_runs(self, experiment: str, count: int) -> dict[str, str]:
        """The runs of an experiment once there are so many, and all have ended."""

        def ended() -> bool:
            runs = self.runs(experiment)
            return len(runs) >= count and ENDED.issuperset(runs.values())

        self.wait_until(ended, 600, f"{count} runs of {experiment} end")
        return self.runs(experiment)

    def wait_for_backfill(self, experiment: str) -> dict[str, str]:
        """The runs of an experiment once its backfill of assets has ended."""

        def ended() -> bool:
            found = self.ask(BACKFILLS)["partitionBackfillsOrError"]["results"]
            ours = [b for b in found if _is_of(experiment, b["assetSelection"])]
            return bool(ours) and all(b["status"].startswith("COMPLETED") for b in ours)

        self.wait_until(ended, 600, f"the backfill of {experiment} ends")
        return self.runs(experiment)

    def missing(self, experiment: str) -> list[str]:
        """Stages without a materialization, or without one of some partition."""
        nodes = [
            n
            for n in self.ask(NODES)["assetNodes"]
            if n["assetKey"]["path"][0] == experiment
        ]
        assert nodes, f"no asset of {experiment}"
        return [node["assetKey"]["path"][1] for node in nodes if not _is_there(node)]

    def materializations(self, experiment: str, stage: str) -> list[Materialization]:
        """Every materialization of an asset, newest first."""
        node = self.ask(EVENTS, path=[experiment, stage])["assetNodeOrError"]
        return [
            Materialization(
                event["runId"],
                event["partition"],
                {
                    entry["label"]: entry.get("boolValue", entry.get("intValue"))
                    for entry in event["metadataEntries"]
                },
            )
            for event in node["assetMaterializations"]
        ]

    def _answers(self) -> bool:
        try:
            return bool(self.ask(NODES)["assetNodes"])
        except OSError:
            return False

    def _read(self) -> None:
        """Empty the pipe, or the server would wait for a reader."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            self.output.extend(stream)

    def kill(self) -> None:
        """Send -9 to the server, its daemon, its code server and the runs they have
        launched.
        """
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._interrupt()
        self._reader.join(10)

    def _interrupt(self) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


def _is_of(experiment: str, keys: list[dict[str, Any]] | None) -> bool:
    return bool(keys) and keys[0]["path"][0] == experiment


def _is_there(node: dict[str, Any]) -> bool:
    if not node["isPartitioned"]:
        return bool(node["assetMaterializations"])
    return (
        node["partitionStats"]["numMaterialized"]
        == node["partitionStats"]["numPartitions"]
    )


@dataclass
class Watched:
    """A page, and what must never happen on it."""

    page: Page
    url: str
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", self._requested)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", self._dialog)

    def go(self, path: str) -> Page:
        """Open a page of the UI."""
        self.page.goto(self.url + path)
        return self.page

    def rest(self) -> None:
        """Show nothing: an open page of the UI keeps server and browser busy."""
        self.page.goto("about:blank")

    def _requested(self, request: Request) -> None:
        websocket = self.url.replace("http", "ws")
        ours = (self.url, websocket, "about:", "data:", "blob:", "file:")
        if not request.url.startswith(ours):
            self.outside.append(request.url)

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@contextmanager
def watched_page(ui: DagsterUi) -> Iterator[Watched]:
    """A page of Debian's Chromium."""
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=QUIET
        )
        size = {"width": 1500, "height": 950}
        page = browser.new_page(viewport=size, reduced_motion="reduce")
        page.set_default_timeout(120_000)
        yield Watched(page, ui.url)
        browser.close()
