"""Records come back from JSON as they went, or as the error that who reads
them names.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.spec import Scalar
from experiment_pipeline.storage.records import Undefinable, from_json, to_json

DAMAGE = EntryCorrupt("a.json", "is no record", "Delete it.")


@dataclass(frozen=True)
class Inner:
    """A record inside a record."""

    low: float


@dataclass(frozen=True)
class Outer:
    """A record of every kind of field."""

    name: str
    inner: Inner
    settings: Mapping[str, Scalar]
    score: Undefinable = 0.5
    notes: tuple[str, ...] = ()


RECORD = Outer(
    "ä",
    Inner(0.1 + 0.2),
    {"a": 1, "b": 1.0, "c": True, "d": None, "e": "1"},
    0.25,
    ("x",),
)


def test_a_record_comes_back_to_the_bit_and_type():
    """Numbers keep every digit, settings their type, lists become tuples again."""
    back = from_json(Outer, to_json(RECORD), DAMAGE)
    assert back == RECORD
    assert [type(value) for value in back.settings.values()] == [
        int,
        float,
        bool,
        type(None),
        str,
    ]
    assert to_json(back) == to_json(RECORD)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"name": "a", "inner": {"low": 1}}',
        b'{"name": "a", "inner": {"low": 1}, "settings": {}, "scores": 1}',
        b'{"name": "a", "inner": {"low": "x"}, "settings": {}}',
    ],
    ids=["empty", "missing", "unknown", "wrong type"],
)
def test_what_is_no_such_record_is_the_error_given(content: bytes):
    """Unknown, missing and wrong fields end in the error with path and way out."""
    with pytest.raises(EntryCorrupt) as caught:
        from_json(Outer, content, DAMAGE)
    assert caught.value is DAMAGE


def test_undefined_numbers_are_null_and_come_back():
    """Every parser reads the file; an undefined score is nan again."""
    content = to_json(Outer("a", Inner(1.0), {}, score=math.nan))
    assert json.loads(content)["score"] is None
    assert math.isnan(from_json(Outer, content, DAMAGE).score)


@pytest.mark.parametrize("way", ["strings", "constants"])
def test_infinite_numbers_come_back_where_they_must(way: str):
    """As texts, or as the names that only some parsers read."""
    record = Outer("a", Inner(-math.inf), {})
    assert from_json(Outer, to_json(record, not_finite=way), DAMAGE) == record
