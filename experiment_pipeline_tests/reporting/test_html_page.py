"""The HTML page: everything inside, every text escaped."""

from html.parser import HTMLParser

from experiment_pipeline.reporting.document import (
    Bullets,
    Code,
    Document,
    Paragraph,
    Picture,
    Section,
    Table,
    render_html,
)

EVIL = "<script>alert(1)</script>"
PICTURE = Picture(f"picture {EVIL}", f"alt {EVIL}", "<svg></svg>")
DOCUMENT = Document(
    f"title {EVIL}",
    (
        Section(f"section {EVIL}", (Paragraph(f"paragraph {EVIL}"), Bullets((f"item {EVIL}",)))),
        Section(
            "more", (Table((f"head {EVIL}",), ((f"cell {EVIL}",),)), Code("yaml", EVIL), PICTURE)
        ),
    ),
)


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_every_text_is_escaped() -> None:
    """Tags from names, cells and code are shown, never run."""
    page = render_html(DOCUMENT)
    assert "script" not in _Tags(page).tags
    for kind in ("title", "section", "paragraph", "item", "head", "cell", "picture", "alt"):
        assert f"{kind} &lt;script&gt;" in page


def test_every_kind_of_block_is_shown() -> None:
    """Paragraphs, lists, tables and code have their element."""
    tags = _Tags(render_html(DOCUMENT)).tags
    assert {"p", "ul", "li", "table", "th", "td", "pre"} <= set(tags)


def test_pictures_are_inside_and_nothing_is_loaded() -> None:
    """The page is one file, with its pictures as elements."""
    page = _Tags(render_html(DOCUMENT))
    assert "svg" in page.tags
    assert not page.links
    assert "link" not in page.tags


def test_the_first_paragraph_is_coloured_by_the_outcome() -> None:
    """Passed, failed, or neither."""
    assert 'class="verdict passed"' in render_html(DOCUMENT, passed=True)
    assert 'class="verdict failed"' in render_html(DOCUMENT, passed=False)
    assert 'class="verdict "' in render_html(DOCUMENT)
