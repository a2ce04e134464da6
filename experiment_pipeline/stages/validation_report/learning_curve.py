"""Do more train rows still help? What the rungs of a search say about it.

Configurations that were trained on a part of the train rows and on all of them are scored on the
same test rows. In: the sets and stored predictions. Out: a `LearningCurve`. What follows from it
is said by `shortfall.py`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from experiment_pipeline.rows.units import resampling_units
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.search.configurations import configurations
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.rungs import competes, ladder, within_budget
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.stages.validation_report.shortfall import LearningCurve
from experiment_pipeline.statistics.influence import Linearised, average
from experiment_pipeline.statistics.paired import paired_difference
from experiment_pipeline.statistics.thresholds import on_test

# A step that shows something: twice the rows at least.
_LARGEST_PART = 0.5
Predictions = Callable[[Sequence[str]], Mapping[str, np.ndarray]]


def learning_curve(
    spec: ExperimentSpec, sets: TrainingSets, trained: Collection[str], stored: Predictions
) -> LearningCurve | None:
    """Return what the train rows beyond the last rung brought; None where no rung was small.

    The mean over all configurations that went from that rung to the end: they were chosen by
    their scores at the rung, so chance makes the gain look smaller, never larger.

    Args:
        spec: the experiment.
        sets: the full sets.
        trained: keys of the configurations that were trained on all rows.
        stored: fingerprints → predictions of the test rows (of the rung) that exist.
    """
    competing = [one for one in within_budget(configurations(spec), spec) if competes(one)]
    *small, full = ladder(len(competing), sets, spec).rungs
    small = [rung for rung in small if rung.fraction <= _LARGEST_PART]
    if not small:
        return None
    rung = small[-1]
    pairs = [
        (fingerprint(one, rung.sets, spec), fingerprint(one, full.sets, spec))
        for one in competing
        if one.key in trained
    ]
    found = stored([print_ for pair in pairs for print_ in pair])
    both = [pair for pair in pairs if set(pair) <= found.keys()]
    if not both:
        return None
    scored = sets.test.index.isin(rung.sets.test.index)
    y = rung.sets.y_test
    before = _mean_score(spec, y, [found[part] for part, _ in both])
    after = _mean_score(spec, y, [found[whole][scored] for _, whole in both])
    units = resampling_units(rung.sets.test, spec, sets.features)
    return LearningCurve(
        rows_before=len(rung.sets.train),
        rows=len(sets.train),
        before=before.estimate,
        after=after.estimate,
        gain=paired_difference(spec.metric, y, before, after, units),
        configurations=len(both),
    )


def _mean_score(
    spec: ExperimentSpec, y: np.ndarray, predictions: Sequence[np.ndarray]
) -> Linearised:
    return average([on_test(spec.metric_names, y, one) for one in predictions])
