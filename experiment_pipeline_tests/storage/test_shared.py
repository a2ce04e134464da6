"""Files that a search shares are removed when it ends well, but for those that it keeps."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from upath import UPath

from experiment_pipeline.storage.shared import SharedFiles, SharedFolder


def search(folder: Path | UPath, log: Callable[[str], object] = print) -> SharedFiles:
    """What a search shares, below a folder."""
    return SharedFiles(SharedFolder(str(folder), "e"), print, log)


def make(files: SharedFiles, *digests: str) -> None:
    """Make entries of one file."""
    for digest in digests:
        assert files.lacks(digest)
        files.put(digest, lambda folder: (folder / "a.npy").write_bytes(b"cells"))


def names(folder: Path | UPath) -> list[str]:
    """What lies there and holds a file: SeaweedFS shows removed folders a while longer."""
    place = UPath(folder) / "e" / "shared"
    return sorted({path.relative_to(place).parts[0] for path in place.rglob("*") if path.is_file()})


def test_a_search_that_ends_well_removes_what_it_has_not_kept(place: UPath) -> None:
    """The next one finds what was kept, and removes it unless it keeps it, too."""
    logged = list[str]()
    with search(place, logged.append) as first:
        make(first, "kept", "other")
        first.keep("kept")
    assert names(place) == ["kept"]
    assert logged[0].startswith("0 MB of binned rows are kept for later searches")
    with search(place) as another:
        assert another.find("kept", lambda files: files["a.npy"].read_bytes()) == b"cells"
    assert names(place) == []


def test_a_search_that_fails_leaves_all_to_the_next(tmp_path: Path) -> None:
    """Also what a kill left half made; one that uses no file removes none."""
    half = tmp_path / "e" / "shared" / "unfinished-1" / "a.bin"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"")
    with suppress(ZeroDivisionError), search(tmp_path) as files:
        make(files, "a")
        raise ZeroDivisionError
    with search(tmp_path):
        pass
    assert names(tmp_path) == ["a", "unfinished-1"]
    with search(tmp_path) as files:
        assert not files.lacks("a")
        files.keep("a")
    assert names(tmp_path) == ["a"]
