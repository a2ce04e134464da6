"""What reruns add to the disk, by `ep.run` and by Dagster's job, and what `clean` leaves of it.

In: the first of the bundled flights. Out: kilobytes that a rerun adds to the storage root, to the
metadata database and to Dagster's home, by what has changed since the run before.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import pandas as pd
import yaml

import experiment_pipeline as ep
from experiment_pipeline.orchestration.job import build_experiment, range_tags
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.files import STORAGE_VARIABLE, files_below, location
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline.tracking.retention import clean
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.flights import FOLDER, ROOT

NAME, ROWS, MORE_ROWS, TO_REACH, KEPT = "flight_delay", 12_000, 200, 300.0, 3
UNCHANGED = "nothing changed"
SEARCH = [{"algorithm": "dummy"}, {"algorithm": "linear", "hyperparameters": {"C": [0.01, 0.1]}}]
# What has changed → number of the rerun → its settings; ROWS is the number of rows.
CHANGES: Mapping[str, Callable[[int], Mapping[str, Any]]] = {
    UNCHANGED: lambda _: {},
    "another limit": lambda n: {"acceptance": [{"metric": "roc_auc", "at_least": 0.5 + n / 1e4}]},
    "another search": lambda n: {"search": [*SEARCH, {**SEARCH[1], "hyperparameters": {"C": n}}]},
    "more rows": lambda n: {"rows": ROWS + n * MORE_ROWS},
}


def measurements(reruns: int = 60, changed: int = 10, rows: int = ROWS) -> Iterator[Measured]:
    """Rerun an experiment so many times unchanged, then so many times with each change."""
    for way, run in {"ep.run": _by_hand, "job": _by_dagster}.items():
        with tempfile.TemporaryDirectory() as name, patch.dict("os.environ", _places(Path(name))):
            folder = location(name)
            run(folder, rows)
            for what, change in CHANGES.items():
                before, times = _sizes(folder), reruns if what == UNCHANGED else changed
                for number in range(1, times + 1):
                    run(folder, **{"rows": rows, **change(number)})
                for place, size in _sizes(folder).items():
                    goal = TO_REACH if (place, what) == ("storage", UNCHANGED) else None
                    added = (size - before[place]) / times / 1e3
                    yield Measured(f"{way}, {what}: to {place}", added, "kB", goal)
            later, whole = datetime.now(UTC) + timedelta(days=2), _sizes(folder)["storage"]
            rule = ExperimentSpec(**_settings(folder, rows), name=NAME, retention={"runs": KEPT})
            clean(rule, now=later)
            for what, size in (("before", whole), ("after", _sizes(folder)["storage"])):
                yield Measured(f"{way}: storage {what} clean, {KEPT} kept", size / 1e3, "kB", None)


def _places(folder: Path) -> dict[str, str]:
    return {
        STORAGE_VARIABLE: str(folder / "storage"),
        VARIABLE: f"sqlite:///{folder}/database/runs.sqlite",
    }


def _sizes(folder: Any) -> dict[str, int]:
    """Bytes of the files of each place."""
    places = ("storage", "database", "home")
    found = {one: files_below(folder / one).values() for one in places}
    return {place: sum(file.size_bytes for file in files) for place, files in found.items()}


def _settings(folder: Any, rows: int, **changes: Any) -> dict[str, Any]:
    """The bundled experiment on the first rows, with a small search."""
    path = Path(str(folder)) / f"{rows}.csv"
    if not path.exists():
        pd.read_csv(ROOT / "data/flights.csv.gz", dtype=str, nrows=rows).to_csv(path, index=False)
    declared = yaml.safe_load((FOLDER / "defs.yaml").read_text())["attributes"]
    return {**declared, "data": str(path), "search": SEARCH, **changes}


def _by_hand(folder: Any, rows: int, **changes: Any) -> None:
    settings = _settings(folder, rows, **changes)
    path, target = settings.pop("data"), settings.pop("target")
    schema = (FOLDER / "schema.yaml").read_text()
    ep.run(path, target, name=NAME, schema=schema, progress=False, **settings)


def _by_dagster(folder: Any, rows: int, **changes: Any) -> None:
    spec = ExperimentSpec(name=NAME, **_settings(folder, rows, **changes))
    named = NamedColumns(spec, (FOLDER / "schema.yaml").read_text())
    job = build_experiment(named).resolve_job_def(NAME)
    with dg.DagsterInstance.local_temp(f"{folder}/home") as instance:
        tags = range_tags(configurations(spec))
        job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
