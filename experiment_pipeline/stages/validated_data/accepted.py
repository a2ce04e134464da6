"""The validated data against its accepted version: check, facts, and what is kept.

The comparison itself is in `stages/validated_data/profile.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from experiment_pipeline.reporting.outcome import Check, Fact, Notes, Rows
from experiment_pipeline.spec import Drift, ExperimentSpec
from experiment_pipeline.stages.validated_data.profile import (
    DataChanges,
    DataProfile,
    compare,
    profile,
)
from experiment_pipeline.stages.validated_data.profile_store import DataProfiles
from experiment_pipeline.stages.validated_data.rows import ValidatedData
from experiment_pipeline.storage.locations import storage_root

CHECK = "data_resembles_the_accepted"
FIRST = "no accepted version yet: the first export makes one"


@dataclass(frozen=True)
class Changed:
    """The profile of this run, and how it differs from what was there before.

    Attributes:
        profile: of this run, stored.
        previous_rate: rejection rate of the run before, in [0, 1]; None for the first.
        changes: against the accepted version; None when there is none.
        limits: from the YAML.
        store: where profiles are.
    """

    profile: DataProfile
    previous_rate: float | None
    changes: DataChanges | None
    limits: Drift
    store: DataProfiles

    def note_run(self) -> None:
        """Let the next run compare its rejection rate with this one's.

        Only for a run that kept the limits: else a second try would pass as no rise.
        """
        self.store.note_run(self.profile.digest)

    def facts(self) -> dict[str, Fact]:
        """What changed, as tables."""
        if self.changes is None:
            return {"changes": FIRST}
        return {
            "changes": Rows(self.changes.totals),
            "schema_changes": Notes(self.changes.schema),
            "drift": Rows(self.changes.drift),
        }

    def check(self) -> Check:
        """Warn of changes; an error, which ends the run, only past the YAML's limit."""
        if self.changes is None:
            return Check(CHECK, passed=True, means=FIRST)
        if stopping := self.changes.blocking(self.limits):
            return Check.of(CHECK, [*stopping, _WAY_ON])
        return Check.of(CHECK, self.changes.problems(self.limits), "warning")


_WAY_ON = (
    "if the data is right, raise validation.drift.block for one run: what its model is exported "
    "from is the accepted version from then on"
)


def against_the_accepted(
    spec: ExperimentSpec, outcome: ValidatedData, tell: Callable[[str], object]
) -> Changed:
    """Profile the validated rows, keep the profile, and compare it; `tell` hears of damage."""
    store = DataProfiles(storage_root(), spec.name)
    current = profile(outcome.validated, outcome.rejection_rate)
    store.put(current)
    previous, accepted = store.previous(tell), store.accepted(tell)
    return Changed(
        profile=current,
        previous_rate=None if previous is None else previous.rejection_rate,
        changes=None if accepted is None else compare(accepted, current, outcome.validated, spec),
        limits=spec.validation.drift,
        store=store,
    )


def accept(spec: ExperimentSpec, profile_digest: str) -> None:
    """Make the version of the data accepted that an exported model was made from."""
    DataProfiles(storage_root(), spec.name).accept(profile_digest)
