"""How a picture is drawn: as SVG in the page's own colours, as PNG where no page is around it.

Every picture is a `Figure` of its own, never pyplot's: nothing stays open. In SVG all colours are
the variables of `templates/page.css`, so that a picture follows dark mode and print, texts are
texts in the page's font, and the same picture is the same text each time. Names from the data are
shown as they are. What is drawn belongs to the stages. In: a function that draws on a figure. Out: a
`Picture` of a document, or PNG bytes.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Self

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Picture

_LONGEST_NAME = 40
# Inches at 72 dots: as wide as a phone, two side by side elsewhere; letters keep their size.
WIDTH, HEIGHT = 5.2, 3.7
_FONT_SIZE = 10
_METADATA = ("Date", "Creator", "Format", "Type")
_DPI_OF_PNG = 110
# Settings of matplotlib hold for the whole process, as long as a picture is drawn.
_ONE_AT_A_TIME = threading.Lock()
_COLOUR = re.compile(r"--(ink|paper|muted|line|panel|link|good|caveat|bad|series-\d): (#\w+)")
_REFERENCE = re.compile(r"(?<=: )#fe51(\w\w)\b")


@dataclass(frozen=True)
class Palette:
    """The colours of a page; only these are drawn with."""

    ink: str
    paper: str
    muted: str
    line: str
    panel: str
    link: str
    good: str
    caveat: str
    bad: str
    series: tuple[str, ...]

    @classmethod
    def of(cls, colours: dict[str, str]) -> Self:
        """Return the palette of variable → colour."""
        series = tuple(colour for name, colour in colours.items() if name.startswith("series-"))
        named = {name: colour for name, colour in colours.items() if name in cls.__annotations__}
        return cls(**named, series=series)


@lru_cache(maxsize=1)
def _light() -> dict[str, str]:
    """The page's variables in light mode, which stand first."""
    css = files("experiment_pipeline.reporting").joinpath("templates/page.css").read_text("utf-8")
    found: dict[str, str] = {}
    for name, colour in _COLOUR.findall(css):
        found.setdefault(name, colour)
    return found


@dataclass(frozen=True)
class Drawing:
    """A picture that can be drawn.

    Attributes:
        title: what it is of; unlike those of other pictures on the page.
        alt: what it shows, in a sentence with its number.
        draw: draws on an empty figure, in the colours of the palette alone.
        width: inches at 72 dots.
        height: likewise.
    """

    title: str
    alt: str
    draw: Callable[[Figure, Palette], None]
    width: float = WIDTH
    height: float = HEIGHT

    def picture(self) -> Picture:
        """Return it as a block of a document."""
        variables = list(_light())
        marks = {name: f"#fe51{number:02x}" for number, name in enumerate(variables)}
        settings = {"svg.fonttype": "none", "svg.hashsalt": self.title}
        text = io.StringIO()
        with self._drawn(Palette.of(marks), settings) as figure:
            figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
        svg = _tidy(text.getvalue())
        svg = _REFERENCE.sub(lambda mark: f"var(--{variables[int(mark[1], 16)]})", svg)
        return Picture(self.title, self.alt, svg)

    def png(self) -> bytes:
        """Return it in the colours of light mode."""
        buffer = io.BytesIO()
        with self._drawn(Palette.of(_light()), {}) as figure:
            # Without the version of matplotlib the same picture is the same bytes.
            figure.savefig(buffer, format="png", dpi=_DPI_OF_PNG, metadata={"Software": None})
        return buffer.getvalue()

    @contextmanager
    def _drawn(self, palette: Palette, settings: dict[Any, Any]) -> Iterator[Figure]:
        with (
            _ONE_AT_A_TIME,
            mpl.rc_context({**_style(palette), **settings}),
            warnings.catch_warnings(),
        ):
            # The browser has letters that the font lacks.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure = Figure(figsize=(self.width, self.height), dpi=72, layout="constrained")
            FigureCanvasAgg(figure)
            self.draw(figure, palette)
            yield figure


def _style(palette: Palette) -> dict[Any, Any]:
    """Settings of matplotlib: the page's colours, no mathematics in `$`, no frame around."""
    ink = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
    lines = ("axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(ink, palette.ink),
        **dict.fromkeys(lines, palette.muted),
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": palette.paper,
        "font.family": "DejaVu Sans",
        "font.size": _FONT_SIZE,
        "legend.frameon": False,
        "legend.fontsize": _FONT_SIZE - 1,
        "text.parse_math": False,
    }


def _tidy(svg: str) -> str:
    """Cut a file of its own to an element of a page: no size, no style, no id but those in use."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL
    )
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    return re.sub(r"\s*\n\s*", " ", svg).strip()


def plain(name: object, longest: int = _LONGEST_NAME) -> str:
    """Return a name in one line that is not too long, of letters that can be shown."""
    return "".join(c if c.isprintable() else "?" for c in numbers.shown(name, longest))
