"""Bytes of files → one typed table: what is read, what is refused, and what is said
about it.
"""

# ruff: noqa: RUF001 - Cyrillic letters are what is tested

import bz2
import csv
import datetime as dt
import decimal
import gzip
import io
import lzma
import re
import uuid
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_pipeline import errors
from experiment_pipeline.intake import contents
from experiment_pipeline.intake.raw_table import RawTable, parse
from experiment_pipeline.spec import Data
from experiment_pipeline.stages.raw_data.page import preview
from experiment_pipeline.storage.processes import FreeMemory

# No zero bytes, which are refused as binary; a letter in front, so that it stays text.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(
    "t{}".format
)
SMALL = b"a,b\n1,x\n2,y\n"


def read(content: bytes | str, name: str = "table.csv", **settings: object) -> RawTable:
    """Parse one file."""
    data = content.encode() if isinstance(content, str) else content
    return parse([(name, data)], Data(url="table.csv", **settings))


def refused(content: bytes | str, **settings: object) -> errors.ExperimentPipelineError:
    """The error that a file is refused with; it names the file or the setting."""
    with pytest.raises(errors.ExperimentPipelineError) as caught:
        read(content, **settings)
    assert re.fullmatch(r"table\.\w+|data\.\w+", caught.value.culprit)
    assert " " in caught.value.rule
    assert " " in caught.value.fix
    return caught.value


def parquet(table: pa.Table | pd.DataFrame) -> bytes:
    """A Parquet file."""
    table = pa.Table.from_pandas(table) if isinstance(table, pd.DataFrame) else table
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def zipped(*members: str, content: bytes = SMALL) -> bytes:
    """A zip archive of small tables."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(member, content)
    return stream.getvalue()


def test_a_table_is_typed_and_counts_its_rows():
    """Numbers become numbers, the rest text, and the index is the row's position."""
    table = read(SMALL)
    assert table.frame["a"].tolist() == [1, 2]
    assert table.frame.dtypes.astype(str).to_dict() == {"a": "int64", "b": "str"}
    assert (table.frame.index.name, table.frame.index.dtype) == ("row_number", "int64")
    assert (table.format, table.encoding, table.delimiter) == ("csv", "utf-8", ",")
    assert table.notes == ()


@pytest.mark.parametrize(
    ("texts", "values", "dtype"),
    [
        (["1", ""], [1.0, None], "float64"),
        ([" 7", "8 "], [7, 8], "int64"),
        (["+5", "6"], [5.0, 6.0], "float64"),
        (["True", "false"], [True, False], "bool"),
        (["0x1F", "1"], ["0x1F", "1"], "str"),
        (["0.1", "0.30000000000000004"], [0.1, 0.1 + 0.2], "float64"),
    ],
)
def test_a_type_is_that_of_every_value(texts: list[str], values: list, dtype: str):
    """A column is a number only when all its texts are, and keeps them exactly."""
    frame = read("a,b\n" + "".join(f"{text},z\n" for text in texts)).frame
    assert str(frame["a"].dtype) == dtype
    expected = pd.Series(values, dtype=dtype, index=frame.index, name="a")
    pd.testing.assert_series_equal(frame["a"], expected, check_exact=True)


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        (["00501", "10001"], "leading zeros"),
        (["12345678901234567890", "1"], "cannot hold exactly"),
        (["True", ""], "true, false and missing"),
        (["1,5", "2,25"], "decimal comma"),
    ],
)
def test_what_a_number_would_change_stays_text(texts: list[str], note: str):
    """Codes, huge numbers and half-empty booleans keep their texts, and it is said."""
    table = read("a;b\n" + "".join(f"{text};z\n" for text in texts))
    assert table.frame["a"].fillna("").tolist() == texts
    assert any(note in sentence and "'a'" in sentence for sentence in table.notes)


def test_missing_values_are_those_declared_and_counted():
    """The usual texts are missing; data.missing_values replaces them all."""
    usual = read("country,x\nNA,1\nDE,\n")
    assert usual.frame["country"].isna().tolist() == [True, False]
    assert any(
        "'NA' was read as missing in: 'country'" in sentence for sentence in usual.notes
    )
    own = read("country,x\nNA,1\nDE,-\n", missing_values=["-"])
    assert own.frame["country"].tolist() == ["NA", "DE"]
    assert own.frame["x"].isna().tolist() == [False, True]


def test_empty_and_infinite_columns_are_told():
    """A column without a value is an empty float column; infinite values are counted
    on.
    """
    table = read("a,b,c\n,inf,1\n,2,1\n")
    assert table.frame["a"].isna().all()
    assert table.frame["a"].dtype == "float64"
    assert np.isinf(table.frame["b"].iloc[0])
    assert any("no value" in sentence for sentence in table.notes)
    assert any("infinite" in sentence for sentence in table.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str):
    """Each usual one, although the values hold the other ones; a declared one wins, and
    one column is a table.
    """
    others = {",": "x|y", ";": "1,5", "\t": "a, b; c", "|": "a; b"}
    rows = [["name", "value", "n"], [others[delimiter], "2", "3"], ["plain", "4", "5"]]
    table = read("\n".join(delimiter.join(row) for row in rows))
    assert table.delimiter == delimiter
    assert list(table.frame.columns) == rows[0]
    assert bool(table.notes) == (delimiter != ",")
    assert list(read("a,b:c\n1,2:3\n", delimiter=":").frame.columns) == ["a,b", "c"]
    assert read("a\n1\n2\n").frame["a"].tolist() == [1, 2]


@pytest.mark.parametrize("place", [0, 300])
def test_a_huge_cell_hides_no_delimiter(place: int):
    """A text of a megabyte in the first row or a later one leaves the file
    its columns.
    """
    texts = ["plain"] * 400
    texts[place] = '"' + "a long, long text; with | all\n" * 35_000 + '"'
    rows = "".join(f"{number};{text}\n" for number, text in enumerate(texts))
    table = read(f"id;text\n{rows}")
    assert list(table.frame.columns) == ["id", "text"]
    assert len(table.frame["text"][place]) == 35_000 * 30


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8-sig", False), ("utf-16", False), ("cp1252", True)]
)
def test_the_encoding_is_found(encoding: str, told: bool):
    """Marks and valid UTF-8 decide; else a Latin script is read as cp1252, which is
    told.
    """
    table = read("Straße,n\nMünchen,1\nKöln,2\nDüsseldorf,3\n".encode(encoding))
    assert list(table.frame.columns) == ["Straße", "n"]
    assert table.frame["Straße"].tolist() == ["München", "Köln", "Düsseldorf"]
    assert table.encoding == encoding
    assert any(encoding in sentence for sentence in table.notes) == told


ALPHABETS = {
    "cp1251": "город,n\nСъешь же ещё этих мягких французских булок,1\nда выпей чаю,2\n",
    "shift-jis": "住所,n\n東京都,1\n大阪府,2\n北海道,3\nカタカナ,4\n",
}


@pytest.mark.parametrize("encoding", ALPHABETS)
def test_text_of_another_alphabet_needs_its_encoding(encoding: str):
    """No guess would be certain; named, it is read."""
    content = ALPHABETS[encoding].encode(encoding)
    assert "data.encoding" in refused(content).fix
    table = read(content, encoding=encoding)
    assert len(table.frame) == ALPHABETS[encoding].count("\n") - 1


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_mixture_of_encodings_names_the_first_bad_line(line_end: bytes):
    """Exports of two programs in one file: no code page is right."""
    lines = [
        "Straße,n".encode(),
        "München,1".encode(),
        "Köln,2".encode("cp1252"),
        b"Bonn,3",
    ]
    error = refused(line_end.join([*lines, "Gießen,4".encode()]))
    assert "line 3 is not UTF-8: byte 0xf6 at the start of b'\\xf6ln,2" in error.rule
    assert "data.encoding" in error.fix
    assert "iconv" in error.fix


def test_the_bad_line_of_a_large_or_a_cut_file_is_counted_through():
    """A letter across the border of two chunks is none; one that the end of the file
    cuts is.
    """
    start = b"a" * (4 * 1024 * 1024 - 1) + "ö\n".encode()
    assert (
        "line 3 is not UTF-8: byte 0xfc"
        in refused(start + "süß\n".encode() + b"\xfc\n").rule
    )
    assert (
        "line 3 is not UTF-8: byte 0xc3"
        in refused("stadt\nKöln\nGieß".encode()[:-1]).rule
    )


def test_a_declared_encoding_must_fit():
    """The declared encoding is used as it is, and bytes it does not know are
    an error.
    """
    assert read("ł\nż\n".encode("cp1250"), encoding="cp1250").frame["ł"].tolist() == [
        "ż"
    ]
    assert "utf-8" in refused("é\n1\n".encode("cp1252"), encoding="utf-8").rule
    assert "is not an encoding" in refused("a\n1\n", encoding="utf-9").rule


COMPRESSED = {
    "gzip": gzip.compress(SMALL, mtime=0),
    "bz2": bz2.compress(SMALL),
    "xz": lzma.compress(SMALL),
    "zip": zipped("table.csv", "__MACOSX/table.csv", "folder/"),
    "zstd": pa.compress(SMALL, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("compression", COMPRESSED)
def test_compression_is_seen_by_the_bytes(compression: str):
    """A compressed file is unpacked whatever it is called; a cut one is refused."""
    content = COMPRESSED[compression]
    table = read(content, name="table.txt")
    assert table.compression == compression
    assert table.frame["b"].tolist() == ["x", "y"]
    assert "damaged" in refused(content[: len(content) - 7]).rule


@pytest.mark.parametrize("how", ["gzip", "zip", "zstd"])
def test_a_bomb_is_refused_before_it_fills_memory_or_disk(how: str, monkeypatch):
    """More than memory holds, of a file a hundredth as large, is refused; where it fits
    it is read.
    """
    bomb = b"a,b\n" + b"1,2\n" * 200_000
    pack = {
        "gzip": gzip.compress,
        "zip": lambda bomb: zipped("table.csv", content=bomb),
    }
    content = (pack | {"zstd": partial(pa.compress, codec="zstd", asbytes=True)})[how](
        bomb
    )
    free = [FreeMemory(600_000, "ulimit -v")]
    monkeypatch.setattr(contents, "free_memory", lambda: free[0])
    for name in ("HELD_BYTES", "CHUNK_BYTES"):
        monkeypatch.setattr(contents, name, 100_000)
    assert "times as large, and beyond ulimit -v (600,000" in refused(content).rule
    free[0] = FreeMemory(900_000, "ulimit -v")
    assert len(read(content).frame) == 200_000


NO_TABLES = {
    "empty": (b"", "empty"),
    "header alone": (b"a,b\n", "no rows"),
    "HTML": (b"\n <!DOCTYPE html><html><body>log in</body></html>", "HTML"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "binary": (b"a,b\n1,\x00\x01\n", "binary"),
    "workbook": (zipped("[Content_Types].xml", "xl/workbook.xml"), "Office"),
    "two in a zip": (zipped("a.csv", "b.csv"), "2 files: 'a.csv', 'b.csv'"),
    "long line": (b'a,b\n"x\ny",2\n3,4,5\n', "line 4 has 3 fields, the header has 2"),
    "open quote": (b'a,b\n1,2\n3,"4\n5,6\n', "after line 2 is never closed"),
    "cut Parquet": (parquet(pd.DataFrame({"a": [1]}))[:-9], "damaged or truncated"),
    "Parquet without rows": (parquet(pd.DataFrame({"a": [1]}).head(0)), "no rows"),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_what_is_no_table_is_refused(case: str):
    """Each kind of bad file ends in an error that names the file and what is wrong with
    it.
    """
    content, rule = NO_TABLES[case]
    error = refused(content)
    assert isinstance(error, errors.UnreadableTable)
    assert error.culprit == "table.csv"
    assert rule in error.rule


def test_nested_and_opaque_columns_are_told():
    """What holds no single values is left out, bytes that are no text are missing; the
    rest is read.
    """
    delivered = {"l": [[1]], "s": [{"x": 1}], "image": [b"\xff\xd8"], "n": [1]}
    delivered |= {"__index_level_0__": [7]}
    table = read(parquet(pa.table(delivered)))
    assert list(table.frame) == ["image", "n"]
    assert table.frame["image"].isna().all()
    assert table.notes == (
        "lists, structs or maps, left out: 'l', 's'",
        "bytes that are not text, read as missing: 'image'",
        "row labels of pandas, left out: '__index_level_0__'",
    )


@settings(max_examples=20)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_any_text_survives(rows: list[tuple[str, str]]):
    """Delimiters, quotes, line breaks and every alphabet come back as they were
    written.
    """
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("a", "b"), *rows])
    frame = read(stream.getvalue(), delimiter=",").frame
    assert list(frame.itertuples(index=False, name=None)) == rows


@pytest.mark.parametrize(
    "names",
    [["a", "a", "b", "a.1", "a", "b"], ["Unnamed: 1", "", "y", "y"]],
)
def test_columns_of_one_name_are_read_as_pandas_does_and_named(names: list[str]):
    """A file of either kind becomes the columns of `pandas.read_csv`, with a note."""
    text = f"{','.join(names)}\n{','.join(map(str, range(len(names))))}\n"
    expected = pd.read_csv(io.StringIO(text)).to_dict("records")
    table = read(text)
    assert table.frame.to_dict("records") == expected
    assert any("columns are named " in note for note in table.notes)
    if "" in names:
        return
    cells = [pa.array([place]) for place in range(len(names))]
    part = parquet(pa.Table.from_arrays(cells, names=names))
    columnar = parse([("1.parquet", part), ("2.parquet", part)], Data(url="parts"))
    assert columnar.frame.to_dict("records") == expected * 2
    assert columnar.notes[1:] == table.notes


def test_columns_of_one_name_keep_their_cells_beside_nested_ones():
    """Lists and structs of that name, or of names that begin with it, move no other."""
    names = ["a", "b", "s", "b", "a", "b.c"]
    cells = [[[1]], [2], [{"b": 3}], [4], [5], [6]]
    table = pa.Table.from_arrays([*map(pa.array, cells)], names=names)
    assert read(parquet(table)).frame.to_dict("records") == [
        {"b": 2, "b.1": 4, "a.1": 5, "b.c": 6}
    ]


def test_strange_names_stay_as_they_are():
    """Spaces, quotes, tags, line breaks and other alphabets are names; no name gets
    one.
    """
    names = [
        " a b ",
        'q"x',
        "<script>alert(1)</script>",
        "größe",
        "two\nlines",
        "{{x}}",
    ]
    header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    table = read(f"{header},\n1,2,3,4,5,6,7\n")
    assert list(table.frame.columns) == [*names, "Unnamed: 6"]
    assert any("1 column without a name" in sentence for sentence in table.notes)


def test_every_line_end_is_a_line_end():
    """Files from Windows, Unix and old Macs hold the same table, in any order of its
    columns.
    """
    assert (
        read("a,b\n1,x\n").digest
        == read("b,a\nx,1\n").digest
        != read("b,a\n1,x\n").digest
    )
    for line_end in ("\n", "\r\n", "\r"):
        assert read(SMALL.decode().replace("\n", line_end)).digest == read(SMALL).digest


def test_several_files_are_one_table():
    """Parts are appended in order, types are found over all of them, folders name
    columns.
    """
    parts = [("year=2013/a.csv", b"a,b\n1,x\n"), ("year=2014/a.csv", b"b,a\ny,z\n")]
    table = parse(parts, Data(url="folder"))
    assert table.frame.to_dict("list") == {
        "a": ["1", "z"],
        "b": ["x", "y"],
        "year": [2013, 2014],
    }
    assert any("2 files are one table" in sentence for sentence in table.notes)
    assert any("'year'" in sentence for sentence in table.notes)


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        (("b.csv", b"a,c\n1,2\n"), "differ from those of a.csv: 'b', 'c'"),
        (
            ("b.parquet", parquet(pd.DataFrame({"a": [1]}))),
            "is parquet, but a.csv is csv",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(second: tuple[str, bytes], rule: str):
    """Other columns, or another format, end in an error that names the part."""
    with pytest.raises(errors.UnreadableTable) as caught:
        parse([("a.csv", b"a,b\n1,2\n"), second], Data(url="folder"))
    assert caught.value.culprit == second[0]
    assert rule in caught.value.rule


OF_PARQUET = {
    "whole": (pa.array([1, 2], pa.int8()), "int8"),
    "some": ([1, None], "float64"),
    "huge": ([2**53 + 1, None], "str"),
    "huger": (pa.array([2**63 + 1, None], pa.uint64()), "str"),
    "flag": ([True, None], "str"),
    "money": ([decimal.Decimal("1.5"), decimal.Decimal(2**53 + 1)], "float64"),
    "day": ([dt.date(2020, 1, 1), None], "datetime64[us]"),
    "clock": ([dt.time(1, 2), None], "str"),
    "raw": ([b"ab", None], "str"),
    "kind": (pa.array(["x", "y"]).dictionary_encode(), "str"),
    "length": (pa.array([1, 2], pa.duration("s")), "float64"),
    "instant": (pa.array([1, 2], pa.timestamp("us", "UTC")), "datetime64[us, UTC]"),
    "nothing": (pa.nulls(2), "float64"),
}


def test_parquet_types_become_those_of_pandas():
    """Decimals, dates, times, bytes and dictionaries are reduced to plain types, and
    told.
    """
    read_back = read(
        parquet(pa.table({name: cells for name, (cells, _) in OF_PARQUET.items()}))
    )
    types = read_back.frame.dtypes.astype(str).to_dict()
    assert types == {name: dtype for name, (_, dtype) in OF_PARQUET.items()}
    assert read_back.frame.loc[0, "huge"] == "9007199254740993"
    assert read_back.frame.loc[0, "huger"] == "9223372036854775809"
    assert (read_back.format, read_back.encoding) == ("parquet", None)
    told = " ".join(read_back.notes)
    assert all(
        f"'{name}'" in told
        for name in ("huge", "flag", "money", "day", "raw", "nothing")
    )


WHOLE = pa.array([2**53, 2**53 + 1, None]).cast(pa.decimal128(38, 10))


def test_parquet_texts_are_what_python_writes():
    """What becomes text in a file is the same text in a DataFrame of Python's
    values.
    """
    columns = {
        "flag": [True, False, None],
        "clock": [dt.time(1, 2), dt.time(1, 2, 3, 500), None],
        "uuid": [uuid.UUID(int=2**127 + 255), uuid.UUID(int=1), None],
    }
    cells = {name: pa.array(cells) for name, cells in columns.items()}
    frame = read(parquet(pa.table(cells | {"id": WHOLE}))).frame
    assert frame["id"].dropna().tolist() == [str(2**53), str(2**53 + 1)]
    for name, cells in columns.items():
        assert frame[name].dropna().tolist() == [str(cell) for cell in cells[:2]]


def test_parquet_parts_may_widen_a_number():
    """Whole numbers in one part and fractions in another are one float column."""
    whole, fraction, text = (
        parquet(pd.DataFrame({"a": [cell]})) for cell in (1, 1.5, "x")
    )
    table = parse([("k=0/p", whole), ("k=1/p", fraction)], Data(url="folder"))
    assert table.frame.to_dict("list") == {"a": [1.0, 1.5], "k": [0, 1]}
    with pytest.raises(errors.UnreadableTable, match="cannot be combined"):
        parse([("p", whole), ("q", text)], Data(url="folder"))


def test_a_declared_format_must_be_true():
    """The bytes decide what a file is; what says otherwise, or has no effect on it, is
    an error.
    """
    error = refused(parquet(pd.DataFrame({"a": [1]})), delimiter=";")
    assert isinstance(error, errors.InvalidExperiment)
    assert error.culprit == "data.delimiter"
    assert "say csv" in refused(SMALL, format="parquet").rule
    assert read(parquet(pd.DataFrame({"a": [1]})), name="t.csv").format == "parquet"
    assert isinstance(refused(SMALL, delimiter='"'), errors.InvalidExperiment)


def test_the_preview_shows_what_could_act():
    """Tags, pipes, links and line breaks are shown as text in one table row."""
    frame = pd.DataFrame({"<script>": ["a|b", "x\ny"], "[l](js:x)": ["`c`", None]})
    lines = preview(frame).splitlines()
    assert lines[0] == r"| &lt;script&gt; | \[l\](js:x) |"
    assert lines[2:] == [r"| a\|b | \`c\` |", "| x y |  |"]
    wide = preview(pd.DataFrame({f"c{i}": ["x" * 500] * 9 for i in range(100)}), rows=2)
    assert len(wide) < 8_000
    assert wide.endswith("… and 60 more columns")
