"""The YAML door: `type: experiment_pipeline.Experiment`, and everything else in `attributes`.

Dagster's model of the attributes takes every key; the pure ExperimentSpec judges, so that one
declaration serves all and every error names file and line. What the assets do lives in
`stages/`. In: defs.yaml, with schema.yaml beside it. Out: Definitions.
"""

from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, ConfigDict

from experiment_pipeline.columns.named import NamedColumns
from experiment_pipeline.errors import InvalidExperiment, InvalidSchema, UnknownAlgorithm
from experiment_pipeline.orchestration.scaffold import ExperimentScaffolder
from experiment_pipeline.orchestration.yaml_source import YamlSource, shown_path
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.errors import spec_from
from experiment_pipeline.spec.places import Location
from experiment_pipeline.stages.search.configurations import configurations

SCHEMA_FILE = "schema.yaml"


class Attributes(BaseModel):
    """Takes whatever the YAML holds: the experiment's specification judges it."""

    model_config = ConfigDict(extra="allow")


@dg.scaffold_with(ExperimentScaffolder)
class Experiment(dg.Component):
    """One machine-learning experiment: one table, one target, one search.

    Becomes the assets from the raw table to the exported model, a job, a schedule
    and a sensor for new data, all named after the folder of its defs.yaml.

    Options of the scaffold; what is left out is inferred, and said:

    --data            path or URL of the table (needed)

    --target          the column to predict (needed)

    --task            binary, multiclass or regression

    --positive-class  binary: the class whose probability is predicted

    --metric          what ranks the configurations, such as roc_auc or rmse

    --split           random, group, time or column

    --split-column    the column that the split goes by

    --exclude         a column that is no feature; repeat it for several

    --id-column       a column that identifies a row; repeat it for several

    --delimiter, --encoding, --endpoint-url, --anonymous true

                      how the table is read, where the file does not tell
    """

    def __init__(self, named: NamedColumns) -> None:
        self.spec, self.schema_text, self._named = named.spec, named.schema_text, named

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The permissive model: `dg check yaml` leaves the judgement to `load`."""
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Read and judge the folder's YAML.

        Raises:
            InvalidExperiment, InvalidSchema: with `file:line` of each problem.
        """
        source = YamlSource(context)
        source.check_text()
        given: dict[str, Any] = (attributes.model_extra or {}) if attributes is not None else {}
        spec = spec_from(context.path.name, source.filled_in(given), source.line_of)
        _check_search(spec, source)
        path = context.path / SCHEMA_FILE
        return cls(NamedColumns(spec, _schema_text(path), source.line_of, str(shown_path(path))))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Everything Dagster knows of the experiment."""
        from experiment_pipeline.orchestration.experiment import build_experiment

        return build_experiment(self.spec, self.schema_text, self._named)

    def check_table(self) -> None:
        """Hold the columns that the YAML names against the table's, where a look is cheap.

        Raises:
            InvalidExperiment, InvalidSchema: with `file:line` of each column that is not there.
        """
        from experiment_pipeline.stages.raw_data.sources import peek_columns

        if (columns := peek_columns(self.spec.data)) is not None:
            self._named.check(columns)


def _schema_text(path: Path) -> str:
    """The content of schema.yaml, once it has been judged."""
    from experiment_pipeline.columns.schema import shared_schema

    shown = str(shown_path(path))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidExperiment(
            shown,
            "is missing: the schema that the table's rows must satisfy",
            "write it, or copy the one that `dg scaffold defs` infers for the same table",
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidSchema(
            shown,
            f"is no UTF-8 text ({error.reason} at byte {error.start})",
            "Save the file as UTF-8.",
        ) from None
    shared_schema(text, shown)
    return text


def _check_search(spec: ExperimentSpec, source: YamlSource) -> None:
    """Refuse what no algorithm accepts before anything is read or trained."""
    from experiment_pipeline.stages.search.algorithms import check_hyperparameters

    for number, entry in enumerate(spec.search):
        alone = spec.model_copy(update={"search": (entry,)})
        location: Location = ("search", number)
        try:
            found = configurations(alone)
            for configuration in {frozenset(c.hyperparameters): c for c in found}.values():
                check_hyperparameters(configuration, spec.task)
        except UnknownAlgorithm as error:
            raise _at(source, (*location, "algorithm"), error) from None
        except InvalidExperiment as error:
            named = [key for key in entry.hyperparameters if repr(key) in error.rule]
            raise _at(source, (*location, "hyperparameters", *named[:1]), error) from None
    configurations(spec)


def _at(
    source: YamlSource, location: Location, error: InvalidExperiment | UnknownAlgorithm
) -> InvalidExperiment:
    """The same error, beginning with its place in the YAML."""
    return InvalidExperiment(source.line_of(location), f"{error.culprit}: {error.rule}", error.fix)
