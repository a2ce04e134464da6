"""Results of a stage by fingerprint: written once, checked when read, in quarantine when damaged."""

from collections.abc import Callable
from types import NoneType

import pytest
from upath import UPath

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.storage.entries import RESULT, Entries
from experiment_pipeline.storage.files import list_names, read_bytes, remove, write_bytes

FILES = {"report.json": b'{"a": 1}', "report.html": b"<html></html>"}
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut short": lambda content: content[:5],
    "no object": lambda content: b"[1]",
}


@pytest.fixture
def store(place: UPath) -> Entries[None]:
    """A store on a disk, and one in a bucket."""
    return Entries(place, "clinic", "data_analysis", NoneType)


def told_never(damage: str) -> None:
    """Whoever must not be told of damage."""
    raise AssertionError(damage)


def test_a_result_is_written_once(store: Entries[None]) -> None:
    """A second writer gets what is there."""
    assert store.intact("f", told_never) is None
    store.put("f", FILES, None)
    assert store.put("f", {"report.json": b"other"}, None).files == FILES
    assert store.intact("f", told_never).files == FILES


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["report", "result"])
def test_a_damaged_result_goes_into_quarantine_and_is_told(
    store: Entries[None], name: str, damage: str
) -> None:
    """It is an error that names the file to who must have it, and none to who can make it again."""
    store.put("f", FILES, None)
    folder = store.root / "clinic" / "data_analysis" / "f"
    path = folder / next(one for one in list_names(folder) if one.startswith(name))
    damaged = DAMAGE[damage](read_bytes(path))
    write_bytes(path, damaged)
    with pytest.raises(EntryCorrupt) as caught:
        store.require("f")
    assert caught.value.culprit == str(path)
    told = []
    assert store.intact("f", told.append) is None
    assert told[0].startswith(f"{path} is not what was written: the entry was moved to ")
    quarantine = store.root / "clinic" / "damaged" / "data_analysis" / "f"
    (time,) = list_names(quarantine)
    assert read_bytes(quarantine / time / path.name) == damaged
    assert store.put("f", FILES, None).files == FILES


@pytest.mark.parametrize(
    "written",
    [b'{"report.json": "44904fae"}', b'{"result": {}, "files": {}, "sha256": "2a6a33ee"}'],
    ids=["of a stage", "of a model"],
)
def test_an_entry_of_an_older_version_is_no_damage_in_words(
    store: Entries[None], written: bytes
) -> None:
    """After an update it is moved away and made again, and nobody looks for a broken disk."""
    store.put("f", FILES, None)
    write_bytes(store.root / "clinic" / "data_analysis" / "f" / RESULT, written)
    told = []
    assert store.intact("f", told.append) is None
    assert "is of an older version of this package: the entry was moved to " in told[0]
    assert store.put("f", FILES, None).files == FILES


def test_a_file_that_is_gone_is_damage(store: Entries[None]) -> None:
    """Without one of its files a result is none."""
    store.put("f", FILES, None)
    folder = store.root / "clinic" / "data_analysis" / "f"
    (gone,) = (name for name in list_names(folder) if name.endswith(".html"))
    remove(folder / gone)
    with pytest.raises(EntryCorrupt, match="is gone"):
        store.get("f")
    assert RESULT in list_names(folder)
