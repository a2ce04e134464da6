"""Reweighted models: their probabilities are moved on purpose, and how far.

A model that is fitted with other class weights than the rows have says how likely a class would
be among rows of that other mix. It ranks as well as before; its probabilities, and log loss and
Brier score with them, are wrong by the shift (Elkan 2001; Dal Pozzolo et al. 2015). In:
hyperparameters and predictions. Out: names, numbers and sentences; mending it is not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.statistics.metrics import METRICS

# The values that leave the classes as they are: of scikit-learn, LightGBM, XGBoost, CatBoost.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("is_unbalance", "unbalance", "unbalanced_sets"), (None, False)),
    **dict.fromkeys(("class_weight", "class_weights", "auto_class_weights"), (None,)),
    "scale_pos_weight": (None, 1),
}


def reweighting(hyperparameters: Mapping[str, object]) -> str | None:
    """Return the setting that reweights classes, such as `class_weight=balanced`; else None.

    Args:
        hyperparameters: of a configuration; those of a step in a pipeline count as well, by
            their last name (`model__class_weight`).
    """
    for name, value in hyperparameters.items():
        neutral = _NEUTRAL.get(name.rpartition("__")[2])
        if neutral is not None and value not in neutral:
            return f"{name}={value}"
    return None


@dataclass(frozen=True)
class Miscalibration:
    """What a reweighted model says on average, against what is.

    Attributes:
        setting: what reweights it.
        of: the class that is off the furthest, in words.
        predicted: its mean predicted probability on the validation set.
        observed: its share there.
    """

    setting: str
    of: str
    predicted: float
    observed: float


def miscalibration(
    setting: str | None, y: np.ndarray, prediction: np.ndarray, classes: Sequence[object] | None
) -> Miscalibration | None:
    """Measure a reweighted model; None for one that is not, and for regression.

    Args:
        setting: by `reweighting`.
        y: class codes (n,).
        prediction: binary (n,), the probability of classes[1]; multiclass (n, k).
        classes: of the target.
    """
    if setting is None or classes is None:
        return None
    if prediction.ndim == 1:
        of, predicted, observed = classes[1], prediction.mean(), (y == 1).mean()
        return Miscalibration(setting, str(of), float(predicted), float(observed))
    said = prediction.mean(axis=0)
    shares = np.bincount(y.astype(np.int64), minlength=len(classes)) / len(y)
    worst = int(np.abs(said - shares).argmax())
    return Miscalibration(setting, str(classes[worst]), float(said[worst]), float(shares[worst]))


def named(metric: str, *, reweighted: bool) -> str:
    """Return a metric's name as tables show it: `log_loss (not calibrated)`."""
    marked = reweighted and METRICS[metric].by_probability
    return f"{metric} (not calibrated)" if marked else metric
