"""The results page: a section per part of the benchmark, each refreshed by itself.

Measuring belongs to the parts. In: the page as it is and one new section. Out: the
page.
"""

from collections.abc import Iterable, Sequence
from typing import Any

HEAD = """# Benchmark

Written by `make bench`; each section says when and where it was measured."""
_BEGIN = "## "


def markdown(columns: Sequence[str], rows: Iterable[Any]) -> str:
    """Return a Markdown table of rows, which are lists of cells or have `cells()`."""
    cells = [row if isinstance(row, list) else row.cells() for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def refreshed(page: str, heading: str, text: str, order: Sequence[str]) -> str:
    """Return the page with one section replaced or added; titles that `order` has not
    are dropped.
    """
    parts = [part.strip() for part in f"\n{page}".split(f"\n{_BEGIN}")[1:]]
    bodies = {
        title: body.strip()
        for title, _, body in (part.partition("\n") for part in parts)
    }
    bodies[heading] = text.strip()
    kept = [f"{_BEGIN}{title}\n\n{bodies[title]}" for title in order if title in bodies]
    return "\n\n".join([HEAD, *kept]) + "\n"
