"""The audit by groups: how the model treats groups of validation rows, as record rows
and as a section.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Paragraph,
    Section,
    TableBlock,
)
from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.statistics.groups import (
    FEWEST_CLUSTERS,
    MEANINGS,
    Classes,
    compare_groups,
)
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.kinds import groups_of

_DIFFERENCE, _RATIO = "_difference", "_ratio"
_ODDS = ("true_positive_rate", "false_positive_rate")
_UNKNOWN = Interval(math.nan, math.nan, math.nan)


def audit(
    spec: ExperimentSpec,
    rows: pd.DataFrame,
    predicted: SetPrediction,
    cut: float,
    of: Classes,
) -> Iterator[AuditRow]:
    """Audit the columns of the experiment; `rows` (n, columns) are prepared, `of` are
    their classes.
    """
    for column in spec.audited:
        names, codes = groups_of(rows[column])
        compared = dict[str, tuple[str, int, Interval]]()
        for one in compare_groups(codes, predicted, cut, of):
            for code, name in enumerate(names):
                yield _row(
                    column,
                    one.name,
                    name,
                    one.rows[code],
                    one.known.get(code, _UNKNOWN),
                )
            for kind, high, low, value in one.extremes():
                ends, counted = (
                    f"{names[high]} and {names[low]}",
                    one.rows[[high, low]].sum(),
                )
                compared[f"{one.name}_{kind}"] = ends, counted, value
        for kind, worst in ((_DIFFERENCE, max), (_RATIO, min)):
            odds = [compared[name + kind] for name in _ODDS if name + kind in compared]
            if len(odds) == len(_ODDS):
                ends, counted, _ = worst(odds, key=lambda one: one[2].estimate)
                each = zip(*(astuple(one[2])[:3] for one in odds), strict=True)
                compared[f"equalized_odds{kind}"] = (
                    ends,
                    counted,
                    Interval(*map(worst, each)),
                )
        for measure, found in compared.items():
            yield _row(column, measure, *found)


def _row(column: str, measure: str, group: str, rows: int, of: Interval) -> AuditRow:
    ends = ("value", of.estimate), ("low", of.low), ("high", of.high)
    known = {name: None if math.isnan(end) else end for name, end in ends}
    return AuditRow(
        column_name=column, group_name=group, measure=measure, rows=int(rows), **known
    )


def section(audited: Sequence[AuditRow]) -> Iterator[Section]:
    """Yield the section of the report; nothing where no column is audited."""
    if not audited:
        return
    named = dict.fromkeys(one.measure.rpartition(": ")[2] for one in audited)
    meanings = tuple(f"{name}: {MEANINGS[name]}." for name in named if name in MEANINGS)
    columns = dict.fromkeys(one.column_name for one in audited)
    tables = [block for column in columns for block in _tables(column, audited)]
    how = (
        "A difference is the highest group minus the lowest, a ratio the lowest divided by the highest; "
        "equalized_odds is the worse of true and false positive rate. The 95 % intervals of comparisons hold "
        "for all comparisons of a column together, those of groups for each alone. No claim is made where a "
        f"group's counted rows have fewer than {FEWEST_CLUSTERS} resampling clusters."
    )
    limits = (
        "What this cannot say: why groups differ, and whether it is unjust. The target may be recorded "
        "differently by group. Where shares of positive rows differ, rates and calibration cannot all be "
        "equal (Chouldechova 2017). Not significant is not equal: see the upper bound."
    )
    blocks = (Bullets(meanings), *tables, Paragraph(how), Paragraph(limits))
    yield Section("Audit by groups", blocks)


def _tables(column: str, audited: Sequence[AuditRow]) -> Iterator[Block]:
    """A row for each group, and a row for each comparison."""
    groups, known = dict[str, list[str]](), dict[str, AuditRow]()
    for one in (one for one in audited if one.column_name == column):
        known[one.measure] = one
        if not one.measure.endswith((_DIFFERENCE, _RATIO)):
            cells = groups.setdefault(one.group_name, [one.group_name, f"{one.rows:,}"])
            cells.append("too few rows to say" if one.value is None else _shown(one))
    measures = [name for name in known if not name.endswith((_DIFFERENCE, _RATIO))]
    yield TableBlock((column, "rows", *measures), tuple(map(tuple, groups.values())))
    rows = []
    for name in [*measures, "equalized_odds"]:
        if (found := known.get(name + _DIFFERENCE)) is not None:
            differ = "significantly" if (found.low or 0) > 0 else "not significantly"
            ratio = _shown(known.get(name + _RATIO))
            rows.append((name, found.group_name, _shown(found), ratio, differ))
    header = ("measure", "highest and lowest", "difference", "ratio", "they differ")
    too_few = f"No two groups of {column} have enough rows to be compared."
    yield TableBlock(header, tuple(rows)) if rows else Paragraph(too_few)


def _shown(one: AuditRow | None) -> str:
    return "" if one is None else numbers.as_known(one.value, one.low, one.high)
