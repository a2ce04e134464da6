"""The stages of a stored run, one function each: read, call the stage, store, report
the outcome.

Dagster's assets and `run` call the same functions. Each yields (asset, outcome) in the
order in which they are reported; the outcome holds the asset's value, facts and checks.
Stored results of the same inputs are reused.
"""

import json
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import joblib

from experiment_pipeline import errors
from experiment_pipeline.experiment.stage_run import Reported, StageRun
from experiment_pipeline.intake.raw_table import RawTable, parse
from experiment_pipeline.intake.sources import (
    delivered_bytes,
    modified_at,
    read_source,
)
from experiment_pipeline.intake.validation import ValidatedRows, validate
from experiment_pipeline.prediction.champions import (
    PublishedChampion,
    find_champions,
    held_against,
)
from experiment_pipeline.prediction.drift import model_profile
from experiment_pipeline.reporting import run_record
from experiment_pipeline.reporting.outcome import Outcome
from experiment_pipeline.spec import ExperimentSpec
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
from experiment_pipeline.stages.registry import STAGES, table_bytes, warn_of_memory
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
from experiment_pipeline.stages.search.dask_cluster import connected, engine_of
from experiment_pipeline.stages.search.halving import (
    FitEngine,
    SearchOutcome,
    Threads,
    run_search,
)
from experiment_pipeline.stages.search.results import TrainedModelStore
from experiment_pipeline.stages.search.training_sets import TrainingSets, as_evaluated
from experiment_pipeline.stages.split_sets import page as sets_page
from experiment_pipeline.stages.split_sets.sets import SetTable, split
from experiment_pipeline.stages.validated_data import changes as data_changes
from experiment_pipeline.stages.validated_data import page as rows_page
from experiment_pipeline.stages.validation_report import final_evaluation as final
from experiment_pipeline.stages.validation_report import page as report_page
from experiment_pipeline.stages.validation_report.final_evaluation import Judged
from experiment_pipeline.stages.validation_report.ledger import Ledger
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import gather
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.entries import SharedFiles, SharedFolder, stage_entries
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.registry import RECORD, ModelPackage, registry_of
from experiment_pipeline.storage.run_code import metric_sources, source_digests
from experiment_pipeline.storage.tables import from_parquet
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
from experiment_pipeline.tracking.database import recording
from experiment_pipeline.tracking.database.archive import restore_versions, version_row
from experiment_pipeline.tracking.outcomes import with_pages
from experiment_pipeline.tracking.questions import code_of
from experiment_pipeline.tracking.record import record_of_version

ANALYSIS, MARKDOWN, REPORT = "analysis.json", "analysis.md", "report.html"
IDENTITY = "identity.txt"
REPORT_PAGES = (
    (final.STAGE, final.PAGE),
    (run_record.JUDGED_ROWS, final.JUDGED),
    (run_record.PREDICTED_ROWS, final.PREDICTED),
    ("next_search", final.NEXT_SEARCH),
)
# The keys that the prepared rows depend on, beside raw table and schema; and a cache of
# one table.
_DECIDING = {"target", "task", "exclude", "preparation", "split", "sample_weight"}
_handed_on: dict[str, PreparedTable] = {}


def raw_data(stage: StageRun) -> Reported:
    """Read the source; a wrong column name in the YAML ends the run here."""
    source = stage.spec.source
    with stage.at_work():
        changed = None
        if (table := stage.delivered) is None:
            delivered, changed = read_source(source), modified_at(source)
            warn_of_memory("raw_data", delivered_bytes(delivered), stage.log.warning)
            table = parse(delivered, source)
        stage.named.check(list(table.frame.columns))
    yield "raw_data", raw_page.outcome(table, source.shown_url, changed)


def prepared_rows(
    raw: RawTable, spec: ExperimentSpec, named: NamedColumns, *, hand_on: bool = False
) -> PreparedTable:
    """Return `prepare_and_assign` of the table; `hand_on`: keep the result for the next
    call.

    The data analysis and the validation of one run both need it, in one process.
    """
    decides = spec.model_dump(mode="json", include=_DECIDING)
    own = _function_source(spec)
    key = fingerprint_of(raw=raw.digest, schema=named.schema_text, spec=decides, **own)
    prepared = _handed_on.pop(key, None)
    _handed_on.clear()
    if prepared is None:
        schema = shared_schema(named.schema_text, named.schema_path)
        prepared = prepare_and_assign(raw.frame, schema, spec)
    if hand_on:
        _handed_on[key] = prepared
    return prepared


def data_analysis(stage: StageRun, raw_data: RawTable) -> Reported:
    """Analyse the prepared rows; computations on the target use no validation row."""
    given = stage.part("data_analysis")
    fingerprint = _analysis_fingerprint(raw_data.digest, stage.named)

    def examine() -> dict[str, bytes]:
        rows = prepared_rows(raw_data, given, stage.named, hand_on=True)
        analysis, prepared = analyse_prepared(rows, given)
        return {
            ANALYSIS: analysis.to_json().encode(),
            MARKDOWN: analysis_page.markdown_report(analysis, given).encode(),
            REPORT: analysis_page.report_html(analysis, prepared, given).encode(),
        }

    with stage.at_work():
        reused = "reused the analysis of the same table"
        stored = stage.reused_or_made(
            "data_analysis", fingerprint, examine, reused, raw_data.frame
        )
    outcome = analysis_page.outcome(
        json.loads(stored.files[ANALYSIS]),
        stage.spec.target,
        stored.files[MARKDOWN].decode(),
        str(stored.paths[REPORT]),
    )
    yield "data_analysis", replace(outcome, version=fingerprint)


def _analysis_fingerprint(raw_digest: str, named: NamedColumns) -> str:
    """The fingerprint of all inputs of the data analysis."""
    given = named.spec.part(STAGES["data_analysis"].reads)
    return fingerprint_of(
        raw=raw_digest,
        spec=given.model_dump(mode="json"),
        schema=named.schema_text,
        version=STAGES["data_analysis"].version,
        findings=source_digests(given.analysis.findings),
        **metric_sources(given),
        **_function_source(given),
    )


def _function_source(spec: ExperimentSpec) -> dict[str, Any]:
    """The source digest of the preparation's function, for a fingerprint; empty without
    a function.
    """
    function = spec.preparation.function
    return {} if function is None else {"function": source_digests([function])}


def validated_data(stage: StageRun, raw_data: RawTable) -> Reported:
    """Prepare the rows, check each against the schema, and store the valid and the
    rejected ones.
    """
    spec, named, warn = stage.spec, stage.named, stage.log.warning
    with stage.at_work():
        warn_of_memory("validated_data", table_bytes(raw_data.frame), warn)
        schema = shared_schema(named.schema_text, named.schema_path)
        prepared = prepared_rows(raw_data, spec, named)
        data = validate(raw_data.frame, prepared, schema, spec)
        digest, previous, changes = data_changes.against_the_accepted(spec, data, warn)
    yield "rejected_rows", rows_page.rejected(prepared.frame, data, spec)
    within = rows_page.within_limit(data, previous, spec)
    if within.passed:
        with stage.at_work():
            check_target(data.validated, spec)
            # Only if it passed: else the rate of a second try would no longer count as
            # an increase.
            data_changes.DataProfiles.of(spec.name).note(data_changes.RUNS, digest)
    limits = spec.validation.drift
    kept = rows_page.validated(raw_data.frame, prepared, data, changes, within, limits)
    value = data.to_split(prepared, raw_data.digest, raw_data.types, digest)
    yield "validated_data", replace(kept, value=value)


def split_sets(stage: StageRun, validated_data: ValidatedRows) -> Reported:
    """Split the validated rows; one step, so that the three sets always come from the
    same split.
    """
    spec, rows = stage.spec, validated_data.rows
    with stage.at_work():
        warn_of_memory("split_sets", table_bytes(rows), stage.log.warning)
        features = feature_columns(rows, spec)
        sets = split(validated_data, spec, features)
    checks = sets_page.checks(sets, rows, spec, features)
    for name in SETS:
        outcome = sets_page.outcome(sets, name)
        if name == "train":
            outcome = replace(outcome, notes=sets.notes, checks=checks)
        yield f"{name}_set", outcome


def search(
    stage: StageRun,
    train_set: SetTable,
    test_set: SetTable,
    asked_for: Collection[str] | None = None,
    concluded: Callable[[str, Outcome], object] = lambda *_: None,
) -> Reported:
    """Train every configuration that is not stored yet; `asked_for`: only those of
    these keys.

    `concluded` is called with key and outcome of each configuration as soon as it has a
    result.
    """
    spec, log, declared = stage.spec, stage.log, configurations(stage.spec)
    for note in search_notes(spec):
        log.info(note)
    with stage.at_work():
        if changed := stage.changed:
            stage.run.record([run_record.RunFacts(settings=changed)])
            values = ", ".join(f"{name} {value:g}" for name, value in changed.items())
            log.info(f"changed for this run: {values}")
        sets = as_evaluated(train_set, test_set, spec)
        sets.check_metrics(spec)
        warn_of_memory("search", table_bytes(sets.train, sets.test), log.warning)
        asked = [one for one in declared if asked_for is None or one.key in asked_for]
        found = _searched(stage, sets, declared, asked, concluded)
    outcome = search_page.results(
        found.results, found.cost, declared, spec.evaluation_name
    )
    yield "search_results", outcome


def _searched(
    stage: StageRun,
    sets: TrainingSets,
    declared: Sequence[Configuration],
    asked_for: Sequence[Configuration],
    concluded: Callable[[str, Outcome], object],
) -> SearchOutcome:
    """Run the search; log, record and report each configuration when it finishes."""
    log, spec = stage.log, stage.searched_spec
    store = TrainedModelStore.of(spec.name, log.warning)
    given = {one.key: one.declared_settings for one in declared}
    if (left := spec.budget.seconds) != stage.seconds:
        log.info(
            f"{left:g} of {stage.seconds:g} seconds are left for search, refit and report"
        )
    with recording.in_batches(stage.run) as record, _engine(spec, log) as engine:

        def listen(event: SearchNote | Conclusion) -> None:
            if isinstance(event, SearchNote):
                (log.warning if event.warns else log.info)(event.text)
                return
            record([search_page.record_row(event, given[event.key])])
            if event.result is not None:
                path = str(store.entries.folder(event.result.fingerprint))
                shown = search_page.configuration(
                    event, event.result, path, spec.evaluation_name
                )
                concluded(event.key, shown)

        found = run_search(
            declared, sets, spec, store, engine, asked_for=asked_for, listen=listen
        )
        record(
            [search_page.record_row(one, given[one.key]) for one in found.not_asked_for]
        )
    return found


@contextmanager
def _engine(spec: ExperimentSpec, log: logging.Logger) -> Iterator[FitEngine]:
    """The engine that trains: threads of this machine, unless YAML or environment name
    a cluster.
    """
    if (dask := engine_of(spec.engine)) is None:
        yield Threads(spec.workers or joblib.cpu_count())
        return
    from experiment_pipeline.stages.search.dask_engine import ClusterEngine

    files = SharedFiles(SharedFolder(str(storage_root()), spec.name), log.warning)
    connect = partial(connected, dask, workers=spec.workers, log=log.info)
    with ClusterEngine(connect, files) as engine:
        yield engine


def leaderboard(
    stage: StageRun,
    train_set: SetTable,
    test_set: SetTable,
    search_results: SearchResults,
) -> Reported:
    """Rank the stored results of the current sets."""
    spec, by_hand = stage.spec, stage.by_hand
    given = stage.part("leaderboard")
    with stage.at_work():
        sets = as_evaluated(train_set, test_set, spec)
        board.check_same_sets("search_results", search_results.digests, sets.digests)
        board.check_same_metric("search_results", search_results.metric, spec.metric)
        set_aside = train_set.origin.set_aside
        fingerprint = board.ranking_fingerprint(
            given,
            search_results,
            set_aside,
            STAGES["leaderboard"].version,
            stage.seconds,
            by_hand,
        )

        def files() -> Mapping[str, bytes]:
            left = stage.seconds_left()()
            after = AfterSearch(
                sets, spec.workers or joblib.cpu_count(), spec.export.fits
            )
            time = None if math.isinf(left) else RefitTime(left, after.of)
            models = TrainedModelStore.of(spec.name)
            ranked = board.leaderboard(
                search_results, models, sets, given, set_aside, time, by_hand
            )
            return board_page.files(
                SearchShown.of(ranked, search_results, given), spec.name
            )

        reused = "reused the ranking of the same results"
        stored = stage.reused_or_made(
            "leaderboard", fingerprint, files, reused, sets.test
        )
    ranked = from_parquet(stored.files[board_page.TABLE], Leaderboard)
    shown = SearchShown.of(ranked, search_results, spec)
    outcome = board_page.outcome(shown, str(stored.paths[board_page.PAGE]))
    yield "leaderboard", with_pages(replace(outcome, version=fingerprint), spec.name)


def validation_report(
    stage: StageRun,
    raw_data: RawTable,
    train_set: SetTable,
    test_set: SetTable,
    validation_set: SetTable,
    leaderboard: Leaderboard,
) -> Reported:
    """Evaluate the chosen configuration on the validation set, once.

    A report of the same choice on the same rows is reused, and does not count as
    another look.
    """
    spec, name = stage.spec, final.STAGE
    given = stage.part(name)
    with stage.at_work():
        sets = as_evaluated(train_set, test_set, spec)
        board.check_same_sets("leaderboard", leaderboard.digests, sets.digests)
        board.check_same_keys(
            "leaderboard", leaderboard.yaml_digests, stage.part("leaderboard")
        )
        words = board.chosen_configuration(leaderboard, spec).in_words
        wanted = given.not_worse_than_champion is not None
        current = find_champions(registry_of(given)) if wanted else []
        analysed = _analysis_fingerprint(raw_data.digest, stage.named)
        known = stage_entries(spec.name, "data_analysis").get(analysed)
        # Empty if the table was not analysed.
        analysis = {} if known is None else json.loads(known.files[ANALYSIS])
        # Covers all inputs of the report except the number of earlier looks.
        fingerprint = fingerprint_of(
            board=board.board_digest(leaderboard),
            validation=validation_set.digest,
            # Row positions: the report's worst rows are looked up in the raw table by
            # position.
            places=[table_digest(one[[]]) for one in (sets.test, validation_set.rows)],
            spec=given.model_dump(mode="json"),
            champions=held_against(current, leaderboard.fingerprint, given.export),
            conditions=analysis.get("conditions", []),
            set_aside=list(validation_set.origin.set_aside),
            version=STAGES[name].version,
            **metric_sources(given),
        )
        tables = (raw_data, sets, validation_set, leaderboard)
        make = partial(_evaluated, stage, given, *tables, current, analysis)
        reused = "reused the report of the same model on the same rows"
        rows = (sets.train, sets.test, validation_set.rows)
        stored = stage.reused_or_made(name, fingerprint, make, reused, *rows)
    report = ValidationReport.from_json(stored.files[final.REPORT].decode())
    places = {
        n: str(stored.paths[file]) for n, file in REPORT_PAGES if file in stored.paths
    }
    outcome = report_page.outcome(
        report, stored.files[final.MARKDOWN].decode(), places, words
    )
    scores, facts = final.scores_table(report), final.set_facts(sets, validation_set)
    judged = Judged(
        scores, fingerprint, leaderboard.fingerprint, facts, board.key_digests(given)
    )
    yield name, replace(outcome, value=judged, version=fingerprint)


def _evaluated(
    stage: StageRun,
    given: ExperimentSpec,
    raw_data: RawTable,
    sets: TrainingSets,
    validation_set: SetTable,
    ranked: Leaderboard,
    current: Sequence[PublishedChampion],
    analysis: Mapping[str, Any],
) -> Mapping[str, bytes]:
    """Write to the ledger, then evaluate: an evaluation that crashes counts
    as a look.
    """
    from experiment_pipeline.stages.leaderboard.chosen import ChosenModel

    spec, raw = stage.spec, raw_data.frame
    delivered = some_rows(raw, raw.index.get_indexer(validation_set.rows.index))
    judged = ranked.fingerprint
    # Other refit settings make another model, so its evaluation is another look.
    if refits := given.export.model_dump(
        include={"fits", "refit"}, exclude_defaults=True
    ):
        judged = fingerprint_of(configuration=judged, **refits)
    look = (validation_set.digest, judged, delivered, given.split.id_columns)
    ledger = Ledger.of(spec.name)
    earlier = ledger.earlier_looks(*look, tell=stage.log.warning)
    ledger.record_look(*look)
    store, trusted = TrainedModelStore.of(spec.name), list[str]()
    if current:
        # A champion may run code that models of this storage use or that the YAML
        # names.
        known = store.results([name for one in current for name in one.models]).values()
        trusted = [kind for one in known for kind in one.trusted_types]
        trusted += filter(None, [given.preparation.function])

    chosen = ChosenModel.of(ranked, store, sets.y_test, sets.test_clusters(given))
    choice = final.Choice(
        given,
        ranked,
        chosen.calibrated(ranked, store, sets, given),
        sets,
        validation=validation_set.rows,
        delivered=raw,
        workers=spec.workers or joblib.cpu_count(),
    )
    background = final.Background(
        looks=earlier,
        champions=current,
        trusted=trusted,
        conditions=analysis.get("conditions", ()),
    )
    found = final.evaluate(
        choice,
        background,
        evidence=lambda: gather(
            spec, ranked, sets, store, analysis.get("label_ceiling")
        ),
        seconds_left=stage.seconds_left(),
    )
    notes = (*validation_set.origin.set_aside, *found.report.notes)
    found = replace(found, report=replace(found.report, notes=notes))
    return found.files(final.fitted_rows_of(raw, sets, given))


def exported_model(
    stage: StageRun,
    validation_set: SetTable,
    leaderboard: Leaderboard,
    validation_report: Judged,
) -> Reported:
    """Publish the accepted model; its predictions are verified before the version is
    visible.
    """
    spec, name = stage.spec, "exported_model"
    with stage.at_work():
        report = _accepted(stage, validation_set, leaderboard, validation_report)
        board.check_same_keys(
            "leaderboard", leaderboard.yaml_digests, stage.part("leaderboard")
        )
        configuration = board.chosen_configuration(leaderboard, spec)
        registry, entries = registry_of(spec), stage_entries(spec.name, name)
        fingerprint = fingerprint_of(
            report=validation_report.fingerprint,
            raw_types=dict(validation_set.origin.raw_types),
            offsets=dict(validation_set.origin.offsets),
            schema=stage.named.schema_text,
            spec=spec.model_dump(mode="json"),
            version=STAGES[name].version,
        )
        stored = entries.intact(fingerprint, stage.log.warning)
        required = spec.approval == "required"
        published = stored and registry.same(
            stored.files[IDENTITY].decode(), required=required
        )
        if not published:
            package = _packaged(
                stage,
                leaderboard,
                configuration,
                validation_report,
                report,
                validation_set,
            )
            published = export.publish(registry, package)
            entries.put(fingerprint, {IDENTITY: package.identity.encode()}, None)
        if published.reused:
            restore_versions(registry, stage.log.warning)
        committed = export.commit_published(spec, registry, published)
        data_changes.DataProfiles.of(spec.name).note(
            data_changes.ACCEPTED, validation_set.origin.profile
        )
        outcome = model_page.outcome(
            registry, published, committed, configuration.in_words
        )
        if not published.reused:
            row = version_row(registry, registry.entry(published.version), None, None)
            outcome = replace(outcome, record=[*outcome.record, row])
    yield name, with_pages(outcome, spec.name)


def _accepted(
    stage: StageRun, validation: SetTable, ranked: Leaderboard, judged: Judged
) -> ValidationReport:
    """Return the report if it accepts the model; it is checked again, as Dagster can
    run this stage alone.
    """
    board.check_same_keys(final.STAGE, judged.yaml_digests, stage.part(final.STAGE))
    stored = stage_entries(stage.spec.name, final.STAGE).require(
        judged.fingerprint, [final.REPORT]
    )
    report = ValidationReport.from_json(stored.files[final.REPORT].decode())
    if not report.accepted:
        why = "; ".join(gate.in_words() for gate in report.failed_gates)
        fix = "Read the report for what to try next."
        raise errors.NotAccepted(report.configuration, why, fix)
    digests = {**ranked.digests, "validation": validation.digest}
    board.check_same_sets(
        final.STAGE, {one.name: one.digest for one in judged.sets}, digests
    )
    if judged.model_fingerprint != ranked.fingerprint:
        rule = f"it is the report of another model than {ranked.chosen}, the leaderboard's choice"
        raise errors.StorageError(
            final.STAGE, rule, "Materialize it again, then the export."
        )
    return report


def _packaged(
    stage: StageRun,
    ranked: Leaderboard,
    configuration: Configuration,
    judged: Judged,
    report: ValidationReport,
    validation: SetTable,
) -> ModelPackage:
    """Package the model that the final evaluation stored as the files of a version."""
    spec, source = stage.spec, final.STAGE
    models = TrainedModelStore.of(spec.name)
    result = board.chosen_result(ranked, models)
    files = stage_entries(spec.name, source).require(judged.fingerprint).files
    stored = files[final.MODEL]
    warn_of_memory(
        "exported_model", persistence.loading_bytes(stored), stage.log.warning
    )
    model = model_page.AcceptedModel(
        pipeline=persistence.from_bytes(stored, result.trusted_types),
        configuration=configuration,
        result=result,
        board=ranked,
        report=report,
        sets=judged.sets,
        validation=validation,
        fitted_rows=FittedRows.from_bytes(files[FITTED_ROWS], source),
        schema_text=stage.named.schema_text,
        profile=partial(
            model_profile,
            data_changes.DataProfiles.of(spec.name).get(validation.origin.profile),
            from_parquet(
                files[final.JUDGED], run_record.JudgedRows
            ).as_prediction.prediction,
            day_columns(spec.preparation),
        ),
    )
    run, required, now = stage.run, spec.approval == "required", datetime.now(tz=UTC)
    package = export.package_model(
        spec, model, now, code_of(run.experiment, run.run_id)
    )

    # Made later: the decision record contains the version's number.
    def record(version: str) -> dict[str, bytes]:
        return {
            RECORD: record_of_version(
                run.experiment, run.run_id, version, required=required
            )
        }

    return replace(package, numbered_files=record)
