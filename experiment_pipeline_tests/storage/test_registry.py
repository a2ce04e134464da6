"""Versions of an exported model: visible at once or never, numbered once,
proven first.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, InvalidModel, PredictionsChanged
from experiment_pipeline.stages.exported_model.export import (
    check_in_fresh_process,
)
from experiment_pipeline.storage import registry as storage_registry
from experiment_pipeline.storage.files import read_bytes, remove, write_bytes
from experiment_pipeline.storage.provenance import CodeProvenance, cpu_kernel
from experiment_pipeline.storage.records import to_json
from experiment_pipeline.storage.registry import (
    Approval,
    ModelPackage,
    Registry,
    find_model,
)
from experiment_pipeline_tests import exported

CREATED = "2026-01-02T03:04:05+00:00"


def package(model: bytes = b"model", **files: bytes) -> ModelPackage:
    """Files that stand for a model; the registry never looks into them."""
    decisive = {
        "trusted_types.json": b"[]",
        **dict.fromkeys(
            ("preparation.yaml", "schema.yaml", "hyperparameters.yaml"), b""
        ),
        **dict.fromkeys(("signature.json", "sets.json", "intervals.json"), b"{}"),
    }
    return ModelPackage(
        experiment="flights",
        created=CREATED,
        fingerprint="f" * 64,
        configuration="linear__C=1.0",
        headline="roc_auc 0.7 (0.6 to 0.8) on validation",
        code=CodeProvenance("c" * 40, dirty=False),
        files={"model.skops": model, **decisive, **files},
    )


def accept(_: ModelPackage) -> None:
    """A check that finds nothing."""


@pytest.fixture
def registry(place: UPath) -> Registry:
    """An empty registry, once on a disk and once in a bucket."""
    return Registry(place, "flights")


@pytest.fixture
def disk(tmp_path: Path) -> Registry:
    """An empty registry on a disk."""
    return Registry(UPath(tmp_path), "flights")


def names(folder: UPath) -> list[str]:
    """Every file in a folder and those below."""
    found = folder.fs.find(folder.path)
    return sorted(name.removeprefix(folder.path).strip("/") for name in found)


def test_a_version_is_written_with_its_manifest(registry: Registry) -> None:
    """Files, claim, history and manifest; the same model again adds no file."""
    published = registry.publish(package(), accept)
    assert (published.version, published.reused) == ("v0001", False)
    model = registry.model("v0001")
    assert model.read("model.skops") == b"model"
    assert model.files().keys() == {*package().files, "manifest.json"}
    assert model.manifest.cpu == cpu_kernel() != ""
    assert {"claims/v0001.json", "history/v0001.json"} <= set(
        before := names(registry.folder)
    )
    again = registry.publish(package(**{"README.md": b"a later card"}), accept)
    assert (again.version, again.reused) == ("v0001", True)
    assert names(registry.folder) == before


def test_the_champion_is_the_latest_version(registry: Registry) -> None:
    """A model that comes back after another is a new version, and the champion."""
    assert registry.champion() is None
    for model in (b"one", b"two", b"one"):
        registry.publish(package(model), accept)
    assert registry.versions() == ["v0001", "v0002", "v0003"]
    assert registry.champion() == "v0003"
    assert registry.model("v0003").read("model.skops") == b"one"


def test_what_a_dead_exporter_left_is_never_read(
    registry: Registry, monkeypatch
) -> None:
    """A version without its manifest does not exist, and its number is not
    used again.
    """
    monkeypatch.setattr(storage_registry, "_PATIENCE", 0.1)

    class KilledError(Exception):
        pass

    class Dying(dict):
        def items(self):
            yield "model.skops", b"half"
            raise KilledError

    dying = ModelPackage(**{**vars(package()), "files": Dying(package().files)})
    with pytest.raises(KilledError):
        registry.publish(dying, accept)
    assert registry.champion() is None
    assert (registry.versions(), registry.history()) == ([], [])
    assert registry.publish(package(), accept).version == "v0002"
    assert registry.versions() == ["v0002"]


def test_history_and_numbers_outlast_deleted_versions(registry: Registry) -> None:
    """One entry per version, oldest first; v10000 comes after v9999."""
    for model in (b"one", b"two"):
        registry.publish(package(model), accept)
    remove(registry.folder / "v0001")
    first, second = registry.history()
    assert (first.version, first.visible) == ("v0001", False)
    assert (second.version, second.visible) == ("v0002", True)
    assert second.headline == "roc_auc 0.7 (0.6 to 0.8) on validation"
    write_bytes(registry.folder / "claims" / "v9999.json", b"{}")
    assert registry.publish(package(b"next"), accept).version == "v10000"
    assert registry.champion() == "v10000"
    write_bytes(registry.folder / "history" / "v0001.json", b"{")
    with pytest.raises(EntryCorrupt, match="v0001"):
        registry.history()


def test_a_failed_check_leaves_nothing(registry: Registry) -> None:
    """A package that does not pass takes no number and writes no file."""

    def refuse(_: ModelPackage) -> None:
        raise PredictionsChanged("it", "predicts otherwise", "do not")

    with pytest.raises(PredictionsChanged):
        registry.publish(package(), refuse)
    assert names(registry.folder) == []


@pytest.mark.parametrize("different", [4, 1])
def test_exporters_at_once_share_a_version_for_one_model_alone(
    registry: Registry, different: int
):
    """Four models get four numbers; exporters of one wait for the one that took the
    first number.
    """
    models = [f"model {number % different}".encode() for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        published = list(
            pool.map(lambda model: registry.publish(package(model), accept), models)
        )
    assert (
        len({one.version for one in published}) == len(registry.versions()) == different
    )
    for one, model in zip(published, models, strict=True):
        assert registry.model(one.version).read("model.skops") == model


def test_a_model_published_during_the_check_is_found(registry: Registry) -> None:
    """Who checked while another exporter published the same model uses that version."""

    def overtaken(_: ModelPackage) -> None:
        registry.publish(package(), accept)

    assert registry.publish(package(), overtaken).reused
    assert registry.versions() == ["v0001"]


def test_a_changed_file_is_never_used(registry: Registry) -> None:
    """One byte more, or a file gone: an error that names the file."""
    registry.publish(package(), accept)
    path = registry.folder / "v0001" / "schema.yaml"
    write_bytes(path, b"#")
    with pytest.raises(InvalidModel, match=r"schema\.yaml: sha256"):
        registry.model("v0001").read("schema.yaml")
    remove(path)
    with pytest.raises(InvalidModel, match=r"schema\.yaml: is gone"):
        registry.model("v0001").read("schema.yaml")


@pytest.mark.parametrize("name", ["model.skops", "manifest.json"])
def test_a_damaged_champion_is_followed_by_its_model(disk: Registry, name: str) -> None:
    """The same model becomes the next version, it is said which file is damaged, and
    that stays.
    """
    one = package(**{"README.md": b"the card"})
    disk.publish(one, accept)
    path = disk.folder / "v0001" / name
    damaged = read_bytes(path)[:3]
    write_bytes(path, damaged)
    again = disk.publish(one, accept)
    assert (again.version, again.reused) == ("v0002", False)
    assert str(path) in again.damaged
    assert read_bytes(path) == damaged
    assert disk.model("v0002").read("README.md") == b"the card"
    after = disk.publish(one, accept)
    assert (after.version, after.reused, after.damaged) == ("v0002", True, None)


def test_a_model_is_found_by_folder_root_or_name(registry: Registry) -> None:
    """A version's folder, <root>/<experiment>, and an experiment's name lead to it;
    else an error.
    """
    with pytest.raises(InvalidModel, match="neither the folder of a version nor"):
        find_model("flights")
    with pytest.raises(InvalidModel, match=r"holds no manifest\.json"):
        registry.model("v0001").read("schema.yaml")
    published = registry.publish(package(), accept)
    for name in (published.path, str(registry.root / "flights"), "flights"):
        assert find_model(name).manifest.version == "v0001"


def test_a_model_that_predicts_otherwise_is_refused(disk: Registry) -> None:
    """Expected predictions that differ in the last digit stop the publication."""
    files = dict(exported.package().files)
    expected = json.loads(files["expected_predictions.json"])
    expected["predict_proba"][2][0] += 1e-16
    expected["predict_proba"][2][0] *= 1 + 1e-15
    files["expected_predictions.json"] = json.dumps(expected).encode()
    changed = ModelPackage(**{**vars(exported.package()), "files": files})
    with pytest.raises(PredictionsChanged, match="predict_proba, example row 2: was"):
        disk.publish(changed, check_in_fresh_process)
    assert disk.champion() is None


# --- versions that must be approved ---

AT = "2026-02-03T04:05:06+00:00"


def guarded(model: bytes = b"model") -> ModelPackage:
    """A model that must be approved."""
    return replace(package(model), approval_required=True)


def test_a_registry_where_all_wait_says_what_to_do(registry: Registry) -> None:
    """The error names the version and the command; without the YAML's key the model is
    champion.
    """
    registry.publish(guarded(), accept)
    assert registry.champion() is None
    with pytest.raises(InvalidModel, match=r"v0001 must be approved first") as caught:
        find_model("flights")
    assert "experiment-pipeline approve flights v0001 --by NAME" in caught.value.fix
    assert find_model(str(registry.folder / "v0001")).manifest.version == "v0001"
    published = registry.publish(package(), accept)
    assert (published.version, published.reused) == ("v0002", False)
    assert registry.champion() == "v0002"


def test_the_champion_is_the_latest_approved_version(registry: Registry) -> None:
    """Whatever was published or approved since; the approved model again is not a new
    version.
    """
    for model in (b"one", b"two", b"three"):
        registry.publish(guarded(model), accept)
    registry.approve(Approval("v0002", "ada", AT))
    registry.approve(Approval("v0001", "ada", AT))
    assert registry.champion() == "v0002"
    again = registry.publish(guarded(b"two"), accept)
    assert (again.version, again.reused) == ("v0002", True)
    waiting = registry.publish(guarded(b"three"), accept)
    assert (waiting.version, waiting.reused) == ("v0003", True)
    path = registry.folder / "approvals" / "v0001.json"
    write_bytes(path, b"{")
    with pytest.raises(EntryCorrupt) as caught:
        registry.approvals()
    assert caught.value.culprit == str(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        to_json(Approval("v0001", "", AT)),
        to_json(Approval("v0009", "ada", AT)),
    ],
    ids=["empty", "cut short", "nobody", "another version"],
)
def test_a_file_that_is_no_approval_approves_nothing(
    disk: Registry, content: bytes
) -> None:
    """The version waits on, and whoever approves it is told which file to delete."""
    disk.publish(guarded(), accept)
    write_bytes(disk.folder / "approvals" / "v0001.json", content)
    assert (disk.waiting(), disk.champion()) == ({"v0001"}, None)
    with pytest.raises(
        EntryCorrupt, match=r"v0001\.json: is not a decision about v0001"
    ):
        disk.approve(Approval("v0001", "ada", AT))


def test_a_manifest_of_another_experiment_is_no_champion(disk: Registry) -> None:
    """Nor one of another version: a folder that was put there by hand is named."""
    disk.publish(package(), accept)
    other = Registry(disk.root, "trains")
    for registry, version in ((other, "v0001"), (disk, "v0002")):
        for name in (*package().files, "manifest.json"):
            write_bytes(
                registry.folder / version / name, disk.model("v0001").files()[name]
            )
        with pytest.raises(
            InvalidModel, match="is the manifest of flights v0001, another model"
        ):
            find_model(str(disk.root / registry.experiment)).read("model.skops")


def test_of_two_approvers_at_once_one_is_recorded(registry: Registry) -> None:
    """Both are told the same name; nothing is overwritten."""
    registry.publish(guarded(), accept)
    people = ["ada", "bob", "cleo", "dan"]
    with ThreadPoolExecutor(4) as pool:
        given = list(
            pool.map(lambda by: registry.approve(Approval("v0001", by, AT)), people)
        )
    assert len({one.by for one in given}) == 1
    assert registry.approvals()["v0001"] == given[0]
    assert registry.approve(Approval("v0001", "eve", AT)) == given[0]


@pytest.mark.parametrize("version", ["v0002", "v1", "../v0001", ""])
def test_an_unknown_version_is_not_approved(version: str, registry: Registry) -> None:
    """The error names those that there are, and nothing is written."""
    registry.publish(guarded(), accept)
    with pytest.raises(InvalidModel, match="no such version is published") as caught:
        registry.approve(Approval(version, "ada", AT))
    assert "v0001" in caught.value.rule
    assert registry.approvals() == {}
    assert registry.waiting() == {"v0001"}
