"""Sensitivity to the split seed: the flow again, on rows that are no validation rows."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from click.testing import CliRunner

import experiment_pipeline as ep
from experiment_pipeline.cli import main
from experiment_pipeline.errors import DataError, InvalidExperiment
from experiment_pipeline.experiment import run as runs_of
from experiment_pipeline.experiment.flow import ExperimentRun, run_experiment
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline_tests import runs, scenario


def test_other_seeds_read_no_validation_row_and_stand_in_the_record(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost comes first; a seed that fails is a result; by time there is one way to cut."""
    settings: dict[str, Any] = {"search": [{"algorithm": "linear"}], "evaluation": "test_set"}
    settings |= {"exclude": {"cost": "known later"}, "ensemble": "off", "progress": False}
    with patch.object(*runs.LEFT_OUT[0]), patch.object(*runs.LEFT_OUT[1]):
        found = ep.run(scenario.table(), "readmitted", name="visits", **settings)
    before, tables = ep.runs("visits", all_columns=True), list[pd.DataFrame]()

    def repeated(table: pd.DataFrame, *arguments: Any, **given: Any) -> ExperimentRun:
        tables.append(table)
        if given["split"]["seed"] == 2:
            raise DataError("the table", "has too few rows", "")
        return run_experiment(table, *arguments, **given)

    monkeypatch.setattr(runs_of, "run_experiment", repeated)
    asked = CliRunner().invoke(main, "sensitivity visits", input="n\n")
    assert (asked.exit_code, asked.stderr[:16], tables) == (1, "5 repeats, about", [])
    done = CliRunner().invoke(main, "sensitivity visits --seeds 2 --yes")
    assert "seed 2: the table" in done.stdout
    train, test, validation = (set(found.sets[x].index) for x in ("train", "test", "validation"))
    read = [set(table.index) for table in tables]
    assert all(train | test <= rows and not validation & rows for rows in read)
    pd.testing.assert_frame_equal(ep.runs("visits", all_columns=True), before)
    for kind in (".record.md", ".json"):
        (file,) = (storage / "visits" / "runs").glob(f"*{kind}")
        assert "seed 1: linear, " in file.read_text()
    timed = NamedColumns(scenario.spec("regression", "time"), scenario.SCHEMA)
    monkeypatch.setattr(runs_of, "_declared", lambda _: (timed, None))
    with pytest.raises(InvalidExperiment, match="by: time cuts the rows in one way"):
        ep.sensitivity("visits")
