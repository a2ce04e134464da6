"""Delete Dagster's records of runs that began so many days ago; call it in the
project's folder.

    DAGSTER_HOME=$PWD .venv/bin/python docs/old_runs.py 180

Dagster removes only ticks by itself. An asset or partition that only such runs have
materialized is shown as missing afterwards; storage and metadata database stay as they
are. Call it while no run is at
work: SQLite keeps a file for each run, and gives space back when it is copied anew
(VACUUM).
"""

import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
FILES = Path(
    ".dagster_home/history/runs"
)  # `base_dir` in dagster.yaml; of PostgreSQL there are none

began = datetime.now(UTC) - timedelta(days=float(sys.argv[1]))
with dg.DagsterInstance.get() as instance:
    old = instance.get_run_records(dg.RunsFilter(statuses=ENDED, created_before=began))
    for record in old:
        run_id = record.dagster_run.run_id
        instance.delete_run(run_id)
        (FILES / f"{run_id}.db").unlink(missing_ok=True)
if (FILES / "index.db").exists():
    with closing(sqlite3.connect(FILES / "index.db")) as index:
        index.execute("VACUUM")
sys.stdout.write(f"deleted {len(old)} runs\n")
