"""Pictures of findings as tables with bars, and the bars of the columns' table.

Targets are those of the rows that a report may show, none of the validation set.
"""

import html
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Cell, Markup, TableBlock
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.finding import Finding
from experiment_pipeline.table.coercion import as_text
from experiment_pipeline.table.kinds import QUANTITIES, kind_of, numbers_of

BARS, _HEIGHT = 12, 20
_MOST_COLUMNS, _MOST_VALUES = 3, 6  # of a picture
_MOST_MISSING = 10
_REVEALING = {"leak_suspect", "telling_missing_values", "made_of_target"}
_OVER_TIME = {"drift_over_time", "random_split_over_time"}


def pictures(
    finding: Finding, frame: pd.DataFrame, shown: pd.DataFrame, spec: ExperimentSpec
) -> Iterator[TableBlock]:
    """Yield the pictures of a finding of a table; `shown`: rows that may be shown."""
    columns = [name for name in finding.columns if name in frame]
    if finding.code == "missing_values":
        yield _missing(frame[columns[:_MOST_MISSING]])
    if finding.code in _REVEALING and spec.target in shown:
        for name in _features_to_show(columns, shown, spec):
            yield _target_by(finding, shown[name], shown[spec.target], spec)
    if finding.code in _OVER_TIME:
        yield from _by_moment(columns[:_MOST_COLUMNS] or [spec.target], shown, spec)


def _features_to_show(
    columns: Sequence[str], shown: pd.DataFrame, spec: ExperimentSpec
) -> list[str]:
    """The first features of a finding, without nested ones."""
    features = [name for name in columns if name != spec.target][:_MOST_COLUMNS]
    return [name for name in features if kind_of(shown[name]) != "nested"]


def _by_moment(
    names: Sequence[str], shown: pd.DataFrame, spec: ExperimentSpec
) -> Iterator[TableBlock]:
    time = _time_column(shown, spec)
    if time in shown:
        yield _over_time(shown.loc[shown[time].notna(), [*names]], shown[time])


def _time_column(shown: pd.DataFrame, spec: ExperimentSpec) -> str | None:
    """The column of a split by time, else the first of moments."""
    if spec.split.by == "time":
        return spec.split.column
    times = (str(name) for name in shown if kind_of(shown[name]) == "datetime")
    return next(times, None)


def _missing(columns: pd.DataFrame) -> TableBlock:
    shares = columns.isna().mean().sort_values(ascending=False)
    rows = [(numbers.shown(name), bar(share)) for name, share in shares.items()]
    return TableBlock(("column", "missing"), rows)


def _target_by(
    finding: Finding, column: pd.Series, target: pd.Series, spec: ExperimentSpec
) -> TableBlock:
    """The mean target, or the most frequent class, for values of a column."""
    groups = grouped(column, _MOST_VALUES).astype("object")
    groups = groups.where(column.notna(), "missing")
    if finding.code == "telling_missing_values":
        groups = column.isna().map({True: "missing", False: "present"})
    is_number = spec.task == "regression"
    targets = pd.Series(
        numbers_of(target) if is_number else as_text(target), target.index
    )
    rows: list[tuple[Cell, ...]] = []
    means = targets.groupby(groups, sort=False).mean() if is_number else None
    for value, of_group in sorted(targets.groupby(groups, sort=False), key=_place):
        if means is not None:
            spread = max(means.max() - means.min(), 1e-300)
            drawn = bar((means[value] - means.min()) / spread, _value(means[value]))
        else:
            shares = of_group.value_counts(normalize=True)
            share = f"{numbers.shown(shares.index[0])} {numbers.share(shares.iloc[0])}"
            drawn = bar(shares.iloc[0], share)
        name = numbers.shown(value)
        if isinstance(value, pd.Interval):
            name = f"{_value(value.left)} to {_value(value.right)}"
        rows.append((name, f"{len(of_group):,}", drawn))
    what = "mean" if is_number else "most frequent"
    header = (numbers.shown(column.name), "rows", f"{spec.target}: {what}")
    return TableBlock(header, rows)


def _place(group: tuple[Any, pd.Series]) -> tuple[bool, Any]:
    """Quarters in their order, missing values last."""
    value = group[0]
    return value == "missing", value.left if isinstance(value, pd.Interval) else 0


def _over_time(columns: pd.DataFrame, time: pd.Series) -> TableBlock:
    """How the columns change from the first to the last twelfth of the moments."""
    order = np.argsort(time[columns.index].to_numpy(), kind="stable")
    rows: list[tuple[Cell, ...]] = []
    part = np.arange(len(order)) * BARS // max(len(order), 1)
    for name in columns:
        column = columns[name].iloc[order]
        present = column.dropna()
        if present.empty or kind_of(column) == "nested":
            continue
        if kind_of(column) in QUANTITIES:
            what = "mean"
            values = pd.Series(numbers_of(column))
        else:
            texts = pd.Series(as_text(column))
            most_frequent = texts.value_counts().index[0]
            what = f"share of {numbers.shown(most_frequent, 30)}"
            values = (texts == most_frequent).astype("float64")
        means = values.reset_index(drop=True).groupby(part).mean().dropna()
        least = means.min() - 0.2 * (means.max() - means.min())
        ends = f"{_value(means.iloc[0])} to {_value(means.iloc[-1])}"
        heights = bars((means - least).to_numpy())
        rows.append((numbers.shown(name), heights, f"{what} {ends}"))
    return TableBlock(("column", f"by {time.name}", "from first to last part"), rows)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else numbers.shown(value)


def grouped(column: pd.Series, most: int) -> pd.Series:
    """Return the value of each cell, or its quarter where there are many values."""
    kind = kind_of(column)
    if kind == "datetime":
        return pd.qcut(column, 4, duplicates="drop")
    if kind in QUANTITIES and column.nunique() > most:
        finite = column.astype("float64").replace([np.inf, -np.inf], np.nan)
        return pd.qcut(finite, 4, duplicates="drop", precision=4)
    return column.where(column.isin(column.value_counts().index[:most]))


def bar(share: float, text: str = "") -> Markup:
    """Return a cell with a bar for a share in [0, 1]."""
    text = text or numbers.share(share)
    style = f"--a:0;--b:{100 * share:.3g}"
    line = f'<i class="interval" style="{style}"></i>'
    return Markup(f"{line}{html.escape(text)}", text)


def bars(heights: np.ndarray | Sequence[float]) -> Markup:
    """Return bars as decoration: the text beside them has the values."""
    heights = np.nan_to_num(np.asarray(heights, dtype="float64"))
    heights = _HEIGHT * heights / max(heights.max(initial=0), 1e-300)
    rectangles = "".join(
        f'<rect x="{6 * place}" y="{_HEIGHT - height:.1f}" width="5" '
        f'height="{height:.1f}"/>'
        for place, height in enumerate(heights)
    )
    size = f'width="{6 * BARS}" height="{_HEIGHT}"'
    return Markup(f'<svg class="bars" aria-hidden="true" {size}>{rectangles}</svg>')
