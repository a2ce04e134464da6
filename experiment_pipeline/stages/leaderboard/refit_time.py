"""Whether a budget of seconds has time left to fit an ensemble again, and to report on it.

The refit of one configuration was reserved while the search ran (`search/foresight.py`); that of an
ensemble as far as fits had their part. In: what is left of the budget, results. Out: a reason, or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experiment_pipeline.stages.search.foresight import AfterSearch, FullFit
from experiment_pipeline.stages.search.results import ModelResult


@dataclass(frozen=True)
class RefitTime:
    """What is left of a budget of seconds when the ranking is made.

    Attributes:
        left: seconds.
        after: how long refit and report take.
    """

    left: float
    after: AfterSearch

    def why_not(self, members: Sequence[ModelResult]) -> str:
        """Say why an ensemble of these is left out; empty where there is time for it."""
        needed = self.after.seconds([FullFit.of(one) for one in members])
        if needed <= self.left:
            return ""
        return (
            f"an ensemble of {len(members)} of them is left out: its refit and report would have "
            f"taken {needed:.1f} seconds or so of the {max(self.left, 0.0):.1f} that were left"
        )
