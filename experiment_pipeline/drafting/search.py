"""Propose the search of a first experiment: algorithms, their spaces and the reasons,
by table size.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.spec.algorithms import NGRAMS, STACKED
from experiment_pipeline.stages.search.budget import pass_seconds
from experiment_pipeline.stages.search.learners.hyperparameters import (
    LEARNT_WHEN_STOPPED as LEARNT,
)
from experiment_pipeline.statistics.metrics import metric_of

TRAIN_SHARE = 0.6
LARGE_CELLS = 20_000_000
# A forest's size and time grow with the rows; above this number each tree sees a sample
# of them.
FOREST_ROWS = 30_000
MANY_FEATURES = 1_000
# Boosting grows a tree per class in each round. If a fit would take longer than this
# share of the search's seconds, it gets fewer rounds and higher rates: rounds x rate
# stays what early stopping reaches.
SHARE_OF_A_FIT, LEVELS, ROUNDS_THAT_SUFFICE = 1 / 6, 5, 1_000
# Seconds of a run around its search: of analysis, report and export, and per cell
# (measured on 40,000 rows of 10 columns to 150,000 of 21: 17 to 24).
SECONDS_AROUND, SECONDS_PER_CELL, LEAST_OF_A_SEARCH = 9, 3.5e-6, 1 / 4
# Draws where seconds are asked for: at least so many, so many a second (without folds 2
# to 9 began, on folds .2 to 5.5), and no more than pages can show. Dagster takes 14 ms
# for each before a run begins.
DRAWS_OF_A_BUDGET, DRAWS_PER_SECOND, DRAWS_ON_FOLDS, MOST_DRAWS = 200, 10, 5, 2_000
# Other boosters join a search of at least this many seconds if they are installed.
# Compared with 22 fits of LightGBM on eight tables, four of XGBoost took a quarter of
# the time in the median, three of CatBoost twice as long; each improved the ensemble on
# five tables, and XGBoost made it slightly worse on three. The seconds are multiplied
# by the trees per round: with four classes a fit of CatBoost took 16 times as long as
# one of LightGBM, 21 of 120 s; with three, XGBoost took 11 s on 2,800 rows of 50
# columns, where LightGBM took 1.
SECONDS_OF_EXTRAS = {"xgboost": 20, "catboost": 60}
FEWEST_OF_EXTRAS, SECONDS_OF_AN_EXTRA = 3, 20
SECONDS_OF_STACKING, MOST_ROWS_OF_STACKING = 120, 10_000
_LOSSES_OF_A_MEDIAN = {
    "xgboost": {"objective": ["reg:absoluteerror", "reg:squarederror"]},
    "catboost": {"loss_function": ["MAE", "RMSE"]},
}
# Seconds of the whole run in a draft; its search has all but some 15 to 40 of them.
SMALL_ROWS, SECONDS_OF_SMALL, SECONDS, SECONDS_PER_ROW = 10_000, 80, 150, 1.5e-3


@dataclass(frozen=True)
class Proposal:
    """One entry of the search and why it is there."""

    entry: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Shape:
    """The facts about a table that its search depends on."""

    task: str  # binary, multiclass or regression
    metric: str  # the ranking metric
    rows: int
    features: int  # columns that reach a model
    classes: int = 1  # of the target; 1 for regression
    texts: int = 0  # how many of the features are categories or texts
    # how many of these have more distinct texts than ordinal codes distinguish
    many_texts: int = 0
    # The user's time budget, to be used up; None: a default budget, with few draws.
    seconds: float | None = None
    installed: frozenset[str] = frozenset()  # algorithms of other packages
    is_amount: bool = False  # whether the target is a number that is never negative
    has_folds: bool = False  # whether each configuration is fitted on five folds
    # whether predictions may only rise or fall with some features
    monotone: bool = False

    @property
    def encoders(self) -> list[str]:
        """The encoders to choose from; `ordinal` alone suits most tables."""
        if self.many_texts:  # ordinal codes do not distinguish them all
            return ["ordinal", "target", "text"]
        has_time = (self.seconds or 0) >= SECONDS_OF_STACKING
        if has_time and self.rows <= MOST_ROWS_OF_STACKING:
            return ["ordinal", STACKED]
        return ["ordinal"]

    @property
    def trees(self) -> int:
        """How many trees a round of boosting grows."""
        return self.classes if self.task == "multiclass" else 1


def propose_seconds(rows: int) -> int:
    """Return the default budget in seconds: most need less, none takes longer."""
    if rows <= SMALL_ROWS:
        return SECONDS_OF_SMALL
    return max(SECONDS, round(SECONDS_PER_ROW * rows))


def propose_search(shape: Shape) -> tuple[Proposal, ...]:
    """Return boosted trees, a linear model, forests and the baseline, as they start."""
    rows = max(1, int(shape.rows * TRAIN_SHARE))
    # Cells that one round of boosting reads.
    cells = rows * shape.features * shape.trees
    linear = [] if shape.monotone else [*_linear(shape)]
    proposals = [*_boosted(shape, rows, cells)]
    # Early: few seconds suffice; of texts it is the cheapest strong model.
    proposals = linear + proposals if shape.many_texts else proposals + linear
    why = "ignores the features: the baseline for all others"
    return (
        *proposals,
        *_other_boosters(shape),
        *_forests(shape, rows, cells),
        Proposal({"algorithm": "dummy"}, why),
    )


def _linear(shape: Shape) -> Iterator[Proposal]:
    """A linear model on n-grams of texts, if there are any of many values, and on
    one-hot columns.
    """
    shared: dict[str, Any] = {"algorithm": "linear"}
    is_regression = shape.task == "regression"
    name = "alpha" if is_regression else "C"
    if shape.many_texts:
        strength = [1.0, 0.3, 3.0] if is_regression else [3.0, 0.5, 20.0]
        of_texts = {**shared, "features": NGRAMS, "hyperparameters": {name: strength}}
        yield Proposal(of_texts, "words and letters of the texts: quick and strong")
    strength = [0.1, 1.0, 10.0] if is_regression else [0.01, 0.1, 1.0]
    yield Proposal(
        {**shared, "hyperparameters": {name: strength}},
        "if it comes close to the trees, prefer it: it can be explained",
    )


def _boosted(shape: Shape, rows: int, cells: int) -> Iterator[Proposal]:
    """LightGBM with its defaults, and with many draws."""
    shared: dict[str, Any] = {"algorithm": "lightgbm"}
    if len(shape.encoders) > 1:
        shared["features"] = shape.encoders
    defaults = {**shared, "configurations": [{}, {"extra_trees": True}]}
    space = _lightgbm_space(shape, rows)
    why = "boosted trees: the best on most tables"
    rounds = _rounds_in_time(shape, rows)
    if rounds is not None:
        low, usual, high = (
            float(f"{times * LEARNT / rounds:.2g}") for times in (0.5, 1, 2)
        )
        rates = _log(max(low, 0.02), max(0.2, min(high, 0.4)))
        space |= {"n_estimators": rounds, "learning_rate": rates}
        rate = min(max(usual, 0.1), 0.3)
        defaults["hyperparameters"] = {"n_estimators": rounds, "learning_rate": rate}
        trees = "tree" if shape.trees == 1 else "trees"
        why += (
            f". Within the budget a fit has time for about {rounds} rounds of "
            f"{shape.trees:,} {trees}: with more seconds, also raise n_estimators"
        )
    yield Proposal(
        defaults,
        "boosted trees with their defaults, and with random splits: fitted first",
    )
    drawn = {
        "method": "random",
        "draws": _draws(shape, cells),
        "hyperparameters": space,
    }
    yield Proposal({**shared, **drawn}, why)


def _draws(shape: Shape, cells: int) -> int:
    """Return the number of draws of LightGBM."""
    if shape.seconds is None:
        return 10 if cells > LARGE_CELLS else 20
    per_second = DRAWS_ON_FOLDS if shape.has_folds else DRAWS_PER_SECOND
    draws = round(per_second * shape.seconds)
    return min(max(DRAWS_OF_A_BUDGET, draws), MOST_DRAWS)


def _forests(shape: Shape, rows: int, cells: int) -> Iterator[Proposal]:
    """A random forest and extra trees; each tree sees at most FOREST_ROWS rows."""
    is_wide, is_small = shape.features > MANY_FEATURES, rows <= FOREST_ROWS
    part = 0.33 if shape.task == "regression" and not is_wide else "sqrt"
    shared: dict[str, Any] = {
        "n_estimators": 200 if cells <= LARGE_CELLS / 20 else 100,
        "max_features": part,
        "min_samples_leaf": [1, 3, 10] if is_small else [5, 20],
    }
    if not is_small:
        shared["max_samples"] = float(f"{FOREST_ROWS / rows:.2g}")
    forest: dict[str, Any] = {"algorithm": "random_forest", "hyperparameters": shared}
    extra = {**shared, "max_features": part if is_wide else [1.0, part]}
    if is_small:
        extra["min_samples_leaf"] = [1, 4]
    else:
        extra["bootstrap"] = True
    extra_trees: dict[str, Any] = {"algorithm": "extra_trees", "hyperparameters": extra}
    # On character features of texts, a random forest takes several times as long as
    # extra trees.
    if shape.many_texts:
        forest["features"] = "target"
        extra_trees["features"] = shape.encoders[-1:]
    elif shape.encoders != ["ordinal"]:
        extra_trees["features"] = shape.encoders
    yield Proposal(forest, "many trees on random parts of the table: robust")
    why = "the same with random splits: quick, and their errors differ"
    yield Proposal(extra_trees, why)


def _other_boosters(shape: Shape) -> Iterator[Proposal]:
    """XGBoost and CatBoost, with defaults and draws; search spaces as in TabArena."""
    seconds = shape.seconds or 0
    for name, fewest_seconds in SECONDS_OF_EXTRAS.items():
        if name not in shape.installed or seconds < fewest_seconds * shape.trees:
            continue
        shared: dict[str, Any] = {"algorithm": name}
        # On character features, a single fit of CatBoost would take minutes.
        if name == "xgboost" and shape.many_texts:
            shared["features"] = shape.encoders[1:]
        first = shared
        space = _space_of_extra(name)
        if _is_median(shape):
            [(setting, losses)] = _LOSSES_OF_A_MEDIAN[name].items()
            space[setting] = losses
            first = {**shared, "configurations": [{}, {setting: losses[0]}]}
        why = (
            f"the package {name} is installed: its errors differ from LightGBM's, "
            "which helps the ensemble"
        )
        yield Proposal(first, why)
        fit_seconds = seconds / 3 if shape.has_folds else seconds  # each fold is a fit
        draws = max(FEWEST_OF_EXTRAS, round(fit_seconds / SECONDS_OF_AN_EXTRA))
        drawn = {"method": "random", "draws": draws, "hyperparameters": space}
        yield Proposal({**shared, **drawn}, "the same with other hyperparameters")


def _space_of_extra(name: str) -> dict[str, Any]:
    space: dict[str, Any] = {"learning_rate": _log(0.02, 0.1)}
    if name == "catboost":
        return {**space, "depth": {"low": 4, "high": 8}, "l2_leaf_reg": _log(0.1, 5.0)}
    part = {"low": 0.6, "high": 1.0}
    return {
        **space,
        "max_depth": {"low": 4, "high": 10},
        "subsample": part,
        "colsample_bytree": part,
    }


def _lightgbm_space(shape: Shape, rows: int) -> dict[str, Any]:
    space: dict[str, Any] = {
        "learning_rate": _log(0.02, 0.2),
        "num_leaves": _log(4, 127 if rows >= 50_000 else 63 if rows >= 2_000 else 15),
        "min_data_in_leaf": _log(2, min(200, max(10, rows // 20))),
        "feature_fraction": {"low": 0.4, "high": 1.0},
        "bagging_fraction": {"low": 0.6, "high": 1.0},
        "extra_trees": [False, True],
        "lambda_l2": _log(0.01, 10.0),
    }
    if shape.texts:  # regularization of categories with few rows
        space |= {"cat_smooth": _log(1.0, 100.0), "cat_l2": _log(0.3, 30.0)}
        space["min_data_per_group"] = _log(2, 100)
    # Which loss is better depends on the table. With square-root and log losses in the
    # search, ensembles scored better on the hold-out of 8 of 12 splits of eight tables,
    # by up to 4.5 %, and worse on 2, by .2 and .4 %.
    if _is_median(shape):
        space |= {
            "objective": ["regression_l1", "regression"],
            "reg_sqrt": [False, True],
        }
    elif shape.is_amount and not metric_of(shape.metric).objective:
        space["objective"] = ["regression", "tweedie"]
    return space


def _is_median(shape: Shape) -> bool:
    """Whether the metric asks for medians, which trees with directions do not give."""
    towards = metric_of(shape.metric).objective.get("objective")
    return towards == "regression_l1" and not shape.monotone


def _rounds_in_time(shape: Shape, rows: int) -> int | None:
    """Return how many rounds fit into a fit's time; None: early stopping is sooner."""
    seconds = propose_seconds(shape.rows) if shape.seconds is None else shape.seconds
    around = SECONDS_AROUND + SECONDS_PER_CELL * shape.rows * shape.features
    fit = SHARE_OF_A_FIT * max(seconds - around, LEAST_OF_A_SEARCH * seconds)
    round_seconds = LEVELS * shape.trees * pass_seconds(rows, shape.features)
    rounds = int(float(f"{fit / max(round_seconds, 1e-9):.2g}"))
    return max(rounds, 20) if rounds < ROUNDS_THAT_SUFFICE else None


def _log(low: float, high: float) -> dict[str, Any]:
    return {"low": low, "high": high, "scale": "log"}
