"""What the owner of the data can correct: causes with counts, examples and costs.

Rows of the validation set may be counted, but none is an example, and their targets are
not read. Rejected rows are in no set. Cells of personal columns are never shown.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import yaml

from experiment_pipeline.intake.column_checks import TARGET_IS_MISSING
from experiment_pipeline.intake.profile import DataProfile, counted_as
from experiment_pipeline.intake.validation import NO_LABEL_YET, ValidatedData
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.run_record import Row
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.validated_data.changes import ComparedData
from experiment_pipeline.statistics.distances import STATISTIC, difference
from experiment_pipeline.table.digests import row_hashes
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.kinds import kind_of, numbers_of
from experiment_pipeline.table.preparation import Broken, PreparedTable, shortened
from experiment_pipeline.table.table import plain_rows

MOST_EXAMPLES = 100
REJECTED = "Rejected rows"
DRIFT = "Drift"
COLUMNS = "Columns"
LATE = "Late rows"
GONE = "Missing rows"
# Causes that compare with the accepted version, which another export replaces.
OF_CHANGES = frozenset({DRIFT, COLUMNS, LATE, GONE})
# Rows to look at, which may be right: they are no issue.
TO_CHECK = "Targets to check"
_LEAST_PROBABLE = 0.05  # of the recorded class
# In a large table the smallest growth is more than chance, but not worth an alert.
_LEAST_GROWTH = 1.1  # times the share of the run before
# Check of pandera → its rule in words.
_IN_WORDS = {
    "in_range": "must be in the range",
    "isin": "must be one of",
    "notin": "must not be one of",
    "greater_than": "must be greater than",
    "greater_than_or_equal_to": "must be at least",
    "less_than": "must be less than",
    "less_than_or_equal_to": "must be at most",
    "str_matches": "must match",
}


@dataclass(frozen=True)
class Example:
    """A row as delivered, and its cells that are wrong."""

    row: int | None = None  # its number in the table, from 0
    like_row: int | None = None  # the first of the rows that it is like
    ids: str = ""
    column: str = ""
    cell: str = ""


@dataclass(frozen=True)
class Issue:
    """One cause; the same cause has the same `code` in every run."""

    cause: str
    where: str  # a rule, a column, or nothing
    rule: str  # in words
    rows: int | None = None
    share: float | None = None  # of the delivered rows
    cost: str = ""  # empty: not known
    examples: Sequence[Example] = ()

    @property
    def code(self) -> str:
        """`Rejected rows: age: fails in_range(0, 120)`."""
        return f"{self.cause}: {self.where}" if self.where else self.cause

    @property
    def counted_rule(self) -> str:
        """`age must be in the range (0, 120) (2 rows, 0.42 %)`."""
        return with_count(self.rule, self.rows, self.share)

    def has_grown(self, before: Row) -> bool:
        """Whether its share of the rows exceeds that of `before` by more than chance.

        `before`: its row in the record of an earlier run. Rows count as independent.
        """
        if not (self.share and before["share"]):
            return False
        change = difference(
            _beside_others(before["rows"], before["share"]),
            _beside_others(self.rows, self.share),
        )
        is_large = self.share >= _LEAST_GROWTH * before["share"]
        return is_large and change.effect_size > change.noise


@dataclass(frozen=True, eq=False)
class CheckedRows:
    """The rows of a table in one run: prepared, checked, compared with earlier ones."""

    prepared: PreparedTable
    rows: ValidatedData
    compared: ComparedData


@dataclass(frozen=True, eq=False)
class Earlier:
    """What earlier runs of the experiment recorded; without a history nothing."""

    # code → row, of the last run that looked for issues; None: there is no history
    issues: Mapping[str, Row] | None = None
    run: str = ""  # that run
    same_table: bool = False  # whether it read the same table
    width: float = math.nan  # of the last interval of the metric on the test set
    worst: pd.DataFrame = field(default_factory=pd.DataFrame)  # PREDICTED_ROWS
    worst_run: str = ""


@dataclass(frozen=True, eq=False)
class Delivery:
    """A table as delivered, and what is known about it."""

    raw: pd.DataFrame
    checked: CheckedRows
    findings: Mapping[str, Mapping[str, Any]]  # code → finding that the table has
    spec: ExperimentSpec
    personal: Collection[str]  # columns whose cells are not shown
    earlier: Earlier

    @cached_property
    def visible(self) -> np.ndarray:
        """Positions of the rows outside of the validation set."""
        sets = self.checked.prepared.sets.astype("str")
        return np.flatnonzero((sets != "validation").to_numpy())

    def issues(self) -> list[Issue]:
        """Return every cause that is found."""
        compared = self.checked.compared
        return [
            *self._rejected(),
            *self._contradictions(),
            *self._duplicates(),
            *self._placeholders(),
            *self._drift(),
            *(self._late() if compared.accepted is not None else ()),
        ]

    def to_check(self) -> Issue | None:
        """Return test rows whose recorded class the last model thinks improbable."""
        worst = self.earlier.worst
        if "probability_of_target" not in worst:
            return None
        improbable = worst["probability_of_target"] <= _LEAST_PROBABLE
        worst = worst[improbable & (worst["set"] != "validation")]
        if worst.empty or self.spec.target in self.personal:
            return None
        examples = []
        for number, row in zip(worst.index, plain_rows(worst), strict=True):
            cell = f"{row['target']} (predicted: {row['prediction']})"
            example = Example(
                number, ids=self._ids(row), column=self.spec.target, cell=cell
            )
            examples.append(example)
        rule = (
            f"The model of run {self.earlier.worst_run[:8]} gave the recorded class a "
            f"probability of at most {_LEAST_PROBABLE:g}. Such rows are rare, but may "
            "be right. Row numbers are those of that run"
        )
        return Issue(TO_CHECK, "", rule, examples=examples[:MOST_EXAMPLES])

    def _rejected(self) -> Iterator[Issue]:
        """A cause for each broken rule, the most frequent first."""
        rules = [
            broken
            for broken in self.checked.rows.broken
            if not broken.rule.startswith(NO_LABEL_YET)  # nobody can correct that
        ]
        faults = np.zeros(len(self.raw), dtype=np.int64)
        for broken in rules:
            faults[broken.positions] += 1
        for broken in sorted(rules, key=lambda broken: -len(broken.positions)):
            only = int((faults[broken.positions] == 1).sum())
            lost = self._lost_class(broken.positions)
            narrower = self._narrower(only)
            yield self._issue(
                REJECTED,
                ": ".join(filter(None, (broken.column, broken.rule))),
                self._in_words(broken),
                len(broken.positions),
                self._examples(broken.positions, self._columns_of(broken)),
                cost=" ".join(filter(None, (lost, narrower))),
            )

    def _in_words(self, broken: Broken) -> str:
        """The rule as its owner reads it: `age must be in the range (0, 120)`."""
        if broken.rule == TARGET_IS_MISSING:
            return f"{self.spec.target} is missing"
        rule = broken.rule
        for check, words in _IN_WORDS.items():
            rule = rule.replace(f"fails {check}(", f"{words} (")
        return f"{broken.column} {rule}" if broken.column else rule

    def _columns_of(self, broken: Broken) -> list[str]:
        if broken.rule == TARGET_IS_MISSING:
            return [self.spec.target]
        if broken.column is not None:
            return [broken.column]
        return list(getattr(broken.cells, "columns", ()))

    def _lost_class(self, positions: np.ndarray) -> str:
        """The share of a class that these rows are, outside of the validation set."""
        spec = self.spec
        frame = self.checked.prepared.frame
        if spec.task == "regression" or spec.target in self.personal:
            return ""
        target = frame[spec.target].iloc[self.visible]
        lost = np.isin(self.visible, positions)
        shares = pd.Series(lost).groupby(target.to_numpy()).mean()
        of_classes = shares[shares > 0].to_dict()
        if not of_classes:
            return ""
        value = spec.positive_class
        if value not in of_classes:
            value = max(of_classes, key=of_classes.__getitem__)
        share = numbers.share(of_classes[value])
        return (
            f"{share} of the rows with {spec.target} = {numbers.shown(value)}, "
            "outside the validation set."
        )

    def _narrower(self, more: int) -> str:
        """How much narrower the score's interval would be with so many more rows."""
        width = self.earlier.width
        rows = len(self.checked.rows.validated)
        if not (more and rows and width > 0):
            return ""
        gain = width * (1 - math.sqrt(rows / (rows + more)))
        return (
            f"With {numbers.counted(more, 'more row')} the interval of "
            f"{self.spec.metric} would be about {numbers.score(gain)} narrower "
            f"(estimate: its last width on the test set, {numbers.score(width)}, "
            "shrinks with 1/√rows)."
        )

    def _contradictions(self) -> Iterator[Issue]:
        finding = self.findings.get("conflicting_labels")
        if finding is None or finding["severity"] == "note":
            return
        spec = self.spec
        frame = self.checked.prepared.frame
        target = frame[spec.target].iloc[self.visible]
        rows = self.visible[target.notna().to_numpy()]
        hashes = row_hashes(frame, feature_columns(frame, spec), "issues", rows)
        outcomes = frame[spec.target].iloc[rows].groupby(hashes)
        contradict = outcomes.transform("nunique").to_numpy() > 1
        rows, like = _alike(rows[contradict], hashes[contradict])
        yield self._issue(
            "Contradictions",
            spec.target,
            f"Rows with the same features have different values of {spec.target}",
            len(rows),
            self._examples(rows, [spec.target], like),
            cost=finding["evidence"],
        )

    def _duplicates(self) -> Iterator[Issue]:
        if "duplicate_rows" not in self.findings:
            return
        frame = self.checked.prepared.frame
        compared = [
            str(name)
            for name in frame
            if name != self.spec.target and kind_of(frame[name]) != "nested"
        ]
        hashes = row_hashes(frame, compared, "issues")
        of_visible = hashes[self.visible]
        repeated = pd.Series(of_visible).duplicated(keep=False).to_numpy()
        rows, like = _alike(self.visible[repeated], of_visible[repeated])
        yield self._issue(
            "Duplicates",
            "",
            f"Rows repeat an earlier one in all columns but {self.spec.target}",
            int(pd.Series(hashes).duplicated().sum()),
            self._examples(rows, [], like),
            cost="Each copy counts as another case, in fits and in intervals.",
        )

    def _placeholders(self) -> Iterator[Issue]:
        """A cause for each column with numbers that stand for missing values."""
        codes = {"placeholder_values", "target_placeholder"} & self.findings.keys()
        for finding in (self.findings[code] for code in sorted(codes)):
            settings = yaml.safe_load(finding["yaml"] or "{}").get("preparation", {})
            for column, values in settings.get("missing_values", {}).items():
                is_target = column == self.spec.target
                # The others do little harm, or may be values.
                if is_target or any(
                    not isinstance(value, str) and value not in {0, -1}
                    for value in values
                ):
                    yield self._placeholder(column, values)

    def _placeholder(self, column: str, values: Sequence[Any]) -> Issue:
        marked = self.checked.prepared.frame[column].isin(values).to_numpy()
        visible = self.visible[marked[self.visible]]
        shown = "values" if column in self.personal else ", ".join(map(repr, values))
        is_target = column == self.spec.target
        return self._issue(
            "Placeholders",
            column,
            f"{column} holds {shown} where nothing seems to be known: leave such cells "
            "empty",
            len(visible) if is_target else int(marked.sum()),
            self._examples(visible, [column]),
        )

    def _drift(self) -> Iterator[Issue]:
        """Columns that differ from the accepted version."""
        changes = self.checked.compared.changes
        if changes is None:
            return
        for sentence in changes.schema:
            yield Issue(COLUMNS, sentence, sentence)
        for row in changes.large(self.spec.validation.drift.warn).itertuples():
            rule = f"{row.column}: {STATISTIC} {row.effect_size:.2f} since the last "
            rule += "export"
            if row.column not in self.personal:
                rule += f". Then: {row.accepted}; now: {row.current}"
            yield Issue(DRIFT, str(row.column), rule)

    def _late(self) -> Iterator[Issue]:
        """Rows that came into, or left, the period of the accepted version."""
        split = self.spec.split
        accepted = self.checked.compared.accepted
        if split.by != "time" or accepted is None:
            return
        before = accepted.columns.get(split.column)
        column = self.checked.prepared.frame[split.column]
        if before is None or not before.deciles or counted_as(column) != before.kind:
            return
        times = numbers_of(column)
        inside = (times >= before.deciles[0]) & (times <= before.deciles[-1])
        surplus = before.bins.counts(column[inside]) - np.array(before.counts)
        # Rows that were rejected then may be valid now: they are not late.
        late = int(surplus[:-1].clip(0).sum()) - _rejected_in(accepted)
        # Of a window that moves on, the first rows leave; the last ones stay.
        gone = -int(surplus[-2])
        # Rows that came and rows that went offset each other within a tenth.
        for cause, rows, what in (
            (LATE, late, "is in the period of the last export came after it"),
            (GONE, gone, "is in the last tenth of the last export are gone"),
        ):
            if rows > 0:
                rule = f"Rows whose {split.column} {what}; there may be more"
                yield self._issue(cause, split.column, rule, rows)

    def _issue(
        self,
        cause: str,
        where: str,
        rule: str,
        rows: int,
        examples: Sequence[Example] = (),
        cost: str = "",
    ) -> Issue:
        share = rows / len(self.raw)
        return Issue(cause, where, rule, rows, share, cost, examples)

    def _examples(
        self,
        positions: np.ndarray,
        columns: Sequence[str],
        like: np.ndarray | None = None,
    ) -> list[Example]:
        """The first of the rows at these positions, with their cells in columns.

        `like`: positions of the rows that these are like.
        """
        shown = [name for name in columns if name in self.raw and self._may_show(name)]
        delivered = self.raw.iloc[positions[:MOST_EXAMPLES]]
        row_numbers = delivered.index.tolist()
        alike = row_numbers if like is None else self.raw.index[like[:MOST_EXAMPLES]]
        return [
            Example(
                number,
                None if first == number else int(first),
                self._ids(row),
                ", ".join(shown),
                "; ".join(_text(row[name]) for name in shown),
            )
            for number, first, row in zip(
                row_numbers, alike, plain_rows(delivered), strict=True
            )
        ]

    def _may_show(self, name: str) -> bool:
        return name not in self.personal

    def _ids(self, row: Mapping[str, Any]) -> str:
        names = filter(self._may_show, self.spec.split.id_columns)
        return ", ".join(f"{name} {_text(row[name])}" for name in names if name in row)


def with_count(rule: str, rows: int | None, share: float | None) -> str:
    """`age must be in the range (0, 120) (2 rows, 0.42 %)`."""
    if rows is None or share is None:
        return rule
    return f"{rule} ({counted_rows(rows, share)})"


def counted_rows(rows: int, share: float) -> str:
    """`2 rows, 0.42 %`."""
    return f"{numbers.counted(rows, 'row')}, {numbers.share(share)}"


def _beside_others(rows: int | None, share: float) -> np.ndarray:
    """Return the number of these rows and that of all others, (2,)."""
    number = rows or 0
    return np.array([number, round(number / share) - number])


def _alike(rows: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order rows (k,) so that those of a hash are beside each other; also return the
    first row of each one's hash (k,).
    """
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    return rows[order], rows[order][np.searchsorted(ordered, ordered)]


def _rejected_in(version: DataProfile) -> int:
    rate = min(version.rejection_rate, 0.999)
    return math.ceil(version.rows * rate / (1 - rate))


def _text(cell: object) -> str:
    return "missing" if cell is None else shortened(str(cell))
