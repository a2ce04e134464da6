"""A table → the files of a drafted experiment, and what the command says about them.

Reads the table, infers (`drafting/inference`), tries the draft up to the split as a run will do
it, renders the commented defs.yaml. Decides nothing and writes nothing; nothing is trained. In:
where the table is, and what the user has decided. Out: texts.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml
from pydantic import ValidationError

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.decisions import Decision
from experiment_pipeline.drafting.inference import Draft, infer
from experiment_pipeline.drafting.schema import infer_schema
from experiment_pipeline.errors import DataError
from experiment_pipeline.spec import Data, ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.spec.models import readable
from experiment_pipeline.spec.sentences import explain, invalid
from experiment_pipeline.stages.data_analysis.analysis import MOST_ROWS, SAMPLED_ROWS
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.stages.raw_data.table import RawTable, parse_sample
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.split_sets.sets import SplitSets, split
from experiment_pipeline.stages.validated_data.guards import check_rejection_rate
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline.statistics.metrics import METRICS, names_of
from experiment_pipeline.storage.spill import Shelf
from experiment_pipeline.table.digests import mixed, uniform
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline.table.target import check_metrics, check_target


@dataclass(frozen=True)
class Trial:
    """What came out.

    Attributes:
        schema_text: YAML of the schema that was inferred.
        sets: the split; None where it did not come to that.
        problem: why a run would stop; None where it would not.
    """

    schema_text: str
    sets: SplitSets | None
    problem: str | None


def try_out(raw: pd.DataFrame, spec: ExperimentSpec) -> Trial:
    """Prepare, validate and split the table as a run will do it."""
    prepared = prepare(raw, spec.preparation)
    schema_text = infer_schema(prepared.frame, spec.target)
    try:
        membership = assign_sets(prepared.frame, spec, feature_columns(prepared.frame, spec))
        outcome = validate(raw, prepared, load_schema(schema_text), spec, sets=membership)
        check_target(outcome.validated, spec)
        check_metrics(outcome.validated[spec.target], spec)
        features = feature_columns(outcome.validated, spec)
        sets = split(outcome.validated, spec, features, membership)
    except DataError as error:
        return Trial(schema_text, None, str(error))
    rejected = check_rejection_rate(outcome, spec.validation)
    return Trial(schema_text, sets, rejected[0] if rejected else None)


TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 100
MOST_LINES = 8


def defs_yaml(name: str, draft: Draft, found: str, data: Mapping[str, Any], command: str) -> str:
    """The text of defs.yaml: what the draft says, with the reasons as comments."""
    environment = jinja2.Environment(  # noqa: S701 - YAML, not HTML
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"yaml": in_yaml, "comment": _comment, "capital": _capital}
    metric = draft.metric.value
    return environment.get_template("defs.yaml.jinja").render(
        name=name,
        command=command,
        draft=draft,
        said=draft.attributes(data),
        found=f"Read: {found}.",
        other_metrics=[other for other in names_of(draft.task.value) if other != metric],
        limit="at_least: 0.8" if METRICS[metric].greater_is_better else "at_most: 0.5",
    )


def in_yaml(value: Any) -> str:
    """One value on one line of YAML, quoted where YAML would read it as something else.

    >>> in_yaml("yes"), in_yaml({"low": 1, "high": 9})
    ("'yes'", '{low: 1, high: 9}')
    """
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = yaml.safe_dump(
        value,
        default_flow_style=True,
        default_style=style,
        allow_unicode=True,
        sort_keys=False,
        width=float("inf"),
    )
    return text.removesuffix("...\n").rstrip("\n")


def summary(
    draft: Draft, table: RawTable, rows: int, spec: ExperimentSpec, trial: Trial, command: str
) -> str:
    """What was inferred and why, and the command that runs it."""
    lines = [f"Read {spec.source.shown_url}: {_found(table, rows)}.", *map(_indented, table.notes)]
    lines += [_line(what, why) for what, why in _decisions(draft)]
    count = len(configurations(spec))
    algorithms = ", ".join(dict.fromkeys(entry.algorithm for entry in spec.search))
    lines.append(_line("search", f"{count} configurations: {algorithms}"))
    if trial.sets is not None:
        counts = ", ".join(f"{key} {len(t):,}" for key, t in trial.sets.tables().items())
        lines.append(_line("rows", counts + (" of the sample" if len(table.frame) < rows else "")))
    lines += [_line("consider", hint) for hint in draft.hints]
    lines += ["Wrote defs.yaml and schema.yaml; both are yours to edit."]
    if trial.problem is None:
        lines += [f"Run: {command}"]
    else:
        lines += ["As they are, a run will stop:", _indented(trial.problem)]
    return "\n".join(lines)


def _found(table: RawTable, rows: int) -> str:
    kept, columns = table.frame.shape
    sample = f"; what follows is of a sample of {kept:,} rows" if kept < rows else ""
    how = [table.format, table.compression, table.encoding]
    how += [f"delimiter {table.delimiter!r}"] if table.delimiter else []
    return f"{rows:,} rows, {columns:,} columns, {', '.join(part for part in how if part)}{sample}"


def _decisions(draft: Draft) -> Iterator[tuple[str, str]]:
    yield "target", readable(draft.target)
    named = [("task", draft.task), ("positive", draft.positive_class), ("metric", draft.metric)]
    for what, decision in named:
        if decision is not None:
            yield what, f"{readable(decision.value)}: {decision.why}"
    yield "split", f"{in_yaml(draft.full_split)}: {draft.split.why}"
    if draft.evaluation is not None:
        yield "chosen by", f"{readable(draft.evaluation.value)}: {draft.evaluation.why}"
    if draft.max_rejected is not None:
        yield "rejected", f"up to {draft.max_rejected.value}: {draft.max_rejected.why}"
    yield from _first([("left out", f"{readable(c)}: {why}") for c, why in draft.excluded.items()])
    yield from _first([("prepared", f"{readable(p.name)}: {p.why}") for p in draft.prepared])


def _first(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(lines) - MOST_LINES
    rest = [(lines[0][0], f"and {more} more, see defs.yaml")] if more > 0 else []
    return [*lines[:MOST_LINES], *rest]


def _line(what: str, why: str) -> str:
    return f"  {what:<9} {why}"


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _comment(text: str, indent: int) -> str:
    """Lines of YAML comment; nothing in the text can end one early."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    start = " " * indent + "# "
    return textwrap.fill(
        printable,
        WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_long_words=False,
        break_on_hyphens=False,
    )


@dataclass(frozen=True)
class Drafted:
    """File name → text, and what was inferred and why."""

    files: Mapping[str, str]
    summary: str


def draft_experiment(name: str, wishes: Wishes, written_url: str, command: str) -> Drafted:
    """Draft an experiment on a table.

    Args:
        name: of the experiment.
        wishes: what the user has decided, with the URL as seen from the working directory.
        written_url: the same URL, as it is to stand in the YAML.
        command: what runs the experiment.

    Raises:
        ExperimentPipelineError: the table cannot be read, or a decision is wrong or missing.
    """
    try:
        source = Data.model_validate(wishes.source)
    except ValidationError as error:
        raise invalid(explain(error, Data, wishes.source), lambda place: f"--{place[0]}") from None
    table, rows = _read(source)
    written = {**wishes.source, "url": written_url}

    def tried(draft: Draft) -> tuple[Draft, ExperimentSpec, Trial]:
        spec = spec_from(name, draft.attributes(written), lambda _: "the draft")
        return draft, spec, try_out(table.frame, spec)

    draft, spec, trial = tried(infer(table.frame, wishes, rows))
    nobody_asked = wishes.split is None and wishes.split_column is None
    if trial.problem and nobody_asked and draft.split.value["by"] == "time":
        draft, spec, trial = tried(_at_random(draft, trial.problem))
    return Drafted(
        {
            "schema.yaml": trial.schema_text,
            "defs.yaml": defs_yaml(name, draft, _found(table, rows), written, command),
        },
        summary(draft, table, rows, spec, trial, command),
    )


def _read(source: Data) -> tuple[RawTable[pd.DataFrame], int]:
    """Read a table, or a sample of a large one, and how many rows it has.

    By the numbers of the rows: which columns are features is what is to be found out.
    """

    def chosen(rows: int) -> np.ndarray:
        positions = np.arange(rows)
        if rows > MOST_ROWS:
            positions = positions[uniform(mixed(positions.view(np.uint64))) < SAMPLED_ROWS / rows]
        return positions

    return parse_sample(read_source(source), source, chosen, Shelf().spooled)


def _at_random(draft: Draft, problem: str) -> Draft:
    """The draft of a series that cannot be split by time, and what that costs."""
    culprit = problem.splitlines()[0]
    why = (
        f"the rows are a series in {draft.split.value['column']}, but by time a run would stop "
        f"({culprit}). At random each row is judged by a model that knows its neighbours: scores "
        "flatter"
    )
    return replace(draft, split=Decision({"by": "random"}, why))
