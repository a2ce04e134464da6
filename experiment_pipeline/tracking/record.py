"""The decision record: one page about a whole run, from table to decision, for a
reviewer to sign.

`decided` gathers a run's data from the metadata database, `decision_record` makes the
page.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiment_pipeline.reporting import document, numbers
from experiment_pipeline.storage.registry import CARD
from experiment_pipeline.table.table import plain_rows
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import RunComparison, compared
from experiment_pipeline.tracking.server import relative_to

Row = Mapping[str, Any]
# Limits that keep the record to one page; the reports have the complete lists.
MOST_RANKED, MOST_LISTED, MOST_LINES_OF_DIFF = 5, 8, 40
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
_STEPS = (
    *("Raw table", "Data analysis", "Validated rows", "Train, test, validation"),
    *("Configurations", "Chosen", "On validation", "Decision"),
)


@dataclass(frozen=True)
class Decided:
    """Everything that the record of a run shows; `rows`: name of a table → the run's
    rows.

    `earlier`: description of an earlier version or run → the comparison with it.
    `approval` (in words) and `version_place`: of the run's version; empty without one.
    """

    run: Row
    rows: Mapping[str, Sequence[Row]]
    earlier: Mapping[str, RunComparison]
    approval: str
    version_place: str


def decided(experiment: str, run_id: str, facts: Row | None = None) -> Decided:
    """Return the data of a decided run, updated by `facts` not written yet; UnknownRun:
    there is none.
    """
    run = {**questions.run_of(experiment, run_id), **(facts or {})}
    rows = {name: plain_rows(questions.rows_of(name, run)) for name in _TABLES}
    rows["sets"].sort(key=lambda row: _SETS.index(row["set_name"]))
    rows["configurations"].sort(key=lambda row: (row["rank"] or math.inf, row["key"]))
    versions = plain_rows(questions.versions(experiment))
    own = next((one for one in versions if one["version"] == run["version"]), None)
    # The run of the previous version, and the last decided run.
    before = [
        one
        for one in versions
        if one["run_id"] not in {None, run["run_id"]}
        and one["created_at"] < run["started_at"]
    ]
    names = {before[-1]["run_id"]: before[-1]["version"]} if before else {}
    given = {"status": ["accepted", "rejected"], "until": run["started_at"], "limit": 1}
    for last in questions.runs(experiment, **given, all_columns=True)["run_id"]:
        names.setdefault(last, "the previous run")
    earlier = {
        which: compared(questions.run_of(experiment, one), run)
        for one, which in names.items()
    }
    approval, place = (
        ("", "") if own is None else (_approval(experiment, own), own["place"])
    )
    return Decided(run, rows, earlier, approval, place)


def record_of_version(
    experiment: str, run_id: str, version: str, *, required: bool
) -> bytes:
    """Return the Markdown record of the run that publishes a version; `required`: it
    needs an approval.
    """
    accepted = {"status": "accepted", "version": version, "version_is_new": True}
    published = {"version": version, "approval_required": required, "approved_by": None}
    found = decided(experiment, run_id, accepted)
    found = replace(found, approval=_approval(experiment, published))
    return document.render(decision_record(found, None)).encode()


def _approval(experiment: str, version: Row) -> str:
    if version["approved_by"]:
        moment = numbers.moment(version["approved_at"])
        return f"approved by {version['approved_by']} at {moment} UTC"
    if not version["approval_required"]:
        return "not required"
    command = f"experiment-pipeline approve {experiment} {version['version']} --by NAME"
    return f"required, and not given yet: {command}"


def decision_record(of: Decided, root: str | None) -> document.Document:
    """Return the page of a run, which links to its reports below the storage `root`, if
    one is given.
    """
    reached = {
        card.title: card for card in (*_data_steps(of, root), *_model_steps(of, root))
    }
    steps = tuple(
        reached.get(name, document.Card(name, "not reached", "", ())) for name in _STEPS
    )
    to_sign = tuple(
        (what, "." * 40) for what in ("decision", "name", "date", "signature")
    )
    sections = {
        "Decision": _decision(of),
        "From table to decision": [document.Flow(steps)],
        "Question": _question(of.run),
        "Purpose and people": document.statements(of.run["record"] or {}),
        "Data": _data(of),
        "Tried, and not tried": _tried(of),
        "Choice, and by how much": _choice(of),
        "Gates and looks": _judgement(of),
        **_evidence(of),
        "What changed": _changed(of),
        "Cost until this was written": _cost(of.run),
        "Reviewed": [document.TableBlock(("", ""), to_sign)],
    }
    return document.Document(
        f"{of.run['experiment']}: from table to decision",
        tuple(
            document.Section(title, found)
            for title, own in sections.items()
            if (found := tuple(own))
        ),
        () if root is None else document.around(of.run["experiment"], folders=1),
    )


def _data_steps(of: Decided, root: str | None) -> Iterator[document.Card]:
    run = of.run
    if run["data_rows"] is not None:
        yield _card("Raw table", _size(run), run["data_url"] or "unknown place")
    if run["verdict"] is not None:
        counts = Counter(row["severity"] for row in of.rows["findings"])
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        text = (
            f"{numbers.counted(len(of.rows['findings']), 'finding')}: {kinds}."
            if counts
            else ""
        )
        tone = document.TONE_OF.get(run["verdict"], "")
        link = _report(of, "data_analysis", root)
        yield _card("Data analysis", run["verdict"], text or "No findings.", link, tone)
    if run["rejected_rows"] is not None and run["data_rows"]:
        reason = next(
            (f", most often because {one}" for one in run["rejection_reasons"] or {}),
            "",
        )
        valid = numbers.counted(run["data_rows"] - run["rejected_rows"], "row")
        yield _card("Validated rows", valid, f"{_rejected(run, ' rejected')}{reason}.")
    if of.rows["sets"]:
        text = (
            ", ".join(f"{row['rows']:,} {row['set_name']}" for row in of.rows["sets"])
            + "."
        )
        yield _card(
            "Train, test, validation",
            f"{of.rows['sets'][0]['rows']:,} train rows",
            text,
        )


def _model_steps(of: Decided, root: str | None) -> Iterator[document.Card]:
    run = of.run
    if run["declared"] is not None:
        named = ("trained", "stopped_early", "failed", "not_started")
        counts = [
            f"{run[name]:,} {name.replace('_', ' ')}" for name in named if run[name]
        ]
        text, link = (
            f"{', '.join(counts) or 'none trained'}.",
            _report(of, "leaderboard", root),
        )
        yield _card("Configurations", f"{run['declared']:,} declared", text, link)
    if run["chosen"] is not None:
        score, where = (
            numbers.score_of(run, "test"),
            numbers.evaluated(run["evaluation"]).where,
        )
        text = (
            f"{run['metric']} {score} {where}. {numbers.tied(run['tie_group'] or 1)}."
        )
        yield _card("Chosen", run["chosen"], text)
    if run["validation_score"] is not None:
        better = "greater" if run["greater_is_better"] else "smaller"
        score = f"{run['metric']} {numbers.score(run['validation_score'])}"
        text = f"{_on_validation(run)}; {better} is better."
        yield _card(
            "On validation", score, text, _report(of, "validation_report", root)
        )
    accepted, gates = run["status"] == "accepted", of.rows["gates"]
    passed = sum(gate["outcome"] == "PASS" for gate in gates)
    text = (
        f"{passed} of {numbers.counted(len(gates), 'gate')} passed. " if gates else ""
    )
    text += "" if accepted else "Nothing is exported; the champion stays."
    link = None
    if accepted and of.version_place:
        link = _link("Model card", f"{of.version_place}/{CARD}", root)
    how = questions.ended_as("accepted", run["decision"]).partition(" (")[0]
    tag = f"{how}: {run['version']}" if accepted else "refused"
    yield _card("Decision", tag, text.strip(), link, "passed" if accepted else "failed")


def _card(
    title: str,
    tag: str,
    text: str,
    link: document.Link | None = None,
    tone: document.Tone = "",
) -> document.Card:
    blocks = (document.Paragraph(text) if text else None, link)
    return document.Card(title, tag, tone, tuple(filter(None, blocks)))


def _report(of: Decided, name: str, root: str | None) -> document.Link | None:
    places = [row["place"] for row in of.rows["reports"] if row["name"] == name]
    return _link(_words(name).capitalize(), places[0], root) if places else None


def _link(words: str, place: str, root: str | None) -> document.Link | None:
    below = None if root is None else relative_to(root, place)
    return None if below is None else document.Link(words, f"../../{below}")


def _size(run: Row) -> str:
    columns = numbers.counted(run["data_columns"], "column")
    return f"{numbers.counted(run['data_rows'], 'row')}, {columns}"


def _rejected(run: Row, word: str = "") -> str:
    share = (
        numbers.share(run["rejected_rows"] / run["data_rows"])
        if run["data_rows"]
        else "0 %"
    )
    return f"{numbers.counted(run['rejected_rows'], 'row')}{word} ({share})"


def _on_validation(run: Row) -> str:
    baseline = f"the baseline (no features) scores {document.known(run['validation_baseline'])}"
    return f"{run['metric']} {numbers.score_of(run, 'validation')}; {baseline}"


def _decision(of: Decided) -> Iterator[document.Block]:
    run, gates, score = of.run, of.rows["gates"], ""
    if run["validation_score"] is not None:
        score = f" On the {document.HOLD_OUT} it scores {_on_validation(run)}."
    lines = tuple(line for line in (run["decision"] or "").splitlines() if line.strip())
    failed = [gate for gate in gates if gate["outcome"] == "FAIL"]
    stays = "nothing is exported and the champion stays"
    if run["status"] == "accepted":
        what = "is published as" if run["version_is_new"] else "is the same model as"
        how = questions.ended_as("accepted", run["decision"])[1:]
        yield document.Paragraph(
            f"A{how}: {run['chosen']} {what} {run['version']}.{score}"
        )
    elif not gates:
        yield document.Paragraph(f"Refused at {_words(run['stage'])}: {stays}.")
    else:
        of_all = f"{len(failed)} of {numbers.counted(len(gates), 'gate')}"
        yield document.Paragraph(f"Refused: {of_all} failed, so {stays}.{score}")
    if gates:
        words = {"FAIL": "Failed", "INCONCLUSIVE": "Too little data to decide"}
        named = ((words.get(one["outcome"]), one) for one in gates)
        lines = tuple(
            f"{word}: {one['rule']}; it is {document.known(one['value'])}"
            for word, one in named
            if word
        )
    if lines:
        yield document.Bullets(lines)
    if of.approval:
        yield document.Paragraph(f"Approval: {of.approval}.")


def _question(run: Row) -> Iterator[document.Block]:
    by = " ".join(filter(None, (run["triggered_by"], run["trigger_name"])))
    code = run["code_commit"] or "not in a git repository"
    code += ", with uncommitted changes" if run["code_dirty"] else ""
    better = "greater" if run["greater_is_better"] else "smaller"
    yield document.facts(
        {
            "predict": f"{run['target']} ({run['task']})",
            "judged by": f"{run['metric']}, {better} is better",
            "run": run["run_id"],
            "started (UTC)": numbers.moment(run["started_at"])
            + (f", by {by}" if by else ""),
            "defs.yaml, sha256": run["yaml_digest"],
            "schema.yaml, sha256": run["schema_digest"],
            "changed in the launchpad": numbers.settings(run["settings"] or {}),
            "code": code,
            "left out of its record": run["code_left_out"],
            "experiment-pipeline": run["package_version"],
        }
    )


def _data(of: Decided) -> Iterator[document.Block]:
    run = of.run
    if run["data_rows"] is None:
        yield document.Paragraph("The table was not read in this run.")
        return
    yield document.facts(
        {
            "table": run["data_url"],
            "delivered": _size(run),
            "sha256": run["data_digest"],
            "last changed (UTC)": numbers.moment(run["data_modified_at"]),
            "rejected": None if run["rejected_rows"] is None else _rejected(run),
            "verdict": run["verdict"],
        }
    )
    if reasons := run["rejection_reasons"]:
        rows = tuple((reason, f"{count:,}") for reason, count in reasons.items())
        yield document.TableBlock(
            ("most frequent reasons to reject a row", "rows"), rows
        )
    if of.rows["sets"]:
        yield document.sets_table(
            (s["set_name"], s["rows"], s["digest"]) for s in of.rows["sets"]
        )
    if of.rows["findings"]:
        found = [
            (
                one["severity"],
                one["code"],
                numbers.some_of(
                    [numbers.shown(name) for name in one["column_names"]], 3
                ),
                one["evidence"],
                one["accepted"] or "",
            )
            for one in of.rows["findings"]
        ]
        header = ("severity", "finding", "columns", "evidence", "accepted because")
        yield from document.first_rows(header, found, MOST_LISTED, "finding")


def _tried(of: Decided) -> Iterator[document.Block]:
    run = of.run
    if run["declared"] is None:
        yield document.Paragraph(
            f"No configuration: the run ended at {_words(run['stage'])}."
        )
        return
    counts = {
        "trained on all train rows": run["trained"],
        "stopped early": run["stopped_early"],
        "failed": run["failed"],
        "not started": run["not_started"],
        "reused from earlier runs": run["reused"],
    }
    parts = ", ".join(f"{count or 0:,} {what}" for what, count in counts.items())
    yield document.Paragraph(
        f"{numbers.counted(run['declared'], 'configuration')} declared: {parts}."
    )
    without = [
        (one["key"], one["status"], one["reason"] or "")
        for one in of.rows["configurations"]
        if one["status"] in {"failed", "not started"}
    ]
    if without:
        header = ("configuration", "status", "reason")
        yield from document.first_rows(
            header, without, MOST_LISTED, "such configuration"
        )


def _choice(of: Decided) -> Iterator[document.Block]:
    run = of.run
    if run["chosen"] is None:
        return
    listed = of.rows["configurations"]
    own = [row["hyperparameters"] for row in listed if row["key"] == run["chosen"]]
    settings = f" ({numbers.settings(own[0])})" if own and own[0] else ""
    how = numbers.evaluated(run["evaluation"])
    # With hyperparameters shown, the digest at the end of the key is left out.
    name = run["chosen"].partition("__")[0] if settings else run["chosen"]
    yield document.Paragraph(f"Chosen: {name}{settings}: {run['choice_reason']}.")
    rows = tuple(
        (
            f"{one['rank']}{' (chosen)' if one['is_chosen'] else ''}",
            one["key"],
            numbers.score_of(one, "test"),
            numbers.as_known(
                *(one[f"difference_{part}"] for part in ("to_best", "low", "high"))
            ),
            "tied" if one["in_tie_group"] and (run["tie_group"] or 1) > 1 else "",
        )
        for one in listed
        if one["rank"] is not None
    )
    header = (
        "rank",
        "configuration",
        f"{run['metric']} {how.short}",
        "minus the best",
        "",
    )
    yield document.TableBlock(header, rows[:MOST_RANKED])
    yield document.Paragraph(
        f"{numbers.tied(run['tie_group'] or 1)} {how.where}. Differences are paired on the same rows; their intervals hold for "
        "all configurations together. The baseline (no features) scores "
        f"{document.known(run['test_baseline'])} {how.short}."
    )


def _judgement(of: Decided) -> Iterator[document.Block]:
    run = of.run
    if run["validation_score"] is None and not of.rows["gates"]:
        return
    names = ("rule", "value", "limit_value", "outcome")
    yield document.gates_table(
        tuple(gate[name] for name in names) for gate in of.rows["gates"]
    )
    scores = []
    for one in of.rows["scores"]:
        if (name := one["set_name"]) == "validation":
            score = numbers.known_interval(
                *(one[part] for part in ("estimate", "low", "high"))
            )
            scores.append((name, one["metric"], score, one["baseline"]))
    if scores:
        yield document.scores_table(scores)
    if (looks := run["looks"]) is not None:
        models = numbers.counted(looks, "model was", "models were")
        overlap = numbers.share(run["overlap"] or 0.0)
        again = (
            f"; another model was evaluated on {overlap} of them" if looks > 1 else ""
        )
        yield document.Paragraph(
            f"{models} evaluated on these validation rows, this one included{again}."
        )


def _evidence(of: Decided) -> dict[str, tuple[document.Block, ...]]:
    """Sections on evidence beside the gates, and on what the run cannot know."""
    rows = list(of.rows["evidence"])
    if rows and (rejected := of.run["rejected_rows"]):
        what = f"What the model does on rows like the {rejected:,} rejected ones is not measured."
        rows.append({"kind": "unknown", "number": math.inf, "what": what})
    return {
        one.title: one.blocks
        for one in document.evidence_sections(rows, of.run["metric"])
    }


def _changed(of: Decided) -> Iterator[document.Block]:
    if not of.earlier:
        yield document.Paragraph("There is no earlier run or version to compare with.")
    for which, found in of.earlier.items():
        before = found.before
        since = f"{before['run_id'][:8]}, {numbers.moment(before['started_at'])} UTC"
        lines = [change.in_words() for change in found.changes]
        lines = lines or ["nothing that affects the result"]
        lines += [score.in_words() for score in found.scores]
        lines += [f"not paired: {found.why_unpaired}"] if found.why_unpaired else []
        yield document.Paragraph(f"Since {which} ({since}, {before['status']}):")
        yield document.Bullets(tuple(lines))
        for diff in filter(None, (found.yaml_diff, found.code_diff)):
            lines, cut = (
                diff.splitlines(),
                ["…"] if diff.count("\n") >= MOST_LINES_OF_DIFF else [],
            )
            yield document.Code("diff", "\n".join(lines[:MOST_LINES_OF_DIFF] + cut))


def _cost(run: Row) -> Iterator[document.Block]:
    peak = run["peak_memory_bytes"]
    taken = {"wall time": run["wall_seconds"], "CPU time": run["cpu_seconds"]}
    yield document.facts(
        {
            **{k: None if v is None else numbers.seconds(v) for k, v in taken.items()},
            "peak memory": None if peak is None else f"{peak / 1e6:,.0f} MB",
            "money": None if run["cost"] is None else f"{run['cost']:.4g}",
        }
    )


def _words(name: str | None) -> str:
    return (name or "the start").replace("_", " ")
