"""Kilobytes that an unchanged rerun of the first flights adds to the storage root, the
metadata database and Dagster's home, by `ep.run` and by Dagster's job.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import yaml

import experiment_pipeline as ep
from experiment_pipeline.experiment.files import named_columns
from experiment_pipeline.orchestration.job import build_experiment, range_tags
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.storage.files import files_below, location
from experiment_pipeline_tests.bench.data import Measured
from experiment_pipeline_tests.bench.flights import FOLDER, ROOT
from experiment_pipeline_tests.bench.places import own_places

LINEAR = {"algorithm": "linear", "hyperparameters": {"C": [0.01, 0.1, 1.0]}}


def measurements(reruns: int = 60, rows: int = 6_000) -> Iterator[Measured]:
    """Rerun the bundled experiment on its first rows, with a small search, so many
    times.
    """
    for way, run in {"ep.run": ep.run, "job": _job}.items():
        with own_places() as place:
            folder = _declared(place, rows)
            run(folder)
            before = _kilobytes(place)
            for _ in range(reruns):
                run(folder)
            added = (_kilobytes(place) - before) / reruns
        for name, goal in {"storage": 300.0, "database": None, "home": None}.items():
            size = added.get(name, 0.0)
            yield Measured(f"{way}: a rerun adds to {name}", size, "kB", goal)


def _kilobytes(place: Path) -> pd.Series:
    """Kilobytes of what lies in a folder, by the first part of its path, in which a
    database has several files.
    """
    files = files_below(location(str(place)))
    sizes = pd.Series({path: file.size_bytes / 1e3 for path, file in files.items()})
    return sizes.groupby(lambda path: re.split("[/-]", path)[0]).sum()


def _declared(folder: Path, rows: int) -> Path:
    flights = pd.read_csv(ROOT / "data/flights.csv.gz", dtype=str, nrows=rows)
    flights.to_csv(folder / "flights.csv", index=False)
    declared = yaml.safe_load((FOLDER / "defs.yaml").read_text())
    declared["attributes"] |= {"data": f"{folder}/flights.csv", "search": [LINEAR]}
    place = folder / FOLDER.name
    place.mkdir()
    (place / "defs.yaml").write_text(yaml.safe_dump(declared))
    (place / "schema.yaml").write_text((FOLDER / "schema.yaml").read_text())
    return place


def _job(folder: Path) -> None:
    named, home = named_columns(folder), folder.parent / "home"
    home.mkdir(exist_ok=True)
    tags = range_tags(configurations(named.spec))
    job = build_experiment(named).resolve_job_def(named.spec.name)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
