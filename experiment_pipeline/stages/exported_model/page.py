"""An exported model as an outcome, and its model card: purpose, scores, limits, how to
load it.

In: a published version; the `AcceptedModel`. Out: an outcome, a `Document`; nothing is
computed here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.intake.profile import DataProfile
from experiment_pipeline.prediction.rows import Signature
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import (
    Bullets,
    Code,
    Document,
    Paragraph,
    Section,
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
from experiment_pipeline.stages.validation_report.ledger import looked_at
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
class AcceptedModel:
    """The model that the validation report has accepted."""

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
        if (ensemble := self.board.chosen_ensemble) is not None:
            return ensemble.members
        one = self.result
        return (EnsembleMember(self.configuration, one.fingerprint, one.rounds, 1.0),)

    @property
    def scores(self) -> list[tuple[str, str, Interval, float]]:
        """(set, metric, score, baseline): of the exported fit on validation, of the
        choice on test.
        """
        board, scores = self.board, self.report.scores
        found = [
            ("validation", one.metric, one.interval, one.baseline) for one in scores
        ]
        return [*found, ("test", board.metric, board.score, board.baseline)]


def build_card(
    spec: ExperimentSpec,
    model: AcceptedModel,
    signature: Signature,
    origin: Mapping[str, str],
    files: Mapping[str, str],
) -> Document:
    """Return the card of a model with its `origin`, name → value, and its `files`, name
    → content in words.
    """
    task = f"predicts the number {signature.target}"
    if signature.task == "binary":
        task = f"predicts whether {signature.target} is {signature.positive_class}"
    elif signature.classes is not None:
        task = (
            f"predicts which of {len(signature.classes)} classes {signature.target} is"
        )
    general = (
        "The intervals cover the sampling of validation rows, not changes of the data over time.",
        "A category never seen in training is treated as unknown, a missing value as missing.",
        "Rows that break schema.yaml should get no prediction.",
    )
    unknown = (one.what for one in model.report.evidence if one.kind == "unknown")
    limits = dict.fromkeys(
        (*model.board.notes, *model.report.notes, *general, *unknown)
    )
    gates = [
        (gate.rule, gate.value, gate.limit, gate.outcome) for gate in model.report.gates
    ]
    conditions = model.report.conditions
    under = (
        (Paragraph("Accepted on these conditions:"), Bullets(conditions))
        if conditions
        else ()
    )
    in_git = tuple(one for one in files.items() if one[0].startswith(COMMITTED))
    beside, header = (
        tuple(one for one in files.items() if one not in in_git),
        ("file", "holds"),
    )
    call = (
        "model.predict(rows)"
        if signature.classes is None
        else "model.predict_proba(rows)"
    )
    loading = (
        Paragraph(
            "In the version's folder of the registry, with the packages of environment.txt. Read "
            "trusted_types.json first: these types may run code. verify.py checks that the model "
            "predicts here what it predicted at the export."
        ),
        Code("python", LOAD.format(call=call)),
        Paragraph("On rows as delivered, with preparation and schema applied:"),
        Code(
            "console",
            f"$ experiment-pipeline predict {spec.name} rows.csv --interval 0.9",
        ),
    )
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
            Section("Acceptance", (gates_table(gates), *under)),
            Section("Limits", (Bullets(tuple(limits)),)),
            Section("How to load it", loading),
            Section("Provenance", (Table(("what", "value"), tuple(origin.items())),)),
            Section("Files", (Table(header, in_git),)),
            Section(
                "Files that a git commit of the version leaves out",
                (Table(header, beside),),
            ),
        ),
    )


def _question(spec: ExperimentSpec, signature: Signature, task: str) -> Section:
    table = "the training table" if spec.data is None else spec.data.shown_url
    texts = [f"The model {task}, for rows such as those of {table}."]
    if signature.classes is not None:
        classes = ", ".join(map(str, signature.classes))
        texts.append(f"Classes, in the order of predict_proba: {classes}.")
    if signature.threshold is not None:
        costs = "" if spec.costs is None else ", where the cost of errors is least"
        texts.append(
            f"{signature.positive_class} is predicted from a probability of "
            f"{numbers.probability(signature.threshold)} on. This threshold was chosen "
            f"{evaluated(spec.evaluation_name).where}{costs}; the pipeline's own predict uses 0.5."
        )
    return Section("Question", tuple(map(Paragraph, texts)))


def _data(spec: ExperimentSpec, model: AcceptedModel) -> Section:
    split = spec.split
    by = f"a hash of {', '.join(split.id_columns) or 'the row'}"
    if split.by != "random":
        by = f"{split.by} ({split.column})"
    refit = spec.export.refit == "train_and_test"
    text = (
        f"The rows were split by {by}. Configurations were fitted "
        f"{evaluated(spec.evaluation_name).fitted}. The exported model was fitted on "
        f"{'train and test' if refit else 'the train set'} and evaluated on the validation set "
        "(final hold-out)."
    )
    sets = sets_table((one.name, one.rows, one.digest) for one in model.sets)
    excluded = redacted(list(spec.exclude.items()))[:SHOWN_COLUMNS]
    why = (
        Paragraph(f"Columns excluded from the features ({len(spec.exclude)}):"),
        Table(("column", "reason"), tuple(map(tuple, excluded))),
    )
    return Section("Data", (Paragraph(text), sets, *(why if excluded else ())))


def _configuration(spec: ExperimentSpec, model: AcceptedModel) -> Section:
    rows = tuple(
        (
            f"{one.weight:.2g}",
            *(
                one.configuration.key,
                one.configuration.algorithm,
                one.configuration.settings,
            ),
            one.configuration.features,
            "" if one.rounds is None else str(one.rounds),
        )
        for one in model.members
    )
    text, result = f"{model.board.reason}.", model.result
    if len(rows) > 1:
        mean = "predictions" if spec.task == "regression" else "probabilities"
        text += (
            f" The weighted mean of the {mean} of {len(rows)} models, each fitted on its own. Its "
            "score before validation is cross-fitted: the weights were chosen on other rows."
        )
    fits = (
        algorithms.refit_count(one.configuration.algorithm, spec.export.fits)
        for one in model.members
    )
    if (most := max(result.averaged, *fits)) > 1:
        text += f" It is the mean of {most} fits with different seeds, unless all are the same."
    if result.calibration:
        text += f" Its probabilities are calibrated ({result.calibration})."
    header = (
        "weight",
        "configuration",
        "algorithm",
        "hyperparameters",
        "categories",
        "rounds",
    )
    return Section("Chosen configuration", (Paragraph(text), Table(header, rows)))


def _metrics(spec: ExperimentSpec, model: AcceptedModel) -> Section:
    setting = reweighting(model.configuration.hyperparameters)
    reweighted = setting is not None and not model.result.calibration
    table = scores_table(
        (name, named(metric, reweighted=reweighted), interval, baseline)
        for name, metric, interval, baseline in model.scores
    )
    looks = looked_at(model.report.looks, model.report.overlap, model.report.level)
    text = f"{looks} {evaluated(spec.evaluation_name).scores}"
    return Section("Metrics", (table, Paragraph(text)))


def outcome(
    registry: Registry, published: PublishedVersion, committed: str, words: str
) -> Outcome:
    """Return the exported version with its card; `committed`: where in git; `words`:
    the configuration.
    """
    name, entry = published.version, registry.entry(published.version)
    required, approval = (
        registry.approval_required(name),
        registry.approvals().get(name),
    )
    waiting = required and approval is None
    state = "published"
    if published.reused:
        state = "is already published" if waiting else "is already the champion"
    approved = "not required"
    if approval is not None:
        approved = f"approved by {approval.by} at {approval.at}"
    elif waiting:
        how = f"experiment-pipeline approve {registry.experiment} {name} --by NAME"
        approved = f"{name} becomes the champion once it is approved: {how}"
    proven = (
        "a fresh process without this package makes the same predictions, bit for bit"
    )
    if published.reused:
        proven = "checked when this version was published"
    warnings = []
    if published.damaged:
        warnings.append(f"the previous version is damaged: {published.damaged}")
    return Outcome(
        version=published.identity,
        notes=[
            f"{words}: {entry.headline}",
            f"{name} {state}: {published.path}{committed}",
            *([approved] if waiting else []),
        ],
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
        checks=[Check("predictions_survive_reload", passed=True, means=proven)],
        record=[
            RunFacts(
                status="accepted", version=name, version_is_new=not published.reused
            )
        ],
    )
