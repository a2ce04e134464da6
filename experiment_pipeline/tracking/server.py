"""The storage's pages over HTTP, read-only, for the browser of this machine.

    http://127.0.0.1:3001/                             the overview
    http://127.0.0.1:3001/<path below the root>        a page, or a file beside it

Models, tables, hidden files and symbolic links are not served. A page can load nothing
except the shared scripts. EXPERIMENT_PIPELINE_REPORTS_URL is the address of a running
server. In: the storage root, a path. Out: responses; addresses of files. `OwnPagesOnly`
also protects Dagster's web server.
"""

import ctypes
import ipaddress
import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import psutil

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage.entries import PAGE_FILES
from experiment_pipeline.storage.files import (
    Location,
    exists,
    on_disk,
    read_many,
    storage_root,
)
from experiment_pipeline.storage.registry import EXAMPLE, EXPECTED

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

URL_VARIABLE = "EXPERIMENT_PIPELINE_REPORTS_URL"
# Host names under which the pages may be requested, besides localhost and IP addresses.
HOSTS_VARIABLE = "EXPERIMENT_PIPELINE_HOSTS"
HOST, PORT = "127.0.0.1", 3001
USUAL = f"http://{HOST}:{PORT}"
# Below this path, Dagster's web server sends a browser on to the server of the reports.
REDIRECTED = "/reports/"
OVERVIEW, EXPERIMENT_PAGE = "overview.html", "runs.html"
LABORATORY_PAGE = "laboratory.html"  # beside the page of its experiment
_SERVED = {
    ".html": "text/html; charset=utf-8",
    # As plain text: some browsers download text/markdown instead of showing it.
    **dict.fromkeys((".md", ".yaml", ".yml"), "text/plain; charset=utf-8"),
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# Names of experiments, stages, fingerprints and partition keys: none starts with a dot.
_PART = re.compile(r"[\w=+@,-][\w.=+@,-]*", re.ASCII)
# Pages contain their styles and scripts; the shared library is the only file that they
# load.
_SCRIPT = re.compile(rf"{PAGE_FILES}/[0-9a-f]{{64}}\.js", re.ASCII)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_NOT_SERVED = {EXAMPLE, EXPECTED}  # rows of the table
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
# Signals that follow SIGINT, and the seconds to wait before each.
_STOPS = {signal.SIGTERM: 4.0, signal.SIGKILL: 1.5}


def relative_to(root: str, place: str) -> str | None:
    """Return a place as a path below the storage root; None if it is elsewhere."""
    base = root.rstrip("/") + "/"
    return place.removeprefix(base) if place.startswith(base) else None


def is_page(path: str) -> bool:
    """Whether a path is a page to read in a browser: HTML or Markdown."""
    return PurePosixPath(path).suffix in (".html", ".md")


def page_url(place: str, otherwise: str = "") -> str | None:
    """Return the address of a path or URL of the storage; None: it has none.

    `otherwise`: the server to assume if the environment names none and the storage is
    on a local disk.
    """
    root = storage_root()
    server = os.environ.get(URL_VARIABLE, otherwise if on_disk(root) else "")
    below = relative_to(str(root), place)
    if not server or below is None or not is_page(place):
        return None
    return f"{server.rstrip('/')}/{quote(below, safe='/=+@,')}"


class OwnPagesOnly:
    """ASGI middleware that refuses requests that a browser sends on behalf of a foreign
    page.

    Such a page could delete runs through a form or an image (CSRF), or resolve its own
    name to 127.0.0.1 and read the responses (DNS rebinding). Programs, which send no
    Origin, and links to a page may pass. `redirects`: paths below REDIRECTED lead to
    the server of the reports, whatever its port is.
    """

    def __init__(self, app: "ASGIApp", *, redirects: bool = False) -> None:
        self.app = app
        self.redirects = redirects

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, or answer 403."""
        from starlette.responses import PlainTextResponse, RedirectResponse

        is_request = scope["type"] in {"http", "websocket"}
        reason = _refused(scope) if is_request else None
        if reason is None and self.redirects and scope["path"].startswith(REDIRECTED):
            server = os.environ.get(URL_VARIABLE, USUAL).rstrip("/")
            below = quote(scope["path"].removeprefix(REDIRECTED), safe="/=+@,")
            await RedirectResponse(f"{server}/{below}")(scope, receive, send)
        elif reason is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            response = PlainTextResponse(f"{reason}\n", 403, _HEADERS)
            await response(scope, receive, send)


def _refused(scope: "Scope") -> str | None:
    """Why a request is refused; None: it may pass."""
    from starlette.datastructures import Headers

    headers = Headers(scope=scope)
    host = headers.get("host", "").lower()
    if not _is_ours(urlsplit(f"//{host}").hostname or ""):
        return (
            f"The host {host!r} is not known here. If it is yours, add it to "
            f"{HOSTS_VARIABLE}."
        )
    if urlsplit(headers.get("origin", f"//{host}").lower()).netloc != host:
        return "A page of another origin sent this request."
    method = scope.get("method", "")
    is_link = (
        method == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    is_foreign = headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
    if is_foreign and not is_link:
        return "A page of another site sent this request."
    if method in {"GET", "HEAD"} and _is_query(scope):
        return "GraphQL requests must use POST."
    return None


def _is_query(scope: "Scope") -> bool:
    """Whether Dagster may execute a mutation, which a link on any page can trigger."""
    return scope["path"].endswith("/graphql") and bool(scope["query_string"])


def _is_ours(host: str) -> bool:
    """Whether a host name cannot have been resolved by a foreign page."""
    named = os.environ.get(HOSTS_VARIABLE, "").lower().replace(",", " ").split()
    if host in {"localhost", *named}:
        return True
    with suppress(ValueError):  # IP addresses are safe: no name was resolved
        ipaddress.ip_address(host)
        return True
    return False


def application(root: Location) -> "Starlette":
    """Return the ASGI application that serves a storage root."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    def page(request: Request) -> Response:
        path = request.path_params["path"] or OVERVIEW
        try:
            content = _content(root, path)
        except StorageUnreachable as error:
            return PlainTextResponse(error.with_class, 502, _HEADERS)
        if content is not None:
            return Response(content, headers=_HEADERS, media_type=_media_type(path))
        missing = (
            f"There is no page {path} in {root}.\nAll pages can be reached from /."
        )
        if path == OVERVIEW:
            missing = (
                f"No run has written pages to {root} yet.\nRun an experiment, then "
                "reload."
            )
        return PlainTextResponse(missing, 404, _HEADERS)

    def no_icon(_: Request) -> Response:
        return Response(status_code=204, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/favicon.ico", no_icon),
            Route("/{path:path}", page, methods=["GET", "HEAD"]),
        ],
        middleware=[Middleware(OwnPagesOnly)],
    )


def _media_type(path: str) -> str | None:
    """The type of a path that may be served, else None."""
    if _SCRIPT.fullmatch(path):
        return "text/javascript"
    name = PurePosixPath(path)
    is_page_name = all(_PART.fullmatch(part) for part in path.split("/"))
    if not is_page_name or name.name in _NOT_SERVED:
        return None
    return _SERVED.get(name.suffix)


def _content(root: Location, path: str) -> bytes | None:
    """What a path below the root holds; None: nothing that may be served."""
    if _media_type(path) is None:
        return None
    place = root / path
    local = on_disk(place)
    local_root = on_disk(root)
    if local is not None and local_root is not None:
        # No links below the root are followed, and only regular files read: a pipe may
        # never end.
        is_link = local.resolve() != local_root.resolve() / path
        if is_link or not exists(place):
            return None
    return read_many([place]).get(place)


def listening(port: int | None = None) -> socket.socket:
    """Return a socket on localhost; OSError: the port is taken.

    `port` None: 3001, or else any free one.
    """
    try:
        return socket.create_server((HOST, PORT if port is None else port))
    except OSError:
        if port is not None:
            raise
        return socket.create_server((HOST, 0))


def url_of(listener: socket.socket) -> str:
    """The address of the server."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


def serve(listener: socket.socket) -> None:
    """Serve until interrupted."""
    with suppress(KeyboardInterrupt):
        _server().run(sockets=[listener])


def _server() -> "uvicorn.Server":
    import uvicorn

    quiet: dict[str, Any] = {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
    }
    return uvicorn.Server(uvicorn.Config(application(storage_root()), **quiet))


def run_beside(command: tuple[str, ...], listener: socket.socket) -> int:
    """Serve while a command runs, which gets the server's address; return its exit
    code.

    A signal ends the command and all processes that it started, within 10 s. OSError:
    no such command.
    """
    address = os.environ | {URL_VARIABLE: url_of(listener)}
    server = threading.Thread(target=_server().run, args=([listener],), daemon=True)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # before the command can start
    options = {"preexec_fn": _end_with_parent}  # no thread runs yet
    with subprocess.Popen(command, env=address, **options) as process:  # noqa: S603
        try:
            server.start()
            code = process.wait()
        except KeyboardInterrupt:
            _stop(psutil.Process(process.pid))
            code = process.wait()
    return code if code >= 0 else 128 - code


def _end_with_parent() -> None:
    """Let Linux interrupt this process when its parent is killed: it would keep its
    ports.
    """
    # A shell's background job ignores it, and Dagster's own children end by it alone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _stop(command: psutil.Process) -> None:
    """End a process and its descendants: SIGINT, then SIGTERM, then SIGKILL."""
    for number in (signal.SIGINT, signal.SIGTERM):  # ignore further ones
        signal.signal(number, signal.SIG_IGN)
    processes = {command, *command.children(recursive=True)}
    command.send_signal(signal.SIGINT)
    for stop, seconds in _STOPS.items():
        _, alive = psutil.wait_procs(processes, seconds)
        processes = set(alive)
        for process in alive:  # Dagster restarts processes that end
            with suppress(psutil.NoSuchProcess):
                processes |= {*process.children(recursive=True)}
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(stop)
