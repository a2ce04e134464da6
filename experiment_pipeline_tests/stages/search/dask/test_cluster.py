"""The way to a cluster, and its tasks, as far as no process is started."""

from importlib import import_module

import dask
import pytest

from experiment_pipeline.errors import ClusterError, InvalidExperiment
from experiment_pipeline.spec import DaskEngine, Engine
from experiment_pipeline.stages.search import dask_cluster as module
from experiment_pipeline.stages.search.dask_cluster import Cluster, connected, engine_of


def test_the_yaml_wins_over_the_environment(monkeypatch):
    """Without both, fits run in threads; the environment's address is judged as the
    YAML's is.
    """
    monkeypatch.delenv(module.VARIABLE, raising=False)
    assert engine_of(None) is None
    monkeypatch.setenv(module.VARIABLE, "local")
    assert engine_of(None) == DaskEngine(address="local")
    declared = Engine.model_validate({"dask": "tcp://127.0.0.1:8786"})
    assert engine_of(declared) == DaskEngine(address="tcp://127.0.0.1:8786")
    monkeypatch.setenv(module.VARIABLE, "tls://me:secret@host:8786")
    with pytest.raises(InvalidExperiment, match="without user and password") as raised:
        engine_of(None)
    assert "secret" not in str(raised.value)
    monkeypatch.setenv(module.VARIABLE, "tcp://10.0.0.7:8786")
    with pytest.raises(
        InvalidExperiment, match=r"EXPERIMENT_PIPELINE_DASK: tcp:// to another mac"
    ):
        engine_of(None)


def test_a_cluster_that_cannot_be_reached_is_an_error_that_names_the_fix(
    tmp_path, monkeypatch
):
    """No scheduler at the address, certificates that are missing or are none, no extra
    installed.
    """
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    none = tmp_path / "ca.pem"
    none.write_text("no certificate")
    tls = "tls://127.0.0.1:9"
    unreachable = (
        ("tcp://127.0.0.1:9", r"scheduler tcp://127\.0\.0\.1:9: does not answer", ""),
        (tls, "certificates of the cluster: cannot be used: ", str(none)),
        (tls, "Dask's own settings name none", ""),
    )
    for address, message, file in unreachable:
        names = ("ca-file", "client.cert", "client.key")
        settings = {f"distributed.comm.tls.{name}": file for name in names}
        with (
            dask.config.set(settings),
            pytest.raises((ClusterError, InvalidExperiment), match=message),
            connected(DaskEngine(address=address)),
        ):
            pass
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    install = r'pip install "experiment-pipeline\[dask\]"'
    with (
        pytest.raises(InvalidExperiment, match=install),
        connected(DaskEngine(address="local")),
    ):
        pass


def refuse(name: str) -> str:
    """Raise an error that looks like a broken connection, and is none."""
    if name == "b":
        raise ConnectionResetError(name)
    return name


def test_an_error_of_a_task_is_raised_as_it_is(cluster: Cluster):
    """Also one that looks as if the connection was gone; what may not start is left
    out.
    """
    tasks = {name: name for name in "abc"}
    done = cluster.run(refuse, tasks, may_start=lambda key: key != "b")
    assert {task.key: task.value for task in done} == {"a": "a", "c": "c"}
    with pytest.raises(ConnectionResetError, match="b"):
        list(cluster.run(refuse, tasks, may_start=lambda _: True))


class Vanished:
    """A class of a package that workers do not have."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return import_module, ("no_such_package",)


def test_a_worker_without_the_package_is_an_error_that_names_the_fix(cluster):
    """Whatever it lacks to read a task."""
    lacks = r"a worker: cannot run this package \(No module named 'no_such_package'\)"
    with pytest.raises(ClusterError, match=lacks):
        list(cluster.run(refuse, {"a": Vanished()}, may_start=lambda _: True))
