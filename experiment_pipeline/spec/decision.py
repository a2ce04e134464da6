"""`acceptance` and `export`: what a model must reach, and where an accepted one goes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from experiment_pipeline.spec.base import Closed, impossible
from experiment_pipeline.spec.names import guessed
from experiment_pipeline.statistics.metrics import METRICS, names_of


class Criterion(Closed):
    """One gate: a metric on the validation set and its limit."""

    metric: str = Field(description="The metric that is judged", examples=["roc_auc"])
    at_least: float | None = None
    at_most: float | None = None
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


class Export(Closed):
    """Where an accepted model goes."""

    url: str | None = Field(None, description="Registry root; unset: the storage root")
    refit: Literal["train_and_test", "none"] = "train_and_test"
    repository: str | None = Field(
        None, description="A git repository that receives code commit, metrics and card"
    )


def check_name(name: str, task: str, place: str) -> None:
    """Raise ValueError when no metric of that name judges that task."""
    allowed = names_of(task)
    if name not in allowed:
        raise ValueError(
            f"{place}: {name!r} is no metric of task {task}; {guessed(name, allowed)}"
            f"allowed: {', '.join(allowed)}"
        )
