"""Turn a table into the files of a drafted experiment, and the summary that the command
prints.

The draft is tried out up to the split, exactly as a run will do it. Nothing is written
or trained.
"""

import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from pydantic import ValidationError

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.inference import Decision, Draft, infer
from experiment_pipeline.errors import DataError
from experiment_pipeline.intake.raw_table import RawTable, read
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.spec import Data, ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.spec.models import readable
from experiment_pipeline.spec.reading import explain, invalid, to_yaml
from experiment_pipeline.stages.data_analysis.analysis import MOST_ROWS, SAMPLED_ROWS
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.split_sets.sets import SplitSets, split
from experiment_pipeline.stages.validated_data.page import check_rejection_rate
from experiment_pipeline.statistics.metrics import metric_of, names_of
from experiment_pipeline.table.digests import mixed, uniform
from experiment_pipeline.table.features import (
    check_metrics,
    check_target,
    feature_columns,
)
from experiment_pipeline.table.kinds import Kind, holds_objects, is_unsigned, kind_of
from experiment_pipeline.table.membership import assign, split_keys
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 100
MOST_LINES = 8
LISTED_CATEGORIES = 20


@dataclass(frozen=True)
class Drafted:
    """File name → text; the inferred settings with reasons; and the summary: these and
    what to do next.
    """

    files: Mapping[str, str]
    reasons: str
    summary: str


def draft_experiment(
    name: str,
    wishes: Wishes,
    written_url: str,
    command: str,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Drafted:
    """Draft an experiment on a table, whose URL is written to the YAML as
    `written_url`.

    `settings`: given keys of defs.yaml. ExperimentPipelineError: no table, or a wrong
    decision.
    """
    try:
        source = Data.model_validate(wishes.source)
    except ValidationError as error:
        raise invalid(
            explain(error, Data, wishes.source), lambda place: f"--{place[0]}"
        ) from None
    rows = 0

    def chosen(counted: int) -> np.ndarray:
        """Sample a large table, by row numbers because the features are not
        known yet.
        """
        nonlocal rows
        rows, positions = counted, np.arange(counted)
        if rows > MOST_ROWS:
            positions = positions[
                uniform(mixed(positions.view(np.uint64))) < SAMPLED_ROWS / rows
            ]
        return positions

    table = read(read_source(source), source, chosen=chosen)
    written = {**wishes.source, "url": written_url}
    given = {key: value for key, value in settings.items() if key != "exclude"}

    def tried_out(draft: Draft) -> TriedDraft:
        attributes = {**draft.attributes(written), **given}
        spec = spec_from(
            name, attributes, lambda _: "given" if settings else "the draft"
        )
        return try_out(table.frame, draft, spec)

    draft = infer(table.frame, wishes, rows, monotone="monotone" in given)
    excluded = {**draft.excluded, **settings.get("exclude", {})}
    tried = tried_out(replace(draft, excluded=excluded))
    chosen_here = wishes.split is None and wishes.split_column is None
    if tried.problem and chosen_here and tried.draft.split.value["by"] == "time":
        why = (
            f"the rows are a time series in {tried.draft.split.value['column']}, but with a split by "
            f"time a run would stop ({tried.problem.splitlines()[0]}). With a random split a model is "
            "scored on neighbours of the rows it was fitted on: scores are optimistic"
        )
        tried = tried_out(replace(tried.draft, split=Decision({"by": "random"}, why)))
    defs = with_settings(
        defs_yaml(name, tried.draft, _found(table, rows), written, command), given
    )
    files = {"schema.yaml": tried.schema_text, "defs.yaml": defs}
    reasons = _reasons(tried, table, rows)
    todo = [
        "Wrote defs.yaml and schema.yaml; both are yours to edit.",
        f"Run: {command}",
    ]
    if tried.problem is not None:
        todo[1:] = [
            "As they are, a run will stop with:",
            textwrap.indent(tried.problem, "  "),
        ]
    return Drafted(files, reasons, "\n".join([reasons, *todo]))


@dataclass(frozen=True)
class TriedDraft:
    """A draft, tried out up to the split of its rows."""

    draft: Draft
    spec: ExperimentSpec
    schema_text: str
    sets: SplitSets | None  # None if it failed before the split
    problem: str | None  # why a run would stop


def try_out(raw: pd.DataFrame, draft: Draft, spec: ExperimentSpec) -> TriedDraft:
    """Prepare, validate and split the table as a run will do it."""
    prepared = prepare(raw, spec.preparation, spec.exclude)
    schema_text = infer_schema(prepared.frame, spec.target, split_keys(spec))
    try:
        schema = load_schema(schema_text)
        prepared = assign(prepared, raw.columns, schema, spec)
        outcome = validate(raw, prepared, schema, spec)
        check_target(outcome.validated, spec)
        check_metrics(outcome.validated[spec.target], spec)
        sets = split(
            outcome.to_split(prepared), spec, feature_columns(outcome.validated, spec)
        )
    except DataError as error:
        return TriedDraft(draft, spec, schema_text, None, str(error))
    rejected = check_rejection_rate(outcome, spec.validation)
    return TriedDraft(draft, spec, schema_text, sets, rejected[0] if rejected else None)


def defs_yaml(
    name: str, draft: Draft, found: str, data: Mapping[str, Any], command: str
) -> str:
    """The text of defs.yaml: the settings, with the reasons as comments."""
    environment = jinja2.Environment(  # noqa: S701 - YAML, not HTML
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(dict[str, Any](yaml=in_yaml, comment=_comment))
    metric = draft.metric.value
    return environment.get_template("defs.yaml.jinja").render(
        name=name,
        command=command,
        draft=draft,
        settings=draft.attributes(data),
        found=f"Read: {found}.",
        other_metrics=[
            other for other in names_of(draft.task.value) if other != metric
        ],
        limit="at_least: 0.8"
        if metric_of(metric).greater_is_better
        else "at_most: 0.5",
    )


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """Return the text of a drafted defs.yaml with these values, and without the reasons
    for the old ones.
    """
    lines = text.splitlines(keepends=True)
    for key, value in settings.items():
        written = to_yaml({key: value})
        start = next(
            (n for n, one in enumerate(lines) if one.startswith(f"  {key}:")),
            len(lines),
        )
        end = start + 1
        while end < len(lines) and lines[end].startswith(("   ", "  -")):
            end += 1
        # A reason is a comment that begins with a word and a colon, and ends at its
        # key.
        first = start
        while first and lines[first - 1].startswith("  #"):
            first -= 1
        reasons = (
            n
            for n in range(first, start)
            if re.match(r"  # [A-Z]\w+(: |\.$)", lines[n])
        )
        lines[next(reasons, start) : end] = [
            "  # Given.\n",
            textwrap.indent(written, "  "),
        ]
    return "".join(lines)


def in_yaml(value: Any) -> str:
    """Write a value on one line of YAML, quoted where YAML would read it as something
    else.
    """
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = to_yaml(value, default_flow_style=True, default_style=style, width=10**9)
    return text.removesuffix("...\n").rstrip("\n")


def _reasons(tried: TriedDraft, table: RawTable, rows: int) -> str:
    draft, spec = tried.draft, tried.spec
    facts = [("target", readable(draft.target))]
    named = {
        "task": draft.task,
        "positive": draft.positive_class,
        "metric": draft.metric,
        "chosen by": draft.evaluation,
        "rejected": draft.max_rejected,
        "seconds": draft.seconds,
    }
    for what, one in named.items():
        if one is not None:
            value = (
                in_yaml(one.value)
                if isinstance(one.value, dict)
                else readable(one.value)
            )
            facts.append((what, f"{value}: {one.why}"))
    facts.append(("split", f"{in_yaml(draft.full_split)}: {draft.split.why}"))
    for what, reasons in (
        (
            "left out",
            [f"{readable(name)}: {why}" for name, why in draft.excluded.items()],
        ),
        ("prepared", [f"{readable(plan.name)}: {plan.why}" for plan in draft.prepared]),
    ):
        facts += [(what, reason) for reason in reasons[:MOST_LINES]]
        if len(reasons) > MOST_LINES:
            facts.append((what, f"and {len(reasons) - MOST_LINES} more, see defs.yaml"))
    algorithms = ", ".join(dict.fromkeys(entry.algorithm for entry in spec.search))
    facts.append(
        ("search", f"{len(configurations(spec))} configurations: {algorithms}")
    )
    if tried.sets is not None:
        counts = ", ".join(
            f"{key} {len(one):,}" for key, one in tried.sets.rows().items()
        )
        sample = " of the sample" if len(table.frame) < rows else ""
        facts.append(("rows", counts + sample))
    facts += [("consider", hint) for hint in draft.hints]
    lines = [f"Read {spec.source.shown_url}: {_found(table, rows)}."]
    lines += [f"  {note}" for note in table.notes]
    return "\n".join([*lines, *(f"  {what:<9} {why}" for what, why in facts)])


def _found(table: RawTable, rows: int) -> str:
    kept, columns = table.frame.shape
    sample = f"; inferred from a sample of {kept:,} rows" if kept < rows else ""
    how = [table.format, table.compression, table.encoding]
    how += [f"delimiter {table.delimiter!r}"] if table.delimiter else []
    return f"{rows:,} rows, {columns:,} columns, {', '.join(part for part in how if part)}{sample}"


def _comment(text: str, indent: int) -> str:
    """Wrap a text into YAML comment lines; unprintable characters, such as line breaks,
    become spaces.
    """
    printable = "".join(c if c.isprintable() else " " for c in text)
    start = " " * indent + "# "
    width = WIDTH - len(start)
    lines = textwrap.wrap(
        printable, width, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(start + line for line in lines)


def infer_schema(
    prepared: pd.DataFrame, target: str, keys: Collection[str] = ()
) -> str:
    """Write a schema as YAML that all rows satisfy, apart from rows without a target or
    `keys`.

    It has no smallest and largest values: those of a sample would reject the next
    delivery. Columns are sorted by name: models take them in the schema's order, which
    should not depend on the delivery.
    """
    columns: dict[str, dict[str, Any]] = {}
    for name, column in sorted(prepared.items(), key=lambda item: str(item[0])):
        dtype, facts = _dtype(column), columns.setdefault(str(name), {})
        if dtype is not None:
            facts["dtype"] = dtype
        if str(name) not in {target, *keys} and bool(column.isna().any()):
            facts["nullable"] = True
        known = column.dropna()
        # Only for text columns that repeat few values, not for free text.
        if dtype == "str" and 0 < known.nunique() <= min(
            LISTED_CATEGORIES, len(known) / 2
        ):
            values = sorted(map(str, known.unique()))
            warns = {"allowed_values": values, "raise_warning": True}
            facts["isin"] = values if str(name) == target else warns
    settings: dict[str, Any] = {"columns": columns, "coerce": True, "strict": "filter"}
    header = (TEMPLATES / "schema_header.txt").read_text(encoding="utf-8")
    return header + to_yaml(settings, default_flow_style=None)


def _dtype(column: pd.Series) -> str | None:
    """Return a dtype name, or None; whole numbers with missing values become
    float64.
    """
    if column.isna().all():
        return None
    missing = bool(column.isna().any())
    kind = kind_of(column)
    if kind == "integer" and not missing:
        return "uint64" if is_unsigned(column, bits=64) else "int64"
    if kind == "datetime":
        return "datetime64[us]" if column.dt.tz is None else "datetime64[us, UTC]"
    plain: dict[Kind, str | None] = {
        "boolean": "boolean" if missing else "bool",
        "integer": "float64",
        "float": "float64",
        "category": "category",
        "text": None if holds_objects(column) else "str",
    }
    return plain.get(kind)
