"""Check what a stored estimator consists of, before it is constructed or predicts.

NumPy allocates what the header of an array asks for, and the libraries of decision
trees follow children and features without looking whether they exist: a changed file
would end the process or never come to an end. In: the nodes of a skops file, or a
fitted booster. Out: nothing, or a ValueError. XGBoost and CatBoost read their own bytes
before anything can be checked; what protects them is the digest in the manifest.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiment_pipeline.storage.processes import free_memory

_FEATURES = "n_features_in_"
# Estimators of scikit-learn that let trees read rows of as many features.
_HOLD_TREES = (
    "sklearn.tree._classes.",
    "sklearn.ensemble._forest.",
    "sklearn.ensemble._gb.",
)
_INTEGERS = re.compile(rb"[-0-9 ]*")
_NUMBER = rb"-?(\d+(\.\d*)?([eE][-+]?\d+)?|inf|nan)"
_NUMBERS = re.compile(rb"(%b( %b)*)?" % (_NUMBER, _NUMBER))
# LightGBM's lists of one number for each leaf, and for each inner node.
_OF_LEAVES = (b"leaf_value", b"leaf_weight", b"leaf_count")
_OF_INNER = (
    b"threshold",
    b"split_gain",
    b"internal_value",
    b"internal_weight",
    b"internal_count",
)
_HEADER_LINE = re.compile(rb"feature_names=.*|[a-z_]+(=[^=]*)?")
_NUM_CLASS = re.compile(rb"num_class:(\S*)")
_CATEGORICAL = 1  # bit of LightGBM's decision types


def check_structure(tree: Any) -> None:
    """Check all nodes of a skops file; ValueError or KeyError: one was changed."""
    from skops.io._audit import Node

    visited = set[tuple[int, float]]()

    def visit(node: Any, n_features: float) -> None:
        """Check what is below a node, then the node, for rows of so many features."""
        if isinstance(node, dict | list):
            for child in node.values() if isinstance(node, dict) else node:
                visit(child, n_features)
        if not isinstance(node, Node) or (id(node), n_features) in visited:
            return
        visited.add((id(node), n_features))
        name = f"{node.module_name}.{node.class_name}"
        if name.startswith(_HOLD_TREES):
            n_features = min(n_features, _width(node))
        for child in node.children.values():
            visit(child, n_features)
        _check_content(node, name, n_features)

    visit(tree, np.inf)


def _width(node: Any) -> float:
    """Return the number of features of an estimator of trees."""
    attributes = node.children["attrs"].content
    if not attributes.keys() & {"tree_", "estimators_"}:
        return np.inf  # it is not fitted
    return float(attributes[_FEATURES].construct())


def _check_content(node: Any, name: str, n_features: float) -> None:
    """Check a node whose children are sound."""
    from skops.io._numpy import NdArrayNode
    from skops.io._scipy import SparseMatrixNode
    from skops.io._sklearn import TreeNode

    if isinstance(node, NdArrayNode) and node.type == "numpy":
        _check_array(node.buffer)
    elif isinstance(node, SparseMatrixNode):
        with zipfile.ZipFile(node.content) as archive:
            parts = archive.infolist()
            size = sum(part.file_size for part in parts)
            _require(size <= free_memory().size, f"a sparse table has {size:,} bytes")
            for part in parts:
                _check_array(io.BytesIO(archive.read(part)))
        node.content.seek(0)
    elif isinstance(node, TreeNode):
        arguments = node.children["args"]
        state = node.children["attrs"]
        _check_tree(arguments.construct(), state.construct(), n_features)
    elif name == "lightgbm.basic.Booster":
        state = node.children["attrs"].construct()
        text = state.get("_handle", state.get("handle"))
        if text is not None:
            check_lightgbm(text)
    elif name == "xgboost.core.Booster":
        check_xgboost(node.construct())


def _require(holds: Any, rule: str) -> None:
    if not np.all(holds):
        raise ValueError(f"{rule}: it was changed")


def _check_array(file: io.BytesIO) -> None:
    """Compare the size in the header of an .npy file with the size of the file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    # Elements without bytes take none in the file, but they do as objects.
    size = max(dtype.itemsize, 1)
    for length in shape:
        size *= length
    available = len(file.getbuffer()) - file.tell()
    _require(size <= available, f"an array of shape {shape} has {available:,} bytes")
    file.seek(0)


def _check_nodes(children: np.ndarray, features: np.ndarray, n_features: float) -> None:
    """Check the inner nodes of a tree.

    `children` (2, nodes), less than 0 for a leaf; `features` (nodes,) of inner nodes.
    """
    number = np.arange(children.shape[1])
    is_inner = children >= 0
    # So no path comes back to a node.
    _require(~is_inner | (children > number), "a child comes before its parent")
    _require(children < len(number), "a child does not exist")
    _check_features(features, n_features)


def _check_features(features: np.ndarray, n_features: float) -> None:
    _require((features >= 0) & (features < n_features), "a feature does not exist")


def _check_marked_nodes(children: np.ndarray, features: Any, n_features: float) -> None:
    """Check all nodes of a tree whose leaves have -1 as their first child.

    Of a leaf no other field is read.
    """
    is_inner = children[0] != -1
    _require(children[:, is_inner] >= 0, "a child does not exist")
    children[:, ~is_inner] = -1
    _check_nodes(children, np.asarray(features)[is_inner], n_features)


def _check_tree(
    arguments: Sequence[Any], state: Mapping[str, Any], n_features: float
) -> None:
    """Check scikit-learn's `Tree`: the arguments of its constructor, and its state."""
    width, n_classes, n_outputs = arguments
    nodes = state["nodes"]
    _require(1 <= n_outputs == len(n_classes), "a tree has other outputs")
    _require(1 <= len(nodes) == state["node_count"], "a tree has other nodes")
    children = np.stack([nodes["left_child"], nodes["right_child"]])
    _check_marked_nodes(children, nodes["feature"], min(width, n_features))


def check_xgboost(booster: Any) -> None:
    """Check the trees of a loaded `xgboost.Booster`."""
    if booster.handle is None:
        return
    model = json.loads(bytes(booster.save_raw("json")))["learner"]
    parameters = model["learner_model_param"]
    n_features = int(parameters["num_feature"])
    groups = max(int(parameters["num_class"]), int(parameters["num_target"]), 1)
    booster_model = model["gradient_booster"]
    trees = booster_model.get("gbtree", booster_model)["model"]
    if "weights" in trees:
        expected = (n_features + 1) * groups
        _require(len(trees["weights"]) == expected, "a linear model has other features")
        return
    group = np.asarray(trees["tree_info"])
    _require((group >= 0) & (group < groups), "a tree has no class")
    _require(len(group) == len(trees["trees"]), "a tree is missing")
    for tree in trees["trees"]:
        children = np.array([tree["left_children"], tree["right_children"]])
        _check_marked_nodes(children, tree["split_indices"], n_features)


def check_lightgbm(text: str) -> None:
    """Check the text of a LightGBM model; ValueError or KeyError: it was changed.

    LightGBM reads as many values as other lines say, and each tree at the place that
    `tree_sizes` gives.
    """
    content = text.encode()
    _require(not re.search(rb"[\r\0]", content), "a text has other lines")
    head, begun, trees = content.partition(b"\nTree=")
    lines = head.split(b"\n")
    _require([_HEADER_LINE.fullmatch(line) or not line for line in lines], "a header")
    header = _values(lines)
    n_classes = _integer(header, b"num_class")
    in_objective = _NUM_CLASS.findall(header.get(b"objective", b""))
    _require([int(number) == n_classes for number in in_objective], "an objective")
    per_iteration = _integer(header, b"num_tree_per_iteration")
    _require(1 <= n_classes == per_iteration, "a model has other classes")
    n_features = _integer(header, b"max_feature_idx") + 1
    trees = (begun + trees)[1:]
    end = 0
    for size in _integers(header, b"tree_sizes"):
        _require(size > 0, "a tree has no size")
        block = trees[end : end + size]
        end += size
        title, _, content = block.partition(b"\n")
        body, blank, _ = content.partition(b"\n\n")
        is_whole = title.startswith(b"Tree=") and bool(blank)
        _require(is_whole, "a tree has another size")
        _check_lightgbm_tree(_values(body.split(b"\n")), n_features)


def _check_lightgbm_tree(tree: Mapping[bytes, bytes], n_features: int) -> None:
    leaves = _integer(tree, b"num_leaves")
    _require(leaves >= 1, "a tree has no leaf")
    _check_numbers(tree, leaves)
    if b"is_linear" in tree and _integer(tree, b"is_linear"):
        _check_linear_leaves(tree, leaves, n_features)
    if leaves > 1:
        _check_inner_nodes(tree, leaves, n_features)


def _check_numbers(tree: Mapping[bytes, bytes], leaves: int) -> None:
    """Check the lists of numbers: a thread of LightGBM that meets another text ends the
    process.
    """
    inner = leaves - 1
    lengths = dict.fromkeys(_OF_LEAVES, leaves) | dict.fromkeys(_OF_INNER, inner)
    for key in lengths.keys() & tree.keys():
        is_numbers = _NUMBERS.fullmatch(tree[key]) is not None
        length = len(tree[key].split())
        # A tree of one leaf has some lists empty.
        has_length = length == lengths[key] or (leaves == 1 and not length)
        _require(is_numbers and has_length, f"{key.decode()} of a tree")
    _require(bool(tree[b"leaf_value"]), "a leaf has no value")


def _check_inner_nodes(
    tree: Mapping[bytes, bytes], leaves: int, n_features: int
) -> None:
    left, right, features, types = (
        _integers(tree, key, leaves - 1)
        for key in (b"left_child", b"right_child", b"split_feature", b"decision_type")
    )
    children = np.stack([left, right])
    _require(children >= -leaves, "a leaf does not exist")
    _check_nodes(children, features, n_features)
    n_sets = _integer(tree, b"num_cat")
    bounds = np.zeros(1, np.int64)
    if n_sets:
        bounds = _integers(tree, b"cat_boundaries", n_sets + 1)
        words = tree[b"cat_threshold"].split()
        _require(len(words) == bounds[-1], "categories do not exist")
    _require(bounds[0] == 0 and np.diff(bounds) >= 0, "categories do not exist")
    thresholds = tree[b"threshold"].split()
    for node in np.flatnonzero(types & _CATEGORICAL):
        _require(float(thresholds[node]) in range(n_sets), "categories do not exist")


def _check_linear_leaves(
    tree: Mapping[bytes, bytes], leaves: int, n_features: int
) -> None:
    in_leaves = _integers(tree, b"num_features", leaves)
    features = _integers(tree, b"leaf_features", int(in_leaves.sum()))
    coefficients = np.array(tree[b"leaf_coeff"].split(), dtype=np.float64)
    constants = np.array(tree[b"leaf_const"].split(), dtype=np.float64)
    _require(in_leaves >= 0, "a leaf has no features")
    _check_features(features, n_features)
    _require(len(coefficients) == len(features), "a leaf has no coefficient")
    _require(len(constants) == leaves, "a leaf has no constant")


def _values(lines: Sequence[bytes]) -> dict[bytes, bytes]:
    pairs = [line.partition(b"=") for line in lines if line]
    values = {key: value for key, _, value in pairs}
    _require(len(values) == len(pairs), "a line is there twice")
    return values


def _integers(
    values: Mapping[bytes, bytes], key: bytes, length: int | None = None
) -> np.ndarray:
    text = values[key]
    _require(_INTEGERS.fullmatch(text), f"{key.decode()} is not integers")
    integers = np.array([int(number) for number in text.split()], dtype=np.int32)
    _require(length in (None, len(integers)), f"{key.decode()} has another length")
    return integers


def _integer(values: Mapping[bytes, bytes], key: bytes) -> int:
    return int(_integers(values, key, 1)[0])
