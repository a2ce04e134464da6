"""The bundled experiment: its table is what its script makes, and its YAML fits the table."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.raw_data.table import parse
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.validated_data.rows import validate
from experiment_pipeline.table.digests import table_digest
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline.table.schema import load_schema

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
FOLDER = ROOT / "experiment_pipeline" / "defs" / "flight_delay"


@pytest.fixture(scope="module")
def spec() -> ExperimentSpec:
    """The bundled experiment."""
    attributes = yaml.safe_load((FOLDER / "defs.yaml").read_text())["attributes"]
    return ExperimentSpec(name="flight_delay", **attributes)


@pytest.fixture(scope="module")
def table(spec: ExperimentSpec) -> pd.DataFrame:
    """The bundled table."""
    return parse([("flights.csv.gz", (DATA / "flights.csv.gz").read_bytes())], spec.data).frame


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """data/make_flights.py as a module."""
    found = importlib.util.spec_from_file_location("make_flights", DATA / "make_flights.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module
    found.loader.exec_module(module)
    return module


def test_the_script_makes_the_bundled_table(script, table, spec) -> None:
    """Run again, the script gives the same table, which is small and in order of time."""
    made = parse([("made", script.sample().to_csv(index=False).encode())], spec.data).frame
    assert table_digest(made) == table_digest(table)
    assert len(table) == 60_000
    assert (DATA / "flights.csv.gz").stat().st_size <= 4_000_000
    assert table["scheduled_departure"].is_monotonic_increasing


def test_the_weather_was_known_before_departure(script: ModuleType) -> None:
    """Across both clock changes, only observations that were complete before departure count."""
    departures = pd.DataFrame(
        [
            ("2013", "3", "9", "1151"),  # winter: 16:51 UTC
            ("2013", "3", "9", "1152"),
            ("2013", "3", "10", "1152"),  # summer: 15:52 UTC
            ("2013", "3", "10", "2000"),
        ],
        columns=["year", "month", "day", "sched_dep_time"],
    )
    instants = pd.to_datetime(script.scheduled_departures(departures), utc=True)
    flights = pd.DataFrame({"origin": "EWR", "instant": instants})
    hours = ["2013-03-09T15:00:00Z", "2013-03-09T16:00:00Z", "2013-03-10T15:00:00Z"]
    weather = pd.DataFrame(
        {"origin": "EWR", "hour": ["10", "11", "11"], "time_hour": hours}
        | {name: ["first", "second", "third"] for name in script.WEATHER_COLUMNS}
    )
    joined = script.with_weather(flights, weather)
    assert joined["temp"].fillna("none").tolist() == ["first", "second", "third", "none"]


def test_late_means_late_or_never(table: pd.DataFrame) -> None:
    """The target is what the README says it is, and the dirt it lists is there."""
    assert ((table["arr_delay"] > 15) | table["arr_delay"].isna()).astype(int).equals(table["late"])
    without_tail = table["tailnum"].isna()
    assert table.loc[without_tail, "late"].eq(1).all()
    assert int(without_tail.sum()) == 434
    assert int((table["arr_time"] == 2400).sum()) == 23
    assert int((table["plane_seats"] < 20).sum()) == 431
    assert {"AIRBUS", "AIRBUS INDUSTRIE"} <= set(table["plane_manufacturer"])
    assert 0.7 < table["wind_gust"].isna().mean() < 0.8


def test_the_yaml_fits_the_table(spec: ExperimentSpec, table: pd.DataFrame) -> None:
    """The schema rejects the flights without weather, and no feature tells the future."""
    assert set(spec.exclude) <= set(table.columns)
    prepared = prepare(table, spec.preparation)
    schema = load_schema((FOLDER / "schema.yaml").read_text())
    assert set(schema.columns) == set(prepared.frame.columns)
    data = validate(table, prepared, schema, spec)
    assert len(data.rejected) == 137
    assert {one.what for one in data.reasons} == {"is missing"}
    features = feature_columns(data.validated, spec)
    assert len(features) == 16
    assert not {name for name in features if name.startswith(("plane_", "arr_", "dep_", "air_"))}


def test_the_search_is_as_large_as_promised(spec: ExperimentSpec) -> None:
    """At least 30 configurations of three algorithms, and the baseline."""
    found = configurations(spec)
    assert len(found) >= 30
    assert {one.algorithm for one in found} == {"lightgbm", "random_forest", "linear", "dummy"}
