"""Rows as numbers: features that are fitted on rows, and rows that they encode, at once or in slices.

Few rows are encoded all at once. Many are fitted on column by column and encoded in slices, which
gives the same features and the same numbers without the copies of the whole table that
scikit-learn makes on the way; where no fit reads all rows at once, they stay a `SlicedTable`. Which
transformers an encoder has lives in `features.py`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import TargetEncoder

from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import FEW_TEXTS
from experiment_pipeline.stages.search import many_texts
from experiment_pipeline.stages.search.features import (
    build_features,
    categorical_positions,
    column_kinds,
    directions,
)
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.stages.search.slices import HELD_ROWS, SlicedTable
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.weights import Weights
from experiment_pipeline.storage.mapped import some_rows
from experiment_pipeline.table.table import with_only
from experiment_pipeline.table.target import encode_target

_OF_MANY_TEXTS = ("target", "text")


def encode(
    encoder: Features,
    sets: TrainingSets,
    y: np.ndarray,
    weights: Weights = None,
    *,
    held: bool = True,
) -> tuple[EncodedRows, Any]:
    """Return the train rows and the table of test rows, encoded by features of train alone.

    Args:
        encoder: how columns are encoded.
        sets: the rows.
        y: (n_train,) encoded target.
        weights: (n_train,) how much each row counts; None: all alike.
        held: as in `fit_rows`.
    """
    features, train = fit_rows(encoder, sets.train, sets.fit_mask, sets, held=held)
    if _at_once(encoder, sets.test):
        test = transformed(features, sets.test)
    else:
        test = _sliced(features, sets.test).held()
    wanted = directions(features, sets.directions)
    return EncodedRows(train, y, categorical_positions(features), weights, wanted), test


def fit_features(
    encoder: Features, rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> ColumnTransformer:
    """Return features fitted on rows.

    Args:
        encoder: how columns are encoded.
        rows: (n, columns) prepared rows.
        fit_mask: bool (n,): rows whose target may be used.
        sets: give features, target, task, classes and split; their rows are not used.
    """
    columns = list(sets.features)
    many = _many_texts(encoder, rows, fit_mask, sets)
    features = build_features(encoder, rows, columns, many)
    if not many and _at_once(encoder, rows):
        return features.fit(rows[columns])
    # All at once, it would encode all rows only to put them beside each other.
    frozen = [(name, _frozen(part, rows, of), of) for name, part, of in features.transformers]
    together = ColumnTransformer(frozen, sparse_threshold=0.0).fit(rows[:1][columns])
    if not many:
        # What `features.fit` gives, of parts that were fitted one by one.
        together.transformers = features.transformers
        together.transformers_ = [
            (name, part.estimator if isinstance(part, FrozenEstimator) else part, of)
            for name, part, of in together.transformers_
        ]
    return together


def fit_rows(
    encoder: Features,
    rows: pd.DataFrame,
    fit_mask: np.ndarray,
    sets: TrainingSets,
    *,
    held: bool = True,
) -> tuple[ColumnTransformer, Any]:
    """Return `fit_features`, and these rows as a model is to be fitted on them.

    As `transformed`, but the code of a row whose target the features have seen comes from rows
    that are not related to it. The first four arguments are those of `fit_features`.

    Args:
        encoder: how columns are encoded.
        rows: the rows.
        fit_mask: of them.
        sets: what they mean.
        held: whether some fit reads all of them at once.

    Returns:
        The features; (n, d) float64, dense or sparse, or, unless held, a `SlicedTable`.
    """
    columns = list(sets.features)
    if encoder not in _OF_MANY_TEXTS and _at_once(encoder, rows):
        features = build_features(encoder, rows, columns)
        return features, features.fit_transform(rows[columns])
    features = fit_features(encoder, rows, fit_mask, sets)
    coded = _cross_fitted(features, rows, fit_mask, sets)
    if not _at_once(encoder, rows):
        table = _sliced(features, rows, coded, fit_mask)
        return features, table.held() if held else table
    encoded = transformed(features, rows)
    for name, codes in coded.items():
        encoded[fit_mask, features.output_indices_[name]] = codes
    return features, encoded


def transformed(fitted: ColumnTransformer, rows: pd.DataFrame) -> Any:
    """Encode rows by fitted features: as `transform`, but each distinct one of many texts once."""
    parts = _parts(fitted)
    frozen = all(isinstance(part, FrozenEstimator) for _, part, _ in parts)
    if fitted.sparse_output_ or not frozen:
        return fitted.transform(rows)
    blocks = [
        many_texts.by_distinct_text(part, rows[of])
        if isinstance(of, str)
        else part.transform(rows[of])
        for _, part, of in parts
    ]
    return np.hstack(blocks)


def _at_once(encoder: Features, rows: pd.DataFrame) -> bool:
    """Whether rows are encoded all at once: few, or by a encoder whose columns follow the rows."""
    return encoder == "onehot" or len(rows) <= HELD_ROWS


def _parts(fitted: ColumnTransformer) -> list[tuple[str, Any, Any]]:
    return [one for one in fitted.transformers_ if one[0] != "remainder"]


def _sliced(
    fitted: ColumnTransformer,
    rows: pd.DataFrame,
    coded: Mapping[str, np.ndarray] = MappingProxyType({}),
    fit_mask: Any = None,
) -> SlicedTable:
    """Rows as `transformed` would encode them, slice by slice.

    Args:
        fitted: features.
        rows: n of them.
        coded: part → its numbers in the rows of the fit mask.
        fit_mask: bool (n,).
    """
    parts = _parts(fitted)
    read_of = with_only(rows, list(fitted.feature_names_in_))
    known: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name, part, of in parts:
        if isinstance(of, str) and isinstance(part, FrozenEstimator):
            known[name] = _looked_up(part, rows[of], coded.get(name), fit_mask)

    def encode(positions: np.ndarray) -> np.ndarray:
        read = read_of.iloc[positions]
        if not known:
            return np.asarray(fitted.transform(read))
        return np.hstack(
            [
                known[name](positions) if name in known else part.transform(read[of])
                for name, part, of in parts
            ]
        )

    return SlicedTable.of(encode, len(rows))


def _looked_up(
    part: FrozenEstimator, column: pd.Series, coded: np.ndarray | None, fit_mask: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Encode each distinct text of a column now, and rows by looking theirs up."""
    codes, numbers = many_texts.of_distinct_texts(part, column)
    if coded is None:
        return lambda positions: numbers[codes[positions]]
    of_rows: np.ndarray = numbers[codes]
    of_rows[fit_mask] = coded
    return lambda positions: of_rows[positions]


def _cross_fitted(
    features: ColumnTransformer, rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> dict[str, np.ndarray]:
    """Part → codes by the target of the rows of the fit mask, each from unrelated rows."""
    coded = [
        (name, part, of)
        for name, part, of in features.transformers_
        if isinstance(part, FrozenEstimator) and isinstance(part[-1], TargetEncoder)
    ]
    if not coded:
        return {}
    seen, y, weights = _of_mask(rows, fit_mask, sets)
    parts = many_texts.parts_of(seen, sets)
    return {
        name: many_texts.cross_fitted(part, seen[of], y, parts, weights) for name, part, of in coded
    }


def _frozen(part: Any, rows: pd.DataFrame, of: Any) -> FrozenEstimator:
    if isinstance(part, FrozenEstimator):
        return part
    # Numbers learn nothing of the rows here: what stands in for a missing one is known.
    read = _as_often_as_counts(rows[of]) if isinstance(of, str) else rows[:1][of]
    return FrozenEstimator(clone(part).fit(read))


def _as_often_as_counts(column: pd.Series) -> pd.Series:
    """A few texts of which an encoder of categories learns what it learns of a column of many.

    It needs the distinct ones in the order of their frequency: the rarest stand here once, the next
    rarest twice. Read one by one, those of a large column take a hundred bytes each.
    """
    counts = many_texts.texts_of(column).value_counts(dropna=False, sort=False)
    often = np.unique(counts.to_numpy(), return_inverse=True)[1] + 1
    return counts.index.repeat(often).to_series()


def _many_texts(
    encoder: Features, rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> dict[str, FrozenEstimator]:
    """Fit what encodes the columns of many texts; column → it."""
    if encoder not in _OF_MANY_TEXTS:
        return {}
    texts = column_kinds(rows, sets.features).texts
    many = [name for name in texts if many_texts.texts_of(rows[name]).nunique() > FEW_TEXTS]
    if encoder == "text":
        return {name: many_texts.letters(rows[name]) for name in many}
    seen, y, weights = _of_mask(rows, fit_mask, sets)
    return {name: many_texts.target_codes(seen[name], y, sets.task, weights) for name in many}


def _of_mask(
    rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> tuple[pd.DataFrame, np.ndarray, Weights]:
    """The rows of the fit mask, their encoded targets, and how much each counts."""
    seen = some_rows(rows, np.flatnonzero(fit_mask))
    return seen, encode_target(seen[sets.target], sets.classes), sets.weights_of(seen)
