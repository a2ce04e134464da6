"""Labels that are known only some time after their row: which rows have none yet, and
the label of a target that says when something happened.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.spec import ExperimentSpec, Label
from experiment_pipeline.table.kinds import kind_of, naive_utc
from experiment_pipeline.table.preparation import PreparedTable, prepare
from experiment_pipeline.table.table import with_columns


def prepare_labelled(raw: pd.DataFrame, spec: ExperimentSpec) -> PreparedTable:
    """Prepare every row as the experiment says, its label included.

    Raises as `prepare`, and UnusableTable: the times that labels count from are absent
    or no datetimes.
    """
    prepared = prepare(raw, spec.preparation, spec.exclude)
    if spec.label is None:
        return prepared
    since = _times(prepared.frame, spec)
    target = prepared.frame.get(spec.target)
    if target is not None and kind_of(target) == "datetime":
        made = happened_within(target, since, pd.Timedelta(spec.label.within))
        frame = with_columns(prepared.frame, {spec.target: made})
        prepared = replace(prepared, frame=frame)
    return replace(prepared, labelled=_are_in(since, spec.label))


def _times(frame: pd.DataFrame, spec: ExperimentSpec) -> pd.Series:
    """Return the times that labels count from, without a time zone."""
    column = spec.label_since
    since = frame.get(column)
    if since is not None and kind_of(since) == "datetime":
        return naive_utc(since)
    holds = "is not in the table" if since is None else f"holds {since.dtype}"
    raise UnusableTable(
        f"label.since {column}",
        rule=f"labels count from a time, and the column {holds}",
        fix=f"Write preparation: types: {{{column}: datetime}}, with datetime_formats "
        "if needed, or name another column.",
    )


def _are_in(since: pd.Series, label: Label) -> np.ndarray:
    """Return which rows were watched for `label.within`: bool (n,).

    `since` (n,): their times; of a row without one nobody knows, so it is none of them.
    """
    declared = pd.Series([label.seen_until], dtype="datetime64[us, UTC]")
    seen_until = naive_utc(declared).iloc[0]
    if pd.isna(seen_until):
        seen_until = since.max()
    last = seen_until - pd.Timedelta(label.within)
    return np.asarray(since <= last, dtype=bool)


def happened_within(
    happened: pd.Series, since: pd.Series, within: pd.Timedelta
) -> pd.Series:
    """Return whether each row's event happened in time: boolean (n,).

    Missing where the row has no time, or an event before it.
    """
    after = naive_utc(happened) - since
    in_time = (after <= within).astype("boolean")
    unknown = since.isna() | (after < pd.Timedelta(0))
    return in_time.mask(unknown).rename(str(happened.name))
