"""Facts of an outcome as Dagster's metadata."""

import math
from collections.abc import Hashable, Mapping
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting import outcome as outcomes
from experiment_pipeline.spec.schema import SENSITIVE, Meaning
from experiment_pipeline.table.dictionary import NO_DICTIONARY, Dictionary
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.tracking.server import REDIRECTED, USUAL, page_url

# Rows of a table in the metadata, which the event log stores whole; longer tables have
# a page.
MOST_ROWS = 100
# Cells up to this length, such as `0.6772 to 0.7723`, do not wrap: a screen holds twice
# the rows.
_ONE_LINE = 20
_DAGSTER_TYPES = {"boolean": "bool", "integer": "int", "float": "float"}


def metadata_of(
    facts: Mapping[str, outcomes.Fact],
    dictionary: Dictionary = NO_DICTIONARY,
    *,
    redirects: bool = False,
) -> dict[str, Any]:
    """Return facts as Dagster's metadata, after links to the pages among them.

    `dictionary` describes the columns of tables.
    `redirects`: Dagster's web server sends them on to wherever the reports run then.
    Else, without a running server, a link has the usual address, at which a later
    server will serve the page.
    """
    links = {}
    for name, fact in facts.items():
        if isinstance(fact, outcomes.PagePath) and (url := page_url(fact.path, USUAL)):
            if redirects:
                url = f"{REDIRECTED}{urlsplit(url).path.lstrip('/')}"
            links[f"{name}_page"] = dg.MetadataValue.url(url)
    shown = {name: _shown(fact, dictionary) for name, fact in facts.items()}
    return {**links, **shown}


def _shown(fact: outcomes.Fact, dictionary: Dictionary) -> Any:  # noqa: PLR0911 - one kind of fact each
    match fact:
        case outcomes.Rows(frame):
            return _table(frame)
        case outcomes.ColumnTypes(frame):
            columns = [
                _described(str(name), str(dtype), dictionary[str(name)])
                for name, dtype in frame.dtypes.items()
            ]
            return dg.TableSchema(columns)
        case outcomes.Notes(lines):
            # As a table: Dagster shows Markdown only after a click.
            return _table(pd.DataFrame({"note": list(lines)})) if lines else "none"
        case outcomes.Markdown(text):
            return dg.MetadataValue.md(text)
        case outcomes.PagePath(path):
            return dg.MetadataValue.path(path)
        case float():
            return numbers.rounded(fact) if math.isfinite(fact) else "undefined"
    return fact


def _described(name: str, dtype: str, meaning: Meaning) -> dg.TableColumn:
    tags = {key: "true" for key in SENSITIVE if getattr(meaning, key)}
    if meaning.owner:
        tags["owner"] = meaning.owner
    return dg.TableColumn(name, dtype, meaning.in_words or None, tags=tags)


def _table(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """A table for the UI; rows beyond the first 100 are only in the stored table."""
    records = [
        dg.TableRecord({str(name): _cell(value) for name, value in row.items()})
        for row in frame.head(MOST_ROWS).to_dict("records")
    ]
    columns = [
        dg.TableColumn(str(name), _DAGSTER_TYPES.get(kind_of(frame[name]), "string"))
        for name in frame.columns
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def _cell(value: Hashable) -> bool | int | float | str | None:
    if isinstance(value, float):
        return numbers.rounded(value) if math.isfinite(value) else None
    if isinstance(value, str) and len(value) <= _ONE_LINE:
        return value.replace(" ", "\N{NO-BREAK SPACE}")
    return value if isinstance(value, bool | int | str) or value is None else str(value)
