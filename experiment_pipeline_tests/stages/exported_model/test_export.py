"""The files of an exported model: complete, reproducible, without secrets, and the same
in a fresh process.
"""

import ast
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier
from upath import UPath

from experiment_pipeline.errors import InvalidModel, PredictionsChanged
from experiment_pipeline.prediction.rows import Signature, example_rows
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.exported_model.export import (
    HOLDS,
    NEEDED,
    check_in_fresh_process,
    package_model,
)
from experiment_pipeline.statistics.thresholds import DecisionThreshold
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.provenance import COMMITTED, CodeProvenance
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import (
    CARD,
    DECISIVE,
    MANIFEST,
    PROFILE,
    RECORD,
    Manifest,
    Registry,
)
from experiment_pipeline.storage.run_code import RunCode
from experiment_pipeline_tests import exported


def test_a_package_holds_what_the_card_lists():
    """Every file is described, and every described file but the manifest is there."""
    package = exported.package().numbered("v0001")
    described = {*HOLDS, "README.md"} - {"code/", PROFILE}
    assert {*package.files, "manifest.json"} - {"code/own.py"} == described
    assert PROFILE not in package.files["README.md"].decode()
    assert all(package.files.values())


def test_the_card_names_what_a_commit_holds_apart_from_what_it_lacks():
    """Code and a patch are listed where there are any."""
    none = RunCode(CodeProvenance(None, None), {}, {}, "")
    plain = package_model(
        exported.make_spec(), exported.accepted(), exported.CREATED, none
    )
    for files in (exported.package().files, plain.files):
        inside, beside = (
            {*re.findall(r"(?m)^\| ([\w./]+) \|", part)} - {"file"}
            for part in files[CARD].decode().split("\n## Files")[1:]
        )
        names = {
            re.sub("^code/.*", "code/", name)
            for name in {*files, RECORD, MANIFEST} - {CARD}
        }
        assert inside == {name for name in names if name.startswith(COMMITTED)}
        assert beside == names - inside


def test_the_same_model_gives_the_same_bytes_and_identity():
    """Another clock or card is the same model; another threshold or fit is not."""
    package = exported.package()
    assert dict(exported.package().files) == dict(package.files)
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert exported.package(created=later, looks=9).identity == package.identity
    threshold = DecisionThreshold(0.9, "f1", 0.6)
    assert exported.package(threshold=threshold).identity != package.identity
    assert exported.package(fingerprint="e" * 64).identity != package.identity
    assert set(DECISIVE) <= set(package.files)


def test_a_manifest_is_read_as_it_was_written():
    """What is no manifest is an error that says so."""
    manifest = exported.package().manifest("v0007")
    assert Manifest.from_bytes(to_json(manifest), "here") == manifest
    for content in (b"", b"[]", b'{"format": 2}', b'{"format": 1, "code": {}}'):
        with pytest.raises(InvalidModel, match="not a manifest of format"):
            Manifest.from_bytes(content, "here")


def test_the_experiment_loads_again_without_its_secrets():
    """experiment.yaml is the experiment as run; credentials are gone from
    every file.
    """
    package = exported.package()
    attributes = yaml.safe_load(package.files["experiment.yaml"])
    loaded = ExperimentSpec.model_validate(attributes)
    shown = {"url": "https://***@example.org/flights.csv"}
    assert loaded == exported.make_spec(data={"delimiter": ";"} | shown)
    assert not [name for name, content in package.files.items() if b"s3cr3t" in content]


def test_the_packaged_model_predicts_what_was_promised():
    """Loaded from the files alone, it gives the expected predictions; its types are
    trusted.
    """
    package = exported.package(
        exported.fitted(model=RandomForestClassifier(5, random_state=0))
    )
    files = package.files
    model = persistence.from_bytes(files["model.skops"])
    signature = Signature.from_bytes(files["signature.json"], "here")
    expected = json.loads(files["expected_predictions.json"])
    rows = example_rows(files["input_example.json"], signature)
    assert model.predict(rows).tolist() == expected["predict"]
    assert model.predict_proba(rows).tolist() == expected["predict_proba"]
    assert package.own_packages == ()
    assert set(json.loads(files["trusted_types.json"])) <= set(
        persistence.TRUSTED_TYPES
    )
    pinned = re.findall("(?m)^([^#].*)==", files["environment.txt"].decode())
    assert pinned == list(NEEDED)


def test_the_script_that_travels_imports_three_packages():
    """verify.py needs the standard library, pandas and skops, and nothing of this
    project.
    """
    tree = ast.parse(exported.package().files["verify.py"])
    imports = [
        ast.unparse(node).split()[1].partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert sorted(imports) == ["json", "pandas", "pathlib", "skops"]


def test_another_purpose_is_another_version_and_stands_in_card_and_manifest(tmp_path):
    """Missing parts are named; without any, identities are as ever."""
    registry = Registry(UPath(tmp_path), "flights")
    records = [{}, {"purpose": "To call"}, {"purpose": "To refuse"}]
    for number in (0, 1, 1, 2):
        spec = exported.make_spec(record=records[number])
        published = registry.publish(exported.package(spec=spec), lambda _: None)
        assert published.version == f"v000{number + 1}"
        assert registry.model(published.version).manifest.record == records[number]
    card = registry.model("v0002").read("README.md").decode()
    missing = "Missing: not_for, oversight, affected, review_on."
    assert f"| purpose | To call |\n\n{missing}" in card


# --- in a fresh process ---


@pytest.mark.parametrize(
    ("algorithm", "task"),
    # Means of members that have their classes in different orders, or have none.
    [
        ("lightgbm+random_forest", "regression"),
        ("linear+catboost+xgboost", "multiclass"),
    ],
)
def test_a_real_model_passes_the_fresh_process(algorithm: str, task: str):
    """A mean of pipelines of this project loads where there is neither it nor
    Dagster.
    """
    check_in_fresh_process(exported.trained_package(algorithm, task))


@pytest.mark.parametrize("file", ["own_file.py", "own_folder/__init__.py"])
def test_a_fresh_process_finds_the_module_of_a_user(file: str, tmp_path, monkeypatch):
    """One file or a package, it is imported from the folder that holds it."""
    place = tmp_path / file
    place.parent.mkdir(exist_ok=True)
    place.touch()
    monkeypatch.syspath_prepend(tmp_path)
    (module,) = place.relative_to(tmp_path).with_suffix("").parts[:1]
    package = exported.package()
    verify = f"import {module}\n".encode()
    check_in_fresh_process(
        replace(
            package,
            files={**package.files, "verify.py": verify},
            own_packages=(module,),
        )
    )


def test_a_model_that_needs_this_package_is_refused():
    """Loading must not import this project: who receives the model does not have it."""
    needy = exported.package()
    changed = replace(
        needy, files={**needy.files, "verify.py": b"import experiment_pipeline\n"}
    )
    with pytest.raises(PredictionsChanged, match="needs experiment_pipeline to load"):
        check_in_fresh_process(changed)
