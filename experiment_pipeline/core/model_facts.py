"""What is known about an exported model besides the model itself, as plain frozen data.

The shell gathers it from the stages before the export; `exported_model.py` writes it into
files and `model_card.py` into prose. Nothing is computed here.
"""

from dataclasses import dataclass

from experiment_pipeline.core.configurations import Configuration
from experiment_pipeline.core.manifest import CodeProvenance
from experiment_pipeline.core.metrics import Interval
from experiment_pipeline.core.spec import ExperimentSpec


@dataclass(frozen=True)
class SetFact:
    """One of the three sets: how many rows, and the digest by which to recognise them."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True)
class Score:
    """A metric of the exported model on one set, with its interval.

    Attributes:
        set_name: test or validation.
        metric: a name of `metrics.METRICS`.
        interval: estimate and 95 % bounds.
        baseline: what predicting without features scores on the same rows; None = not scored.
    """

    set_name: str
    metric: str
    interval: Interval
    baseline: float | None = None


@dataclass(frozen=True)
class Gate:
    """One acceptance criterion and how it was met.

    Attributes:
        rule: in words, such as `lower bound of roc_auc at least 0.65`.
        value: what was held against the limit.
        passed: the outcome.
    """

    rule: str
    value: float
    passed: bool


@dataclass(frozen=True)
class Environment:
    """The software a model needs.

    Attributes:
        python: the interpreter's version.
        packages: (distribution, version), pinned; version None when the package is no
            installed distribution (a module of the user's own project).
    """

    python: str
    packages: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class ModelFacts:
    """Everything the files of a version say about its model.

    Attributes:
        spec: the experiment as run.
        configuration: the chosen configuration, with its full hyperparameters.
        rounds: boosting rounds of the exported fit; None when it does not boost.
        fingerprint: of the chosen configuration.
        reason: why it was chosen, from the leaderboard.
        sets: train, test and validation.
        classes: the class of each column of the pipeline's `predict_proba`.
        positive_class: binary only.
        threshold: binary only: chosen on test.
        scores: metrics with intervals, those of the exported fit.
        gates: the acceptance criteria.
        looks: how often these validation rows have been looked at, this time included.
        limits: what the stages before warned of, one sentence each.
        created: when the model is exported, ISO 8601.
        code: the code that made it.
        environment: the software it needs.
    """

    spec: ExperimentSpec
    configuration: Configuration
    rounds: int | None
    fingerprint: str
    reason: str
    sets: tuple[SetFact, ...]
    classes: tuple | None
    positive_class: object
    threshold: float | None
    scores: tuple[Score, ...]
    gates: tuple[Gate, ...]
    looks: int
    limits: tuple[str, ...]
    created: str
    code: CodeProvenance
    environment: Environment
