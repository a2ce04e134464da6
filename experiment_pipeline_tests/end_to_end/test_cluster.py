"""The script for Slurm as it stands, on this machine: scheduler and worker over TLS, S3,
PostgreSQL.
"""

import secrets
import shutil
import zlib

import pandas as pd
import psutil
import pytest
import s3fs
import sqlalchemy as sa

from experiment_pipeline.prediction.files import load_model
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline_tests import runs, scenario
from experiment_pipeline_tests.end_to_end.project import ROOT, Project
from experiment_pipeline_tests.ports import free_port, wait_until

pytestmark = pytest.mark.slow

# What Slurm does with the step of the workers, with one node that is this machine.
SRUN = """\
#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def project(tmp_path, s3, s3_bucket, postgres):
    """A project as the script wants it: settings in a file, Dagster and the memory on
    PostgreSQL.
    """
    project = Project(tmp_path / "project")
    shutil.copytree(ROOT / "docs" / "cluster", project.folder / "docs" / "cluster")
    project.leave_out_the_fresh_process()
    project.files = s3fs.S3FileSystem(
        endpoint_url=s3.endpoint, use_listings_cache=False
    )
    table = f"s3://{s3_bucket}/in/visits.csv"
    project.files.pipe(table, scenario.table().to_csv(index=False).encode())
    project.given = {"url": table, "export": {"url": f"s3://{s3_bucket}/models"}}
    project.add_experiment(
        "clinic", scenario.spec_mapping(**project.given), scenario.SCHEMA
    )
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "docs" / "cluster" / "ssh" / "dagster.yaml", home)
    project.database = postgres.make_database(f"test_{secrets.token_hex(6)}")
    project.bucket = s3_bucket
    settings = {
        **s3.environment,
        "EXPERIMENT_PIPELINE_STORAGE": f"s3://{s3_bucket}/lab",
        "EXPERIMENT_PIPELINE_DATABASE": project.database,
        "DAGSTER_POSTGRES_URL": project.database.replace(
            "postgresql:", "postgresql+psycopg2:"
        ),
        "DAGSTER_HOME": str(home),
    }
    file = tmp_path / "settings.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    srun = project.folder / ".venv" / "bin" / "srun"
    srun.parent.mkdir(parents=True)
    srun.write_text(SRUN)
    srun.chmod(0o755)
    project.env |= {
        "SETTINGS": str(file),
        "SLURM_SUBMIT_DIR": str(project.folder),
        # It also decides the port: that of the same number, from 20,000 up to 40,000.
        "SLURM_JOB_ID": str(free_port()),
        "SLURM_NNODES": "1",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_MEM_PER_NODE": "4000",
        "SLURMD_NODENAME": "127.0.0.1",
    }
    return project


def test_an_experiment_trains_on_the_nodes_of_a_job(project, s3, tmp_path, monkeypatch):
    """Database and overview name the run, no secret and no process is left, a rerun
    reuses.
    """
    # What `sbatch` would run.
    done = project.run(
        "bash", "docs/cluster/slurm/experiment.sbatch", "clinic", seconds=500
    )
    assert done.returncode == 0, done.stdout
    url = project.database.replace("postgresql:", "postgresql+psycopg2:")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    known = pd.read_sql("SELECT * FROM experiment_pipeline.runs", engine)
    assert known["status"].tolist() == ["accepted"]
    assert (
        "clinic"
        in project.files.cat_file(f"{project.bucket}/lab/overview.html").decode()
    )
    assert not list(project.folder.glob(".dask-tls-*"))
    processes = lambda: [one.info["cwd"] for one in psutil.process_iter(["cwd"])]  # noqa: E731
    wait_until(lambda: str(project.folder) not in processes(), 60)
    hidden = [project.database.split(":")[2].split("@")[0], s3.secret]
    told = [
        done.stdout,
        *_texts(engine, "public"),
        *_texts(engine, "experiment_pipeline"),
    ]
    assert len(told) > 1_000
    assert not [text for text in told if any(one in text for one in hidden)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(STORAGE_VARIABLE, f"s3://{project.bucket}/lab")
    again = runs.succeeded(scenario.spec(**project.given), scenario.SCHEMA)
    assert again.metadata("search_results")["reused"] == 4
    assert not (tmp_path / "artifacts").exists()
    target, rejected = (
        f"s3://{project.bucket}/{name}.csv" for name in ("out", "rejected")
    )
    model = load_model(f"s3://{project.bucket}/models/clinic/registry/v0001")
    model.predict_table(project.given["url"], target, rejected)
    assert project.files.cat_file(target).count(b"\n") > 400


def _texts(engine, schema):
    """Every cell of every table of a schema, as a text; Dagster packs its snapshots."""
    for table in sa.inspect(engine).get_table_names(schema):
        for cell in pd.read_sql_table(table, engine, schema).to_numpy().ravel():
            yield (
                zlib.decompress(cell).decode() if isinstance(cell, bytes) else str(cell)
            )
