"""The way to a cluster: by address, by certificate, or one of this machine's own."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from experiment_pipeline.errors import ClusterUnreachable, InvalidExperiment
from experiment_pipeline.spec import DaskEngine, Engine
from experiment_pipeline.spec.operation import Certificates
from experiment_pipeline.stages.search.engines.dask import Cluster, connected, connection, engine_of
from experiment_pipeline_tests.stages.search.engines.dask.dask_processes import DaskProcesses
from experiment_pipeline_tests.stages.search.engines.dask.test_faults import run, work
from experiment_pipeline_tests.stages.search.engines.dask.work import fail

LOCAL = DaskEngine(address="local")


def test_the_yaml_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without both, fits run in threads; the environment's address is judged as the YAML's is."""
    monkeypatch.delenv(connection.VARIABLE, raising=False)
    assert engine_of(None) is None
    monkeypatch.setenv(connection.VARIABLE, "local")
    assert engine_of(None) == LOCAL
    declared = Engine.model_validate({"dask": "tcp://127.0.0.1:8786"})
    assert engine_of(declared) == DaskEngine(address="tcp://127.0.0.1:8786")
    monkeypatch.setenv(connection.VARIABLE, "tls://me:secret@host:8786")
    with pytest.raises(InvalidExperiment, match="an address has no user") as told:
        engine_of(None)
    assert "secret" not in str(told.value)
    monkeypatch.setenv(connection.VARIABLE, "tcp://10.0.0.7:8786")
    with pytest.raises(InvalidExperiment, match=r"EXPERIMENT_PIPELINE_DASK: tcp:// to another mac"):
        engine_of(None)


def test_without_the_extra_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is imported."""
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    with (
        pytest.raises(InvalidExperiment, match=r'pip install "experiment-pipeline\[dask\]"'),
        connected(LOCAL),
    ):
        pass


def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where no scheduler listens."""
    monkeypatch.setattr(
        "experiment_pipeline.stages.search.engines.dask.workers.CONNECT_SECONDS", 0.5
    )
    with (
        pytest.raises(ClusterUnreachable, match=r"scheduler tcp://127\.0\.0\.1:9: does not answer"),
        connected(DaskEngine(address="tcp://127.0.0.1:9")),
    ):
        pass


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """By its path, before any connection; one that is none, too."""
    ca, here = tmp_path / "ca.pem", tmp_path / "missing.pem"
    ca.write_text("no certificate")
    for path, said in ((here, f"{here}: cannot be read: No such file"), (ca, "cannot be used: ")):
        certificates = Certificates(ca=str(ca), certificate=str(path), key=str(path))
        engine = DaskEngine(address="tls://127.0.0.1:9", certificates=certificates)
        with pytest.raises(InvalidExperiment, match=said), connected(engine):
            pass


@pytest.mark.slow
def test_a_local_cluster_ends_with_its_run(tmp_path: Path) -> None:
    """One process per place, one thread each; nothing is left running after an error either."""
    found = set[int]()

    def use(cluster: Cluster) -> None:
        done = run(cluster, work(tmp_path, 6))
        found.update(one.value[1] for one in done.values() if one.value)
        assert ({one.attempts for one in done.values()}, cluster.places()) == ({1}, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), connected(LOCAL, workers=2) as cluster:
        use(cluster)
    assert len(found - {os.getpid()}) == 2
    assert not any(psutil.pid_exists(process) for process in found)


@pytest.mark.slow
def test_what_a_function_raises_is_raised(tmp_path: Path) -> None:
    """Also an error that looks as if the connection was gone; the brake leaves out."""
    with connected(LOCAL, workers=1) as cluster:
        with pytest.raises(ConnectionResetError, match="task1"):
            list(cluster.run(fail, work(tmp_path, 3), may_start=lambda key: key != "task0"))
        assert list(run(cluster, work(tmp_path, 1))) == ["task0"]


def make_certificates(folder: Path) -> Certificates:
    """An authority of its own, and a certificate that it signed."""
    paths = {name: folder / f"{name}.pem" for name in ("ca", "ca_key", "key", "request", "me")}
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    sign = ["openssl", "x509", "-req", "-CA", paths["ca"], "-CAkey", paths["ca_key"]]
    for command in (
        [*new, "-x509", "-keyout", paths["ca_key"], "-out", paths["ca"]],
        [*new, "-keyout", paths["key"], "-out", paths["request"]],
        [*sign, "-CAcreateserial", "-in", paths["request"], "-out", paths["me"]],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return Certificates(ca=str(paths["ca"]), certificate=str(paths["me"]), key=str(paths["key"]))


@pytest.mark.slow
def test_certificates_decide_who_may_run_code(tmp_path: Path) -> None:
    """With them tasks run; a plain client and one of another authority are refused."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
    certificates, others = make_certificates(mine), make_certificates(other)
    tls = ["--tls-ca-file", certificates.ca, "--tls-cert", certificates.certificate]
    with DaskProcesses(tmp_path, [*tls, "--tls-key", certificates.key]) as dask:
        dask.start_scheduler()
        dask.start_worker()
        with connected(DaskEngine(address=dask.address, certificates=certificates)) as cluster:
            (tmp_path / "noted").mkdir()
            assert list(run(cluster, work(tmp_path / "noted", 2))) == ["task0", "task1"]
        plain = DaskEngine(address=dask.address.replace("tls", "tcp"))
        strange = DaskEngine(address=dask.address, certificates=others)
        for refused in (plain, strange):
            with pytest.raises(ClusterUnreachable), connected(refused):
                pass
