"""What comparisons of groups are worth, by simulation with the truth known.

Rows of made-up groups are predicted by a model that knows a part of what there is to know. In: how
many samples, a seed, the groups and how rows hang together. Out: shares between 0 and 1.
"""

from functools import cache
from typing import Literal

import numpy as np
from scipy.special import expit

from experiment_pipeline.statistics.groups import GroupMeasure, compare_groups
from experiment_pipeline.statistics.interval import ConsecutiveClusters
from experiment_pipeline.statistics.scores import SetPrediction

POPULATION = 1_000_000
# Of a cluster of rows all are of one group (persons), or each of any (days).
Together = Literal["rows", "persons", "days"]
Sample = tuple[SetPrediction, np.ndarray]
_PER_CLUSTER = {"rows": 1, "persons": 8, "days": 20}
_SHARES = {2: (0.7, 0.3), 6: (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)}


def draw(
    generator: np.random.Generator, rows: int, groups: int, together: Together, apart: float
) -> Sample:
    """Return predictions and group codes; `apart` is by how much the log odds of the first and the
    last group differ, of which the model knows two thirds.
    """
    per = _PER_CLUSTER[together]
    cluster = np.repeat(np.arange(rows // per), per)
    codes = generator.choice(groups, size=len(cluster), p=_SHARES[groups])
    if together == "persons":
        codes = codes[cluster * per]
    shift = apart * codes / (groups - 1)
    luck = (0.7 if per > 1 else 0.0) * generator.normal(size=rows // per)[cluster]
    known = generator.normal(size=len(cluster)) + shift * 2 / 3 - 0.8
    y = (generator.random(len(cluster)) < expit(1.2 * known + shift / 3 + luck)).astype(np.int64)
    clusters = cluster.view(ConsecutiveClusters) if together == "days" else cluster
    numbers = SetPrediction(y, expit(known), clusters)
    return numbers, codes


def _compared(sample: Sample, *, number: bool) -> list[GroupMeasure]:
    """All pairs of groups; of a regression the log odds are the prediction."""
    predicted, codes = sample
    classes = None if number else ("no", "yes")
    return compare_groups(codes, predicted, 0.45, classes)


@cache
def _truth(groups: int, together: Together, apart: float, *, number: bool) -> list[np.ndarray]:
    """The measures of the groups in the population, (groups,) each."""
    generator = np.random.default_rng(0)
    sample = draw(generator, POPULATION, groups, together, apart)
    rows = SetPrediction(sample[0].y, sample[0].prediction, np.arange(len(sample[1])))
    return [
        np.array([of.estimate for of in one.known.values()])
        for one in _compared((rows, sample[1]), number=number)
    ]


def covered(
    samples: int,
    seed: int,
    *,
    what: Literal["differences", "ratios"],
    groups: int,
    together: Together = "rows",
    rows: int = 2_000,
    apart: float = 0.8,
    number: bool = False,
) -> float:
    """Return the share of samples of which all pairs by all measures hold the truth."""
    truth = _truth(groups, together, apart, number=number)
    held = 0
    for at in range(samples):
        generator = np.random.default_rng([seed, at])
        found = _compared(draw(generator, rows, groups, together, apart), number=number)
        held += all(
            _holds(one, of[[*one.known]], what) for one, of in zip(found, truth, strict=True)
        )
    return held / samples


def _holds(one: GroupMeasure, truth: np.ndarray, what: str) -> bool:
    if what == "differences":
        bounds, true = one.differences, truth[:, None] - truth
    elif one.ratios is None:
        return True
    else:
        bounds, true = one.ratios, truth[:, None] / truth
    inside = (bounds[..., 0] <= true) & (true <= bounds[..., 1])
    return bool((inside | np.eye(len(truth), dtype=bool)).all())


def accused(
    samples: int,
    seed: int,
    *,
    groups: int,
    together: Together = "rows",
    rows: int = 2_000,
    apart: float = 0.0,
) -> float:
    """Return the share of samples in which two groups differ significantly by any measure."""
    said = 0
    for at in range(samples):
        generator = np.random.default_rng([seed, at])
        found = _compared(draw(generator, rows, groups, together, apart), number=False)
        said += any((one.differences[..., 0] > 0).any() for one in found)
    return said / samples
