"""What a run in a notebook found: the decision, its tables as DataFrames, the model, its two files."""

import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment
from experiment_pipeline.prediction.files import Model, load_model
from experiment_pipeline.spec.models import readable
from experiment_pipeline.storage.registry import TRUSTED, registry_of
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.membership import SETS
from experiment_pipeline.tracking import questions

TOP = 10
_SHOWN = ("rank", "algorithm", "test_score", "test_low", "test_high", "in_tie_group", "key")


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run that has ended with a decision. Its tables are those of the database and the storage."""

    named: NamedColumns  # the settings, as in defs.yaml, and the schema
    run_id: str
    summary: str  # what was inferred and why; empty for an experiment of a folder
    values: Mapping[str, Any]  # asset → its value
    refused: ExperimentPipelineError | None  # why nothing was exported

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.named.spec.name

    @property
    def accepted(self) -> bool:
        """Whether all gates of the validation report passed."""
        return self.refused is None

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The run's row of `runs()`: scores, decision, cost, version."""
        return questions.run_of(self.name, self.run_id)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The ranked configurations, the best first: scores, then hyperparameters."""
        return questions.leaderboard(self.name, self.run_id)

    @property
    def findings(self) -> pd.DataFrame:
        """What the data analysis noticed, a row each."""
        return questions.findings(self.name, self.run_id)

    @property
    def rejected(self) -> pd.DataFrame:
        """Rows that broke the schema, as delivered, with every reason."""
        rows: pd.DataFrame = self.values["rejected_rows"]
        return rows

    def worst_rows(self, n: int = 50) -> pd.DataFrame:
        """The rows with the largest loss, as of `experiment_pipeline.worst_rows`."""
        return questions.worst_rows(self.name, n, self.facts["run_id"])

    @property
    def sets(self) -> dict[str, pd.DataFrame]:
        """`train`, `test` and `validation` → its rows, prepared."""
        return {name: self.values[f"{name}_set"].rows for name in SETS}

    @property
    def pages(self) -> dict[str, str]:
        """Name → path of the run's pages."""
        rows = questions.rows_of("reports", self.facts)
        return dict(zip(rows["name"], rows["place"], strict=True))

    @cached_property
    def model(self) -> Model:
        """The exported model, for rows as delivered.

        Raises:
            NotAccepted: with the gates that failed.
        """
        if self.refused is not None:
            raise self.refused
        exported = registry_of(self.named.spec).model(self.facts["version"])
        # This process trained the model, or reused what this storage trained.
        trusted = json.loads(exported.read(TRUSTED))
        function = self.named.spec.preparation.function
        return load_model(str(exported.folder), [*trusted, *([function] if function else [])])

    def save(self, folder: str | Path) -> Path:
        """Write defs.yaml and schema.yaml: Dagster runs the same experiment, and trains nothing again.

        Returns the folder. Raises InvalidExperiment: it has another name, or other files.
        """
        folder = Path(folder)
        if folder.name != self.name:
            rule = f"the folder names the experiment, and this one is {self.name}"
            fix = f"Save it to {folder.with_name(self.name)}, or run it with name={folder.name!r}."
            raise InvalidExperiment(str(folder), rule, fix)
        texts = {"defs.yaml": self.named.yaml_text, "schema.yaml": self.named.schema_text}
        for file, text in texts.items():
            if (path := folder / file).exists() and path.read_text(encoding="utf-8") != text:
                raise InvalidExperiment(str(path), "holds something else", "Remove it first.")
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        return folder

    @property
    def decision(self) -> str:
        """The decision in a sentence, with the score and the baseline on the validation set."""
        row = self.facts
        outcome = "accepted" if self.accepted else "not accepted"
        version = f", {row['version']}" if row["version"] else ""
        score = (
            f"{row['metric']} {row['validation_score']:.4g} ({row['validation_low']:.4g} to "
            f"{row['validation_high']:.4g}), baseline {row['validation_baseline']:.4g}"
        )
        return f"{self.name}: {outcome}{version}: {row['chosen']}, {score}"

    def __repr__(self) -> str:
        why = [] if self.refused is None else [str(self.refused)]
        return "\n".join([self.decision, *why])

    def _repr_html_(self) -> str:
        """The decision, the top ten, the warnings and the pages."""
        board = self.leaderboard
        top = board[[one for one in _SHOWN if one in board.columns]].head(TOP)
        warned = self.findings.query("severity != 'info'")["evidence"]
        why = "" if self.refused is None else f"<p>{html.escape(self.refused.rule)}</p>"
        links = (
            f'<a href="{html.escape(_from_here(place), quote=True)}">{html.escape(name)}</a>'
            for name, place in self.pages.items()
            if place.endswith(".html")
        )
        items = "".join(f"<li>{html.escape(readable(one))}</li>" for one in warned)
        return (
            f"<p><b>{html.escape(self.decision)}</b></p>{why}"
            f"{top.to_html(index=False, border=0, float_format='{:.4g}'.format)}"
            f"<ul>{items}</ul><p>{' · '.join(links)}</p>"
        )


def _from_here(place: str) -> str:
    """A page as a notebook of this folder links to it."""
    return place if "://" in place else os.path.relpath(place)
