"""The split as outcomes of the three sets and checks of them. In: the sets. Out: outcomes, checks."""

from collections.abc import Sequence

import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.outcome import Check, Notes, Outcome, Rows
from experiment_pipeline.reporting.run_record import SetRow
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.split_sets.checks import (
    check_disjoint,
    check_leaks,
    check_look_alike,
    equal_pairs,
    note_copies,
)
from experiment_pipeline.stages.split_sets.sets import SplitSets

ROLE = {
    "train": "Configurations are fitted on it.",
    "test": "Configurations are compared on it.",
    "validation": "The final hold-out: used once, at the end, to evaluate the chosen configuration.",
}


def outcome(sets: SplitSets, name: str) -> Outcome:
    """Return one of the sets; the notes are of all three."""
    table = sets.by_name()[name]
    return Outcome(
        value=table,
        version=table.digest,
        facts={
            "dagster/row_count": len(table.rows),
            "digest": table.digest,
            "sets": Rows(sets.summary),
            "notes": Notes(sets.notes),
        },
        record=[
            SetRow(
                set_name=name,
                rows=len(table.rows),
                columns=len(table.rows.columns),
                digest=table.digest,
            )
        ],
    )


def checks(
    sets: SplitSets, validated: pd.DataFrame, spec: ExperimentSpec, features: Sequence[str]
) -> list[Check]:
    """Return the checks of the three sets together."""
    pairs = equal_pairs(sets, spec, features)
    copies = note_copies(sets, spec, features, pairs)
    return [
        Check.of("sets_are_disjoint", check_disjoint(sets, validated), holds=_rows(sets)),
        Check.of(
            "nothing_leaks_between_sets",
            check_leaks(sets, spec, features, pairs),
            holds="no id, group, time or copy of a row is in more than one set",
            caveats=[note.text for note in copies if note.doubtful],
            notes=[note.text for note in copies if not note.doubtful],
        ),
        _look_alike(check_look_alike(sets, spec, features)),
    ]


def _rows(sets: SplitSets) -> str:
    rows = (f"{name} {len(table):,}" for name, table in sets.rows().items())
    return f"each row is in one set: {', '.join(rows)}; {sets.left_out:,} left out"


def _look_alike(differences: pd.DataFrame) -> Check:
    alarming = int(differences["alarming"].sum())
    return Check(
        "sets_look_alike",
        passed=not alarming,
        means=(
            f"{alarming} of {numbers.counted(len(differences), 'comparison')} of a column of test "
            "or validation with train differ by more than noise"
        ),
        severity="warning",
        value=alarming,
        limit=0,
        facts={"differences": Rows(differences)},
    )
