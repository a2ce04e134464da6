"""What to do next about a run, in one sentence with one link.

In: what the database holds of the run. Out: a sentence, the same in the header of its
pages, the overview and lists.
"""

from dataclasses import dataclass

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Link
from experiment_pipeline.reporting.header import DATA, DECISION, TABS
from experiment_pipeline.tracking.record import Decided


@dataclass(frozen=True)
class NextStep:
    """A sentence, and where to do it, relative to the pages of the run."""

    sentence: str
    link: Link | None = None


def next_step(run: Decided) -> NextStep:
    """Return what to do next about a run."""
    match run.summary.outcome_word:
        case "running":
            done = len(run.rows["configurations"])
            of = f" of {run.run['declared']:,}" if run.run["declared"] else ""
            search = f", {done:,}{of} configurations done" if done else ""
            return NextStep(f"Wait: it works on {run.summary.stage}{search}.")
        case "accepted" | "accepted with conditions":
            return _of_accepted(run)
        case "not accepted":
            return _of_refused(run)
        case "no go":
            return _of_no_go(run)
    step = run.summary.next_step or "Run the experiment with all its stages."
    cause = Link("Cause", f"{TABS[DECISION]}#decision") if run.summary.error else None
    return NextStep(step, cause)


def _of_accepted(run: Decided) -> NextStep:
    summary = run.summary
    if run.approval.startswith("required"):
        command = run.approval.partition(": ")[2]
        return NextStep(f"Approve {summary.version}: {command}.")
    card = run.model_card
    conditions = summary.outcome.partition(" (")[2].rstrip(")")
    if conditions:
        sentence = (
            f"Check the conditions before you use {summary.version}: {conditions}."
        )
        return NextStep(sentence, Link("Conditions", f"{TABS[DECISION]}#decision"))
    name = summary.experiment
    in_python = f'champion("{name}").predict(rows)'
    command = f"experiment-pipeline predict {name} rows.csv"
    return NextStep(f"Use {summary.version}: {in_python}, or {command}.", card)


def _of_refused(run: Decided) -> NextStep:
    steps = [row for row in run.rows["evidence"] if row["kind"] == "next step"]
    if steps:
        link = Link("All steps", f"{TABS[DECISION]}#why-and-what-next")
        return NextStep(steps[0]["what"], link)
    return NextStep("Read which gate failed.", Link("Gates", TABS[DECISION]))


def _of_no_go(run: Decided) -> NextStep:
    for finding in run.rows["findings"]:
        if finding["severity"] == "blocks" and finding["accepted"] is None:
            column = numbers.some_of(finding["column_names"], 2)
            where = f"{column}: " if column else ""
            sentence = f"{where}{finding['advice'] or finding['evidence']}"
            return NextStep(sentence, Link("Findings", TABS[DATA]))
    return NextStep(
        "Read why the table is unfit for modelling.", Link("Findings", TABS[DATA])
    )
