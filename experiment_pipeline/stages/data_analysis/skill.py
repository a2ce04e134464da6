"""One scale from 0 to 1 for how well something predicts the target, the same for all tasks.

The experiment's metric may be any, in any unit; a threshold such as "nearly perfect" needs
a scale of its own. Skill is the Gini coefficient 2·AUC - 1 for two classes, Goodman and
Kruskal's λ (share of the errors of the most frequent class that are avoided) for several,
and R² for numbers. Negative values become 0.
"""

import numpy as np

from experiment_pipeline.spec import Task
from experiment_pipeline.statistics import scores

NAMES: dict[Task, str] = {
    "binary": "Gini (2·AUC - 1)",
    "multiclass": "share of errors avoided",
    "regression": "R²",
}


def skill(task: Task, y: np.ndarray, prediction: np.ndarray) -> float:
    """Skill of out-of-sample predictions, 0 (none) to 1 (perfect); nan when undefined.

    Args:
        task: of the experiment.
        y: encoded targets (n,).
        prediction: (n,), or probabilities (n, k) for several classes.
    """
    if len(y) == 0:
        return float("nan")
    if task == "binary":
        value = 2 * scores.score("roc_auc", y, prediction) - 1
    elif task == "regression":
        value = scores.score("r2", y, prediction)
    else:
        value = _errors_avoided(y, np.argmax(prediction, axis=1))
    return float(max(value, 0.0)) if np.isfinite(value) else float("nan")


def _errors_avoided(y: np.ndarray, predicted: np.ndarray) -> float:
    errors_of_mode = len(y) - np.bincount(y.astype(np.int64)).max()
    errors = np.count_nonzero(predicted != y)
    return 1 - errors / errors_of_mode if errors_of_mode else float("nan")
