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
from experiment_pipeline_tests.tracking.history import write_history

pytestmark = pytest.mark.usefixtures("storage")


def test_other_seeds_read_no_validation_row_and_stand_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost comes first; a seed that fails is a result, too; nothing else of the run changes."""
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {"search": [{"algorithm": "linear"}], "evaluation": "test_set"}
    settings |= {"exclude": {"cost": "known later"}, "ensemble": "off", "progress": False}
    with patch.object(*runs.LEFT_OUT[0]), patch.object(*runs.LEFT_OUT[1]):
        found = ep.run(scenario.table(), "readmitted", name="visits", **settings)
    before, tables, told = ep.runs("visits", all_columns=True), list[pd.DataFrame](), list[str]()

    def repeated(table: pd.DataFrame, *arguments: Any, **given: Any) -> ExperimentRun:
        tables.append(table)
        if given["split"]["seed"] == 2:
            raise DataError("the table", "has too few rows", "")
        return run_experiment(table, *arguments, **given)

    monkeypatch.setattr(runs_of, "run_experiment", repeated)
    asked = CliRunner().invoke(main, ["sensitivity", "visits", "--seeds", "9"], input="n\n")
    assert (asked.exit_code, tables) == (1, [])
    assert asked.stderr.startswith("9 repeats, about ")
    first, failed = ep.sensitivity("visits", 2, agree=told.append).to_dict("records")
    assert told[0].startswith("2 repeats, about ")
    taken = {name: set(found.sets[name].index) for name in ("train", "test", "validation")}
    for table in tables:
        assert taken["train"] | taken["test"] <= set(table.index)
        assert not taken["validation"] & set(table.index)
    assert first["what"].startswith("seed 1: linear, ")
    assert first["rows"] < len(taken["train"] | taken["test"]) / 2
    assert 0 < first["score"] <= 1
    assert failed["what"].startswith("seed 2: the table")
    pd.testing.assert_frame_equal(ep.runs("visits", all_columns=True), before)
    (record,) = Path("artifacts/visits/runs").glob("*.record.md")
    assert "## Other split seeds" in record.read_text()
    (archived,) = Path("artifacts/visits/runs").glob("*.json")
    assert "seed 1: linear" in archived.read_text()


def test_a_split_without_a_seed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By time there is one way to cut."""
    write_history()
    timed = NamedColumns(scenario.spec("regression", "time"), scenario.SCHEMA)
    monkeypatch.setattr(runs_of, "_declared", lambda _: (timed, None))
    with pytest.raises(InvalidExperiment, match="by: time cuts the rows in one way"):
        ep.sensitivity("flight_delay")
