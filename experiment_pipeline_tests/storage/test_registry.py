"""Versions of an exported model: whole or absent, numbered once, proven first."""

import json
import runpy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, InvalidModel, PredictionsChanged
from experiment_pipeline.storage import registry as registry_module
from experiment_pipeline.storage.files import (
    files_below,
    read_bytes,
    remove,
    write_bytes,
)
from experiment_pipeline.storage.provenance import CodeProvenance, cpu_kernel
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import (
    DECISIVE,
    Approval,
    ModelPackage,
    PublishedVersion,
    Registry,
    find_model,
)
from experiment_pipeline_tests import exported

HEADLINE = "roc_auc 0.7 (0.6 to 0.8) on validation"


def package(model: bytes = b"model", **files: bytes) -> ModelPackage:
    """Files that stand for a model; the registry never looks into them."""
    return ModelPackage(
        experiment="flights",
        created="2026-01-02T03:04:05+00:00",
        fingerprint="f" * 64,
        configuration="linear__C=1.0",
        headline=HEADLINE,
        code=CodeProvenance("c" * 40, dirty=False),
        files=dict.fromkeys(DECISIVE, b"{}") | {"model.skops": model} | files,
    )


def guarded(model: bytes = b"model") -> ModelPackage:
    """A model that must be approved."""
    return replace(package(model), approval_required=True)


def accept(_: ModelPackage) -> None:
    """A check that finds nothing."""


def published(registry: Registry, *packages: ModelPackage) -> PublishedVersion:
    """Publish packages, one after the other; the last one as it was published."""
    return [registry.publish(package, accept) for package in packages][-1]


def approval(version: str = "v0001", by: str = "ada") -> Approval:
    """What a person decides."""
    return Approval(version, by, "2026-02-03T04:05:06+00:00")


@pytest.fixture
def registry(place: UPath) -> Registry:
    """An empty registry, once on a disk and once in a bucket."""
    return Registry(place, "flights")


@pytest.fixture
def disk(storage) -> Registry:
    """An empty registry on a disk."""
    return Registry(UPath(storage), "flights")


def test_a_version_is_written_with_its_manifest(registry: Registry):
    """Files, claim, history and manifest; the same model again adds no file."""
    first = published(registry, package())
    assert (first.version, first.reused) == ("v0001", False)
    model = registry.model("v0001")
    assert model.read("model.skops") == b"model"
    assert model.files().keys() == {*package().files, "manifest.json"}
    assert model.manifest.cpu == cpu_kernel() != ""
    before = files_below(registry.folder).keys()
    assert {"claims/v0001.json", "history/v0001.json"} <= before
    again = published(registry, package(**{"README.md": b"a later card"}))
    assert (again.version, again.reused) == ("v0001", True)
    assert files_below(registry.folder).keys() == before


def test_the_champion_is_the_latest_version(disk: Registry):
    """A model that comes back after another is a new version, and the champion."""
    assert disk.champion() is None
    published(disk, package(b"one"), package(b"two"), package(b"one"))
    assert disk.versions() == ["v0001", "v0002", "v0003"]
    assert disk.champion() == "v0003"
    assert disk.model("v0003").read("model.skops") == b"one"


def test_what_a_dead_exporter_left_is_never_read(registry: Registry, monkeypatch):
    """A version without manifest does not exist, and its number is not used again."""

    def die(version: str) -> dict[str, bytes]:
        write_bytes(registry.folder / version / "model.skops", b"half")
        raise ZeroDivisionError

    monkeypatch.setattr(registry_module, "SECONDS_TO_PUBLISH", 0.2)
    with pytest.raises(ZeroDivisionError):
        published(registry, replace(package(), numbered_files=die))
    assert registry.champion() is None
    assert (registry.versions(), registry.history()) == ([], [])
    assert published(registry, package()).version == "v0002"
    assert registry.versions() == ["v0002"]


def test_history_and_numbers_outlast_deleted_versions(disk: Registry):
    """One entry per version, oldest first; v10000 comes after v9999."""
    published(disk, package(b"one"), package(b"two"))
    remove(disk.folder / "v0001")
    first, second = disk.history()
    assert (first.version, first.visible) == ("v0001", False)
    assert (second.version, second.visible) == ("v0002", True)
    assert second.headline == HEADLINE
    write_bytes(disk.folder / "claims" / "v9999.json", b"{}")
    assert published(disk, package(b"next")).version == "v10000"
    assert disk.champion() == "v10000"
    write_bytes(disk.folder / "history" / "v0001.json", b"{")
    with pytest.raises(EntryCorrupt, match="v0001"):
        disk.history()


def test_a_failed_check_leaves_nothing(disk: Registry):
    """A package that does not pass takes no number and writes no file."""

    def refuse(_: ModelPackage) -> None:
        raise PredictionsChanged("it", "predicts otherwise", "do not")

    with pytest.raises(PredictionsChanged):
        disk.publish(package(), refuse)
    assert files_below(disk.folder) == {}


def test_exporters_at_once_get_a_number_each(registry: Registry):
    """Four models at once are four whole versions."""
    models = [f"model {number}".encode() for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda model: published(registry, package(model)), models))
    assert {version.version for version in done} == {*registry.versions()}
    for version, model in zip(done, models, strict=True):
        assert registry.model(version.version).read("model.skops") == model


def test_exporters_of_one_model_at_once_get_one_version(registry: Registry):
    """All have checked it before the first has published it."""
    checked = Barrier(3)

    def publish(_: int) -> PublishedVersion:
        return registry.publish(package(), lambda _: checked.wait() and None)

    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(publish, range(3)))
    (first,) = registry.versions()
    assert {version.version for version in versions} == {first}
    assert sorted(version.reused for version in versions) == [False, True, True]


def test_a_killed_exporter_is_not_waited_for_long(disk: Registry, monkeypatch):
    """Its claim stays, and the next exporter of its model publishes another number."""
    monkeypatch.setattr(registry_module, "SECONDS_TO_PUBLISH", 0.2)
    claim = to_json({"created": "", "identity": package().identity})
    write_bytes(disk.folder / "claims" / "v0001.json", claim)
    assert published(disk, package()).version == "v0002"


def test_a_model_published_during_the_check_is_found(disk: Registry):
    """Who checked while another exporter published the same model uses that version."""

    def overtaken(_: ModelPackage) -> None:
        published(disk, package())

    assert disk.publish(package(), overtaken).reused
    assert disk.versions() == ["v0001"]


def test_a_changed_file_is_never_used(disk: Registry):
    """Changed, gone or unknown to the manifest: an error that names the file."""
    published(disk, package())
    path = disk.folder / "v0001" / "schema.yaml"
    write_bytes(path, b"#")
    with pytest.raises(InvalidModel, match=r"schema\.yaml: is not what was"):
        disk.model("v0001").read("schema.yaml")
    remove(path)
    with pytest.raises(InvalidModel, match=r"schema\.yaml: is gone"):
        disk.model("v0001").read("schema.yaml")
    with pytest.raises(InvalidModel, match=r"/other: is not in the manifest"):
        disk.model("v0001").read("other")


@pytest.mark.parametrize("name", ["model.skops", "manifest.json"])
def test_a_damaged_champion_is_followed_by_its_model(disk: Registry, name: str):
    """The same model becomes the next version; the damaged file is named and stays."""
    published(disk, package())
    path = disk.folder / "v0001" / name
    damaged = read_bytes(path)[:3]
    write_bytes(path, damaged)
    again = published(disk, package(**{"README.md": b"the card"}))
    assert (again.version, again.reused) == ("v0002", False)
    assert str(path) in again.damaged
    assert read_bytes(path) == damaged
    assert disk.model("v0002").read("README.md") == b"the card"
    after = published(disk, package())
    assert (after.version, after.reused, after.damaged) == ("v0002", True, None)


def test_a_model_is_found_by_folder_root_or_name(disk: Registry):
    """A version's folder, <root>/<experiment>, and an experiment's name lead to it."""
    with pytest.raises(InvalidModel, match="neither the folder of a version nor"):
        find_model("flights")
    with pytest.raises(InvalidModel, match=r"holds no manifest\.json"):
        disk.model("v0001").read("schema.yaml")
    version = published(disk, package())
    for name in (version.path, str(disk.root / "flights"), "flights"):
        assert find_model(name).manifest.version == "v0001"


def test_a_model_that_predicts_otherwise_is_found_out(tmp_path):
    """Expected predictions that differ in the last digit fail the version's check."""
    files = dict(exported.package().files)
    expected = json.loads(files["expected_predictions.json"])
    expected["predict_proba"][2][0] *= 1 + 1e-15
    files["expected_predictions.json"] = json.dumps(expected).encode()
    for name, content in files.items():
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
    with pytest.raises(SystemExit, match="predict_proba, example row 2: was"):
        runpy.run_path(str(tmp_path / "verify.py"), run_name="__main__")


def test_a_manifest_of_another_experiment_is_no_champion(disk: Registry):
    """Nor one of another version: a folder that was put there by hand is named."""
    published(disk, package())
    files = disk.model("v0001").files()
    trains = Registry(disk.root, "trains")
    for registry, version in ((trains, "v0001"), (disk, "v0002")):
        for name, content in files.items():
            write_bytes(registry.folder / version / name, content)
        model = find_model(str(disk.root / registry.experiment))
        with pytest.raises(InvalidModel, match="manifest of flights v0001, another"):
            model.read("model.skops")


# --- versions that must be approved ---


def test_a_registry_where_all_wait_says_what_to_do(disk: Registry):
    """Without a champion, the error names the version and the command."""
    published(disk, guarded())
    assert disk.champion() is None
    with pytest.raises(InvalidModel, match=r"v0001 must be approved first") as caught:
        find_model("flights")
    assert "experiment-pipeline approve flights v0001 --by NAME" in caught.value.fix
    assert find_model(str(disk.folder / "v0001")).manifest.version == "v0001"
    free = published(disk, package())
    assert (free.version, free.reused) == ("v0002", False)
    assert disk.champion() == "v0002"


def test_the_champion_is_the_latest_approved_version(disk: Registry):
    """Whatever was published or approved since; the approved model is not new."""
    published(disk, guarded(b"one"), guarded(b"two"), guarded(b"three"))
    disk.approve(approval("v0002"))
    disk.approve(approval("v0001"))
    assert disk.champion() == "v0002"
    again = published(disk, guarded(b"two"))
    assert (again.version, again.reused) == ("v0002", True)
    waiting = published(disk, guarded(b"three"))
    assert (waiting.version, waiting.reused) == ("v0003", True)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", to_json(approval(by="")), to_json(approval("v0009"))],
    ids=["empty", "cut short", "nobody", "another version"],
)
def test_a_file_that_is_no_approval_approves_nothing(disk: Registry, content):
    """The version waits on, and whoever approves it learns which file to delete."""
    published(disk, guarded())
    path = disk.folder / "approvals" / "v0001.json"
    write_bytes(path, content)
    assert (disk.waiting(), disk.champion()) == ({"v0001"}, None)
    with pytest.raises(EntryCorrupt, match="is not a decision about v0001") as caught:
        disk.approve(approval())
    assert caught.value.culprit == str(path)


def test_of_two_approvers_at_once_one_is_recorded(registry: Registry):
    """Both get the same name; nothing is overwritten."""
    published(registry, guarded())
    people = ["ada", "bob", "cleo", "dan"]
    with ThreadPoolExecutor(4) as pool:
        counted = [
            *pool.map(lambda by: registry.approve(approval(by=by)), people),
            registry.approve(approval(by="eve")),
        ]
    assert {decision.by for decision in counted} <= {*people}
    assert counted == [registry.approvals()["v0001"]] * 5


@pytest.mark.parametrize("version", ["v0002", "../v0001"])
def test_an_unknown_version_is_not_approved(version: str, disk: Registry):
    """The error names those that there are, and nothing is written."""
    published(disk, guarded())
    with pytest.raises(InvalidModel, match="no such version is published") as caught:
        disk.approve(approval(version))
    assert "v0001" in caught.value.rule
    assert disk.approvals() == {}
    assert disk.waiting() == {"v0001"}
