"""The champion from a notebook: found by the experiment's name, asked about a table or rows at hand.

In: the name of an experiment; rows. Out: what `files.py` and `rows.py` give.
"""

from collections.abc import Collection

import pandas as pd

from experiment_pipeline.prediction.files import Model, load_model
from experiment_pipeline.prediction.rows import Predicted
from experiment_pipeline.storage.locations import location
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions


def champion(experiment: str, trusted: Collection[str] = ()) -> Model:
    """Return the current model of an experiment, wherever its versions are exported to.

    >>> model = champion("flight_delay")
    >>> model.name
    'flight_delay v0001'

    Args:
        experiment: its name.
        trusted: as `load_model` takes it.

    Raises:
        ExperimentPipelineError: as of `load_model`.
    """
    return load_model(_home(experiment), trusted)


def predict(experiment: str, rows: pd.DataFrame | str, trusted: Collection[str] = ()) -> Predicted:
    """Predict with the champion of an experiment, for rows as delivered.

    >>> found = predict("flight_delay", "new_flights.csv")
    >>> found.predictions[["flight", "prediction"]].head(2)
      flight prediction
    0   F000        yes
    1   F001         no

    Args:
        experiment: its name.
        rows: a table with the columns that the training table had; the target may be absent. Or
            any URL that `data.url` of an experiment may be.
        trusted: as `load_model` takes it.

    Raises:
        ExperimentPipelineError: as of `load_model`, `Model.read` and `Model.predict`.
    """
    model = champion(experiment, trusted)
    return model.predict(model.read(rows) if isinstance(rows, str) else rows)


def _home(experiment: str) -> str:
    """Where its versions are: as the memory tells, else under the storage root."""
    for place in questions.versions(experiment)["place"].tail(1):
        home = location(place).parent.parent
        if Registry(home.parent, home.name).champion() is not None:
            return str(home)
    return experiment
