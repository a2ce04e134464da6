"""The command `experiment-pipeline`: use the models that experiments have exported.

Parses, calls, prints; nothing is computed here, and heavy imports wait for the command that
needs them. An error a user can act on is told on one screen, with exit code 1.
"""

import sys
from pathlib import PurePosixPath

import click

from experiment_pipeline.errors import ExperimentPipelineError, InvalidModel, told_as


@click.group()
@click.version_option(package_name="experiment-pipeline", prog_name="experiment-pipeline")
def main() -> None:
    """Use the models that experiments have exported."""


@main.command()
@click.argument("model")
@click.argument("table")
@click.option(
    "--output",
    default="predictions.csv",
    show_default=True,
    help="Where the predictions go: a .csv or .parquet path or URL.",
)
@click.option(
    "--rejected",
    help="Where the rows go that break the schema.  [default: beside the output]",
)
@click.option(
    "--trust",
    multiple=True,
    metavar="NAME",
    help="Code of your own that the model may run: an estimator's type, or the "
    "module:function of its preparation. Repeatable.",
)
def predict(
    model: str, table: str, output: str, rejected: str | None, trust: tuple[str, ...]
) -> None:
    """Predict with MODEL for the rows of TABLE, as delivered.

    MODEL is a version's folder, or <root>/<experiment> or an experiment's name for its
    champion. TABLE is a path or URL of CSV or Parquet; the target may be absent.
    """
    rejected = rejected or _beside(output)
    with told_as(_on_one_screen):
        from experiment_pipeline.prediction import files as prediction

        if trust:  # as `python` itself does; a console script has no folder of its own
            sys.path.append("")
        outcome = prediction.predict(model, table, output, rejected, trust)
    click.echo(f"model     {outcome.model}")
    click.echo(f"predicted {outcome.predicted:>9,} rows  {output}")
    click.echo(f"rejected  {outcome.rejected:>9,} rows  {rejected}")
    for note in outcome.notes:
        click.echo(f"let pass  {note}")


@main.command()
@click.argument("experiment")
@click.option("--root", help="Where it was exported to.  [default: the storage root]")
def models(experiment: str, root: str | None) -> None:
    """List the exported versions of EXPERIMENT, oldest first."""
    with told_as(_on_one_screen):
        from experiment_pipeline.storage.locations import location, storage_root
        from experiment_pipeline.storage.registry import Registry

        registry = Registry(location(root) if root else storage_root(), experiment)
        history, champion = registry.history(), registry.champion()
        if not history:
            raise InvalidModel(
                experiment,
                f"has no exported model in {registry.root}",
                "Run the experiment, or name another --root.",
            )
    for entry in history:
        state = "champion" if entry.version == champion else "" if entry.visible else "gone"
        click.echo(
            f"{entry.version}  {state:<8}  {entry.created}  {entry.headline}  {entry.configuration}"
        )


def _beside(output: str) -> str:
    suffix = PurePosixPath(output).suffix
    return f"{output.removesuffix(suffix)}.rejected{suffix}"


def _on_one_screen(error: ExperimentPipelineError) -> click.ClickException:
    return click.ClickException(str(error))
