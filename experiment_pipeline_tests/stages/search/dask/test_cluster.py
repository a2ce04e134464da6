"""The way to a cluster, and the check of its workers, as far as no process is
started.
"""

from pathlib import Path

import pytest

from experiment_pipeline.errors import ClusterError, InvalidExperiment
from experiment_pipeline.spec import DaskEngine, Engine
from experiment_pipeline.spec.operation import Certificates
from experiment_pipeline.stages.search import dask_cluster as cluster
from experiment_pipeline.stages.search.dask_cluster import connected, engine_of
from experiment_pipeline.stages.search.dask_engine import differences, examine, software
from experiment_pipeline_tests.stages.search.scenario import OWN

ALGORITHMS = ("lightgbm", f"{OWN}.Plain")


def test_the_yaml_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without both, fits run in threads; the environment's address is judged as the
    YAML's is.
    """
    monkeypatch.delenv(cluster.VARIABLE, raising=False)
    assert engine_of(None) is None
    monkeypatch.setenv(cluster.VARIABLE, "local")
    assert engine_of(None) == DaskEngine(address="local")
    declared = Engine.model_validate({"dask": "tcp://127.0.0.1:8786"})
    assert engine_of(declared) == DaskEngine(address="tcp://127.0.0.1:8786")
    monkeypatch.setenv(cluster.VARIABLE, "tls://me:secret@host:8786")
    with pytest.raises(InvalidExperiment, match="without user and password") as raised:
        engine_of(None)
    assert "secret" not in str(raised.value)
    monkeypatch.setenv(cluster.VARIABLE, "tcp://10.0.0.7:8786")
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
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    ca, missing = tmp_path / "ca.pem", tmp_path / "missing.pem"
    ca.write_text("no certificate")
    tls = "tls://127.0.0.1:9"
    each = {
        r"scheduler tcp://127\.0\.0\.1:9: does not answer": DaskEngine(
            address="tcp://127.0.0.1:9"
        ),
        rf"No such file or directory: '{missing}'": DaskEngine(
            address=tls,
            certificates=Certificates(
                ca=str(ca), certificate=str(missing), key=str(ca)
            ),
        ),
        "certificates: cannot be used: ": DaskEngine(
            address=tls,
            certificates=Certificates(ca=str(ca), certificate=str(ca), key=str(ca)),
        ),
        "is missing, and Dask's own configuration": DaskEngine(address=tls),
    }
    for message, engine in each.items():
        kinds = ClusterError, InvalidExperiment
        with pytest.raises(kinds, match=message), connected(engine):
            pass
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    install = r'pip install "experiment-pipeline\[dask\]"'
    with (
        pytest.raises(InvalidExperiment, match=install),
        connected(DaskEngine(address="local")),
    ):
        pass


def test_each_difference_of_a_worker_is_named(tmp_path: Path) -> None:
    """Python, processor, packages, both kinds of source, the bytes of a fit, the
    storage.
    """
    (tmp_path / "probe").write_bytes(b"stored")
    here = examine(ALGORITHMS, str(tmp_path / "probe"))
    assert differences(here, here) == ""
    assert differences(software(ALGORITHMS), here) == ""
    assert here.keys() >= {
        "Python",
        "processor",
        "lightgbm",
        "skops",
        f"module of {OWN}.Plain",
    }
    there = here | {"lightgbm": "4.0.0", "source of experiment-pipeline": "0" * 8}
    del there["skops"]
    package, source, absent = sorted(differences(here, there).split("; "))
    assert package == f"lightgbm 4.0.0, here {here['lightgbm']}"
    assert absent.startswith("source of experiment-pipeline 00000000, here ")
    assert source == f"skops not installed, here {here['skops']}"
    assert "bytes of a small fit" in differences(
        here, here | {"bytes of a small fit": "other"}
    )
    away = differences(here, examine(ALGORITHMS, str(tmp_path / "missing")))
    assert away.startswith("storage cannot be read (")
    assert "does not exist" in away
