"""The dictionary of columns: what schema.yaml says about their meaning, their owner and
when they are known.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiment_pipeline.errors import InvalidSchema
from experiment_pipeline.spec import Preparation
from experiment_pipeline.spec.reading import YamlFile, read_schema
from experiment_pipeline.spec.schema import Column, Meaning
from experiment_pipeline.table.preparation import calendar_columns

_UNKNOWN = Meaning()


@dataclass(frozen=True)
class Dictionary:
    """Column → what schema.yaml says about it."""

    columns: Mapping[str, Column]

    def __getitem__(self, name: str) -> Meaning:
        """Return what is said about a column, by its name or by a pattern."""
        exact = self.columns.get(name)
        if exact is not None and not exact.regex:
            return exact
        for pattern, column in self.columns.items():
            if column.regex and re.match(pattern, name):
                return column
        return _UNKNOWN

    @property
    def says_when(self) -> bool:
        """Whether it says of any column when it is known."""
        return any(
            "known" in column.model_fields_set for column in self.columns.values()
        )

    def of_features(
        self, features: Iterable[str], preparation: Preparation
    ) -> dict[str, Meaning]:
        """Return feature → meaning, of those that it knows; a part of a date has the
        date's, where nothing else is said about the part.
        """
        dates = {
            part: date
            for date, parts in preparation.calendar.items()
            for part in calendar_columns(date, *parts)
        }
        meanings = dict[str, Meaning]()
        for feature in features:
            said = self[dates.get(feature, feature)].said | self[feature].said
            if said:
                meanings[feature] = Meaning.model_validate(said)
        return meanings


NO_DICTIONARY = Dictionary({})


@functools.lru_cache(maxsize=64)
def dictionary_of(text: str, path: str = "schema.yaml") -> Dictionary:
    """Read the dictionary in the text of a schema.yaml; empty without a text.

    Raises InvalidSchema: as `load_schema`.
    """
    if not text:
        return NO_DICTIONARY
    return Dictionary(read_schema(YamlFile(text, path, InvalidSchema)).columns)
