"""The assets of the stages: Dagster's description of each, and its call of the step that does the work."""

from collections.abc import Iterator

import dagster as dg

from experiment_pipeline.experiment import steps
from experiment_pipeline.experiment.steps import (
    Judged,
    Leaderboard,
    RawTable,
    SearchResults,
    SetTable,
    ValidatedRows,
)
from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.prediction.watching import watch as watch_promise
from experiment_pipeline.reporting.outcome import Check, Notes
from experiment_pipeline.spec.operation import Watch
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.membership import ROLES, SETS


def raw_data(named: NamedColumns) -> dg.AssetsDefinition:
    """The table as delivered, with the digest of its content as data version."""

    @asset.stage_asset(
        named.spec,
        "raw_data",
        kinds={"pandas"},
        description=f"The table as delivered by {named.spec.source.shown_url}.",
    )
    def raw_data(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        (result,) = asset.reported(context, named, steps.raw_data)
        return result

    return raw_data


def data_analysis(named: NamedColumns) -> dg.AssetsDefinition:
    """Findings, verdict and HTML report; `no go` stops the run before it costs."""

    @asset.stage_asset(
        named.spec,
        "data_analysis",
        kinds={"python"},
        description="Findings, the verdict they lead to, and a profile of every column.",
    )
    def data_analysis(
        context: dg.AssetExecutionContext, raw_data: RawTable
    ) -> dg.MaterializeResult:
        (result,) = asset.reported(context, named, steps.data_analysis, raw_data)
        return result

    return data_analysis


def validated_data(named: NamedColumns) -> dg.AssetsDefinition:
    """validated_data and rejected_rows: rows that satisfy the schema, and the others."""
    spec = named.spec
    validated, rejected = asset.key_of(spec, "validated_data"), asset.key_of(spec, "rejected_rows")
    upstream = [asset.key_of(spec, name) for name in ("raw_data", "data_analysis")]
    described = {
        "validated_data": "Prepared rows that satisfy schema.yaml.",
        "rejected_rows": "Rows that broke the schema, as delivered, with every reason.",
    }
    # Drift ends a run where the YAML has a limit for it.
    ends = {"data_resembles_the_accepted"} if spec.validation.drift.block is not None else set()

    @asset.stage_assets(
        spec,
        "validated_data",
        can_subset=True,
        specs=[
            asset.table_spec(spec, stage, deps=upstream, kinds={"pandera"}, description=text)
            for stage, text in described.items()
        ],
        check_specs=[
            asset.check_spec(
                name,
                rejected if name == "rejected_rows_resemble_the_others" else validated,
                blocking=name in ends,
            )
            for name in STAGES["validated_data"].checks
        ],
    )
    def validated_data(
        context: dg.AssetExecutionContext, raw_data: RawTable
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from asset.reported(context, named, steps.validated_data, raw_data)

    return validated_data


def split_sets(named: NamedColumns) -> dg.AssetsDefinition:
    """train_set, test_set and validation_set; one op, so that they are always of one cut."""
    spec = named.spec
    described = {"deps": [asset.key_of(spec, "validated_data")], "kinds": {"pandas"}}
    train = asset.key_of(spec, "train_set")

    @asset.stage_assets(
        spec,
        "split_sets",
        can_subset=True,
        specs=[asset.table_spec(spec, f"{n}_set", description=ROLES[n], **described) for n in SETS],
        check_specs=[asset.check_spec(name, train) for name in STAGES["split_sets"].checks],
    )
    def split_sets(
        context: dg.AssetExecutionContext, validated_data: ValidatedRows
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from asset.reported(context, named, steps.split_sets, validated_data)

    return split_sets


def leaderboard(named: NamedColumns) -> dg.AssetsDefinition:
    """The configurations ranked on the test set, and the choice with its reason."""

    @asset.stage_asset(
        named.spec,
        "leaderboard",
        kinds={"pandas"},
        description=f"Configurations ranked by {named.spec.metric}, with intervals.",
    )
    def leaderboard(
        context: dg.AssetExecutionContext,
        train_set: SetTable,
        test_set: SetTable,
        search_results: SearchResults,
    ) -> dg.MaterializeResult:
        inputs = (train_set, test_set, search_results)
        (result,) = asset.reported(context, named, steps.leaderboard, *inputs)
        return result

    return leaderboard


def validation_report(named: NamedColumns) -> dg.AssetsDefinition:
    """The chosen configuration on the validation set, its gates, the decision."""

    @asset.stage_asset(
        named.spec,
        "validation_report",
        kinds={"scikitlearn"},
        description="The chosen configuration on the validation set: scores, gates, decision.",
    )
    def validation_report(
        context: dg.AssetExecutionContext,
        raw_data: RawTable,
        train_set: SetTable,
        test_set: SetTable,
        validation_set: SetTable,
        leaderboard: Leaderboard,
    ) -> dg.MaterializeResult:
        inputs = (raw_data, train_set, test_set, validation_set, leaderboard)
        (result,) = asset.reported(context, named, steps.validation_report, *inputs)
        return result

    return validation_report


def exported_model(named: NamedColumns) -> dg.AssetsDefinition:
    """The accepted model as a version of the registry, proven before it is visible."""

    @asset.stage_asset(
        named.spec,
        "exported_model",
        kinds={"scikitlearn"},
        description="The champion: model, card, metrics and manifest, under a version number.",
    )
    def exported_model(
        context: dg.AssetExecutionContext,
        validation_set: SetTable,
        leaderboard: Leaderboard,
        validation_report: Judged,
    ) -> dg.MaterializeResult:
        inputs = (validation_set, leaderboard, validation_report)
        (result,) = asset.reported(context, named, steps.exported_model, *inputs)
        return result

    return exported_model


def watch(named: NamedColumns, given: Watch) -> dg.AssetsDefinition:
    """What labels that came later say of the champion's promise; no stage of a run."""
    spec, key, kept = named.spec, asset.key_of(named.spec, "watch"), "promise_kept"
    means = (
        "No evidence that the champion scores below what it promised: of all times that this is "
        "asked, at most 5 % ever fail by chance."
    )

    @dg.asset(
        key=key,
        group_name=spec.name,
        deps=[asset.key_of(spec, "exported_model")],
        check_specs=[dg.AssetCheckSpec(kept, asset=key, description=means)],
        description="The champion's score on labels that came later, beside its promise.",
    )
    def watch(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        tables = (given.predictions, given.labels)
        with asset.reported_to_the_user():
            ids = () if given.id is None else given.id
            found = watch_promise(spec.name, *tables, ids=ids, time=given.time)
        check = Check(kept, not found.below, found.answer, "warning", found.evidence)
        names = ("version", "rows", "new_rows", "days", "score", "promise", "baseline")
        facts = {name: getattr(found, name) for name in names} | {"notes": Notes(found.notes)}
        context.log.info(str(found))
        result = asset.report_check(context, key, check)
        return dg.MaterializeResult(metadata=asset.metadata_of(facts), check_results=[result])

    return watch
