"""The data analysis as a whole: every rule, the probe, and the verdict that follows
from the findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from experiment_pipeline.errors import (
    DataError,
    InvalidExperiment,
    UnusableTable,
    did_you_mean,
)
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.finding import (
    SEVERITIES,
    Finding,
    Severity,
)
from experiment_pipeline.stages.data_analysis.findings import (
    TABLE_RULES,
    own_rule,
    problems,
)
from experiment_pipeline.stages.data_analysis.findings.probe import (
    PROBE_RULES,
    NoProbe,
    Probe,
    run_probe,
)
from experiment_pipeline.stages.data_analysis.skill import Association
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.table.clusters import canonical_order, numbered
from experiment_pipeline.table.digests import row_hashes, uniform
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.preparation import PreparedTable

Verdict = Literal["go", "go with conditions", "no go"]

_LED_TO: dict[Severity, Verdict] = {
    "blocks": "no go",
    "condition": "go with conditions",
    "note": "go",
}
_IDLE = "accepted, but not found"


def weight(finding: Finding) -> Severity:
    """The severity of a finding in the verdict: one step less if it is accepted, `note`
    if not found.
    """
    if finding.outcome != "found":
        return "note"
    step = SEVERITIES.index(finding.severity) + (finding.accepted is not None)
    return SEVERITIES[min(step, len(SEVERITIES) - 1)]


def judge(
    findings: Sequence[Finding], accepted: Mapping[str, str]
) -> tuple[Verdict, tuple[str, ...], tuple[Finding, ...]]:
    """Return the verdict, its reasons, and the sorted findings: found ones first, by
    severity; the first decides.

    A finding that the YAML accepts (code → reason) counts one step less.
    """
    found = {finding.code for finding in findings if finding.outcome == "found"}
    taken = {code: reason for code, reason in accepted.items() if code in found}
    marked = [
        replace(finding, accepted=taken.get(finding.code)) for finding in findings
    ]
    outcomes = ("found", "not_found", "not_applicable")
    marked.sort(key=lambda f: (outcomes.index(f.outcome), SEVERITIES.index(weight(f))))
    reasons = []
    for finding in marked:
        if (found_as := weight(finding)) != "note" or finding.accepted is not None:
            does = {"blocks": " blocks", "condition": "", "note": " is a note"}[
                found_as
            ]
            reason = (
                f" (accepted: {finding.accepted})"
                if finding.accepted is not None
                else ""
            )
            reasons.append(
                f"{finding.code}{does}{reason}: {finding.evidence.removesuffix('.')}"
            )
    reasons += [f"{_IDLE}: {code}" for code in accepted if code not in found]
    return (
        _LED_TO[weight(marked[0]) if marked else "note"],
        tuple(reasons),
        tuple(marked),
    )


@dataclass(frozen=True)
class DataAnalysis:
    """What the analysis of one table found."""

    findings: tuple[Finding, ...]  # one per rule; found first, the heaviest first
    probe: Probe | NoProbe
    verdict: Verdict
    reasons: tuple[str, ...]  # a sentence per finding that counted, and per acceptance
    conditions: tuple[str, ...]  # the reasons without acceptances of what was not found
    associations: tuple[
        Association, ...
    ]  # skill of each feature alone, the strongest first
    label_ceiling: float | None  # the best score that conflicting labels allow
    rows: int  # of the table
    rows_read: int  # all, or a sample of a larger table
    # Positions of the rows that a report may show: a sample without the validation set.
    shown_rows: np.ndarray = field(compare=False, repr=False)

    @property
    def found(self) -> tuple[Finding, ...]:
        """The findings that the table has."""
        return tuple(finding for finding in self.findings if finding.outcome == "found")

    def to_json(self) -> str:
        """Everything but the rows to show; nan and infinity become null."""
        content = asdict(self)
        del content["shown_rows"]
        return to_json(content).decode()


def unfit(target: str, because: str) -> DataError:
    """Return the error of a table whose verdict is `no go`."""
    return DataError(
        f"target {target}",
        f"the data analysis says no go: {because}",
        "Change the data or the YAML as the report advises, or accept the finding: give its code and a "
        "reason under analysis.accept.",
    )


def analyse(
    frame: pd.DataFrame,
    sets: pd.Series,
    features: Sequence[str],
    spec: ExperimentSpec,
    rows: int | None = None,
) -> DataAnalysis:
    """Analyse a table before anything is validated or trained.

    `sets` (train, test, validation or gap) has the index of `frame`, a sample of
    `rows`. Raises UnusableTable: no target column; InvalidExperiment: the YAML names an
    unknown finding or rule.
    """
    if spec.target not in frame.columns:
        rule = (
            f"the table has no such column; {did_you_mean(spec.target, frame.columns)}"
        )
        fix = "Correct target in the YAML."
        raise UnusableTable(f"target {spec.target!r}", rule, fix)
    for problem in problems(spec.analysis):
        place = ".".join(map(str, problem.location))
        raise InvalidExperiment(place, problem.message, "correct the YAML")
    subject = Subject(frame, sets, tuple(features), spec)
    findings = [rule.check(subject) for rule in TABLE_RULES]
    for rule in map(own_rule, spec.analysis.findings):
        own = rule.check(subject)
        if not isinstance(own, Finding) or own.code != rule.code:
            returned = f"the rule {rule.code!r} returned {own!r}"
            raise InvalidExperiment(
                "analysis.findings", returned, "Return a Finding of that code."
            )
        findings.append(own)
    # Columns that give the target away take no part, unless the YAML accepts them.
    leaks = {"leak_suspect", "made_of_target"} - spec.analysis.accept.keys()
    left_out = dict.fromkeys(
        c for one in findings if one.code in leaks for c in one.columns
    )
    probe = run_probe(subject, tuple(left_out))
    findings += [rule.check(subject, probe) for rule in PROBE_RULES]
    verdict, reasons, judged = judge(findings, spec.analysis.accept)
    return DataAnalysis(
        findings=judged,
        probe=probe,
        verdict=verdict,
        reasons=reasons,
        conditions=tuple(one for one in reasons if not one.startswith(_IDLE)),
        associations=subject.associations,
        label_ceiling=next(
            (one.ceiling for one in findings if one.ceiling is not None), None
        ),
        rows=len(frame) if rows is None else rows,
        rows_read=len(frame),
        shown_rows=subject.sample(
            np.flatnonzero(subject.visible), spec.analysis.report_rows
        ),
    )


# Of a larger table a sample is analysed: shares are then exact to a tenth of a percent,
# and the analysis stays within minutes and a gigabyte.
MOST_ROWS, SAMPLED_ROWS = 2_000_000, 1_000_000


def analyse_prepared(
    prepared: PreparedTable, spec: ExperimentSpec
) -> tuple[DataAnalysis, pd.DataFrame]:
    """Analyse a prepared table, or a sample of a large one; return also the rows that
    it read.
    """
    frame, features = prepared.frame, feature_columns(prepared.frame, spec)
    sets = prepared.sets
    if (read := rows_to_read(frame, features)) is not None:
        frame, sets = frame.iloc[read], sets.iloc[read]
    sets = sets.astype("str")
    frame = frame.drop(
        columns=[name for name in frame if kind_of(frame[name]) == "nested"]
    )
    # In the canonical order, which depends on the rows' values, but not on targets of
    # the validation set.
    visible = (sets != "validation").to_numpy()
    seen = frame.assign(
        **{spec.target: frame[spec.target].where(visible)}
        if spec.target in frame
        else {}
    )
    frame = frame.iloc[canonical_order(seen, spec, features)]
    return analyse(frame, sets[frame.index], features, spec, len(prepared.frame)), frame


def rows_to_read(prepared: pd.DataFrame, features: Sequence[str]) -> np.ndarray | None:
    """Sample positions of a large table, int64 (k,), ascending; None: all rows are
    read.

    Rows are chosen by a hash of their features, so equal rows are all in or all out; in
    a table of few distinct combinations each row is chosen by itself.
    """
    if len(prepared) <= MOST_ROWS:
        return None
    share = SAMPLED_ROWS / len(prepared)
    hashes = row_hashes(prepared, features, "sample of the analysis")
    chosen = np.flatnonzero(uniform(hashes) < share)
    if not SAMPLED_ROWS / 2 < len(chosen) < SAMPLED_ROWS * 2:
        chosen = np.flatnonzero(uniform(numbered(prepared, hashes)) < share)
    return chosen
