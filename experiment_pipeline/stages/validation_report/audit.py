"""The audit by groups: what the model does to groups of the validation rows, its gates, its section.

In: the columns that the YAML names, features or not, and the predictions of the validation rows. Out:
rows of the run record, measures of groups first, then comparisons; gates; a section.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from itertools import product

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Block, Bullets, Paragraph, Section, TableBlock
from experiment_pipeline.reporting.run_record import AuditRow
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.stages.validation_report.gates import Gate
from experiment_pipeline.statistics.groups import FEWEST_CLUSTERS, MEANINGS, ODDS, compare_groups
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.table.kinds import groups_of

_DIFFERENCE, _RATIO = "_difference", "_ratio"
_TOO_FEW = "too few rows to say"
_UNKNOWN = Interval(math.nan, math.nan, math.nan)


def audit(
    spec: ExperimentSpec,
    rows: pd.DataFrame,
    predicted: SetPrediction,
    cut: float,
    classes: tuple[Scalar, ...] | None,
) -> Iterator[AuditRow]:
    """Audit the columns of the experiment; `rows` (n, columns) are prepared, `predicted` theirs."""
    for column in spec.audited:
        names, codes = groups_of(rows[column])
        compared = dict[str, tuple[str, int, Interval]]()
        for one in compare_groups(codes, predicted, cut, classes, spec.seed):
            for code, name in enumerate(names):
                yield _row(column, one.name, name, one.rows[code], one.known.get(code, _UNKNOWN))
            for kind, high, low, value in one.extremes():
                ends, counted = f"{names[high]} and {names[low]}", one.rows[[high, low]].sum()
                compared[f"{one.name}_{kind}"] = ends, counted, value
        for kind, worst in ((_DIFFERENCE, max), (_RATIO, min)):
            odds = [compared[name + kind] for name in ODDS if name + kind in compared]
            if len(odds) == len(ODDS):
                ends, counted, _ = worst(odds, key=lambda one: one[2].estimate)
                each = (astuple(one[2])[:3] for one in odds)
                value = Interval(*(worst(some) for some in zip(*each, strict=True)))
                compared[f"equalized_odds{kind}"] = ends, counted, value
        for measure, found in compared.items():
            yield _row(column, measure, *found)


def _row(column: str, measure: str, group: str, rows: int, of: Interval) -> AuditRow:
    value, low, high = (None if math.isnan(one) else one for one in astuple(of)[:3])
    named = {"column_name": column, "group_name": group, "measure": measure}
    return AuditRow(**named, value=value, low=low, high=high, rows=int(rows))


def hold_audit(spec: ExperimentSpec, audited: Sequence[AuditRow]) -> Iterator[Gate]:
    """Yield a gate for each limit and column: it passes by the worse bound and fails by the better one.

    Where the limit lies between them it is inconclusive, and blocks nothing.
    """
    known = {
        (one.column_name, one.measure): numbers.known_interval(one.value, one.low, one.high)
        for one in audited
    }
    limits = {} if spec.audit is None else spec.audit.limits
    for (name, limit), column in product(limits.items(), spec.audited):
        sign, of = 1 if name.endswith(_RATIO) else -1, known.get((column, name), _UNKNOWN)
        worse, better = (of.low, of.high)[::sign]
        passed, failed = sign * (worse - limit) >= 0, sign * (better - limit) < 0
        means = "too little data to decide; it blocks nothing"
        if passed or failed:
            means = f"the whole 95 % interval is {'within' if passed else 'beyond'} the limit"
        rule = f"{name} of {column} at {'least' if sign > 0 else 'most'} {limit:g}"
        shown, conclusive = better if failed else worse, passed or failed
        yield Gate(name, rule, shown, limit, True, not failed, conclusive, means)


def section(audited: Sequence[AuditRow]) -> Iterator[Section]:
    """Yield the section of the report; nothing where no column is audited."""
    if not audited:
        return
    named = dict.fromkeys(one.measure.rpartition(": ")[2] for one in audited)
    meanings = tuple(f"{name}: {MEANINGS[name]}." for name in named if name in MEANINGS)
    columns = dict.fromkeys(one.column_name for one in audited)
    tables = [block for column in columns for block in _tables(column, audited)]
    how = (
        "A difference is that of the highest and the lowest group, a ratio the lowest divided by the "
        "highest; equalized_odds is the worse of true and false positive rate. The 95 % intervals of "
        "differences, and of ratios, hold for all of a column at once, those of groups each alone. "
        f"Groups whose counted rows are of fewer than {FEWEST_CLUSTERS} resampling clusters are too small to say."
    )
    limits = (
        "What this cannot say: why groups differ, and whether it is unjust. The target itself may be "
        "recorded differently by group. Where groups differ in the share of positive rows, rates and "
        "calibration cannot all be equal (Chouldechova 2017). Not significant is not equal: the upper "
        "bound says how large a difference may be."
    )
    yield Section(
        "Audit by groups", (Bullets(meanings), *tables, Paragraph(how), Paragraph(limits))
    )


def _tables(column: str, audited: Sequence[AuditRow]) -> Iterator[Block]:
    """A row for each group, and a row for each comparison."""
    groups, known = dict[str, list[str]](), dict[str, AuditRow]()
    for one in (one for one in audited if one.column_name == column):
        known[one.measure] = one
        if not one.measure.endswith((_DIFFERENCE, _RATIO)):
            cells = groups.setdefault(one.group_name, [one.group_name, f"{one.rows:,}"])
            cells.append(_TOO_FEW if one.value is None else _shown(one))
    measures = [name for name in known if not name.endswith((_DIFFERENCE, _RATIO))]
    yield TableBlock((column, "rows", *measures), tuple(map(tuple, groups.values())))
    rows = []
    for name in [*measures, "equalized_odds"]:
        if (found := known.get(name + _DIFFERENCE)) is not None:
            ratio = known.get(name + _RATIO)
            differ = "significantly" if (found.low or 0) > 0 else "not significantly"
            shown = (_shown(found), "" if ratio is None else _shown(ratio))
            rows.append((name, found.group_name, *shown, differ))
    header = ("measure", "highest and lowest", "difference", "ratio", "they differ")
    too_few = Paragraph(f"No two groups of {column} have rows enough to be compared.")
    yield TableBlock(header, tuple(rows)) if rows else too_few


def _shown(one: AuditRow) -> str:
    return numbers.as_known(one.value, one.low, one.high)
