"""Documents as data, rendered as Markdown or as one self-contained HTML page.

In: plain texts, tables, charts. Out: Markdown or HTML in which every text is escaped. Styles are in
`templates/`, charts are drawn by `scripts/`.
"""

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    import jinja2

# How an outcome is coloured.
Tone = Literal["", "passed", "doubtful", "failed"]
# An underscore inside a word is no emphasis; only a leading # makes a heading.
_ACTIVE = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^#")


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of plain texts."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Markup:
    """HTML that is safe and shown as it is; nothing in Markdown."""

    html: str


@dataclass(frozen=True)
class Link:
    """A text that leads somewhere: a relative path, or an address of http."""

    text: str
    target: str


Cell = str | Link | Markup


@dataclass(frozen=True)
class TableBlock:
    """A table, every row as long as the header.

    Attributes:
        header: empty texts only for a list of facts, whose first column is its heading.
        rows: cells.
        classes: of each row, for its colours; empty: none.
        filters: columns by whose values rows can be filtered; with them the page makes the table
            sortable, and marks a row in all charts. Its second column names the rows.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    classes: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """A block of code."""

    language: str
    text: str


@dataclass(frozen=True)
class Card:
    """Blocks that belong together, under a title with a tag of the colour `tone`."""

    title: str
    tag: str
    tone: str
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart that the page draws with ECharts; in Markdown and without scripts it is its `alt`.

    Attributes:
        title: above it.
        alt: what it shows, in a sentence with its number.
        option: of ECharts, JSON values only (see `charts.py`); names in it may be anything.
        said: how to read it; empty: nothing to explain.
        size: of a page's width: a quarter, a half or all of it.
        height: pixels.
    """

    title: str
    alt: str
    option: Mapping[str, Any]
    said: str = ""
    size: Literal["small", "half", "wide"] = "half"
    height: int = 320


@dataclass(frozen=True)
class Flow:
    """Steps that lead to each other, each a card; a numbered list for who cannot see it."""

    cards: tuple[Card, ...]


Block = Paragraph | Link | Flow | Bullets | TableBlock | Code | Markup | Card | Chart


@dataclass(frozen=True)
class Section:
    """A title and what stands under it, on the page folded away if few read it."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """A document as data.

    Attributes:
        title: of the page.
        sections: in order; the first begins with a paragraph, the outcome in a sentence.
        links: to the pages around it; nothing in Markdown.
    """

    title: str
    sections: tuple[Section, ...]
    links: tuple[Link, ...] = ()


def around(experiment: str, folders: int = 2) -> tuple[Link, ...]:
    """Return the links of a page so many folders below `<root>/<experiment>`.

    A stage's lies in `<stage>/<fingerprint>`.
    """
    up = "../" * folders
    return (
        Link("Overview of all experiments", f"{up}../overview.html"),
        Link(f"All runs of {experiment}", f"{up}runs.html"),
    )


def render(document: Document) -> str:
    """Return the document as Markdown."""
    parts = [f"# {escape(document.title)}"]
    for section in document.sections:
        parts += [f"## {escape(section.title)}", *map(rendered, section.blocks)]
    return "\n\n".join(filter(None, parts)) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown and HTML show as it is, in one line."""
    one_line = " ".join(text.split())
    return _ACTIVE.sub(r"\\\g<0>", html.escape(one_line, quote=False))


def bullets(items: Iterable[str]) -> str:
    """Return plain texts as a list."""
    return "\n".join(f"- {escape(item)}" for item in items)


def fenced(language: str, text: str) -> str:
    """Return a block of code; its fence is longer than any run of backticks inside."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"


def rendered(block: Block) -> str:  # noqa: PLR0911 - a line for each kind
    """Return one block as Markdown."""
    match block:
        case Paragraph(text) | Chart(alt=text):
            return escape(text)
        case Bullets(items):
            return bullets(items)
        case Code(language, text):
            return fenced(language, text)
        case Link() | Markup():
            return _cell(block)
        case Flow(cards):
            return "\n".join(f"{n}. {_step(card)}" for n, card in enumerate(cards, start=1))
        case TableBlock(header, rows):
            separator = ["---"] * len(header)
            lines = [list(map(escape, header)), separator, *(map(_cell, row) for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Card(title, tag, _, blocks):
            return "\n\n".join([f"### {escape(title)}\n\n**{tag}**", *map(rendered, blocks)])


def _step(card: Card) -> str:
    """A card in a line of Markdown."""
    said = " ".join(filter(None, map(rendered, card.blocks)))
    return f"{escape(card.title)}: **{escape(card.tag)}**. {said}".rstrip(". ") + "."


def _cell(cell: Cell) -> str:
    match cell:
        case Markup():
            return ""
        case Link(text, target):
            return f"[{escape(text)}]({_address(target)})"
        case str():
            return escape(cell)


def _address(target: str) -> str:
    """A target as it stands in a link; only http may be its scheme, another would run code."""
    colon = "" if not target.startswith(("http://", "https://")) else ":"
    return quote(target, safe=f"/#?=&%{colon}" if colon else "/")


def anchor(title: str) -> str:
    """Return what a link within the page calls a section: `#gates-and-looks`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def render_html(
    document: Document,
    *,
    passed: bool | None = None,
    tone: Tone = "",
    width: int = 72,
) -> str:
    """Return the page: title and sections.

    Args:
        document: what to show; its first paragraph is the outcome in a sentence.
        passed: gives the tone where there is something to pass.
        tone: the colour of the first paragraph.
        width: at most, in rem.
    """
    if passed is not None:
        tone = "passed" if passed else "failed"
    blocks = [block for section in document.sections for block in section.blocks]
    scripts = ("echarts/echarts.min.js", "page.js") if any(map(_is_drawn, blocks)) else ()
    folder = files("experiment_pipeline.reporting").joinpath("scripts")
    return _template().render(
        document=document,
        tone=tone,
        width=width,
        scripts=[folder.joinpath(name).read_text("utf-8") for name in scripts],
    )


def _is_drawn(block: Block) -> bool:
    return isinstance(block, Chart) or (isinstance(block, TableBlock) and bool(block.filters))


@lru_cache(maxsize=1)
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiment_pipeline.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names and texts stay what they are: `<`, `>` and `&` are escaped, and all beyond ASCII.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["target"] = _address
    environment.filters["anchor"] = anchor
    return environment.get_template("page.html")
