"""Rows as numbers: fit features on rows, and encode rows with them, at once or in
slices.

Large tables are encoded in slices: the same numbers, without scikit-learn's copies of
the whole table.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer, TargetEncoder

from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import COLUMNS, NGRAMS, STACKED
from experiment_pipeline.stages.search import features as encoders
from experiment_pipeline.stages.search.shared_work import (
    HELD_ROWS,
    EncodedRows,
    SlicedTable,
)
from experiment_pipeline.stages.search.stacking import cross_fitted_layer, stacked_part
from experiment_pipeline.stages.search.training_sets import (
    TrainingSets,
    columns_of_many_texts,
    distinct_texts,
)
from experiment_pipeline.statistics.interval import Weights
from experiment_pipeline.table.features import encode_target
from experiment_pipeline.table.table import some_rows, together, with_only


def through_own(
    rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> tuple[Any | None, TrainingSets]:
    """Return the user's transformer, fitted on the prepared rows of the mask, bool
    (n,), and the sets as encoders read them: `train` are all `rows`, with its columns
    as features. None: there is none.
    """
    transformer = sets.own
    if transformer is None:
        return None, replace(sets, train=rows)
    inside, outside = np.flatnonzero(fit_mask), np.flatnonzero(~fit_mask)
    fitted = transformer.make()
    fitted_on = some_rows(rows, inside)
    train = transformer.read(fitted, fitted_on, sets.features, sets.target)
    names = tuple(
        str(name) for name in train if name in sets.features or name not in rows
    )
    if len(outside):
        unseen = some_rows(rows, outside)
        rest = transformer.read(fitted, unseen, sets.features, names=names)
        order = np.argsort(np.concatenate([inside, outside]))
        train = some_rows(together([train, rest]), order)
    return fitted, replace(sets, features=names, train=train)


def as_read(sets: TrainingSets) -> tuple[TrainingSets, tuple[str, ...]]:
    """Return both sets as encoders read them, and the transformer's trusted types."""
    transformer = sets.own
    if transformer is None:
        return sets, ()
    fitted, read = through_own(sets.train, sets.fit_mask, sets)
    test = transformer.read(fitted, sets.test, sets.features, names=read.features)
    trusted = transformer.trusted_types(fitted, sets.test, sets.features, test)
    return replace(read, test=test), trusted


def encode(
    encoder: Features,
    sets: TrainingSets,
    y: np.ndarray,
    weights: Weights = None,
    *,
    in_memory: bool = True,
) -> tuple[EncodedRows, Any]:
    """Return the encoded train rows and the encoded table of test rows; features are
    fitted on train only.

    `y` (n_train,) is the encoded target; `in_memory` is as in `fit_rows`.
    """
    features, train = fit_rows(
        encoder, sets.train, sets.fit_mask, sets, in_memory=in_memory
    )
    if _at_once(encoder, sets.test):
        test = transformed(features, sets.test)
    else:
        test = SlicedTable.of(_blocks_of(features, sets.test), len(sets.test)).held()
    rows = EncodedRows(
        train,
        y,
        categorical=encoders.categorical_positions(features),
        weights=weights,
        directions=encoders.directions(features, sets.directions),
        frame_step=encoders.frame_step(encoder, features, train),
    )
    return rows, test


def fit_features(
    encoder: Features, rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> ColumnTransformer:
    """Return fitted features; `fit_mask`, bool (n,): whose target may be used."""
    columns = list(sets.features)
    many, further = _learnt_parts(encoder, rows, fit_mask, sets)
    features = encoders.build_features(encoder, rows, columns, many, further)
    if encoder in (NGRAMS, COLUMNS):
        return features.fit(rows[columns])
    # Part by part: `features.fit` would also encode all rows, and let models predict
    # them, for nothing.
    frozen = [
        (name, _frozen(part, rows, names), names)
        for name, part, names in features.transformers
    ]
    whole = ColumnTransformer(frozen, sparse_threshold=features.sparse_threshold)
    whole.fit(rows[:1][columns])
    if not many:
        # As `features.fit` would leave it, with parts that were fitted one by one.
        whole.transformers = features.transformers
        whole.transformers_ = [
            (name, getattr(part, "estimator", part), names)
            for name, part, names in whole.transformers_
        ]
    return whole


def _learnt_parts(
    encoder: Features, rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> tuple[dict[str, FrozenEstimator], list[encoders.Part]]:
    """What uses the target: `many` and `further` as of `build_features`."""
    if encoder == STACKED:
        if len(sets.directions) == len(sets.features):
            return {}, []
        fitted_on, y, weights = _of_mask(rows, fit_mask, sets)
        return {}, [stacked_part(rows, fitted_on, y, weights, sets)]
    if encoder not in ("target", "text"):
        return {}, []
    names = columns_of_many_texts(distinct_texts(rows, sets.features))
    if not names:
        return {}, []
    fitted_on, y, weights = _of_mask(rows, fit_mask, sets)
    codes = {
        name: encoders.target_codes(fitted_on[name], y, sets.task, weights)
        for name in names
    }
    if encoder == "target":
        return codes, []
    means = [
        (f"{encoders.MEANS}_{number}", codes[name], name)
        for number, name in enumerate(names)
    ]
    return {name: encoders.ngrams_in_short(rows[name]) for name in names}, means


def fit_rows(
    encoder: Features,
    rows: pd.DataFrame,
    fit_mask: np.ndarray,
    sets: TrainingSets,
    *,
    in_memory: bool = True,
) -> tuple[ColumnTransformer, Any]:
    """Return `fit_features`, and these rows as a model is to be fitted on them.

    They are (n, d) float64, dense or sparse (of `columns`: objects), with target codes
    cross-fitted. A large table is a `SlicedTable` unless it is to be held `in_memory`.
    """
    if encoder == NGRAMS:
        columns = list(sets.features)
        features = encoders.build_features(encoder, rows, columns)
        return features, features.fit_transform(rows[columns])
    features = fit_features(encoder, rows, fit_mask, sets)
    crossed = _cross_fitted_parts(features, rows, fit_mask, sets)
    if not _at_once(encoder, rows):
        encode = _blocks_of(features, rows, crossed, fit_mask)
        table = SlicedTable.of(encode, len(rows))
        return features, table.held() if in_memory else table
    encoded = transformed(features, rows)
    for name, codes in crossed.items():
        encoded[fit_mask, features.output_indices_[name]] = codes
    return features, encoded


def _cross_fitted_parts(
    features: ColumnTransformer,
    rows: pd.DataFrame,
    fit_mask: np.ndarray,
    sets: TrainingSets,
) -> dict[str, np.ndarray]:
    """Part that uses the target → codes in the fit mask, learnt on unrelated rows."""
    learnt = [
        part
        for part in features.transformers_
        if part[0] == STACKED or _is_target_codes(part[1])
    ]
    if not learnt:
        return {}
    fitted_on, y, weights = _of_mask(rows, fit_mask, sets)
    parts = encoders.dealt_parts(fitted_on, sets)
    crossed = dict[str, np.ndarray]()
    for name, part, columns in learnt:
        if name == STACKED:
            # Under a split by time, neighbours are related as well: no tree leaves all
            # of them out.
            by_time = sets.split.by == "time"
            clusters = None if by_time else encoders.clusters_of(fitted_on, sets)
            crossed[name] = cross_fitted_layer(
                part, fitted_on[columns], y, parts, weights, clusters
            )
        else:
            crossed[name] = encoders.cross_fitted(
                part, fitted_on[columns], y, parts, weights
            )
    return crossed


def _is_target_codes(part: Any) -> bool:
    return isinstance(part, FrozenEstimator) and isinstance(part[-1], TargetEncoder)


def transformed(fitted: ColumnTransformer, rows: pd.DataFrame) -> Any:
    """Encode rows: like `transform`, but frozen parts encode each text once."""
    parts = encoders.parts_of(fitted)
    frozen = all(isinstance(part, FrozenEstimator) for _, part, _ in parts)
    if fitted.sparse_output_ or not frozen:
        return fitted.transform(rows)
    return _blocks_of(fitted, rows)(slice(None))


def _at_once(encoder: Features, rows: pd.DataFrame) -> bool:
    """Whether rows are few, or the encoder is never sliced."""
    return encoder in ("onehot", NGRAMS, STACKED, COLUMNS) or len(rows) <= HELD_ROWS


def _blocks_of(
    fitted: ColumnTransformer,
    rows: pd.DataFrame,
    crossed: Mapping[str, np.ndarray] = MappingProxyType({}),
    fit_mask: np.ndarray | None = None,
) -> Callable[[Any], np.ndarray]:
    """Return what encodes the rows at some positions; rows of the fit mask get the
    `crossed` codes.
    """
    parts = encoders.parts_of(fitted)
    features = with_only(rows, list(fitted.feature_names_in_))
    # Part of distinct texts → the code of each row, and the numbers of each code.
    by_text = dict[str, tuple[np.ndarray, np.ndarray]]()
    for name, part, column in parts:
        if isinstance(column, str) and isinstance(part, FrozenEstimator):
            codes, numbers = encoders.of_distinct_texts(part, rows[column])
            if name in crossed:
                numbers, codes = numbers[codes], np.arange(len(rows), dtype=np.int32)
                numbers[fit_mask] = crossed[name]
            by_text[name] = codes, numbers

    def encode(positions: Any) -> np.ndarray:
        read = features.iloc[positions]
        if not by_text:
            return np.asarray(fitted.transform(read))
        blocks = []
        for name, part, columns in parts:
            if name in by_text:
                codes, numbers = by_text[name]
                blocks.append(numbers[codes[positions]])
            else:
                blocks.append(part.transform(read[columns]))
        return np.hstack(blocks)

    return encode


def _frozen(part: Any, rows: pd.DataFrame, names: Any) -> FrozenEstimator:
    """A part fitted on these rows. Encoders of categories need only the order of
    frequencies: they are fitted on a few rows, in which the rarest texts occur once,
    the next rarest twice, and so on. scikit-learn counts them one by one, in Python.
    """
    if isinstance(part, FrozenEstimator):
        return part
    if isinstance(part[-1], FunctionTransformer):
        # It learns nothing: what replaces a missing number is already set.
        return FrozenEstimator(clone(part).fit(rows[:1][names]))
    read = rows[names]
    if isinstance(names, str):
        counts = encoders.texts_of(read).value_counts(dropna=False, sort=False)
        _, ranks = np.unique(counts.to_numpy(), return_inverse=True)
        if (ranks + 1).sum() < len(rows):
            read = counts.index.repeat(ranks + 1).to_series()
    return FrozenEstimator(clone(part).fit(read))


def _of_mask(
    rows: pd.DataFrame, fit_mask: np.ndarray, sets: TrainingSets
) -> tuple[pd.DataFrame, np.ndarray, Weights]:
    """The rows of the fit mask, their encoded targets, and how much each counts."""
    rows = some_rows(rows, np.flatnonzero(fit_mask))
    y = encode_target(rows[sets.target], sets.classes)
    return rows, y, sets.weights_of(rows)
