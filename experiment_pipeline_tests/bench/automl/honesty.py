"""What tools promise of their models on tables with time or groups, and what unseen rows
give.

In: what was asked on the command line. Out: Markdown: for each kind of split, how much
better than the score on unseen rows each tool's own score is, and a row per table.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench.automl.page import line, played
from experiment_pipeline_tests.bench.automl.runners.contract import CORES
from experiment_pipeline_tests.bench.automl.tools import OURS, TOOLS, Done, packages
from experiment_pipeline_tests.bench.sections import markdown
from experiment_pipeline_tests.bench.tables import HONESTY, TIME_AND_GROUPS, Table

COMPARED = (OURS, "AutoGluon, medium", "mljar, Compete", "FLAML")
_TABLES = {table.name: table for table in HONESTY}
_COLUMNS = [
    "tool",
    "tables",
    "promised too much by: median",
    "quartiles",
    "too much on",
    "off by: median",
    "best score on",
    "its interval held the score on",
    "got worse than its interval on",
]
_INTRODUCTION = """\
Twenty tables that packages ship, ten split by time and ten by group: the eight of "30 seconds, tables with time or groups"
above and twelve that were chosen and declared before any tool ran on them. One cut: the unseen rows are the latest fifth, or a
fifth of the groups. The rules are those of that section: the same rows for each tool, time or groups told to each by its own
settings. *Promised* is the score that a tool reports for the model that it hands out, by the rows that it was given: the best of
its leaderboard, for ours that of the choice on the test set. (The validation report of ours, which judges the model on the unseen
rows, is not used: here it would be the score itself.) *Got* is the model's score on the unseen rows. The difference is in parts of
the latter, above 0 where the promise was too good. The interval of ours is the 95 % one of its leaderboard. It counts the chance
of the test rows alone: the unseen rows have a chance of their own, things may have changed since, and the model that is handed
out is fitted on train and test rows, which are a third more."""


def section(asked: argparse.Namespace) -> str:
    """Run what is not remembered, and write all of it."""
    names = [name for name in COMPARED if not asked.tools or name in asked.tools]
    tools = [tool for tool in TOOLS if tool.name in names]
    (seconds,) = asked.budget
    results = list(played(tools, HONESTY, 1, asked, seconds))
    cores = "one core" if CORES == 1 else f"{CORES} cores"
    given = f"{seconds:g} seconds and {cores} for each tool."
    pinned = f"Packages pinned: {', '.join(packages(tools))}."
    return "\n\n".join([_INTRODUCTION, f"{given} {pinned}", written(names, results)])


def written(names: Sequence[str], results: Sequence[Done]) -> str:
    """Return the tables; where one of the tools has not been yet, nothing counts."""
    complete = [
        table
        for table in HONESTY
        if {done.tool for done in results if done.table == table.name} >= {*names}
    ]
    parts = []
    for kind, tables in _kinds(complete).items():
        rows = (
            [f"{cells[0]}, {kind}", *cells[1:]]
            for cells in _summary(names, tables, results)
        )
        parts += [f"### {kind.capitalize()}", markdown(_COLUMNS, rows)]
    columns = ["table", "split", "metric", *names, "interval of ours"]
    parts += [
        "### Table by table: promised → got",
        markdown(columns, _rows(names, complete, results)),
    ]
    failures = [f"* {line(done)}" for done in results if done.failure is not None]
    return "\n\n".join(
        [*parts, *(["Failed:", "\n".join(failures)] if failures else [])]
    )


def _kinds(tables: Sequence[Table]) -> Mapping[str, Sequence[Table]]:
    return {
        "all tables": tables,
        "by time": [table for table in tables if _split(table)["by"] == "time"],
        "by group": [table for table in tables if _split(table)["by"] == "group"],
        "the tables that were added": [
            table for table in tables if table not in TIME_AND_GROUPS
        ],
    }


def _split(table: Table) -> Mapping[str, str]:
    split: Any = table.declared["split"]
    return split


def _summary(
    names: Sequence[str], tables: Sequence[Table], results: Sequence[Done]
) -> Iterator[list[str]]:
    """A row per tool, over the tables where it gave a score."""
    merits = pd.DataFrame(
        {
            name: {done.table: _merit(done) for done in _of(name, tables, results)}
            for name in names
        }
    )
    best = merits.max(axis="columns")
    for name in names:
        own = _of(name, tables, results)
        gaps = pd.Series([gap(done) for done in own], dtype=float)
        low, middle, high = gaps.quantile([0.25, 0.5, 0.75])
        bounded = [done for done in own if math.isfinite(done.high - done.low)]
        held = sum(done.low <= done.score <= done.high for done in bounded)
        worse = sum(map(is_worse_than_bounds, bounded))
        yield [
            name,
            f"{len(own)}",
            f"**{middle:+.1%}**",
            f"{low:+.1%} to {high:+.1%}",
            f"{(gaps > 0).sum()} of {len(gaps)}",
            f"{gaps.abs().median():.1%}",
            f"{(merits[name] == best).sum()}",
            f"{held} of {len(bounded)}" if bounded else "has none",
            f"{worse} of {len(bounded)}" if bounded else "has none",
        ]


def _of(name: str, tables: Sequence[Table], results: Sequence[Done]) -> list[Done]:
    of = {table.name for table in tables}
    return [
        done
        for done in results
        if done.tool == name and done.table in of and done.failure is None
    ]


def _merit(done: Done) -> float:
    return done.score * METRICS[_TABLES[done.table].metric].sign


def gap(done: Done) -> float:
    """By how much the promise was too good, in parts of the score on unseen rows."""
    sign = METRICS[_TABLES[done.table].metric].sign
    return sign * (done.claimed - done.score) / abs(done.score)


def is_worse_than_bounds(done: Done) -> bool:
    """Whether the score on unseen rows is worse than the tool's interval allows."""
    sign = METRICS[_TABLES[done.table].metric].sign
    return sign * done.score < min(sign * done.low, sign * done.high)


def _rows(
    names: Sequence[str], tables: Sequence[Table], results: Sequence[Done]
) -> Iterator[list[str]]:
    by_pair = {(done.table, done.tool): done for done in results}
    for table in tables:
        cells = [_cell(by_pair[table.name, name]) for name in names]
        split = f"{_split(table)['by']}: {_split(table)['column']}"
        ours = by_pair.get((table.name, OURS))
        interval = "" if ours is None else _interval(ours)
        yield [table.name, split, table.metric, *cells, interval]


def _cell(done: Done) -> str:
    if done.failure is not None:
        return "failed"
    promised, got = numbers.score(done.claimed), numbers.score(done.score)
    return f"{promised} → {got} ({gap(done):+.1%})"


def _interval(ours: Done) -> str:
    if ours.failure is not None:
        return ""
    bounds = f"{numbers.score(ours.low)} to {numbers.score(ours.high)}"
    if ours.low <= ours.score <= ours.high:
        return bounds
    return f"{bounds}, got {'worse' if is_worse_than_bounds(ours) else 'better'}"
