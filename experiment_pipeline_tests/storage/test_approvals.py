"""A version that must be approved: no champion before, whoever approves it, once and for all."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt, InvalidModel
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.registry import Approval, Registry, find_model
from experiment_pipeline.storage.versions import ModelPackage
from experiment_pipeline_tests.storage.test_registry import accept, package

AT = "2026-02-03T04:05:06+00:00"


@pytest.fixture
def registry(place: UPath) -> Registry:
    """An empty registry, once on a disk and once in a bucket."""
    return Registry(place, "flights")


def guarded(model: bytes = b"model") -> ModelPackage:
    """A model that must be approved."""
    return replace(package(model), approval_required=True)


def test_a_version_is_no_champion_before_somebody_approves_it(registry: Registry) -> None:
    """It is published, listed and waits; the champion before stays until it is approved."""
    registry.publish(package(b"old"), accept)
    registry.publish(guarded(), accept)
    assert registry.versions() == ["v0001", "v0002"]
    assert registry.waiting() == {"v0002"}
    assert registry.champion() == "v0001"
    assert find_model("flights").manifest.version == "v0001"
    registry.approve(Approval("v0002", "ada", AT, "read the record"))
    assert registry.waiting() == set()
    assert registry.champion() == "v0002"
    assert find_model("flights").manifest.version == "v0002"
    assert registry.approvals() == {"v0002": Approval("v0002", "ada", AT, "read the record")}


def test_a_registry_where_all_wait_says_what_to_do(registry: Registry) -> None:
    """The error names the version and the command; without the YAML's key the model is champion."""
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
    """Whatever was published or approved since; the approved model again is not a new version."""
    for model in (b"one", b"two", b"three"):
        registry.publish(guarded(model), accept)
    registry.approve(Approval("v0002", "ada", AT))
    registry.approve(Approval("v0001", "ada", AT))
    assert registry.champion() == "v0002"
    again = registry.publish(guarded(b"two"), accept)
    assert (again.version, again.reused) == ("v0002", True)
    path = registry.folder / "approvals" / "v0001.json"
    write_bytes(path, b"{")
    with pytest.raises(EntryCorrupt) as caught:
        registry.approvals()
    assert caught.value.culprit == str(path)


def test_a_rerun_finds_the_version_that_waits(registry: Registry) -> None:
    """The same model is published once, before the approval and after it."""
    registry.publish(guarded(b"old"), accept)
    registry.approve(Approval("v0001", "ada", AT))
    for version in (None, "v0002"):
        if version:
            registry.approve(Approval(version, "ada", AT))
        again = [registry.publish(guarded(), accept) for _ in range(2)][-1]
        assert (again.version, again.reused) == ("v0002", True)
    assert registry.same(guarded(b"old").identity, required=True) is None


def test_of_two_approvers_at_once_one_is_recorded(registry: Registry) -> None:
    """Both are told the same name; nothing is overwritten."""
    registry.publish(guarded(), accept)
    people = ["ada", "bob", "cleo", "dan"]
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(lambda by: registry.approve(Approval("v0001", by, AT)), people))
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
