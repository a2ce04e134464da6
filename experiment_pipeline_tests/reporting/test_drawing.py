"""How a picture is drawn: the page's colours alone, the same text each time, safe with any name."""

import re
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from matplotlib import _pylab_helpers
from matplotlib.figure import Figure

from experiment_pipeline.reporting.document import Document, Paragraph, Section, render, render_html
from experiment_pipeline.reporting.drawing import Drawing, Palette, plain

NAME = "<b>&amp;$x^$ `|` 漢 \x00"
ALT = 'It rises to 0.75, "surely" <b>'


def _draw(figure: Figure, palette: Palette) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=palette.series[0], label=plain(NAME))
    axes.scatter([0.1, 0.2], [0.3, 0.4], color=palette.good)
    axes.bar([0, 1], [1, 2], color=palette.series[5], alpha=0.3)
    axes.set_title(plain(NAME))
    axes.legend()


DRAWING = Drawing(f"Title {NAME}", ALT, _draw)


@pytest.fixture(scope="module")
def svg() -> str:
    """The picture of DRAWING."""
    return DRAWING.picture().svg


def test_colours_are_the_variables_of_the_page(svg: str) -> None:
    """No colour is fixed, so that a picture follows dark mode and print."""
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) == {
        *("none", "var(--ink)", "var(--muted)"),
        *("var(--series-1)", "var(--series-6)", "var(--good)"),
    }
    assert not re.search(r"#[0-9a-f]{6}\b|rgb|<style|<metadata|font-family|pt\"", svg)


def test_names_are_shown_as_they_are(svg: str) -> None:
    """No tag, no mathematics, and a letter that the font lacks is the browser's."""
    texts = [element.text for element in ET.fromstring(svg).iter() if element.text]
    assert "<b>&amp;$x^$ `|` 漢 ?" in texts


def test_a_picture_is_the_same_text_each_time_and_leaves_nothing_open() -> None:
    """No global figure, no changed setting, no date, no version."""
    before = dict(mpl.rcParams)
    assert DRAWING.picture() == DRAWING.picture()
    assert DRAWING.png() == DRAWING.png()
    assert DRAWING.png().startswith(b"\x89PNG")
    assert not _pylab_helpers.Gcf.figs
    assert dict(mpl.rcParams) == before


def test_ids_of_two_pictures_differ_and_lead_to_something(svg: str) -> None:
    """Two pictures of a page do not take each other's shapes."""
    other = Drawing("Another", ALT, _draw).picture().svg
    ids, others = ({*re.findall(r' id="([^"]+)"', one)} for one in (svg, other))
    assert ids
    assert not ids & others
    assert {*re.findall(r'(?:href="|url\()#([^")]+)', svg)} == ids


def test_a_page_tells_who_does_not_see_it(svg: str) -> None:
    """The sentence is the picture's name on the page, and stands for it in Markdown."""
    document = Document("page", (Section("one", (Paragraph("text"), DRAWING.picture())),))
    page = render_html(document)
    assert svg in page
    assert 'role="img" aria-label="It rises to 0.75, &#34;surely&#34; &lt;b&gt;"' in page
    assert "Title &lt;b&gt;" in page
    assert render(document).endswith('It rises to 0.75, "surely" &lt;b&gt;\n')


def test_names_are_one_line_and_not_too_long() -> None:
    """What cannot be shown is replaced."""
    assert plain("a $x$\nb") == "a $x$ b"
    assert plain("x" * 99) == "x" * 39 + "…"
    assert plain("") == "''"
