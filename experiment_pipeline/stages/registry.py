"""The registry of the stages, in the order of the flow: what each makes, reads, checks
and costs.

A stage that may need more memory than there is warns before it begins.

CONTRIBUTING.md says what a new stage takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from experiment_pipeline.storage.processes import free_memory

Keys = tuple[str, ...]

_QUESTION: Keys = ("target", "task", "positive_class", "sample_weight")
_SCORING: Keys = (*_QUESTION, "metric", "acceptance", "seed")
_ROLES: Keys = (*_QUESTION, "label", "split", "preparation", "exclude", "incumbent")
_SEARCHED: Keys = ("split", "search", "evaluation")
# One fit of one configuration, wherever it runs.
FITTING: Keys = (*_SCORING, "seeds", "calibrate")


_TRAINED_MODEL = """\
One fitted pipeline per hyperparameter configuration, each a partition.

Its metadata begins with its status: **trained**, or **stopped early** on a part of the
train rows, because others scored better there. A partition that failed stays missing.
*Plots* compares the last 120 partitions; the report of `leaderboard` compares all. No
asset depends on this one, because a single failed configuration would then block
`leaderboard`; `search_results` lists every configuration.
"""


@dataclass(frozen=True)
class StageAsset:
    """One asset of a stage, as Dagster shows it."""

    kind: str  # the library of its icon
    description: str  # with `{source}` and `{metric}` of the experiment


@dataclass(frozen=True)
class Stage:
    """One stage."""

    name: str  # of its package and of its function in the flow
    doing: str  # what it does, as the progress bar shows it
    assets: Mapping[str, StageAsset]  # what it makes, by the last part of the asset key
    # count it up when its code would give another result for the same inputs
    version: int
    # bytes of memory at its peak per byte of its table: whole runs on 1 to 30 million
    # rows, rounded up
    peak_per_byte: float
    # assets of earlier stages, whose values its function takes
    takes: Keys = ()
    # keys of the specification that decide its result; its fingerprint covers them.
    # What earlier stages decided is covered by the digest of what they hand on
    reads: Keys = ()
    # asset check → what holds when it passes
    checks: Mapping[str, str] = field(default_factory=dict)
    blocking: tuple[str, ...] = ()  # checks whose failure ends the run


_STAGES = (
    Stage(
        "raw_data",
        "reading the table",
        {
            "raw_data": StageAsset("pandas", "The table as delivered by {source}."),
        },
        version=4,
        peak_per_byte=1.0,
        reads=("data",),
    ),
    Stage(
        "data_analysis",
        "checking the table",
        {
            "data_analysis": StageAsset(
                "python",
                "Findings, the resulting verdict, and a profile of every column.",
            ),
            "data_issues": StageAsset(
                "pandas",
                "What whoever delivers the table can correct, as a page and a CSV to "
                "mail.",
            ),
        },
        version=24,
        peak_per_byte=0.5,
        takes=("raw_data",),
        reads=(*_ROLES, "validation", "analysis", "metric", "acceptance", "seed"),
        checks={
            "fit_for_modelling": (
                "The findings allow training on this table. `no go` ends the run "
                "before the search, unless the YAML accepts the findings that lead to "
                "it."
            ),
            "no_new_data_issues": (
                "The table has nothing to correct that the run before did not have, "
                "and no cause has a larger share of the rows than chance explains. "
                "Page and CSV are for whoever delivers it."
            ),
        },
        blocking=("fit_for_modelling",),
    ),
    Stage(
        "validated_data",
        "checking the rows",
        {
            "validated_data": StageAsset(
                "pandera", "Prepared rows that satisfy schema.yaml."
            ),
            "rejected_rows": StageAsset(
                "pandera",
                "Rows that broke the schema, or have no label yet, as delivered, "
                "with every reason.",
            ),
        },
        version=2,
        peak_per_byte=1.0,
        takes=("raw_data",),
        reads=(*_ROLES, "validation"),
        checks={
            "rows_conserved": (
                "Every delivered row is either validated or rejected, once, unchanged."
            ),
            "rejection_rate_within_limit": (
                "No more rows break schema.yaml than "
                "`validation.max_rejected_fraction` allows."
            ),
            "data_resembles_the_accepted": (
                "Columns and values are like those of the data that the current "
                "champion was made from."
            ),
            "rejected_rows_resemble_the_others": (
                "No part of the data loses a larger share of its rows by rejection "
                "than the others."
            ),
        },
        blocking=("rows_conserved", "rejection_rate_within_limit"),
    ),
    Stage(
        "split_sets",
        "splitting the rows",
        {
            "train_set": StageAsset("pandas", "Configurations are fitted on it."),
            "test_set": StageAsset("pandas", "Configurations are compared on it."),
            "validation_set": StageAsset(
                "pandas",
                "The final hold-out: used once, at the end, to evaluate the chosen "
                "configuration.",
            ),
        },
        version=1,
        peak_per_byte=1.0,
        takes=("validated_data",),
        reads=_ROLES,
        checks={
            "sets_are_disjoint": (
                "Every validated row is in one set, or left out by the gap in time."
            ),
            "nothing_leaks_between_sets": (
                "The sets share no ids, groups or times, and hold no copies of each "
                "other's rows."
            ),
            "sets_look_alike": (
                "Target and features of test and validation set are like those of the "
                "train set. A split by time may show here what has changed."
            ),
        },
        blocking=("sets_are_disjoint", "nothing_leaks_between_sets"),
    ),
    Stage(
        "search",
        "training models",
        {
            "trained_model": StageAsset("scikitlearn", _TRAINED_MODEL),
            "search_results": StageAsset(
                "pandas",
                "Every configuration: trained, stopped early, failed or not started.",
            ),
        },
        version=15,
        peak_per_byte=2.0,
        takes=("train_set", "test_set"),
        reads=(*FITTING, *_SEARCHED, "halving", "budget", "workers", "engine"),
        checks={
            "no_configuration_failed": (
                "Every configuration could be fitted; a warning names those that could "
                "not."
            )
        },
    ),
    Stage(
        "leaderboard",
        "ranking the models",
        {
            "leaderboard": StageAsset(
                "pandas", "Configurations ranked by {metric}, with intervals."
            ),
        },
        version=23,
        peak_per_byte=3.0,
        takes=("train_set", "test_set", "search_results"),
        reads=(*_SCORING, *_SEARCHED, "choice", "ensemble", "costs", "incumbent"),
        checks={
            "winner_beats_baseline": (
                "The chosen configuration is significantly better than the baseline, "
                "which predicts without features."
            )
        },
    ),
    Stage(
        "validation_report",
        "evaluating the best model",
        {
            "validation_report": StageAsset(
                "scikitlearn",
                "The chosen configuration on the validation set: scores, gates, "
                "decision.",
            ),
        },
        version=35,
        peak_per_byte=2.0,
        takes=("raw_data", "train_set", "test_set", "validation_set", "leaderboard"),
        reads=(
            *FITTING,
            *_SEARCHED,
            "preparation",
            "analysis",
            "baseline",
            "not_worse_than_champion",
            "costs",
            "incumbent",
            "audit",
            "export",
            "coverage",
        ),
        checks={
            "acceptance_criteria_met": (
                "On the validation set the choice beats the baseline, meets every "
                "criterion of `acceptance` and `audit`, and is not worse than the "
                "champion. Otherwise nothing is exported."
            )
        },
        blocking=("acceptance_criteria_met",),
    ),
    Stage(
        "exported_model",
        "saving the model",
        {
            "exported_model": StageAsset(
                "scikitlearn",
                "The champion: model, card, metrics and manifest, under a version "
                "number.",
            ),
        },
        version=1,
        peak_per_byte=3.0,  # of the stored model, which a second process loads
        takes=("validation_set", "leaderboard", "validation_report"),
        checks={
            "predictions_survive_reload": (
                "The version's files, loaded in a fresh process without this package, "
                "predict what the fitted model predicts. Otherwise no version becomes "
                "visible."
            )
        },
    ),
)
STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _STAGES}

_PREDICTION_PEAK = 1.0  # as `peak_per_byte`, of a table of rows to predict
_LIBRARIES = 100_000_000
_SAMPLED_ROWS = 1_000


def warn_of_memory(stage: str, size: int, warn: Callable[[str], object]) -> None:
    """Warn that a stage of STAGES, or `prediction`, may not get the memory for a table
    of `size` bytes.
    """
    peak = STAGES[stage].peak_per_byte if stage in STAGES else _PREDICTION_PEAK
    needed, free = peak * size + _LIBRARIES, free_memory()
    if needed > free.size:
        warn(
            f"{stage} may need about {needed / 1e9:.1f} GB of memory, "
            f"{free.size / 1e9:.1f} GB are free "
            f"({free.limited_by}). If the run is killed, raise that limit, leave out "
            "columns or run on "
            "a sample of the rows."
        )


def table_bytes(*tables: pd.DataFrame) -> int:
    """Return the bytes of tables in memory, estimated from their first rows."""

    def of(table: pd.DataFrame) -> int:
        first = table.iloc[:_SAMPLED_ROWS]
        size = first.memory_usage(index=False, deep=True).sum()
        return int(size / max(len(first), 1) * len(table))

    return sum(map(of, tables))
