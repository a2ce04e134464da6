"""The rows of a run in a DuckDB file and in PostgreSQL, and the guide's charts on
both.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import Result

import experiment_pipeline as ep
from experiment_pipeline.experiment.result import RunResult
from experiment_pipeline.experiment.sql import publish
from experiment_pipeline.intake.raw_table import RawTable
from experiment_pipeline.spec.operation import SqlSchema
from experiment_pipeline.storage.tables import asset_file, read_table, write_table
from experiment_pipeline_tests.command_line import command
from experiment_pipeline_tests.postgres_server import PostgresServer

pytestmark = pytest.mark.usefixtures("quick")
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "sql.md"
CHARTS = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
# A name and a cell that would be SQL if they were not quoted.
EVIL = "x\"; DROP TABLE runs; --'%s(1):a"
RULES = f"""\
columns:
  price: {{dtype: float64, unit: EUR, description: What the seat cost, greater_than_or_equal_to: 0}}
  ? {json.dumps(EVIL)}
  : {{dtype: str, nullable: true}}
  late: {{dtype: str, isin: ["yes", "no"]}}
"""


def _flights() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    price = np.abs(rng.normal(20, 5, 400))
    late = np.where(price + rng.normal(0, 5, 400) > 20, "yes", "no")
    price[:3] = -1
    texts = np.where(rng.random(400) < 0.5, EVIL, "plain")
    return pd.DataFrame({"price": price, EVIL: texts, "late": late})


def _run(publish: object) -> RunResult:
    return ep.run(
        _flights(),
        "late",
        name="flight_delay",
        schema=RULES,
        progress=False,
        split="random",
        search="linear",
        evaluation="test_set",
        validation={"max_rejected_fraction": 0.1},
        publish=publish,
    )


def _sql(*arguments: object) -> Result:
    return command("sql", *arguments)


def _check(query: Callable[[str], pd.DataFrame], charts: list[str]) -> None:
    """Compare what a reader of either database gets with what was delivered."""
    raw = query("SELECT * FROM flight_delay.raw ORDER BY row_number")
    assert [*raw.columns] == ["row_number", *_flights().columns]
    assert raw[EVIL].tolist() == _flights()[EVIL].tolist()
    for chart in charts:
        assert len(query(chart)), chart


@pytest.mark.usefixtures("place")
def test_a_duckdb_file_holds_the_rows_of_the_last_run_with_comments(tmp_path, caplog):
    """Rows, reasons, sets and predictions stand beside the metadata, under quoted
    names; the validation set is there only where it is asked for. The run itself, which
    could not publish its rows beside SQLite, said so and was decided.
    """
    result = _run("sql")
    said = " ".join(caplog.text.split())
    assert "the metadata database: is not PostgreSQL" in said
    assert result.facts["status"] in {"accepted", "rejected"}
    schema = result.name
    file = str(tmp_path / "rows.duckdb")
    answer = _sql(schema, "--to", file)
    assert answer.exit_code == 0, answer.output
    with duckdb.connect(file, read_only=True) as database:

        def rows(query: str) -> pd.DataFrame:
            return database.sql(query).fetch_arrow_table().to_pandas()

        _check(rows, CHARTS)
        tables = rows("FROM duckdb_tables()").query("schema_name == 'flight_delay'")
        given = {"raw", "rejected", "validated", "train", "test"}
        assert {*tables["table_name"]} == {*given, "predictions", "worst_rows"}
        predictions = rows("FROM flight_delay.predictions")
        assert {*predictions["row_number"]} == {*result.sets["test"].index}
        assert {*predictions["set"]} == {"test"}
        rejected = rows("FROM flight_delay.rejected")
        assert rejected["row_number"].tolist() == [0, 1, 2]
        keys = ["schema_name", "table_name", "column_name"]
        comment = rows("FROM duckdb_columns()").set_index(keys)["comment"]
        assert comment[schema, "train", "price"] == "What the seat cost, in EUR"
        assert "hold" not in str(comment[schema, "train", EVIL])
        of_runs = comment["experiment_pipeline", "runs", "status"]
        assert of_runs.startswith("running; accepted")
    answer = _sql(schema, "--to", file, "--with-validation")
    assert answer.exit_code == 0, answer.output
    with duckdb.connect(file, read_only=True) as database:
        validation = rows("FROM flight_delay.validation")
        assert {*validation["row_number"]} == {*result.sets["validation"].index}
        both = rows("FROM flight_delay.predictions")
        assert {*both["set"]} == {"test", "validation"}


def test_sql_refuses_what_would_be_another_run_or_another_database(
    visits: RunResult, tmp_path, monkeypatch
):
    """Rows that a later run has replaced, a file of something else, and a missing
    package are named with what helps.
    """
    file = tmp_path / "rows.duckdb"
    place = asset_file("visits", "raw_data")
    later = replace(read_table(place, RawTable), digest="of a later run")
    write_table(place, later)
    answer = _sql("visits", "--run", visits.run_id, "--to", file)
    assert answer.exit_code == 1
    assert f"is not the one that run {visits.run_id} read" in answer.output
    other = tmp_path / "other.duckdb"
    with duckdb.connect(str(other)) as database:
        database.sql("CREATE TABLE mine AS SELECT 1 AS a")
    answer = _sql("--to", other)
    assert answer.exit_code == 1
    assert "it is a database of something else" in answer.output
    monkeypatch.setitem(sys.modules, "duckdb", None)
    answer = _sql("--to", file)
    assert "pip install 'experiment-pipeline[sql]'" in answer.output


@pytest.mark.slow
@pytest.mark.usefixtures("storage", "postgres_database")
def test_a_run_publishes_its_rows_to_postgresql_for_a_role(postgres: PostgresServer):
    """The role reads the rows and may not write. They are replaced whole or stay: a
    schema of somebody else and a missing role are a warning.
    """
    url = sa.make_url(os.environ["EXPERIMENT_PIPELINE_DATABASE"])
    assert url.database is not None
    role = f"reader_{url.database}"
    theirs = "CREATE SCHEMA theirs CREATE TABLE raw (a int)"
    login = f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'p'"
    postgres.execute(url.database, login, theirs)
    run = _run({"sql": {"role": role}}).facts
    assert publish(run, SqlSchema(role=role)) == ""
    foreign = publish(run, SqlSchema(schema="theirs"))
    assert "no run of flight_delay has made it" in foreign
    postgres.execute(url.database, "INSERT INTO theirs.raw VALUES (1)")
    missing = publish(run, SqlSchema(role="nobody_there"))
    assert 'role "nobody_there" does not exist' in missing
    reading = postgres.url(url.database, role, "p").replace("://", "+psycopg2://")
    engine = sa.create_engine(reading)
    with engine.connect() as connection:
        _check(lambda query: pd.read_sql(sa.text(query), connection), CHARTS[1:])
        tables = sa.inspect(connection).get_table_names("flight_delay")
        assert "validation" not in tables
        columns = sa.inspect(connection).get_columns("train", schema="flight_delay")
        comments = {column["name"]: column["comment"] for column in columns}
        assert comments["price"] == "What the seat cost, in EUR"
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.execute(sa.text("DELETE FROM flight_delay.raw"))
    engine.dispose()
