"""The HTML page: everything inside, every text escaped."""

import hashlib
import json
from html.parser import HTMLParser
from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline.reporting.document import (
    Bullets,
    Chart,
    Code,
    Document,
    Paragraph,
    Section,
    TableBlock,
    render,
    render_html,
)

EVIL = "<script>alert(1)</script>"
CHART = Chart(f"chart {EVIL}", f"alt {EVIL}", {"series": [EVIL]}, f"said {EVIL}")
DOCUMENT = Document(
    f"title {EVIL}",
    (
        Section(
            f"section {EVIL}",
            (Paragraph(f"paragraph {EVIL}"), Bullets((f"item {EVIL}",))),
        ),
        Section(
            "more",
            (
                TableBlock((f"head {EVIL}",), ((f"cell {EVIL}",),)),
                Code("yaml", EVIL),
                CHART,
            ),
        ),
    ),
)


class _Tags(HTMLParser):
    """Every tag and link, and what stands in scripts, by their type."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)


def before_scripts(page: str) -> str:
    """The page without the library and the script at its end."""
    return page.partition("</main>")[0]


def test_every_text_is_escaped():
    """Tags from names, cells and code are shown, never run."""
    page = before_scripts(render_html(DOCUMENT))
    assert _Tags(page).tags.count("script") == 1
    assert EVIL not in page
    for kind in (
        "title",
        "section",
        "paragraph",
        "item",
        "head",
        "cell",
        "chart",
        "alt",
        "said",
    ):
        assert f"{kind} &lt;script&gt;" in page


def test_charts_are_inside_and_nothing_is_loaded():
    """The page is one file; the library that draws is there only where there is a
    chart.
    """
    page = render_html(DOCUMENT)
    tags = _Tags(before_scripts(page))
    assert "figure" in tags.tags
    assert tags.links == ["#main"]
    assert "link" not in tags.tags
    assert len(page) > 1_000_000
    sections = (Section("first", (Paragraph("said"),)),)
    assert len(render_html(Document("page", sections))) < 20_000


def test_without_scripts_and_in_markdown_a_chart_is_its_sentence():
    """What it shows, with its number."""
    assert "<noscript><p>alt &lt;script&gt;" in render_html(DOCUMENT)
    assert render(DOCUMENT).endswith("alt &lt;script&gt;alert(1)&lt;/script&gt;\n")


def test_the_first_paragraph_is_coloured_by_the_outcome():
    """Passed, failed, or neither."""
    assert 'class="verdict passed"' in render_html(DOCUMENT, passed=True)
    assert 'class="verdict failed"' in render_html(DOCUMENT, passed=False)
    assert 'class="verdict "' in render_html(DOCUMENT)


def _drawn(data: dict) -> _Tags:
    sections = (Section("first", (Paragraph("said"), Chart("title", "alt", data))),)
    return _Tags(before_scripts(render_html(Document("page", sections))))


TEXTS = st.text() | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "]]>",
        "\u2028",
        "\u2029",
        "'\"&lt;\\",
    ]
)


@settings(max_examples=15)
@given(
    st.dictionaries(
        TEXTS,
        TEXTS | st.lists(TEXTS) | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_no_name_or_value_breaks_out_of_the_data_of_a_script(data: dict):
    """Whatever texts there are, the script reads just them, and the page has no tag
    more.
    """
    page = _drawn(data)
    assert page.tags == _drawn({}).tags
    kind, text = page.scripts[0]
    assert kind == "application/json"
    assert json.loads(text) == data
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_library_of_the_scripts_is_the_released_one():
    """Apache ECharts 6.1.0 byte for byte, its licences beside it; it ends no script too
    early.
    """
    folder = files("experiment_pipeline.reporting").joinpath("scripts", "echarts")
    content = folder.joinpath("echarts.min.js").read_bytes()
    assert (
        hashlib.sha256(content).hexdigest()
        == "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"
    )
    assert b"</script" not in content
    assert b"<!--" not in content
    assert "Apache License" in folder.joinpath("LICENSE").read_text()
    assert "Apache ECharts" in folder.joinpath("NOTICE").read_text()
    assert "Mike Bostock" in folder.joinpath("LICENSE-d3").read_text()
