"""The first rows of a table as Markdown for the UI, with nothing in it that could act."""

import html
import re

import pandas as pd

MOST_COLUMNS = 40
MOST_CHARACTERS = 60


def preview(frame: pd.DataFrame, rows: int = 5) -> str:
    """The first `rows` rows as a Markdown table; wide tables and long texts are cut, and say so.

    Names and values come from strangers: HTML and Markdown in them is shown, not rendered.
    """
    shown = frame.iloc[:rows, :MOST_COLUMNS]
    lines = [_line([str(name) for name in shown.columns]), "|" + " --- |" * shown.shape[1]]
    lines.extend(
        _line(["" if pd.isna(value) else str(value) for value in values])
        for values in shown.itertuples(index=False, name=None)
    )
    if (hidden := frame.shape[1] - shown.shape[1]) > 0:
        lines.append(f"\n… and {hidden:,} more columns")
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 1] + "…"
    one_line = " ".join(text.splitlines())
    return re.sub(r"([\\`*\[\]~|])", r"\\\1", html.escape(one_line, quote=False))
