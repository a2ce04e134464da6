"""One run in words: the summary that its record, pages, lists and notebooks show.

In: a row of the table `runs`. Out: a frozen value. A text is empty where nothing is
recorded, a score is None.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.statistics.interval import Interval

Row = Mapping[str, Any]
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

    experiment: str
    run_id: str
    outcome: str  # as `outcome_of` returns it
    outcome_in_words: str  # with the conditions of an accepted one
    decision: str
    error: str
    next_step: str  # what to do about the error
    stage: str  # that began last
    started: str  # UTC
    trigger: str
    table_size: str  # `10,000 rows, 12 columns`
    rejected_rows: str  # `3 rows (0.03 %)`
    verdict: str
    search: str  # `2 trained, 1 failed`
    choice: str  # partition key of the chosen configuration
    choice_reason: str
    test: Score | None
    validation: Score | None
    version: str
    code: str  # commit, and whether files differed from it
    wall_time: str
    cpu_time: str
    peak_memory: str
    money: str

    @property
    def tone(self) -> document.Tone:
        """The colour of the outcome."""
        return _TONES.get(self.outcome, "")

    @property
    def short_id(self) -> str:
        """The beginning of the run's id."""
        return self.run_id[:8]

    @property
    def score(self) -> str:
        """The score on the validation set, else on the test set."""
        return str(self.validation or self.test or "")

    @property
    def cost(self) -> str:
        """`36 s, 52 s CPU, 300 MB peak memory, cost 0.0036`."""
        parts = {
            "{}": self.wall_time,
            "{} CPU": self.cpu_time,
            "{} peak memory": self.peak_memory,
            "cost {}": self.money,
        }
        return ", ".join(text.format(part) for text, part in parts.items() if part)


def outcome_of(row: Row) -> str:
    """Return how a run ended, given its row.

    One of: accepted, accepted with conditions, not accepted, no go, failed, running. A
    run without a decision that ended well, such as one of selected stages, is partial.
    """
    status = row["status"] or ""
    if status == "rejected" and row["verdict"] == "no go":
        return "no go"
    if conditions_of(row):
        return "accepted with conditions"
    return _OUTCOMES.get(status, status)


def outcome_in_words(row: Row) -> str:
    """Return the outcome; `accepted with conditions (constant_column)` names them."""
    conditions = conditions_of(row)
    return numbers.accepted_under(conditions) if conditions else outcome_of(row)


def conditions_of(row: Row) -> Sequence[str]:
    """Return the conditions under which a run was accepted, a word each."""
    is_accepted = row["status"] == "accepted"
    return _CONDITION.findall(row["decision"] or "") if is_accepted else ()


def score_of(row: Row, set_name: str) -> Score | None:
    """Return the score on the `test` or `validation` set, given a row of `runs`."""
    estimate = row[f"{set_name}_score"]
    if estimate is None:
        return None
    low, high = row[f"{set_name}_low"], row[f"{set_name}_high"]
    return Score(
        metric=row["metric"] or "",
        interval=numbers.interval_from(estimate, low, high),
        baseline=document.known(row.get(f"{set_name}_baseline")),
    )


def summary_of(row: Row) -> RunSummary:
    """Return the summary of a run, given its row of `runs`."""
    return RunSummary(
        experiment=row["experiment"],
        run_id=row["run_id"],
        outcome=outcome_of(row),
        outcome_in_words=outcome_in_words(row),
        decision=row["decision"] or "",
        error=row["error"] or "",
        next_step=row["fix"] or "",
        stage=(row["stage"] or "the start").replace("_", " "),
        started=numbers.moment(row["started_at"]),
        trigger=_joined(row["triggered_by"], row["trigger_name"]),
        table_size=_table_size(row),
        rejected_rows=_rejected_rows(row),
        verdict=row["verdict"] or "",
        search=_search(row),
        choice=row["chosen"] or "",
        choice_reason=row["choice_reason"] or "",
        test=score_of(row, "test"),
        validation=score_of(row, "validation"),
        version=row["version"] or "",
        code=_code(row),
        wall_time=_seconds(row["wall_seconds"]),
        cpu_time=_seconds(row["cpu_seconds"]),
        peak_memory=_megabytes(row["peak_memory_bytes"]),
        money=money(row["cost"]),
    )


def money(cost: float | None) -> str:
    """Return a cost in words, in its currency; empty without one."""
    return "" if cost is None else f"{cost:.4g}"


def _table_size(row: Row) -> str:
    if row["data_rows"] is None:
        return ""
    columns = numbers.counted(row["data_columns"], "column")
    return f"{numbers.counted(row['data_rows'], 'row')}, {columns}"


def _rejected_rows(row: Row) -> str:
    if row["rejected_rows"] is None:
        return ""
    share = row["rejected_rows"] / row["data_rows"] if row["data_rows"] else 0.0
    count = numbers.counted(row["rejected_rows"], "row")
    return f"{count} ({numbers.share(share)})"


def _search(row: Row) -> str:
    counts = [
        f"{row[name]:,} {name.replace('_', ' ')}" for name in _COUNTS if row[name]
    ]
    if row["declared"] is None:
        return ""
    return ", ".join(counts) or "none trained"


def _code(row: Row) -> str:
    if row["code_commit"] is None:
        return ""
    changes = ", with uncommitted changes" if row["code_dirty"] else ""
    return f"{row['code_commit']}{changes}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else numbers.seconds(seconds)


def _megabytes(size: float | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f} MB"


def _joined(*texts: str | None) -> str:
    return " ".join(text for text in texts if text)
