"""The stages before training on a made-up wide table: seconds, memory, size of the
report.

Each part runs in a process of its own, so that one's peak of memory is not another's.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from experiment_pipeline.drafting.files import infer_schema
from experiment_pipeline.intake.profile import profile
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.analysis import analyse
from experiment_pipeline.stages.data_analysis.page import report_html
from experiment_pipeline.stages.split_sets.page import (
    check_copies,
    check_leaks,
    check_look_alike,
)
from experiment_pipeline.stages.split_sets.sets import split
from experiment_pipeline.stages.validated_data.changes import compare
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import prepare_and_assign
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests.bench.tables import spec_of
from experiment_pipeline_tests.bench.watching import anonymous_bytes

DAYS = 365
# Of a table that is written: so many rows are made at a time, and are a row group of
# the file.
BATCH = 250_000
_Given, _Found = ParamSpec("_Given"), TypeVar("_Found")


@dataclass(frozen=True)
class Measured:
    """One figure and what it should be."""

    name: str  # what was measured, on which table
    value: float  # the figure
    unit: str  # s, MB, or x for a ratio
    goal: float | None = None  # the largest figure allowed; None = only measured

    def cells(self) -> list[str]:
        """Of a line of the Markdown table."""
        goal = "" if self.goal is None else f"≤ {self.goal:g} {self.unit}"
        return [self.name, f"**{self.value:.1f} {self.unit}**", goal]


def shown(found: Sequence[Measured]) -> list[Measured]:
    """Print figures as soon as there are some, and return them."""
    for one in found:
        print(f"  {one.name}: {one.value:.2f} {one.unit}", flush=True)
    return [*found]


def measurements(rows: int, columns: int) -> list[Measured]:
    """Measure every part on a table of this shape."""
    parts = (analysis, validation)
    return [one for part in parts for one in shown(in_own_process(part, rows, columns))]


def in_own_process(
    measure: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs
) -> _Found:
    """Call a function in a new process, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *given, **named).result()


def wide_table(rows: int, columns: int, seed: int = 0) -> pd.DataFrame:
    """Return a typed table: half numbers, a quarter texts, the rest whole numbers and
    flags.

    One number in ten is missing in every fifth column, and two rows in a hundred break
    the rule of the schema that `wide_schema` writes.
    """
    rng = np.random.default_rng(seed)
    data: dict[str, object] = {
        "id": [f"R{n:08d}" for n in range(rows)],
        "day": pd.Timestamp("2024-01-01")
        + pd.to_timedelta(np.sort(rng.integers(0, DAYS, rows)), unit="D").as_unit("us"),
    }
    signal = np.zeros(rows)
    for number in range(columns - 3):
        name = f"c{number:02d}"
        if number % 4 < 2:
            data[name] = rng.normal(size=rows)
            signal += data[name] * (number < 8)
            if number % 5 == 0:
                data[name] = np.where(rng.random(rows) < 0.1, np.nan, data[name])
        elif number % 4 == 2:
            count = 5 + 3 * number
            levels = pd.array([f"level {n}" for n in range(count)], dtype="str")
            data[name] = levels[rng.integers(0, count, rows)]
        else:
            data[name] = rng.integers(0, 2 if number % 8 == 3 else 1_000, rows)
    data["target"] = (signal + rng.normal(0, 2, rows) > 1).astype("int64")
    frame = pd.DataFrame(data).rename_axis(index="row_number")
    frame.loc[rng.random(rows) < 0.02, "c01"] = 99.0
    return frame


def wide_file(folder: Path, rows: int, columns: int) -> Path:
    """Return a Parquet file of `wide_table`s, a seed for each batch; made where it is
    not there.
    """
    path = folder / f"wide_{rows}x{columns}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        batches = (_batch(number, rows, columns) for number in range(-(-rows // BATCH)))
        first, whole = next(batches), path.with_suffix(".partial")
        with pq.ParquetWriter(whole, first.schema) as writer:
            for batch in itertools.chain([first], batches):
                writer.write_table(batch)
        whole.rename(path)
    return path


def _batch(number: int, rows: int, columns: int) -> pa.Table:
    first = number * BATCH
    frame = wide_table(min(BATCH, rows - first), columns, seed=number)
    frame["id"] = [f"R{n:08d}" for n in range(first, first + len(frame))]
    return pa.Table.from_pandas(frame, preserve_index=False)


def wide_spec(
    search: Sequence[Mapping[str, Any]] = ({"algorithm": "linear"},), **more: object
) -> ExperimentSpec:
    """A binary experiment by id, with a column of days that is no feature."""
    known = {
        "positive_class": 1,
        "exclude": {"day": "only says when"},
        "search": search,
    }
    known |= {"split": {"by": "random", "id_columns": ["id"]}}
    return spec_of("binary", "roc_auc", "target", **known | more)


def wide_schema(frame: pd.DataFrame) -> str:
    """The inferred schema, and one rule that some rows break."""
    text = infer_schema(frame.head(10_000), "target")
    return text.replace(
        "  c01: {dtype: float64}", "  c01: {dtype: float64, less_than: 50}"
    )


def analysis(rows: int, columns: int) -> list[Measured]:
    """The analysis with its report, from the raw table to the HTML page."""
    frame = wide_table(rows, columns)
    spec, schema = wide_spec(), load_schema(wide_schema(frame))
    started = time.perf_counter()
    prepared = prepare_and_assign(frame, schema, spec)
    features = feature_columns(prepared.frame, spec)
    found = analyse(prepared.frame, prepared.sets, features, spec)
    page = report_html(found, prepared.frame, spec).encode()
    seconds = time.perf_counter() - started
    name = f"{rows:,} x {columns}"
    return [
        Measured(f"data analysis and report, {name}", seconds, "s", 60),
        Measured(f"report, {name}", len(page) / 1e6, "MB", 5),
    ]


def validation(rows: int, columns: int) -> list[Measured]:
    """Preparation, validation, sets and their checks; the comparison with an accepted
    version.
    """
    held_before = anonymous_bytes()
    frame = wide_table(rows, columns)
    spec, schema = wide_spec(), load_schema(wide_schema(frame))
    frame_bytes = int(frame.memory_usage(deep=True).sum())
    with PeakMemory(held_before) as memory:
        started = time.perf_counter()
        prepared = prepare_and_assign(frame, schema, spec)
        parted = validate(frame, prepared, schema, spec)
        features = feature_columns(parted.validated, spec)
        sets = split(parted.to_split(prepared), spec, features)
        check_leaks(sets, spec)
        check_copies(sets, spec, features)
        check_look_alike(sets, spec, features)
        seconds = time.perf_counter() - started
    started = time.perf_counter()
    current = profile(parted.validated, parted.rejection_rate)
    compare(current, current, parted.validated, spec)
    compared = time.perf_counter() - started
    name = f"{rows:,} x {columns}"
    peak = f"its peak of memory / typed table ({frame_bytes / 1e6:.0f} MB), {name}"
    profiled = f"profile and comparison with the accepted version, {name}"
    return [
        Measured(f"validation and split, {name}", seconds, "s", 30),
        Measured(peak, memory.peak / frame_bytes, "x", 4),
        Measured(profiled, compared, "s"),
    ]


class PeakMemory:
    """The most anonymous memory of this process while a block runs: bytes above those
    held before.
    """

    def __init__(self, held_before: int) -> None:
        self.peak, self._held_before = 0, held_before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, anonymous_bytes() - self._held_before)
