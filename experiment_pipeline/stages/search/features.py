"""Features: how the columns of a prepared table become the numbers a model reads.

scikit-learn transformers and functions of numpy and pandas only: the exported pipeline,
which holds them, loads without this package. They find columns by name. `encoding.py`
fits them and encodes rows.

Numbers and booleans become float64, clipped to what a forest's float32 can hold. Every
other column is read as text; None, nan and NA are missing.

ordinal: numbers keep nan where the fitted rows have some; otherwise the median replaces
nan in later rows. A category becomes its code; missing and unseen ones become -1, which
LightGBM takes for missing.
target, text: as ordinal, but a text column with more than FEW_TEXTS values becomes the
mean target of each text (cross-fitted for the rows of the fit); `text` adds numbers
made of its letters.
onehot: numbers get the median, an indicator of what was missing or infinite, and unit
variance; a category is a column, missing is one more, an unseen one counts as an
infrequent one.
stacked: as ordinal, with the predictions of two forests and of a linear model (out of
bag, or cross-fitted, for the rows that these are fitted on).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from sklearn import dummy, ensemble, impute, linear_model
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
    TargetEncoder,
)
from threadpoolctl import threadpool_limits

from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import PARTS, STACKED, TREES
from experiment_pipeline.stages.search.averaging import averaged
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.statistics.interval import Weights, weighted, weighted_mean
from experiment_pipeline.table.clusters import cluster_hashes, numbered, times_of
from experiment_pipeline.table.digests import salt_number
from experiment_pipeline.table.kinds import NUMERIC, kind_of

# LightGBM's default number of bins: more codes would share bins anyway.
MAX_ORDINAL_CATEGORIES = 255
MAX_ONEHOT_CATEGORIES = 50
# Above this a one-hot matrix is sparse, which some estimators refuse; below, dense.
MAX_DENSE_BYTES = 2**30
_LARGEST = float(np.finfo(np.float32).max)
# The mean of all counts like one more row of a category. scikit-learn's own choice, by
# variance, fully trusts a category of two equal labels.
SMOOTHING = 1.0
_SALT = "parts/target codes"
# Letters: n-grams of three within words. Adding n-grams of four, or twice the hashes,
# took twice the time and was no better (eight tables).
RUNS = (3, 3)
HASHES = 4096
MOST_LETTERS = 256
NUMBERS = 30
# So many distinct texts are enough to learn which n-grams matter.
MOST_TEXTS = 20_000

# Base models: quick ones that err differently (extremely random trees: Geurts et al.
# 2006). With the linear model beside the forests, boosting was better on 15 of 18
# splits of five tables, by .2 to 1 % on average.
FORESTS = ("prediction of random forest", "prediction of extra trees")
LAYER = (*FORESTS, "prediction of linear model")
_QUANTILES = 100  # of a number, for the linear model
# Out of bag: a row needs so many trees that have seen no row of its cluster; so large a
# share of rows has them.
FEWEST_TREES, KNOWN = 3, 0.99

MEANS = "means"  # names parts with mean targets beside those with letters

# Name, transformer, column or columns: as of a ColumnTransformer.
Part = tuple[str, Any, Any]


def column_kinds(
    table: pd.DataFrame, features: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the features that are numbers or booleans, and those that are texts, in
    the order of encoding.
    """
    numbers = [name for name in features if kind_of(table[name]) in NUMERIC]
    return numbers, [name for name in features if name not in numbers]


def build_features(
    encoder: Features,
    table: pd.DataFrame,
    features: Sequence[str],
    many: Mapping[str, FrozenEstimator] = MappingProxyType({}),
    further: Sequence[Part] = (),
) -> ColumnTransformer:
    """Return the unfitted features of an encoder for the rows that they will be fitted
    on.

    `many`: column of many distinct texts → its fitted encoder. `further` parts come
    last.
    """
    numbers, texts = column_kinds(table, features)
    sparse = False
    if encoder == "onehot":
        # Each number may get an indicator, each text a column for missing.
        categories = sum(
            min(table[name].nunique() + 1, MAX_ONEHOT_CATEGORIES) for name in texts
        )
        sparse = len(table) * (2 * len(numbers) + categories) * 8 > MAX_DENSE_BYTES
        # Scaling by one infinite cell would flatten its whole column.
        of_numbers = make_pipeline(
            *_float_steps(nan=np.nan, posinf=np.nan, neginf=np.nan),
            impute.SimpleImputer(
                strategy="median", add_indicator=True, keep_empty_features=True
            ),
            StandardScaler(),
        )
    else:
        of_numbers = make_pipeline(*_number_steps(table, numbers))
    parts: list[Part] = [("numbers", of_numbers, numbers)] if numbers else []
    for number, name in enumerate(texts):
        # A column that is named alone arrives as a Series, which pandas can read as
        # text.
        part = many[name] if name in many else text_pipeline(encoder, sparse=sparse)
        parts.append((f"text_{number}", part, name))
    return ColumnTransformer(
        [*parts, *further], sparse_threshold=1.0 if sparse else 0.0
    )


def _number_steps(
    table: pd.DataFrame, names: Sequence[str]
) -> list[FunctionTransformer]:
    # What replaces nan in each column: its median; nan itself where these rows have
    # some already.
    medians = [
        np.nan if table[name].hasnans else float(table[name].median()) for name in names
    ]
    return _float_steps(nan=np.array(medians), posinf=np.inf, neginf=-np.inf)


def _float_steps(**stand_ins: Any) -> list[FunctionTransformer]:
    as_floats = function_step(pd.DataFrame, dtype="float64")
    within_floats = function_step(np.clip, a_min=-_LARGEST, a_max=_LARGEST)
    return [as_floats, function_step(np.nan_to_num, **stand_ins), within_floats]


def text_pipeline(encoder: Features, *, sparse: bool = False) -> Any:
    """Return the unfitted encoder of one column of few distinct texts."""
    if encoder == "onehot":
        step = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MAX_ONEHOT_CATEGORIES,
            sparse_output=sparse,
        )
    else:
        step = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=-1,
            max_categories=MAX_ORDINAL_CATEGORIES,
        )
    return make_pipeline(*as_texts(), step)


def stacked_part(
    rows: pd.DataFrame,
    seen: pd.DataFrame,
    y: np.ndarray,
    weights: Weights,
    sets: TrainingSets,
) -> Part:
    """Return a random forest, extremely random trees and a linear model as a part
    (stacking: Wolpert 1992).

    They are fitted on the rows `seen`, with encoded targets (n,), and make a column
    each, for several classes one per class. A feature with a direction is not read:
    predictions could break it.
    """
    names = [name for name in sets.features if name not in sets.directions]
    ordinal = build_features("ordinal", rows, names).fit(rows[names])
    is_regression = sets.task == "regression"
    encoded = ordinal.transform(seen[names])
    models = _layer(ordinal, encoded, y, weights, is_regression=is_regression)
    labels = (
        None if is_regression else [(sets.classes or ())[k] for k in models[0].classes_]
    )
    k = len(labels or [0])
    # For two classes, the second probability is enough.
    kept = [
        model * k + column for model in range(len(LAYER)) for column in range(k == 2, k)
    ]
    take = function_step(np.take, indices=kept, axis=1)
    steps = (ordinal, averaged(models, labels, names=LAYER), take)
    return STACKED, FrozenEstimator(make_pipeline(*steps)), names


def cross_fitted_layer(
    fitted: FrozenEstimator,
    rows: pd.DataFrame,
    y: np.ndarray,
    parts: np.ndarray,
    weights: Weights = None,
    clusters: np.ndarray | None = None,
) -> np.ndarray:
    """Return the columns (n, k) of rows that a layer was fitted on, predicted without
    these and related rows.

    Forests predict out of bag (Breiman 1996), by trees that have drawn no row of the
    row's cluster; without `clusters` (n,) or enough such trees, and for the linear
    model, models of the other `parts` (n,) predict.
    """
    encoded, are_classes = fitted[0].transform(rows), hasattr(fitted[1], "classes_")
    made = list[np.ndarray]()
    if clusters is not None:
        forests = fitted[1].estimators_[: len(FORESTS)]
        found = (_out_of_bag(forest, encoded, clusters) for forest in forests)
        made = [one for one in found if one is not None]
        made = made if len(made) == len(FORESTS) else []
    known = len(made)
    classes = fitted[1].estimators_[0].classes_ if are_classes else np.zeros(1)
    made += [np.zeros((len(rows), len(classes))) for _ in LAYER[known:]]
    for part in np.unique(parts):
        own = parts == part
        given = encoded[~own], y[~own], None if weights is None else weights[~own]
        others = _layer(fitted[0], *given, is_regression=not are_classes, first=known)
        for columns, other in zip(made[known:], others, strict=True):
            # A class may be in one part alone.
            at = np.searchsorted(classes, other.classes_) if are_classes else [0]
            predict = other.predict_proba if are_classes else other.predict
            columns[np.ix_(own, at)] = predict(encoded[own]).reshape(-1, len(at))
    return np.asarray(fitted[2].transform(np.hstack(made)))


def _out_of_bag(
    forest: Any, encoded: np.ndarray, clusters: np.ndarray
) -> np.ndarray | None:
    """Out-of-bag predictions (n, k); their mean for rows that too few trees left out;
    None: too many are.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    n, k = len(encoded), len(getattr(forest, "classes_", [0]))
    sums, counts = np.zeros((n, k)), np.zeros((n, 1))
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        left_out = np.bincount(codes[drawn], minlength=len(codes))[codes] == 0
        predict = getattr(tree, "predict_proba", tree.predict)
        if left_out.any():
            sums[left_out] += predict(encoded[left_out]).reshape(-1, k)
            counts[left_out] += 1
    known, made = counts[:, 0] >= FEWEST_TREES, sums / np.maximum(counts, 1)
    made[~known] = made[known].mean(axis=0) if known.any() else 0
    return made if known.mean() >= KNOWN else None


def _layer(
    ordinal: ColumnTransformer,
    encoded: np.ndarray,
    y: np.ndarray,
    weights: Weights,
    *,
    is_regression: bool,
    first: int = 0,
) -> list[Any]:
    """Fit the models of the layer, from the `first` on, on rows as fitted `ordinal`
    features encode them.
    """
    given: dict[str, Any] = {
        "n_estimators": TREES,
        "min_samples_leaf": 2,
        "random_state": 0,
    }
    given["bootstrap"] = True  # each tree leaves rows out
    forests: list[Any] = [
        ensemble.RandomForestClassifier,
        ensemble.ExtraTreesClassifier,
    ]
    linear: Any = linear_model.LogisticRegression(C=0.3, max_iter=1_000)
    if is_regression:
        given["max_features"] = 1 / 3
        forests = [ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor]
        linear = linear_model.RidgeCV(np.logspace(-1, 3, 9))
    elif y.min() == y.max():  # a part may hold a single class
        linear = dummy.DummyClassifier()
    hot = {"sparse_output": False, "handle_unknown": "infrequent_if_exist"}
    codes = OneHotEncoder(min_frequency=5, max_categories=MAX_ONEHOT_CATEGORIES, **hot)
    quantiles = min(_QUANTILES, len(encoded))
    numbers = make_pipeline(
        impute.SimpleImputer(strategy="median", keep_empty_features=True),
        QuantileTransformer(
            n_quantiles=quantiles, output_distribution="normal", random_state=0
        ),
    )
    parts = [("codes", codes, categorical_positions(ordinal))]
    columns = ColumnTransformer(parts, remainder=numbers)
    whole = Pipeline([("columns", columns), ("model", linear)])
    made = [*(one(**given) for one in forests), whole][first:]
    # The last bits of a linear model may depend on the number of threads.
    with threadpool_limits(limits=1):
        for model in made:
            counted = (
                "model__sample_weight"
                if isinstance(model, Pipeline)
                else "sample_weight"
            )
            model.fit(encoded, y, **({} if weights is None else {counted: weights}))
    return made


def parts_of(fitted: ColumnTransformer) -> list[Part]:
    """Return the parts of fitted features."""
    return [one for one in fitted.transformers_ if one[0] != "remainder"]


def seen_categories(fitted: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return column → the texts that fitted features know; columns read by their
    letters have none.
    """
    return {
        name: encoder.categories_[0]
        for part_name, part, name in parts_of(fitted)
        for encoder in list(part.named_steps.values())
        if isinstance(encoder, OrdinalEncoder | OneHotEncoder)
        and not part_name.startswith(MEANS)
    }


def categorical_positions(fitted: ColumnTransformer) -> list[int]:
    """Return which columns of the encoded table are codes of categories, of fitted
    features.
    """
    return [
        fitted.output_indices_[name].start
        for name, part, _ in parts_of(fitted)
        if isinstance(part[-1], OrdinalEncoder)
    ]


def encoded_columns(features: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return feature, or column of the layer → positions of what encodes it, of fitted
    features.
    """
    found = dict[str, np.ndarray]()
    for part_name, part, of in parts_of(features):
        place = features.output_indices_[part_name]
        positions = np.arange(place.start, place.stop)
        if isinstance(of, str):
            found[of] = np.append(found[of], positions) if of in found else positions
            continue
        if part_name == STACKED:
            labels = getattr(part[1], "classes_", [])
            ends = [f": {label}" for label in labels] if len(labels) > 2 else [""]
            each = (model + end for model in LAYER for end in ends)
            found |= {name: positions[[at]] for at, name in enumerate(each)}
            continue
        imputer = part.named_steps.get("simpleimputer")
        # Indicators of what was missing follow the numbers.
        sources = [*range(len(of)), *(imputer.indicator_.features_ if imputer else ())]
        found |= {name: positions[np.equal(sources, k)] for k, name in enumerate(of)}
    return found


def directions(
    features: ColumnTransformer, wanted: Mapping[str, int]
) -> list[int] | None:
    """Return for each encoded column whether predictions may only rise (1) or fall (-1)
    with it, else 0.

    `wanted`: feature → 1 or -1. None where no feature has a direction.
    """
    if not wanted:
        return None
    columns = encoded_columns(features)
    found = [0] * sum(map(len, columns.values()))
    for name, direction in wanted.items():
        found[columns[name][0]] = direction
    return found


def texts_of(column: pd.Series) -> pd.Series:
    """Read a column of any type as texts, missing as nan: the first step of each text
    pipeline.
    """
    return pd.Series(column, dtype="str")


def function_step(function: Any, **arguments: Any) -> FunctionTransformer:
    """Return a transformer that applies a function of numpy or pandas and keeps the
    column names.
    """
    return FunctionTransformer(
        function, kw_args=arguments, feature_names_out="one-to-one"
    )


def as_texts() -> list[FunctionTransformer]:
    """Return the first steps for a column that is named alone: texts, as a table of one
    column.
    """
    return [
        function_step(pd.Series, dtype="str"),
        function_step(np.expand_dims, axis=1),
    ]


def clusters_of(rows: pd.DataFrame, sets: TrainingSets) -> np.ndarray:
    """Return the hash of each row's cluster, uint64 (n,); no part splits a cluster."""
    return cluster_hashes(rows, sets.split, sets.target, sets.features, _SALT)


def dealt_parts(rows: pd.DataFrame, sets: TrainingSets) -> np.ndarray:
    """Deal rows into parts that are as independent of each other as the sets: int64
    (n,), 0 to PARTS - 1.
    """
    if sets.split.by == "time":
        times, _ = times_of(rows, sets.split.column, pd.Timedelta(0))
        earlier = pd.Series(times).rank(method="min").to_numpy() - 1
        parts = earlier * PARTS // max(len(rows), 1)
    else:
        parts = clusters_of(rows, sets) % np.uint64(PARTS)
    if len(np.unique(parts)) < 2:
        # All rows are of one group or one time: deal single rows.
        parts = numbered(rows, np.full(len(rows), salt_number(_SALT))) % np.uint64(
            PARTS
        )
    return np.asarray(parts, dtype=np.int64)


def target_codes(
    column: pd.Series, y: np.ndarray, task: str, weights: Weights = None
) -> FrozenEstimator:
    """Fit the mean target of each text; for several classes the share of each, for two
    that of the second.

    It makes (n, 1 or classes) float64 of a column; a text never seen gets the mean of
    all.
    """
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    # Two classes count as the numbers 0 and 1: the same means, also where one class is
    # absent.
    kind = "multiclass" if task == "multiclass" else "continuous"
    codes = TargetEncoder(target_type=kind, smooth=SMOOTHING)
    y = y if task == "multiclass" else y.astype(np.float64)
    fitted = make_pipeline(*as_texts(), encoder, codes).fit(column, y)
    if weights is not None:
        # scikit-learn's encoder takes no weights: weighted means replace what it has
        # learnt. The encoder's own categories are the codes that there are, in their
        # order.
        _, found = np.unique(fitted[:-1].transform(column)[:, 0], return_inverse=True)
        labels, count = _labels(codes, y), int(found.max()) + 1
        codes.encodings_ = [_means(found, label, weights, count) for label in labels.T]
        means = np.average(labels, axis=0, weights=weights)
        codes.target_mean_ = means[0] if codes.classes_ is None else means
    return FrozenEstimator(fitted)


def cross_fitted(
    fitted: FrozenEstimator,
    column: pd.Series,
    y: np.ndarray,
    parts: np.ndarray,
    weights: Weights = None,
) -> np.ndarray:
    """Return cross-fitted target codes, (n, 1 or classes): rows of a part are coded by
    the other parts.

    A code is the mean target of the text's rows and of SMOOTHING rows with the mean of
    all (Micci-Barreca 2001). `parts` (n,) are those of `dealt_parts`.
    """
    encoder = fitted[-1]
    codes = fitted[:-1].transform(column)[:, 0].astype(np.int64)
    # The code of a missing text is negative.
    codes = codes - codes.min(initial=0)
    labels, count = _labels(encoder, y), int(codes.max(initial=0)) + 1
    out = np.empty(labels.shape)
    for part in np.unique(parts):
        own = parts == part
        counted = None if weights is None else weights[~own]
        for place, label in enumerate(labels.T):
            out[own, place] = _means(codes[~own], label[~own], counted, count)[
                codes[own]
            ]
    return out


def _labels(encoder: TargetEncoder, y: np.ndarray) -> np.ndarray:
    """What means are taken of: the target, or an indicator of each of several
    classes.
    """
    classes = encoder.classes_
    labels = y[:, None] if classes is None else y[:, None] == classes
    return np.asarray(labels, dtype=np.float64)


def _means(
    codes: np.ndarray, y: np.ndarray, weights: Weights, count: int
) -> np.ndarray:
    """The mean target of each code's rows and of SMOOTHING rows with the mean of all,
    (count,).
    """
    any_counts = len(y) > 0 and (weights is None or weights.any())
    mean = weighted_mean(y, weights) if any_counts else 0.0
    sums = np.bincount(codes, weights=weighted(y, weights), minlength=count)
    counts = np.bincount(codes, weights=weights, minlength=count)
    return np.asarray((sums + SMOOTHING * mean) / (counts + SMOOTHING))


def letters(column: pd.Series) -> FrozenEstimator:
    """Fit an embedding that is similar for texts of similar spelling: a column → (n, at
    most NUMBERS).

    skrub's StringEncoder with hashes instead of a vocabulary, which bounds the size of
    what is exported.
    """
    texts = np.sort(texts_of(column).dropna().unique().astype(object))
    chosen = np.linspace(0, len(texts) - 1, min(len(texts), MOST_TEXTS)).astype(
        np.int64
    )
    settings = {"analyzer": "char_wb", "ngram_range": RUNS, "n_features": HASHES}
    hashed = make_pipeline(
        as_texts()[0],
        # Truncates each text, and makes a missing one the text "nan".
        FunctionTransformer(np.asarray, kw_args={"dtype": f"U{MOST_LETTERS}"}),
        HashingVectorizer(
            **settings, alternate_sign=False, norm=None, dtype=np.float32
        ),
        TfidfTransformer(sublinear_tf=True),
        TruncatedSVD(min(NUMBERS, len(texts)), random_state=0),
    )
    # The bits of a projection depend on the threads that share it.
    with threadpool_limits(limits=1):
        return FrozenEstimator(hashed.fit(pd.Series(texts[chosen], dtype="str")))


def of_distinct_texts(
    fitted: Pipeline | FrozenEstimator, column: pd.Series
) -> tuple[np.ndarray, np.ndarray]:
    """Return the position of each row's text among the distinct ones, int32 (n,), and
    their encoding (texts, k).
    """
    codes, distinct = pd.factorize(texts_of(column), use_na_sentinel=False)
    encoded: Any = fitted.transform(pd.Series(distinct, dtype="str"))
    return codes.astype(np.int32), np.asarray(encoded, dtype=np.float64)
