"""The laboratory over the real protocol: the official client, stdio and HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from experiment_pipeline.lab.server import TOKEN_VARIABLE
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline_tests.lab import laboratories
from experiment_pipeline_tests.lab.laboratories import records
from experiment_pipeline_tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("storage", "quick")]
COMMAND = str(Path(sys.executable).with_name("experiment-pipeline"))
TOOLS = {
    *("describe", "findings", "propose", "explore", "leaderboard", "compare"),
    *("shortfall", "budget", "history", "request_opening"),
}
READ_ONLY = TOOLS - {"propose", "explore", "request_opening"}
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


def over_stdio() -> Any:
    """Start a laboratory as an agent's client does."""
    parameters = StdioServerParameters(
        command=COMMAND, args=["lab", "made", "--agent", "scripted"], env={**os.environ}
    )
    return Client(stdio_client(parameters))


def workers() -> list[psutil.Process]:
    """The processes that explore for a laboratory of this test."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if "experiment_pipeline.lab.worker" in process.cmdline()
    ]


def test_an_agent_works_over_stdio(tmp_path):
    """Every tool answers; a refusal is an error of the tool; an exploration reports
    progress and can be cancelled; of a killed server nothing is lost but the seconds
    of what was under way.
    """
    laboratories.declare(tmp_path, "explorations: 5, seconds: 300")

    async def session() -> None:
        async with over_stdio() as client:
            await _each_tool(client)
            agent = Agent(client)
            with anyio.move_on_after(3):
                await agent.tried(ENDLESS, seconds=60)
            await anyio.sleep(1)
            left = await agent.call("budget")
            assert left["explorations"] == 3
            assert left["seconds"] > 200
            assert not workers()

    anyio.run(session)
    assert [tried.end.kind for tried in records().history().tried if tried.end] == [
        "explored",
        "stopped",
    ]

    exploring: list[psutil.Process] = []

    async def killed() -> None:
        async with over_stdio() as client:
            agent = Agent(client)
            async with anyio.create_task_group() as group:
                group.start_soon(_ignoring_the_end, agent)
                for _ in range(200):
                    if workers():
                        break
                    await anyio.sleep(0.1)
                exploring.extend(workers())
                server = exploring[0].parent()
                assert server is not None
                os.kill(server.pid, signal.SIGKILL)
                group.cancel_scope.cancel()

    anyio.run(killed)
    assert exploring
    for _ in range(100):
        if all(map(_has_ended, exploring)):
            break
        time.sleep(0.1)
    assert all(map(_has_ended, exploring))
    last = records().history().tried[-1]
    assert (last.claim.exploration, last.end) == (3, None)
    assert last.seconds == last.claim.seconds == 60


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process runs no more; nobody may have asked for its end yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def explore_alone(url: str = "") -> None:
    """In a process of its own: explore something endless, over stdio or HTTP."""

    async def session() -> None:
        if not url:
            async with over_stdio() as client:
                await Agent(client).tried(ENDLESS, seconds=20)
        token = {"Authorization": "Bearer let-me-in"}
        async with (
            httpx2.AsyncClient(headers=token) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            await Agent(client).tried(ENDLESS, seconds=20)

    anyio.run(session)


def _killed_while_it_explores(url: str = "") -> None:
    """Kill a client once its exploration works, and wait until that has ended."""
    before = len(records().history().tried)
    code = f"from {__name__} import explore_alone; explore_alone({url!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as client:
        while not (exploring := workers()):
            assert client.poll() is None
            time.sleep(0.1)
        client.kill()
    _, alive = psutil.wait_procs(exploring, timeout=10)
    assert all(map(_has_ended, alive))
    for _ in range(100):
        [tried] = records().history().tried[before:]
        if tried.end is not None:
            break
        time.sleep(0.1)
    assert tried.words == "it was cancelled"
    assert tried.seconds < 10


def test_the_exploration_of_a_client_that_was_killed_ends_and_counts_once(tmp_path):
    """Over stdio, where the server ends with its client, and over HTTP, where it goes
    on for others.
    """
    laboratories.declare(tmp_path, "explorations: 5, seconds: 100")
    _killed_while_it_explores()
    port = free_port()
    with over_http(port):
        _wait_until_it_listens(port)
        _killed_while_it_explores(f"http://127.0.0.1:{port}/mcp")
        time.sleep(2)  # the page follows
    assert len(records().history().tried) == 2
    shown = (storage_root() / "made" / "laboratory.html").read_text()
    assert shown.count(">it was cancelled<") == 2


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
    assert (answer["outcome"], answer["agent"]) == ("explored", "scripted")
    assert agent.progress == sorted(agent.progress)
    assert agent.progress
    id_ = answer["proposal"]
    assert (await agent.call("leaderboard", proposal=id_))["leaderboard"]
    assert "outlook" in await agent.call("shortfall", proposal=id_)
    assert (await agent.call("compare", proposal=id_))["words"]
    await agent.call("request_opening", proposal=id_, reason="simpler")
    told = (await agent.call("history"))["proposals"]
    assert told[0]["request"] == "waits for a person"
    for wrong in (
        agent.call("propose", change={"serch": []}, reason="x"),
        agent.call("explore", proposal="nothing"),
        agent.call("explore", proposal="../" * 30),
        agent.call("propose", change=LINEAR, reason=""),
        agent.call("open", proposal=id_),
    ):
        with pytest.raises(ValueError, match=r"did you mean|proposal|reason|tool"):
            await wrong


async def _ignoring_the_end(agent: Agent) -> None:
    changed = {**ENDLESS, "ensemble": "off"}
    await agent.tried(changed, seconds=60)


@contextmanager
def over_http(port: int) -> Iterator[None]:
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
            yield
        finally:
            server.terminate()


def test_agents_over_http_need_the_token_and_share_one_budget(tmp_path):
    """Other hosts, pages of other origins and calls without the token get nothing; two
    agents race for the last exploration, and one gets it; a thousand calls are answered.
    """
    laboratories.declare(tmp_path, "explorations: 1, seconds: 100")
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    token = {"Authorization": "Bearer let-me-in"}

    async def session() -> None:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer let-me-out"}, 401),
            ({**token, "Host": "evil.example"}, 421),
            ({**token, "Origin": "http://evil.example"}, 403),
        ):
            async with httpx2.AsyncClient(headers=headers) as plain:
                assert (await plain.post(url, json={})).status_code == status
        async with (
            httpx2.AsyncClient(headers=token) as http,
            Client(streamable_http_client(url, http_client=http)) as first,
            Client(streamable_http_client(url, http_client=http)) as second,
        ):
            ended: list[str] = []

            async def race(client: Client, change: dict[str, Any]) -> None:
                try:
                    await Agent(client).tried(change)
                    ended.append("explored")
                except ValueError as refusal:
                    ended.append(str(refusal))

            async with anyio.create_task_group() as group:
                group.start_soon(race, first, LINEAR)
                group.start_soon(race, second, {"exclude": ["kind"]})
            assert sorted(end == "explored" for end in ended) == [False, True]
            assert any("are spent" in end for end in ended)
            for _ in range(1_000):
                assert (await Agent(first).call("budget"))["explorations"] == 0

    with over_http(port):
        _wait_until_it_listens(port)
        anyio.run(session)
    assert len(records().history().tried) == 1


def _wait_until_it_listens(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError
