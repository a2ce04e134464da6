"""The result of a run in a notebook: decision, tables as DataFrames, model, the two
YAML files.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment
from experiment_pipeline.prediction.files import Model, load_model
from experiment_pipeline.reporting import document
from experiment_pipeline.storage.registry import TRUSTED, registry_of
from experiment_pipeline.storage.run_code import module_of_main
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.membership import SETS
from experiment_pipeline.tracking import questions, terminal
from experiment_pipeline.tracking.summary import RunSummary, summary_of

TOP = 10


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run that ended with a decision. Its tables are read from the database and the
    storage.
    """

    named: NamedColumns  # the settings, as in defs.yaml, and the schema
    run_id: str
    summary: str  # the inferred settings and the reasons; empty for an experiment in a folder
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
    def audit(self) -> pd.DataFrame:
        """The groups of the audited columns on the validation set, and how much they
        differ.
        """
        return questions.rows_of("audit", self.facts)

    @property
    def rejected(self) -> pd.DataFrame:
        """Rows that broke the schema, as delivered, with every reason."""
        return self.values["rejected_rows"]

    def errors(self, n: int = 50) -> pd.DataFrame:
        """The rows with the largest loss, as in `experiment_pipeline.worst_rows`."""
        return questions.worst_rows(self.name, n, self.run_id)

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
        # Its code may run: the model was trained by this process, or by an earlier run
        # in this storage.
        trusted = json.loads(exported.read(TRUSTED))
        function = self.named.spec.preparation.function
        return load_model(
            str(exported.folder), [*trusted, *([function] if function else [])]
        )

    def save(self, folder: str | Path, *, module: str = "") -> Path:
        """Write defs.yaml and schema.yaml, so that Dagster runs the same experiment and
        reuses all models.

        `module`: a module to write in the working directory, such as `my_models`, for
        estimators defined in the notebook; they are fitted again, under their new path.
        Returns the folder. Raises
        InvalidExperiment: wrong folder name, a file that differs, or such an estimator
        without `module`.
        """
        folder, texts = Path(folder), dict[Path, str]()
        paths = [one.algorithm for one in self.named.spec.search]
        if mine := [one for one in dict.fromkeys(paths) if one.startswith("__main__.")]:
            rule = (
                "it is defined in a notebook or script, where Dagster cannot import it"
            )
            if not module.isidentifier():
                fix = "Move it into a module, or save with module='my_models' to write one."
                raise InvalidExperiment(mine[0], rule, fix)
            texts[Path(f"{module}.py")] = module_of_main(
                [one.partition(".")[2] for one in mine]
            )
        if folder.name != self.name:
            rule = f"the folder names the experiment, and this one is {self.name}"
            fix = f"Save it to {folder.with_name(self.name)}, or run it with name={folder.name!r}."
            raise InvalidExperiment(str(folder), rule, fix)
        yaml_text = self.named.yaml_text
        for path in mine:
            yaml_text = re.sub(
                rf"{path}\b", f"{module}.{path.partition('.')[2]}", yaml_text
            )
        texts |= {
            folder / "defs.yaml": yaml_text,
            folder / "schema.yaml": self.named.schema_text,
        }
        for path, text in texts.items():
            if path.exists() and path.read_text(encoding="utf-8") != text:
                raise InvalidExperiment(
                    str(path), "holds something else", "Remove it first."
                )
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return folder

    @property
    def decision(self) -> str:
        """The decision in a sentence, with the score and the baseline on the validation
        set.
        """
        return f"{self._outcome}: {self._scored}"

    @cached_property
    def _summary(self) -> RunSummary:
        return summary_of(self.facts)

    @property
    def _outcome(self) -> str:
        run = self._summary
        version = f", {run.version}" if run.version else ""
        return f"{self.name}: {run.outcome}{version}"

    @property
    def _scored(self) -> str:
        run = self._summary
        assert run.on_validation is not None
        score = f"{run.on_validation} on the {document.HOLD_OUT}"
        return f"{run.choice}, {score}, baseline {run.on_validation.baseline}"

    def __repr__(self) -> str:
        why = [] if self.refused is None else [str(self.refused)]
        return "\n".join([self.decision, *why])

    def _repr_html_(self) -> str:
        """The decision, the top ten, warnings, inferred settings, and links to the
        pages.
        """
        refused = self.refused
        why = (
            self.facts["choice_reason"]
            if refused is None
            else f"{refused.rule}. {refused.fix}"
        )
        said = (self._scored, f"Why: {why}")
        ranked = questions.results(self.name, self.run_id).dropna(subset="rank")
        top = terminal.listed("configurations", ranked, "status")
        rows = [tuple(row) for row in top.rows]
        first = document.first_rows(top.header, rows, TOP, "configuration")
        sections = [
            document.Section(self._outcome, (*map(document.Paragraph, said), *first))
        ]
        warned = self.findings.query("severity != 'note'")
        if len(warned):
            each = tuple(f"{one.title}: {one.evidence}" for one in warned.itertuples())
            sections.append(document.Section("Warnings", (document.Bullets(each),)))
        if self.summary:
            text = (document.Code("text", self.summary),)
            sections.append(
                document.Section("What was inferred, and why", text, folded=True)
            )
        pages = (
            (name, place)
            for name, place in self.pages.items()
            if place.endswith(".html")
        )
        links = tuple(_link(*page) for page in pages)
        sections.append(
            document.Section("Pages", (document.Bullets(links),), folded=True)
        )
        return document.fragment(*sections)


def _link(name: str, place: str) -> document.Cell:
    """A link to a page, relative to the working directory, as a notebook there needs
    it.
    """
    if place.startswith(("http://", "https://")):
        return document.Link(name, place)
    return (
        f"{name}: {place}"
        if "://" in place
        else document.Link(name, os.path.relpath(place))
    )
