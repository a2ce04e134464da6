"""The storage's pages over HTTP, read-only, for the browser of this machine.

    http://127.0.0.1:3001/                             the overview
    http://127.0.0.1:3001/<path below the root>        a page, or the JSON, YAML or picture beside it

Models, tables, hidden files and targets of links are not served, and a page can load nothing from
outside. EXPERIMENT_PIPELINE_REPORTS_URL is the address of a running server. In: the storage root, a
path. Out: answers; the address of a file of the storage.
"""

import os
import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from experiment_pipeline.errors import StorageUnreachable
from experiment_pipeline.storage.files import Location, on_disk, read_many, storage_root

if TYPE_CHECKING:
    from starlette.applications import Starlette

URL_VARIABLE = "EXPERIMENT_PIPELINE_REPORTS_URL"
HOST, PORT = "127.0.0.1", 3001
OVERVIEW, EXPERIMENT_PAGE = "overview.html", "runs.html"
_SERVED = {
    ".html": "text/html; charset=utf-8",
    # As plain text: some browsers save what is called text/markdown instead of showing it.
    **dict.fromkeys((".md", ".yaml", ".yml"), "text/plain; charset=utf-8"),
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# Names of experiments, stages, fingerprints, partition keys: none begins with a dot.
_PART = re.compile(r"[\w=+@,-][\w.=+@,-]*", re.ASCII)
# Pages contain their styles and scripts, and may load no others.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src 'self' data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_SECONDS_BETWEEN_LOOKS = 0.5


def relative_to(root: str, place: str) -> str | None:
    """Return a place as a path below the storage root; None where it is elsewhere."""
    base = root.rstrip("/") + "/"
    return place.removeprefix(base) if place.startswith(base) else None


def is_page(path: str) -> bool:
    """Whether a path leads to something that people read in a browser."""
    return PurePosixPath(path).suffix in (".html", ".md")


def page_url(place: str) -> str | None:
    """Return the address of a path or URL of the storage; None: not a page, or no server runs."""
    server = os.environ.get(URL_VARIABLE)
    if not server or not is_page(place):
        return None
    below = relative_to(str(storage_root()), place)
    return None if below is None else f"{server.rstrip('/')}/{quote(below, safe='/=+@,')}"


def application(root: Location) -> "Starlette":
    """Return the server of a storage root; host names other than this machine's are refused.

    Otherwise a foreign page could resolve its own name to 127.0.0.1 (DNS rebinding).
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    def answer(request: Request) -> Response:
        path = request.path_params["path"] or OVERVIEW
        kind, content = _SERVED.get(PurePosixPath(path).suffix), None
        if kind is not None and all(map(_PART.fullmatch, path.split("/"))):
            place = root / path
            local, base = on_disk(place), on_disk(root)
            try:
                # A link may lead anywhere: none is followed below the root.
                if local is None or base is None or local.resolve() == base.resolve() / path:
                    content = read_many([place]).get(place)
            except StorageUnreachable as error:
                return PlainTextResponse(error.with_class, 502, _HEADERS)
        if content is not None:
            return Response(content, headers=_HEADERS, media_type=kind)
        missing = f"There is no page {path} in {root}.\nAll pages can be reached from /."
        if path == OVERVIEW:
            missing = (
                f"No run has written its pages into {root} yet.\nRun an experiment, then reload."
            )
        return PlainTextResponse(missing, 404, _HEADERS)

    return Starlette(
        routes=[Route("/{path:path}", answer, methods=["GET", "HEAD"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def listening(port: int | None = None) -> socket.socket:
    """Return a socket that listens on this machine only; None: 3001, or else any free port.

    OSError: the given port is taken.
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


def serve(listener: socket.socket, beside: int | None = None) -> None:
    """Answer until interrupted, or until the parent process `beside` ends."""
    import uvicorn

    settings = uvicorn.Config(
        application(storage_root()), log_level="warning", access_log=False, server_header=False
    )
    server = uvicorn.Server(settings)

    def end_with_parent() -> None:
        while os.getppid() == beside:  # once it has ended, this process has another parent
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        server.should_exit = True

    if beside is not None:
        threading.Thread(target=end_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def run_beside(command: tuple[str, ...], listener: socket.socket) -> NoReturn:
    """Replace this process by a command that has the server's address; the server ends with it.

    The command keeps the terminal, the signals and the exit code of this process. OSError: there is
    no such command.
    """
    command_process = os.getpid()
    if os.fork() == 0:
        try:
            serve(listener, command_process)
        finally:
            os._exit(0)
    os.execvpe(command[0], command, os.environ | {URL_VARIABLE: url_of(listener)})  # noqa: S606
