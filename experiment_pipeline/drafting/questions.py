"""Questions about values that only people can answer, each with the YAML of its
answers: the factors of units, and numbers that may mean missing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from experiment_pipeline.drafting.columns import ColumnPlan
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Scalar
from experiment_pipeline.spec.reading import in_line
from experiment_pipeline.spec.table import Validation
from experiment_pipeline.stages.data_analysis import facts
from experiment_pipeline.stages.data_analysis.findings.target import (
    LEAST_SENTINELS,
    either,
    sentinels_as_missing,
)
from experiment_pipeline.table.kinds import QUANTITIES, kind_of


def question_of_target(target: pd.Series) -> str:
    """Ask whether a number of the target, as the stages will see it, means missing.

    A run stops until the YAML answers. Empty: there is nothing to ask.
    """
    measured = facts.facts_of(target)
    if not isinstance(measured, facts.NumberFacts) or not _are_many(measured):
        return ""
    name = str(target.name)
    limit = Validation().max_rejected_fraction
    missing = sentinels_as_missing(measured, name, (), limit)
    return f"{name} is {measured.sentinels.words}. {either(missing)}"


def questions_of(
    raw: pd.DataFrame, plans: Mapping[str, ColumnPlan], features: Collection[str]
) -> tuple[str, ...]:
    """Ask about the features."""
    used = [name for name in plans if name in features]
    of_units = [plans[name].question for name in used]
    quantities = raw[[name for name in used if kind_of(raw[name]) in QUANTITIES]]
    return (*filter(None, of_units), *_about_sentinels(quantities))


def _about_sentinels(features: pd.DataFrame) -> Iterator[str]:
    """Ask about the numbers of features that may mean missing, one after the other."""
    columns: dict[Scalar, dict[str, str]] = defaultdict(dict)
    for name, column in features.items():
        measured = facts.facts_of(column)
        if isinstance(measured, facts.NumberFacts) and _are_many(measured):
            for value in measured.sentinels.marks:
                columns[value][str(name)] = measured.sentinels.words
    for value, words in columns.items():
        settings: dict[str, Any] = {"missing_values_everywhere": [value]}
        if len(words) == 1:
            settings = {"missing_values": {name: [value] for name in words}}
        name, example = next(iter(words.items()))
        where = numbers.some_of(list(words), most=3)
        yield (
            f"{value} repeats in {where}, far from all other values ({name}: {example}"
            f"). If it means missing, write {in_line({'preparation': settings})}"
        )


def _are_many(measured: facts.NumberFacts) -> bool:
    """Whether sentinels hold as many rows as the rule about the target asks for."""
    rows = measured.sentinels.rows
    return rows > 0 and rows >= LEAST_SENTINELS * measured.rows
