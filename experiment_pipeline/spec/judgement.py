"""How the chosen configuration is judged, what its wrong decisions cost, and where it goes.

Gates on the validation set, one against the champion, costs of errors, the export. In: what stands
below these keys of the YAML. Out: frozen, closed models.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from experiment_pipeline.spec.models import Closed, impossible
from experiment_pipeline.statistics.metrics import METRICS


class Criterion(Closed):
    """One gate: a metric on the validation set and its limit."""

    metric: str = Field(description="The metric that is judged", examples=["roc_auc"])
    at_least: float | None = None
    at_most: float | None = None

    @property
    def limit(self) -> float:
        """The one of both that is given."""
        (limit,) = {self.at_least, self.at_most} - {None}
        assert limit is not None
        return limit

    judged_by: Literal["bound", "estimate"] = Field(
        "bound", description="bound: the worse end of the 95 % interval must hold"
    )

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of at_least and at_most")
        if self.metric not in METRICS:
            return self
        judged = METRICS[self.metric]
        wanted = "at_least" if judged.greater_is_better else "at_most"
        limit = getattr(self, wanted)
        if limit is None:
            raise ValueError(f"{self.metric} is a metric that needs {wanted}")
        if not judged.lowest <= limit <= judged.highest:
            raise impossible(
                f"{limit:g} is out of reach: {self.metric} lies between {judged.lowest:g} "
                f"and {judged.highest:g}",
                wanted,
            )
        return self


class NotWorseThanChampion(Closed):
    """A gate: the model must not be worse than the one that it would replace."""

    tolerance: float = Field(
        0.0, ge=0, description="How much worse the ranking metric may be, in its own units"
    )


class Costs(Closed):
    """What wrong decisions of a binary model cost, in any one unit."""

    false_positive: float = Field(
        gt=0, description="Of a negative row that is called positive", examples=[1]
    )
    false_negative: float = Field(gt=0, description="Of a positive row that is not", examples=[10])


class Export(Closed):
    """Where an accepted model goes."""

    url: str | None = Field(None, description="Registry root; unset: the storage root")
    refit: Literal["train_and_test", "none"] = "train_and_test"
    repository: str | None = Field(
        None, description="A git repository that receives code commit, metrics and card"
    )
