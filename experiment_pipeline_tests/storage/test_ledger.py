"""The ledger of looks at the validation set loses none and counts the right ones."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from upath import UPath

from experiment_pipeline.core.errors import EntryCorrupt
from experiment_pipeline.storage.files import list_names, read_bytes, write_bytes
from experiment_pipeline.storage.ledger import Ledger

ROWS, OTHER_ROWS = "a" * 64, "b" * 64
MODEL, OTHER_MODEL = "1" * 64, "2" * 64


def test_looks_are_kept_with_time_rows_and_model(place: UPath) -> None:
    """Every look is there, oldest first, also a second one with the same model."""
    ledger = Ledger(place, "flights")
    assert ledger.looks(ROWS) == []
    looks = [ledger.record_look(ROWS, model) for model in (MODEL, OTHER_MODEL, MODEL)]
    assert ledger.looks(ROWS) == looks
    age = datetime.now(UTC) - datetime.fromisoformat(looks[0].at)
    assert timedelta() <= age < timedelta(minutes=1)


def test_only_looks_at_the_same_rows_count(place: UPath) -> None:
    """Looks at other rows do not count, not even where the digests begin alike."""
    ledger = Ledger(place, "flights")
    look = ledger.record_look(ROWS, MODEL)
    ledger.record_look(OTHER_ROWS, MODEL)
    ledger.record_look(ROWS[:-1] + "0", MODEL)
    ledger.record_look(OTHER_ROWS, ROWS)
    Ledger(place, "another").record_look(ROWS, MODEL)
    assert ledger.looks(ROWS) == [look]


def test_looks_of_many_runs_at_once_are_all_kept(place: UPath) -> None:
    """Forty looks by eight threads, and ten by another process, are fifty looks."""
    ledger = Ledger(place, "flights")
    code = (
        "from experiment_pipeline.storage.files import storage_root\n"
        "from experiment_pipeline.storage.ledger import Ledger\n"
        f"for _ in range(10): Ledger(storage_root(), 'flights').record_look('{ROWS}', '{MODEL}')"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ledger.record_look(ROWS, MODEL), range(40)))
    assert process.wait() == 0
    looks = ledger.looks(ROWS)
    assert len(looks) == 50
    assert looks == sorted(looks, key=lambda look: look.at)


def test_a_name_tells_when_what_and_by_which_model(place: UPath) -> None:
    """The file of a look can be understood from its name."""
    look = Ledger(place, "flights").record_look(ROWS, MODEL)
    (name,) = list_names(Ledger(place, "flights").folder)
    at, rows, model, _ = name.removesuffix(".json").split("-")
    assert datetime.strptime(at, "%Y%m%dT%H%M%S.%f%z") == datetime.fromisoformat(look.at)
    assert (rows, model) == (ROWS[:12], MODEL[:12])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"at": "2026-01-01"}'])
def test_a_damaged_look_is_named(place: UPath, content: bytes) -> None:
    """A file of the ledger that cannot be read is an error, not one look less."""
    ledger = Ledger(place, "flights")
    ledger.record_look(ROWS, MODEL)
    (name,) = list_names(ledger.folder)
    assert read_bytes(ledger.folder / name)
    write_bytes(ledger.folder / name, content)
    with pytest.raises(EntryCorrupt) as caught:
        ledger.looks(ROWS)
    assert caught.value.culprit == str(ledger.folder / name)
