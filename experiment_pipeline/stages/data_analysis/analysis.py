"""The data analysis as a whole: every rule once, the probe, the verdict.

In: the prepared table, the set of each row, the features, the spec. Out: a frozen DataAnalysis;
its verdict follows from the findings alone, by rules that are written down here. How it is shown
is in `page.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from experiment_pipeline.errors import InvalidExperiment, UnusableTable, did_you_mean
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.data_analysis.finding import (
    SEVERITIES,
    Finding,
    FindingRule,
    Severity,
)
from experiment_pipeline.stages.data_analysis.findings import (
    PROBE_RULES,
    TABLE_RULES,
    check_settings,
    own_rules,
)
from experiment_pipeline.stages.data_analysis.probe import NoProbe, Probe, run_probe
from experiment_pipeline.stages.data_analysis.skill import Association
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.table.clusters import canonical_order, numbered
from experiment_pipeline.table.digests import row_hashes, uniform
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.kinds import kind_of
from experiment_pipeline.table.preparation import PreparedTable

Verdict = Literal["go", "go with conditions", "no go"]

VERDICT_RULES = (
    "A found finding that blocks makes the verdict `no go`.",
    "Otherwise a found finding that is a condition makes it `go with conditions`.",
    "Otherwise it is `go`; notes never weigh.",
    "A finding that the YAML accepts weighs one step less: a block is a condition, a condition a note.",
)
_LED_TO: dict[Severity, Verdict] = {
    "blocks": "no go",
    "condition": "go with conditions",
    "note": "go",
}


@dataclass(frozen=True)
class Judgement:
    """A verdict and why: a sentence per finding that weighed, and per acceptance."""

    verdict: Verdict
    reasons: tuple[str, ...]


def accept(findings: Sequence[Finding], reasons: Mapping[str, str]) -> tuple[Finding, ...]:
    """Mark the found findings that the YAML accepts."""
    return tuple(
        replace(finding, accepted=reasons[finding.code])
        if finding.outcome == "found" and finding.code in reasons
        else finding
        for finding in findings
    )


def weight(finding: Finding) -> Severity:
    """How much a finding weighs: its severity, one step less when it is accepted."""
    if finding.outcome != "found":
        return "note"
    step = SEVERITIES.index(finding.severity) + (finding.accepted is not None)
    return SEVERITIES[min(step, len(SEVERITIES) - 1)]


def judge(findings: Sequence[Finding], accepted: Mapping[str, str]) -> Judgement:
    """Apply VERDICT_RULES to findings on which acceptances are marked."""
    weights: list[Severity] = [*map(weight, findings), "note"]
    heaviest = min(weights, key=SEVERITIES.index)
    weighed = [f for f in findings if weight(f) != "note" or f.accepted is not None]
    found = {finding.code for finding in findings if finding.outcome == "found"}
    idle = [f"accepted, but not found: {code}" for code in accepted if code not in found]
    return Judgement(_LED_TO[heaviest], (*map(_sentence, by_weight(weighed)), *idle))


def by_weight(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Found first, the heaviest first; then not found; then not applicable."""
    outcomes = ("found", "not_found", "not_applicable")
    return tuple(
        sorted(
            findings,
            key=lambda f: (outcomes.index(f.outcome), SEVERITIES.index(weight(f))),
        )
    )


def _sentence(finding: Finding) -> str:
    words = {"blocks": "blocks", "condition": "is a condition", "note": "is a note"}
    accepted = f" (accepted: {finding.accepted})" if finding.accepted is not None else ""
    return f"{finding.code} {words[weight(finding)]}{accepted}: {finding.evidence}"


@dataclass(frozen=True)
class DataAnalysis:
    """What the analysis of one table found.

    Attributes:
        findings: one per rule; found first, the heaviest first.
        probe: what simple models reach, or why there are none.
        verdict: go, go with conditions, or no go.
        reasons: a sentence per finding that weighed, per acceptance, and per idle acceptance.
        associations: how well each feature predicts the target alone, the strongest first.
        shown_rows: positions of the rows that a report may show: a sample without the
            validation set, at most `spec.analysis.report_rows`.
        rows: number of rows of the table.
        rows_read: how many of them the findings are of: all, or a sample of a larger table.
    """

    findings: tuple[Finding, ...]
    probe: Probe | NoProbe
    verdict: Verdict
    reasons: tuple[str, ...]
    associations: tuple[Association, ...]
    rows: int
    rows_read: int
    shown_rows: np.ndarray = field(compare=False, repr=False)

    @property
    def found(self) -> tuple[Finding, ...]:
        """The findings that the table has."""
        return tuple(finding for finding in self.findings if finding.outcome == "found")

    def to_json(self) -> str:
        """Everything but the rows to show; a number that JSON lacks becomes null."""
        content = asdict(self)
        del content["shown_rows"]
        return to_json(content).decode()


def analyse(
    frame: pd.DataFrame,
    sets: pd.Series,
    features: Sequence[str],
    spec: ExperimentSpec,
    rows: int | None = None,
) -> DataAnalysis:
    """Analyse a table before anything is validated or trained.

    Rules about the table alone read all rows; whatever reads the target reads no row of the
    validation set. Work is bounded: see the constants of the modules.

    Args:
        frame: (n, columns) prepared rows.
        sets: (n,) train, test, validation or gap, with the index of `frame`.
        features: columns that a model would get.
        spec: the experiment.
        rows: number of rows of the table that `frame` is a sample of; None: it is all of it.

    Raises:
        UnusableTable: the target is no column of the table.
        InvalidExperiment: the YAML names a finding, threshold or rule that does not exist.
    """
    if spec.target not in frame.columns:
        raise UnusableTable(
            f"target {spec.target!r}",
            f"the table has no such column; {did_you_mean(spec.target, frame.columns)}",
            "Correct target in the YAML.",
        )
    check_settings(spec.analysis)
    visible = (sets != "validation").to_numpy()
    subject = Subject(frame, visible, tuple(features), spec, sets)
    findings = [rule.check(subject) for rule in TABLE_RULES]
    findings += [_answer(rule, subject) for rule in own_rules(spec.analysis)]
    probe = run_probe(subject, _left_out(findings, spec))
    findings += [rule.check(subject, probe) for rule in PROBE_RULES]
    marked = accept(findings, spec.analysis.accept)
    judgement = judge(marked, spec.analysis.accept)
    return DataAnalysis(
        findings=by_weight(marked),
        probe=probe,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        associations=subject.associations,
        rows=len(frame) if rows is None else rows,
        rows_read=len(frame),
        shown_rows=subject.sample(np.flatnonzero(visible), spec.analysis.report_rows),
    )


def analyse_prepared(
    prepared: PreparedTable, spec: ExperimentSpec
) -> tuple[DataAnalysis, pd.DataFrame]:
    """Analyse a prepared table of any size; return the analysis and the rows it has read.

    A large table is known by a sample (`rows_to_read`). Columns of lists or mappings are left out:
    no finding is about them, and they cannot be features.
    """
    frame, features = prepared.frame, feature_columns(prepared.frame, spec)
    sets = prepared.assigned()
    if (read := rows_to_read(frame, features)) is not None:
        frame, sets = frame.iloc[read], sets.iloc[read]
    sets = sets.astype("str")
    frame = frame.drop(columns=[name for name in frame if kind_of(frame[name]) == "nested"])
    # Ordered by what the rows hold, but by no target of a validation row.
    visible = (sets != "validation").to_numpy()
    seen = frame.assign(
        **{spec.target: frame[spec.target].where(visible)} if spec.target in frame else {}
    )
    frame = frame.iloc[canonical_order(seen, spec, features)]
    return analyse(frame, sets[frame.index], features, spec, len(prepared.frame)), frame


def _answer(rule: FindingRule, subject: Subject) -> Finding:
    """What a rule of the user's own says, if it is one finding of its code."""
    finding = rule.check(subject)
    if isinstance(finding, Finding) and finding.code == rule.code:
        return finding
    raise InvalidExperiment(
        "analysis.findings",
        f"the rule {rule.code!r} returned {finding!r}",
        "Return one Finding of its code, as found, not_found and not_applicable of Rule do.",
    )


def _left_out(findings: Sequence[Finding], spec: ExperimentSpec) -> tuple[str, ...]:
    """What gives the target away, unless people said that it does not."""
    codes = {"leak_suspect", "made_of_target"} - spec.analysis.accept.keys()
    columns = [column for one in findings if one.code in codes for column in one.columns]
    return tuple(dict.fromkeys(columns))


# A table with more rows is known by a sample of them: every share is then known to a tenth of a
# percent, and what the findings ask of all rows stays within minutes and a gigabyte.
MOST_ROWS, SAMPLED_ROWS = 2_000_000, 1_000_000


def how_many_to_read(rows: int) -> int:
    """Return how many rows stand for a table of so many, about."""
    return rows if rows <= MOST_ROWS else SAMPLED_ROWS


def rows_to_read(prepared: pd.DataFrame, features: Sequence[str]) -> np.ndarray | None:
    """Choose the rows that stand for a large table; None: all of its rows are read.

    By a hash of their features, so that neither the order of the rows nor a target decides, and
    equal rows are together in the sample or out of it. Where few combinations make up the table,
    that would be all of a kind or none: there equal rows are numbered and chosen one by one.

    Returns:
        int64 (k,): positions, ascending.
    """
    if (wanted := how_many_to_read(len(prepared))) == len(prepared):
        return None
    share = wanted / len(prepared)
    hashes = row_hashes(prepared, features, "sample of the analysis")
    chosen = np.flatnonzero(uniform(hashes) < share)
    if not SAMPLED_ROWS / 2 < len(chosen) < SAMPLED_ROWS * 2:
        chosen = np.flatnonzero(uniform(numbered(prepared, hashes)) < share)
    return chosen
