"""A published version whose run has kept its validation rows, and labels that came
later.
"""

from functools import cache

import numpy as np
import pandas as pd

from experiment_pipeline.reporting.run_record import JUDGED_ROWS, JudgedRows, ReportRow
from experiment_pipeline.stages.validation_report.judged_model import MetricScore
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.storage.files import storage_root, write_bytes
from experiment_pipeline.storage.registry import ModelPackage, Registry
from experiment_pipeline.storage.tables import to_parquet
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.tracking.history import run_rows, version_row

SEPARATION = 1.19  # of the two classes' scores in standard deviations: a ROC AUC of .8


def labelled(
    n: int,
    rng: np.random.Generator,
    separation: float = SEPARATION,
    share: float = 0.5,
) -> pd.DataFrame:
    """Rows of a model that is right with this separation: `late`, in a share of them,
    and its probability.
    """
    late = rng.random(n) < share
    scores = rng.normal(size=n) + separation * late
    probability = 1 / (1 + np.exp(SEPARATION * (SEPARATION / 2 - scores)))
    return pd.DataFrame(
        {"late": np.where(late, "yes", "no"), "probability_yes": probability}
    )


@cache
def judged() -> SetPrediction:
    """The validation rows."""
    rows = labelled(1_000, np.random.default_rng(1))
    y, p = (
        (rows["late"] == "yes").to_numpy(np.int64),
        rows["probability_yes"].to_numpy(),
    )
    return SetPrediction(y, p, np.arange(len(y)))


@cache
def package(name: str, metric: str, within: str | None = None) -> ModelPackage:
    """The files of a version that promises the score of these rows; `within`: how long
    its labels take.
    """
    report, _ = exported.judged()
    known = (judged().interval(metric), 0.5, report.scores[0].difference_to_baseline)
    scores = (MetricScore(metric, *known),)
    label = {} if within is None else {"label": {"since": "day", "within": within}}
    spec = exported.make_spec(name=name, metric=metric, **label)
    return exported.package(spec=spec, scores=scores, metric=metric)


def publish(
    name: str = "flights", metric: str = "roc_auc", within: str | None = None
) -> None:
    """Publish the version below the storage root, and record the run that made it."""
    registry, files = Registry(storage_root(), name), package(name, metric, within)
    place = registry.publish(files, lambda _: None).path
    validation = storage_root() / name / "validation_rows.parquet"
    write_bytes(validation, to_parquet(JudgedRows.of(judged(), 0.4)))
    report = ReportRow(name=JUDGED_ROWS, place=str(validation))
    RunRecord(name, "r1").record([*run_rows(0), report])
    record_rows([version_row("v0001", place=place, run_id="r1")], name)


def days(
    first: int,
    last: int,
    rng: np.random.Generator,
    separation: float = SEPARATION,
    rows: int = 40,
    share: float = 0.5,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and labels of some days, so many rows each."""
    found = labelled(rows * (last - first), rng, separation, share)
    number = np.arange(len(found)) + rows * first
    found["flight"] = [f"{first:03d}{one:06d}" for one in number]
    date = pd.Timestamp("2026-03-01") + pd.to_timedelta(number // rows, unit="D")
    found["day"] = date.strftime("%Y-%m-%d %H:%M")
    predictions = found[["flight", "day", "probability_yes"]]
    return predictions.assign(prediction="no"), found[["flight", "late"]]
