"""How much memory training takes, told before it begins, and what to do where there is less.

Estimates from sizes alone, of what training adds to what the process holds already. The benchmark
(part `foreseen`) holds them against measured peaks; from their spread comes the margin within which
nobody is stopped. How much there is: `storage/memory_limits.py`. In: configurations, sets, a limit.
Out: a `MemoryNeed`, how many fits go side by side, or an error that says what to change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experiment_pipeline.errors import NotEnoughMemory
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import FEW_TEXTS, competes
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.features import (
    MAX_DENSE_BYTES,
    MAX_ONEHOT_CATEGORIES,
    column_kinds,
)
from experiment_pipeline.stages.search.fitting import held_recipes
from experiment_pipeline.stages.search.learners.boosters import BOOSTERS
from experiment_pipeline.stages.search.many_texts import NUMBERS
from experiment_pipeline.stages.search.slices import HELD_ROWS
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.memory_limits import MemoryLimit

# A measured peak was never below this share of its estimate.
SURE = 0.5
_FLOAT = 8
# Rows whose texts tell how many there are, roughly.
_LOOKED_AT = 20_000
# Bytes per cell of a library's own table of the train rows, and of what a fit copies of the encoded
# ones; an imported estimator may copy all of them.
_OWN_TABLE = {"lightgbm": 1, "xgboost": 6, "catboost": 20}
_COPIED = {"linear": 0, "random_forest": 4}
# What a fit's libraries take once they are loaded, and small things.
_LIBRARIES = 60_000_000


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes beyond what the process holds before.

    Attributes:
        shared: whatever the number of fits at a time.
        fits: what each fit adds, the largest first.
    """

    shared: int
    fits: tuple[int, ...]

    def of(self, at_a_time: int) -> int:
        """Return the need of so many fits side by side, at the worst."""
        return self.shared + sum(self.fits[:at_a_time])

    @property
    def at_least(self) -> float:
        """What even one fit at a time takes; with less, it cannot have fitted."""
        return SURE * self.of(1) - _LIBRARIES


@dataclass(frozen=True)
class Foreseen:
    """How a search goes about its memory.

    Attributes:
        workers: fits at a time.
        said: what it needs of what there is.
        fewer: whether these are fewer than were asked for.
    """

    workers: int
    said: str
    fewer: bool


def training_need(configurations: Sequence[Configuration], sets: TrainingSets) -> MemoryNeed:
    """Estimate what training these configurations adds.

    With n train and m test rows, d encoded columns of a recipe and k trees of a boosting round:

    * encoded rows, per recipe: 8·m·d; and 8·n·d where somebody reads them whole, twice that where
      they are encoded at once (a copy of scikit-learn's); else 24·HELD_ROWS·d, for the rows that
      bins are made of;
    * the table that a library makes of a recipe's rows: c·n·d, with c = 1 for
      LightGBM, 6 for XGBoost, 20 for CatBoost;
    * a fit of a booster: n·(d + 16·k + 16), which is its bins by rows, and of each row scores,
      gradients and its place in the tree; then 16·m·k for predictions;
    * a fit of anything else that competes: c·n·d, with c = 0 for linear models, 4 for forests, which
      take floats of half the size, 8 for imported estimators; and 16·n.

    Args:
        configurations: those to be fitted.
        sets: their train and test rows.
    """
    n, m = len(sets.train), len(sets.test)
    trees = len(sets.classes or ()) if sets.task == "multiclass" else 1
    columns = {one.features: _columns(one.features, sets) for one in configurations}
    held = held_recipes(configurations)
    shared, fits = _LIBRARIES, list[int]()
    for recipe, d in columns.items():
        shared += _FLOAT * m * d
        at_once = recipe == "onehot" or n <= HELD_ROWS
        copies = 2 if at_once else 1 if recipe in held else 0
        shared += _FLOAT * (copies * n * d if copies else 3 * HELD_ROWS * d)
    for algorithm, recipe in {(one.algorithm, one.features) for one in configurations}:
        shared += _OWN_TABLE.get(algorithm, 0) * n * columns[recipe]
    for one in configurations:
        d = columns[one.features]
        if one.algorithm in BOOSTERS:
            fits.append(n * (d + 16 * trees + 16) + 16 * m * trees)
        elif competes(one.algorithm):
            fits.append(n * (_COPIED.get(one.algorithm, _FLOAT) * d + 16))
    return MemoryNeed(shared, tuple(sorted(fits, reverse=True)))


def foresee(need: MemoryNeed, limit: MemoryLimit, workers: int) -> Foreseen:
    """Return how many fits go side by side within a limit: the results are the same.

    Raises:
        NotEnoughMemory: one at a time would not go, by a margin.
    """
    asked = min(workers, max(len(need.fits), 1))
    fitting = (count for count in range(asked, 1, -1) if need.of(count) <= limit.left)
    at_a_time = next(fitting, 1)
    of_all = f"of {_gigabytes(limit.limit)} ({limit.set_by})"
    needs = f"{_gigabytes(limit.held + need.of(at_a_time))} {of_all}"
    if need.at_least > limit.left:
        raise NotEnoughMemory(
            "the training step",
            f"it needs about {needs}, of which {_gigabytes(limit.held)} are taken",
            "raise that limit, train on a sample of the rows, take algorithms that read the whole "
            "table (all but lightgbm) out of `search`, or train on other machines (`engine`)",
        )
    said = f"training needs about {needs}"
    if fewer := at_a_time < asked:
        said += f": {numbers.counted(at_a_time, 'fit')} at a time instead of {asked}"
    return Foreseen(at_a_time if fewer else workers, said, fewer)


def _columns(recipe: Features, sets: TrainingSets) -> int:
    """Roughly how many columns a recipe makes, sparse ones by what they hold."""
    kinds = column_kinds(sets.train, sets.features)
    n_numbers, n_texts = len(kinds.numbers), len(kinds.texts)
    if recipe == "ordinal":
        return n_numbers + n_texts
    distinct = [sets.train[name].iloc[:_LOOKED_AT].nunique() for name in kinds.texts]
    if recipe == "onehot":
        of_texts = sum(min(count, MAX_ONEHOT_CATEGORIES) for count in distinct)
        dense = n_numbers + of_texts
        if _FLOAT * len(sets.train) * dense <= MAX_DENSE_BYTES:
            return dense
        return round(1.5 * (n_numbers + n_texts))
    of_one = NUMBERS if recipe == "text" else max(len(sets.classes or ()) - 1, 1)
    return n_numbers + sum(of_one if count > FEW_TEXTS else 1 for count in distinct)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
