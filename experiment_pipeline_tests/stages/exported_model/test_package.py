"""The files of an exported model: complete, reproducible, and without secrets."""

import ast
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier

from experiment_pipeline.columns.schema import load_schema
from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.prediction import signature as golden_rows
from experiment_pipeline.prediction.rows import Reading, predict_rows, prediction_table
from experiment_pipeline.prediction.signature import Signature
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model import package as exported_model
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.versions import DECISIVE, Manifest
from experiment_pipeline_tests import exported


def test_a_package_holds_what_the_card_lists() -> None:
    """Every file is described, and every described file but the manifest is there."""
    package = exported.package()
    described = set(exported_model.HOLDS) | {"README.md"}
    assert set(package.files) | {"manifest.json"} == described
    assert all(package.files.values())


def test_the_same_model_gives_the_same_bytes() -> None:
    """Built twice from the same pieces, every file is the same."""
    assert dict(exported.package().files) == dict(exported.package().files)


def test_the_identity_is_what_decides_a_prediction() -> None:
    """Another clock or card is the same model; another threshold or schema is not."""
    package = exported.package()
    assert exported.package(created="2027-01-01", looks=9).identity == package.identity
    assert exported.package(threshold=0.9).identity != package.identity
    assert exported.package(fingerprint="e" * 64).identity != package.identity
    assert set(DECISIVE) <= set(package.files)


def test_the_manifest_survives_and_finds_a_changed_file() -> None:
    """Read back it is the same; a file that differs by a byte is named."""
    package = exported.package()
    manifest = package.manifest("v0007")
    assert Manifest.from_bytes(manifest.to_bytes(), "here") == manifest
    assert manifest.verify("schema.yaml", package.files["schema.yaml"], "here")
    with pytest.raises(InvalidModel, match=r"here/schema\.yaml: sha256 is"):
        manifest.verify("schema.yaml", package.files["schema.yaml"] + b"#", "here")
    with pytest.raises(InvalidModel, match="lists no other"):
        manifest.verify("other", b"", "here")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"format": 2}', b'{"format": 1, "code": {}}'])
def test_what_is_no_manifest_is_said(data: bytes) -> None:
    """Anything but a manifest of this format is a clear error."""
    with pytest.raises(InvalidModel, match="not a manifest of format"):
        Manifest.from_bytes(data, "here")


def test_the_experiment_loads_again_without_its_secrets() -> None:
    """experiment.yaml is the experiment as run; credentials are gone from every file."""
    package = exported.package()
    attributes = yaml.safe_load(package.files["experiment.yaml"])
    loaded = ExperimentSpec.model_validate(attributes)
    shown = {"url": "https://***@example.org/flights.csv"}
    assert loaded == exported.spec(data={"delimiter": ";"} | shown)
    assert not [name for name, content in package.files.items() if b"s3cr3t" in content]


def test_golden_rows_hold_what_is_awkward() -> None:
    """Missing values of every feature that has them, and an unseen category, types kept."""
    rows = exported.prepared(exported.delivered())
    golden = golden_rows.golden_rows(rows, exported.FEATURES)
    assert list(golden.columns) == exported.FEATURES
    assert (golden.dtypes == rows[exported.FEATURES].dtypes).all()
    has_missing = rows[exported.FEATURES].isna().any()
    assert golden.isna().any()[has_missing].all()
    assert golden["carrier"].iloc[-1] == golden_rows.UNSEEN_CATEGORY
    assert len(golden) < 5 + len(exported.FEATURES) + 1


def test_golden_rows_of_a_wide_table_stay_few() -> None:
    """A row that lacks many features at once stands for all of them."""
    wide = pd.DataFrame(np.ones((20, 300))).rename(columns=str)
    wide.iloc[10, :] = np.nan
    assert len(golden_rows.golden_rows(wide, list(wide.columns))) == 6


def test_example_rows_come_back_bit_for_bit() -> None:
    """JSON keeps every value and dtype, missing and infinite ones included."""
    rows = pd.DataFrame(
        {
            "float": [0.1 + 0.2, np.nan, -np.inf],
            "integer": [2**53 + 1, -1, 0],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "flag": [True, False, True],
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "text": pd.Series(["ü", None, "null"], dtype="str"),
        }
    )
    types = {name: str(dtype) for name, dtype in rows.dtypes.items()}
    back = golden_rows.example_rows(
        golden_rows.example_bytes(rows), Signature("regression", "y", types)
    )
    pd.testing.assert_frame_equal(back, rows, check_exact=True)


def test_the_packaged_model_predicts_what_was_promised() -> None:
    """Loaded from the files alone, it gives the expected predictions."""
    files = exported.package(exported.fitted(model=RandomForestClassifier(5, random_state=0))).files
    model = persistence.from_bytes(files["model.skops"])
    signature = Signature.from_bytes(files["signature.json"], "here")
    expected = json.loads(files["expected_predictions.json"])
    rows = golden_rows.example_rows(files["input_example.json"], signature)
    assert model.predict(rows).tolist() == expected["predict"]
    assert model.predict_proba(rows).tolist() == expected["predict_proba"]


def test_the_trusted_types_are_all_that_is_needed() -> None:
    """The list lets skops load the model, and names no package of its own."""
    serialized = exported_model.serialize(exported.fitted())
    assert serialized.own_packages == ()
    assert set(serialized.trusted_types) <= set(persistence.TRUSTED_TYPES)
    assert serialized.needed == exported_model.NEEDED


def test_predictions_use_the_threshold_and_keep_the_ids() -> None:
    """Binary: the exported threshold decides, not 0.5; the id columns stand beside."""
    raw = exported.delivered()
    pipeline = exported.fitted()
    signature = Signature.from_bytes(exported.package(pipeline).files["signature.json"], "here")
    table = prediction_table(pipeline, exported.prepared(raw), raw[["flight"]], signature)
    assert list(table.columns) == ["row_number", "flight", "prediction", "probability_yes"]
    positive = table["probability_yes"] >= 0.4
    assert (table["prediction"] == np.where(positive, "yes", "no")).all()
    assert (positive & (table["probability_yes"] < 0.5)).any()


def test_predictions_name_classes_by_the_models_own_order() -> None:
    """Multiclass: a column per class, and the prediction is the most probable one."""
    raw = exported.delivered()
    target = raw["carrier"].replace({"?": "0"})
    pipeline = exported.fitted(target=target)
    classes = tuple(pipeline.classes_.tolist())
    types = exported.prepared(raw)[exported.FEATURES].dtypes
    features = {name: str(dtype) for name, dtype in types.items()}
    signature = Signature("multiclass", "carrier", features, classes=classes)
    table = prediction_table(pipeline, exported.prepared(raw), raw[[]], signature)
    assert list(table.columns[2:]) == [f"probability_{name}" for name in classes]
    assert (table["prediction"] == pipeline.predict(exported.prepared(raw))).all()


def test_an_id_column_cannot_hide_a_prediction() -> None:
    """An id column that is called like an output gets another name."""
    raw = exported.delivered().rename(columns={"flight": "prediction"})
    pipeline = exported.fitted("regression")
    types = exported.prepared(exported.delivered())[exported.FEATURES].dtypes
    signature = Signature("regression", "late", {k: str(v) for k, v in types.items()})
    table = prediction_table(
        pipeline, exported.prepared(exported.delivered()), raw[["prediction"]], signature
    )
    assert list(table.columns) == ["row_number", "original_prediction", "prediction"]


def test_a_missing_feature_is_named() -> None:
    """A table without a feature, or with another type in it, is refused."""
    signature = Signature("regression", "y", {"a": "float64", "b": "int64"})
    with pytest.raises(UnusableTable, match="columns b: 1 of the model's 2 features"):
        signature.select(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(UnusableTable, match="column b: holds float64"):
        signature.select(pd.DataFrame({"a": [1], "b": [1.5]}))
    with pytest.raises(UnusableTable, match="column a: holds str"):
        signature.select(pd.DataFrame({"a": ["x"], "b": [1]}))


def test_rows_are_read_as_the_training_table_was() -> None:
    """Codes that look like numbers in a short file stay the texts they were."""
    reading = Reading.of(exported.spec(), {"carrier": "str", "distance": "float64"})
    again = Reading.from_bytes(reading.to_bytes(), "here")
    rows = again.rows([("few.csv", b"carrier;distance\n1.50;3\n;4\n+7;5\n")], "few.csv")
    assert rows["carrier"].tolist()[::2] == ["1.50", "+7"]
    assert rows["carrier"].isna().tolist() == [False, True, False]
    assert rows["distance"].tolist() == [3, 4, 5]


def test_parquet_rows_need_no_csv_settings(tmp_path) -> None:
    """The delimiter of the training table does not stand in the way of a Parquet file."""
    reading = Reading.of(exported.spec(), {"carrier": "str"})
    path = tmp_path / "few.parquet"
    pd.DataFrame({"carrier": [7, 8], "distance": [1.0, 2.0]}).to_parquet(path)
    rows = reading.rows([("few.parquet", path.read_bytes())], "few.parquet")
    assert rows["carrier"].tolist() == ["7", "8"]


def test_unseen_categories_are_treated_as_in_the_experiment() -> None:
    """The policy travels with the model; one exported before keeps to the rules of its schema."""
    allowed = exported.spec(validation={"unseen_categories": "allow"})
    content = Reading.of(allowed, {"carrier": "str"}).to_bytes()
    assert Reading.from_bytes(content, "here").validation == allowed.validation
    missing = b"unseen_missing_values: allow\n"
    for was, now in ((b"allow", "allow"), (b"reject", None)):
        before = content.replace(missing, b"").replace(b"allow", was)
        old = Reading.from_bytes(before, "here").validation
        assert (old.unseen_categories, old.unseen_missing_values) == (now, "reject")
    with pytest.raises(InvalidModel):
        Reading.from_bytes(content.replace(b"allow", b"guess"), "here")


@pytest.mark.parametrize(("policy", "predicted"), [("reject", 19), ("allow", 20)])
def test_a_row_with_an_unseen_category(policy, predicted) -> None:
    """It gets a prediction exactly where the experiment allows it."""
    schema = exported.SCHEMA.replace(
        "carrier:\n    dtype: str\n", "carrier:\n    dtype: str\n    isin: [9E, AA, '007']\n"
    )
    raw = exported.delivered(20)
    raw.loc[4, "carrier"] = "ZZ"
    spec = exported.spec(validation={"unseen_categories": policy})
    pipeline, reading = exported.fitted(), Reading.of(spec, raw.dtypes.astype("str").to_dict())
    signature = Signature.from_bytes(exported.package(pipeline).files["signature.json"], "here")
    found = predict_rows(pipeline, raw, reading, load_schema(schema), signature)
    assert len(found.predictions) == predicted
    assert len(found.rejected) == 20 - predicted


def test_what_is_no_reading_or_signature_is_said() -> None:
    """Other content than expected is a clear error."""
    with pytest.raises(InvalidModel):
        Reading.from_bytes(b"csv: 1", "here")
    with pytest.raises(InvalidModel):
        Signature.from_bytes(b"{}", "here")


def test_the_script_that_travels_imports_three_packages() -> None:
    """verify.py needs the standard library, pandas and skops, and nothing of this project."""
    tree = ast.parse(exported.package().files["verify.py"])
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"json", "pathlib", "pandas", "skops"}
