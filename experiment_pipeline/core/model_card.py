"""The model card: what the model is for, what it is worth, and how to load it.

Built as data first (`Card`, tested without parsing), rendered as Markdown last. In: a
`ModelFacts`. Out: a `Card`, and its text. Names and values from the user's data are shown,
never interpreted: what Markdown or HTML would act upon is escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experiment_pipeline.core.documents import redacted, without_credentials
from experiment_pipeline.core.model_facts import Environment, ModelFacts, Score

LOAD = """\
import json, pandas as pd, skops.io
model = skops.io.load("model.skops", trusted=json.load(open("trusted_types.json")))
signature = json.load(open("signature.json"))
example = pd.DataFrame(json.load(open("input_example.json")), dtype=object)
rows = example.astype(signature["features"])
print({call})"""
SHOWN_ROWS = 30
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "`": "\\`", "*": "\\*", "_": "\\_"}
    | {"[": "\\[", "]": "\\]", "\\": "\\\\", "~": "\\~", "#": "\\#", "\n": " ", "\r": " "}
)


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of plain texts."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of plain texts, every row as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Code:
    """A block of code."""

    language: str
    text: str


Block = Paragraph | Bullets | Table | Code


@dataclass(frozen=True)
class Section:
    """A title and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Card:
    """A model card as data."""

    title: str
    sections: tuple[Section, ...]

    def section(self, title: str) -> Section:
        """Return the section of that title; KeyError names those there are."""
        for section in self.sections:
            if section.title == title:
                return section
        raise KeyError(f"no section {title!r}; there are {[s.title for s in self.sections]}")


def build_card(facts: ModelFacts, files: Sequence[tuple[str, str]] = ()) -> Card:
    """Return the card of a model.

    Args:
        facts: what is known about it.
        files: (name, what it holds) of the version's files.
    """
    return Card(
        title=f"{facts.spec.name}: {_task_in_words(facts)}",
        sections=(
            _question(facts),
            _data(facts),
            _configuration(facts),
            _metrics(facts),
            _gates(facts),
            _limits(facts),
            _loading(facts),
            _provenance(facts),
            Section("Files", (Table(("file", "holds"), tuple(files)),)),
        ),
    )


def render(card: Card) -> str:
    """Return the card as Markdown."""
    parts = [f"# {escape(card.title)}"]
    for section in card.sections:
        parts += [f"## {escape(section.title)}", *map(_rendered, section.blocks)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown and HTML show as it is, in one line."""
    return text.translate(_ESCAPES)


def _rendered(block: Block) -> str:
    match block:
        case Paragraph(text):
            return escape(text)
        case Bullets(items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case Code(language, text):
            return f"```{language}\n{text}\n```"
        case Table(header, rows):
            separator = ["---"] * len(header)
            lines = [list(map(escape, header)), separator, *(map(escape, row) for row in rows)]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _task_in_words(facts: ModelFacts) -> str:
    if facts.classes is None:
        return f"predicts the number {facts.spec.target}"
    if facts.spec.task == "binary":
        return f"predicts whether {facts.spec.target} is {facts.positive_class}"
    return f"predicts which of {len(facts.classes)} classes {facts.spec.target} is"


def _question(facts: ModelFacts) -> Section:
    asked = Paragraph(
        f"The model {_task_in_words(facts)}, for rows such as those of "
        f"{without_credentials(facts.spec.data.url)}."
    )
    if facts.classes is None:
        return Section("Question", (asked,))
    classes = "Classes, in the order of predict_proba: " + ", ".join(map(str, facts.classes)) + "."
    return Section("Question", (asked, Paragraph(classes), *_threshold(facts)))


def _threshold(facts: ModelFacts) -> tuple[Paragraph, ...]:
    if facts.threshold is None:
        return ()
    return (
        Paragraph(
            f"{facts.positive_class} is predicted from a probability of {facts.threshold:.4g} on. "
            "This threshold was chosen on the test set; the pipeline's own predict cuts at 0.5."
        ),
    )


def _data(facts: ModelFacts) -> Section:
    spec = facts.spec
    sets = tuple((one.name, f"{one.rows:,}", one.digest[:16]) for one in facts.sets)
    refit = spec.export.refit == "train_and_test"
    blocks: list[Block] = [
        Paragraph(
            f"The rows were split by {_split_in_words(facts)}. Configurations were fitted on the "
            "train set and chosen on the test set. The exported model was fitted on "
            f"{'train and test' if refit else 'the train set'} and judged on the validation set."
        ),
        Table(("set", "rows", "sha256 begins"), sets),
    ]
    if spec.exclude:
        reasons = tuple(redacted(list(spec.exclude.items()))[:SHOWN_ROWS])
        blocks += [
            Paragraph(f"{len(spec.exclude)} columns are no features:"),
            Table(("column", "reason"), tuple(map(tuple, reasons))),
        ]
    return Section("Data", tuple(blocks))


def _split_in_words(facts: ModelFacts) -> str:
    split = facts.spec.split
    if split.by == "random":
        return f"a hash of {', '.join(split.id_columns) or 'the row'}"
    if split.by == "time":
        return f"time ({split.column}, gap {split.gap})"
    return f"{split.by} ({split.column})"


def _configuration(facts: ModelFacts) -> Section:
    chosen = facts.configuration
    settings = {**chosen.hyperparameters, "category encoding": chosen.features}
    if facts.rounds is not None:
        settings["boosting rounds of this fit"] = facts.rounds
    rows = tuple((name, str(value)) for name, value in settings.items())
    return Section(
        "Chosen configuration",
        (
            Paragraph(f"{chosen.key} (algorithm {chosen.algorithm}). {facts.reason}"),
            Table(("hyperparameter", "value"), rows),
        ),
    )


def _metrics(facts: ModelFacts) -> Section:
    rows = tuple(map(_score_row, facts.scores))
    looks = f"These validation rows have been looked at {facts.looks} time(s), this one included."
    header = ("set", "metric", "estimate", "95 % interval", "baseline")
    return Section("Metrics", (Table(header, rows), Paragraph(looks)))


def _score_row(score: Score) -> tuple[str, ...]:
    interval = score.interval
    baseline = "" if score.baseline is None else f"{score.baseline:.4f}"
    bounds = f"{interval.low:.4f} to {interval.high:.4f}"
    return score.set_name, score.metric, f"{interval.estimate:.4f}", bounds, baseline


def _gates(facts: ModelFacts) -> Section:
    rows = tuple(
        (gate.rule, f"{gate.value:.4f}", "passed" if gate.passed else "failed")
        for gate in facts.gates
    )
    return Section("Acceptance", (Table(("gate", "value", "outcome"), rows),))


def _limits(facts: ModelFacts) -> Section:
    general = (
        "The intervals cover the choice of validation rows, not a world that changes later.",
        "A category never seen in training is treated as unknown, a missing value as missing; "
        "rows that break schema.yaml should get no prediction.",
    )
    return Section("Limits", (Bullets((*facts.limits, *general)),))


def _loading(facts: ModelFacts) -> Section:
    name = facts.spec.name
    call = "model.predict(rows)" if facts.classes is None else "model.predict_proba(rows)"
    return Section(
        "How to load it",
        (
            Paragraph(
                "In this folder, with the packages of environment.txt. Read trusted_types.json "
                "first: these types may run code. `python verify.py` proves that the model "
                "predicts here what it predicted at the export."
            ),
            Code("python", LOAD.format(call=call)),
            Paragraph("On rows as delivered, with preparation and schema applied:"),
            Code("console", f"$ experiment-pipeline predict {name} rows.csv"),
        ),
    )


def _provenance(facts: ModelFacts) -> Section:
    rows = (
        ("exported", facts.created),
        ("code", facts.code.in_words()),
        ("fingerprint", facts.fingerprint),
        ("software", software(facts.environment)),
    )
    return Section("Provenance", (Table(("what", "value"), rows),))


def software(environment: Environment) -> str:
    """Return the versions in one line."""
    packages = [f"{name} {version or '(not installed)'}" for name, version in environment.packages]
    return ", ".join([f"Python {environment.python}", *packages])
