"""Charts as options of ECharts: marks, curves, intervals and axes in the colours of the
page.

The tooltip of an item is its `tip`, or the table row with the number `row`;
`scripts/page.js` adds these, and styles axes and legends. Colours are variables of
`templates/page.css`, so that charts follow dark mode and print.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Chart
from experiment_pipeline.statistics.interval import Interval

Option = dict[str, Any]
INK, PAPER, MUTED, GOOD, BAD = (
    f"var(--{it})" for it in ("ink", "paper", "muted", "good", "bad")
)
SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))
SYMBOLS = ("circle", "rect", "diamond", "roundRect", "pin", "arrow")
_LONGEST_NAME = 40


def plain(name: object, longest: int = _LONGEST_NAME) -> str:
    """Return a name on one line, shortened, with unprintable characters replaced."""
    return "".join(c if c.isprintable() else "?" for c in numbers.shown(name, longest))


def digits(value: float) -> float:
    """Return a number rounded to 6 significant digits, more than a chart shows."""
    return float(f"{value:.6g}")


def item(*at: Any, **more: Any) -> Option:
    """Return an item of a series at its coordinates, with `tip`, `row` or a style of
    its own.
    """
    return {
        "value": [digits(one) if isinstance(one, float) else one for one in at],
        **more,
    }


def dots(
    items: Iterable[Option], colour: str, *, filled: bool = True, **more: Any
) -> Option:
    """Return marks; `more`: other options of a scatter series."""
    style = {
        "color": colour if filled else PAPER,
        "borderColor": colour,
        "borderWidth": 1.5,
    }
    drawn = {"type": "scatter", "symbolSize": 8, "color": colour, "itemStyle": style}
    return {**drawn, "data": list(items), **more}


def curve(points: Iterable[Option], colour: str, name: str = "", **more: Any) -> Option:
    """Return a line through points; `kind` of `more` is solid, dashed or dotted."""
    style = {"type": more.pop("kind", "solid"), "width": 2}
    drawn = {
        "type": "line",
        "name": name,
        "color": colour,
        "lineStyle": style,
        "symbolSize": 6,
    }
    return {**drawn, "symbol": "circle", "data": list(points), **more}


def bars(items: Iterable[Option], colour: str, *, upright: bool, **more: Any) -> Option:
    """Return intervals: items at (place, low, high), the bounds on the vertical axis if
    upright.
    """
    encode = {"x": [0], "y": [1, 2]} if upright else {"y": [0], "x": [1, 2]}
    kind = {
        "type": "custom",
        "renderItem": "upright" if upright else "lying",
        "encode": encode,
    }
    return {
        **kind,
        "itemStyle": {"color": colour},
        "silent": True,
        "data": list(items),
        **more,
    }


def reference(start: Sequence[float], end: Sequence[float]) -> Option:
    """Return a dashed reference line between two points."""
    line = {"type": "dashed", "color": MUTED, "width": 1}
    drawn = {"type": "line", "symbol": "none", "silent": True, "lineStyle": line}
    return {**drawn, "data": [start, end]}


def level(value: float | None, axis: str, label: str, colour: str = MUTED) -> Option:
    """Return a dashed line across a chart at a value of `xAxis` or `yAxis`; None: no
    line.
    """
    place = "insideEndTop" if axis == "yAxis" else "end"
    line = {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"type": "dashed", "color": colour, "width": 1.5},
        "label": {"formatter": label, "color": colour, "position": place},
        "data": []
        if value is None or not math.isfinite(value)
        else [{axis: digits(value)}],
    }
    return {"type": "line", "data": [], "markLine": line}


def log_axis(values: Sequence[float], **more: Any) -> Option:
    """Return a logarithmic axis with ticks at powers of 10, or finer ones if fewer than
    three would fit.
    """
    low, high = min(values) / 1.2, max(values) * 1.2
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), range(1, 10), [1 + part / 10 for part in range(90)]):
        ticks = [
            float(f"{step * 10.0**power:.2g}") for power in powers for step in steps
        ]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 2:
            break
    label = {"customValues": ticks}
    return {
        "type": "log",
        "min": digits(low),
        "max": digits(high),
        "axisLabel": label,
        **more,
    }


def names_axis(names: Sequence[str], **more: Any) -> Option:
    """Return a category axis of names."""
    return {"type": "category", "data": list(names), **more}


def estimates(
    title: str,
    alt: str,
    rows: Sequence[tuple[str, Interval, str]],
    axis: str,
    reference: float | None = None,
) -> Chart:
    """Return a chart of rows (name, estimate with its interval, colour); non-finite
    values are not drawn.

    Names may be any text; `axis`: the title of the numbers' axis; `reference`: a value
    to compare with.
    """
    marks, lines = [], []
    for place, (name, one, colour) in enumerate(rows):
        style = {"itemStyle": {"color": colour}}
        if math.isfinite(one.low) and math.isfinite(one.high) and one.low < one.high:
            lines.append(item(place, one.low, one.high, **style))
        if math.isfinite(one.estimate):
            tip = f"{name}: {numbers.interval(one)}"
            marks.append(item(one.estimate, place, tip=tip, **style))
    option = {
        "xAxis": {"name": axis},
        "yAxis": names_axis([plain(name) for name, *_ in rows], inverse=True),
        "series": [
            bars(lines, MUTED, upright=False),
            {"type": "scatter", "symbolSize": 9, "data": marks},
            level(reference, "xAxis", ""),
        ],
    }
    return Chart(title, alt, option, height=60 + 26 * len(rows))
