"""What each table, view and column of the metadata database means, as a page for who writes SQL.

The page is made of what the tables and views say of themselves; `docs/database.md` is its copy.
In: the tables and views. Out: Markdown.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from experiment_pipeline.tracking.database.connection import FILE, SCHEMA, VARIABLE
from experiment_pipeline.tracking.database.tables import TABLES, UtcDateTime
from experiment_pipeline.tracking.database.views import VIEWS

_TYPES: Mapping[type[sa.types.TypeEngine[Any]], str] = {
    sa.Text: "text",
    sa.Boolean: "boolean",
    sa.BigInteger: "integer",
    sa.Double: "number",
    UtcDateTime: "moment",
    sa.JSON: "JSON",
}
_HEAD = f"""# The metadata database

Every run of every experiment, in plain tables. Where it is: the SQLAlchemy URL in `{VARIABLE}`, else
the SQLite file `{FILE}` in Dagster's home (`.dagster_home` beside the project).
`experiment-pipeline database` says which one it is, and prints this page.

* **SQLite** keeps a moment as text in UTC, a boolean as 0 or 1, JSON as text.
* **PostgreSQL** has the tables in the schema `{SCHEMA}`, made by the first run, so that Dagster's own
  storage may be in the same database. The meanings below are the comments of its columns.

Tables and views are only ever added to: a column keeps its name and meaning. A run's rows have the
same `experiment` and `run_id`; where a column says nothing, it is null.

## Asking

With Python alone, with [DuckDB](https://duckdb.org/docs/stable/core_extensions/sqlite), or with any
tool for SQL. Who only asks, opens the file read-only, so that no run has to wait:

```python
import pandas as pd
import sqlalchemy as sa

url = "sqlite:///file:.dagster_home/{FILE}?mode=ro&uri=true"
engine = sa.create_engine(url)
runs = pd.read_sql("SELECT * FROM runs ORDER BY started_at", engine, parse_dates=["started_at"])
```

```python
import duckdb

duckdb.sql("ATTACH '.dagster_home/{FILE}' AS history (TYPE sqlite, READ_ONLY)")
duckdb.sql("SELECT experiment, last_started_at FROM history.experiments").df()
```

On PostgreSQL, give a dashboard such as Superset a user who may read, once, as the owner of the tables:

```sql
CREATE ROLE dashboard LOGIN PASSWORD 'choose one';
GRANT USAGE ON SCHEMA {SCHEMA} TO dashboard;
GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO dashboard;
-- also what later versions of the package add
ALTER DEFAULT PRIVILEGES IN SCHEMA {SCHEMA} GRANT SELECT ON TABLES TO dashboard;
ALTER ROLE dashboard SET search_path = {SCHEMA};
```

Questions that these answer; each runs on SQLite and on PostgreSQL:

```sql
-- what a month cost, per experiment
SELECT experiment, COUNT(*) AS runs, SUM(wall_seconds) / 3600 AS hours, SUM(cost) AS cost
FROM runs
WHERE started_at >= '2026-02-01' AND started_at < '2026-03-01'
GROUP BY experiment;
```

```sql
-- which runs changed the champion, and on which data and code
SELECT version, created_at, configuration, validation_score, data_digest, code_commit
FROM champion_history
WHERE experiment = 'flight_delay'
ORDER BY created_at;
```

```sql
-- the ten best configurations of all runs of an experiment
SELECT run_id, key, test_score, fit_cpu_seconds
FROM leaderboards
WHERE experiment = 'flight_delay' AND rank IS NOT NULL
ORDER BY test_score DESC
LIMIT 10;
```

```sql
-- gates that runs failed, the most frequent first
SELECT experiment, rule, COUNT(*) AS runs
FROM gates
WHERE outcome <> 'PASS'
GROUP BY experiment, rule
ORDER BY runs DESC;
```
"""  # noqa: S608 - a page with examples


def documentation() -> str:
    """Return the page: how to ask, then every view and table with its columns' meanings."""
    views = [_section(view.table) for view in VIEWS.values()]
    tables = [_section(table) for table in TABLES.values()]
    parts = [_HEAD, "## Views\n", *views, "## Tables\n", *tables]
    return "\n".join(parts)


def _section(table: sa.Table) -> str:
    return "\n".join([f"### {table.name}\n", f"{table.comment}\n", *_lines(table), ""])


def _lines(table: sa.Table) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in table.columns:
        kind = _TYPES[type(column.type)] + (", key" if column.primary_key else "")
        yield f"| `{column.name}` | {kind} | {column.comment} |"
