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
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.statistics.interval import LEVEL, Interval

if TYPE_CHECKING:
    import jinja2

# For the first use on every page: many swap the names of test and validation set.
HOLD_OUT = "validation set (final hold-out)"
# The colour of an outcome, such as a verdict.
Tone = Literal["", "passed", "doubtful", "failed"]
TONE_OF: dict[str, Tone] = {
    "go": "passed",
    "go with conditions": "doubtful",
    "no go": "failed",
}
_SCRIPTS = ("echarts/echarts.min.js", "table.js", "page.js")
# Active characters of Markdown. An underscore inside a word is not; of #, only a
# leading one is.
_ACTIVE = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^#")


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Markup:
    """Safe HTML that is not escaped; in Markdown, its text."""

    html: str
    text: str = ""


@dataclass(frozen=True)
class Link:
    """A text with a link to a relative path or an http(s) address."""

    text: str
    target: str


Cell = str | Link | Markup


@dataclass(frozen=True)
class Bullets:
    """A list of texts or links."""

    items: Sequence[Cell]


@dataclass(frozen=True)
class TableBlock:
    """A table, every row as long as the header."""

    # only a list of facts, whose first column holds their names, has empty texts here
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    classes: Sequence[str] = ()  # of each row, for its colours; empty: none
    # columns whose values can filter the rows. The page then also makes the table
    # sortable and highlights a row in all charts; the second column must name the rows
    filters: Sequence[str] = ()
    pinned: Sequence[Sequence[Cell]] = ()  # rows above, which no filter hides


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
    blocks: "Sequence[Block]"


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart that the page draws; without scripts and in Markdown, its `alt`."""

    title: str
    alt: str  # what it shows, in a sentence with the key number
    option: Mapping[str, Any]  # what is drawn, JSON values only (`charts.py`)
    how_to_read: str = ""
    # a quarter, a half or all of the page's width
    size: Literal["small", "half", "full"] = "half"
    height: int = 320  # pixels

    def __repr__(self) -> str:
        return f"{self.title}: {self.how_to_read or self.alt}"

    def _repr_html_(self) -> str:
        """The chart in a page of its own, whose scripts see nothing of the notebook."""
        text = Paragraph(self.how_to_read or self.alt)
        section = Section("Chart", (text, replace(self, how_to_read="")))
        page = html.escape(render_html(Document(self.title, (section,))))
        height = f"height: {self.height + 280}px"
        style = f"width: 100%; max-width: 33rem; {height}; border: 0"
        return (
            f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'
        )


@dataclass(frozen=True)
class Flow:
    """Consecutive steps, each a card; in Markdown a numbered list."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class LimitBar:
    """A measured value against its limit; `ends`: value and limit, in percent of the
    width.
    """

    title: str  # what comes after a colon is shown small
    tag: str
    tone: Tone
    text: str  # value and limit in words
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class LimitBars:
    """Bars below each other; in Markdown a list."""

    bars: Sequence[LimitBar]


Block = (
    Paragraph
    | Link
    | Flow
    | Bullets
    | TableBlock
    | Code
    | Markup
    | Card
    | Chart
    | LimitBars
)


@dataclass(frozen=True)
class Section:
    """A title and its blocks; `folded`: collapsed, as few readers need it."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True)
class Document:
    """A document as data."""

    title: str
    sections: Sequence[Section]  # the first starts with the outcome in a sentence
    links: Sequence[Link] = ()  # to related pages; left out in Markdown


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


def rendered(block: Block) -> str:
    """Return one block as Markdown."""
    match block:
        case Paragraph(text) | Chart(alt=text):
            return escape(text)
        case Code(language, text):
            return fenced(language, text)
        case Link() | Markup():
            return _cell(block)
        case Card(title, tag, _, blocks):
            parts = [f"### {escape(title)}", f"**{tag}**", *map(rendered, blocks)]
            return "\n\n".join(parts)
    return "\n".join(_lines_of(block))


def _lines_of(block: Bullets | LimitBars | Flow | TableBlock) -> Iterable[str]:
    match block:
        case Bullets(items):
            return [f"- {_cell(item)}" for item in items]
        case LimitBars(bars):
            return map(_bar_line, bars)
        case Flow(cards):
            return _numbered(cards)
    header = [map(escape, block.header), ["---"] * len(block.header)]
    rows = [map(_cell, row) for row in (*block.pinned, *block.rows)]
    return map(_table_line, [*header, *rows])


def _bar_line(bar: LimitBar) -> str:
    return f"- **{bar.tag}**: {escape(bar.title)}: {escape(bar.text)}"


def _table_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _numbered(cards: Iterable[Card]) -> Iterator[str]:
    for number, card in enumerate(cards, start=1):
        text = " ".join(filter(None, map(rendered, card.blocks)))
        line = f"{number}. {escape(card.title)}: **{escape(card.tag)}**. {text}"
        yield f"{line.rstrip('. ')}."


def cell_text(cell: Cell) -> str:
    """Return a cell as plain text."""
    return cell if isinstance(cell, str) else cell.text


def _cell(cell: Cell) -> str:
    text = escape(cell_text(cell))
    return f"[{text}]({_address(cell.target)})" if isinstance(cell, Link) else text


def _address(target: str) -> str:
    """The quoted target of a link; schemes but http and https could run code."""
    is_url = target.startswith(("http://", "https://"))
    return quote(target, safe="/#?=&%:" if is_url else "/")


def anchor(title: str) -> str:
    """Return the anchor of a section, such as `gates-and-looks`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def render_html(
    document: Document, *, passed: bool | None = None, tone: Tone = ""
) -> str:
    """Return the page; `header.with_header` puts the header of a run above it.

    `tone` or `passed` sets the colour of the first paragraph.
    """
    if passed is not None:
        tone = "passed" if passed else "failed"
    blocks = [block for section in document.sections for block in section.blocks]
    has_scripts = any(map(_needs_scripts, blocks))
    # One script, which a storage keeps once for all pages.
    scripts = _SCRIPTS if has_scripts else ()
    folder = files("experiment_pipeline.reporting").joinpath("scripts")
    return template("page.html").render(
        document=document,
        tone=tone,
        script="\n".join(folder.joinpath(name).read_text("utf-8") for name in scripts),
        has_code=any(isinstance(block, Code) for block in blocks),
    )


def _needs_scripts(block: Block) -> bool:
    has_filters = isinstance(block, TableBlock) and bool(block.filters)
    return has_filters or isinstance(block, Chart)


def fragment(*sections: Section) -> str:
    """Return sections as HTML for a notebook, in the notebook's colours."""
    return template("fragment.html").render(sections=sections)


@lru_cache
def template(name: str) -> "jinja2.Template":
    """Return a template of this package."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiment_pipeline.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Scripts get names and texts without `<`, `>`, `&` and characters beyond ASCII.
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "separators": (",", ":"),
    }
    environment.filters["target"] = _address
    environment.filters["anchor"] = anchor
    return environment.get_template(name)


def facts(facts: Mapping[str, Cell | None]) -> Block:
    """Return a table of the facts that have a value."""
    rows = [(name, cell) for name, cell in facts.items() if cell]
    return TableBlock(("", ""), rows) if rows else Paragraph("Not recorded.")


def first_rows(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], most: int, what: str
) -> list[Block]:
    """Return a table of the first rows, and a line that counts the others.

    `what`: singular noun.
    """
    blocks: list[Block] = [TableBlock(header, rows[:most])]
    if len(rows) > most:
        count = numbers.counted(len(rows) - most, f"more {what}")
        blocks.append(Paragraph(f"And {count}."))
    return blocks


def with_meanings(table: TableBlock, meanings: Mapping[str, Meaning]) -> TableBlock:
    """Return a table with what the columns mean that its first cells name."""
    words = [
        meanings[str(row[0])].in_words if str(row[0]) in meanings else ""
        for row in table.rows
    ]
    if not any(words):
        return table
    rows = [(*row, word) for row, word in zip(table.rows, words, strict=True)]
    return replace(table, header=(*table.header, "meaning"), rows=rows)


def sets_table(sets: Iterable[tuple[str, int, str]]) -> TableBlock:
    """Return a table from (name, number of rows, sha256) of each set."""
    rows = [(name, f"{count:,}", digest[:16]) for name, count, digest in sets]
    return TableBlock(("set", "rows", "sha256 begins"), rows)


def gates_table(
    gates: Iterable[tuple[str, float | None, float | None, str]],
) -> TableBlock:
    """Return a table from (rule, value, limit, outcome) of each acceptance gate."""
    rows = [
        (text, score_text(value), score_text(limit), outcome)
        for text, value, limit, outcome in gates
    ]
    return TableBlock(("gate", "value", "limit", "outcome"), rows)


def scores_table(
    scores: Iterable[tuple[str, str, Interval, float | None]],
) -> TableBlock:
    """Return a table from (set, metric, interval, baseline) of each score."""
    rows = []
    level = LEVEL
    for set_name, metric, interval, baseline in scores:
        level = interval.level
        estimate = numbers.estimate(interval)
        bounds = numbers.bounds(interval)
        rows.append((set_name, metric, estimate, bounds, score_text(baseline, "")))
    interval_header = f"{numbers.share(level)} interval"
    header = ("set", "metric", "estimate", interval_header, "baseline")
    return TableBlock(header, rows)


def score_text(value: float | None, otherwise: str = "undefined") -> str:
    """Return a score as text, or `otherwise` for None."""
    return otherwise if value is None else numbers.score(value)


def rows_table(rows: Sequence[Mapping[str, Any]]) -> TableBlock:
    """Return a table of rows (name → any value) as texts."""
    header = list(rows[0]) if rows else ()
    texts = [list(map(_any_cell, row.values())) for row in rows]
    return TableBlock(header, texts)


def _any_cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.15g}" if value.is_integer() else f"{value:.4g}"
    return "missing" if value is None else numbers.shown(value)


def statements(statements: Mapping[str, str | None]) -> Sequence[Block]:
    """Return the statements of people under `record`, and which are missing."""
    table = facts({name.replace("_", " "): text for name, text in statements.items()})
    missing = ", ".join(name for name, text in statements.items() if text is None)
    if not missing:
        return (table,)
    how = "Only people can state these; write them in defs.yaml, under the key record."
    return (table, Paragraph(f"Missing: {missing}. {how}"))


@dataclass(frozen=True)
class _EvidenceTable:
    """How the evidence of one kind is shown; without a header as a list."""

    title: str
    read_as: str = ""
    header: tuple[str, ...] = ()


_EVIDENCE = {
    "worth": _EvidenceTable(
        "What the model is worth",
        "By the costs in the YAML, of the decisions for the same validation rows, with "
        f"{numbers.share(LEVEL)} intervals. A negative cost is a gain. It holds for "
        "rows like these: with another share of positive rows, or in a table that was "
        "thinned by class, it is another.",
        ("compared with", "its cost", "the model saves", "rows"),
    ),
    "random split": _EvidenceTable(
        "What a random split would have said",
        "The same rows of the test set, predicted once more by the chosen "
        "configuration: fitted on as many rows as in the search, but drawn at random, "
        "so that a fit knows other rows of the same group or time. The difference is "
        "paired, by the clusters of the declared split. What the search chose has the "
        "best score of many on these rows, so the difference is rather too small.",
        ("split", "{metric} at random", "minus the declared split", "rows"),
    ),
    "incumbent": _EvidenceTable(
        "The incumbent",
        "The rule in use today, on the validation rows that it answers: paired, with "
        "the interval of the gates.",
        ("compared with", "its score", "this model minus it", "rows"),
    ),
    "challenger": _EvidenceTable(
        "Challengers",
        f"Paired on the same validation rows, {numbers.share(LEVEL)} intervals (of "
        "champions: as the gates). It informs and chooses nothing, so no look is "
        "counted; taking another model because of it is a look.",
        ("compared with", "its {metric}", "this model minus it", "rows"),
    ),
    "robustness": _EvidenceTable(
        "Robustness",
        "Scores of this model on validation rows in which one feature is changed after "
        "preparation: the largest losses of all that were tried. schema.yaml may "
        "reject such rows.",
        ("feature, and what happened to it", "{metric} then", "change", "rows"),
    ),
    "split seed": _EvidenceTable(
        "Other split seeds",
        "The whole flow on the train and test rows alone, cut into three sets by other "
        "seeds; validation rows are not read. Repeats share rows: their spread is not "
        "a standard error.",
        ("choice", "its {metric}", "minus the baseline", "rows"),
    ),
    "unknown": _EvidenceTable("What this run cannot know"),
}


def evidence_sections(
    rows: Sequence[Mapping[str, Any]], metric: str
) -> Iterator[Section]:
    """Return a section for each kind of evidence, from rows of the table `evidence`."""
    in_order = sorted(rows, key=lambda row: row["number"])
    for kind, table in _EVIDENCE.items():
        of_kind = [row for row in in_order if row["kind"] == kind]
        if not of_kind:
            continue
        if table.header:
            header = [name.format(metric=metric) for name in table.header]
            cells = list(map(_evidence_cells, of_kind))
            blocks = (Paragraph(table.read_as), TableBlock(header, cells))
            yield Section(table.title, blocks)
        else:
            texts = [row["what"] for row in of_kind]
            yield Section(table.title, (Bullets(texts),))


def _evidence_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["score"] is None:  # its text says why
        return (row["what"], "", "", "")
    change = numbers.as_known(row["difference"], row["low"], row["high"])
    return (row["what"], numbers.score(row["score"]), change, f"{row['rows']:,}")
