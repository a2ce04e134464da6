"""The probe's models: a linear one and a small LightGBM, with fixed sizes.

In: encoded features and targets. Out: fitted models and their predictions. Everything that
is learnt (medians, scales, categories) is learnt from the rows to fit on.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiment_pipeline.stages.data_analysis.encoding import Encoded
from experiment_pipeline.stages.data_analysis.subject import Subject

MODELS = ("linear", "lightgbm")
ROUNDS = 60
_FEWEST_ROUNDS = 10


def fitted_models(
    subject: Subject, encoded: Encoded, y: np.ndarray, fit: np.ndarray
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the fitted scikit-learn estimator of each of MODELS.

    Args:
        subject: for the task, the classes and the seed.
        encoded: features of m rows.
        y: encoded targets (m,).
        fit: positions of the rows to fit on.
    """
    from sklearn.exceptions import ConvergenceWarning

    for name in MODELS:
        model = _linear(subject, encoded) if name == "linear" else _lightgbm(subject, len(fit))
        with warnings.catch_warnings():
            # A linear probe that has not quite converged is still a probe.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(encoded.values[fit], y[fit])
        yield name, model


def predict(subject: Subject, model: Any, values: np.ndarray) -> np.ndarray:
    """Predictions as metrics take them; a class the model has not seen has probability 0.

    Args:
        subject: for the task and the classes.
        model: a fitted estimator.
        values: encoded features (n, columns).
    """
    if subject.spec.task == "regression":
        return np.asarray(model.predict(values))
    probabilities = np.zeros((len(values), subject.target.n_classes))
    probabilities[:, model.classes_.astype(int)] = model.predict_proba(values)
    return probabilities[:, 1] if subject.spec.task == "binary" else probabilities


def _lightgbm(subject: Subject, rows: int) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMRegressor if subject.spec.task == "regression" else LGBMClassifier
    trees_per_round = max(subject.target.n_classes - 1, 1)
    return kind(
        n_estimators=max(ROUNDS // trees_per_round, _FEWEST_ROUNDS),
        num_leaves=15,
        min_child_samples=int(np.clip(rows // 20, 2, 20)),
        max_bin=63,
        n_jobs=1,
        random_state=subject.spec.seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )


def _linear(subject: Subject, encoded: Encoded) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    categories = OneHotEncoder(handle_unknown="ignore", min_frequency=5, sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", numbers, list(range(encoded.numbers))),
            ("categories", categories, encoded.categories),
        ]
    )
    regression = subject.spec.task == "regression"
    return make_pipeline(columns, Ridge() if regression else LogisticRegression(max_iter=100))
