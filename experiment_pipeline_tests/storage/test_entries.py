"""Results of a stage by fingerprint: written once, checked when read, in quarantine
when damaged.
"""

from types import NoneType

import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.reporting.document import (
    Chart,
    Document,
    Paragraph,
    Section,
    render_html,
)
from experiment_pipeline.storage.entries import (
    Entries,
    linked_page,
    self_contained_page,
)
from experiment_pipeline.storage.files import (
    files_below,
    list_names,
    read_bytes,
    remove,
    write_bytes,
)

FILES = {"report.json": b'{"a": 1}', "report.html": b"<p>1</p>"}


@pytest.fixture
def store(place: UPath) -> Entries[None]:
    """A store on a disk, and one in a bucket."""
    return Entries(place, "clinic", "data_analysis", NoneType)


def test_a_result_is_written_once(store: Entries[None]):
    """A second writer gets what is there; an entry that has lost a file is damaged."""
    assert store.intact("f", pytest.fail) is None
    store.put("f", FILES, None)
    assert store.put("f", {"report.json": b"other"}, None).files == FILES
    assert store.intact("f", pytest.fail).files == FILES
    remove(store.require("f").paths["report.html"])
    with pytest.raises(EntryCorrupt, match="is gone"):
        store.get("f")


@pytest.mark.parametrize(
    ("name", "damaged"),
    [("report", b"<p>2</p>"), ("result", b""), ("result", b"[1]")],
)
def test_a_damaged_result_goes_into_quarantine_and_is_told(store, name, damaged):
    """An error names the file to who must have it; who can make it again is warned."""
    store.put("f", FILES, None)
    folder = store.folder("f")
    (path, *_) = (folder / file for file in list_names(folder) if file.startswith(name))
    write_bytes(path, damaged)
    for use in (store.require, lambda print_: store.put(print_, FILES, None)):
        with pytest.raises(EntryCorrupt) as caught:
            use("f")
        assert caught.value.culprit == str(path)
    warnings = []
    assert store.intact("f", warnings.append) is None
    assert warnings[0].startswith(str(path))
    quarantine = store.root / "clinic" / "damaged" / "data_analysis" / "f"
    (time,) = list_names(quarantine)
    assert f": the entry was moved to {quarantine / time} and" in warnings[0]
    assert read_bytes(quarantine / time / path.name) == damaged
    assert store.put("f", FILES, None).files == FILES


# --- pages ---

CHART = Section("first", (Paragraph("said"), Chart("title", "alt", {"series": []})))
PAGE = render_html(Document("page", (CHART,))).encode()


def stored(root: UPath, experiment: str, page: bytes) -> UPath:
    """Write a page as an entry has it."""
    path = root / experiment / "leaderboard" / "ab12" / "page.html"
    write_bytes(path, linked_page(page, path.parent))
    return path


def test_the_library_is_written_once_for_all_pages_of_a_root(place: UPath):
    """A page is small; with its scripts inside again it is what was rendered, but for
    their mark.
    """
    pages = [stored(place, name, PAGE) for name in ("churn", "visits")]
    (shared,) = (path for path in files_below(place) if path.endswith(".js"))
    assert f'src="../../../{shared}"' in pages[0].read_text(encoding="utf-8")
    assert all(len(page.read_bytes()) < 40_000 for page in pages)
    assert {self_contained_page(page) for page in pages} == {
        PAGE.replace(b" data-shared", b"")
    }


def test_a_page_whose_script_is_gone_stays_a_page_that_says_so(place: UPath):
    """Its texts and tables are there."""
    page = stored(place, "churn", b"<h1>t</h1><script data-shared>own()</script>")
    assert self_contained_page(page) == b"<h1>t</h1><script>own()</script>"
    (script,) = (path for path in files_below(place) if path.startswith("page_files/"))
    remove(place / script)
    assert self_contained_page(page) == page.read_bytes()
    hint = b"copy it whole: experiment-pipeline show RUN --copy-reports FOLDER"
    assert hint in page.read_bytes()
