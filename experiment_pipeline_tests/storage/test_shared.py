"""Files that searches share are removed by the last one at work, and only when it ends well."""

import json
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from upath import UPath

from experiment_pipeline.storage import shared
from experiment_pipeline.storage.processes import Process
from experiment_pipeline.storage.shared import Place, SharedFiles


def search(folder: Path | UPath, say: Callable[[str], object] = print) -> SharedFiles:
    """What a search shares, below a folder."""
    return SharedFiles(Place(str(folder), "e"), print, say)


def make(files: SharedFiles, *digests: str) -> None:
    """Make entries of one file."""
    for digest in digests:
        assert files.lacks(digest)
        files.put(digest, lambda folder: (folder / "a.npy").write_bytes(b"cells"))


def names(folder: Path | UPath, stage: str = "shared") -> list[str]:
    """What lies there and holds a file: SeaweedFS shows removed folders a while longer."""
    place = UPath(folder) / "e" / stage
    return sorted({path.relative_to(place).parts[0] for path in place.rglob("*") if path.is_file()})


def note(folder: Path, process: Process, since: datetime) -> None:
    """Let a process say that it is at work."""
    place = folder / "e" / "leases"
    place.mkdir(parents=True, exist_ok=True)
    said = process.as_noted | {"since": since.isoformat()}
    (place / "other.uses").write_text(json.dumps(said))


def ago(**time: float) -> datetime:
    """So long before now."""
    return datetime.now(UTC) - timedelta(**time)


def test_the_last_search_at_work_removes_what_it_has_not_kept(place: UPath) -> None:
    """One that ends before it leaves every file alone, its own too; nothing else is left of them."""
    said = list[str]()
    with search(place, said.append) as last:
        with search(place, said.append) as first:
            make(first, "mine", "ours")
            assert not last.lacks("ours")
            make(last, "theirs")
            first.keep("mine")
        assert names(place) == ["mine", "ours", "theirs"]
        assert last.find("ours", lambda files: files["a.npy"].read_bytes()) == b"cells"
        assert said == []
        last.keep("ours")
    assert names(place) == ["ours"]
    assert names(place, "leases") == []
    assert said[0].startswith("0 MB of binned rows are kept for later searches")
    with search(place) as another:
        assert not another.lacks("ours")
    assert names(place) == []


def test_a_search_that_fails_leaves_all_to_the_next(tmp_path: Path) -> None:
    """Its lease alone goes, so that the next one removes what is left."""
    with suppress(ZeroDivisionError), search(tmp_path) as files:
        make(files, "a")
        raise ZeroDivisionError
    assert (names(tmp_path), names(tmp_path, "leases")) == (["a"], [])
    with search(tmp_path):
        pass
    assert names(tmp_path) == ["a"]
    with search(tmp_path) as files:
        make(files, "b")
    assert names(tmp_path) == []


def test_what_a_kill_leaves_unfinished_goes_with_the_next_search(tmp_path: Path) -> None:
    """A half made entry, and the lease of a process that is no more."""
    half = tmp_path / "e" / "shared" / "unfinished-1" / "a.bin"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"")
    with subprocess.Popen(["sleep", "60"]) as killed:
        process = Process.here(killed.pid)
        note(tmp_path, process, ago())
        with search(tmp_path) as files:
            make(files, "a")
        assert names(tmp_path) == ["a", "unfinished-1"]
        killed.kill()
    with search(tmp_path) as files:
        assert not files.lacks("a")
        files.keep("a")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path, "leases") == []


@pytest.mark.parametrize(("days", "left"), [(6, ["a"]), (8, [])])
def test_a_search_of_another_machine_is_believed_for_a_week(
    days: int, left: list[str], tmp_path: Path
) -> None:
    """Nobody can ask there whether it still lives."""
    note(tmp_path, Process("elsewhere", 1, "then"), ago(days=days))
    with search(tmp_path) as files:
        make(files, "a")
    assert names(tmp_path) == left


def test_who_comes_while_files_are_removed_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would find files that are gone a moment later."""
    removing, go_on, order = threading.Event(), threading.Event(), list[str]()
    remove = shared.remove

    def slowly(path: UPath) -> None:
        if path.name == "shared":
            removing.set()
            assert go_on.wait(10)
            order.append("removed")
        remove(path)

    monkeypatch.setattr(shared, "remove", slowly)
    monkeypatch.setattr(shared, "_SECONDS_BETWEEN_LOOKS", 0.01)
    first = search(tmp_path)
    make(first, "a")
    ends = threading.Thread(target=first.__exit__, args=(None, None, None))
    ends.start()
    assert removing.wait(10)

    def come() -> None:
        with suppress(ZeroDivisionError), search(tmp_path) as files:
            order.append("lacks it" if files.lacks("a") else "found it")
            raise ZeroDivisionError

    comes = threading.Thread(target=come)
    comes.start()
    comes.join(0.2)
    assert order == []
    go_on.set()
    comes.join(10)
    ends.join(10)
    assert order == ["removed", "lacks it"]
