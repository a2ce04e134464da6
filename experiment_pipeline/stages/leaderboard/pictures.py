"""The charts of a leaderboard's page, and the data of a finished search behind them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kruskal

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.charts import (
    BAD,
    INK,
    MUTED,
    SERIES,
    SYMBOLS,
    Axis,
    Intervals,
    Level,
    Mark,
    Plot,
    Points,
    Series,
    Span,
    chart,
    log_axis,
)
from experiment_pipeline.reporting.document import Block, Chart, Paragraph
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.spec import Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE, competes
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.notes import is_number
from experiment_pipeline.stages.search.conclusions import (
    STOPPED_EARLY,
    TRAINED,
    SearchResults,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.statistics.interval import LEVEL
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.table.table import plain_rows

Row = Mapping[str, Any]
Places = dict[int, tuple[float, float]]  # number of a row → x, y of its mark
# Rows of a page: a thousand take 1 MB.
MOST_ROWS = 1_000
NOT_SET = "not set"
_FEWEST_MARKS = 3  # of a chart of a hyperparameter
_FEWEST_FOR_IMPORTANCE = 10  # configurations
_MOST_GROUPS = 4  # of the values of a number
_HOW_TO_READ = (
    "Each hyperparameter against the score; a best score at an end of the axis means "
    "that the search should go further there. A percentage says how much of the "
    "ranking of these configurations its value alone explains, beyond chance. A "
    "triangle was stopped early."
)
_LEAST_CPU_SECONDS = 0.001  # of a fit on the logarithmic axis of costs


@dataclass(frozen=True, eq=False)
class SearchShown:
    """A finished search as people see it."""

    board: Leaderboard  # its ranking; the first MOST_ROWS rows are shown
    # of every row: those of the YAML, and the ensemble
    declared: Mapping[str, Configuration]
    results: SearchResults  # that led to the board

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that are shown, None where a cell is empty."""
        return plain_rows(self.board.rows.head(MOST_ROWS))

    @cached_property
    def places(self) -> dict[str, int]:
        """Key → row number, by which charts and table refer to a configuration."""
        return {row["key"]: number for number, row in enumerate(self.rows)}

    @cached_property
    def axes(self) -> dict[str, list[Axis]]:
        """Algorithm → an axis for each setting that varies, in the YAML's order."""
        settings: dict[str, list[dict[str, Scalar]]] = {}
        for configuration in self.declared.values():
            of_algorithm = settings.setdefault(configuration.algorithm, [])
            of_algorithm.append(_settings(configuration))
        return {
            algorithm: [
                _setting_axis(name, values)
                for name, values in _values(of_algorithm).items()
                if len(set(map(numbers.setting, values))) > 1
            ]
            for algorithm, of_algorithm in settings.items()
        }

    @cached_property
    def varied(self) -> list[str]:
        """The hyperparameters that vary in an algorithm."""
        names = (axis.title for axes in self.axes.values() for axis in axes)
        return list(dict.fromkeys(names))

    def settings(self, key: str) -> dict[str, Scalar]:
        """The settings of a configuration that vary within its algorithm."""
        configuration = self.declared[key]
        settings = _settings(configuration)
        varied = [axis.title for axis in self.axes[configuration.algorithm]]
        return {name: settings[name] for name in varied if name in settings}

    @cached_property
    def best(self) -> str:
        """Key of the first ranked configuration that is not an ensemble."""
        return str(next(row["key"] for row in self.rows if row["key"] != ENSEMBLE))


def _settings(configuration: Configuration) -> dict[str, Scalar]:
    return {**configuration.hyperparameters, "features": configuration.features}


def _values(settings: Sequence[Mapping[str, Scalar]]) -> dict[str, list[Scalar]]:
    """Name → its value in each of several configurations."""
    names = dict.fromkeys(chain.from_iterable(settings))
    return {
        name: [setting.get(name, NOT_SET) for setting in settings] for name in names
    }


def _setting_axis(name: str, values: Sequence[Scalar]) -> Axis:
    """An axis of numbers, logarithmic from a factor of ten on; of names, numbers first,
    if some values are not numbers. One number beside unset ones is a name, too.
    """
    present = [value for value in values if value != NOT_SET]
    amounts = sorted(filter(is_number, present))
    if len(amounts) == len(present) and amounts[0] < amounts[-1]:
        if 0 < 10 * amounts[0] <= amounts[-1]:
            return log_axis(amounts, name)
        return Axis(name)
    words = [value for value in present if not is_number(value)]
    missing = [NOT_SET] if len(present) < len(values) else []
    names = dict.fromkeys(map(numbers.setting, [*amounts, *words, *missing]))
    return Axis(name, names=list(names), jitter=16)


def cost_chart(shown: SearchShown) -> Iterator[Chart]:
    """Yield score against cost of the configurations with a rank."""
    board = shown.board
    places: Places = {
        number: (max(row["fit_cpu_seconds"], _LEAST_CPU_SECONDS), row["test_score"])
        for number, row in enumerate(shown.rows)
        if is_ranked(row) and competes(row["algorithm"])
    }
    if not places:
        return
    spans = _spans(shown, places)
    costs, scores = zip(*places.values(), strict=True)
    bounds = [bound for span in spans for bound in (span.low, span.high)]
    y_axis, outside = score_axis(shown, scores, filter(math.isfinite, bounds))
    baseline = f"baseline {numbers.score(board.baseline)}"
    plot = Plot(
        log_axis(costs, "CPU seconds of the fit"),
        y_axis,
        [
            Intervals(spans, MUTED, opacity=0.5),
            Points(_ring(shown, places), INK, size=18, filled=False),
            *_marks(shown, places),
            Level("y", board.baseline, baseline, BAD),
        ],
        legend=True,
    )
    if math.isfinite(board.baseline) and not y_axis.holds(board.baseline):
        outside += f" {baseline.capitalize()} is outside the plotted range."
    better_is = metric_of(board.metric).better_is.capitalize()
    yield chart(
        "Score against cost",
        f"{board.metric} of {numbers.counted(len(places), 'configuration')} against "
        f"CPU seconds of the fit: {board.chosen}, the chosen one, scores "
        f"{numbers.interval(board.score)}; the {baseline}.",
        plot,
        f"{better_is} is better, further left is cheaper. Filled marks are "
        f"statistically tied with the best by {evaluated(board.evaluation).by}. "
        f"Vertical lines are {numbers.share(LEVEL)} intervals. {outside}",
        size="full",
    )


def _ring(shown: SearchShown, places: Places) -> list[Mark]:
    """The mark of the chosen configuration, if it is plotted."""
    return [
        Mark(cost, score, label="chosen")
        for number, (cost, score) in places.items()
        if shown.rows[number]["key"] == shown.board.chosen
    ]


def _spans(shown: SearchShown, places: Places) -> list[Span]:
    """The known intervals of the scores at their costs."""
    spans = []
    for number, (cost, _) in places.items():
        row = shown.rows[number]
        if row["low"] is not None:
            spans.append(Span(cost, row["low"], row["high"], number))
    return spans


def hyperparameter_charts(shown: SearchShown, algorithm: str) -> Iterator[Block]:
    """Yield a chart of the score against each hyperparameter that matters, the most
    important one first.
    """
    scored = [
        row for row in shown.rows if row["algorithm"] == algorithm and _has_score(row)
    ]
    if len(scored) < _FEWEST_MARKS:
        return
    ranked = list(filter(is_ranked, scored)) or scored
    y_axis, outside = score_axis(shown, [row["test_score"] for row in ranked])
    importance = _importance(shown, algorithm)
    charts = list[Chart]()
    for axis in _by_importance(shown.axes[algorithm], importance):
        share = importance.get(axis.title)
        charts += _hyperparameter_chart(shown, axis, scored, y_axis, share)
    words = [_HOW_TO_READ, outside] if charts else []
    words.append(_without_effect(importance))
    if text := " ".join(filter(None, words)):
        yield Paragraph(text)
    yield from charts


def _without_effect(importance: Mapping[str, float]) -> str:
    names = [name for name, share in importance.items() if share <= 0]
    return f"Without a visible effect: {', '.join(names)}." if names else ""


def _by_importance(axes: Sequence[Axis], importance: Mapping[str, float]) -> list[Axis]:
    """The hyperparameters with an effect, the largest first; all if none is known."""
    with_effect = [axis for axis in axes if importance.get(axis.title, 1.0) > 0]
    return sorted(with_effect, key=lambda axis: -importance.get(axis.title, 1.0))


def _importance(shown: SearchShown, algorithm: str) -> dict[str, float]:
    """Hyperparameter → share of the ranking that it explains; empty with too few
    configurations.

    Scores are of the first rung, which is free of the selection by later ones.
    """
    first_scores = {
        key: path[0].test_score
        for key, path in shown.results.paths.items()
        if shown.declared[key].algorithm == algorithm and path
    }
    scores = pd.Series(first_scores, dtype="float64")
    ranks = scores[np.isfinite(scores)].rank()
    if len(ranks) < _FEWEST_FOR_IMPORTANCE:
        return {}
    shares = {}
    for axis in shown.axes[algorithm]:
        values = [shown.settings(key).get(axis.title, NOT_SET) for key in ranks.index]
        shares[axis.title] = _explained(ranks, _grouped(values, axis))
    return shares


def _explained(ranks: pd.Series, values: list[str]) -> float:
    """Epsilon squared of Kruskal and Wallis between the values; 0 if it is not
    significant (95 % level).
    """
    groups = [group for _, group in ranks.groupby(values)]
    if len(groups) < 2 or ranks.nunique() < 2:
        return 0.0
    statistic, chance = kruskal(*groups)
    if chance > 1 - LEVEL:
        return 0.0
    return float(statistic + 1 - len(groups)) / max(len(ranks) - len(groups), 1)


def _grouped(values: Sequence[Scalar], axis: Axis) -> list[str]:
    """The group of each value: itself, or the quarter of one of many numbers."""
    texts = list(map(numbers.setting, values))
    if axis.names or len(set(texts)) <= _MOST_GROUPS:
        return texts
    amounts = np.array([value if is_number(value) else math.nan for value in values])
    ends = np.nanquantile(amounts, np.arange(1, _MOST_GROUPS) / _MOST_GROUPS)
    return np.searchsorted(ends, amounts).astype(str).tolist()


def _hyperparameter_chart(
    shown: SearchShown,
    setting_axis: Axis,
    scored: Sequence[Row],
    y_axis: Axis,
    importance: float | None,
) -> Iterator[Chart]:
    """Nothing if the budget ended before several configurations that set it."""
    name = setting_axis.title
    values = [shown.settings(row["key"]).get(name, NOT_SET) for row in scored]
    places: Places = {}
    for row, value in zip(scored, values, strict=True):
        place = _place(setting_axis, value)
        if place is not None:
            places[shown.places[row["key"]]] = (place, row["test_score"])
    if len({x for x, _ in places.values()}) < 2:
        return
    alt = (
        f"Score against {name}. The best configuration has {numbers.setting(values[0])}"
    )
    if without := len(scored) - len(places):
        alt += f"; {without:,} that do not set it have no mark"
    title = name
    if importance is not None:
        title += f": explains {numbers.share(importance, 2)}"
    plot = Plot(setting_axis, y_axis, _marks(shown, places))
    yield chart(title, f"{alt}.", plot, size="small", height=230)


def _place(axis: Axis, value: Scalar) -> float | None:
    """The place of a value on an axis; None: it has none on one of numbers."""
    if axis.names:
        return axis.names.index(numbers.setting(value))
    return value if is_number(value) else None


def _marks(shown: SearchShown, places: Places) -> list[Series]:
    """Return marks in the colours and symbols of the algorithms.

    Filled where tied with the best; triangles where stopped early.
    """
    algorithms = list(dict.fromkeys(row["algorithm"] for row in shown.rows))
    groups: dict[tuple[str, bool], list[Mark]] = {}
    for number, (x, y) in places.items():
        row = shown.rows[number]
        name = row["algorithm"] if is_ranked(row) else STOPPED_EARLY
        group = groups.setdefault((name, row["in_tie_group"]), [])
        group.append(Mark(x, y, row=number))
    series: list[Series] = []
    for name, tied in sorted(groups):
        color = MUTED
        symbol = "triangle"
        size = 6
        if name in algorithms:
            number = algorithms.index(name) % len(SERIES)
            color = SERIES[number]
            symbol = SYMBOLS[number]
            size = 10 if tied else 8
        series.append(Points(groups[name, tied], color, name, symbol, size, tied))
    return series


def score_axis(
    shown: SearchShown, scores: Sequence[float], bounds: Iterable[float] = ()
) -> tuple[Axis, str]:
    """Return the score axis, cut so that bad scores do not flatten the rest, and a text
    on what is outside; `bounds` of intervals are on it as well.
    """
    metric = metric_of(shown.board.metric)
    middle = sorted(scores)[len(scores) // 2]
    drawn = [*scores, *bounds]
    low, high = min(drawn), max(drawn)
    if metric.greater_is_better:
        low = max(low, middle - 4 * (high - middle))
    else:
        high = min(high, middle + 4 * (middle - low))
    near = (high - low) / 2
    baseline = shown.board.baseline
    if low - near < baseline < high + near:
        low, high = min(low, baseline), max(high, baseline)
    margin = 0.04 * (high - low or abs(high) or 1.0)
    low, high = max(low - margin, metric.lowest), min(high + margin, metric.highest)
    outside = ""
    if worse := sum(not low <= score <= high for score in scores):
        count = numbers.counted(worse, "far worse score is", "far worse scores are")
        outside = f"{count} outside the plotted range."
    return Axis(shown.board.metric, low, high), outside


def is_ranked(row: Row) -> bool:
    """Whether a row has a score on all rows."""
    return row["status"] == TRAINED and _has_score(row)


def _has_score(row: Row) -> bool:
    return row["test_score"] is not None and math.isfinite(row["test_score"])
