"""Who comes first: which configurations a budget tries, and in which order they are fitted.

In: configurations, the seed, scores so far. Out: the same configurations, in another order or
fewer; what is drawn does not depend on the order in which they are given.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.statistics.metrics import METRICS

# Predicting without features costs nothing, needs no rows, and must not take a place.
BASELINE_ALGORITHM = "dummy"


def competes(one: Configuration | ModelResult) -> bool:
    """Whether a configuration has to earn its full training."""
    return one.algorithm != BASELINE_ALGORITHM


def drawn(configurations: Sequence[Configuration], seed: int) -> list[Configuration]:
    """Shuffle by the seed: a larger pool keeps the order of those it had.

    By what a configuration is and not by its key, which grows when another hyperparameter is
    searched.
    """

    def digest(one: Configuration) -> str:
        identity = [seed, one.algorithm, one.features, sorted(one.hyperparameters.items())]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    return sorted(configurations, key=digest)


def within_budget(
    configurations: Sequence[Configuration], spec: ExperimentSpec
) -> list[Configuration]:
    """Draw as many as the budget allows, the baseline beside them: a larger budget only adds."""
    order = drawn(configurations, spec.seed)
    competing = [one for one in order if competes(one)]
    beside = [one for one in order if not competes(one)]
    return beside + competing[: spec.budget.configurations]


def best_first(scored: Mapping[str, ModelResult], metric: str) -> list[str]:
    """Return keys by their test score; equal scores by key, undefined ones last.

    Args:
        scored: key → result on the same rows.
        metric: that ranks.
    """
    sign = METRICS[metric].sign

    def place(key: str) -> tuple[float, str]:
        score = scored[key].test_score
        return (-sign * score if math.isfinite(score) else math.inf), key

    return sorted(scored, key=place)


def promising_first(
    configurations: Sequence[Configuration], scored: Mapping[str, ModelResult], metric: str
) -> list[Configuration]:
    """Order what there may be no time for: the baseline, the best so far, then as given.

    Args:
        configurations: what is to be fitted, as drawn or as picked.
        scored: key → the last result of those that have one.
        metric: that ranks.
    """
    place = {key: number for number, key in enumerate(best_first(scored, metric))}
    return sorted(configurations, key=lambda one: (competes(one), place.get(one.key, len(place))))
