"""The flow: one function a stage, from a table to a published model.

A stage is a function of a run and of the values of earlier stages, which its parameters
name; it returns an outcome for each of its assets. The run carries a store (in memory,
or files and database) and a reporter (silent, progress bar, Dagster), so that a
notebook, a test and a Dagster asset run the same stages. Their order stands in
`stages/registry.py`.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from experiment_pipeline import errors
from experiment_pipeline.experiment.context import Run
from experiment_pipeline.experiment.files import secret_warnings
from experiment_pipeline.experiment.store import Made, StageFiles
from experiment_pipeline.intake.raw_table import RawTable, parse
from experiment_pipeline.intake.sources import (
    delivered_bytes,
    modified_at,
    read_source,
)
from experiment_pipeline.intake.validation import ValidatedRows, validate
from experiment_pipeline.prediction.champions import PublishedChampion, held_against
from experiment_pipeline.prediction.drift import model_profile
from experiment_pipeline.reporting import run_record
from experiment_pipeline.reporting.outcome import Check, Outcome
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.stages.data_analysis import page as analysis_page
from experiment_pipeline.stages.data_analysis.analysis import analyse_prepared
from experiment_pipeline.stages.exported_model import export
from experiment_pipeline.stages.exported_model import page as model_page
from experiment_pipeline.stages.leaderboard import board
from experiment_pipeline.stages.leaderboard import page as board_page
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.ensemble import RefitTime
from experiment_pipeline.stages.leaderboard.pictures import SearchShown
from experiment_pipeline.stages.raw_data import page as raw_page
from experiment_pipeline.stages.registry import STAGES, warn_of_memory
from experiment_pipeline.stages.search import page as search_page
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import (
    Conclusion,
    SearchNote,
    SearchResults,
)
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
    search_notes,
)
from experiment_pipeline.stages.search.earlier import (
    EarlierSearch,
    concluded_again,
    search_fingerprint,
)
from experiment_pipeline.stages.search.halving import (
    SearchOutcome,
    run_search,
    workers_of,
)
from experiment_pipeline.stages.search.results import ModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets import page as sets_page
from experiment_pipeline.stages.split_sets.sets import SetTable, split
from experiment_pipeline.stages.validated_data import changes as data_changes
from experiment_pipeline.stages.validated_data import issues_page
from experiment_pipeline.stages.validated_data import page as rows_page
from experiment_pipeline.stages.validated_data.issues import CheckedRows, Delivery
from experiment_pipeline.stages.validated_data.issues_page import IssuesReport
from experiment_pipeline.stages.validation_report import final_evaluation as final
from experiment_pipeline.stages.validation_report import page as report_page
from experiment_pipeline.stages.validation_report.final_evaluation import (
    FinalEvaluation,
    Judged,
)
from experiment_pipeline.stages.validation_report.ledger import NO_LOOKS, EarlierLooks
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import gather
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import ModelPackage
from experiment_pipeline.storage.run_code import (
    RunCode,
    metric_sources,
    source_digests,
)
from experiment_pipeline.storage.tables import from_parquet, to_parquet
from experiment_pipeline.table.clusters import FITTED_ROWS, FittedRows
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline.table.features import (
    NamedColumns,
    check_target,
    feature_columns,
)
from experiment_pipeline.table.membership import SETS, prepare_and_assign
from experiment_pipeline.table.preparation import PreparedTable, day_columns
from experiment_pipeline.table.schema import shared_schema
from experiment_pipeline.table.table import some_rows

ANALYSIS, MARKDOWN, REPORT = "analysis.json", "analysis.md", "report.html"
REPORT_PAGES = (
    (final.STAGE, final.PAGE),
    (run_record.JUDGED_ROWS, final.JUDGED),
    (run_record.PREDICTED_ROWS, final.PREDICTED),
    ("next_search", final.NEXT_SEARCH),
)

Outcomes = Mapping[str, Outcome]  # asset → its outcome, in the order of reporting


def raw_data(run: Run) -> Outcomes:
    """Read the source; a wrong column name in the YAML ends the run here."""
    run.store.record([_limits_of_search(run)])
    if run.store.page:
        run.log.info(f"follow this run: {run.store.page}")
    for warning in secret_warnings(run.named):
        run.log.warning(warning)
    table = run.delivered
    changed_at = None
    if table is None:
        source = run.spec.source
        delivered = read_source(source)
        changed_at = modified_at(source)
        warn_of_memory("raw_data", delivered_bytes(delivered), run.log.warning)
        table = parse(delivered, source)
    run.named.check(list(table.frame.columns))
    return {"raw_data": raw_page.outcome(table, run.spec.shown_source, changed_at)}


def _limits_of_search(run: Run) -> run_record.RunFacts:
    return run_record.RunFacts(
        declared=len(configurations(run.spec)), budget_seconds=run.budget.seconds
    )


def data_analysis(run: Run, raw_data: RawTable) -> Outcomes:
    """Analyse the prepared rows; computations on the target use no validation row.

    The rows are also checked here: who delivers them must hear of it after `no go`.
    """
    spec = run.part("data_analysis")
    prepared = cache(partial(prepared_rows, raw_data, run.named))

    def analyse() -> Made:
        run.warn_of_memory("data_analysis", raw_data.frame)
        dictionary = run.named.dictionary
        analysis, rows = analyse_prepared(prepared(), spec, dictionary)
        contents = {
            ANALYSIS: lambda: analysis.to_json().encode(),
            MARKDOWN: lambda: analysis_page.markdown_report(analysis, spec).encode(),
            REPORT: lambda: analysis_page.report_html(
                analysis, rows, spec, dictionary
            ).encode(),
        }
        return Made(analysis, contents)

    fingerprint = analysis_fingerprint(raw_data.digest, run.named)
    stored = run.store.reused_or_made("data_analysis", fingerprint, analyse, run.log)
    analysis = json.loads(stored.read(ANALYSIS))
    outcome = analysis_page.outcome(
        analysis,
        spec.target,
        stored.read(MARKDOWN).decode(),
        stored.path(REPORT),
    )
    checked = _checked_rows(run, raw_data, prepared())
    run.store.checked[spec.name, raw_data.digest] = checked
    return {
        # first, because `no go` ends the run
        "data_issues": _data_issues(run, raw_data, checked, analysis["findings"]),
        "data_analysis": replace(outcome, version=fingerprint),
    }


def _checked_rows(run: Run, raw: RawTable, prepared: PreparedTable) -> CheckedRows:
    """Check each prepared row against the schema, and compare them with earlier ones.

    Raises as `validate`.
    """
    schema = shared_schema(run.named.schema_text, run.named.schema_path)
    rows = validate(raw.frame, prepared, schema, run.spec)
    compared = data_changes.ComparedData()
    if run.store.profiles is not None and len(rows.validated):
        compared = data_changes.against_the_accepted(run.spec, rows, run.log.warning)
    return CheckedRows(prepared, rows, compared)


def _data_issues(
    run: Run,
    raw: RawTable,
    checked: CheckedRows,
    findings: Sequence[Mapping[str, Any]],
) -> Outcome:
    """Return what the owner of the data can correct, and what is gone since the run
    before.
    """
    earlier = run.store.earlier_issues(raw.digest)
    delivery = Delivery(
        raw.frame,
        checked,
        {f["code"]: f for f in findings if f["outcome"] == "found"},
        run.spec,
        personal={n for n in raw.frame.columns if run.named.dictionary[n].personal},
        earlier=earlier,
    )
    report = IssuesReport(
        run.spec.name,
        run.spec.shown_source,
        delivery.issues(),
        delivery.to_check(),
        earlier,
    )

    def make() -> Made:
        return Made(
            report, {issues_page.PAGE: report.page, issues_page.CSV: report.csv}
        )

    stored = run.store.reused_or_made("data_issues", report.fingerprint, make, run.log)
    return issues_page.outcome(
        report,
        page=stored.path(issues_page.PAGE),
        csv=stored.path(issues_page.CSV),
        run_id=run.store.run_id,
        now=datetime.now(UTC),
    )


def analysis_fingerprint(raw_digest: str, named: NamedColumns) -> str:
    """Return the fingerprint of all inputs of the data analysis."""
    spec = named.spec.part(STAGES["data_analysis"].reads)
    function = spec.preparation.function
    prepared_by = {} if function is None else {"function": source_digests([function])}
    return fingerprint_of(
        raw=raw_digest,
        spec=spec.model_dump(mode="json"),
        schema=named.schema_text,
        version=STAGES["data_analysis"].version,
        findings=source_digests(spec.analysis.findings),
        **metric_sources(spec),
        **prepared_by,
    )


def prepared_rows(raw: RawTable, named: NamedColumns) -> PreparedTable:
    """Prepare the rows of a table, and assign each to a set."""
    schema = shared_schema(named.schema_text, named.schema_path)
    return prepare_and_assign(raw.frame, schema, named.spec)


def validated_data(run: Run, raw_data: RawTable) -> Outcomes:
    """Check each prepared row against the schema: the valid and the rejected ones."""
    spec = run.spec
    raw = raw_data.frame
    run.warn_of_memory("validated_data", raw)
    checked = run.store.checked.pop((spec.name, raw_data.digest), None)
    if checked is None:
        checked = _checked_rows(run, raw_data, prepared_rows(raw_data, run.named))
    prepared = checked.prepared
    compared = checked.compared
    rows = checked.rows.some_left()
    run.store.keep("validated_data", rows)
    profiles = run.store.profiles
    within_limit = rows_page.within_limit(rows, compared.previous_rate, spec)
    if profiles is not None and within_limit.passed:
        # Only then: else the rate of a second try would no longer be an increase.
        profiles.note(data_changes.RUNS, compared.profile)
    outcome = rows_page.validated(
        raw, prepared, rows, compared.changes, within_limit, spec.validation.drift
    )
    table = rows.to_split(prepared, raw_data.digest, raw_data.types, compared.profile)
    return {
        "rejected_rows": rows_page.rejected(prepared.frame, rows, spec),
        "validated_data": replace(outcome, value=table),
    }


def split_sets(run: Run, validated_data: ValidatedRows) -> Outcomes:
    """Split the validated rows into three disjoint sets."""
    spec = run.spec
    rows = validated_data.rows
    run.warn_of_memory("split_sets", rows)
    check_target(rows, spec)
    features = feature_columns(rows, spec)
    sets = split(validated_data, spec, features)
    run.store.keep("split_sets", sets)
    outcomes = {f"{name}_set": sets_page.outcome(sets, name) for name in SETS}
    checks = sets_page.checks(sets, rows, spec, features)
    train = replace(outcomes["train_set"], notes=sets.notes, checks=checks)
    return {**outcomes, "train_set": train}


def search(run: Run, train_set: SetTable, test_set: SetTable) -> Outcomes:
    """Train every configuration that has no stored result yet."""
    spec = run.spec
    run.store.record([_limits_of_search(run)])  # in Dagster it may be the first stage
    for note in search_notes(spec):
        run.log.info(note)
    if run.changed:
        run.store.record([run_record.RunFacts(settings=run.changed)])
        values = ", ".join(f"{name} {value:g}" for name, value in run.changed.items())
        run.log.info(f"changed for this run: {values}")
    sets = as_evaluated(train_set, test_set, spec)
    run.warn_of_memory("search", sets.train, sets.test)
    searched = _searched(run, sets)
    run.store.keep("search", searched)
    outcome = search_page.results(
        searched.results, searched.cost, configurations(spec), spec.evaluation_name
    )
    return {"search_results": outcome}


def _searched(run: Run, sets: TrainingSets) -> SearchOutcome:
    """Run the search; record and report each configuration when it is concluded."""
    log = run.log
    spec = run.searched_spec
    before = run.budget.spent()
    declared = configurations(spec)
    asked_for = _asked_for(run, declared)
    hyperparameters = {c.key: c.declared_settings for c in declared}
    models = run.store.models(log.warning)
    # A configuration that somebody asks for is trained whatever was concluded before.
    asked_for_all = len(asked_for) == len(declared)
    search_print = search_fingerprint(declared, sets, run.spec)
    earlier = _same_search(run, sets, models, search_print) if asked_for_all else None
    if earlier is None:
        _log_seconds_left(run, spec.budget.seconds)
    with (
        run.store.in_batches(run.store.record) as record,
        run.store.in_batches(run.reporter.concluded) as report,
        run.store.engine(spec, log) as engine,
    ):
        searched = run_search(
            declared,
            sets,
            spec,
            models,
            engine,
            asked_for=asked_for,
            earlier=None if earlier is None else earlier.conclusions,
            listen=_listener(run, record, report, hyperparameters),
        )
        rest = searched.not_asked_for
        record([search_page.record_row(end, hyperparameters[end.key]) for end in rest])
    results = _with_times(run, searched, before)
    if earlier is not None:
        # What comes later has the time that it had, and so makes the same choice.
        then = earlier.results
        results = replace(results, phases=then.phases, seconds_left=then.seconds_left)
    elif asked_for_all and searched.is_final and run.store.searches is not None:
        run.store.searches.keep(search_print, run.budget.seconds, results)
    return replace(searched, results=results)


def _asked_for(run: Run, declared: Sequence[Configuration]) -> Sequence[Configuration]:
    """Return the configurations to train."""
    if run.asked_for is None:
        return declared
    return [
        configuration
        for configuration in declared
        if configuration.key in run.asked_for
    ]


def _log_seconds_left(run: Run, seconds_left: float | None) -> None:
    seconds = run.budget.seconds
    if seconds is not None and seconds_left != seconds:
        run.log.info(
            f"{seconds_left:g} of {seconds:g} seconds are left for search, refit and "
            "report"
        )


def _listener(
    run: Run,
    record: Callable[[Sequence[run_record.RecordRow]], object],
    report: Callable[[Sequence[tuple[str, Outcome]]], object],
    hyperparameters: Mapping[str, Mapping[str, Any]],
) -> Callable[[SearchNote | Conclusion], None]:
    """Return what records and reports each event of a search."""

    def listen(event: SearchNote | Conclusion) -> None:
        if isinstance(event, SearchNote):
            (run.log.warning if event.warns else run.log.info)(event.text)
            return
        record([search_page.record_row(event, hyperparameters[event.key])])
        if event.result is None:
            return
        path = run.store.model_path(event.result.fingerprint)
        outcome = search_page.configuration(
            event, event.result, path, run.searched_spec.evaluation_name
        )
        report([(event.key, outcome)])

    return listen


def _with_times(run: Run, searched: SearchOutcome, before: float) -> SearchResults:
    """Return the results with where the seconds of the budget went; `before`: the
    search.
    """
    phases = {"before the search": before, **searched.cost.phases}
    if run.budget.reserved:
        phases["reserved for the export"] = run.budget.reserved
    is_limited = run.budget.seconds is not None and not run.explores
    seconds_left = run.budget.left if is_limited else None
    return replace(searched.results, phases=phases, seconds_left=seconds_left)


def _same_search(
    run: Run, sets: TrainingSets, models: ModelStore, search_print: str
) -> EarlierSearch | None:
    """Return how an earlier run concluded this search with at least as many seconds."""
    if run.store.searches is None:
        return None
    results = run.store.searches.find(search_print, run.budget.seconds, run.log.warning)
    if results is None:
        return None
    declared = configurations(run.spec)
    earlier = concluded_again(results, declared, sets, run.spec, models)
    if earlier is not None:
        run.log.info(earlier.in_words)
    return earlier


def leaderboard(
    run: Run, train_set: SetTable, test_set: SetTable, search_results: SearchResults
) -> Outcomes:
    """Rank the results of the current sets, and choose."""
    spec = run.part("leaderboard")
    sets = as_evaluated(train_set, test_set, run.spec)
    board.check_same_sets("search_results", search_results.digests, sets.digests)
    board.check_same_metric("search_results", search_results.metric, spec.metric)
    set_aside = train_set.origin.set_aside

    def rank() -> Made:
        run.warn_of_memory("leaderboard", sets.test)
        refit_time = None
        if search_results.seconds_left is not None:
            workers = workers_of(run.searched_spec)
            after = AfterSearch(sets, workers, run.spec.export.fits)
            refit_time = RefitTime(search_results.seconds_left, after.of)
        ranked = board.leaderboard(
            search_results,
            run.store.models(),
            sets,
            spec,
            set_aside,
            refit_time,
            run.by_hand,
            run.store.scores,
        )
        shown = SearchShown(ranked, ranked.configurations(spec), search_results)
        contents = {
            board_page.TABLE: partial(to_parquet, ranked),
            board_page.PAGE: partial(board_page.page_html, shown, spec.name),
        }
        return Made(ranked, contents)

    fingerprint = board.ranking_fingerprint(
        spec,
        search_results,
        set_aside,
        STAGES["leaderboard"].version,
        run.by_hand,
    )
    stored = run.store.reused_or_made("leaderboard", fingerprint, rank, run.log)
    ranked = from_parquet(stored.read(board_page.TABLE), Leaderboard)
    shown = SearchShown(ranked, ranked.configurations(run.spec), search_results)
    outcome = board_page.outcome(shown, stored.path(board_page.PAGE))
    return {"leaderboard": replace(outcome, version=fingerprint)}


@dataclass(frozen=True)
class _Judgement:
    """What the final evaluation judges: the choice of a leaderboard, on these rows."""

    raw: RawTable
    sets: TrainingSets
    validation: SetTable
    leaderboard: Leaderboard
    champions: list[PublishedChampion]
    analysis: Mapping[str, Any]  # as written by the data analysis; empty: none
    meanings: Mapping[str, Meaning]  # feature → what schema.yaml says about it

    def fingerprint(self, spec: ExperimentSpec) -> str:
        """Return the fingerprint of all inputs but the number of earlier looks."""
        champions = held_against(
            self.champions, self.leaderboard.fingerprint, spec.export
        )
        # The report's worst rows are looked up in the raw table by position.
        tables = (self.sets.test, self.validation.rows)
        said = {name: meaning.said for name, meaning in self.meanings.items()}
        return fingerprint_of(
            board=board.board_digest(self.leaderboard),
            validation=self.validation.digest,
            places=[table_digest(table[[]]) for table in tables],
            spec=spec.model_dump(mode="json"),
            champions=champions,
            conditions=self.analysis.get("conditions", []),
            set_aside=list(self.validation.origin.set_aside),
            version=STAGES[final.STAGE].version,
            **metric_sources(spec),
            **({"meanings": said} if said else {}),
        )


def validation_report(
    run: Run,
    raw_data: RawTable,
    train_set: SetTable,
    test_set: SetTable,
    validation_set: SetTable,
    leaderboard: Leaderboard,
) -> Outcomes:
    """Evaluate the choice on the validation set (final hold-out), once.

    A report of the same choice on the same rows is reused: it is not another look.
    """
    spec = run.part(final.STAGE)
    sets = as_evaluated(train_set, test_set, run.spec)
    board.check_same_sets("leaderboard", leaderboard.digests, sets.digests)
    board.check_same_keys(
        "leaderboard", leaderboard.yaml_digests, run.part("leaderboard")
    )
    analysis = run.store.find(
        "data_analysis", analysis_fingerprint(raw_data.digest, run.named)
    )
    compares = spec.not_worse_than_champion is not None
    judgement = _Judgement(
        raw=raw_data,
        sets=sets,
        validation=validation_set,
        leaderboard=leaderboard,
        champions=run.store.champions(spec) if compares else [],
        analysis={} if analysis is None else json.loads(analysis.read(ANALYSIS)),
        meanings=run.named.dictionary.of_features(sets.features, spec.preparation),
    )

    def evaluate() -> Made:
        run.warn_of_memory(final.STAGE, sets.train, sets.test, validation_set.rows)
        evaluation = _evaluated(run, spec, judgement)
        fitted_rows = partial(final.fitted_rows_of, raw_data.frame, sets, spec)
        return Made(evaluation, evaluation.contents(fitted_rows))

    fingerprint = judgement.fingerprint(spec)
    stored = run.store.reused_or_made(final.STAGE, fingerprint, evaluate, run.log)
    report = ValidationReport.from_json(stored.read(final.REPORT).decode())
    outcome = report_page.outcome(
        report,
        stored.read(final.MARKDOWN).decode(),
        {
            name: stored.path(file)
            for name, file in REPORT_PAGES
            if file in stored.contents
        },
        board.chosen_configuration(leaderboard, run.spec).in_words,
    )
    judged = Judged(
        scores=final.scores_table(report),
        fingerprint=fingerprint,
        model_fingerprint=leaderboard.fingerprint,
        sets=final.set_facts(sets, validation_set),
        yaml_digests=board.key_digests(spec),
    )
    return {final.STAGE: replace(outcome, value=judged, version=fingerprint)}


def _evaluated(
    run: Run, spec: ExperimentSpec, judgement: _Judgement
) -> FinalEvaluation:
    """Record the look first: an evaluation that crashes counts as one."""
    from experiment_pipeline.stages.leaderboard.chosen import ChosenModel

    ranked = judgement.leaderboard
    sets = judgement.sets
    earlier_looks = _recorded_look(run, spec, judgement)
    models = run.store.models()
    trusted = list[str]()
    if judgement.champions:
        # A champion may run code that models of this storage use or the YAML names.
        members = [name for c in judgement.champions for name in c.models]
        for result in models.results(members).values():
            trusted += result.trusted_types
        trusted += filter(None, [spec.preparation.function])
    chosen = ChosenModel.of(ranked, models, sets.y_test, sets.test_clusters(spec))
    ceiling = judgement.analysis.get("label_ceiling")
    choice = final.Choice(
        spec,
        ranked,
        chosen.calibrated(ranked, models, sets, spec),
        sets,
        validation=judgement.validation.rows,
        delivered=judgement.raw.frame,
        workers=workers_of(run.searched_spec),
    )
    background = final.Background(
        looks=earlier_looks,
        champions=judgement.champions,
        trusted=trusted,
        conditions=judgement.analysis.get("conditions", ()),
    )
    evaluation = final.evaluate(
        choice,
        background,
        evidence=lambda: gather(run.spec, ranked, sets, models, ceiling),
        seconds_left=run.budget.countdown(),
    )
    notes = (*judgement.validation.origin.set_aside, *evaluation.report.notes)
    report = replace(evaluation.report, notes=notes, meanings=judgement.meanings)
    return replace(evaluation, report=report)


def _recorded_look(
    run: Run, spec: ExperimentSpec, judgement: _Judgement
) -> EarlierLooks:
    """Write a look to the ledger; return the earlier ones."""
    ledger = run.store.ledger
    if ledger is None:
        return NO_LOOKS
    model = judgement.leaderboard.fingerprint
    # Other refit settings make another model, so its evaluation is another look.
    refit = spec.export.model_dump(include={"fits", "refit"}, exclude_defaults=True)
    if refit:
        model = fingerprint_of(configuration=model, **refit)
    raw = judgement.raw.frame
    validation = judgement.validation
    delivered = some_rows(raw, raw.index.get_indexer(validation.rows.index))
    ids = spec.split.id_columns
    earlier_looks = ledger.earlier_looks(
        validation.digest, model, delivered, ids, spec.target, tell=run.log.warning
    )
    ledger.record_look(validation.digest, model, delivered, ids, spec.target)
    return earlier_looks


def exported_model(
    run: Run,
    validation_set: SetTable,
    leaderboard: Leaderboard,
    validation_report: Judged,
) -> Outcomes:
    """Publish the accepted model; its predictions are verified before it is visible."""
    spec = run.spec
    origin = validation_set.origin
    _check_accepted(run, validation_set, leaderboard, validation_report)
    board.check_same_keys(
        "leaderboard", leaderboard.yaml_digests, run.part("leaderboard")
    )
    configuration = board.chosen_configuration(leaderboard, spec)
    fingerprint = fingerprint_of(
        report=validation_report.fingerprint,
        raw_types=dict(origin.raw_types),
        offsets=dict(origin.offsets),
        schema=run.named.schema_text,
        spec=spec.model_dump(mode="json"),
        version=STAGES["exported_model"].version,
    )
    package = partial(
        packaged_model, run, validation_set, leaderboard, validation_report
    )
    published = run.store.publish(spec, fingerprint, package, run.log.warning)
    if published is None:
        return {"exported_model": Outcome(facts={"configuration": configuration.key})}
    # Not loaded by an exploration, which publishes nothing.
    from experiment_pipeline.tracking.database.archive import version_row

    registry, version = published
    # The version is visible, so it is recorded before anything else can fail. Git, and
    # MLflow after it, may be away: the next run sends what they miss.
    if not version.reused:
        row = version_row(registry, registry.entry(version.version), None, None)
        run.store.record([row])
    if run.store.profiles is not None:
        run.store.profiles.note(data_changes.ACCEPTED, origin.profile)
    problems = []
    try:
        committed = export.commit_published(spec, registry, version)
    except errors.ExportError as error:
        committed = ", not committed to git yet"
        problems.append(f"{version.version} is not committed to git yet: {error}")
    outcome = model_page.outcome(registry, version, committed, configuration.in_words)
    outcome = replace(outcome, warnings=[*outcome.warnings, *problems])
    return {"exported_model": outcome}


def packaged_model(
    run: Run,
    validation_set: SetTable,
    leaderboard: Leaderboard,
    validation_report: Judged,
    code: RunCode,
) -> ModelPackage:
    """Return the files of the evaluated model, whether it is accepted or not."""
    spec = run.spec
    files = run.store.require(final.STAGE, validation_report.fingerprint)
    stored = files.read(final.MODEL)
    size = persistence.loading_bytes(stored)
    warn_of_memory("exported_model", size, run.log.warning)
    result = board.chosen_result(leaderboard, run.store.models())
    evaluated = model_page.EvaluatedModel(
        pipeline=persistence.from_bytes(stored, result.trusted_types),
        configuration=board.chosen_configuration(leaderboard, spec),
        result=result,
        board=leaderboard,
        report=ValidationReport.from_json(files.read(final.REPORT).decode()),
        sets=validation_report.sets,
        validation=validation_set,
        fitted_rows=FittedRows.from_bytes(files.read(FITTED_ROWS), final.STAGE),
        schema_text=run.named.schema_text,
        profile=_model_profile(run, validation_set, files),
    )
    return export.package_model(spec, evaluated, datetime.now(tz=UTC), code)


def _check_accepted(
    run: Run, validation: SetTable, ranked: Leaderboard, judged: Judged
) -> None:
    """Raise NotAccepted if the report does not accept the model.

    It is checked again, as Dagster can run this stage alone.
    """
    board.check_same_keys(final.STAGE, judged.yaml_digests, run.part(final.STAGE))
    files = run.store.require(final.STAGE, judged.fingerprint)
    report = ValidationReport.from_json(files.read(final.REPORT).decode())
    if not report.accepted:
        raise errors.NotAccepted(
            report.configuration,
            rule=report.gates_in_words,
            fix="Read the report for what to try next.",
        )
    digests = {**ranked.digests, "validation": validation.digest}
    judged_digests = {fact.name: fact.digest for fact in judged.sets}
    board.check_same_sets(final.STAGE, judged_digests, digests)
    if judged.model_fingerprint != ranked.fingerprint:
        raise errors.StorageError(
            final.STAGE,
            rule=f"it is the report of another model than {ranked.chosen}, "
            "the leaderboard's choice",
            fix="Materialize it again, then the export.",
        )


def _model_profile(run: Run, validation: SetTable, files: StageFiles) -> Any:
    """Return what makes the profile to detect drift later; None: no history."""
    if run.store.profiles is None:
        return None
    judged = from_parquet(files.read(final.JUDGED), run_record.JudgedRows)
    return partial(
        model_profile,
        run.store.profiles.get(validation.origin.profile),
        judged.as_prediction.prediction,
        day_columns(run.spec.preparation),
    )


# Stage of the registry → its function.
FUNCTIONS: Mapping[str, Callable[..., Outcomes]] = {
    function.__name__: function
    for function in (
        raw_data,
        data_analysis,
        validated_data,
        split_sets,
        search,
        leaderboard,
        validation_report,
        exported_model,
    )
}


# Asset → type of its value, where a stage takes it.
VALUE_TYPES: Mapping[str, type] = {
    name: annotation
    for function in FUNCTIONS.values()
    for name, annotation in inspect.get_annotations(function).items()
    if name not in {"run", "return"}
}


def carry_out(run: Run, stage: str, values: Mapping[str, Any]) -> Outcomes:
    """Run a stage on the values of earlier ones: its outcomes, asset by asset."""
    inputs = {asset: values[asset] for asset in STAGES[stage].takes}
    with run.at_work(stage):
        return FUNCTIONS[stage](run, **inputs)


@dataclass(frozen=True)
class FlowResult:
    """How far a run came."""

    assets: Mapping[str, Any]  # asset → its value
    refused: errors.ExperimentPipelineError | None  # why it ended early


def run_stages(
    run: Run, report: Callable[[str, Outcome], object], until: str | None = None
) -> FlowResult:
    """Run the stages in their order until one ends the run; `report` gets each outcome.

    `until`: the last stage to run; None: all.

    Raises the errors of the stages, except that of an export, which leaves leaderboard
    and report valid.
    """
    values: dict[str, Any] = {}
    for stage in STAGES:
        try:
            outcomes = carry_out(run, stage, values)
        except errors.ExportError as error:
            return FlowResult(values, error)
        for asset, outcome in outcomes.items():
            values[asset] = outcome.value
            report(asset, outcome)
        if (refused := refusal(outcomes)) is not None:
            return FlowResult(values, refused)
        if stage == until:
            break
    return FlowResult(values, None)


def refusal(outcomes: Outcomes) -> errors.ExperimentPipelineError | None:
    """Return the error of the first check that ends a run, if there is one."""
    for outcome in outcomes.values():
        for check in outcome.checks:
            if check.ends_run:
                return check.refusal or _refused_by(check)
    return None


def _refused_by(check: Check) -> errors.DataError:
    rule, _, fix = check.means.partition("\n  fix: ")
    return errors.DataError(check.name, rule, fix or "Correct the rows.")
