"""Columns that are learnt: codes by the target and forests, which see no target they
must not, and n-grams.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import TargetEncoder

from experiment_pipeline.spec.table import GroupSplit, TimeSplit
from experiment_pipeline.stages.search import features as many_texts
from experiment_pipeline.stages.search import stacking
from experiment_pipeline.stages.search.encoding import (
    fit_features,
    fit_rows,
    transformed,
)
from experiment_pipeline.stages.search.fingerprints import encoder_fingerprint
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage import persistence
from experiment_pipeline_tests.stages.search.scenario import (
    CLASSES,
    ROWS,
    TRAIN_ROWS,
    assembled,
    experiment,
    one,
    predicted,
    table,
    train_one,
    training_sets,
)

ENCODERS = ["target", "text"]
TASKS = ["binary", "multiclass", "regression"]
TOWNS = 97


def with_texts(task: str = "binary") -> TrainingSets:
    """The small table with a town per row, some missing, and a text that is in one row
    only.
    """
    places = enumerate(np.random.default_rng(3).integers(0, TOWNS, ROWS).tolist())
    town, once = list[str | None](), list[str]()
    for row, place in places:
        town.append(f"town {place}" if row % 11 else None)
        once.append(f"{place * 7919 + row:05d} street")
    frame = table(CLASSES[task]).assign(
        town=pd.array(town, dtype="str"), once=pd.array(once, dtype="str")
    )
    return training_sets(task, frame=frame)


def relabelled(sets: TrainingSets, rows: np.ndarray) -> TrainingSets:
    """The sets with the other class in these train rows."""
    late = sets.train["late"]
    turned = late.map({"no": "yes", "yes": "no"})
    return replace(sets, train=sets.train.assign(late=late.mask(rows, turned)))


@pytest.fixture(autouse=True)
def few_trees(monkeypatch) -> None:
    monkeypatch.setattr(stacking, "TREES", 5)


def codes_of(sets: TrainingSets, encoder: str) -> np.ndarray:
    """The train rows' codes of town and text, or their predictions by the
    first layer.
    """
    features, train = fit_rows(encoder, sets.train, sets.fit_mask, sets)
    columns, learnt = many_texts.encoded_columns(features), ["town", "once"]
    learnt = [*stacking.LAYER] if encoder == "stacked" else learnt
    return np.asarray(train[:, np.concatenate([columns[name] for name in learnt])])


@pytest.mark.parametrize("encoder", [*ENCODERS, "stacked"])
def test_codes_see_no_target_of_rows_that_a_fit_stops_on(encoder: str):
    """Other labels in the early-stopping set and in the gap before it change no code of
    any train row.
    """
    sets = with_texts()
    gap = np.arange(TRAIN_ROWS) % 7 == 1
    sets = replace(sets, early_stopping_gap=gap)
    changed = relabelled(sets, sets.early_stopping | gap)
    assert np.array_equal(codes_of(sets, encoder), codes_of(changed, encoder))


@pytest.mark.parametrize("encoder", [*ENCODERS, "stacked"])
def test_the_code_of_a_row_does_not_know_its_own_target(encoder: str):
    """Another label changes codes of other rows, not that of the row itself."""
    sets = with_texts()
    before = codes_of(sets, encoder)
    row = np.flatnonzero(sets.fit_mask)[1]
    after = codes_of(relabelled(sets, np.arange(TRAIN_ROWS) == row), encoder)
    assert np.array_equal(after[row], before[row])
    assert not np.array_equal(after, before)


def random_texts(task: str) -> tuple[pd.Series, np.ndarray, np.ndarray, np.ndarray]:
    """Texts, a target, the part that each row is in, and whole weights."""
    random = np.random.default_rng(6)
    text = pd.Series(random.choice(["a", "b", "c", None], 300), dtype="str")
    y = random.normal(size=300) if task == "regression" else random.integers(0, 3, 300)
    y = y % 2 if task == "binary" else y
    return text, y, random.integers(0, 3, 300), random.integers(1, 4, 300)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_crossed_codes_are_those_of_an_encoder_of_the_other_rows(task: str):
    """Each part is coded as scikit-learn's TargetEncoder does that never saw it."""
    text, y, parts, _ = random_texts(task)
    crossed = many_texts.cross_fitted(
        many_texts.target_codes(text, y, task), text, y, parts
    )
    table = text.to_numpy(dtype=object)[:, None]
    for part in range(3):
        kind = "multiclass" if task == "multiclass" else "continuous"
        of_other_parts = TargetEncoder(target_type=kind, smooth=many_texts.SMOOTHING)
        of_other_parts.fit(table[parts != part], y[parts != part])
        assert np.allclose(
            crossed[parts == part], of_other_parts.transform(table[parts == part])
        )


def test_parts_keep_kin_together():
    """Whole groups; stretches of time; else equal rows; without a second group each
    row.
    """
    sets = with_texts()
    number = np.arange(TRAIN_ROWS)
    rows = sets.train.assign(day=number // 4, who=number % 50)
    by_group = replace(sets, split=GroupSplit(by="group", column="who"))
    by_time = replace(sets, split=TimeSplit(by="time", column="day"))
    in_groups, in_time = (
        pd.Series(many_texts.dealt_parts(rows, related), rows.index)
        for related in (by_group, by_time)
    )
    assert in_groups.groupby(rows["who"]).nunique().max() == 1
    assert in_time.groupby(rows["day"]).nunique().max() == 1
    assert in_time.is_monotonic_increasing
    for dealt in (in_groups, in_time, many_texts.dealt_parts(rows, sets)):
        assert set(dealt) == set(range(many_texts.PARTS))
    single = many_texts.dealt_parts(rows.assign(who="the only one"), by_group)
    assert len(set(single)) > 1


def test_the_order_of_rows_decides_nothing():
    """A shuffled table has the same parts, and the same n-grams to the bit."""
    sets = with_texts()
    order = np.random.default_rng(0).permutation(TRAIN_ROWS)
    parts = many_texts.dealt_parts(sets.train, sets)
    assert np.array_equal(
        many_texts.dealt_parts(sets.train.iloc[order], sets), parts[order]
    )
    once = sets.train["once"]
    one_way, other_way = (
        many_texts.ngrams_in_short(texts) for texts in (once, once.iloc[order])
    )
    assert np.array_equal(one_way.transform(once), other_way.transform(once))


def test_unknown_texts_are_told_where_texts_are_known():
    """Codes know the texts they were learnt from; of n-grams no text is unknown."""
    sets = with_texts()
    categories = {
        encoder: many_texts.seen_categories(
            fit_features(encoder, sets.train, sets.fit_mask, sets)
        )
        for encoder in (*ENCODERS, "ngrams")
    }
    assert set(categories["target"]) == {"carrier", "town", "once"}
    assert set(categories["target"]["town"]) >= {"town 1", "town 2"}
    assert set(categories["text"]) == set(categories["ngrams"]) == {"carrier"}


@pytest.mark.parametrize(
    ("task", "encoder"),
    [
        ("multiclass", "target"),
        ("regression", "text"),
        ("binary", "ngrams"),
        ("multiclass", "stacked"),
    ],
)
def test_the_exported_pipeline_predicts_as_the_search_did(task: str, encoder: str):
    """Stored and loaded with few trusted types, it gives the stored test predictions to
    the bit, and predicts unseen, empty and missing texts in every spelling.
    """
    entry = one("lightgbm", num_leaves=7, n_estimators=5)
    if encoder == "ngrams":
        entry = one("linear")
    spec = experiment([entry | {"features": encoder}], task)
    sets = with_texts(task)
    trained = train_one(spec, sets)
    loaded = persistence.from_bytes(
        persistence.to_bytes(assembled(trained, sets, spec))
    )
    assert np.array_equal(predicted(loaded, sets), trained.predictions.test)
    first = sets.test[list(sets.features)].iloc[[0]].astype(object)
    spellings: list[Any] = [None, np.nan, pd.NA]
    gone = [loaded.predict(first.assign(town=x, once=x)) for x in spellings]
    assert np.array_equal(gone[0], gone[1])
    assert np.array_equal(gone[0], gone[2])
    for text in ("", " ", "never seen", "ß" * 500):
        strange = first.assign(town=text, once=text)
        assert np.isfinite(predicted(loaded, sets, strange)).all()


def test_what_decides_codes_is_in_their_fingerprint():
    """The target, the rows that may be looked at, and the split; of plain codes only
    the rows.
    """
    sets = with_texts()
    changed_sets = [
        replace(sets, early_stopping=np.roll(sets.early_stopping, 1)),
        replace(sets, split=GroupSplit(by="group", column="town")),
        replace(sets, target="night"),
    ]
    plain = {"ordinal": 3, "ngrams": 3}
    for encoder, alike in ({"target": 0, "stacked": 0, "text": 0} | plain).items():
        prints = [encoder_fingerprint(encoder, changed) for changed in changed_sets]
        assert prints.count(encoder_fingerprint(encoder, sets)) == alike


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_row_of_weight_2_counts_in_codes_as_two_rows(task: str):
    """In those of all rows as in those of other parts."""
    text, y, parts, weights = random_texts(task)
    copies = np.repeat(np.arange(len(y)), weights)
    weighted = many_texts.target_codes(text, y, task, weights.astype(np.float64))
    repeated = many_texts.target_codes(text[copies], y[copies], task)
    later = pd.Series(["a", "b", "c", None, "never seen"], dtype="str")
    assert np.allclose(weighted.transform(later), repeated.transform(later))
    crossed = many_texts.cross_fitted(
        weighted, text, y, parts, weights.astype(np.float64)
    )
    expected = many_texts.cross_fitted(repeated, text[copies], y[copies], parts[copies])
    assert np.allclose(crossed[copies], expected)


# --- stacking ---


def layer_of(features: Any) -> list[int]:
    """The encoded columns that the first layer makes, a number per model."""
    columns = many_texts.encoded_columns(features)
    return [columns[name][0] for name in stacking.LAYER]


def test_a_feature_with_a_direction_is_not_read_by_the_first_layer():
    """Its predictions could turn against the direction."""
    sets = training_sets("regression")
    barred = replace(sets, directions={"distance": 1})
    assert encoder_fingerprint("stacked", sets) != encoder_fingerprint(
        "stacked", barred
    )
    features = fit_features("stacked", barred.train, barred.fit_mask, barred)
    near, far = (
        transformed(features, rows)[:, layer_of(features)]
        for rows in (barred.test, barred.test.assign(distance=9.0))
    )
    assert np.array_equal(near, far)


@pytest.mark.parametrize(
    ("trees", "groups"), [(30, ROWS), (10, ROWS // 4)], ids=["rows", "copies"]
)
def test_a_first_layer_finds_nothing_in_noise(monkeypatch, trees: int, groups: int):
    """Rows that are fitted on get predictions as poor as new rows do, also where rows
    are copies of others.
    """
    monkeypatch.setattr(stacking, "TREES", trees)
    noise = np.random.default_rng(4).normal(size=ROWS)
    frame = table(None).assign(late=noise, customer=np.arange(ROWS))
    copies = frame.iloc[np.arange(ROWS) * groups // ROWS].reset_index(drop=True)
    sets = training_sets("regression", frame=copies.rename_axis(index="row_number"))
    sets = replace(sets, features=("distance", "delay", "carrier"))
    if groups < ROWS:
        sets = replace(sets, split=GroupSplit(by="group", column="customer"))
    features, train = fit_rows("stacked", sets.train, sets.fit_mask, sets)
    by_whole_layer, in_fit = transformed(features, sets.train), sets.fit_mask
    y = sets.y_train[in_fit]
    for name, column in zip(stacking.LAYER, layer_of(features), strict=True):
        assert abs(np.corrcoef(train[in_fit, column], y)[0, 1]) < 0.2
        if name in stacking.FORESTS:
            assert np.corrcoef(by_whole_layer[in_fit, column], y)[0, 1] > 0.5
        assert np.array_equal(train[~in_fit, column], by_whole_layer[~in_fit, column])


def test_a_class_of_one_part_alone_is_predicted():
    """Models of the other parts give it no probability; those of all rows have its
    column.
    """
    sets = with_texts("multiclass")
    once = sets.y_train == 2
    rows = sets.train
    _, forests, names = stacking.stacked_part(rows, rows, sets.y_train, None, sets)
    parts = np.where(once, 0, 1 + np.arange(len(rows)) % 2)
    crossed = stacking.cross_fitted_layer(forests, rows[names], sets.y_train, parts)
    assert crossed.shape == (len(rows), 9)
    assert not crossed[once][:, [2, 5, 8]].any()
    assert crossed[~once][:, [2, 5, 8]].any(axis=0).all()
    assert np.allclose(crossed[:, :3].sum(axis=1), 1)
