"""`dg scaffold defs experiment_pipeline.Experiment <name> --data <url> --target <column>`.

The command's options, and writing defs.yaml and schema.yaml: both or none. What stands in them
is drafted in `drafting/files.py`, which is imported when the command runs, because it loads much and
every load of the code location comes by here.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import dagster as dg
from pydantic import BaseModel, Field

from experiment_pipeline.errors import ExperimentPipelineError, InvalidExperiment, told_as
from experiment_pipeline.spec import NAME

if TYPE_CHECKING:
    from experiment_pipeline.drafting.files import Drafted


class CannotScaffold(click.ClickException):
    """click prints `Error: …` and exits with 1, without a stack."""


class Options(BaseModel):
    """The command's options; all but two are inferred when they are not given."""

    data: str | None = Field(None, description="Path or URL of the table")
    target: str | None = Field(None, description="The column to predict")
    task: str | None = Field(None, description="binary, multiclass or regression")
    positive_class: str | None = Field(None, description="Binary: the class that is predicted")
    metric: str | None = Field(None, description="What ranks the configurations")
    split: str | None = Field(None, description="random, group, time or column")
    split_column: str | None = Field(None, description="The column that the split goes by")
    exclude: list[str] = Field([], description="A column that is no feature; repeat the option")
    id_column: list[str] = Field([], description="A column that identifies a row; repeatable")
    delimiter: str | None = Field(None, description="Between the fields of a CSV file")
    encoding: str | None = Field(None, description="Of a CSV file")
    endpoint_url: str | None = Field(None, description="An S3 server that is not AWS")
    anonymous: bool = Field(False, description="true: a public bucket, without credentials")

    @property
    def source(self) -> dict[str, Any]:
        """What is said about the table, as `spec.Data` takes it."""
        said = self.model_dump(include={"delimiter", "encoding", "endpoint_url"})
        given = {key: value for key, value in said.items() if value is not None}
        return {"url": self.data or "", **given, **({"anonymous": True} if self.anonymous else {})}


class ExperimentScaffolder(dg.Scaffolder[Options]):
    """Writes a commented defs.yaml and an inferred schema.yaml for a table."""

    @classmethod
    def get_scaffold_params(cls) -> type[Options]:
        """Become options of the command."""
        return Options

    def scaffold(self, request: dg.ScaffoldRequest[Options]) -> None:
        """Draft the experiment and write its two files.

        Raises:
            CannotScaffold: with the error that a user can act on; nothing is written.
        """
        with told_as(_without_a_stack), _whole_or_nothing(request.target_path):
            drafted = _drafted(request)
            for file, text in drafted.files.items():
                (request.target_path / file).write_text(text, encoding="utf-8")
        click.echo(drafted.summary)


def _drafted(request: dg.ScaffoldRequest[Options]) -> "Drafted":
    from experiment_pipeline.drafting.files import draft_experiment
    from experiment_pipeline.drafting.inference import Wishes

    _check_request(request)
    options = request.params
    wishes = Wishes(
        target=options.target or "",
        task=options.task,
        positive_class=options.positive_class,
        metric=options.metric,
        split=options.split,
        split_column=options.split_column,
        exclude=tuple(options.exclude),
        id_columns=tuple(options.id_column),
    )
    written_url = _url_from_project(options.source["url"], request.project_root)
    name = request.target_path.name
    command = _command(name, request.project_root)
    return draft_experiment(name, options.source, written_url, wishes, command)


def _check_request(request: dg.ScaffoldRequest[Options]) -> None:
    """Refuse what needs no look at the table."""
    name = request.target_path.name
    if not re.fullmatch(NAME, name):
        raise InvalidExperiment(
            f"name {name!r}",
            "it becomes the name of assets and of a job: letters, digits and _, a letter first",
            f"call it {_similar_name(name)}",
        )
    if request.append or request.scaffold_format != "yaml":
        raise InvalidExperiment(
            "--format", "an experiment is one YAML file in a folder of its own", "drop the option"
        )
    if not request.params.data:
        raise InvalidExperiment(
            "--data", "is missing: the path or URL of the table", "add --data data/my_table.csv"
        )


def _url_from_project(url: str, project_root: Path | None) -> str:
    """A relative path as the project's root sees it: that is where experiments are run."""
    here = Path.cwd()
    is_relative = "://" not in url and not url.startswith(("/", "~"))
    if project_root is None or not is_relative or here == project_root.resolve():
        return url
    return os.path.relpath(here / url, project_root.resolve())


def _command(name: str, project_root: Path | None) -> str:
    """What runs the experiment in the project that it is drafted for."""
    for file, above in (("pyproject.toml", ("tool", "dg")), ("dg.toml", ())):
        path = (project_root or Path()) / file
        settings = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for key in (*above, "project"):
            settings = settings.get(key, {})
        if "root_module" in settings:
            usual = f"{settings['root_module']}.definitions"
            module = settings.get("code_location_target_module", usual)
            return f"dagster job execute -m {module} -j {name}"
    return f"dg launch --job {name}"


def _similar_name(name: str) -> str:
    words = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_").lower()
    return words if re.fullmatch(NAME, words) else f"experiment_{words}".rstrip("_")


def _remove_empty(folder: Path) -> None:
    """Remove the folder and those that were made above it, up to the experiments' own."""
    while folder.exists() and folder.name != "defs" and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


@contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[None]:
    """Leave no folder of a scaffold that failed: it would be in the way of the next attempt."""
    if any(folder.glob("*")):
        raise CannotScaffold(f"{folder}: is not empty\n  fix: choose another name")
    try:
        yield
    except BaseException:
        for file in ("defs.yaml", "schema.yaml"):
            (folder / file).unlink(missing_ok=True)
        _remove_empty(folder)
        raise


def _without_a_stack(error: ExperimentPipelineError) -> CannotScaffold:
    return CannotScaffold(str(error))
