"""The charts of a leaderboard's page, and what a finished search holds for them.

In: a leaderboard, what was searched, and what every configuration scored at each rung. Out: charts
whose items name rows of the page's table. The table and the page around both: `page.py`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.charts import (
    BAD,
    INK,
    MUTED,
    SERIES,
    SYMBOLS,
    Option,
    bars,
    curve,
    digits,
    dots,
    item,
    level,
    log_axis,
    names_axis,
)
from experiment_pipeline.reporting.document import Block, Chart, Paragraph
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE, competes
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.edges import is_number, is_searched_by_ratio
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    NOT_STARTED,
    STOPPED_EARLY,
    TRAINED,
    SearchResults,
    Step,
)
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.workers import names, placed
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.table.table import plain_rows

Row = Mapping[Any, Any]
# What a page holds of a larger search; a thousand are 1 MB of it.
MOST_ROWS = 1_000


@dataclass(frozen=True)
class SearchAxis:
    """A hyperparameter of which an algorithm's configurations have several values.

    Attributes:
        name: of the hyperparameter.
        log: whether it was searched by ratios.
        kinds: the values as names, numbers before other values; empty where all are numbers.
    """

    name: str
    log: bool
    kinds: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SearchShown:
    """A finished search as people see it.

    Attributes:
        board: its ranking; the first MOST_ROWS rows are shown.
        declared: key → configuration of every row: what the YAML declares, and the ensemble.
        paths: as of `SearchResults`.
        spec: tells what was searched by ratios.
        placed: the rows of `search_results` that workers of a cluster have fitted; None: no cluster.
    """

    board: Leaderboard
    declared: Mapping[str, Configuration]
    paths: Mapping[str, tuple[Step, ...]]
    spec: ExperimentSpec
    placed: pd.DataFrame | None = None

    @classmethod
    def of(cls, board: Leaderboard, found: SearchResults, spec: ExperimentSpec) -> "SearchShown":
        """Return what is shown of a search and the board that it led to."""
        declared = {one.key: one for one in configurations(spec)}
        fitted = placed(found.rows)
        known = board, board.with_ensemble(declared), found.paths, spec
        return cls(*known, None if fitted.empty else fitted)

    @cached_property
    def workers(self) -> dict[str, str]:
        """Key → the worker that fitted it, and how often it was begun; empty without a cluster."""
        if self.placed is None:
            return {}
        shown = names(self.placed)
        each = zip(*(self.placed[name] for name in ("key", "worker", "attempts")), strict=True)
        return {
            key: shown[worker] + (f", {attempts:.0f} attempts" if attempts > 1 else "")
            for key, worker, attempts in each
        }

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that are shown, None where a cell is empty."""
        return plain_rows(self.board.rows.head(MOST_ROWS))

    @cached_property
    def axes(self) -> dict[str, tuple[SearchAxis, ...]]:
        """Algorithm → what varies among its configurations, in the order of the rows."""
        algorithms = dict.fromkeys(one.algorithm for one in self.declared.values())
        return {algorithm: tuple(self._axes_of(algorithm)) for algorithm in algorithms}

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """All that varies within an algorithm, once each."""
        return tuple(dict.fromkeys(axis.name for axes in self.axes.values() for axis in axes))

    @cached_property
    def spent(self) -> dict[str, float]:
        """Key → CPU seconds of all its fits."""
        return {k: sum(step.fit_cpu_seconds for step in path) for k, path in self.paths.items()}

    @property
    def fractions(self) -> list[float]:
        """The rungs: shares of the train rows, the smallest first."""
        return sorted({step.fraction for path in self.paths.values() for step in path})

    def settings(self, key: str) -> dict[str, Scalar]:
        """What a configuration has of that which varies."""
        one = self.declared[key]
        given = {**one.hyperparameters, "features": one.features}
        names = [axis.name for axis in self.axes[one.algorithm]]
        return {name: given[name] for name in names if name in given}

    def settings_in_words(self, key: str) -> str:
        """The same in words; what stands for none where nothing varies."""
        return numbers.settings(self.settings(key)) or "nothing was searched"

    def _axes_of(self, algorithm: str) -> Iterator[SearchAxis]:
        own = [one for one in self.declared.values() if one.algorithm == algorithm]
        given = [{**one.hyperparameters, "features": one.features} for one in own]
        for name in dict.fromkeys(name for one in given for name in one):
            values = {numbers.setting(one[name]) for one in given if name in one}
            present = [one[name] for one in given if name in one]
            if len(values) + (len(present) < len(given)) < 2:
                continue
            numeric = all(is_number(value) for value in present) and len(present) == len(given)
            ordered = sorted(present, key=lambda v: (not is_number(v), v if is_number(v) else 0))
            kinds = () if numeric else tuple(dict.fromkeys(map(numbers.setting, ordered)))
            log = (
                numeric
                and all(is_number(v) and v > 0 for v in present)
                and is_searched_by_ratio(self.spec, algorithm, name)
            )
            yield SearchAxis(name, log, kinds)

    @cached_property
    def places(self) -> dict[str, int]:
        """Key → number of its row, by which charts and table name the same configuration."""
        return {row["key"]: number for number, row in enumerate(self.rows)}

    @cached_property
    def best(self) -> str:
        """Key of the first ranked configuration; an ensemble ahead of it has no hyperparameters."""
        ranked = (row["key"] for row in self.rows if row["rank"] is not None)
        return str(next(key for key in ranked if key != ENSEMBLE))

    def started(self, algorithm: str) -> list[Row]:
        """Return the rows of an algorithm that were started."""
        started = [row for row in self.rows if row["status"] != NOT_STARTED]
        return [row for row in started if row["algorithm"] == algorithm]


def score_charts(shown: SearchShown) -> Iterator[Chart]:
    """Return score against cost, and the best score over what was spent."""
    board, better = shown.board, METRICS[shown.board.metric].better_is
    full = [row for row in shown.rows if _is_ranked(row) and competes(row["algorithm"])]
    full = [row for row in full if row["fit_cpu_seconds"] is not None]
    ranked = sum(map(_is_ranked, shown.rows))
    tied = numbers.counted(len(board.tie_group), "configuration")
    if full:
        axis, outside = _score_axis(shown, full, intervals=True)
        at = {row["key"]: max(row["fit_cpu_seconds"], 0.001) for row in full}
        spans = [
            item(at[row["key"]], row["low"], row["high"], row=shown.places[row["key"]])
            for row in full
            if row["low"] is not None
        ]
        pale = {"color": MUTED, "opacity": 0.5}
        chosen = [item(at[r["key"]], r["test_score"]) for r in full if r["key"] == board.chosen]
        label = {"show": True, "formatter": "chosen", "color": INK, "position": "top"}
        ring = {"color": "none", "borderColor": INK, "borderWidth": 2}
        yield Chart(
            "Score against cost",
            f"{board.metric} of {numbers.counted(ranked, 'configuration')} against CPU seconds of "
            f"the fit: {board.chosen}, the chosen one, scores {numbers.interval(board.score)}; {tied} "
            f"tied for the best; the baseline scores {numbers.score(board.baseline)}.",
            {
                "legend": {},
                "xAxis": log_axis(list(at.values()), name="CPU seconds of the fit"),
                "yAxis": axis,
                "series": [
                    {**bars(spans, MUTED, upright=True), "itemStyle": pale},
                    *_marks(shown, full, lambda row: (at[row["key"]], row["test_score"])),
                    dots(chosen, INK, symbolSize=18, silent=True, label=label, itemStyle=ring),
                    level(
                        board.baseline, "yAxis", f"baseline {numbers.score(board.baseline)}", BAD
                    ),
                ],
            },
            f"{better.capitalize()} is better, further left is cheaper. Filled marks are statistically "
            f"tied with the best by {evaluated(board.evaluation).by}. Vertical lines are 95 % intervals. {outside}",
        )
    spend = _spend(shown)
    if len(spend) > 1:
        yield _spend_chart(shown, spend)


def _spend_chart(shown: SearchShown, spend: list[tuple[float, float, float, int]]) -> Chart:
    top, total = spend[-1][2], spend[-1][0]
    first = next(cost for cost, _, so_far, _ in spend if so_far == top)
    axis, outside = _score_axis(shown, [shown.rows[row] for *_, row in spend])
    at = {row: (cost, score) for cost, score, _, row in spend}
    fitted = [shown.rows[row] for row in at]
    small = sum(s.fit_cpu_seconds for p in shown.paths.values() for s in p if s.fraction < 1)
    label = {"formatter": "smaller rungs", "color": MUTED, "position": "insideTop"}
    area: Option = {"silent": True, "itemStyle": {"color": "var(--panel)"}, "label": label}
    area["data"] = [[{"xAxis": 0}, {"xAxis": digits(small)}]] if small else []
    line = [item(cost, so_far) for cost, _, so_far, _ in spend]
    best = curve(line, INK, step="end", symbol="none", silent=True, markArea=area)
    return Chart(
        "Best score against CPU seconds spent",
        f"The best score, {numbers.score(top)}, was reached after {numbers.measured(first)} of "
        f"{numbers.measured(total)} CPU seconds.",
        {
            "xAxis": {"name": "CPU seconds so far", "min": 0},
            "yAxis": axis,
            "series": [
                best,
                *_marks(shown, fitted, lambda row: at[shown.places[row["key"]]]),
            ],
        },
        "The line is the best score so far. Where it is flat, further fits did not improve it. Fits "
        f"are in the order of the YAML, after the smaller rungs. {outside}",
    )


def hyperparameter_charts(shown: SearchShown, algorithm: str) -> Iterator[Block]:
    """Return the hyperparameters of an algorithm together, then each against the score."""
    axes, own = shown.axes[algorithm], shown.started(algorithm)
    scored = [row for row in own if _has_score(row) and row["status"] != FAILED]
    if not axes or not scored:
        return
    first = scored[0]["key"]
    waiting = sum(one.algorithm == algorithm for one in shown.declared.values()) - len(own)
    left_out = f" {waiting:,} configurations that were not started are left out." if waiting else ""
    yield Chart(
        f"Hyperparameters of {algorithm} together",
        "Parallel coordinates of hyperparameters and score. The best configuration, "
        f"{first}: {shown.settings_in_words(first)}.",
        _parallel(shown, axes, own),
        "A line is a configuration. Blue ones are statistically tied with the best; the more orange, "
        "the worse the score. Dotted ones were stopped early, dashed ones failed. Drag along an axis "
        f"to keep the lines that cross it there; the table follows.{left_out}",
        size="wide",
        height=48 + 58 * (len(axes) + 2),
    )
    ranked = [row for row in scored if _is_ranked(row)]
    score_axis, outside = _score_axis(shown, ranked or scored)
    yield Paragraph(
        f"Each hyperparameter against {shown.board.metric}: where the marks rise or fall, it matters; "
        "a best score at an end of the axis means that the search should go further there. "
        f"Triangles were stopped early. {outside}".strip()
    )
    for axis in axes:
        yield _one_hyperparameter(shown, axis, scored, {**score_axis, "splitNumber": 4})


def _one_hyperparameter(
    shown: SearchShown,
    axis: SearchAxis,
    scored: list[Row],
    score_axis: Option,
) -> Chart:
    """Return the scores against one hyperparameter."""
    given = {row["key"]: shown.settings(row["key"]).get(axis.name) for row in scored}
    rows = [row for row in scored if axis.name in shown.settings(row["key"])]
    own = [one.hyperparameters.get(axis.name) for one in shown.declared.values()]
    tried = [value for value in own if is_number(value)]
    best = numbers.setting(given[rows[0]["key"]]) if rows else "no value"
    said = f"The best configuration has {best}"
    if tried:
        said += f"; tried were {numbers.setting(min(tried))} to {numbers.setting(max(tried))}"
    place: Option = {"name": axis.name}
    if axis.kinds:
        place |= names_axis(axis.kinds, jitter=16, jitterOverlap=True)
    elif axis.log:
        place |= log_axis([float(value) for value in given.values() if is_number(value)])

    def at(row: Row) -> tuple[Any, float]:
        value = given[row["key"]]
        return numbers.setting(value) if axis.kinds else value, row["test_score"]

    return Chart(
        axis.name,
        f"Score against {axis.name}. {said}.",
        {
            "xAxis": place,
            "yAxis": score_axis,
            "series": _marks(shown, rows, at),
        },
        size="small",
        height=230,
    )


def rung_charts(shown: SearchShown) -> Iterator[Chart]:
    """Return the scores at each rung of halving, and the learning curve; nothing for one rung."""
    if len(shown.fractions) < 2:
        return
    places = {fraction: place for place, fraction in enumerate(shown.fractions)}
    shares = names_axis(
        [_share_in_words(f) for f in shown.fractions], name="share of the train rows"
    )
    known = {
        key: [(places[s.fraction], s.test_score) for s in path if math.isfinite(s.test_score)]
        for key, path in shown.paths.items()
        if key in shown.places
    }
    lines, ends = [], dict[bool, list[Option]]({True: [], False: []})
    for row in reversed(shown.rows):
        if not (path := known.get(row["key"])):
            continue
        full, number = row["status"] == TRAINED, shown.places[row["key"]]
        colour = INK if row["key"] == shown.board.chosen else SERIES[0] if full else MUTED
        style = {"color": colour, "width": 3 if colour == INK else 1.2}
        style["opacity"] = 0.8 if full else _pale(len(known))
        points = [[x, digits(y)] for x, y in path]
        if len(points) > 1:
            lines.append({"coords": points, "row": number, "lineStyle": style})
        ends[full].append(item(*path[-1], row=number))
    entered = Counter(step.fraction for path in shown.paths.values() for step in path)
    counts = ", ".join(f"{entered[f]:,} on {_share_in_words(f)}" for f in shown.fractions)
    scored = [
        {"algorithm": shown.declared[key].algorithm, "test_score": y, "low": None, "high": None}
        for key, path in known.items()
        for _, y in path
    ]
    axis, outside = _score_axis(shown, scored)
    drawn = {"type": "lines", "coordinateSystem": "cartesian2d", "polyline": True, "data": lines}
    stopped = dots(ends[False], MUTED, filled=False, symbol="triangle", symbolSize=7)
    yield Chart(
        "Scores at each rung of halving",
        f"Test score at each share of the train rows: {counts}.",
        {
            "xAxis": shares,
            "yAxis": axis,
            "series": [drawn, dots(ends[True], SERIES[0], symbolSize=6), stopped],
        },
        "A line is a configuration, from few train rows to all. It ends with a triangle where halving "
        "stopped it. Scores on fewer train rows are measured on fewer test rows too: compare only "
        f"scores on the same share. {outside}",
    )
    yield _learning_curve(shown, shares)


def _learning_curve(shown: SearchShown, shares: Option) -> Chart:
    steps = "; ".join(
        f"{_share_in_words(step.fraction)}: test {numbers.score(step.test_score)}, "
        f"train {numbers.score(step.train_score)}"
        for step in shown.paths.get(shown.best, ())
    )
    whom = {shown.best: "best", shown.board.single: "chosen"}
    if len(whom) == 1:
        whom = {shown.best: "best and chosen"}
    series = []
    for colour, (key, name) in zip((SERIES[0], SERIES[2]), whom.items(), strict=False):
        for which, symbol in (("test_score", "circle"), ("train_score", "rect")):
            words = f"{name}: {which.replace('_', ' ')}"
            points = [
                item(
                    shown.fractions.index(step.fraction),
                    getattr(step, which),
                    tip=f"{words} {numbers.score(getattr(step, which))} on {_share_in_words(step.fraction)}",
                )
                for step in shown.paths.get(key, ())
                if math.isfinite(getattr(step, which))
            ]
            kind = "solid" if which == "test_score" else "dashed"
            series.append(curve(points, colour, words, kind=kind, symbol=symbol))
    return Chart(
        "Learning curve",
        f"{shown.board.metric} of {shown.best} by share of the train rows. {steps}.",
        {"legend": {}, "xAxis": shares, "yAxis": {"name": shown.board.metric}, "series": series},
        f"Of the {' and the '.join(whom.values())} configuration. If the test score still improves "
        "at the right end, more data may help. A wide gap between train and test score is overfitting.",
    )


def _parallel(shown: SearchShown, axes: Sequence[SearchAxis], own: list[Row]) -> Option:
    """Return parallel coordinates: what varies, how far each was fitted, the score on all rows."""
    reached = [FAILED, *map(_share_in_words, shown.fractions)]

    def got(row: Row) -> str:
        path = shown.paths.get(row["key"], ())
        return FAILED if row["status"] == FAILED or not path else _share_in_words(path[-1].fraction)

    steps = [name for name in reached if name in set(map(got, own))]
    ranked = [row["key"] for row in own if _is_ranked(row)]
    data = []
    # The best is drawn last, above the others.
    for row in reversed(own):
        settings = shown.settings(row["key"])
        values: list[Any] = [
            numbers.setting(settings.get(axis.name, "-")) if axis.kinds else settings[axis.name]
            for axis in axes
        ]
        values += [got(row)] if len(steps) > 1 else []
        values.append(digits(row["test_score"]) if _is_ranked(row) else "-")
        failed, place = row["status"] == FAILED, shown.places[row["key"]]
        style: Option = {"color": BAD, "type": "dashed", "width": 1, "opacity": 0.7}
        if _is_ranked(row):
            worse = 0 if row["in_tie_group"] else (ranked.index(row["key"]) + 1) / len(ranked)
            colour = f"color-mix(in oklab, {SERIES[4]}, {SERIES[0]} {100 - round(100 * worse)}%)"
            style = {"color": colour, "width": 4 if row["key"] == shown.board.chosen else 1.6}
        elif not failed:
            style |= {"color": MUTED, "type": "dotted", "opacity": _pale(len(own))}
        data.append({"value": values, "row": place, "lineStyle": style})
    drawn = [_parallel_axis(shown, axis, own) for axis in axes]
    drawn += [names_axis(steps, name="fitted on")] if len(steps) > 1 else []
    drawn.append({"name": shown.board.metric})
    left = 24 + 8 * min(22, max(len(axis["name"]) for axis in drawn))
    names = {"nameLocation": "start", "nameTruncate": {"maxWidth": left - 18}}
    return {
        "parallel": {"layout": "vertical", "left": left, "right": 30, "top": 16, "bottom": 34},
        "parallelAxis": [{"dim": dim, **names, **axis} for dim, axis in enumerate(drawn)],
        "series": [
            {"type": "parallel", "inactiveOpacity": 0.03, "activeOpacity": 0.85, "data": data}
        ],
    }


def _parallel_axis(shown: SearchShown, axis: SearchAxis, own: list[Row]) -> Option:
    if axis.kinds:
        return names_axis(axis.kinds, name=axis.name)
    given = [v for row in own if is_number(v := shown.settings(row["key"])[axis.name])]
    return log_axis(given, name=axis.name) if axis.log else {"name": axis.name}


def _marks(
    shown: SearchShown, rows: Sequence[Row], at: Callable[[Row], Sequence[Any]]
) -> list[Option]:
    """Return a mark per row, by algorithm, filled where tied; triangles where halving stopped it."""
    groups: dict[tuple[str, bool], list[Option]] = {}
    for row in rows:
        kind = (row["algorithm"] if _is_ranked(row) else STOPPED_EARLY, bool(row["in_tie_group"]))
        groups.setdefault(kind, []).append(item(*at(row), row=shown.places[row["key"]]))
    order, made = list(dict.fromkeys(row["algorithm"] for row in shown.rows)), []
    for (name, tied), items in sorted(groups.items()):
        look: Option = {"symbol": "triangle", "symbolSize": 6}
        colour = MUTED
        if name in order:
            number = order.index(name) % len(SERIES)
            look, colour = (
                {"symbol": SYMBOLS[number], "symbolSize": 10 if tied else 8},
                SERIES[number],
            )
        made.append(dots(items, colour, filled=tied, name=name, **look))
    return made


def _score_axis(
    shown: SearchShown, rows: Sequence[Row], *, intervals: bool = False
) -> tuple[Option, str]:
    """Return the axis of scores, and in words what is outside of it.

    It ends four times as far from the median as the best score is: scores that are worse by far
    would flatten the rest.
    """
    own = [row for row in rows if competes(row["algorithm"])] or rows
    scores = sorted(row["test_score"] for row in own)
    low, high, middle = scores[0], scores[-1], scores[len(scores) // 2]
    if intervals:
        low = min([low, *(row["low"] for row in own if row["low"] is not None)])
        high = max([high, *(row["high"] for row in own if row["high"] is not None)])
    if METRICS[shown.board.metric].greater_is_better:
        low = max(low, middle - 4 * (high - middle))
    else:
        high = min(high, middle + 4 * (middle - low))
    near, baseline = (high - low) / 2, shown.board.baseline
    if low - near < baseline < high + near:
        low, high = min(low, baseline), max(high, baseline)
    edge = 0.04 * (high - low or abs(high) or 1.0)
    low, high = low - edge, high + edge
    outside = []
    if math.isfinite(baseline) and not low <= baseline <= high:
        outside.append(f"Baseline {numbers.score(baseline)} is outside the plotted range.")
    if worse := sum(not low <= row["test_score"] <= high for row in own):
        count = numbers.counted(worse, "far worse score is", "far worse scores are")
        outside.append(f"{count} outside the plotted range.")
    axis = {"name": shown.board.metric, "min": digits(low), "max": digits(high)}
    return axis, " ".join(outside)


def _is_ranked(row: Row) -> bool:
    return row["status"] == TRAINED and _has_score(row)


def _has_score(row: Row) -> bool:
    return row["test_score"] is not None and math.isfinite(row["test_score"])


def _spend(shown: SearchShown) -> list[tuple[float, float, float, int]]:
    """Return (CPU seconds so far, score, best so far, row) of each score on all train rows.

    Scores are in the order of the YAML, after all smaller rungs, as in the search; fits that failed
    have left no cost.
    """
    small = sum(s.fit_cpu_seconds for p in shown.paths.values() for s in p if s.fraction < 1)
    full = [
        (key, shown.paths[key][-1])
        for key in shown.declared
        if key in shown.paths
        and shown.paths[key][-1].fraction == 1
        and competes(shown.declared[key].algorithm)
    ]
    full = [(key, step) for key, step in full if math.isfinite(step.test_score)]
    costs = list(accumulate((step.fit_cpu_seconds for _, step in full), initial=small))[1:]
    better = max if METRICS[shown.board.metric].greater_is_better else min
    best = accumulate((step.test_score for _, step in full), better)
    return [
        (cost, step.test_score, so_far, shown.places[key])
        for (key, step), cost, so_far in zip(full, costs, best, strict=True)
        if key in shown.places
    ]


def _pale(count: int) -> float:
    """Return the opacity of one of many: the more, the paler."""
    return max(0.15, min(0.6, 40 / count))


def _share_in_words(fraction: float) -> str:
    return "all rows" if fraction == 1 else numbers.share(fraction)
