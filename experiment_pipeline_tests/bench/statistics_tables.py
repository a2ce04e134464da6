"""The promise of a report on real tables: a sample is searched, and all other rows tell
the truth.

In: a table of the bench and a seed. Out: whether the interval of its report holds the
score of the exported model on the rows that no stage has seen.
"""

import numpy as np

import experiment_pipeline as ep
from experiment_pipeline.statistics import scores
from experiment_pipeline.statistics.metrics import METRICS
from experiment_pipeline_tests.bench import tables
from experiment_pipeline_tests.bench.places import own_places
from experiment_pipeline_tests.bench.tables import Table

SAMPLED, SECONDS = 2_500, 8.0


def held(samples: int, seed: int, *, of: str) -> float:
    """Return the share of samples whose report's interval holds the score on all other
    rows; of a table whose rows stand for themselves, and are enough to tell the truth.
    """
    table = next(one for one in tables.TABLES if one.name == of)
    return float(np.mean([_holds(table, seed + number) for number in range(samples)]))


def _holds(table: Table, seed: int) -> bool:
    rows = tables.raw(table.package, table.item, table.target)
    sample = rows.sample(SAMPLED, random_state=seed)
    others = rows.drop(index=sample.index).reset_index(drop=True)
    # Every model is exported: those that a gate lets through would be a choice.
    reached = {"at_least": 0} if METRICS[table.metric].sign > 0 else {"at_most": 1e12}
    settings = {
        "metric": table.metric,
        "task": table.task,
        "split": {"by": "random", "seed": seed},
        "baseline": "off",
        "acceptance": [{"metric": table.metric, **reached}],
        **table.declared,
    }
    sample = sample.reset_index(drop=True)
    with own_places():
        run = ep.run(
            sample,
            table.target,
            name=table.name,
            seconds=SECONDS,
            progress=False,
            **settings,
        )
        found = run.model.predict(others.drop(columns=table.target)).predictions
        low, high = (run.facts[f"validation_{end}"] for end in ("low", "high"))
    y, predicted = (
        others.loc[found["row_number"], table.target],
        found.get("prediction"),
    )
    if table.task == "binary":
        probability = found.filter(like="probability_").iloc[:, 0]
        positive = str(probability.name).removeprefix("probability_")
        y, predicted = (y.astype("str") == positive).astype(np.int64), probability
    score = scores.score(table.metric, y.to_numpy(), predicted.to_numpy())
    return low <= score <= high
