"""The rows of a run in a DuckDB file and in PostgreSQL, and the guide's charts on
both.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

import experiment_pipeline as ep
from experiment_pipeline import cli
from experiment_pipeline.experiment.result import RunResult
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


def _run(**settings: Any) -> RunResult:
    return ep.run(
        _flights(),
        "late",
        name="flight_delay",
        schema=RULES,
        progress=False,
        search=[{"algorithm": "linear"}],
        evaluation="test_set",
        validation={"max_rejected_fraction": 0.1},
        **settings,
    )


def _sql(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["sql", *arguments])


@pytest.fixture
def opened(tmp_path) -> Callable[[], duckdb.DuckDBPyConnection]:
    def opened(name: str = "rows.duckdb") -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(tmp_path / name), read_only=True)

    return opened


@pytest.mark.usefixtures("storage")
def test_a_duckdb_file_holds_the_rows_of_the_last_run_with_comments(tmp_path, opened):
    """Rows, reasons, sets and predictions stand beside the metadata, under quoted
    names; the validation set is there only where it is asked for.
    """
    result = _run()
    file = str(tmp_path / "rows.duckdb")
    answer = _sql("flight_delay", "--to", file)
    assert answer.exit_code == 0, answer.output
    with opened() as database:
        names = "SELECT table_name FROM duckdb_tables() WHERE schema_name = ?"
        tables = {n for (n,) in database.execute(names, ["flight_delay"]).fetchall()}
        assert tables == {
            *("raw", "rejected", "validated", "train", "test"),
            *("predictions", "worst_rows"),
        }
        schema = "flight_delay"
        raw = (
            database.sql(f"FROM {schema}.raw ORDER BY row_number")
            .fetch_arrow_table()
            .to_pandas()
        )
        assert [*raw.columns] == ["row_number", *_flights().columns]
        assert raw[EVIL].tolist() == _flights()[EVIL].tolist()
        test = result.sets["test"]
        predictions = (
            database.sql(f"FROM {schema}.predictions").fetch_arrow_table().to_pandas()
        )
        assert {*predictions["row_number"]} == {*test.index}
        assert {*predictions["set"]} == {"test"}
        rejected = (
            database.sql(f"FROM {schema}.rejected").fetch_arrow_table().to_pandas()
        )
        assert rejected["row_number"].tolist() == [0, 1, 2]
        comments = (
            "SELECT schema_name, table_name, column_name, comment FROM duckdb_columns()"
        )
        comment = {row[:3]: row[3] for row in database.execute(comments).fetchall()}
        assert comment[schema, "train", "price"] == "What the seat cost, in EUR"
        assert "hold" not in str(comment[schema, "train", EVIL])
        of_runs = comment["experiment_pipeline", "runs", "status"]
        assert of_runs.startswith("running; accepted")
        for chart in CHARTS:
            assert len(database.sql(chart).fetch_arrow_table().to_pandas()), chart
    answer = _sql("flight_delay", "--to", file, "--with-validation")
    assert answer.exit_code == 0, answer.output
    with opened() as database:
        validation = (
            database.sql(f"FROM {schema}.validation").fetch_arrow_table().to_pandas()
        )
        assert {*validation["row_number"]} == {*result.sets["validation"].index}
        both = (
            database.sql(f"FROM {schema}.predictions").fetch_arrow_table().to_pandas()
        )
        assert {*both["set"]} == {"test", "validation"}


@pytest.mark.usefixtures("storage")
def test_sql_refuses_what_would_be_another_run_or_another_database(
    tmp_path, monkeypatch
):
    """Rows that a later run has replaced, a file of something else, and a missing
    package are named with what helps.
    """
    first = _run()
    ep.run(
        _flights().iloc[:300],
        "late",
        name="flight_delay",
        progress=False,
        search=[{"algorithm": "linear"}],
    )
    file = tmp_path / "rows.duckdb"
    answer = _sql("flight_delay", "--run", first.run_id, "--to", str(file))
    assert answer.exit_code == 1
    assert f"is not the one that run {first.run_id} read" in answer.output
    other = str(tmp_path / "other.duckdb")
    with duckdb.connect(other) as database:
        database.sql("CREATE TABLE mine AS SELECT 1 AS a")
    answer = _sql("--to", other)
    assert answer.exit_code == 1
    assert "it is a database of something else" in answer.output
    monkeypatch.setitem(sys.modules, "duckdb", None)
    answer = _sql("--to", str(file))
    assert "pip install 'experiment-pipeline[sql]'" in answer.output


@pytest.mark.slow
@pytest.mark.usefixtures("storage", "postgres_database")
def test_a_run_publishes_its_rows_to_postgresql_for_a_role(postgres: PostgresServer):
    """The role reads the rows and may not write; a second run replaces them; a schema
    of somebody else stays, and the run goes on with a warning.
    """
    url = sa.make_url(os.environ["EXPERIMENT_PIPELINE_DATABASE"])
    assert url.database is not None
    role = f"reader_{url.database}"
    postgres.execute(url.database, f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'p'")
    publish = {"sql": {"role": role}}
    _run(publish=publish)
    _run(publish=publish, seed=7)
    reading = postgres.url(url.database, role, "p").replace("://", "+psycopg2://")
    engine = sa.create_engine(reading)
    with engine.connect() as connection:
        for chart in CHARTS[1:]:
            assert len(pd.read_sql(sa.text(chart), connection)), chart
        raw = pd.read_sql("SELECT * FROM flight_delay.raw", connection)
        assert raw[EVIL].tolist() == _flights()[EVIL].tolist()
        tables = sa.inspect(connection).get_table_names("flight_delay")
        assert "validation" not in tables
        columns = sa.inspect(connection).get_columns("train", schema="flight_delay")
        comments = {column["name"]: column["comment"] for column in columns}
        assert comments["price"] == "What the seat cost, in EUR"
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.execute(sa.text("DELETE FROM flight_delay.raw"))
    engine.dispose()


@pytest.mark.slow
@pytest.mark.usefixtures("storage", "postgres_database")
def test_a_foreign_schema_and_a_missing_role_stop_only_the_publication(
    postgres: PostgresServer, caplog
):
    """A run warns and is decided; the table of somebody else is still there."""
    name = sa.make_url(os.environ["EXPERIMENT_PIPELINE_DATABASE"]).database
    assert name is not None
    made = "CREATE SCHEMA theirs CREATE TABLE raw (a int)"
    postgres.execute(name, made)
    assert _run(publish={"sql": {"schema": "theirs"}}).facts["status"]
    assert "no run of flight_delay has made it" in caplog.text
    _run(publish={"sql": {"role": "nobody_there"}}, seed=7)
    assert 'role "nobody_there" does not exist' in caplog.text
    postgres.execute(name, "INSERT INTO theirs.raw VALUES (1)")


@pytest.mark.usefixtures("storage")
def test_publishing_without_postgresql_warns(caplog):
    """`publish: sql` beside SQLite says what is missing, and the run is decided."""
    assert _run(publish="sql").facts["status"] in {"accepted", "rejected"}
    assert "the metadata database: is not PostgreSQL" in " ".join(caplog.text.split())
