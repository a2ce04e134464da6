"""What the owner of the data can correct, as an outcome, a page and a CSV to mail."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cached_property

import pandas as pd

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.outcome import Check, Notes, Outcome, PagePath, Rows
from experiment_pipeline.reporting.run_record import (
    DataIssueRow,
    ReportRow,
    Row,
    RunFacts,
)
from experiment_pipeline.stages.validated_data.issues import (
    OF_CHANGES,
    TO_CHECK,
    Earlier,
    Example,
    Issue,
    counted_rows,
    with_count,
)
from experiment_pipeline.storage.records import fingerprint_of

PAGE, CSV = "data_issues.html", "data_issues.csv"
_VERSION = 4  # of the page
_SHOWN = 5  # examples on the page
# What a spreadsheet would take for a formula; a negative number is none.
_FORMULA = re.compile(r"[=+@\t\r]|-(?!\d[\d.,]*$)")
_EXAMPLE = [one.name for one in fields(Example)]


@dataclass(frozen=True, eq=False)
class IssuesReport:
    """The issues of a run beside those of the run before."""

    experiment: str
    table: str  # where it came from
    issues: Sequence[Issue]
    to_check: Issue | None
    earlier: Earlier

    @property
    def new(self) -> list[Issue]:
        """The issues that the run before had not."""
        before = self.earlier.issues
        return (
            [] if before is None else [i for i in self.issues if i.code not in before]
        )

    @cached_property
    def grown(self) -> Mapping[str, str]:
        """The issues whose share of the rows has grown: code → what it was before."""
        before = self.earlier.issues or {}
        return {
            issue.code: counted_rows(row["rows"], row["share"])
            for issue in self.issues
            if (row := before.get(issue.code)) and issue.has_grown(row)
        }

    @property
    def gone(self) -> list[str]:
        """The issues that only the run before had, each with the reason."""
        codes = {issue.code for issue in self.issues}
        before = self.earlier.issues or {}
        return [self._gone(row) for code, row in before.items() if code not in codes]

    def _gone(self, row: Row) -> str:
        how = "corrected"
        if self.earlier.same_table:
            how = "no longer found, though the table is the same: a setting has changed"
        if row["code"].partition(":")[0] in OF_CHANGES:
            how = "like the accepted version again, or accepted"
        what = with_count(row["rule"], row["rows"], row["share"])
        return f"{what}: {how}; first seen {row['since']:%Y-%m-%d}"

    def _since(self, issue: Issue) -> str:
        before = self.earlier.issues
        if before is None or issue is self.to_check:
            return ""
        if issue.code not in before:
            return "new in this run"
        return f"since {before[issue.code]['since']:%Y-%m-%d}"

    def _history(self, issue: Issue) -> str:
        """`Run 6fda8eb8 found it first; the run before found 19 rows, 0.4 %`."""
        row = (self.earlier.issues or {}).get(issue.code)
        if row is None:
            return ""
        text = f"Run {row['since_run'][:8]} found it first"
        if row["rows"] not in {None, issue.rows}:
            text += f"; the run before found {counted_rows(row['rows'], row['share'])}"
        if issue.code in self.grown:
            text += ": more than by chance"
        return f"{text}."

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each example, or one for an issue without any, as texts."""
        rows = [
            {
                "cause": issue.cause,
                "rule": issue.rule,
                "rows": issue.rows,
                "share": issue.share,
                "cost": issue.cost,
                "since": self._since(issue),
                "history": self._history(issue),
                **asdict(example),
            }
            for issue in (*self.issues, *filter(None, [self.to_check]))
            for example in issue.examples or [Example()]
        ]
        names = [
            "cause",
            "rule",
            "rows",
            "share",
            "cost",
            "since",
            "history",
            *_EXAMPLE,
        ]
        types = {"rows": "Int64", "share": "float64"}
        types |= {"row": "Int64", "like_row": "Int64"}
        return pd.DataFrame(rows, columns=names).astype(types)

    def csv(self) -> bytes:
        """The table as a file for a spreadsheet, in which no cell is a formula."""
        plain = self.frame.map(_no_formula)
        return plain.to_csv(index=False).encode("utf-8-sig")

    @property
    def fingerprint(self) -> str:
        """The fingerprint of page and CSV."""
        csv = self.csv().decode()
        return fingerprint_of(csv=csv, gone=self.gone, table=self.table, v=_VERSION)

    @property
    def in_words(self) -> str:
        """`3 data issues, 1 of them new; 2 of the run before are gone`."""
        text = numbers.counted(len(self.issues), "data issue")
        if self.new:
            text += f", {len(self.new)} of them new"
        if self.grown:
            text += f", {len(self.grown)} with a larger share of the rows"
        if self.gone:
            text += f"; no longer found: {len(self.gone)}"
        return text

    def page(self) -> bytes:
        """The page, which has the CSV in it."""
        csv = base64.b64encode(self.csv()).decode()
        link = (
            f'<p><a download="{self.experiment}_{CSV}" '
            f'href="data:text/csv;base64,{csv}">Download as CSV</a></p>'
        )
        what = "Rows and values that whoever delivers the table can correct. Row "
        what += "numbers count from 0, in the order of delivery."
        blocks = [
            document.Paragraph(f"{self.in_words}."),
            document.Paragraph(f"{what} Table: {self.table}."),
            document.Markup(link),
        ]
        sections = [document.Section("Summary", blocks)]
        if self.issues:
            cards = list(map(self._card, self.issues))
            sections.append(document.Section("To correct", cards))
        if self.gone:
            title = f"No longer found since run {self.earlier.run[:8]}"
            sections.append(document.Section(title, [document.Bullets(self.gone)]))
        if self.to_check is not None:
            sections.append(document.Section(TO_CHECK, [self._card(self.to_check)]))
        shown = document.Document(f"Data issues of {self.experiment}", sections)
        tone: document.Tone = "doubtful" if self.issues else "passed"
        return document.render_html(shown, tone=tone).encode()

    def _card(self, issue: Issue) -> document.Card:
        history = self._history(issue)
        texts = filter(None, (f"{issue.counted_rule}.", issue.cost, history))
        blocks: list[document.Block] = list(map(document.Paragraph, texts))
        if issue.examples:
            blocks += _table(issue.examples)
        return document.Card(issue.cause, self._since(issue), "doubtful", blocks)


def _table(examples: Sequence[Example]) -> list[document.Block]:
    """The first examples, without columns that are empty; all have the same column."""
    header = ["row", "like row", "ids", examples[0].column]
    cells = [
        (
            str(example.row),
            "" if example.like_row is None else str(example.like_row),
            example.ids,
            example.cell,
        )
        for example in examples
    ]
    filled = [i for i in range(len(header)) if any(row[i] for row in cells)]
    shown = [[row[i] for i in filled] for row in cells]
    return document.first_rows([header[i] for i in filled], shown, _SHOWN, "example")


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def outcome(
    report: IssuesReport, page: str, csv: str, run_id: str, now: datetime
) -> Outcome:
    """The issues, and a warning about new and grown ones.

    `page` and `csv`: their places.
    """
    before = report.earlier.issues or {}
    first = {"since": now, "since_run": run_id}
    rows = [
        DataIssueRow(
            code=issue.code,
            rule=issue.rule,
            rows=issue.rows,
            share=issue.share,
            cost=issue.cost,
            since=before.get(issue.code, first)["since"],
            since_run=before.get(issue.code, first)["since_run"],
        )
        for issue in report.issues
    ]
    new = [f"{issue.cause}: {issue.counted_rule}" for issue in report.new]
    grown = [
        f"{issue.cause}: {issue.counted_rule}, grown from {report.grown[issue.code]}"
        for issue in report.issues
        if issue.code in report.grown
    ]
    check = Check.of(
        "no_new_data_issues",
        new + grown,
        "warning",
        holds=report.in_words,
    )
    frame = report.frame
    shown = frame.drop(columns=_EXAMPLE).drop_duplicates()
    return Outcome(
        value=frame,
        version=report.fingerprint,
        facts={
            "dagster/row_count": len(frame),
            "report": PagePath(page),
            "csv": PagePath(csv),
            "issues": Rows(shown),
            "no_longer_found": Notes(report.gone),
        },
        checks=[check],
        record=[
            RunFacts(data_issues=len(rows)),
            *rows,
            *(
                ReportRow(name=name, place=p)
                for name, p in (("data_issues", page), (CSV, csv))
            ),
        ],
    )
