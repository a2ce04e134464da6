"""What others may use of this project from Python: each name is declared once."""

import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upath import UPath

import experiment_pipeline
from experiment_pipeline.reporting import run_record
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.fresh_process import printed_by
from experiment_pipeline_tests.prediction import promised
from experiment_pipeline_tests.tracking.history import version_row, write_history

ROOT = Path(__file__).parent.parent
NAMES = experiment_pipeline.__all__
FUNCTIONS = [
    name for name in NAMES if inspect.isfunction(getattr(experiment_pipeline, name))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A project's folder: its experiment, an exported model, and rows to
    predict for.
    """
    folder = tmp_path_factory.mktemp("project")
    for name in ("experiment_pipeline", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    spec = exported.make_spec(name="flight_delay")
    registry = Registry(UPath(folder / "artifacts"), spec.name)
    registry.publish(exported.package(spec=spec), lambda _: None)
    exported.delivered(5).to_csv(folder / "new_flights.csv", index=False, sep=";")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_documented_and_typed(name: str):
    """Each can be imported, stands on the page of the API, says what it is, and names
    its types.
    """
    public = getattr(experiment_pipeline, name)
    assert public.__doc__
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    documented = re.search(rf":: {name}$", page, re.MULTILINE)
    assert documented, "name it in docs/reference/python.md"
    if inspect.isfunction(public):
        signature = inspect.signature(public)
        taken = [parameter.annotation for parameter in signature.parameters.values()]
        assert inspect.Signature.empty not in [*taken, signature.return_annotation]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_is_true(name: str, folder, quick, monkeypatch):
    """Every function shows how it is called, and what it shows is what comes out."""
    first, _, _, last = write_history()
    later = promised.labelled(60, np.random.default_rng(3))
    later = later.assign(flight=range(60), prediction="no")
    for file, left_out in (
        ("predictions.csv", "late"),
        ("labels.csv", "probability_yes"),
    ):
        later.drop(columns=left_out).to_csv(folder / file, index=False)
    judged = to_parquet(run_record.JudgedRows.of(promised.judged(), 0.4))
    (folder / "validation_rows.parquet").write_bytes(judged)
    kept = run_record.ReportRow(
        name=run_record.JUDGED_ROWS, place="validation_rows.parquet"
    )
    RunRecord("flight_delay", first).record([kept])
    rows = {
        "set": ["validation", "test"],
        "flight": ["UA 7", "B6 2"],
        "target": ["yes", "no"],
    }
    rows |= {"prediction": ["no", "yes"], "loss": [3.21, 2.45]}
    numbers = pd.Index([17, 4], name="row_number")
    (folder / "rows.parquet").write_bytes(to_parquet(pd.DataFrame(rows, index=numbers)))
    RunRecord("flight_delay", last).record(
        [run_record.ReportRow(name=run_record.PREDICTED_ROWS, place="rows.parquet")]
    )
    monkeypatch.chdir(folder)
    monkeypatch.delenv("EXPERIMENT_PIPELINE_STORAGE", raising=False)
    names = {name: getattr(experiment_pipeline, name) for name in NAMES}
    x = pd.Series(range(300)) / 7
    table = pd.DataFrame({"x": x, "y": 25 * x + 50.5 * (x * 8 % 13)})
    finder, known = (
        doctest.DocTestFinder(recurse=False),
        names | {"pd": pd, "table": table},
    )
    (example,) = finder.find(names[name], name, globs=known)
    assert example.examples, "give it an example"
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert told == []


def test_dagster_finds_the_component_without_what_loads_an_experiment():
    """A process of a host that runs no experiment pays for no tables and databases; a
    prompt completes the public names, and no others. One that explores, which records
    nothing, loads no database.
    """
    script = (
        "from dagster.components.core.package_entry import "
        "discover_entry_point_package_objects\n"
        "import sys, experiment_pipeline as ep\n"
        "assert ep.Experiment in discover_entry_point_package_objects().values()\n"
        "print(sorted({'pandas', 'pandera', 'pyarrow', 'scipy', 'sklearn', "
        "'sqlalchemy'} & set(sys.modules)))\n"
        "sys.ps1 = '>>> '; assert ep.__all__ == dir(ep)\n"
        "assert callable(ep.explore)\n"
        "assert 'sqlalchemy' not in sys.modules\n"
    )
    assert printed_by(script) == "[]"


def test_the_champion_is_found_where_it_was_exported_to(
    tmp_path, folder: Path, monkeypatch
):
    """The memory knows an export URL of the experiment's own; without it the storage is
    looked at.
    """
    spec = exported.make_spec(name="flight_delay")
    elsewhere = Registry(UPath(tmp_path / "exports"), spec.name)
    published = elsewhere.publish(exported.package(spec=spec), lambda _: None)
    monkeypatch.setenv("EXPERIMENT_PIPELINE_STORAGE", str(folder / "artifacts"))
    monkeypatch.chdir(tmp_path)
    rows = exported.delivered(5)
    assert len(experiment_pipeline.predict("flight_delay", rows).predictions) == 5
    record_rows([version_row("v0001", place=published.path)], "flight_delay")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("EXPERIMENT_PIPELINE_STORAGE", str(tmp_path / "empty"))
    assert len(experiment_pipeline.predict("flight_delay", rows).predictions) == 5
