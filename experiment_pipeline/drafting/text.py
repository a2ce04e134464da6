"""A drafted experiment for people: the commented defs.yaml, and what the command prints.

In: a Draft and the table it was made for. Out: text. Renders, never decides.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from experiment_pipeline.drafting.inference import Draft
from experiment_pipeline.drafting.trial import Trial
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.places import readable
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.statistics.metrics import METRICS, names_of

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 100
MOST_LINES = 8


def defs_yaml(name: str, draft: Draft, table: RawTable, data: Mapping[str, Any]) -> str:
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
        draft=draft,
        said=draft.attributes(data),
        found=f"Read: {_found(table)}.",
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


def summary(name: str, draft: Draft, table: RawTable, spec: ExperimentSpec, trial: Trial) -> str:
    """What was inferred and why, and the command that runs it."""
    lines = [f"Read {spec.data.shown_url}: {_found(table)}.", *map(_indented, table.notes)]
    lines += [_line(what, why) for what, why in _decisions(draft)]
    count = len(configurations(spec))
    algorithms = ", ".join(dict.fromkeys(entry.algorithm for entry in spec.search))
    lines.append(_line("search", f"{count} configurations: {algorithms}"))
    if trial.sets is not None:
        rows = ", ".join(f"{key} {len(t):,}" for key, t in trial.sets.tables().items())
        lines.append(_line("rows", rows))
    lines += [_line("consider", hint) for hint in draft.hints]
    lines += ["Wrote defs.yaml and schema.yaml; both are yours to edit."]
    if trial.problem is None:
        lines += [f"Run: dagster job execute -m experiment_pipeline.definitions -j {name}"]
    else:
        lines += ["As they are, a run will stop:", _indented(trial.problem)]
    return "\n".join(lines)


def _found(table: RawTable) -> str:
    rows, columns = table.frame.shape
    how = [table.format, table.compression, table.encoding]
    how += [f"delimiter {table.delimiter!r}"] if table.delimiter else []
    return f"{rows:,} rows, {columns:,} columns, {', '.join(part for part in how if part)}"


def _decisions(draft: Draft) -> Iterator[tuple[str, str]]:
    yield "target", readable(draft.target)
    named = [("task", draft.task), ("positive", draft.positive_class), ("metric", draft.metric)]
    for what, decision in named:
        if decision is not None:
            yield what, f"{readable(decision.value)}: {decision.why}"
    yield "split", f"{in_yaml(draft.full_split)}: {draft.split.why}"
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
