"""The names in a header, from the first bytes of a file: the same as from all of it, or none."""

import bz2
import gzip
import lzma

import pytest

from experiment_pipeline.spec import Data
from experiment_pipeline.stages.raw_data.csv_text import HEAD_BYTES, csv_columns
from experiment_pipeline.stages.raw_data.table import parse
from experiment_pipeline_tests import scenario

DATA = Data(url="table.csv")
CSV = scenario.table().to_csv(index=False).encode()
LONG = CSV + CSV.split(b"\n", 1)[1] * 30


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    "content",
    [
        CSV,
        LONG,
        CSV.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + CSV,
        b"a;b,c\n1;2,5\n3;4,5\n",
        b"a,,b\n1,2,3\n",
        b'"two\nlines",b\n1,2\n',
        b"a\tb\n1\t2\n",
    ],
    ids=["short", "long", "utf-16", "marked", "semicolon", "unnamed", "line break", "tab"],
)
def test_the_names_are_those_of_the_whole_file(content: bytes, pack) -> None:
    """Compression, encoding and delimiter are found as when all of it is read."""
    packed = pack(content)
    whole = list(parse([("table.csv", packed)], DATA).frame.columns)
    assert csv_columns("table.csv", packed[:HEAD_BYTES], DATA) == whole


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html><body>login</body></html>",
        b"PK\x03\x04" + bytes(100),
        b"\x28\xb5\x2f\xfd" + bytes(100),
        "größe,b\n1,2\n".encode("latin-1"),
        b"a,a\n1,2\n",
        b"a,b\n1,2\n3\n",
        b"x" * 2 * HEAD_BYTES,
    ],
)
def test_where_the_beginning_does_not_tell_nothing_is_said(content: bytes) -> None:
    """Guesses and errors are left to the run, which reads everything."""
    assert csv_columns("table.csv", content[:HEAD_BYTES], DATA) is None
