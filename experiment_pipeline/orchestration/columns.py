"""What Dagster's assets say about the columns of their tables."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from experiment_pipeline.errors import InvalidExperiment, did_you_mean
from experiment_pipeline.orchestration.component import load_experiments
from experiment_pipeline.spec.schema import SENSITIVE, Meaning
from experiment_pipeline.tracking.guard import HOME

_COLUMNS = "dagster/column_schema"


def columns_of_asset(key: str, path_within_project: Path) -> pd.DataFrame:
    """Return a row for each column of an asset's table, as texts: `column`, and what
    its description and its tags say.

    The latest materialization adds to the definition: of dbt's models only the
    definition has descriptions. Raises InvalidExperiment: neither says anything.
    """
    asset = dg.AssetKey.from_user_string(key)
    try:
        graph = load_experiments(path_within_project).resolve_asset_graph()
    except dg.DagsterError as error:
        rule = f"its Dagster project cannot be loaded: {error}"
        fix = "run this in the project and its environment, or draft with --from"
        raise InvalidExperiment(f"asset {key}", rule, fix) from error
    defined = graph.get(asset).metadata if graph.has(asset) else {}
    rows: dict[str, dict[str, str]] = {}
    for column in _columns(asset, defined):
        rows.setdefault(column.name, {}).update(_said(column))
    if not rows:
        keys = [other.to_user_string() for other in graph.get_all_asset_keys()]
        guess = "" if graph.has(asset) else f"; {did_you_mean(key, sorted(keys))}"
        raise InvalidExperiment(
            f"asset {key}",
            rule=f"has no metadata {_COLUMNS}{guess}",
            fix="give it a TableSchema, or draft from a CSV or dbt's YAML with --from",
        )
    table = pd.DataFrame.from_dict(rows, "index")
    return table.rename_axis("column").reset_index().astype("str").fillna("")


def _columns(
    asset: dg.AssetKey, defined: Mapping[str, Any]
) -> Iterator[dg.TableColumn]:
    """Yield the columns that the metadata of an asset's definition and of its latest
    materialization describe.
    """
    recorded = [defined]
    if os.environ.get(HOME):
        with dg.DagsterInstance.get() as instance:
            event = instance.get_latest_materialization_event(asset)
        if event is not None and event.asset_materialization is not None:
            recorded.append(event.asset_materialization.metadata)
    for metadata in recorded:
        schema = metadata.get(_COLUMNS)
        if isinstance(schema, dg.TableSchemaMetadataValue):
            schema = schema.schema
        if isinstance(schema, dg.TableSchema):
            yield from schema.columns


def _said(column: dg.TableColumn) -> dict[str, str]:
    """Return the description, and the tags that are keys of the dictionary.

    A tag of dbt has no value: `personal` alone means true.
    """
    tags = {
        tag: text or "true"
        for tag, text in column.tags.items()
        if tag in (Meaning.model_fields if text else SENSITIVE)
    }
    return tags | ({"description": column.description} if column.description else {})
