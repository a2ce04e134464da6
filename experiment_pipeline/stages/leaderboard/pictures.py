"""What the page of a search draws, as data, and what each of its pictures says in a sentence.

In: a leaderboard, what was searched, and what every configuration scored at each rung. Out: JSON
values for `reporting/scripts/search.js`, which draws and computes nothing. The table of the same
rows and the page around both: `page.py`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.spec.algorithms import ENSEMBLE, competes
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.edges import is_number, is_searched_by_ratio
from experiment_pipeline.stages.search.conclusions import SearchResults, Step
from experiment_pipeline.stages.search.configurations import Configuration, configurations
from experiment_pipeline.stages.search.workers import names, placed
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline.table.table import plain_rows

# What a page holds of a larger search; a thousand are 1 MB of it.
MOST_ROWS = 1_000


@dataclass(frozen=True)
class Axis:
    """A hyperparameter of which an algorithm's configurations have several values.

    Attributes:
        name: of the hyperparameter.
        log: whether it was searched by ratios.
        values: what there is, numbers before other values; empty where all are numbers.
    """

    name: str
    log: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class Caption:
    """What stands around a picture.

    Attributes:
        name: by which the script knows what to draw.
        title: above it.
        said: what to see, in a sentence.
        alt: what it shows in numbers, for who does not see it.
    """

    name: str
    title: str
    said: str
    alt: str


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
            key: shown[worker] + (f", begun {attempts:.0f} times" if attempts > 1 else "")
            for key, worker, attempts in each
        }

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that are shown, None where a cell is empty."""
        return plain_rows(self.board.rows.head(MOST_ROWS))

    @cached_property
    def axes(self) -> dict[str, tuple[Axis, ...]]:
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

    def _axes_of(self, algorithm: str) -> Iterator[Axis]:
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
            yield Axis(name, log, kinds)


def data(shown: SearchShown) -> dict[str, Any]:
    """Return what the script draws.

    Its `rows` stand in the order of the table, its `spend` is a list of CPU seconds so far, score
    and best score so far (all on all train rows), and the row it is of.
    """
    board = shown.board
    return {
        "metric": board.metric,
        "higher": METRICS[board.metric].sign > 0,
        "baseline": _finite(board.baseline),
        "chosen": board.chosen,
        "beside": [name for name in shown.axes if not competes(name)],
        "rows": [_row(shown, row) for row in shown.rows],
        "axes": {
            algorithm: [
                {"name": a.name, "log": a.log, "values": a.values}  # noqa: PD011 - an axis, no table
                for a in axes
            ]
            for algorithm, axes in shown.axes.items()
        },
        "fractions": [{"at": f, "label": _share_in_words(f)} for f in shown.fractions],
        "spend": _spend(shown),
        "pictures": [asdict(caption) for caption in _captions(shown)],
    }


def _row(shown: SearchShown, row: Mapping[Any, Any]) -> dict[str, Any]:
    key = row["key"]
    return {
        "key": key,
        "algorithm": row["algorithm"],
        "status": row["status"],
        "score": _finite(row["test_score"]),
        "low": _finite(row["low"]),
        "high": _finite(row["high"]),
        "tied": bool(row["in_tie_group"]),
        "cpu": _finite(row["fit_cpu_seconds"]),
        "settings": {
            name: value if is_number(value) else numbers.setting(value)
            for name, value in shown.settings(key).items()
        },
        "path": [
            [step.fraction, _finite(step.test_score), _finite(step.train_score)]
            for step in shown.paths.get(key, ())
        ],
    }


def _spend(shown: SearchShown) -> list[list[Any]]:
    """What the search had spent when a score on all train rows was known, in the YAML's order.

    All smaller rungs come first, as in the search; fits that failed have left no cost.
    """
    places = {row["key"]: number for number, row in enumerate(shown.rows)}
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
    better = max if METRICS[shown.board.metric].sign > 0 else min
    best = accumulate((step.test_score for _, step in full), better)
    return [
        [_digits(cost), _finite(step.test_score), _finite(so_far), places[key]]
        for (key, step), cost, so_far in zip(full, costs, best, strict=True)
        if key in places
    ]


def _captions(shown: SearchShown) -> Iterator[Caption]:
    """The pictures that are worth drawing."""
    board, better = shown.board, METRICS[shown.board.metric].better_is
    ranked = board.rows[board.rows["rank"].notna()]
    best = str(ranked["key"][ranked["key"] != ENSEMBLE].iloc[0])
    tied = numbers.counted(len(board.tie_group), "configuration")
    yield Caption(
        "cost",
        "Score against cost",
        f"{better.capitalize()} is better, and further left is cheaper. Filled marks cannot be told from the "
        f"best by {evaluated(board.evaluation).by}; bars are 95 % intervals, the dashed line is predicting without "
        "features.",
        f"{board.metric} of {numbers.counted(len(ranked), 'configuration')} against CPU seconds of "
        f"the fit: {board.chosen}, the chosen one, scores {numbers.interval(board.score)}; {tied} "
        f"tied for the best; the baseline scores {numbers.score(board.baseline)}.",
    )
    yield from _of_spend(shown)
    yield Caption(
        "together",
        "Hyperparameters together",
        "A line is a configuration: blue ones cannot be told from the best, the more orange the "
        "worse, dotted ones were stopped early. Drag along an axis to keep the lines through that "
        "part; the table follows.",
        f"Parallel coordinates of hyperparameters and score. The best, {best}: "
        f"{shown.settings_in_words(best)}.",
    )
    yield Caption(
        "each",
        "Each hyperparameter alone",
        "A cloud that rises or falls says that the hyperparameter matters; a best score at an end "
        "says that it should be searched further.",
        "Score against each hyperparameter. " + "; ".join(_best_settings(shown, best)) + ".",
    )
    if len(shown.fractions) > 1:
        yield from _of_rungs(shown, best)


def _of_spend(shown: SearchShown) -> Iterator[Caption]:
    spend = _spend(shown)
    if len(spend) < 2:
        return
    top, total = spend[-1][2], spend[-1][0]
    first = next(cost for cost, _, so_far, _ in spend if so_far == top)
    yield Caption(
        "spend",
        "What more search has bought",
        "The line is the best score so far; where it is flat, further fits have bought nothing. "
        "In the order of the YAML, after the smaller rungs; only scores on all train rows count.",
        f"The best score, {numbers.score(top)}, stood after {numbers.measured(first)} of "
        f"{numbers.measured(total)} CPU seconds.",
    )


def _of_rungs(shown: SearchShown, best: str) -> Iterator[Caption]:
    entered = Counter(step.fraction for path in shown.paths.values() for step in path)
    counts = ", ".join(f"{entered[f]:,} on {_share_in_words(f)}" for f in shown.fractions)
    yield Caption(
        "rungs",
        "Who was stopped where",
        "A line is a configuration on its way from few train rows to all; it ends with a cross "
        "where it was stopped. Scores on fewer rows are of fewer test rows too: compare those above "
        "each other.",
        f"Test score at each share of the train rows: {counts}.",
    )
    steps = "; ".join(
        f"{_share_in_words(step.fraction)}: test {numbers.score(step.test_score)}, "
        f"train {numbers.score(step.train_score)}"
        for step in shown.paths.get(best, ())
    )
    whom = "the best" if best == shown.board.single else "the best and the chosen one"
    yield Caption(
        "learning",
        "Learning curve",
        f"Of {whom}. Where the test score still improves at the right end, more data may "
        "help; a wide gap between train and test score is overfitting.",
        f"{shown.board.metric} of {best} by share of the train rows. {steps}.",
    )


def _best_settings(shown: SearchShown, best: str) -> Iterator[str]:
    algorithm = shown.declared[best].algorithm
    own = [one for one in shown.declared.values() if one.algorithm == algorithm]
    for name, value in shown.settings(best).items():
        tried = [v for one in own if is_number(v := one.hyperparameters.get(name))]
        said = f"{name}: the best has {numbers.setting(value)}"
        if tried:
            said += f", tried were {numbers.setting(min(tried))} to {numbers.setting(max(tried))}"
        yield said


def _share_in_words(fraction: float) -> str:
    return "all rows" if fraction == 1 else numbers.share(fraction)


def _digits(value: float) -> float:
    """A number without the digits that nobody sees in a picture."""
    return float(f"{value:.6g}")


def _finite(value: float | None) -> float | None:
    """A number as JSON can hold it."""
    if value is None or not math.isfinite(value):
        return None
    return _digits(value)
