"""What a changed model file would do to the process that loads it is refused before."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from scipy.sparse import csr_matrix
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    RandomForestClassifier,
)

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.structure import check_lightgbm, check_xgboost

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4))
X[:, 3] = RNG.integers(0, 12, 300)
Y = X[:, 0] + 3 * (X[:, 3] % 3) + RNG.normal(size=300)
LIGHTGBM: dict[str, dict[str, Any]] = {
    "regression": {},
    "binary": {"objective": "binary"},
    "multiclass": {"objective": "multiclass", "num_class": 3},
    "one against all": {"objective": "multiclassova", "num_class": 3},
    "no split": {"min_data_in_leaf": 200},
    "linear": {"linear_tree": True},
    "forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "quantile": {"objective": "quantile"},
}


@cache
def lightgbm_text(name: str) -> str:
    """A model of three iterations; the last feature is categorical."""
    given = {
        "verbose": -1,
        "num_leaves": 9,
        "min_data_in_leaf": 5,
        "min_data_per_group": 5,
    } | LIGHTGBM[name]
    y = np.digitize(Y, [1.0, 2.0]) if "num_class" in given else Y
    if name == "binary":
        y = Y > 1.0
    data = lightgbm.Dataset(X, y, categorical_feature=[3])
    return lightgbm.train(given, data, 3).model_to_string()


@pytest.mark.parametrize("name", LIGHTGBM)
def test_every_sort_of_lightgbm_model_is_sound(name: str):
    """With categories, classes, one leaf, linear leaves; names beyond ASCII as well."""
    text = lightgbm_text(name)
    has_categories = re.search("num_cat=[1-9]", text) is not None
    assert has_categories == (name != "no split")
    check_lightgbm(text)
    check_lightgbm(text.replace("Column_0", "größe=1"))


def replaced(key: str, change: Callable[[list[str]], object]) -> Callable[[str], str]:
    """Change the first list of values with this key, and the size of the tree."""

    def changed(text: str) -> str:
        old = re.search(rf"^{key}=(.*)$", text, re.MULTILINE)
        assert old is not None
        values = old[1].split(" ")
        new = " ".join(map(str, change(values) or values))
        text = text[: old.start(1)] + new + text[old.end(1) :]
        grown = len(new) - len(old[1])
        sizes = re.search(r"^tree_sizes=(\d+)", text, re.MULTILINE)
        assert sizes is not None
        size = int(sizes[1]) + (grown if key != "tree_sizes" else 0)
        return text[: sizes.start(1)] + str(size) + text[sizes.end(1) :]

    return changed


CHANGES: dict[str, tuple[str, Callable[[str], str]]] = {
    "a circle": ("binary", replaced("left_child", lambda v: ["0", *v[1:]])),
    "a leaf": ("binary", replaced("left_child", lambda v: [*v[:-1], "-99"])),
    "a feature": ("binary", replaced("split_feature", lambda v: ["4", *v[1:]])),
    "overflow": ("binary", replaced("left_child", lambda v: [2**32 + 1, *v[1:]])),
    "no leaves": ("no split", replaced("num_leaves", lambda v: ["0"])),
    "no number": ("binary", replaced("split_gain", lambda v: ["--1", *v[1:]])),
    "few leaf values": ("binary", replaced("leaf_value", lambda v: v[1:])),
    "categories": ("regression", replaced("cat_boundaries", lambda v: [*v[:-1], "99"])),
    "no categories": ("regression", replaced("num_cat", lambda v: ["0"])),
    "sizes": ("binary", replaced("tree_sizes", lambda v: ["9", *v[1:]])),
    "features": ("binary", replaced("max_feature_idx", lambda v: [str(2**32 + 3)])),
    "classes": ("multiclass", replaced("num_class", lambda v: ["2"])),
    "iteration": (
        "multiclass",
        replaced("num_tree_per_iteration", lambda v: ["0"]),
    ),
    "objective": (
        "multiclass",
        lambda text: text.replace("num_class:3", "num_class:900"),
    ),
    "linear": ("linear", replaced("leaf_features", lambda v: ["77", *v[1:]])),
    "a line twice": (
        "binary",
        lambda t: t.replace("\nnum_cat", "\nnum_leaves=3\nnum_cat"),
    ),
    "another line": (
        "binary",
        lambda t: t.replace("\nversion", "\n=num_class=9\nversion"),
    ),
    "line ends": ("binary", lambda t: t.replace("\nnum_cat", "\rnum_cat")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_lightgbm_text_is_refused(name: str):
    """Each would read beyond an array, or never come to an end."""
    whole, change = CHANGES[name]
    text = lightgbm_text(whole)
    changed = change(text)
    assert changed != text
    with pytest.raises((ValueError, KeyError, ArithmeticError)):
        check_lightgbm(changed)


def test_a_stored_booster_is_checked_before_it_is_loaded():
    """The text within the file of an estimator is judged as one alone."""
    whole, change = CHANGES["a circle"]
    with pytest.raises(InvalidModel, match="was changed"):
        persistence.from_bytes(stored_booster(change(lightgbm_text(whole))))


def stored_booster(text: str) -> bytes:
    """A stored estimator that holds a booster of this text."""
    estimator = DummyRegressor()
    estimator.booster_ = lightgbm.Booster(model_str=lightgbm_text("regression"))
    whole = persistence.to_bytes(estimator)
    return with_schema(
        whole, lambda schema: replace_text(schema, "tree\nversion", text)
    )


def replace_text(node: Any, begin: str, text: str) -> Any:
    """Replace the texts of a schema that begin so."""
    if isinstance(node, list):
        return [replace_text(child, begin, text) for child in node]
    if isinstance(node, dict):
        return {key: replace_text(child, begin, text) for key, child in node.items()}
    is_text = isinstance(node, str) and node.startswith('"')
    if is_text and json.loads(node).startswith(begin):
        return json.dumps(text)
    return node


def with_schema(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """A stored estimator with another schema."""
    schema = json.loads(zipfile.ZipFile(io.BytesIO(content)).read("schema.json"))
    return with_file(content, "schema.json", json.dumps(change(schema)).encode())


def with_file(content: bytes, changed: str, new: bytes) -> bytes:
    """A stored estimator with another file."""
    target = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(content))
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, new if name == changed else source.read(name))
    return target.getvalue()


FORESTS = {
    "forest": RandomForestClassifier(3, max_depth=4, random_state=0),
    "extra trees": ExtraTreesRegressor(3, max_leaf_nodes=9, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=3, random_state=0),
}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("forest", "left_child", 0),
        ("boosting", "right_child", 9_999),
        *((name, "feature", 4) for name in FORESTS),
    ],
)
def test_a_changed_tree_of_scikit_learn_is_refused(name: str, field: str, value: int):
    """A circle, a node that does not exist, a feature beyond those of the forest."""
    whole = persistence.to_bytes(FORESTS[name].fit(X, Y > 1))
    assert persistence.from_bytes(whole).predict(X).shape == (300,)

    archive = zipfile.ZipFile(io.BytesIO(whole))
    for file in archive.namelist():
        array = None if file.endswith(".json") else np.load(archive.open(file))
        if array is not None and array.dtype.names:
            nodes = array.copy()
            nodes[field][0] = value
            buffer = io.BytesIO()
            np.save(buffer, nodes)
            changed = with_file(whole, file, buffer.getvalue())
            with pytest.raises(InvalidModel, match="was changed"):
                persistence.from_bytes(changed)
            return
    pytest.fail("no tree is stored")


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_every_sort_of_xgboost_model_is_sound(booster: str):
    """Trees, dropped trees, and linear functions, of three classes."""
    settings = {"booster": booster, "nthread": 1, "num_class": 3}
    data = xgboost.DMatrix(X, np.digitize(Y, [1.0, 2.0]))
    check_xgboost(xgboost.train(settings | {"objective": "multi:softprob"}, data, 3))


@pytest.mark.parametrize(
    ("key", "value"),
    [("left_children", 0), ("right_children", 9_999), ("split_indices", 4)],
)
def test_a_changed_xgboost_tree_is_refused(key: str, value: int):
    """XGBoost itself loads it."""
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(X, Y), 2)
    model = json.loads(bytes(booster.save_raw("json")))
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    tree[key][0] = value
    changed = xgboost.Booster()
    changed.load_model(bytearray(json.dumps(model).encode()))
    with pytest.raises(ValueError, match="was changed"):
        check_xgboost(changed)


def header_of(shape: tuple[int, ...], dtype: str) -> bytes:
    """An .npy file that says it is this large, with eight bytes."""
    buffer = io.BytesIO()
    array = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, array)
    return buffer.getvalue() + bytes(8)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2**40, 2**40), "<f8"), ((10**15,), "|V0")],
)
def test_an_array_is_as_large_as_its_file(shape: tuple[int, ...], dtype: str):
    """Its header alone would allocate any memory."""
    estimator = DummyRegressor()
    estimator.numbers_ = np.arange(3.0)
    content = with_file(
        persistence.to_bytes(estimator), "0000.npy", header_of(shape, dtype)
    )
    with pytest.raises(InvalidModel, match="an array of shape"):
        persistence.from_bytes(content)


def test_a_sparse_table_is_as_large_as_its_files():
    """It is an archive of arrays within the archive."""
    estimator = DummyRegressor()
    estimator.table_ = csr_matrix(np.eye(3))
    whole = persistence.to_bytes(estimator)
    trusted = ["scipy.sparse._csr.csr_matrix"]
    loaded = persistence.from_bytes(whole, trusted)
    assert np.array_equal(loaded.table_.toarray(), np.eye(3))
    (name,) = {*zipfile.ZipFile(io.BytesIO(whole)).namelist()} - {"schema.json"}
    inner = zipfile.ZipFile(io.BytesIO(whole)).read(name)
    changed = with_file(inner, "data.npy", header_of((10**13,), "<f8"))
    with pytest.raises(InvalidModel, match="an array of shape"):
        persistence.from_bytes(with_file(whole, name, changed), trusted)


def test_a_file_that_many_objects_name_is_refused():
    """It would be read it once for each."""
    estimator = DummyRegressor()
    estimator.numbers_ = np.arange(3.0)
    whole = persistence.to_bytes(estimator)
    persistence.check_foreign(whole)

    def twice(schema: Any) -> Any:
        attributes = schema["content"]["content"]
        attributes["more_"] = attributes["numbers_"] | {"__id__": 999}
        return schema

    with pytest.raises(InvalidModel, match="several objects name"):
        persistence.check_foreign(with_schema(whole, twice))
