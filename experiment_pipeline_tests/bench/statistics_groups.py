"""What comparisons of groups are worth, by simulation with the truth known.

Rows of made-up groups are predicted by a model that knows a part of what there is to
know. In: how many samples, a seed, and how rows are drawn, as of `draw`. Out: shares
between 0 and 1.
"""

from functools import cache
from typing import Any, Literal

import numpy as np
from scipy.special import expit

from experiment_pipeline.statistics.groups import GroupMeasure, compare_groups
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.bench.simulations import (
    of_each,
)

POPULATION = 1_000_000
_PER_CLUSTER = {"rows": 1, "persons": 8, "days": 20}
_SHARES = {2: (0.7, 0.3), 6: (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)}


def draw(
    generator: np.random.Generator,
    *,
    groups: int,
    together: Literal["rows", "persons", "days"] = "rows",
    rows: int = 2_000,
    apart: float = 0.8,
    number: bool = False,
) -> list[GroupMeasure]:
    """Return what is found for rows of which one cluster is of one group (persons) or
    of any (days).

    `apart` is by how much the first and the last group differ, of which the model knows
    two thirds.
    """
    per = _PER_CLUSTER[together]
    cluster = np.repeat(np.arange(rows // per), per)
    codes = generator.choice(groups, size=len(cluster), p=_SHARES[groups])
    if together == "persons":
        codes = codes[cluster * per]
    shift = apart * codes / (groups - 1)
    luck = (0.7 if per > 1 else 0.0) * generator.normal(size=rows // per)[cluster]
    known = generator.normal(size=len(cluster)) + shift * 2 / 3 - 0.8
    truth = 1.2 * known + shift / 3 + luck
    clusters = cluster.view(ConsecutiveClusters) if together == "days" else cluster
    if number:
        y = truth + generator.normal(size=len(cluster))
        return compare_groups(codes, SetPrediction(y, known, clusters), 0.5, None)
    y = (generator.random(len(cluster)) < expit(truth)).astype(np.int64)
    return compare_groups(
        codes, SetPrediction(y, expit(known), clusters), 0.45, ("no", "yes")
    )


@cache
def _truth(**how: Any) -> list[np.ndarray]:
    """The measures of the groups in the population, (groups,) each."""
    found = draw(np.random.default_rng(0), **{**how, "rows": POPULATION})
    return [
        np.array([interval.estimate for interval in one.intervals.values()])
        for one in found
    ]


def _holds(one: GroupMeasure, truth: np.ndarray) -> bool:
    known = truth[[*one.intervals]]
    pairs = [(one.differences, np.subtract.outer(known, known))]
    if one.ratios is not None:
        pairs.append((one.ratios, np.divide.outer(known, known)))
    outside = [
        (true < bounds[..., 0]) | (true > bounds[..., 1]) for bounds, true in pairs
    ]
    return not (np.any(outside, axis=0) & ~np.eye(len(known), dtype=bool)).any()


def judged(samples: int, seed: int, **how: Any) -> tuple[float, float]:
    """Return shares of samples: all differences and ratios, of all pairs by all
    measures, hold; two groups differ significantly by any.
    """
    truths, held, said = _truth(**how), 0, 0
    for generator in of_each(samples, seed):
        found = draw(generator, **how)
        held += all(map(_holds, found, truths))
        said += any((one.differences[..., 0] > 0).any() for one in found)
    return held / samples, said / samples


def grouped(samples: int, seed: int, *, groups: int, together: str) -> dict[str, float]:
    """Return what comparisons of groups of rows that hang together hold, and whom they
    accuse.
    """
    how = {"groups": groups, "together": together}
    rates, apart = judged(samples, seed, **how)
    errors, _ = judged(samples, seed, **how, number=True)
    _, equal = judged(samples, seed, **how, apart=0.0)
    return {
        "all comparisons of rates hold": rates,
        "all comparisons of errors hold": errors,
        "equal ones said to differ": equal,
        "different ones said to differ": apart,
    }
