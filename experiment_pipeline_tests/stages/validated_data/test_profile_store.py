"""Profiles are kept under their digest; the latest note counts."""

import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline.stages.validated_data.accepted import DataProfiles
from experiment_pipeline.stages.validated_data.profile import DataProfile, profile
from experiment_pipeline.storage.files import list_names, write_bytes


def made(value: int) -> DataProfile:
    """A profile that differs by its value."""
    return profile(pd.DataFrame({"a": [value] * 5}), value / 10)


def hears_nothing(damage: str) -> None:
    """Whoever must not be told of damage."""
    raise AssertionError(damage)


def test_nothing_is_previous_or_accepted_at_first(place: UPath) -> None:
    """An empty store has neither."""
    store = DataProfiles(place, "clinic")
    assert store.previous(hears_nothing) is None
    assert store.accepted(hears_nothing) is None


def test_the_latest_note_counts(place: UPath) -> None:
    """Runs and exports are noted apart, and one that comes back counts again."""
    store = DataProfiles(place, "clinic")
    for value in (1, 2):
        store.put(made(value))
    for value in (1, 2, 2, 1):
        store.note_run(made(value).digest)
    store.accept(made(2).digest)
    assert store.previous(hears_nothing) == made(1)
    assert store.accepted(hears_nothing) == made(2)
    assert len(list_names(store.folder / "runs")) == 3


@pytest.mark.parametrize("note", [b"", b"{}", b"[1]", b'{"profile": "0"}'])
def test_the_version_before_a_damaged_one_counts(place: UPath, note: bytes) -> None:
    """A damaged note, or one about a damaged profile, is told by its file and passed over."""
    store = DataProfiles(place, "clinic")
    for value in (1, 2):
        store.put(made(value))
        store.accept(made(value).digest)
    damaged = store.folder / f"{made(2).digest}.json"
    write_bytes(damaged, made(1).to_bytes())
    write_bytes(store.folder / "accepted" / "99990101T000000.json", note)
    told = []
    assert store.accepted(told.append) == made(1)
    assert len(told) == 2
    assert told[1].startswith(f"{damaged} is not what was written")


def test_the_same_profile_again_mends_a_damaged_one(place: UPath) -> None:
    """An unchanged table finds its accepted version again."""
    store = DataProfiles(place, "clinic")
    store.put(made(1))
    store.accept(made(1).digest)
    write_bytes(store.folder / f"{made(1).digest}.json", b"{")
    store.put(made(1))
    assert store.accepted(hears_nothing) == made(1)


def test_a_note_after_a_damaged_one_is_written(place: UPath) -> None:
    """A damaged note is never taken for one of the same profile."""
    store = DataProfiles(place, "clinic")
    store.put(made(1))
    store.accept(made(1).digest)
    write_bytes(store.folder / "accepted" / list_names(store.folder / "accepted")[0], b"")
    store.accept(made(1).digest)
    assert store.accepted(hears_nothing) == made(1)
