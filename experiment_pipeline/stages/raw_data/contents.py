"""What a delivered file is, by its bytes and never by its name: compression, format, encoding.

Refuses what is not a table: HTML, workbooks, archives, images, truncated files. A byte order mark
decides the encoding, else valid UTF-8 is UTF-8. Where most of it is, the first line that is not is
named: no code page is right for a file of two. Else charset-normalizer guesses from the lines that
are not ASCII, among the code pages of Latin alphabets where the other bytes stand alone between
ASCII letters, and the guess is noted. CSV text is read in `csv_text`, Parquet in `parquet`. In: a
file's name and bytes. Out: its unpacked bytes, as UTF-8 where it is text.
"""

import bz2
import codecs
import gzip
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import charset_normalizer
import pyarrow as pa

from experiment_pipeline.errors import UnreadableTable, listed
from experiment_pipeline.storage.mapped import gathered

PARQUET_MAGIC = b"PAR1"
LOOK = 65_536  # bytes; enough to see what a file is, without copying all of it
FIX_DELIVER = "point data.url at a CSV or Parquet file"
FIX_DOWNLOAD = "download or write the file again"

# (offset, first bytes, what it is, what to do)
OTHER_KINDS = (
    (0, b"PARE", "an encrypted Parquet file", "deliver it decrypted"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document, perhaps Excel", "save the sheet as CSV"),
    (0, b"ARROW1", "an Arrow (Feather) file", "write it as Parquet"),
    (0, b"ORC", "an ORC file", "write it as Parquet"),
    (0, b"Obj\x01", "an Avro file", "write it as Parquet"),
    (0, b"\x89HDF", "an HDF5 file", "write the table as Parquet"),
    (0, b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (0, b"%PDF", "a PDF document", FIX_DELIVER),
    (0, b"\x89PNG", "a PNG image", FIX_DELIVER),
    (0, b"\xff\xd8\xff", "a JPEG image", FIX_DELIVER),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (0, b"Rar!", "a RAR archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull"),
)
HTML_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")


# The bytes of a file, in memory or on a map.
Content = bytes | memoryview


@dataclass(frozen=True)
class Contents:
    """One file, packed as delivered; `name` is relative to the folder that was read."""

    name: str
    content: Content
    format: str
    compression: str | None

    def unpacked(self) -> Content:
        """Return all of it, on a map where it is large; UnreadableTable where it is damaged."""
        if self.compression is None:
            return self.content
        with _damage_reported(self.name, self.compression):
            return gathered(_unpacking(self.name, self.content, self.compression))

    def start(self, size: int) -> bytes:
        """Return so many bytes of the unpacked file; errors as of `unpacked`."""
        if self.compression is None:
            return bytes(self.content[:size])
        with _damage_reported(self.name, self.compression):
            start: bytes = _unpacking(self.name, self.content, self.compression).read(size)
            return start

    @property
    def folder_keys(self) -> dict[str, str | None]:
        """Column → value of the folders of a partitioned table: `year=2013/part-0.parquet`."""
        folders = (folder.partition("=") for folder in self.name.split("/")[:-1])
        return {
            key: None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
            for key, equals, value in folders
            if key and equals
        }

    def with_folder_keys(self, table: pa.Table) -> pa.Table:
        """Add the folders' values to the table, as further columns of text."""
        for key, value in self.folder_keys.items():
            if key in table.column_names:
                raise UnreadableTable(
                    self.name,
                    f"the folder's name and the file both have a column {key!r}",
                    "rename one of the two",
                )
            column = pa.repeat(pa.scalar(value, pa.large_string()), table.num_rows)
            table = table.append_column(key, column)
        return table


def open_contents(name: str, content: Content, declared: str | None) -> Contents:
    """Find out compression and format of a file.

    Args:
        name: for messages; its folders may name columns (see `folder_keys`).
        content: the file as it was delivered.
        declared: the format that the user expects; None: any.

    Raises:
        UnreadableTable: the file is empty, truncated, or something else than a table.
    """
    first = bytes(content[:LOOK])
    compression = next((how for magic, how in MAGIC.items() if first.startswith(magic)), None)
    file = Contents(name, content, "", compression)
    start = file.start(LOOK)
    found = _format(name, start if start.strip() else bytes(file.unpacked()))
    if declared and declared != found:
        raise UnreadableTable(
            name,
            f"data.format says {declared}, but the file's first bytes say {found}",
            "correct data.format, or drop it",
        )
    return replace(file, format=found)


def refuse_duplicates(name: str, column_names: list[str]) -> None:
    """Raise UnreadableTable when a name is there twice."""
    twice = [column for column, times in Counter(column_names).items() if times > 1]
    if not twice:
        return
    places = [i for i, column in enumerate(column_names, 1) if column == twice[0]]
    raise UnreadableTable(
        name,
        f"columns {' and '.join(map(str, places))} have the same name; twice: {listed(twice)}",
        "give every column its own name",
    )


def _format(name: str, content: bytes) -> str:
    if not content.strip():
        raise UnreadableTable(
            name, f"it is empty ({len(content):,} bytes, nothing but blanks)", FIX_DELIVER
        )
    if content[:4] == PARQUET_MAGIC:
        return "parquet"
    for offset, magic, what, fix in OTHER_KINDS:
        if content[offset : offset + len(magic)] == magic:
            raise UnreadableTable(name, f"it is {what}", fix)
    if content[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(HTML_STARTS):
        raise UnreadableTable(
            name,
            "it is an HTML or XML page, not a table",
            "open the URL in a browser: it may be a log-in or preview page; use the raw file's URL",
        )
    return "csv"


# First bytes → compression.
MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# EOFError is how gzip and bz2 say that the stream stops too early.
_DAMAGES = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


@contextmanager
def _damage_reported(name: str, compression: str) -> Iterator[None]:
    try:
        yield
    except zipfile.BadZipFile as error:
        raise UnreadableTable(name, f"it is a damaged zip file: {error}", FIX_DOWNLOAD) from None
    except (RuntimeError, NotImplementedError) as error:  # a password; a method zipfile lacks
        raise UnreadableTable(name, f"cannot be unpacked: {error}", "zip it without one") from None
    except _DAMAGES as error:
        raise UnreadableTable(
            name, f"its {compression} stream is truncated or damaged: {error}", FIX_DOWNLOAD
        ) from None


def _unpacking(name: str, content: Content, compression: str) -> Any:
    """Return a stream of what is packed; reading it raises what `_damage_reported` reports."""
    packed: Any = pa.BufferReader(content)
    match compression:
        case "gzip":
            return gzip.GzipFile(fileobj=packed)
        case "bzip2":
            return bz2.BZ2File(packed)
        case "xz":
            return lzma.LZMAFile(packed)
        case "zstd":
            return pa.CompressedInputStream(packed, "zstd")
    archive = zipfile.ZipFile(packed)
    if "[Content_Types].xml" in archive.namelist():
        raise UnreadableTable(name, "it is an Office document", "save the sheet as CSV")
    members = [member for member in archive.namelist() if not _is_clutter(member)]
    if len(members) != 1:
        raise UnreadableTable(
            name, f"the archive holds {len(members)} files: {listed(members)}", "zip one table"
        )
    return archive.open(members[0])


def _is_clutter(member: str) -> bool:
    return member.endswith("/") or member.startswith("__MACOSX/") or "/." in f"/{member}"


# UTF-32 before UTF-16: its mark begins with the same two bytes.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
USUAL = "cp1252"  # preferred where the bytes alone do not tell
LATIN = [USUAL, "cp1250", "cp1254", "cp1257"]
LONE = 0.8  # of the runs of bytes beyond ASCII; in other scripts they stand side by side
CHUNK_BYTES = 4 * 1024 * 1024
GUESS_BYTES = 65_536
FIX_ENCODING = "name it in data.encoding, such as cp1252, or save the file as UTF-8"
FIX_MIXED = (
    "correct the line; where the whole file is of one code page, name it in data.encoding, such as "
    "cp1252, or convert the file: iconv -f cp1252 -t utf-8"
)
# Text of another encoding is valid UTF-8 by chance in at most 0.44 of its bytes (Chinese, where a
# file holds more than a few words), in Western code pages in hardly any.
MOSTLY = 0.5
SHOWN_BYTES = 10


@dataclass(frozen=True)
class Utf8Text:
    """`content` is valid UTF-8 without a mark; `encoding` is what it was delivered in."""

    content: Content
    encoding: str
    notes: tuple[str, ...] = ()


def to_utf8(name: str, content: Content, declared: str | None) -> Utf8Text:
    """Decode an unpacked file.

    Args:
        name: for messages.
        content: of the file.
        declared: the encoding that the user names; None: find it out.

    Raises:
        UnreadableTable: binary, or bytes that the declared or found encoding does not know.
    """
    if declared:
        return Utf8Text(_transcoded(name, content, declared), declared)
    for mark, encoding in MARKS:
        if bytes(content[: len(mark)]) == mark:
            return Utf8Text(_transcoded(name, content, encoding), encoding)
    for start, chunk in chunks(content):
        if b"\0" in chunk:
            raise UnreadableTable(
                name,
                f"it is binary: a zero byte at {start + chunk.index(0):,}",
                "point data.url at a CSV or Parquet file; UTF-16 needs data.encoding: utf-16-le",
            )
    bad = first_bad_byte(content)
    if bad is None:
        return Utf8Text(content, "utf-8")
    if _utf8_share(content) > MOSTLY:
        raise UnreadableTable(name, _where(content, bad), FIX_MIXED)
    guess = _guess(name, content)
    text = _transcoded(name, content, guess)
    examples = re.findall(r"[^\W\d_]*[^\x00-\x7f]\w*", text[:GUESS_BYTES].decode(errors="ignore"))
    seen = f", as in {examples[0]!r}" if examples else ""
    note = f"encoding {guess} was guessed{seen}; data.encoding would settle it"
    return Utf8Text(text, guess, (note,))


def chunks(content: Content) -> Iterator[tuple[int, bytes]]:
    """Give a large content in parts that are copied one at a time: position, bytes."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield start, bytes(content[start : start + CHUNK_BYTES])


def _transcoded(name: str, content: Content, encoding: str) -> bytes:
    try:
        return str(content, encoding).encode().removeprefix(codecs.BOM_UTF8)
    except LookupError:
        raise UnreadableTable(
            name, f"data.encoding {encoding!r} is no encoding Python knows", FIX_ENCODING
        ) from None
    except UnicodeError as error:
        raise UnreadableTable(name, f"it is not {encoding}: {error}", FIX_ENCODING) from None


def first_bad_byte(content: Content) -> int | None:
    """Return the position of the first byte that is not UTF-8; None: all of it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start, chunk in chunks(content):
        held = len(decoder.getstate()[0])  # the beginning of a letter that the chunk goes on with
        try:
            decoder.decode(chunk, final=start + CHUNK_BYTES >= len(content))
        except UnicodeDecodeError as error:
            return start - held + error.start
    return None


def _utf8_share(content: Content) -> float:
    """Bytes in valid UTF-8 sequences / bytes, of those that are not ASCII; there are some."""
    beyond_ascii = valid = 0
    for _, chunk in chunks(content):
        ascii_bytes = len(chunk.decode("ascii", errors="ignore"))
        beyond_ascii += len(chunk) - ascii_bytes
        valid += len(chunk.decode(errors="ignore").encode()) - ascii_bytes
    return valid / beyond_ascii


def _where(content: Content, bad: int) -> str:
    """Say in which line a byte is, and what follows."""
    line = len(re.findall(rb"\r\n|\r|\n", content[:bad])) + 1
    return (
        f"most of it is UTF-8, but line {line:,} is not: byte 0x{content[bad]:02x} at the start of "
        f"{bytes(content[bad : bad + SHOWN_BYTES])!r}"
    )


def _guess(name: str, content: Content) -> str:
    telling, size = [], 0
    for line in bytes(content).splitlines():
        if not line.isascii():
            telling.append(line)
            size += len(line)
        if size > GUESS_BYTES:
            break
    sample = b"\n".join(telling)
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", sample)]
    # "gr\xfcn" is grün, and in Big5 a Chinese letter between two Latin ones.
    among = LATIN if runs.count(1) >= LONE * len(runs) else None
    matches = charset_normalizer.from_bytes(sample, cp_isolation=among)
    matches = matches or charset_normalizer.from_bytes(sample)
    best = matches.best()
    if best is None:
        raise UnreadableTable(
            name, "it is neither UTF-8 nor text in an encoding that can be guessed", FIX_ENCODING
        )
    as_good = [
        encoding
        for match in matches
        if match.chaos <= best.chaos and match.coherence >= best.coherence
        for encoding in match.could_be_from_charset
    ]
    return USUAL if USUAL in as_good else best.encoding
