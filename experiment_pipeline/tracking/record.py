"""The decision record: one page about a whole run, for a reviewer to sign.

`decided` gathers a run's data from the metadata database, `decision_record` makes the
page.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import yaml

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.storage.files import exists, location, read_if_exists
from experiment_pipeline.storage.registry import CARD
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import RunComparison, compared
from experiment_pipeline.tracking.next_machine import next_run
from experiment_pipeline.tracking.server import LABORATORY_PAGE, relative_to
from experiment_pipeline.tracking.summary import Row, RunSummary, summary_of

# Limits that keep the record to one page; the reports have the complete lists.
MOST_RANKED = 5
MOST_LISTED = 8
MOST_LINES_OF_DIFF = 40
_SETS = ("train", "test", "validation")
_TABLES = (
    "sets",
    "findings",
    "configurations",
    "scores",
    "gates",
    "evidence",
    "reports",
)
# Name of a table → the key that puts its rows in order.
_ORDER: Mapping[str, Callable[[Row], Any]] = {
    "sets": lambda row: _SETS.index(row["set_name"]),
    "gates": lambda row: row["number"],
    "evidence": lambda row: row["number"],
    "configurations": lambda row: (row["rank"] or math.inf, row["key"]),
}
# Outcome of a gate → its word and colour, the failed ones first.
_GATES: Mapping[str, tuple[str, document.Tone]] = {
    "FAIL": ("failed", "failed"),
    "INCONCLUSIVE": ("too little data to decide", "doubtful"),
    "PASS": ("passed", "passed"),
}
_BEST_LINEAR = re.compile("the best linear model, (.+), fitted on the same rows")
# Columns of a configuration → how a simpler one is called, from this ratio on.
_COSTS_OF_USE = {"model_bytes": "smaller", "predict_microseconds_per_row": "faster"}
_WORTH_SAYING = 1.2
_LIKE_A_SHARE = 0.2  # from here to 1, a gate's values are drawn on a scale up to 1


@dataclass(frozen=True)
class Decided:
    """Everything that the record of a run shows."""

    run: Row  # of the table `runs`
    rows: Mapping[str, Sequence[Row]]  # name of a table → the run's rows
    versions: Sequence[Row]  # all of the experiment, the oldest first
    root: str | None = None  # of the storage, for links; None: no links

    @cached_property
    def summary(self) -> RunSummary:
        """The run in words."""
        return summary_of(self.run)

    @cached_property
    def version(self) -> Row | None:
        """The row of the version that it published, or found again."""
        for version in self.versions:
            if version["version"] == self.run["version"]:
                return version
        return None

    @property
    def approval(self) -> str:
        """Of its version, in words; empty without one."""
        return _approval(self.version) if self.version else ""

    @cached_property
    def _versions_before(self) -> Sequence[Row]:
        return [
            version
            for version in self.versions
            if version["created_at"] < self.run["started_at"]
        ]

    @cached_property
    def champion(self) -> str:
        """The version that was champion before the run."""
        version = champion_of(self._versions_before)
        return version["version"] if version else ""

    @cached_property
    def earlier_ids(self) -> Mapping[str, str]:
        """Id → description: the run of the previous version, and the last decided."""
        of_others = [
            version
            for version in self._versions_before
            if version["run_id"] not in {None, self.run["run_id"]}
        ]
        earlier = {row["run_id"]: row["version"] for row in of_others[-1:]}
        experiment, started = self.run["experiment"], self.run["started_at"]
        for last in questions.last_decided(experiment, started):
            earlier.setdefault(last["run_id"], "the previous run")
        return earlier

    @cached_property
    def earlier(self) -> Mapping[str, RunComparison]:
        """Description of an earlier run → the comparison with it."""
        return {
            words: compared(questions.run_of(self.run["experiment"], run_id), self.run)
            for run_id, words in self.earlier_ids.items()
        }

    @property
    def is_decided(self) -> bool:
        """Whether the run ended with a decision."""
        return self.run["status"] in {"accepted", "rejected"}

    @property
    def is_accepted(self) -> bool:
        """Whether the run exported a model."""
        return self.run["status"] == "accepted"

    @property
    def not_exported(self) -> str:
        """What happens if no model is exported, as a clause."""
        stays = f" and the champion {self.champion} stays" if self.champion else ""
        return f"nothing is exported{stays}"

    @property
    def gates_in_words(self) -> str:
        """`1 of 2 gates failed`, else `2 of 2 gates passed`; empty without gates."""
        gates = self.rows["gates"]
        outcomes = Counter(gate["outcome"] for gate in gates)
        outcome = "FAIL" if outcomes["FAIL"] else "PASS"
        counted = numbers.counted(len(gates), "gate")
        return f"{outcomes[outcome]} of {counted} {_GATES[outcome][0]}" if gates else ""

    def link(self, words: str, place: str) -> document.Link | None:
        """A link to a place of the storage; None if it cannot be reached by one."""
        below = None if self.root is None else relative_to(self.root, place)
        return None if below is None else document.Link(words, f"../../../{below}")

    @property
    def model_card(self) -> document.Link | None:
        """A link to the card of the run's version, if it has one."""
        if not (self.version and self.version["place"]):
            return None
        return self.link("Model card", f"{self.version['place']}/{CARD}")

    @property
    def folder(self) -> str:
        """The folder of its pages below the storage root; empty: it has none there."""
        folder = f"{self.run['experiment']}/runs/{self.run['run_id']}/"
        for row in self.rows["reports"]:
            if self.root and row["place"].endswith(f"/{folder}index.html"):
                return folder if relative_to(self.root, row["place"]) else ""
        return ""

    @cached_property
    def has_laboratory(self) -> bool:
        """Whether its experiment has a page of what agents have tried."""
        if self.root is None:
            return False
        folder = location(self.root) / self.run["experiment"]
        return exists(folder / LABORATORY_PAGE)

    def report(self, name: str) -> document.Link | None:
        """A link to a report of the run, if there is one."""
        for row in self.rows["reports"]:
            if row["name"] == name:
                return self.link(name.replace("_", " ").capitalize(), row["place"])
        return None


def decided(
    experiment: str,
    run_id: str,
    facts: Row | None = None,
    root: str | None = None,
) -> Decided:
    """Return the data of a run; UnknownRun: there is none.

    `facts` replace columns of its row that are not written yet.
    """
    run = {**questions.run_of(experiment, run_id), **(facts or {})}
    [result] = _decided([run], questions.version_rows(experiment), root)
    return result


def last_decided_runs(root: str) -> Mapping[str, Decided]:
    """Return experiment → the data of its last run, in one query for each table."""
    runs = questions.last_run_rows()
    last = _decided(runs, questions.version_rows(), root)
    return {run.run["experiment"]: run for run in last}


def _decided(
    runs: Sequence[Row], versions: Sequence[Row], root: str | None
) -> Iterator[Decided]:
    versions_of = questions.rows_by_experiment(versions)
    tables = {name: questions.rows_by_run(name, runs) for name in _TABLES}
    for run in runs:
        key = (run["experiment"], run["run_id"])
        rows = {name: tables[name].get(key, []) for name in _TABLES}
        for name, place in _ORDER.items():
            rows[name].sort(key=place)
        yield Decided(run, rows, versions_of[run["experiment"]], root)


def record_of_version(
    experiment: str, run_id: str, version: str, *, required: bool
) -> bytes:
    """Return the Markdown record of the run that publishes a version.

    `required`: whether the version needs an approval.
    """
    accepted = {"status": "accepted", "version": version, "version_is_new": True}
    run = decided(experiment, run_id, accepted)
    published = {
        "experiment": experiment,
        "version": version,
        "run_id": run_id,
        "approval_required": required,
        "approved_by": None,
        "created_at": run.run["started_at"],
        "place": "",
    }
    run = replace(run, versions=[*run.versions, published])
    return document.render(decision_record(run)).encode()


def is_approved(version: Row) -> bool:
    """Whether a version may be the champion."""
    return not version["approval_required"] or bool(version["approved_by"])


def champion_of(versions: Sequence[Row]) -> Row | None:
    """Return the last of versions, the oldest first, that is approved or needs no
    approval.
    """
    return next(filter(is_approved, reversed(versions)), None)


def _approval(version: Row) -> str:
    if version["approved_by"]:
        moment = numbers.moment(version["approved_at"])
        return f"approved by {version['approved_by']} at {moment} UTC"
    if not version["approval_required"]:
        return "not required"
    experiment, name = version["experiment"], version["version"]
    command = f"experiment-pipeline approve {experiment} {name} --by NAME"
    return f"required, and not given yet: {command}"


def decision_record(run: Decided) -> document.Document:
    """Return the page of a run: the decision first, what few readers need folded."""
    to_sign = ("decision", "name", "date", "signature")
    is_running = run.summary.outcome_word == "running"
    shown: dict[str, Iterable[document.Block]] = {
        "Decision": _at_work(run) if is_running else _decision(run),
        "Why, and what next": _next_steps(run),
        "From table to decision": [document.Flow(tuple(_steps(run)))],
    }
    folded: dict[str, Iterable[document.Block]] = {
        "Question": [_question(run)],
        "Purpose and people": document.statements(run.run["record"] or {}),
        "Data": _data(run),
        "Tried, and not tried": _tried(run),
        "Choice, and by how much": _choice(run),
        "Gates and looks": _gates_and_looks(run),
        **_evidence(run),
        "What changed": _changed(run),
        "Cost until this was written": [document.Paragraph(f"{run.summary.cost}.")],
        "What the next run needs": _next_run(run),
        "YAML": _yaml(run),
        "Reviewed": [
            document.TableBlock(("", ""), [(name, "." * 40) for name in to_sign])
        ],
    }
    written = []
    for title, blocks in (shown | folded).items():
        if section := tuple(blocks):
            written.append(document.Section(title, section, folded=title in folded))
    experiment = run.summary.experiment
    return document.Document(f"{experiment}: from table to decision", written)


@dataclass(frozen=True)
class _Milestone:
    """A step on the way from the table to the decision: a tag and a sentence."""

    tag: str
    text: str = ""
    link: document.Link | None = None
    tone: document.Tone = ""


def _steps(run: Decided) -> Iterator[document.Card]:
    for title, step_of in _STEPS.items():
        step = step_of(run) or _Milestone("not reached")
        blocks = (document.Paragraph(step.text) if step.text else None, step.link)
        yield document.Card(title, step.tag, step.tone, tuple(filter(None, blocks)))


def _raw_table(run: Decided) -> _Milestone | None:
    if not run.summary.table:
        return None
    place = run.run["data_url"] or "unknown place"
    return _Milestone(run.summary.table, numbers.shown(place.rpartition("/")[2], 24))


def _counted(severity: str, findings: int) -> str:
    """`1 that blocks`, `2 that block`, `3 conditions`."""
    if severity == "blocks":
        return numbers.counted(findings, "that blocks", "that block")
    return numbers.counted(findings, severity)


def _analysis(run: Decided) -> _Milestone | None:
    verdict = run.summary.verdict
    if not verdict:
        return None
    findings = run.rows["findings"]
    counts = Counter(row["severity"] for row in findings)
    kinds = ", ".join(_counted(severity, count) for severity, count in counts.items())
    text = f"{numbers.counted(len(findings), 'finding')}: {kinds}."
    return _Milestone(
        verdict,
        text if findings else "No findings.",
        run.report("data_analysis"),
        document.TONE_OF.get(verdict, ""),
    )


def _validated_rows(run: Decided) -> _Milestone | None:
    if not run.summary.rejected or not run.run["data_rows"]:
        return None
    valid = run.run["data_rows"] - run.run["rejected_rows"]
    text = f"Set aside: {run.summary.rejected}"
    if reasons := run.run["rejection_reasons"]:
        text += f", most often because {next(iter(reasons))}"
    return _Milestone(numbers.counted(valid, "row"), f"{text}.")


def _three_sets(run: Decided) -> _Milestone | None:
    sets = run.rows["sets"]
    if not sets:
        return None
    text = ", ".join(f"{row['rows']:,} {row['set_name']}" for row in sets)
    return _Milestone(f"{sets[0]['rows']:,} train rows", f"{text}.")


def _configurations(run: Decided) -> _Milestone | None:
    searched = _searched(run)
    if not searched:
        return None
    declared = f"{run.run['declared']:,} declared"
    return _Milestone(declared, f"{searched}.", run.report("leaderboard"))


def _searched(run: Decided) -> str:
    """`2 trained, 1 failed`; so far, where the search has not ended well."""
    counts = Counter(row["status"] for row in run.rows["configurations"])
    so_far = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    return run.summary.search or so_far


def _chosen(run: Decided) -> _Milestone | None:
    if not run.summary.choice:
        return None
    where = numbers.evaluated(run.run["evaluation"]).where
    tied = numbers.tied(run.run["tie_group"] or 1)
    return _Milestone(run.summary.choice, f"{run.summary.on_test} {where}. {tied}.")


def _on_validation(run: Decided) -> _Milestone | None:
    score = run.summary.on_validation
    if score is None:
        return None
    text = f"{score.beside_baseline}; {_better(run)} is better."
    return _Milestone(score.estimate, text, run.report("validation_report"))


def _decided_step(run: Decided) -> _Milestone:
    text = f"{run.gates_in_words}. " if run.gates_in_words else ""
    tag = run.summary.outcome_word
    if tag == "running":
        return _Milestone(tag)
    if not run.is_accepted:
        stays = run.not_exported
        return _Milestone(tag, f"{text}{stays.capitalize()}.", None, "failed")
    tag = f"{tag}: {run.summary.version}"
    return _Milestone(tag, text.strip(), run.model_card, "passed")


_STEPS: Mapping[str, Callable[[Decided], _Milestone | None]] = {
    "Raw table": _raw_table,
    "Data analysis": _analysis,
    "Validated rows": _validated_rows,
    "Train, test, validation": _three_sets,
    "Configurations": _configurations,
    "Chosen": _chosen,
    "On validation": _on_validation,
    "Decision": _decided_step,
}


def _better(run: Decided) -> str:
    return "greater" if run.run["greater_is_better"] else "smaller"


def _at_work(run: Decided) -> Iterator[document.Block]:
    """How far a running search is, from the rows that it has written so far."""
    row = run.run
    yield document.Paragraph(f"Running: {run.summary.stage}.")
    declared, budget = row["declared"], row["budget_seconds"]
    done = len(run.rows["configurations"])
    used = (row["seen_at"] - row["started_at"]).total_seconds()
    bars = []
    stops = "The search stops with the last configuration"
    if declared and done:
        text = f"{done:,} of {numbers.counted(declared, 'configuration')}"
        bars.append(
            document.LimitBar(
                "configurations done", "search", "", text, (100 * done / declared, 100)
            )
        )
    if budget:
        left = numbers.seconds(max(budget - used, 0.0))
        stops += f", or in {left} when the budget is spent"
        text = f"{numbers.seconds(used)} of {numbers.seconds(budget)}, {left} left"
        share = min(100 * used / budget, 100.0)
        bars.append(document.LimitBar("seconds used", "time", "", text, (share, 100)))
    if bars:
        yield document.LimitBars(bars)
    if best := best_so_far(run):
        score = numbers.score(best["test_score"])
        yield document.Paragraph(
            f"Best so far: {best['key']}, {row['metric']} {score} on the rows that "
            "choose; being the best of many, it is optimistic."
        )
    if row["trained"] is not None:
        stops = "The search is over; leaderboard, final evaluation and export follow"
    yield document.Paragraph(f"{stops}. {numbers.seconds(used)} so far.")


def best_so_far(run: Decided) -> Row | None:
    """The best configuration that was fitted on all train rows."""
    sign = 1 if run.run["greater_is_better"] else -1
    trained = [
        row
        for row in run.rows["configurations"]
        if row["status"] == "trained" and row["test_score"] is not None
    ]
    return max(trained, key=lambda row: sign * row["test_score"], default=None)


def _decision(run: Decided) -> Iterator[document.Block]:
    yield document.Paragraph(_decision_in_words(run))
    gates = run.rows["gates"]
    if gates:
        by_outcome = sorted(gates, key=lambda gate: [*_GATES].index(gate["outcome"]))
        yield document.LimitBars([*map(_gate_bar, by_outcome)])
    else:
        lines = [line for line in run.summary.decision.splitlines() if line.strip()]
        if lines:
            yield document.Bullets(lines)
    yield from map(document.Paragraph, filter(None, _sentences(run)))
    if run.approval:
        yield document.Paragraph(f"Approval: {run.approval}.")


def _gate_bar(gate: Row) -> document.LimitBar:
    """A gate as a bar from 0, or from the lower end, against its limit."""
    word, tone = _GATES[gate["outcome"]]
    value, limit = gate["value"], gate["limit_value"]
    side = _passing_side(gate)
    text = f"{document.score_text(value)}, {side} {document.score_text(limit)}"
    ends = None
    if value is not None and limit is not None:
        # A value below 0 has a bar, too, and begins a little below the lower of both.
        low = 1.1 * min(0.0, value, limit)
        high = max(0.0, value, limit)
        if low == 0 and _LIKE_A_SHARE <= high <= 1:
            high = 1.0
        scale = 100 / ((high - low) or 1.0)
        ends = (scale * (value - low), scale * (limit - low))
    return document.LimitBar(gate["rule"], word, tone, text, ends)


def _passing_side(gate: Row) -> str:
    """On which side of its limit a gate passes, as its outcome tells."""
    value, limit, outcome = gate["value"], gate["limit_value"], gate["outcome"]
    if outcome == "INCONCLUSIVE" or value is None or limit in (None, value):
        return "limit"
    is_better_above = (value > limit) == (outcome == "PASS")
    return "at least" if is_better_above else "at most"


def _sentences(run: Decided) -> Iterator[str]:
    """What else decides whether to use the model."""
    for row in run.rows["evidence"]:
        if row["kind"] == "incumbent":
            by = ""
            if row["rows"]:
                by = f"; the incumbent scores {numbers.score(row['score'])}, this "
                by += f"model minus it {_change(row)}, the interval of the gates"
            yield f"Beside {row['what']}{by}."
    yield _worth(run)
    yield simpler_model(run)
    yield _rests_on(run)


def _rests_on(run: Decided) -> str:
    """The one feature that most of the score rests on; empty: there is none."""
    for row in run.rows["evidence"]:
        if row["kind"] == "rests on":
            return (
                f"Most of the score rests on {row['what']}: where its values are "
                f"shuffled, {run.run['metric']} is worse by "
                f"{numbers.score(row['difference'])}. Make sure that they are known at "
                "the time of the prediction."
            )
    return ""


def _worth(run: Decided) -> str:
    """What the model saves on the validation rows, in a sentence; empty: no costs."""
    parts = []
    period = ""
    for row in run.rows["evidence"]:
        if row["kind"] == "worth":
            other, _, period = row["what"].rpartition(", ")
            chance = row["low"] is None or row["low"] <= 0 <= row["high"]
            doubt = ", which may be chance" if chance else ""
            parts.append(f"{_change(row)} compared with {other}{doubt}")
    if not parts:
        return ""
    return f"By its costs, the model saves {period}: {'; '.join(parts)}."


def _change(row: Row) -> str:
    """The difference of a row of evidence, with its interval."""
    return numbers.as_known(row["difference"], row["low"], row["high"])


def simpler_model(run: Decided) -> str:
    """Whether a simpler model is as good, in a sentence; empty: it is not known."""
    rows = {row["key"]: row for row in run.rows["configurations"]}
    chosen = rows.get(run.summary.choice)
    if chosen is None:
        return ""
    for linear, evidence in _linear_evidence(run):
        if linear in rows:
            return _beside_linear(run, evidence, chosen, rows[linear])
    tied = [row for row in rows.values() if row["in_tie_group"] and row["model_bytes"]]
    smallest = min(tied, key=lambda row: row["model_bytes"], default=chosen)
    if smallest["key"] == chosen["key"]:
        return "No simpler model that was tried is as good."
    where = numbers.evaluated(run.run["evaluation"]).where
    how = _by_how_much(chosen, smallest)
    return f"As good and simpler: {smallest['key']} is tied {where}{how}."


def _linear_evidence(run: Decided) -> Iterator[tuple[str, Row]]:
    """Yield the key of the best linear model, and how it scored beside the chosen."""
    for evidence in run.rows["evidence"]:
        linear = _BEST_LINEAR.match(evidence["what"])
        if linear and evidence["score"] is not None:
            yield linear[1], evidence


def _beside_linear(run: Decided, evidence: Row, chosen: Row, linear: Row) -> str:
    scores = (
        f"{run.run['metric']} {numbers.score(evidence['score'])}, this model minus it "
        f"{_change(evidence)}"
    )
    is_tied = evidence["low"] is not None and evidence["low"] <= 0 <= evidence["high"]
    if not is_tied:
        return f"The best linear model is not as good: {scores}."
    how = _by_how_much(chosen, linear)
    return f"As good and simpler: the best linear model is tied{how} ({scores})."


def _by_how_much(chosen: Row, simpler: Row) -> str:
    """`: 40 times smaller, 3 times faster`; empty where nothing is known."""
    parts = []
    for column, word in _COSTS_OF_USE.items():
        if chosen[column] and simpler[column]:
            times = chosen[column] / simpler[column]
            if times >= _WORTH_SAYING:
                parts.append(f"{times:,.2g} times {word}")
    return f": {', '.join(parts)}" if parts else ""


def _next_steps(run: Decided) -> Iterator[document.Block]:
    steps = [row for row in run.rows["evidence"] if row["kind"] == "next step"]
    for number, row in enumerate(steps, start=1):
        texts = filter(None, (row["because"], row["promises"]))
        blocks = tuple(map(document.Paragraph, texts))
        yield document.Card(row["what"], f"{number}", "", blocks)


def _next_run(run: Decided) -> Iterator[document.Block]:
    if needs := next_run(run.run, run.rows["configurations"]):
        yield document.Bullets(needs.sentences)
        tags = yaml.safe_dump({"run_tags": needs.run_tags}, sort_keys=False)
        yield document.Paragraph("On Kubernetes, in defs.yaml:")
        yield document.Code("yaml", tags.rstrip("\n"))


def _yaml(run: Decided) -> Iterator[document.Block]:
    """The search to try next, and the defs.yaml of the run."""
    for row in run.rows["reports"]:
        if row["name"] == "next_search" and row["place"]:
            text = read_if_exists(location(row["place"]))
            if text is not None:
                yield document.Paragraph(
                    "The search to try next. It replaces search in defs.yaml: the "
                    "current entries come first, and their fits are reused."
                )
                yield document.Code("yaml", text.decode().rstrip("\n"))
    if text := questions.files_of(run.run).get("defs.yaml"):
        yield document.Paragraph("defs.yaml of this run:")
        yield document.Code("yaml", text.rstrip("\n"))


def _decision_in_words(run: Decided) -> str:
    summary = run.summary
    outcome = summary.outcome.capitalize()
    score = ""
    if summary.on_validation is not None:
        where = f"On the {document.HOLD_OUT} it scores"
        score = f" {where} {summary.on_validation.beside_baseline}."
    if run.is_accepted:
        is_new = run.run["version_is_new"]
        verb = "is published as" if is_new else "is the same model as"
        return f"{outcome}: {summary.choice} {verb} {summary.version}.{score}"
    stays = run.not_exported
    gates = run.gates_in_words
    if summary.error and not gates:
        return f"{outcome} at {summary.stage}: {summary.error}"
    if outcome == "No go":
        return f"{outcome}: the {summary.stage} says not to go on; {stays}."
    if not gates:
        return f"{outcome}: the run ended at {summary.stage}; {stays}."
    return f"{outcome}: {gates}, so {stays}.{score}"


def _question(run: Decided) -> document.Block:
    row = run.run
    by = f", by {run.summary.trigger}" if run.summary.trigger else ""
    return document.facts(
        {
            "predict": f"{row['target']} ({row['task']})",
            "judged by": f"{row['metric']}, {_better(run)} is better",
            "run": row["run_id"],
            "started (UTC)": f"{run.summary.started}{by}",
            "defs.yaml, sha256": row["yaml_digest"],
            "schema.yaml, sha256": row["schema_digest"],
            "changed in the launchpad": numbers.settings(row["settings"] or {}),
            "code": run.summary.code or "not in a git repository",
            "left out of its record": row["code_left_out"],
            "experiment-pipeline": row["package_version"],
        }
    )


def _data(run: Decided) -> Iterator[document.Block]:
    row = run.run
    if not run.summary.table:
        yield document.Paragraph("The table was not read in this run.")
        return
    sensitive = (
        finding["evidence"]
        for finding in run.rows["findings"]
        if finding["code"] == "sensitive_features"
    )
    yield document.facts(
        {
            "table": row["data_url"],
            "delivered": run.summary.table,
            "sha256": row["data_digest"],
            "last changed (UTC)": numbers.moment(row["data_modified_at"]),
            "rejected": run.summary.rejected,
            "verdict": run.summary.verdict,
            "personal or protected": next(sensitive, None),
        }
    )
    if reasons := row["rejection_reasons"]:
        header = ("most frequent reasons to reject a row", "rows")
        counts = [(reason, f"{count:,}") for reason, count in reasons.items()]
        yield document.TableBlock(header, counts)
    if sets := run.rows["sets"]:
        yield document.sets_table(
            (row["set_name"], row["rows"], row["digest"]) for row in sets
        )
    if findings := run.rows["findings"]:
        header = ("severity", "finding", "columns", "evidence", "accepted because")
        cells = [_finding_cells(finding) for finding in findings]
        yield from document.first_rows(header, cells, MOST_LISTED, "finding")


def _finding_cells(finding: Row) -> tuple[str, ...]:
    columns = [numbers.shown(name) for name in finding["column_names"]]
    return (
        finding["severity"],
        finding["code"],
        numbers.some_of(columns, 3),
        finding["evidence"],
        finding["accepted"] or "",
    )


def _tried(run: Decided) -> Iterator[document.Block]:
    searched = _searched(run)
    if not searched:
        text = f"No configuration: the run ended at {run.summary.stage}."
        yield document.Paragraph(text)
        return
    declared = numbers.counted(run.run["declared"], "configuration")
    yield document.Paragraph(f"{declared} declared: {searched}.")
    without_a_fit = [
        (row["key"], row["status"], row["reason"] or "")
        for row in run.rows["configurations"]
        if row["status"] in {"failed", "not started"}
    ]
    if without_a_fit:
        yield from document.first_rows(
            ("configuration", "status", "reason"),
            without_a_fit,
            MOST_LISTED,
            "such configuration",
        )


def _choice(run: Decided) -> Iterator[document.Block]:
    key = run.summary.choice
    if not key:
        return
    rows = run.rows["configurations"]
    ranked = [row for row in rows if row["rank"] is not None]
    name = key
    for row in rows:
        if row["key"] == key and row["hyperparameters"]:
            # With hyperparameters shown, the digest at the end of the key is left out.
            settings = numbers.settings(row["hyperparameters"])
            name = f"{key.partition('__')[0]} ({settings})"
    yield document.Paragraph(f"Chosen: {name}: {run.summary.reason}.")
    evaluation = numbers.evaluated(run.run["evaluation"])
    score = f"{run.run['metric']} {evaluation.short}"
    tie_group = run.run["tie_group"] or 1
    yield document.TableBlock(
        ("rank", "configuration", score, "minus the best", ""),
        [_ranked_cells(row, tie_group) for row in ranked[:MOST_RANKED]],
    )
    baseline = document.score_text(run.run["test_baseline"])
    yield document.Paragraph(
        f"{numbers.tied(tie_group)} {evaluation.where}. Differences are paired on the "
        "same rows; their intervals hold for all configurations together. The baseline "
        f"(no features) scores {baseline} {evaluation.short}."
    )


def _ranked_cells(row: Row, tie_group: int) -> tuple[str, ...]:
    difference = numbers.as_known(
        row["difference_to_best"], row["difference_low"], row["difference_high"]
    )
    return (
        f"{row['rank']} (chosen)" if row["is_chosen"] else f"{row['rank']}",
        row["key"],
        numbers.as_known(row["test_score"], row["test_low"], row["test_high"]),
        difference,
        "tied" if row["in_tie_group"] and tie_group > 1 else "",
    )


def _gates_and_looks(run: Decided) -> Iterator[document.Block]:
    gates = run.rows["gates"]
    if run.summary.on_validation is None and not gates:
        return
    yield document.gates_table(
        (gate["rule"], gate["value"], gate["limit_value"], gate["outcome"])
        for gate in gates
    )
    scores = []
    for row in run.rows["scores"]:
        if row["set_name"] == "validation":
            score = numbers.interval_from(row["estimate"], row["low"], row["high"])
            scores.append(("validation", row["metric"], score, row["baseline"]))
    if scores:
        yield document.scores_table(scores)
    looks = run.run["looks"]
    if looks is not None:
        models = numbers.counted(looks, "model was", "models were")
        share = numbers.share(run.run["overlap"] or 0.0)
        again = f"; another model was evaluated on {share} of them" if looks > 1 else ""
        text = "evaluated on these validation rows, this one included"
        yield document.Paragraph(f"{models} {text}{again}.")


def _evidence(run: Decided) -> dict[str, Sequence[document.Block]]:
    """Sections on evidence beside the gates, and on what the run cannot know."""
    rows = list(run.rows["evidence"])
    rejected = run.run["rejected_rows"]
    if rows and rejected:
        text = (
            f"What the model does on rows like the {rejected:,} rejected ones is not "
            "measured."
        )
        rows.append({"kind": "unknown", "number": math.inf, "what": text})
    sections = document.evidence_sections(rows, run.run["metric"])
    return {section.title: section.blocks for section in sections}


def _changed(run: Decided) -> Iterator[document.Block]:
    if not run.earlier:
        yield document.Paragraph("There is no earlier run or version to compare with.")
    for words, comparison in run.earlier.items():
        before = summary_of(comparison.before)
        which = f"{before.short_id}, {before.started} UTC, {before.outcome_word}"
        yield document.Paragraph(f"Since {words} ({which}):")
        lines = [change.in_words() for change in comparison.changes]
        lines = lines or ["nothing that affects the result"]
        lines += [score.in_words() for score in comparison.scores]
        if comparison.why_unpaired:
            lines.append(f"not paired: {comparison.why_unpaired}")
        yield document.Bullets(lines)
        for diff in (comparison.yaml_diff, comparison.code_diff):
            if diff:
                yield document.Code("diff", _shortened(diff))


def _shortened(diff: str) -> str:
    lines = diff.splitlines()
    if len(lines) > MOST_LINES_OF_DIFF:
        lines = [*lines[:MOST_LINES_OF_DIFF], "…"]
    return "\n".join(lines)
