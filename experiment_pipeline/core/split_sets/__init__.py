"""The three sets: train to fit on, test to choose on, validation to look at once at the end.

Which set a row is in is a pure function of the prepared rows, so that the data analysis can
keep its eyes off the validation rows before the sets exist. In: rows and the experiment. Out:
`SplitSets`, and what must hold about them, in words. Storing them belongs to the assets.
"""

from experiment_pipeline.core.split_sets.assignment import LEFT_OUT, SETS, assign_sets
from experiment_pipeline.core.split_sets.inner import inner_gap, inner_slice
from experiment_pipeline.core.split_sets.leaks import check_disjoint, check_leaks, note_copies
from experiment_pipeline.core.split_sets.look_alike import check_look_alike
from experiment_pipeline.core.split_sets.order import canonical_order
from experiment_pipeline.core.split_sets.sets import SplitSets, split
from experiment_pipeline.core.split_sets.units import resampling_units

__all__ = [
    "LEFT_OUT",
    "SETS",
    "SplitSets",
    "assign_sets",
    "canonical_order",
    "check_disjoint",
    "check_leaks",
    "check_look_alike",
    "inner_gap",
    "inner_slice",
    "note_copies",
    "resampling_units",
    "split",
]
