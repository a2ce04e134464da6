"""The data analysis as a whole: every rule, the probe, and the verdict."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
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
    FindingOutcome,
    Severity,
)
from experiment_pipeline.stages.data_analysis.findings import (
    TABLE_RULES,
    own_finding,
    problems,
)
from experiment_pipeline.stages.data_analysis.findings.probe import (
    PROBE_RULES,
    NoProbe,
    Probe,
    ProbeNearlyPerfect,
    run_probe,
)
from experiment_pipeline.stages.data_analysis.skill import Association
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.table.clusters import canonical_order, numbered
from experiment_pipeline.table.dictionary import NO_DICTIONARY, Dictionary
from experiment_pipeline.table.digests import row_hashes, uniform
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.preparation import PreparedTable
from experiment_pipeline.table.table import some_rows

Verdict = Literal["go", "go with conditions", "no go"]

_LED_TO: dict[Severity, Verdict] = {
    "blocks": "no go",
    "condition": "go with conditions",
    "note": "go",
}
# The words after a finding's code in the reasons.
_COUNTS_AS: dict[Severity, str] = {
    "blocks": " blocks",
    "condition": "",
    "note": " is a note",
}
_OUTCOMES: tuple[FindingOutcome, ...] = ("found", "not_found", "not_applicable")


def weight(finding: Finding) -> Severity:
    """The severity in the verdict: one step less if accepted, `note` if not found."""
    if finding.outcome != "found":
        return "note"
    step = SEVERITIES.index(finding.severity) + (finding.accepted is not None)
    return SEVERITIES[min(step, len(SEVERITIES) - 1)]


def weighed(
    findings: Iterable[Finding], accepted: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Mark what the YAML accepts (code → reason), and sort: found first, by weight."""
    marked = [
        replace(finding, accepted=accepted.get(finding.code))
        if finding.outcome == "found"
        else finding
        for finding in findings
    ]
    order = _OUTCOMES.index
    marked.sort(key=lambda f: (order(f.outcome), SEVERITIES.index(weight(f))))
    return tuple(marked)


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """The verdict of weighed findings: the first one decides."""
    return _LED_TO[weight(findings[0])] if findings else "go"


def reasons_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """A sentence for each finding that counted or was accepted."""
    reasons = []
    for finding in findings:
        counted = weight(finding)
        if counted == "note" and finding.accepted is None:
            continue
        reason = f"{finding.code}{_COUNTS_AS[counted]}"
        if finding.accepted is not None:
            reason += f" (accepted: {finding.accepted})"
        reasons.append(f"{reason}: {finding.evidence.removesuffix('.')}")
    return tuple(reasons)


@dataclass(frozen=True)
class DataAnalysis:
    """What the analysis of one table found."""

    findings: tuple[Finding, ...]  # one per rule; found first, the heaviest first
    probe: Probe | NoProbe
    verdict: Verdict
    reasons: tuple[str, ...]  # a sentence per finding that counted, and per acceptance
    conditions: tuple[str, ...]  # the reasons without acceptances of what was not found
    # Skill of each feature alone, the strongest first.
    associations: tuple[Association, ...]
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
        rule=f"the data analysis says no go: {because}",
        fix=(
            "Change the data or the YAML as the report advises, or accept the finding: "
            "give its code and a reason under analysis.accept."
        ),
    )


def analyse(
    frame: pd.DataFrame,
    sets: pd.Series,
    features: Sequence[str],
    spec: ExperimentSpec,
    rows: int | None = None,
    dictionary: Dictionary = NO_DICTIONARY,
) -> DataAnalysis:
    """Analyse a table before anything is validated or trained.

    `sets` (train, test, validation or gap) has the index of `frame`, a sample of
    `rows`. Raises UnusableTable: no target column; InvalidExperiment: the YAML names an
    unknown finding or rule.
    """
    _check_settings(frame, spec)
    subject = Subject(frame, sets, tuple(features), spec, dictionary)
    findings = [rule.check(subject) for rule in TABLE_RULES]
    findings += [own_finding(path, subject) for path in spec.analysis.findings]
    accepted = spec.analysis.accept
    # Columns that give the target away take no part, unless the YAML accepts them.
    leaks = {"leak_suspect", "made_of_target", "known_too_late"} - accepted.keys()
    suspects = [finding.columns for finding in findings if finding.code in leaks]
    left_out = tuple(dict.fromkeys(itertools.chain(*suspects)))
    probe = run_probe(subject, left_out)
    findings += [rule.check(subject, probe) for rule in PROBE_RULES]
    ceilings = [f.ceiling for f in findings if f.ceiling is not None]
    judged = weighed(findings, accepted)
    visible = np.flatnonzero(subject.visible)
    return DataAnalysis(
        findings=judged,
        probe=probe,
        verdict=verdict_of(judged),
        reasons=(*reasons_of(judged), *_idle(judged, accepted)),
        conditions=reasons_of(judged),
        associations=subject.associations,
        label_ceiling=next(iter(ceilings), None),
        rows=len(frame) if rows is None else rows,
        rows_read=len(frame),
        shown_rows=subject.sample(visible, spec.analysis.report_rows),
    )


def _idle(findings: Iterable[Finding], accepted: Mapping[str, str]) -> list[str]:
    codes = {finding.code for finding in findings if finding.outcome == "found"}
    # The gate of the validation report on implausible errors asks for it as well.
    codes.add(ProbeNearlyPerfect.code)
    idle = [code for code in accepted if code not in codes]
    return [f"accepted, but not found: {code}" for code in idle]


def _check_settings(frame: pd.DataFrame, spec: ExperimentSpec) -> None:
    if spec.target not in frame.columns:
        meant = did_you_mean(spec.target, frame.columns)
        raise UnusableTable(
            f"target {spec.target!r}",
            rule=f"the table has no such column; {meant}",
            fix="Correct target in the YAML.",
        )
    for problem in problems(spec.analysis):
        place = ".".join(map(str, problem.location))
        raise InvalidExperiment(place, problem.message, "correct the YAML")


# Of a larger table a sample is analysed: shares are then exact to a tenth of a percent,
# and the analysis stays within minutes and a gigabyte.
MOST_ROWS, SAMPLED_ROWS = 2_000_000, 1_000_000


def analyse_prepared(
    prepared: PreparedTable, spec: ExperimentSpec, dictionary: Dictionary
) -> tuple[DataAnalysis, pd.DataFrame]:
    """Analyse a prepared table, or a sample of a large one; also return its rows."""
    frame, sets = prepared.frame, prepared.sets
    if prepared.labelled is not None:
        labelled = np.flatnonzero(prepared.labelled)
        frame, sets = some_rows(frame, labelled), sets.iloc[labelled]
    features = feature_columns(frame, spec)
    rows = len(frame)
    sampled = rows_to_read(frame, features)
    if sampled is not None:
        frame, sets = frame.iloc[sampled], sets.iloc[sampled]
    sets = sets.astype("str")
    nested = [name for name in frame if kind_of(frame[name]) == "nested"]
    frame = frame.drop(columns=nested)
    # In the canonical order, which depends on the rows' values, but not on targets of
    # the validation set.
    hidden = frame
    if spec.target in frame:
        visible = (sets != "validation").to_numpy()
        hidden = frame.assign(**{spec.target: frame[spec.target].where(visible)})
    frame = frame.iloc[canonical_order(hidden, spec, features)]
    analysed = analyse(frame, sets[frame.index], features, spec, rows, dictionary)
    return analysed, frame


def rows_to_read(prepared: pd.DataFrame, features: Sequence[str]) -> np.ndarray | None:
    """Sample positions of a large table, int64 (k,), ascending; None: all rows.

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
