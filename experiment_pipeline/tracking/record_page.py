"""The decision record: one page of a whole run, from table to decision, for a reviewer to sign.

In: what `record.py` gathers of a run. Out: a `Document`; nothing is computed here.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    HOLD_OUT,
    Block,
    Bullets,
    Code,
    Document,
    Link,
    Paragraph,
    Section,
    TableBlock,
    around,
    facts,
    first_rows,
    gates_table,
    known,
    render,
    scores_table,
    sets_table,
)
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.tracking.flow import flow
from experiment_pipeline.tracking.record import Decided, Row, approval_in_words, decided
from experiment_pipeline.tracking.server import relative_to

# One page: the ends of long lists are in the reports.
MOST_RANKED, MOST_LISTED, MOST_LINES_OF_YAML = 5, 8, 40
_TO_SIGN = "." * 40


def record_of_version(experiment: str, run_id: str, version: str, *, required: bool) -> bytes:
    """Return the record of the run that publishes a version, as Markdown.

    `required`: whether the version becomes the champion only once it is approved.
    """
    found = decided(
        experiment, run_id, {"status": "accepted", "version": version, "version_is_new": True}
    )
    published = {"version": version, "approval_required": required, "approved_by": None}
    approval = approval_in_words(experiment, published)
    return render(decision_record(replace(found, approval=approval), None)).encode()


def decision_record(of: Decided, root: str | None) -> Document:
    """Return the page of a run; reports below the storage `root` are linked from its `runs/`.

    None: places are shown as they are.
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
            f"Failed: {gate['rule']}; it is {known(gate['value'])}"
            for gate in of.gates
            if gate["outcome"] != "PASS"
        )
    blocks: list[Block] = [Paragraph(_in_a_sentence(of))]
    blocks += [Bullets(lines)] if lines else []
    if of.approval:
        blocks.append(Paragraph(f"Approval: {of.approval}."))
    return Section("Decision", tuple(blocks))


def _in_a_sentence(of: Decided) -> str:
    run, score = of.run, ""
    if run["validation_score"] is not None:
        baseline = run["validation_baseline"]
        without = (
            "" if baseline is None else f"; the baseline (no features) scores {known(baseline)}"
        )
        score = (
            f" On the {HOLD_OUT} it scores {run['metric']} {_score(run, 'validation')}{without}."
        )
    if run["status"] == "accepted":
        what = "is published as" if run["version_is_new"] else "is the same model as"
        return f"Accepted: {run['chosen']} {what} {run['version']}.{score}"
    stays = "nothing is exported and the champion stays"
    if not of.gates:
        return f"Refused at {_words(run['stage'])}: {stays}."
    failed = sum(gate["outcome"] == "FAIL" for gate in of.gates)
    return (
        f"Refused: {failed} of {numbers.counted(len(of.gates), 'gate')} failed, so {stays}.{score}"
    )


def _words(name: str | None) -> str:
    return (name or "the start").replace("_", " ")


def _question(run: Row) -> Section:
    better = "greater" if run["greater_is_better"] else "smaller"
    by = " ".join(filter(None, (run["triggered_by"], run["trigger_name"])))
    code = run["code_commit"] or "not in a git repository"
    code += ", with uncommitted changes" if run["code_dirty"] else ""
    asked = {
        "predict": f"{run['target']} ({run['task']})",
        "judged by": f"{run['metric']}, {better} is better",
        "run": run["run_id"],
        "started": f"{_moment(run['started_at'])}{f', by {by}' if by else ''}",
        "defs.yaml, sha256": run["yaml_digest"],
        "schema.yaml, sha256": run["schema_digest"],
        "changed in the launchpad": numbers.settings(run["settings"] or {}),
        "code": code,
        "experiment-pipeline": run["package_version"],
    }
    return Section("Question", (facts(asked),))


def _data(of: Decided) -> Section:
    run = of.run
    if run["data_rows"] is None:
        return Section("Data", (Paragraph("The table was not read in this run."),))
    rejected, columns = run["rejected_rows"], numbers.counted(run["data_columns"], "column")
    share = f" ({numbers.share((rejected or 0) / run['data_rows'])})" if run["data_rows"] else ""
    table = {
        "table": run["data_url"],
        "delivered": f"{numbers.counted(run['data_rows'], 'row')}, {columns}",
        "sha256": run["data_digest"],
        "last changed": _moment(run["data_modified_at"]),
        "rejected": None if rejected is None else f"{numbers.counted(rejected, 'row')}{share}",
        "verdict": run["verdict"],
    }
    blocks: list[Block] = [facts(table)]
    if reasons := run["rejection_reasons"]:
        rows = tuple((reason, f"{count:,}") for reason, count in reasons.items())
        blocks.append(TableBlock(("most frequent reasons to reject a row", "rows"), rows))
    if of.sets:
        blocks.append(sets_table((s["set_name"], s["rows"], s["digest"]) for s in of.sets))
    if of.findings:
        found = [
            (
                one["severity"],
                one["code"],
                numbers.some_of([numbers.shown(name) for name in one["column_names"]], 3),
                one["evidence"],
                one["accepted"] or "",
            )
            for one in of.findings
        ]
        header = ("severity", "finding", "columns", "evidence", "accepted because")
        blocks += first_rows(header, found, MOST_LISTED, "finding")
    return Section("Data", tuple(blocks))


def _tried(of: Decided) -> Section:
    run, title = of.run, "Tried, and not tried"
    if run["declared"] is None:
        text = f"No configuration: the run ended at {_words(run['stage'])}."
        return Section(title, (Paragraph(text),))
    counts = {
        "trained on all train rows": run["trained"],
        "stopped early": run["stopped_early"],
        "failed": run["failed"],
        "not started": run["not_started"],
        "reused from earlier runs": run["reused"],
    }
    parts = ", ".join(f"{count or 0:,} {what}" for what, count in counts.items())
    declared = numbers.counted(run["declared"], "configuration")
    without = [
        (one["key"], one["status"], one["reason"] or "")
        for one in of.configurations
        if one["status"] in {"failed", "not started"}
    ]
    header = ("configuration", "status", "reason")
    table = first_rows(header, without, MOST_LISTED, "such configuration") if without else []
    return Section(title, (Paragraph(f"{declared} declared: {parts}."), *table))


def _choice(of: Decided) -> Iterator[Section]:
    run = of.run
    if run["chosen"] is None:
        return
    (chosen,) = [one for one in of.configurations if one["key"] == run["chosen"]] or [{}]
    settings = numbers.settings(chosen.get("hyperparameters") or {})
    text = f"Chosen: {run['chosen']}{f' ({settings})' if settings else ''}: {run['choice_reason']}."
    ties, how = run["tie_group"] or 1, evaluated(run["evaluation"])
    rows = tuple(
        (
            f"{one['rank']}{' (chosen)' if one['is_chosen'] else ''}",
            one["key"],
            _score(one, "test"),
            numbers.as_known(*(one[f"difference_{part}"] for part in ("to_best", "low", "high"))),
            "tied" if one["in_tie_group"] and ties > 1 else "",
        )
        for one in of.configurations
        if one["rank"] is not None
    )
    header = ("rank", "configuration", f"{run['metric']} {how.short}", "minus the best", "")
    apart = "No other configuration is statistically tied with the best"
    if ties > 1:
        apart = f"{ties} configurations are statistically tied for the best"
    note = (
        f"{apart} {how.where}. Differences are paired on the same rows; their intervals hold for all "
        "configurations together. The baseline (no features) scores "
        f"{known(run['test_baseline'])} {how.short}."
    )
    table = TableBlock(header, rows[:MOST_RANKED])
    yield Section("Choice, and by how much", (Paragraph(text), table, Paragraph(note)))


def _judgement(of: Decided) -> Iterator[Section]:
    run = of.run
    if run["validation_score"] is None and not of.gates:
        return
    names = ("rule", "value", "limit_value", "outcome")
    blocks: list[Block] = [gates_table(tuple(gate[name] for name in names) for gate in of.gates)]
    scores = [
        (
            one["set_name"],
            one["metric"],
            Interval(*(_or_nan(one[part]) for part in ("estimate", "low", "high"))),
            one["baseline"],
        )
        for one in of.scores
        if one["set_name"] == "validation"
    ]
    blocks += [scores_table(scores)] if scores else []
    if (looks := run["looks"]) is not None:
        models = numbers.counted(looks, "model was", "models were")
        overlap = numbers.share(run["overlap"] or 0.0)
        again = f"; another model was evaluated on {overlap} of them" if looks > 1 else ""
        text = f"{models} evaluated on these validation rows, this one included{again}."
        blocks.append(Paragraph(text))
    yield Section("Gates and looks", tuple(blocks))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _changed(of: Decided) -> Section:
    if not of.earlier:
        text = "There is no earlier run or version to compare with."
        return Section("What changed", (Paragraph(text),))
    blocks: list[Block] = []
    for one in of.earlier:
        found, before = one.comparison, one.comparison.before
        since = f"{before['run_id'][:8]}, {_moment(before['started_at'])}, {before['status']}"
        lines = [change.in_words() for change in found.changes] or [
            "nothing that affects the result"
        ]
        lines += [score.in_words() for score in found.scores]
        lines += [f"not paired: {found.why_unpaired}"] if found.why_unpaired else []
        blocks += [Paragraph(f"Since {one.which} ({since}):"), Bullets(tuple(lines))]
        if found.yaml_diff:
            diff = found.yaml_diff.splitlines()
            cut = ["…"] if len(diff) > MOST_LINES_OF_YAML else []
            blocks.append(Code("diff", "\n".join(diff[:MOST_LINES_OF_YAML] + cut)))
    return Section("What changed", tuple(blocks))


def _cost(run: Row) -> Section:
    seconds, peak = (
        {"wall time": "wall_seconds", "CPU time": "cpu_seconds"},
        run["peak_memory_bytes"],
    )
    spent = {
        **{k: None if run[v] is None else numbers.seconds(run[v]) for k, v in seconds.items()},
        "peak memory": None if peak is None else f"{peak / 1e6:,.0f} MB",
        "money": None if run["cost"] is None else f"{run['cost']:.4g}",
    }
    return Section("Cost until this was written", (facts(spent),))


def _reports(of: Decided, root: str | None) -> Section:
    links: list[Block] = []
    elsewhere = []
    for one in of.reports:
        place = one["place"]
        if not place.endswith(".html") or "record" in one["name"]:
            continue
        if below := None if root is None else relative_to(root, place):
            links.append(Link(_words(one["name"]), f"../../{below}"))
        else:
            elsewhere.append((_words(one["name"]), place))
    links += [TableBlock(("report", "place"), tuple(elsewhere))] if elsewhere else []
    return Section("Reports", tuple(links) or (Paragraph("None."),))


def _signature() -> Section:
    rows = tuple((what, _TO_SIGN) for what in ("decision", "name", "date", "signature"))
    return Section("Reviewed", (TableBlock(("", ""), rows),))


def _score(row: Row, which: str) -> str:
    return numbers.as_known(*(row[f"{which}_{part}"] for part in ("score", "low", "high")))


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{numbers.moment(moment)} UTC"
