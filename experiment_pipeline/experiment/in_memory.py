"""A whole experiment as one function call: no Dagster, no database, no stored files."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import (
    TriedDraft,
    given_label,
    most_honest,
    schema_of,
    try_out,
)
from experiment_pipeline.drafting.inference import Decision, Draft, infer
from experiment_pipeline.errors import NotAccepted
from experiment_pipeline.experiment.context import Run, RunBudget
from experiment_pipeline.experiment.flow import run_stages
from experiment_pipeline.experiment.store import Store
from experiment_pipeline.intake.frames import as_pandas
from experiment_pipeline.intake.raw_table import RawTable, content_digest, parse
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.intake.validation import ValidatedData
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.spec import Data, ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.data_analysis.analysis import DataAnalysis
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand, Leaderboard
from experiment_pipeline.stages.search.conclusions import SearchResults
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.stages.split_sets.sets import SplitSets
from experiment_pipeline.stages.validation_report.final_evaluation import (
    FinalEvaluation,
)
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.statistics.metrics import written
from experiment_pipeline.storage.registry import ModelPackage
from experiment_pipeline.table.digests import INDEX
from experiment_pipeline.table.features import NamedColumns

Log = Callable[[str], object]


@dataclass
class ExperimentRun:
    """The results of an experiment; a stage that was not reached is None."""

    spec: ExperimentSpec  # the settings, given or inferred
    schema_text: str  # schema.yaml, given or inferred
    raw: RawTable  # the table as delivered
    analysis: DataAnalysis | None = None  # findings and verdict
    # the rows that satisfy the schema, and the rejected ones with their reasons
    validated: ValidatedData | None = None
    sets: SplitSets | None = None  # train, test and validation set
    results: SearchResults | None = None  # a row per configuration
    leaderboard: Leaderboard | None = None  # the ranking and the choice
    # the chosen model on the validation set: report, decision, fitted pipeline
    evaluation: FinalEvaluation | None = None
    package: ModelPackage | None = (
        None  # the accepted model's files; None: not accepted
    )

    @property
    def report(self) -> ValidationReport:
        """The report on the validation set, which holds the decision."""
        assert self.evaluation is not None
        return self.evaluation.report

    @property
    def model(self) -> Any:
        """The accepted pipeline, fitted on train and test rows.

        Raises:
            NotAccepted: a gate of the validation report failed.
        """
        if self.evaluation is None or not self.report.accepted:
            raise NotAccepted(
                self.spec.name,
                rule="no configuration was accepted",
                fix="Read the report's next steps.",
            )
        return self.evaluation.pipeline

    def __repr__(self) -> str:
        if self.evaluation is None:
            return f"{self.spec.name}: not finished"
        score = self.report.score(self.report.metric).interval.estimate
        return (
            f"{self.spec.name}: {self.report.decision}: {self.report.configuration}, "
            f"{self.report.metric} {score:.4g} on the validation set"
        )


class _CallbackLog(logging.Logger):
    """Gives each line to a function, and to no handler."""

    def __init__(self, log: Log) -> None:
        super().__init__("experiment_pipeline.in_memory", logging.INFO)
        self._write = log

    def handle(self, record: logging.LogRecord) -> None:
        self._write(record.getMessage())


@dataclass(frozen=True)
class Silent:
    """Reports nothing but lines of the log."""

    log: logging.Logger

    def at_work(self, stage: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Report nothing."""
        return nullcontext()

    def concluded(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        """Report nothing."""


def run_experiment(
    data: pd.DataFrame | Data | str | Path,
    target: str,
    *,
    name: str = "experiment",
    schema: str | None = None,
    models: ModelsInMemory | None = None,
    by_hand: ChoiceByHand | None = None,
    until: str | None = None,
    log: Log = lambda _: None,
    **settings: Any,
) -> ExperimentRun:
    """Run a whole experiment in this process, without Dagster, database or stored
    files.

    >>> run = run_experiment(table, "y", search=[{"algorithm": "linear"}])
    >>> run.report.accepted, run.leaderboard.chosen
    (True, 'linear')

    Args:
        data: the table, its path or URL, or `data` of defs.yaml.
        target: the column to predict.
        name: of the experiment.
        schema: text of a schema.yaml; None: inferred from the table.
        models: earlier results to reuse; new ones are added to it. None: nothing is
            reused.
        by_hand: the configuration chosen by a person; None: the rule of `choice`
            decides.
        until: the last stage to run, such as `leaderboard`; None: all.
        log: called with each log line of the run.
        settings: keys of defs.yaml; missing keys are inferred from the table.

    Raises:
        InvalidExperiment: a setting is impossible.
        DataError: the table cannot be read, modelled, validated or split.
        TrainingError: no configuration could be trained.
    """
    began = perf_counter()
    raw, spec = declare(name, data, target, settings)
    if schema is None:
        schema = schema_of(raw.frame, spec)
    named = NamedColumns(spec, schema)
    named.check_types()
    store = Store(spec, ModelsInMemory() if models is None else models)
    reporter = Silent(_CallbackLog(log))
    budget = RunBudget(spec.budget.seconds, lambda: perf_counter() - began)
    run = Run(named, store, reporter, budget, by_hand=by_hand, delivered=raw)
    finished = run_stages(
        run, lambda _, outcome: outcome.log_to(reporter.log), until=until
    )
    evaluation = store.results.get("validation_report")
    if finished.refused is not None and (
        evaluation is None or evaluation.report.accepted
    ):
        raise finished.refused
    return ExperimentRun(
        spec=spec,
        schema_text=schema,
        raw=raw,
        analysis=store.results.get("data_analysis"),
        validated=store.results.get("validated_data"),
        sets=store.results.get("split_sets"),
        results=finished.assets.get("search_results"),
        leaderboard=finished.assets.get("leaderboard"),
        evaluation=evaluation,
        package=store.results.get("exported_model"),
    )


def declare(
    name: str,
    data: pd.DataFrame | Data | str | Path,
    target: str,
    settings: Mapping[str, Any],
    *,
    always_infer: bool = False,
) -> tuple[RawTable, ExperimentSpec]:
    """Read the table, and infer the settings that are missing; without `always_infer`,
    nothing where task, split, search and metric are given.
    """
    source: dict[str, Any] = {}
    if not isinstance(data, Data | str | Path):
        data = as_pandas(data)
        frame = data.set_axis(pd.RangeIndex(len(data), name=INDEX)).rename(columns=str)
        raw = RawTable(frame, content_digest(frame), "DataFrame", None, None, None, ())
    else:
        address = data if isinstance(data, Data) else Data(url=str(data))
        source = address.model_dump(mode="json", exclude_unset=True)
        raw = parse(read_source(address), address)
    declared = {"target": target, **settings, "data": source or None}
    is_complete = {"task", "split", "search", "metric"} <= settings.keys()
    if is_complete and not always_infer:
        return raw, spec_from(name, declared)
    wishes = Wishes(
        target=target,
        task=settings.get("task"),
        positive_class=settings.get("positive_class"),
        metric=written(settings.get("metric")),
        seconds=settings.get("budget", {}).get("seconds"),
    )

    def drafted(
        split: Decision | None, label: Decision | None
    ) -> tuple[Draft, ExperimentSpec]:
        draft = infer(
            raw.frame,
            wishes,
            monotone="monotone" in settings,
            split=split,
            label=label,
        )
        attributes = draft.attributes(source)
        if "search" in settings:  # what is inferred for the inferred search
            attributes.pop("budget", None)
            attributes.pop("export", None)
        return draft, spec_from(name, {**attributes, **declared})

    def tried_with(split: Decision | None, label: Decision | None) -> TriedDraft:
        draft, spec = drafted(split, label)
        return try_out(raw.frame, draft, spec)

    label = given_label(settings)
    if "split" in settings:
        return raw, drafted(None, label)[1]
    return raw, most_honest(tried_with, label, split_is_given=False).spec
