"""The laboratory over the real protocol: the official client, stdio and HTTP."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
import pytest
from anyio.abc import Process
from anyio.to_thread import run_sync
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from experiment_pipeline.lab import page
from experiment_pipeline.lab.laboratory import Laboratory
from experiment_pipeline.lab.server import TOKEN_VARIABLE, LaboratoryServer
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline_tests.lab import laboratories
from experiment_pipeline_tests.lab.laboratories import records
from experiment_pipeline_tests.ports import free_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("storage", "quick")]
COMMAND = str(Path(sys.executable).with_name("experiment-pipeline"))
TOOLS = {
    *("describe", "findings", "propose", "explore", "leaderboard", "compare"),
    *("budget", "history", "request_opening"),
}
READ_ONLY = TOOLS - {"propose", "explore", "request_opening"}
TOKEN = {"Authorization": "Bearer let-me-in"}
LINEAR = {"exclude": ["noise"]}
# Each takes seconds.
ENDLESS = {
    "search": [
        {
            "algorithm": "lightgbm",
            "hyperparameters": {
                "num_leaves": [*range(20, 60)],
                "n_estimators": 20_000,
                "learning_rate": 0.001,
            },
        }
    ]
}
# Changes that no agent may make.
REFUSED = [
    {},
    {"data": "/etc/passwd"},
    {"serch": "linear"},
    {"exclude": ["no such column"]},
    {"exclude": ["x" * 100_000]},
    {"search": [{"algorithm": "os.system"}]},
    {"search": [{"algorithm": "linear", "hyperparameters": {"random_state": 7}}]},
    {"features": "{{ env.HOME }}"},
    {"search": [{"algorithm": "linear", "hyperparameters": {"C": [*range(400)]}}]},
]


class Agent:
    """A client that fails where a tool does."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.progress: list[float] = []

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; ValueError: what it refused with."""
        result = await self._client.call_tool(
            tool, arguments, progress_callback=self._heard
        )
        if result.is_error:
            raise ValueError(result.content[0].text)
        return result.structured_content

    async def tried(self, change: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Propose and explore a change."""
        proposal = (await self.call("propose", change=change, reason="why not"))[
            "proposal"
        ]
        return await self.call("explore", proposal=proposal, **more)

    async def _heard(self, done: float, total: float | None, _: str | None) -> None:
        assert total is not None
        self.progress.append(done / total)


def workers() -> list[psutil.Process]:
    """The processes that explore for a laboratory of this test; none that has ended."""
    exploring = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "experiment_pipeline.lab.worker" in process.cmdline():
                exploring.append(process)
    return exploring


def have_ended(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs; nobody may have asked for their end yet."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def cancelled() -> list[str]:
    """What is recorded of explorations that were stopped."""
    tried = records().history().tried
    return [event.words for event in tried if event.kind == "stopped"]


def test_an_agent_works_over_stdio(tmp_path, monkeypatch):
    """Every tool answers; a refusal is an error of the tool; an exploration reports
    progress, can be cancelled, and ends with its client.
    """
    laboratories.declare(tmp_path, "explorations: 5, seconds: 300")
    servers: list[Process] = []
    at_work: list[psutil.Process] = []
    open_process = anyio.open_process

    async def noted(*arguments: Any, **options: Any) -> Process:
        servers.append(await open_process(*arguments, **options))
        return servers[-1]

    monkeypatch.setattr(anyio, "open_process", noted)
    parameters = StdioServerParameters(
        command=COMMAND, args=["lab", "made", "--agent", "scripted"], env={**os.environ}
    )

    async def session() -> None:
        async with Client(stdio_client(parameters)) as client:
            await _each_tool(client)
            agent = Agent(client)
            with anyio.move_on_after(3):
                await agent.tried(ENDLESS, seconds=60)
            await anyio.sleep(1)
            left = await agent.call("budget")
            assert left["explorations"] == 3
            assert left["seconds"] > 200
            assert have_ended(workers())
            async with anyio.create_task_group() as group:
                group.start_soon(_until_the_end, agent)
                await run_sync(wait_until, workers, 60)
                at_work.extend(workers())
                await servers[0].stdin.aclose()  # as that of a killed client

    anyio.run(session)
    assert at_work
    wait_until(lambda: have_ended(at_work), 60)
    wait_until(lambda: len(cancelled()) == 2, 60)
    assert set(cancelled()) == {"it was cancelled"}
    assert len(records().history().tried) == 3


async def _until_the_end(agent: Agent) -> None:
    with suppress(MCPError):
        await agent.tried({**ENDLESS, "ensemble": "off"}, seconds=60)


async def _each_tool(client: Client) -> None:
    """Call each tool, rightly and wrongly."""
    agent = Agent(client)
    tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == TOOLS
    assert {
        tool.name
        for tool in tools
        if tool.annotations and tool.annotations.read_only_hint
    } == READ_ONLY
    assert (await agent.call("describe"))["metric"] == "rmse"
    assert (await agent.call("findings"))["data"] == []
    answer = await agent.tried(LINEAR, seconds=60)
    assert (answer["state"], answer["by"]) == ("explored", "scripted")
    assert agent.progress == sorted(agent.progress)
    assert agent.progress
    id_ = answer["proposal"]
    board = await agent.call("leaderboard", proposal=id_)
    assert board["leaderboard"]
    assert "outlook" in board
    assert (await agent.call("compare", proposal=id_))["words"]
    await agent.call("request_opening", proposal=id_, reason="simpler")
    told = (await agent.call("history"))["data"]
    assert told[0]["state"] == "requested"
    for wrong in (
        agent.call("propose", change={"serch": []}, reason="x"),
        agent.call("explore", proposal="nothing"),
        agent.call("propose", change=LINEAR, reason=""),
        agent.call("open", proposal=id_),
    ):
        with pytest.raises(ValueError, match=r"did you mean|proposal|reason|tool"):
            await wrong


def test_what_is_no_argument_is_refused_before_anything_is_kept(tmp_path):
    """A reason of blanks or of a page, seconds that are no positive number: the record
    stays as it was.
    """
    laboratories.declare(tmp_path, "explorations: 3, seconds: 200")
    server = LaboratoryServer(Laboratory.of("made"))

    async def session() -> None:
        async with Client(server) as client:
            agent = Agent(client)
            change = {"change": LINEAR, "reason": "why not"}
            proposal = (await agent.call("propose", **change))["proposal"]
            for reason in ("  \n ", "x" * 1_001):
                with pytest.raises(ValueError, match="reason"):
                    await agent.call("propose", change=LINEAR, reason=reason)
            for seconds in (0, -5, "nan"):
                with pytest.raises(ValueError, match="seconds"):
                    await agent.call("explore", proposal=proposal, seconds=seconds)

    anyio.run(session)
    assert [event.kind for event in records().history()] == ["proposed"]


def test_a_thousand_requests_spend_nothing_and_get_small_answers(tmp_path):
    """Reading, and proposing what is refused: budget and record stay as they were, an
    answer keeps to 8 kB, and the server's memory does not grow.
    """
    laboratories.declare(tmp_path, "explorations: 3, seconds: 200")
    laboratory = Laboratory.of("made")
    explored = laboratories.finished(laboratory, LINEAR)
    before = records().history()
    requests = [
        *((tool, {}) for tool in ("describe", "findings", "budget", "history")),
        *((tool, {"proposal": explored}) for tool in ("leaderboard", "compare")),
        ("describe", {"skip": 10**9}),
        ("history", {"skip": -1}),
        ("leaderboard", {"proposal": "../" * 5_000}),
        ("explore", {"proposal": "nothing"}),
        ("request_opening", {"proposal": "nothing", "reason": "now"}),
        *(("propose", {"change": change, "reason": "why not"}) for change in REFUSED),
    ]
    sizes: list[int] = []
    memory: list[int] = []

    async def session() -> None:
        async with Client(LaboratoryServer(laboratory)) as client:
            left = (await client.call_tool("budget", {})).structured_content
            for number in range(1_000):
                tool, arguments = requests[number % len(requests)]
                answer = await client.call_tool(tool, arguments)
                assert answer.is_error or tool in READ_ONLY
                sizes.append(max(len(part.text) for part in answer.content))
                if number in (200, 999):
                    memory.append(psutil.Process().memory_info().rss)
            assert (await client.call_tool("budget", {})).structured_content == left

    anyio.run(session)
    assert records().history() == before
    assert max(sizes) < 8_000
    assert memory[1] - memory[0] < 50e6


def test_drawing_the_page_holds_up_no_other_call(tmp_path, monkeypatch):
    """While an exploration that was cancelled is drawn on the page, another tool
    answers.
    """
    laboratories.declare(tmp_path, "explorations: 3, seconds: 200")
    server = LaboratoryServer(Laboratory.of("made"))
    is_drawing = threading.Event()
    has_answered = threading.Event()
    drawn: list[bool] = []

    def draw(_: Laboratory) -> None:
        is_drawing.set()
        drawn.append(has_answered.wait(30))

    monkeypatch.setattr(page, "write", draw)
    open_process = anyio.open_process

    async def session() -> None:
        is_exploring = anyio.Event()

        async def asleep(_: list[str], **options: Any) -> Process:
            process = await open_process(["sleep", "600"], **options)
            is_exploring.set()
            return process

        monkeypatch.setattr(anyio, "open_process", asleep)
        async with Client(server) as client, anyio.create_task_group() as group:
            agent = Agent(client)
            group.start_soon(agent.tried, LINEAR)
            await is_exploring.wait()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await run_sync(is_drawing.wait, 30)
                assert (await agent.call("budget"))["explorations"] == 2
            has_answered.set()

    anyio.run(session)
    assert drawn == [True]
    assert cancelled() == ["it was cancelled"]


@contextmanager
def over_http(port: int) -> Iterator[subprocess.Popen[str]]:
    """Serve a laboratory on a port, with a token."""
    with subprocess.Popen(
        [COMMAND, "lab", "made", "--http", str(port)],
        env={**os.environ, TOKEN_VARIABLE: "let-me-in"},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if line.startswith("token:"):
                    break
            wait_until(lambda: _listens(port), 60)
            yield server
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def exploring(port: int, proposal: str) -> Iterator[list[psutil.Process]]:
    """A client that asks for an exploration, and is gone without a word at the end."""
    version, name = "2026-07-28", "explore"
    headers = {
        **TOKEN,
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Mcp-Protocol-Version": version,
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    about = {
        "protocolVersion": version,
        "clientInfo": {"name": "gone", "version": "1"},
        "clientCapabilities": {},
    }
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": name,
            "arguments": {"proposal": proposal, "seconds": 40},
            "_meta": {f"io.modelcontextprotocol/{key}": about[key] for key in about},
        },
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", "/mcp", json.dumps(request), headers)
        wait_until(workers, 60)
        yield workers()


def test_over_http_the_token_is_needed_and_whoever_goes_leaves_nothing_at_work(
    tmp_path,
):
    """Other hosts, pages of other origins and calls without the token get nothing; an
    exploration whose client is gone ends, one whose server was killed counts with all
    its seconds.
    """
    laboratories.declare(tmp_path, "explorations: 3, seconds: 200")
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"

    async def proposed() -> str:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer let-me-out"}, 401),
            ({**TOKEN, "Host": "evil.example"}, 421),
            ({**TOKEN, "Origin": "http://evil.example"}, 403),
        ):
            async with httpx2.AsyncClient(headers=headers) as plain:
                assert (await plain.post(url, json={})).status_code == status
        async with (
            httpx2.AsyncClient(headers=TOKEN) as with_token,
            Client(streamable_http_client(url, http_client=with_token)) as client,
        ):
            change = {"change": ENDLESS, "reason": "why not"}
            return (await Agent(client).call("propose", **change))["proposal"]

    with over_http(port) as server:
        proposal = anyio.run(proposed)
        with exploring(port, proposal):
            pass
        wait_until(cancelled, 60)
        assert cancelled() == ["it was cancelled"]
        place = storage_root() / "made" / "laboratory.html"
        wait_until(place.exists, 60)
        assert ">it was cancelled<" in place.read_text()
        wait_until(lambda: not workers(), 60)
        with exploring(port, proposal) as at_work:
            server.kill()
            wait_until(lambda: have_ended(at_work), 60)
    ended, killed = records().history().tried
    assert ended.seconds < 30
    assert (killed.kind, killed.seconds) == ("claimed", 40)
