"""What the decision record of a run tells, gathered from the metadata database.

In: a run that exported or refused. Out: `Decided`, its rows and what it is held against. What the
record looks like: `record_page.py`; who writes it: `pages.py`, and the export.
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
    """An earlier run that this one is held against.

    Attributes:
        which: in words: `the champion v0002`, `the run before`.
        comparison: from that run to this one.
    """

    which: str
    comparison: RunComparison


@dataclass(frozen=True)
class Decided:
    """Everything that the record of a run tells; rows as of the tables of the same names.

    Attributes:
        run: the run's own row.
        sets: the three sets.
        findings: of the data analysis.
        configurations: the ranked ones first, by rank.
        scores: of the chosen model.
        gates: of the validation report.
        reports: pages of the run.
        earlier: what it is held against.
        approval: who has approved the version, or must, in words; empty without a version.
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
    """Return what is remembered of a run that has been decided.

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

    versions = plain_rows(questions.versions(experiment))
    made = next((one for one in versions if one["version"] == run["version"]), None)
    ranked = sorted(rows("configurations"), key=_by_rank)
    return Decided(
        run=run,
        sets=sorted(rows("sets"), key=lambda row: _SETS.index(row["set_name"])),
        findings=rows("findings"),
        configurations=ranked,
        scores=rows("scores"),
        gates=rows("gates"),
        reports=rows("reports"),
        earlier=tuple(_earlier(run, versions)),
        approval="" if made is None else approval_in_words(experiment, made),
        version_place="" if made is None else made["place"],
    )


def is_decided(run: Row) -> bool:
    """Whether a run came to a decision, so that there is something to sign."""
    return run["status"] in {"accepted", "rejected"}


def _earlier(run: Row, versions: Sequence[Row]) -> Iterator[Earlier]:
    """The run that made the champion of then, and the last one that was decided."""
    name, known = run["experiment"], set()
    others = [one for one in versions if one["run_id"] not in {None, run["run_id"]}]
    before = [one for one in others if one["created_at"] < run["started_at"]]
    if before:
        known.add(before[-1]["run_id"])
        yield _held_against(f"{before[-1]['version']}", before[-1]["run_id"], run)
    last = questions.last_decided(name, run["started_at"])
    if last is not None and last["run_id"] not in {*known, run["run_id"]}:
        yield _held_against("the run before", last["run_id"], run)


def _held_against(which: str, run_id: str, run: Row) -> Earlier:
    return Earlier(which, compared(questions.run_of(run["experiment"], run_id), run))


def approval_in_words(experiment: str, version: Row) -> str:
    """Who approved a version, or how that is done.

    Args:
        experiment: its name.
        version: `version`, `approval_required`, `approved_by`, `approved_at`.
    """
    if version["approved_by"]:
        return (
            f"approved by {version['approved_by']} at {numbers.moment(version['approved_at'])} UTC"
        )
    if not version["approval_required"]:
        return "not required"
    return (
        f"required, and not given yet: experiment-pipeline approve {experiment} "
        f"{version['version']} --by NAME"
    )


def _by_rank(row: Row) -> tuple[bool, int, str]:
    return row["rank"] is None, row["rank"] or 0, row["key"]
