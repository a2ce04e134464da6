"""Rows to predict on, read the way the training table was read.

Types in a CSV file are found from the whole column, so a short file may look otherwise: a
column of codes that happens to hold numbers only would lose "1.50" to 1.5. What the training
table held decides instead. In: files, and a `Reading` from the exported model. Out: a raw
table; preparing and validating it are the stages' own functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml

from experiment_pipeline.columns.texts import as_text
from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.spec import Data, ExperimentSpec, Preparation, Validation
from experiment_pipeline.stages.raw_data import csv_text
from experiment_pipeline.stages.raw_data import table as raw_data
from experiment_pipeline.stages.raw_data.contents import open_contents
from experiment_pipeline.storage.records import yaml_bytes

PREPARATION = "preparation.yaml"
TEXT = "str"
_UNSEEN = ("unseen_categories", "unseen_missing_values")
_CSV_SETTINGS = {"delimiter", "encoding", "missing_values"}
Parts = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Reading:
    """How a table as delivered becomes a prepared one.

    Attributes:
        csv: the settings of `spec.Data` that the experiment gave for its CSV files.
        raw_types: column → pandas dtype that the training table had before its preparation.
        preparation: what happens to each row.
        validation: of the experiment; only `unseen_categories` and `unseen_missing_values` are
            kept, and mean the same for rows to predict on.
    """

    csv: Mapping[str, Any]
    raw_types: Mapping[str, str]
    preparation: Preparation
    validation: Validation

    @classmethod
    def of(cls, spec: ExperimentSpec, raw_types: Mapping[str, str]) -> "Reading":
        """Return how the experiment read its table."""
        # Not the format: the next table may be Parquet where this one was CSV.
        given = spec.data.model_dump(mode="json", include=_CSV_SETTINGS, exclude_unset=True)
        return cls(given, raw_types, spec.preparation, spec.validation)

    def to_bytes(self) -> bytes:
        """Return the reading as YAML."""
        declared = self.preparation.model_dump(mode="json", exclude_unset=True)
        return yaml_bytes(
            {
                "csv": dict(self.csv),
                "raw_types": dict(self.raw_types),
                "preparation": declared,
                **{name: getattr(self.validation, name) for name in _UNSEEN},
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> "Reading":
        """Read it back.

        Raises:
            InvalidModel: it is no reading.
        """
        try:
            found = yaml.safe_load(data)
            preparation = Preparation.model_validate(found["preparation"])
            return cls(
                dict(found["csv"]), dict(found["raw_types"]), preparation, _validation(found)
            )
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise InvalidModel(
                source,
                f"{PREPARATION} does not say how a table is read",
                "Use it with the version of experiment-pipeline that exported it.",
            ) from None

    def rows(self, parts: Parts, url: str) -> pd.DataFrame:
        """Return the raw table of some files, with the types of the training table.

        Args:
            parts: (name, content) of each file, as `raw_data.parse` takes them.
            url: where they are from, for messages.

        Raises:
            UnreadableTable, UnusableTable: as `raw_data.parse`.
        """
        is_csv = open_contents(*parts[0], declared=None).format == "csv"
        data = Data(url=url, **(self.csv if is_csv else {}))
        frame = raw_data.parse(parts, data).frame
        were_texts = [
            str(name)
            for name, column in frame.items()
            if self.raw_types.get(str(name)) == TEXT and column.dtype != TEXT
        ]
        texts = {name: as_text(frame[name]) for name in were_texts}
        if is_csv and were_texts:
            texts |= _written(parts, data, were_texts, frame.index)
        return frame.assign(**texts)


def _validation(found: Mapping[str, Any]) -> Validation:
    """What becomes of values never seen; a model without a word on missing ones rejects them."""
    told = {name: found.get(name) for name in _UNSEEN}
    if told["unseen_missing_values"] is None:
        # Of such a model, `reject` left the word to each list of the schema.
        lists = None if told["unseen_categories"] == "reject" else told["unseen_categories"]
        told = {"unseen_categories": lists, "unseen_missing_values": "reject"}
    return Validation.model_validate(told)


def raw_types(raw: pd.DataFrame) -> dict[str, str]:
    """Return the dtype of every column of a raw table."""
    return {str(name): str(dtype) for name, dtype in raw.dtypes.items()}


def _written(
    parts: Parts, data: Data, names: Sequence[str], index: pd.Index
) -> dict[str, pd.Series]:
    """Return columns of CSV files as they are written, without those of folder names."""
    files = [open_contents(*part, declared="csv") for part in parts]
    tables = [csv_text.read(file.name, file.content, data).table for file in files]
    found = [name for name in names if name in tables[0].column_names]
    frame = pa.concat_tables([table.select(found) for table in tables]).to_pandas()
    texts = frame.astype(TEXT).set_axis(index)
    present = texts.mask(texts.isin(data.missing_values))
    return {name: present[name] for name in found}
