"""Documents as data, and their Markdown.

A report is built as a `Document`, so that its content can be tested without parsing text, and
rendered last. In: plain texts. Out: Markdown in which they are shown, never interpreted:
what Markdown or HTML would act upon is escaped.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

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
class Table:
    """A table of plain texts, every row as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Code:
    """A block of code."""

    language: str
    text: str


Block = Paragraph | Bullets | Table | Code


@dataclass(frozen=True)
class Section:
    """A title and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A document as data."""

    title: str
    sections: tuple[Section, ...]

    def section(self, title: str) -> Section:
        """Return the section of that title; KeyError names those there are."""
        for section in self.sections:
            if section.title == title:
                return section
        raise KeyError(f"no section {title!r}; there are {[s.title for s in self.sections]}")


def render(document: Document) -> str:
    """Return the document as Markdown."""
    parts = [f"# {escape(document.title)}"]
    for section in document.sections:
        parts += [f"## {escape(section.title)}", *map(_rendered, section.blocks)]
    return "\n\n".join(parts) + "\n"


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


def _rendered(block: Block) -> str:
    match block:
        case Paragraph(text):
            return escape(text)
        case Bullets(items):
            return bullets(items)
        case Code(language, text):
            return fenced(language, text)
        case Table(header, rows):
            separator = ["---"] * len(header)
            lines = [list(map(escape, header)), separator, *(map(escape, row) for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
