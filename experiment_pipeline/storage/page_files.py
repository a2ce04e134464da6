"""The chart library, stored once for all pages of a storage:
<root>/page_files/<sha256>.js.

`reporting` makes self-contained pages, in which such a script has the attribute
`data-shared`. A stored page loads it by a relative path; without it, the page shows
texts and tables, and a hint.
"""

import html
import re

from experiment_pipeline.storage.files import Location, read_bytes, read_many
from experiment_pipeline.storage.records import NamedByDigest

PAGE_FILES = "page_files"
_INSIDE = re.compile(r"<script data-shared>(.*?)</script>", re.DOTALL)
_BESIDE = re.compile(
    r'<script src="((?:\.\./)+)page_files/([0-9a-f]{64}\.js)".*?></script>'
)
_LACKS = (
    "The charts of this page need a file of the storage, which is missing beside this copy. Open the page "
    "in the storage, or copy it whole: experiment-pipeline show RUN --copy-reports FOLDER"
)
_LINK = """<script src="{}page_files/{}.js" onerror="document.querySelector('h1').after(\
Object.assign(document.createElement('p'), {{role: 'status', textContent: '{}'}}))"></script>"""


def apart(page: bytes, folder: Location) -> bytes:
    """Return a page for `<root>/<experiment>/<stage>/<entry>`, with its shared scripts
    moved to files.
    """

    def linked(found: re.Match[str]) -> str:
        rule, fix = (
            "is not the script that was written",
            "Run the experiment with a change.",
        )
        place = folder.parents[2] / PAGE_FILES
        digest = NamedByDigest(place, "js", rule, fix).put(found[1].encode())
        return _LINK.format("../" * 3, digest, html.escape(_LACKS))

    return _INSIDE.sub(linked, page.decode()).encode()


def whole(path: Location) -> bytes:
    """Return a stored page as one file, with its scripts inside; a missing script stays
    a link.
    """

    def inside(found: re.Match[str]) -> str:
        place = path.parents[len(found[1]) // len("../")] / PAGE_FILES / found[2]
        script = read_many([place]).get(place)
        return found[0] if script is None else f"<script>{script.decode()}</script>"

    return _BESIDE.sub(inside, read_bytes(path).decode()).encode()
