"""The whole experiment as one plain function: from a table to a decision, without
Dagster.

`run_experiment` calls the stages in the order of the flow. The Dagster assets call the
same functions; they add storage, the database and pages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import joblib
import pandas as pd

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.files import infer_schema
from experiment_pipeline.drafting.inference import infer
from experiment_pipeline.errors import DataError, NotAccepted
from experiment_pipeline.intake.raw_table import RawTable, content_digest, parse
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.intake.validation import ValidatedData, validate
from experiment_pipeline.spec import Data, ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.data_analysis.analysis import (
    DataAnalysis,
    analyse_prepared,
    unfit,
)
from experiment_pipeline.stages.exported_model.export import package_model, publish
from experiment_pipeline.stages.exported_model.page import AcceptedModel
from experiment_pipeline.stages.leaderboard.board import ChoiceByHand, Leaderboard
from experiment_pipeline.stages.leaderboard.board import leaderboard as rank
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    SearchNote,
    SearchResults,
)
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.halving import Threads, run_search
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.stages.search.training_sets import as_evaluated
from experiment_pipeline.stages.split_sets.page import checks as check_sets
from experiment_pipeline.stages.split_sets.sets import SplitSets, split
from experiment_pipeline.stages.validated_data.page import check_rejection_rate
from experiment_pipeline.stages.validation_report import final_evaluation
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import gather
from experiment_pipeline.storage.registry import ModelPackage, Registry
from experiment_pipeline.storage.run_code import run_code
from experiment_pipeline.table.digests import INDEX
from experiment_pipeline.table.features import (
    NamedColumns,
    check_target,
    feature_columns,
)
from experiment_pipeline.table.membership import assign, split_keys
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema

Log = Callable[[str], object]


@dataclass
class ExperimentRun:
    """The results of an experiment so far; a stage that was not reached is None."""

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
    evaluation: final_evaluation.FinalEvaluation | None = None
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
            rule, fix = "no configuration was accepted", "Read the report's next steps."
            raise NotAccepted(self.spec.name, rule, fix)
        return self.evaluation.pipeline


def run_experiment(
    data: pd.DataFrame | Data | str | Path,
    target: str,
    *,
    name: str = "experiment",
    schema: str | None = None,
    models: ModelsInMemory | None = None,
    registry: Registry | None = None,
    by_hand: ChoiceByHand | None = None,
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
        registry: where an accepted model becomes a version; None: it is packaged, not
            published.
        by_hand: the configuration chosen by a person; None: the rule of `choice`
            decides.
        log: called with each log line of the run.
        settings: keys of defs.yaml; missing keys are inferred from the table.

    Raises:
        InvalidExperiment: a setting is impossible.
        DataError: the table cannot be read, modelled, validated or split.
        TrainingError: no configuration could be trained.
    """
    # Imported here because it loads scikit-learn: Dagster loads all public names of
    # this package.
    from experiment_pipeline.stages.leaderboard.chosen import ChosenModel

    raw, spec = declare(name, data, target, settings)
    code = run_code(spec, Path.cwd())  # read now, as files may change during the run
    workers = spec.workers or joblib.cpu_count()
    ends = perf_counter() + (spec.budget.seconds or float("inf"))
    store = ModelsInMemory() if models is None else models

    # Prepare every row once; membership of the sets is a function of the prepared rows.
    prepared = prepare(raw.frame, spec.preparation, spec.exclude)
    schema_text = schema or infer_schema(prepared.frame, spec.target, split_keys(spec))
    NamedColumns(spec, schema_text).check_types()
    rules = load_schema(schema_text)
    prepared = assign(prepared, raw.frame.columns, rules, spec)
    run = ExperimentRun(spec, schema_text, raw)

    # Analyse: computations on the target never read a validation row.
    run.analysis = analysis = analyse_prepared(prepared, spec)[0]
    log(f"data analysis: {analysis.verdict}")
    if analysis.verdict == "no go":
        raise unfit(spec.target, "; ".join(analysis.reasons))

    # Validate: rows that break the schema are set aside with their reasons.
    run.validated = validated = validate(raw.frame, prepared, rules, spec)
    if problems := check_rejection_rate(validated, spec.validation):
        fix = "Correct the rows, or raise validation.max_rejected_fraction."
        raise DataError("validated_data", "; ".join(problems), fix)
    check_target(validated.validated, spec)

    # Split into three disjoint sets.
    rows = validated.to_split(prepared, raw.digest, raw.types)
    features = feature_columns(rows.rows, spec)
    run.sets = split(rows, spec, features)
    for check in check_sets(run.sets, rows.rows, spec, features):
        if check.problems and check.severity == "error":
            raise DataError(
                check.name, "; ".join(check.problems), "Correct the table or the YAML."
            )

    # Search: one model per configuration, compared on the test set or by
    # cross-validation.
    sets = as_evaluated(run.sets.train, run.sets.test, spec)
    sets.check_metrics(spec)

    def listen(event: SearchNote | Conclusion) -> None:
        if isinstance(event, SearchNote):
            log(event.text)

    found = run_search(
        configurations(spec), sets, spec, store, Threads(workers), listen=listen
    )
    run.results = found.results

    # Rank and choose.
    set_aside = rows.origin.set_aside
    run.leaderboard = board = rank(
        run.results, store, sets, spec, set_aside, by_hand=by_hand
    )
    log(f"chosen: {board.chosen}, {board.reason}")

    # Evaluate the chosen model once on the validation set (final hold-out): refit,
    # intervals, gates.
    chosen = ChosenModel.of(board, store, sets.y_test, sets.test_clusters(spec))
    chosen = chosen.calibrated(board, store, sets, spec)
    run.evaluation = final_evaluation.evaluate(
        final_evaluation.Choice(
            spec,
            board,
            chosen,
            sets,
            validation=run.sets.validation.rows,
            delivered=raw.frame,
            workers=workers,
        ),
        final_evaluation.Background(conditions=analysis.conditions),
        evidence=lambda: gather(spec, board, sets, store, analysis.label_ceiling),
        seconds_left=lambda: ends - perf_counter(),
    )
    log("accepted" if run.report.accepted else "not accepted")
    if not run.report.accepted:
        return run

    # Export: model, card, metrics and manifest as the files of a version.
    declared = {one.key: one for one in configurations(spec)}
    accepted = AcceptedModel(
        pipeline=run.evaluation.pipeline,
        configuration=board.with_ensemble(declared)[board.chosen],
        result=chosen.result,
        board=board,
        report=run.report,
        sets=final_evaluation.set_facts(sets, run.sets.validation),
        validation=run.sets.validation,
        fitted_rows=final_evaluation.fitted_rows_of(raw.frame, sets, spec),
        schema_text=schema_text,
    )
    run.package = package_model(spec, accepted, datetime.now(tz=UTC), code)
    if registry is not None:
        log(f"{publish(registry, run.package).version} published")
    return run


def declare(
    name: str,
    data: pd.DataFrame | Data | str | Path,
    target: str,
    settings: Mapping[str, Any],
) -> tuple[RawTable, ExperimentSpec]:
    """Read the table, and infer the settings that are missing."""
    source: dict[str, Any] = {}
    if isinstance(data, pd.DataFrame):
        frame = data.set_axis(pd.RangeIndex(len(data), name=INDEX)).rename(columns=str)
        raw = RawTable(frame, content_digest(frame), "DataFrame", None, None, None, ())
    else:
        given = data if isinstance(data, Data) else Data(url=str(data))
        source = given.model_dump(mode="json", exclude_unset=True)
        raw = parse(read_source(given), given)
    attributes: dict[str, Any] = {}
    if {"task", "split", "search", "metric"} - settings.keys():
        wishes = Wishes(
            target=target,
            task=settings.get("task"),
            positive_class=settings.get("positive_class"),
            metric=getattr(given := settings.get("metric"), "path", given),
            seconds=settings.get("budget", {}).get("seconds"),
        )
        attributes = infer(
            raw.frame, wishes, monotone="monotone" in settings
        ).attributes(source)
        if "search" in settings:  # what is inferred for the inferred search
            attributes = {
                k: v for k, v in attributes.items() if k not in ("budget", "export")
            }
    attributes |= {"target": target, **settings, "data": source or None}
    return raw, spec_from(name, attributes)
