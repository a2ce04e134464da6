"""The bundled experiments: their tables are small, said where they come from, and made
by a script; each experiment loads, and the small ones reach their sets or an accepted
model.
"""

import gzip
import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml

from experiment_pipeline.experiment.flow import prepared_rows
from experiment_pipeline.intake.raw_table import parse, read
from experiment_pipeline.intake.sources import read_source
from experiment_pipeline.intake.validation import validate
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.analysis import analyse_prepared
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline.table.features import NamedColumns, feature_columns
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline_tests import runs

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
FOLDERS = {
    p.parent.name: p.parent for p in ROOT.glob("experiment_pipeline/defs/*/defs.yaml")
}
LARGEST = {"flights.csv.gz": 4_000_000}
LICENCES = ("CC0", "CC BY 4.0")


# Experiment → its split, its rows, and how many of them the schema rejects.
SMALL = {
    "rodent_species": ("random", 8_136, 724),
    "room_rate": ("time", 15_402, 1),
    "life_expectancy": ("group", 3_313, 0),
}
UP_TO_THE_SETS = ("raw_data", "data_analysis", "validated_data", "rejected_rows")
SETS = ("train_set", "test_set", "validation_set")


def spec_of(name: str) -> ExperimentSpec:
    """A bundled experiment as its file declares it."""
    attributes = yaml.safe_load((FOLDERS[name] / "defs.yaml").read_text())["attributes"]
    return ExperimentSpec(name=name, **attributes)


def declared(name: str) -> tuple[ExperimentSpec, str]:
    """A bundled experiment and the text of its schema."""
    return spec_of(name), (FOLDERS[name] / "schema.yaml").read_text()


@pytest.fixture
def storage(tmp_path, monkeypatch) -> Path:
    """A storage of the test's own; paths of data are seen from the project's folder."""
    monkeypatch.setenv(STORAGE_VARIABLE, str(tmp_path))
    monkeypatch.chdir(ROOT)
    return tmp_path


def script(name: str) -> ModuleType:
    """A script of data/ as a module."""
    found = importlib.util.spec_from_file_location(name, DATA / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """The table of the flights."""
    delivered = [("flights.csv.gz", (DATA / "flights.csv.gz").read_bytes())]
    return parse(delivered, spec_of("flight_delay").data).frame


def test_every_table_is_small_and_has_an_origin_and_a_licence():
    """Each file of data/ has a part of its README, which names its licence, and an
    experiment.
    """
    readme = (DATA / "README.md").read_text()
    listed = dict(
        re.findall(r"^\| \[(\S+)\]\(#\w+\) \| `\w+` \| (.+) \|$", readme, re.MULTILINE)
    )
    tables = {path.name: path.stat().st_size for path in DATA.glob("*.csv.gz")}
    assert (
        set(listed)
        == set(tables)
        == {Path(spec_of(name).data.url).name for name in FOLDERS}
    )
    for name, size in tables.items():
        assert size <= LARGEST.get(name, 300_000)
        assert listed[name] in LICENCES
        own = readme.split(f"\n# {name}\n")[1].split("\n# ")[0]
        assert f"**{listed[name]}**" in own


def test_the_scripts_make_the_tables(flights: pd.DataFrame):
    """Run again, they give the same texts; that of the flights the same table, in order
    of time.
    """
    for name, table in script("make_examples").TABLES.items():
        text = gzip.decompress((DATA / f"{name}.csv.gz").read_bytes()).decode()
        assert table().to_csv(index=False) == text
    text = script("make_flights").sample().to_csv(index=False).encode()
    made = parse([("made", text)], spec_of("flight_delay").data).frame
    assert table_digest(made) == table_digest(flights)
    assert len(flights) == 60_000
    assert flights["scheduled_departure"].is_monotonic_increasing


def test_the_first_page_on_dagster_shows_how_to_run_each():
    """Every bundled experiment has a line there, with the command that runs it."""
    page = (ROOT / "docs" / "start" / "dagster.md").read_text()
    assert set(re.findall(r"`make run EXPERIMENT=(\w+)`", page)) == set(FOLDERS)


def test_the_pictures_of_the_readme_are_there_and_small():
    """Each lies in the project, weighs at most 250 kB, and says in words what
    it shows.
    """
    readme = (ROOT / "README.md").read_text()
    ((words, light),) = re.findall(r'<img alt="(.*?)" src="(.+?)"', readme)
    (dark,) = re.findall(
        r'<source media="\(prefers-color-scheme: dark\)" srcset="(.+?)"', readme
    )
    assert re.search(r"\d", words)
    assert all((ROOT / path).stat().st_size <= 250_000 for path in (light, dark))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rodent_species", "room_rate"])
def test_a_small_experiment_reaches_its_sets(name: str, storage: Path):
    """No finding is left open, the schema rejects the dirt that the README names, no
    check fails.
    """
    spec, schema = declared(name)
    run = runs.run(spec, schema, stages=(*UP_TO_THE_SETS, *SETS))
    assert_rows_reach_the_sets(run, name)
    assert 12 <= len(configurations(spec)) <= 24


@pytest.mark.slow
def test_the_smallest_experiment_ends_with_an_accepted_model(storage: Path):
    """From the table to the exported model; whole countries judge."""
    spec, schema = declared("life_expectancy")
    assert len(configurations(spec)) == 20
    boosted, *_, dummy = spec.search
    few = boosted.model_copy(update={"draws": 2})
    run = runs.run(spec.model_copy(update={"search": (few, dummy)}), schema)
    assert_rows_reach_the_sets(run, spec.name)
    assert run.metadata("validation_report")["decision"].startswith("accepted")
    assert run.materialized("exported_model")


def assert_rows_reach_the_sets(run: runs.Run, name: str) -> None:
    """The verdict is go, and all rows but the rejected and those in gaps are
    in a set.
    """
    split, rows, rejected = SMALL[name]
    assert run.success, run.failure
    assert spec_of(name).split.by == split
    assert run.metadata("data_analysis")["verdict"] == "go"
    assert run.metadata("raw_data")["dagster/row_count"] == rows
    assert run.metadata("validated_data")["dagster/row_count"] == rows - rejected
    in_sets = sum(run.metadata(stage)["dagster/row_count"] for stage in SETS)
    assert (
        in_sets == rows - rejected if split != "time" else 0.95 * rows < in_sets < rows
    )


def test_the_yaml_of_the_flights_fits_the_table(flights: pd.DataFrame):
    """The schema rejects flights without weather, no feature tells the future, 30
    models are compared.
    """
    spec, schema_text = declared("flight_delay")
    assert set(spec.exclude) <= set(flights.columns)
    prepared, schema = prepare(flights, spec.preparation), load_schema(schema_text)
    assert set(schema.columns) == set(prepared.frame.columns)
    data = validate(flights, prepared, schema, spec)
    assert len(data.rejected) == 137
    assert {reason.what for reason in data.reasons} == {"is missing"}
    features = feature_columns(data.validated, spec)
    assert len(features) == 16
    assert not {
        name for name in features if name.startswith(("plane_", "arr_", "dep_", "air_"))
    }
    found = configurations(spec)
    assert len(found) >= 30
    assert {one.algorithm for one in found} == {
        "lightgbm",
        "random_forest",
        "linear",
        "dummy",
    }


def test_only_the_dictionary_of_the_hotel_stops_its_late_columns(storage: Path):
    """The price moves with what becomes of a booking, but no statistic says so."""
    spec, schema_text = declared("room_rate")
    late = [column for column in spec.exclude if column != "arrival_date_num"]
    kept = {"arrival_date_num": spec.exclude["arrival_date_num"]}
    settings = spec.model_dump(exclude_unset=True)
    trusting = ExperimentSpec.model_validate({**settings, "exclude": kept})
    silent = re.sub(r"^    known: .*\n", "", schema_text, flags=re.MULTILINE)
    raw = read(read_source(spec.source), spec.source)
    raw = replace(raw, frame=raw.frame.head(4_000), digest="")
    found = {}
    for text in (schema_text, silent):
        named = NamedColumns(trusting, text)
        prepared = prepared_rows(raw, named)
        analysis, _ = analyse_prepared(prepared, trusting, named.dictionary)
        found[text] = {finding.code: finding for finding in analysis.found}
    assert {*found[schema_text]["known_too_late"].columns} == {*late}
    assert found[schema_text]["known_too_late"].severity == "blocks"
    assert not {"leak_suspect", "known_too_late"} & found[silent].keys()
