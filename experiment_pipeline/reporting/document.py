"""Documents as data, rendered as Markdown or as one self-contained HTML page.

In: plain texts, tables, charts. Out: Markdown or HTML in which every text is escaped.
Styles are in `templates/`, charts are drawn by `scripts/`. The tables that several
pages share are at the end.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.interval import Interval

if TYPE_CHECKING:
    import jinja2

# For the first use on every page, because many swap the names of test and validation
# set.
HOLD_OUT = "validation set (final hold-out)"
# The colour of an outcome, such as a verdict.
Tone = Literal["", "passed", "doubtful", "failed"]
TONE_OF: dict[str, Tone] = {
    "go": "passed",
    "go with conditions": "doubtful",
    "no go": "failed",
}
# Active characters of Markdown. An underscore inside a word is not; of #, only a
# leading one is.
_ACTIVE = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^#")


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Markup:
    """Safe HTML that is not escaped; left out in Markdown."""

    html: str


@dataclass(frozen=True)
class Link:
    """A text with a link to a relative path or an http(s) address."""

    text: str
    target: str


Cell = str | Link | Markup


@dataclass(frozen=True)
class Bullets:
    """A list of texts or links."""

    items: tuple[Cell, ...]


@dataclass(frozen=True)
class TableBlock:
    """A table, every row as long as the header."""

    # only a list of facts, whose first column holds their names, has empty texts here
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    classes: tuple[str, ...] = ()  # of each row, for its colours; empty: none
    # columns whose values can filter the rows. The page then also makes the table
    # sortable and highlights a row in all charts; the second column must name the rows
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """A block of code."""

    language: str
    text: str


@dataclass(frozen=True)
class Card:
    """A group of blocks, under a title with a tag in the colour `tone`."""

    title: str
    tag: str
    tone: str
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart that the page draws; Markdown and pages without scripts show
    its `alt`.
    """

    title: str
    alt: str  # what it shows, in a sentence with the key number
    option: Mapping[str, Any]  # what is drawn, JSON values only (`charts.py`)
    said: str = ""  # how to read it
    size: Literal["small", "half"] = (
        "half"  # of a page's width: a quarter or a half of it
    )
    height: int = 320  # pixels

    def __repr__(self) -> str:
        return f"{self.title}: {self.said or self.alt}"

    def _repr_html_(self) -> str:
        """The chart in a notebook: a page of its own, whose scripts see nothing of the
        notebook.
        """
        section = Section(
            "Chart", (Paragraph(self.said or self.alt), replace(self, said=""))
        )
        page = html.escape(render_html(Document(self.title, (section,))))
        size = (
            f"width: 100%; max-width: 33rem; height: {self.height + 280}px; border: 0"
        )
        return (
            f'<iframe sandbox="allow-scripts" style="{size}" srcdoc="{page}"></iframe>'
        )


@dataclass(frozen=True)
class Flow:
    """Consecutive steps, each a card; in Markdown a numbered list."""

    cards: tuple[Card, ...]


Block = Paragraph | Link | Flow | Bullets | TableBlock | Code | Markup | Card | Chart


@dataclass(frozen=True)
class Section:
    """A title and its blocks; `folded`: collapsed on the page, as few readers
    need it.
    """

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """A document as data."""

    title: str
    sections: tuple[Section, ...]  # the first starts with the outcome in a sentence
    links: tuple[Link, ...] = ()  # to related pages; left out in Markdown


def around(experiment: str, folders: int = 2) -> tuple[Link, ...]:
    """Return the links of a page `folders` levels below `<root>/<experiment>` (2 for
    that of a stage).
    """
    up = "../" * folders
    return (
        Link("Overview of all experiments", f"{up}../overview.html"),
        Link(f"All runs of {experiment}", f"{up}runs.html"),
    )


def render(document: Document) -> str:
    """Return the document as Markdown."""
    parts = [f"# {escape(document.title)}"]
    for section in document.sections:
        parts += [f"## {escape(section.title)}", *map(rendered, section.blocks)]
    return "\n\n".join(filter(None, parts)) + "\n"


def escape(text: str) -> str:
    """Return text on one line, escaped so that Markdown and HTML show it unchanged."""
    return _ACTIVE.sub(r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def fenced(language: str, text: str) -> str:
    """Return a code block, whose fence is longer than any run of backticks inside."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"


def rendered(block: Block) -> str:  # noqa: PLR0911 - a line for each kind
    """Return one block as Markdown."""
    match block:
        case Paragraph(text) | Chart(alt=text):
            return escape(text)
        case Bullets(items):
            return "\n".join(f"- {_cell(item)}" for item in items)
        case Code(language, text):
            return fenced(language, text)
        case Link() | Markup():
            return _cell(block)
        case Flow(cards):
            lines = []
            for number, card in enumerate(cards, start=1):
                said = " ".join(filter(None, map(rendered, card.blocks)))
                line = f"{number}. {escape(card.title)}: **{escape(card.tag)}**. {said}"
                lines.append(f"{line.rstrip('. ')}.")
            return "\n".join(lines)
        case TableBlock(header, rows):
            separator = ["---"] * len(header)
            table = [
                list(map(escape, header)),
                separator,
                *(map(_cell, row) for row in rows),
            ]
            return "\n".join(f"| {' | '.join(line)} |" for line in table)
        case Card(title, tag, _, blocks):
            return "\n\n".join(
                [f"### {escape(title)}\n\n**{tag}**", *map(rendered, blocks)]
            )


def _cell(cell: Cell) -> str:
    match cell:
        case Markup():
            return ""
        case Link(text, target):
            return f"[{escape(text)}]({_address(target)})"
        case str():
            return escape(cell)


def _address(target: str) -> str:
    """The quoted target of a link; the only schemes are http and https, as others could
    run code.
    """
    return quote(
        target, safe="/#?=&%:" if target.startswith(("http://", "https://")) else "/"
    )


def anchor(title: str) -> str:
    """Return the anchor of a section, such as `gates-and-looks`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def render_html(
    document: Document, *, passed: bool | None = None, tone: Tone = "", width: int = 72
) -> str:
    """Return the page, `width` rem wide; `tone` or `passed` sets the colour of the
    first paragraph.
    """
    if passed is not None:
        tone = "passed" if passed else "failed"
    blocks = [block for section in document.sections for block in section.blocks]
    drawn = any(isinstance(one, Chart) or getattr(one, "filters", ()) for one in blocks)
    scripts = ("echarts/echarts.min.js", "page.js") if drawn else ()
    folder = files("experiment_pipeline.reporting").joinpath("scripts")
    return _template("page.html").render(
        document=document,
        tone=tone,
        width=width,
        scripts=[folder.joinpath(name).read_text("utf-8") for name in scripts],
    )


def fragment(*sections: Section) -> str:
    """Return sections as HTML for a notebook, in the notebook's colours."""
    return _template("fragment.html").render(sections=sections)


@lru_cache
def _template(name: str) -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiment_pipeline.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # In scripts, `<`, `>`, `&` and all characters beyond ASCII are escaped in names and
    # texts.
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "separators": (",", ":"),
    }
    environment.filters["target"] = _address
    environment.filters["anchor"] = anchor
    return environment.get_template(name)


def facts(known: Mapping[str, Cell | None]) -> Block:
    """Return a table of the facts that have a value."""
    rows = tuple((name, value) for name, value in known.items() if value)
    return TableBlock(("", ""), rows) if rows else Paragraph("Not recorded.")


def first_rows(
    header: Sequence[str], rows: Sequence[tuple[Cell, ...]], most: int, what: str
) -> list[Block]:
    """Return a table of the first rows, and a line that counts the others (`what`:
    singular noun).
    """
    blocks: list[Block] = [TableBlock(tuple(header), tuple(rows[:most]))]
    if (more := len(rows) - most) > 0:
        blocks.append(Paragraph(f"And {numbers.counted(more, f'more {what}')}."))
    return blocks


def sets_table(sets: Iterable[tuple[str, int, str]]) -> TableBlock:
    """Return a table from (name, number of rows, sha256) of each set."""
    rows = tuple((name, f"{count:,}", digest[:16]) for name, count, digest in sets)
    return TableBlock(("set", "rows", "sha256 begins"), rows)


def gates_table(
    gates: Iterable[tuple[str, float | None, float | None, str]],
) -> TableBlock:
    """Return a table from (rule, value, limit, outcome) of each acceptance gate."""
    rows = tuple(
        (rule, known(one), known(limit), ended) for rule, one, limit, ended in gates
    )
    return TableBlock(("gate", "value", "limit", "outcome"), rows)


def scores_table(
    scores: Iterable[tuple[str, str, Interval, float | None]],
) -> TableBlock:
    """Return a table from (set, metric, estimate with interval, baseline) of each
    score.
    """
    rows = tuple(
        (
            name,
            metric,
            numbers.score(of.estimate),
            numbers.bounds(of),
            known(baseline, ""),
        )
        for name, metric, of, baseline in scores
    )
    return TableBlock(("set", "metric", "estimate", "95 % interval", "baseline"), rows)


def known(value: float | None, otherwise: str = "undefined") -> str:
    """Return a score as text, or `otherwise` for None."""
    return otherwise if value is None else numbers.score(value)


def rows_table(rows: Sequence[Mapping[str, Any]]) -> TableBlock:
    """Return a table of rows (name → any value) as texts."""

    def shown(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.15g}" if value.is_integer() else f"{value:.4g}"
        return "missing" if value is None else numbers.shown(value)

    header = tuple(rows[0]) if rows else ()
    return TableBlock(header, tuple(tuple(map(shown, row.values())) for row in rows))


def statements(said: Mapping[str, str | None]) -> tuple[Block, ...]:
    """Return the statements of people below `record:`, and which are missing."""
    missing = [name for name, text in said.items() if text is None]
    text = f"Missing: {', '.join(missing)}. Only people can say these: below record: in defs.yaml."
    shown = facts({name.replace("_", " "): text for name, text in said.items()})
    return (shown, *([Paragraph(text)] if missing else []))


_EVIDENCE = {
    "challenger": ("Challengers", "compared with|its {}|this model minus it|rows"),
    "robustness": (
        "Robustness",
        "feature, and what happened to it|{} then|change|rows",
    ),
    "split seed": ("Other split seeds", "choice|its {}|minus the baseline|rows"),
    "unknown": ("What this run cannot know", ""),
}
_READ_AS = {
    "challenger": "Paired on the same validation rows, 95 % intervals (of champions: as the gates). It "
    "informs and chooses nothing, so no look is counted; taking another model because of it is a look.",
    "robustness": "Scores of this model on validation rows in which one feature is changed after "
    "preparation: the largest losses of all that were tried. schema.yaml may reject such rows.",
    "split seed": "The whole flow on the train and test rows alone, cut into three sets by other seeds; "
    "validation rows are not read. Repeats share rows: their spread is not a standard error.",
}


def evidence_sections(
    rows: Sequence[Mapping[str, Any]], metric: str
) -> Iterator[Section]:
    """Return a section for each kind of evidence; `rows`: those of the table
    `evidence`.
    """
    for kind, (title, header) in _EVIDENCE.items():
        of_kind = sorted(
            (r for r in rows if r["kind"] == kind), key=lambda row: row["number"]
        )
        said: list[Block] = [Bullets(tuple(row["what"] for row in of_kind))]
        if header:
            named, table = (
                tuple(header.format(metric).split("|")),
                map(_evidence_cells, of_kind),
            )
            said = [Paragraph(_READ_AS[kind]), TableBlock(named, tuple(table))]
        if of_kind:
            yield Section(title, tuple(said))


def _evidence_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["score"] is None:  # its text says why
        return (row["what"], "", "", "")
    change = numbers.as_known(*(row[part] for part in ("difference", "low", "high")))
    return (row["what"], numbers.score(row["score"]), change, f"{row['rows']:,}")
