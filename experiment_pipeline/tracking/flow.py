"""From table to decision: how far a run came, step by step, with the number of each step.

In: what `record.py` gathers of a run. Out: one `Flow`, a list that can be read aloud; its bars are
decoration, in the order of the words beside them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Block, Card, Flow, Link, Markup, Paragraph, Tone
from experiment_pipeline.reporting.evaluated import evaluated
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.versions import CARD
from experiment_pipeline.tracking.record import Decided, Row
from experiment_pipeline.tracking.server import relative_to

_TONES: Mapping[str, Tone] = {"go": "passed", "go with conditions": "doubtful", "no go": "failed"}
_WIDTH, _HEIGHT = 200, 14


def flow(of: Decided, root: str | None) -> Flow:
    """Return the steps of a run, those that it did not reach included.

    Args:
        of: the run.
        root: of the storage, whose reports are linked from `<root>/<experiment>/runs/`; None: no
            links.
    """
    names = ("Raw table", "Data analysis", "Validated rows", "Train, test, validation")
    reached = {card.title: card for card in _reached(of, root)}
    return Flow(
        tuple(
            reached.get(name, Card(name, "not reached", "", ()))
            for name in (*names, "Configurations", "Chosen", "On validation", "Decision")
        )
    )


def _reached(of: Decided, root: str | None) -> Iterator[Card]:
    run = of.run
    if run["data_rows"] is not None:
        columns = numbers.counted(run["data_columns"], "column")
        size = f"{numbers.counted(run['data_rows'], 'row')}, {columns}"
        yield Card("Raw table", size, "", (Paragraph(run["data_url"] or "unknown place"),))
    if run["verdict"] is not None:
        told = Paragraph(_findings(of.findings))
        tone = _TONES.get(run["verdict"], "")
        yield Card("Data analysis", run["verdict"], tone, (told, *_link(of, "data_analysis", root)))
    if run["rejected_rows"] is not None and run["data_rows"]:
        yield _validated(run)
    if of.sets:
        yield _sets(of)
    if run["declared"] is not None:
        yield _configurations(of, root)
    if run["chosen"] is not None:
        yield _chosen(of)
    if run["validation_score"] is not None:
        yield _validation(of, root)
    yield _decision(of, root)


def _findings(findings: Sequence[Row]) -> str:
    if not findings:
        return "Nothing was noticed in the data."
    kinds = {"blocks": "that block", "condition": "to be accepted", "note": "to note"}
    counts = Counter(kinds.get(one["severity"], one["severity"]) for one in findings)
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"{numbers.counted(len(findings), 'finding')}: {told}."


def _validated(run: Row) -> Card:
    kept = run["data_rows"] - run["rejected_rows"]
    told = f"{numbers.counted(run['rejected_rows'], 'row')} rejected"
    told += f" ({numbers.share(run['rejected_rows'] / run['data_rows'])})"
    reasons = run["rejection_reasons"] or {}
    often = next((f", most often because {reason}" for reason in reasons), "")
    blocks = (_bar((kept, run["rejected_rows"])), Paragraph(f"{told}{often}."))
    return Card("Validated rows", numbers.counted(kept, "row"), "", blocks)


def _sets(of: Decided) -> Card:
    rows = [one["rows"] for one in of.sets]
    told = ", ".join(f"{one['rows']:,} {one['set_name']}" for one in of.sets)
    valid = (of.run["data_rows"] or 0) - (of.run["rejected_rows"] or 0)
    outside = valid - sum(rows)
    more = f" {numbers.counted(outside, 'row is', 'rows are')} in no set." if outside > 0 else ""
    tag = f"{rows[0]:,} rows to learn from"
    return Card("Train, test, validation", tag, "", (_bar(rows), Paragraph(f"{told}.{more}")))


def _configurations(of: Decided, root: str | None) -> Card:
    run = of.run
    counts = {
        "trained to the end": run["trained"] or 0,
        "stopped early": run["stopped_early"] or 0,
        "failed": run["failed"] or 0,
        "not started": run["not_started"] or 0,
    }
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    blocks = (_bar(tuple(counts.values())), Paragraph(f"{told or 'None of them was trained'}."))
    tag = f"{run['declared']:,} declared"
    return Card("Configurations", tag, "", (*blocks, *_link(of, "leaderboard", root)))


def _chosen(of: Decided) -> Card:
    run = of.run
    settings = next(
        (
            numbers.settings(one["hyperparameters"] or {})
            for one in of.configurations
            if one["key"] == run["chosen"]
        ),
        "",
    )
    others = (run["tie_group"] or 1) - 1
    tied = (
        f"{numbers.counted(others, 'other')} cannot be told from it."
        if others
        else "No other comes near it."
    )
    score = numbers.as_known(run["test_score"], run["test_low"], run["test_high"])
    told = Paragraph(f"{run['metric']} {score} {evaluated(run['evaluation']).where}. {tied}")
    return Card("Chosen", run["chosen"], "", (*([Paragraph(settings)] if settings else []), told))


def _validation(of: Decided, root: str | None) -> Card:
    run = of.run
    low, high = run["validation_low"], run["validation_high"]
    better = "greater" if run["greater_is_better"] else "smaller"
    parts = [f"95 % interval {numbers.bounds(Interval(run['validation_score'], low, high))}"]
    if low is None or high is None:
        parts = ["No interval"]
    if run["validation_baseline"] is not None:
        without = numbers.score(run["validation_baseline"])
        parts.append(f"predicting without features scores {without} (dashed)")
    told = Paragraph(f"{'; '.join(parts)}; {better} is better.")
    tag = f"{run['metric']} {numbers.score(run['validation_score'])}"
    drawn = _whisker(run["validation_score"], low, high, run["validation_baseline"])
    picture: list[Block] = [drawn] if drawn else []
    blocks = (*picture, told, *_link(of, "validation_report", root))
    return Card("On validation", tag, "", blocks)


def _decision(of: Decided, root: str | None) -> Card:
    run = of.run
    accepted = run["status"] == "accepted"
    tag = f"accepted: {run['version']}" if accepted else "refused"
    passed = sum(gate["outcome"] == "PASS" for gate in of.gates)
    told = [f"{passed} of {numbers.counted(len(of.gates), 'gate')} passed."] if of.gates else []
    if not accepted:
        told.append("Nothing is exported; the champion stays.")
    blocks: list[Block] = [Paragraph(" ".join(told))] if told else []
    if accepted and of.version_place and root is not None:
        blocks += _to("Model card", f"{of.version_place}/{CARD}", root)
    return Card("Decision", tag, "passed" if accepted else "failed", tuple(blocks))


def _link(of: Decided, name: str, root: str | None) -> list[Link]:
    found = [one["place"] for one in of.reports if one["name"] == name]
    if not found or root is None:
        return []
    return _to(name.replace("_", " ").capitalize(), found[0], root)


def _to(words: str, place: str, root: str) -> list[Link]:
    below = relative_to(root, place)
    return [] if below is None else [Link(words, f"../../{below}")]


def _bar(counts: Sequence[int]) -> Markup:
    """Shares of a whole side by side, in the order of the words beside it."""
    whole, x, parts = sum(counts) or 1, 0.0, []
    for number, count in enumerate(counts, start=1):
        width = _WIDTH * count / whole
        if count:
            # What is there is seen, however small its share.
            shown = max(width - 1, 1.5)
            parts.append(
                f'<rect x="{min(x, _WIDTH - shown):.1f}" width="{shown:.1f}" height="{_HEIGHT}" '
                f'style="fill:var(--series-{number})"/>'
            )
        x += width
    return _decoration("".join(parts))


def _whisker(
    score: float, low: float | None, high: float | None, baseline: float | None
) -> Markup | None:
    """An interval, its score as a dot, and what is scored without features as a dashed line."""
    if low is None or high is None:
        return None
    known = [score, low, high, *([] if baseline is None else [baseline])]
    least, most = min(known), max(known)
    wide = (most - least) or 1.0

    def x(value: float) -> str:
        return f"{8 + (_WIDTH - 16) * (value - least) / wide:.1f}"

    middle = _HEIGHT / 2
    dashed = (
        ""
        if baseline is None
        else f'<path d="M{x(baseline)} 0V{_HEIGHT}" stroke-dasharray="3 2" '
        'style="stroke:var(--muted);stroke-width:2"/>'
    )
    return _decoration(
        f'<path d="M8 {middle}H{_WIDTH - 8}" style="stroke:var(--line)"/>{dashed}<path d="M{x(low)} {middle}H{x(high)}" '
        f'style="stroke:var(--series-1);stroke-width:3"/>'
        f'<circle cx="{x(score)}" cy="{middle}" r="4.5" style="fill:var(--series-1)"/>'
    )


def _decoration(drawn: str) -> Markup:
    return Markup(
        f'<svg aria-hidden="true" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}">{drawn}</svg>'
    )
