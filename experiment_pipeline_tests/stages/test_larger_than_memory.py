"""A table whose columns lie on maps goes the way of one in memory, and gives the same
results.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline.errors import UnusableTable
from experiment_pipeline.intake import contents, raw_table, sources
from experiment_pipeline.intake.profile import profile
from experiment_pipeline.intake.raw_table import parse
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.spec import ExperimentSpec, Preparation
from experiment_pipeline.stages.data_analysis import analysis
from experiment_pipeline.stages.split_sets import page as split_page
from experiment_pipeline.stages.split_sets.sets import split
from experiment_pipeline.stages.validated_data import page as valid_page
from experiment_pipeline.stages.validated_data.changes import compare
from experiment_pipeline.storage import tables
from experiment_pipeline.storage.files import read_bytes
from experiment_pipeline.storage.tables import read_table, to_parquet, write_table
from experiment_pipeline.table import preparation
from experiment_pipeline.table import table as large
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.preparation import PreparedTable, prepare
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import scenario

IN_GROUPS = 100


def _nothing_fits(patch: pytest.MonkeyPatch) -> None:
    """Let every file be too large to be read whole, and every column for memory."""
    patch.setattr(sources, "WHOLE_BYTES", 0)
    patch.setattr(tables, "WHOLE_BYTES", 0)
    patch.setattr(tables, "GROUP_ROWS", IN_GROUPS)
    for module in (contents, raw_table, large):
        patch.setattr(module, "HELD_BYTES", 0)
    patch.setattr(large, "COLUMN_BYTES", 0)


def _results(folder: Path, spec: ExperimentSpec) -> dict[str, Any]:
    """From the source to the stored sets, with all that is reported on the way."""

    def stored(table: Any) -> Any:
        path = UPath(folder / f"{type(table).__name__}.parquet")
        write_table(path, table)
        assert read_bytes(path) == to_parquet(table)
        return read_table(path, type(table))

    raw = stored(parse(read_source(spec.data), spec.data))
    schema = load_schema(scenario.SCHEMA)
    prepared = prepare_and_assign(raw.frame, schema, spec)
    valid = validate(raw.frame, prepared, schema, spec)
    profiled = profile(valid.validated, valid.rejection_rate)
    kept = stored(valid.to_split(prepared, raw.digest, raw.types, profiled.digest))
    features = feature_columns(kept.rows, spec)
    sets = split(kept, spec, features)
    return {
        "raw": (raw.digest, raw.notes, table_digest(raw.frame)),
        "changes": prepared.changes.to_csv(),
        "rejected": (to_parquet(valid.rejected), valid.reasons, valid.notes),
        "conserved": valid_page.check_conserved(raw.frame, valid),
        "bias": valid_page.rejection_bias(prepared.frame, valid, spec).to_csv(),
        "profile": profiled.digest,
        "drift": compare(profiled, profiled, valid.validated, spec).drift.to_csv(),
        "validated": to_parquet(kept),
        "sets": {
            name: to_parquet(stored(table)) for name, table in sets.by_name().items()
        },
        "summary": (sets.summary.to_csv(), sets.notes),
        "checks": [
            (check.name, check.passed, check.means, check.problems, check.notes)
            for check in split_page.checks(sets, kept.rows, spec, features)
        ],
    }


def _twice() -> pd.DataFrame:
    return pd.concat([scenario.table(), scenario.table().iloc[:40]], ignore_index=True)


@pytest.mark.parametrize(
    ("kind", "split_by"), [("csv", "random"), ("csv.gz", "group"), ("parquet", "time")]
)
def test_a_table_on_maps_gives_the_same_results(tmp_path, kind: str, split_by: str):
    """Digests, rejected rows and reasons, profile, sets, checks and stored bytes are
    the same.
    """
    path = tmp_path / f"visits.{kind}"
    if kind == "parquet":
        _twice().to_parquet(path, index=False, row_group_size=100)
    else:
        _twice().to_csv(path, index=False)
    rules = {"max_rejected_fraction": 1, "duplicate_rows": "reject"}
    spec = scenario.spec(split=split_by, url=str(path), validation=rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "GROUP_ROWS", IN_GROUPS)
        expected = _results(tmp_path, spec)
        _nothing_fits(patch)
        assert _results(tmp_path, spec) == expected
    assert expected["rejected"][1][0].rule == "repeats an earlier row"


def _awkward(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns whose type some batches alone do not show."""
    numbers = rows.index.tolist()
    return rows.drop(columns=["cost"]).assign(
        age=pd.to_numeric(rows["age"], errors="coerce"),
        rare=["yes" if n % 97 == 5 else None for n in numbers],
        gaps=[None if n % 211 == 7 else n for n in numbers],
        truths=[None if n % 211 == 7 else n % 2 == 0 for n in numbers],
        kinds=rows["ward"].astype("category"),
        lists=pd.Series(
            [[n, n + 1] if n % 50 == 9 else None for n in numbers], index=rows.index
        ),
        objects=pd.Series(
            ["a" if n > 300 else None for n in numbers], rows.index, dtype=object
        ),
    )


def _against_the_mean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(first=rows.index - rows.index.to_numpy().mean())


def _with_what_there_is(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{f"n{n // 200}": 1 for n in rows.index[:1]})


def _prepared_by(function: Any, batch_rows: int) -> PreparedTable:
    declared = Preparation(function=f"{__name__}:{function.__name__}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation.table, "SLICE_ROWS", batch_rows)
        return prepare(scenario.table(), declared)


@pytest.mark.parametrize("batch_rows", [61, 479])
def test_a_users_function_is_given_batches_and_makes_the_same_table(batch_rows: int):
    """Values, types, counts and stored bytes, though a batch alone has other types."""
    at_once = _prepared_by(_awkward, 1_000)
    with pytest.MonkeyPatch.context() as patch:
        _nothing_fits(patch)
        batches = _prepared_by(_awkward, batch_rows)
    assert batches.changes.to_csv() == at_once.changes.to_csv()
    pd.testing.assert_frame_equal(batches.frame, at_once.frame)
    assert to_parquet(batches.frame) == to_parquet(at_once.frame)


@pytest.mark.parametrize("function", [_against_the_mean, _with_what_there_is])
def test_a_function_that_looks_at_its_batch_is_refused(function: Any):
    """What is made of a row must not depend on the rows beside it, nor columns on the
    batch.
    """
    with pytest.raises(UnusableTable, match="rows alone get other values"):
        _prepared_by(function, 100)


def _of_rows(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"x": values, "y": values * 2, "t": values % 2})


def test_the_analysis_of_a_large_table_reads_a_sample(monkeypatch):
    """By the rows' features: whatever their order, the targets, and how often a row is
    there.
    """
    monkeypatch.setattr(analysis, "MOST_ROWS", 1_000)
    monkeypatch.setattr(analysis, "SAMPLED_ROWS", 500)
    values = np.arange(20_000, dtype=np.float64)
    table = _of_rows(np.concatenate([values, values]))
    read = analysis.rows_to_read(table, ["x", "y"])
    assert read is not None
    assert 350 < len(read) < 650
    found = np.sort(table["x"].to_numpy()[read])
    assert (found[::2] == found[1::2]).all()
    backwards = table.iloc[::-1]
    again = analysis.rows_to_read(backwards, ["x", "y"])
    assert np.array_equal(np.sort(backwards["x"].to_numpy()[again]), found)
    assert analysis.rows_to_read(table.iloc[:1_000], ["x", "y"]) is None
    # Where two combinations make up the table, rows are chosen one by one.
    few = analysis.rows_to_read(_of_rows(np.arange(20_000) % 2), ["x", "y"])
    assert few is not None
    assert 400 < len(few) < 600
