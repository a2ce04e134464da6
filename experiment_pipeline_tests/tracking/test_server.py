"""The storage's pages in a browser: what is shown, and what never is."""

import asyncio
import http.client
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import dagster as dg
import psutil
import pytest
import uvicorn
from upath import UPath

from experiment_pipeline.orchestration.metadata import metadata_of
from experiment_pipeline.reporting.outcome import PagePath
from experiment_pipeline.storage.files import Location, location, write_bytes
from experiment_pipeline.tracking import server
from experiment_pipeline.tracking.server import URL_VARIABLE, page_url
from experiment_pipeline_tests.command_line import command

SHARED = f"page_files/{'ab' * 32}.js"
HIDDEN = (
    "visits/tables/raw_data.parquet",
    "visits/model.skops",
    "visits/model.txt",
    "visits/.secret.json",
    ".claims/page.html",
    f"visits/other/{'ab' * 32}.js",
    "page_files/other.js",
)
NOT_SHOWN = (
    *HIDDEN,
    "visits/",
    "nothing.html",
    "%00.html",
    "visits/leaderboard/*/leaderboard.html",
    # Out of the root.
    "../outside.html",
    "..%5coutside.html",
    "/etc/passwd.html",
    "visits/..%2f..%2foutside.html",
    "visits/%2e%2e/%2e%2e/outside.html",
)
PAGE = b"<!DOCTYPE html><title>board</title>"


@dataclass
class Served:
    """A server in this process."""

    root: Location
    port: int = 0
    _server: uvicorn.Server = field(init=False)

    def __enter__(self) -> Self:
        listener = server.listening(0)
        self.port = listener.getsockname()[1]
        settings = uvicorn.Config(server.application(self.root), log_level="warning")
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def ask(
        self, path: str, method: str = "GET", host: str | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of an answer; the path goes over the wire as it
        is.
        """
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        ) as connection:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host or f"127.0.0.1:{self.port}")
            connection.endheaders()
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, answer.read(), headers


@pytest.fixture
def served(place: UPath) -> Iterator[Served]:
    """Pages, models and tables on a disk and in a bucket."""
    files = {
        "overview.html": b"<h1>all</h1>",
        "visits/leaderboard/ab12/leaderboard.html": PAGE,
        "visits/trained_model/linear__C=0.1/result.json": b"{}",
        SHARED: b"draw()",
        **dict.fromkeys(HIDDEN, b"hidden"),
    }
    for path, content in files.items():
        write_bytes(place / path, content)
    with Served(place) as running:
        yield running


def test_pages_are_shown_and_nothing_else(served: Served):
    """The address alone is the overview; a page is what was stored, with its type.
    Models, tables, hidden files, folders and ways out of the root are not found.
    """
    for path, content, media_type in (
        ("", b"<h1>all</h1>", "text/html; charset=utf-8"),
        ("visits/leaderboard/ab12/leaderboard.html", PAGE, "text/html; charset=utf-8"),
        ("visits/trained_model/linear__C=0.1/result.json", b"{}", "application/json"),
        (SHARED, b"draw()", "text/javascript; charset=utf-8"),
    ):
        status, body, headers = served.ask(f"/{path}")
        assert (status, body, headers["content-type"]) == (200, content, media_type)
    status, content, headers = served.ask("/overview.html", "HEAD")
    assert (status, content, headers["content-length"]) == (200, b"", "12")
    write_bytes(UPath(served.root).parent / "outside.html", b"outside")
    for path in NOT_SHOWN:
        status, content, _ = served.ask(f"/{path}")
        assert status == 404
        assert content.startswith(b"There is no page ")


def test_links_pipes_and_rows_are_not_served(storage: Path, tmp_path):
    """A link leads nowhere, a pipe may never end, and rows of the table stay hidden.
    Who opens the address before the first run is told what to do.
    """
    outside = tmp_path / "outside"
    rows = ("input_example.json", "expected_predictions.json")
    write_bytes(location(str(outside / "page.html")), b"outside")
    for name in rows:
        write_bytes(location(str(storage / name)), b"{}")
    (storage / "file.html").symlink_to(outside / "page.html")
    (storage / "folder").symlink_to(outside)
    os.mkfifo(storage / "pipe.html")
    with Served(location(str(storage))) as served:
        for path in ("file.html", "folder/page.html", "pipe.html", *rows):
            assert served.ask(f"/{path}")[0] == 404
        assert b"Run an experiment" in served.ask("/")[1]


def test_only_this_machine_asks_only_reads_and_loads_nothing_from_outside(
    storage: Path,
):
    """A foreign name of this machine gets no answer; the policy that travels with every
    answer names no source but the page itself.
    """
    write_bytes(location(str(storage / "overview.html")), PAGE)
    with Served(location(str(storage))) as served:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert served.ask("/overview.html", method)[0] == 405
        assert served.ask("/", host="attacker.example")[0] == 403
        assert served.ask("/", host=f"localhost:{served.port}")[0] == 200
        answers = [served.ask(path)[2] for path in ("/", "/nothing.html")]
    for headers in answers:
        policy = headers["content-security-policy"].split("; ")
        assert "default-src 'none'" in policy
        sources = {source for part in policy for source in part.split()[1:]}
        assert sources == {"'none'", "'self'", "'unsafe-inline'", "data:"}
        assert headers["x-content-type-options"] == "nosniff"


OWN = {"host": "localhost:3000", "path": "/graphql", "method": "POST"}
OPENED = {
    "method": "GET",
    "path": "/runs",
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}
MUTATION = {"method": "GET", "query": b"query=mutation{}"}
OTHER = "https://attacker.example"
PASSES: dict[str, dict[str, Any]] = {
    "a program": {},
    "the page": {"origin": "http://localhost:3000", "sec-fetch-site": "same-origin"},
    "an IPv6 address": {"host": "[::1]:3000"},
    "a probe": {"host": "10.1.2.3:3000", "path": "/server_info", "method": "GET"},
    "a proxy": {"host": "ui.example", "origin": "https://ui.example"},
    "a websocket": {"type": "websocket", "origin": "http://localhost:3000"},
    "a link": OPENED,
}
REFUSED: dict[str, dict[str, Any]] = {
    "a foreign name": {"host": "attacker.example:3000"},
    "a name below": {"host": "localhost.attacker.example"},
    "another origin": {"origin": OTHER},
    "no origin": {"origin": "null"},
    "a foreign websocket": {"type": "websocket", "origin": OTHER},
    "another site": {"sec-fetch-site": "cross-site"},
    "another name of the site": {"sec-fetch-site": "same-site"},
    "a form": OPENED | {"method": "POST"},
    "a frame": OPENED | {"sec-fetch-dest": "iframe"},
    "a mutation": MUTATION,
    "a link to a mutation": OPENED | MUTATION | {"path": "/graphql"},
}


def test_what_a_foreign_page_sends_is_refused(monkeypatch):
    """Own pages, programs and links pass; forms, images and foreign names do not."""
    monkeypatch.setenv(server.HOSTS_VARIABLE, "other.example, UI.example")

    async def passed(_scope: object, _receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    for name, request in (PASSES | REFUSED).items():
        answer = answer_of(server.OwnPagesOnly(passed), OWN | request)
        assert answer["status"] == (200 if name in PASSES else 403), name


def test_dagsters_server_sends_links_on_to_wherever_the_reports_run(monkeypatch):
    """A stored link has no port of its own, so another port breaks nothing."""
    monkeypatch.setenv(server.URL_VARIABLE, "http://127.0.0.1:4001")

    async def never(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError

    application = server.OwnPagesOnly(never, redirects=True)
    request_ = OWN | {"path": "/reports/visits/runs/a=b/index.html"}
    answer = answer_of(application, request_)
    assert answer["status"] == 307
    location = dict(answer["headers"])[b"location"]
    assert location == b"http://127.0.0.1:4001/visits/runs/a=b/index.html"
    foreign = request_ | {"host": "evil.example"}
    assert answer_of(application, foreign)["status"] == 403


def answer_of(
    application: Any, request: dict[str, Any], body: bytes = b""
) -> dict[str, Any]:
    """How an ASGI application begins to answer.

    What `request` does not name are its headers.
    """
    fields = {"path", "method", "query", "type"}
    scope = {
        "type": request.get("type", "http"),
        "path": request["path"],
        "method": request["method"],
        "query_string": request.get("query", b""),
        "headers": [
            (name.encode(), value.encode())
            for name, value in request.items()
            if name not in fields
        ],
    }
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        is_closed = message["type"] == "websocket.close"
        answers.append({"status": 403} if is_closed else message)

    asyncio.run(application(scope, receive, send))
    return answers[0]


@pytest.mark.slow
def test_a_storage_that_is_away_is_told(s3_bucket: str):
    """A bucket that is not there is an answer with its fix, without a stack."""
    with Served(location(f"s3://not-{s3_bucket}/prefix")) as served:
        status, content, _ = served.ask("/")
    assert status == 502
    assert b"the bucket does not exist" in content


def test_metadata_begins_with_links_to_its_pages(storage: Path, monkeypatch):
    """A report has its address beside its path, where pages are served."""
    report = str(storage / "visits" / "leaderboard" / "a=b" / "leaderboard.html")
    folder = PagePath(str(storage / "visits" / "registry"))
    facts = {"report": PagePath(report), "path": folder}
    monkeypatch.setenv(URL_VARIABLE, "http://reports:80/")
    metadata = metadata_of(facts)
    assert list(metadata) == ["report_page", "report", "path"]
    assert metadata["report"] == dg.MetadataValue.path(report)
    address = "http://reports:80/visits/leaderboard/a=b/leaderboard.html"
    assert metadata["report_page"] == dg.MetadataValue.url(address)
    assert page_url("/elsewhere/leaderboard.html") is None
    monkeypatch.setenv(URL_VARIABLE, "")
    assert list(metadata_of(facts)) == ["report", "path"]


def test_a_taken_port_is_an_error_and_another_one_is_found_unasked():
    """A port that was named is used or refused; else any free one is taken."""
    with server.listening(0) as taken:
        port = taken.getsockname()[1]
        done = command("reports", "--port", port)
        assert done.exit_code == 1
        assert f"{port}: Address already in use" in done.output
    with server.listening() as first, server.listening() as second:
        assert server.url_of(first) != server.url_of(second)


def test_the_server_begins_and_ends_with_the_command_beside_it(storage: Path):
    """The command gets the address and keeps its exit code."""
    write_bytes(location(str(storage / "overview.html")), PAGE)
    script = (
        "import os, sys, time, urllib.request\n"
        f"url = os.environ['{URL_VARIABLE}']\n"
        "for _ in range(3000):\n"
        "    try:\n"
        "        print(url, urllib.request.urlopen(url).read().decode()); break\n"
        "    except OSError: time.sleep(0.1)\n"
        "sys.exit(7)\n"
    )
    reports = (str(Path(sys.executable).parent / "experiment-pipeline"), "reports")
    command = [*reports, sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    url, page = done.stdout.split(" ", 1)
    assert page.strip() == PAGE.decode()
    assert f"reports on {url}" in done.stderr
    with pytest.raises(OSError):  # noqa: PT011, PT012 - it has gone soon
        for _ in range(1000):
            urllib.request.urlopen(url, timeout=5).close()
            time.sleep(0.1)


STUBBORN = """
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
if sys.argv[1] == "0":
    print("ready", flush=True)
else:
    subprocess.Popen([sys.executable, __file__, str(int(sys.argv[1]) - 1)])
while True:
    time.sleep(0.05)
"""


def test_stopping_it_stops_everything_that_the_command_has_started(tmp_path):
    """Processes that ignore every signal but one are gone as well."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    run = (
        "import sys, signal; from experiment_pipeline.tracking import server\n"
        "server._STOPS = {signal.SIGTERM: 0.1, signal.SIGKILL: 0.1}\n"
        "from experiment_pipeline.cli import main; main()"
    )
    command = [
        sys.executable,
        "-c",
        run,
        "reports",
        sys.executable,
        f"{tmp_path}/stubborn.py",
        "2",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, start_new_session=True
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        below = psutil.Process(started.pid).children(recursive=True)
        assert len(below) == 3
        started.terminate()
        started.wait(60)
    assert psutil.wait_procs(below, 60)[1] == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a child so")
def test_a_killed_server_leaves_no_command_behind():
    """It is interrupted, and so frees its ports for the next start."""
    waits = "import time; print('ready', flush=True); time.sleep(600)"
    reports = str(Path(sys.executable).parent / "experiment-pipeline")
    command = [reports, "reports", sys.executable, "-c"]
    with subprocess.Popen(
        [*command, waits], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        below = psutil.Process(started.pid).children(recursive=True)
        started.kill()
    assert below
    assert psutil.wait_procs(below, 60)[1] == []
