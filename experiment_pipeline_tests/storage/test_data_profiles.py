"""Profiles are kept under their digest; the latest note counts."""

import pandas as pd
import pytest
from upath import UPath

from experiment_pipeline.core.data_profile import DataProfile, profile
from experiment_pipeline.core.errors import EntryCorrupt
from experiment_pipeline.storage.data_profiles import DataProfiles
from experiment_pipeline.storage.files import list_names, write_bytes


def made(value: int) -> DataProfile:
    """A profile that differs by its value."""
    return profile(pd.DataFrame({"a": [value] * 5}), value / 10)


def test_nothing_is_previous_or_accepted_at_first(place: UPath) -> None:
    """An empty store has neither."""
    store = DataProfiles(place, "clinic")
    assert store.previous() is None
    assert store.accepted() is None


def test_the_latest_note_counts(place: UPath) -> None:
    """Runs and exports are noted apart, and one that comes back counts again."""
    store = DataProfiles(place, "clinic")
    for value in (1, 2):
        store.put(made(value))
    for value in (1, 2, 2, 1):
        store.note_run(made(value).digest)
    store.accept(made(2).digest)
    assert store.previous() == made(1)
    assert store.accepted() == made(2)
    assert len(list_names(store.folder / "runs")) == 3


def test_a_damaged_profile_or_note_is_told(place: UPath) -> None:
    """What is not what was written is an error with the file's name."""
    store = DataProfiles(place, "clinic")
    store.put(made(1))
    store.accept(made(1).digest)
    write_bytes(store.folder / f"{made(1).digest}.json", made(2).to_bytes())
    with pytest.raises(EntryCorrupt, match="is not what was written"):
        store.accepted()
    write_bytes(store.folder / "accepted" / "99990101T000000.json", b"{}")
    with pytest.raises(EntryCorrupt, match="names no profile"):
        store.accepted()
