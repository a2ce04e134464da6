"""Bytes of a text file → UTF-8 bytes, and which encoding they were in.

A byte order mark decides, else valid UTF-8 is UTF-8. Where most of it is, the first line that is
not is named: no code page is right for a file of two. Else charset-normalizer guesses from the
lines that are not ASCII, and the guess is told.
"""

import codecs
import re
from dataclasses import dataclass

import charset_normalizer

from experiment_pipeline.errors import UnreadableTable

# UTF-32 before UTF-16: its mark begins with the same two bytes.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
USUAL = "cp1252"  # preferred where the bytes alone do not tell
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

    content: bytes
    encoding: str
    notes: tuple[str, ...] = ()


def to_utf8(name: str, content: bytes, declared: str | None) -> Utf8Text:
    """Decode a file.

    Args:
        name: for messages.
        content: the unpacked file.
        declared: the encoding that the user names; None: find it out.

    Raises:
        UnreadableTable: binary, or bytes that the declared or found encoding does not know.
    """
    if declared:
        return Utf8Text(_transcoded(name, content, declared), declared)
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return Utf8Text(_transcoded(name, content, encoding), encoding)
    if b"\0" in content:
        raise UnreadableTable(
            name,
            f"it is binary: a zero byte at {content.index(0):,}",
            "point data.url at a CSV or Parquet file; UTF-16 needs data.encoding: utf-16-le",
        )
    bad = _first_bad_byte(content)
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


def _transcoded(name: str, content: bytes, encoding: str) -> bytes:
    try:
        return content.decode(encoding).encode().removeprefix(codecs.BOM_UTF8)
    except LookupError:
        raise UnreadableTable(
            name, f"data.encoding {encoding!r} is no encoding Python knows", FIX_ENCODING
        ) from None
    except UnicodeError as error:
        raise UnreadableTable(name, f"it is not {encoding}: {error}", FIX_ENCODING) from None


def _first_bad_byte(content: bytes) -> int | None:
    """Where it is no UTF-8; None: all of it is. In chunks, so that no second copy is made."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), CHUNK_BYTES):
        held = len(decoder.getstate()[0])  # the beginning of a letter that the chunk goes on with
        chunk = content[start : start + CHUNK_BYTES]
        try:
            decoder.decode(chunk, final=start + CHUNK_BYTES >= len(content))
        except UnicodeDecodeError as error:
            return start - held + error.start
    return None


def _utf8_share(content: bytes) -> float:
    """Bytes in valid UTF-8 sequences / bytes, of those that are not ASCII; there are some."""
    beyond_ascii = valid = 0
    for start in range(0, len(content), CHUNK_BYTES):
        chunk = content[start : start + CHUNK_BYTES]
        ascii_bytes = len(chunk.decode("ascii", errors="ignore"))
        beyond_ascii += len(chunk) - ascii_bytes
        valid += len(chunk.decode(errors="ignore").encode()) - ascii_bytes
    return valid / beyond_ascii


def _where(content: bytes, bad: int) -> str:
    """Say in which line a byte is, and what stands from there on."""
    line = len(re.findall(rb"\r\n|\r|\n", content[:bad])) + 1
    return (
        f"most of it is UTF-8, but line {line:,} is not: byte 0x{content[bad]:02x} at the start of "
        f"{content[bad : bad + SHOWN_BYTES]!r}"
    )


def _guess(name: str, content: bytes) -> str:
    telling, size = [], 0
    for line in content.splitlines():
        if not line.isascii():
            telling.append(line)
            size += len(line)
        if size > GUESS_BYTES:
            break
    matches = charset_normalizer.from_bytes(b"\n".join(telling))
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
