"""The run record as data: each class is a table of the metadata database, each field a
column.

The pure modules of the stages build such rows with their outcome; the writer adds
experiment and run. Type and meaning of each column are declared only here. `JudgedRows`
are stored as a file instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.statistics.interval import Interval, cluster_codes
from experiment_pipeline.statistics.metrics import metric_of
from experiment_pipeline.statistics.promise import ENOUGH
from experiment_pipeline.statistics.scores import SetPrediction

Status = Literal["running", "accepted", "rejected", "failed", "killed", "partial"]
EvidenceKind = Literal[
    "worth",
    "incumbent",
    "challenger",
    "robustness",
    "rests on",
    "random split",
    "split seed",
    "unknown",
    "next step",
]
Trigger = Literal[
    "person", "schedule", "sensor", "command line", "notebook", "laboratory"
]
# The text of an annotation is the column's meaning, in the database and its
# documentation.
Text = str | None
Number = float | None
Count = int | None
Truth = bool | None
Moment = datetime | None
Json = Mapping[str, Any] | None
# A row of a table as it is read: column → value.
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RecordRow:
    """A row of a table: TABLE is its name; SCOPE and KEYS are its primary key."""

    TABLE: ClassVar[str]
    SCOPE: ClassVar[tuple[str, ...]]
    KEYS: ClassVar[tuple[str, ...]]
    # whether a None keeps the value that an earlier row has written
    MERGED: ClassVar[bool]

    def __init_subclass__(
        cls,
        table: str,
        scope: tuple[str, ...] = ("experiment", "run_id"),
        keys: tuple[str, ...] = (),
        *,
        merged: bool = False,
    ) -> None:
        cls.TABLE = table
        cls.SCOPE = scope
        cls.KEYS = keys
        cls.MERGED = merged


@dataclass(frozen=True, kw_only=True)
class RunFacts(RecordRow, table="runs"):
    """One execution of an experiment, from raw table to decision; None: not known."""

    status: Annotated[
        Status | None,
        "running; accepted or rejected (pages say not accepted, or no go): the "
        "decision; failed: an error; killed (pages say failed): its process is gone, "
        "or it was cancelled; partial: it ended well without a decision",
    ] = None
    triggered_by: Annotated[
        Trigger | None, "person, schedule, sensor, command line, notebook or laboratory"
    ] = None
    trigger_name: Annotated[Text, "name of the schedule or sensor, or the person's"] = (
        None
    )
    started_at: Annotated[Moment, "when the first stage began, UTC"] = None
    ended_at: Annotated[
        Moment, "when the last stage ended, UTC; null while it runs"
    ] = None
    seen_at: Annotated[Moment, "when it last wrote a row, UTC"] = None
    process: Annotated[Json, "host, number and start of its process, as JSON"] = None
    stage: Annotated[Text, "the stage that began last"] = None
    task: Annotated[Text, "binary, multiclass or regression"] = None
    target: Annotated[Text, "the column to predict"] = None
    metric: Annotated[Text, "what ranks the configurations"] = None
    greater_is_better: Annotated[Truth, "whether a greater metric is a better one"] = (
        None
    )
    yaml_digest: Annotated[
        Text, "sha256 of defs.yaml as it was; its text is in `files`"
    ] = None
    record: Annotated[
        Json, "what only people can say, by the keys of `record:`, as JSON"
    ] = None
    schema_digest: Annotated[
        Text, "sha256 of schema.yaml as it was; its text is in `files`"
    ] = None
    settings: Annotated[Json, "what the launchpad changed for this run, as JSON"] = None
    code_commit: Annotated[
        Text, "git commit of the project; null outside a repository"
    ] = None
    code_dirty: Annotated[Truth, "whether files differed from the commit"] = None
    code_files: Annotated[
        Json, "own module or patch → sha256 of its text in `files`, as JSON"
    ] = None
    code_left_out: Annotated[
        Text, "what of the code was not kept or is masked, and why"
    ] = None
    package_version: Annotated[Text, "version of experiment-pipeline"] = None
    python_version: Annotated[Text, "version of the interpreter"] = None
    libraries: Annotated[Json, "library → version, and the CPU's kernels, as JSON"] = (
        None
    )
    data_url: Annotated[Text, "where the table came from, without credentials"] = None
    data_digest: Annotated[Text, "sha256 of the table's content as delivered"] = None
    data_modified_at: Annotated[
        Moment, "when the source last changed, UTC; null: unknown"
    ] = None
    data_rows: Annotated[Count, "rows as delivered"] = None
    data_columns: Annotated[Count, "columns as delivered"] = None
    rejected_rows: Annotated[
        Count, "rows that broke the schema, or have no label yet"
    ] = None
    rejection_reasons: Annotated[Json, "the most frequent reasons → rows, as JSON"] = (
        None
    )
    data_issues: Annotated[
        Count, "causes that the owner of the data can correct; null: not looked for"
    ] = None
    verdict: Annotated[Text, "of the data analysis: go, go with conditions, no go"] = (
        None
    )
    budget_seconds: Annotated[Number, "of the whole run; null without a budget"] = None
    declared: Annotated[Count, "configurations of the YAML"] = None
    trained: Annotated[Count, "of these, fitted on all train rows"] = None
    stopped_early: Annotated[Count, "of these, stopped by halving at a rung"] = None
    failed: Annotated[Count, "of these, raised an error"] = None
    not_started: Annotated[Count, "of these, not fitted because the time was over"] = (
        None
    )
    reused: Annotated[Count, "of the trained and stopped, fitted by an earlier run"] = (
        None
    )
    chosen: Annotated[Text, "partition key of the chosen configuration"] = None
    choice_reason: Annotated[Text, "why it was chosen"] = None
    evaluation: Annotated[
        Text, "of test scores: test_set, or cross_validation of the train and test rows"
    ] = None
    tie_group: Annotated[
        Count, "configurations that are statistically tied with the best"
    ] = None
    test_score: Annotated[Number, "of the chosen one on the test set"] = None
    test_low: Annotated[Number, "lower bound of its confidence interval"] = None
    test_high: Annotated[Number, "upper bound of its confidence interval"] = None
    test_baseline: Annotated[Number, "score of the baseline (no features) on test"] = (
        None
    )
    validation_score: Annotated[
        Number, "of the model to export, on the validation set"
    ] = None
    validation_low: Annotated[Number, "lower bound of its confidence interval"] = None
    validation_high: Annotated[Number, "upper bound of its confidence interval"] = None
    validation_baseline: Annotated[Number, "score of the baseline on validation"] = None
    looks: Annotated[
        Count, "models scored on these validation rows so far, this included"
    ] = None
    overlap: Annotated[
        Number, "share of them on which another model was scored, 0 to 1"
    ] = None
    decision: Annotated[Text, "why it was accepted or not, in a sentence"] = None
    version: Annotated[Text, "of the exported model, such as v0001"] = None
    version_is_new: Annotated[Truth, "false: it was the champion already"] = None
    error_type: Annotated[Text, "class of the error that ended the run"] = None
    error: Annotated[Text, "what was wrong, and which rule it broke"] = None
    fix: Annotated[Text, "what to do about it"] = None
    cpu_seconds: Annotated[Number, "of this process, over all stages"] = None
    wall_seconds: Annotated[Number, "from start to end, pauses aside"] = None
    peak_memory_bytes: Annotated[Count, "of this process"] = None
    price_per_hour: Annotated[Number, "of the machine, where it is known"] = None
    cost: Annotated[Number, "wall hours times the price, in its currency"] = None
    mlflow_run_id: Annotated[Text, "of the same run in MLflow, once it is there"] = None


@dataclass(frozen=True, kw_only=True)
class SetRow(RecordRow, table="sets", keys=("set_name",)):
    """One of a run's three sets."""

    set_name: Annotated[str, "train, test or validation"]
    rows: Annotated[int, "its rows"]
    columns: Annotated[int, "its columns"]
    digest: Annotated[str, "sha256 of its content"]


@dataclass(frozen=True, kw_only=True)
class FindingRow(RecordRow, table="findings", keys=("code",)):
    """A finding of a run's data analysis."""

    code: Annotated[str, "which rule; the one that `analysis.accept` uses"]
    title: Annotated[str, "what the rule looks for"]
    severity: Annotated[str, "its weight in the verdict"]
    column_names: Annotated[
        tuple[str, ...], "the columns concerned, the worst first, as JSON"
    ]
    number: Annotated[Number, "the measured value; of several columns the worst"] = None
    threshold: Annotated[Number, "the number is compared with it"] = None
    evidence: Annotated[str, "one sentence with the numbers"]
    advice: Annotated[str, "what to do"]
    accepted: Annotated[Text, "the YAML's reason to accept it, where it gives one"] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class ConfigurationRow(RecordRow, table="configurations", keys=("key",), merged=True):
    """One hyperparameter configuration of a run."""

    key: Annotated[str, "partition key"]
    algorithm: Annotated[str, "name, or import path"]
    hyperparameters: Annotated[Mapping[str, Any], "name → value, as JSON"]
    status: Annotated[str, "trained, stopped early, failed or not started"]
    rank: Annotated[Count, "on the test set; null without one"] = None
    is_chosen: Annotated[Truth, "whether it is the choice; null before one is made"] = (
        None
    )
    rung: Annotated[Number, "share of the train rows that its last fit had"] = None
    reused: Annotated[Truth, "whether an earlier run fitted it"] = None
    test_score: Annotated[Number, "in units of the metric"] = None
    test_low: Annotated[Number, "lower bound of its confidence interval"] = None
    test_high: Annotated[Number, "upper bound of its confidence interval"] = None
    difference_to_best: Annotated[Number, "test score minus the best one"] = None
    difference_low: Annotated[
        Number, "lower bound, for all configurations together"
    ] = None
    difference_high: Annotated[
        Number, "upper bound, for all configurations together"
    ] = None
    in_tie_group: Annotated[
        Truth, "whether it is statistically tied with the best on test"
    ] = None
    train_score: Annotated[Number, "in units of the metric"] = None
    seed_mean: Annotated[Number, "mean of its test scores with several seeds"] = None
    seed_deviation: Annotated[Number, "their standard deviation"] = None
    calibration: Annotated[Text, "sigmoid; null: probabilities as they are"] = None
    fit_cpu_seconds: Annotated[Number, "of the fit"] = None
    fit_wall_seconds: Annotated[Number, "of the fit"] = None
    predict_microseconds_per_row: Annotated[Number, "of predicting the test rows"] = (
        None
    )
    model_bytes: Annotated[Count, "of the stored model"] = None
    rounds: Annotated[Count, "boosting rounds; null where it does not boost"] = None
    fingerprint: Annotated[Text, "sha256 of everything that decides the fit"] = None
    reason: Annotated[Text, "why it has no rank, or that it was chosen"] = None
    note: Annotated[Text, "why it is tried, where defs.yaml says so"] = None


@dataclass(frozen=True, kw_only=True)
class ScoreRow(RecordRow, table="scores", keys=("set_name", "metric")):
    """A score of a run's chosen model on one set by one metric."""

    set_name: Annotated[str, "test or validation"]
    metric: Annotated[str, "name of the metric"]
    estimate: Annotated[Number, "the score"] = None
    low: Annotated[Number, "lower bound of its confidence interval"] = None
    high: Annotated[Number, "upper bound of its confidence interval"] = None
    baseline: Annotated[
        Number, "score of the baseline (no features) on the same rows"
    ] = None
    greater_is_better: Annotated[bool, "whether a greater score is a better one"]

    @classmethod
    def of(cls, set_name: str, metric: str, score: Interval, baseline: float) -> Self:
        """The row of a score with its interval."""
        return cls(
            set_name=set_name,
            metric=metric,
            estimate=score.estimate,
            low=score.low,
            high=score.high,
            baseline=baseline,
            greater_is_better=metric_of(metric).greater_is_better,
        )


@dataclass(frozen=True, kw_only=True)
class GateRow(RecordRow, table="gates", keys=("number",)):
    """A gate of a run's validation report."""

    number: Annotated[int, "place in the report, from 1"]
    metric: Annotated[str, "that is judged"]
    rule: Annotated[str, "in words"]
    value: Annotated[Number, "the value compared with the limit"] = None
    limit_value: Annotated[Number, "the limit"] = None
    outcome: Annotated[str, "PASS, FAIL or INCONCLUSIVE"]


@dataclass(frozen=True, kw_only=True)
class AuditRow(RecordRow, table="audit", keys=("column_name", "group_name", "measure")):
    """A measure of a group of validation rows, or a comparison of two groups."""

    column_name: Annotated[str, "whose values are the groups"]
    group_name: Annotated[
        str, "its value; of a comparison the highest and the lowest, as A and B"
    ]
    measure: Annotated[
        str, "selection_rate and so on; with _difference or _ratio: two groups"
    ]
    value: Annotated[Number, "null: too few rows to say, or undefined"] = None
    low: Annotated[
        Number, "lower bound; of comparisons for all of a column together"
    ] = None
    high: Annotated[
        Number, "upper bound; of comparisons for all of a column together"
    ] = None
    rows: Annotated[int, "rows that it is counted on"]


@dataclass(frozen=True, kw_only=True)
class EvidenceRow(RecordRow, table="evidence", keys=("kind", "number")):
    """Evidence about a run's model beside its gates; it has decided nothing."""

    kind: Annotated[
        EvidenceKind,
        "worth, incumbent, challenger, robustness, rests on, random split, split seed, "
        "unknown or next step",
    ]
    number: Annotated[int, "place on the page; of a split seed the seed"] = 0
    what: Annotated[
        str, "the alternative, the change, the choice, the sentence, or what to do"
    ]
    because: Annotated[Text, "of a next step: the numbers behind it"] = None
    promises: Annotated[Text, "of a next step: its expected gain, and its cost"] = None
    score: Annotated[
        Number,
        "of the alternative (of a worth: its cost); after the change; of the choice",
    ] = None
    difference: Annotated[
        Number,
        "minus the alternative, unchanged rows or baseline; of a worth: saved by it",
    ] = None
    low: Annotated[Number, "lower bound of its confidence interval"] = None
    high: Annotated[Number, "upper bound"] = None
    rows: Annotated[
        Count, "validation rows that were scored; of a split seed its own"
    ] = None

    @classmethod
    def of(
        cls, kind: EvidenceKind, what: str, score: float, gain: Interval, rows: int
    ) -> Self:
        """The row of a score and its difference; the caller sets `number`."""
        return cls(
            kind=kind,
            what=what,
            score=score,
            difference=gain.estimate,
            low=gain.low,
            high=gain.high,
            rows=rows,
        )


@dataclass(frozen=True, kw_only=True)
class DataIssueRow(RecordRow, table="data_issues", keys=("code",)):
    """A cause that the owner of the data can correct."""

    code: Annotated[str, "cause and rule or column, the same in every run"]
    rule: Annotated[str, "what is wrong, in words"]
    rows: Annotated[Count, "rows that it concerns; null: it is no matter of rows"]
    share: Annotated[Number, "of the delivered rows, 0 to 1"]
    cost: Annotated[str, "what it costs, as far as known"]
    since: Annotated[datetime, "when the first run saw it, UTC"]
    since_run: Annotated[str, "that run"]


@dataclass(frozen=True, kw_only=True)
class ReportRow(RecordRow, table="reports", keys=("name",)):
    """A page that a run has made; it is never overwritten by a later run."""

    name: Annotated[str, "which page: data_analysis, leaderboard, validation_report, …"]
    place: Annotated[
        str, "its path or URL; empty: removed by `experiment-pipeline clean`"
    ]


@dataclass(frozen=True, kw_only=True)
class FileRow(RecordRow, table="files", scope=(), keys=("digest",)):
    """The text of a YAML file, module or patch, once for all runs that used it."""

    digest: Annotated[str, "sha256 of the text"]
    content: Annotated[str, "the text"]


@dataclass(frozen=True, kw_only=True)
class VersionRow(RecordRow, table="versions", scope=("experiment",), keys=("version",)):
    """A published version of an experiment's exported model."""

    version: Annotated[str, "v0001 and so on"]
    run_id: Annotated[
        Text, "of the run that published it; null where it is not known"
    ] = None
    created_at: Annotated[datetime, "when it was published, UTC"]
    place: Annotated[str, "its folder: path or URL"]
    configuration: Annotated[str, "partition key of the configuration"]
    headline: Annotated[str, "the first metric with its interval, in words"]
    fingerprint: Annotated[str, "of the configuration"]
    approval_required: Annotated[
        Truth, "whether it must be approved to become champion"
    ] = None
    approved_by: Annotated[
        Text, "who approved it; null: not approved, or not required"
    ] = None
    approved_at: Annotated[Moment, "when, UTC"] = None
    approval_comment: Annotated[
        Text, "comment of the approval, or why it is retired"
    ] = None


@dataclass(frozen=True)
class PredictionRow(
    RecordRow, table="predictions", scope=("experiment",), keys=("version", "at")
):
    """What `experiment-pipeline predict` said of a table, before its labels come."""

    version: Annotated[str, "the version that predicted"]
    at: Annotated[str, "when it predicted, ISO 8601 in UTC"]
    rows: Annotated[int, "rows that were predicted"]
    rejected: Annotated[int, "rows that broke the schema"]
    said: Annotated[
        tuple[str, ...], "what training did not see, and drift since then, as JSON"
    ]


@dataclass(frozen=True)
class WatchRow(
    RecordRow, table="watches", scope=("experiment",), keys=("version", "at")
):
    """What labels that came later say of a version's promise."""

    version: Annotated[str, "the version that predicted"]
    at: Annotated[str, "when it was watched, ISO 8601 in UTC"]
    metric: Annotated[str, "the ranking metric"]
    rows: Annotated[int, "labelled rows so far, each id once"]
    days: Annotated[
        int, "compared days, small ones together, or calls where there is no time"
    ]
    score: Annotated[Number, "of all labelled rows"]
    low: Annotated[Number, "lower bound of its confidence interval, for one look"]
    high: Annotated[Number, "upper bound of its confidence interval, for one look"]
    promise: Annotated[Number, "the score on the validation set"]
    promise_low: Annotated[Number, "lower bound of its confidence interval"]
    promise_high: Annotated[Number, "upper bound of its confidence interval"]
    baseline: Annotated[
        Number, "score of the baseline (no features) on the labelled rows"
    ]
    evidence: Annotated[
        float, "that the score has fallen: 1 says nothing, 20 is enough"
    ]
    below: Annotated[
        bool, "below the promise, with at most 5 % false alarms in all time"
    ]
    since: Annotated[Text, "the day, or call, on which that most likely began"]
    recent: Annotated[Number, "the score since then"]
    new_rows: Annotated[int, "rows that came at this moment"] = 0
    delivery: Annotated[str, "sha256 of these rows, which are in the storage"] = ""
    notes: Annotated[
        tuple[str, ...], "what was left out of this delivery and why, as JSON"
    ] = ()

    @property
    def answer(self) -> str:
        """Whether the promise is kept, in a sentence."""
        evidence = f"evidence {self.evidence:,.2g}, {ENOUGH:g} is enough"
        if not self.below:
            return f"no evidence that the promise is broken ({evidence})"
        recent = numbers.as_known(self.recent, None, None)
        since = f"below the promise since about {self.since}"
        return f"{since}: {recent} from then on ({evidence})"

    @property
    def scores(self) -> tuple[str, str, str]:
        """The score, the promise and the baseline, in words."""
        score = numbers.as_known(self.score, self.low, self.high)
        promise = numbers.as_known(self.promise, self.promise_low, self.promise_high)
        return score, promise, numbers.as_known(self.baseline, None, None)

    def __str__(self) -> str:
        score, promise, baseline = self.scores
        rows = numbers.counted(self.rows, "labelled row")
        parts = f"{numbers.counted(self.days, 'part')} of a day or more"
        new = f"{self.new_rows:,} rows are new"
        lines = (
            f"version   {self.version}: {rows} in {parts}, {new}",
            f"score     {self.metric} {score}, an interval for one look",
            f"promise   {promise} on validation",
            f"baseline  {baseline} on the labelled rows",
            f"answer    {self.answer}",
        )
        return "\n".join([*lines, *(f"note      {note}" for note in self.notes)])


ROWS: tuple[type[RecordRow], ...] = (
    RunFacts,
    SetRow,
    FindingRow,
    ConfigurationRow,
    ScoreRow,
    GateRow,
    DataIssueRow,
    ReportRow,
    AuditRow,
    EvidenceRow,
    FileRow,
    VersionRow,
    PredictionRow,
    WatchRow,
)

# The name of the report that holds the rows of `JudgedRows`.
JUDGED_ROWS = "validation_rows"
ROW = "row"
WEIGHT = "weight"
SET = "set"
# The name of the table of validation rows and worst test rows for users, by row number.
# Columns: `set`, ids, target, predictions, `loss`, then the strongest features.
PREDICTED_ROWS = "predicted_rows"


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """The predictions of a run's model for the validation rows, to compare runs."""

    # (n, 2 + k): `y`, `unit` (the cluster), and `prediction_0` … of k outputs, in the
    # order of the set; `weight` if rows have one; `row`: a hash that is the same for a
    # row in every run
    rows: pd.DataFrame
    # classified as positive from this probability on, for metrics that need it
    threshold: float

    @classmethod
    def of(
        cls, predicted: SetPrediction, threshold: float, row: np.ndarray | None = None
    ) -> Self:
        """Make the rows from predictions; `row`: hashes of rows (n,)."""
        columns = {} if row is None else {ROW: row}
        columns |= {"y": predicted.y, "unit": cluster_codes(predicted.clusters)}
        for number, column in enumerate(np.atleast_2d(predicted.prediction.T)):
            columns[f"prediction_{number}"] = column
        if predicted.weights is not None:
            columns[WEIGHT] = predicted.weights
        return cls(pd.DataFrame(columns), threshold)

    @property
    def as_prediction(self) -> SetPrediction:
        """The predictions."""
        rows = self.rows
        prediction = rows.filter(regex=r"^prediction_\d+$").to_numpy()
        if prediction.shape[1] == 1:
            prediction = prediction[:, 0]
        weights = rows[WEIGHT].to_numpy() if WEIGHT in rows else None
        return SetPrediction(
            rows["y"].to_numpy(), prediction, rows["unit"].to_numpy(), weights
        )


def worst_of(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the n rows of PREDICTED_ROWS with the largest loss in each set."""
    worst_first = rows.sort_values("loss", ascending=False, kind="stable")
    of_each_set = worst_first.groupby(SET).head(n)
    return of_each_set.sort_values(SET, ascending=False, kind="stable")
