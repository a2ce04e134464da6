"""One run in words: the summary that its record, pages, lists and notebooks show.

In: a row of the table `runs`. Out: a frozen value, whose fields are in the order in
which they are read. A text is empty where nothing is recorded, a score is None.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.reporting.run_record import Row
from experiment_pipeline.statistics.interval import Interval

# Stored status → the word that people read, where it is another one.
_OUTCOMES = {"rejected": "not accepted", "killed": "failed"}
_TONES: Mapping[str, document.Tone] = {
    "accepted": "passed",
    "accepted with conditions": "passed",
    "not accepted": "failed",
    "no go": "failed",
    "failed": "failed",
    "partial": "doubtful",
}
_CONDITION = re.compile(rf"(?:^|; ){numbers.CONDITION}(\w+)")
# Texts that are shown as they are: field → column.
_AS_RECORDED = {
    "run_id": "run_id",
    "experiment": "experiment",
    "decision": "decision",
    "error": "error",
    "next_step": "fix",
    "source": "data_url",
    "verdict": "verdict",
    "choice": "chosen",
    "reason": "choice_reason",
    "version": "version",
}
_COUNTS = ("trained", "stopped_early", "failed", "not_started", "reused")


@dataclass(frozen=True)
class Score:
    """A score of the chosen model on one set."""

    metric: str
    interval: Interval  # bounds are nan where they are not recorded
    baseline: str  # score of the baseline (no features), in words

    def __str__(self) -> str:
        return f"{self.metric} {numbers.interval(self.interval)}"

    @property
    def estimate(self) -> str:
        """`roc_auc 0.6912`."""
        return f"{self.metric} {numbers.score(self.interval.estimate)}"

    @property
    def beside_baseline(self) -> str:
        """The score, and that of the baseline."""
        return f"{self}; the baseline (no features) scores {self.baseline}"


@dataclass(frozen=True)
class RunSummary:
    """What is recorded of one run."""

    run_id: str
    experiment: str
    outcome: str  # with the conditions of an accepted one
    stage: str  # that began last
    decision: str
    error: str
    next_step: str  # what to do about the error
    started: str  # UTC
    trigger: str
    table: str  # `10,000 rows, 12 columns`
    source: str
    rejected: str  # `3 rows (0.03 %)`
    verdict: str
    search: str  # `2 trained, 1 failed`
    choice: str  # partition key of the chosen configuration
    reason: str  # of the choice
    on_test: Score | None
    on_validation: Score | None
    version: str
    code: str  # commit, and whether files differed from it
    cost: str  # `36 s, 52 s CPU, 300 MB peak memory, cost 0.0036`

    @property
    def outcome_word(self) -> str:
        """The outcome without conditions, as `outcome_of` returns it."""
        return self.outcome.partition(" (")[0]

    @property
    def why(self) -> str:
        """The reason for the outcome; of an accepted run its conditions."""
        if self.outcome_word.startswith("accepted"):
            return self.outcome.removeprefix(self.outcome_word).strip(" ()")
        return self.error or self.decision

    @property
    def tone(self) -> document.Tone:
        """The colour of the outcome."""
        return _TONES.get(self.outcome_word, "")

    @property
    def short_id(self) -> str:
        """The beginning of the run's id."""
        return self.run_id[:8]


def summary_of(row: Row) -> RunSummary:
    """Return the summary of a run, given its row of `runs`."""
    code = row["code_commit"] or ""
    return RunSummary(
        **{name: row[column] or "" for name, column in _AS_RECORDED.items()},
        outcome=outcome_in_words(row),
        stage=(row["stage"] or "the start").replace("_", " "),
        started=numbers.moment(row["started_at"]),
        trigger=" ".join(filter(None, (row["triggered_by"], row["trigger_name"]))),
        table=_table(row),
        rejected=_rejected(row),
        search=_search(row),
        on_test=score_of(row, "test"),
        on_validation=score_of(row, "validation"),
        code=f"{code}, with uncommitted changes" if row["code_dirty"] else code,
        cost=_cost(row),
    )


def outcome_of(row: Row) -> str:
    """Return how a run ended, given its row.

    One of: accepted, accepted with conditions, not accepted, no go, failed, running. A
    run without a decision that ended well, such as one of selected stages, is partial.
    """
    return outcome_in_words(row).partition(" (")[0]


def outcome_in_words(row: Row) -> str:
    """Return the outcome; `accepted with conditions (constant_column)` names them."""
    status = row["status"] or ""
    if status == "accepted":
        return numbers.accepted_under(_CONDITION.findall(row["decision"] or ""))
    if status == "rejected" and row["verdict"] == "no go":
        return "no go"
    return _OUTCOMES.get(status, status)


def score_of(row: Row, set_name: str) -> Score | None:
    """Return the score on the `test` or `validation` set, given a row of `runs`."""
    estimate = row[f"{set_name}_score"]
    if estimate is None:
        return None
    low, high = row[f"{set_name}_low"], row[f"{set_name}_high"]
    return Score(
        metric=row["metric"] or "",
        interval=numbers.interval_from(estimate, low, high),
        baseline=document.score_text(row.get(f"{set_name}_baseline")),
    )


def money(cost: float | None) -> str:
    """Return a cost in words, in its currency; empty without one."""
    return "" if cost is None else f"{cost:.4g}"


def _table(row: Row) -> str:
    if row["data_rows"] is None:
        return ""
    columns = numbers.counted(row["data_columns"], "column")
    return f"{numbers.counted(row['data_rows'], 'row')}, {columns}"


def _rejected(row: Row) -> str:
    if row["rejected_rows"] is None:
        return ""
    share = row["rejected_rows"] / (row["data_rows"] or 1)
    return f"{numbers.counted(row['rejected_rows'], 'row')} ({numbers.share(share)})"


def _search(row: Row) -> str:
    counts = [
        f"{row[name]:,} {name.replace('_', ' ')}" for name in _COUNTS if row[name]
    ]
    return "" if row["trained"] is None else ", ".join(counts) or "none trained"


def _cost(row: Row) -> str:
    if row["wall_seconds"] is None:
        return ""
    cpu = numbers.seconds(row["cpu_seconds"])
    parts = [numbers.seconds(row["wall_seconds"]), f"{cpu} CPU"]
    if row["peak_memory_bytes"]:
        parts.append(f"{row['peak_memory_bytes'] / 1e6:,.0f} MB peak memory")
    if row["cost"] is not None:
        parts.append(f"cost {money(row['cost'])}")
    return ", ".join(parts)
