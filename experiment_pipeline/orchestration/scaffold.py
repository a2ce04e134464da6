"""`dg scaffold defs experiment_pipeline.Experiment <name> --data <url> --target
<column>`.

The command's options, and writing defs.yaml and schema.yaml: both or none. Their
content is drafted in `drafting/files.py`. That module is heavy, so it is imported only
when the command runs: every load of the code location imports this one.
"""

import gc
import os
import re
from pathlib import Path

import click
import dagster as dg

from experiment_pipeline.drafting import Wishes
from experiment_pipeline.errors import InvalidExperiment, reported_as
from experiment_pipeline.spec import NAME


class ExperimentScaffolder(dg.Scaffolder[Wishes]):
    """Writes a commented defs.yaml and an inferred schema.yaml for a table."""

    @classmethod
    def get_scaffold_params(cls) -> type[Wishes]:
        """The model whose fields become options of the command."""
        return Wishes

    def scaffold(self, request: dg.ScaffoldRequest[Wishes]) -> None:
        """Draft the experiment and write its two files.

        Raises click.ClickException with the user's error; then neither file nor empty
        folder is left.
        """
        folder = request.target_path
        if any(folder.glob("*")):
            raise click.ClickException(
                f"{folder}: is not empty\n  fix: choose another name"
            )
        # Imported objects are never freed; scanning them for garbage took a tenth.
        gc.disable()
        try:
            with reported_as(lambda error: click.ClickException(str(error))):
                _check_request(request)
                from experiment_pipeline.drafting.files import draft_experiment

                url = _url_from_project(request.params.data, request.project_root)
                command = f"dg launch --job {folder.name}"
                drafted = draft_experiment(folder.name, request.params, url, command)
                for file, text in drafted.files.items():
                    (folder / file).write_text(text, encoding="utf-8")
        except BaseException:
            for file in ("defs.yaml", "schema.yaml"):
                (folder / file).unlink(missing_ok=True)
            # Also the empty folders above it, up to `defs`.
            while (
                folder.exists() and folder.name != "defs" and not any(folder.iterdir())
            ):
                folder.rmdir()
                folder = folder.parent
            raise
        finally:
            gc.enable()
        click.echo(drafted.summary)


def _check_request(request: dg.ScaffoldRequest[Wishes]) -> None:
    """Check the name and options that can be refused without reading the table."""
    name = request.target_path.name
    if not re.fullmatch(NAME, name):
        raise InvalidExperiment(
            f"name {name!r}",
            rule="it becomes the name of assets and of a job: letters, digits and _, a "
            "letter first",
            fix="choose another name",
        )
    if request.append or request.scaffold_format != "yaml":
        raise InvalidExperiment(
            "--format",
            rule="an experiment is one YAML file in a folder of its own",
            fix="drop the option",
        )
    if not request.params.data:
        raise InvalidExperiment(
            "--data",
            rule="is missing: the path or URL of the table",
            fix="add --data data/my_table.csv",
        )


def _url_from_project(url: str, project_root: Path | None) -> str:
    """Make a relative path relative to the project's root: experiments run there."""
    working_directory = Path.cwd()
    is_relative = "://" not in url and not url.startswith(("/", "~"))
    if (
        project_root is None
        or not is_relative
        or working_directory == project_root.resolve()
    ):
        return url
    return os.path.relpath(working_directory / url, project_root.resolve())
