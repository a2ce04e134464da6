"""Hyperparameter configurations as partitions, in plain Dagster and scikit-learn.

Each configuration is a partition of `model`; one run trains them all and compares them.
Try it:

    dagster job execute -f hyperparameter_partitions.py -j search
    dagster dev -f hyperparameter_partitions.py
"""

import itertools
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

GRID = {"learning_rate": [0.03, 0.1, 0.3], "max_leaf_nodes": [4, 15, 31]}
CONFIGURATIONS = {
    "_".join(f"{name}={value}" for name, value in zip(GRID, values, strict=True)): dict(
        zip(GRID, values, strict=True)
    )
    for values in itertools.product(*GRID.values())
}
# Static keys exist before a run is created, so one run can name its first and its last.
KEYS = dg.StaticPartitionsDefinition([*CONFIGURATIONS])
FOLDER = Path("models")


@dg.asset
def sets() -> dict[str, pd.DataFrame]:
    """Three sets: fit on train, choose on test, look at validation once, at the end."""
    table = load_breast_cancer(as_frame=True).frame
    train, rest = train_test_split(
        table, test_size=0.4, stratify=table["target"], random_state=0
    )
    test, validation = train_test_split(
        rest, test_size=0.5, stratify=rest["target"], random_state=0
    )
    return {"train": train, "test": test, "validation": validation}


# One run for a range of partitions: what they share is loaded once, and CI needs one
# command.
@dg.asset(partitions_def=KEYS, backfill_policy=dg.BackfillPolicy.single_run())
def model(context: dg.AssetExecutionContext, sets: dict[str, pd.DataFrame]) -> None:
    """One fitted model per configuration; each partition has its own score, plotted in
    the UI.
    """
    FOLDER.mkdir(exist_ok=True)
    for key in context.partition_keys:
        fitted = _fit(CONFIGURATIONS[key], sets["train"])
        score = _auc(fitted, sets["test"])
        (FOLDER / f"{key}.json").write_text(json.dumps({"key": key, "auc": score}))
        context.add_asset_metadata(
            {"auc": score, **CONFIGURATIONS[key]}, partition_key=key
        )


# Not a partitioned dependency: the leaderboard compares what is there, also after a
# partial rerun.
@dg.asset(deps=[model])
def leaderboard() -> dg.MaterializeResult[list[dict[str, Any]]]:
    """The configurations by their score on the test set, the best first."""
    rows = [json.loads(path.read_text()) for path in FOLDER.glob("*.json")]
    rows = [row for row in rows if row["key"] in CONFIGURATIONS]
    rows.sort(key=lambda row: row["auc"], reverse=True)
    table = dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
    return dg.MaterializeResult(
        value=rows, metadata={"ranking": table, "best": rows[0]["key"]}
    )


@dg.asset
def final_score(
    leaderboard: list[dict[str, Any]], sets: dict[str, pd.DataFrame]
) -> dg.MaterializeResult[float]:
    """The chosen configuration on the validation set (final hold-out), which chose
    nothing.
    """
    both = pd.concat([sets["train"], sets["test"]])
    score = _auc(_fit(CONFIGURATIONS[leaderboard[0]["key"]], both), sets["validation"])
    return dg.MaterializeResult(value=score, metadata={"auc": score})


@dg.asset_check(asset=final_score, blocking=True)
def good_enough(final_score: float) -> dg.AssetCheckResult:
    """Nothing downstream of a bad model is materialized."""
    return dg.AssetCheckResult(passed=final_score > 0.9)


def _fit(
    configuration: dict[str, Any], rows: pd.DataFrame
) -> GradientBoostingClassifier:
    estimator = GradientBoostingClassifier(
        n_estimators=50, random_state=0, **configuration
    )
    return estimator.fit(rows.drop(columns="target"), rows["target"])


def _auc(model: GradientBoostingClassifier, rows: pd.DataFrame) -> float:
    probability = model.predict_proba(rows.drop(columns="target"))[:, 1]
    return float(roc_auc_score(rows["target"], probability))


# The tags name the range of partitions, so that a plain run of the job trains every
# one.
search = dg.define_asset_job(
    "search",
    [sets, model, leaderboard, final_score],
    tags={
        "dagster/asset_partition_range_start": next(iter(CONFIGURATIONS)),
        "dagster/asset_partition_range_end": next(reversed(CONFIGURATIONS)),
    },
    executor_def=dg.in_process_executor,
)

defs = dg.Definitions(
    assets=[sets, model, leaderboard, final_score],
    asset_checks=[good_enough],
    jobs=[search],
)
