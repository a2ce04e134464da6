"""Links of the built site: each leads to a page, an anchor or a file that is there.

An extension of Sphinx. `{source}` names a file of the repository, and links to it once
the repository has an address. Sphinx itself checks cross-references alone, not what
notebooks, the theme and raw HTML link to.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parent.parent
# In place of the repository's owner until there is one.
PLACEHOLDER = "OWNER"
# What a notebook's run has written is not part of the site.
_OF_A_RUN = re.compile(r'<a\b[^>]*href=\\"artifacts/[^>]*>(.*?)</a>')


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and anchors of an element."""
        for name, value in attrs:
            if value and name in {"href", "src"}:
                self.links.add(value)
            elif value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)


def broken_links(site: Path, repository: str) -> Iterator[str]:
    """Yield "page: link" for each that leads nowhere; other sites are not asked."""
    pages = {
        path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    for path, page in sorted(pages.items()):
        for link in sorted(page.links):
            if not _is_good(link, path, pages, repository):
                yield f"{path.relative_to(site)}: {link}"


def _is_good(link: str, page: Path, pages: dict[Path, Page], repository: str) -> bool:
    if f"/{PLACEHOLDER}/" in link or f"//{PLACEHOLDER}." in link:
        return False
    if in_repository := re.match(rf"{repository}/(?:blob|edit|raw)/main/", link):
        return (ROOT / unquote(link[in_repository.end() :]).partition("?")[0]).exists()
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = page
    if parts.path:
        target = (page.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return False
    if not parts.fragment or target not in pages:
        return True
    return unquote(parts.fragment) in pages[target].anchors


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role and the check."""
    app.add_role("source", _source_role(app))
    app.connect("source-read", _without_files_of_runs)
    # After extensions that still copy files there.
    app.connect("build-finished", _check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _source_role(app: Sphinx):  # noqa: ANN202 - docutils' signature of roles
    def role(_name, rawtext, text, *_rest):  # noqa: ANN001, ANN002, ANN202
        literal = nodes.literal(rawtext, text)
        repository = app.config.html_theme_options.get("source_repository")
        if repository is None:
            return [literal], []
        address = f"{repository}/blob/main/{text}"
        return [nodes.reference("", "", literal, refuri=address)], []

    return role


def _without_files_of_runs(_app: Sphinx, _name: str, source: list[str]) -> None:
    source[0] = _OF_A_RUN.sub(r"\1", source[0])


def _check(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.name != "html":
        return
    repository = app.config.html_theme_options.get("source_repository", "none")
    broken = list(broken_links(Path(app.outdir), repository))
    if broken:
        raise ExtensionError("\n".join(["links lead nowhere:", *broken]))
