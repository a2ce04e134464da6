"""The audit by groups: how the model treats groups of validation rows, as record rows
and as a section.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Paragraph,
    Section,
    TableBlock,
)
from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.spec.schema import Meaning
from experiment_pipeline.stages.validation_report.judged_model import JudgedModel
from experiment_pipeline.statistics.groups import (
    FEWEST_CLUSTERS,
    MEANINGS,
    compare_groups,
)
from experiment_pipeline.statistics.interval import LEVEL, Interval
from experiment_pipeline.table.kinds import groups_of

_DIFFERENCE, _RATIO = "_difference", "_ratio"
_ODDS = ("true_positive_rate", "false_positive_rate")
_UNKNOWN = Interval(math.nan, math.nan, math.nan)


def audit(model: JudgedModel) -> Iterator[AuditRow]:
    """Yield the measures of groups, then their comparisons, for each audited column."""
    for column in model.spec.audited:
        names, codes = groups_of(model.rows[column])
        compared: dict[str, AuditRow] = {}
        measures = compare_groups(codes, model.exported, model.cut, model.classes)
        for measure in measures:
            for code, name in enumerate(names):
                interval = measure.intervals.get(code, _UNKNOWN)
                yield _row(column, measure.name, name, measure.rows[code], interval)
            for kind, high, low, interval in measure.extremes():
                comparison = f"{measure.name}_{kind}"
                groups = f"{names[high]} and {names[low]}"
                rows = measure.rows[[high, low]].sum()
                compared[comparison] = _row(column, comparison, groups, rows, interval)
        yield from compared.values()
        yield from _equalized_odds(column, compared)


def _row(
    column: str, measure: str, groups: str, rows: int, interval: Interval
) -> AuditRow:
    def or_none(number: float) -> float | None:
        return None if math.isnan(number) else number

    return AuditRow(
        column_name=column,
        group_name=groups,
        measure=measure,
        value=or_none(interval.estimate),
        low=or_none(interval.low),
        high=or_none(interval.high),
        rows=int(rows),
    )


def _equalized_odds(column: str, compared: dict[str, AuditRow]) -> Iterator[AuditRow]:
    """The worse of true and false positive rate, where both are known."""
    for kind, worst in ((_DIFFERENCE, max), (_RATIO, min)):
        odds = [compared[rate + kind] for rate in _ODDS if rate + kind in compared]
        if len(odds) < len(_ODDS):
            continue
        intervals = [interval_of(rate) for rate in odds]
        interval = Interval(
            worst(rate.estimate for rate in intervals),
            worst(rate.low for rate in intervals),
            worst(rate.high for rate in intervals),
        )
        pair = worst(odds, key=lambda rate: rate.value or 0.0)
        name = f"equalized_odds{kind}"
        yield _row(column, name, pair.group_name, pair.rows, interval)


def interval_of(row: AuditRow | None) -> Interval:
    """Return the interval of a measure; nan where it is not known."""
    if row is None or row.value is None or row.low is None or row.high is None:
        return _UNKNOWN
    return Interval(row.value, row.low, row.high)


def section(
    audit: Sequence[AuditRow], meanings: Mapping[str, Meaning]
) -> Iterator[Section]:
    """Yield the section of the report; nothing where no column is audited, and no
    feature is personal or protected.
    """
    blocks = [*_sensitive(audit, meanings), *_audited(audit)]
    if blocks:
        yield Section("Audit by groups", blocks)


def _sensitive(
    audit: Sequence[AuditRow], meanings: Mapping[str, Meaning]
) -> Iterator[Block]:
    """Personal and protected features, and whether their groups are compared."""
    audited = {row.column_name for row in audit}
    rows = [
        (name, meaning.sensitive, "yes" if name in audited else "no")
        for name, meaning in meanings.items()
        if meaning.sensitive
    ]
    if rows:
        header = ("feature that the model uses", "is", "its groups are compared")
        yield TableBlock(header, rows)


def _audited(audit: Sequence[AuditRow]) -> Iterator[Block]:
    if not audit:
        return
    measures = dict.fromkeys(row.measure.rpartition(": ")[2] for row in audit)
    definitions = [
        f"{name}: {MEANINGS[name]}." for name in measures if name in MEANINGS
    ]
    by_column: dict[str, list[AuditRow]] = {}
    for row in audit:
        by_column.setdefault(row.column_name, []).append(row)
    yield Bullets(definitions)
    for column, rows in by_column.items():
        yield _groups_table(column, rows)
        yield _comparisons(column, rows)
    how = (
        "A difference is the highest group minus the lowest, a ratio the lowest "
        "divided by the highest; equalized_odds is the worse of true and false "
        f"positive rate. The {numbers.share(LEVEL)} intervals of comparisons hold for "
        "all comparisons of "
        "a column together, those of groups for each alone. No claim is made where a "
        f"group's counted rows have fewer than {FEWEST_CLUSTERS} resampling clusters."
    )
    limits = (
        "What this cannot say: why groups differ, and whether it is unjust. The target "
        "may be recorded differently by group. Where shares of positive rows differ, "
        "rates and calibration cannot all be equal (Chouldechova 2017). Not "
        "significant is not equal: see the upper bound."
    )
    yield Paragraph(how)
    yield Paragraph(limits)


def _is_comparison(row: AuditRow) -> bool:
    return row.measure.endswith((_DIFFERENCE, _RATIO))


def _groups_table(column: str, rows: Sequence[AuditRow]) -> Block:
    """A row for each group, a column for each measure."""
    groups = [row for row in rows if not _is_comparison(row)]
    cells: dict[str, list[str]] = {}
    for row in groups:
        line = cells.setdefault(row.group_name, [row.group_name, f"{row.rows:,}"])
        line.append("too few rows to say" if row.value is None else _shown(row))
    measures = dict.fromkeys(row.measure for row in groups)
    return TableBlock((column, "rows", *measures), [*cells.values()])


def _comparisons(column: str, rows: Sequence[AuditRow]) -> Block:
    """A row for each measure of which two groups are compared."""
    compared = {row.measure: row for row in rows if _is_comparison(row)}
    lines = []
    for name, difference in compared.items():
        if not name.endswith(_DIFFERENCE):
            continue
        measure = name.removesuffix(_DIFFERENCE)
        ratio = compared.get(measure + _RATIO)
        differ = "significantly" if (difference.low or 0) > 0 else "not significantly"
        lines.append(
            (
                measure,
                difference.group_name,
                _shown(difference),
                "" if ratio is None else _shown(ratio),
                differ,
            )
        )
    if not lines:
        return Paragraph(f"No two groups of {column} have enough rows to be compared.")
    header = ("measure", "highest and lowest", "difference", "ratio", "they differ")
    return TableBlock(header, lines)


def _shown(row: AuditRow) -> str:
    return numbers.as_known(row.value, row.low, row.high)
