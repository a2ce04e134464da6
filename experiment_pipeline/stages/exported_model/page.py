"""An exported model as an outcome, and its model card: purpose, scores, limits, how to
load it.

In: a published version; the `EvaluatedModel`. Out: an outcome, a `Document`; nothing is
computed here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.intake.profile import DataProfile
from experiment_pipeline.prediction.rows import Signature
from experiment_pipeline.reporting.document import (
    Block,
    Bullets,
    Code,
    Document,
    Paragraph,
    Section,
    first_rows,
    gates_table,
    scores_table,
    sets_table,
    statements,
)
from experiment_pipeline.reporting.document import TableBlock as Table
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.outcome import Check, Markdown, Outcome, PagePath
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.spec import ExperimentSpec, algorithms
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.ensemble import EnsembleMember
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.results import ModelResult
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.stages.validation_report.report import (
    SetFact,
    ValidationReport,
)
from experiment_pipeline.statistics.calibration import named, reweighting
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.files import redacted
from experiment_pipeline.storage.provenance import COMMITTED
from experiment_pipeline.storage.registry import PublishedVersion, Registry
from experiment_pipeline.table.clusters import FittedRows

LOAD = """\
import json, pandas as pd, skops.io
model = skops.io.load("model.skops", trusted=json.load(open("trusted_types.json")))
signature = json.load(open("signature.json"))
example = pd.DataFrame(json.load(open("input_example.json")), dtype=object)
rows = example.astype(signature["features"])
print({call})"""
SHOWN_COLUMNS = 30


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """The chosen model, which the validation report has evaluated."""

    pipeline: Any  # fitted, as it was scored on the validation set
    configuration: Configuration  # the chosen one
    result: ModelResult  # of its fit on the train set
    board: Leaderboard  # on which it was chosen
    report: ValidationReport  # on the validation set
    sets: tuple[SetFact, ...]  # what it was fitted, chosen and evaluated on
    validation: SetTable  # the validation set, from which example rows are taken
    fitted_rows: FittedRows  # hashes of the rows that it was fitted and chosen on
    schema_text: str  # of schema.yaml
    # signature → profile of features and predictions, to detect drift later; None:
    # there is none
    profile: Callable[[Signature], DataProfile] | None = None

    @property
    def members(self) -> tuple[EnsembleMember, ...]:
        """The configurations of an ensemble; else the chosen one alone."""
        ensemble = self.board.chosen_ensemble
        if ensemble is not None:
            return ensemble.members
        return (
            EnsembleMember(
                self.configuration,
                self.result.fingerprint,
                self.result.rounds,
                weight=1.0,
            ),
        )

    @property
    def scores(self) -> list[tuple[str, str, Interval, float]]:
        """(set, metric, score, baseline): of the exported fit on validation, of the
        choice on test.
        """
        board = self.board
        return [
            *(
                ("validation", score.metric, score.interval, score.baseline)
                for score in self.report.scores
            ),
            ("test", board.metric, board.score, board.baseline),
        ]


_GENERAL_LIMITS = (
    (
        "The intervals cover the sampling of validation rows, not changes of the data "
        "over time."
    ),
    (
        "A category never seen in training is treated as unknown, a missing value as "
        "missing."
    ),
    "Rows that break schema.yaml should get no prediction.",
)


def build_card(
    spec: ExperimentSpec,
    model: EvaluatedModel,
    signature: Signature,
    origin: Mapping[str, str],
    files: Mapping[str, str],
) -> Document:
    """Return the card of a model with its `origin`, name → value, and its `files`, name
    → content in words.
    """
    task = _task(signature)
    committed = [pair for pair in files.items() if pair[0].startswith(COMMITTED)]
    uncommitted = [pair for pair in files.items() if pair not in committed]
    header = ("file", "holds")
    return Document(
        title=f"{spec.name}: {task}",
        sections=(
            _question(spec, signature, task),
            Section(
                "Purpose and people", statements(spec.record.model_dump(mode="json"))
            ),
            _data(spec, model),
            _configuration(spec, model),
            _metrics(spec, model),
            _acceptance(model),
            _limits(model),
            _loading(spec, signature),
            Section("Provenance", (Table(("what", "value"), [*origin.items()]),)),
            Section("Files", (Table(header, committed),)),
            Section(
                "Files that a git commit of the version leaves out",
                (Table(header, uncommitted),),
            ),
        ),
    )


def _task(signature: Signature) -> str:
    target = signature.target
    if signature.task == "binary":
        return f"predicts whether {target} is {signature.positive_class}"
    if signature.classes is not None:
        return f"predicts which of {len(signature.classes)} classes {target} is"
    return f"predicts the number {target}"


def _question(spec: ExperimentSpec, signature: Signature, task: str) -> Section:
    table = "the training table" if spec.data is None else spec.shown_source
    texts = [f"The model {task}, for rows such as those of {table}."]
    if signature.classes is not None:
        classes = ", ".join(map(str, signature.classes))
        texts.append(f"Classes, in the order of predict_proba: {classes}.")
    if signature.threshold is not None:
        texts.append(f"{signature.decision}; the pipeline's own predict uses 0.5.")
    return Section("Question", [*map(Paragraph, texts)])


def _data(spec: ExperimentSpec, model: EvaluatedModel) -> Section:
    split = spec.split
    if split.by == "random":
        named = ", ".join(split.id_columns or split.columns)
        by = f"a hash of {named or 'the row'}"
    else:
        by = f"{split.by} ({split.column})"
    refit = spec.export.refit == "train_and_test"
    text = (
        f"The rows were split by {by}. Configurations were fitted "
        f"{evaluated(spec.evaluation_name).fitted}. The exported model was fitted on "
        f"{'train and test' if refit else 'the train set'} and evaluated on the "
        "validation set (final hold-out)."
    )
    blocks: list[Block] = [
        Paragraph(text),
        sets_table((part.name, part.rows, part.digest) for part in model.sets),
    ]
    if meanings := model.report.meanings:
        told = [
            (name, meaning.in_words, meaning.sensitive, meaning.owner or "")
            for name, meaning in meanings.items()
        ]
        header = ("feature", "meaning", "personal or protected", "owner")
        blocks += first_rows(header, told, SHOWN_COLUMNS, "feature in schema.yaml")
    if spec.exclude:
        shown = redacted(list(spec.exclude.items()))[:SHOWN_COLUMNS]
        blocks += [
            Paragraph(f"Columns excluded from the features ({len(spec.exclude)}):"),
            Table(("column", "reason"), shown),
        ]
    return Section("Data", blocks)


def _configuration(spec: ExperimentSpec, model: EvaluatedModel) -> Section:
    header = (
        "weight",
        "configuration",
        "algorithm",
        "hyperparameters",
        "categories",
        "rounds",
    )
    rows = [
        (
            f"{member.weight:.2g}",
            member.configuration.key,
            member.configuration.algorithm,
            member.configuration.settings,
            member.configuration.features,
            "" if member.rounds is None else str(member.rounds),
        )
        for member in model.members
    ]
    text = f"{model.board.reason}."
    if len(rows) > 1:
        mean = "predictions" if spec.task == "regression" else "probabilities"
        text += (
            f" The weighted mean of the {mean} of {len(rows)} models, each fitted on "
            "its own. Its score before validation is cross-fitted: the weights were "
            "chosen on other rows."
        )
    most_fits = max(
        algorithms.refit_count(member.configuration.algorithm, spec.export.fits)
        for member in model.members
    )
    if most_fits > 1:
        text += (
            f" It is the mean of {most_fits} fits with different seeds, unless all are "
            "the same."
        )
    if model.result.calibration:
        text += f" Its probabilities are calibrated ({model.result.calibration})."
    return Section("Chosen configuration", (Paragraph(text), Table(header, rows)))


def _metrics(spec: ExperimentSpec, model: EvaluatedModel) -> Section:
    setting = reweighting(model.configuration.hyperparameters)
    reweighted = setting is not None and not model.result.calibration
    table = scores_table(
        (name, named(metric, reweighted=reweighted), interval, baseline)
        for name, metric, interval, baseline in model.scores
    )
    text = f"{model.report.looks_in_words} {evaluated(spec.evaluation_name).scores}"
    return Section("Metrics", (table, Paragraph(text)))


def _acceptance(model: EvaluatedModel) -> Section:
    gates = gates_table(
        (gate.rule, gate.value, gate.limit, gate.outcome) for gate in model.report.gates
    )
    blocks: list[Block] = [gates]
    if model.report.conditions:
        blocks += [
            Paragraph("Accepted on these conditions:"),
            Bullets(model.report.conditions),
        ]
    return Section("Acceptance", blocks)


def _limits(model: EvaluatedModel) -> Section:
    unknown = [
        evidence.what
        for evidence in model.report.evidence
        if evidence.kind == "unknown"
    ]
    limits = [*model.board.notes, *model.report.notes, *_GENERAL_LIMITS, *unknown]
    return Section("Limits", (Bullets([*dict.fromkeys(limits)]),))


def _loading(spec: ExperimentSpec, signature: Signature) -> Section:
    method = "predict" if signature.classes is None else "predict_proba"
    predict = f"$ experiment-pipeline predict {spec.name} rows.csv --interval 0.9"
    blocks = (
        Paragraph(
            "In the version's folder of the registry, with the packages of "
            "environment.txt. Read trusted_types.json first: these types may run code. "
            "verify.py checks that the model predicts here what it predicted at the "
            "export."
        ),
        Code("python", LOAD.format(call=f"model.{method}(rows)")),
        Paragraph("On rows as delivered, with preparation and schema applied:"),
        Code("console", predict),
    )
    return Section("How to load it", blocks)


def outcome(
    registry: Registry, published: PublishedVersion, committed: str, words: str
) -> Outcome:
    """Return the exported version with its card; `committed`: where in git; `words`:
    the configuration.
    """
    name = published.version
    entry = registry.entry(published.version)
    approval = registry.approvals().get(name)
    waiting = registry.approval_required(name) and approval is None
    if not published.reused:
        state = "published"
        checked = (
            "a fresh process without this package makes the same predictions, bit for "
            "bit"
        )
    else:
        state = "is already published" if waiting else "is already the champion"
        checked = "checked when this version was published"
    approved = "not required"
    if approval is not None:
        approved = f"approved by {approval.by} at {approval.at}"
    elif waiting:
        command = f"experiment-pipeline approve {registry.experiment} {name} --by NAME"
        approved = f"{name} becomes the champion once it is approved: {command}"
    notes = [
        f"{words}: {entry.headline}",
        f"{name} {state}: {published.path}{committed}",
    ]
    if waiting:
        notes.append(approved)
    warnings = []
    if published.damaged:
        warnings.append(f"the previous version is damaged: {published.damaged}")
    return Outcome(
        version=published.identity,
        notes=notes,
        warnings=warnings,
        facts={
            "version": name,
            "state": state,
            "score": entry.headline,
            "configuration": words,
            "approval": approved,
            "path": PagePath(published.path),
            "reused": published.reused,
            "partition": entry.configuration,
            "repository": committed or "none named in the YAML",
            "card": Markdown(registry.model(name).read("README.md").decode()),
        },
        checks=[Check("predictions_survive_reload", passed=True, means=checked)],
        record=[
            RunFacts(
                status="accepted", version=name, version_is_new=not published.reused
            )
        ],
    )
