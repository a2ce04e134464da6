"""From table to decision: how far a run came, step by step, with the number of each step."""

from collections import Counter
from collections.abc import Iterator

from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Block, Card, Flow, Link, Paragraph, Tone
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.storage.versions import CARD
from experiment_pipeline.tracking.record import Decided
from experiment_pipeline.tracking.server import relative_to

_STEPS = (
    *("Raw table", "Data analysis", "Validated rows", "Train, test, validation"),
    *("Configurations", "Chosen", "On validation", "Decision"),
)
_TONES: dict[str, Tone] = {"go": "passed", "go with conditions": "doubtful", "no go": "failed"}
_FINDINGS = {"blocks": "that block", "condition": "to be accepted", "note": "to note"}


def flow(of: Decided, root: str | None) -> Flow:
    """Return the steps of a run, those that it did not reach included.

    Args:
        of: the run.
        root: of the storage, whose reports are linked from `<root>/<experiment>/runs/`; None: no
            links.
    """
    reached = {card.title: card for card in (*_data_steps(of, root), *_model_steps(of, root))}
    return Flow(tuple(reached.get(name, Card(name, "not reached", "", ())) for name in _STEPS))


def _data_steps(of: Decided, root: str | None) -> Iterator[Card]:
    run = of.run
    if run["data_rows"] is not None:
        columns = numbers.counted(run["data_columns"], "column")
        size = f"{numbers.counted(run['data_rows'], 'row')}, {columns}"
        yield _card("Raw table", size, run["data_url"] or "unknown place")
    if run["verdict"] is not None:
        counts = Counter(_FINDINGS.get(row["severity"], row["severity"]) for row in of.findings)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        text = "The data analysis has no findings."
        if counts:
            text = f"{numbers.counted(len(of.findings), 'finding')}: {kinds}."
        links = _report(of, "data_analysis", root)
        yield _card("Data analysis", run["verdict"], text, links, _TONES.get(run["verdict"], ""))
    if run["rejected_rows"] is not None and run["data_rows"]:
        rejected = run["rejected_rows"]
        reason = next((f", most often because {one}" for one in run["rejection_reasons"] or {}), "")
        share = numbers.share(rejected / run["data_rows"])
        text = f"{numbers.counted(rejected, 'row')} rejected ({share}){reason}."
        valid = numbers.counted(run["data_rows"] - rejected, "row")
        yield _card("Validated rows", valid, text)
    if of.sets:
        text = ", ".join(f"{row['rows']:,} {row['set_name']}" for row in of.sets) + "."
        valid_rows = (run["data_rows"] or 0) - (run["rejected_rows"] or 0)
        outside = valid_rows - sum(row["rows"] for row in of.sets)
        if outside > 0:
            text += f" {numbers.counted(outside, 'row is', 'rows are')} in no set."
        yield _card("Train, test, validation", f"{of.sets[0]['rows']:,} train rows", text)


def _model_steps(of: Decided, root: str | None) -> Iterator[Card]:
    run = of.run
    if run["declared"] is not None:
        named = ("trained", "stopped_early", "failed", "not_started")
        counts = [f"{run[name]:,} {name.replace('_', ' ')}" for name in named if run[name]]
        text = f"{', '.join(counts) or 'None of them was trained'}."
        links = _report(of, "leaderboard", root)
        yield _card("Configurations", f"{run['declared']:,} declared", text, links)
    if run["chosen"] is not None:
        score = numbers.as_known(run["test_score"], run["test_low"], run["test_high"])
        others = (run["tie_group"] or 1) - 1
        tied = f"{others} other{'s are' if others > 1 else ' is'} statistically tied with it."
        text = f"{run['metric']} {score} {evaluated(run['evaluation']).where}. "
        text += tied if others else "No other is statistically tied with it."
        own = [row["hyperparameters"] for row in of.configurations if row["key"] == run["chosen"]]
        blocks = [Paragraph(numbers.settings(one)) for one in own if one]
        yield Card("Chosen", run["chosen"], "", (*blocks, Paragraph(text)))
    if run["validation_score"] is not None:
        parts = ["No interval"]
        if run["validation_low"] is not None and run["validation_high"] is not None:
            bounds = (numbers.score(run[f"validation_{end}"]) for end in ("low", "high"))
            parts = [f"95 % interval {' to '.join(bounds)}"]
        if run["validation_baseline"] is not None:
            baseline = numbers.score(run["validation_baseline"])
            parts.append(f"the baseline (no features) scores {baseline}")
        better = "greater" if run["greater_is_better"] else "smaller"
        text = f"{'; '.join(parts)}; {better} is better."
        score = f"{run['metric']} {numbers.score(run['validation_score'])}"
        yield _card("On validation", score, text, _report(of, "validation_report", root))
    accepted = run["status"] == "accepted"
    passed = sum(gate["outcome"] == "PASS" for gate in of.gates)
    text = f"{passed} of {numbers.counted(len(of.gates), 'gate')} passed. " if of.gates else ""
    text += "" if accepted else "Nothing is exported; the champion stays."
    links = []
    if accepted and of.version_place:
        links = _link("Model card", f"{of.version_place}/{CARD}", root)
    tag = f"accepted: {run['version']}" if accepted else "refused"
    yield _card("Decision", tag, text.strip(), links, "passed" if accepted else "failed")


def _card(
    title: str, tag: str, text: str, links: list[Block] | None = None, tone: Tone = ""
) -> Card:
    blocks: list[Block] = [Paragraph(text)] if text else []
    return Card(title, tag, tone, (*blocks, *(links or [])))


def _report(of: Decided, name: str, root: str | None) -> list[Block]:
    places = [row["place"] for row in of.reports if row["name"] == name]
    return _link(name.replace("_", " ").capitalize(), places[0], root) if places else []


def _link(words: str, place: str, root: str | None) -> list[Block]:
    below = None if root is None else relative_to(root, place)
    return [] if below is None else [Link(words, f"../../{below}")]
