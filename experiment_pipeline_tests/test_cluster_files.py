"""The example files of docs/cluster are what their tools read, and name only what there
is.
"""

import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline_tests import scenario

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
FOLDER = ROOT / "docs" / "cluster"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.read_text().startswith("#!/usr/bin/env bash")]
MANIFESTS = FOLDER / "kubernetes"
IMAGE = "registry.example.com/experiments:2026-11-26"


def documents(name: str) -> list[Any]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def dask_cluster() -> dict[str, Any]:
    """The manifest of the Dask cluster."""
    (manifest,) = documents("kubernetes/dask-cluster.yaml")
    return manifest


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_one_that_bash_reads(script: Path):
    """Its syntax holds, and so does its style where shellcheck is installed."""
    subprocess.run(["bash", "-n", script], check=True)
    if found := shutil.which(
        "shellcheck", path=f"{BIN}{os.pathsep}{os.environ['PATH']}"
    ):
        done = subprocess.run(
            [found, script], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_every_variable_of_ours_is_one_that_the_package_reads():
    """`EXPERIMENT_PIPELINE_…` in the files stands in the package, or in the script
    itself.
    """
    code = "".join(
        path.read_text() for path in (ROOT / "experiment_pipeline").rglob("*.py")
    )
    own = {"EXPERIMENT_PIPELINE_MODULE"}
    for path in FILES:
        named = set(
            re.findall(r"\bEXPERIMENT_PIPELINE_[A-Z_]*[A-Z]\b", path.read_text())
        )
        unknown = {one for one in named - own if f'"{one}"' not in code}
        assert not unknown, path


def test_every_setting_of_dask_is_one_that_dask_has():
    """dask.yaml and the `DASK_…` variables say nothing that Dask would not read."""
    import dask
    import distributed  # noqa: F401 - brings its settings

    (settings,) = documents("dask.yaml")
    for path in _paths(settings):
        dask.config.get(path)
    given = "\n".join(path.read_text() for path in FILES)
    for variable in set(re.findall(r"\bDASK_DISTRIBUTED__[A-Z_]*[A-Z]\b", given)):
        (read,) = _paths(dask.config.collect_env({variable: "1"}))
        dask.config.get(read)
    assert dask.config.get("distributed.scheduler.allowed-failures", 3) != 1
    assert settings["distributed"]["scheduler"]["allowed-failures"] == 1


def _paths(settings: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for key, value in settings.items():
        path = f"{before}{key}"
        found += _paths(value, f"{path}.") if isinstance(value, dict) else [path]
    return found


def test_every_engine_of_the_page_is_one_that_a_yaml_may_say():
    """The examples load as part of an experiment."""
    page = (FOLDER / "README.md").read_text()
    examples = re.findall(r"```yaml\n(engine:.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        ExperimentSpec.model_validate(
            {"name": "clinic", **scenario.spec_mapping(**yaml.safe_load(example))}
        )


def test_each_fault_of_the_page_is_tested_and_each_test_is_on_the_page():
    """Every row of the table ends with tests that exist; none of test_faults.py is left
    out.
    """
    page = (FOLDER / "README.md").read_text()
    _, _, section = page.partition("\n## When something goes wrong\n")
    rows = re.findall(
        r"^\| (?!what happens)(.+) \|$", section.partition("\n## ")[0], re.MULTILINE
    )
    named = set[tuple[Path, str]]()
    for row in rows:
        tests = re.findall(
            r"\]\((\.\./\.\./[\w/]+\.py)#(test_\w+)\)", row.rpartition(" | ")[2]
        )
        assert tests, row
        named |= {((FOLDER / file).resolve(), test) for file, test in tests}
    defined = {
        file: set(re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE))
        for file in {file for file, _ in named}
    }
    assert [one for one in named if one[1] not in defined[one[0]]] == []
    (faults,) = (ROOT / "experiment_pipeline_tests").rglob("dask/test_faults.py")
    assert {test for file, test in named if file == faults} == defined[faults]


def test_the_certificates_are_what_pythons_strict_checks_accept(tmp_path):
    """Authority and roles: signed, of their use alone, and their keys readable by
    nobody else.
    """
    made = tmp_path / "made"
    script = FOLDER / "make_certificates.sh"
    done = subprocess.run(
        [script, made, "7"], check=True, capture_output=True, text=True
    )
    assert done.stdout.count(": OK") == 3
    authority = x509.load_pem_x509_certificate((made / "ca.pem").read_bytes())
    for role in ("scheduler", "worker", "client"):
        certificate = x509.load_pem_x509_certificate(
            (made / f"{role}.pem").read_bytes()
        )
        certificate.verify_directly_issued_by(authority)
        assert not certificate.extensions.get_extension_for_class(
            x509.BasicConstraints
        ).value.ca
        context = ssl.create_default_context(cafile=str(made / "ca.pem"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(made / f"{role}.pem", made / f"{role}.key")
        assert (made / f"{role}.key").stat().st_mode & 0o077 == 0
    assert sorted(path.suffix for path in made.iterdir()).count(".key") == 4
    again = subprocess.run([script, made], check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "has certificates already" in again.stderr


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_dasks_commands_know_their_options(dask_cluster: dict[str, Any], part: str):
    """Each option of the manifest, the clusters and the scripts is one of `dask
    scheduler` or `dask worker`.
    """
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    known = {
        option
        for parameter in {"scheduler": scheduler, "worker": worker}[part].params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    (container,) = dask_cluster["spec"][part]["spec"]["containers"]
    given = [arg for arg in container["args"] if arg.startswith("--")]
    for path in FILES:
        for line in re.findall(rf"dask {part} (?:[^\n]*\\\n)*[^\n]*", path.read_text()):
            given += re.findall(r"(?<!\S)--[a-z-]+", line)
    assert set(given) <= known


def test_runs_and_cluster_agree_on_image_address_and_secrets(dask_cluster):
    """One image, one address, and no secret, ConfigMap or volume that the page does not
    make.
    """
    (values,) = documents("kubernetes/dagster-values.yaml")
    (location,) = values["dagster-user-deployments"]["deployments"]
    assert f"{location['image']['repository']}:{location['image']['tag']}" == IMAGE
    metadata = dask_cluster["metadata"]
    address = f"tls://{metadata['name']}-scheduler.{metadata['namespace']}:8786"
    environment = {one["name"]: one["value"] for one in location["env"]}
    assert environment["EXPERIMENT_PIPELINE_DASK"] == address
    (worker,) = dask_cluster["spec"]["worker"]["spec"]["containers"]
    expected = {"DASK_SCHEDULER_ADDRESS": address}
    assert {one["name"]: one["value"] for one in worker["env"]} == expected
    page = (FOLDER / "README.md").read_text()
    made = set(
        re.findall(r"create secret generic \"?([\w-]+?)-?(?:\$role)?\"?[ \\]", page)
    )
    text = "".join(path.read_text() for path in MANIFESTS.iterdir())
    used = set(
        re.findall(
            r"(?:secretName|secretRef: \{name|postgresqlSecretName): ([\w-]+)", text
        )
    )
    used |= {secret["name"] for secret in location["envSecrets"]}
    assert made
    for secret in used:
        assert any(secret == one or secret.startswith(f"{one}-") for one in made), (
            secret
        )
