"""Ours, as the scaffold writes it for the table.

Drafted, searched, ranked, refitted, reported on and written as the export would, in
this process. The budget that the YAML would name is what drafting has left. It alone is
given the target of the validation rows: the scaffold reads the whole table (for the
target's type and classes), and the report is on them; no fit and no choice sees it.
"""

import json
import time
from typing import Any

import joblib
import numpy as np
import pandas as pd
from contract import GROUP, TARGET, Claim, Job, Loaded, run

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.drafting.inference import infer
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.experiment import spec_from
from experiment_pipeline.stages.leaderboard.ensemble import RefitTime
from experiment_pipeline.stages.search.budget import AfterSearch
from experiment_pipeline.stages.search.conclusions import Fitted
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.halving import Threads, search
from experiment_pipeline.stages.search.results import ModelsInMemory
from experiment_pipeline.stages.search.scoring import predictions_of
from experiment_pipeline.stages.validation_report.final_evaluation import (
    Choice,
    evaluate,
)
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.persistence import to_bytes
from experiment_pipeline.table.features import find_classes
from experiment_pipeline.table.preparation import prepare
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.stages.leaderboard import board_examples


def fit(job: Job) -> Claim:
    started = time.monotonic()
    parts = _parts(job)
    written = _written(job, pd.concat(parts.values()), started)
    (job.folder / "written.json").write_text(json.dumps(written))
    spec = _spec(job)
    rows = {name: prepare(part, spec.preparation).frame for name, part in parts.items()}
    sets = scenario.to_train_on(rows["train"], rows["test"], spec)
    workers = joblib.cpu_count()
    events = search(
        configurations(spec),
        sets,
        spec,
        ModelsInMemory(),
        Threads(workers),
        time.perf_counter,
    )
    fits = [
        event for event in events if isinstance(event, Fitted) and event.rung.is_full
    ]
    trained = {one.model.key: one.model for one in fits}
    after = AfterSearch(sets, workers, spec.export.fits)
    time_left = RefitTime(job.said["seconds"] - (time.monotonic() - started), after.of)
    board = board_examples.board_of(spec, sets, trained, time_left)
    chosen = board_examples.chosen_of(spec, sets, board, trained)
    delivered = pd.concat(rows.values())
    final = evaluate(
        Choice(spec, board, chosen, sets, rows["validation"], delivered, workers),
        seconds_left=lambda: job.said["seconds"] - (time.monotonic() - started),
    )
    job.model.write_bytes(to_bytes(final.pipeline))
    alone = trained.get(board.chosen)
    named = board.reason if alone is None else dict(alone.result.hyperparameters)
    said = f"{len(trained)} trained; {board.chosen}: {named}"
    score = board.score
    return Claim(said, score.estimate, score.low, score.high)


def load(job: Job) -> Loaded:
    spec = _spec(job)
    pipeline = persistence.from_bytes(job.model.read_bytes())
    train = prepare(_parts(job)["train"], spec.preparation).frame
    classes = find_classes(train[TARGET], spec)
    features = list(pipeline.feature_names_in_)

    def predicted(rows: pd.DataFrame) -> np.ndarray:
        target = {TARGET} & set(dict(spec.preparation.types))
        frame = prepare(rows, spec.preparation, may_be_absent=target).frame
        found = predictions_of(pipeline, frame[features], spec.task, classes)
        return np.column_stack([1 - found, found]) if spec.task == "binary" else found

    return Loaded(predicted, classes)


def _parts(job: Job) -> dict[str, pd.DataFrame]:
    """Set → rows as the raw table would have them, with target and group."""
    targets = pd.read_parquet(job.folder / "validation_target.parquet")
    parts = {
        "train": job.train.assign(**{TARGET: job.y_train}),
        "test": job.test.assign(**{TARGET: job.y_test}),
        "validation": job.validation.assign(**{TARGET: targets[TARGET]}),
    }
    if job.groups is not None:
        n = len(job.train)
        groups = (job.groups[:n], job.groups[n:], targets[GROUP].to_numpy())
        parts = {
            name: part.assign(**{GROUP: group})
            for (name, part), group in zip(parts.items(), groups, strict=True)
        }
    first = dict(zip(parts, np.cumsum([0, len(job.train), len(job.test)]), strict=True))
    return {
        name: part.set_axis(first[name] + np.arange(len(part)))
        for name, part in parts.items()
    }


def _spec(job: Job) -> ExperimentSpec:
    written = json.loads((job.folder / "written.json").read_text())
    return spec_from("bench", written, lambda _: "the draft")


def _written(job: Job, raw: pd.DataFrame, started: float) -> dict[str, Any]:
    """What the scaffold writes, with the given split and the seconds that are left."""
    said = job.said
    by = {"by": "random"} if job.groups is None else {"by": "group", "column": GROUP}
    if said["time"] is not None:
        by = {"by": "time", "column": said["time"]}
    # The scaffold takes dates alone as times; a user whose times are numbers writes the
    # split.
    drafted = by
    if said["time"] is not None and pd.api.types.is_numeric_dtype(raw[said["time"]]):
        drafted = {"by": "random"}
    wishes = Wishes(
        seconds=said["seconds"],
        data="table.parquet",
        target=TARGET,
        task=said["task"],
        positive_class=said["positive_class"],
        metric=said["metric"],
        split=drafted["by"],
        split_column=drafted.get("column"),
    )
    written = infer(raw.sort_index(), wishes).attributes({"url": "table.parquet"})
    written["split"] = {**(written["split"] if drafted is by else {}), **by}
    if by["by"] != "time":
        written["split"]["seed"] = said["seed"]
    written["seed"] = said["seed"]
    left = said["seconds"] - (time.monotonic() - started)
    written["budget"] = {"seconds": max(1.0, left)}
    return written


if __name__ == "__main__":
    run(
        fit,
        load,
        [
            "lightgbm",
            "sklearn.ensemble",
            "sklearn.linear_model",
            "skops.io",
            "scipy.stats",
        ],
    )
