"""Machine-learning experimentation as a Dagster asset graph: one YAML file per experiment.

The public surface, loaded when it is asked for: importing `experiment_pipeline` imports
no Dagster. `__dir__` is part of it: that is where `dg` looks for component types.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiment_pipeline.orchestration.component import Experiment

__all__ = ["Experiment"]


def __getattr__(name: str) -> Any:
    if name == "Experiment":
        from experiment_pipeline.orchestration.component import Experiment

        return Experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
