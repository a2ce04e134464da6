"""Pages of a storage share scripts as files, and can be had as one file again."""

from upath import UPath

from experiment_pipeline.reporting.document import (
    Chart,
    Document,
    Paragraph,
    Section,
    render_html,
)
from experiment_pipeline.storage.files import files_below, remove, write_bytes
from experiment_pipeline.storage.page_files import apart, whole

CHART = Section("first", (Paragraph("said"), Chart("title", "alt", {"series": []})))
PAGE = render_html(Document("page", (CHART,))).encode()


def stored(root: UPath, experiment: str, page: bytes) -> UPath:
    """Write a page as an entry has it."""
    path = root / experiment / "leaderboard" / "ab12" / "page.html"
    write_bytes(path, apart(page, path.parent))
    return path


def test_the_library_is_written_once_for_all_pages_of_a_root(place: UPath) -> None:
    """A page is small; with its scripts inside again it is what was rendered, but for
    their mark.
    """
    pages = [stored(place, name, PAGE) for name in ("churn", "visits")]
    (shared,) = (path for path in files_below(place) if path.endswith(".js"))
    assert f'src="../../../{shared}"' in pages[0].read_text(encoding="utf-8")
    assert all(len(page.read_bytes()) < 40_000 for page in pages)
    assert {whole(page) for page in pages} == {PAGE.replace(b" data-shared", b"")}


def test_a_page_whose_script_is_gone_stays_a_page_that_says_so(place: UPath) -> None:
    """Its texts and tables are there."""
    page = stored(place, "churn", b"<h1>t</h1><script data-shared>own()</script>")
    assert whole(page) == b"<h1>t</h1><script>own()</script>"
    (script,) = (path for path in files_below(place) if path.startswith("page_files/"))
    remove(place / script)
    assert whole(page) == page.read_bytes()
    assert (
        b"copy it whole: experiment-pipeline show RUN --copy-reports FOLDER"
        in whole(page)
    )
