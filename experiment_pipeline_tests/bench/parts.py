"""The parts of the benchmark: what each measures, and how its section of the page reads.

Measuring lives in the modules named here, the page in `sections.py`. In: what was asked for on
the command line. Out: a section's Markdown.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from experiment_pipeline_tests.bench import (
    budget,
    cluster,
    data,
    disk,
    large,
    orchestration,
    past_memory,
    searches,
    statistics,
)
from experiment_pipeline_tests.bench.automl import page as automl
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.sections import table

RATIO = ["ours against", "ours, s", "other, s", "ratio", "to reach"]
FIGURE = ["measured", "figure", "to reach"]


@dataclass(frozen=True)
class Part:
    """One part of the benchmark."""

    title: str  # of its section
    measure: Callable[[argparse.Namespace], str]  # what was asked → the section's Markdown


def against_others(asked: argparse.Namespace) -> str:
    """Wall time of the search and of its training step, and what the searches find."""
    ratios, found = searches.compared(asked.pairs)
    aim = "to reach: not below -1 s.e."
    columns = ["winner of", "ours", "other", "difference", "standard error", aim]
    return f"""Seconds are medians; a ratio is ours / the alternative, the median of pairs run side by side, with
their range. HalvingRandomSearchCV: n_candidates=60, factor=3, min_resources="exhaust" (its default
would end with 108 of the rows).

{table(RATIO, ratios)}

What they find: the winners of the search with halving and of the others, fitted on the train rows
and compared on the validation rows, which nobody chose on. The standard error is that of the
paired difference, by days.

{table(columns, found)}"""


def dagster(asked: argparse.Namespace) -> str:
    """What Dagster costs in training."""
    return f"""The step runs in the experiment's job, with SQLite as a user has it.

{table(RATIO, [orchestration.step_cost(asked.pairs)])}"""


def _told(
    words: str, measure: Callable[[argparse.Namespace], Iterable[Measured]]
) -> Callable[[argparse.Namespace], str]:
    """A part of figures alone, with words in front of them."""
    return lambda asked: f"{words}\n\n{table(FIGURE, measure(asked))}"


budgets = _told(
    """Made-up tables of numbers and one of titles, searched as the scaffold would for that budget. With the
report: judged, drawn and written.""",
    lambda _: budget.measurements(),
)
large_searches = _told(
    """Made-up tables of numbers and texts; each search in a process of its own, whose peak of anonymous
memory counts libraries and what is held of the table. The search of each is with halving but for the
comparison of workers.""",
    lambda asked: large.measurements(asked.scale),
)
on_a_cluster = _told(
    "Local clusters of two processes: what a task costs, and what two workers get done.",
    lambda asked: cluster.measurements(asked.pairs),
)
stages = _told(
    "On a made-up table of numbers, texts and dates.",
    lambda asked: [one for rows in asked.rows for one in data.measurements(rows, asked.columns)],
)
disks = _told("Files after 60 unchanged reruns of the flights.", lambda _: disk.measurements())


# A part more is a line more; the order is that of the page.
PARTS: Mapping[str, Part] = {
    "statistics": Part("The answer, by simulation", lambda _: statistics.section()),
    "training": Part("The search", against_others),
    "dagster": Part("Inside Dagster", dagster),
    "budget": Part("A budget of seconds", budgets),
    "large": Part("Large searches", large_searches),
    "past_memory": Part("Tables larger than memory", past_memory.section),
    "cluster": Part("On a Dask cluster", on_a_cluster),
    "automl": Part("From table to model", automl.section),
    "data": Part("The stages before training", stages),
    "disk": Part("What reruns add to the disk", disks),
}
