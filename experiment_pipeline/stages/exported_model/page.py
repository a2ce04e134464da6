"""An exported model as an outcome, and its model card: purpose, scores, limits, how to load it.

In: a published version; `ModelFacts`. Out: an outcome, a `Document`; nothing is computed here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from experiment_pipeline.prediction.signature import Signature
from experiment_pipeline.reporting import document as documents
from experiment_pipeline.reporting import numbers
from experiment_pipeline.reporting.document import Bullets, Code, Paragraph, Section, TableBlock
from experiment_pipeline.reporting.numbers import evaluated
from experiment_pipeline.reporting.outcome import Check, Markdown, Outcome, PagePath
from experiment_pipeline.reporting.run_record import RecordRow, RunFacts, VersionRow
from experiment_pipeline.spec import CalibrationMethod, ExperimentSpec, Scalar
from experiment_pipeline.stages.leaderboard.ensemble import EnsembleMember
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.validation_report.final_evaluation import SetFact
from experiment_pipeline.stages.validation_report.gates import ChampionComparison, Gate
from experiment_pipeline.stages.validation_report.ledger import looked_at
from experiment_pipeline.statistics.calibration import named, reweighting
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.locations import redacted
from experiment_pipeline.storage.provenance import CodeProvenance, Environment
from experiment_pipeline.storage.registry import Approval, HistoryEntry, PublishedVersion

LOAD = """\
import json, pandas as pd, skops.io
model = skops.io.load("model.skops", trusted=json.load(open("trusted_types.json")))
signature = json.load(open("signature.json"))
example = pd.DataFrame(json.load(open("input_example.json")), dtype=object)
rows = example.astype(signature["features"])
print({call})"""
SHOWN_ROWS = 30
_OUTCOMES = {"PASS": "passed", "FAIL": "failed", "CANNOT BE TOLD": "cannot be told"}


@dataclass(frozen=True)
class Score:
    """A metric on one set, test or validation, with its interval.

    `baseline` is the score of the baseline (no features) on the same rows; None: not scored.
    """

    set_name: str
    metric: str
    interval: Interval
    baseline: float | None = None

    def in_words(self) -> str:
        """Return the score with its interval in one line."""
        return f"{self.metric} {numbers.interval(self.interval)} on {self.set_name}"


@dataclass(frozen=True)
class ModelFacts:
    """Everything that the files of a version state about its model.

    Attributes:
        spec: the experiment as run; what else is not named here is as of `ValidationReport`.
        members: of an ensemble, the heaviest first; none of a configuration.
        rounds: boosting rounds of the exported fit; None when it does not boost.
        reason: why the configuration was chosen, from the leaderboard.
        raw_types: column → dtype of the table as delivered.
        threshold: binary only: chosen on test.
        scores: on validation those of the exported fit, on test those of the configuration
            fitted on train alone. The first is the headline.
        limits: warnings of earlier stages, one sentence each.
        created: time of the export, ISO 8601.
        calibration, averaged: as of `ModelResult`.
    """

    spec: ExperimentSpec
    configuration: Configuration
    rounds: int | None
    fingerprint: str
    reason: str
    raw_types: Mapping[str, str]
    sets: tuple[SetFact, ...]
    positive_class: Scalar
    threshold: float | None
    scores: tuple[Score, ...]
    gates: tuple[Gate, ...]
    looks: int
    overlap: float
    champion: ChampionComparison | None
    limits: tuple[str, ...]
    created: str
    code: CodeProvenance
    environment: Environment
    calibration: CalibrationMethod | None = None
    averaged: int = 1
    members: tuple[EnsembleMember, ...] = ()


def build_card(
    facts: ModelFacts, signature: Signature, files: Sequence[tuple[str, str]]
) -> documents.Document:
    """Return the card of a model; `files` are (name, what it holds) of the version's."""
    return documents.Document(
        title=f"{facts.spec.name}: {_task_in_words(signature)}",
        sections=(
            _question(facts, signature),
            _data(facts),
            _configuration(facts),
            _metrics(facts),
            _gates(facts),
            _limits(facts),
            _loading(facts, signature),
            _provenance(facts),
            Section("Files", (TableBlock(("file", "holds"), tuple(files)),)),
        ),
    )


def _task_in_words(signature: Signature) -> str:
    if signature.classes is None:
        return f"predicts the number {signature.target}"
    if signature.task == "binary":
        return f"predicts whether {signature.target} is {signature.positive_class}"
    return f"predicts which of {len(signature.classes)} classes {signature.target} is"


def _question(facts: ModelFacts, signature: Signature) -> Section:
    data = facts.spec.data
    table = "the training table" if data is None else data.shown_url
    asked = Paragraph(f"The model {_task_in_words(signature)}, for rows such as those of {table}.")
    said = [asked]
    if signature.classes is not None:
        classes = ", ".join(map(str, signature.classes))
        said.append(Paragraph(f"Classes, in the order of predict_proba: {classes}."))
    if facts.threshold is not None:
        said.append(
            Paragraph(
                f"{facts.positive_class} is predicted from a probability of "
                f"{numbers.probability(facts.threshold)} on. This threshold was chosen "
                f"{evaluated(facts.spec.evaluation_name).where}{_by_costs(facts)}; the pipeline's "
                "own predict uses 0.5."
            )
        )
    return Section("Question", tuple(said))


def _by_costs(facts: ModelFacts) -> str:
    costs = facts.spec.costs
    if costs is None:
        return ""
    return (
        f", where the cost is least (a false positive {costs.false_positive:g}, a false negative "
        f"{costs.false_negative:g})"
    )


def _data(facts: ModelFacts) -> Section:
    spec = facts.spec
    sets = tuple((one.name, f"{one.rows:,}", one.digest[:16]) for one in facts.sets)
    refit = spec.export.refit == "train_and_test"
    blocks: list[documents.Block] = [
        Paragraph(
            f"The rows were split by {_split_in_words(facts)}. Configurations were fitted "
            f"{evaluated(spec.evaluation_name).fitted}. The exported model was fitted on "
            f"{'train and test' if refit else 'the train set'} and evaluated on the validation set (final hold-out)."
        ),
        TableBlock(("set", "rows", "sha256 begins"), sets),
    ]
    if spec.exclude:
        reasons = tuple(redacted(list(spec.exclude.items()))[:SHOWN_ROWS])
        blocks += [
            Paragraph(f"Columns excluded from the features ({len(spec.exclude)}):"),
            TableBlock(("column", "reason"), tuple(map(tuple, reasons))),
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
    if facts.members:
        return _ensemble(facts)
    settings = {**chosen.hyperparameters, "category encoding": chosen.features}
    if facts.rounds is not None:
        settings["boosting rounds of this fit"] = facts.rounds
    settings |= {"fits it is the mean of": facts.averaged} if facts.averaged > 1 else {}
    settings |= {"calibrated by": facts.calibration} if facts.calibration else {}
    rows = tuple((name, str(value)) for name, value in settings.items())
    return Section(
        "Chosen configuration",
        (
            Paragraph(f"{chosen.key} (algorithm {chosen.algorithm}). {facts.reason}"),
            TableBlock(("hyperparameter", "value"), rows),
        ),
    )


def _ensemble(facts: ModelFacts) -> Section:
    rows = tuple(
        (
            f"{one.weight:.2g}",
            *(one.configuration.key, one.configuration.algorithm, one.configuration.settings),
            one.configuration.features,
            "" if one.rounds is None else str(one.rounds),
        )
        for one in facts.members
    )
    mean = "predictions" if facts.spec.task == "regression" else "probabilities"
    header = ("weight", "configuration", "algorithm", "hyperparameters", "categories", "rounds")
    return Section(
        "Chosen configurations",
        (
            Paragraph(
                f"An ensemble: the weighted mean of the {mean} of {len(rows)} models, each fitted "
                f"on its own. {facts.reason}"
            ),
            TableBlock(header, rows),
            Paragraph(
                "Its score before validation is cross-fitted: the weights were chosen on other rows."
            ),
        ),
    )


def _metrics(facts: ModelFacts) -> Section:
    reweighted = not facts.calibration and bool(reweighting(facts.configuration.hyperparameters))
    rows = tuple(
        (
            score.set_name,
            named(score.metric, reweighted=reweighted),
            numbers.score(score.interval.estimate),
            numbers.bounds(score.interval),
            "" if score.baseline is None else numbers.score(score.baseline),
        )
        for score in facts.scores
    )
    looks = looked_at(facts.looks, facts.overlap)
    scores = evaluated(facts.spec.evaluation_name).scores
    header = ("set", "metric", "estimate", "95 % interval", "baseline")
    return Section("Metrics", (TableBlock(header, rows), Paragraph(f"{looks} {scores}")))


def _gates(facts: ModelFacts) -> Section:
    rows = tuple(
        (gate.rule, numbers.score(gate.value), _OUTCOMES[gate.outcome]) for gate in facts.gates
    )
    return Section("Acceptance", (TableBlock(("gate", "value", "outcome"), rows),))


def _limits(facts: ModelFacts) -> Section:
    general = (
        "The intervals cover the sampling of validation rows, not changes of the data over time.",
        "A category never seen in training is treated as unknown, a missing value as missing.",
        "Rows that break schema.yaml should get no prediction.",
    )
    return Section("Limits", (Bullets((*facts.limits, *general)),))


def _loading(facts: ModelFacts, signature: Signature) -> Section:
    name = facts.spec.name
    call = "model.predict(rows)" if signature.classes is None else "model.predict_proba(rows)"
    return Section(
        "How to load it",
        (
            Paragraph(
                "In this folder, with the packages of environment.txt. Read trusted_types.json "
                "first: these types may run code. verify.py checks that the model predicts "
                "here what it predicted at the export."
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
        ("software", facts.environment.in_words()),
    )
    return Section("Provenance", (TableBlock(("what", "value"), rows),))


@dataclass(frozen=True)
class Version:
    """A version of the registry, as the export leaves it.

    Attributes:
        published: the version, and whether it existed before.
        entry: the same in the registry's history.
        committed: the commit in the YAML's repository, in words; empty where it names none.
        card: the model card, in Markdown.
        required: whether it becomes the champion only once it is approved.
        approval: of whom; None: not approved.
    """

    published: PublishedVersion
    entry: HistoryEntry
    committed: str
    card: str
    required: bool = False
    approval: Approval | None = None

    @property
    def waiting(self) -> bool:
        """Whether it must still be approved."""
        return self.required and self.approval is None

    @property
    def approved(self) -> str:
        """Who approved it, or how to, in words."""
        if self.approval is not None:
            return f"approved by {self.approval.by} at {self.approval.at}"
        if not self.waiting:
            return "not required"
        name = self.published.version
        how = f"experiment-pipeline approve EXPERIMENT {name} --by NAME"
        return f"{name} becomes the champion when it is approved: {how}"


def outcome(version: Version, words: str, not_approved: str = "") -> Outcome:
    """The exported version under its number, with its card in Markdown.

    `words` are its configuration's, for people. `not_approved` is the version that the launchpad wanted to approve, whichever it is.
    """
    published, committed = version.published, version.committed
    state = "published"
    if published.reused:
        state = "is already published" if version.waiting else "is already the champion"
    damaged = published.damaged
    proven = "a fresh process without this package makes the same predictions, bit for bit"
    if published.reused:
        proven = "checked when this version was published"
    warnings = [f"the previous version is damaged: {damaged}"] if damaged else []
    if not_approved not in {"", published.version}:
        warnings.append(f"{not_approved} is not approved: this run exports {published.version}")
    return Outcome(
        version=published.identity,
        notes=[
            f"{words}: {version.entry.headline}",
            f"{published.version} {state}: {published.path}{committed}",
            *([version.approved] if version.waiting else []),
        ],
        warnings=warnings,
        facts={
            "version": published.version,
            "state": state,
            "score": version.entry.headline,
            "configuration": words,
            "approval": version.approved,
            "path": PagePath(published.path),
            "reused": published.reused,
            "partition": version.entry.configuration,
            "repository": committed or "none named in the YAML",
            "card": Markdown(version.card),
        },
        checks=[Check("predictions_survive_reload", passed=True, means=proven)],
        record=tuple(_record_rows(version)),
    )


def _record_rows(version: Version) -> Iterator[RecordRow]:
    published, entry, approval = version.published, version.entry, version.approval
    yield RunFacts(
        status="accepted",
        version=published.version,
        version_is_new=not published.reused,
    )
    if not published.reused:
        yield VersionRow(
            version=published.version,
            created_at=datetime.fromisoformat(entry.created),
            place=published.path,
            configuration=entry.configuration,
            headline=entry.headline,
            fingerprint=entry.fingerprint,
            approval_required=version.required,
            approved_by=None if approval is None else approval.by,
            approved_at=None if approval is None else datetime.fromisoformat(approval.at),
            approval_comment=None if approval is None else approval.comment or None,
        )
