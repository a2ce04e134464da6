"""The champion of a registry is read whole and checked, or refused by name."""

import json
from dataclasses import replace

import pytest
from upath import UPath

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.rows.identity import FITTED_ROWS
from experiment_pipeline.stages.validation_report.champion import PublishedChampion, find_champion
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.storage.versions import ModelPackage
from experiment_pipeline_tests import exported


def published(root: UPath, package: ModelPackage) -> PublishedChampion:
    """Publish a package and return it as the champion."""
    registry = Registry(root, "flights")
    registry.publish(package, lambda _: None)
    found = find_champion(registry)
    assert found is not None
    return found


def test_nothing_exported_is_no_champion(place: UPath) -> None:
    """A first run has nothing to be held against."""
    assert find_champion(Registry(place, "flights")) is None


def test_a_champion_comes_with_model_facts_and_rows(place: UPath) -> None:
    """Version, fingerprint, metrics, and a pipeline that predicts."""
    champion = published(place, exported.package())
    assert (champion.version, champion.fingerprint) == ("v0001", "f" * 64)
    assert champion.facts["looks"] == 2
    assert champion.held_against is None
    read = champion.read()
    rows = exported.prepared(exported.delivered(5))[exported.FEATURES]
    assert read.pipeline.predict_proba(rows).shape == (5, 2)
    assert read.fitted_rows.hashes.tolist() == exported.FITTED.hashes.tolist()
    assert read.signature.positive_class == "yes"


def test_a_version_that_kept_no_rows_is_still_read(place: UPath) -> None:
    """Earlier versions of this package exported without them."""
    package = exported.package()
    files = {name: data for name, data in package.files.items() if name != FITTED_ROWS}
    assert published(place, replace(package, files=files)).read().fitted_rows is None


def test_code_that_the_yaml_does_not_name_is_not_run(place: UPath) -> None:
    """A preparation's function is trusted because the experiment names it, not the version."""
    preparation = {"function": "os:getcwd"}
    champion = published(place, exported.package(spec=exported.spec(preparation=preparation)))
    with pytest.raises(InvalidModel, match="which the YAML does not name"):
        champion.read()
    assert champion.read(function="os:getcwd").reading.preparation.function == "os:getcwd"


def test_a_champion_that_predicts_otherwise_here_is_no_yardstick(place: UPath) -> None:
    """Other libraries may change what an old model says, or break it."""
    package = exported.package()
    other = replace(package, files={**package.files, "expected_predictions.json": b"{}"})
    with pytest.raises(InvalidModel, match="cannot predict here: KeyError"):
        published(place, other).read()
    said = json.loads(package.files["expected_predictions.json"])
    said["predict_proba"][0] = [0.123, 0.877]
    wrong = json.dumps(said).encode()
    changed = exported.package(fingerprint="e" * 64)
    changed = replace(changed, files={**changed.files, "expected_predictions.json": wrong})
    with pytest.raises(InvalidModel, match="predicts something else here"):
        published(place, changed).read()


def test_a_damaged_champion_is_refused_and_is_no_known_model(place: UPath) -> None:
    """A changed file is named; a damaged manifest is nobody's fingerprint."""
    champion = published(place, exported.package())
    write_bytes(champion.exported.folder / "model.skops", b"other")
    with pytest.raises(InvalidModel, match=r"model\.skops"):
        champion.read()
    write_bytes(champion.exported.folder / "manifest.json", b"{")
    again = find_champion(Registry(place, "flights"))
    assert again.fingerprint == ""
    with pytest.raises(InvalidModel, match="manifest"):
        again.read()
