"""Whether a budget of seconds has time left to fit an ensemble again, and to report on it.

The refit of one configuration was reserved while the search ran (`search/foresight.py`); that of an
ensemble as far as fits had their part. In: what is left of the budget, results. Out: a reason, or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experiment_pipeline.spec import LeaderboardSpec
from experiment_pipeline.stages.leaderboard.ensemble import Found, find_ensemble
from experiment_pipeline.stages.leaderboard.ranking import Measured, RankedRows, TestPredictions
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


def ensemble_in_time(
    measured: Sequence[Measured],
    predictions: TestPredictions,
    rows: RankedRows,
    spec: LeaderboardSpec,
    time: RefitTime | None,
) -> tuple[Found | None, str]:
    """Return the ensemble of the best few that there is time to fit again, of fewer members if need be.

    Args:
        measured: as of `find_ensemble`, as are the next three.
        predictions: see there.
        rows: see there.
        spec: see there.
        time: what is left; None: there is no limit.

    Returns:
        The ensemble, and why a larger one that would be chosen is left out; empty: none is.
    """
    found, said = find_ensemble(measured, predictions, rows, spec), ""
    results = {one.result.fingerprint: one.result for one in measured}
    while found is not None and time is not None and found.is_better and spec.ensemble is not None:
        members = [results[one.fingerprint] for one in found.ensemble.members]
        if not (why := time.why_not(members)):
            break
        said, fewer = said or why, len(members) - 1
        smaller = spec.ensemble.model_copy(update={"members": fewer})
        spec = spec.model_copy(update={"ensemble": smaller})
        found = find_ensemble(measured, predictions, rows, spec) if fewer > 1 else None
    return found, said
