"""Charts as plain data: two axes, and series of a few shapes on them.

`chart` makes a block of a page of a `Plot`; `scripts/page.js` draws each shape with
ECharts. Colours are variables of `templates/page.css`, so that charts follow dark mode
and print. What has a number that is not finite is not drawn.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Chart, Markup
from experiment_pipeline.statistics.interval import Interval

INK, MUTED, GOOD, BAD = "var(--ink)", "var(--muted)", "var(--good)", "var(--bad)"
SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))
SYMBOLS = ("circle", "rect", "diamond", "roundRect", "pin", "arrow")
_LONGEST_NAME = 40
_FEWEST_TICKS = 3  # of a logarithmic axis


@dataclass(frozen=True)
class Axis:
    """An axis of numbers, or of names, whose places are 0, 1 and so on."""

    title: str = ""
    low: float | None = None  # None: where the data end
    high: float | None = None
    ticks: Sequence[float] = ()  # of a logarithmic axis
    names: Sequence[str] = ()
    downwards: bool = False  # the first name is at the top
    rotated: bool = False  # the names are
    jitter: int = 0  # pixels by which marks of the same place are moved apart

    def holds(self, value: float) -> bool:
        """Whether a value is between its ends."""
        is_below = self.low is not None and value < self.low
        return not (is_below or (self.high is not None and value > self.high))


@dataclass(frozen=True)
class Mark:
    """A point, bar or cell; on an axis of names, a coordinate is the place of a name.

    Pointing at it shows its tip, or the cells of its row in the table of the page.
    """

    x: float
    y: float
    tip: str = ""
    row: int | None = None
    color: str = ""  # in place of the colour of its series
    label: str = ""  # above it, or on a cell


@dataclass(frozen=True)
class Span:
    """An interval across one axis, at a place on the other; `row` as of a mark."""

    at: float
    low: float
    high: float
    row: int | None = None


@dataclass(frozen=True)
class Points:
    """Marks; sizes are pixels, or width and height."""

    marks: Sequence[Mark]
    color: str
    name: str = ""  # in the legend
    symbol: str = "circle"
    size: float | Sequence[float] = 8
    filled: bool = True
    opacity: float = 0.8


@dataclass(frozen=True)
class Line:
    """A line through marks of `size` pixels; `step`: level up to the next mark."""

    marks: Sequence[Mark]
    color: str
    name: str = ""
    size: float = 6
    step: bool = False


@dataclass(frozen=True)
class Intervals:
    """Intervals of y at places on x if upright, else of x at places on y."""

    spans: Sequence[Span]
    color: str
    upright: bool = True
    opacity: float = 1.0


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, each in its own colour."""

    marks: Sequence[Mark]


@dataclass(frozen=True)
class Heatmap:
    """Cells of two axes of names, each in its own colour."""

    marks: Sequence[Mark]


@dataclass(frozen=True)
class Level:
    """A dashed line across the chart at a value of an axis."""

    axis: Literal["x", "y"]
    at: float
    label: str = ""
    color: str = MUTED


@dataclass(frozen=True)
class Diagonal:
    """A dashed line where x and y are equal."""

    low: float
    high: float


Series = Points | Line | Intervals | Bars | Heatmap | Level | Diagonal


@dataclass(frozen=True)
class Plot:
    """Axes and the series on them, in the order in which they are drawn."""

    x: Axis
    y: Axis
    series: Sequence[Series]
    legend: bool = False  # whether it names the series, where several have a name


def chart(
    title: str, alt: str, plot: Plot, how_to_read: str = "", **layout: Any
) -> Chart:
    """Return the chart of a page; `layout`: its `size` and `height`."""
    return Chart(title, alt, _as_json(plot), how_to_read, **layout)


def log_axis(values: Sequence[float], title: str) -> Axis:
    """Return a logarithmic axis around positive values, with at least three ticks."""
    low, high = min(values) / 1.2, max(values) * 1.2
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 2, 5), range(1, 10), [1 + part / 10 for part in range(90)]):
        ticks = [
            float(f"{step * 10.0**power:.2g}") for power in powers for step in steps
        ]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= _FEWEST_TICKS:
            break
    return Axis(title, low, high, ticks)


def around_zero(changes: Iterable[Interval]) -> Axis:
    """Return an axis for changes, with zero in its middle."""
    ends = [end for one in changes for end in (one.low, one.estimate, one.high)]
    end = max((abs(end) for end in ends if math.isfinite(end)), default=0.0)
    return Axis(low=-1.05 * end, high=1.05 * end)


def on_line(scored: Interval, axis: Axis, level: float | None = None) -> Markup:
    """Return an estimate in a cell of a table: its interval on a line, then its text.

    `axis` is the same for all cells of a column; `level`: a value marked on the line.
    """
    low, high = axis.low, axis.high
    if low is None or high is None or not math.isfinite(scored.estimate):
        return Markup("", "")
    places = {"a": scored.low, "x": scored.estimate, "b": scored.high, "m": level}
    percents = {
        name: 100 * (value - low) / (high - low or 1.0)
        for name, value in places.items()
        if value is not None and math.isfinite(value)
    }
    style = ";".join(f"--{name}:{percent:.3g}" for name, percent in percents.items())
    text = numbers.estimate(scored)
    bounds = f" <small>{numbers.bounds(scored)}</small>" if "a" in percents else ""
    line = f'<i class="interval" style="{style}"></i>'
    return Markup(f"{line}{text}{bounds}", numbers.interval(scored))


def plain(name: object, longest: int = _LONGEST_NAME) -> str:
    """Return a name on one line, shortened, with unprintable characters replaced."""
    return "".join(c if c.isprintable() else "?" for c in numbers.shown(name, longest))


def _as_json(part: Any) -> Any:
    """Fields that are set; numbers with 6 digits, which are more than a chart shows."""
    if is_dataclass(part):
        fields = {k: _as_json(v) for k, v in vars(part).items() if v not in (None, "")}
        return fields | (
            {"shape": type(part).__name__} if isinstance(part, Series) else {}
        )
    if isinstance(part, float):
        return float(f"{part:.6g}")
    if isinstance(part, list | tuple | map):
        return [_as_json(inner) for inner in part if _is_finite(inner)]
    return part


def _is_finite(part: Any) -> bool:
    fields = vars(part).values() if is_dataclass(part) else [part]
    return all(math.isfinite(field) for field in fields if isinstance(field, float))
