"""The assets of the stages: how Dagster describes each, and the call of the step that
does the work.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import dagster as dg
from pydantic import Field

from experiment_pipeline.experiment import steps
from experiment_pipeline.orchestration.assets import shared as asset
from experiment_pipeline.prediction.watching import watch as watch_promise
from experiment_pipeline.reporting.outcome import Check, Notes
from experiment_pipeline.spec.operation import Watch
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.learners.hyperparameters import NAMES
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.membership import ROLES, SETS

_TRAINED_MODEL = """\
One fitted pipeline per hyperparameter configuration, each a partition.

Its metadata begins with its status: **trained**, or **stopped early** on a part of the train rows,
because others scored better there. A partition that failed stays missing. *Plots* compares the last
120 partitions; the report of `leaderboard` compares all. No asset depends on this one, because a single
failed configuration would then block `leaderboard`; `search_results` lists every configuration.
"""
Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


class ThisRun(dg.Config):
    """Settings that the launchpad may change for one run; an unset one keeps the YAML's
    value.
    """

    workers: int | None = Field(None, ge=1, le=256, description="Fits at a time")
    budget_seconds: float | None = Field(
        None,
        gt=0,
        description="Wall seconds of search, refit and report; the result depends on the machine",
    )


def stages(named: NamedColumns) -> list[dg.AssetsDefinition]:
    """The assets of every stage, in the order of the flow."""
    spec, stage = named.spec, partial(asset.stage_asset, named)
    found = "Findings, the resulting verdict, and a profile of every column."
    ranked = f"Configurations ranked by {spec.metric}, with intervals."
    judged = "The chosen configuration on the validation set: scores, gates, decision."
    published = (
        "The champion: model, card, metrics and manifest, under a version number."
    )
    return [
        stage(
            steps.raw_data,
            "pandas",
            f"The table as delivered by {spec.source.shown_url}.",
        ),
        stage(steps.data_analysis, "python", found),
        validated_data(named),
        split_sets(named),
        search(named),
        stage(steps.leaderboard, "pandas", ranked),
        stage(steps.validation_report, "scikitlearn", judged),
        stage(steps.exported_model, "scikitlearn", published),
    ]


def validated_data(named: NamedColumns) -> dg.AssetsDefinition:
    """validated_data and rejected_rows: rows that satisfy the schema, and the
    others.
    """
    spec = named.spec
    validated, rejected = (
        asset.key_of(spec, "validated_data"),
        asset.key_of(spec, "rejected_rows"),
    )
    upstream = [asset.key_of(spec, name) for name in ("raw_data", "data_analysis")]
    described = {
        "validated_data": "Prepared rows that satisfy schema.yaml.",
        "rejected_rows": "Rows that broke the schema, as delivered, with every reason.",
    }
    # Drift ends a run only if the YAML sets a limit for it.
    ends = (
        {"data_resembles_the_accepted"}
        if spec.validation.drift.block is not None
        else set()
    )
    specs = [
        asset.table_spec(
            spec, stage, deps=upstream, kinds={"pandera"}, description=text
        )
        for stage, text in described.items()
    ]
    checked = dict.fromkeys(STAGES["validated_data"].checks, validated)
    checked["rejected_rows_resemble_the_others"] = rejected
    checks = [
        asset.check_spec(n, key, blocking=n in ends) for n, key in checked.items()
    ]

    @asset.stage_assets(spec, "validated_data", specs=specs, check_specs=checks)
    def validated_data(
        context: dg.AssetExecutionContext, raw_data: steps.RawTable
    ) -> Results:
        yield from asset.reported(
            context, named, steps.validated_data, raw_data=raw_data
        )

    return validated_data


def split_sets(named: NamedColumns) -> dg.AssetsDefinition:
    """train_set, test_set and validation_set; one op, so that they always come from the
    same split.
    """
    spec = named.spec
    described = {"deps": [asset.key_of(spec, "validated_data")], "kinds": {"pandas"}}
    train = asset.key_of(spec, "train_set")
    specs = [
        asset.table_spec(spec, f"{n}_set", description=ROLES[n], **described)
        for n in SETS
    ]
    checks = [asset.check_spec(name, train) for name in STAGES["split_sets"].checks]

    @asset.stage_assets(spec, "split_sets", specs=specs, check_specs=checks)
    def split_sets(
        context: dg.AssetExecutionContext, validated_data: steps.ValidatedRows
    ) -> Results:
        yield from asset.reported(
            context, named, steps.split_sets, validated_data=validated_data
        )

    return split_sets


def search(named: NamedColumns) -> dg.AssetsDefinition:
    """trained_model: one partition per configuration; search_results: a row per
    configuration.

    One op makes both. It reuses stored models and trains the rest. Each trained model
    is stored at once and materialized within a second, so that progress shows live and
    a killed run loses no finished model.
    """
    spec = named.spec
    declared = configurations(spec)
    models, results = (
        asset.key_of(spec, "trained_model"),
        asset.key_of(spec, "search_results"),
    )
    upstream = [asset.key_of(spec, "train_set"), asset.key_of(spec, "test_set")]

    @asset.stage_assets(
        spec,
        "training",
        specs=[
            dg.AssetSpec(
                models,
                deps=upstream,
                partitions_def=dg.StaticPartitionsDefinition([c.key for c in declared]),
                skippable=True,
                group_name=spec.name,
                kinds={
                    "scikitlearn",
                    *(c.algorithm for c in declared if c.algorithm in NAMES),
                },
                description=_TRAINED_MODEL,
            ).with_io_manager_key(asset.TABLES),
            asset.table_spec(
                spec,
                "search_results",
                deps=upstream,
                kinds={"pandas"},
                description="Every configuration: trained, stopped early, failed or not started.",
            ),
        ],
        check_specs=[asset.check_spec("no_configuration_failed", results)],
        pool=f"{spec.name}_training",
    )
    def trained_model(
        context: dg.AssetExecutionContext,
        config: ThisRun,
        train_set: steps.SetTable,
        test_set: steps.SetTable,
    ) -> Results:
        # If only `search_results` is selected, no partition is: all are requested then.
        keyed = context.has_partition_key or context.has_partition_key_range
        found = steps.search(
            asset.stage_run(context, named, config.workers),
            train_set,
            test_set,
            set(context.partition_keys) if keyed else None,
            lambda key, outcome: asset.log_materialization(
                context, models, outcome, key
            ),
        )
        for _, outcome in found:
            if results in context.selected_asset_keys:
                yield asset.report(context, results, replace(outcome, checks=()))
            if context.selected_asset_check_keys:
                for check in outcome.checks:
                    yield asset.report_check(context, results, check)

    return trained_model


def watch(named: NamedColumns, given: Watch) -> dg.AssetsDefinition:
    """Compares the champion's promised score with its score on later labels; not a
    stage of a run.
    """
    spec, key, kept = named.spec, asset.key_of(named.spec, "watch"), "promise_kept"
    means = (
        "No evidence that the champion scores below its promise. However often this is checked, the "
        "probability that it ever fails by chance is at most 5 %."
    )

    @dg.asset(
        key=key,
        group_name=spec.name,
        deps=[asset.key_of(spec, "exported_model")],
        check_specs=[dg.AssetCheckSpec(kept, asset=key, description=means)],
        description="The champion's score on labels that arrived later, beside its promise.",
    )
    def watch(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        tables = (given.predictions, given.labels)
        with asset.reported_to_the_user():
            ids = () if given.id is None else given.id
            found = watch_promise(spec.name, *tables, ids=ids, time=given.time)
        check = Check(kept, not found.below, found.answer, "warning", found.evidence)
        names = ("version", "rows", "new_rows", "days", "score", "promise", "baseline")
        facts = {name: getattr(found, name) for name in names} | {
            "notes": Notes(found.notes)
        }
        context.log.info(str(found))
        result = asset.report_check(context, key, check)
        return dg.MaterializeResult(
            metadata=asset.metadata_of(facts), check_results=[result]
        )

    return watch
