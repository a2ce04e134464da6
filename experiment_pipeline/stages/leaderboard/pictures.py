"""The charts of a leaderboard's page, and the data of a finished search behind them."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

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
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE, competes
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.notes import is_number
from experiment_pipeline.stages.search.conclusions import (
    FAILED,
    STOPPED_EARLY,
    TRAINED,
    SearchResults,
    Step,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
)
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.table.table import plain_rows

Row = Mapping[Any, Any]
# Rows of a page: a thousand take 1 MB.
MOST_ROWS = 1_000
NOT_SET = "not set"


@dataclass(frozen=True)
class SearchAxis:
    """A hyperparameter that has several values among an algorithm's configurations."""

    name: str  # of the hyperparameter
    log: bool  # whether its values are positive and differ by a factor of ten
    kinds: tuple[
        str, ...
    ]  # the values as names, numbers first; empty where all are numbers


@dataclass(frozen=True, eq=False)
class SearchShown:
    """A finished search as people see it."""

    board: Leaderboard  # its ranking; the first MOST_ROWS rows are shown
    declared: Mapping[
        str, Configuration
    ]  # of every row: those of the YAML, and the ensemble
    paths: Mapping[str, tuple[Step, ...]]  # as of `SearchResults`

    @classmethod
    def of(
        cls, board: Leaderboard, found: SearchResults, spec: ExperimentSpec
    ) -> "SearchShown":
        """Return what is shown of a search and the board that it led to."""
        declared = {one.key: one for one in configurations(spec)}
        return cls(board, board.with_ensemble(declared), found.paths)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that are shown, None where a cell is empty."""
        return plain_rows(self.board.rows.head(MOST_ROWS))

    @cached_property
    def places(self) -> dict[str, int]:
        """Key → row number, by which charts and table refer to the same
        configuration.
        """
        return {row["key"]: number for number, row in enumerate(self.rows)}

    @cached_property
    def axes(self) -> dict[str, tuple[SearchAxis, ...]]:
        """Algorithm → what varies among its configurations, in the order of
        the rows.
        """
        found: dict[str, tuple[SearchAxis, ...]] = {}
        for algorithm in dict.fromkeys(one.algorithm for one in self.declared.values()):
            own = [
                _given(one)
                for one in self.declared.values()
                if one.algorithm == algorithm
            ]
            axes = []
            for name in dict.fromkeys(name for one in own for name in one):
                present = [one[name] for one in own if name in one]
                missing = [NOT_SET] if len(present) < len(own) else []
                if len(set(map(numbers.setting, [*present, *missing]))) < 2:
                    continue
                order = sorted(
                    present, key=lambda v: (not is_number(v), v if is_number(v) else 0)
                )
                kinds = tuple(dict.fromkeys(map(numbers.setting, [*order, *missing])))
                if all(map(is_number, present)) and len(set(present)) > 1:
                    kinds = ()
                given = [value for value in present if is_number(value) and value > 0]
                log = (
                    not kinds
                    and len(given) == len(present)
                    and max(given) >= 10 * min(given)
                )
                axes.append(SearchAxis(name, log, kinds))
            found[algorithm] = tuple(axes)
        return found

    def settings(self, key: str) -> dict[str, Scalar]:
        """The settings of a configuration that vary within its algorithm."""
        one = self.declared[key]
        given, names = _given(one), [axis.name for axis in self.axes[one.algorithm]]
        return {name: given[name] for name in names if name in given}

    @cached_property
    def best(self) -> str:
        """Key of the first ranked configuration; an ensemble ahead of it has no
        hyperparameters.
        """
        ranked = (row["key"] for row in self.rows if row["rank"] is not None)
        return str(next(key for key in ranked if key != ENSEMBLE))


def _given(one: Configuration) -> dict[str, Scalar]:
    return {**one.hyperparameters, "features": one.features}


def score_charts(shown: SearchShown) -> Iterator[Chart]:
    """Yield score against cost, and the best score against CPU seconds spent."""
    board, better = shown.board, metric_of(shown.board.metric).better_is
    ranked = [row for row in shown.rows if _is_ranked(row)]
    full = [row for row in ranked if competes(row["algorithm"])]
    full = [row for row in full if row["fit_cpu_seconds"] is not None]
    tied = numbers.counted(len(board.tie_group) - 1, "other")
    if full:
        known = [
            r
            for r in full
            if r["low"] is not None and math.isfinite(r["high"] - r["low"])
        ]
        ends = [row[end] for row in known for end in ("low", "high")]
        axis, outside = _score_axis(shown, [row["test_score"] for row in full], ends)
        at = {
            r["key"]: (max(r["fit_cpu_seconds"], 0.001), r["test_score"]) for r in full
        }
        spans = [
            item(
                at[row["key"]][0], row["low"], row["high"], row=shown.places[row["key"]]
            )
            for row in known
        ]
        pale = {"color": MUTED, "opacity": 0.5}
        chosen = [item(*at[board.chosen])] if board.chosen in at else []
        label = {"show": True, "formatter": "chosen", "color": INK, "position": "top"}
        ring = {"color": "none", "borderColor": INK, "borderWidth": 2}
        baseline = f"baseline {numbers.score(board.baseline)}"
        yield Chart(
            "Score against cost",
            f"{board.metric} of {numbers.counted(len(ranked), 'configuration')} against CPU seconds "
            f"of the fit: {board.chosen}, the chosen one, scores {numbers.interval(board.score)}; "
            f"{tied} tied with the best; the {baseline}.",
            {
                "legend": {},
                "xAxis": log_axis(
                    [cost for cost, _ in at.values()], name="CPU seconds of the fit"
                ),
                "yAxis": axis,
                "series": [
                    {**bars(spans, MUTED, upright=True), "itemStyle": pale},
                    *_marks(shown, at),
                    dots(
                        chosen,
                        INK,
                        symbolSize=18,
                        silent=True,
                        label=label,
                        itemStyle=ring,
                    ),
                    level(board.baseline, "yAxis", baseline, BAD),
                ],
            },
            f"{better.capitalize()} is better, further left is cheaper. Filled marks are statistically "
            f"tied with the best by {evaluated(board.evaluation).by}. Vertical lines are 95 % intervals. {outside}",
        )
    yield from _spent(shown)


def _spent(shown: SearchShown) -> Iterator[Chart]:
    """The best score on all train rows so far: in the order of the YAML, after all
    smaller rungs.
    """
    small = sum(
        s.fit_cpu_seconds for p in shown.paths.values() for s in p if s.fraction < 1
    )
    full = [
        (key, shown.paths[key][-1])
        for key, one in shown.declared.items()
        if key in shown.paths and key in shown.places and competes(one.algorithm)
    ]
    full = [
        (k, step)
        for k, step in full
        if step.fraction == 1 and math.isfinite(step.test_score)
    ]
    if len(full) < 2:
        return
    costs = list(accumulate((step.fit_cpu_seconds for _, step in full), initial=small))[
        1:
    ]
    better = max if metric_of(shown.board.metric).greater_is_better else min
    best = list(accumulate((step.test_score for _, step in full), better))
    at = {
        key: (cost, step.test_score)
        for (key, step), cost in zip(full, costs, strict=True)
    }
    axis, outside = _score_axis(shown, [score for _, score in at.values()])
    label = {"formatter": "smaller rungs", "color": MUTED, "position": "insideTop"}
    area: Option = {
        "silent": True,
        "itemStyle": {"color": "var(--panel)"},
        "label": label,
    }
    area["data"] = [[{"xAxis": 0}, {"xAxis": digits(small)}]] if small else []
    line = [item(cost, so_far) for cost, so_far in zip(costs, best, strict=True)]
    yield Chart(
        "Best score against CPU seconds spent",
        f"The best score, {numbers.score(best[-1])}, was reached after "
        f"{numbers.measured(costs[best.index(best[-1])])} of {numbers.measured(costs[-1])} CPU seconds.",
        {
            "xAxis": {"name": "CPU seconds so far", "min": 0},
            "yAxis": axis,
            "series": [
                curve(line, INK, step="end", symbol="none", silent=True, markArea=area),
                *_marks(shown, at),
            ],
        },
        "The line is the best score so far. Where it is flat, further fits did not improve it. Fits "
        f"are in the order of the YAML, after the smaller rungs. {outside}",
    )


def hyperparameter_charts(shown: SearchShown, algorithm: str) -> Iterator[Block]:
    """Yield a chart of the score against each hyperparameter of an algorithm."""
    own = [
        row for row in shown.rows if row["algorithm"] == algorithm and _has_score(row)
    ]
    scored = [row for row in own if row["status"] != FAILED]
    if not shown.axes[algorithm] or not scored:
        return
    ranked = [row["test_score"] for row in scored if _is_ranked(row)]
    score_axis, outside = _score_axis(
        shown, ranked or [row["test_score"] for row in scored]
    )
    yield Paragraph(
        f"Each hyperparameter against {shown.board.metric}: where the marks rise or fall, it matters; "
        "a best score at an end of the axis means that the search should go further there. "
        f"Triangles were stopped early. {outside}".strip()
    )
    for axis in shown.axes[algorithm]:
        given = {
            row["key"]: shown.settings(row["key"]).get(axis.name, NOT_SET)
            for row in scored
        }
        rows = [row for row in scored if axis.kinds or given[row["key"]] != NOT_SET]
        if not rows:  # the budget ended before a configuration that sets it
            continue
        tried = [value for value in given.values() if is_number(value)]
        text = f"The best configuration has {numbers.setting(given[scored[0]['key']])}"
        if tried:
            text += f"; tried were {numbers.setting(min(tried))} to {numbers.setting(max(tried))}"
        if without := len(scored) - len(rows):
            text += f"; {without:,} that do not set it have no mark"
        place = {"name": axis.name}
        if axis.kinds:
            place |= names_axis(axis.kinds, jitter=16, jitterOverlap=True)
        elif axis.log:
            place |= log_axis(list(map(float, tried)))
        written = numbers.setting if axis.kinds else lambda value: value
        at = {
            row["key"]: (written(given[row["key"]]), row["test_score"]) for row in rows
        }
        yield Chart(
            axis.name,
            f"Score against {axis.name}. {text}.",
            {
                "xAxis": place,
                "yAxis": {**score_axis, "splitNumber": 4},
                "series": _marks(shown, at),
            },
            size="small",
            height=230,
        )


def rung_charts(shown: SearchShown) -> Iterator[Chart]:
    """Yield the scores at each rung of halving; nothing if there is one rung."""
    entered = Counter(step.fraction for path in shown.paths.values() for step in path)
    if len(entered) < 2:
        return
    shares = {f: "all rows" if f == 1 else numbers.share(f) for f in sorted(entered)}
    places = {fraction: place for place, fraction in enumerate(shares)}
    known = {
        key: [
            (places[s.fraction], s.test_score)
            for s in path
            if math.isfinite(s.test_score)
        ]
        for key, path in shown.paths.items()
        if key in shown.places
    }
    pale = max(0.15, min(0.6, 40 / len(known)))  # the more lines, the paler
    lines, ends = [], dict[bool, list[Option]]({True: [], False: []})
    for row in reversed(shown.rows):
        if not (path := known.get(row["key"])):
            continue
        full, number = row["status"] == TRAINED, shown.places[row["key"]]
        colour = (
            INK if row["key"] == shown.board.chosen else SERIES[0] if full else MUTED
        )
        style = {"color": colour, "width": 3 if colour == INK else 1.2}
        style["opacity"] = 0.8 if full else pale
        if len(path) > 1:
            points = [[x, digits(y)] for x, y in path]
            lines.append({"coords": points, "row": number, "lineStyle": style})
        ends[full].append(item(*path[-1], row=number))
    counts = ", ".join(f"{entered[f]:,} on {words}" for f, words in shares.items())
    own = {
        key: path
        for key, path in known.items()
        if competes(shown.declared[key].algorithm)
    }
    axis, outside = _score_axis(
        shown, [y for path in (own or known).values() for _, y in path]
    )
    drawn = {
        "type": "lines",
        "coordinateSystem": "cartesian2d",
        "polyline": True,
        "data": lines,
    }
    stopped = dots(ends[False], MUTED, filled=False, symbol="triangle", symbolSize=7)
    yield Chart(
        "Scores at each rung of halving",
        f"Test score at each share of the train rows: {counts}.",
        {
            "xAxis": names_axis(list(shares.values()), name="share of the train rows"),
            "yAxis": axis,
            "series": [drawn, dots(ends[True], SERIES[0], symbolSize=6), stopped],
        },
        "A line is a configuration, from few train rows to all. It ends with a triangle where halving "
        "stopped it. Scores on fewer train rows are measured on fewer test rows too: compare only "
        f"scores on the same share. Where lines still rise at the right end, more data may help. {outside}",
    )


def _marks(shown: SearchShown, at: Mapping[str, Sequence[Any]]) -> list[Option]:
    """Return a mark per key, by algorithm, filled where tied; triangles where halving
    stopped it.
    """
    groups: dict[tuple[str, bool], list[Option]] = {}
    for key, place in at.items():
        number = shown.places[key]
        row = shown.rows[number]
        kind = (
            row["algorithm"] if _is_ranked(row) else STOPPED_EARLY,
            bool(row["in_tie_group"]),
        )
        groups.setdefault(kind, []).append(item(*place, row=number))
    order, made = list(dict.fromkeys(row["algorithm"] for row in shown.rows)), []
    for (name, tied), items in sorted(groups.items()):
        colour, symbol, size = MUTED, "triangle", 6
        if name in order:
            number = order.index(name) % len(SERIES)
            colour, symbol, size = SERIES[number], SYMBOLS[number], 10 if tied else 8
        made.append(
            dots(items, colour, filled=tied, name=name, symbol=symbol, symbolSize=size)
        )
    return made


def _score_axis(
    shown: SearchShown, scores: Sequence[float], ends: Sequence[float] = ()
) -> tuple[Option, str]:
    """Return the score axis, cut so that bad scores do not flatten the rest, and a text
    on what is outside.
    """
    middle = sorted(scores)[len(scores) // 2]
    low, high = min([*scores, *ends]), max([*scores, *ends])
    if metric_of(shown.board.metric).greater_is_better:
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
        outside.append(
            f"Baseline {numbers.score(baseline)} is outside the plotted range."
        )
    if worse := sum(not low <= score <= high for score in scores):
        count = numbers.counted(worse, "far worse score is", "far worse scores are")
        outside.append(f"{count} outside the plotted range.")
    return {
        "name": shown.board.metric,
        "min": digits(low),
        "max": digits(high),
    }, " ".join(outside)


def _is_ranked(row: Row) -> bool:
    return row["status"] == TRAINED and _has_score(row)


def _has_score(row: Row) -> bool:
    return row["test_score"] is not None and math.isfinite(row["test_score"])
