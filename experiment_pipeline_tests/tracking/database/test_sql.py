"""SQL for people: the page that documents tables and views, and the tools that read
them.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import sqlalchemy as sa

from experiment_pipeline.errors import DatabaseUnavailable
from experiment_pipeline.reporting.run_record import RunFacts
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.connection import FILE, VARIABLE, database
from experiment_pipeline.tracking.database.recording import RunRecord
from experiment_pipeline.tracking.database.tables import TABLES, VIEWS, documentation
from experiment_pipeline_tests.tracking.history import write_history, write_watch

PAGE = Path(__file__).parents[3] / "docs" / "database.md"


def examples(language: str) -> list[str]:
    """The blocks of the page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_is_what_the_tables_say():
    """Whoever changes a column changes the page: experiment-pipeline database
    --page.
    """
    assert PAGE.read_text() == documentation()


@pytest.mark.usefixtures("each_database")
def test_every_example_answers():
    """The page's questions are plain SQL for both databases, and find what they
    promise.
    """
    write_history()
    questions = [block for block in examples("sql") if block.startswith("-- ")]
    assert questions
    with database().connect() as connected:
        for question in questions:
            assert len(pd.read_sql(sa.text(question), connected)) > 0, question


def test_the_views_say_what_the_tables_say():
    """Runs are counted by status, and versions come with their score."""
    write_history(runs=4)
    with database().connect() as connected:
        (experiment,) = connected.execute(
            sa.select(VIEWS["experiments"].table)
        ).mappings()
        champions = pd.read_sql(sa.select(VIEWS["champion_history"].table), connected)
    counts = [experiment[f"{status}runs"] for status in ("", "accepted_", "rejected_")]
    assert counts == [4, 3, 1]
    assert experiment["cost"] == pytest.approx(4 * 0.0036)
    assert champions["validation_score"].tolist() == pytest.approx([0.69, 0.70, 0.71])


@pytest.fixture
def default_place(tmp_path, monkeypatch) -> Path:
    """A project's folder, with a history where it is without any set-up."""
    for variable in (VARIABLE, "DAGSTER_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    write_history()
    write_watch()
    return tmp_path / ".dagster_home" / FILE


def test_the_python_of_the_page_runs_as_it_stands(default_place: Path):
    """Both pandas and DuckDB's SQLite reader read the file, while the package has it
    open.
    """
    package = find_spec("duckdb_ext")
    assert package is not None
    folder = Path(next(iter(package.submodule_search_locations or ()))) / "extensions"
    duckdb.sql(f"SET extension_directory = '{folder}'")
    assert default_place.exists()
    with_pandas, with_duckdb = examples("python")
    names: dict[str, Any] = {}
    exec(with_pandas, names)
    assert names["runs"]["started_at"].dt.day.tolist() == [2, 3, 4, 5]
    names["engine"].dispose()
    exec(with_duckdb, names)
    views = [view.table for view in VIEWS.values()]
    for table in (*TABLES.values(), *views):
        frame = duckdb.sql(f"SELECT * FROM history.{table.name}").df()
        assert list(frame.columns) == table.c.keys()
        assert len(frame) > 0
    duckdb.sql("DETACH history")


@pytest.mark.slow
def test_a_dashboards_user_reads_all_and_writes_nothing(
    postgres, postgres_database, monkeypatch
):
    """The page's GRANTs are enough to read every table and view, by SQL and by our
    questions.
    """
    write_history()
    write_watch()
    (grants,) = [block for block in examples("sql") if "CREATE ROLE" in block]
    postgres.execute(postgres_database, grants)
    url = postgres.url(postgres_database, "dashboard", "choose one").replace(
        "postgresql:", "postgresql+psycopg2:"
    )
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    for name in (*TABLES, *VIEWS):
        assert len(pd.read_sql(f"SELECT * FROM {name}", engine)) > 0
    monkeypatch.setenv(VARIABLE, url)
    assert questions.experiments()["runs"].tolist() == [4]
    with pytest.raises(DatabaseUnavailable, match="permission denied for table runs"):
        RunRecord("e", "r").record([RunFacts(status="running")])
