"""The parts of the benchmark: what each measures, and how its section of the page
reads.

Measuring lives in the modules named here, the page in `sections.py`. In: what was asked
for on the command line. Out: a section's Markdown.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiment_pipeline_tests.bench import (
    cluster,
    data,
    disk,
    large,
    next_machine,
    orchestration,
    panels,
    past_memory,
    refits,
    searches,
    split_promises,
    statistics,
    whole_runs,
)
from experiment_pipeline_tests.bench.automl import honesty
from experiment_pipeline_tests.bench.automl import page as automl
from experiment_pipeline_tests.bench.sections import markdown

RATIO = ("ours against", "ours, s", "other, s", "ratio", "to reach")
FIGURE = ("measured", "figure", "to reach")


@dataclass(frozen=True)
class Part:
    """One part of the benchmark."""

    title: str  # of its section
    # what was asked → the section's Markdown, or the rows of its table
    measure: Callable[[argparse.Namespace], str | Iterable[Any]]
    words: str = ""  # in front of a table
    columns: Sequence[str] = FIGURE

    def section(self, asked: argparse.Namespace) -> str:
        """Measure, and return the section's Markdown."""
        found = self.measure(asked)
        if isinstance(found, str):
            return found
        return f"{self.words}\n\n{markdown(self.columns, found)}"


def against_others(asked: argparse.Namespace) -> str:
    """Wall time of the search and of its training step, and what the searches find."""
    ratios, found = searches.compared(asked.pairs)
    aim = "to reach: not below -1 s.e."
    columns = ["winner of", "ours", "other", "difference", "standard error", aim]
    return f"""Seconds are medians; a ratio is ours / the alternative, the median of pairs run side by side, with
their range. HalvingRandomSearchCV: n_candidates=60, factor=3, min_resources="exhaust" (its default
would end with 108 of the rows).

{markdown(RATIO, ratios)}

What they find: the winners of the search with halving and of the others, fitted on the train rows
and compared on the validation rows, which nobody chose on. The standard error is that of the
paired difference, by days.

{markdown(columns, found)}"""


_WHOLE_RUNS = """\
A made-up wide table and one with texts, as drafted, both at a time on two cores: from the call of `ep.run` to the
decision, export and pages included."""
_LARGE = """\
Made-up tables of numbers and texts; each search in a process of its own, whose peak of anonymous
memory counts libraries and what is held of the table. The search of each is with halving but for the
comparison of workers."""
_CLUSTER = "A local cluster of two processes: what a task costs."
_STAGES = "On a made-up table of numbers, texts and dates."
_REFITS = """\
LightGBM with random rows and columns, on tables that packages ship (4,000 rows at the most; 30 % are left
out and tell the loss: log loss or squared error). What is averaged has learnt from all other rows, with
the rounds of the bag of five in the median; each model of a bag from the rows of the other folds."""
_SPLIT_PROMISES = """\
Eight tables with time or groups that packages ship (3,000 rows at the most), seven configurations each: linear, three
forests, three of LightGBM. Scores are of the best by the declared test rows. A random split predicts the same test
rows; validation rows are the latest, or of groups not seen. Kendall's τ compares the orders of the configurations."""
_PANELS = """\
Four panels that packages ship, without their last quarter of times; linear model and LightGBM. What each split promises
on its validation set, with the interval, and what the same model, fitted on train and test rows, reaches in that last
quarter: on all rows, on those of groups that it was not fitted on (new), or of those that it was (known)."""
_DISK = "Files after 60 unchanged reruns of the flights."


_DAGSTER = "The step runs in the experiment's job, with SQLite as a user has it."
# A part more is a line more; the order is that of the page.
PARTS: Mapping[str, Part] = {
    "statistics": Part("The answer, by simulation", lambda _: statistics.section()),
    "training": Part("The search", against_others),
    "refits": Part(
        "One fit or the mean of several",
        lambda _: refits.measurements(),
        _REFITS,
        refits.COLUMNS,
    ),
    "split_promises": Part(
        "What a random split promises",
        lambda _: split_promises.measurements(),
        _SPLIT_PROMISES,
        split_promises.COLUMNS,
    ),
    "panels": Part(
        "What each split promises, and what the future gives",
        lambda _: panels.measurements(),
        _PANELS,
        panels.COLUMNS,
    ),
    "dagster": Part(
        "Inside Dagster",
        lambda asked: [orchestration.step_cost(asked.pairs)],
        _DAGSTER,
        RATIO,
    ),
    "whole_runs": Part(
        "Whole runs within their budget",
        lambda _: whole_runs.measurements(),
        _WHOLE_RUNS,
    ),
    "large": Part("Large searches", lambda _: large.measurements(), _LARGE),
    "past_memory": Part("Tables larger than memory", past_memory.section),
    "cluster": Part(
        "On a Dask cluster", lambda asked: cluster.measurements(asked.pairs), _CLUSTER
    ),
    "automl": Part("From table to model", automl.section),
    "honesty": Part("Promised and got", honesty.section),
    "data": Part(
        "The stages before training",
        lambda _: data.measurements(1_000_000, 50),
        _STAGES,
    ),
    "disk": Part("What reruns add to the disk", lambda _: disk.measurements(), _DISK),
    "next_machine": Part("What the next run needs", lambda _: next_machine.section()),
}
