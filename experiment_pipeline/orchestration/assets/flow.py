"""The assets of the stages: Dagster's description of each, and its call of the step that does the work."""

from collections.abc import Iterator

import dagster as dg

from experiment_pipeline.experiment import steps
from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.prediction.watching import watch as watch_promise
from experiment_pipeline.reporting.outcome import Check, Notes
from experiment_pipeline.spec.operation import Watch
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.membership import ROLES, SETS

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


def raw_data(named: NamedColumns) -> dg.AssetsDefinition:
    """The table as delivered, with the digest of its content as data version."""
    text = f"The table as delivered by {named.spec.source.shown_url}."
    return asset.stage_asset(named, steps.raw_data, "pandas", text)


def data_analysis(named: NamedColumns) -> dg.AssetsDefinition:
    """Findings, verdict and HTML report; `no go` stops the run before it costs."""
    text = "Findings, the verdict they lead to, and a profile of every column."
    return asset.stage_asset(named, steps.data_analysis, "python", text)


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
    specs = [
        asset.table_spec(spec, stage, deps=upstream, kinds={"pandera"}, description=text)
        for stage, text in described.items()
    ]
    checked = dict.fromkeys(STAGES["validated_data"].checks, validated)
    checked["rejected_rows_resemble_the_others"] = rejected
    checks = [asset.check_spec(n, key, blocking=n in ends) for n, key in checked.items()]

    @asset.stage_assets(spec, "validated_data", specs=specs, check_specs=checks)
    def validated_data(context: dg.AssetExecutionContext, raw_data: steps.RawTable) -> Results:
        yield from asset.reported(context, named, steps.validated_data, raw_data=raw_data)

    return validated_data


def split_sets(named: NamedColumns) -> dg.AssetsDefinition:
    """train_set, test_set and validation_set; one op, so that they are always of one cut."""
    spec = named.spec
    described = {"deps": [asset.key_of(spec, "validated_data")], "kinds": {"pandas"}}
    train = asset.key_of(spec, "train_set")
    specs = [asset.table_spec(spec, f"{n}_set", description=ROLES[n], **described) for n in SETS]
    checks = [asset.check_spec(name, train) for name in STAGES["split_sets"].checks]

    @asset.stage_assets(spec, "split_sets", specs=specs, check_specs=checks)
    def split_sets(
        context: dg.AssetExecutionContext, validated_data: steps.ValidatedRows
    ) -> Results:
        yield from asset.reported(context, named, steps.split_sets, validated_data=validated_data)

    return split_sets


def leaderboard(named: NamedColumns) -> dg.AssetsDefinition:
    """The configurations ranked on the test set, and the choice with its reason."""
    text = f"Configurations ranked by {named.spec.metric}, with intervals."
    return asset.stage_asset(named, steps.leaderboard, "pandas", text)


def validation_report(named: NamedColumns) -> dg.AssetsDefinition:
    """The chosen configuration on the validation set, its gates, the decision."""
    text = "The chosen configuration on the validation set: scores, gates, decision."
    return asset.stage_asset(named, steps.validation_report, "scikitlearn", text)


def exported_model(named: NamedColumns) -> dg.AssetsDefinition:
    """The accepted model as a version of the registry, proven before it is visible."""
    text = "The champion: model, card, metrics and manifest, under a version number."
    return asset.stage_asset(named, steps.exported_model, "scikitlearn", text)


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
