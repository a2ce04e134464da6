"""Files on a disk that a reader never sees half of, and that a power cut does not lose.

In: a path of the operating system, bytes. Out: the file, whole. Buckets: `files.py`.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(place: Path, data: bytes) -> None:
    """Make a file, or replace it, in one step; folders above it are made."""
    with _written_beside(place, data) as temporary:
        temporary.replace(place)


def create(place: Path, data: bytes) -> bool:
    """Make a file in one step, and return whether it was this call that made it.

    The file system must know hard links: a link is the one thing that both appears whole and
    refuses to replace.
    """
    with _written_beside(place, data) as temporary:
        try:
            place.hardlink_to(temporary)
        except FileExistsError:
            return False
        return True


@contextmanager
def _written_beside(place: Path, data: bytes) -> Iterator[Path]:
    """A hidden file in the same folder, safe on the disk; gone afterwards.

    The folder is synced too: else a power cut could keep a later file and lose this one.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
