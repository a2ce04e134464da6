"""Sensitivity to the split seed: the flow again, on rows that are no validation rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import experiment_pipeline as ep
from experiment_pipeline.errors import DataError, InvalidExperiment
from experiment_pipeline.experiment import run as runs_of
from experiment_pipeline.experiment import steps
from experiment_pipeline.stages.raw_data.table import RawTable
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.stages.validation_report.report_examples import report_of
from experiment_pipeline_tests.tracking.history import write_history


def test_other_seeds_read_no_validation_row_and_stand_in_the_record(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost comes first; a seed that fails is a result; by time there is one way to cut."""
    write_history()
    before, tables = ep.runs("flight_delay", all_columns=True), list[pd.DataFrame]()
    raw = RawTable(scenario.table(), "digest", "DataFrame", None, None, None, ())
    specs = scenario.spec("binary", "random"), scenario.spec("binary", "time")
    named, timed = (NamedColumns(spec, scenario.SCHEMA) for spec in specs)

    def repeated(table: pd.DataFrame, _: str, *, split: Any, **__: Any) -> Any:
        tables.append(table)
        if split["seed"] == 2:
            raise DataError("the table", "has too few rows", "")
        return SimpleNamespace(report=report_of(conditions=["drift_over_time: x"]))

    monkeypatch.setattr(runs_of, "run_experiment", repeated)
    monkeypatch.setattr(runs_of, "_declared", lambda _: (named, raw))
    asked = command("sensitivity", "flight_delay", input="n\n")
    assert (asked.exit_code, tables) == (1, [])
    assert asked.stderr.startswith("5 repeats, about 36 s each, 180 s in all")
    done = command("sensitivity", "flight_delay", "--seeds", 2, "--yes")
    assert "seed 2: the table" in done.stdout
    sets = steps.prepared_rows(raw, named.spec, named).sets
    assert all([*table.index] == [*sets.index[sets.isin(["train", "test"])]] for table in tables)
    pd.testing.assert_frame_equal(ep.runs("flight_delay", all_columns=True), before)
    (page,) = (storage / "flight_delay" / "runs").glob("*.record.md")
    assert "num_leaves=4, accepted with conditions (drift_over_time)" in page.read_text().replace(
        "\\_", "_"
    )
    monkeypatch.setattr(runs_of, "_declared", lambda _: (timed, raw))
    with pytest.raises(InvalidExperiment, match="by: time splits the rows in only one way"):
        ep.sensitivity("flight_delay")
