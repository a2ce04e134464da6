"""The command `experiment-pipeline`: query experiments, and predict with their exported
models.

Heavy libraries are imported only by the commands that need them.
"""

import json
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import click

import experiment_pipeline as ep
from experiment_pipeline import errors
from experiment_pipeline.errors import InvalidModel, memory_errors_named, reported_as

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from experiment_pipeline.experiment.result import RunResult
    from experiment_pipeline.storage.files import Location
    from experiment_pipeline.storage.registry import Decisions, Registry
    from experiment_pipeline.tracking.terminal import TextTable

# A console width that no line exceeds.
_ENDLESS = 10_000
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs."
)
trusting = click.option(
    "--trust",
    multiple=True,
    metavar="NAME",
    help="Code of your own that it may run. Repeatable.",
)
exported_to = click.option(
    "--root", help="Where it was exported to.  [default: the storage root]"
)


class ErrorsWithoutStack(click.Group):
    """Commands that report user errors as a message with exit code 1, without a stack
    trace.
    """

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands, each with a whole sentence: click cuts it at 45."""
        rows = [
            (name, command.get_short_help_str(_ENDLESS))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> object:
        """Run the requested command."""
        with (
            reported_as(lambda error: click.ClickException(str(error))),
            memory_errors_named("this command"),
        ):
            return super().invoke(ctx)


@click.group(cls=ErrorsWithoutStack, context_settings={"show_default": True})
@click.version_option(
    package_name="experiment-pipeline", prog_name="experiment-pipeline"
)
def main() -> None:
    """Query experiments, and predict with the models that they exported."""


@main.command()
@click.argument("model")
@click.argument("table")
@click.option(
    "--output", default="predictions.csv", help="A .csv or .parquet path or URL."
)
@click.option(
    "--rejected",
    help="File for rows that violate the schema.  [default: beside output]",
)
@trusting
@click.option(
    "--keep",
    default="",
    metavar="COLUMNS",
    callback=lambda _context, _option, text: _names(text),
    help="Copied to the output: id,name.",
)
@click.option(
    "--explain", type=click.IntRange(0), default=0, help="Contributions per row."
)
@click.option(
    "--interval", type=float, help="Add intervals or sets; 0.9 covers 90 % of rows."
)
@as_json
def predict(
    model: str,
    table: str,
    output: str,
    rejected: str | None,
    trust: tuple[str, ...],
    as_json: bool,
    **columns: Any,
) -> None:
    """Predict with MODEL for the rows of TABLE, as delivered.

    MODEL is a version's folder; <root>/<experiment> or an experiment's name means its
    champion. TABLE is a path or URL of CSV or Parquet; it may lack the target and may
    be larger than memory. Progress goes to stderr. --trust takes the type of your own
    estimator, or the module:function of your preparation.
    """
    suffix = PurePosixPath(output).suffix
    rejected = rejected or f"{output.removesuffix(suffix)}.rejected{suffix}"
    if trust:  # as `python` itself does: import from the working directory, too
        sys.path.append("")
    # A scheduler's SIGTERM cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    loaded = ep.load_model(model, trust)
    report = partial(click.echo, err=True)
    outcome = loaded.predict_table(table, output, rejected, report, **columns)
    # The name of an experiment, not a folder that may be from elsewhere.
    if model.isidentifier():
        loaded.note(model, outcome)
    lines = (
        f"model     {outcome.model}",
        f"predicted {outcome.predicted:>9,} rows  {output}",
        f"rejected  {outcome.rejected:>9,} rows  {rejected}",
        *(f"because   {reason}" for reason in outcome.reasons),
        *(f"allowed   {note}" for note in outcome.notes),
        *(f"drift     {line}" for line in outcome.drift),
    )
    _say(
        {**asdict(outcome), "output": output, "rejected_output": rejected},
        lines,
        as_json,
    )


@main.command()
@click.argument("experiment")
@click.argument("predictions")
@click.argument("labels")
@click.option(
    "--id", "ids", default="", metavar="COLUMNS", help="[default: the experiment's ids]"
)
@click.option(
    "--time", help="Column with the day of a row.  [default: that of a split by time]"
)
@click.option(
    "--version", help="Version that made the predictions.  [default: the champion]"
)
@click.option(
    "--label-after",
    metavar="DURATION",
    help="How long labels take, such as '30 days': only older days count.  [default: a "
    "day counts once nearly all of its predictions have a label]",
)
@as_json
def watch(
    experiment: str,
    predictions: str,
    labels: str,
    ids: str,
    time: str | None,
    version: str | None,
    label_after: str | None,
    as_json: bool,
) -> None:
    """Compare the promised score of EXPERIMENT's model with that on LABELS of earlier
    PREDICTIONS.

    Both are paths or URLs of CSV or Parquet; PREDICTIONS as `predict --keep` wrote
    them. Repeat it as often as you like: a row counts once, and "below the promise" is
    ever wrong with a chance of 5 %; a note says where it may be more.
    """
    watched = ep.watch(
        experiment,
        predictions,
        labels,
        ids=_names(ids),
        time=time,
        version=version,
        label_after=label_after,
    )
    if as_json:
        from experiment_pipeline.storage.records import to_json

        click.echo(to_json({"experiment": experiment, **asdict(watched)}), nl=False)
    else:
        click.echo(watched)


def _names(text: str) -> list[str]:
    """Return the column names of `id,name`."""
    return [name.strip() for name in text.split(",") if name.strip()]


@main.command()
@click.argument("experiment")
@exported_to
@as_json
def models(experiment: str, root: str | None, as_json: bool) -> None:
    """List the exported versions of EXPERIMENT, the oldest first, and who approved
    them.
    """
    from experiment_pipeline.tracking import terminal

    registry = _registry(experiment, root)
    versions = terminal.models_frame(registry)
    if versions.empty:
        raise InvalidModel(
            experiment,
            rule=f"has no exported model in {registry.root}",
            fix="Run the experiment, or name another --root.",
        )
    _answer("models", versions, as_json)


@main.command()
@click.argument("experiment")
@click.argument("version")
@click.option("--by", required=True, help="Who approves it.")
@click.option("--comment", default="", help="Why, for the decision record.")
@exported_to
@as_json
def approve(
    experiment: str,
    version: str,
    by: str,
    comment: str,
    root: str | None,
    as_json: bool,
) -> None:
    """Approve VERSION of EXPERIMENT, where its YAML says `approval: required`.

    The latest approved version is the champion. Read the decision record first.
    """
    registry = _registry(experiment, root)
    words = "{version} is approved by {by} at {at}"
    _decide(registry, "approvals", words, as_json, (version, by, comment))


@main.command()
@click.argument("experiment")
@click.argument("version")
@click.option("--why", required=True, help="The reason, for the registry's history.")
@exported_to
@as_json
def retire(
    experiment: str, version: str, why: str, root: str | None, as_json: bool
) -> None:
    """Retire VERSION of EXPERIMENT, for example after a leak. It is never champion
    again; its files stay.
    """
    from experiment_pipeline.storage.processes import user_name

    registry = _registry(experiment, root)
    words = "{version} is retired since {at}"
    _decide(registry, "retired", words, as_json, (version, user_name(), why))


def _registry(experiment: str, root: str | None) -> "Registry":
    from experiment_pipeline.storage.registry import Registry

    return Registry(_storage(root), experiment)


def _decide(
    registry: "Registry",
    kind: "Decisions",
    words: str,
    as_json: bool,
    decision: tuple[str, str, str],
) -> None:
    """Approve or retire a version, and print it.

    `decision`: the version, who decides, and why; `words` have its fields in braces.
    """
    from experiment_pipeline.tracking.outcomes import approve as decide

    version, by, comment = decision
    decided = asdict(decide(registry, version, by, comment, kind))
    champion = registry.champion()
    line = f"{words.format(**decided)}; the champion is {champion or 'none'}"
    facts = {"experiment": registry.experiment, **decided, "champion": champion}
    _say(facts, [line], as_json)


@main.command()
@click.argument("experiment")
@as_json
def explore(experiment: str, as_json: bool) -> None:
    """Search EXPERIMENT up to its leaderboard: no validation row is scored, nothing is
    recorded.
    """
    from experiment_pipeline.table.table import plain_rows

    found = ep.explore(experiment)
    notes = [*found.board.notes]
    facts = {"leaderboard": plain_rows(found.leaderboard), "notes": notes}
    _say(facts, [repr(found), *notes], as_json)


@main.command()
@click.argument("experiment")
@click.option("--http", "port", type=int, help="Serve on this port, not over stdio.")
@click.option("--agent", default="", help="Its name in the record.  [default: its own]")
def lab(experiment: str, port: int | None, agent: str) -> None:
    """Let agents propose and explore settings of EXPERIMENT, over the Model Context
    Protocol. They see no validation row; `lab` in defs.yaml limits what they spend.
    """
    try:
        from experiment_pipeline.lab.server import serve
    except ModuleNotFoundError as error:
        if error.name != "mcp":
            raise
        raise errors.InvalidExperiment(
            "lab",
            rule="the package `mcp` is not installed",
            fix="pip install 'experiment-pipeline[lab]'",
        ) from None
    serve(experiment, agent=agent, port=port)


@main.command("open")
@click.argument("experiment")
@click.argument("request")
@as_json
def open_request(experiment: str, request: str, as_json: bool) -> None:
    """Evaluate an agent's REQUEST on the validation set: a look of EXPERIMENT's. Exit
    code 1: not accepted.
    """
    from experiment_pipeline.lab import page
    from experiment_pipeline.lab.laboratory import Laboratory

    laboratory = Laboratory.of(experiment)
    result = laboratory.open(request)
    click.echo(f"laboratory: {page.write(laboratory)}", err=True)
    _end(result, as_json)


@main.command()
@click.argument("experiment")
@click.argument("key")
@click.option("--why", required=True, help="The reason, for the decision record.")
@as_json
def choose(experiment: str, key: str, why: str, as_json: bool) -> None:
    """Refit, evaluate and export KEY of EXPERIMENT's last leaderboard. Exit code 1: not
    accepted.
    """
    _end(ep.choose(experiment, key, why, trigger="command line"), as_json)


@main.command()
@click.argument("experiment")
@as_json
def refit(experiment: str, as_json: bool) -> None:
    """Refit EXPERIMENT's champion on today's data, without a search. Exit code 1: not
    accepted.
    """
    _end(ep.refit(experiment, trigger="command line"), as_json)


def _end(result: "RunResult", as_json: bool) -> None:
    """Print a run, with --json in the format of `show`, and exit: 1 if the model was
    not accepted.
    """
    from experiment_pipeline.tracking import terminal

    click.echo(terminal.run_json(result.facts) if as_json else result)
    sys.exit(not result.accepted)


@main.command()
@click.argument("model")
@click.argument("version", required=False)
@click.option("--data", help="The table's path or URL.  [default: as exported]")
@exported_to
@trusting
@as_json
def reproduce(
    model: str,
    version: str | None,
    data: str | None,
    root: str | None,
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train a version again, and compare it byte by byte. Exit code 1: not reproduced.

    MODEL is an experiment's name (VERSION or its champion is used), or the folder or
    URL of a version. Its committed files are enough: models/<experiment> of a clone.
    Nothing is stored or recorded.
    """
    from experiment_pipeline.experiment.reproduce import reproduce as train_again
    from experiment_pipeline.storage.provenance import CODE
    from experiment_pipeline.storage.registry import find_model
    from experiment_pipeline.tracking.terminal import TextTable

    if version is None:
        exported = find_model(model)
    else:
        exported = _registry(model, root).model(version)
    if trust:  # the modules saved with the version take precedence over today's
        sys.path.insert(0, str(exported.folder / CODE))
    reproduction = train_again(exported, data, trust, partial(click.echo, err=True))
    if as_json:
        click.echo(json.dumps(asdict(reproduction), indent=2))
    else:
        rows = [astuple(compared) for compared in reproduction.compared]
        header = ("", "at the export", "here")
        _print([TextTable(reproduction.model, header, rows)])
        click.echo(f"\n{reproduction.verdict}")
    sys.exit(not reproduction.reproduced)


@main.command()
@click.argument("experiment")
@click.option("--seeds", type=click.IntRange(1), default=5, help="Number of repeats.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json
def sensitivity(experiment: str, seeds: int, yes: bool, as_json: bool) -> None:
    """Repeat EXPERIMENT's last run with other split seeds, without its
    validation rows.
    """
    from experiment_pipeline.tracking import terminal

    ask = partial(click.confirm, abort=True, err=True)
    if yes:
        ask = partial(click.echo, err=True)
    repeats = ep.sensitivity(experiment, seeds, agree=ask)
    text = terminal.frame_json(repeats) if as_json else repeats.to_string(index=False)
    click.echo(text)


@main.command()
@as_json
def experiments(as_json: bool) -> None:
    """List all experiments that have run, with champion and last outcome."""
    _answer("experiments", ep.experiments(), as_json, "no experiment has run yet")


@main.command()
@click.argument("experiment", required=False)
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(
        ["running", "accepted", "not accepted", "no go", "failed", "killed", "partial"]
    ),
    help="Only runs with this outcome; failed includes killed. Repeatable.",
)
@click.option(
    "--since", help="Only runs begun since 2026-11-01, or an age such as '7 days'."
)
@click.option("--limit", type=click.IntRange(1), default=20)
@click.option(
    "--fail-if-none", is_flag=True, help="Exit with 1 if there is no such run: for CI."
)
@as_json
def runs(
    experiment: str | None,
    status: tuple[str, ...],
    since: str | None,
    limit: int,
    fail_if_none: bool,
    as_json: bool,
) -> None:
    """List the runs of EXPERIMENT, or of all experiments, the newest first."""
    rows = ep.runs(
        experiment,
        status=status or None,
        since=_moment(since),
        limit=limit,
        all_columns=True,
    )
    without = "experiment" if experiment else ""
    _answer("runs", rows, as_json, "no such run", without=without)
    if fail_if_none and rows.empty:
        sys.exit(1)


@main.command()
@click.argument("run", required=False)
@click.option("--experiment", help="Its experiment; without RUN, the last run of it.")
@click.option(
    "--since", help="Only a run begun since a time in UTC, or an age: '1 hour'."
)
@click.option(
    "--copy-reports", metavar="FOLDER", help="Copy its pages and record there."
)
@click.option(
    "--fail-unless",
    type=click.Choice(["accepted", "not accepted"]),
    help="Exit with 1 otherwise; not accepted includes no go.",
)
@as_json
def show(
    run: str | None,
    experiment: str | None,
    since: str | None,
    copy_reports: str | None,
    fail_unless: str | None,
    as_json: bool,
) -> None:
    """Show everything recorded of RUN, an id or the start of one, or the last run of
    an experiment; without RUN, of the last run of all.
    """
    from experiment_pipeline.tracking import questions, terminal
    from experiment_pipeline.tracking.outcomes import copy_reports as copied

    begun = _moment(since)
    row = questions.run_of(experiment, run)
    if begun is not None:
        questions.check_begun(row, begun)
    if as_json:
        click.echo(terminal.run_json(row))
    else:
        _print(terminal.run(row))
    if copy_reports is not None:
        copied(row, copy_reports)
    decided = {"accepted": "accepted", "rejected": "not accepted"}
    if fail_unless not in {None, decided.get(row["status"])}:
        sys.exit(1)


@main.command()
@click.argument("before")
@click.argument("after")
@click.option("--experiment", help="The experiment, if the run holds several.")
@click.option(
    "--html",
    metavar="FILE",
    help="Write a page there, with the rows that changed most.",
)
@as_json
def compare(
    before: str, after: str, experiment: str | None, html: str | None, as_json: bool
) -> None:
    """Show what changed from run BEFORE to run AFTER; with --experiment, also between
    versions (v0003).
    """
    from experiment_pipeline.storage.files import location, write_bytes
    from experiment_pipeline.tracking import terminal

    comparison = ep.compare(before, after, experiment)
    if html is not None:
        write_bytes(location(html), comparison.page().encode())
    text = terminal.printable(str(comparison))
    click.echo(terminal.comparison_json(comparison) if as_json else text)


@main.command()
@click.option("--page", is_flag=True, help="Print only the description of the columns.")
@as_json
def database(page: bool, as_json: bool) -> None:
    """Show where the metadata database is, and what its tables and columns mean, for
    SQL.
    """
    from experiment_pipeline.tracking.database.tables import documentation

    facts = dict[str, object]()
    if not page:
        from experiment_pipeline.tracking.database import connection

        engine = connection.database()
        facts = {
            "database": connection.shown(engine.url),
            "version": connection.version_of(engine),
        }
    lines = [f"{name:<8} {value}" for name, value in facts.items()] + [""] * bool(facts)
    text = documentation()
    _say({**facts, "page": text}, [*lines, text.removesuffix("\n")], as_json)


@main.command()
@click.argument("experiment", required=False)
@click.option("--run", help="The start of its id.  [default: the last run]")
@click.option("--to", default="experiments.duckdb", metavar="FILE")
@click.option(
    "--with-validation",
    is_flag=True,
    help="Also the rows of the validation set (final hold-out) and their predictions. "
    "Choosing by them is a look that nobody counts.",
)
@as_json
def sql(
    experiment: str | None,
    run: str | None,
    to: str,
    with_validation: bool,
    as_json: bool,
) -> None:
    """Write the rows of EXPERIMENT's last run, or of all experiments, to a DuckDB file.

    A schema per experiment has raw, validated and rejected rows, the sets, predictions
    and the worst rows; the schema experiment_pipeline has the metadata tables.
    """
    from experiment_pipeline.experiment import sql as rows

    names = [experiment] if experiment else [*ep.experiments()["experiment"]]
    schemas = rows.schemas_of(names, run, with_validation=with_validation)
    written = rows.write_duckdb(to, schemas)
    lines = [f"{count:>9,} {name}" for name, count in written.items()]
    _say({"file": to, "rows": written}, [*lines, to], as_json)


@main.command()
@click.option("--root", help="Where the runs are stored.  [default: the storage root]")
@as_json
def reindex(root: str | None, as_json: bool) -> None:
    """Rebuild the metadata database from the storage: all runs that have ended, all
    versions.
    """
    from experiment_pipeline.tracking.database import archive, connection

    passed_over: list[str] = []
    restored = archive.reindex(_storage(root), passed_over.append)
    into = connection.shown(connection.database_url())
    for problem in passed_over:
        click.echo(f"skipped: {problem}", err=True)
    lines = (
        f"restored {restored:>9,} runs  {into}",
        f"skipped  {len(passed_over):>9,} files",
    )
    _say(
        {"database": into, "restored": restored, "passed_over": passed_over},
        lines,
        as_json,
    )


@main.command()
@click.argument("experiment", required=False)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@as_json
def clean(experiment: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove files of old runs that `retention` of defs.yaml does not keep; of
    EXPERIMENT or of all.

    Files that a version, the ledger or a kept run refers to stay, and so do the
    database rows.
    """
    from experiment_pipeline.experiment.declared import declared_now
    from experiment_pipeline.tracking import retention

    names = [experiment] if experiment else ep.experiments()["experiment"]
    cleaned = [
        retention.clean(declared_now(name).spec, dry_run=dry_run) for name in names
    ]
    lines = (files.in_words(dry_run=dry_run) for files in cleaned)
    _say([asdict(files) for files in cleaned], lines, as_json)


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Default: 3001, or a free one."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def reports(port: int | None, command: tuple[str, ...]) -> None:
    """Serve the storage's pages to a browser on this machine, alone or beside COMMAND.

    COMMAND, such as `dagster dev`, receives the address, so that the metadata of its
    runs links to it. Both end together, with every process that COMMAND started.
    """
    from experiment_pipeline.tracking import guard, server

    if guard.starts_dagster(command) and not guard.is_guarded():
        click.echo(f"warning: {guard.ADVICE}", err=True)
    culprit = f"--port {port}"
    try:
        with server.listening(port) as listener:
            click.echo(f"reports on {server.url_of(listener)}", err=True)
            if port is None and server.url_of(listener) != server.USUAL:
                click.echo(
                    f"port {server.PORT} is taken: links in Dagster of earlier runs "
                    "lead there",
                    err=True,
                )
            if command:
                culprit = command[0]
                sys.exit(server.run_beside(command, listener))
            server.serve(listener)
    except OSError as error:
        raise click.ClickException(f"{culprit}: {error.strerror}") from None


@main.command()
@as_json
def guard(as_json: bool) -> None:
    """Let Dagster's page refuse requests of foreign pages: write keys to dagster.yaml.

    In DAGSTER_HOME. Keys that the file has stay as they are. Start Dagster again
    afterwards; its environment must have this package.
    """
    from experiment_pipeline.tracking.guard import write_guard

    path, written = write_guard()
    done = f"wrote {', '.join(written)} to" if written else "nothing to add to"
    line = f"{done} {path}"
    _say({"file": str(path), "written": written}, [line], as_json)


@main.command()
@click.argument("experiment")
@click.option("--from", "list_", metavar="FILE", help="A CSV, or dbt's YAML.")
@click.option(
    "--asset",
    metavar="KEY",
    help="An asset of the Dagster project whose metadata describes the columns.",
)
@click.option("--write", is_flag=True, help="Add the draft to schema.yaml.")
@as_json
def dictionary(
    experiment: str, list_: str | None, asset: str | None, write: bool, as_json: bool
) -> None:
    """Draft what EXPERIMENT's columns mean, and ask what only people know.

    Units come from names, texts from the fields of a Parquet table, from a Dagster
    asset or from a CSV. What schema.yaml says already stays.
    """
    from experiment_pipeline.experiment import dictionary as drafting
    from experiment_pipeline.experiment.declared import experiment_folder
    from experiment_pipeline.spec.reading import to_yaml

    upstream = None
    if asset is not None:
        from experiment_pipeline.orchestration.columns import columns_of_asset

        sys.path.append("")  # as Dagster's commands do
        upstream = columns_of_asset(asset, experiment_folder(experiment))
    drafted = drafting.draft_dictionary(experiment, list_, upstream)
    if write and drafted.columns:
        drafting.write_dictionary(experiment, drafted)
    added = "added to" if write else "to add (--write) to"
    lines = [f"{added} {drafted.file.path}:", to_yaml({"columns": drafted.columns})]
    if not drafted.columns:
        lines = [f"nothing to add to {drafted.file.path}\n"]
    lines += [
        "only people know (what predicts most comes first):",
        *(f"  {text}" for text in drafted.questions),
    ]
    facts = {"columns": drafted.columns, "questions": drafted.questions}
    _say(facts, lines, as_json)


@main.command("json-schema")
@click.argument("file", type=click.Choice(["defs.yaml", "schema.yaml"]))
def json_schema(file: str) -> None:
    """Print the JSON schema of FILE, for an editor that completes its keys."""
    from experiment_pipeline.experiment.files import json_schema as described

    click.echo(json.dumps(described(file), indent=1))


def _storage(root: str | None) -> "Location":
    from experiment_pipeline.storage.files import location, storage_root

    return location(root) if root else storage_root()


def _moment(since: str | None) -> "pd.Timestamp | None":
    """Parse a date, or an age that is subtracted from now."""
    import pandas as pd

    if since is None:
        return None

    def age(text: str) -> "pd.Timestamp":
        return pd.Timestamp.now(tz="UTC") - pd.Timedelta(text)

    # pandas.Timedelta would read 20261101 and 2026-11 as nanoseconds.
    is_date = not since.strip("0123456789-/. ")
    for read in (pd.Timestamp,) if is_date else (age, pd.Timestamp):
        with suppress(ValueError, OverflowError):
            moment = read(since)
            if not pd.isna(moment):
                return moment
    raise click.BadParameter(
        f"{since!r} is neither a date nor an age such as '7 days'",
        param_hint="--since",
    )


def _say(facts: object, lines: Iterable[str], as_json: bool) -> None:
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines))


def _answer(
    kind: str, frame: "pd.DataFrame", as_json: bool, none: str = "", without: str = ""
) -> None:
    from experiment_pipeline.tracking import terminal

    if as_json:
        click.echo(terminal.frame_json(frame))
    elif frame.empty:
        click.echo(none)
    else:
        _print([terminal.listed(kind, frame, without)])


def _print(tables: "Iterable[TextTable]") -> None:
    """Print each table as a grid if its columns fit the console, else as a block of
    lines per row.
    """
    from rich.console import Console

    # Output to a file or a pipe is neither cut nor wrapped.
    width = None if sys.stdout.isatty() else _ENDLESS
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    endless = console.options.update(width=_ENDLESS)
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.title:
            console.print(table.title, style="bold")
        grid = _grid(table.rows, table.header)
        width_of_grid = console.measure(grid, options=endless).minimum
        if not any(table.header) or width_of_grid <= console.width:
            console.print(grid)
            continue
        for row in table.rows:
            facts = [fact for fact in zip(table.header, row, strict=True) if fact[1]]
            console.print(_grid([*facts, ("", "")]))


def _grid(rows: "Iterable[Sequence[str]]", header: Sequence[str] = ()) -> "Table":
    """A borderless table; without a header, two columns: the name of a fact and its
    value.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, show_header=any(header), padding=(0, 2, 0, 0), pad_edge=False
    )
    for name in header or ("", ""):
        table.add_column(name, overflow="fold", no_wrap=not (name or table.columns))
    for row in rows:
        table.add_row(
            *map(Text, row)
        )  # as plain text: a column's name may look like markup
    return table
