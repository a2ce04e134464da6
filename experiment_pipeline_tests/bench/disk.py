"""Kilobytes that reruns of the first flights add to the storage root, the metadata database and Dagster's
home, by `ep.run` and by Dagster's job, by what has changed since the run before.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import pandas as pd
import yaml

import experiment_pipeline as ep
from experiment_pipeline.experiment.files import named_columns
from experiment_pipeline.orchestration.job import build_experiment, range_tags
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.files import STORAGE_VARIABLE, files_below, location
from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.flights import FOLDER, ROOT

UNCHANGED, ROWS = "nothing changed", 6_000
LINEAR = {"algorithm": "linear", "hyperparameters": {"C": [0.01, 0.1, 1.0]}}
# What has changed → number of the rerun → its settings; `rows` is the number of rows.
CHANGES: dict[str, Callable[[int], dict[str, Any]]] = {
    UNCHANGED: lambda _: {},
    "another limit": lambda n: {"acceptance": [{"metric": "roc_auc", "at_least": 0.5 + n / 1e4}]},
    "another search": lambda n: {"search": [LINEAR, {"algorithm": "dummy", "note": str(n)}]},
    "more rows": lambda n: {"rows": ROWS + 200 * n},
}


def measurements(reruns: int = 60, changed: int = 10) -> Iterator[Measured]:
    """Rerun an experiment so many times unchanged, then so many times with each change."""
    for way, run in {"ep.run": ep.run, "job": _job}.items():
        with tempfile.TemporaryDirectory() as name, patch.dict("os.environ") as places:
            places |= {STORAGE_VARIABLE: f"{name}/storage", VARIABLE: f"sqlite:///{name}/database"}
            run(_declared(name))
            for what, change in CHANGES.items():
                before, times = _kilobytes(name), reruns if what == UNCHANGED else changed
                for number in range(1, times + 1):
                    run(_declared(name, **change(number)))
                for place, size in _kilobytes(name).items():
                    goal = 300 if (place, what) == ("storage", UNCHANGED) else None
                    added = (size - before[place]) / times
                    yield Measured(f"{way}, {what}: to {place}", added, "kB", goal)


def _kilobytes(name: str) -> dict[str, float]:
    found = dict.fromkeys(("storage", "database", "home"), 0.0)
    for path, file in files_below(location(name)).items():
        for place in (one for one in found if path.startswith(one)):
            found[place] += file.size_bytes / 1e3
    return found


def _declared(name: str, rows: int = ROWS, **changes: Any) -> Path:
    """The bundled experiment on the first rows, with a small search, as a folder."""
    table, folder = Path(name) / f"{rows}.csv", Path(name) / FOLDER.name
    if not table.exists():
        flights = pd.read_csv(ROOT / "data/flights.csv.gz", dtype=str, nrows=rows)
        flights.to_csv(table, index=False)
    declared = yaml.safe_load((FOLDER / "defs.yaml").read_text())
    declared["attributes"] |= {"data": str(table), "search": [LINEAR], **changes}
    folder.mkdir(exist_ok=True)
    (folder / "defs.yaml").write_text(yaml.safe_dump(declared))
    (folder / "schema.yaml").write_text((FOLDER / "schema.yaml").read_text())
    return folder


def _job(folder: Path) -> None:
    named, home = named_columns(folder), folder.parent / "home"
    home.mkdir(exist_ok=True)
    job, tags = build_experiment(named).resolve_job_def(named.spec.name), configurations(named.spec)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        job.execute_in_process(instance=instance, tags=range_tags(tags), raise_on_error=False)
