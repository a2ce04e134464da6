"""The parts of the benchmark: what each measures, and how its section of the page
reads.

Measuring lives in the modules named here, the page in `sections.py`. In: what was asked
for on the command line. Out: a section's Markdown.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from experiment_pipeline_tests.bench import (
    cluster,
    data,
    disk,
    large,
    orchestration,
    past_memory,
    refits,
    searches,
    split_promises,
    statistics,
    whole_runs,
)
from experiment_pipeline_tests.bench.automl import page as automl
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.next_machine import next_machine
from experiment_pipeline_tests.bench.sections import markdown, table

RATIO = ["ours against", "ours, s", "other, s", "ratio", "to reach"]
FIGURE = ["measured", "figure", "to reach"]


@dataclass(frozen=True)
class Part:
    """One part of the benchmark."""

    title: str  # of its section
    measure: Callable[
        [argparse.Namespace], str
    ]  # what was asked → the section's Markdown


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
    ratios = [orchestration.step_cost(asked.pairs)]
    return f"""The step runs in the experiment's job, with SQLite as a user has it.

{table(RATIO, ratios)}"""


def _told(
    words: str, measure: Callable[[argparse.Namespace], Iterable[Measured]]
) -> Callable[[argparse.Namespace], str]:
    """A part of figures alone, with words in front of them."""
    return lambda asked: f"{words}\n\n{table(FIGURE, measure(asked))}"


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
_DISK = "Files after 60 unchanged reruns of the flights."


# A part more is a line more; the order is that of the page.
PARTS: Mapping[str, Part] = {
    "statistics": Part("The answer, by simulation", lambda _: statistics.section()),
    "training": Part("The search", against_others),
    "refits": Part(
        "One fit or the mean of several",
        lambda _: f"{_REFITS}\n\n{markdown(refits.COLUMNS, refits.measurements())}",
    ),
    "split_promises": Part(
        "What a random split promises",
        lambda _: (
            f"{_SPLIT_PROMISES}\n\n"
            f"{markdown(split_promises.COLUMNS, split_promises.measurements())}"
        ),
    ),
    "dagster": Part("Inside Dagster", dagster),
    "whole_runs": Part(
        "Whole runs within their budget",
        _told(_WHOLE_RUNS, lambda _: whole_runs.measurements()),
    ),
    "large": Part("Large searches", _told(_LARGE, lambda _: large.measurements())),
    "past_memory": Part("Tables larger than memory", past_memory.section),
    "cluster": Part(
        "On a Dask cluster",
        _told(_CLUSTER, lambda asked: cluster.measurements(asked.pairs)),
    ),
    "automl": Part("From table to model", automl.section),
    "data": Part(
        "The stages before training",
        _told(_STAGES, lambda _: data.measurements(1_000_000, 50)),
    ),
    "disk": Part(
        "What reruns add to the disk", _told(_DISK, lambda _: disk.measurements())
    ),
    "next_machine": Part("What the next run needs", lambda _: next_machine()),
}
