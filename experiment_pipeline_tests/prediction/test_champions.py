"""The published champion is read whole and checked, and predicts rows as delivered."""

import json
from dataclasses import replace

import numpy as np
import pytest
from upath import UPath

from experiment_pipeline.errors import InvalidModel, UnusableTable
from experiment_pipeline.prediction import champions
from experiment_pipeline.prediction.champions import (
    PublishedChampion,
    as_champion,
    find_champions,
    held_against,
)
from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.spec.search import Export
from experiment_pipeline.stages.validation_report.gates import ChampionComparison
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.registry import Approval, ModelPackage, Registry
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline.table.table import on_map
from experiment_pipeline_tests import exported


def published(root: UPath, package: ModelPackage) -> PublishedChampion:
    """Publish a package and return it as the champion."""
    registry = Registry(root, "flights")
    registry.publish(package, lambda _: None)
    return find_champions(registry)[0]


def test_a_champion_comes_with_model_facts_and_rows(place: UPath):
    """Version, fingerprint, metrics, and predictions of rows as its own schema makes
    them.
    """
    assert find_champions(Registry(place, "flights")) == []
    champion = published(place, exported.package())
    assert (champion.version, champion.fingerprint) == ("v0001", "f" * 64)
    assert champion.facts["looks"] == 2
    held = [
        held_against([champion], fingerprint * 64, export)
        for fingerprint, export in (
            ("e", Export()),
            ("f", Export()),
            ("f", Export(fits=5)),
        )
    ]
    assert held == [["v0001"], [], ["v0001"]]
    model = champion.read()
    rows = exported.delivered(5)
    predicted = model.predict(rows, model.classes)
    swapped = model.predict(rows, model.classes[::-1])
    np.testing.assert_allclose(predicted, 1 - swapped)
    assert model.fitted.hashes.tolist() == exported.FITTED.hashes.tolist()
    assert model.positive_class == "yes"
    with pytest.raises(UnusableTable, match="lacks"):
        model.predict(rows.iloc[:, :1], model.classes)


def test_it_is_judged_on_rows_as_its_own_schema_makes_them(tmp_path):
    """A gap has the default of its schema, a column that is not delivered is added, and
    texts are read.
    """
    champion = published(UPath(tmp_path), exported.package())
    schema = load_schema(
        "columns:\n"
        "  distance: {default: 700.0, dtype: float64, coerce: true}\n"
        "  carrier: {default: AA}\n"
        "add_missing_columns: true"
    )
    model = replace(load_model(str(champion.exported.folder)), schema=schema)
    del model.reading.raw_types["carrier"]  # it was trained on a table without it
    read = as_champion(model, exported.FITTED)
    whole = exported.delivered(50).fillna({"distance": 700.0}).assign(carrier="AA")
    gaps = whole["distance"].astype("str").mask(whole["distance"] == 700.0)
    delivered = whole.assign(distance=gaps).drop(columns="carrier")
    predictions = [read.predict(rows, read.classes) for rows in (whole, delivered)]
    np.testing.assert_array_equal(*predictions)


def test_the_best_version_is_found_beside_the_champion(tmp_path):
    """As long as it is not retired."""
    comparison = ChampionComparison("v0001", "roc_auc", 0.0)
    registry = Registry(UPath(tmp_path), "flights")
    for number in range(2):
        package = exported.package(
            fingerprint=f"{number}" * 64, champions=(comparison,) * number
        )
        registry.publish(package, lambda _: None)
    versions = find_champions(registry)
    roles = [(version.version, version.role) for version in versions]
    assert roles == [("v0002", "champion"), ("v0001", "best")]
    assert held_against(versions, "e" * 64, Export()) == ["v0002", "v0001"]
    assert held_against(versions, "1" * 64, Export()) == ["v0001"]
    retired = Approval("v0001", "ada", "2026-02-03T04:05:06+00:00", "a leak")
    registry.approve(retired, "retired")
    assert [version.version for version in find_champions(registry)] == ["v0002"]


def test_code_that_the_yaml_does_not_name_is_not_run(tmp_path):
    """A preparation's function is trusted because the experiment names it, not the
    version.
    """
    preparation = {**exported.make_spec().preparation.model_dump(exclude_unset=True)}
    preparation["function"] = "os:getcwd"
    spec = exported.make_spec(preparation=preparation)
    champion = published(UPath(tmp_path), exported.package(spec=spec))
    with pytest.raises(InvalidModel, match="code that is not part of experiment-pipel"):
        champion.read()
    assert champion.read(["os:getcwd"]).target == "late"


def test_a_champion_that_predicts_otherwise_here_is_no_yardstick(tmp_path):
    """Other libraries may change what an old model says, or break it."""
    package = exported.package()
    predictions = json.loads(package.files["expected_predictions.json"])
    predictions["predict_proba"][0] = [0.123, 0.877]
    for fingerprint, changed, rule in (
        ("f", {}, "its files are damaged"),
        ("e", predictions, "predictions here differ"),
    ):
        package = exported.package(fingerprint=fingerprint * 64)
        content = {"expected_predictions.json": json.dumps(changed).encode()}
        package = replace(package, files={**package.files, **content})
        with pytest.raises(InvalidModel, match=rule):
            published(UPath(tmp_path), package).read()


def test_a_damaged_champion_is_refused_and_is_no_known_model(tmp_path):
    """A changed file is named; a damaged manifest is nobody's fingerprint."""
    champion = published(UPath(tmp_path), exported.package())
    write_bytes(champion.exported.folder / "model.skops", b"other")
    with pytest.raises(InvalidModel, match=r"model\.skops"):
        champion.read()
    write_bytes(champion.exported.folder / "manifest.json", b"{")
    (again,) = find_champions(Registry(UPath(tmp_path), "flights"))
    assert again.fingerprint == ""
    with pytest.raises(InvalidModel, match="manifest"):
        again.read()


def test_it_predicts_in_parts(tmp_path, monkeypatch):
    """The same as all rows at once, also of a table that holds no cells itself."""
    model = published(UPath(tmp_path), exported.package()).read()
    rows = exported.delivered(300)
    at_once = model.predict(rows, model.classes)
    monkeypatch.setattr(champions, "SLICE_ROWS", 37)
    np.testing.assert_array_equal(model.predict(on_map(rows), model.classes), at_once)
