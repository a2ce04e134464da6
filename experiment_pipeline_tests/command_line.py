"""The command line, run in this process."""

from click.testing import CliRunner, Result

from experiment_pipeline.cli import main


def command(*arguments: object, **options: str) -> Result:
    """What the command answers; `options` are of click's runner, as what it reads."""
    return CliRunner().invoke(main, [*map(str, arguments)], **options)
