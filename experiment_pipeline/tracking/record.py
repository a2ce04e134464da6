"""Gather what the decision record of a run shows, from the metadata database.

What the record looks like: `record_page.py`; who writes it: `pages.py`, and the export.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.reporting import numbers
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import RunComparison, compared

Row = Mapping[str, Any]
_SETS = ("train", "test", "validation")


@dataclass(frozen=True)
class Earlier:
    """An earlier run that this one is compared with.

    Attributes:
        which: in words: `v0002`, `the run before`.
        comparison: from that run to this one.
    """

    which: str
    comparison: RunComparison


@dataclass(frozen=True)
class Decided:
    """Everything that the record of a run shows; rows as of the tables of the same names.

    Attributes:
        run: the run's own row.
        sets: train, test, validation.
        findings: of the data analysis.
        configurations: the ranked ones first, by rank.
        scores: of the chosen model.
        gates: of the validation report.
        reports: pages of the run.
        earlier: runs that it is compared with.
        approval: of the version, in words; empty without a version.
        version_place: the folder of the version; empty without one.
    """

    run: Row
    sets: Sequence[Row]
    findings: Sequence[Row]
    configurations: Sequence[Row]
    scores: Sequence[Row]
    gates: Sequence[Row]
    reports: Sequence[Row]
    earlier: Sequence[Earlier]
    approval: str
    version_place: str


def decided(experiment: str, run_id: str, facts: Row | None = None) -> Decided:
    """Return what is recorded of a run that has been decided.

    Args:
        experiment: its name.
        run_id: the run's.
        facts: columns of `runs` that are known and not yet written.

    Raises:
        UnknownRun: there is no such run.
    """
    run = {**questions.run_of(experiment, run_id), **(facts or {})}

    def rows(table: str) -> Sequence[Row]:
        return plain_rows(questions.rows_of_run(table, run))

    def by_rank(row: Row) -> tuple[bool, int, str]:
        return row["rank"] is None, row["rank"] or 0, row["key"]

    versions = plain_rows(questions.versions(experiment))
    own = next((one for one in versions if one["version"] == run["version"]), None)
    return Decided(
        run=run,
        sets=sorted(rows("sets"), key=lambda row: _SETS.index(row["set_name"])),
        findings=rows("findings"),
        configurations=sorted(rows("configurations"), key=by_rank),
        scores=rows("scores"),
        gates=rows("gates"),
        reports=rows("reports"),
        earlier=tuple(_earlier(run, versions)),
        approval="" if own is None else approval_in_words(experiment, own),
        version_place="" if own is None else own["place"],
    )


def is_decided(run: Row) -> bool:
    """Whether a run was accepted or rejected."""
    return run["status"] in {"accepted", "rejected"}


def _earlier(run: Row, versions: Sequence[Row]) -> Iterator[Earlier]:
    """Compare with the run of the version before this run, and with the last decided run."""
    others = [
        one
        for one in versions
        if one["run_id"] not in {None, run["run_id"]} and one["created_at"] < run["started_at"]
    ]
    names = {others[-1]["run_id"]: others[-1]["version"]} if others else {}
    last = questions.last_decided(run["experiment"], run["started_at"])
    if last is not None and last["run_id"] != run["run_id"]:
        names.setdefault(last["run_id"], "the run before")
    for run_id, which in names.items():
        yield Earlier(which, compared(questions.run_of(run["experiment"], run_id), run))


def approval_in_words(experiment: str, version: Row) -> str:
    """The approval of a version, or the command that gives it.

    Args:
        experiment: its name.
        version: `version`, `approval_required`, `approved_by`, `approved_at`.
    """
    if version["approved_by"]:
        moment = numbers.moment(version["approved_at"])
        return f"approved by {version['approved_by']} at {moment} UTC"
    if not version["approval_required"]:
        return "not required"
    command = f"experiment-pipeline approve {experiment} {version['version']} --by NAME"
    return f"required, and not given yet: {command}"
