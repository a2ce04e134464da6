"""The result of a run in a notebook: decision, tables, model, the two YAML files."""

import json
import logging
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment
from experiment_pipeline.experiment.context import Run
from experiment_pipeline.experiment.file_store import FileStore
from experiment_pipeline.experiment.flow import packaged_model
from experiment_pipeline.experiment.in_memory import Silent
from experiment_pipeline.prediction.files import Model, load_model
from experiment_pipeline.reporting import document
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.storage.files import location
from experiment_pipeline.storage.registry import (
    TRUSTED,
    ExportedModel,
    Registry,
    registry_of,
)
from experiment_pipeline.storage.run_code import module_of_main
from experiment_pipeline.table.features import NamedColumns
from experiment_pipeline.table.membership import SETS
from experiment_pipeline.tracking import questions, terminal
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.next_step import next_step
from experiment_pipeline.tracking.record import decided
from experiment_pipeline.tracking.summary import RunSummary, summary_of

if TYPE_CHECKING:
    from experiment_pipeline.prediction.explanation import Explanation
    from experiment_pipeline.tracking.comparison import RunComparison

TOP = 10
LOG = logging.getLogger("experiment_pipeline")
# The assets that the chosen model is made of.
_OF_CANDIDATE = ("validation_set", "leaderboard", "validation_report")


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run that ended with a decision; its tables are read from where they
    are stored.
    """

    named: NamedColumns  # the settings, as in defs.yaml, and the schema
    run_id: str
    # the inferred settings and the reasons; empty for an experiment in a folder
    summary: str
    values: Mapping[str, Any]  # asset → its value
    refused: ExperimentPipelineError | None  # why nothing was exported
    # the index of the DataFrame that was given; None: rows are numbered from 0
    labels: pd.Index | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: of the assets those that are used here, and no model;
        all else is read by the run's id where the result is used.
        """
        kept = {"rejected_rows", *_OF_CANDIDATE, *(f"{name}_set" for name in SETS)}
        values = {name: self.values[name] for name in kept & self.values.keys()}
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**state, "values": values}

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
        """The groups of the audited columns, and how much they differ."""
        return questions.rows_of("audit", self.facts)

    @property
    def rejected(self) -> pd.DataFrame:
        """Rows that broke the schema, or have no label yet, as delivered, with every
        reason.
        """
        return self._labelled(self.values["rejected_rows"])

    def errors(self, n: int = 50) -> pd.DataFrame:
        """The n validation rows, then the n test rows, with the largest loss, as in
        `experiment_pipeline.worst_rows`; the index is that of the given DataFrame.
        """
        return self._labelled(questions.worst_rows(self.name, n, self.run_id))

    @property
    def sets(self) -> dict[str, pd.DataFrame]:
        """`train`, `test` and `validation` → its rows, prepared."""
        return {name: self._labelled(self.values[f"{name}_set"].rows) for name in SETS}

    def _labelled(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return rows under the labels of the given DataFrame, not their numbers."""
        if self.labels is None:
            return rows
        return rows.set_axis(self.labels.take(rows.index.to_numpy()))

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
        return self._loaded(registry_of(self.named.spec).model(self.facts["version"]))

    def _loaded(self, exported: ExportedModel) -> Model:
        # Its code may run: the model was trained by this process, or by an earlier run
        # in this storage.
        trusted = json.loads(exported.read(TRUSTED))
        if (function := self.named.spec.preparation.function) is not None:
            trusted.append(function)
        return load_model(str(exported.folder), trusted)

    @cached_property
    def candidate(self) -> Model:
        """The chosen model, fitted as it was evaluated, also if it is not accepted.

        Then it says so in a warning and in its text, and nothing is published.
        """
        if self.refused is None:
            return self.model
        why = f"NOT ACCEPTED: {self.refused.rule}"
        warnings.warn(f"{self.name}: {why}", stacklevel=3)
        assets = {name: self.values[name] for name in _OF_CANDIDATE}
        record = RunRecord(self.name, self.run_id)
        store = FileStore(
            self.named.spec, run=record, started=RunFacts(), warn=LOG.warning
        )
        run = Run(self.named, store, Silent(LOG))
        code = questions.code_of(self.name, self.run_id)
        package = packaged_model(run, code=code, **assets)
        with TemporaryDirectory() as folder:
            registry = Registry(location(folder), self.name)
            version = registry.publish(package, lambda _: None).version
            model = self._loaded(registry.model(version))
        name = f"{self.name} {package.configuration}, {why}"
        return replace(model, name=name)

    def explain(self, rows: Any) -> "Explanation":
        """Return what each feature adds to predictions, as `Model.explain`."""
        return self.model.explain(rows)

    def compare(self, before: "RunResult | str") -> "RunComparison":
        """Compare with another run, given by its result or the start of its id."""
        from experiment_pipeline.tracking.comparison import compare

        earlier = before.run_id if isinstance(before, RunResult) else before
        return compare(earlier, self.run_id)

    def save(self, folder: str | Path, *, module: str = "") -> Path:
        """Write defs.yaml and schema.yaml: Dagster then reuses all models of this run.

        `module`: a module to write in the working directory, such as `my_models`, for
        estimators defined in the notebook; they are fitted again, under their new path.
        Returns the folder. Raises InvalidExperiment: wrong folder name, a file that
        differs, or such an estimator without `module`.
        """
        folder = Path(folder)
        if folder.name != self.name:
            raise InvalidExperiment(
                str(folder),
                rule=f"the folder names the experiment, and this one is {self.name}",
                fix=f"Save it to {folder.with_name(self.name)}, or run it with "
                f"name={folder.name!r}.",
            )
        yaml_text, module_text = self._importable(module)
        texts = {
            folder / "defs.yaml": yaml_text,
            folder / "schema.yaml": self.named.schema_text,
        }
        if module_text:
            texts[Path(f"{module}.py")] = module_text
        for path, text in texts.items():
            if path.exists() and path.read_text(encoding="utf-8") != text:
                raise InvalidExperiment(
                    str(path),
                    rule="holds something else",
                    fix="Remove it first.",
                )
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return folder

    def _importable(self, module: str) -> tuple[str, str]:
        """Return defs.yaml and the module of what the notebook defines, if anything."""
        yaml_text = self.named.yaml_text
        paths = self.named.spec.import_paths
        in_notebook = [path for path in paths if path.startswith("__main__.")]
        if not in_notebook:
            return yaml_text, ""
        if not module.isidentifier():
            raise InvalidExperiment(
                in_notebook[0],
                rule="it is defined in a notebook or script, where Dagster cannot "
                "import it",
                fix="Move it into a module, or save with module='my_models' to write "
                "one.",
            )
        names = [path.removeprefix("__main__.") for path in in_notebook]
        for path, name in zip(in_notebook, names, strict=True):
            yaml_text = re.sub(rf"{re.escape(path)}\b", f"{module}.{name}", yaml_text)
        return yaml_text, module_of_main(names)

    @property
    def decision(self) -> str:
        """The decision in a sentence, with score and baseline on the validation set."""
        return f"{self._outcome}: {self._scored}"

    @cached_property
    def next_step(self) -> str:
        """What to do next, in a sentence, as on the pages of the run."""
        return next_step(decided(self.name, self.run_id)).sentence

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
        return "\n".join([self.decision, *why, f"What next: {self.next_step}"])

    def _repr_html_(self) -> str:
        """The decision, the best ten, warnings, inferred settings, links to
        the pages.
        """
        why = self.facts["choice_reason"]
        if self.refused is not None:
            why = f"{self.refused.rule}. {self.refused.fix}"
        ranked = questions.results(self.name, self.run_id).dropna(subset="rank")
        best = terminal.listed("configurations", ranked, "status")
        blocks = (
            document.Paragraph(self._scored),
            document.Paragraph(f"Why: {why}"),
            document.Paragraph(f"What next: {self.next_step}"),
            *document.first_rows(best.header, best.rows, TOP, "configuration"),
        )
        sections = [document.Section(self._outcome, blocks)]
        warnings = self.findings.query("severity != 'note'")
        if len(warnings):
            lines = (f"{row.title}: {row.evidence}" for row in warnings.itertuples())
            bullets = (document.Bullets([*lines]),)
            sections.append(document.Section("Warnings", bullets))
        if self.summary:
            text = (document.Code("text", self.summary),)
            title = "What was inferred, and why"
            sections.append(document.Section(title, text, folded=True))
        links = tuple(
            _link(name, place)
            for name, place in self.pages.items()
            if place.endswith(".html")
        )
        bullets = (document.Bullets(links),)
        sections.append(document.Section("Pages", bullets, folded=True))
        return document.fragment(*sections)


def _link(name: str, place: str) -> document.Cell:
    """Return a link to a page, relative to the notebook's working directory."""
    if place.startswith(("http://", "https://")):
        return document.Link(name, place)
    if "://" in place:
        return f"{name}: {place}"
    return document.Link(name, os.path.relpath(place))
