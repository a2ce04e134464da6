"""The rows of a run as SQL tables: in a DuckDB file, or in a schema of the PostgreSQL
database.

They are copies. The next run replaces the stored files, so a view over them would soon
show other rows than the run that the metadata beside it describes.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from experiment_pipeline import errors
from experiment_pipeline.errors import StorageError
from experiment_pipeline.experiment.declared import table_of
from experiment_pipeline.intake.validation import REASONS, ValidatedRows
from experiment_pipeline.reporting import document
from experiment_pipeline.reporting.run_record import (
    PREDICTED_ROWS,
    SET,
    Row,
    worst_of,
)
from experiment_pipeline.spec.operation import SqlSchema
from experiment_pipeline.stages.split_sets.sets import SetTable
from experiment_pipeline.storage.tables import asset_file, read_table
from experiment_pipeline.table.dictionary import dictionary_of
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.connection import (
    SCHEMA,
    database_url,
    transaction,
)
from experiment_pipeline.tracking.database.tables import TABLES, VIEWS

VALIDATION = "validation"
# Names of schemas with tables in a DuckDB file.
_SCHEMAS = "SELECT DISTINCT schema_name FROM duckdb_tables()"
_WORST_ROWS = 100
_OUTSIDE = f"Choosing by rows of the {document.HOLD_OUT} is a look that nobody counts."
_EVERY_SET = (
    f"It also holds the rows of the {document.HOLD_OUT}, unmarked: choose by train and "
    "test."
)
_MEANINGS = {
    "row_number": "position in the table as delivered, from 0",
    REASONS: "the rules that the row broke, one a line",
}
_OF_PREDICTIONS = {
    SET: "the set that the row is in",
    "target": "the true value",
    "prediction": "of the run's chosen model; of a test row by the fit on train rows",
    "probability_of_target": "that the model gave the true class",
    "loss": "log loss, or absolute error",
}


@dataclass(frozen=True, eq=False)
class SqlTable:
    """A table to write, with its comments."""

    name: str
    comment: str
    rows: pd.DataFrame
    meanings: Mapping[str, str]  # column → comment, for some columns

    def comments(self, schema: str) -> Iterator[str]:
        """Yield the statements that set its comments, in DuckDB's and PostgreSQL's SQL;
        all names are quoted.
        """
        name = f"{_quoted(schema)}.{_quoted(self.name)}"
        yield f"COMMENT ON TABLE {name} IS {_text(self.comment)}"
        for column in self.rows.columns:
            if meaning := self.meanings.get(column):
                place = f"{name}.{_quoted(column)}"
                yield f"COMMENT ON COLUMN {place} IS {_text(meaning)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def tables_of_run(run: Row, *, with_validation: bool) -> Iterator[SqlTable]:
    """Yield the tables of a run, given its row of `runs`, one at a time in memory.

    `with_validation`: with the rows of the validation set (final hold-out), once a
    model of the run was evaluated on them. Raises StorageError: a later run has
    replaced its rows.
    """
    opened = with_validation and run["validation_score"] is not None
    dictionary = dictionary_of(questions.files_of(run).get("schema.yaml", ""))

    def described(name: str, comment: str, rows: pd.DataFrame, **own: str) -> SqlTable:
        rows = rows.reset_index()
        meanings = {column: dictionary[column].in_words for column in rows.columns}
        comment = f"{comment} Run {run['run_id']}."
        return SqlTable(name, comment, rows, {**meanings, **_MEANINGS, **own})

    raw = table_of(run).frame
    yield described("raw", f"The rows as delivered. {_EVERY_SET}", raw)
    experiment = run["experiment"]
    if run["rejected_rows"] is not None:
        rejected = read_table(asset_file(experiment, "rejected_rows"))
        validated = read_table(asset_file(experiment, "validated_data"), ValidatedRows)
        _check_of_run(run, len(rejected) == run["rejected_rows"])
        yield described("rejected", "Rows that broke schema.yaml, and why.", rejected)
        comment = f"The rows that schema.yaml accepts. {_EVERY_SET}"
        yield described("validated", comment, validated.rows)
    sets = questions.rows_of("sets", run).set_index("set_name")
    for name, digest in sets["digest"].items():
        if name != VALIDATION or opened:
            stored = read_table(asset_file(experiment, f"{name}_set"), SetTable)
            _check_of_run(run, stored.digest == digest)
            comment = f"The {name} set, prepared." if name != VALIDATION else _OUTSIDE
            yield described(str(name), comment, stored.rows)
    places = questions.rows_of("reports", run).set_index("name")["place"]
    if places.get(PREDICTED_ROWS):
        predicted = questions.predicted_rows(run)
        tested = predicted[SET] != VALIDATION
        rows = predicted if opened else predicted[tested]
        comment = f"Predictions for {_how_many(tested.sum(), sets['rows'])}."
        yield described("predictions", comment, rows, **_OF_PREDICTIONS)
        comment = f"The {_WORST_ROWS} rows of each set with the largest loss."
        worst = worst_of(rows, _WORST_ROWS)
        yield described("worst_rows", comment, worst, **_OF_PREDICTIONS)


def _check_of_run(run: Row, is_of_run: bool) -> None:
    if not is_of_run:
        raise StorageError(
            "the stored rows",
            rule=f"they are not those of run {run['run_id']}: a later run has replaced "
            "them",
            fix="Name the last run, or run the experiment first.",
        )


def _how_many(predicted: int, rows: pd.Series) -> str:
    """Say which of the test rows (by cross-validation also the train rows) are there;
    `rows`: of each set.
    """
    if predicted in {rows["test"], rows["train"] + rows["test"]}:
        return f"all {predicted:,} rows that the choice was based on"
    return f"the {predicted:,} test rows with the largest loss, not for all"


def metadata_tables(experiments: Collection[str]) -> Iterator[SqlTable]:
    """Yield the rows of experiments in tables and views of the metadata database."""
    views = {name: view.table for name, view in VIEWS.items()}
    for name, table in {**TABLES, **views}.items():
        if "experiment" in table.c:
            rows = questions.all_rows(table, experiments)
            for column in table.c:
                if isinstance(column.type, sa.JSON):
                    rows[column.name] = rows[column.name].map(json.dumps, "ignore")
            meanings = {column.name: column.comment or "" for column in table.c}
            yield SqlTable(name, table.comment or "", rows, meanings)


def schemas_of(
    experiments: Iterable[str], run: str | None, *, with_validation: bool
) -> Mapping[str, Iterable[SqlTable]]:
    """Return schema → tables: those of the metadata, and of each experiment's last run.

    `run`: the start of an id instead. Raises UnknownRun: there is no such run.
    """
    names = [*experiments]
    rows = [questions.run_of(name, run) for name in names]
    of_runs = {
        row["experiment"]: tables_of_run(row, with_validation=with_validation)
        for row in rows
    }
    return {SCHEMA: metadata_tables(names), **of_runs}


def write_duckdb(
    file: str, schemas: Mapping[str, Iterable[SqlTable]]
) -> dict[str, int]:
    """Write tables into schemas of a DuckDB file, which are replaced; return the rows
    of each.

    Raises InvalidExperiment: no duckdb here; StorageError: the file cannot be written,
    or an earlier call did not make these schemas.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise errors.InvalidExperiment(
            "sql",
            rule="the package `duckdb` is not installed",
            fix="pip install 'experiment-pipeline[sql]'",
        ) from None
    written = {}
    try:
        with duckdb.connect(file) as connection:
            made = {name for [name] in connection.execute(_SCHEMAS).fetchall()}
            if made and SCHEMA not in made:
                raise StorageError(
                    file,
                    rule="it is a database of something else",
                    fix="Name another file with --to.",
                )
            connection.begin()
            for schema, tables in schemas.items():
                connection.execute(f"DROP SCHEMA IF EXISTS {_quoted(schema)} CASCADE")
                connection.execute(f"CREATE SCHEMA {_quoted(schema)}")
                for table in tables:
                    name = f"{_quoted(schema)}.{_quoted(table.name)}"
                    rows = pa.Table.from_pandas(table.rows, preserve_index=False)
                    connection.register("rows_to_write", rows)
                    connection.execute(f"CREATE TABLE {name} AS FROM rows_to_write")
                    for statement in table.comments(schema):
                        connection.execute(statement)
                    written[f"{schema}.{table.name}"] = len(rows)
            connection.commit()
    except (duckdb.Error, OSError) as error:
        raise StorageError(
            file,
            rule=f"cannot be written: {error}",
            fix="Close what has it open, or name another file with --to.",
        ) from error
    return written


def publish(run: Row, settings: SqlSchema) -> str:
    """Write the tables of a run into a schema of the PostgreSQL database; return a
    warning, or ''.

    In one transaction: readers see the tables of the run before, or all of this one.
    """
    schema = settings.schema_name or run["experiment"]
    tables = tables_of_run(run, with_validation=settings.with_validation)

    def write(connection: sa.Connection) -> None:
        _replace_schema(connection, schema, run["experiment"])
        for table in tables:
            table.rows.to_sql(
                table.name, connection, schema=schema, index=False, chunksize=10_000
            )
            for statement in table.comments(schema):
                connection.execute(_as_it_is(statement))
        if settings.role:
            role, name = _quoted(settings.role), _quoted(schema)
            for what in (
                f"USAGE ON SCHEMA {name}",
                f"SELECT ON ALL TABLES IN SCHEMA {name}",
            ):
                connection.execute(_as_it_is(f"GRANT {what} TO {role}"))

    try:
        if database_url().get_backend_name() != "postgresql":
            raise StorageError(
                "the metadata database",
                rule="is not PostgreSQL",
                fix="Name one in EXPERIMENT_PIPELINE_DATABASE.",
            )
        transaction(write)
    except (errors.ExperimentPipelineError, sa.exc.SQLAlchemyError) as error:
        reason = str(error).partition("\n[SQL")[0]
        return f"publish.sql: the schema {schema} stays as it was: {reason}"
    return ""


def _replace_schema(connection: sa.Connection, schema: str, experiment: str) -> None:
    """Empty a schema that earlier runs of the experiment have made, or make it."""
    mark = f"published by experiment-pipeline: {experiment}"
    inspector = sa.inspect(connection)
    if not inspector.has_schema(schema):
        connection.execute(sa.schema.CreateSchema(schema))
    elif _comment(connection, schema) != mark:
        raise StorageError(
            f"schema {schema}",
            rule=f"no run of {experiment} has made it",
            fix="Name another one in publish.sql.schema.",
        )
    comment = f"COMMENT ON SCHEMA {_quoted(schema)} IS {_text(mark)}"
    connection.execute(_as_it_is(comment))
    # Without CASCADE, which would also remove views that people have made of them.
    for name in inspector.get_table_names(schema):
        drop = f"DROP TABLE {_quoted(schema)}.{_quoted(name)}"
        connection.execute(_as_it_is(drop))


def _comment(connection: sa.Connection, schema: str) -> str | None:
    query = sa.text("SELECT obj_description(to_regnamespace(:name), 'pg_namespace')")
    return connection.execute(query, {"name": _quoted(schema)}).scalar()


def _as_it_is(statement: str) -> sa.TextClause:
    """A statement with values in it, without parameters."""
    return sa.text(statement.replace("\\", r"\\").replace(":", r"\:"))
