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
made of its n-grams.
onehot: numbers get the median, an indicator of what was missing or infinite, and unit
variance; a category is a column, missing is one more, an unseen one counts as an
infrequent one.
ngrams: as onehot, but sparse, and a text column with more than FEW_TEXTS values becomes
a column for each hash of its words, pairs of words and letters.
stacked: as ordinal, with the predictions of two forests and of a linear model
(`stacking.py`).
columns: numbers keep nan, texts are objects, missing as nan; `frame_step` makes a
DataFrame of them.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from sklearn import impute
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from experiment_pipeline.spec import Features
from experiment_pipeline.spec.algorithms import (
    COLUMNS,
    LETTER_HASHES,
    NGRAMS,
    NUMBERS_OF_TEXTS,
    PARTS,
    STACKED,
    WORD_HASHES,
)
from experiment_pipeline.stages.search.training_sets import (
    TrainingSets,
    columns_of_many_texts,
    distinct_texts,
    letters_of,
    texts_of,
)
from experiment_pipeline.statistics.interval import Weights, weighted, weighted_mean
from experiment_pipeline.statistics.threads import one_thread
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
# Words and pairs of words, and three letters within words. Letters of two to four, or
# twice the hashes, took twice the time and were no better on three of five tables (up
# to .5 % on the others). No language's stop words; a single character may be a word.
NGRAMS_OF: tuple[dict[str, Any], ...] = (
    {"ngram_range": (1, 2), "n_features": WORD_HASHES, "token_pattern": r"\w+"},
    {"ngram_range": (3, 3), "n_features": LETTER_HASHES, "analyzer": "char_wb"},
)
FEWEST_HASHES = 2**8
# So many distinct texts are enough to learn which n-grams matter.
MOST_TEXTS = 20_000

MEANS = "means"  # names parts with mean targets beside those with letters

# Name, transformer, column or columns: as of a ColumnTransformer.
Part = tuple[str, Any, Any]


def column_kinds(
    table: pd.DataFrame, features: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return which features are numbers or booleans, and which are texts."""
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
    if encoder == COLUMNS:
        return _as_they_are(numbers, texts)
    is_onehot = encoder in ("onehot", NGRAMS)
    sparse = is_onehot and _is_sparse(encoder, table, numbers, texts)
    of_words = _read_as_words(encoder, table, texts)
    parts = list[Part]()
    if numbers:
        steps = _scaled_steps() if is_onehot else _number_steps(table, numbers)
        parts.append(("numbers", make_pipeline(*steps), numbers))
    in_words = {name: make_pipeline(*_ngram_steps(table[name])) for name in of_words}
    learnt = {**in_words, **many}
    # A column that is named alone arrives as a Series, which pandas can read as text.
    for number, name in enumerate(texts):
        part = learnt[name] if name in learnt else text_pipeline(encoder, sparse=sparse)
        parts.append((f"text_{number}", part, name))
    return ColumnTransformer(
        [*parts, *further],
        sparse_threshold=1.0 if sparse else 0.0,
        transformer_weights=_by_length(table, texts, of_words) or None,
    )


def _read_as_words(
    encoder: Features, table: pd.DataFrame, texts: Sequence[str]
) -> list[str]:
    """Return the text columns of which n-grams are counted."""
    if encoder != NGRAMS:
        return []
    return columns_of_many_texts(distinct_texts(table, texts))


def _as_they_are(numbers: list[str], texts: list[str]) -> ColumnTransformer:
    within_floats = _float_steps(nan=np.nan, posinf=np.inf, neginf=-np.inf)
    as_texts = function_step(pd.DataFrame, dtype="str")
    parts = [
        ("numbers", make_pipeline(*within_floats), numbers),
        ("texts", make_pipeline(as_texts), texts),
    ]
    return ColumnTransformer([part for part in parts if part[-1]], sparse_threshold=0.0)


def frame_step(encoder: Features, fitted: ColumnTransformer, encoded: Any) -> Any:
    """Return the fitted step that makes a DataFrame, with the names and types of its
    columns, of rows encoded by `columns`; None: another encoder.
    """
    if encoder != COLUMNS:
        return None
    parts = list[Part]()
    for part_name, _, names in parts_of(fitted):
        dtype = "float64" if part_name == "numbers" else "object"
        frame = FunctionTransformer(
            pd.DataFrame, kw_args={"dtype": dtype, "columns": list(names)}
        )
        parts.append((part_name, frame, fitted.output_indices_[part_name]))
    step = ColumnTransformer(parts, verbose_feature_names_out=False)
    return step.set_output(transform="pandas").fit(encoded[:1])


def _by_length(
    table: pd.DataFrame, texts: Sequence[str], of_words: Sequence[str]
) -> dict[str, float]:
    """Return part → its weight, of the columns that are read as words.

    TF-IDF has the length 1: without a weight, each n-gram of a short text would count
    more than one of a long text (of tweets .79 instead of .81 were right).
    """
    letters = {name: letters_of(table[name]) for name in of_words}
    longest = max(letters.values(), default=1.0)
    return {
        f"text_{texts.index(name)}": (mean / longest) ** 0.5
        for name, mean in letters.items()
    }


def _is_sparse(
    encoder: Features, table: pd.DataFrame, numbers: Sequence[str], texts: Sequence[str]
) -> bool:
    """Whether one-hot columns are sparse: those of n-grams, and where a dense table
    would be too large.
    """
    if encoder == NGRAMS:
        return True
    # Each number may get an indicator, each text a column for missing.
    columns = 2 * len(numbers)
    for name in texts:
        columns += min(table[name].nunique() + 1, MAX_ONEHOT_CATEGORIES)
    return len(table) * columns * 8 > MAX_DENSE_BYTES


def _number_steps(
    table: pd.DataFrame, names: Sequence[str]
) -> list[FunctionTransformer]:
    # What replaces nan in each column: its median; nan itself where these rows have
    # some already.
    medians = [
        np.nan if table[name].hasnans else float(table[name].median()) for name in names
    ]
    return _float_steps(nan=np.array(medians), posinf=np.inf, neginf=-np.inf)


def _scaled_steps() -> list[Any]:
    """Scale numbers; one infinite cell would flatten its whole column."""
    return [
        *_float_steps(nan=np.nan, posinf=np.nan, neginf=np.nan),
        impute.SimpleImputer(
            strategy="median", add_indicator=True, keep_empty_features=True
        ),
        StandardScaler(),
    ]


def _float_steps(**stand_ins: Any) -> list[FunctionTransformer]:
    as_floats = function_step(pd.DataFrame, dtype="float64")
    within_floats = function_step(np.clip, a_min=-_LARGEST, a_max=_LARGEST)
    return [as_floats, function_step(np.nan_to_num, **stand_ins), within_floats]


def text_pipeline(encoder: Features, *, sparse: bool = False) -> Any:
    """Return the unfitted encoder of one column of few distinct texts."""
    if encoder in ("onehot", NGRAMS):
        codes = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MAX_ONEHOT_CATEGORIES,
            sparse_output=sparse,
        )
    else:
        codes = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=-1,
            max_categories=MAX_ORDINAL_CATEGORIES,
        )
    return make_pipeline(*as_texts(), codes)


def parts_of(fitted: ColumnTransformer) -> list[Part]:
    """Return the parts of fitted features."""
    return [part for part in fitted.transformers_ if part[0] != "remainder"]


def seen_categories(fitted: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return column → the texts known to its codes; of letters none is unknown."""
    categories = dict[str, np.ndarray]()
    for part_name, part, name in parts_of(fitted):
        if part_name.startswith(MEANS):
            continue
        for step in list(part.named_steps.values()):
            if isinstance(step, OrdinalEncoder | OneHotEncoder):
                categories[name] = step.categories_[0]
    return categories


def categorical_positions(fitted: ColumnTransformer) -> list[int]:
    """Return which columns of the encoded table are codes of categories."""
    return [
        fitted.output_indices_[name].start
        for name, part, _ in parts_of(fitted)
        if isinstance(part[-1], OrdinalEncoder)
    ]


def encoded_columns(features: ColumnTransformer) -> dict[str, np.ndarray]:
    """Return feature, or column of the first layer → its encoded columns."""
    columns = dict[str, np.ndarray]()
    for part_name, part, names in parts_of(features):
        place = features.output_indices_[part_name]
        positions = np.arange(place.start, place.stop)
        if isinstance(names, str):
            before = columns.get(names, positions[:0])
            columns[names] = np.append(before, positions)
        elif part_name == STACKED:
            labels = getattr(part[1], "classes_", [])
            ends = [f": {label}" for label in labels] if len(labels) > 2 else [""]
            layer = [model + end for model, _ in part[1].estimators for end in ends]
            columns |= zip(layer, positions[:, None], strict=True)
        else:
            imputer = part.named_steps.get("simpleimputer")
            # Indicators of what was missing follow the numbers.
            indicated = imputer.indicator_.features_ if imputer else ()
            sources = [*range(len(names)), *indicated]
            for number, name in enumerate(names):
                columns[name] = positions[np.equal(sources, number)]
    return columns


def directions(
    features: ColumnTransformer, declared: Mapping[str, int]
) -> list[int] | None:
    """Return for each encoded column whether predictions may only rise (1) or fall (-1)
    with it, else 0.

    `declared`: feature → 1 or -1. None where no feature has a direction.
    """
    if not declared:
        return None
    columns = encoded_columns(features)
    of_columns = [0] * sum(map(len, columns.values()))
    for name, direction in declared.items():
        of_columns[columns[name][0]] = direction
    return of_columns


def function_step(function: Any, **arguments: Any) -> FunctionTransformer:
    """Return a transformer that applies a function and keeps the column names."""
    return FunctionTransformer(
        function, kw_args=arguments, feature_names_out="one-to-one"
    )


def as_texts() -> list[FunctionTransformer]:
    """Return the steps that make one column a table of texts."""
    return [
        function_step(pd.Series, dtype="str"),
        function_step(np.expand_dims, axis=1),
    ]


def clusters_of(rows: pd.DataFrame, sets: TrainingSets) -> np.ndarray:
    """Return the hash of each row's cluster, uint64 (n,); no part splits a cluster."""
    return cluster_hashes(rows, sets.split, sets.target, sets.features, _SALT)


def dealt_parts(rows: pd.DataFrame, sets: TrainingSets) -> np.ndarray:
    """Deal rows into PARTS parts, as independent as the sets are: int64 (n,)."""
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
        categories = fitted[:-1].transform(column)[:, 0]
        _, places = np.unique(categories, return_inverse=True)
        labels, count = _labels(codes, y), int(places.max()) + 1
        codes.encodings_ = [_means(places, label, weights, count) for label in labels.T]
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
    crossed = np.empty(labels.shape)
    for part in np.unique(parts):
        coded, fitted_on = parts == part, parts != part
        part_weights = None if weights is None else weights[fitted_on]
        for place, label in enumerate(labels.T):
            means = _means(codes[fitted_on], label[fitted_on], part_weights, count)
            crossed[coded, place] = means[codes[coded]]
    return crossed


def _labels(encoder: TargetEncoder, y: np.ndarray) -> np.ndarray:
    """What means are taken of: the target, or an indicator of each class."""
    classes = encoder.classes_
    labels = y[:, None] if classes is None else y[:, None] == classes
    return np.asarray(labels, dtype=np.float64)


def _means(
    codes: np.ndarray, y: np.ndarray, weights: Weights, count: int
) -> np.ndarray:
    """The mean target of each code, (count,), and of SMOOTHING rows of the mean."""
    any_counts = len(y) > 0 and (weights is None or weights.any())
    mean = weighted_mean(y, weights) if any_counts else 0.0
    sums = np.bincount(codes, weights=weighted(y, weights), minlength=count)
    counts = np.bincount(codes, weights=weights, minlength=count)
    return np.asarray((sums + SMOOTHING * mean) / (counts + SMOOTHING))


def _ngram_steps(column: pd.Series) -> list[Any]:
    """Return the unfitted steps that make a column of texts the TF-IDF of its n-grams.

    Hashes instead of a vocabulary bound the size of what is exported; there are no more
    of them than letters. A missing text is the word "nan".
    """
    letters = int(texts_of(column).drop_duplicates().str.len().sum())
    hashes = 2 ** max(letters, FEWEST_HASHES).bit_length()
    tfidf = [
        make_pipeline(
            HashingVectorizer(
                **{**settings, "n_features": min(settings["n_features"], hashes)},
                alternate_sign=False,
                norm=None,
                dtype=np.float32,
            ),
            TfidfTransformer(sublinear_tf=True),
        )
        for settings in NGRAMS_OF
    ]
    return [
        *as_texts(),
        impute.SimpleImputer(strategy="constant", fill_value="nan"),
        function_step(np.take, indices=0, axis=1),
        make_union(*tfidf),
    ]


def ngrams_in_short(column: pd.Series) -> FrozenEstimator:
    """Fit an embedding that is similar for texts of similar n-grams: a column → (n, at
    most NUMBERS_OF_TEXTS).

    skrub's StringEncoder on hashes.
    """
    texts = np.sort(texts_of(column).dropna().unique().astype(object))
    spread = np.linspace(0, len(texts) - 1, min(len(texts), MOST_TEXTS))
    texts_read = pd.Series(texts[spread.astype(np.int64)], dtype="str")
    hashed = make_pipeline(
        *_ngram_steps(texts_read),
        TruncatedSVD(min(NUMBERS_OF_TEXTS, len(texts)), random_state=0),
    )
    # The bits of a projection depend on the threads that share it.
    with one_thread():
        return FrozenEstimator(hashed.fit(texts_read))


def of_distinct_texts(
    fitted: Pipeline | FrozenEstimator, column: pd.Series
) -> tuple[np.ndarray, np.ndarray]:
    """Return the code of each row's text, int32 (n,), and their encoding (texts, k)."""
    codes, distinct = pd.factorize(texts_of(column), use_na_sentinel=False)
    encoded: Any = fitted.transform(pd.Series(distinct, dtype="str"))
    return codes.astype(np.int32), np.asarray(encoded, dtype=np.float64)
