"""What is known about an exported model besides the model itself, as plain frozen data.

The shell gathers it from the stages before the export; `package.py` writes it into
files and `card.py` into prose. Nothing is computed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.validation_report.champion import ChampionComparison
from experiment_pipeline.stages.validation_report.gates import Gate
from experiment_pipeline.statistics.interval import Interval
from experiment_pipeline.storage.provenance import CodeProvenance, Environment


@dataclass(frozen=True)
class SetFact:
    """One of the three sets: how many rows, and the digest by which to recognise them."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True)
class Score:
    """A metric on one set, with its interval.

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

    def in_words(self) -> str:
        """Return the score with its interval in one line."""
        return f"{self.metric} {numbers.interval(self.interval)} on {self.set_name}"


@dataclass(frozen=True)
class ModelFacts:
    """Everything the files of a version say about its model.

    Attributes:
        spec: the experiment as run.
        configuration: the chosen configuration, with its full hyperparameters.
        rounds: boosting rounds of the exported fit; None when it does not boost.
        fingerprint: of the chosen configuration.
        reason: why it was chosen, from the leaderboard.
        raw_types: column → dtype of the table as delivered, by `delivered_rows.raw_types`.
        sets: train, test and validation.
        positive_class: binary only: the class that was modelled.
        threshold: binary only: chosen on test.
        scores: metrics with intervals; on validation those of the exported fit, on test those
            of the configuration fitted on train alone. The first is the headline.
        gates: the acceptance criteria.
        looks: how many models have looked at these validation rows, this one included.
        overlap: share of these rows that another model has seen at once, at most.
        champion: how it stood against the model that it replaces; None when it was the first.
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
