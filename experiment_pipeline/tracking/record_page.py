"""The decision record: one page of a whole run, from table to decision, for a reviewer to sign.

The decision, the way to it step by step with a link to each report, then the question, the data,
what was tried and what was not, what was chosen and by how much, gates, looks, cost, what changed
since the version and the run before. In: what `record.py` gathers of a run. Out: a `Document`;
nothing is computed here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Code,
    Document,
    Link,
    Paragraph,
    Section,
    TableBlock,
    around,
    render,
)
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.tracking.flow import flow
from experiment_pipeline.tracking.record import Decided, Row, approval_in_words, decided
from experiment_pipeline.tracking.server import relative_to

# One page: the ends of long lists are in the reports.
MOST_RANKED, MOST_LISTED, MOST_LINES_OF_YAML = 5, 8, 40
_TO_SIGN = "." * 40


def record_of_version(experiment: str, run_id: str, version: str, *, required: bool) -> bytes:
    """Return the record that a version of the exported model holds, as Markdown.

    Args:
        experiment: its name.
        run_id: of the run that publishes the version.
        version: its number.
        required: whether it is no champion before somebody approves it.
    """
    found = decided(
        experiment, run_id, {"status": "accepted", "version": version, "version_is_new": True}
    )
    published = {"version": version, "approval_required": required, "approved_by": None}
    approval = approval_in_words(experiment, published)
    return render(decision_record(replace(found, approval=approval), None)).encode()


def decision_record(of: Decided, root: str | None) -> Document:
    """Return the page.

    Args:
        of: the run.
        root: of the storage: reports below it are linked from `<root>/<experiment>/runs/`; None:
            places stand as they are.
    """
    return Document(
        f"{of.run['experiment']}: from table to decision",
        (
            _decision(of),
            Section("From table to decision", (flow(of, root),)),
            _question(of.run),
            _data(of),
            _tried(of),
            *_choice(of),
            *_judgement(of),
            _changed(of),
            _cost(of.run),
            _reports(of, root),
            _signature(),
        ),
        () if root is None else around(of.run["experiment"], folders=1),
    )


def _decision(of: Decided) -> Section:
    run = of.run
    lines = tuple(line for line in (run["decision"] or "").splitlines() if line.strip())
    if of.gates:
        lines = tuple(
            f"Failed: {gate['rule']}; it is {_number(gate['value'])}"
            for gate in of.gates
            if gate["outcome"] != "PASS"
        )
    blocks: list[Block] = [Paragraph(_in_a_sentence(of))]
    blocks += [Bullets(lines)] if lines else []
    if of.approval:
        blocks.append(Paragraph(f"Approval: {of.approval}."))
    return Section("Decision", tuple(blocks))


def _in_a_sentence(of: Decided) -> str:
    run = of.run
    stays = "nothing is exported and the champion stays"
    if run["status"] == "accepted":
        what = "is published as" if run["version_is_new"] else "is the same model as"
        return f"Accepted: {run['chosen']} {what} {run['version']}.{_scored(run)}"
    if not of.gates:
        return f"Refused at {_words(run['stage'])}: {stays}."
    failed = sum(gate["outcome"] == "FAIL" for gate in of.gates)
    gates = numbers.counted(len(of.gates), "gate")
    return f"Refused: {failed} of {gates} failed, so {stays}.{_scored(run)}"


def _scored(run: Row) -> str:
    """What the model is worth, for who reads nothing else."""
    if run["validation_score"] is None:
        return ""
    baseline = run["validation_baseline"]
    without = "" if baseline is None else f"; predicting without features: {_number(baseline)}"
    score = f"{run['metric']} {_score(run, 'validation')}"
    return f" On rows kept back until the end it scores {score}{without}."


def _words(name: str | None) -> str:
    return (name or "the start").replace("_", " ")


def _question(run: Row) -> Section:
    better = "greater" if run["greater_is_better"] else "smaller"
    by = " ".join(filter(None, (run["triggered_by"], run["trigger_name"])))
    code = run["code_commit"] or "not in a git repository"
    if run["code_dirty"]:
        code += ", with uncommitted changes"
    said = {
        "predict": f"{run['target']} ({run['task']})",
        "judged by": f"{run['metric']}, {better} is better",
        "run": run["run_id"],
        "started": f"{_moment(run['started_at'])}, by {by}" if by else _moment(run["started_at"]),
        "defs.yaml, sha256": run["yaml_digest"],
        "schema.yaml, sha256": run["schema_digest"],
        "changed in the launchpad": numbers.settings(run["settings"] or {}),
        "code": code,
        "experiment-pipeline": run["package_version"],
    }
    return Section("Question", (_facts(said),))


def _data(of: Decided) -> Section:
    run = of.run
    if run["data_rows"] is None:
        return Section("Data", (Paragraph("The table was not read in this run."),))
    columns = numbers.counted(run["data_columns"], "column")
    said = {
        "table": run["data_url"],
        "delivered": f"{numbers.counted(run['data_rows'], 'row')}, {columns}",
        "sha256": run["data_digest"],
        "last changed": _moment(run["data_modified_at"]) if run["data_modified_at"] else None,
        "rejected": _rejected(run),
        "verdict": run["verdict"],
    }
    blocks: list[Block] = [_facts(said)]
    reasons = run["rejection_reasons"] or {}
    if reasons:
        rows = tuple((reason, f"{count:,}") for reason, count in reasons.items())
        blocks.append(TableBlock(("most frequent reasons to reject a row", "rows"), rows))
    if of.sets:
        cells = tuple((s["set_name"], f"{s['rows']:,}", s["digest"][:16]) for s in of.sets)
        blocks.append(TableBlock(("set", "rows", "sha256 begins"), cells))
    if of.findings:
        shown = tuple(
            (
                one["severity"],
                one["code"],
                numbers.some_of([numbers.shown(name) for name in one["column_names"]], 3),
                one["evidence"],
                one["accepted"] or "",
            )
            for one in of.findings[:MOST_LISTED]
        )
        header = ("severity", "finding", "columns", "evidence", "accepted because")
        blocks += [TableBlock(header, shown), *_more(len(of.findings), "finding")]
    return Section("Data", tuple(blocks))


def _rejected(run: Row) -> str | None:
    if run["rejected_rows"] is None:
        return None
    share = numbers.share(run["rejected_rows"] / run["data_rows"]) if run["data_rows"] else "none"
    return f"{numbers.counted(run['rejected_rows'], 'row')} ({share})"


def _tried(of: Decided) -> Section:
    run = of.run
    if run["declared"] is None:
        said = f"No configuration: the run ended at {_words(run['stage'])}."
        return Section("Tried, and not tried", (Paragraph(said),))
    declared = numbers.counted(run["declared"], "configuration")
    counts = {
        "trained on all train rows": run["trained"],
        "stopped early": run["stopped_early"],
        "failed": run["failed"],
        "not started": run["not_started"],
        "reused from earlier runs": run["reused"],
    }
    parts = ", ".join(f"{count or 0:,} {what}" for what, count in counts.items())
    blocks: list[Block] = [Paragraph(f"{declared} declared: {parts}.")]
    without = [one for one in of.configurations if one["status"] in {"failed", "not started"}]
    if without:
        rows = tuple(
            (one["key"], one["status"], one["reason"] or "") for one in without[:MOST_LISTED]
        )
        table = TableBlock(("configuration", "status", "reason"), rows)
        blocks += [table, *_more(len(without), "such configuration")]
    return Section("Tried, and not tried", tuple(blocks))


def _choice(of: Decided) -> Iterator[Section]:
    run = of.run
    if run["chosen"] is None:
        return
    (chosen,) = [one for one in of.configurations if one["key"] == run["chosen"]] or [{}]
    settings = numbers.settings(chosen.get("hyperparameters") or {})
    said = f"Chosen: {run['chosen']}{f' ({settings})' if settings else ''}: {run['choice_reason']}."
    ties, how = run["tie_group"] or 1, evaluated(run["evaluation"])
    ranked = [one for one in of.configurations if one["rank"] is not None][:MOST_RANKED]
    rows = tuple(
        (
            f"{one['rank']}{' (chosen)' if one['is_chosen'] else ''}",
            one["key"],
            _score(one, "test"),
            numbers.as_known(*(one[f"difference_{part}"] for part in ("to_best", "low", "high"))),
            "tied" if one["in_tie_group"] and ties > 1 else "",
        )
        for one in ranked
    )
    header = ("rank", "configuration", f"{run['metric']} {how.short}", "minus the best", "")
    apart = (
        f"{how.by[:1].upper()}{how.by[1:]} tells it from every other configuration."
        if ties == 1
        else f"{ties} configurations cannot be told from the best {how.where}."
    )
    paired = (
        "Differences are paired on the same rows; their intervals hold for all "
        "configurations together."
    )
    baseline = f"Predicting without features scores {_number(run['test_baseline'])} {how.short}."
    yield Section(
        "Choice, and by how much",
        (Paragraph(said), TableBlock(header, rows), Paragraph(f"{apart} {paired} {baseline}")),
    )


def _judgement(of: Decided) -> Iterator[Section]:
    run = of.run
    if run["validation_score"] is None and not of.gates:
        return
    gates = tuple(
        (g["rule"], _number(g["value"]), _number(g["limit_value"]), g["outcome"]) for g in of.gates
    )
    scores = tuple(
        (
            one["metric"],
            numbers.as_known(one["estimate"], one["low"], one["high"]),
            _number(one["baseline"]),
        )
        for one in of.scores
        if one["set_name"] == "validation"
    )
    blocks: list[Block] = [TableBlock(("gate", "value", "limit", "outcome"), gates)]
    if scores:
        blocks.append(TableBlock(("metric", "on validation", "baseline"), scores))
    if run["looks"] is not None:
        among = f"; another model has seen {numbers.share(run['overlap'] or 0.0)} of them"
        looks = numbers.counted(run["looks"], "model has", "models have")
        said = f"{looks} looked at these validation rows, this one included"
        blocks.append(Paragraph(f"{said}{among if run['looks'] > 1 else ''}."))
    yield Section("Gates and looks", tuple(blocks))


def _changed(of: Decided) -> Section:
    if not of.earlier:
        said = "There is no earlier run or version to compare with."
        return Section("What changed", (Paragraph(said),))
    blocks: list[Block] = []
    for one in of.earlier:
        found = one.comparison
        before = found.before
        since = f"{before['run_id'][:8]}, {_moment(before['started_at'])}, {before['status']}"
        lines = [change.in_words() for change in found.changes] or ["nothing that decides"]
        lines += [score.in_words() for score in found.scores]
        lines += [f"not paired: {found.why_unpaired}"] if found.why_unpaired else []
        blocks += [Paragraph(f"Since {one.which} ({since}):"), Bullets(tuple(lines))]
        if found.yaml_diff:
            diff = found.yaml_diff.splitlines()
            cut = ["…"] if len(diff) > MOST_LINES_OF_YAML else []
            blocks.append(Code("diff", "\n".join(diff[:MOST_LINES_OF_YAML] + cut)))
    return Section("What changed", tuple(blocks))


def _cost(run: Row) -> Section:
    peak = run["peak_memory_bytes"]
    said = {
        "wall time": None if run["wall_seconds"] is None else numbers.seconds(run["wall_seconds"]),
        "CPU time": None if run["cpu_seconds"] is None else numbers.seconds(run["cpu_seconds"]),
        "peak memory": None if peak is None else f"{peak / 1e6:,.0f} MB",
        "money": None if run["cost"] is None else f"{run['cost']:.4g}",
    }
    return Section("Cost until this was written", (_facts(said),))


def _reports(of: Decided, root: str | None) -> Section:
    found = [
        (_words(one["name"]), one["place"])
        for one in of.reports
        if one["place"].endswith(".html") and "record" not in one["name"]
    ]
    below = {place: None if root is None else relative_to(root, place) for _, place in found}
    links = [Link(name, f"../../{below[place]}") for name, place in found if below[place]]
    rows = tuple((name, place) for name, place in found if not below[place])
    elsewhere: list[Block] = [TableBlock(("report", "place"), rows)] if rows else []
    return Section("Reports", (*links, *elsewhere) or (Paragraph("None."),))


def _signature() -> Section:
    rows = tuple((what, _TO_SIGN) for what in ("decision", "name", "date", "signature"))
    return Section("Reviewed", (TableBlock(("", ""), rows),))


def _facts(said: Mapping[str, str | None]) -> Block:
    rows = tuple((what, value) for what, value in said.items() if value)
    return TableBlock(("", ""), rows) if rows else Paragraph("Nothing is known of it.")


def _more(number: int, what: str) -> list[Block]:
    more = number - MOST_LISTED
    return [Paragraph(f"And {numbers.counted(more, f'more {what}')}.")] if more > 0 else []


def _score(row: Row, which: str) -> str:
    return numbers.as_known(*(row[f"{which}_{part}"] for part in ("score", "low", "high")))


def _number(value: float | None) -> str:
    return "undefined" if value is None else numbers.score(value)


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{numbers.moment(moment)} UTC"
