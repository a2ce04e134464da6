"""The algorithms that a YAML may name, one declaration each; any other is given as an
import path.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from experiment_pipeline.spec.models import Closed, Scalar, impossible

Features = Literal[
    "ordinal",
    "onehot",
    "target",
    "text",
    "ngrams",
    "stacked",
    "columns",
]
NGRAMS = "ngrams"  # as `onehot`, with the words and letters of texts as sparse columns
WORD_HASHES, LETTER_HASHES = 2**15, 2**14  # at most, of a column of texts
MOST_HASHES = WORD_HASHES + LETTER_HASHES
STACKED = "stacked"  # adds predictions of two forests and a linear model to `ordinal`
TREES = 100  # in each of the two forests
COLUMNS = "columns"  # hands the columns on, by name, to an estimator of the user's
# Folds of cross-fitting: four encode the fifth, as in scikit-learn's TargetEncoder.
PARTS = 5
# A column of at most this many distinct texts is treated as categorical by every
# encoder.
FEW_TEXTS = 30
# A column of more texts becomes so many numbers of the encoder `text`, at most.
NUMBERS_OF_TEXTS = 30
Direction = Literal["stiffer", "as_is", "more_flexible"]
# The only row of the leaderboard that is not a configuration: this is its key and its
# algorithm.
ENSEMBLE = "ensemble"


class Range(Closed):
    """An interval to draw from; whole numbers are drawn if both ends are
    whole numbers.
    """

    low: int | float = Field(description="The smallest value", examples=[0.01])
    high: int | float = Field(description="The largest value", examples=[0.3])
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if not self.low < self.high:
            raise ValueError(
                f"low ({self.low}) is not below high ({self.high}); exchange them"
            )
        if self.scale == "log" and self.low <= 0:
            raise impossible(
                f"low ({self.low}) is not positive; a log scale needs low > 0", "low"
            )
        return self

    @property
    def integer(self) -> bool:
        """Whether whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Spaces = Mapping[Direction, Mapping[str, Range]]


@dataclass(frozen=True)
class Estimator:
    """The estimator of an algorithm for classification, or for regression."""

    path: str  # where its class is imported from
    # used if the YAML sets no value
    defaults: Mapping[str, Scalar] = field(default_factory=dict)
    # hyperparameters of every version: with no others, a configuration is checked
    # without an import
    well_known: frozenset[str] = frozenset()
    # search spaces, by how flexible the models should be
    spaces: Spaces = field(default_factory=dict)
    # used on the n-grams of texts, too, if the YAML sets no solver
    defaults_of_ngrams: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Algorithm:
    """One algorithm."""

    classifier: Estimator  # for binary and multiclass
    regressor: Estimator
    features: Features = "onehot"  # the default encoder; trees get ordinal codes
    # (hyperparameters, train rows) → roughly how many passes over the rows a fit makes;
    # inf: unknown, so that a possibly long fit starts first
    passes: Callable[[Mapping[str, Scalar], int], float] = lambda *_: math.inf
    # False: a baseline, which is always fitted and never stopped early
    competes: bool = True
    # whether a fit is already the mean of many, so that refits gain little
    is_mean: bool = False
    # types in its fitted estimator beyond those that skops and `storage.persistence`
    # trust; to be declared, as a model with others cannot be loaded
    trusted_types: tuple[str, ...] = field(kw_only=True)
    # whose versions affect a model, beside scikit-learn's
    libraries: tuple[str, ...] = ()
    model_file: str = "model.skops"  # the file name of a stored model, by its format

    def estimator(self, task: str) -> Estimator:
        """Return its estimator for a task."""
        return self.regressor if task == "regression" else self.classifier


def positive(value: Scalar, default: float) -> float:
    """Return a hyperparameter if it is a positive number, else `default`; the fit
    reports bad values.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return float(default)


def competes(algorithm: str) -> bool:
    """Whether an algorithm, declared here or not, takes part in the search: not a mere
    baseline.
    """
    return algorithm not in ALGORITHMS or ALGORITHMS[algorithm].competes


def refit_count(algorithm: str, fits: int) -> int:
    """Return how many refits an algorithm, declared here or not, needs if `export.fits`
    asks for `fits`.
    """
    return 1 if algorithm in ALGORITHMS and ALGORITHMS[algorithm].is_mean else fits


def model_file(algorithm: str) -> str:
    """Return the file name of a stored model of an algorithm, declared here or not."""
    return (
        ALGORITHMS[algorithm].model_file
        if algorithm in ALGORITHMS
        else Algorithm.model_file
    )


# Hyperparameters drawn on a linear scale; all others on a logarithmic one.
_EVEN = {"feature_fraction", "colsample_bytree", "max_depth", "max_features"}
Interval = tuple[float, float]


def _spaces(
    **intervals: tuple[Interval | None, Interval | None, Interval | None],
) -> Spaces:
    """Build search spaces from hyperparameter → its intervals for stiffer, equal and
    more flexible models.
    """
    return {
        direction: {
            name: Range(
                low=ends[0], high=ends[1], scale="linear" if name in _EVEN else "log"
            )
            for name, three in intervals.items()
            if (ends := three[place]) is not None
        }
        for place, direction in enumerate(get_args(Direction))
    }


_BOOSTED = _spaces(
    learning_rate=((0.01, 0.1), (0.02, 0.2), (0.03, 0.3)),
    num_leaves=((4, 31), (8, 127), (31, 511)),
    min_data_in_leaf=((50, 500), (10, 200), (3, 50)),
    lambda_l2=((0.1, 100.0), None, None),
    feature_fraction=((0.4, 0.9), (0.5, 1.0), None),
)
_XGBOOST = _spaces(
    learning_rate=((0.01, 0.1), (0.02, 0.2), (0.03, 0.3)),
    max_depth=((2, 5), (3, 9), (6, 12)),
    min_child_weight=((5.0, 100.0), (1.0, 50.0), (0.1, 5.0)),
    reg_lambda=((1.0, 100.0), None, None),
    colsample_bytree=((0.4, 0.9), (0.5, 1.0), None),
)
_CATBOOST = _spaces(
    learning_rate=((0.01, 0.1), (0.02, 0.2), (0.03, 0.3)),
    max_depth=((2, 5), (4, 8), (6, 10)),
    l2_leaf_reg=((3.0, 100.0), (1.0, 20.0), (0.1, 5.0)),
)
_FOREST = _spaces(
    min_samples_leaf=((5, 100), (1, 50), (1, 5)),
    max_features=((0.1, 0.6), (0.2, 1.0), (0.3, 1.0)),
)
_FOREST_NAMES = frozenset(
    [
        "n_estimators",
        "max_depth",
        "max_features",
        "max_samples",
        "max_leaf_nodes",
        "min_samples_leaf",
        "min_samples_split",
        "bootstrap",
    ]
)
_LINEAR_NAMES = frozenset({"max_iter", "tol", "fit_intercept", "solver"})
_DUMMY_NAMES = frozenset({"strategy", "constant"})


def forest_passes(
    hyperparameters: Mapping[str, Scalar], n_rows: int, per_level: float = 4
) -> float:
    """Estimate the passes over the rows of a forest: `per_level` for each level of each
    tree.
    """
    levels = math.log2(
        1 + n_rows / max(positive(hyperparameters.get("min_samples_leaf"), 1), 1)
    )
    depth = min(levels, positive(hyperparameters.get("max_depth"), levels))
    # By default 4: a forest sorts the values in each node, where boosting fills a
    # histogram.
    return positive(hyperparameters.get("n_estimators"), 100) * depth * per_level


def _forest(
    prefix: str, passes: Callable[[Mapping[str, Scalar], int], float]
) -> Algorithm:
    """A forest of scikit-learn, on ordinal codes of categories."""
    path = f"sklearn.ensemble.{prefix}"
    return Algorithm(
        Estimator(f"{path}Classifier", {}, _FOREST_NAMES, _FOREST),
        Estimator(f"{path}Regressor", {}, _FOREST_NAMES, _FOREST),
        features="ordinal",
        passes=passes,
        is_mean=True,
        trusted_types=("sklearn.tree._tree.Tree",),
    )


def _boosters(
    package: str, prefix: str, spaces: Spaces, trusted_types: tuple[str, ...]
) -> Algorithm:
    """A library of boosted trees, on ordinal codes; its version affects a model."""
    return Algorithm(
        classifier=Estimator(f"{package}.{prefix}Classifier", spaces=spaces),
        regressor=Estimator(f"{package}.{prefix}Regressor", spaces=spaces),
        features="ordinal",
        trusted_types=trusted_types,
        libraries=(package,),
        model_file="model.txt" if package == "lightgbm" else Algorithm.model_file,
    )


ALGORITHMS: Mapping[str, Algorithm] = {
    "lightgbm": _boosters(
        package="lightgbm",
        prefix="LGBM",
        spaces=_BOOSTED,
        trusted_types=(
            "collections.OrderedDict",
            "collections.defaultdict",
            "lightgbm.basic.Booster",
            "lightgbm.sklearn.LGBMClassifier",
            "lightgbm.sklearn.LGBMRegressor",
        ),
    ),
    "catboost": _boosters(
        package="catboost",
        prefix="CatBoost",
        spaces=_CATBOOST,
        trusted_types=(
            "catboost.core.CatBoostClassifier",
            "catboost.core.CatBoostRegressor",
        ),
    ),
    "xgboost": _boosters(
        package="xgboost",
        prefix="XGB",
        spaces=_XGBOOST,
        trusted_types=(
            "xgboost.core.Booster",
            "xgboost.sklearn.XGBClassifier",
            "xgboost.sklearn.XGBRegressor",
        ),
    ),
    "random_forest": _forest("RandomForest", forest_passes),
    # Random splits need no sorting (Geurts et al. 2006): 2 to 4 times as fast on seven
    # tables.
    "extra_trees": _forest("ExtraTrees", partial(forest_passes, per_level=2)),
    "linear": Algorithm(
        classifier=Estimator(
            "sklearn.linear_model.LogisticRegression",
            # lbfgs on one-hot columns often needs more than scikit-learn's 100
            # iterations.
            defaults={"max_iter": 1000},
            # 4 to 16 times as quick as lbfgs, and no worse (tweets).
            defaults_of_ngrams={"solver": "newton-cg", "tol": 0.01},
            well_known=_LINEAR_NAMES | {"C"},
            spaces=_spaces(C=((0.0001, 0.1), (0.001, 100.0), (1.0, 10000.0))),
        ),
        regressor=Estimator(
            "sklearn.linear_model.Ridge",
            defaults_of_ngrams={"tol": 0.001},
            well_known=_LINEAR_NAMES | {"alpha"},
            spaces=_spaces(alpha=((10.0, 10000.0), (0.01, 100.0), (0.0001, 1.0))),
        ),
        passes=lambda *_: 80.0,
        trusted_types=(),
    ),
    "dummy": Algorithm(
        Estimator("sklearn.dummy.DummyClassifier", {"strategy": "prior"}, _DUMMY_NAMES),
        Estimator("sklearn.dummy.DummyRegressor", {"strategy": "mean"}, _DUMMY_NAMES),
        features="ordinal",
        passes=lambda *_: 0.0,
        trusted_types=(),
        competes=False,
    ),
}
