"""Turn a table into the files of a drafted experiment, and the summary that the command
prints.

The draft is tried out up to the split, exactly as a run will do it. Nothing is written
or trained.
"""

import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from pydantic import ValidationError

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.honest_split import more_honest_splits
from experiment_pipeline.drafting.inference import Decision, Draft, infer
from experiment_pipeline.drafting.labels import late_labels
from experiment_pipeline.errors import DataError
from experiment_pipeline.intake.raw_table import RawTable, read
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Data, ExperimentSpec
from experiment_pipeline.spec.algorithms import ALGORITHMS
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
from experiment_pipeline.table.label import prepare_labelled
from experiment_pipeline.table.membership import assign, split_keys
from experiment_pipeline.table.preparation import PreparedTable
from experiment_pipeline.table.schema import load_schema

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 100
MOST_LINES = 8
# Of rows that a split leaves out of all sets; with more, later sets are too small.
MOST_LEFT_OUT = 0.2
LISTED_CATEGORIES = 20


@dataclass(frozen=True)
class Drafted:
    """The files of a drafted experiment, and how they came about."""

    files: Mapping[str, str]  # name → text
    reasons: str  # the inferred settings with reasons
    summary: str  # the reasons and what to do next


def draft_experiment(
    name: str,
    wishes: Wishes,
    written_url: str,
    command: str,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Drafted:
    """Draft an experiment on a table, whose URL the YAML has as `written_url`.

    `settings`: given keys of defs.yaml. Raises ExperimentPipelineError: no table, or a
    wrong decision.
    """
    try:
        source = Data.model_validate(wishes.source)
    except ValidationError as error:
        problems = explain(error, Data, wishes.source)
        raise invalid(problems, lambda place: f"--{place[0]}") from None
    sample = _Sample()
    table = read(read_source(source), source, chosen=sample.positions)
    rows = sample.rows
    address = {**wishes.source, "url": written_url}
    stated = {key: value for key, value in settings.items() if key != "exclude"}

    def tried_with(split: Decision | None, label: Decision | None) -> TriedDraft:
        draft = infer(
            table.frame,
            wishes,
            rows,
            monotone="monotone" in stated,
            split=split,
            label=label,
        )
        excluded = {**draft.excluded, **settings.get("exclude", {})}
        draft = replace(draft, excluded=excluded)
        if {"preparation", "analysis"} & stated.keys():  # the answers
            draft = replace(draft, target_question="", feature_questions=())
        attributes = {**draft.attributes(address), **stated}
        place = "" if settings else "the draft"
        return try_out(table.frame, draft, spec_from(name, attributes, lambda _: place))

    is_asked_for = wishes.split is not None or wishes.split_column is not None
    label = given_label(settings)
    tried = most_honest(tried_with, label, split_is_given=is_asked_for)
    text = defs_yaml(name, tried.draft, _described(table, rows), address, command)
    files = {
        "schema.yaml": tried.schema_text,
        "defs.yaml": with_settings(text, stated),
    }
    reasons = _reasons(tried, table, rows)
    lines = [reasons, "Wrote defs.yaml and schema.yaml; both are yours to edit."]
    if tried.problem is None:
        waits = f" once you have decided about {wishes.target}: until then a run stops"
        lines.append(f"Run: {command}{waits * bool(tried.draft.target_question)}")
    else:
        lines.append("As they are, a run will stop with:")
        lines.append(textwrap.indent(tried.problem, "  "))
    return Drafted(files, reasons, "\n".join(lines))


class _Sample:
    """Chooses the rows to read of a large table, and counts all."""

    rows = 0

    def positions(self, rows: int) -> np.ndarray:
        """Return ascending positions, by row numbers: features are not known yet."""
        self.rows = rows
        positions = np.arange(rows)
        if rows <= MOST_ROWS:
            return positions
        draws = uniform(mixed(positions.view(np.uint64)))
        return positions[draws < SAMPLED_ROWS / rows]


@dataclass(frozen=True)
class TriedDraft:
    """A draft, tried out up to the split of its rows."""

    draft: Draft
    spec: ExperimentSpec
    schema_text: str
    prepared: PreparedTable  # with the set of each row, if there are `sets`
    sets: SplitSets | None  # None if it failed before the split
    problem: str | None  # why a run would stop


def given_label(settings: Mapping[str, Any]) -> Decision | None:
    """Return what settings say about labels."""
    return Decision(settings["label"], "given") if settings.get("label") else None


def most_honest(
    tried_with: Callable[[Decision | None, Decision | None], TriedDraft],
    label: Decision | None,
    *,
    split_is_given: bool,
) -> TriedDraft:
    """Return the draft that sets rows without a label aside, and has the most honest
    split, unless that is given.

    `tried_with`: split and label → their draft; `label`: as it is given.
    """
    tried = tried_with(None, label)
    if label is None and tried.sets is not None:
        label = late_labels(tried.prepared, tried.spec)
        if label is not None:
            tried = tried_with(None, label)
    if split_is_given:
        return tried
    return with_honest_split(tried, lambda split: tried_with(split, label))


def with_honest_split(
    tried: TriedDraft, tried_with: Callable[[Decision], TriedDraft]
) -> TriedDraft:
    """Return the draft with the most honest split that a run can go by.

    `tried` has the split that was inferred without a look at its scores.
    """
    split = tried.draft.split.value
    if split["by"] == "time" and tried.problem:
        why = (
            f"the rows are a time series in {split['column']}, but with a split by "
            f"time a run would stop ({tried.problem.splitlines()[0]}). With a random "
            "split a model is scored on neighbours of the rows it was fitted on: "
            "scores are optimistic"
        )
        return tried_with(Decision({"by": "random"}, why))
    if split["by"] != "random" or tried.sets is None:
        return tried
    splits = more_honest_splits(
        tried.prepared.frame,
        tried.prepared.sets,
        tried.spec,
        [name for name in tried.draft.times if name not in tried.spec.exclude],
        tried.draft.entities,
    )
    hints = {
        split: f"{split.evidence} (split: {in_yaml(split.split)})" for split in splits
    }
    for split in splits:
        why = f"a random split would promise too much. {split.evidence}"
        honest = tried_with(Decision(split.split, why))
        obstacle = _obstacle(honest)
        if obstacle is None:
            del hints[split]
            return _with_hints(honest, hints.values())
        hints[split] += f"; {obstacle}"
    return _with_hints(tried, hints.values())


def _obstacle(tried: TriedDraft) -> str | None:
    """Why a split is not taken though it is more honest; None: it can be taken."""
    if tried.problem is not None or tried.sets is None:
        return f"a run would stop ({str(tried.problem).splitlines()[0]})"
    left_out = tried.sets.left_out / len(tried.prepared.frame)
    if left_out > MOST_LEFT_OUT:
        return f"{numbers.share(left_out)} of the rows would be in no set"
    return None


def _with_hints(tried: TriedDraft, hints: Iterable[str]) -> TriedDraft:
    """Add splits that were not taken, though they are more honest than a random one."""
    draft = replace(tried.draft, hints=(*tried.draft.hints, *hints))
    return replace(tried, draft=draft)


def try_out(raw: pd.DataFrame, draft: Draft, spec: ExperimentSpec) -> TriedDraft:
    """Prepare, validate and split the table as a run will do it."""
    prepared = prepare_labelled(raw, spec)
    schema_text = infer_schema(prepared.frame, spec.target, split_keys(spec))
    try:
        schema = load_schema(schema_text)
        prepared = assign(prepared, raw, schema, spec)
        checked = validate(raw, prepared, schema, spec).some_left()
        check_target(checked.validated, spec)
        check_metrics(checked.validated[spec.target], spec)
        features = feature_columns(checked.validated, spec)
        sets = split(checked.to_split(prepared), spec, features)
    except DataError as error:
        return TriedDraft(draft, spec, schema_text, prepared, None, str(error))
    problem = next(iter(check_rejection_rate(checked, spec.validation)), None)
    return TriedDraft(draft, spec, schema_text, prepared, sets, problem)


def defs_yaml(
    name: str, draft: Draft, table: str, data: Mapping[str, Any], command: str
) -> str:
    """Return the text of defs.yaml: the settings, with the reasons as comments.

    `table` describes what was read.
    """
    environment = jinja2.Environment(  # noqa: S701 - YAML, not HTML
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(dict[str, Any](yaml=in_yaml, comment=_comment))
    metric = draft.metric.value
    greater_is_better = metric_of(metric).greater_is_better
    return environment.get_template("defs.yaml.jinja").render(
        name=name,
        command=command,
        draft=draft,
        settings=draft.attributes(data),
        found=f"Read: {table}.",
        algorithms=", ".join(ALGORITHMS),
        other_metrics=[name for name in names_of(draft.task.value) if name != metric],
        limit="at_least: 0.8" if greater_is_better else "at_most: 0.5",
    )


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """Return the text of a drafted defs.yaml with these values.

    The reasons for the values that they replace are dropped.
    """
    lines = text.splitlines(keepends=True)
    for key, value in settings.items():
        written = textwrap.indent(to_yaml({key: value}), "  ")
        first, end = _lines_of_key(lines, key)
        lines[first:end] = ["  # Given.\n", written]
    return "".join(lines)


def _lines_of_key(lines: list[str], key: str) -> tuple[int, int]:
    """Return where a key begins, its reason included, and ends; the end if absent."""
    starts = (n for n, line in enumerate(lines) if line.startswith(f"  {key}:"))
    start = next(starts, len(lines))
    end = start + 1
    while end < len(lines) and lines[end].startswith(("   ", "  -")):
        end += 1
    comments = start
    while comments and lines[comments - 1].startswith("  #"):
        comments -= 1
    # A reason is a comment that begins with a word and a colon, and ends at its key.
    for number in range(comments, start):
        if re.match(r"  # [A-Z]\w+(: |\.$)", lines[number]):
            return number, end
    return start, end


def in_yaml(value: Any) -> str:
    """Write a value on one line of YAML, quoted where YAML would read it as something
    else.
    """
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = to_yaml(value, default_flow_style=True, default_style=style, width=10**9)
    return text.removesuffix("...\n").rstrip("\n")


def _reasons(tried: TriedDraft, table: RawTable, rows: int) -> str:
    """Return what was inferred and why, a line each."""
    draft, spec = tried.draft, tried.spec
    facts = [("target", readable(draft.target)), *_decisions(draft)]
    excluded = [f"{readable(name)}: {why}" for name, why in draft.excluded.items()]
    facts += _first_lines("left out", excluded)
    prepared = [f"{readable(plan.name)}: {plan.why}" for plan in draft.prepared]
    facts += _first_lines("prepared", prepared)
    algorithms = ", ".join(dict.fromkeys(entry.algorithm for entry in spec.search))
    count = len(configurations(spec))
    facts.append(("search", f"{count} configurations: {algorithms}"))
    if tried.sets is not None:
        sample = " of the sample" if len(table.frame) < rows else ""
        facts.append(("rows", f"{tried.sets.in_words}{sample}"))
    facts += [("decide", question) for question in draft.questions]
    facts += [("consider", hint) for hint in draft.hints]
    lines = [f"Read {spec.source.shown_url}: {_described(table, rows)}."]
    lines += [f"  {note}" for note in table.notes]
    lines += [f"  {topic:<9} {why}" for topic, why in facts]
    return "\n".join(lines)


def _decisions(draft: Draft) -> Iterator[tuple[str, str]]:
    """Yield (topic, value and reason) of what was inferred."""
    decisions = {
        "task": draft.task,
        "positive": draft.positive_class,
        "labels": draft.label,
        "metric": draft.metric,
        "chosen by": draft.evaluation,
        "rejected": draft.max_rejected,
        "seconds": draft.seconds,
        "split": Decision(draft.full_split, draft.split.why),
    }
    for topic, decision in decisions.items():
        if decision is not None:
            is_mapping = isinstance(decision.value, dict)
            value = (in_yaml if is_mapping else readable)(decision.value)
            yield topic, f"{value}: {decision.why}"


def _first_lines(topic: str, reasons: list[str]) -> list[tuple[str, str]]:
    facts = [(topic, reason) for reason in reasons[:MOST_LINES]]
    if len(reasons) > MOST_LINES:
        facts.append((topic, f"and {len(reasons) - MOST_LINES} more, see defs.yaml"))
    return facts


def _described(table: RawTable, rows: int) -> str:
    """Return size and format of the table that was read; `rows`: of the whole table."""
    read_rows, columns = table.frame.shape
    parts = [table.format, table.compression, table.encoding]
    if table.delimiter:
        parts.append(f"delimiter {table.delimiter!r}")
    text = f"{rows:,} rows, {columns:,} columns, {', '.join(filter(None, parts))}"
    if read_rows < rows:
        text += f"; inferred from a sample of {read_rows:,} rows"
    return text


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


def schema_of(delivered: pd.DataFrame, spec: ExperimentSpec) -> str:
    """Return the text of the schema that a table has once it is prepared."""
    prepared = prepare_labelled(delivered, spec)
    return infer_schema(prepared.frame, spec.target, split_keys(spec))


def infer_schema(
    prepared: pd.DataFrame, target: str, keys: Collection[str] = ()
) -> str:
    """Write a schema as YAML that all rows satisfy, but those without target or `keys`.

    It has no smallest and largest values: those of a sample would reject the next
    delivery. Columns are sorted by name: models take them in the schema's order, which
    should not depend on the delivery.
    """
    columns: dict[str, dict[str, Any]] = {}
    for name, column in sorted(prepared.items(), key=lambda pair: str(pair[0])):
        rules = columns[str(name)] = dict[str, Any]()
        dtype = _dtype(column)
        if dtype is not None:
            rules["dtype"] = dtype
        if str(name) not in {target, *keys} and column.hasnans:
            rules["nullable"] = True
        # Only for text columns that repeat few values, not for free text.
        most_values = min(LISTED_CATEGORIES, column.count() / 2)
        if dtype == "str" and 0 < column.nunique() <= most_values:
            values = sorted(map(str, column.dropna().unique()))
            warns = {"allowed_values": values, "raise_warning": True}
            rules["isin"] = values if str(name) == target else warns
    settings: dict[str, Any] = {"columns": columns, "coerce": True, "strict": "filter"}
    header = (TEMPLATES / "schema_header.txt").read_text(encoding="utf-8")
    return header + to_yaml(settings, default_flow_style=None)


def _dtype(column: pd.Series) -> str | None:
    """Return a dtype name, or None; whole numbers with missing values become
    float64.
    """
    if column.isna().all():
        return None
    missing = column.hasnans
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
